#!/usr/bin/env python3
"""Peers that take what they can: memory, time, places. Meanwhile another mount of the service is
served nearly as fast as before, and the memory of the service stays below its limit."""

import os
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from frames import ACK, CLAIM, PUT, RETURN, SETTLE, Peer, put_of, settle_of  # noqa: E402
from harness import SLOW, eventually, main, timeout  # noqa: E402

N_SAMPLES = 100


class Service:
    """A queued, and a mount of it whose puts are timed."""

    def __init__(self, t, **options):
        self.queued = t.service(**options)
        self.address = self.queued.address
        self.mount = t.mount_of(self.address, name="other")
        self.mount.mkdir("jobs")
        self.kib = self.memory()
        self.idle = self.p99()

    def memory(self):
        """Resident, in KiB."""
        with open("/proc/%d/status" % self.queued.daemon.pid) as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    def put_once(self):
        begin = time.monotonic()
        with self.mount.open_in("jobs") as file:
            file.write(b"an item\n")
            file.sync()
        return time.monotonic() - begin

    def p99(self, n=N_SAMPLES, while_=lambda: True):
        taken = []
        while len(taken) < n and while_():
            taken.append(self.put_once())
        return sorted(taken)[len(taken) * 99 // 100] if taken else 0.0

    def is_served(self, what, attack=lambda: True, n=N_SAMPLES):
        """Puts take at most three times as long as before; a busy machine has its own hiccups."""
        p99 = self.p99(n, attack)
        print("# %s: p99 of a put %.1f ms, idle %.1f ms; %d MiB more" % (
            what, p99 * 1e3, self.idle * 1e3, (self.memory() - self.kib) >> 10), flush=True)
        assert p99 < 3 * self.idle + 0.03 * SLOW, "%s: a put takes %.0f ms" % (what, p99 * 1e3)


class Attack(threading.Thread):
    """step() again and again until it is stopped; what went wrong there is raised here."""

    def __init__(self, step):
        super().__init__()
        self.step, self.stopped, self.error, self.n = step, False, None, 0

    def run(self):
        try:
            while not self.stopped:
                self.step()
                self.n += 1
        except BaseException as error:  # told by __exit__
            self.error = error

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, *_):
        self.stopped = True
        self.join()
        if self.error and not kind:
            raise self.error


def number_of(peer, name):
    """The queue's number: the first ones are counted up."""
    return 1 if name == "jobs" else 2


@timeout(60)
def test_a_batch_of_as_many_holes_as_it_can_have(t):
    service = Service(t)
    service.mount.mkdir("holes")
    with Peer(service.address) as peer:
        queue = number_of(peer, "holes")
        for n in 1 << 18, 1 << 15:
            status, _ = peer.call(PUT, queue, put_of(n, b"\n" * n))
            if status == 0:
                break
        assert status == 0, status
        (batch, token, begin, end), = peer.get(queue, n)
        assert (begin, end) == (0, n)
        for top in range(n, 0, -65536):  # from the end: so each cut is cheap
            status, _ = peer.call(SETTLE, queue, settle_of(
                [(ACK, batch, token, i, i + 1) for i in range(top - 1, max(top - 65536, 0), -2)]))
            assert status == 0, status
        peer.call(SETTLE, queue, settle_of([(RETURN, batch, token, 0, n)]))
        with Attack(lambda: peer.get(queue, 1, CLAIM)) as attack:
            service.is_served("a batch of %d holes" % (n // 2))
        assert attack.n > 0


if __name__ == "__main__":
    main()
