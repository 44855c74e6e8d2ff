"""Real mounts for the tests: each test runs in a process of its own, below a directory of its own,
with a timeout, and prints one line of TAP.

Whatever a test leaves (daemons, shells, mounts, files) is found and removed after it, also when it
failed or hung: all it starts are descendants of this process (it is their reaper), all it makes lies
in its directory. Messages of the sanitizers fail the test that caused them.

    QUEUEFS             the program (default: build/fs/queuefs/queuefs)
    QUEUED              the queue service (default: build/transport/queued/queued)
    QUEUEFS_TEST_FULL   1: the full counts, where a plain run takes fewer
    QUEUEFS_TEST_DIR    where the directories go (default: /var/tmp, which is on a disk)
"""

import contextlib
import ctypes
import glob
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
QUEUEFS = os.path.abspath(os.environ.get("QUEUEFS", ROOT + "/build/fs/queuefs/queuefs"))
QUEUED = os.path.abspath(os.environ.get("QUEUED", ROOT + "/build/transport/queued/queued"))
FULL = os.environ.get("QUEUEFS_TEST_FULL") == "1"
BASE = os.environ.get("QUEUEFS_TEST_DIR", "/var/tmp")
PR_SET_CHILD_SUBREAPER = 36


def sanitized():
    with open(QUEUEFS, "rb") as program:
        return b"__asan_init" in program.read()


SLOW = 4 if os.path.exists(QUEUEFS) and sanitized() else 1


class Skip(Exception):
    pass


def timeout(seconds):
    def set_timeout(function):
        function.timeout = seconds
        return function

    return set_timeout


def eventually(predicate, seconds=5, what="the condition"):
    """Wait until predicate() is true; its value."""
    end = time.monotonic() + seconds * SLOW
    while True:
        value = predicate()
        if value:
            return value
        assert time.monotonic() < end, "%s did not come about in %d s" % (what, seconds * SLOW)
        time.sleep(0.01)


def equal(got, expected, what=""):
    if got != expected:
        raise AssertionError("%s: got %s, expected %s" % (what, short(got), short(expected)))


def short(value):
    text = repr(value)
    return text if len(text) < 400 else "%s... (%d long)" % (text[:400], len(value))


def fails(error, function, *args):
    """function(*args) must fail with this errno."""
    try:
        result = function(*args)
    except OSError as caught:
        if caught.errno != error:
            raise AssertionError(
                "%s instead of %s" % (os.strerror(caught.errno), os.strerror(error))
            ) from caught
        return
    raise AssertionError("no error but %s instead of %s" % (short(result), os.strerror(error)))


def is_mounted(path):
    with open("/proc/self/mountinfo") as info:
        return any(line.split()[4].replace("\\040", " ") == path for line in info)


def sh(script, cwd="/", shell="sh", check=True, seconds=60, data=None, env=None):
    """Run a script, with `pipefail` where the shell is bash. Gives status, stdout, stderr."""
    prefix = ["bash", "-o", "pipefail", "-c"] if shell == "bash" else ["sh", "-c"]
    command = prefix + [script] if isinstance(script, str) else script
    done = subprocess.run(
        command, cwd=cwd, input=data, capture_output=True, timeout=seconds * SLOW, check=False,
        env=env, stdin=subprocess.DEVNULL if data is None else None,
    )
    if check and done.returncode != 0:
        raise AssertionError("%s: status %d, %s" % (script, done.returncode, short(done.stderr)))
    return done


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Skip(program + " is not installed")


@contextlib.contextmanager
def preloaded(t, name, **environment):
    """What is started meanwhile has the library of this name loaded first, from its C source."""
    library = t.path(name + ".so")
    sh(["cc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-shared", "-fPIC", "-o", library,
        os.path.join(ROOT, "tests/e2e", name + ".c")])
    before = dict(os.environ)
    os.environ.update(environment, LD_PRELOAD=library)
    # The sanitizer wants to be loaded first; it is none the worse for not being.
    os.environ["ASAN_OPTIONS"] = before.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def timed(function, *args):
    begin = time.monotonic()
    function(*args)
    return time.monotonic() - begin


