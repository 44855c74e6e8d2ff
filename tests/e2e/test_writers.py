#!/usr/bin/env python3
"""Writers side by side, and what write, fsync, O_SYNC, close and flush promise."""

import errno
import os
import random
import threading

from harness import SLOW, Fd, equal, eventually, fails, main, sh, timed, timeout


def numbered(writer, n, size=0):
    return b"".join(b"%d %d %s\n" % (writer, i, b"z" * (i * size % 997)) for i in range(n))


def check_order(data, n_writers, n):
    """Every line once, each writer's in order."""
    expected = [0] * n_writers
    for line in data.splitlines():
        writer, index = (int(word) for word in line.split()[:2])
        equal(index, expected[writer], "next item of writer %d" % writer)
        expected[writer] += 1
    equal(expected, [n] * n_writers, "items of each writer")


def in_threads(function, count):
    errors = []

    def body(index):
        try:
            function(index)
        except BaseException as error:  # told to the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=body, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@timeout(60)
def test_eight_writers_of_mixed_sizes_keep_their_order(t):
    m = t.queue()
    sizes = (1, 3, 17, 100, 4096, 10000, 131072, 1 << 20)

    def write(index):
        data = numbered(index, 300, 13)
        if sizes[index] < 100:
            data = numbered(index, 300)
        with m.open_in("jobs") as file:
            for at in range(0, len(data), sizes[index]):
                file.write_all(data[at:at + sizes[index]])

    in_threads(write, 8)
    m.flush("jobs")
    data = m.get("jobs")
    check_order(data, 8, 300)
    expected = sorted(b"".join(numbered(i, 300, 13 if sizes[i] >= 100 else 0) for i in range(8))
                      .splitlines())
    equal(sorted(data.splitlines()), expected)


@timeout(60)
def test_many_short_opens_of_eight_processes(t):
    m = t.queue()
    script = "for w in 0 1 2 3 4 5 6 7; do (i=0; while [ $i -lt 200 ]; do " \
             "echo $w $i >> jobs/in || exit 1; i=$((i + 1)); done) & done; wait"
    equal(m.sh(script).stderr, b"", "stderr")
    check_order(m.get("jobs"), 8, 200)


@timeout(60)
def test_readers_and_writers_at_once(t):
    m = t.queue()
    got = []

    def work(index):
        if index < 4:
            with m.open_in("jobs") as file:
                for line in numbered(index, 2000).splitlines(True):
                    file.write(line)
        else:
            while True:
                with m.open_out("jobs", "out@1s", 0) as file:
                    parts = file.read_all()
                if not parts:
                    return
                got.append(parts)

    in_threads(work, 8)
    got.append(m.get("jobs"))  # what comes when no item came for a second finds no reader
    lines = b"".join(got).splitlines()
    equal(len(lines), 8000)
    equal(sorted(lines), sorted(b"".join(numbered(i, 2000) for i in range(4)).splitlines()))


def test_truncate_utimes_and_create_are_accepted(t):
    m = t.queue()
    m.put("jobs", b"a\n")
    os.truncate(m.at("jobs/in"), 0)
    os.utime(m.at("jobs/in"))
    with m.open_in("jobs", os.O_TRUNC | os.O_CREAT | os.O_APPEND) as file:
        os.ftruncate(file.fileno(), 0)
        file.write(b"b\n")
    m.sh("echo c > jobs/in; echo d >> jobs/in; touch jobs/in")
    equal(m.get("jobs"), b"a\nb\nc\nd\n")


def test_opened_for_both_it_takes_and_reads_as_empty(t):
    m = t.queue()
    with Fd(m.at("jobs/in"), os.O_RDWR) as file:
        equal(file.write(b"a\n"), 2)
        equal(file.read(), b"")
    with open(m.at("jobs/in"), "ab+") as file:
        equal(file.read(), b"")
        file.write(b"b\n")
    equal(m.get("jobs"), b"a\nb\n")


def test_opened_for_reading_only_is_eacces(t):
    m = t.queue()
    fails(errno.EACCES, os.open, m.at("jobs/in"), os.O_RDONLY)


def test_fsync_waits_for_what_every_open_wrote(t):
    m = t.queue(linger="1m", batch_size=100000)
    with m.open_in("jobs") as one, m.open_in("jobs") as two:
        one.write(b"a\n")
        two.sync()
        equal(m.stats("jobs")["buffer_size"], 0, "buffer_size")
    m.kill()
    m.start()
    equal(m.get("jobs"), b"a\n")


