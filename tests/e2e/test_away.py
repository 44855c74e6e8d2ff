#!/usr/bin/env python3
"""The service is away, hangs, comes back, is another one: what a mount does meanwhile and after."""

import errno
import os
import signal
import subprocess
import time

from harness import SLOW, equal, eventually, fails, main, sh, timed, timeout

JOBS = "queues: {jobs: {linger: 1ms}, other: {}}\n"
TIMEOUT = 1 + SLOW  # s: longer than within() allows for a second


def away(t, timeout_s=TIMEOUT, queues=JOBS, more="", **options):
    """A service that was not started yet, and a mount of it."""
    service = t.service(start=False, **options)
    settings = "service: {timeout: %ds}\n" % timeout_s
    return service, t.mount_of(service.address, settings=settings + queues + more)


def mount_of_file(t, settings):
    """A mount whose addresses stand in its file."""
    mount = t.mount(settings + JOBS, start=False)
    mount.command = lambda *more: [c for c in type(mount).command(mount, *more)
                                   if c not in ("-d", mount.data)]
    mount.start()
    return mount


def stop_at_once(process):
    """SIGSTOP, and it has taken effect."""
    process.send_signal(signal.SIGSTOP)
    stat = "/proc/%d/stat" % process.pid
    eventually(lambda: open(stat).read().rsplit(") ", 1)[1][0] == "T", 2, "the stop")


def lines(first, n):
    return b"".join(b"%d\n" % i for i in range(first, first + n))


def within(low, high, function, *args):
    high = low + (high - low) * SLOW
    taken = timed(function, *args)
    assert low <= taken <= high, "it took %.2f s instead of %.1f to %.1f" % (taken, low, high)


def quick(function, *args):
    """It must not wait for the network. Best of three, so that a busy machine does not decide."""
    taken = min(timed(function, *args) for _ in range(3))
    assert taken < 0.5, "%s took %.2f s" % (function.__name__, taken)


def is_connected(mount):
    """It is so a moment after the first answer."""
    eventually(lambda: mount.stats()["connected"] == 1, 5, "connected: 1")


@timeout(60)
def test_a_start_without_the_service(t):
    service, m = away(t)
    equal(m.stats()["connected"], 0, "connected")
    assert "does not answer" in m.log(), m.log()
    equal(sorted(os.listdir(m.path)), ["flush", "help", "jobs", "other", "stats"])
    inode = os.stat(m.at("jobs")).st_ino
    m.put("jobs", b"one\ntwo\n")
    equal(m.stats("jobs")["buffer_size"], 2, "buffered")
    kept = m.open_in("jobs")
    kept.write(b"three\n")
    service.start()
    m.flush("jobs")
    equal(os.stat(m.at("jobs")).st_ino, inode, "the inode of the queue")
    is_connected(m)
    kept.write(b"four\n")
    kept.close()
    equal(m.get("jobs"), b"one\ntwo\nthree\nfour\n")
    stats = m.stats("jobs")
    equal([stats["put_errors"], stats["duplicates"], stats["service_total_puts"]], [0, 0, 4])
    other = t.mount_of(service.address, "b")
    equal(sorted(os.listdir(other.path)), ["flush", "help", "jobs", "other", "stats"])


@timeout(60)
def test_calls_while_the_service_is_away(t):
    service, m = away(t)
    m.put("jobs", b"x\n")
    within(0.9, 1.6, lambda: fails(errno.ETIMEDOUT, m.mkdir, "more"))
    # It has been silent for so long: what is asked now need not wait as long again.
    within(0, 1.6, lambda: fails(errno.ETIMEDOUT, m.mkdir, "more"))
    within(0, 1.6, lambda: fails(errno.ETIMEDOUT, os.rmdir, m.at("other")))
    within(0, 1.6, lambda: fails(errno.ETIMEDOUT, os.chmod, m.at("other"), 0o666))
    within(0.9, 1.6, lambda: fails(errno.ETIMEDOUT, m.get, "jobs"))
    within(1.9, 2.6, lambda: fails(errno.ETIMEDOUT, m.get, "jobs", "out@2s"))
    in_time = TIMEOUT - 0.1, TIMEOUT + 0.6
    within(*in_time, lambda: fails(errno.ETIMEDOUT, m.flush, "jobs"))
    with m.open_in("jobs") as file:
        within(*in_time, lambda: fails(errno.ETIMEDOUT, file.sync))
    quick(os.listdir, m.path)
    quick(os.listdir, m.at("jobs"))
    quick(os.stat, m.at("jobs/in"))
    quick(os.statvfs, m.path)
    quick(m.stats)
    quick(m.stats, "jobs")
    service.start()
    m.flush()
    time.sleep(1.2)
    equal(sorted(os.listdir(m.path)), ["flush", "help", "jobs", "other", "stats"],
          "nothing came late")
    equal(os.stat(m.at("other")).st_mode & 0o777, 0o700, "the mode of other")
    equal(m.get("jobs"), b"x\n")


