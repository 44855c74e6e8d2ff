#!/usr/bin/env python3
"""What fails is tried again later and later, and in the end lies in dead/, with its count: there it
can be looked at, tried again and forgotten.
"""

import errno
import os
import signal
import threading
import time

from harness import FULL, SLOW, Fd, equal, eventually, fails, main, timeout
from work import (attribute, bury, bytes_of, claim, claim_one, counts, deliveries,
                  eventually_counts, fill, jobs, listed, moment, move, pair, path, remove, where)


def fail_until_dead(m, n=1):
    """Claim and give back the items until none is ready any more; in how many rounds."""
    rounds = 0
    while True:
        ids = claim(m, "claim@%d" % n)
        if not ids:
            return rounds
        rounds += 1
        for item in ids:
            move(m, item, "leased", "ready")
        m.flush("jobs")


def test_given_back_max_deliveries_times_it_is_dead(t):
    m = jobs(t, 3, retry_delay="0s")
    ids = listed(m, "ready")
    equal(fail_until_dead(m, 3), 5, "rounds")
    equal(listed(m, "dead"), ids, "dead")
    equal([deliveries(m, "dead", item) for item in ids], [5, 5, 5], "deliveries")
    equal([bytes_of(m, "dead", item) for item in ids], [b"0", b"1", b"2"])
    eventually_counts(m, depth=0, leased=0, delayed=0, dead=3, redelivered=12, expired=0)
    m.restart()
    equal([listed(m, "dead"), deliveries(m, "dead", ids[0])], [ids, 5], "after a restart")


def test_max_deliveries_of_one(t):
    m = jobs(t, 1, max_deliveries=1)
    item = claim_one(m)
    move(m, item, "leased", "ready")
    equal(where(m, item), ["dead"])
    equal(deliveries(m, "dead", item), 1, "deliveries")


@timeout(60)
def test_expired_max_deliveries_times_it_is_dead(t):
    m = jobs(t, 2, retry_delay="0s", max_deliveries=3, lease="300ms")
    ids = listed(m, "ready")
    end = time.monotonic() + 30 * SLOW
    while m.stats("jobs")["dead"] < 2:
        assert time.monotonic() < end, "not dead: " + repr(m.stats("jobs"))
        claim(m, "claim@2@100ms")
    equal(listed(m, "dead"), ids)
    equal([deliveries(m, "dead", item) for item in ids], [3, 3], "deliveries")
    eventually_counts(m, expired=6, depth=0, leased=0)


@timeout(60)
def test_the_log_says_once_which_one_is_dead(t):
    service, m, other = pair(t, 1, retry_delay="0s", max_deliveries=2)
    failed = listed(m, "ready")[0]
    fail_until_dead(m)
    fill(m, 1, 10)
    buried = bury(m)[0]
    fill(m, 3, 20)
    several = listed(m, "ready")
    fail_until_dead(m, 3)
    m.restart()
    service.stop()
    service.start()
    eventually(lambda: len(listed(other, "dead")) == 5, 10, "the connection")
    log = [line for line in service.log().splitlines() if "dead/" in line]
    for item, words in ((failed, "failed 2 times"), (buried, "buried"), (several[0], "3 items")):
        said = [line for line in log if item in line]
        equal(len(said), 1, "lines about %s in %r" % (item, log))
        assert "queue jobs" in said[0] and words in said[0], said
    equal(len(log), 3, "lines about the dead")


def test_from_the_second_return_on_it_is_ready_later(t):
    m = jobs(t, 1, retry_delay="4s")
    item = claim_one(m)
    move(m, item, "leased", "ready")
    equal(claim_one(m), item, "at once after the first return")
    for delay in (4, 8):
        begin = time.monotonic()
        due = time.time() + delay
        move(m, item, "leased", "ready")
        m.flush("jobs")
        equal(where(m, item), ["ready"], "where a delayed one is")
        eventually_counts(m, delayed=1, depth=0, leased=0)
        status = os.stat(path(m, "ready", item))
        assert abs(status.st_mtime - due) < 1.5 * SLOW, "due in %.2f s, not %d" % (
            status.st_mtime - due + delay, delay)
        assert status.st_mtime > moment(attribute(m, "ready", item, "enqueued"))
        equal(claim(m) or [claim_one(m, 60)], [item])
        taken = time.monotonic() - begin
        assert delay * 0.95 <= taken <= delay + 2 * SLOW, "after %.2f s, not %d" % (taken, delay)


