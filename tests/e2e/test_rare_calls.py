#!/usr/bin/env python3
"""System calls that few programs make."""

import errno
import mmap

from harness import equal, fails, main

MIB = 1 << 20


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


if __name__ == "__main__":
    main()
