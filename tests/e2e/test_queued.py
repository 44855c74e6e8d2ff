#!/usr/bin/env python3
"""The queue service as a program: several mounts on one, how it starts, ends and comes back."""

import os
import signal
import socket
import stat
import subprocess
import time

from harness import (QUEUED, QUEUEFS, ROOT, Service, Skip, equal, eventually, fails, free_port,
                     has_open, main, need, sh, timed, timeout)
from test_away import stop_at_once


def queued(*args, env=None, seconds=20):
    """Run it until it ends by itself."""
    return subprocess.run([QUEUED, *args], capture_output=True, text=True, timeout=seconds,
                          check=False, env=env)


def refused(done, status, *words):
    equal(done.returncode, status, "status, having said %r" % done.stderr)
    equal(done.stderr.count("\n"), 1, "lines on stderr: " + done.stderr)
    for word in words:
        assert word in done.stderr, "%r is not in %r" % (word, done.stderr)


def tcp(t, **options):
    return t.service(listen="tcp://127.0.0.1:0", **options)


def test_put_through_one_mount_is_read_through_the_other(t):
    service = tcp(t)
    one, two = t.mount_of(service.address, "a"), t.mount_of(service.address, "b")
    one.mkdir("jobs")
    eventually(lambda: "jobs" in os.listdir(two.path), 2, "the queue in the other mount")
    one.put("jobs", b"hello\nworld\n")
    one.flush("jobs")
    equal(two.get("jobs", "next"), b"hello\n", "the first item")
    equal(two.get("jobs"), b"world\n", "the rest")
    equal(one.get("jobs"), b"", "what is left")


def test_removed_in_one_mount_is_gone_in_the_other(t):
    service = tcp(t)
    one, two = t.mount_of(service.address, "a"), t.mount_of(service.address, "b")
    one.mkdir("jobs")
    eventually(lambda: os.path.exists(two.at("jobs")), 2, "the queue")
    os.rmdir(two.at("jobs"))
    eventually(lambda: "jobs" not in os.listdir(one.path), 2, "the queue's end")


def test_settings_are_followed_by_the_other_mount(t):
    service = tcp(t)
    one, two = t.mount_of(service.address, "a"), t.mount_of(service.address, "b")
    one.mkdir("jobs")
    one.configure("jobs", maxsize=77)
    eventually(lambda: os.path.exists(two.at("jobs")) and two.stats("jobs")["maxsize"] == 77, 4,
               "the setting in the other mount")


def test_a_reader_waiting_in_one_mount_gets_what_the_other_puts(t):
    service = tcp(t)
    one, two = t.mount_of(service.address, "a"), t.mount_of(service.address, "b")
    one.mkdir("jobs")
    eventually(lambda: os.path.exists(two.at("jobs")), 2, "the queue")
    reader = subprocess.Popen(["cat", two.at("jobs", "next@20s")], stdout=subprocess.PIPE)
    eventually(lambda: two.stats("jobs")["waiting"] == 1, 5, "the reader")
    one.put("jobs", b"at last\n")
    equal(reader.communicate(timeout=20)[0], b"at last\n", "what the reader got")


def test_settings_file(t):
    path = t.path("run", "q.sock")
    service = t.service("listen:\n  - ipc://%s\n  - tcp://127.0.0.1:0\nsocket: {mode: 0600}\n"
                        "queues:\n  jobs: {maxsize: 5}\n" % path, listen="settings")
    equal(stat.S_IMODE(os.stat(path).st_mode), 0o600, "the mode of the socket")
    equal(stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode), 0o750, "the mode of its directory")
    lines = service.log().splitlines()
    mount = t.mount_of(service.listening()[1])
    equal(mount.stats("jobs")["maxsize"], 5, "maxsize of the queue of the file")
    assert len([line for line in lines if "any user of this machine" in line]) == 1, lines


def test_socket_owner_and_group(t):
    if os.geteuid() != 0:
        raise Skip("needs root")
    path = t.path("run", "q.sock")
    t.service("socket: {owner: 12, group: 34, mode: 0660}\n", listen="ipc://" + path)
    for name in (path, os.path.dirname(path)):
        equal((os.stat(name).st_uid, os.stat(name).st_gid), (12, 34), "owner of " + name)
    equal(stat.S_IMODE(os.stat(path).st_mode), 0o660, "the mode of the socket")


