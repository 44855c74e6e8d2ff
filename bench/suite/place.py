"""The place where rows run: a temporary directory, the programs that were built, and whatever a row
starts, stopped again by its process id when the row ends, however it ends."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager

ITEM_BYTES = 100


class Daemon:
    """A process that was started, and where it logs."""

    def __init__(self, argv, log, env=None):
        self.argv = argv
        self.log = log
        self.env = {**os.environ, **env} if env else None
        self.process = self.run()

    @property
    def pid(self):
        return self.process.pid

    def run(self):
        with open(self.log, "ab") as out:
            return subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                    env=self.env)

    def kill(self):
        """As a power cut, but for the disk: nothing is ended in order."""
        self.process.kill()
        self.process.wait()

    def start_again(self):
        """After kill(): the same command."""
        self.process = self.run()

    def processor_s(self):
        """Processor time that it has used, in user mode and in the kernel."""
        with open("/proc/%d/stat" % self.pid) as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def failed(self):
        """Why it has ended, or None."""
        status = self.process.poll()
        if status is None:
            return None
        with open(self.log, errors="replace") as log:
            return "%s ended with status %d\n%s" % (
                self.process.args[0], status, "".join(log.readlines()[-10:]))

    def stop(self, seconds=60):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()


class Mount:
    """A mounted queuefs or null_fs with a queue `jobs`."""

    def __init__(self, path, daemon, data=None):
        self.path = path
        self.queue = path + "/jobs"
        self.daemon = daemon
        self.data = data  # queuefs, embedded: where its data is

    @property
    def pid(self):
        return self.daemon.pid

    def queue_of(self, name):
        """The same mount, with another queue."""
        other = Mount(self.path, self.daemon, self.data)
        other.queue = "%s/%s" % (self.path, name)
        return other

    def stat(self, name):
        """A number of the queue's stats."""
        with open(self.queue + "/stats") as stats:
            for line in stats:
                key, _, value = line.partition(": ")
                if key == name:
                    return float(value)
        raise KeyError(name)

    def set(self, **settings):
        with open(self.queue + "/config", "w") as config:
            config.write("".join("%s: %s\n" % pair for pair in settings.items()))

    def flush(self):
        os.utime(self.queue + "/flush")


