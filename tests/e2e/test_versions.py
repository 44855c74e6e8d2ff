#!/usr/bin/env python3
"""A service of another version of the wire is away: it is named, and what was put is kept."""

import os
import socket
import struct
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from frames import HELLO_OF_SERVICE, receive  # noqa: E402
from harness import equal, eventually, free_port, main, timeout  # noqa: E402


class OtherVersion:
    """Answers each frame with one that says another version, as all versions do."""

    def __init__(self, port, version):
        self.version = version
        self.n_answers = 0
        self.listener = socket.create_server(("127.0.0.1", port), reuse_port=False)
        self.socks = [self.listener]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        try:
            while True:
                sock, _ = self.listener.accept()
                self.socks.append(sock)
                threading.Thread(target=self.serve, args=(sock,), daemon=True).start()
        except OSError:
            pass

    def serve(self, sock):
        try:
            sock.sendall(HELLO_OF_SERVICE)
            receive(sock, 8)
            while True:
                length, = struct.unpack(">Q", receive(sock, 8))
                number = receive(sock, length)[:4]
                answer = number + b"qfs" + bytes([self.version]) + bytes(4)
                sock.sendall(struct.pack(">Q", len(answer)) + answer)
                self.n_answers += 1
        except OSError:
            pass

    def stop(self):
        for sock in self.socks:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()


def told_of(mount, version, which):
    def told():
        stats = mount.stats()
        return stats["connected"] == 0 and "version %d" % version in stats["last_error"]

    eventually(told, 10, "what is wrong in last_error")
    assert which in mount.stats()["last_error"], mount.stats()["last_error"]
    mount.says(which)


def check(t, version, which):
    address = "tcp://127.0.0.1:%d" % free_port()
    service = t.service(listen=address)
    mount = t.mount_of(address)
    mount.mkdir("jobs")
    mount.put("jobs", b"first\n")
    mount.flush("jobs")
    service.kill()
    mount.put("jobs", b"second\n")
    other = OtherVersion(int(address.rsplit(":", 1)[1]), version)
    try:
        told_of(mount, version, which)
        before = other.n_answers
        eventually(lambda: other.n_answers > before + 12, 20, "that it tries again and again")
        stats = mount.stats()
        equal((stats["connected"], stats["put_errors"], stats["buffer_size"]), (0, 0, 1))
        equal(mount.log().count("of the protocol"), 1, "lines in the log")
    finally:
        other.stop()
    service.start()
    mount.flush("jobs")
    equal(mount.get("jobs"), b"first\nsecond\n")
    equal(mount.stats()["connected"], 1)


@timeout(60)
def test_a_newer_service(t):
    check(t, 99, "upgrade this mount")


@timeout(60)
def test_an_older_service(t):
    check(t, 1, "upgrade the service")


@timeout(60)
def test_the_next_address(t):
    port = free_port()
    other = OtherVersion(port, 99)
    try:
        service = t.service()
        mount = t.mount("service: {address: [tcp://127.0.0.1:%d, %s]}\n" % (port, service.address),
                        start=False)
        mount.command = lambda *more: [c for c in type(mount).command(mount, *more)
                                       if c not in ("-d", mount.data)]
        mount.start()
        eventually(lambda: mount.stats()["connected"] == 1, 20, "the connection to the second one")
        mount.mkdir("jobs")
        mount.put("jobs", b"an item\n")
        mount.flush("jobs")
        equal(mount.get("jobs"), b"an item\n")
        equal(mount.stats()["endpoint"], service.address)
    finally:
        other.stop()


if __name__ == "__main__":
    main()
