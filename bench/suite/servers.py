"""The peers' servers, each on the loopback with a free port and its data in the bench's directory,
on the same disk as that of queuefs. All are context managers that give the port:

    with servers.redis(bench, "always") as port: ...

What is set is what their users set who want their items kept; everything else is the default.
"""

import os
import subprocess
from contextlib import ExitStack, contextmanager

from suite.place import accepts, free_port

# What bench/run installs: the servers, and the libraries that their clients here are built with.
PACKAGES = ["redis-server", "beanstalkd", "nats-server", "rabbitmq-server", "libhiredis-dev",
            "libnats-dev", "librabbitmq-dev"]

ITEM_MAX = 2 << 20  # larger than any item measured; beanstalkd's default is 64 KiB


def data_directory(bench, stem):
    path = bench.path(stem)
    os.mkdir(path)
    return path


@contextmanager
def server(bench, argv, port, **options):
    with bench.start(argv, lambda: accepts(port), **options) as daemon:
        yield daemon


@contextmanager
def redis(bench, fsync):
    """With an append-only file; fsync is "always" (on disk when answered) or "everysec"."""
    port = free_port()
    argv = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir",
            data_directory(bench, "redis"), "--save", "", "--appendonly", "yes", "--appendfsync",
            fsync]
    with server(bench, argv, port):
        yield port


@contextmanager
def beanstalkd(bench, durable):
    """With its log on disk; durable: synced before each answer, else every 50 ms, its default."""
    port = free_port()
    argv = ["beanstalkd", "-l", "127.0.0.1", "-p", str(port), "-z", str(ITEM_MAX), "-b",
            data_directory(bench, "beanstalkd")]
    with server(bench, argv + (["-f0"] if durable else []), port):
        yield port


@contextmanager
def nats(bench):
    """With JetStream. This version has no setting to sync before it acknowledges."""
    port = free_port()
    path = data_directory(bench, "nats")
    with open(path + "/nats.conf", "w") as file:
        file.write('host: 127.0.0.1\nport: %d\nmax_payload: %d\njetstream { store_dir: "%s" }\n' % (
            port, ITEM_MAX, path))
    with server(bench, ["nats-server", "-c", path + "/nats.conf"], port):
        yield port


def program(name):
    """A program of Erlang or RabbitMQ, which Debian wraps in a script that changes the user."""
    path = "/usr/lib/rabbitmq/bin/" + name
    return path if os.path.exists(path) else name


@contextmanager
def epmd(bench, port):
    """Erlang's name server, as a process that can be ended; one that Erlang starts is nobody's."""
    argv = ["epmd", "-port", str(port), "-address", "127.0.0.1"]
    with server(bench, argv, port):
        yield


def rabbitmq_settings(path, node, port, epmd_port):
    return {
        "HOME": path,  # its cookie
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": node,
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS":
            "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_CONF_ENV_FILE": path + "/none",
        "RABBITMQ_CONFIG_FILE": path + "/rabbitmq",
        "RABBITMQ_ENABLED_PLUGINS_FILE": path + "/plugins",
        "RABBITMQ_MNESIA_BASE": path + "/mnesia",
        "RABBITMQ_LOG_BASE": path + "/log",
        "RABBITMQ_PID_FILE": path + "/pid",
        # The script becomes the server then, and a signal to its process ends it.
        "RABBITMQ_ALLOW_INPUT": "",
        "RUNNING_UNDER_SYSTEMD": "true",
    }


@contextmanager
def rabbitmq(bench):
    port, epmd_port = free_port(), free_port()
    path = data_directory(bench, "rabbitmq")
    node = "queuefs-bench-%d@localhost" % os.getpid()
    with open(path + "/rabbitmq.conf", "w") as file:
        file.write("disk_free_limit.absolute = 64MB\n")
    with open(path + "/plugins", "w") as file:
        file.write("[].\n")
    with ExitStack() as stack:
        stack.enter_context(epmd(bench, epmd_port))
        stack.enter_context(server(
            bench, [program("rabbitmq-server")], port, seconds=90,
            env=rabbitmq_settings(path, node, port, epmd_port)))
        yield port


def versions():
    """What the report says was measured: {package: version}."""
    query = ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *PACKAGES[:4]]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return dict(line.split() for line in done.stdout.splitlines() if " " in line)
