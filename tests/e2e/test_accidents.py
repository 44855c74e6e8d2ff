#!/usr/bin/env python3
"""What surrounds a mount goes wrong: what its starter left open, too few descriptors, a data
directory that is removed, moved or replaced under it, a store that is full while it ends."""

import errno
import os
import shutil
import time

from harness import (QUEUED, QUEUEFS, SLOW, Fd, equal, eventually, fails, is_mounted, main, need,
                     sh, timeout)


# ---- what the starter had open ----

def test_a_lock_of_the_script_that_mounts_ends_with_the_script(t):
    need("flock")
    m = t.mount(start=False)
    script = 'exec 7> lock; flock 7; exec 8> pipe; "$0" "$@"'
    os.mkfifo(t.path("pipe"))
    with Fd(t.path("pipe"), os.O_RDONLY | os.O_NONBLOCK) as pipe:
        sh(["sh", "-c", script, QUEUEFS, "-d", m.data, m.path], cwd=t.directory)
        equal(m.stats()["connected"], 1, "connected")
        sh("flock -n lock true", cwd=t.directory)
        equal(pipe.read(), b"", "the end of the pipe")
    sh(["fusermount3", "-u", m.path])


def test_what_runs_it_in_the_foreground_keeps_its_lock_in_it(t):
    need("flock")
    m = t.mount(start=False)
    command, m.command = m.command(), lambda: ["flock", "-n", "-F", t.path("lock"), *command]
    m.start()
    equal(sh(["flock", "-n", t.path("lock"), "true"], check=False).returncode, 1, "flock")
    equal(m.stop(), 0, "status")
    sh(["flock", "-n", t.path("lock"), "true"])


# ---- few descriptors ----

def limited(soft, hard, command):
    """Run it with these limits of open files."""
    script = 'ulimit -Sn %d && ulimit -Hn %d && exec "$0" "$@"' % (soft, hard)
    return sh(["sh", "-c", script, *command], check=False)


def test_too_few_descriptors_are_refused_in_one_line(t):
    m = t.mount(start=False)
    for n in (12, 16, 20, 63):
        for command in ([QUEUEFS, "-d", m.data, m.path],
                        [QUEUED, "-d", m.data, "-l", "ipc://" + t.path("socket")]):
            done = limited(n, n, command)
            equal(done.returncode, 1, "status of %s with %d" % (command[0], n))
            equal(done.stderr.count(b"\n"), 1, "lines of %r" % done.stderr)
            for word in ("%d open files" % n, "at least 64", "ulimit -n", "LimitNOFILE"):
                assert word in done.stderr.decode(), done.stderr
    assert not is_mounted(m.path)


def test_the_soft_limit_of_descriptors_does_not_matter(t):
    m = t.mount(start=False)
    for soft, hard in ((8, 1024), (64, 64)):
        done = limited(soft, hard, [QUEUEFS, "-d", m.data, m.path])
        equal([done.returncode, done.stderr], [0, b""], "%d of %d" % (soft, hard))
        m.sh("mkdir -p jobs; echo a >> jobs/in; touch jobs/flush")
        equal(m.get("jobs"), b"a\n")
        sh(["fusermount3", "-u", m.path])
        eventually(lambda: sh(["flock", "-n", m.data + "/lock", "true"], check=False)
                   .returncode == 0, 5, "its end")


# ---- the data directory ----

def put_fails(m, error, data=b"lost\n"):
    with m.open_in("jobs") as file:
        file.write(data)
        fails(error, file.sync)


def test_a_data_directory_removed_is_an_error_of_flush(t):
    m = t.mount("service: {timeout: 4s}\n")
    m.mkdir("jobs")
    m.put("jobs", b"a\nb\n")
    m.flush("jobs")
    shutil.rmtree(m.data)
    m.put("jobs", b"c\n")
    fails(errno.EIO, m.flush, "jobs")
    put_fails(m, errno.EIO)
    fails(errno.EIO, os.mkdir, m.at("more"))
    stats = m.stats("jobs")
    equal(stats["last_error"], os.strerror(errno.EIO), "last_error")
    assert stats["put_errors"] >= 1, stats
    equal(m.log().count("removed, moved or replaced"), 1, "lines of log")
    # Nobody has it but this mount: give it out.
    equal(m.get("jobs", "out@2"), b"a\nb\n")
    equal(m.stop(), 1, "status")
    assert "2 items could not be sent" in m.log(), m.log()


