#!/usr/bin/env python3
"""kill -9 of the service at each write and sync of its store, while items are claimed, given back,
expire, die, are buried, revived, dropped and forgotten. It is started again at once. In the end
each item is in exactly the place to which it was moved, with nothing lost and nothing twice.

    tests/stress/test_lease_kills.py                           some points, other ones each day
    QUEUEFS_TEST_FULL=1 tests/stress/test_lease_kills.py       every point
    QUEUEFS_TEST_OFFSET=N                                      the choice of a run that failed

FAULT_PRELOAD: the built fault_preload.c; it builds its own without.
"""

import errno
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))

from faults import Disk  # noqa: E402
from harness import FULL, SLOW, equal, eventually, main, timeout  # noqa: E402
from work import (bytes_of, claim, eventually_counts, listed, move, path, remove)  # noqa: E402

SETTINGS = ("queues: {jobs: {linger: 1ms, lease: %ds, retry_delay: 0s, max_deliveries: 2}}\n"
            % SLOW)
STEP = 5
PATIENCE = 20 * SLOW
ITEMS = 6


class Guard(threading.Thread):
    """Starts the service again, over a good disk, once it was killed."""

    def __init__(self, service):
        super().__init__(daemon=True)
        self.service, self.ending, self.failure = service, False, None

    def run(self):
        try:
            status = self.service.daemon.wait()
            if not self.ending:
                equal(status, -9, "status of the service")
                self.service.env = None
                self.service.start()
        except BaseException as failure:  # told by the test
            self.failure = failure


def persist(function, *args, done=None):
    """Until the service answers, and with `done` until that is so: an answer may have been lost."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            function(*args)
            return
        except OSError as error:
            if error.errno == errno.ENOENT and done and persist_look(done, end):
                return
            if error.errno not in (errno.ENOENT, errno.ETIMEDOUT) or time.monotonic() > end:
                raise
        time.sleep(0.02)


def persist_look(done, end):
    while True:
        try:
            return done()
        except OSError as error:
            if error.errno != errno.ETIMEDOUT or time.monotonic() > end:
                raise


def there(m, place, item):
    """Whether it is; an error other than ENOENT is one."""
    try:
        os.stat(path(m, place, item))
        return True
    except FileNotFoundError:
        return False


def take(m, item):
    """Claim this one. A claim whose answer was lost comes back when its lease ends."""
    persist(move, m, item, "ready", "leased", done=lambda: there(m, "leased", item))


def settle(m, item, place):
    """Give back or bury, until it is there: where the lease has ended, claim it anew."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            move(m, item, "leased", place)
        except FileNotFoundError:
            if not persist_look(lambda: there(m, place, item), end):
                take(m, item)
                continue
        persist(m.flush, "jobs")
        return


def kill_by_failing(m, item):
    """Let its deliveries end badly, by giving back and by expiry, until it is dead."""
    end = time.monotonic() + PATIENCE
    while not persist_look(lambda: there(m, "dead", item), end):
        assert time.monotonic() < end, item + " does not die"
        try:
            move(m, item, "ready", "leased")
            move(m, item, "leased", "ready")
        except OSError as error:
            assert error.errno in (errno.ENOENT, errno.ETIMEDOUT), error
            time.sleep(0.02)


def script(m):
    """What each item's fate is: (place, item) of those that are left."""
    m.put("jobs", b"".join(b"%d\n" % n for n in range(ITEMS)))
    persist(m.flush, "jobs")
    ids = []
    persist(lambda: ids.append(listed(m, "ready")))
    acked, failed, buried, revived, dropped, forgotten = ids[-1]
    take(m, acked)
    persist(remove, m, "leased", acked, done=lambda: not anywhere(m, acked))
    kill_by_failing(m, failed)
    for item in (buried, revived, forgotten):
        take(m, item)
        settle(m, item, "dead")
    persist(move, m, revived, "dead", "ready", done=lambda: there(m, "ready", revived))
    persist(remove, m, "ready", dropped, done=lambda: not there(m, "ready", dropped))
    persist(remove, m, "dead", forgotten, done=lambda: not there(m, "dead", forgotten))
    persist(m.flush, "jobs")
    return {failed: "dead", buried: "dead", revived: "ready"}, ids[-1]


def anywhere(m, item):
    return any(there(m, place, item) for place in ("ready", "leased", "dead"))


def check(m, fates, ids):
    """Each where it belongs and nowhere else, and all bytes as they were."""
    for item in ids:
        places = [place for place in ("ready", "leased", "dead") if item in listed(m, place)]
        if item == ids[0] and places:  # acknowledged when its lease had ended: it is back
            equal(places, ["ready"], "places of the acknowledged one")
            assert m.stats("jobs")["acks_late"] > 0, "an acknowledgement was lost"
            remove(m, "ready", item)
            continue
        equal(places, [fates[item]] if item in fates else [], "places of item %d" % ids.index(item))
        for place in places:
            equal(bytes_of(m, place, item), b"%d" % ids.index(item), "its bytes")
    eventually_counts(m, depth=1, leased=0, delayed=0, dead=2)
    equal(claim(m, "claim@9"), [ids[3]], "what can be claimed")
    move(m, ids[3], "leased", "ready")


def one_kill(t, fault):
    """Whether the point was reached."""
    disk = Disk(t, fault)
    name = fault.replace(":", "-")
    service = t.service(SETTINGS, name=name, start=False)
    service.start()  # the queue is made before there is a fault
    service.stop()
    service.env = disk.environment(service.data)
    service.start(wait=False)
    guard = Guard(service)
    guard.start()
    m = t.mount_of(service.address, name + ".q", "queues: {jobs: {linger: 1ms}}\n")
    check(m, *script(m))
    equal(m.stop(), 0, "status of the mount")
    guard.ending = True
    struck = disk.struck()
    if struck:
        guard.join(PATIENCE)
        os.unlink(disk.log)
    assert not guard.failure, guard.failure
    service.stop()
    return struck


def offset():
    text = os.environ.get("QUEUEFS_TEST_OFFSET")
    return (int(text) if text else int(time.time() // 86400)) % STEP


def points(t, call):
    first, step = (1, 1) if FULL else (1 + offset(), STEP)
    n, n_struck = first, 0
    while True:
        try:
            if not one_kill(t, "%s:%d:KILL" % (call, n)):
                break
        except BaseException as why:
            raise AssertionError("%s %d: %s" % (call, n, why)) from why
        n_struck += 1
        n += step
    chosen = "" if FULL else ", offset %d" % offset()
    print("# killed at %d calls of %s%s" % (n_struck, call, chosen), flush=True)
    assert n_struck > 2, "only %d kills" % n_struck


@timeout(600 if FULL else 120)
def test_killed_before_a_sync(t):
    points(t, "sync")


@timeout(600 if FULL else 120)
def test_killed_before_a_write(t):
    points(t, "writev")


if __name__ == "__main__":
    main()
