#!/usr/bin/env python3
"""Certificates that are renewed, revoked or end while queued runs, and peers that are slow."""

import os
import shutil
import signal
import socket
import time

from authority import Authority, client, connected, greeted, in_s, serial, server, settings, target
from harness import SLOW, equal, eventually, main, timed

NAMES = "DNS:localhost, IP:127.0.0.1"


def hangup(service):
    service.daemon.send_signal(signal.SIGHUP)


def replace(old, new):
    """As certbot does: each file at once."""
    for at, by in zip(old, new):
        shutil.copy(by, at + ".new")
        os.rename(at + ".new", at)


def serial_now(service, ca, pair):
    with connected(service, ca, pair) as connection:
        return serial(connection)


def gets_in(service, ca, pair):
    try:
        with connected(service, ca, pair) as connection:
            return greeted(connection)
    except OSError:
        return False


def test_sighup_takes_new_files_and_leaves_connections_alone(t):
    ca = Authority(t.directory, "ca")
    service = server(t, ca)
    pair, used = ca.issue("client"), (ca.path("server.pem"), ca.path("server.key"))
    mount = client(t, service, ca, pair)
    mount.mkdir("jobs")
    with connected(service, ca, pair) as standing:
        assert greeted(standing)
        old = serial(standing)
        fresh = ca.issue("fresh", NAMES)
        replace(used, fresh)
        equal(serial_now(service, ca, pair), old, "the certificate before SIGHUP")
        hangup(service)
        service.says("tls: new connections use the certificate CN=fresh")
        assert serial_now(service, ca, pair) != old
        mount.put("jobs", b"1\n")
        mount.flush("jobs")
        equal(mount.get("jobs"), b"1\n", "the item")
        equal(mount.stats()["retries"], 0, "retries")
        standing.settimeout(0.2)
        try:
            equal(standing.recv(1), None, "what came over the connection that stands")
        except TimeoutError:
            pass


def test_a_bad_new_file_changes_nothing(t):
    ca = Authority(t.directory, "ca")
    service = server(t, ca)
    pair = ca.issue("client")
    old = serial_now(service, ca, pair)
    shutil.copy(pair[1], ca.path("server.key"))  # another's
    hangup(service)
    service.says("tls.key: %s: not the key of the certificate" % ca.path("server.key"))
    service.says("; the certificates stay as they were")
    equal(serial_now(service, ca, pair), old, "the certificate")
    os.unlink(ca.path("server.key"))
    hangup(service)
    service.says("tls.key: %s: No such file" % ca.path("server.key"))
    equal(serial_now(service, ca, pair), old, "the certificate")
    os.chmod(shutil.copy(ca.path("client.key"), ca.path("server.key")), 0o644)
    hangup(service)
    service.says("its mode 0644 lets others read it")


def test_sighup_revokes(t):
    ca = Authority(t.directory, "ca")
    good, bad = ca.issue("good"), ca.issue("bad")
    service = server(t, ca, more={"crl": ca.revoke()})
    assert gets_in(service, ca, good) and gets_in(service, ca, bad)
    ca.revoke("bad")
    hangup(service)
    service.says("tls: new connections use")
    assert gets_in(service, ca, good) and not gets_in(service, ca, bad)
    service.says("the certificate CN=bad has been revoked")


def test_sighup_takes_the_settings_that_it_can(t):
    ca = Authority(t.directory, "ca")
    pair, fresh = ca.issue("server", NAMES), ca.issue("fresh", NAMES)
    text = "log: {level: %s}\nstore: {min_free: %s}\ntls: %s\n"
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(t.path("notify"))
    told.settimeout(20 * SLOW)
    service = t.service(text % ("info", "1MiB", settings(ca, pair)), listen="tls+tcp://127.0.0.1:0",
                        env=dict(os.environ, NOTIFY_SOCKET=t.path("notify")))
    equal(told.recv(100), b"READY=1", "what systemd was told first")
    old = serial_now(service, ca, pair)

    def change(*words):
        """It is done when systemd is told so."""
        with open(t.path("queued.yaml"), "w") as out:
            out.write(text % words)
        hangup(service)
        equal([told.recv(100), told.recv(100)], [b"RELOADING=1", b"READY=1"], "told of SIGHUP")

    change("info", "2MiB", settings(ca, fresh, min_version="1.3"))
    service.says("store.min_free has changed in the settings file: that takes a restart")
    assert serial_now(service, ca, pair) != old
    assert "tls.cert has" not in service.log() and "listen has" not in service.log()
    change("loud", "2MiB", settings(ca, fresh))
    service.says("log.level")
    service.says("everything stays as it was")
    change("error", "2MiB", settings(ca, fresh))
    equal(service.log().count("Hangup"), 3, "lines of the third SIGHUP, before its level holds")
    size = len(service.log())
    change("error", "2MiB", settings(ca, fresh))
    equal(len(service.log()), size, "the log at level error")