def test_a_delayed_one_can_be_taken_and_dropped(t):
    m = jobs(t, 2, retry_delay="10m")
    for _ in range(2):
        for item in claim(m, "claim@2"):
            move(m, item, "leased", "ready")
        m.flush("jobs")
    first, second = listed(m, "ready")
    eventually_counts(m, delayed=2, depth=0)
    equal(bytes_of(m, "ready", second), b"1", "its bytes")
    assert os.stat(path(m, "ready", first)).st_mtime > time.time() + 500, "the time it is due"
    move(m, first, "ready", "leased")
    equal([bytes_of(m, "leased", first), deliveries(m, "leased", first)], [b"0", 3])
    remove(m, "ready", second)
    remove(m, "leased", first)
    m.flush("jobs")
    eventually_counts(m, delayed=0, depth=0, leased=0, dead=0)


@timeout(60)
def test_delays_survive_a_kill_of_the_service(t):
    delay = 2 + SLOW
    service, m, other = pair(t, 1, retry_delay="%ds" % delay)
    for _ in range(2):
        item = claim_one(m)
        begin = time.monotonic()
        move(m, item, "leased", "ready")
        m.flush("jobs")
    service.kill()
    service.start()
    eventually(lambda: m.stats()["connected"] == 1, 20, "the connection")
    equal(claim(m) or [claim_one(m, 60)], [item])
    taken = time.monotonic() - begin
    assert taken >= delay * 0.95, "claimed after %.2f s, not %d" % (taken, delay)
    equal(deliveries(m, "leased", item), 3)


@timeout(60)
def test_a_worker_that_fails_everything_for_3_s_does_not_bury_the_queue(t):
    m = jobs(t, 30)
    end = time.monotonic() + 3
    n_failed = 0
    while time.monotonic() < end:
        for item in claim(m, "claim@8@50ms"):
            move(m, item, "leased", "ready")
            n_failed += 1
    m.flush("jobs")
    print("# %d failures" % n_failed, flush=True)
    assert n_failed >= 60 // SLOW, "only %d failures" % n_failed
    equal(listed(m, "dead"), [], "dead")
    equal(len(listed(m, "ready")), 30, "ready")


def test_mv_to_ready_tries_again_as_if_new(t):
    m = jobs(t, 3, retry_delay="0s", max_deliveries=2)
    ids = listed(m, "ready")
    fail_until_dead(m, 3)
    m.sh("mv jobs/dead/* jobs/ready/")
    equal([listed(m, "dead"), listed(m, "ready")], [[], ids])
    equal([deliveries(m, "ready", item) for item in ids], [0, 0, 0], "deliveries")
    eventually_counts(m, depth=3, dead=0)
    equal(fail_until_dead(m, 3), 2, "rounds until they are dead again")
    m.sh("mv jobs/dead/* jobs/ready/")
    m.restart()
    equal(m.get("jobs"), b"0\n1\n2\n", "in the order they were put")


def test_rm_forgets(t):
    m = jobs(t, 3)
    ids = bury(m, 3)
    m.sh("rm jobs/dead/" + ids[1])
    equal(where(m, ids[1]), [])
    fails(errno.ENOENT, remove, m, "dead", ids[1])
    fails(errno.ENOENT, move, m, ids[1], "dead", "ready")
    eventually_counts(m, dead=2)
    m.restart()
    equal(listed(m, "dead"), [ids[0], ids[2]])


def test_looking_at_the_dead(t):
    m = jobs(t)
    m.put("jobs", b"first\n" + b"y" * 200000 + b"\n")
    m.flush("jobs")
    ids = bury(m, 2)
    equal([os.stat(path(m, "dead", item)).st_size for item in ids], [5, 200000], "sizes")
    equal(bytes_of(m, "dead", ids[0]), b"first")
    assert bytes_of(m, "dead", ids[1]) == b"y" * 200000, "other bytes"
    equal(deliveries(m, "dead", ids[0]), 1, "deliveries")
    assert abs(os.stat(path(m, "dead", ids[0])).st_mtime - time.time()) < 60, "the time of put"
    with Fd(path(m, "dead", ids[0]), os.O_RDONLY) as file:
        remove(m, "dead", ids[0])
        equal(file.read(), b"first", "what an open one reads after rm")
    shown = m.out("ls -l jobs/dead").decode()
    assert " 200000 " in shown and ids[1] in shown, shown


def test_rmdir_and_purge_with_the_dead(t):
    m = jobs(t, 3)
    item = bury(m)[0]
    m.sh("echo jobs > jobs/purge")
    equal(where(m, item), ["dead"], "after a purge")
    eventually_counts(m, depth=0, dead=1)
    fails(errno.ENOTEMPTY, os.rmdir, m.at("jobs"))
    remove(m, "dead", item)
    os.rmdir(m.at("jobs"))


