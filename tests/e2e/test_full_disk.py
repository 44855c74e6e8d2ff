#!/usr/bin/env python3
"""A disk of 100 MiB, a real mount of its own: filled through `in` until fsync says ENOSPC, to the
brim and to `min_free`, drained through `out`, and filled again, ten times, without a restart. What
was acknowledged is there, once and in order, and as much fits in the last round as in the first."""

import ctypes
import errno
import os
import random

from harness import Skip, equal, main, sh, timeout

ROUNDS = 10
DISK = "100m"
CLONE_NEWNS = 0x00020000
SIZES = (100, 100, 1000, 10000, 100000, 1 << 20)  # of items, up to so many bytes


def disk(t, kind):
    """The directory of a filesystem of its own, seen by this test alone and gone with it."""
    path = t.path("disk")
    os.mkdir(path)
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.unshare(CLONE_NEWNS) != 0:
        raise Skip("may not mount a disk")
    sh(["mount", "--make-rprivate", "/"])
    if kind == "tmpfs":
        done = sh(["mount", "-t", "tmpfs", "-o", "size=" + DISK, "none", path], check=False)
    else:
        sh(["truncate", "-s", DISK, t.path("image")])
        done = sh("mkfs.ext4 -q image && mount -o loop image disk", cwd=t.directory, check=False)
    if done.returncode != 0:
        raise Skip("may not mount a %s of %s: %r" % (kind, DISK, done.stderr))
    return path


def free_bytes(path):
    disk_of = os.statvfs(path)
    return disk_of.f_bavail * disk_of.f_frsize


class Items:
    """Numbered lines of all sizes; what was written of them, acknowledged and taken."""

    def __init__(self, mount):
        self.mount = mount
        self.lengths = []  # of those that were written
        self.n_acknowledged = self.n_taken = 0
        self.random = random.Random(1)

    def line(self, number):
        start = b"%d " % number
        return start + b"%c" % (97 + number % 26) * (self.lengths[number] - len(start)) + b"\n"

    def write(self, file):
        self.lengths.append(self.random.randrange(20, self.random.choice(SIZES)))
        try:
            file.write_all(self.line(len(self.lengths) - 1))
        except OSError:
            self.lengths.pop()
            raise

    def fill(self):
        """Until the disk is full; how many bytes were acknowledged."""
        file = self.mount.open_in("jobs")
        first = self.n_acknowledged
        try:
            while True:
                for _ in range(5):
                    self.write(file)
                file.sync()
                self.n_acknowledged = len(self.lengths)
        except OSError as error:
            equal(error.errno, errno.ENOSPC, "the error of a full disk")
        finally:
            try:
                file.close()
            except OSError as error:
                equal(error.errno, errno.ENOSPC, "the error of the close")
        return sum(self.lengths[first:self.n_acknowledged])

    def take(self, data):
        for line in data.splitlines(keepends=True):
            assert line == self.line(self.n_taken), "%r is given and not %d" % (line[:20],
                                                                             self.n_taken)
            self.n_taken += 1

    def take_some_in_the_brim(self):
        for _ in range(3):
            before = self.n_taken
            self.take(self.mount.get("jobs", "next"))
            equal(self.n_taken, before + 1, "items taken of a full store")

    def read_out(self):
        """All of `out`. Where the disk keeps the service busy a read says ETIMEDOUT after a second, and
        the next one goes on."""
        parts, n_late = [], 0
        with self.mount.open_out("jobs") as out:
            while not parts or parts[-1]:
                try:
                    parts.append(out.read())
                except TimeoutError:
                    n_late += 1
                    assert n_late < 20, "no read is answered"
        if n_late:
            print("# %d reads timed out" % n_late)
        return b"".join(parts)

    def flush(self):
        """What was closed at the brim may have been tried, stored in part and refused since: that is
        told once."""
        try:
            self.mount.flush("jobs")
        except OSError as error:
            equal(error.errno, errno.ENOSPC, "the error of the flush")
            self.mount.flush("jobs")

    def drain(self):
        """All that was acknowledged; then what was waiting for room as well."""
        self.take(self.read_out())
        assert self.n_taken >= self.n_acknowledged, "%d were acknowledged, %d given" % (
            self.n_acknowledged, self.n_taken)
        self.flush()
        self.take(self.read_out())
        self.n_acknowledged = len(self.lengths)
        equal(self.n_taken, self.n_acknowledged, "items taken")


def fill_and_drain(t, kind, min_free):
    path = disk(t, kind)
    m = t.mount("store: {min_free: %s}\n" % min_free, data="disk/data")
    m.mkdir("jobs", max_item_size="2MiB")
    items = Items(m)
    filled, left = [], []
    for _ in range(ROUNDS):
        filled.append(items.fill())
        left.append(free_bytes(path))
        items.take_some_in_the_brim()
        items.drain()
    for what, sizes in (("fitted", filled), ("were left free", left)):
        print("# MiB that %s: %s" % (what, " ".join("%.1f" % (n / 2**20) for n in sizes)))
    equal(m.depth("jobs"), 0, "items that are left")
    assert sum(filled[-3:]) > 0.9 * sum(filled[:3]), "less and less fits"
    return filled, left


@timeout(90)
def test_to_the_brim_ten_times(t):
    filled, _ = fill_and_drain(t, "ext4", "0")
    assert min(filled) > 45 << 20, "little fits"


@timeout(90)
def test_to_min_free_ten_times(t):
    filled, left = fill_and_drain(t, "tmpfs", "40MiB")
    assert min(filled) > 25 << 20, "little fits"
    assert min(left) > 30 << 20, "min_free is not left"


if __name__ == "__main__":
    main()
