"""How soon a mount answers again that was killed while many items wait."""

import os
import time
from contextlib import contextmanager

from suite import bulk
from suite.place import answers
from suite.row import Goal, Row

POLL_S = 0.001


class Killed:
    """A mount that is killed straight after a put, and started by the same command."""

    def __init__(self, bench, mount):
        self.bench, self.mount = bench, mount
        self.least = 0  # items that must be there: what was acknowledged and not read

    def put(self, put, n_items):
        """put(bench, mount, items) is one of bulk's."""
        put(self.bench, self.mount, self.bench.items(n_items))
        self.least += n_items

    def start_ms(self, n_items):
        """From exec until it has told its stats and given an item."""
        self.put(bulk.put, n_items)
        self.mount.daemon.kill()
        begin = time.monotonic()
        self.mount.daemon.start_again()
        self.bench.wait_for(self.mount.daemon, lambda: answers(self.mount.path), 600, POLL_S)
        depth = self.mount.stat("depth")
        told = time.monotonic()
        given = self.get()
        end = time.monotonic()
        if depth < self.least or not given:
            raise RuntimeError("%d items of %d are there" % (depth, self.least))
        self.least -= 1
        return {"stat": (told - begin) * 1e3, "get": (end - begin) * 1e3}

    def get(self):
        fd = os.open(self.mount.queue + "/next", os.O_RDONLY)
        try:
            return os.read(fd, 1 << 20)
        finally:
            os.close(fd)


@contextmanager
def start(bench):
    n_items = bench.count(50_000, 5_000)  # of one put
    with bench.queuefs() as mount:
        killed = Killed(bench, mount)
        killed.put(bulk.put_singly, bench.count(100_000, 2_000))
        killed.put(bulk.put, bench.count(10_000_000, 200_000))
        yield {"start": lambda: killed.start_ms(n_items)}


ROWS = [
    Row("start", "Start after kill -9, 10 million items waiting", start, unit="ms", rounds=7,
        seconds=15, more_is_better=False,
        goals=[Goal("start", at_most=500, metric="get",
                    reach="10 million items waiting: start after kill -9, to the first get")],
        note="From the start of the program, which is killed when 50,000 items more have just been "
             "acknowledged, until its mount has told `stats`, and then given an item by `next`. "
             "100,000 items more lie in front, each a row of its own in the store. What was "
             "acknowledged is there each time, or the row fails."),
]
