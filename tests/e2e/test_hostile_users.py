#!/usr/bin/env python3
"""A user of a mount that is open to others, who takes all that he can get of its memory: it stays
under its limit, the others go on as if he were not there, and what he took is given back."""

import errno
import mmap
import os
import pwd
import resource
import signal
import threading
import time

from harness import SLOW, Fd, Skip, equal, eventually, fails, main, timeout
from test_modes import as_user, reads

MIB = 1 << 20

# All that budget.h makes of this buffer_total.
BUFFERED, FLOOR, PARKED, FETCHED = 64 * MIB, 128 * MIB, 16 * MIB, 256 * MIB
SETTINGS = "mount: {allow_other: true, buffer_total: 64MiB}\n"

# What the program has without anybody's doing, and of the sanitizer what it keeps of freed memory.
BESIDE = (96 if SLOW == 1 else 700) * MIB


def users():
    if os.geteuid() != 0:
        raise Skip("only root can act as another user")
    return pwd.getpwnam("nobody"), pwd.getpwnam("daemon")


def hostile(t, **settings):
    """A mount with a queue `theirs` of the one user, and `mine` of the other."""
    user, other = users()
    os.chmod(t.directory, 0o755)
    m = t.mount(SETTINGS)
    for name, owner in (("theirs", user), ("mine", other)):
        m.mkdir(name, **(settings if name == "theirs" else {}))
        os.chown(m.at(name), owner.pw_uid, owner.pw_gid)
    return m, user, other


def resident(m):
    """Without pages of files: the store's belong to the system's cache."""
    with open("/proc/%d/status" % m.daemon.pid) as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon:")) * 1024


