"""Single system calls and small reads: what an item costs when each comes alone."""

from contextlib import contextmanager

from suite import bulk
from suite.row import PROCESSOR, Goal, Row

READ_KIB = [4, 16, 32, 96]
ECHO = "i=0; while [ $i -lt %d ]; do echo '%s' >> %s/in; i=$((i+1)); done"


def both(bench, measure):
    """The same calls on a do-nothing filesystem and a queue."""
    @contextmanager
    def sides():
        with bench.queuefs() as mount, bench.null_fs() as null:
            yield {"do-nothing": lambda: measure(null), "queuefs": lambda: measure(mount)}
    return sides()


def empty(bench, mount):
    """Before the next round. A do-nothing filesystem has nothing to take."""
    if mount.data:
        mount.flush()
        bulk.get(bench, mount)


def fs_calls(bench, *args):
    return bench.values([bench.program("fs_calls"), *map(str, args)])


def spent_by(bench, mount, n_items, call):
    """A sample of what call() gives for each item, and of what it cost the filesystem's daemon."""
    value, used_us = bench.spent([mount.daemon], n_items, call)
    empty(bench, mount)
    return {"": value, PROCESSOR: used_us}


def readers(bench):
    n_reads = bench.count(40_000, 2_000)
    items = bench.items(n_reads)

    def measure(mount):
        times = {}
        for kib in READ_KIB:
            if mount.data:
                bulk.put(bench, mount, items)
            taken = fs_calls(bench, "read", mount.queue + "/out", kib << 10, n_reads)
            times["%d KiB" % kib] = taken["ns"]
        return times

    return both(bench, measure)


def echo(bench):
    n_items = bench.count(1_500, 200)

    def measure(mount):
        return spent_by(bench, mount, n_items, lambda: bench.seconds(
            ECHO % (n_items, "x" * 99, mount.queue)) * 1e9 / n_items)

    return both(bench, measure)


def open_write_close(bench):
    n_items = bench.count(3_000, 500)

    def measure(mount):
        return spent_by(bench, mount, n_items, lambda: fs_calls(
            bench, "open", mount.queue + "/in", n_items)["ns"])

    return both(bench, measure)


def kept_open(bench):
    n_items = bench.count(12_000, 2_000)

    def measure(mount):
        return spent_by(bench, mount, n_items, lambda: fs_calls(
            bench, "write", mount.queue + "/in", n_items)["ns"])

    return both(bench, measure)


@contextmanager
def writers(bench):
    n_items = bench.count(60_000, 4_000)

    def measure(mount, n_threads):
        taken = fs_calls(bench, "write", mount.queue + "/in", n_items, n_threads)
        empty(bench, mount)
        return taken["rate"]

    with bench.queuefs() as mount, bench.null_fs() as null:
        yield {
            "1 writer": lambda: measure(mount, 1),
            "4 writers": lambda: measure(mount, 4),
            "do-nothing, 1 writer": lambda: measure(null, 1),
            "do-nothing, 4 writers": lambda: measure(null, 4),
        }


# Rounds of a tenth of a second, many of them: whatever else the machine does falls into some.
SHORT_ROUNDS = 25


def row_beside_null(name, title, sides, seconds, at_most, pick="best", rounds=SHORT_ROUNDS,
                    reach=""):
    return Row(name, title, sides, unit="ns", baseline="do-nothing", rounds=rounds, seconds=seconds,
               more_is_better=False,
               goals=[Goal("queuefs", at_most=at_most, of="do-nothing", pick=pick, reach=reach)],
               note="Both have as many session threads as there are processors, at least two.")


ROWS = [
    row_beside_null("line-readers", "Line readers of `out`, one item a read, by size of the buffer",
                    readers, 60, 1.5, "median", 7),
    row_beside_null("echo", "`echo >> in` in a shell loop", echo, 10, 1.2,
                    reach="`echo >> in`"),
    row_beside_null("open-write-close", "open, write, close in C", open_write_close, 10, 1.25,
                    reach="open, write, close"),
    row_beside_null("kept-open", "A kept-open file, one item a write", kept_open, 15, 1.15,
                    reach="a kept-open file, one item a write"),
    Row("writers", "4 writers at once, kept open", writers, unit="items/s", baseline="1 writer",
        rounds=7, seconds=30, goals=[Goal("4 writers", at_least=1.3, of="1 writer")]),
]
