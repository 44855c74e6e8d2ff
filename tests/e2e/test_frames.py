#!/usr/bin/env python3
"""Nonsense and floods at a live service, over its local socket and over TCP: frames of impossible
lengths, cut ones, other versions, random bytes, connections that stay half-open by the hundred, peers
that never read. Meanwhile another client is served within its usual time, and the memory of the
service stays bounded."""

import os
import random
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from frames import GET, HELLO, MIB, PUT, VERSION, Peer, framed, get_of, head, request  # noqa: E402
from harness import SLOW, Fd, equal, eventually, free_port, main, timeout  # noqa: E402

KIB_MAX = 900 * 1024 * (2 if SLOW > 1 else 1)  # what floods may take; the sanitizer keeps a lot
USUAL = 3 * SLOW  # seconds for a put and a get of another client


class Service:
    """A mount with its service inside, which listens; and another mount that uses it."""

    def __init__(self, t):
        self.port = free_port()
        self.tcp = "tcp://127.0.0.1:%d" % self.port
        self.mount = t.mount("listen: [%s]\n" % self.tcp)
        self.ipc = os.path.join(self.mount.data, "queuefs.sock")
        self.mount.mkdir("jobs")
        self.other = t.mount(name="other", args=["-s", self.tcp])
        eventually(lambda: os.path.exists(self.other.at("jobs")), 5, "the queue in the other mount")
        self.serve()
        self.kib = self.memory()

    def memory(self):
        """Resident, in KiB."""
        with open("/proc/%d/status" % self.mount.daemon.pid) as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    def serve(self):
        """The other client's put and get; they must not take long."""
        begin = time.monotonic()
        self.other.put("jobs", b"an item\n")
        self.other.flush("jobs")
        equal(self.other.get("jobs"), b"an item\n")
        taken = time.monotonic() - begin
        assert taken < USUAL, "a put and a get took %.1f s" % taken

    def serve_for(self, seconds):
        end = time.monotonic() + seconds
        while True:
            self.serve()
            grown = self.memory() - self.kib
            assert grown < KIB_MAX, "its memory has grown by %d MiB" % (grown >> 10)
            if time.monotonic() > end:
                return
            time.sleep(0.05)

    def dial(self, local):
        sock = socket.socket(socket.AF_UNIX if local else socket.AF_INET)
        sock.connect(self.ipc if local else ("127.0.0.1", self.port))
        sock.settimeout(10 * SLOW)  # only now: a local socket would not wait for the backlog
        return sock

    def connect(self, local, hello=HELLO):
        """A socket that has said `hello`, and read the service's where it is the right one."""
        sock = self.dial(local)
        if hello:
            sock.sendall(hello)
        if hello == HELLO:
            equal(sock.recv(8, socket.MSG_WAITALL), b"\0SP\0\0\x31\0\0", "the service's first bytes")
        return sock


def both(check):
    """Run check(service, local) over the local socket and over TCP."""

    def run(t):
        service = Service(t)
        for local in (True, False):
            check(service, local)
            service.serve()

    run.__name__ = check.__name__.replace("check", "test")
    run.timeout = 60
    return run


def send_quietly(sock, data):
    """The service may close the connection, that is its right."""
    try:
        sock.sendall(data)
    except OSError:
        pass


def is_closed(sock):
    try:
        while sock.recv(65536):
            pass
    except socket.timeout:
        return False
    except OSError:
        pass
    return True


def check_lengths(service, local):
    for length in (1 << 31, 1 << 63, (1 << 64) - 1, 66 * MIB):
        with service.connect(local) as sock:
            send_quietly(sock, head(local, length) + b"x" * 100)
            service.serve()
            assert is_closed(sock), "a frame of %d bytes was waited for" % length
    for length in (0, 3, 4, 5, 40):
        with service.connect(local) as sock:
            for _ in range(100):
                send_quietly(sock, head(local, length) + b"\x80" * length)
            service.serve()


test_impossible_lengths = both(check_lengths)


def check_cut(service, local):
    whole = HELLO + framed(local, request(GET, 1, b"\0" * 40))
    for length in range(len(whole)):
        with service.connect(local, None) as sock:
            send_quietly(sock, whole[:length])
    service.serve()


test_cut_at_every_byte = both(check_cut)