class Fd:
    """An open file whose reads and writes are exactly one system call each."""

    def __init__(self, path, flags):
        self.number = os.open(path, flags)

    def fileno(self):
        return self.number

    def read(self, size=1 << 20):
        return os.read(self.number, size)

    def read_all(self):
        parts = iter(self.read, b"")
        return b"".join(parts)

    def write(self, data):
        return os.write(self.number, data)

    def write_all(self, data):
        view = memoryview(data)
        while view:
            view = view[os.write(self.number, view):]

    def sync(self):
        os.fsync(self.number)

    def close(self):
        if self.number >= 0:
            number, self.number = self.number, -1
            os.close(number)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Mount:
    """One mount with a data directory and settings of its own, all below `base`."""

    def __init__(self, base, settings=None, args=(), name="q", data="data", start=True):
        self.base = base
        self.path = os.path.join(base, name)
        self.data = os.path.join(base, data)
        self.log_path = os.path.join(base, name + ".log")
        self.args = list(args)
        self.daemon = None
        os.makedirs(self.path, exist_ok=True)
        if settings is not None:
            file = os.path.join(base, name + ".yaml")
            with open(file, "w") as out:
                out.write(settings)
            self.args += ["-c", file]
        if start:
            self.start()

    def command(self, *more):
        data = [] if "-s" in self.args else ["-d", self.data]
        return [QUEUEFS, "-f", *data, *self.args, *more, self.path]

    def start(self, wait=True):
        with open(self.log_path, "ab") as log:
            self.daemon = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        if wait:
            eventually(self.answers, 10, "the mount at " + self.path)

    def answers(self):
        """Whether it is there to be asked. AssertionError: it has ended."""
        if self.daemon.poll() is not None:
            raise AssertionError("queuefs ended (%d): %s" % (self.daemon.returncode, self.log()))
        try:
            return is_mounted(self.path) and bool(self.stats())
        except OSError:
            return False  # a mount that was killed is still there

    def log(self):
        with open(self.log_path, "rb") as log:
            return log.read().decode(errors="replace")

    def says(self, text, seconds=5):
        eventually(lambda: text in self.log(), seconds, "%r in the log of %s" % (text, self.path))

    def ended(self, seconds=10):
        return self.daemon.wait(seconds * SLOW)

    def stop(self, seconds=10):
        """SIGTERM; the exit status."""
        self.daemon.terminate()
        return self.ended(seconds)

    def kill(self):
        self.daemon.kill()
        self.daemon.wait()

    def unmount(self):
        # Whoever looks at all mounts of the machine just then keeps it busy for a moment.
        eventually(lambda: b"busy" not in sh(["fusermount3", "-u", self.path], check=False).stderr,
                   3, "that nobody uses the mount")
        return self.ended()

    def restart(self):
        equal(self.stop(), 0, "the status of the daemon")
        self.start()

    def at(self, *parts):
        return os.path.join(self.path, *parts)

    def sh(self, script, **options):
        return sh(script, cwd=self.path, **options)

    def out(self, script, **options):
        return self.sh(script, **options).stdout

    def mkdir(self, queue, **settings):
        os.mkdir(self.at(queue))
        if settings:
            self.configure(queue, **settings)

    def configure(self, queue, **settings):
        text = "".join("%s: %s\n" % item for item in settings.items())
        with Fd(self.at(queue, "config"), os.O_WRONLY) as config:
            equal(config.write(text.encode()), len(text), "bytes of config taken")

    def open_in(self, queue, flags=0):
        return Fd(self.at(queue, "in"), os.O_WRONLY | flags)

    def open_out(self, queue, name="out", flags=0):
        return Fd(self.at(queue, name), os.O_RDONLY | flags)

    def put(self, queue, data):
        with self.open_in(queue) as file:
            file.write_all(data)

    def get(self, queue, name="out"):
        with self.open_out(queue, name) as file:
            return file.read_all()

    def flush(self, queue=None):
        os.utime(self.at(queue, "flush") if queue else self.at("flush"))

    def stats(self, queue=None):
        with open(self.at(queue, "stats") if queue else self.at("stats")) as file:
            lines = [line.rstrip("\n").split(": ", 1) for line in file]
        return {name: number(value) for name, value in lines}

    def depth(self, queue):
        return self.stats(queue)["depth"]

    def threads(self):
        return len(os.listdir("/proc/%d/task" % self.daemon.pid))

    def finish(self):
        """The last check of every test: it can be unmounted, and the daemon ends well."""
        if self.daemon is None or self.daemon.poll() is not None:
            return
        # Who was killed with its shell may still be on its way out.
        eventually(lambda: not is_mounted(self.path) or
                   sh(["umount", self.path], check=False).returncode == 0, 2,
                   "that the mount is not busy")
        status = self.ended()
        assert status in (0, 1), "the daemon ended with %d: %s" % (status, self.log()[-3000:])


