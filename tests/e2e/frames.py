"""A peer that speaks the wire itself (transport/wire.h), whatever it likes to say."""

import random
import socket
import struct

HELLO = b"\0SP\0\0\x30\0\0"
HELLO_OF_SERVICE = b"\0SP\0\0\x31\0\0"
MIB = 1 << 20
SYNC, WATCH, ARM, PUT, GET, SETTLE, MAKE, REMOVE, SET, PURGE, LIST = range(11)
VERSION = 6  # of the frames
REQUEST_HEAD = 56
REPLY_HEAD = 32 + 8 * 16  # before the body of an answer: with a queue_state
STREAM, CLAIM = 0, 1
ACK, RETURN = 0, 1


def head(local, length):
    return (b"\1" if local else b"") + struct.pack(">Q", length)


def framed(local, body, number=1):
    """A request of REQ, with its number in front."""
    return head(local, len(body) + 4) + struct.pack(">I", number | 1 << 31) + body


def request(kind, queue=0, body=b"", session=b"s" * 16, number=0, version=VERSION, magic=b"qfs",
            life=0, repeat=False):
    return (magic + bytes([version, kind, repeat, 0, 0]) + struct.pack("<Q", queue) + session +
            struct.pack("<QQQ", life, number, 0) + body)


def get_of(n_items, kind=STREAM):
    """The body of a GET of so many items at most."""
    return struct.pack("<BBHIQQ", kind, 0, 0, n_items, 64 * MIB, 0)


def crc32c(data):
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def put_of(n_items, data, base=1, epoch=1):
    """The body of a PUT of lines, the first of its epoch."""
    return struct.pack("<QQQBBHIIIQ", epoch, base, 0, 0, 1, 0, n_items, crc32c(data), 0,
                       len(data)) + data


def make_of(name):
    """With settings that are allowed."""
    name = name.encode()
    settings = (0, MIB, 0, 30 * 10**6, 12 * 3600 * 10**6, 10**6, 5, 0o600, 0, 0)
    return bytes([0, len(name)]) + name + struct.pack("<10q", *settings)


def settle_of(settlements):
    """Of (verb, batch, token, from, to) each."""
    return struct.pack("<I", len(settlements)) + b"".join(
        struct.pack("<QQIIB", batch, token, begin, end, verb)
        for verb, batch, token, begin, end in settlements)


def receive(sock, length):
    data = bytearray()
    while len(data) < length:
        more = sock.recv(length - len(data))
        if not more:
            raise ConnectionError("it was closed")
        data += more
    return bytes(data)


class Peer:
    """One connection, of one session, that asks one thing at a time."""

    def __init__(self, address, session=None, timeout=60):
        self.session = session or random.randbytes(16)
        self.local = address.startswith("ipc://")
        self.sock = socket.socket(socket.AF_UNIX if self.local else socket.AF_INET)
        self.number = self.life = 0
        if self.local:
            self.sock.connect(address[len("ipc://"):])
        else:
            host, port = address[len("tcp://"):].rsplit(":", 1)
            self.sock.connect((host, int(port)))
        self.sock.settimeout(timeout)
        self.sock.sendall(HELLO)
        assert receive(self.sock, 8) == HELLO_OF_SERVICE
        self.life = struct.unpack_from("<Q", self.call(SYNC, 0, bytes(8))[1], 24)[0]

    def send(self, kind, queue=0, body=b"", session=None):
        self.number += 1
        self.sock.sendall(framed(self.local, request(kind, queue, body, session or self.session,
                                                     self.number, life=self.life), self.number))

    def receive(self):
        """(status, body) of the next answer."""
        size = 9 if self.local else 8
        length = struct.unpack(">Q", receive(self.sock, size)[-8:])[0]
        frame = receive(self.sock, length)[4:]
        return struct.unpack_from("<I", frame, 16)[0], frame[REPLY_HEAD:]

    def call(self, kind, queue=0, body=b"", session=None):
        self.send(kind, queue, body, session)
        return self.receive()

    def get(self, queue, n_items, kind=STREAM):
        """The grants: (batch, token, from, to) each."""
        status, body = self.call(GET, queue, get_of(n_items, kind))
        assert status == 0, status
        length, n = struct.unpack_from("<QI", body)
        return [struct.unpack_from("<QQII", body, 16 + length + i * 64) for i in range(n)]

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
