#!/usr/bin/env python3
"""`stats`: the numbers are right, each line is `name: value`, and a snapshot is consistent."""

import errno
import os
import re
import subprocess
import threading

from harness import equal, eventually, fails, main, number, timeout

MINE = """total_puts batch_puts avg_batch_size pending_batches buffer_size buffered_bytes total_gets
batch_gets avg_get_size put_errors retries duplicates acks_late waiting put_latency_us_p50
put_latency_us_p99 put_latency_us_max get_latency_us_p50 get_latency_us_p99 get_latency_us_max
connected endpoint last_error uptime_s version""".split()
SERVICES = """depth depth_bytes leased delayed dead maxsize oldest_age_s mounts service_total_puts
service_total_gets service_batch_puts service_batch_gets redelivered expired refused_by_access""".split()


def test_1000_puts_and_a_flush(t):
    m = t.queue()
    with m.open_in("jobs") as file:
        for n in range(1000):
            file.write(b"%d\n" % n)
    m.flush("jobs")
    for stats in (m.stats("jobs"), m.stats()):
        equal(stats["total_puts"], 1000, "total_puts")
        equal(stats["buffer_size"], 0, "buffer_size")
        equal(stats["buffered_bytes"], 0, "buffered_bytes")
        equal(stats["pending_batches"], 0, "pending_batches")
        product = stats["batch_puts"] * stats["avg_batch_size"]
        assert abs(product - 1000) < 1, (stats["batch_puts"], stats["avg_batch_size"])
        equal(stats["depth"], 1000, "depth")
        equal(stats["service_total_puts"], 1000, "service_total_puts")
        equal(stats["service_batch_puts"], stats["batch_puts"], "service_batch_puts")
        equal([stats["put_errors"], stats["retries"], stats["duplicates"]], [0, 0, 0])


def test_1000_puts_by_echo_and_a_flush(t):
    m = t.queue()
    m.sh("i=0; while [ $i -lt 1000 ]; do echo $i >> jobs/in; i=$((i + 1)); done; touch flush")
    out = m.out("awk -F': ' '{ s[$1] = $2 } END { print s[\"total_puts\"], s[\"buffer_size\"],"
                " s[\"pending_batches\"], s[\"batch_puts\"] * s[\"avg_batch_size\"] }' jobs/stats")
    words = out.decode().split()
    equal(words[:3], ["1000", "0", "0"])
    assert abs(float(words[3]) - 1000) < 1, out


def test_gets_are_counted(t):
    m = t.queue()
    m.put("jobs", b"a\n" * 100)
    m.get("jobs", "next")
    m.get("jobs", "out@9")
    stats = m.stats("jobs")
    equal([stats["total_gets"], stats["depth"], stats["leased"]], [10, 90, 0])
    equal(stats["service_total_gets"], 10, "service_total_gets")
    m.get("jobs")
    stats = m.stats("jobs")
    equal([stats["total_gets"], stats["depth"], stats["depth_bytes"]], [100, 0, 0])
    assert stats["batch_gets"] >= 1 and stats["avg_get_size"] > 0, stats
    assert stats["get_latency_us_max"] >= stats["get_latency_us_p50"] > 0, stats


def test_depth_bytes_counts_the_items(t):
    m = t.queue()
    m.put("jobs", b"12345\n" * 100)
    m.flush("jobs")
    bytes_there = m.stats("jobs")["depth_bytes"]
    assert 500 <= bytes_there <= 600, bytes_there


def test_every_name_is_there_with_a_plain_value(t):
    m = t.queue()
    m.put("jobs", b"a\n")
    m.flush("jobs")
    for path in ("jobs/stats", "stats"):
        lines = m.out("cat " + path).decode().splitlines()
        names = [line.split(": ", 1)[0] for line in lines]
        equal(len(names), len(set(names)), "names of " + path)
        for name in MINE + SERVICES:
            assert name in names, "no %s in %s" % (name, path)
        for line in lines:
            assert re.fullmatch(r'[a-z0-9_]+: (-?[0-9]+(\.[0-9]+)?|"[^"\\]*")', line), line


