#!/usr/bin/env python3
"""The service is stopped (SIGSTOP): what must ask it ends with ETIMEDOUT after a second, what needs
not is done at once, and nobody else in the mount is held up, though the kernel queues callers
behind a directory's lock.
"""

import errno
import os
import signal
import subprocess
import threading
import time

from harness import SLOW, Fd, equal, eventually, fails, main, timed, timeout
from test_away import quick, stop_at_once
from work import (bury, bytes_of, claim, claim_one, eventually_counts, listed, move, pair, path,
                  remove, touch, where)

BOUND = 1.5 if SLOW == 1 else 3  # s: of an operation, and of an ls beside it


class Stopped:
    """A mount with two items in each place; the service is stopped inside `with`."""

    def __init__(self, t, n=6):
        self.service, self.mount, other = pair(t, n)
        other.stop()
        self.dead = bury(self.mount, 2)
        self.leased = claim(self.mount, "claim@2")
        self.ready = listed(self.mount, "ready")[:2]

    def __enter__(self):
        stop_at_once(self.service.daemon)
        return self.mount

    def __exit__(self, *_):
        self.service.daemon.send_signal(signal.SIGCONT)
        eventually(self.answers, 10, "the service")

    def answers(self):
        try:
            return bool(listed(self.mount, "ready"))
        except TimeoutError:
            return False


def asking(s):
    """Each operation that must ask the service."""
    m, ready, dead = s.mount, s.ready[0], s.dead[0]
    return {
        "rm ready": lambda: remove(m, "ready", ready),
        "rm dead": lambda: remove(m, "dead", dead),
        "mv ready leased": lambda: move(m, ready, "ready", "leased"),
        "mv dead ready": lambda: move(m, dead, "dead", "ready"),
        "ls ready": lambda: listed(m, "ready"),
        "ls dead": lambda: listed(m, "dead"),
        "stat ready": lambda: os.stat(path(m, "ready", ready)),
        "cat dead": lambda: bytes_of(m, "dead", dead),
    }


@timeout(90)
def test_each_operation_that_asks_ends_with_ETIMEDOUT(t):
    s = Stopped(t)
    for name, operation in asking(s).items():
        with s:
            begin = time.monotonic()
            fails(errno.ETIMEDOUT, operation)
            taken = time.monotonic() - begin
            assert 0.4 <= taken <= BOUND, "%s took %.2f s" % (name, taken)
    # What was on its way may be done later, as with any file server. But nothing by halves.
    for item in s.ready + s.dead:
        where(s.mount, item)
    equal(listed(s.mount, "leased"), s.leased, "leased")


@timeout(60)
def test_ten_in_a_row_end_together(t):
    """One directory's lock lets them in one by one: each its own second would be ten."""
    s = Stopped(t)
    with s as m:
        ended = []

        def ask(item):
            begin = time.monotonic()
            fails(errno.ETIMEDOUT, remove, m, "ready", item)
            ended.append(time.monotonic() - begin)

        items = ["%016x" % (1 << 24 | n) for n in range(4, 14)]  # none of them is held here
        threads = [threading.Thread(target=ask, args=(item,)) for item in items]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        equal(len(ended), 10, "calls that ended with ETIMEDOUT")
        assert max(ended) <= BOUND, "the last one took %.2f s" % max(ended)
        begin = time.monotonic()
        for _ in range(10):
            fails(errno.ETIMEDOUT, listed, m, "ready")
        assert time.monotonic() - begin <= BOUND, "ten more took longer"
    assert set(listed(s.mount, "ready")) <= set(s.ready), "after it went on"


@timeout(90)
def test_others_are_not_held_up(t):
    s = Stopped(t)
    for name in ("rm ready", "rm dead", "mv ready leased", "mv dead ready", "ls ready"):
        with s as m:
            asker = threading.Thread(target=fails, args=(errno.ETIMEDOUT, asking(s)[name]))
            asker.start()
            time.sleep(0.1)  # it is most likely inside now; nothing depends on it
            for what in (m.path, m.at("jobs"), path(m, "leased")):
                taken = timed(m.sh, ["ls", "-l", what])
                assert taken <= BOUND, "ls -l %s beside %s took %.2f s" % (what, name, taken)
            asker.join()