def test_local_finds_it(t):
    """In a mount namespace of its own with an empty /run."""
    need("unshare")
    script = """
        mount -t tmpfs none /run || exit 77
        "$QUEUED" -d "$1/data" 2> "$1/queued.log" & service=$!
        for i in $(seq 200); do [ -S /run/queued/queued.sock ] && break; sleep 0.05; done
        stat -c %a /run/queued /run/queued/queued.sock
        mkdir -p "$1/m"
        "$QUEUEFS" -s local "$1/m" || exit 1
        mkdir "$1/m/jobs"; echo hello >> "$1/m/jobs/in"; cat "$1/m/jobs/next"
        grep -E '^(connected|endpoint)' "$1/m/stats"
        umount "$1/m"
        kill $service; wait $service; echo "status $?"
        ls /run/queued
    """
    env = dict(os.environ, QUEUED=QUEUED, QUEUEFS=QUEUEFS)
    if os.geteuid() != 0:
        raise Skip("needs root")
    done = sh(["unshare", "-m", "sh", "-c", script, "sh", t.directory], check=False, env=env)
    if done.returncode == 77 or done.stderr.startswith(b"unshare:"):
        raise Skip("no private /run here")
    equal(done.stdout.decode().splitlines(),
          ["750", "660", "hello", "connected: 1",
           'endpoint: "ipc:///run/queued/queued.sock"', "status 0"], "what it showed")


@timeout(60)
def test_killed_and_started_again_nothing_is_lost(t):
    service = tcp(t)
    one, two = t.mount_of(service.address, "a"), t.mount_of(service.address, "b")
    one.mkdir("jobs")
    expected = []
    for round_number in range(5):
        lines = b"".join(b"%d-%d\n" % (round_number, i) for i in range(1000))
        expected.append(lines)
        one.put("jobs", lines)
        if round_number % 2 == 0:
            one.flush("jobs")
        service.kill()
        service.start()
    one.flush("jobs")
    eventually(lambda: os.path.exists(two.at("jobs")), 5, "the queue")
    eventually(lambda: two.stats()["connected"] == 1, 10, "the connection")
    equal(two.get("jobs", "out@5s"), b"".join(expected), "all that was put, once and in order")


def test_a_mount_starts_while_the_service_is_away(t):
    service = t.service(listen="tcp://127.0.0.1:%d" % free_port(), start=False)
    mount = t.mount_of(service.address, settings="queues: {jobs: {}}\n")
    equal(mount.stats()["connected"], 0, "connected")
    mount.says("Connection refused")
    mount.put("jobs", b"early\n")
    service.start()
    eventually(lambda: mount.stats()["connected"] == 1, 10, "the connection")
    mount.flush("jobs")
    equal(mount.get("jobs"), b"early\n", "what was put before")
    mount.says("connected to queue service " + service.address)


def test_term_ends_it_with_status_0_and_takes_the_socket_away(t):
    service = t.service()
    mount = t.mount_of(service.address)
    mount.mkdir("jobs")
    mount.put("jobs", b"x\n")
    mount.flush("jobs")
    assert timed(lambda: equal(service.stop(), 0, "the status")) < 5 * 4
    assert not os.path.exists(service.address[6:]), "the socket is still there"
    service.start()
    eventually(lambda: mount.stats()["connected"] == 1, 10, "the connection")
    equal(mount.get("jobs"), b"x\n", "what was put before")


def test_term_with_readers_waiting(t):
    service = t.service()
    mount = t.mount_of(service.address)
    mount.mkdir("jobs")
    reader = subprocess.Popen(["cat", mount.at("jobs", "next@forever")], stdout=subprocess.PIPE)
    eventually(lambda: mount.stats("jobs")["waiting"] == 1, 5, "the reader")
    equal(service.stop(), 0, "the status")
    service.start()
    mount.put("jobs", b"again\n")
    equal(reader.communicate(timeout=20)[0], b"again\n", "what the reader got in the end")


def test_a_stale_socket_is_no_obstacle(t):
    service = t.service()
    service.kill()
    assert os.path.exists(service.address[6:])
    service.start()


@timeout(60)
def test_a_data_directory_in_use_is_refused_naming_it(t):
    service = t.service()
    done = queued("-d", service.data, "-l", "ipc://%s" % t.path("other.sock"))
    refused(done, 1, service.data, str(service.daemon.pid), "queuefs -s " + service.address)
    assert not os.path.exists(t.path("other.sock"))
    mounted = t.mount(name="m")
    refused(queued("-d", mounted.data, "-l", "ipc://" + t.path("x")), 1, mounted.path,
            "queuefs.sock")


@timeout(60)
def test_a_data_directory_is_waited_for(t):
    service = t.service()
    other = Service(t.directory, name="other", start=False)
    other.data = service.data
    t.services.append(other)
    other.start(wait=False)
    eventually(lambda: has_open(other.daemon, service.data + "/lock"), 5, "a second one that waits")
    time.sleep(0.5)
    stop_at_once(other.daemon)  # it would wait for 5 s; the first one may need longer for its end
    service.stop()
    other.daemon.send_signal(signal.SIGCONT)
    eventually(lambda: other.ready(0), 10, "the second one")