def test_a_data_directory_renamed_and_renamed_back(t):
    m = t.queue()
    os.rename(m.data, m.data + ".old")
    put_fails(m, errno.EIO, b"a\n")
    os.rename(m.data + ".old", m.data)
    eventually(lambda: m.depth("jobs") == 1, 5, "the item, kept and tried again")
    m.put("jobs", b"b\n")
    m.flush("jobs")
    equal(m.get("jobs"), b"a\nb\n")
    assert "is back" in m.log(), m.log()


def test_a_data_directory_replaced_by_a_copy_takes_nothing(t):
    m = t.mount("service: {timeout: 4s}\n")
    m.mkdir("jobs")
    m.put("jobs", b"a\n")
    m.flush("jobs")
    shutil.copytree(m.data, m.data + ".backup", ignore=shutil.ignore_patterns("*.sock"))
    shutil.rmtree(m.data)
    os.rename(m.data + ".backup", m.data)
    put_fails(m, errno.EIO, b"b\n")
    equal(m.stop(), 1, "status")
    m.start()
    equal(m.get("jobs"), b"a\n", "what the copy holds")


def test_a_data_directory_gone_is_seen_without_a_put(t):
    m = t.queue()
    shutil.rmtree(m.data)
    m.says("removed, moved or replaced", 4)
    sh(["mkdir", "-p", m.data])


def test_queued_says_it_too(t):
    service = t.service()
    m = t.mount_of(service.address, settings="service: {timeout: 4s}\n")
    m.mkdir("jobs")
    shutil.rmtree(service.data)
    put_fails(m, errno.EIO)
    service.says("removed, moved or replaced")


# ---- stats tell what flush told ----

def test_what_a_full_queue_refused_is_in_stats(t):
    first = t.queue(maxsize=3)
    second = t.mount_of("ipc://%s/queuefs.sock" % first.data, "p",
                        "defaults: {on_full: fail, linger: 1h}\n")  # until the flush
    second.put("jobs", b"a\nb\n")
    first.put("jobs", b"1\n2\n")
    first.flush("jobs")
    fails(errno.ENOSPC, second.flush, "jobs")
    stats = second.stats("jobs")
    equal(stats["last_error"], os.strerror(errno.ENOSPC), "last_error")
    equal(stats["put_errors"], 1, "put_errors")
    equal(second.stats()["put_errors"], 1, "put_errors of all")
    equal(sorted(first.get("jobs").split()), [b"1", b"2", b"a"])
    second.flush("jobs")
    equal(second.get("jobs"), b"b\n", "kept, and sent when there was room")
    equal(second.stats("jobs")["put_errors"], 1, "put_errors: once for each item")


# ---- an end that has to wait ----

def fill(m):
    """Put until the store takes no more, and leave some of it buffered."""
    m.mkdir("jobs")
    with m.open_in("jobs") as file:
        for _ in range(1000):
            try:
                file.write(b"x" * 99999 + b"\n")
                file.sync()
            except OSError as error:
                equal(error.errno, errno.ENOSPC, "errno")
                return
    raise AssertionError("the store is not full")


def end_seconds(m):
    begin = time.monotonic()
    equal(m.stop(40), 1, "status")
    assert "items could not be sent and are lost" in m.log(), m.log()
    return time.monotonic() - begin


@timeout(60)
def test_an_end_with_a_full_store_says_so_and_is_soon(t):
    m = t.mount("store: {max_bytes: 16MiB, min_free: 0}\n")
    fill(m)
    seconds = end_seconds(m)
    assert seconds < 6 * SLOW, "%.1f s" % seconds
    assert "of jobs wait to be sent: No space left on device" in m.log(), m.log()


@timeout(60)
def test_an_end_waits_for_the_timeout_while_others_can_make_room(t):
    m = t.mount("store: {max_bytes: 16MiB, min_free: 0}\nservice: {timeout: 6s}\n")
    other = t.mount_of("ipc://%s/queuefs.sock" % m.data, "p")
    fill(other)
    eventually(lambda: other.stats()["mounts"] == 2, 5, "two mounts")
    other.daemon.terminate()
    other.says("of jobs wait to be sent: No space left on device")
    while m.get("jobs"):
        pass
    equal(other.ended(20), 0, "status of the mount that waited")


@timeout(60)
def test_an_end_without_the_service_says_what_it_waits_for(t):
    service = t.service()
    m = t.mount_of(service.address, settings="service: {timeout: 3s}\n")
    m.mkdir("jobs")
    service.kill()
    m.put("jobs", b"a\nb\n")
    seconds = end_seconds(m)
    assert 2.5 < seconds < 4 * SLOW, "%.1f s" % seconds
    assert "2 items of jobs wait to be sent: the queue service is away" in m.log(), m.log()


main()
