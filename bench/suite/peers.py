"""Other queues, each used as its users use it well, beside queuefs in the same rounds.

All peers of a row run at once, for they do nothing while they are not asked. A side named *durable*
has an item on disk when it answers.
"""

from contextlib import ExitStack, contextmanager

from suite import bulk, servers
from suite.calls import empty, fs_calls
from suite.row import Goal, Line, Picture, Row

PACKAGES = servers.PACKAGES

WORKERS = (1, 8)
PERCENTILES = ["p10", "p25", "p50", "p75", "p90", "p99", "p99.9"]


class Peer:
    """A server and the program that measures it."""

    def __init__(self, bench, name, port):
        self.bench = bench
        self.argv = [bench.program("peer_" + name), "--port", str(port)]
        self.port = str(port)
        if self.argv[0] is None:
            raise RuntimeError("peer_%s was not built: its library is missing" % name)

    def values(self, mode, n_items, **options):
        argv = self.argv + ["--mode", mode, "--items", str(n_items)]
        for option, value in options.items():
            argv += ["--" + option, str(value)]
        return self.bench.values(argv)

    def rate(self, mode, n_items, **options):
        return self.values(mode, n_items, **options)["rate"]

    def percentiles(self, n_items):
        taken = self.values("put-one", n_items)
        return {name: taken[name] for name in PERCENTILES}

    def works(self, n_items):
        return {"%d workers" % n: self.rate("work", n_items, workers=n) for n in WORKERS}


class Redis(Peer):
    """What was put is removed again, or each round would find a longer list and a larger log."""

    def put_rate(self, mode, n_items):
        rate = self.rate(mode, n_items)
        self.bench.run(["redis-cli", "-p", self.port, "UNLINK", "jobs"])
        return rate


@contextmanager
def peers(bench, *names):
    """The servers of these names, started; {name: Peer}."""
    start = {
        "redis everysec": lambda: servers.redis(bench, "everysec"),
        "redis always": lambda: servers.redis(bench, "always"),
        "beanstalkd": lambda: servers.beanstalkd(bench, False),
        "beanstalkd -f0": lambda: servers.beanstalkd(bench, True),
        "nats": lambda: servers.nats(bench),
        "rabbitmq": lambda: servers.rabbitmq(bench),
    }
    with ExitStack() as stack:
        running = {}
        for name in names:
            program = name.split()[0]
            port = stack.enter_context(start[name]())
            running[name] = (Redis if program == "redis" else Peer)(bench, program, port)
        yield running


# Sides' names, where rows and goals need them again.
REDIS_BEST = "Redis, 100 a command, everysec"
REDIS_BEST_PIPELINED = "Redis, 100 a command, pipelined, everysec"
REDIS_DURABLE = "Redis, 100 a command, always (durable)"
REDIS_DURABLE_PIPELINED = "Redis, 100 a command, pipelined, always (durable)"
REDIS_GET = "Redis, LPOP 100, everysec"
REDIS_ONE = "Redis, always (durable)"
CLAIMS = "queuefs, claim + read + rm (durable)"
BEANSTALKD_WORK = "beanstalkd -f0, reserve + delete (durable)"
REDIS_WORK = "Redis, LMOVE + LREM, always (durable)"