@timeout(60)
def test_writes_buffer_then_wait(t):
    settings = "queues: {jobs: {buffer_bytes: 64KiB, put_timeout: 1s}}\n"
    service, m = away(t, queues=settings)
    piece = b"x" * 1023 + b"\n"
    file = m.open_in("jobs", os.O_NONBLOCK)
    n = 0
    try:
        while n < 1000:
            n += file.write(piece) // 1024
    except BlockingIOError:
        pass
    assert 60 <= n <= 66, "%d KiB were taken" % n
    with m.open_in("jobs") as other:
        within(0.9, 1.6, lambda: fails(errno.ETIMEDOUT, other.write, piece))
    service.start()
    m.flush("jobs")
    equal(file.write(piece), 1024)
    file.close()
    m.flush("jobs")
    equal(m.get("jobs"), piece * (n + 1))


@timeout(60)
def test_what_could_not_be_sent_is_said_at_the_end(t):
    _, m = away(t, timeout_s=1)
    m.put("jobs", b"one\ntwo\n")
    equal(m.stop(), 1, "status")
    assert "2 items" in m.log(), m.log()


@timeout(60)
def test_a_mount_with_nothing_to_send_ends_at_once(t):
    service, m = away(t, timeout_s=20)
    reader = subprocess.Popen(["cat", m.at("jobs/out@forever")], stderr=subprocess.DEVNULL)
    eventually(lambda: m.stats()["waiting"] == 1)
    within(0, 2, lambda: equal(m.stop(), 0, "status"))
    reader.wait()


@timeout(90)
def test_killed_and_started_again_with_all_going_on(t):
    service = t.service()
    m = t.mount_of(service.address, "a", JOBS)
    n = t.mount_of(service.address, "b")
    reader = subprocess.Popen(["cat", n.at("jobs/out@forever")], stdout=subprocess.PIPE)
    eventually(lambda: n.stats()["waiting"] == 1)
    file = m.open_in("jobs")
    for i in range(5):
        file.write(lines(i * 1000, 1000))
        service.kill()
        file.write(b"%d.5\n" % i)
        eventually(lambda: m.stats()["connected"] == 0, 5, "connected: 0")
        service.start()
        file.sync()
        is_connected(m)
    file.close()
    expected = 5 * 1001
    eventually(lambda: m.stats("jobs")["depth"] == 0 and n.stats("jobs")["leased"] == 0, 15,
               "everything read")
    reader.send_signal(signal.SIGINT)
    got = reader.communicate()[0].split(b"\n")[:-1]
    equal(len(set(got)), expected, "different items")
    stats = m.stats("jobs")
    equal(stats["put_errors"], 0, "put_errors")
    for mount in (m, n):
        lost, back = mount.log().count("connection was lost"), mount.log().count("again")
        assert 1 <= lost <= 5 and 1 <= back <= 5, mount.log()


@timeout(60)
def test_one_line_when_it_is_lost_and_one_when_it_is_back(t):
    service = t.service()
    m = t.mount_of(service.address, settings=JOBS)
    before = m.log().count("\n")
    service.kill()
    eventually(lambda: m.stats()["connected"] == 0, 5, "connected: 0")
    stats = m.stats()
    equal(stats["endpoint"], service.address, "endpoint")
    assert service.address in stats["last_error"], stats
    time.sleep(3)
    service.start()
    is_connected(m)
    m.says("again")
    time.sleep(0.5)
    new = m.log().splitlines()[before:]
    equal(len(new), 2, "lines in %r" % new)
    assert "lost" in new[0] and "again" in new[1], new


@timeout(60)
def test_puts_in_flight_when_it_is_killed_are_stored_once(t):
    service = t.service()
    m = t.mount_of(service.address, settings="queues: {jobs: {linger: 0s, batch_size: 10}}\n")
    file = m.open_in("jobs")
    for i in range(20):
        file.write(lines(i * 100, 100))
        if i % 4 == 3:
            service.kill()
            service.start()
    file.sync()
    file.close()
    equal(m.get("jobs"), lines(0, 2000))