class Service:
    """One queue service with a data directory and settings of its own, all below `base`."""

    def __init__(self, base, settings=None, args=(), name="queued", listen=None, env=None,
                 start=True):
        self.base = base
        self.path = os.path.join(base, name)  # what it is called in reports
        self.data = os.path.join(base, name + "-data")
        self.log_path = os.path.join(base, name + ".log")
        self.address = listen or "ipc://%s/%s.sock" % (base, name)
        self.args = list(args)
        self.env = env
        self.daemon = None
        if settings is not None:
            file = os.path.join(base, name + ".yaml")
            with open(file, "w") as out:
                out.write(settings)
            self.args += ["-c", file]
        if start:
            self.start()

    def command(self, *more):
        listen = ["-l", self.address] if self.address != "settings" else []
        return [QUEUED, "-d", self.data, *listen, *self.args, *more]

    def start(self, wait=True):
        before = self.log().count(", ready;") if os.path.exists(self.log_path) else 0
        with open(self.log_path, "ab") as log:
            self.daemon = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env,
            )
        if wait:
            eventually(lambda: self.ready(before), 10, "queued")
            if self.address.endswith(":0"):  # where it is now, and when it is started again
                self.address = self.listening()[0]

    def ready(self, before):
        if self.daemon.poll() is not None:
            raise AssertionError("queued ended (%d): %s" % (self.daemon.returncode, self.log()))
        return self.log().count(", ready;") > before

    def listening(self):
        """The addresses, with the ports that it was given for port 0."""
        return [line.split()[-1] for line in self.log().splitlines() if ": listening on " in line]

    def log(self):
        with open(self.log_path, "rb") as log:
            return log.read().decode(errors="replace")

    def says(self, text, seconds=5):
        eventually(lambda: text in self.log(), seconds, "%r in the log of %s" % (text, self.path))

    def ended(self, seconds=10):
        return self.daemon.wait(seconds * SLOW)

    def stop(self, seconds=10):
        """SIGTERM; the exit status."""
        self.daemon.terminate()
        return self.ended(seconds)

    def kill(self):
        self.daemon.kill()
        self.daemon.wait()

    def finish(self):
        if self.daemon is not None and self.daemon.poll() is None:
            equal(self.stop(), 0, "the status of queued")


def free_port():
    """A TCP port of this machine that nobody uses now, for whoever cannot listen on port 0. Below
    those that the kernel gives by itself, to tests that run at the same time too."""
    while True:
        port = random.SystemRandom().randrange(20000, 32768)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def has_open(process, path):
    """Whether the process has this file open."""
    fds = "/proc/%d/fd" % process.pid
    for name in os.listdir(fds):
        try:
            if os.path.samefile(os.path.join(fds, name), path):
                return True
        except OSError:
            continue
    return False


def number(value):
    try:
        return float(value) if "." in value else int(value)
    except ValueError:
        return value.strip('"')


class Test:
    """What a test is given: its directory, and mounts that are checked at its end."""

    def __init__(self, directory):
        self.directory = directory
        self.mounts = []
        self.services = []

    def mount(self, settings=None, **options):
        mount = Mount(self.directory, settings, **options)
        self.mounts.append(mount)
        return mount

    def service(self, settings=None, **options):
        service = Service(self.directory, settings, **options)
        self.services.append(service)
        return service

    def mount_of(self, address, name="q", settings=None, args=(), **options):
        """A mount of the service there."""
        return self.mount(settings, args=["-s", address, *args], name=name, **options)

    def queue(self, **settings):
        """A mount with one queue, `jobs`."""
        mount = self.mount()
        mount.mkdir("jobs", **settings)
        return mount

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def compile(self, name):
        """The helper program of this name, from its C source beside the tests."""
        program = self.path(name)
        source = os.path.join(ROOT, "tests/e2e", name + ".c")
        sh(["cc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-pthread", "-o", program, source])
        return program


def run_child(function, directory, report):
    os.setsid()
    os.environ["TMPDIR"] = directory
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
        os.environ[name] = "log_path=%s/sanitizer:halt_on_error=1:print_stacktrace=1" % directory
    os.environ["LSAN_OPTIONS"] = "suppressions=%s/tests/lsan.supp:print_suppressions=0" % ROOT
    test = Test(directory)
    try:
        function(test)
        for program in test.mounts + test.services:
            program.finish()
        result = "ok"
    except Skip as skip:
        result = "skip " + str(skip)
    except BaseException:  # the report must get out, whatever it is
        result = "fail " + traceback.format_exc()
        for program in test.mounts + test.services:
            if os.path.exists(program.log_path):
                result += "\nlog of %s:\n%s" % (program.path, program.log()[-3000:])
    os.write(report, result.encode())
    os._exit(0)