@contextmanager
def put(bench):
    count = bench.count
    n_items = count(2_000_000, 100_000)
    items = bench.items(n_items)
    mq = Peer(bench, "mq", 0)
    with peers(bench, "redis everysec", "redis always", "beanstalkd", "beanstalkd -f0", "nats",
               "rabbitmq") as all_of, bench.queuefs() as mount:
        fast, safe = all_of["redis everysec"], all_of["redis always"]
        yield {
            "queuefs (durable)": lambda: n_items / bulk.put_and_empty(bench, mount, items),
            "Redis, one by one, everysec": lambda: fast.put_rate("put-one", count(30_000, 500)),
            "Redis, pipelined, everysec": lambda: fast.put_rate(
                "put-pipelined", count(300_000, 5_000)),
            REDIS_BEST: lambda: fast.put_rate("put-100", count(1_000_000, 10_000)),
            REDIS_BEST_PIPELINED: lambda: fast.put_rate(
                "put-100-pipelined", count(1_000_000, 10_000)),
            "Redis, one by one, always (durable)": lambda: safe.put_rate(
                "put-one", count(2_000, 100)),
            "Redis, pipelined, always (durable)": lambda: safe.put_rate(
                "put-pipelined", count(50_000, 2_000)),
            REDIS_DURABLE: lambda: safe.put_rate("put-100", count(100_000, 5_000)),
            REDIS_DURABLE_PIPELINED: lambda: safe.put_rate(
                "put-100-pipelined", count(100_000, 5_000)),
            "beanstalkd, one by one": lambda: all_of["beanstalkd"].rate(
                "put-one", count(20_000, 500)),
            "beanstalkd, pipelined": lambda: all_of["beanstalkd"].rate(
                "put-pipelined", count(50_000, 1_000)),
            "beanstalkd -f0, one by one (durable)": lambda: all_of["beanstalkd -f0"].rate(
                "put-one", count(3_000, 100)),
            "beanstalkd -f0, pipelined (durable)": lambda: all_of["beanstalkd -f0"].rate(
                "put-pipelined", count(5_000, 500)),
            "JetStream, sync": lambda: all_of["nats"].rate("put-one", count(5_000, 200)),
            "JetStream, async": lambda: all_of["nats"].rate(
                "put-pipelined", count(100_000, 2_000), window=1024),
            "RabbitMQ, confirm for each (durable)": lambda: all_of["rabbitmq"].rate(
                "put-one", count(2_000, 100)),
            "RabbitMQ, confirms pipelined (durable)": lambda: all_of["rabbitmq"].rate(
                "put-pipelined", count(30_000, 1_000)),
            "mq_send (kept in memory)": lambda: mq.rate("put-one", count(500_000, 5_000)),
        }


@contextmanager
def get(bench):
    count = bench.count
    n_items = count(2_000_000, 100_000)
    items = bench.items(n_items)
    mq = Peer(bench, "mq", 0)
    with peers(bench, "redis everysec", "redis always", "beanstalkd", "nats",
               "rabbitmq") as all_of, bench.queuefs() as mount:
        yield {
            "queuefs": lambda: n_items / bulk.fill_and_get(bench, mount, items),
            REDIS_GET: lambda: all_of["redis everysec"].rate("get-100", count(1_000_000, 10_000)),
            "Redis, LPOP 100, always": lambda: all_of["redis always"].rate(
                "get-100", count(200_000, 5_000)),
            "Redis, LPOP, everysec": lambda: all_of["redis everysec"].rate(
                "get-one", count(30_000, 500)),
            "beanstalkd, reserve + delete": lambda: all_of["beanstalkd"].rate(
                "get-one", count(10_000, 500)),
            "JetStream, fetch 100 + ack": lambda: all_of["nats"].rate(
                "get-100", count(50_000, 1_000)),
            "RabbitMQ, prefetch 200 + ack of 100": lambda: all_of["rabbitmq"].rate(
                "get-100", count(30_000, 1_000)),
            "mq_receive": lambda: mq.rate("get-one", count(500_000, 5_000)),
        }


@contextmanager
def one_put(bench):
    n_items = bench.count(1_000, 50)

    def put_each(mount):
        taken = fs_calls(bench, "put", mount.queue + "/in", n_items)
        empty(bench, mount)
        return {name: taken[name] for name in PERCENTILES}

    with peers(bench, "redis always", "beanstalkd -f0", "nats",
               "rabbitmq") as all_of, bench.queuefs() as mount:
        yield {
            "queuefs (durable)": lambda: put_each(mount),
            "beanstalkd -f0 (durable)": lambda: all_of["beanstalkd -f0"].percentiles(n_items),
            REDIS_ONE: lambda: all_of["redis always"].percentiles(n_items),
            "RabbitMQ, confirm (durable)": lambda: all_of["rabbitmq"].percentiles(n_items),
            "JetStream, sync": lambda: all_of["nats"].percentiles(n_items),
        }


