#!/usr/bin/env python3
"""fstat(2) of an open of `next` shows the size of the item that it gets; stat(2) by name shows that of
a stream and takes nothing. An item that was shown and not read goes back."""

import errno
import os
import select
import signal
import subprocess
import sys
import threading
import time

from harness import SLOW, Fd, equal, eventually, fails, main, need, timed, timeout
from test_away import stop_at_once
from work import pair

STREAM = 64 << 20


def shown(file):
    return os.fstat(file.fileno()).st_size


def expect_sizes(m, items):
    """Of each in turn, and that it is what is read."""
    for item in items:
        with m.open_out("jobs", "next") as file:
            equal(shown(file), len(item), "the size of %r" % item[:20])
            equal(file.read(), item)
            equal(shown(file), len(item), "the size when it was read")
            equal(file.read(), b"")


def test_of_lines(t):
    m = t.queue()
    items = [b"hello\n", b"\n", b"x" * 4095 + b"\n", b"y" * 5000 + b"\n"]
    m.put("jobs", b"".join(items))
    expect_sizes(m, items)
    equal(m.depth("jobs"), 0)


def test_of_nul_framing(t):
    m = t.queue(framing="nul")
    items = [b"one\ntwo\0", b"\0"]
    m.put("jobs", b"".join(items))
    expect_sizes(m, items)


def test_of_file_framing(t):
    m = t.queue(framing="file")
    items = [b"no newline", b"\0" * 70000]
    for item in items:
        m.put("jobs", item)
    expect_sizes(m, items)


@timeout(120)
def test_of_the_largest_item(t):
    m = t.queue(max_item_size="64MiB")
    m.put("jobs", b"x" * STREAM + b"\nsmall\n")
    m.flush("jobs")
    with m.open_out("jobs", "next") as file:
        equal(shown(file), STREAM + 1)
        equal(len(file.read_all()), STREAM + 1)
    expect_sizes(m, [b"small\n"])


def test_each_name_of_one_item(t):
    m = t.queue()
    for name in ("next", "next@5s", "next@forever", "out@1", "out@1@1s"):
        m.put("jobs", b"abc\n")
        with m.open_out("jobs", name) as file:
            equal(shown(file), 4, name)
        with m.open_out("jobs", name, os.O_NONBLOCK) as file:
            equal(shown(file), 4, name)
            equal(file.read(), b"abc\n", name)


def test_not_of_others(t):
    m = t.queue()
    m.put("jobs", b"a\nb\n")
    m.flush("jobs")
    for name in ("out", "out@2", "out@1s", "claim", "claim@2"):
        with m.open_out("jobs", name) as file:
            equal(shown(file), STREAM, name)
            equal(m.stats("jobs")["leased"], 0, name)
            fails(errno.ESPIPE, os.lseek, file.fileno(), 0, os.SEEK_END)


def test_stat_by_name_takes_nothing(t):
    m = t.queue()
    m.put("jobs", b"a\nb\n")
    m.flush("jobs")
    equal(os.stat(m.at("jobs/next")).st_size, STREAM)
    with m.open_out("jobs", "next"):
        ours = m.out("stat -c %s jobs/next")
        equal(int(ours), STREAM, "of another process")
        equal(m.stats("jobs")["leased"], 0)
    for _ in range(100):  # the release may come after close(2)
        with m.open_out("jobs", "next"):
            pass
        equal(os.stat(m.at("jobs/next")).st_size, STREAM)
    equal(m.stats("jobs")["leased"], 0)
    equal(m.get("jobs"), b"a\nb\n")


def test_of_an_empty_queue(t):
    m = t.queue()
    for name in ("next", "next@5s", "next@forever"):
        with m.open_out("jobs", name) as file:
            taken = timed(lambda: equal(shown(file), STREAM, name))
            assert taken < 4, "it took %.2f s" % taken
            m.put("jobs", b"late\n")
            equal(shown(file), 5)
            equal(file.read(), b"late\n")


def test_what_was_just_written_counts(t):
    m = t.queue(linger="10s")
    for n in range(20):
        m.sh("printf %s >> jobs/in" % ("x" * (n + 1)))
        with m.open_out("jobs", "next") as file:
            equal(shown(file), n + 2)
            equal(len(file.read()), n + 2)


# ---- what was not read goes back ----


def test_unread_goes_back_before_close_returns(t):
    _, one, two = pair(t)
    for _ in range(50):
        one.put("jobs", b"abc\nde\n")
        one.flush("jobs")
        with one.open_out("jobs", "next") as file:
            equal(shown(file), 4)
            equal(two.get("jobs", "next"), b"de\n")
        equal(two.get("jobs", "next"), b"abc\n")
    stats = one.stats("jobs")
    equal(stats["redelivered"], 0, "deliveries without an acknowledgement")


def test_no_delivery_is_counted(t):
    m = t.queue(max_deliveries=2)
    m.put("jobs", b"abc\n")
    for _ in range(10):
        with m.open_out("jobs", "next") as file:
            equal(shown(file), 4)
    m.flush("jobs")
    (item,) = os.listdir(m.at("jobs/ready"))
    equal(os.getxattr(m.at("jobs/ready", item), "user.deliveries"), b"0")
    equal(m.stats("jobs")["total_gets"], 0)


