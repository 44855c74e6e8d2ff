#!/usr/bin/env python3
"""Starting, ending, and what stands in the way of either."""

import errno
import os
import re
import signal
import socket
import subprocess
import time

from harness import (QUEUEFS, SLOW, Mount, equal, eventually, fails, has_open, is_mounted, main, sh,
                     timed)
from test_away import stop_at_once


def queuefs(*args, check=False, **options):
    return sh([QUEUEFS, *args], check=check, **options)


def pid_of(m):
    """The background daemon of this mount point."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as file:
                words = file.read().split(b"\0")
            if m.path.encode() in words and os.path.basename(words[0]) == b"queuefs":
                return int(pid)
        except OSError:
            continue
    raise AssertionError("no daemon of " + m.path)


def ends(pid, seconds=10):
    eventually(lambda: not alive(pid), seconds, "the end of the daemon")


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False


def test_in_the_background_it_returns_when_the_mount_answers(t):
    m = t.mount(start=False)
    done = queuefs("-d", m.data, m.path, check=True)
    equal([done.stdout, done.stderr], [b"", b""], "what it prints")
    equal(m.stats()["connected"], 1, "connected")
    pid = pid_of(m)
    sh(["fusermount3", "-u", m.path])
    ends(pid)


def test_help_and_version(t):
    equal(t.mounts, [])
    done = queuefs("--help")
    equal([done.returncode, done.stderr], [0, b""], "--help")
    for word in (b"--config", b"--data", b"--foreground", b"--service", b"MOUNTPOINT"):
        assert word in done.stdout, word
    done = queuefs("--version")
    equal(done.returncode, 0, "--version")
    assert re.match(rb"queuefs \d+\.\d+", done.stdout), done.stdout


def test_wrong_usage_is_status_2(t):
    os.mkdir(t.path("q"))
    for args in ((), ("--nonsense",), ("-c",), ("a", "b", "c"), ("-d",)):
        done = queuefs(*args, cwd=t.directory)
        equal(done.returncode, 2, repr(args))
        assert done.stderr, args


def test_check_mounts_nothing(t):
    os.mkdir(t.path("q"))
    done = queuefs("--check", "-d", t.path("data"), t.path("q"), check=True)
    for line in (b"store:", b"defaults:", b"batch_size: 100"):
        assert line in done.stdout, done.stdout
    assert not is_mounted(t.path("q"))


def fails_clearly(t, *args, words=()):
    done = queuefs(*args)
    equal(done.returncode, 1, "status")
    equal(done.stderr.count(b"\n"), 1, "lines of " + repr(done.stderr))
    for word in words:
        assert word in done.stderr.decode(), (word, done.stderr)


def test_a_mount_point_that_is_not_there_or_no_directory(t):
    fails_clearly(t, "-d", t.path("data"), t.path("none"), words=["none"])
    sh("touch file", cwd=t.directory)
    fails_clearly(t, "-d", t.path("data"), t.path("file"), words=["file"])


def test_a_data_directory_below_the_mount_point_is_refused(t):
    os.mkdir(t.path("q"))
    fails_clearly(t, "-d", t.path("q/data"), t.path("q"), words=["q/data"])


def test_a_data_directory_on_fuse_is_refused(t):
    m = t.queue()
    os.mkdir(t.path("p"))
    fails_clearly(t, "-d", m.at("data"), t.path("p"))


def test_a_data_directory_in_use_is_refused_with_who_has_it(t):
    m = t.queue()
    os.mkdir(t.path("p"))
    begin = time.monotonic()
    fails_clearly(t, "-d", m.data, t.path("p"), words=[
        m.data, str(m.daemon.pid), m.path, "queuefs -s ipc://%s/queuefs.sock" % m.data])
    assert 4 < time.monotonic() - begin < 6 + 2 * SLOW
    m.put("jobs", b"a\n")
    equal(m.get("jobs"), b"a\n")


def test_a_process_that_is_ending_is_waited_for(t):
    m = t.queue()
    m.put("jobs", b"a\n")
    second = t.mount(name="p", start=False)
    second.start(wait=False)
    eventually(lambda: has_open(second.daemon, m.data + "/lock"), 5, "a second one that waits")
    time.sleep(0.5)
    stop_at_once(second.daemon)  # it would wait for 5 s; the first one may need longer for its end
    equal(m.stop(), 0, "status")
    second.daemon.send_signal(signal.SIGCONT)
    eventually(second.answers, 10, "the second mount")
    equal(second.get("jobs"), b"a\n")


def test_a_stale_mount_point_is_cleared(t):
    m = t.queue()
    m.put("jobs", b"a\n")
    m.flush()
    m.kill()
    fails(errno.ENOTCONN, os.listdir, m.path)
    m.start()
    equal(m.get("jobs"), b"a\n")
    m.unmount()
    assert not is_mounted(m.path)
    equal(os.listdir(m.path), [])


def test_it_does_not_mount_over_a_mount_that_answers(t):
    m = t.queue()
    done = queuefs("-d", t.path("other"), m.path)
    equal(done.returncode, 1, "status")
    m.put("jobs", b"a\n")
    equal(m.get("jobs"), b"a\n")


def test_umount_with_open_files_is_ebusy(t):
    m = t.queue()
    with m.open_out("jobs", "stats"):
        done = sh(["fusermount3", "-u", m.path], check=False)
        assert done.returncode != 0 and b"busy" in done.stderr, done
        done = sh(["umount", m.path], check=False)
        assert done.returncode != 0 and b"busy" in done.stderr, done
    equal(m.unmount(), 0, "status")


def test_a_lazy_unmount_is_noticed(t):
    m = t.queue(linger="1m", batch_size=1000)
    file = m.open_in("jobs")
    file.write(b"a\n")
    sh(["fusermount3", "-uz", m.path])
    equal(m.ended(), 0, "status")
    fails(errno.ENOTCONN, file.close)
    assert "unmount" not in m.log(), m.log()  # what is gone is not unmounted again
    m.start()
    equal(m.get("jobs"), b"a\n")


def test_sigterm_and_sigint_send_what_is_buffered(t):
    m = t.queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        m.configure("jobs", linger="1m", batch_size=1000)
        m.put("jobs", b"a\nb\n")
        m.daemon.send_signal(number)
        equal(m.ended(), 0, "status")
        assert not is_mounted(m.path)
        m.start()
        equal(m.get("jobs"), b"a\nb\n")


def test_an_idle_mount_ends_quickly(t):
    m = t.queue()
    assert timed(m.stop) < 1 * SLOW


def beside(t, m):
    """A second mount, of the queues of the first."""
    address = "ipc://%s/queuefs.sock" % m.data
    second = Mount(t.directory, name="p", args=["-s", address])
    t.mounts.insert(0, second)
    return second


def test_a_second_mount_through_the_socket_shares_the_queues(t):
    m = t.queue()
    second = beside(t, m)
    equal(oct(os.stat(m.data + "/queuefs.sock").st_mode & 0o777), "0o600", "socket")
    m.put("jobs", b"a\nb\n")
    m.flush()
    equal(second.get("jobs"), b"a\nb\n")
    second.mkdir("mine")
    eventually(lambda: os.path.isdir(m.at("mine")), 2, "the queue made through the other mount")
    second.put("mine", b"x\n")
    second.flush()
    equal(m.get("mine"), b"x\n")
    equal(eventually(lambda: m.stats()["mounts"] == 2), True)


def test_waiting_readers_of_another_mount_are_woken(t):
    m = t.queue()
    second = beside(t, m)
    reader = subprocess.Popen(["cat", second.at("jobs/next@forever")], stdout=subprocess.PIPE)
    eventually(lambda: second.stats("jobs")["waiting"] == 1, 10, "a waiting reader")
    begin = time.monotonic()
    m.put("jobs", b"a\n")
    equal(reader.communicate(timeout=10 * SLOW)[0], b"a\n")
    assert time.monotonic() - begin < 1 * SLOW


def test_the_place_of_the_data(t):
    env = dict(os.environ, XDG_DATA_HOME=t.path("xdg"))
    env.pop("STATE_DIRECTORY", None)
    m = t.mount(start=False)
    queuefs(m.path, env=env, check=True)
    pid = pid_of(m)
    assert os.path.exists(t.path("xdg/queuefs")), os.listdir(t.directory)
    sh(["fusermount3", "-u", m.path])
    ends(pid)


def test_systemd_is_told_when_it_is_ready(t):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(t.path("notify"))
    listener.settimeout(20)
    os.environ["NOTIFY_SOCKET"] = t.path("notify")
    t.queue()
    assert b"READY=1" in listener.recv(4096)


def test_the_memory_engine_works_and_forgets(t):
    m = t.mount("store: {engine: memory}\n")
    m.mkdir("jobs")
    m.put("jobs", b"a\n")
    equal(m.get("jobs"), b"a\n")
    m.restart()
    equal(sorted(os.listdir(m.path)), ["flush", "help", "stats"])


def test_mount_options_of_fstab(t):
    m = t.mount(start=False)
    queuefs("-o", "data=" + m.data, "none", m.path, check=True)
    pid = pid_of(m)
    m.mkdir("jobs")
    sh(["fusermount3", "-u", m.path])
    ends(pid)
    assert os.path.exists(m.data), "-o data= was not heard"


if __name__ == "__main__":
    main()
