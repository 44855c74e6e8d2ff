#!/usr/bin/env python3
"""A disk that fails: the n-th write, sync or truncate below the data directory gives EIO or ENOSPC.

A service (the one inside a mount) runs the same small load again and again; each time another call
fails, from the first that the start makes to the last that the load reaches. Whatever fails: what
fsync or flush reported is there after a clean start, every item once and in order; nothing hangs;
a store that is of no use any more ends the program with status 1 and a line that says so; and where
the disk was only full for a moment the same program goes on.

    tests/stress/test_store_faults.py        every few calls
    QUEUEFS_TEST_FULL=1 tests/stress/test_store_faults.py     every call

FAULT_PRELOAD is the built tests/stress/fault_preload.c; without it the test builds its own.
"""

import errno
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))

from faults import CALLS, WRITES, Disk, reasons  # noqa: E402
from harness import FULL, SLOW, Fd, equal, eventually, main, timeout  # noqa: E402

ITEMS = 12
PATIENCE = 10 * SLOW
# What a program sees of a mount whose store has failed or that is gone.
GONE = {errno.EIO, errno.ENOTCONN, errno.ESHUTDOWN, errno.ECONNABORTED, errno.ENODEV, errno.ENOENT}


class Gone(Exception):
    """The mount is ending, as it must when its store fails for good."""


