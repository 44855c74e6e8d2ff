"""How much memory is resident beyond the map of the store: what the program itself takes."""

import os
from contextlib import contextmanager

from suite import bulk
from suite.row import Goal, Row

LIMIT_MIB = 64


def resident_mib(pid, but):
    """Rss of all mappings but those of the files whose path contains `but`."""
    total_kib, counts = 0, True
    with open("/proc/%d/smaps" % pid) as smaps:
        for line in smaps:
            word = line.split(None, 1)[0]
            if not word.endswith(":"):
                counts = but not in line
            elif word == "Rss:" and counts:
                total_kib += int(line.split()[1])
    return total_kib / 1024


@contextmanager
def many_queues(bench):
    n_queues = bench.count(10_000, 300)

    def measure(mount):
        for number in range(n_queues):
            os.mkdir("%s/m%d" % (mount.path, number))
        return resident_mib(mount.pid, mount.data)

    with bench.queuefs() as mount:
        yield {"mount": lambda: measure(mount)}


@contextmanager
def many_items(bench):
    items = bench.items(bench.count(10_000_000, 200_000))

    def measure(mount, daemon):
        bulk.put(bench, mount, items)
        return resident_mib(daemon.pid, "/index/data.mdb")

    with bench.queued("ipc") as (address, daemon):
        with bench.queuefs(service=address) as mount:
            yield {"service": lambda: measure(mount, daemon)}


ROWS = [
    Row("memory-queues", "Memory: mount with 10,000 queues", many_queues, unit="MiB", rounds=1,
        seconds=10, more_is_better=False, goals=[Goal("mount", at_most=LIMIT_MIB)]),
    Row("memory-items", "Memory: service with 10 million items waiting", many_items, unit="MiB",
        rounds=1, seconds=5, more_is_better=False, goals=[Goal("service", at_most=LIMIT_MIB)],
        note="Once: resident pages of the process but those of the mapped data file."),
]
