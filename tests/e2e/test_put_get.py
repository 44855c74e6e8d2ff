#!/usr/bin/env python3
"""What goes in comes out: once, in order, byte for byte; the tree around it."""

import errno
import os
import stat

from harness import Fd, equal, fails, is_mounted, main, timed, timeout


def test_a_line_goes_in_and_comes_out(t):
    m = t.queue()
    equal(m.out("echo hello > jobs/in; cat jobs/next"), b"hello\n")
    equal(m.out("cat jobs/next"), b"")


def test_a_file_comes_back_byte_for_byte(t):
    m = t.queue()
    lines = [b"", b"one", b"", b"", b"with \x00 and \xff bytes", b"carriage\r", b"x" * 75000]
    data = b"".join(line + b"\n" for line in lines) * 50
    m.put("jobs", data)
    m.flush("jobs")
    equal(m.depth("jobs"), len(lines) * 50, "depth")
    equal(m.get("jobs"), data)


def test_an_empty_queue_gives_an_end_of_file_at_once(t):
    m = t.queue()
    assert timed(m.get, "jobs") < 4
    equal(m.get("jobs"), b"")


@timeout(120)
def test_1000_rounds_of_printf_flush_cat(t):
    m = t.queue()
    script = """i=0; while [ $i -lt 1000 ]; do printf x >> jobs/in; touch jobs/flush
                x=$(cat jobs/out); [ "$x" = x ] || { echo round $i: "$x"; exit 1; }
                i=$((i + 1)); done; echo $i"""
    equal(m.out(script, seconds=100), b"1000\n")


@timeout(120)
def test_1000_rounds_of_echo_cat(t):
    m = t.queue()
    script = """i=0; while [ $i -lt 1000 ]; do echo $i >> jobs/in
                x=$(cat jobs/out); [ "$x" = $i ] || { echo round $i: "$x"; exit 1; }
                i=$((i + 1)); done; echo $i"""
    equal(m.out(script, seconds=100), b"1000\n")


def test_next_gives_one_item_per_open(t):
    m = t.queue()
    m.put("jobs", b"a\nb\nc\n")
    equal([m.get("jobs", "next") for _ in range(4)], [b"a\n", b"b\n", b"c\n", b""])


def test_put_through_many_opens_keeps_the_order(t):
    m = t.queue()
    for n in range(500):
        m.put("jobs", b"%d\n" % n)
    equal(m.get("jobs"), b"".join(b"%d\n" % n for n in range(500)))


def test_queues_do_not_mix(t):
    m = t.queue()
    m.mkdir("other")
    m.put("jobs", b"j\n")
    m.put("other", b"o\n")
    equal(m.get("other"), b"o\n")
    equal(m.get("jobs"), b"j\n")


def test_what_was_flushed_is_there_after_a_restart(t):
    m = t.queue()
    m.put("jobs", b"a\nb\nc\n")
    equal(m.get("jobs", "next"), b"a\n")
    m.flush()
    m.restart()
    equal(m.get("jobs"), b"b\nc\n")
    m.restart()
    equal(m.get("jobs"), b"")


def test_what_was_not_flushed_is_sent_when_the_mount_ends(t):
    m = t.queue()
    m.configure("jobs", linger="1m", batch_size=100000)
    m.put("jobs", b"a\nb\n")
    m.restart()
    equal(m.get("jobs"), b"a\nb\n")


def test_purge_removes_the_ready_items(t):
    m = t.queue()
    m.put("jobs", b"a\nb\n")
    m.flush("jobs")
    m.sh("echo jobs > jobs/purge")
    equal(m.get("jobs"), b"")
    equal(m.depth("jobs"), 0, "depth")


def test_purge_with_another_name_removes_nothing(t):
    m = t.queue()
    m.put("jobs", b"a\n")
    m.flush("jobs")
    with Fd(m.at("jobs/purge"), os.O_WRONLY) as purge:
        fails(errno.EINVAL, purge.write, b"other\n")
    equal(m.get("jobs"), b"a\n")


def test_mkdir_and_rmdir(t):
    m = t.queue()
    fails(errno.EEXIST, os.mkdir, m.at("jobs"))
    m.put("jobs", b"a\n")
    m.flush("jobs")
    fails(errno.ENOTEMPTY, os.rmdir, m.at("jobs"))
    m.get("jobs")
    os.rmdir(m.at("jobs"))
    fails(errno.ENOENT, os.stat, m.at("jobs"))
    fails(errno.ENOENT, os.stat, m.at("jobs/in"))
    m.mkdir("jobs")
    equal(m.get("jobs"), b"")


def test_rmdir_of_a_queue_with_a_buffered_item_is_refused(t):
    m = t.queue(linger="1m")
    m.put("jobs", b"a\n")
    fails(errno.ENOTEMPTY, os.rmdir, m.at("jobs"))
    equal(m.get("jobs"), b"a\n")


def test_the_tree_is_listed(t):
    m = t.queue()
    equal(sorted(os.listdir(m.path)), ["flush", "help", "jobs", "stats"])
    directories = {"dead", "leased", "ready"}
    files = {"config", "flush", "help", "in", "purge", "stats"}
    equal(set(os.listdir(m.at("jobs"))), directories | files)
    for name in files:
        status = os.stat(m.at("jobs", name))
        equal(status.st_size > 0, name in ("config", "help", "stats"), name)
        assert stat.S_ISREG(status.st_mode), name
    m.sh("ls -laR . > /dev/null; df . > /dev/null; find . > /dev/null; du -s . > /dev/null")


def test_many_queues_are_all_listed(t):
    m = t.mount()
    names = ["q%d" % n for n in range(300)]
    for name in names:
        m.mkdir(name)
    equal(sorted(set(os.listdir(m.path)) - {"stats", "flush", "help"}), sorted(names))
    m.restart()
    equal(sorted(set(os.listdir(m.path)) - {"stats", "flush", "help"}), sorted(names))


def test_df_shows_the_space_of_the_store(t):
    m = t.mount("store: {max_bytes: 64MiB}\n")
    m.mkdir("jobs")
    space = os.statvfs(m.path)
    size = space.f_blocks * space.f_frsize
    assert 0 < size <= 64 << 20, size
    assert 0 < space.f_bavail <= space.f_blocks, space
    equal(space.f_files - space.f_ffree, 1, "queues")
    assert space.f_favail > 0, "df -i: it is full"


def test_the_mount_is_nosuid_nodev_noexec(t):
    m = t.mount()
    with open("/proc/self/mounts") as mounts:
        options = [line.split()[3].split(",") for line in mounts if line.split()[1] == m.path][0]
    assert {"nosuid", "nodev", "noexec"} <= set(options), options
    equal(m.unmount(), 0, "status")
    assert not is_mounted(m.path)


if __name__ == "__main__":
    main()