def test_o_sync_and_o_dsync_wait_for_what_they_wrote(t):
    m = t.queue(linger="1m", batch_size=100000)
    for index, flag in enumerate((os.O_SYNC, os.O_DSYNC), 1):
        with m.open_in("jobs", flag) as file:
            file.write(b"a\n")
            equal(m.depth("jobs"), index, "depth")
    m.kill()
    m.start()
    equal(m.get("jobs"), b"a\na\n")


def test_sync_on_close_waits_at_close(t):
    m = t.queue(linger="1m", batch_size=100000, sync_on_close="true")
    m.put("jobs", b"a\n")
    equal(m.depth("jobs"), 1, "depth")


def test_coreutils_sync_and_dd_fsync_wait(t):
    m = t.queue(linger="1m", batch_size=100000)
    m.sh("echo a > jobs/in; sync jobs/in")
    equal(m.depth("jobs"), 1, "depth")
    m.sh("echo b | dd of=jobs/in conv=fsync,notrunc 2> /dev/null")
    equal(m.depth("jobs"), 2, "depth")
    m.sh("echo c > jobs/in; sync -d jobs/in")
    equal(m.depth("jobs"), 3, "depth")


def test_each_way_to_flush_waits(t):
    m = t.queue(linger="1m", batch_size=100000)
    ways = ("touch jobs/flush", "echo > jobs/flush", "truncate -s 0 jobs/flush", ": > jobs/flush",
            "echo x >> jobs/flush", "touch flush", "echo > flush")
    for index, way in enumerate(ways, 1):
        m.sh("echo a >> jobs/in; " + way)
        equal(m.stats("jobs")["buffer_size"], 0, way)
        equal(m.depth("jobs"), index, way)


def test_linger_sends_without_a_flush(t):
    m = t.queue(linger="50ms")
    m.put("jobs", b"a\n")
    eventually(lambda: m.stats("jobs")["buffer_size"] == 0, 2)
    equal(m.depth("jobs"), 1, "depth")


def test_a_get_sends_what_is_buffered(t):
    m = t.queue(linger="1m", batch_size=100000)
    m.put("jobs", b"a\n")
    equal(m.get("jobs"), b"a\n")


def test_a_flush_of_another_queue_waits_for_its_own_only(t):
    m = t.queue(linger="1m", batch_size=100000)
    m.mkdir("other", linger="1m", batch_size=100000)
    m.put("jobs", b"a\n")
    m.flush("other")
    equal(m.stats("jobs")["buffer_size"], 1, "buffer_size")
    m.flush()
    equal(m.stats("jobs")["buffer_size"], 0, "buffer_size")


@timeout(60)
def test_a_small_buffer_slows_a_writer_down_and_loses_nothing(t):
    m = t.queue(buffer_bytes="1MiB")
    rng = random.Random(3)
    data = b"".join(b"%d %s\n" % (n, b"w" * rng.randrange(5000)) for n in range(8000))
    with m.open_in("jobs") as file:
        file.write_all(data)
    equal(m.get("jobs"), data)


def test_a_put_does_not_wait_for_the_disk(t):
    m = t.queue()
    with m.open_in("jobs") as file:
        assert timed(lambda: [file.write(b"a\n") for _ in range(500)]) < 1 * SLOW


def test_without_o_sync_nothing_is_waited_for(t):
    m = t.queue(linger="1m", batch_size=100000)
    sh("echo a > in", cwd=m.at("jobs"))
    stats = m.stats("jobs")
    equal([stats["buffer_size"], stats["depth"]], [1, 0])


@timeout(60)
def test_a_thousand_opens_at_once_cost_no_more_than_a_thousand(t):
    """What an open asks of the mount does not grow with how many there are."""
    n = 1000
    m = t.queue()
    together, numbers = threading.Barrier(n), []

    def opens():
        together.wait()
        numbers.append(os.open(m.at("jobs/in"), os.O_WRONLY))

    before, size = requests(m), threading.stack_size(128 << 10)
    threads = [threading.Thread(target=opens) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    threading.stack_size(size)
    equal(len(numbers), n, "open")
    asked = (requests(m) - before) / n
    print("# %.1f requests read for each open" % asked)
    for number in numbers:
        os.close(number)
    assert asked < 40, asked


def requests(m):
    """Reads of the program so far: one for each request, and some that found nothing."""
    with open("/proc/%d/io" % m.daemon.pid) as io:
        return next(int(line.split()[1]) for line in io if line.startswith("syscr:"))


if __name__ == "__main__":
    main()
