#!/usr/bin/env python3
"""Peers that take what they can: memory, time, places. Meanwhile another mount of the service is
served nearly as fast as before, and the memory of the service stays below its limit."""

import os
import random
import resource
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from authority import Authority, client, server, target  # noqa: E402
from frames import (ACK, ARM, CLAIM, HELLO, MAKE, MIB, PUT, RETURN, SETTLE, SYNC,  # noqa: E402
                    Peer, framed, head, make_of, put_of, request, settle_of)
from harness import SLOW, equal, eventually, main, timeout  # noqa: E402

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

    def p99(self):
        taken = sorted(self.put_once() for _ in range(N_SAMPLES))
        return taken[len(taken) * 99 // 100 - 1]

    def uses_at_most(self, mib):
        """More than before; the sanitizer keeps what was freed."""
        grown = (self.memory() - self.kib) >> 10
        assert grown < mib + (400 if SLOW > 1 else 0), "its memory has grown by %d MiB" % grown

    def is_served(self, what):
        """Puts take at most three times as long as before. A busy machine has its own hiccups, so it
        may take some tries."""
        for _ in range(8):
            p99 = self.p99()
            print("# %s: p99 of a put %.1f ms, idle %.1f ms; %d MiB more" % (
                what, p99 * 1e3, self.idle * 1e3, (self.memory() - self.kib) >> 10), flush=True)
            if p99 < 3 * self.idle + 0.02 * SLOW:
                return
        raise AssertionError("%s: a put takes %.0f ms" % (what, p99 * 1e3))


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
        for n in 1 << 20, 1 << 15:
            status, _ = peer.call(PUT, queue, put_of(n, b"\n" * n))
            if status == 0:
                break
        assert status == 0, status
        (batch, token, begin, end), = peer.get(queue, n)
        assert (begin, end) == (0, n)
        for at in range(0, n, 65536):
            status, _ = peer.call(SETTLE, queue, settle_of(
                [(ACK, batch, token, i, i + 1) for i in range(at + 1, min(at + 65536, n), 2)]))
            assert status == 0, status
        peer.call(SETTLE, queue, settle_of([(RETURN, batch, token, 0, n)]))
        with Attack(lambda: peer.get(queue, 1, CLAIM)) as attack:
            service.is_served("a batch of %d holes" % (n // 2))
        assert attack.n > 0


def flood(address, frames, n):
    """n connections that send the same again and again, whatever becomes of the answers; the step of
    an attack, and what closes them."""
    peers = [Peer(address) for _ in range(n)]
    for peer in peers:
        peer.sock.settimeout(0.05)

    def step():
        for peer in peers:
            try:
                peer.sock.sendall(frames(peer))
            except OSError:  # it is full, or closed: in that case another one
                if is_closed(peer):
                    peer.close()
                    peers[peers.index(peer)] = peer = Peer(address)
                    peer.sock.settimeout(0.05)

    return step, peers


def is_closed(peer):
    try:
        peer.sock.setblocking(False)
        return peer.sock.recv(1 << 20, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        peer.sock.settimeout(0.05)


@timeout(60)
def test_answers_that_are_much_longer_than_their_requests(t):
    """240 KB of SYNCs, which all queues answer, and nobody reads."""
    service = Service(t)
    with Peer(service.address) as peer:
        for n in range(300):
            peer.send(MAKE, 0, make_of("queue-%d" % n))
        for n in range(300):
            peer.receive()
    service.idle = service.p99()

    def frames(peer):
        return b"".join(framed(peer.local, request(SYNC, 0, bytes(8), peer.session, life=peer.life), n)
                        for n in range(50))

    step, peers = flood(service.address, frames, 12)
    with Attack(step):
        service.is_served("SYNCs of 300 queues")
        service.uses_at_most(300)
    for peer in peers:
        peer.close()


@timeout(60)
def test_sessions_without_end(t):
    """Thousands of sessions that were used once keep nobody out."""
    service = Service(t)
    with Attack(lambda: sessions_of_a_connection(service.address)) as attack:
        eventually(lambda: attack.n > 4400 or attack.error, 40, "so many connections")
        late = t.mount_of(service.address, name="late")
        eventually(lambda: late.stats()["connected"] == 1 and "jobs" in os.listdir(late.path), 5,
                   "the connection of a mount that comes now")
        service.is_served("%d sessions" % (attack.n * 4))
        service.uses_at_most(160)


def sessions_of_a_connection(address):
    with Peer(address) as peer:
        for _ in range(4):
            peer.send(ARM, 1, struct.pack("<I", 2), random.randbytes(16))
        for _ in range(4):
            peer.receive()


@timeout(60)
def test_kept_answers_have_a_limit(t):
    """Requests whose answers nobody says to have read."""
    service = Service(t)
    with Peer(service.address) as peer:
        def step():
            for n in range(200):
                peer.send(SETTLE, 1, settle_of([(ACK, 1, 1, 0, 1)]), bytes([n % 4]) * 16)
            for n in range(200):
                peer.receive()

        with Attack(step) as attack:
            eventually(lambda: attack.n > 1200 or attack.error, 40, "so many requests")
            service.is_served("%d kept answers" % (attack.n * 200))
            service.uses_at_most(80)
    stats = service.mount.stats()
    assert stats["refused_by_limit"] > 0, stats


FILES = 256  # that the service may open


def with_few_files(service):
    resource.prlimit(service.daemon.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
    return service


class HalfOpen:
    """More connections than there are descriptors, that say `first` and then a byte now and then;
    those that were closed are opened anew, some at a time: whoever connects as fast as it can fills
    the kernel's line before the service, whatever that does."""

    def __init__(self, connect, first, n):
        self.connect, self.first, self.socks = connect, first, [None] * n
        self.most = n  # opened in a step

    def step(self):
        n_opened = 0
        for i, sock in enumerate(self.socks):
            try:
                if sock:
                    sock.send(b"\1")
                    continue
            except BlockingIOError:
                continue
            except OSError:
                sock.close()
                self.socks[i] = None
            if n_opened < self.most:
                self.socks[i] = self.open()
                n_opened += 1
        self.most = 8
        time.sleep(0.05)

    def open(self):
        try:
            sock = self.connect()
            sock.sendall(self.first)
            sock.setblocking(False)
            return sock
        except OSError:
            return None

    def close(self):
        for sock in self.socks:
            if sock:
                sock.close()


@timeout(60)
def test_handshakes_that_come_to_no_end(t):
    """With six bytes of one, and then a byte now and then, on more connections than there are
    descriptors; whoever has a certificate gets in all the same."""
    ca = Authority(t.directory, "ca")
    service = with_few_files(server(t, ca))
    half = HalfOpen(lambda: socket.create_connection(target(service), 2), b"\x16\x03\x01\2\0\1", 270)
    with Attack(half.step) as attack:
        eventually(lambda: attack.n > 2 or attack.error, 20, "so many connections")
        mount = client(t, service, ca, ca.issue("client"))
        eventually(lambda: mount.stats()["connected"] == 1, 10, "the connection of a mount")
        mount.mkdir("jobs")
        mount.put("jobs", b"an item\n")
        mount.flush("jobs")
        equal(mount.get("jobs"), b"an item\n")
        eventually(lambda: mount.stats()["refused_by_limit"] > 0, 5, "that they are counted")
        equal(mount.stats()["connected"], 1)
    half.close()
    service.says("handshake")


@timeout(90)
def test_connections_that_send_half_a_frame(t):
    """They are closed for others, those first that never sent a whole one."""
    service = with_few_files(t.service())
    path = service.address[len("ipc://"):]

    def connect():
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(2)
        sock.connect(path)
        return sock

    first = HELLO + head(True, MIB) + b"x"  # of which NNG takes all of the memory now
    half = HalfOpen(connect, first, 270)
    with Attack(half.step) as attack:
        eventually(lambda: attack.n > 2 or attack.error, 20, "so many connections")
        mount = t.mount_of(service.address)
        eventually(lambda: mount.stats()["connected"] == 1, 40, "the connection of a mount")
        mount.mkdir("jobs")
        mount.put("jobs", b"an item\n")
        mount.flush("jobs")
        equal(mount.get("jobs"), b"an item\n")
    half.close()


@timeout(60)
def test_requests_that_come_in_part_take_no_memory_without_end(t):
    """Nearly all of the largest request, on many connections; the last byte never comes."""
    service = Service(t)
    path, most = service.address[len("ipc://"):], [0]
    first, rest = HELLO + head(True, 60 * MIB), bytes(59 * MIB)

    def step():
        """24 of them, one after the other, and all are kept for a moment."""
        socks = []
        for _ in range(24):
            socks.append(socket.socket(socket.AF_UNIX))
            socks[-1].settimeout(2 * SLOW)
            try:
                socks[-1].connect(path)
                socks[-1].sendall(first)
                socks[-1].sendall(rest)
            except OSError:
                pass  # closed meanwhile
            most[0] = max(most[0], service.memory() - service.kib)
        for sock in socks:
            sock.close()

    with Attack(step) as attack:
        eventually(lambda: attack.n > 2 or attack.error, 30, "so many requests")
        service.is_served("requests that come in part")
    print("# at most %d MiB more" % (most[0] >> 10))
    assert most[0] >> 10 < 900 + (400 if SLOW > 1 else 0), most[0] >> 10
    eventually(lambda: service.mount.stats()["refused_by_limit"] > 0, 5, "that they are counted")
    service.queued.says("of parts of requests")


if __name__ == "__main__":
    main()