def test_without_tls_sighup_is_no_end(t):
    service = t.service("log: {level: info}\n")
    hangup(service)
    service.says("Hangup")
    mount = t.mount_of(service.address)
    mount.mkdir("jobs")
    eventually(lambda: mount.stats()["connected"] == 1, 5, "the connection")


def test_renewed_before_the_end_it_is_taken_by_itself(t):
    ca = Authority(t.directory, "ca")
    pair = ca.issue("client")
    fresh = ca.issue("fresh", NAMES)
    begin, end = time.time(), 14
    service = server(t, ca, begin=in_s(-1), end=in_s(end))
    old = serial_now(service, ca, pair)
    with connected(service, ca, pair) as standing:
        assert greeted(standing)
        replace((ca.path("server.pem"), ca.path("server.key")), fresh)
        eventually(lambda: serial_now(service, ca, pair) != old, end, "the new certificate")
        assert time.time() < begin + end, "too late"
        time.sleep(max(0, begin + end + 1 - time.time()))
        assert gets_in(service, ca, pair)
        standing.settimeout(0.2)
        try:
            equal(standing.recv(1), None, "what came over the connection that stands")
        except TimeoutError:
            pass


def test_about_to_end_is_said_once(t):
    ca = Authority(t.directory, "ca")
    service = server(t, ca, begin=in_s(-3600), end=in_s(8))
    line = "the certificate CN=server in tls.cert %s ends on 2" % ca.path("server.pem")
    service.says(line)
    time.sleep(5)
    equal(service.log().count(line), 1, "lines")
    replace((ca.path("server.pem"), ca.path("server.key")), ca.issue("fresh", NAMES))
    service.says("tls: new connections use the certificate CN=fresh", 20)


def test_a_mount_takes_its_new_certificate(t):
    ca = Authority(t.directory, "ca")
    service = server(t, ca)
    mount = client(t, service, ca, ca.issue("client", end="20210101000000Z"))
    service.says("the certificate CN=client has expired")
    replace((ca.path("client.pem"), ca.path("client.key")), ca.issue("fresh"))
    eventually(lambda: mount.stats()["connected"] == 1, 20, "the connection")


def closed_after(plain):
    plain.settimeout(30)
    try:
        while plain.recv(4096):
            continue
    except ConnectionError:
        pass


def test_a_handshake_has_10_s(t):
    """Nothing said, a half hello, and one that goes on byte by byte: all gone after ten seconds."""
    ca = Authority(t.directory, "ca")
    service, pair = server(t, ca), ca.issue("client")
    silent, half, slow = (socket.create_connection(target(service)) for _ in range(3))
    begin = time.monotonic()
    half.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
    slow.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    mount = client(t, service, ca, pair)
    eventually(lambda: mount.stats()["connected"] == 1, 5, "the connection of another")
    while time.monotonic() < begin + 8:
        slow.sendall(b"x")
        time.sleep(0.5)
    for plain in silent, half, slow:
        closed_after(plain)
        took = time.monotonic() - begin
        assert 8 < took < 14, "closed after %.1f s" % took
        plain.close()
    service.says("no TLS handshake within 10 s")
    mount.mkdir("jobs")
    assert gets_in(service, ca, pair)


def test_who_is_silent_behind_its_handshake_is_dropped(t):
    ca = Authority(t.directory, "ca")
    service, pair = server(t, ca), ca.issue("client")
    with connected(service, ca, pair) as connection:
        took = timed(closed_after, connection)
        assert 8 < took < 14, "closed after %.1f s" % took
    assert gets_in(service, ca, pair)


if __name__ == "__main__":
    main()
