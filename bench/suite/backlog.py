"""What an item costs while many others wait: it goes in behind them, the first comes out."""

import os
from contextlib import contextmanager

from suite.row import Goal, Line, Picture, Row

SIZES = [10, 1_000, 100_000, 1_000_000, 10_000_000]


def waiting(bench):
    return SIZES[:3] if bench.quick else SIZES


@contextmanager
def backlog(bench):
    """A queue for each size, filled before."""
    n_items = bench.count(300_000, 10_000)
    items = bench.items(n_items)

    def measure(mount, size):
        queue = "%s/w%d" % (mount.path, size)
        put = bench.seconds("cat %s > %s/in; touch %s/flush" % (items, queue, queue))
        get = bench.seconds("cat %s/out@%d > /dev/null" % (queue, n_items))
        return (put + get) * 1e9 / n_items

    with bench.queuefs() as mount:
        for size in waiting(bench):
            queue = "%s/w%d" % (mount.path, size)
            os.mkdir(queue)
            bench.seconds("cat %s > %s/in; touch %s/flush" % (bench.items(size), queue, queue))
        yield {"queuefs": lambda: {size: measure(mount, size) for size in waiting(bench)}}


ROWS = [
    Row("backlog", "Put and get of an item, by how many wait", backlog, unit="ns", seconds=10,
        rounds=7, more_is_better=False,
        goals=[Goal("queuefs", at_most=1.2, of="queuefs", metric=10_000_000, of_metric=10)]),
]

PICTURES = [
    Picture("backlog.svg", "Cost of an item over backlog (durable, 100-byte items)",
            "items waiting", "ns an item", [Line("backlog", "queuefs", "put + get")], log_y=False),
]