def test_rmdir_of_a_queue_with_a_delayed_one(t):
    m = jobs(t, 1, retry_delay="10m")
    for _ in range(2):
        move(m, claim_one(m), "leased", "ready")
        m.flush("jobs")
    fails(errno.ENOTEMPTY, os.rmdir, m.at("jobs"))
    remove(m, "ready", listed(m, "ready")[0])
    os.rmdir(m.at("jobs"))


def test_dead_ones_do_not_fill_the_queue(t):
    """maxsize counts what is ready and leased."""
    m = jobs(t, 3, maxsize=3, on_full="fail")
    bury(m, 3)
    eventually_counts(m, dead=3, depth=0)
    m.put("jobs", b"a\nb\n")
    m.flush("jobs")
    eventually_counts(m, dead=3, depth=2)


@timeout(90)
def test_many_dead_come_back(t):
    n = 10000 if FULL else 2000
    m = jobs(t, n, max_deliveries=1)
    for item in claim(m, "claim@%d" % n):
        move(m, item, "leased", "ready")
    m.flush("jobs")
    equal(len(listed(m, "dead")), n, "dead")
    begin = time.monotonic()
    m.sh("mv jobs/dead/* jobs/ready/")
    print("# mv dead/* ready/ of %d: %.2f s" % (n, time.monotonic() - begin), flush=True)
    eventually_counts(m, dead=0, depth=n)


class Killer(threading.Thread):
    """Kills and starts the service again and again."""

    def __init__(self, service, seconds):
        super().__init__(daemon=True)
        self.service, self.seconds, self.n, self.stop = service, seconds, 0, False

    def run(self):
        pause = 0.01
        while not self.stop:
            time.sleep(pause)
            pause = pause * 1.37 % self.seconds
            self.service.kill()
            self.service.start()
            self.n += 1


def persist(function, *args):
    """Until the service answers; what was done though its answer was lost is done: ENOENT."""
    end = time.monotonic() + 40 * SLOW
    while True:
        try:
            return function(*args)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            if error.errno != errno.ETIMEDOUT or time.monotonic() > end:
                raise


@timeout(120)
def test_killed_at_any_point_each_item_is_in_one_place(t):
    """Given back, expired, dead and revived while the service is killed again and again."""
    service, m, other = pair(t, 12, retry_delay="0s", max_deliveries=2, lease="1s")
    other.stop()
    ids = set(listed(m, "ready"))
    killer = Killer(service, 0.4 * SLOW)
    killer.start()
    end = time.monotonic() + 6
    n_moved = 0
    while time.monotonic() < end or killer.n < 6 or n_moved <= 20:
        for item in persist(claim, m, "claim@6@100ms") or []:
            if n_moved % 3:
                persist(move, m, item, "leased", "ready")
            n_moved += 1
        for item in persist(listed, m, "dead"):
            persist(move, m, item, "dead", "ready")
    killer.stop = True
    killer.join()
    eventually(lambda: m.stats()["connected"] == 1, 20, "the connection")
    print("# %d kills, %d moves" % (killer.n, n_moved), flush=True)
    assert n_moved > 20, "only %d moves" % n_moved
    m.flush("jobs")
    # A claim whose answer was lost is leased by nobody here; it comes back when its lease ends. One
    # that moves between two listings is seen in both or in none, and not for long.
    eventually(lambda: all(len(where_of(m, item)) == 1 for item in ids), 5, "one place for each")
    total = sum(counts(m, "depth", "leased", "delayed", "dead"))
    equal(total, 12, "items as the service counts them")
    data = b"".join(sorted(drain(m)))
    equal(data, b"".join(sorted(b"%d" % n for n in range(12))), "the items, each once")


def where_of(m, item):
    return [place for place in ("ready", "leased", "dead") if item in listed(m, place)]


def drain(m):
    """The bytes of all items, which are gone then."""
    m.configure("jobs", lease="1h")
    # By the service's counters: a claim whose answer was lost is in nobody's listing.
    eventually_counts(m, leased=0, delayed=0)
    for item in listed(m, "dead"):
        move(m, item, "dead", "ready")
    eventually_counts(m, dead=0)
    found = []
    for item in claim(m, "claim@100@3s"):
        found.append(bytes_of(m, "leased", item))
        remove(m, "leased", item)
    m.flush("jobs")
    eventually_counts(m, depth=0, leased=0, delayed=0, dead=0)
    return found


if __name__ == "__main__":
    main()
