"""What a put waits for while the store has other work: checkpoints, and moving what lives out of
the oldest part of its log, which a load beside it makes it do all the time."""

import os
import threading
import time
from contextlib import contextmanager

from suite import bulk
from suite.calls import empty, fs_calls
from suite.growth import read_all, write_all
from suite.place import ITEM_BYTES
from suite.row import Goal, Row

# Small segments: a checkpoint with each, and little may be dead before what lives is moved.
SETTINGS = "store: {max_bytes: 256MiB}\n"
N_PUT, N_PUTS = 1_000, 20  # items of one put of the load; puts before they are taken again
LEAST_MOVED = 0.1  # bytes for each one put, in all rounds; below that it was not cleaning
QUANTILES = ["p50", "p99", "p99.9", "max"]


def log_end(mount):
    """The position in the log where its latest segment begins: what was ever written to it."""
    return max(int(name[:-4], 16) for name in os.listdir(mount.data + "/log")
               if name.endswith(".log"))


class Load:
    """Puts and gets of a queue of its own, as fast as they go, on a thread of this program."""

    def __init__(self, mount):
        self.mount, self.queue = mount, mount.queue
        os.mkdir(self.queue)
        self.line = b"y" * (ITEM_BYTES - 1) + b"\n"
        self.n_bytes = self.n_checkpoints = 0
        self.stopping = False
        self.error = None
        self.all_bytes = self.all_logged = 0  # in all that ended

    def look(self, before):
        """The file of the index is written by checkpoints alone."""
        now = os.stat(self.mount.data + "/index/data.mdb").st_mtime_ns
        self.n_checkpoints += now != before
        return now

    def put(self, fd):
        write_all(fd, self.line * N_PUT)
        os.fdatasync(fd)
        self.n_bytes += N_PUT * ITEM_BYTES

    def loop(self):
        fd = os.open(self.queue + "/in", os.O_WRONLY)
        seen = self.look(0)
        while not self.stopping:
            for _ in range(N_PUTS):
                self.put(fd)
                seen = self.look(seen)
            read_all(self.queue + "/out")
        os.close(fd)

    def run(self):
        try:
            self.loop()
        except OSError as error:
            self.error = error

    @contextmanager
    def running(self):
        """Gives a dict that has, when it ended, what it made the store do."""
        made = {}
        begin, first = time.monotonic(), log_end(self.mount)
        self.n_bytes = self.n_checkpoints = 0
        self.stopping = False
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield made
        finally:
            self.stopping = True
            thread.join()
        if self.error:
            raise self.error
        logged = log_end(self.mount) - first
        self.all_bytes += self.n_bytes
        self.all_logged += logged
        made["checkpoints a second"] = self.n_checkpoints / (time.monotonic() - begin)
        made["bytes moved for one put"] = max(0, logged / self.n_bytes - 1)

    def check(self):
        """What was measured must have been there."""
        moved = self.all_logged / self.all_bytes - 1
        if moved < LEAST_MOVED:
            raise RuntimeError("next to nothing was moved: %.2f bytes for one put" % moved)


def keep(bench, mount):
    """What lives and has to be moved again and again: much in few rows, and a little in many."""
    kept = mount.queue_of("kept")
    os.mkdir(kept.queue)
    bulk.put_singly(bench, kept, bench.items(bench.count(20_000, 1_000)))
    bulk.put(bench, kept, bench.items(bench.count(300_000, 200_000)))


@contextmanager
def beside_cleaning(bench):
    n = bench.count(4_000, 1_000)
    blocks = bench.path("blocks")

    def quantiles(command, path):
        taken = fs_calls(bench, command, path, n)
        return {name: taken[name] for name in QUANTILES}

    def alone(mount):
        taken = quantiles("put", mount.queue + "/in")
        empty(bench, mount)
        return taken

    def beside(load, command, path):
        with load.running() as made:
            taken = quantiles(command, path)
        empty(bench, load.mount)
        return {**taken, **made}

    with bench.queuefs(settings=SETTINGS) as mount:
        keep(bench, mount)
        load = Load(mount.queue_of("load"))
        yield {
            "alone": lambda: alone(mount),
            "plain file, beside the load": lambda: beside(load, "over", blocks),
            "beside the load": lambda: beside(load, "put", mount.queue + "/in"),
        }
        load.check()


ROWS = [
    Row("cleaning", "One put, write and fdatasync, while the store checkpoints and cleans all the "
        "time", beside_cleaning, unit="us", baseline="alone", rounds=5, seconds=30,
        more_is_better=False,
        goals=[Goal("beside the load", at_most=10_000, metric="p99.9",
                    reach="99.9 % of puts under checkpoints and cleaning")],
        note="Segments of 16 MiB; 32 MB in 320,000 items live, 20,000 of them each in a row of its "
             "own; beside it puts of 1,000 items, each synced, and gets, as fast as they go. "
             "*Plain file* is a pwrite and fdatasync into a file that has its blocks, on the same "
             "disk beside the same load."),
]
