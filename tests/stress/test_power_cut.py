#!/usr/bin/env python3
"""The power goes: a service is killed, and what it had written without a sync is taken away again.

power_preload.c notes what each file was at its last sync; after the kill every page that was
written since is put back to that, or only some of them, as chance will have it: a disk writes in
any order. Whatever fsync or flush had reported must be there after the next start, once and in
order. The control: where syncs are not believed, the same test finds losses.

    tests/stress/test_power_cut.py
    QUEUEFS_TEST_FULL=1 tests/stress/test_power_cut.py    many more cuts
    QUEUEFS_TEST_SEED=N                                   repeat the choices of a run that said so

QUEUED, QUEUEFS: the programs. POWER_PRELOAD: the built power_preload.c; it builds its own without.
"""

import os
import random
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))

from harness import FULL, ROOT, SLOW, equal, eventually, main, sh, timeout  # noqa: E402

ROUNDS = 60 if FULL else 6
PAGE = 4096


class Power:
    """The library that notes what is not safe yet, and the cut that takes it away."""

    def __init__(self, t, data, lies=False):
        self.data, self.lies = data, lies
        self.notes = t.path("notes")
        self.library = os.environ.get("POWER_PRELOAD") or t.path("power_preload.so")
        self.n_lost = 0  # pages
        os.makedirs(data, exist_ok=True)
        os.makedirs(self.notes, exist_ok=True)
        if not os.path.exists(self.library):
            sh(["cc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-shared", "-fPIC", "-o", self.library,
                os.path.join(ROOT, "tests/stress/power_preload.c"), "-ldl", "-pthread"])

    def environment(self):
        env = dict(os.environ, LD_PRELOAD=os.path.abspath(self.library), POWER_LOG=self.notes,
                   POWER_DIR=os.path.realpath(self.data))
        # The sanitizer wants to be loaded first; it is none the worse for not being.
        env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        if self.lies:
            env["POWER_LIES"] = "1"
        return env

    def cut(self, rng):
        """After the kill. All that is not safe is lost, or some pages of it."""
        everything = self.lies or rng.random() < 0.5
        for name in os.listdir(self.notes):
            path = os.path.join(self.notes, name)
            with open(path, "rb") as notes:
                self.put_back(name[:-len(".undo")].replace("%", "/"), notes.read(), everything, rng)
            os.unlink(path)

    def put_back(self, name, notes, everything, rng):
        pieces, size = read_notes(notes)
        lost = {page for page in sorted({page for page, _, _ in pieces})
                if everything or rng.random() < 0.5}
        self.n_lost += len(lost)
        path = os.path.join(self.data, name)
        if not os.path.isfile(path):  # removed since, or a directory
            return
        with open(path, "r+b") as file:
            for page, offset, old in reversed(pieces):
                if page in lost:
                    file.seek(offset)
                    file.write(old)
            if everything and size is not None:
                file.truncate(size)


