"""Certificates of a CA made for one test, with openssl(1), and programs that use them."""

import datetime
import os
import socket
import ssl

from harness import need, sh


def in_s(seconds):
    """The time of then, as openssl(1) wants it."""
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return at.strftime("%Y%m%d%H%M%SZ")


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
        return sh(["openssl", *args], cwd=self.dir)

    @staticmethod
    def new_key(name):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                name + ".key"]

    def path(self, name):
        return os.path.join(self.dir, name)

    def configure(self, names):
        with open(self.path("ca.cnf"), "w") as out:
            out.write("[ca]\ndefault_ca = d\n[d]\nnew_certs_dir = .\ndatabase = index\n"
                      "serial = serial\npolicy = p\ndefault_md = sha256\nx509_extensions = x\n"
                      "certificate = ca.pem\nprivate_key = ca.key\nunique_subject = no\n"
                      "[p]\ncommonName = supplied\n[x]\nbasicConstraints = CA:FALSE\n"
                      + ("subjectAltName = %s\n" % names if names else ""))
        open(self.path("index"), "a").close()

    def issue(self, name, names=None, end=None, begin=None):
        """A certificate; `names` for subjectAltName, `end` and `begin`: YYYYMMDDHHMMSSZ."""
        self.openssl("req", *self.new_key(name), "-out", name + ".csr", "-subj", "/CN=" + name)
        self.configure(names)
        self.serial += 1
        with open(self.path("serial"), "w") as out:
            out.write("%02X\n" % self.serial)
        dates = ["-startdate", begin or "20200101000000Z", "-enddate", end or in_s(30 * 86400)]
        self.openssl("ca", "-batch", "-notext", "-config", "ca.cnf", *dates, "-in", name + ".csr",
                     "-out", name + ".pem")
        return self.path(name + ".pem"), self.path(name + ".key")

    def revoke(self, *names):
        """The revocation list, with certificates added to it."""
        self.configure(None)
        for name in names:
            self.openssl("ca", "-config", "ca.cnf", "-revoke", name + ".pem")
        self.openssl("ca", "-config", "ca.cnf", "-gencrl", "-crldays", "2", "-out", "crl.pem")
        return self.path("crl.pem")


def settings(ca, pair, **more):
    keys = {"ca": ca.path("ca.pem"), "cert": pair[0], "key": pair[1], **more}
    return "{%s}" % ", ".join("%s: '%s'" % item for item in keys.items())


def server(t, ca, names="DNS:localhost, IP:127.0.0.1", host="127.0.0.1", more=None, **options):
    return t.service("tls: %s\n" % settings(ca, ca.issue("server", names, **options),
                                            **(more or {})),
                     listen="tls+tcp://%s:0" % host)


def client(t, service, ca, pair, address=None, name="q", **more):
    return t.mount_of(address or service.address, name,
                      settings="service: {tls: %s}\n" % settings(ca, pair, **more))


def target(service):
    """Host and port of a service."""
    host, port = service.address.replace("tls+tcp://", "").rsplit(":", 1)
    return host.strip("[]"), int(port)


def connected(service, ca, pair=None, minimum=None, maximum=None, ciphers=None):
    """A TLS connection to a service, by Python's OpenSSL; its handshake is done."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca.path("ca.pem"))
    if pair:
        context.load_cert_chain(*pair)
    if minimum:
        context.minimum_version = minimum
    if maximum:
        context.maximum_version = maximum
    if ciphers:
        context.set_ciphers(ciphers)
    plain = socket.create_connection(target(service), 20)
    return context.wrap_socket(plain, server_hostname=target(service)[0])


def greeted(connection):
    """Whether the service, behind TLS, says hello as NNG does; which is answered."""
    there = connection.recv(8)[:3] == b"\0SP"
    connection.sendall(b"\0SP\0\0\x30\0\0")
    return there


def serial(connection):
    """Serial number of the service's certificate."""
    return int(connection.getpeercert()["serialNumber"], 16)
