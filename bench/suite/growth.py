"""A queue that never has many items, for a long time: its file must not grow, nor puts get slow."""

import os
import random
import time
from contextlib import contextmanager

from suite.place import ITEM_BYTES
from suite.row import Goal, Row

MILLIONS = 24
MOST_WAITING = 100_000
PUT_LEAST, PUT_MOST = 1_000, 20_000  # items of one put; sizes that vary fragment a file most
READ_BYTES = 1 << 20


def empty(queue):
    """Take all that waits."""
    fd = os.open(queue + "/out", os.O_RDONLY)
    while os.read(fd, READ_BYTES):
        pass
    os.close(fd)


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data):]


class Run:
    """Puts of different sizes, each synced and timed, the queue emptied before it has too many."""

    def __init__(self, mount, per_million):
        self.queue = mount.queue
        self.data = mount.data
        self.per_million = per_million
        self.sizes_mib, self.times_ms = {}, []
        self.random = random.Random(1)
        self.line = b"x" * (ITEM_BYTES - 1) + b"\n"

    def put_million(self, fd):
        n_done = n_waiting = 0
        times = []
        while n_done < self.per_million:
            n_items = self.random.randint(PUT_LEAST, PUT_MOST)
            if n_waiting + n_items > MOST_WAITING:
                empty(self.queue)
                n_waiting = 0
            begin = time.monotonic()
            write_all(fd, self.line * n_items)
            os.fsync(fd)
            times.append((time.monotonic() - begin) * 1e3)
            n_done += n_items
            n_waiting += n_items
        empty(self.queue)
        self.times_ms.append(times)

    def run(self):
        fd = os.open(self.queue + "/in", os.O_WRONLY)
        for million in range(1, MILLIONS + 1):
            self.put_million(fd)
            self.sizes_mib[million] = size_of(self.data) / (1 << 20)
        os.close(fd)
        return self.sizes_mib

    def p99(self):
        """Of the first and the last quarter."""
        quarter = MILLIONS // 4
        parts = {"first quarter": self.times_ms[:quarter], "last quarter": self.times_ms[-quarter:]}
        return {name: quantile(sum(part, []), 0.99) for name, part in parts.items()}


def size_of(directory):
    """Bytes of all files below it."""
    return sum(os.stat(os.path.join(place, name)).st_size
               for place, _, names in os.walk(directory) for name in names)


def quantile(values, share):
    return sorted(values)[int((len(values) - 1) * share)]


@contextmanager
def growth(bench):
    with bench.queuefs() as mount:
        run = Run(mount, bench.count(1_000_000, 40_000))
        yield {"size of the log, MiB": run.run, "p99 of a put with fsync, ms": run.p99}


ROWS = [
    Row("growth", "The log, after 24 million items through a queue of at most 100,000", growth,
        unit="MiB or ms", rounds=1, seconds=10, more_is_better=False,
        goals=[Goal("size of the log, MiB", at_most=2, of="size of the log, MiB", metric=24,
                    of_metric=1),
               Goal("p99 of a put with fsync, ms", at_most=1.5, of="p99 of a put with fsync, ms",
                    metric="last quarter", of_metric="first quarter")],
        note="One run. The number behind the size is how many million items have gone through. "
             "Puts have 1,000 to 20,000 items."),
]
