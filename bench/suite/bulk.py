"""Many items at once: cat into `in` and out of `out`."""

import os
import statistics
from contextlib import contextmanager

from suite.row import OTHER_BUILD, PROCESSOR, Goal, Line, Picture, Row, Shared

SIZES = [16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576]
BATCHES = [1, 10, 100, 1000, 10000]
N_LATER = 2  # puts into a store after its first
DD = "dd if=%s of=%s bs=1M conv=%s status=none"


def put(bench, mount, items):
    """Seconds until all lines of the file are in the queue, durably."""
    return bench.seconds("cat %s > %s/in; touch %s/flush" % (items, mount.queue, mount.queue))


def put_singly(bench, mount, items):
    """The same, each item a batch and a row of the store: many bring most of them into a commit."""
    mount.set(batch_size=1, max_in_flight=64)
    taken = put(bench, mount, items)
    mount.set(batch_size=100, max_in_flight=8)
    return taken


def get(bench, mount):
    """Seconds until the queue is empty."""
    return bench.seconds("cat %s/out > /dev/null" % mount.queue)


def check(bench, mount, n_items=100000):
    """What is measured must also be right."""
    items = bench.items(n_items)
    bench.seconds("cat %s > %s/in; cat %s/out | cmp - %s" % (
        items, mount.queue, mount.queue, items))


def dd(bench, items):
    """Seconds to write the same bytes to a plain file, durably. It stays there until the next time,
    for on many disks blocks that no file had before are far slower to write."""
    return bench.seconds(DD % (items, "plain", "fsync"))


def dd_again(bench, items):
    """The same into a file that keeps its blocks, as a store's does."""
    return bench.seconds(DD % (items, "kept", "fsync,notrunc"))


def put_and_empty(bench, mount, items):
    taken = put(bench, mount, items)
    get(bench, mount)
    return taken


def fill_and_get(bench, mount, items):
    put(bench, mount, items)
    return get(bench, mount)


def rate(bench, daemons, n_items, call, metric=""):
    """Items a second, and what they cost the daemons; call() gives the seconds."""
    taken, used_us = bench.spent(daemons, n_items, call)
    return {metric: n_items / taken, metric + PROCESSOR: used_us}


def put_rate(bench, mount, daemons, n_items, items, metric=""):
    return rate(bench, daemons, n_items, lambda: put(bench, mount, items), metric)


def get_rate(bench, mount, daemons, n_items, metric=""):
    return rate(bench, daemons, n_items, lambda: get(bench, mount), metric)


@contextmanager
def bulk_put(bench):
    n_items = bench.count(10_000_000, 200_000)
    items = bench.items(n_items)
    def put_and_take(mount):
        sample = put_rate(bench, mount, [mount.daemon], n_items, items)
        get(bench, mount)
        return sample

    with bench.queuefs() as mount, bench.null_fs() as null:
        check(bench, mount)
        for warm in (dd, dd_again, lambda *_: put_and_empty(bench, mount, items)):
            warm(bench, items)
        yield {
            "dd": lambda: n_items / dd(bench, items),
            "dd, overwriting": lambda: n_items / dd_again(bench, items),
            "queuefs": lambda: put_and_take(mount),
            "do-nothing": lambda: put_rate(bench, null, [null.daemon], n_items, items),
        }


@contextmanager
def first_put(bench):
    """A store of its own for each round."""
    n_items = bench.count(10_000_000, 200_000)
    items = bench.items(n_items)

    def measure():
        with bench.queuefs() as mount:
            rates = [n_items / put_and_empty(bench, mount, items) for _ in range(1 + N_LATER)]
        os.sync()  # giving back the blocks of this store is not the next one's work
        return {"the first": rates[0], "the later ones": statistics.mean(rates[1:])}

    yield Shared(measure).sides(["the later ones", "the first"])


@contextmanager
def bulk_get(bench):
    n_items = bench.count(10_000_000, 200_000)
    items = bench.items(n_items)
    def fill_and_take(mount):
        put(bench, mount, items)
        return get_rate(bench, mount, [mount.daemon], n_items)

    with bench.queuefs() as mount, bench.null_fs(n_items) as null:
        check(bench, mount)
        yield {
            "do-nothing": lambda: get_rate(bench, null, [null.daemon], n_items),
            "queuefs": lambda: fill_and_take(mount),
        }


