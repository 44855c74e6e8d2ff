#!/usr/bin/env python3
"""How the queue service ends although somebody would keep it, how it is run by who is not root, and
addresses that must not be a way around the rule that TCP wants TLS."""

import os
import signal
import socket
import struct
import subprocess
import time

from harness import (QUEUED, QUEUEFS, Skip, equal, eventually, main, need, sh, timeout)
from test_frames import GET, HELLO, MIB, framed, get_of, request

NOBODY = 65534
LIMIT = 10  # seconds that an end may take, as queued says


def unread_answer(t):
    """A service, and a peer that has asked it for 16 MiB several times and does not read them."""
    service = t.service()
    mount = t.mount_of(service.address)
    mount.mkdir("jobs")
    with mount.open_in("jobs") as file:
        for _ in range(16):
            file.write_all(b"x" * (MIB - 1) + b"\n")
        file.sync()
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(service.address[len("ipc://"):])
    peer.sendall(HELLO)
    equal(peer.recv(8, socket.MSG_WAITALL)[:3], b"\0SP", "the service's first bytes")
    body = struct.pack("<BBHIQQ", 0, 0, 0, 16, 64 * MIB, 0)
    peer.sendall(b"".join(framed(True, request(GET, 1, body, number=1), n) for n in range(4)))
    # The first bytes are here, the rest cannot be sent.
    equal(len(peer.recv(1, socket.MSG_PEEK)), 1, "the answer's first byte")
    return service, peer


@timeout(60)
def test_it_ends_in_time_although_a_peer_does_not_read(t):
    service, peer = unread_answer(t)
    begin = time.monotonic()
    equal(service.stop(LIMIT), 0, "the status")
    taken = time.monotonic() - begin
    assert taken < LIMIT, "it took %.1f s" % taken
    assert "ending without" not in service.log(), service.log()
    peer.close()


@timeout(60)
def test_a_second_signal_ends_it_at_once(t):
    service, peer = unread_answer(t)
    service.daemon.terminate()
    service.says("Terminated: ending")
    begin = time.monotonic()
    service.daemon.send_signal(signal.SIGTERM)
    status = service.ended()
    # Where the end was quicker than the second signal nobody had to be cut short.
    if "again: ending at once" in service.log():
        equal(status, 1, "the status")
        assert time.monotonic() - begin < 5, "it took long"
    else:
        equal(status, 0, "the status")
    peer.close()
    service.start()
    mount = t.mounts[0]
    eventually(lambda: mount.stats()["connected"] == 1, 10, "the connection")
    equal(len(mount.get("jobs", "out@5s")), 16 * MIB, "bytes that are there again")


def as_nobody(*command, **options):
    return subprocess.Popen(command, user=NOBODY, group=NOBODY, extra_groups=[],
                            stdin=subprocess.DEVNULL, **options)


def may_run(program):
    """Whether nobody gets at the program, which lies somewhere in a person's directories."""
    return as_nobody(program, "--version", stdout=subprocess.DEVNULL).wait(20) == 0


def set_up_nobody(t):
    """Directories of nobody, and the environment to use them."""
    if os.geteuid() != 0:
        raise Skip("needs root, to become nobody")
    os.chmod(t.directory, 0o777)  # where the sanitizers write, too
    try:
        reached = may_run(QUEUED) and may_run(QUEUEFS)
    except PermissionError:
        reached = False
    if not reached:
        raise Skip("the programs are out of nobody's reach")
    for name in ("run", "m"):
        os.mkdir(t.path(name), 0o700)
        os.chown(t.path(name), NOBODY, NOBODY)
    return dict(os.environ, XDG_RUNTIME_DIR=t.path("run"), HOME=t.directory)


@timeout(60)
def test_not_root_it_listens_in_the_runtime_directory_and_local_finds_it(t):
    """In a mount namespace of its own, where nobody, too, may open /dev/fuse."""
    need("unshare", "setpriv")
    env = dict(set_up_nobody(t), QUEUED=QUEUED, QUEUEFS=QUEUEFS)
    root = """
        mount -t tmpfs -o dev none "$1/dev" && mknod -m 666 "$1/dev/fuse" c 10 229 &&
            mount --bind "$1/dev/fuse" /dev/fuse || exit 77
        exec setpriv --reuid 65534 --regid 65534 --clear-groups sh -c "$2" sh "$1"
    """
    script = """
        "$QUEUED" -d "$1/run/data" 2> "$1/run/log" & service=$!
        for i in $(seq 400); do [ -S "$1/run/queued.sock" ] && break; sleep 0.05; done
        stat -c %u "$1/run/queued.sock"
        "$QUEUEFS" -s local "$1/m" || exit 1
        cd "$1/m" && mkdir jobs; echo hello >> jobs/in; touch jobs/flush; cat jobs/next
        grep -E '^(connected|endpoint)' stats
        cd / && fusermount3 -u "$1/m"
        kill $service; wait $service; echo "status $?"
        ls "$1/run/queued.sock"
    """
    os.mkdir(t.path("dev"))
    done = sh(["unshare", "-m", "sh", "-c", root, "sh", t.directory, script], check=False, env=env)
    if done.returncode == 77 or done.stderr.startswith(b"unshare:"):
        raise Skip("no private /dev/fuse here")
    equal(done.stdout.decode().splitlines(),
          [str(NOBODY), "hello", "connected: 1",
           'endpoint: "ipc://%s/run/queued.sock"' % t.directory, "status 0"],
          "what it showed, having said %r" % done.stderr)


@timeout(60)
def test_not_root_and_no_runtime_directory_is_refused(t):
    env = set_up_nobody(t)
    del env["XDG_RUNTIME_DIR"]
    done = as_nobody(QUEUED, "-d", t.path("data-of-nobody"), env=env, stderr=subprocess.PIPE)
    said = done.communicate(timeout=20)[1].decode()
    equal((done.returncode != 0, said.count("\n")), (True, 1), "status and lines, of " + said)
    assert "XDG_RUNTIME_DIR" in said, said


def test_no_spelling_of_an_address_goes_around_tls(t):
    for host in ("", "*", "0", "0.0.0.0", "[::]", "[::ffff:0.0.0.0]", "localhost.", "0x7f.1"):
        for scheme in ("tcp", "TCP", "tls+tcp"):
            url = "%s://%s:7440" % (scheme, host)
            done = subprocess.run([QUEUED, "-d", t.path("d"), "-l", url], capture_output=True,
                                  text=True, timeout=20, check=False)
            assert done.returncode in (1, 2), "%s: %d" % (url, done.returncode)
            equal(done.stderr.count("\n"), 1, "lines on stderr: " + done.stderr)
            assert url in done.stderr, done.stderr
    assert not os.path.exists(t.path("d")), "it made a data directory"


if __name__ == "__main__":
    main()
