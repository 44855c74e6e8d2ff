#!/usr/bin/env python3
"""A disk that fails below `queued`, and what a mount of it makes of that.

A fresh service and a mount run the same small load again and again; each time another write, sync
or truncate of the service gives EIO or ENOSPC, from the first that its start makes to the last that
its end makes. A service whose store is of no use any more ends with status 1 and one line that says
why; the mount takes puts meanwhile, and delivers when the service is there again. After all of it
every item that was written is there, once and in order.

    tests/stress/test_queued_faults.py        some calls, other ones each day
    QUEUEFS_TEST_FULL=1 tests/stress/test_queued_faults.py     every call
    QUEUEFS_TEST_OFFSET=N                     the same choice as on a day that said "offset N"

QUEUED, QUEUEFS: the programs. FAULT_PRELOAD: the built fault_preload.c; it builds its own without.
"""

import errno
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))

from faults import CALLS, Disk, reasons  # noqa: E402
from harness import FULL, SLOW, equal, eventually, main, timeout  # noqa: E402

ITEMS = 8
STEP = 8
PATIENCE = 15 * SLOW
PASSING = (errno.EIO, errno.ENOSPC, errno.ETIMEDOUT)
SETTINGS = "queues: {jobs: {linger: 1ms}, away: {}}\n"


class Guard(threading.Thread):
    """Waits for the end of a service over a failing disk, and starts it again over a good one."""

    def __init__(self, service, mount):
        super().__init__(daemon=True)
        self.service, self.mount = service, mount
        self.asked = False  # to end
        self.died = False
        self.n_away = 0  # items put while it was away
        self.failure = None

    def run(self):
        try:
            status = self.service.daemon.wait()
            self.died = status != 0
            if self.died:
                check_end(self.service, status)
            assert self.died or self.asked, "it ended with status 0, unasked"
            if not self.asked:
                self.put_while_it_is_away()
            start(self.service, None)
        except BaseException as failure:  # told by finish()
            self.failure = failure

    def put_while_it_is_away(self):
        begin = time.monotonic()
        self.mount.put("away", b"x\n")
        assert time.monotonic() - begin < SLOW, "a put waited for the service"
        self.n_away += 1

    def finish(self):
        """The service's end where it lives on; then it has started again."""
        self.asked = True
        if not self.died:
            self.service.daemon.terminate()
        self.join(PATIENCE)
        assert not self.is_alive(), "the service does not end"
        if self.failure:
            raise self.failure


class Load:
    """Puts and gets by one process; what it knows of them."""

    def __init__(self, mount):
        self.mount = mount
        self.written = 0
        self.taken = []

    @staticmethod
    def attempt(function, *args):
        """Until the disk has space, or the service is there again: the mount keeps what it took."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return function(*args)
            except OSError as error:
                if error.errno not in PASSING or time.monotonic() > end:
                    raise
            time.sleep(0.02)

    def write(self, file):
        self.attempt(file.write_all, b"%d\n" % self.written)
        self.written += 1

    def take(self):
        with self.mount.open_out("jobs", "next") as file:
            self.taken += [int(line) for line in file.read().splitlines()]

    def run(self):
        with self.mount.open_in("jobs") as file:
            for n in range(ITEMS):
                self.write(file)
                if n % 2:
                    self.write(file)
                    self.attempt(file.sync)
                else:
                    self.attempt(self.mount.flush, "jobs")
                if n % 3 == 1:
                    self.attempt(self.take)


def start(service, disk):
    """Start over this disk, None: a good one. False: it ended by itself, as it must."""
    service.env = disk.environment(service.data) if disk else None
    before = service.log().count(", ready;") if os.path.exists(service.log_path) else 0
    service.start(wait=False)
    eventually(lambda: service.daemon.poll() is not None or service.log().count(
        ", ready;") > before, 10, "the start")
    if service.daemon.poll() is None:
        return True
    assert disk, "it does not start over a good disk: " + service.log()
    check_end(service, service.daemon.returncode)
    return False


def check_end(service, status):
    equal(status, 1, "status of a service whose store failed")
    ends = [line for line in reasons(service.log()) if "start it again" in line or "cannot" in line]
    equal(len(ends), 1, "lines that say why it ended, in " + service.log())


def check_items(mount, load, guard):
    """All that was written, once and in order; the last one taken may come again after a death."""
    rest = [int(line) for line in mount.get("jobs", "out@5s").splitlines()]
    taken = load.taken
    for at in range(1, len(taken)):
        if guard.died and taken[at] == taken[at - 1]:
            taken = taken[:at] + taken[at + 1:]
            break
    else:
        if guard.died and taken and rest and taken[-1] == rest[0]:
            rest = rest[1:]
    equal(taken + rest, list(range(load.written)), "the items")
    equal(mount.get("away", "out@5s") if guard.n_away else b"", b"x\n" * guard.n_away,
          "what was put while it was away")


def one_fault(t, fault):
    """Whether the fault was reached."""
    disk = Disk(t, fault)
    name = fault.replace(":", "-")
    service = t.service(name=name, start=False)
    if not start(service, disk):
        start(service, None)
    mount = t.mount_of(service.address, name + ".q", SETTINGS)
    guard = Guard(service, mount)
    guard.start()
    load = Load(mount)
    load.run()
    guard.finish()
    mount.flush()
    check_items(mount, load, guard)
    equal(mount.stop(), 0, "status of the mount")
    equal(service.stop(), 0, "status of the service")
    struck = disk.struck()
    if struck:
        os.unlink(disk.log)
    return struck


def offset():
    text = os.environ.get("QUEUEFS_TEST_OFFSET")
    return (int(text) if text else int(time.time() // 86400)) % STEP


def some_faults(t, error):
    """Fail one call after the other, or every STEP-th."""
    first, step = (1, 1) if FULL else (1 + offset(), STEP)
    n_struck = 0
    for call in CALLS:
        n = first
        while True:
            try:
                if not one_fault(t, "%s:%d:%s" % (call, n, error)):
                    break
            except BaseException as why:
                raise AssertionError("%s %d %s: %s" % (call, n, error, why)) from why
            print("#", call, n, error, flush=True)
            n_struck += 1
            n += step
    print("# %s: %d calls failed%s" % (error, n_struck, "" if FULL else ", offset %d" % offset()),
          flush=True)


@timeout(900 if FULL else 240)
def test_a_call_of_the_service_fails_with_EIO(t):
    some_faults(t, "EIO")


@timeout(900 if FULL else 240)
def test_a_call_of_the_service_finds_no_space(t):
    some_faults(t, "ENOSPC")


if __name__ == "__main__":
    main()