@contextmanager
def through_service(bench, kind):
    """Put and get, embedded and through a queued."""
    n_items = bench.count(5_000_000, 100_000)
    items = bench.items(n_items)

    def both(mount, daemons):
        sample = put_rate(bench, mount, daemons, n_items, items, "put")
        sample.update(get_rate(bench, mount, daemons, n_items, "get"))
        return sample

    with bench.queued(kind) as (address, service), bench.queuefs() as embedded:
        with bench.queuefs(service=address) as mount:
            check(bench, mount)
            yield {"embedded": lambda: both(embedded, [embedded.daemon]),
                   kind: lambda: both(mount, [mount.daemon, service])}


@contextmanager
def item_size(bench):
    n_bytes = bench.count(128 << 20, 4 << 20)
    files = {size: bench.items(n_bytes // size, size) for size in SIZES}

    def rates(measure):
        return {size: n_bytes / 1e6 / measure(path) for size, path in files.items()}

    with bench.queuefs() as mount:
        yield {
            "dd": lambda: rates(lambda path: dd(bench, path)),
            "put": lambda: rates(lambda path: put_and_empty(bench, mount, path)),
            "get": lambda: rates(lambda path: fill_and_get(bench, mount, path)),
        }
    for path in files.values():
        os.unlink(path)


@contextmanager
def batch_size(bench):
    writes = bench.count(20_000, 2_000)
    calls = bench.program("fs_calls")

    def cat(mount, size):
        n_items = min(size * bench.count(20_000, 1_000), bench.count(1_000_000, 50_000))
        return n_items / put_and_empty(bench, mount, bench.items(n_items))

    def write(mount):
        taken = bench.seconds("%s write %s/in %d > /dev/null; touch %s/flush" % (
            calls, mount.queue, writes, mount.queue))
        get(bench, mount)
        return writes / taken

    def over_sizes(mount, measure):
        rates = {}
        for size in BATCHES:
            mount.set(batch_size=size)
            rates[size] = measure(mount, size)
        return rates

    with bench.queuefs() as mount:
        yield {
            "cat": lambda: over_sizes(mount, cat),
            "a write an item": lambda: over_sizes(mount, lambda mount, _: write(mount)),
        }


ROWS = [
    Row("bulk-put", "Bulk put, `cat file > in; touch flush`, durable", bulk_put, unit="items/s",
        baseline="dd", rounds=7, seconds=40,
        goals=[Goal("queuefs", at_least=1.2, of="dd", reach="bulk put, durable"),
               Goal("queuefs", at_least=0.9, of="dd, overwriting", reach="bulk put, durable")],
        note="Beside `dd conv=fsync` of the same bytes to a plain file. The do-nothing filesystem "
             "takes the same writes and keeps nothing. *Overwriting* is dd into a file that keeps "
             "its blocks, which a store's file does, too. Each has done it once before."),
    Row("first-put", "The first bulk put into a new store, and the later ones, durable", first_put,
        unit="items/s", baseline="the later ones", seconds=60,
        goals=[Goal("the first", at_least=0.9, of="the later ones",
                    reach="the first bulk put into a new store")],
        note="A new store each round: one bulk put, and then the mean of two more, the queue "
             "emptied after each."),
    Row("bulk-get", "Bulk get, `cat out > /dev/null`", bulk_get, unit="items/s",
        baseline="do-nothing", rounds=7, seconds=15,
        goals=[Goal("queuefs", at_least=0.6, of="do-nothing", reach="bulk get")],
        note="cat reads 128 KiB at a time."),
    Row("tcp", "TCP loopback, durable", lambda bench: through_service(bench, "tcp"), unit="items/s",
        baseline="embedded", seconds=20,
        goals=[Goal("tcp", at_least=1 / 3, of="embedded"),
               Goal("tcp", at_least=1.3, of=OTHER_BUILD, metric="put", reach="TCP loopback, put"),
               Goal("tcp", at_least=1.3, of=OTHER_BUILD, metric="get", reach="TCP loopback, get")]),
    Row("item-size", "Items of 16 B to 1 MiB", item_size, unit="MB/s", baseline="dd", seconds=40,
        note="The number behind each side is the size of an item in bytes, newline and all."),
    Row("batch-size", "Settings of batch_size", batch_size, unit="items/s", seconds=30,
        note="The number behind each side is `batch_size`. It says when to send, not how much: "
             "what gathers while batches are under way goes out as one. Only 1 is a limit, too."),
]

PICTURES = [
    Picture("batch-size.svg", "Throughput over batch size (durable, 100-byte items)", "batch_size",
            "items/s", [Line("batch-size", "cat", "cat file > in"),
                        Line("batch-size", "a write an item", "a write(2) for each item")]),
    Picture("item-size.svg", "Throughput over item size (durable)", "bytes an item", "MB/s",
            [Line("item-size", "dd", "dd conv=fsync, plain file"), Line("item-size", "put", "put"),
             Line("item-size", "get", "get")], log_y=False),
]