class Load:
    """Puts and gets by one process; what it knows of them."""

    def __init__(self, mount):
        self.mount = mount
        self.acknowledged = 0  # items below this number
        self.written = 0
        self.taken = []
        self.errors = []

    def attempt(self, function, *args):
        """Until it works; Gone where it never will."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return function(*args)
            except OSError as error:
                self.errors.append(error.errno)
                if error.errno != errno.ENOSPC:
                    assert error.errno in GONE, os.strerror(error.errno)
                    raise Gone() from error
                if self.mount.daemon.poll() is not None:
                    raise Gone() from error
            assert time.monotonic() < end, "no space for %d s" % PATIENCE
            time.sleep(0.02)

    def write(self, file):
        self.attempt(file.write_all, b"%d\n" % self.written)
        self.written += 1

    def take(self):
        data = self.attempt(self.mount.get, "jobs", "next")
        self.taken += [int(line) for line in data.splitlines()]

    def run(self):
        self.attempt(self.make)
        file = self.attempt(self.mount.open_in, "jobs")
        try:
            for n in range(ITEMS):
                self.write(file)
                if n % 2:
                    self.write(file)
                    self.attempt(file.sync)
                else:
                    self.attempt(self.mount.flush, "jobs")
                self.acknowledged = self.written
                if n % 3 == 1:
                    self.take()
        finally:
            try:
                file.close()
            except OSError as error:
                self.errors.append(error.errno)

    def make(self):
        try:
            self.mount.mkdir("jobs")
        except FileExistsError:
            pass


def start(m, disk):
    """Start over the failing disk. False: it ended by itself, with a word on why."""
    os.makedirs(m.data, exist_ok=True)
    with open(m.log_path, "ab") as log:
        m.daemon = subprocess.Popen(m.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                    env=disk.environment(m.data))

    def settled():
        try:
            return m.answers()
        except AssertionError:
            return True  # it ended

    eventually(settled, 10, "the start over a failing disk")
    if m.daemon.poll() is None:
        return True
    check_end(m, "the start")
    return False


def check_end(m, what):
    equal(m.ended(), 1, "status after %s" % what)
    assert reasons(m.log()), "nothing in the log says why it ended: " + m.log()


def run_load(m, load):
    """True: the mount lived to its end."""
    try:
        load.run()
    except Gone:
        check_end(m, "a failure of the store")
        return False
    equal(m.stop(), 0, "status of a mount that lived on")
    return True


def check_items(m, load):
    """A clean start over the same directory: all that was acknowledged, once, in order."""
    m.start()
    rest = [int(line) for line in m.get("jobs").splitlines()] if os.path.exists(
        m.at("jobs")) else []
    taken = load.taken
    # The last one taken may come again: its close was not heard when the mount ended.
    if taken and rest and taken[-1] == rest[0]:
        rest = rest[1:]
    equal(taken + rest, list(range(len(taken) + len(rest))), "the items")
    assert len(taken) + len(rest) >= load.acknowledged, "acknowledged %d, there are %d" % (
        load.acknowledged, len(taken) + len(rest))
    assert len(taken) + len(rest) <= load.written + 1, "%d were written, there are %d" % (
        load.written, len(taken) + len(rest))
    m.put("jobs", b"after\n") if os.path.exists(m.at("jobs")) else m.mkdir("jobs")
    m.flush()
    equal(m.stop(), 0, "status")


def one_fault(t, fault):
    """Whether the load reached the fault, and whether the mount lived through it."""
    disk = Disk(t, fault)
    name = fault.replace(":", "-")
    m = t.mount(name=name, data=name + ".data", start=False)
    load = Load(m)
    lived = start(m, disk) and run_load(m, load)
    struck = disk.struck()
    if struck:
        os.unlink(disk.log)
    else:
        assert lived, "it failed without a fault: " + m.log()
    check_items(m, load)
    return struck, lived


def every_fault(t, error, count="", calls=CALLS):
    """Fail each call in turn, or some of them; gives how many did and how many were lived through."""
    n_struck = n_lived = 0
    for call in calls:
        n, step = 1, 1
        while True:
            try:
                struck, lived = one_fault(t, "%s:%d:%s%s" % (call, n, error, count))
            except BaseException as why:
                raise AssertionError("%s %d %s%s: %s" % (call, n, error, count, why)) from why
            if not struck:
                break
            n_struck += 1
            n_lived += lived
            n += step
            # The start differs from call to call; the load repeats itself.
            if not FULL and n > 8:
                step = 7
    print("# %s: %d calls failed, lived through %d" % (error + count, n_struck, n_lived), flush=True)
    return n_struck, n_lived


@timeout(600 if FULL else 240)
def test_each_call_fails_once_with_EIO(t):
    struck, _ = every_fault(t, "EIO")
    assert struck > 10, "only %d calls were reached" % struck


@timeout(600 if FULL else 240)
def test_each_call_finds_no_space_once(t):
    struck, lived = every_fault(t, "ENOSPC")
    assert struck > 10, "only %d calls were reached" % struck
    assert lived > 0, "no mount went on once there was space again"


@timeout(600 if FULL else 240)
def test_each_write_is_short_once(t):
    struck, lived = every_fault(t, "SHORT", calls=WRITES)
    assert struck > 5, "only %d calls were reached" % struck
    assert lived > 0, "no mount wrote the rest"


@timeout(120)
def test_a_disk_that_stays_full(t):
    """Full for good after some calls: fsync says so, nothing is lost, gets and the end work."""
    disk = Disk(t, "writev:12:ENOSPC:0")
    m = t.mount(start=False)
    load = Load(m)
    assert start(m, disk), "the start reached the fault"
    m.mkdir("jobs")
    full = True
    # Where the call that failed was the last of a commit, the store is of no use. A close tells
    # what was not told yet.
    try:
        with m.open_in("jobs") as file:
            for _ in range(40):
                file.write_all(b"%d\n" % load.written)
                load.written += 1
                file.sync()
                load.acknowledged = load.written
    except OSError as error:
        assert error.errno == errno.ENOSPC or error.errno in GONE, os.strerror(error.errno)
        full = error.errno == errno.ENOSPC
    assert load.acknowledged < 40, "the disk never filled up"
    try:
        with Fd(m.at("stats"), os.O_RDONLY) as stats:
            assert b"depth" in stats.read_all()
    except OSError as error:
        assert not full or error.errno in GONE, os.strerror(error.errno)
    if m.daemon.poll() is None:
        m.daemon.terminate()
    assert m.ended(40) in (0, 1)
    check_items(m, load)


if __name__ == "__main__":
    main()