class Attack:
    """A process of this user that does `body` and then keeps what it has until the end. What `body`
    gives is told."""

    def __init__(self, user, body):
        self.reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
                os.setgroups([])
                os.setgid(user.pw_gid)
                os.setuid(user.pw_uid)
                os.write(writing, repr(body()).encode())
            except BaseException as error:
                os.write(writing, ("failed: %r" % error).encode())
                os._exit(1)
            os.close(writing)
            while True:
                signal.pause()
        os.close(writing)

    def told(self):
        text = os.read(self.reading, 4096).decode()
        os.close(self.reading)
        assert not text.startswith("failed"), text
        return eval(text)

    def end(self):
        """It can be killed, whatever it waits for."""
        if self.pid == 0:
            return
        pid, self.pid = self.pid, 0
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, 5, "its end")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def p99_of_puts(m, user, n=300):
    """Of open, write and close, in seconds, as this user."""
    times = mmap.mmap(-1, 4096)

    def body():
        took = []
        for _ in range(n):
            begin = time.monotonic()
            with Fd(m.at("mine/in"), os.O_WRONLY) as file:
                file.write(b"x\n")
            took.append(time.monotonic() - begin)
        times.write(repr(sorted(took)[n * 99 // 100]).encode())

    as_user(user, body)
    return float(times[:].rstrip(b"\0"))


def others_go_on(m, user, idle):
    """His puts take no longer than three times what they took before. On a busy machine some round
    shows it."""
    rounds = []
    for _ in range(10):
        rounds.append(p99_of_puts(m, user))
        if rounds[-1] < 3 * idle + 0.0005:
            break
    print("# p99 of another user's put: %.2f ms idle, %.2f ms meanwhile"
          % (idle * 1e3, min(rounds) * 1e3))
    assert min(rounds) < 3 * idle + 0.0005, rounds


def stays_under(m, limit):
    """All that users may hold of this kind, with what the program has anyway."""
    now = resident(m)
    print("# resident: %d MiB, of %d at most" % (now // MIB, (limit + BESIDE) // MIB))
    assert now < limit + BESIDE, "%d MiB" % (now // MIB)


def is_given_back(m):
    """What was held, and to the system."""
    eventually(lambda: sum(value for name, value in m.stats().items()
                           if name.startswith("held_")) < MIB, 5, "that nothing is held")
    if SLOW == 1:
        eventually(lambda: resident(m) < BESIDE, 10, "that free memory is given back")
    print("# resident afterwards: %d MiB" % (resident(m) // MIB))


@timeout(60)
def test_unfinished_items(t):
    m, user, other = hostile(t, max_item_size="2MiB", framing="file")
    idle = p99_of_puts(m, other)

    def body():
        """Many opens, each in the middle of its item, as far as that goes."""
        taken, piece, keep = 0, bytes(MIB), []
        for _ in range(900):
            number = os.open(m.at("theirs/in"), os.O_WRONLY | os.O_NONBLOCK)
            keep.append(number)
            try:
                taken += os.write(number, piece)
            except BlockingIOError:
                pass
        globals()["kept"] = keep
        return taken

    with Attack(user, body) as attack:
        taken = attack.told()
        print("# taken: %d MiB" % (taken // MIB))
        stays_under(m, BUFFERED + FLOOR)
        assert taken <= (BUFFERED + FLOOR) // 2 + MIB, taken
        others_go_on(m, other, idle)
    m.flush()
    m.get("theirs")
    while m.get("theirs"):
        pass
    is_given_back(m)


@timeout(60)
def test_unfinished_items_in_many_queues(t):
    """Each has its own floor, and all of them together a limit."""
    m, user, other = hostile(t)
    for i in range(200):
        m.mkdir("q%d" % i)
        os.chmod(m.at("q%d" % i), 0o622)
    idle = p99_of_puts(m, other)

    def body():
        taken, keep = 0, []
        for i in range(200):
            for _ in range(4):
                keep.append(os.open(m.at("q%d/in" % i), os.O_WRONLY | os.O_NONBLOCK))
                try:
                    for _ in range(16):
                        taken += os.write(keep[-1], bytes(65000))
                except BlockingIOError:
                    pass
        globals()["kept"] = keep
        return taken

    with Attack(user, body) as attack:
        taken = attack.told()
        print("# taken: %d MiB" % (taken // MIB))
        stays_under(m, BUFFERED + FLOOR)
        assert taken <= (BUFFERED + FLOOR) // 2 + MIB, taken
        others_go_on(m, other, idle)


@timeout(60)
def test_writes_that_wait(t):
    m, user, other = hostile(t, maxsize=1)
    idle = p99_of_puts(m, other)
    n = 600

    def body():
        """Many threads, each in a large write to a queue that is full."""
        refused, waiting = [], []
        data = b"x\n" * (MIB // 2)

        def writes():
            number = os.open(m.at("theirs/in"), os.O_WRONLY)
            waiting.append(number)
            try:
                os.write(number, data)
            except OSError as error:
                refused.append(error.errno)

        threading.stack_size(64 << 10)
        for _ in range(n):
            threading.Thread(target=writes, daemon=True).start()
        end = time.monotonic() + 20 * SLOW
        before = -1
        while time.monotonic() < end and (len(waiting) < n or before != len(refused)):
            before = len(refused)
            time.sleep(0.5)
        return refused

    with Attack(user, body) as attack:
        refused = attack.told()
        print("# %d writes, %d of them refused" % (n, len(refused)))
        stays_under(m, BUFFERED + PARKED)
        assert m.stats()["held_parked_bytes"] <= PARKED // 2, m.stats()
        assert set(refused) <= {errno.ENOBUFS}, refused
        others_go_on(m, other, idle)


def big_items(t, n, size):
    m, user, other = hostile(t, max_item_size="64MiB", framing="file")
    for _ in range(n):
        m.put("theirs", bytes(size))
    m.flush()
    m.configure("mine", max_item_size="64MiB", framing="file")
    m.put("mine", b"m" * size)
    m.flush()
    return m, user, other


@timeout(90)
def test_reads_that_are_begun(t):
    """Of large items, by many who do not go on."""
    size, n = 16 * MIB, 7
    m, user, other = big_items(t, n, size)
    idle = p99_of_puts(m, other)

    def body():
        refused, keep = [], []
        for _ in range(n):
            keep.append(os.open(m.at("theirs/next"), os.O_RDONLY))
            try:
                equal(len(os.read(keep[-1], 5000)), 5000, "the beginning of an item")
            except OSError as error:
                refused.append(error.errno)
        globals()["kept"] = keep
        return refused

    with Attack(user, body) as attack:
        refused = attack.told()
        print("# %d reads of %d MiB, %d of them refused" % (n, size // MIB, len(refused)))
        stays_under(m, FETCHED)
        assert n - len(refused) <= FETCHED // 2 // size, refused
        assert refused, "nothing was refused"
        assert set(refused) == {errno.ENOBUFS}, refused
        assert m.stats()["refused_by_limit"] > 0, m.stats()
        others_go_on(m, other, idle)
        as_user(other, lambda: equal(reads(m.at("mine/next")), b"m" * size, "another user's item"))
    equal(len(m.get("theirs", "next")), size, "what was begun and not read")
    is_given_back(m)


@timeout(60)
def test_items_that_are_open(t):
    size, n = 16 * MIB, 12
    m, user, _ = big_items(t, 1, size)
    item = m.at("theirs/ready", os.listdir(m.at("theirs/ready"))[0])

    def body():
        opened, keep = 0, []
        try:
            for _ in range(n):
                keep.append(os.open(item, os.O_RDONLY))
                opened += 1
        except OSError as error:
            equal(error.errno, errno.ENOMEM, "why not")
        globals()["kept"] = keep
        return opened

    with Attack(user, body) as attack:
        opened = attack.told()
        stays_under(m, FETCHED)
        equal(opened, FETCHED // 2 // size - 1, "opens of one user, which cost a little more")
        equal(len(reads(item)), size, "an open of another")
    is_given_back(m)


@timeout(60)
def test_listings_that_are_open(t):
    """Each has a page of its listing, which is more than what any open file costs."""
    m, user, _ = hostile(t)
    m.put("theirs", b"x\n" * 3000)
    m.flush()

    def body():
        opened, keep = 0, []
        try:
            for _ in range(2000):
                keep.append(os.scandir(m.at("theirs/ready")))
                next(keep[-1])
                opened += 1
        except OSError as error:
            equal(error.errno, errno.ENOMEM, "why not")
        globals()["kept"] = keep
        return opened

    with Attack(user, body) as attack:
        opened = attack.told()
        print("# listings: %d" % opened)
        stays_under(m, FETCHED)
        assert 100 < opened < 2000, opened
        assert m.stats()["held_fetched_bytes"] <= FETCHED // 2 + MIB, m.stats()
        equal(len(os.listdir(m.at("theirs/ready"))), 3000, "another user's listing")
    is_given_back(m)


@timeout(60)
def test_one_user_alone_may_have_it_all(t):
    """Where nobody else is let in there is the total only, and the largest item is possible."""
    m = t.mount("mount: {buffer_total: 1MiB}\n")
    m.mkdir("jobs", max_item_size="64MiB", framing="file", buffer_bytes="1MiB")
    with m.open_in("jobs") as file:
        for _ in range(64):
            file.write_all(bytes(MIB))
        m.mkdir("others")
        m.put("others", b"x\n")  # has room of its own, or waits for it
    m.flush()
    equal(len(m.get("jobs", "next")), 64 * MIB, "the item")
    equal(m.get("others"), b"x\n", "another queue's")


if __name__ == "__main__":
    main()
