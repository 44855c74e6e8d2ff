"""A queue that never has many items, for a long time: its log must not grow, nor puts get slow.
Then one item of a batch stays in front while many pass."""

import os
import random
import time
from contextlib import contextmanager

from suite.place import ITEM_BYTES, answers
from suite.row import Goal, Row, Shared

MILLIONS, MILLIONS_PASSING = 24, 10
SHOWN = [1, 6, 12, 18, 24]
MOST_WAITING = 100_000
PUT_LEAST, PUT_MOST = 1_000, 20_000  # items of one put; sizes that vary fragment a log most
N_SINGLE = 20  # puts of one item behind each of these, and as many writes to a plain file
BLOCKS_BYTES = 1 << 20  # of that file
N_BATCH = 1_000  # items of the batch of which one stays
READ_BYTES = 1 << 20

SIZE, LOG, SPARES = "all files, MiB", "log, of what it may have", "log and spares, MiB"
PUTS, SINGLE, STAYED = "p99 of a put with fsync, ms", "p99.9 of one item's put, ms", "in front"
PLAIN = "p99.9 of a pwrite and fdatasync, ms"
SIDES = [SIZE, LOG, SPARES, PUTS, SINGLE, PLAIN, STAYED]


def read_all(path):
    """All that an open of it gives."""
    fd = os.open(path, os.O_RDONLY)
    parts = []
    while data := os.read(fd, READ_BYTES):
        parts.append(data)
    os.close(fd)
    return b"".join(parts)


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data):]


def sizes_in(directory, ending=""):
    """Bytes of each file below it whose name ends so. Some go meanwhile."""
    sizes = []
    for place, _, names in os.walk(directory):
        for name in names:
            try:
                sizes += [os.stat(os.path.join(place, name)).st_size] * name.endswith(ending)
            except FileNotFoundError:
                pass
    return sizes


def quantile(values, share):
    return sorted(values)[int((len(values) - 1) * share)]


class Churn:
    """Puts of different sizes, each synced and timed, the queue emptied before it has too many."""

    def __init__(self, mount, blocks):
        self.queue = mount.queue
        self.blocks = blocks  # a plain file that is there, open
        self.log = mount.data + "/log"
        self.random = random.Random(1)
        self.line = b"x" * (ITEM_BYTES - 1) + b"\n"
        self.n_waiting = 0
        self.times_ms, self.single_ms, self.plain_ms = [], [], []
        self.most_of_allowed = self.most_bytes = 0

    def put(self, fd, n_items, times_ms):
        begin = time.monotonic()
        write_all(fd, self.line * n_items)
        os.fdatasync(fd)
        times_ms.append((time.monotonic() - begin) * 1e3)
        self.n_waiting += n_items

    def write_plain(self):
        """What the disk takes at this time: one write into blocks that are there."""
        at = len(self.plain_ms) * ITEM_BYTES % (BLOCKS_BYTES - ITEM_BYTES)
        begin = time.monotonic()
        os.pwrite(self.blocks, self.line, at)
        os.fdatasync(self.blocks)
        self.plain_ms.append((time.monotonic() - begin) * 1e3)

    def look(self):
        """It may have twice what lives, and four segments."""
        segments = sizes_in(self.log, ".log")
        allowed = 2 * self.n_waiting * ITEM_BYTES + 4 * max(segments, default=0)
        self.most_of_allowed = max(self.most_of_allowed, sum(segments) / allowed)
        self.most_bytes = max(self.most_bytes, sum(sizes_in(self.log)))

    def empty(self):
        n_bytes = len(read_all(self.queue + "/out"))
        if n_bytes != self.n_waiting * ITEM_BYTES:
            raise RuntimeError("%d bytes came of %d items" % (n_bytes, self.n_waiting))
        self.n_waiting = 0

    def pass_items(self, n_items):
        fd = os.open(self.queue + "/in", os.O_WRONLY)
        while n_items > 0:
            n = min(n_items, self.random.randint(PUT_LEAST, PUT_MOST))
            if self.n_waiting + n + N_SINGLE > MOST_WAITING:
                self.empty()
            self.put(fd, n, self.times_ms)
            for _ in range(N_SINGLE):
                self.put(fd, 1, self.single_ms)
                self.write_plain()
            self.look()
            n_items -= n
        self.empty()
        os.close(fd)

    def take_most_of_allowed(self):
        most, self.most_of_allowed = self.most_of_allowed, 0
        return most


