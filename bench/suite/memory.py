"""How much memory is resident beyond the map of the index: what the program itself takes."""

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


def anonymous_mib(pid):
    """Resident pages that belong to no file."""
    with open("/proc/%d/status" % pid) as status:
        for line in status:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
    raise RuntimeError("this kernel does not tell RssAnon")


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
    single = bench.items(bench.count(100_000, 2_000))

    def sizes(daemon):
        return {"RssAnon": anonymous_mib(daemon.pid),
                "all but the index": resident_mib(daemon.pid, "/index/data.mdb")}

    def measure(mount, daemon):
        bulk.put_singly(bench, mount, single)
        bulk.put(bench, mount, items)
        return sizes(daemon)

    def measure_started(mount, daemon):
        """The mount finds it again by itself."""
        daemon.kill()
        daemon.start_again()
        bench.seconds("[ -n \"$(cat %s/next@60s)\" ]" % mount.queue)
        return sizes(daemon)

    with bench.queued("ipc") as (address, daemon):
        with bench.queuefs(service=address) as mount:
            yield {"service": lambda: measure(mount, daemon),
                   "killed and started again": lambda: measure_started(mount, daemon)}


ROWS = [
    Row("memory-queues", "Memory: mount with 10,000 queues", many_queues, unit="MiB", rounds=1,
        seconds=10, more_is_better=False, goals=[Goal("mount", at_most=LIMIT_MIB)]),
    Row("memory-items", "Memory: service with 10 million items waiting", many_items, unit="MiB",
        rounds=1, seconds=15, more_is_better=False,
        goals=[Goal(side, at_most=LIMIT_MIB, metric="RssAnon",
                    reach="10 million items waiting: memory beyond the maps, " + when)
               for side, when in (("service", "having taken them"),
                                  ("killed and started again", "started again"))],
        note="Once. 100,000 items more lie in front, each a row of its own in the store. *All but "
             "the index* has the pages of the program's own files, too."),
]