def test_an_address_in_use_is_refused(t):
    service = tcp(t)
    refused(queued("-d", t.path("d"), "-l", service.address), 1, service.address)
    local = t.service(name="local")
    refused(queued("-d", t.path("d"), "-l", local.address), 1, local.address[6:])


def test_tcp_that_others_reach_is_refused(t):
    for host in ("0.0.0.0", "[::]", "10.1.2.3", "queue.example"):
        url = "tcp://%s:7440" % host
        refused(queued("-d", t.path("d"), "-l", url), 1, url, "tls+tcp://", "tls.ca")
    assert not os.path.exists(t.path("d")), "it made a data directory"


def test_an_embedded_service_keeps_to_the_same_rules(t):
    os.mkdir(t.path("m"))
    done = subprocess.run([QUEUEFS, "-d", t.path("d"), "--listen", "tcp://0.0.0.0:7440",
                           t.path("m")], capture_output=True, text=True, timeout=20, check=False)
    refused(done, 1, "tcp://0.0.0.0:7440", "tls+tcp://")


def test_an_embedded_service_serves_others(t):
    path = t.path("shared.sock")
    inside = t.mount(args=["--listen", "ipc://" + path], name="inside")
    other = t.mount_of("ipc://" + path, "other")
    inside.mkdir("jobs")
    eventually(lambda: os.path.exists(other.at("jobs")), 2, "the queue")
    other.put("jobs", b"x\n")
    other.flush("jobs")
    equal(inside.get("jobs"), b"x\n", "what the other put")


def test_ipv6(t):
    if not socket.has_ipv6:
        raise Skip("no IPv6")
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        raise Skip("no IPv6") from None
    service = t.service(listen="tcp://[::1]:0")
    mount = t.mount_of(service.address)
    mount.mkdir("jobs")
    eventually(lambda: mount.stats()["connected"] == 1, 5, "the connection")


def test_usage(t):
    for args in (["--frob"], ["-l"], ["here"], ["-l", "smoke://signals"], ["-d", ""],
                 ["-d", "/a", "-d", "/b"]):
        refused(queued(*args), 2, "queued: ", "--help")
    done = queued("--help")
    equal((done.returncode, done.stderr), (0, ""), "--help")
    assert done.stdout.startswith("Usage: queued"), done.stdout
    assert done.stdout.count("\n") <= 40 and max(map(len, done.stdout.splitlines())) <= 80
    assert queued("--version").stdout.startswith("queued "), "--version"


def test_a_wrong_setting_is_refused_at_its_place(t):
    with open(t.path("bad.yaml"), "w") as out:
        out.write("listen: ipc:///x\nsocket: {mode: 0999}\n")
    refused(queued("-c", t.path("bad.yaml")), 1, "bad.yaml:2:", "socket.mode")


def test_check_prints_the_settings_that_hold(t):
    done = queued("--check", "-l", "ipc:///tmp/x.sock")
    equal((done.returncode, done.stderr), (0, ""), "--check")
    assert "ipc:///tmp/x.sock" in done.stdout and "socket:" in done.stdout, done.stdout
    with open(t.path("again.yaml"), "w") as out:
        out.write(done.stdout)
    equal(queued("--check", "-c", t.path("again.yaml")).stdout, done.stdout, "--check of itself")


def test_check_of_the_example_settings(t):
    done = queued("--check", "-c", ROOT + "/dist/queued.yaml")
    equal((done.returncode, done.stderr), (0, ""), "--check of dist/queued.yaml")
    assert "ipc:///run/queued/queued.sock" in done.stdout, done.stdout


def test_systemd_is_told(t):
    path = t.path("notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(path)
        told.settimeout(20)
        service = t.service(env=dict(os.environ, NOTIFY_SOCKET=path))
        equal(told.recv(100), b"READY=1", "what systemd was told first")
        service.stop()
        equal(told.recv(100), b"STOPPING=1", "what it was told next")


def test_the_socket_keeps_others_out(t):
    if os.geteuid() != 0:
        raise Skip("needs root")
    service = t.service()
    os.chmod(t.directory, 0o755)

    def connect():
        pid = os.fork()
        if pid == 0:
            os.setgid(65534)
            os.setuid(65534)
            try:
                socket.socket(socket.AF_UNIX).connect(service.address[6:])
            except PermissionError:
                os._exit(13)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    equal(connect(), 13, "the outcome of a stranger's connect")


def test_rmdir_of_a_full_queue_of_another_mount(t):
    service = tcp(t)
    one, two = t.mount_of(service.address, "a"), t.mount_of(service.address, "b")
    one.mkdir("jobs")
    one.put("jobs", b"x\n")
    one.flush("jobs")
    eventually(lambda: os.path.exists(two.at("jobs")), 2, "the queue")
    fails(39, os.rmdir, two.at("jobs"))


if __name__ == "__main__":
    main()
