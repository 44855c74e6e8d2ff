"""Jobs: claim, read, remove; and what a long backlog does to looking at it."""

import os
from contextlib import contextmanager

from suite import bulk
from suite.calls import fs_calls
from suite.row import Goal, Row

FEW, LISTED, MANY = 10, 10_000, 5_000_000  # a listing of `ready` ends at LISTED


@contextmanager
def work(bench):
    n_jobs = bench.count(4_000, 160)
    items = bench.items(n_jobs)

    def measure(mount, n_workers):
        """The flush counts: all that was removed is acknowledged then."""
        if mount.data:
            bulk.put(bench, mount, items)
        taken = fs_calls(bench, "claim", mount.queue, n_jobs, n_workers)["ns"] * n_jobs / 1e9
        return n_jobs / (taken + bench.seconds("touch %s/flush" % mount.queue))

    def rates(mount):
        return {"%d workers" % n: measure(mount, n) for n in (1, 8)}

    with bench.queuefs() as mount, bench.null_fs() as null:
        yield {"do-nothing": lambda: rates(null), "queuefs": lambda: rates(mount)}


@contextmanager
def claim_wake(bench):
    n = bench.count(300, 20)

    def measure(mount):
        taken = fs_calls(bench, "wake", mount.queue, "claim@forever", n)
        return {"p50": taken["p50"], "p99": taken["p99"]}

    with bench.queuefs() as mount:
        yield {"claim@forever": lambda: measure(mount)}


@contextmanager
def look(bench):
    """The same commands on short and on long backlogs."""
    waiting = {FEW: FEW, LISTED: LISTED, MANY: bench.count(MANY, 50_000)}
    n_times = bench.count(20, 5)

    def us(queue, command):
        loop = "cd %s; i=0; while [ $i -lt %d ]; do %s; i=$((i+1)); done > /dev/null"
        return bench.seconds(loop % (queue, n_times, command)) * 1e6 / n_times

    def on_all(mount, command):
        return {size: us("%s/w%d" % (mount.path, size), command) for size in waiting}

    with bench.queuefs() as mount:
        for size, n_items in waiting.items():
            queue = "%s/w%d" % (mount.path, size)
            os.mkdir(queue)
            with open(queue + "/config", "w") as config:
                config.write("retry_delay: 0s\nmax_deliveries: 1000000\n")
            bench.seconds("cat %s > %s/in; touch %s/flush" % (bench.items(n_items), queue, queue))
            assert os.listdir(queue + "/ready")
        yield {
            "ls ready": lambda: on_all(mount, "ls ready | head"),
            "claim": lambda: on_all(mount, "mv leased/$(cat claim) ready/"),
            "stat": lambda: on_all(mount, "stat . stats ready"),
        }


def as_fast(side, size):
    return Goal(side, at_most=1.5, of=side, metric=MANY, of_metric=size)


ROWS = [
    Row("work", "Work: claim, read, rm, durable", work, unit="jobs/s", baseline="do-nothing",
        seconds=60, goals=[Goal("queuefs", at_least=0.5, of="do-nothing")]),
    Row("claim-wake", "Put to wake-up of a waiting `claim` in the same mount, durable", claim_wake,
        unit="us", seconds=10, more_is_better=False,
        goals=[Goal("claim@forever", at_most=5000, metric="p50")]),
    Row("work-backlog", "Looking at a backlog of 5 million and of 10", look, unit="us", seconds=40,
        more_is_better=False,
        goals=[as_fast("ls ready", LISTED), as_fast("claim", FEW), as_fast("stat", FEW)],
        note="`ls ready | head`, `mv leased/$(cat claim) ready/` and `stat . stats ready`, each in "
             "a shell loop. The number is how many items wait. A listing has at most 10,000 names, "
             "so that is what one of 5 million is measured by."),
]