def test_values_that_cannot_be_are_not_there(t):
    m = t.queue()
    stats = m.stats("jobs")
    for name in MINE + SERVICES:
        value = stats[name]
        assert isinstance(value, str) or value >= 0, (name, value)
    equal(stats["connected"], 1, "connected")
    equal(stats["mounts"], 1, "mounts")
    equal(stats["avg_batch_size"], 0, "avg_batch_size of nothing")


def test_latencies_are_measured_from_the_write(t):
    m = t.queue(linger="200ms")
    m.put("jobs", b"a\n")
    m.flush("jobs")
    m.configure("jobs", linger="200ms", batch_size=1000)
    m.put("jobs", b"a\n")
    eventually(lambda: m.stats("jobs")["buffer_size"] == 0)
    stats = m.stats("jobs")
    assert stats["put_latency_us_max"] >= 190_000, stats["put_latency_us_max"]
    assert stats["put_latency_us_p50"] <= stats["put_latency_us_p99"] <= \
        stats["put_latency_us_max"] * 1.1, stats


def test_the_roots_stats_are_sums_and_maxima(t):
    m = t.queue()
    m.mkdir("other")
    m.put("jobs", b"a\n" * 10)
    m.put("other", b"a\n" * 5)
    m.flush()
    stats = m.stats()
    equal([stats["total_puts"], stats["depth"]], [15, 15])
    equal(stats["batch_puts"],
          m.stats("jobs")["batch_puts"] + m.stats("other")["batch_puts"], "batch_puts")
    assert stats["oldest_age_s"] < 60, stats


def test_waiting_readers_are_counted(t):
    m = t.queue()
    readers = [subprocess.Popen(["cat", m.at("jobs/next@forever")], stdout=subprocess.DEVNULL)
               for _ in range(3)]
    eventually(lambda: m.stats("jobs")["waiting"] == 3, 10, "3 waiting readers")
    equal(m.stats()["waiting"], 3, "waiting in all queues")
    m.put("jobs", b"1\n2\n3\n")
    for reader in readers:
        reader.wait(10)
    equal(m.stats("jobs")["waiting"], 0, "waiting")


@timeout(60)
def test_a_snapshot_is_consistent_under_load(t):
    m = t.queue()
    stop = threading.Event()

    def load():
        while not stop.is_set():
            m.put("jobs", b"x\n" * 500)
            m.get("jobs")

    worker = threading.Thread(target=load)
    worker.start()
    try:
        last = 0
        for _ in range(200):
            with m.open_out("jobs", "stats") as file:
                data = b""
                while True:
                    part = file.read(100)
                    if not part:
                        break
                    data += part
            stats = dict(line.split(": ", 1) for line in data.decode().splitlines())
            total = number(stats["total_puts"])
            assert total >= last and total % 500 == 0, total
            assert number(stats["total_gets"]) <= total, stats
            last = total
    finally:
        stop.set()
        worker.join()


def test_a_stats_open_can_be_read_again_from_the_start(t):
    m = t.queue()
    with m.open_out("jobs", "stats") as file:
        first = file.read_all()
        m.put("jobs", b"a\n")
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        equal(file.read_all(), first, "one open, one snapshot")
    fails(errno.EACCES, os.open, m.at("jobs/stats"), os.O_WRONLY)


def test_counters_of_the_service_outlive_the_mount(t):
    m = t.queue()
    m.put("jobs", b"a\n" * 10)
    m.get("jobs", "next")
    m.restart()
    stats = m.stats("jobs")
    equal([stats["total_puts"], stats["depth"]], [0, 9])
    equal(stats["service_total_puts"], 10, "service_total_puts")


if __name__ == "__main__":
    main()
