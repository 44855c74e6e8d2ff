#!/usr/bin/env python3
"""`access`: who may put, get and manage which queues, by certificate and by user, as mounts meet it."""

import errno
import os
import pwd

from authority import Authority, client, settings
from harness import Fd, Service, Skip, equal, eventually, fails, main, sh, timeout

QUEUES = "queues:\n  jobs: {}\n  img-1: {}\n  other: {}\n"
PUT, GET, MANAGE = "put", "get", "manage"


def rule(who, may, queues="jobs, img-*"):
    return "access: [{%s, queues: [%s], may: [%s]}]\n" % (who, queues, may)


def prepare(t):
    """A store whose queues have an item each."""
    service = t.service(QUEUES)
    m = t.mount_of(service.address, name="before")
    for queue in ("jobs", "img-1", "other"):
        m.put(queue, b"kept\n")
    m.flush()
    m.unmount()
    equal(service.stop(), 0)


def again(t, text, **options):
    """The same service with other settings."""
    os.remove(t.path("queued.log"))
    service = Service(t.directory, QUEUES + text, **options)
    t.services.append(service)
    return service


def allowed(ok, function, *args):
    if ok:
        return function(*args)
    fails(errno.EACCES, function, *args)


def opened(path, flags):
    with Fd(path, flags):
        pass


def is_denied(path):
    try:
        opened(path, os.O_WRONLY)
    except PermissionError:
        return True
    return False


def puts(m, queue, ok):
    allowed(ok, m.put, queue, b"new\n")
    allowed(ok, opened, m.at(queue, "in"), os.O_WRONLY)
    if ok:
        m.flush(queue)


def gets(m, queue, ok):
    for name in ("out", "next", "claim"):
        allowed(ok, opened, m.at(queue, name), os.O_RDONLY)
    for name in ("ready", "leased", "dead"):
        allowed(ok, os.listdir, m.at(queue, name))
    if not ok:
        return
    names = os.listdir(m.at(queue, "ready"))
    assert names, "nothing is ready in " + queue
    equal(m.out("cat %s/ready/%s" % (queue, names[0])), b"kept")
    os.rename(m.at(queue, "ready", names[0]), m.at(queue, "leased", names[0]))
    os.rename(m.at(queue, "leased", names[0]), m.at(queue, "ready", names[0]))
    m.flush(queue)
    equal(m.get(queue), b"kept\n")


def manages(m, queue, ok):
    allowed(ok, opened, m.at(queue, "config"), os.O_WRONLY)
    allowed(ok, opened, m.at(queue, "purge"), os.O_WRONLY)
    allowed(ok, os.chmod, m.at(queue), 0o640)
    if not ok:
        fails(errno.EACCES, os.rmdir, m.at(queue))
        return
    m.configure(queue, maxsize=1000)
    with Fd(m.at(queue, "purge"), os.O_WRONLY) as purge:
        purge.write(queue.encode())
    os.rmdir(m.at(queue))
    os.mkdir(m.at(queue))


def each_cell(t, m, right):
    """What the right allows, what it does not, and where it ends."""
    eventually(lambda: m.stats()["connected"] == 1, 10, "the connection")
    equal(sorted(name for name in os.listdir(m.path) if name not in ("flush", "help", "stats")),
          ["img-1", "jobs"], "the queues that are shown")
    for queue in ("jobs", "img-1"):
        gets(m, queue, right == GET)
        puts(m, queue, right == PUT)
        manages(m, queue, right == MANAGE)
    fails(errno.ENOENT, os.stat, m.at("other"))
    allowed(right == MANAGE, os.mkdir, m.at("img-9"))
    fails(errno.EACCES, os.mkdir, m.at("others"))


def by_certificate(t, right):
    prepare(t)
    ca = Authority(t.directory, "ca")
    address = "tls+tcp://127.0.0.1:0"
    pair = ca.issue("server", "DNS:localhost, IP:127.0.0.1")
    text = "tls: " + settings(ca, pair) + "\n" + rule("cn: batch-*", right)
    service = again(t, text, listen=address)
    assert "no `access`" not in service.log(), service.log()
    each_cell(t, client(t, service, ca, ca.issue("batch-1"), name="batch"), right)
    stranger = client(t, service, ca, ca.issue("stranger"), name="stranger")
    nobody_may_anything(stranger)
    service.says("certificate stranger asks of queue jobs what `access` does not allow")