def test_a_killed_one_gives_it_back(t):
    m = t.queue()
    m.put("jobs", b"abc\n")
    script = "import os, time; os.fstat(os.open('jobs/next', 0)); print(1, flush=True); time.sleep(99)"
    process = subprocess.Popen([sys.executable, "-c", script], cwd=m.path, stdout=subprocess.PIPE)
    process.stdout.readline()
    equal(m.stats("jobs")["leased"], 1)
    process.kill()
    process.wait()
    process.stdout.close()
    equal(m.get("jobs", "next@2s"), b"abc\n")


def test_the_mount_ends_with_one_that_was_not_read(t):
    m = t.queue()
    m.put("jobs", b"abc\n")
    file = m.open_out("jobs", "next")
    equal(shown(file), 4)
    equal(m.stop(), 0)
    fails(errno.ENOTCONN, shown, file)
    fails(errno.ENOTCONN, file.close)
    m.start()
    equal(m.get("jobs"), b"abc\n")


# ---- reads of it ----


def test_reads_of_a_file_that_has_a_size(t):
    m = t.queue()
    m.put("jobs", b"abcdefgh\nnext\n")
    with m.open_out("jobs", "next") as file:
        fails(errno.EINVAL, os.pread, file.fileno(), 3, 2)
        fails(errno.ESPIPE, os.lseek, file.fileno(), 0, os.SEEK_END)
        equal(shown(file), 9)
        fails(errno.ESPIPE, os.lseek, file.fileno(), 0, os.SEEK_END)
        equal(os.pread(file.fileno(), 3, 2), b"cde")
        equal(os.pread(file.fileno(), 100, 9), b"")
        equal(os.pread(file.fileno(), 100, 7), b"h\n")
        equal(shown(file), 9)
        fails(errno.EINVAL, os.pread, file.fileno(), 3, 2)
    equal(m.get("jobs"), b"next\n")


def test_poll_and_o_nonblock(t):
    m = t.queue(get_timeout="forever")
    m.put("jobs", b"abc\n")
    with m.open_out("jobs", "next", os.O_NONBLOCK) as file:
        equal(shown(file), 4)
        equal(select.select([file], [], [], 0)[0], [file], "readable")
        equal(file.read(), b"abc\n")
    with m.open_out("jobs", "next", os.O_NONBLOCK) as file:
        equal(shown(file), STREAM)
        equal(select.select([file], [], [], 0)[0], [], "readable")
        fails(errno.EAGAIN, file.read)


# ---- more than one ----


def test_two_opens_of_one_thread(t):
    m = t.queue()
    m.put("jobs", b"a\nbb\nccc\ndddd\n")
    with m.open_out("jobs", "next") as one, m.open_out("jobs", "next") as two:
        equal([shown(two), shown(one), shown(two)], [2, 3, 2])
        equal(os.stat(m.at("jobs/next")).st_size, STREAM)
        with m.open_out("jobs", "next") as three:
            equal(three.read(), b"ccc\n")
            equal(shown(three), 4)
        equal([one.read(), two.read()], [b"bb\n", b"a\n"])
    equal(m.get("jobs"), b"dddd\n")


def in_thread(function):
    result = []
    thread = threading.Thread(target=lambda: result.append(function()))
    thread.start()
    thread.join()
    return result[0]


def test_whoever_has_the_open_is_shown_it(t):
    m = t.queue()
    m.put("jobs", b"abc\nde\n")
    with m.open_out("jobs", "next") as file:
        equal(in_thread(lambda: shown(file)), 4)
        equal(os.stat("/proc/self/fd/%d" % file.fileno()).st_size, 4)
        child = subprocess.run(["stat", "-L", "-c", "%s", "-"], stdin=file, stdout=subprocess.PIPE)
        equal(int(child.stdout), 4, "to a child")
        equal(in_thread(file.read), b"abc\n")
    with in_thread(lambda: m.open_out("jobs", "next")) as file:
        equal(shown(file), 3, "of a thread that has ended")


def test_a_child_that_closes_takes_nothing_away(t):
    m = t.queue()
    m.put("jobs", b"abc\nde\n")
    with m.open_out("jobs", "next") as file:
        equal(shown(file), 4)
        for _ in range(20):
            subprocess.run(["true"], check=True)
            subprocess.run(["true"], check=True, pass_fds=[file.fileno()])
        equal(m.get("jobs", "next"), b"de\n")
        equal(shown(file), 4)
        equal(file.read(), b"abc\n")


def test_a_duplicate_of_it(t):
    m = t.queue()
    m.put("jobs", b"abc\nde\n")
    with m.open_out("jobs", "next") as file:
        equal(shown(file), 4)
        os.close(os.dup(file.fileno()))
        equal(m.get("jobs", "next"), b"abc\n", "it went back with that close")
        equal(shown(file), 3)
        equal(file.read(), b"de\n")