def descendants():
    """All processes below this one: it is the reaper of what its children leave."""
    parents = {}
    for stat in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(stat) as file:
                pid, rest = file.read().split(" (", 1)
            parents[int(pid)] = int(rest.rsplit(") ", 1)[1].split()[1])
        except OSError:
            continue
    found, grown = {os.getpid()}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        grown = bool(more)
        found |= more
    return found - {os.getpid()}


def kill_descendants():
    end = time.monotonic() + 10
    while time.monotonic() < end:
        left = descendants()
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.02)


def unmount_below(directory):
    with open("/proc/self/mountinfo") as info:
        mounted = [line.split()[4].replace("\\040", " ") for line in info]
    for path in sorted((p for p in mounted if p.startswith(directory + "/")), reverse=True):
        program = "umount" if os.geteuid() == 0 else "fusermount3"
        option = "-l" if program == "umount" else "-uz"
        subprocess.run([program, option, path], check=False, stderr=subprocess.DEVNULL)


def run(function):
    """Run one test in a process of its own; "ok", "skip why" or "fail why"."""
    directory = tempfile.mkdtemp(prefix="queuefs-test-", dir=BASE)
    seconds = getattr(function, "timeout", 30) * SLOW
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        run_child(function, directory, writing)
    os.close(writing)
    try:
        result = receive(reading, seconds)
    finally:
        os.close(reading)
        kill_descendants()
        unmount_below(directory)
        messages = sanitizer_messages(directory)
        shutil.rmtree(directory, ignore_errors=True)
    return "fail " + messages if messages else result


def what_waits():
    """What runs below this process, thread by thread, and where in the kernel it waits."""
    lines = []
    for pid in sorted(descendants()):
        for task in sorted(glob.glob("/proc/%d/task/[0-9]*" % pid)):
            try:
                with open(task + "/wchan") as wchan, open(task + "/cmdline") as command:
                    lines.append("%s %s: %s" % (task[6:], wchan.read(),
                                                command.read().replace("\0", " ")[:150]))
            except OSError:
                continue
    return "\n".join(lines)


def receive(reading, seconds):
    parts, end = [], time.monotonic() + seconds
    while True:
        ready = select.select([reading], [], [], max(0, end - time.monotonic()))[0]
        if not ready:
            return "fail it took longer than %d s\n%s" % (seconds, what_waits())
        part = os.read(reading, 65536)
        if not part:
            return b"".join(parts).decode() or "fail it ended without a result"
        parts.append(part)


def sanitizer_messages(directory):
    text = ""
    for path in glob.glob(directory + "/sanitizer.*"):
        with open(path, errors="replace") as file:
            # That it could not stop a thread in time to look for leaks is no finding.
            text += "".join(line for line in file if "False leaks are possible" not in line)
    return text


def unable():
    """Why no test can run here; None if they can."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse cannot be opened"
    if not shutil.which("fusermount3"):
        return "fusermount3 is not installed"
    return None


def main():
    """Run all tests of the calling file, or those whose names hold a word of the command line."""
    module = sys.modules["__main__"]
    tests = [value for name, value in vars(module).items() if name.startswith("test_")]
    words = sys.argv[1:]
    tests = [t for t in tests if not words or any(word in t.__name__ for word in words)]
    assert os.path.exists(QUEUEFS), QUEUEFS + " is not there: build it, or set QUEUEFS"
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # A shell's job in the background ignores these, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    reason = unable()
    print("TAP version 13\n1..%d" % len(tests))
    failed = 0
    for index, test in enumerate(tests, 1):
        begin = time.monotonic()
        result = "skip " + reason if reason else run(test)
        name = test.__name__[5:].replace("_", " ")
        word, _, detail = result.partition(" ")
        failed += word == "fail"
        line = "not ok" if word == "fail" else "ok"
        end = " # SKIP " + detail if word == "skip" else ""
        print("%s %d - %s%s" % (line, index, name, end))
        print("# %.1f s" % (time.monotonic() - begin))
        if word == "fail":
            print("\n".join("# " + text for text in detail.splitlines()))
        sys.stdout.flush()
    sys.exit(1 if failed else 0)
