#!/usr/bin/env python3
"""The table of errors: what the caller gets, with the errno, and what is kept."""

import errno
import os
import signal
import subprocess
import sys
import time

from harness import Fd, SLOW, equal, eventually, fails, main, timed, timeout

# A mount that ends tries for that long to send what the store does not take.
SMALL_STORE = "service: {timeout: 4s}\nstore: {max_bytes: 16MiB, min_free: 0}\n"


def write_until_error(file, most, size=0):
    """Numbered items, one a write, until one fails: how many went in, and the errno."""
    for n in range(most):
        try:
            file.write(b"%d %s\n" % (n, b"x" * size))
        except OSError as error:
            return n, error.errno
        time.sleep(0.001)
    raise AssertionError("%d writes and no error" % most)


def drain(m, n):
    """Get n items, as room makes the buffered ones follow."""
    data = b""
    end = time.monotonic() + 20 * SLOW
    while data.count(b"\n") < n:
        assert time.monotonic() < end, "only %d of %d items" % (data.count(b"\n"), n)
        data += m.get("jobs", "out@100ms")
    return data


def numbers(data):
    return [int(line.split()[0]) for line in data.splitlines()]


def test_item_too_large_keeps_everything_before_it(t):
    m = t.queue(max_item_size=100)
    with m.open_in("jobs") as file:
        equal(file.write(b"a\n"), 2)
        fails(errno.EMSGSIZE, file.write, b"x" * 101 + b"\n")
        file.sync()
    equal(m.get("jobs"), b"a\n")


def test_file_framing_too_large_is_emsgsize_and_nothing_is_queued(t):
    m = t.queue(max_item_size=1000, framing="file")
    with m.open_in("jobs") as file:
        fails(errno.EMSGSIZE, lambda: [file.write(b"x" * 300) for _ in range(5)])
    m.flush("jobs")
    equal(m.depth("jobs"), 0, "depth")


def full_queue(t, **settings):
    m = t.queue(maxsize=10, batch_size=1, **settings)
    m.put("jobs", b"".join(b"%d\n" % n for n in range(1000, 1010)))
    m.flush("jobs")
    equal(m.depth("jobs"), 10, "depth")
    return m


def test_full_queue_blocks_until_there_is_room(t):
    m = full_queue(t)
    writer = subprocess.Popen(["sh", "-c", "seq 0 499 > jobs/in"], cwd=m.path)
    time.sleep(0.3)
    assert m.depth("jobs") <= 10
    data = drain(m, 510)
    equal(writer.wait(10 * SLOW), 0, "status")
    equal(numbers(data), list(range(1000, 1010)) + list(range(500)))


def test_full_queue_is_etimedout_after_put_timeout(t):
    m = full_queue(t, put_timeout="200ms")
    with m.open_in("jobs") as file:
        n, error = write_until_error(file, 1000)
        equal(error, errno.ETIMEDOUT, "errno")
        assert 0.2 <= timed(fails, errno.ETIMEDOUT, file.write, b"late\n") < 2 * SLOW
    equal(numbers(drain(m, 10 + n))[10:], list(range(n)), "what was accepted")
    equal(m.get("jobs"), b"")


def test_full_queue_is_eagain_under_o_nonblock(t):
    m = full_queue(t)
    with m.open_in("jobs", os.O_NONBLOCK) as file:
        n, error = write_until_error(file, 1000)
        equal(error, errno.EAGAIN, "errno")
    equal(numbers(drain(m, 10 + n))[10:], list(range(n)), "what was accepted")


def test_full_queue_with_on_full_fail_is_enospc(t):
    m = full_queue(t, on_full="fail")
    with m.open_in("jobs") as file:
        n, error = write_until_error(file, 1000)
        equal(error, errno.ENOSPC, "errno")
        fails(errno.ENOSPC, file.write, b"no\n")
        equal(m.depth("jobs"), 10, "depth")
        data = drain(m, 10 + n)
        equal(numbers(data)[10:], list(range(n)), "what was accepted")
        file.write(b"again\n")
    equal(m.get("jobs"), b"again\n")