def check_versions(service, local):
    for hello in (b"\0SP\1\0\x30\0\0", b"\0SP\0\0\x10\0\0", b"\0SP\0\0\x31\0\0", b"\0SQ\0\0\x30\0\0",
                  b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\0\1\0\1\xfc\3\3" + b"r" * 64):
        with service.connect(local, hello) as sock:
            service.serve()
            assert is_closed(sock), "%r was accepted" % hello
    for version in (0, 1, VERSION + 1, 255):
        with service.connect(local) as sock:
            sock.sendall(framed(local, request(GET, 1, version=version)))
            reply = sock.recv(65536)
            assert b"qfs" + bytes([VERSION]) in reply, "no answer of our version to %d: %r" % (
                version, reply)


test_other_versions = both(check_versions)


def check_random(service, local):
    rng = random.Random(7)
    for n in range(60):
        with service.connect(local, HELLO if n % 3 else None) as sock:
            data = rng.randbytes(rng.randrange(1, 4096))
            if n % 3 == 1:
                data = framed(local, data)
            elif n % 3 == 2:
                data = b"".join(framed(local, request(kind, rng.randrange(4), rng.randbytes(
                    rng.randrange(200)))) for kind in range(12))
            send_quietly(sock, data)
    service.serve()


test_random_bytes = both(check_random)


@timeout(60)
def test_hundreds_of_half_open_connections(t):
    service = Service(t)
    parts = (b"", b"\0SP", HELLO, HELLO + b"\0\0\0", HELLO + head(False, 60 * MIB) + b"x")
    socks = []
    try:
        for n in range(600):
            sock = service.dial(n % 2 == 0)
            sock.sendall(parts[n % len(parts)])
            socks.append(sock)
        service.serve_for(3)
        for sock in socks:  # drop by drop
            send_quietly(sock, b"\0")
        service.serve_for(2)
    finally:
        for sock in socks:
            sock.close()
    service.serve_for(1)


def flood(sock, data, seconds):
    """Send the same again and again without ever reading, until the time is over or it is closed."""
    end = time.monotonic() + seconds
    sock.settimeout(0.1)
    view = memoryview(data)
    at = 0
    while time.monotonic() < end:
        try:
            at = (at + sock.send(view[at:])) % len(data)
        except socket.timeout:
            continue
        except OSError:
            return


def flood_all(service, frames, seconds, n):
    """n connections flood; meanwhile the other client is served."""
    socks = [service.connect(index % 2 == 0) for index in range(n)]
    threads = [threading.Thread(target=flood, args=(sock, frames(index % 2 == 0), seconds))
               for index, sock in enumerate(socks)]
    for thread in threads:
        thread.start()
    try:
        service.serve_for(seconds)
    finally:
        for thread in threads:
            thread.join()
        for sock in socks:
            sock.close()


def make_queue_of_large_items(service):
    """A queue `large` with 16 items of 1 MiB; gives its number."""
    service.other.mkdir("large")
    with service.other.open_in("large") as file:
        for _ in range(16):
            file.write_all(b"x" * (MIB - 1) + b"\n")
        file.sync()
    return 2


@timeout(90)
def test_peers_that_never_read_their_answers(t):
    service = Service(t)
    queue = make_queue_of_large_items(service)
    with Peer(service.tcp) as peer:
        life = peer.life

    def frames(local):
        # The same request each time: its answer, of 16 MiB, is given each time.
        return b"".join(framed(local, request(GET, queue, get_of(16), number=1, life=life,
                                              repeat=True), n)
                        for n in range(200))

    flood_all(service, frames, 6, 6)
    service.serve()


@timeout(90)
def test_a_flood_of_requests_whose_answers_are_not_read(t):
    service = Service(t)
    with Peer(service.tcp) as peer:
        life = peer.life

    def frames(local):
        return b"".join(framed(local, request(kind, 1, b"\0" * 8, life=life), n)
                        for n, kind in enumerate((0, 2, 4, 9) * 50))

    flood_all(service, frames, 4, 8)
    service.serve()


@timeout(90)
def test_a_flood_of_large_frames(t):
    service = Service(t)
    with Peer(service.tcp) as peer:
        body = request(PUT, 1, b"\0" * (24 * MIB), life=peer.life)
    flood_all(service, lambda local: framed(local, body), 4, 6)
    service.serve()


def read_answers(sock, n):
    """Read n answers from the local socket."""
    for _ in range(n):
        length, = struct.unpack(">xQ", sock.recv(9, socket.MSG_WAITALL))
        sock.recv(length, socket.MSG_WAITALL)


@timeout(90)
def test_a_flood_of_sessions(t):
    """One connection that says to be twenty thousand mounts keeps no mount out."""
    service = Service(t)
    rng = random.Random(11)
    with Peer(service.tcp) as peer:
        life = peer.life
    with service.connect(True) as sock:
        for _ in range(100):
            sock.sendall(b"".join(framed(True, request(GET, 99, get_of(1), rng.randbytes(16),
                                                       life=life), n)
                                  for n in range(200)))
            read_answers(sock, 200)
        service.serve()
    late = t.mount(name="late", args=["-s", service.tcp])
    eventually(lambda: late.stats()["connected"] == 1 and "jobs" in os.listdir(late.path), 5,
               "the connection of a mount that comes now")


@timeout(60)
def test_many_connections_at_once(t):
    """More than a thousand that do nothing, and go at once."""
    service = Service(t)
    socks = [service.connect(n % 2 == 0) for n in range(1200)]
    service.serve_for(1)
    for sock in socks:
        sock.close()
    service.serve_for(1)
    with Fd(service.mount.at("stats"), os.O_RDONLY) as stats:
        assert b"connected: 1" in stats.read_all()


if __name__ == "__main__":
    main()
