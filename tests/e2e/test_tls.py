#!/usr/bin/env python3
"""Certificates: who has one of the CA gets in, and whoever is refused is told why, on both sides.

Each test makes a CA of its own."""

import os
import socket
import ssl
import subprocess

from authority import Authority, client, connected, greeted, server, settings
from harness import QUEUED, QUEUEFS, SLOW, Skip, equal, eventually, main, sh


def works(service, mount):
    eventually(lambda: mount.stats()["connected"] == 1, 5, "the connection")
    mount.mkdir("jobs")
    lines = b"".join(b"%d\n" % i for i in range(10000))
    mount.put("jobs", lines)
    mount.flush("jobs")
    equal(mount.get("jobs"), lines, "what came back")
    assert "refused" not in service.log(), service.log()


def refused(service, mount, at_service, at_mount):
    service.says(at_service)
    mount.says(at_mount)
    equal(mount.stats()["connected"], 0, "connected")
    assert at_mount in mount.stats()["last_error"], mount.stats()["last_error"]
    lines = [line for line in service.log().splitlines() if "refused a connection" in line]
    assert len(lines) <= 2, lines  # tried again and again, said at most every 10 s


def test_who_has_a_certificate_gets_in(t):
    ca = Authority(t.directory, "ca")
    service = server(t, ca)
    works(service, client(t, service, ca, ca.issue("client")))


def test_by_a_name(t):
    ca = Authority(t.directory, "ca")
    service = server(t, ca, "DNS:queue.example")
    works(service, client(t, service, ca, ca.issue("client"), server_name="queue.example"))


def test_by_localhost(t):
    try:
        first = socket.getaddrinfo("localhost", None)[0][4][0]  # the only one that NNG dials
    except OSError:
        raise Skip("this machine does not know localhost") from None
    host = "[%s]" % first if ":" in first else first
    ca = Authority(t.directory, "ca")
    service = server(t, ca, "DNS:localhost", host=host)
    address = service.address.replace(host, "localhost")
    works(service, client(t, service, ca, ca.issue("client"), address=address))


def test_it_comes_back_after_a_kill(t):
    ca = Authority(t.directory, "ca")
    service = server(t, ca)
    mount = client(t, service, ca, ca.issue("client"))
    works(service, mount)
    service.kill()
    mount.put("jobs", b"later\n")
    service.start()
    mount.flush("jobs")
    equal(mount.get("jobs"), b"later\n", "what was put while it was away")


def test_without_a_certificate(t):
    ca = Authority(t.directory, "ca")
    service = server(t, ca)
    target = service.address.replace("tls+tcp://", "")
    silent, _ = os.pipe()  # an input without end: it is not to be gone before it was refused
    for version in "-tls1_2", "-tls1_3":
        done = subprocess.run(["openssl", "s_client", version, "-connect", target], stdin=silent,
                              capture_output=True, timeout=20 * SLOW, check=False)
        assert b"error" in done.stderr, done.stderr
    service.says(": it showed no certificate: it needs one of the CA in tls.ca")
    # queuefs itself does not even try
    with open(t.path("none.yaml"), "w") as out:
        out.write("service: {tls: {ca: %s}}\n" % ca.path("ca.pem"))
    os.mkdir(t.path("m"))
    done = sh([QUEUEFS, "-c", t.path("none.yaml"), "-s", service.address, t.path("m")],
              check=False)
    equal(done.returncode, 1, "the status of queuefs")
    assert b"tls.cert" in done.stderr and done.stderr.count(b"\n") == 1, done.stderr


def test_of_another_ca(t):
    ca, other = Authority(t.directory, "ca"), Authority(t.directory, "other")
    service = server(t, ca)
    mount = client(t, service, ca, other.issue("stranger"))
    refused(service, mount,
            "the certificate CN=stranger is not from the CA in tls.ca but from CN=other",
            "does not know the CA of this certificate")


def test_expired(t):
    ca = Authority(t.directory, "ca")
    service = server(t, ca)
    mount = client(t, service, ca, ca.issue("old", end="20210101000000Z"))
    refused(service, mount, "the certificate CN=old has expired on 2021-01-01 00:00:00 UTC",
            "says that this certificate has expired")