@timeout(90)
def test_stopped_for_long_and_continued(t):
    """Longer than `timeout` and than the client waits for an answer."""
    service = t.service(listen="tcp://127.0.0.1:0")
    m = t.mount_of(service.address, settings="service: {timeout: 2s}\n" + JOBS)
    m.put("jobs", lines(0, 10))
    m.flush("jobs")
    reader = subprocess.Popen(["cat", m.at("other/out@forever")], stdout=subprocess.PIPE)
    eventually(lambda: m.stats()["waiting"] == 1)
    stop_at_once(service.daemon)
    file = m.open_in("jobs")
    file.write(lines(10, 10))
    within(1.9, 2.6, lambda: fails(errno.ETIMEDOUT, file.sync))
    eventually(lambda: m.stats()["connected"] == 0, 8, "connected: 0")
    file.write(lines(20, 10))
    quick(m.stats)
    quick(os.listdir, m.path)
    time.sleep(3)
    service.daemon.send_signal(signal.SIGCONT)
    begin = time.monotonic()
    while True:
        try:
            file.sync()
            break
        except OSError as error:
            equal(error.errno, errno.ETIMEDOUT)
            assert time.monotonic() - begin < 10, "it does not go on"
    file.close()
    equal(m.get("jobs"), lines(0, 30))
    m.put("other", b"x\n")
    equal(reader.stdout.readline(), b"x\n", "what the reader waited for")
    reader.send_signal(signal.SIGINT)
    equal(reader.communicate()[0], b"", "more than that")
    equal(m.stats("jobs")["service_total_puts"], 30, "stored")


@timeout(60)
def test_a_mount_killed_at_a_stopped_service_keeps_nobody_out(t):
    """Connections that are gone before the service has looked at them."""
    for listen in (None, "tcp://127.0.0.1:0"):
        name = "ipc" if listen is None else "tcp"
        service = t.service(name=name, listen=listen)
        m = t.mount_of(service.address, "m" + name, JOBS)
        m.put("jobs", b"x\n")
        m.flush()
        stop_at_once(service.daemon)
        m.put("jobs", b"y\n")
        leaving = [t.mount_of(service.address, "%s%d" % (name, i)) for i in range(2)]
        for mount in leaving:
            mount.kill()
            sh(["umount", "-l", mount.path])
        m.daemon.terminate()
        time.sleep(0.3)
        m.daemon.terminate()
        m.ended()
        service.daemon.send_signal(signal.SIGCONT)
        after = t.mount_of(service.address, "after" + name)
        eventually(lambda: after.stats()["connected"] == 1, 3, "a connection over " + name)
        equal(after.get("jobs")[:2], b"x\n")


@timeout(60)
def test_the_next_address_is_used(t):
    none, one, two = ["ipc://" + t.path(name) for name in ("none", "one", "two")]
    service = t.service(listen=one)
    m = mount_of_file(t, "service: {address: [%s, %s, %s]}\n" % (none, one, two))
    m.put("jobs", b"x\n")
    m.flush()
    equal(m.stats()["endpoint"], one, "endpoint")
    service.kill()
    service.address = two
    service.start()
    m.put("jobs", b"y\n")
    m.flush()
    equal(m.stats()["endpoint"], two, "endpoint")
    equal(m.get("jobs"), b"x\ny\n")


@timeout(60)
def test_a_stopped_mount_harms_no_other(t):
    service = t.service()
    m, n = t.mount_of(service.address, "a", JOBS), t.mount_of(service.address, "b")
    reader = subprocess.Popen(["cat", n.at("jobs/out@forever")], stdout=subprocess.PIPE)
    eventually(lambda: n.stats()["waiting"] == 1)
    stop_at_once(n.daemon)
    try:
        m.put("jobs", lines(0, 1000))
        within(0, 2, m.flush, "jobs")
        got = b"".join(sorted(m.get("jobs", "out@1s").splitlines(True), key=int))
        assert got.endswith(lines(900, 100)), "items that nobody holds"
        m.mkdir("more")
    finally:
        n.daemon.send_signal(signal.SIGCONT)
    eventually(lambda: m.stats("jobs")["depth"] == 0 and m.stats("jobs")["leased"] == 0, 10,
               "the rest, by the reader")
    reader.send_signal(signal.SIGINT)
    rest = reader.communicate()[0]
    equal(sorted(int(i) for i in (got + rest).split()), list(range(1000)), "each item once")


if __name__ == "__main__":
    main()