@timeout(60)
def test_waiters_can_be_killed(t):
    s = Stopped(t)
    with s as m:
        scripts = ["rm ready/%016x" % (1 << 24 | n) for n in range(4)]
        scripts += ["mv ready/%s leased/" % s.ready[0], "mv dead/%s ready/" % s.dead[0],
                    "ls ready", "cat dead/" + s.dead[1], "cat claim@forever", "cat claim@20s"]
        waiters = [subprocess.Popen(["sh", "-c", "exec " + script], cwd=m.at("jobs"),
                                    stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
                   for script in scripts]
        time.sleep(0.2)
        begin = time.monotonic()
        for waiter in waiters:
            waiter.kill()
        for waiter, script in zip(waiters, scripts):
            waiter.wait(60)
            taken = time.monotonic() - begin
            assert taken <= BOUND, "%s ended %.2f s after SIGKILL" % (script, taken)
    equal(len(listed(s.mount, "dead")), 2, "dead")


@timeout(60)
def test_what_is_held_here_is_settled_at_once(t):
    s = Stopped(t)
    first, second = s.leased
    with s as m:
        for function, args in ((listed, (m, "leased")), (bytes_of, (m, "leased", first)),
                               (touch, (m, "leased", first)), (os.listdir, (m.at("jobs"),)),
                               (m.stats, ("jobs",))):
            quick(function, *args)
        taken = timed(remove, m, "leased", first)
        assert taken <= BOUND, "rm took %.2f s" % taken
        equal(listed(m, "leased"), [second], "leased")
    s.mount.flush("jobs")
    eventually_counts(s.mount, depth=2, leased=1, dead=2, acks_late=0)


@timeout(60)
def test_a_claim_is_no_false_end(t):
    s = Stopped(t)
    with s as m:
        for name in ("claim", "claim@2"):
            fails(errno.ETIMEDOUT, m.get, "jobs", name)
    eventually(lambda: claim_one(s.mount, 5) in s.ready, 5, "a claim after it went on")


@timeout(60)
def test_a_take_whose_answer_comes_late_gives_back(t):
    """Interrupted or timed out, it is nobody's; it must not stay leased."""
    s = Stopped(t)
    with s as m:
        fails(errno.ENOENT, os.stat, path(m, "leased", s.ready[0]))
        fails(errno.ETIMEDOUT, move, m, s.ready[0], "ready", "leased")
    eventually_counts(s.mount, depth=2, leased=2, redelivered=0)


@timeout(60)
def test_leases_that_end_meanwhile(t):
    """A renewal that was not answered does not count: the file is gone when its time is over."""
    service, m, other = pair(t, 1, lease="2s")
    other.stop()
    item = claim_one(m)
    with Fd(path(m, "leased", item), os.O_RDONLY) as file:
        stop_at_once(service.daemon)
        eventually(lambda: listed(m, "leased") == [], 4, "the end of the lease")
        fails(errno.ENOENT, remove, m, "leased", item)
        fails(errno.ESTALE, touch, m, "leased", item)
        equal(file.read(), b"0")
        service.daemon.send_signal(signal.SIGCONT)
    eventually(lambda: claim(m, "claim@1s") == [item], 10, "the item again")


@timeout(60)
def test_an_acknowledgement_that_comes_too_late_is_counted(t):
    """rm was right as far as this mount could know. The item is gone, or it is back and counted."""
    service, m, other = pair(t, 1, lease="3s")
    other.stop()
    item = claim_one(m)
    stop_at_once(service.daemon)
    remove(m, "leased", item)
    time.sleep(3.5)
    service.daemon.send_signal(signal.SIGCONT)
    m.flush("jobs")
    late = m.stats("jobs")["acks_late"]
    eventually_counts(m, depth=late, expired=late, leased=0)
    equal(len(claim(m, "claim@1s")), late, "items that came back; acks_late")


@timeout(60)
def test_a_full_queue_does_not_make_ls_fail(t):
    _, m, other = pair(t, 3, maxsize=3)
    other.stop()
    writer = subprocess.Popen(["sh", "-c", "seq 10 14 >> in"], cwd=m.at("jobs"))
    for _ in range(5):
        taken = timed(lambda: equal(len(listed(m, "ready")), 3, "ready"))
        assert taken < BOUND, "ls ready took %.2f s" % taken
    for item in claim(m, "claim@3"):
        remove(m, "leased", item)
    got = []
    while len(got) < 5:
        got += m.get("jobs", "out@5s").split()
    equal(got, [b"%d" % n for n in range(10, 15)], "what the writer had waiting")
    equal(writer.wait(), 0, "status of the writer")


if __name__ == "__main__":
    main()