def test_not_yet_valid(t):
    ca = Authority(t.directory, "ca")
    service = server(t, ca)
    mount = client(t, service, ca, ca.issue("early", begin="20500101000000Z",
                                            end="20510101000000Z"))
    refused(service, mount, "the certificate CN=early is not valid yet, but from 2050-01-01",
            "does not accept this certificate")


def test_revoked(t):
    ca = Authority(t.directory, "ca")
    good, bad = ca.issue("good"), ca.issue("bad")
    service = server(t, ca, more={"crl": ca.revoke("bad")})
    mount = client(t, service, ca, bad, name="bad")
    refused(service, mount, "the certificate CN=bad has been revoked (tls.crl)",
            "says that this certificate has been revoked")
    mount = client(t, service, ca, good, name="good")
    eventually(lambda: mount.stats()["connected"] == 1, 5, "the connection")


def test_revoked_certificate_of_the_service(t):
    ca = Authority(t.directory, "ca")
    service = server(t, ca)
    mount = client(t, service, ca, ca.issue("client"), crl=ca.revoke("server"))
    refused(service, mount, "says that this certificate has been revoked",
            "the certificate CN=server has been revoked (tls.crl)")


def test_who_it_was_is_said(t):
    ca = Authority(t.directory, "ca")
    service = server(t, ca)
    host, port = service.address.replace("tls+tcp://", "").split(":")
    with socket.create_connection((host, int(port))) as plain:
        at = "%s:%d" % plain.getsockname()
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        service.says("refused a connection from %s: what came is no TLS" % at)


def test_expired_certificate_of_the_service(t):
    ca = Authority(t.directory, "ca")
    service = server(t, ca, end="20210101000000Z")
    mount = client(t, service, ca, ca.issue("client"))
    refused(service, mount, "says that this certificate has expired",
            "the certificate CN=server has expired")


def test_wrong_server_name(t):
    ca = Authority(t.directory, "ca")
    service = server(t, ca)
    mount = client(t, service, ca, ca.issue("client"), server_name="queue.example")
    refused(service, mount, "does not accept this certificate",
            "is for another name than queue.example; it is for localhost, 127.0.0.1")


def test_wrong_ip_address(t):
    ca = Authority(t.directory, "ca")
    service = server(t, ca, "IP:10.0.0.1")
    mount = client(t, service, ca, ca.issue("client"))
    refused(service, mount, "does not accept this certificate",
            "is for another IP address than 127.0.0.1; it is for 10.0.0.1")


def test_service_of_another_ca(t):
    ca, other = Authority(t.directory, "ca"), Authority(t.directory, "other")
    service = server(t, ca)
    mount = client(t, service, other, ca.issue("client"))
    refused(service, mount, "does not know the CA",
            "the certificate CN=server is not from the CA in tls.ca")


def test_plain_tcp_to_the_tls_port(t):
    ca = Authority(t.directory, "ca")
    service = server(t, ca)
    mount = t.mount_of(service.address.replace("tls+", ""))
    refused(service, mount, "what came is no TLS", "tls+tcp:// rather than tcp://?")


def test_tls_to_a_plain_port(t):
    ca = Authority(t.directory, "ca")
    service = t.service(listen="tcp://127.0.0.1:0")
    mount = client(t, service, ca, ca.issue("client"), address="tls+" + service.address)
    mount.says("what came is no TLS")
    equal(mount.stats()["connected"], 0, "connected")


def test_a_refused_one_disturbs_nobody(t):
    ca = Authority(t.directory, "ca")
    service = server(t, ca)
    stranger = t.mount_of(service.address.replace("tls+", ""), "stranger")
    works_settings = "service: {tls: %s}\n" % settings(ca, ca.issue("client"))
    mount = t.mount_of(service.address, "good", settings=works_settings)
    mount.mkdir("jobs")
    for i in range(50):
        mount.put("jobs", b"%d\n" % i)
        mount.flush("jobs")
        equal(mount.get("jobs", "next"), b"%d\n" % i, "the item")
    equal(stranger.stats()["connected"], 0, "connected")


