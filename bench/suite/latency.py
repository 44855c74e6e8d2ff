"""How long one item takes: until it is acknowledged, until somebody who waits for it has it."""

from contextlib import contextmanager

from suite.calls import empty, fs_calls
from suite.row import Goal, Line, Picture, Row


def disk_and_kernel(bench, null, n):
    """fdatasync of one item in a plain file, and four round trips to a filesystem that does
    nothing, in us."""
    disk = fs_calls(bench, "put", plain_file(bench), n)
    trip = fs_calls(bench, "write", null.queue + "/in", 10 * n)
    return {"p50": disk["p50"] + 4 * trip["ns"] / 1000}


def plain_file(bench):
    path = bench.path("plain")
    with open(path, "w"):
        pass
    return path


@contextmanager
def wake(bench):
    n = bench.count(500, 30)

    def waiting(mount, name):
        taken = fs_calls(bench, "wake", mount.queue, name, n)
        return {"p50": taken["p50"], "p99": taken["p99"]}

    with bench.queuefs() as mount, bench.null_fs() as null:
        yield {
            "fdatasync + 4 round trips": lambda: disk_and_kernel(bench, null, n),
            "next@forever": lambda: waiting(mount, "next@forever"),
        }


@contextmanager
def one_put(bench):
    n = bench.count(1_000, 50)

    def put(mount):
        taken = fs_calls(bench, "put", mount.queue + "/in", n)
        empty(bench, mount)
        return taken

    with bench.queuefs() as mount, bench.queued("tcp") as (address, _):
        with bench.queuefs(service=address) as far:
            yield {
                "plain file": lambda: fs_calls(bench, "put", plain_file(bench), n),
                "queuefs": lambda: put(mount),
                "queuefs, TCP loopback": lambda: put(far),
            }


ROWS = [
    Row("wake", "Put to wake-up of a waiting `next` in the same mount, durable", wake, unit="us",
        baseline="fdatasync + 4 round trips", seconds=20, more_is_better=False,
        goals=[Goal("next@forever", at_most=2, of="fdatasync + 4 round trips", metric="p50")]),
    Row("one-put", "One 100-byte put, write and fdatasync, to acknowledged", one_put, unit="us",
        baseline="plain file", seconds=10, more_is_better=False),
]

PICTURES = [
    Picture("latency.svg", "One put to acknowledged, durable: distribution", "percentile", "us",
            [Line("one-put", "plain file", "plain file, fdatasync"),
             Line("one-put", "queuefs", "queuefs"),
             Line("one-put", "queuefs, TCP loopback", "queuefs over TCP")]),
]
