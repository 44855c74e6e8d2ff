#!/usr/bin/env python3
"""System calls that few programs make, and clocks that are wrong."""

import ctypes
import errno
import mmap
import os
import time

from harness import Fd, equal, eventually, fails, main, need, preloaded, timeout

MIB = 1 << 20
AT_FDCWD = -100
libc = ctypes.CDLL(None, use_errno=True)


# ---- a write(2) of more than the kernel hands over in one piece ----


def aligned(data):
    """The same bytes on a page of their own: what is not aligned is cut elsewhere."""
    pages = mmap.mmap(-1, len(data))
    pages[:] = data
    return memoryview(pages)


LINES = aligned((b"x" * 63 + b"\n") * (MIB // 64))


def long_write(m):
    """A write(2) of more than 1 MiB: the error on its second piece is not shown."""
    data = aligned(bytes(LINES) + b"y" * 2000 + b"\n")
    file = m.open_in("jobs")
    equal(file.write(data), MIB, "the short count")
    return file, data[MIB:]


def test_an_error_behind_a_short_count_is_told_once(t):
    m = t.queue(max_item_size=1000)
    file, rest = long_write(m)
    with file:
        fails(errno.EMSGSIZE, file.write, rest)
        equal(file.write(b"good\n"), 5)
        file.sync()
    equal(m.depth("jobs"), MIB // 64 + 1)


def test_the_rest_may_be_written_with_more_or_in_smaller_parts(t):
    m = t.queue(max_item_size=1000)
    for again in (lambda rest: bytes(rest) + b"more\n", lambda rest: rest[:1999]):
        file, rest = long_write(m)
        with file:
            fails(errno.EMSGSIZE, file.write, again(rest))
            equal(file.write(b"\ngood\n"), 6)


def test_an_error_after_a_write_of_just_so_much_is_told_once(t):
    m = t.queue(max_item_size=1000)
    with m.open_in("jobs") as file:
        for _ in range(3):
            equal(file.write(LINES), MIB)
            fails(errno.EMSGSIZE, file.write, b"y" * 2000 + b"\n")
            equal(file.write(b"good\n"), 5)
        equal(file.write(LINES), MIB)
        fails(errno.EMSGSIZE, file.write, b"y" * 2000 + b"\n")
        file.sync()
    equal(m.depth("jobs"), 4 * (MIB // 64) + 3)


def test_an_error_that_nobody_asked_for_again_does_not_come_back(t):
    m = t.queue(max_item_size=1000)
    file, _ = long_write(m)
    with file:
        equal(file.write(b"good\n"), 5)
        file.sync()


# ---- fallocate, RLIMIT_FSIZE ----


def test_fallocate_does_nothing(t):
    need("fallocate")
    m = t.queue()
    with m.open_in("jobs") as file:
        os.posix_fallocate(file.fileno(), 0, 1 << 20)
        file.write(b"a\n")
        os.posix_fallocate(file.fileno(), 0, 100)
        file.write(b"b")
        os.posix_fallocate(file.fileno(), 1 << 30, 4096)
    m.sh("fallocate -l 1M jobs/in; fallocate -x -l 1M jobs/in; echo c >> jobs/in")
    equal(m.get("jobs"), b"a\nb\nc\n")
    with Fd(m.at("jobs", "config"), os.O_WRONLY) as file:
        fails(errno.EPERM, os.posix_fallocate, file.fileno(), 0, 100)


def test_a_limit_on_the_size_of_files_does_not_add_up_over_opens(t):
    m = t.queue()
    line = "x" * 999
    for to in (">", ">>"):
        for shell in ("sh", "bash"):
            m.sh("ulimit -f 16; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do"
                 " echo %s %s jobs/in; done" % (line, to), shell=shell)
            equal(m.get("jobs"), (line + "\n").encode() * 20, to)


# ---- file handles ----


class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_ubyte * 128)]


def handle_of(path):
    handle, mount_id = Handle(bytes=128), ctypes.c_int()
    if libc.name_to_handle_at(AT_FDCWD, path.encode(), ctypes.byref(handle),
                              ctypes.byref(mount_id), 0):
        raise OSError(ctypes.get_errno(), "name_to_handle_at")
    return handle


def open_handle(root, handle):
    number = libc.open_by_handle_at(root, ctypes.byref(handle), os.O_RDONLY)
    if number < 0:
        raise OSError(ctypes.get_errno(), "open_by_handle_at")
    with os.fdopen(number, "rb") as file:
        return file.read()


def test_a_file_handle_never_opens_another_item(t):
    m = t.queue()
    root = os.open(m.path, os.O_RDONLY | os.O_DIRECTORY)
    m.put("jobs", b"".join(b"%d\n" % n for n in range(50)))
    handles = []
    for name in os.listdir(m.at("jobs", "ready")):
        path = m.at("jobs", "ready", name)
        with open(path, "rb") as file:
            data = file.read()
            handles.append((handle_of(path), data))
        os.unlink(path)
    m.sh("sync; echo 2 > /proc/sys/vm/drop_caches")  # so that the nodes are forgotten
    m.put("jobs", b"".join(b"other %d\n" % n for n in range(500)))
    for name in os.listdir(m.at("jobs", "ready")):
        os.stat(m.at("jobs", "ready", name))
    for handle, data in handles:
        try:
            equal(open_handle(root, handle), data, "what the handle opens")
        except OSError as error:
            equal(error.errno in (errno.ESTALE, errno.ENOENT), True, os.strerror(error.errno))
    os.close(root)


# ---- the time of day ----


@timeout(60)
def test_a_retry_takes_its_time_and_no_more_whatever_the_time_of_day(t):
    for name, shift in (("back", -50 * 365 * 86400), ("forward", 50 * 365 * 86400)):
        m = t.mount(name=name, data="data." + name)
        m.mkdir("jobs", retry_delay="6s")
        m.put("jobs", b"x\n")
        for _ in range(2):
            m.sh("id=$(cat jobs/claim@5s); mv jobs/leased/$id jobs/ready/")
        m.flush("jobs")
        equal(m.get("jobs"), b"", "at once")
        equal(m.stop(), 0)
        begin = time.monotonic()
        with preloaded(t, "wall_clock", WALL_SHIFT=str(shift)):
            m.start(wait=False)
        eventually(m.answers, 10, "the mount")
        equal(m.get("jobs", "out@20s"), b"x\n", name)
        took = time.monotonic() - begin
        equal(took < 13, True, "%s: %.1f s for what was left of 6 s" % (name, took))


if __name__ == "__main__":
    main()