def test_versions(t):
    ca = Authority(t.directory, "ca")
    service, pair = server(t, ca), ca.issue("client")
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        with connected(service, ca, pair, version, version) as connection:
            equal(connection.version(), name, "the version")
            assert greeted(connection)
            _, _, bits = connection.cipher()
            assert bits >= 128 and ("GCM" in connection.cipher()[0]
                                    or "CHACHA" in connection.cipher()[0]), connection.cipher()
    # nothing without forward secrecy, nothing but AEAD
    for name in ("AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES128-SHA"):
        fails_tls(connected, service, ca, pair, None, ssl.TLSVersion.TLSv1_2, name)


def fails_tls(function, *args):
    try:
        function(*args).close()
    except (ssl.SSLError, ConnectionError):
        return
    raise AssertionError("it got in")


def test_min_version(t):
    ca = Authority(t.directory, "ca")
    service, pair = server(t, ca, more={"min_version": "1.3"}), ca.issue("client")
    fails_tls(connected, service, ca, pair, None, ssl.TLSVersion.TLSv1_2)
    service.says("the two sides have no version of TLS in common")
    with connected(service, ca, pair) as connection:
        equal(connection.version(), "TLSv1.3", "the version")
        assert greeted(connection)
    mount = client(t, service, ca, pair, min_version="1.3")
    eventually(lambda: mount.stats()["connected"] == 1, 5, "the connection")


def test_min_version_of_a_mount(t):
    ca = Authority(t.directory, "ca")
    old = "ECDHE-ECDSA-AES256-GCM-SHA384"
    service = server(t, ca, more={"ciphers": old})
    mount = client(t, service, ca, ca.issue("client"), min_version="1.3")
    mount.says("does not speak a version of TLS that this one does")
    service.says("refused a connection")
    equal(mount.stats()["connected"], 0, "connected")
    mount = client(t, service, ca, ca.issue("other"), name="other")
    works_in(mount)


def works_in(mount):
    eventually(lambda: mount.stats()["connected"] == 1, 5, "the connection")
    mount.mkdir("jobs")
    mount.put("jobs", b"1\n")
    equal(mount.get("jobs"), b"1\n", "the item")


def test_ciphers(t):
    ca = Authority(t.directory, "ca")
    names = "TLS_AES_256_GCM_SHA384:ECDHE-ECDSA-AES256-GCM-SHA384"
    service, pair = server(t, ca, more={"ciphers": names}), ca.issue("client")
    for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
        with connected(service, ca, pair, version, version) as connection:
            assert connection.cipher()[0] in names.split(":"), connection.cipher()
    fails_tls(connected, service, ca, pair, None, ssl.TLSVersion.TLSv1_2,
              "ECDHE-ECDSA-AES128-GCM-SHA256")
    service.says("the two sides have no cipher in common")
    works_in(client(t, service, ca, pair))


def test_by_an_ipv6_address(t):
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        raise Skip("this machine has no IPv6") from None
    ca = Authority(t.directory, "ca")
    service = server(t, ca, "IP:::1", host="[::1]")
    works(service, client(t, service, ca, ca.issue("client")))


def test_two_listeners(t):
    ca = Authority(t.directory, "ca")
    pair = ca.issue("server", "IP:127.0.0.1")
    service = t.service("tls: %s\n" % settings(ca, pair), listen="tls+tcp://127.0.0.1:0",
                        args=["-l", "tls+tcp://127.0.0.1:0"])
    equal(len(service.listening()), 2, "listeners")
    for n, address in enumerate(service.listening()):
        mount = client(t, service, ca, ca.issue("client"), address, "q%d" % n)
        eventually(lambda m=mount: m.stats()["connected"] == 1, 5, "the connection")


