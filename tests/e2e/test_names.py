#!/usr/bin/env python3
"""Which names there are: of queues, and `out@N@T` with its suffixes."""

import errno
import os
import stat

from harness import Fd, equal, fails, main

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
    for name in ("config", "metrics", "new"):
        fails(errno.EINVAL, os.mkdir, m.at(name))
        fails(errno.ENOENT, os.stat, m.at(name))
    for name in ("stats", "flush", "help"):
        try:
            os.mkdir(m.at(name))
        except OSError as error:
            assert error.errno in (errno.EINVAL, errno.EEXIST), error
        else:
            raise AssertionError(name + " was made")


def test_suffixes_that_are_names(t):
    m = t.queue()
    for name in ("out@1", "out@100", "out@forever", "out@1s", "out@100@1s", "out@0s", "out@5ms",
                 "out@3@forever", "next@5s", "next@forever", "out@1m", "out@1h", "out@10us",
                 "claim@8", "claim@forever", "claim@5s", "claim@8@forever"):
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
                 "outx", "ou", "out@@1", "out@1.5", "OUT", "claim@0", "claim@", "claims",
                 "claim@forever@8", "ready@1", "leased@1s", "dead@forever", "done"):
        fails(errno.ENOENT, os.stat, m.at("jobs", name))


def test_what_is_listed(t):
    m = t.queue()
    directories = ["ready", "leased", "dead"]
    files = ["in", "stats", "flush", "config", "purge", "help"]
    equal(sorted(os.listdir(m.at("jobs"))), sorted(directories + files))
    for entry in os.scandir(m.at("jobs")):
        kind = stat.S_ISDIR if entry.name in directories else stat.S_ISREG
        assert kind(os.stat(entry.path).st_mode), entry.name
        equal(entry.is_dir(), entry.name in directories, entry.name)
        equal(entry.inode(), os.stat(entry.path).st_ino, entry.name)
    equal(os.stat(m.at("jobs")).st_nlink, 5, "links of a queue's directory")


def test_names_that_are_no_ids(t):
    m = t.queue()
    for directory in ("ready", "leased", "dead"):
        for name in ("x", "0", "in", "0000000000000000", "0000000001000000x", "000000000100000",
                     "00000000010000FF", "8000000001000000"):
            fails(errno.ENOENT, os.stat, m.at("jobs", directory, name))
            fails(errno.ENOENT, os.unlink, m.at("jobs", directory, name))
            fails(errno.EPERM, os.mkdir, m.at("jobs", directory, name))
            fails(errno.EPERM, os.mknod, m.at("jobs", directory, name))
            fails(errno.EPERM, os.symlink, "x", m.at("jobs", directory, name))
            fails(errno.EPERM, Fd, m.at("jobs", directory, name), os.O_WRONLY | os.O_CREAT)
        fails(errno.EPERM, os.rmdir, m.at("jobs", directory))
        fails(errno.EPERM, os.rename, m.at("jobs", directory), m.at("jobs", "x"))
        fails(errno.EPERM, os.chmod, m.at("jobs", directory), 0o777)


def test_suffixed_names_are_not_listed(t):
    m = t.queue()
    m.get("jobs", "out@3")
    equal([name for name in os.listdir(m.at("jobs")) if "@" in name], [])


if __name__ == "__main__":
    main()