@contextmanager
def work(bench):
    n_jobs = bench.count(4_000, 160)
    items = bench.items(n_jobs)

    def claims(mount):
        rates = {}
        for n in WORKERS:
            bulk.put(bench, mount, items)
            rate = fs_calls(bench, "claim", mount.queue, n_jobs, n)["rate"]
            settled = bench.seconds("touch %s/flush" % mount.queue)
            rates["%d workers" % n] = n_jobs / (n_jobs / rate + settled)
        return rates

    with peers(bench, "redis always", "beanstalkd -f0", "nats") as all_of, bench.queuefs() as mount:
        yield {
            CLAIMS: lambda: claims(mount),
            BEANSTALKD_WORK: lambda: all_of["beanstalkd -f0"].works(n_jobs),
            REDIS_WORK: lambda: all_of["redis always"].works(n_jobs),
            "JetStream, fetch + ack": lambda: all_of["nats"].works(n_jobs),
        }


SYNC_NOTE = "JetStream of this version writes to its file and does not sync it before it answers. "

ROWS = [
    Row("peers-put", "Bulk put beside other queues", put, unit="items/s",
        baseline="queuefs (durable)", seconds=75,
        goals=[Goal("queuefs (durable)", at_least=3, of=REDIS_BEST),
               Goal("queuefs (durable)", at_least=3, of=REDIS_BEST_PIPELINED),
               Goal("queuefs (durable)", at_least=8, of=REDIS_DURABLE),
               Goal("queuefs (durable)", at_least=8, of=REDIS_DURABLE_PIPELINED)],
        note=SYNC_NOTE + "Redis with `everysec` may lose a second of puts, beanstalkd 50 ms of "
             "them. A message queue of the kernel holds few items; only its sends are timed."),
    Row("peers-get", "Bulk get beside other queues", get, unit="items/s", baseline="queuefs",
        seconds=45, goals=[Goal("queuefs", at_least=1, of=REDIS_GET)],
        note="LPOP and mq_receive forget an item as they give it; the others have it "
             "acknowledged."),
    Row("peers-one-put", "One put to acknowledged, beside other queues", one_put, unit="us",
        baseline="queuefs (durable)", seconds=15, more_is_better=False,
        goals=[Goal("queuefs (durable)", at_most=1, of=REDIS_ONE, metric="p50",
                    reach="one put, write and fdatasync, p50")],
        note=SYNC_NOTE + "queuefs: a write and an fdatasync for each item."),
    Row("peers-work", "Work beside other queues, by 1 and 8 workers", work, unit="items/s",
        baseline=CLAIMS, seconds=45,
        goals=[Goal(CLAIMS, at_least=1, of=BEANSTALKD_WORK, metric="1 workers",
                    reach="work (claim, read, rm), 1 worker"),
               Goal(CLAIMS, at_least=1.3, of=REDIS_WORK, metric="8 workers",
                    reach="work (claim, read, rm), 8 workers")],
        note=SYNC_NOTE + "The answers to beanstalkd's delete and Redis's LREM are waited for at "
             "each item; for queuefs' rm and JetStream's ack there is a flush after the last, "
             "which counts."),
]

PICTURES = [
    Picture("peers-latency.svg", "One put to acknowledged, beside other queues", "percentile", "us",
            [Line("peers-one-put", side, label) for side, label in (
                ("queuefs (durable)", "queuefs"),
                ("beanstalkd -f0 (durable)", "beanstalkd -f0"),
                (REDIS_ONE, "Redis, always"),
                ("RabbitMQ, confirm (durable)", "RabbitMQ, confirm"),
                ("JetStream, sync", "JetStream (no sync)"))], log_x=False),
]
