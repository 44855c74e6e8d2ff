"""What bench/run measures.

A row (row.py) is one comparison: the same work done by several sides, one after the other, round by
round, so that a slow minute of the machine hits all of them. A module of this package that has rows
exports

    ROWS = [Row(...), ...]
    PICTURES = [Picture(...), ...]      # may be missing
    PACKAGES = ["redis-server", ...]    # Debian packages its rows need; may be missing

and is named in MODULES below. Nothing else is to be done for `bench/run NAME`.

    from contextlib import contextmanager
    from suite.row import Goal, Row

    @contextmanager
    def bulk_put(bench):
        with bench.queuefs() as mount:
            yield {
                "dd": lambda: rate_of("dd ..."),
                "queuefs": lambda: rate_of("cat items > %s/in" % mount.queue),
            }

    ROWS = [Row("bulk-put", "Bulk put, durable", bulk_put, unit="items/s", baseline="dd", rounds=7,
                seconds=40, goals=[Goal("queuefs", at_least=0.6, of="dd")])]

A row's function is a context manager: it starts what the sides need, yields them in the order in
which they shall run, and stops all of it again. A side is a callable; it gives one sample:

    a number                            one value in the row's unit
    {"p50": 31.0, "p99": 80.2}          several, each a line of its own in the report
    {16: 2.1e6, 64: 2.0e6}              values over x: pictures take the keys as x

A goal with a name for `reach` stands in the table at the head of the report, any other one in the
table of goals.

The names of the metrics are the same in all rounds and, where sides are to be compared, in both.

`bench` (place.py) is the place where a row runs: `bench.quick`, `bench.count(full, quick)`,
`bench.directory` (temporary, on the disk that is measured), `bench.start(argv, ready)`,
`bench.queuefs(...)`, `bench.null_fs(...)`, `bench.queued(...)`, `bench.items(n)`,
`bench.program(name)` (a C program of bench/), `bench.values(argv)` (runs one and reads the lines
`name: value` that it prints), `bench.seconds(script)`.
"""

MODULES = ["bulk", "calls", "latency", "work", "backlog", "memory", "start", "growth", "cleaning",
           "peers", "seed"]