def test_a_peer_that_says_goodbye_ends_no_listener(t):
    """Before the handshake (an alert is all it says), and behind it."""
    ca = Authority(t.directory, "ca")
    service, pair = server(t, ca), ca.issue("client")
    host, port = service.address.replace("tls+tcp://", "").split(":")
    for _ in range(3):
        with socket.create_connection((host, int(port))) as plain:
            plain.sendall(b"\x15\x03\x03\x00\x02\x01\x00")
            plain.settimeout(5)
            try:
                while plain.recv(4096):
                    continue
            except ConnectionError:
                pass
        with connected(service, ca, pair) as connection:
            connection.recv(8)
            try:
                connection.unwrap().close()
            except (ssl.SSLEOFError, ConnectionError):
                pass  # it has closed upon the goodbye, and says none of its own
    works_in(client(t, service, ca, pair))


def starts_not(t, files, *words):
    keys = ", ".join("%s: '%s'" % item for item in files.items())
    with open(t.path("s.yaml"), "w") as out:
        out.write("tls: {%s}\n" % keys)
    done = subprocess.run([QUEUED, "-c", t.path("s.yaml"), "-d", t.path("d"), "-l",
                           "tls+tcp://127.0.0.1:0"], capture_output=True, text=True, timeout=20,
                          check=False)
    equal(done.returncode, 1, "the status of queued: " + done.stderr)
    equal(done.stderr.count("\n"), 1, "lines on stderr: " + done.stderr)
    for word in words:
        assert word in done.stderr, "%r is not in %r" % (word, done.stderr)


def test_files_that_are_wrong_are_named(t):
    ca = Authority(t.directory, "ca")
    good = dict(zip(("ca", "cert", "key"), (ca.path("ca.pem"), *ca.issue("server"))))
    other = ca.issue("other")
    junk, gone = t.path("junk"), t.path("gone")
    with open(junk, "w") as out:
        out.write("no certificate\n")
    os.chmod(junk, 0o600)
    for key in good:
        starts_not(t, {**good, key: junk}, "tls.%s" % key, junk, "PEM")
        starts_not(t, {**good, key: gone}, "tls.%s" % key, gone, "No such file")
        starts_not(t, {k: v for k, v in good.items() if k != key}, "tls.%s is not set" % key)
    starts_not(t, {**good, "key": other[1]}, "tls.key", "not the key of the certificate")
    starts_not(t, {**good, "crl": junk}, "tls.crl", junk, "no revocation list")
    starts_not(t, {**good, "crl": gone}, "tls.crl", gone, "No such file")
    starts_not(t, {**good, "ciphers": "ECDHE-NOTHING"}, "tls.ciphers", "ECDHE-NOTHING", "unknown")
    starts_not(t, {**good, "ciphers": "ECDHE-ECDSA-NULL-SHA"}, "tls.ciphers", "keeps a secret")
    starts_not(t, {**good, "ciphers": "ECDHE-ECDSA-AES128-GCM-SHA256", "min_version": "1.3"},
               "tls.ciphers", "none of TLS 1.3")
    starts_not(t, {**good, "min_version": "1.1"}, "min_version", "1.1")


def test_a_key_that_others_can_read_is_refused(t):
    ca = Authority(t.directory, "ca")
    cert, key = ca.issue("server", "IP:127.0.0.1")
    files = {"ca": ca.path("ca.pem"), "cert": cert, "key": key}
    for mode in 0o644, 0o604, 0o620, 0o660:
        os.chmod(key, mode)
        starts_not(t, files, "tls.key", key, "mode %04o" % mode, "chmod 0600")
    for mode in 0o600, 0o400, 0o640:
        os.chmod(key, mode)
        service = t.service("tls: %s\n" % settings(ca, (cert, key)),
                            listen="tls+tcp://127.0.0.1:0", name="s%o" % mode)
        equal(service.stop(), 0, "the status of queued")
    # of a mount too
    client_cert, client_key = ca.issue("client")
    os.chmod(client_key, 0o644)
    with open(t.path("c.yaml"), "w") as out:
        out.write("service: {tls: %s}\n" % settings(ca, (client_cert, client_key)))
    os.mkdir(t.path("m"))
    done = sh([QUEUEFS, "-c", t.path("c.yaml"), "-s", "tls+tcp://127.0.0.1:1", t.path("m")],
              check=False)
    equal(done.returncode, 1, "the status of queuefs")
    assert b"mode 0644 lets others read it" in done.stderr, done.stderr


if __name__ == "__main__":
    main()
