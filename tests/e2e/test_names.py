#!/usr/bin/env python3
"""Which names there are: of queues, and `out@N@T` with its suffixes."""

import errno
import os

from harness import equal, fails, main

BAD = ["-a", "_a", "a.b", "a b", "a@1", "a:b", "\u00e9", "x" * 65, ".a", "a\n", "a,b", "a+"]


def test_good_names(t):
    m = t.mount()
    for name in ("a", "Z", "0", "a-b_c", "a_", "9-", "x" * 64, "in", "out"):
        m.mkdir(name)
        m.put(name, b"x\n")
        equal(m.get(name), b"x\n", name)
        os.rmdir(m.at(name))


def test_bad_names_are_einval_for_mkdir_and_enoent_for_lookup(t):
    m = t.mount()
    for name in BAD:
        fails(errno.EINVAL, os.mkdir, m.at(name))
        fails(errno.ENOENT, os.stat, m.at(name))


def test_a_name_of_300_bytes_is_refused(t):
    m = t.mount()
    for function in (os.mkdir, os.stat):
        try:
            function(m.at("x" * 300))
        except OSError as error:
            assert error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.ENOENT), error
        else:
            raise AssertionError("300 bytes were taken")


def test_reserved_names(t):
    m = t.mount()
    for name in ("config", "metrics", "help"):
        fails(errno.EINVAL, os.mkdir, m.at(name))
        fails(errno.ENOENT, os.stat, m.at(name))
    for name in ("stats", "flush"):
        try:
            os.mkdir(m.at(name))
        except OSError as error:
            assert error.errno in (errno.EINVAL, errno.EEXIST), error
        else:
            raise AssertionError(name + " was made")


def test_suffixes_that_are_names(t):
    m = t.queue()
    for name in ("out@1", "out@100", "out@forever", "out@1s", "out@100@1s", "out@0s", "out@5ms",
                 "out@3@forever", "next@5s", "next@forever", "out@1m", "out@1h", "out@10us"):
        os.stat(m.at("jobs", name))
    m.put("jobs", b"a\nb\nc\n")
    equal(m.get("jobs", "out@1"), b"a\n")
    equal(m.get("jobs", "next@forever"), b"b\n")
    equal(m.get("jobs", "out@2@1s"), b"c\n")


def test_suffixes_that_are_not(t):
    m = t.queue()
    for name in ("out@", "out@0", "out@-1", "out@x", "out@1x", "out@1@", "out@1@2", "out@1s@1",
                 "out@1@1s@", "out@1s@1s", "next@3", "next@", "next@1@1s", "in@1", "stats@1",
                 "flush@1s", "out@ 1", "out@+1", "out@01x", "out@99999999999999999999999999",
                 "outx", "ou", "out@@1", "out@1.5", "OUT"):
        fails(errno.ENOENT, os.stat, m.at("jobs", name))


def test_what_is_not_built_yet_is_not_in_the_tree(t):
    m = t.queue()
    for name in ("claim", "claim@8", "ready", "leased", "dead"):
        fails(errno.ENOENT, os.stat, m.at("jobs", name))


def test_suffixed_names_are_not_listed(t):
    m = t.queue()
    m.get("jobs", "out@3")
    equal([name for name in os.listdir(m.at("jobs")) if "@" in name], [])


if __name__ == "__main__":
    main()
