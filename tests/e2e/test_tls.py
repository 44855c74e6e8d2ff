#!/usr/bin/env python3
"""Certificates: who has one of the CA gets in, and whoever is refused is told why, on both sides.

Each test makes a CA of its own with openssl(1)."""

import os
import socket
import subprocess

from harness import QUEUED, QUEUEFS, Skip, equal, eventually, free_port, main, need, sh


class Authority:
    """A certificate authority; its files lie in a directory of its own."""

    def __init__(self, base, name):
        self.dir = os.path.join(base, name)
        os.mkdir(self.dir)
        self.name = name
        self.serial = 0
        self.openssl("req", "-x509", *self.new_key("ca"), "-days", "2", "-out", "ca.pem",
                     "-subj", "/CN=" + name)

    def openssl(self, *args):
        need("openssl")
        sh(["openssl", *args], cwd=self.dir)

    @staticmethod
    def new_key(name):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                name + ".key"]

    def path(self, name):
        return os.path.join(self.dir, name)

    def issue(self, name, names=None, end=None):
        """A certificate; `names` for subjectAltName, `end`: when it expires (YYYYMMDDHHMMSSZ)."""
        self.openssl("req", *self.new_key(name), "-out", name + ".csr", "-subj", "/CN=" + name)
        with open(self.path("ca.cnf"), "w") as out:
            out.write("[ca]\ndefault_ca = d\n[d]\nnew_certs_dir = .\ndatabase = index\n"
                      "serial = serial\npolicy = p\ndefault_md = sha256\nx509_extensions = x\n"
                      "certificate = ca.pem\nprivate_key = ca.key\nunique_subject = no\n"
                      "[p]\ncommonName = supplied\n[x]\nbasicConstraints = CA:FALSE\n"
                      + ("subjectAltName = %s\n" % names if names else ""))
        open(self.path("index"), "a").close()
        self.serial += 1
        with open(self.path("serial"), "w") as out:
            out.write("%02X\n" % self.serial)
        dates = ["-startdate", "20200101000000Z", "-enddate", end] if end else ["-days", "2"]
        self.openssl("ca", "-batch", "-notext", "-config", "ca.cnf", *dates, "-in", name + ".csr",
                     "-out", name + ".pem")
        return self.path(name + ".pem"), self.path(name + ".key")


def settings(ca, pair, **more):
    keys = {"ca": ca.path("ca.pem"), "cert": pair[0], "key": pair[1], **more}
    return "{%s}" % ", ".join("%s: '%s'" % item for item in keys.items())


def server(t, ca, names="DNS:localhost, IP:127.0.0.1", **options):
    return t.service("tls: %s\n" % settings(ca, ca.issue("server", names, **options)),
                     listen="tls+tcp://127.0.0.1:%d" % free_port())


def client(t, service, ca, pair, address=None, **more):
    return t.mount_of(address or service.address,
                      settings="service: {tls: %s}\n" % settings(ca, pair, **more))


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
        socket.gethostbyname("localhost")
    except OSError:
        raise Skip("this machine does not know localhost") from None
    ca = Authority(t.directory, "ca")
    service = server(t, ca, "DNS:localhost")
    address = service.address.replace("127.0.0.1", "localhost")
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
    done = sh("sleep 2 | openssl s_client -tls1_2 -connect " + target, check=False)
    service.says("refused a connection: it showed no certificate")
    assert b"error" in done.stderr, done.stderr
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
    refused(service, mount, "the certificate CN=stranger is not from the CA in tls.ca",
            "does not know the CA of this certificate")


def test_expired(t):
    ca = Authority(t.directory, "ca")
    service = server(t, ca)
    mount = client(t, service, ca, ca.issue("old", end="20210101000000Z"))
    refused(service, mount, "the certificate CN=old has expired",
            "says that this certificate has expired")


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
            "is for another name than queue.example")


def test_wrong_ip_address(t):
    ca = Authority(t.directory, "ca")
    service = server(t, ca, "IP:10.0.0.1")
    mount = client(t, service, ca, ca.issue("client"))
    refused(service, mount, "does not accept this certificate",
            "is for another name than 127.0.0.1")


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
    service = t.service(listen="tcp://127.0.0.1:%d" % free_port())
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
    for key in good:
        starts_not(t, {**good, key: junk}, "tls.%s" % key, junk, "PEM")
        starts_not(t, {**good, key: gone}, "tls.%s" % key, gone, "No such file")
        starts_not(t, {k: v for k, v in good.items() if k != key}, "tls.%s is not set" % key)
    starts_not(t, {**good, "key": other[1]}, "tls.key", "not the key of the certificate")


if __name__ == "__main__":
    main()