def free_port():
    """A TCP port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def accepts(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def is_mounted(path):
    with open("/proc/self/mountinfo") as info:
        return any(line.split()[4].replace("\\040", " ") == path for line in info)


def answers(path):
    """Both filesystems have this file at their root."""
    return is_mounted(path) and os.path.exists(path + "/stats")


class Bench:
    """QUEUEFS and QUEUED in the environment are taken for the programs of the build directory."""

    def __init__(self, build, quick=False, base="/var/tmp"):
        self.build = build
        self.queuefs_program = os.path.abspath(
            os.environ.get("QUEUEFS", build + "/fs/queuefs/queuefs"))
        self.queued_program = os.path.abspath(
            os.environ.get("QUEUED", build + "/transport/queued/queued"))
        self.quick = quick
        self.directory = tempfile.mkdtemp(prefix="queuefs-bench-", dir=base)
        self.errors = build + "/errors.log"  # where what went wrong is told in full
        self.n_things = 0

    def close(self):
        shutil.rmtree(self.directory, ignore_errors=True)

    def count(self, full, quick):
        return quick if self.quick else full

    def shortened(self, text):
        """Without the places of this one machine and run."""
        return text.replace(self.directory + "/", "").replace(self.build + "/", "")

    def program(self, name):
        """A program of bench/. Those whose library is missing are not built."""
        path = "%s/bench/%s" % (self.build, name)
        if not os.path.exists(path):
            raise RuntimeError("%s was not built: its library is missing" % name)
        return path

    def path(self, stem):
        """A name below the directory that was not given out before."""
        self.n_things += 1
        return "%s/%s-%d" % (self.directory, stem, self.n_things)

    @contextmanager
    def start(self, argv, ready, seconds=30, env=None):
        """Run a daemon; ready() tells when it answers. `with bench.start(...) as daemon:`"""
        daemon = Daemon(argv, self.path("log"), env)
        try:
            self.wait_for(daemon, ready, seconds)
            yield daemon
        finally:
            daemon.stop()

    @staticmethod
    def wait_for(daemon, ready, seconds, poll_s=0.01):
        end = time.monotonic() + seconds
        while not ready():
            reason = daemon.failed()
            if reason or time.monotonic() > end:
                raise RuntimeError(reason or "%s does not answer" % daemon.process.args[0])
            time.sleep(poll_s)

    @contextmanager
    def mounted(self, argv, path, data=None):
        os.mkdir(path)
        with self.start(argv, lambda: answers(path)) as daemon:
            try:
                yield Mount(path, daemon, data)
            finally:
                subprocess.run(["fusermount3", "-uz", path], check=False, capture_output=True)
        os.rmdir(path)

    @contextmanager
    def queuefs(self, service=None, settings=None):
        """A mount with a queue `jobs`, of an embedded service or of the one at an address.
        `settings` is YAML."""
        path = self.path("q")
        data = None if service else path + ".data"
        argv = [self.queuefs_program, "-f"]
        argv += ["-s", service] if service else ["-d", data]
        if settings:
            with open(path + ".yaml", "w") as file:
                file.write(settings)
            argv += ["-c", path + ".yaml"]
        with self.mounted(argv + [path], path, data) as mount:
            if not os.path.exists(mount.queue):
                os.mkdir(mount.queue)
            yield mount
        if data:
            shutil.rmtree(data, ignore_errors=True)

    @contextmanager
    def null_fs(self, n_items=0):
        """The do-nothing filesystem; an open of `out` ends after n_items (0: never)."""
        path = self.path("null")
        argv = [self.program("null_fs"), "--items", str(n_items), path]
        with self.mounted(argv, path) as mount:
            yield mount

    @contextmanager
    def queued(self, kind):
        """A service of its own over "tcp" (loopback) or "ipc"; gives (address, daemon)."""
        data = self.path("service")
        port = free_port()
        address = "tcp://127.0.0.1:%d" % port if kind == "tcp" else "ipc://%s.sock" % data
        argv = [self.queued_program, "-d", data, "-l", address]
        there = (lambda: accepts(port)) if kind == "tcp" else (
            lambda: os.path.exists(data + ".sock"))
        with self.start(argv, there) as daemon:
            yield address, daemon
        shutil.rmtree(data, ignore_errors=True)

    def items(self, n_items, item_bytes=ITEM_BYTES):
        """A file of that many lines, item_bytes with the newline; made once."""
        path = "%s/items-%d-%d" % (self.directory, item_bytes, n_items)
        if not os.path.exists(path):
            make_items(path, n_items, item_bytes)
        return path

    @staticmethod
    def run(argv, seconds=300):
        """What a program prints. Its trouble is an exception with its last words."""
        done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds, check=False)
        if done.returncode != 0:
            raise RuntimeError("%s: status %d, %s" % (
                " ".join(argv), done.returncode, done.stderr.strip()[-500:]))
        return done.stdout

    def values(self, argv, seconds=300):
        """The lines `name: value` that a program prints, as {name: number}."""
        lines = (line.split(":", 1) for line in self.run(argv, seconds).splitlines() if ":" in line)
        return {name.strip(): float(value) for name, value in lines}

    @staticmethod
    def spent(daemons, n_items, call):
        """What call() gives, and how much processor time these used for an item meanwhile, in us."""
        begin = sum(daemon.processor_s() for daemon in daemons)
        value = call()
        used = sum(daemon.processor_s() for daemon in daemons) - begin
        return value, used * 1e6 / n_items

    def seconds(self, script):
        """How long a shell script takes; it runs in the directory."""
        begin = time.monotonic()
        subprocess.run(["sh", "-ec", script], cwd=self.directory, check=True)
        return time.monotonic() - begin


def make_items(path, n_items, item_bytes=ITEM_BYTES):
    """Lines with their number in it, so that no two are the same."""
    width = item_bytes - 2
    step = max(1, (1 << 20) // item_bytes)
    with open(path, "wb") as file:
        for first in range(0, n_items, step):
            last = min(first + step, n_items)
            file.write(b"".join(b"%0*d.\n" % (width, n) for n in range(first, last)))
        file.flush()
        os.fsync(file.fileno())


def end_on_sigterm():
    """So that what was started is stopped then, too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
