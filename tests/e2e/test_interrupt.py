#!/usr/bin/env python3
"""Whoever waits can be interrupted, killed and stopped, at once, and leaves nothing behind."""

import os
import signal
import subprocess
import time

from harness import SLOW, Fd, equal, eventually, main, timed, timeout


def waiting_reader(m, name="out@forever"):
    reader = subprocess.Popen(["cat", m.at("jobs", name)], stdout=subprocess.PIPE)
    eventually(lambda: m.stats("jobs")["waiting"] >= 1, 10, "a waiting reader")
    return reader


def ends_at_once(process, number):
    begin = time.monotonic()
    process.send_signal(number)
    process.communicate(timeout=5 * SLOW)
    assert time.monotonic() - begin < 0.5 * SLOW
    equal(process.returncode, -number, "status")


def test_a_waiting_reader_ends_at_each_signal(t):
    m = t.queue()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        ends_at_once(waiting_reader(m), number)
        eventually(lambda: m.stats("jobs")["waiting"] == 0, 5, "no waiting reader")
    m.put("jobs", b"a\n")
    equal(m.get("jobs"), b"a\n")


def test_an_interrupted_reader_may_read_on(t):
    m = t.queue()
    hits = []
    signal.signal(signal.SIGALRM, lambda *_: hits.append(m.put("jobs", b"a\n")))
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    with m.open_out("jobs", "next@forever") as file:
        equal(file.read(), b"a\n")
    equal(len(hits), 1, "signals")


def test_sigstop_and_sigcont_of_a_waiting_reader(t):
    m = t.queue()
    reader = waiting_reader(m, "next@forever")
    reader.send_signal(signal.SIGSTOP)
    time.sleep(0.1)
    reader.send_signal(signal.SIGCONT)
    time.sleep(0.1)
    m.put("jobs", b"a\n")
    equal(reader.communicate(timeout=10 * SLOW)[0], b"a\n")


def blocked_writer(t):
    m = t.queue(maxsize=5, batch_size=1, buffer_bytes="64KiB")
    writer = subprocess.Popen(["sh", "-c", "exec seq 1 1000000 > jobs/in"], cwd=m.path)

    def blocked():
        before = m.stats("jobs")["total_puts"]
        time.sleep(0.3)
        return before > 0 and m.stats("jobs")["total_puts"] == before

    eventually(blocked, 20, "a blocked writer")
    return m, writer


def test_a_blocked_writer_ends_at_each_signal(t):
    m, writer = blocked_writer(t)
    ends_at_once(writer, signal.SIGINT)
    writer = subprocess.Popen(["sh", "-c", "echo x > jobs/in"], cwd=m.path)
    time.sleep(0.3)
    ends_at_once(writer, signal.SIGKILL)
    assert m.stats("jobs")["buffer_size"] >= 0


def test_a_killed_blocked_writer_leaves_whole_items_in_order(t):
    m, writer = blocked_writer(t)
    ends_at_once(writer, signal.SIGKILL)
    data = b""
    while True:
        part = m.get("jobs", "out@1s")
        if not part:
            break
        data += part
    lines = data.splitlines()
    equal([int(line) for line in lines[:-1]], list(range(1, len(lines))))


def test_a_flush_that_waits_can_be_interrupted(t):
    m = t.queue(maxsize=1, batch_size=1)
    with m.open_in("jobs", os.O_NONBLOCK) as file:
        for n in range(3):
            try:
                file.write(b"%d\n" % n)
            except BlockingIOError:
                break
    if m.stats("jobs")["buffer_size"] == 0:
        return
    touch = subprocess.Popen(["touch", m.at("jobs/flush")])
    time.sleep(0.3)
    if touch.poll() is None:
        begin = time.monotonic()
        touch.kill()
        touch.wait(5 * SLOW)
        assert time.monotonic() - begin < 0.5 * SLOW


def test_closing_a_waiting_readers_open_elsewhere_does_not_end_it(t):
    m = t.queue()
    with Fd(m.at("jobs/next@forever"), os.O_RDONLY) as file:
        reader = subprocess.Popen(["cat"], stdin=file.number, stdout=subprocess.PIPE)
        eventually(lambda: m.stats("jobs")["waiting"] == 1, 10, "a waiting reader")
    m.put("jobs", b"a\n")
    equal(reader.communicate(timeout=10 * SLOW)[0], b"a\n")


@timeout(60)
def test_readers_killed_at_random_lose_nothing_they_did_not_read(t):
    m = t.queue()
    got = []
    for n in range(100):
        reader = subprocess.Popen(["cat", m.at("jobs/next@forever")], stdout=subprocess.PIPE)
        time.sleep((n % 10) / 500)
        reader.kill()
        if n % 2 == 0:
            reader.wait()
        m.put("jobs", b"%d\n" % n)
        got += reader.communicate(timeout=10 * SLOW)[0].split()
        got += m.get("jobs").split()
    equal(m.stats("jobs")["waiting"], 0, "waiting")
    equal(m.stats("jobs")["leased"], 0, "leased")
    # A read that was answered as its reader died took its item: one put before that may be missing.
    numbers = [int(item) for item in got]
    equal(len(set(numbers)), len(numbers), "items given once")
    equal([n for n in numbers if n % 2 == 0], list(range(0, 100, 2)), "items put after the death")


def test_a_stopped_mount_frees_everyone(t):
    m, writer = blocked_writer(t)
    m.mkdir("empty")
    reader = subprocess.Popen(["cat", m.at("empty/out@forever")], stderr=subprocess.PIPE)
    eventually(lambda: m.stats("empty")["waiting"] == 1, 10, "a waiting reader")
    m.daemon.terminate()
    assert timed(reader.wait, 10 * SLOW) < 1 * SLOW
    assert timed(writer.wait, 10 * SLOW) < 1 * SLOW
    assert b"shutdown" in reader.communicate()[1]
    writer.wait()


if __name__ == "__main__":
    main()