def read_notes(notes):
    """(page, offset, bytes that were there) of all that was noted, and the length the file had."""
    pieces, size, at = [], None, 0
    while at + 24 <= len(notes):
        offset, length, n_bytes = struct.unpack_from("QQQ", notes, at)
        old = notes[at + 24:at + 24 + n_bytes]
        at += 24 + n_bytes
        size = length if size is None else size
        while old:
            n = PAGE - offset % PAGE
            pieces.append((offset // PAGE, offset, old[:n]))
            offset, old = offset + n, old[n:]
    return pieces, size


class Writer(threading.Thread):
    """Puts numbers until it is told to end, or the mount is gone."""

    def __init__(self, mount, first):
        super().__init__(daemon=True)
        self.mount = mount
        self.acknowledged = self.written = first
        self.ending = False
        self.failure = None

    def run(self):
        try:
            with self.mount.open_in("jobs") as file:
                while not self.ending:
                    for _ in range(1 + self.written % 7):
                        file.write_all(b"%d %s\n" % (self.written, b"x" * (self.written % 50 * 40)))
                        self.written += 1
                    if self.written % 2:
                        file.sync()
                    else:
                        self.mount.flush("jobs")
                    self.acknowledged = self.written
        except OSError as failure:
            self.failure = failure


def start_embedded(m, power):
    with open(m.log_path, "ab") as log:
        m.daemon = subprocess.Popen(m.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                    env=power.environment())
    eventually(m.answers, 10, "the mount")


def numbers(data):
    return [int(line.split()[0]) for line in data.splitlines()]


def seeded():
    seed = int(os.environ.get("QUEUEFS_TEST_SEED") or time.time_ns() % 1000000)
    print("# seed %d" % seed, flush=True)
    return random.Random(seed)


def written_something(writer, rng):
    """Some acknowledgements later, at any moment of the next."""
    wanted = writer.acknowledged + rng.randrange(10, 60)
    eventually(lambda: writer.acknowledged >= wanted or not writer.is_alive(), 20, "puts")
    time.sleep(rng.uniform(0, 0.01 * SLOW))


@timeout(60 + 10 * ROUNDS)
def test_an_embedded_service_has_all_it_acknowledged(t):
    rng = seeded()
    m = t.mount(start=False, settings="queues: {jobs: {}}\n")
    power = Power(t, m.data)
    start_embedded(m, power)
    first = 0
    for _ in range(ROUNDS):
        writer = Writer(m, first)
        writer.start()
        written_something(writer, rng)
        m.kill()
        power.cut(rng)
        writer.join(20)
        start_embedded(m, power)
        got = numbers(m.get("jobs"))
        equal(got, list(range(first, first + len(got))), "the items")
        first += len(got)
        assert first >= writer.acknowledged, "acknowledged to %d, there to %d" % (
            writer.acknowledged, first)
        first = max(first, writer.written)
        m.flush()
    print("# %d pages were lost in %d cuts" % (power.n_lost, ROUNDS), flush=True)


@timeout(60 + 10 * ROUNDS)
def test_queued_has_all_it_acknowledged_and_gets_the_rest(t):
    rng = seeded()
    service = t.service(start=False)
    power = Power(t, service.data)
    service.env = power.environment()
    service.start()
    m = t.mount_of(service.address, settings="queues: {jobs: {}}\n")
    writer = Writer(m, 0)
    writer.start()
    for _ in range(ROUNDS):
        written_something(writer, rng)
        service.kill()
        power.cut(rng)
        service.start()
    writer.ending = True
    writer.join(40)
    assert not writer.is_alive() and not writer.failure, "the writer: %s" % writer.failure
    m.flush()
    equal(numbers(m.get("jobs", "out@5s")), list(range(writer.written)), "the items")
    print("# %d pages were lost in %d cuts" % (power.n_lost, ROUNDS), flush=True)


@timeout(60)
def test_what_was_lent_is_there_again(t):
    service = t.service(start=False)
    power = Power(t, service.data)
    service.env = power.environment()
    service.start()
    m = t.mount_of(service.address, settings="queues: {jobs: {}}\n")
    m.put("jobs", b"".join(b"%d\n" % n for n in range(10)))
    m.flush("jobs")
    with m.open_out("jobs") as file:
        equal(file.read(4096), b"0\n", "what was read before")
        service.kill()
        power.cut(seeded())
        service.start()
    rest = numbers(m.get("jobs", "out@5s"))
    assert rest in (list(range(10)), list(range(1, 10))), rest


@timeout(60)
def test_losses_are_found_where_the_disk_lies(t):
    """All that was acknowledged since the start is lost, and is seen to be."""
    m = t.mount(start=False, settings="queues: {jobs: {}}\n")
    start_embedded(m, Power(t, m.data))
    equal(m.stop(), 0, "status")
    power = Power(t, m.data, lies=True)
    start_embedded(m, power)
    m.put("jobs", b"1\n2\n")
    m.flush("jobs")
    m.kill()
    power.cut(None)
    m.start()
    equal(m.get("jobs"), b"", "what is left")


if __name__ == "__main__":
    main()
