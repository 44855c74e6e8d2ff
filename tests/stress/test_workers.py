#!/usr/bin/env python3
"""Workers that are killed: eight of them on two mounts of one service, each killed (-9) again and
again at random. Every item is handled, none by two workers while both hold it, and none is handled
twice but for a kill.

    tests/stress/test_workers.py                          a few thousand items, 5 kills of each
    QUEUEFS_TEST_FULL=1 tests/stress/test_workers.py      100,000 items, 50 kills of each
    QUEUEFS_WORKERS_SEED=N                                the same moments as in a run that failed

WORKER: the built worker.c; it builds its own without.
"""

import os
import random
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))

from harness import FULL, ROOT, SLOW, equal, eventually, main, sh, timeout  # noqa: E402
from work import eventually_counts, pair  # noqa: E402

WORKERS = 8
ITEMS, KILLS = (100000, 50) if FULL else (6000 // SLOW, 5)
LEASE = 2 * SLOW  # seconds
RECORD = struct.Struct("=IIQqq")
HANDLED, REMOVED, MISSED = 1, 2, 3


def seed():
    chosen = int(os.environ.get("QUEUEFS_WORKERS_SEED", random.randrange(1 << 32)))
    print("# seed %d" % chosen, flush=True)
    return random.Random(chosen)


def program(t):
    built = os.environ.get("WORKER")
    if built:
        return os.path.abspath(built)
    built = t.path("worker")
    sh(["cc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-o", built, ROOT + "/tests/stress/worker.c"])
    return built


class Worker:
    """One that is started again after each kill, and writes on where it stopped."""

    def __init__(self, t, name, start):
        self.records = t.path("records-" + name)
        open(self.records, "wb").close()
        self.start_process, self.process, self.n_kills = start, None, 0
        self.start()

    def start(self):
        self.process = self.start_process(self.records)

    def kill(self):
        """With all it has started; it has a session of its own."""
        if self.process.poll() is not None:
            raise AssertionError("a worker ended with %d" % self.process.returncode)
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.n_kills += 1

    def progress(self):
        return os.path.getsize(self.records)


def kill_at_random(workers, rng, kills, whole, total):
    """Kill each worker `kills` times, at random points on the way to `whole` by all of them."""
    due = sorted((rng.uniform(0, 0.95 * whole), worker) for worker in range(len(workers))
                 for _ in range(kills))
    for point, number in due:
        eventually(lambda: total() >= point, 120, "progress to %d of %d" % (point, whole))
        workers[number].kill()
        workers[number].start()


def read_records(workers):
    """(worker, kind, item's number, id, from, until) of each record."""
    for number, worker in enumerate(workers):
        with open(worker.records, "rb") as file:
            for record in RECORD.iter_unpack(file.read()):
                yield (number, *record)


def check(records, n_items, n_kills):
    handled, held, numbers, n_missed = {}, {}, {}, 0
    for worker, kind, item, name, begin, end in records:
        n_missed += kind == MISSED
        if kind == MISSED:
            continue
        equal(numbers.setdefault(name, item), item, "the bytes of %x" % name)
        if kind == HANDLED:
            handled[item] = handled.get(item, 0) + 1
        key = name, begin, worker
        held[key] = max(held.get(key, 0), end)
    lost = set(range(n_items)) - set(handled)
    assert not lost, "%d items were not handled: %s" % (len(lost), sorted(lost)[:10])
    equal(len(handled), n_items, "items handled")
    equal(len(numbers), n_items, "ids")
    n_twice = sum(n - 1 for n in handled.values())
    print("# %d items, %d kills: %d handled again, %d ids of what had gone back" % (
        n_items, n_kills, n_twice, n_missed), flush=True)
    check_overlaps(held)
    assert n_twice <= n_kills, "%d handled again, with %d kills" % (n_twice, n_kills)


def check_overlaps(held):
    """Of the times at which an item was held, each begins when the one before has ended."""
    last = {}
    for (name, begin, worker), end in sorted(held.items()):
        if name in last:
            before, by = last[name]
            assert begin >= before, "%x was held by %d until %d and by %d from %d" % (
                name, by, before, worker, begin)
        last[name] = end, worker


def run(t, mounts, start, n_items, kills, whole, total_of):
    rng = seed()
    workers = [Worker(t, str(n), lambda records, m=mounts[n % 2]: start(m, records))
               for n in range(WORKERS)]
    try:
        kill_at_random(workers, rng, kills, whole, lambda: total_of(workers))
        eventually_counts(mounts[0], 100, depth=0, leased=0, delayed=0)
    finally:
        n_kills = sum(worker.n_kills for worker in workers)
        for worker in workers:
            worker.kill()
    equal(n_kills, WORKERS * kills, "kills")
    mounts[0].flush("jobs")
    mounts[1].flush("jobs")
    eventually_counts(mounts[0], depth=0, leased=0, delayed=0, dead=0)
    return workers, n_kills


@timeout(600 if FULL else 90)
def test_workers_that_are_killed(t):
    _, one, two = pair(t, ITEMS, lease="%ds" % LEASE, retry_delay="0s", max_deliveries=1000)
    binary = program(t)

    def start(m, records):
        command = [binary, m.at("jobs"), records, str(int(1.5e6 * LEASE))]
        return subprocess.Popen(command, start_new_session=True)

    def total(workers):
        return sum(worker.progress() for worker in workers) // RECORD.size

    begin = time.monotonic()
    workers, n_kills = run(t, (one, two), start, ITEMS, KILLS, 2 * ITEMS, total)
    print("# %.1f s" % (time.monotonic() - begin), flush=True)
    check(read_records(workers), ITEMS, n_kills)
    equal([m.stats("jobs")["acks_late"] for m in (one, two)], [0, 0], "acks_late")


LOOP = """
    while id=$(cat claim@forever) && [ -n "$id" ]; do
        ./handle < leased/$id && rm leased/$id || mv leased/$id ready/
    done"""
HANDLE = "read -r item; echo $item >> %s"


@timeout(120)
def test_the_loop_as_a_shell_runs_it(t):
    n_items, kills = (2000, 10) if FULL else (400 // SLOW, 2)
    _, one, two = pair(t, n_items, lease="%ds" % LEASE, retry_delay="0s", max_deliveries=1000)

    def start(m, records):
        loop = LOOP.replace("./handle", "sh -c '%s'" % (HANDLE % records))
        return subprocess.Popen(["sh", "-c", loop], cwd=m.at("jobs"), start_new_session=True)

    def total(workers):
        n = 0
        for worker in workers:
            with open(worker.records) as file:
                n += file.read().count("\n")
        return n

    workers, n_kills = run(t, (one, two), start, n_items, kills, n_items, total)
    handled = []
    for worker in workers:
        with open(worker.records) as file:
            handled += [int(line) for line in file]
    equal(sorted(set(handled)), list(range(n_items)), "what was handled")
    n_twice = len(handled) - n_items
    print("# %d items, %d kills: %d handled again" % (n_items, n_kills, n_twice), flush=True)
    assert n_twice <= n_kills, "%d handled again, with %d kills" % (n_twice, n_kills)


def test_the_checker_finds_what_is_wrong(t):
    """Its positive control: each of these must fail."""
    good = [(0, HANDLED, 0, 7, 10, 20), (0, REMOVED, 0, 7, 10, 30), (1, HANDLED, 1, 8, 10, 20)]
    check(good, 2, 0)
    check([*good, (1, HANDLED, 0, 7, 30, 40)], 2, 1)
    for wrong, n_items, n_kills in (
            (good, 3, 0),  # lost
            ([*good, (1, HANDLED, 0, 7, 30, 40)], 2, 0),  # twice, without a kill
            ([*good, (1, HANDLED, 0, 7, 29, 40)], 2, 1),  # held by two
            ([*good, (1, HANDLED, 5, 7, 30, 40)], 2, 1)):  # other bytes
        try:
            check(wrong, n_items, n_kills)
        except AssertionError:
            continue
        raise AssertionError("it found nothing wrong in " + repr(wrong))


if __name__ == "__main__":
    main()