def test_full_buffer_waits_and_is_eagain_under_o_nonblock(t):
    m = full_queue(t, buffer_bytes="64KiB")
    with m.open_in("jobs", os.O_NONBLOCK) as file:
        n, error = write_until_error(file, 1000, 1000)
        equal(error, errno.EAGAIN, "errno")
        assert n < 100, "%d items of 1 KB in a buffer of 64 KiB" % n
    equal(numbers(drain(m, 10 + n))[10:], list(range(n)), "what was accepted")


def test_put_after_a_failed_one_works(t):
    m = full_queue(t, on_full="fail")
    with m.open_in("jobs") as file:
        accepted, _ = write_until_error(file, 1000)
    drain(m, 10 + accepted)
    equal(m.out("echo fine >> jobs/in; touch jobs/flush; cat jobs/out"), b"fine\n")


@timeout(90)
def test_store_filled_to_its_limit(t):
    m = t.mount(SMALL_STORE)
    m.mkdir("jobs")
    line = b"y" * 999 + b"\n"
    stored = 0
    with m.open_in("jobs") as file:
        try:
            for _ in range(64):
                file.write_all(line * 1000)
                file.sync()
                stored += 1000
        except OSError as error:
            equal(error.errno, errno.ENOSPC, "errno")
        else:
            raise AssertionError("64 MB in a store of 16 MiB")
    assert stored >= 4000, "full at %d items of 1000 bytes" % stored
    fails(errno.ENOSPC, m.flush, "jobs")
    assert m.stats("jobs")["buffer_size"] > 0
    # Gets go on, and bring room: what was accepted follows by itself.
    got = 0
    while got < stored:
        data = m.get("jobs", "out@1000")
        assert data, "the queue gives nothing after %d of %d" % (got, stored)
        got += len(data) // 1000
    eventually(lambda: m.stats("jobs")["buffer_size"] == 0 or not m.get("jobs"), 20)
    while m.get("jobs", "out@1s"):
        pass
    with m.open_in("jobs") as file:
        file.write_all(b"again\n")
        file.sync()
    equal(m.get("jobs"), b"again\n")


@timeout(90)
def test_store_full_is_told_to_the_next_write(t):
    m = t.mount(SMALL_STORE)
    m.mkdir("jobs")
    with m.open_in("jobs") as file:
        fails(errno.ENOSPC, lambda: [file.write(b"y" * 99999 + b"\n") for _ in range(5000)])


def full_disk(t):
    """A mount whose disk has less room than min_free, whatever it has."""
    space = os.statvfs(t.directory)
    free = space.f_bavail * space.f_frsize // (1 << 20)
    m = t.mount("service: {timeout: 4s}\nstore: {min_free: %dMiB}\n" % (free + 4096))
    m.mkdir("jobs")
    return m


def test_less_than_min_free_on_the_disk_is_enospc(t):
    m = full_disk(t)
    with m.open_in("jobs") as file:
        file.write(b"a\n")
        fails(errno.ENOSPC, file.sync)
        fails(errno.ENOSPC, m.flush, "jobs")


def test_queue_removed_under_a_reader_is_enoent(t):
    m = t.queue()
    program = "import os, sys\ntry: os.read(os.open(sys.argv[1], 0), 10)\n" \
              "except OSError as e: print(e.errno)"
    command = [sys.executable, "-c", program, m.at("jobs/out@forever")]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE)
    eventually(lambda: m.stats("jobs")["waiting"] == 1, 10, "a waiting reader")
    os.rmdir(m.at("jobs"))
    equal(int(reader.communicate(timeout=5 * SLOW)[0]), errno.ENOENT, "errno")


