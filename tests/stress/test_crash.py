#!/usr/bin/env python3
"""kill -9 of the mount under load, at random times: what was acknowledged is there, once, in order.

Each round: four writers put numbered items, with fsync or `touch flush` every few, and note the last
number that was acknowledged; a reader takes items. The mount is killed, and started again with the
same command over its stale mount point. At the end of the round all is taken: each writer's items
must be in order, none twice, none that was acknowledged missing.

    tests/stress/test_crash.py            10 rounds, or QUEUEFS_CRASH_ROUNDS
    QUEUEFS_CRASH_ROUNDS=100 tests/stress/test_crash.py
"""

import os
import random
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))

from harness import FULL, QUEUEFS, Fd, equal, is_mounted, main, sh, timeout  # noqa: E402

ROUNDS = int(os.environ.get("QUEUEFS_CRASH_ROUNDS", "100" if FULL else "10"))
WRITERS = 4


class Load:
    """Children that write and read until the mount is gone; what they know lies in files."""

    def __init__(self, t, m, first):
        self.notes = [t.path("acknowledged%d" % n) for n in range(WRITERS)]
        self.taken = t.path("taken")
        self.children = []
        for writer in range(WRITERS):
            self.fork(self.write, m, writer, first[writer])
        self.fork(self.read, m)

    def fork(self, function, *args):
        pid = os.fork()
        if pid == 0:
            try:
                function(*args)
            except OSError:
                os._exit(0)  # the mount is gone
            except BaseException as error:
                os.write(2, repr(error).encode())
            os._exit(1)
        self.children.append(pid)

    def write(self, m, writer, number):
        """Put numbers upwards; note (acknowledged, written) around each call that waits."""
        rng = random.Random(number * WRITERS + writer)
        with open(self.notes[writer], "wb", buffering=0) as note:
            with m.open_in("jobs") as file:
                while True:
                    for _ in range(rng.randrange(1, 200)):
                        pad = b"p" * rng.choice((0, 10, 100, 3000))
                        file.write_all(b"%d %d %s\n" % (writer, number, pad))
                        number += 1
                    if writer % 2:
                        file.sync()
                    else:
                        m.flush("jobs")
                    note.write(struct.pack("q", number))

    def read(self, m):
        """Take items one an open, noting each before the close that acknowledges it."""
        with open(self.taken, "wb", buffering=0) as note:
            while True:
                with m.open_out("jobs", "next@forever") as file:
                    item = file.read()
                    note.write(item)

    def wait(self):
        for pid in self.children:
            equal(os.waitpid(pid, 0)[1], 0, "status of a child")

    def acknowledged(self, writer):
        """The number below which all was acknowledged."""
        with open(self.notes[writer], "rb") as note:
            data = note.read()
        return struct.unpack("q", data[-8:])[0] if data else 0


def pairs(data):
    """(writer, number) of each whole line."""
    return [tuple(int(word) for word in line.split()[:2]) for line in data.splitlines()]


def one_round(t, m, rng, first):
    load = Load(t, m, first)
    time.sleep(rng.uniform(0.02, 0.8))
    m.kill()
    load.wait()
    m.start()
    with open(load.taken, "rb") as note:
        taken = pairs(note.read())
    rest = pairs(m.get("jobs", "out@100ms"))
    # The last one taken may come again: its close was not heard when the mount was killed.
    again = taken[-1] if taken and rest and taken[-1] == rest[0] else None
    numbers = taken + rest[1 if again else 0:]
    n_acknowledged = 0
    for writer in range(WRITERS):
        mine = [number for who, number in numbers if who == writer]
        equal(mine, list(range(first[writer], first[writer] + len(mine))), "writer %d" % writer)
        end = max(load.acknowledged(writer), first[writer])
        assert first[writer] + len(mine) >= end, "writer %d: acknowledged to %d, there to %d" % (
            writer, end, first[writer] + len(mine))
        n_acknowledged += end - first[writer]
        first[writer] += len(mine)
    m.flush()
    return n_acknowledged, len(numbers)


@timeout(60 + 6 * ROUNDS)
def test_kill_under_load(t):
    rng = random.Random()
    m = t.queue()
    first = [0] * WRITERS
    acknowledged = found = 0
    for _ in range(ROUNDS):
        counts = one_round(t, m, rng, first)
        acknowledged += counts[0]
        found += counts[1]
    print("# %d rounds: %d items acknowledged, %d found" % (ROUNDS, acknowledged, found), flush=True)
    assert acknowledged > 0, "no put was acknowledged in any round"


@timeout(60 + 6 * ROUNDS)
def test_kill_straight_after_flush_and_after_fsync(t):
    m = t.queue()
    expected = b""
    for n in range(ROUNDS):
        data = b"".join(b"%d.%d\n" % (n, i) for i in range(n * 37 % 500 + 1))
        if n % 2:
            m.put("jobs", data)
            m.flush("jobs")
        else:
            with m.open_in("jobs") as file:
                file.write_all(data)
                file.sync()
        expected += data
        m.kill()
        m.start()
        if n % 5 == 4:
            equal(m.get("jobs"), expected)
            expected = b""
            m.flush("jobs")
    equal(m.get("jobs"), expected)


@timeout(120)
def test_the_same_command_line_starts_again_in_the_background(t):
    m = t.mount(start=False)
    command = [QUEUEFS, "-d", m.data, m.path]
    for n in range(3):
        sh(command)
        if n == 0:
            m.mkdir("jobs")
        with Fd(m.at("jobs/in"), os.O_WRONLY) as file:
            file.write_all(b"%d\n" % n)
            file.sync()
        found = subprocess.run(["pgrep", "-f", "^" + " ".join(command)], capture_output=True,
                               text=True, check=True).stdout.split()
        equal(len(found), 1, "daemons")
        os.kill(int(found[0]), 9)
        time.sleep(0.2)
        assert is_mounted(m.path)
    sh(command)
    equal(m.get("jobs"), b"0\n1\n2\n")
    sh(["fusermount3", "-u", m.path])


if __name__ == "__main__":
    main()
