#!/usr/bin/env python3
"""Where an item begins and ends: line, nul and file, however write(2) splits them."""

import errno
import os
import random

from harness import equal, fails, main, timeout


def test_two_opens_never_mix_bytes(t):
    m = t.queue()
    with m.open_in("jobs") as one, m.open_in("jobs") as two:
        for part in (b"aa", b"bb", b"cc"):
            one.write(part)
            two.write(part.upper())
        two.write(b"\n")
        one.write(b"\n")
    equal(m.get("jobs"), b"AABBCC\naabbcc\n")


def test_a_subshell_is_one_open_and_one_item(t):
    m = t.queue()
    m.sh("( /usr/bin/printf a; /usr/bin/printf b; echo c ) >> jobs/in")
    equal(m.get("jobs", "next"), b"abc\n")
    equal(m.get("jobs", "next"), b"")


def test_a_last_line_without_newline_becomes_an_item_at_the_last_close(t):
    m = t.queue()
    m.sh("printf 'a\\nb' > jobs/in")
    equal(m.get("jobs"), b"a\nb\n")


def test_fsync_neither_ends_nor_waits_for_an_unfinished_item(t):
    m = t.queue()
    with m.open_in("jobs") as file:
        file.write(b"whole\nhalf")
        file.sync()
        equal(m.get("jobs"), b"whole\n")
        file.write(b" and half\n")
        equal(m.get("jobs"), b"half and half\n")


def test_a_close_without_data_puts_nothing(t):
    for framing in ("line", "nul", "file"):
        m = t.mount() if not t.mounts else t.mounts[0]
        m.mkdir(framing, framing=framing)
        m.sh(": > %s/in; : >> %s/in; truncate -s 0 %s/in" % (framing, framing, framing))
        m.flush(framing)
        equal(m.depth(framing), 0, framing)


def test_nul_framing_keeps_newlines(t):
    m = t.queue(framing="nul")
    data = b"a\nb\0\0c\0"
    m.put("jobs", data)
    equal(m.get("jobs"), data)
    m.sh("find /etc/apt -print0 > jobs/in")
    equal(m.out("cat jobs/out | tr '\\0' '\\n'"), m.out("find /etc/apt"))


def test_nul_framing_ends_the_last_item_with_its_separator(t):
    m = t.queue(framing="nul")
    m.put("jobs", b"a\0b")
    equal(m.get("jobs"), b"a\0b\0")


def test_file_framing_makes_each_open_one_item(t):
    m = t.queue(framing="file")
    for data in (b"a\nb\n", b"\0\0", b"no newline"):
        m.put("jobs", data)
    equal(m.get("jobs"), b"a\nb\n")
    equal(m.get("jobs", "next"), b"\0\0")
    equal(m.get("jobs"), b"no newline")
    equal(m.get("jobs"), b"")


def test_file_framing_joins_the_writes_of_one_open(t):
    m = t.queue(framing="file")
    m.sh("( /usr/bin/printf a; /usr/bin/printf b; echo c ) >> jobs/in")
    equal(m.get("jobs"), b"abc\n")


@timeout(60)
def test_cp_of_20_mb_of_binary_data_and_back(t):
    m = t.queue(framing="file", max_item_size="64MiB")
    m.sh("head -c 20000000 /dev/urandom > ../binary; cp ../binary jobs/in; touch jobs/flush")
    equal(m.depth("jobs"), 1, "depth")
    m.sh("cp jobs/out ../back; cmp ../binary ../back")
    equal(m.depth("jobs"), 0, "depth")


def test_an_item_as_large_as_allowed_passes_and_one_byte_more_does_not(t):
    m = t.queue(max_item_size=1000)
    m.put("jobs", b"x" * 1000 + b"\n")
    equal(m.get("jobs"), b"x" * 1000 + b"\n")
    with m.open_in("jobs") as file:
        fails(errno.EMSGSIZE, file.write, b"x" * 1001 + b"\n")
    equal(m.get("jobs"), b"")


def test_an_item_of_the_default_limit_passes(t):
    m = t.queue()
    item = os.urandom(1 << 20).replace(b"\n", b" ") + b"\n"
    m.put("jobs", item + b"next\n")
    equal(m.get("jobs"), item + b"next\n")


def test_items_before_the_one_that_is_too_large_are_queued(t):
    m = t.queue(max_item_size=100)
    with m.open_in("jobs") as file:
        data = b"a\nb\n" + b"x" * 200
        equal(file.write(data), 4, "the short count")
        fails(errno.EMSGSIZE, file.write, data[4:])
        rest = b"x" * 50 + b"\nnext\n"
        equal(file.write(rest), len(rest), "bytes taken of the rest")
    equal(m.get("jobs"), b"a\nb\nnext\n")


def test_a_5_mb_line_in_4_kib_writes_leaves_no_fragment(t):
    m = t.queue()
    errors = 0
    with m.open_in("jobs") as file:
        for _ in range(5 * 256):
            try:
                file.write(b"x" * 4096)
            except OSError as error:
                equal(error.errno, errno.EMSGSIZE, "errno")
                errors += 1
        file.write(b"\nnext\n")
    assert errors >= 1
    equal(m.get("jobs"), b"next\n")


def test_a_5_mb_line_of_dd_fails_with_a_message(t):
    m = t.queue()
    done = m.sh("head -c 5000000 /dev/zero | tr '\\0' x | dd bs=4k of=jobs/in", check=False)
    assert b"Message too long" in done.stderr, done.stderr
    equal(m.get("jobs"), b"")


@timeout(60)
def test_random_pieces_come_out_whole(t):
    m = t.queue()
    rng = random.Random(7)
    lines = [b"%d %s\n" % (n, b"y" * rng.randrange(3000)) for n in range(3000)]
    data = b"".join(lines)
    with m.open_in("jobs") as file:
        at = 0
        while at < len(data):
            at += file.write(data[at:at + rng.choice((1, 7, 100, 4096, 65536, 300000))])
    equal(m.get("jobs"), data)


def test_a_changed_framing_holds_for_what_is_put_then(t):
    m = t.queue()
    m.put("jobs", b"line\n")
    m.flush("jobs")
    m.configure("jobs", framing="nul")
    m.put("jobs", b"n\nul\0")
    m.flush("jobs")
    equal(m.depth("jobs"), 2, "depth")
    first, second = m.get("jobs", "next"), m.get("jobs", "next")
    equal(first[:-1], b"line")
    equal(second[:-1], b"n\nul")


if __name__ == "__main__":
    main()