class Left:
    """The first item of a batch, claimed, with all that was put behind it gone: the oldest of the
    log, and the last of its record."""

    def __init__(self, mount):
        self.mount, self.queue = mount, mount.queue
        mount.set(lease="12h", retry_delay="0s")
        self.item = b"this one stays".ljust(ITEM_BYTES - 1, b".") + b"\n"
        with open(self.queue + "/in", "wb") as file:
            file.write(self.item + b"".join(b"%0*d\n" % (ITEM_BYTES - 1, n)
                                            for n in range(1, N_BATCH)))
        mount.flush()
        self.id = read_all(self.queue + "/claim@1").decode().strip()
        read_all(self.queue + "/out")

    def is_safe(self, bench):
        """Given back, and looked for after a kill -9: it alone is there, as it was."""
        os.rename("%s/leased/%s" % (self.queue, self.id), "%s/ready/%s" % (self.queue, self.id))
        self.mount.flush()
        self.mount.daemon.kill()
        self.mount.daemon.start_again()
        bench.wait_for(self.mount.daemon, lambda: answers(self.mount.path), 60)
        return read_all(self.queue + "/out") == self.item


@contextmanager
def plain_file(bench):
    """One whose blocks are written; gives it open."""
    fd = os.open(bench.path("blocks"), os.O_RDWR | os.O_CREAT)
    try:
        write_all(fd, bytes(BLOCKS_BYTES))
        os.fsync(fd)
        yield fd
    finally:
        os.close(fd)


def ends(values, n_parts, share, name):
    """A quantile of the first and of the last part of them."""
    n = max(1, len(values) // n_parts)
    return {"first " + name: quantile(values[:n], share),
            "last " + name: quantile(values[-n:], share)}


def measure(bench, mount, blocks):
    churn = Churn(mount, blocks)
    million = bench.count(1_000_000, 40_000)
    sizes = {}
    for number in range(1, MILLIONS + 1):
        churn.pass_items(million)
        if number in SHOWN:
            sizes[number] = sum(sizes_in(mount.data)) / (1 << 20)
    bulk_ms = ends(churn.times_ms, 4, 0.99, "quarter")
    of_allowed = {"churn": churn.take_most_of_allowed()}
    left = Left(mount)
    churn.pass_items(MILLIONS_PASSING * million)
    of_allowed["an item in front"] = churn.take_most_of_allowed()
    return {
        SIZE: sizes,
        LOG: of_allowed,
        SPARES: churn.most_bytes / (1 << 20),
        PUTS: bulk_ms,
        SINGLE: ends(churn.single_ms, 10, 0.999, "tenth"),
        PLAIN: ends(churn.plain_ms, 10, 0.999, "tenth"),
        STAYED: {"is there": float(left.is_safe(bench))},
    }


@contextmanager
def growth(bench):
    with bench.queuefs() as mount, plain_file(bench) as blocks:
        yield Shared(lambda: measure(bench, mount, blocks)).sides(SIDES)


CHURN = "24 million items through 100,000, 10 million past one: "
ALLOWED = "of (twice what lives + 4 segments)"

ROWS = [
    Row("growth", "The log, after 24 million items through a queue of at most 100,000, and 10 "
        "million past one that stays", growth, unit="MiB or ms", rounds=1, seconds=60,
        more_is_better=False,
        goals=[Goal(PUTS, at_most=1.5, of=PUTS, metric="last quarter", of_metric="first quarter"),
               Goal(LOG, at_most=1, metric="churn", unit=ALLOWED, reach=CHURN + "log, at any time"),
               Goal(LOG, at_most=1, metric="an item in front", unit=ALLOWED,
                    reach=CHURN + "log, while that one stays"),
               Goal(SINGLE, at_most=1.5, of=SINGLE, metric="last tenth", of_metric="first tenth",
                    reach=CHURN + "p99.9 of a put"),
               Goal(STAYED, at_least=1, metric="is there", unit="of 1",
                    reach=CHURN + "that one is there")],
        note="One run. The number behind the size is how many million items have gone through. "
             "Puts have 1,000 to 20,000 items, each followed by 20 of one item, in turn with as "
             "many pwrites and fdatasyncs to a plain file, which say how steady the disk was. What "
             "lives is counted as 100 bytes an item that waits, and looked at after each of them; "
             "the spares are segments kept for later. Of a batch of 1,000 the first item is "
             "claimed and stays, is given back at the end, and is alone in the queue after a "
             "kill -9."),
]
