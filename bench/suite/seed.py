"""What batching is for: a service that is a round trip away. queuefs, delay_proxy, queued, on TCP.

*waiting* puts an item with a write under O_DSYNC and goes on when it is acknowledged. *batching*
puts each with an fwrite, as programs do, and waits once, by an fsync after the last. Each
measurement has a mount of its own, so that its latencies are its own.
"""

from contextlib import ExitStack, contextmanager

from suite.place import accepts, free_port
from suite.row import Goal, Line, Picture, Row, Shared

SMALL, MEDIUM, LARGE = 100, 10 << 10, 128 << 10
CLASSES = {"100 B": SMALL, "10 KiB": MEDIUM, "128 KiB": LARGE}
BATCHES = [10, 50, 100, 200, 300, 500, 1000]
ROUND_TRIPS_US = [0, 200, 1_000, 5_000, 20_000]
LATENCIES = ["put p50 us", "put p99 us", "acknowledged p50 us", "acknowledged p99 us"]


@contextmanager
def far_queued(bench, round_trip_us=1_000):
    """A service behind a proxy that delays; gives the address that mounts shall use."""
    port = free_port()
    with bench.queued("tcp") as (address, _):
        argv = [bench.program("delay_proxy"), "--port", str(port), "--to", address.rsplit(":")[-1],
                "--delay-us", str(round_trip_us // 2)]
        with bench.start(argv, lambda: accepts(port)):
            yield "tcp://127.0.0.1:%d" % port


def batching(bench, *args):
    return bench.values([bench.program("batching"), *map(str, args)])


def put(bench, address, how, n_items, item_bytes, batch_size=100):
    """Put them, and take them away again. Rate, time of a put, time until it was acknowledged."""
    with bench.queuefs(service=address) as mount:
        mount.set(batch_size=batch_size)
        taken = batching(bench, how, mount.queue + "/in", n_items, item_bytes)
        values = {"rate": taken["rate"], "put p50 us": taken["p50"], "put p99 us": taken["p99"]}
        for quantile in ("p50", "p99"):
            values["acknowledged %s us" % quantile] = mount.stat("put_latency_us_" + quantile)
        batching(bench, "get", mount.queue + "/out", n_items, item_bytes)
        return values


def get(bench, address, name, n_items, item_bytes):
    """Items a second taken by opening `name` again and again."""
    with bench.queuefs(service=address) as mount:
        batching(bench, "batch", mount.queue + "/in", n_items, item_bytes)
        return batching(bench, "get", "%s/%s" % (mount.queue, name), n_items, item_bytes)["rate"]


def turned(table):
    """{x: {name: value}} as {name: {x: value}}."""
    names = next(iter(table.values()))
    return {name: {x: values[name] for x, values in table.items()} for name in names}


@contextmanager
def puts(bench):
    """1,000 and 10,000 puts of each size; waiting for 10,000 larger ones would only take long."""
    counts = bench.count([1_000, 10_000], [50, 100])

    def measure(address, how):
        rates = {}
        for label, item_bytes in CLASSES.items():
            for n in counts if how == "batch" or item_bytes == SMALL else counts[:1]:
                rates["%s, %d puts" % (label, n)] = put(bench, address, how, n, item_bytes)["rate"]
        return rates

    with far_queued(bench) as address:
        yield {"waiting": lambda: measure(address, "wait"),
               "batching": lambda: measure(address, "batch")}


@contextmanager
def gets(bench):
    n_many = {SMALL: bench.count(10_000, 200), MEDIUM: bench.count(2_000, 100),
              LARGE: bench.count(500, 100)}
    n_few = bench.count(300, 20)

    def rates(address, name, counts):
        return {label: get(bench, address, name, counts[item_bytes], item_bytes)
                for label, item_bytes in CLASSES.items()}

    with far_queued(bench) as address:
        yield {
            "one at a time": lambda: rates(address, "next", dict.fromkeys(n_many, n_few)),
            "100 at a time": lambda: rates(address, "out@100", n_many),
            "all that is there": lambda: rates(address, "out", n_many),
        }


@contextmanager
def batch_sizes(bench, item_bytes, n_items):
    n_few = bench.count(300, 20)

    def batched(address):
        return turned({size: put(bench, address, "batch", n_items, item_bytes, size)
                       for size in BATCHES})

    def waited(address):
        return turned({1: put(bench, address, "wait", n_few, item_bytes)})

    with far_queued(bench) as address:
        sides = {}
        for how, measure in (("waiting", waited), ("batching", batched)):
            shared = Shared(lambda measure=measure: measure(address)).sides(["rate"] + LATENCIES)
            sides.update({"%s, %s" % (how, name): side for name, side in shared.items()})
        yield sides


@contextmanager
def round_trips(bench):
    n_items = bench.count(10_000, 500)

    def few(round_trip_us):
        return bench.count(500 if round_trip_us <= 1_000 else 50, 20)

    def over(services, measure):
        return {us: measure(address, few(us)) for us, address in services.items()}

    def waiting(address, n):
        return put(bench, address, "wait", n, SMALL)["rate"]

    def batched(address, _):
        return put(bench, address, "batch", n_items, SMALL)["rate"]

    with ExitStack() as stack:
        services = {us: stack.enter_context(far_queued(bench, us)) for us in ROUND_TRIPS_US}
        yield {
            "put, waiting": lambda: over(services, waiting),
            "put, batching": lambda: over(services, batched),
            "get, one at a time": lambda: over(
                services, lambda address, n: get(bench, address, "next", n, SMALL)),
            "get, 100 at a time": lambda: over(
                services, lambda address, _: get(bench, address, "out@100", n_items, SMALL)),
        }


def batch_row(name, label, n_items, n_quick, seconds):
    def sides(bench):
        return batch_sizes(bench, CLASSES[label], bench.count(n_items, n_quick))

    return Row(name, "1 ms round trip, items of %s, by batch_size" % label, sides,
               unit="items/s or us", seconds=seconds,
               note="The number behind each side is `batch_size`. *put* is the time for which the "
                    "program that puts waits at one put, *acknowledged* the time from its write "
                    "to its acknowledgement, as `stats` has it.")


ROWS = [
    Row("far-puts", "1 ms round trip: waiting at every put and batching", puts, unit="items/s",
        baseline="waiting", seconds=200,
        goals=[Goal("batching", at_least=100, of="waiting", metric="100 B, 1000 puts"),
               Goal("batching", at_least=500, of="waiting", metric="100 B, 10000 puts")],
        note="The time includes the fsync that waits for all that was batched."),
    Row("far-gets", "1 ms round trip: gets one at a time and batched", gets, unit="items/s",
        baseline="one at a time", seconds=60,
        goals=[Goal("100 at a time", at_least=50, of="one at a time", metric="100 B")],
        note="One at a time opens `next` for each item, 100 at a time `out@100` for each hundred; "
             "the last opens `out` and reads to its end."),
    batch_row("far-batch-100B", "100 B", 10_000, 300, 40),
    batch_row("far-batch-10KiB", "10 KiB", 3_000, 100, 40),
    batch_row("far-batch-128KiB", "128 KiB", 500, 50, 50),
    Row("round-trip", "By round-trip time, items of 100 B", round_trips, unit="items/s",
        seconds=50,
        note="The number behind each side is the round trip in us; 0 is the proxy alone."),
]

PICTURES = [
    Picture("round-trip.svg", "Throughput over round-trip time (durable, 100-byte items)",
            "round trip, us", "items/s",
            [Line("round-trip", side, side) for side in (
                "put, batching", "get, 100 at a time", "put, waiting", "get, one at a time")]),
    Picture("far-batch-size.svg", "Throughput over batch size, 1 ms round trip (durable)",
            "batch_size", "items/s",
            [Line("far-batch-" + label.replace(" ", ""), "batching, rate", "items of " + label)
             for label in CLASSES]),
]