def nobody_may_anything(m):
    eventually(lambda: m.stats()["connected"] == 1, 10, "the connection")
    equal(sorted(os.listdir(m.path)), ["flush", "help", "stats"])
    fails(errno.EACCES, os.mkdir, m.at("jobs"))
    fails(errno.EACCES, os.mkdir, m.at("img-7"))


@timeout(60)
def test_put_by_certificate(t):
    by_certificate(t, PUT)


@timeout(60)
def test_get_by_certificate(t):
    by_certificate(t, GET)


@timeout(60)
def test_manage_by_certificate(t):
    by_certificate(t, MANAGE)


def by_uid(t, right):
    prepare(t)
    service = again(t, rule("uid: %d" % os.getuid(), right))
    each_cell(t, t.mount_of(service.address, name="mine"), right)
    equal(service.stop(), 0)
    service = again(t, rule("uid: %d" % (os.getuid() + 1), right), name="queued")
    nobody_may_anything(t.mount_of(service.address, name="other"))


@timeout(60)
def test_put_by_uid(t):
    by_uid(t, PUT)


@timeout(60)
def test_get_by_uid(t):
    by_uid(t, GET)


@timeout(60)
def test_manage_by_uid(t):
    by_uid(t, MANAGE)


@timeout(60)
def test_a_mount_of_another_user(t):
    """The kernel says who is at the other end of a socket, not the mount."""
    if os.geteuid() != 0:
        raise Skip("only root can act as another user")
    user = pwd.getpwnam("nobody")
    os.chmod(t.directory, 0o755)
    service = t.service(QUEUES + "socket: {mode: 0666}\n" + rule("uid: nobody", PUT))
    nobody_may_anything(t.mount_of(service.address, name="root"))
    path = t.path("nobodys")
    os.mkdir(path)
    os.chown(path, user.pw_uid, user.pw_gid)
    m = t.mount_of(service.address, name="nobodys", start=False)
    user_does = ["setpriv", "--reuid=nobody", "--regid=%d" % user.pw_gid, "--clear-groups"]
    if sh(user_does + ["test", "-w", "/dev/fuse"], check=False).returncode != 0:
        raise Skip("this user can't mount here")
    command = user_does + m.command()
    m.command = lambda *more: command + list(more)
    m.start(wait=False)
    script = "cd %s && echo x >> jobs/in && touch jobs/flush && ! cat jobs/next" % path
    eventually(lambda: sh(user_does + ["sh", "-c", script], check=False).returncode == 0, 10,
               "a put as nobody")
    equal(m.stop(), 0)


def test_what_was_buffered_and_is_not_allowed_is_told_and_counted(t):
    service = t.service(QUEUES)
    m = t.mount_of(service.address)
    m.put("jobs", b"one\n")
    m.flush("jobs")
    equal(service.stop(), 0)
    with m.open_in("jobs") as file:
        file.write(b"two\nthree\n")
        service = again(t, rule("uid: %d" % os.getuid(), GET), name="queued")
        fails(errno.EACCES, file.sync)
    eventually(lambda: is_denied(m.at("jobs/in")), 10, "that `in` is not opened")
    eventually(lambda: m.stats("jobs")["refused_by_access"] >= 1, 10, "that it is counted")
    stats = m.stats("jobs")
    equal((stats["put_errors"], stats["buffer_size"], stats["pending_batches"]), (2, 0, 0))
    refused = stats["refused_by_access"]
    assert refused <= 3, "tried again and again: %d" % refused
    service.says("asks of queue jobs what `access` does not allow")
    equal(m.get("jobs"), b"one\n")


def test_without_it_whoever_gets_in_may_all(t):
    service = t.service(QUEUES)
    service.says("no `access` in the settings: whoever gets in may put, get and manage all queues")


def test_a_change_takes_a_restart(t):
    service = t.service(QUEUES + rule("uid: 0", PUT))
    with open(t.path("queued.yaml"), "w") as file:
        file.write(QUEUES + rule("uid: 0", GET))
    os.kill(service.daemon.pid, 1)
    service.says("access has changed in the settings file: that takes a restart")


if __name__ == "__main__":
    main()