def test_queue_removed_under_opens_is_enoent(t):
    m = t.queue()
    with m.open_in("jobs") as writer, m.open_out("jobs") as reader:
        os.rmdir(m.at("jobs"))
        fails(errno.ENOENT, writer.write, b"a\n")
        fails(errno.ENOENT, writer.sync)
        fails(errno.ENOENT, reader.read)
        m.mkdir("jobs")
        fails(errno.ENOENT, writer.write, b"a\n")
    equal(m.get("jobs"), b"")


def test_unknown_setting_is_einval_and_changes_nothing(t):
    m = t.queue()
    before = m.out("cat jobs/config")
    for text in (b"nonsense: 1\n", b"batch_size: 0\n", b"batch_size: many\n", b"framing: heap\n",
                 b"batch_size: 7\nnonsense: 1\n", b"batch_size: 7\nbatch_size: 8\n",
                 b"max_item_size: 65MiB\n", b"mode: 1777\n", b"batch_size 7\n", b"[\n"):
        with Fd(m.at("jobs/config"), os.O_WRONLY) as config:
            fails(errno.EINVAL, config.write, text)
        equal(m.out("cat jobs/config"), before, repr(text))
    assert "nonsense" in m.log(), m.log()


def test_the_mount_is_ending_is_eshutdown(t):
    m = t.queue()
    program = "import os, sys\ntry: os.read(os.open(sys.argv[1], 0), 10)\n" \
              "except OSError as e: print(e.errno)"
    command = [sys.executable, "-c", program, m.at("jobs/out@forever")]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(5)]
    eventually(lambda: m.stats("jobs")["waiting"] == 5, 20, "5 waiting readers")
    os.kill(m.daemon.pid, signal.SIGTERM)
    for reader in readers:
        equal(int(reader.communicate(timeout=5 * SLOW)[0]), errno.ESHUTDOWN, "errno")
    equal(m.ended(), 0, "status")


def test_what_cannot_be_sent_at_the_end_is_told_with_status_1(t):
    m = full_disk(t)
    m.sh("seq 7 > jobs/in")
    equal(m.stats("jobs")["buffer_size"], 7, "buffer_size")
    equal(m.stop(20), 1, "status")
    assert "7" in m.log().splitlines()[-1], m.log()


def test_an_unfinished_item_at_the_end_is_told_with_status_1(t):
    m = t.queue()
    file = m.open_in("jobs")
    file.write(b"half")
    equal(m.stop(), 1, "status")
    fails(errno.ENOTCONN, file.close)
    assert "unfinished" in m.log(), m.log()


def test_wrong_uses_of_the_tree(t):
    m = t.queue()
    m.put("jobs", b"a\n")
    for name in ("in", "out", "stats", "config", "flush", "purge", "next"):
        fails(errno.EPERM, os.unlink, m.at("jobs", name))
        fails(errno.EPERM, os.rename, m.at("jobs", name), m.at("jobs/new"))
    fails(errno.EPERM, os.unlink, m.at("stats"))
    fails(errno.EPERM, os.link, m.at("jobs/stats"), m.at("jobs/link"))
    fails(errno.EPERM, os.symlink, "x", m.at("jobs/link"))
    fails(errno.EPERM, os.symlink, "x", m.at("link"))
    fails(errno.EPERM, os.mkdir, m.at("jobs/directory"))
    m.mkdir("other")
    fails(errno.EPERM, os.rename, m.at("jobs/in"), m.at("other/in"))
    fails(errno.EPERM, os.rename, m.at("jobs"), m.at("third"))
    equal(m.get("jobs"), b"a\n")


def test_a_new_file_cannot_be_made(t):
    m = t.queue()
    for path in ("file", "jobs/file", "jobs/ready/file", "jobs/leased/file", "jobs/dead/file"):
        try:
            os.close(os.open(m.at(path), os.O_WRONLY | os.O_CREAT))
        except OSError as error:
            assert error.errno in (errno.EPERM, errno.ENOENT, errno.EACCES), error
        else:
            raise AssertionError(path + " was made")


if __name__ == "__main__":
    main()
