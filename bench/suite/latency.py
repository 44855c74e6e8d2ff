"""How long one item takes: until it is acknowledged, until somebody who waits for it has it.

Beside one pwrite into a plain file that has its blocks, written: no size changes and no block, so
that its sync is the least that a disk can be asked for.
"""

from contextlib import contextmanager

from suite.calls import empty, fs_calls
from suite.row import Goal, Line, Picture, Row


def disk_and_kernel(bench, null, put, n):
    """fdatasync of one item in a plain file, and four round trips to a filesystem that does
    nothing, in us."""
    trip = fs_calls(bench, "write", null.queue + "/in", 10 * n)
    return {"p50": put["p50"] + 4 * trip["ns"] / 1000}


def plain_file(bench):
    path = bench.path("plain")
    with open(path, "w"):
        pass
    return path


@contextmanager
def wake(bench):
    n = bench.count(500, 30)
    blocks = bench.path("blocks")

    def waiting(mount, name):
        taken = fs_calls(bench, "wake", mount.queue, name, n)
        return {"p50": taken["p50"], "p99": taken["p99"]}

    with bench.queuefs() as mount, bench.null_fs() as null:
        yield {
            WAKE_BASE: lambda: disk_and_kernel(
                bench, null, fs_calls(bench, "put", plain_file(bench), n), n),
            WAKE_BASE + ", preallocated file": lambda: disk_and_kernel(
                bench, null, fs_calls(bench, "over", blocks, n), n),
            WAKE_BASE + ", rested": lambda: disk_and_kernel(
                bench, null, fs_calls(bench, "over-rested", blocks, n), n),
            "next@forever": lambda: waiting(mount, "next@forever"),
        }


def put_and_empty(bench, mount, command, n):
    taken = fs_calls(bench, command, mount.queue + "/in", n)
    empty(bench, mount)
    return taken


@contextmanager
def one_put(bench):
    n = bench.count(1_000, 50)
    blocks = bench.path("blocks")

    with bench.queuefs() as mount, bench.queued("tcp") as (address, _):
        with bench.queuefs(service=address) as far:
            yield {
                BLOCKS: lambda: fs_calls(bench, "over", blocks, n),
                "plain file": lambda: fs_calls(bench, "put", plain_file(bench), n),
                "queuefs": lambda: put_and_empty(bench, mount, "put", n),
                "queuefs, TCP loopback": lambda: put_and_empty(bench, far, "put", n),
            }


@contextmanager
def one_put_dsync(bench):
    n = bench.count(1_000, 50)
    blocks = bench.path("blocks")

    with bench.queuefs() as mount:
        yield {
            BLOCKS: lambda: fs_calls(bench, "over-dsync", blocks, n),
            "queuefs": lambda: put_and_empty(bench, mount, "put-dsync", n),
        }


WAKE_BASE = "fdatasync + 4 round trips"
BLOCKS = "preallocated file"

ROWS = [
    Row("wake", "Put to wake-up of a waiting `next` in the same mount, durable", wake, unit="us",
        baseline=WAKE_BASE, rounds=7, seconds=15, more_is_better=False,
        goals=[Goal("next@forever", at_most=1.5, of=WAKE_BASE, metric="p50",
                    reach="put to wake-up of `next`, p50")],
        note="The baseline appends to a plain file; those below it write into blocks that are there, "
             "the second one with the pause between two that the wake-ups have: the disk and the "
             "processors have gone to sleep by then."),
    Row("one-put", "One 100-byte put, write and fdatasync, to acknowledged", one_put, unit="us",
        baseline=BLOCKS, rounds=7, seconds=10, more_is_better=False,
        goals=[Goal("queuefs", at_most=1.6, of=BLOCKS, metric="p50",
                    reach="one put, write and fdatasync, p50")],
        note="Beside one pwrite and fdatasync into a plain file that has its blocks. *Plain file* "
             "appends."),
    Row("one-put-dsync", "One 100-byte put, a write under O_DSYNC, to acknowledged", one_put_dsync,
        unit="us", baseline=BLOCKS, rounds=7, seconds=4, more_is_better=False,
        goals=[Goal("queuefs", at_most=1.4, of=BLOCKS, metric="p50",
                    reach="one put, a write under O_DSYNC, p50")],
        note="Beside one pwrite under O_DSYNC into a plain file that has its blocks."),
]

PICTURES = [
    Picture("latency.svg", "One put to acknowledged, durable: distribution", "percentile", "us",
            [Line("one-put", BLOCKS, "plain file with its blocks, fdatasync"),
             Line("one-put", "plain file", "plain file that grows, fdatasync"),
             Line("one-put", "queuefs", "queuefs"),
             Line("one-put", "queuefs, TCP loopback", "queuefs over TCP")]),
]