def test_standard_input_that_is_opened_again(t):
    need("node")
    m = t.queue()
    node = "node -e \"process.stdout.write(require('fs').readFileSync('/dev/stdin'))\""
    promise = ("node -e \"require('fs').promises.readFile('/dev/stdin')"
               ".then(data => process.stdout.write(data))\"")
    python = sys.executable + " -c \"print(open('/dev/stdin').read(), end='')\""
    for program in ("cat /dev/stdin", python, node, promise):
        for how in ("%s < jobs/next", "exec %s < jobs/next"):
            m.put("jobs", b"abc\n")
            done = m.sh(how % program, check=False)
            if program == promise and b"EINVAL" in done.stderr:  # by io_uring: see docs/tools.md
                done = m.sh("cat jobs/next")
            equal(done.stdout, b"abc\n", how % program)
            equal(m.depth("jobs"), 0)


# The kernel serves splice(2) and its like up to the size that it was last told of an inode.
def test_a_size_is_of_one_open_only(t):
    need("busybox")
    m = t.queue(framing="nul")
    for _ in range(10):
        m.put("jobs", b"1\0one\ntwo\nthree\nfour\0")
        equal(m.out("cat jobs/next"), b"1\0")  # it has shown 2
        equal(m.out("{ head -n 2; busybox cat; } < jobs/next"), b"one\ntwo\nthree\nfour\0")
    m.put("jobs", b"1\0one\ntwo\nthree\nfour\0")
    script = "{ head -n 2; cat jobs/next; busybox cat; } < jobs/next"
    with m.open_out("jobs", "next") as file:
        equal(shown(file), 2)
        m.put("jobs", b"2\0")
        equal(m.out(script), b"one\ntwo\n2\0three\nfour\0")
        equal(file.read(), b"1\0")


@timeout(120)
def test_many_at_once(t):
    m = t.queue()
    n = 2000 // SLOW
    items = [b"%d:" % i + b"x" * (i * 37 % 9000) + b"\n" for i in range(n)]
    m.put("jobs", b"".join(items))
    got, wrong, streams = [], [], []
    done = threading.Event()

    def take():
        while True:
            with m.open_out("jobs", "next@1s") as file:
                size = shown(file)
                if len(got) % 7 == 0:
                    continue_unread(file)
                data = file.read_all()
            if not data:
                return
            if size == STREAM:  # the last ones may be with who disturbs
                streams.append(data)
            elif size != len(data):
                wrong.append((size, len(data)))
            got.append(data)

    def continue_unread(file):
        """Closed by others, looked at by others: it stays."""
        os.stat(m.at("jobs/next"))
        in_thread(lambda: os.fstat(file.fileno()))

    def disturb():
        while not done.is_set():
            with m.open_out("jobs", "next") as file:
                shown(file)
            subprocess.run(["stat", m.at("jobs/next")], stdout=subprocess.DEVNULL, check=True)

    threads = [threading.Thread(target=take) for _ in range(6)]
    other = threading.Thread(target=disturb)
    for thread in threads + [other]:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    other.join()
    equal(wrong[:5], [], "sizes that were not those of the items")
    assert len(streams) < n / 20, "%d of no size" % len(streams)
    equal(sorted(got + m.get("jobs").splitlines(True)), sorted(items))


# ---- the service does not answer ----


@timeout(90)
def test_a_service_that_is_stopped(t):
    service, one, _ = pair(t, 2)
    stop_at_once(service.daemon)
    try:
        with one.open_out("jobs", "next") as file:
            taken = timed(lambda: equal(shown(file), STREAM))
            assert 0.9 <= taken <= 2 * SLOW, "it took %.2f s" % taken
            taken = timed(lambda: equal(shown(file), STREAM))
            assert taken < 0.5 * SLOW, "then it took %.2f s" % taken
    finally:
        service.daemon.send_signal(signal.SIGCONT)
    eventually(lambda: one.get("jobs", "next@1s") == b"0\n", 5, "the first item")
    equal(one.get("jobs", "next@1s"), b"1\n")


def asks(m):
    """A process in an fstat(2) that waits."""
    script = "import os; file = os.open('jobs/next', 0); print(1, flush=True); os.fstat(file)"
    process = subprocess.Popen([sys.executable, "-c", script], cwd=m.path, stdout=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    time.sleep(0.2)
    return process


@timeout(90)
def test_a_wait_can_be_killed(t):
    service, one, _ = pair(t, 4)
    took = []
    for n in range(3):  # the best of them, so that a busy machine does not decide
        stop_at_once(service.daemon)
        try:
            process = asks(one)
            process.kill()
            took.append(timed(process.wait))
        finally:
            service.daemon.send_signal(signal.SIGCONT)
        item = b"%d\n" % n
        eventually(lambda: one.get("jobs", "next@1s") == item, 5, "the first item that is left")
    assert min(took) < 0.5, "it took %.2f s" % min(took)


@timeout(90)
def test_the_mount_ends_while_one_waits(t):
    service, one, _ = pair(t, 2)
    stop_at_once(service.daemon)
    try:
        process = asks(one)
        one.daemon.terminate()
        equal(process.wait(), 0)
    finally:
        service.daemon.send_signal(signal.SIGCONT)
    one.ended()


main()
