#!/usr/bin/env python3
"""Where an unfinished item ends: at its open's last close, whoever looks meanwhile."""

import contextlib
import os
import subprocess
import threading
import time

from harness import FULL, SLOW, equal, eventually, main, need, preloaded, timed, timeout

SHELLS = ["dash", "bash", "busybox sh"]
N_ITEMS = 300 if FULL else 60
N_CLOSES = 10000 if FULL else 150


@contextlib.contextmanager
def shells(t, m, *scripts):
    """Shells that each do their script over and over while the body runs."""
    flag = t.path("go on")
    with open(flag, "w"):
        pass
    running = [
        subprocess.Popen(
            ["sh", "-c", "while [ -e '%s' ]; do %s; done" % (flag, script)], cwd=m.path,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for script in scripts
    ]
    try:
        yield
    finally:
        os.unlink(flag)
        for shell in running:
            shell.wait()


class Reader(threading.Thread):
    """Reads the queue all the time, an open at a time."""

    def __init__(self, m):
        super().__init__()
        self.m, self.got, self.enough = m, b"", threading.Event()

    def run(self):
        while not self.enough.is_set():
            self.got += self.m.get("jobs")

    def all(self):
        self.enough.set()
        self.join()
        return self.got + self.m.get("jobs")


def write_in_pieces(m, shell, n):
    """n items, each put together by several processes that share one open."""
    m.sh(
        "%s -c 'i=0; while [ $i -lt %d ]; do i=$((i+1));"
        ' { printf "total "; ls /etc | wc -l; } >> jobs/in; done\'' % (shell, n), seconds=300,
    )


@timeout(300)
def test_an_item_of_several_processes_is_one_whatever_else_looks(t):
    need("busybox", "bash", "dash")
    m = t.queue()
    expected = m.out("printf 'total '; ls /etc | wc -l")
    looks = ["ls jobs/ready", "ls -l jobs/ready jobs/dead jobs/leased", ": > jobs/flush",
             "touch flush", "stat jobs/out jobs/in", "echo jobs > jobs/purge; cat jobs/stats"]
    for shell in SHELLS:
        with shells(t, m, *looks[:5]):
            reader = Reader(m)
            reader.start()
            write_in_pieces(m, shell, N_ITEMS)
            got = reader.all()
        equal(got.splitlines(True), [expected] * N_ITEMS, "items by " + shell)
    with shells(t, m, looks[5]):
        write_in_pieces(m, "bash", N_ITEMS)
    for item in m.get("jobs").splitlines(True):
        equal(item, expected, "an item beside purge")


def test_no_look_ends_an_item_that_others_still_write(t):
    m = t.mount()
    for framing, expected in (("line", b"half and half\n"), ("file", b"half and half")):
        m.mkdir(framing, framing=framing)
        looks = ["cat out", "cat next", "cat claim", "ls ready", "touch flush", ": > flush",
                 "echo > flush", "sync in", "cat stats > /dev/null", "touch ../flush",
                 "echo %s > purge" % framing]
        with m.open_in(framing) as file:
            file.write(b"half")
            for look in looks:
                os.close(os.dup(file.fileno()))
                equal(m.out("cd %s; %s" % (framing, look)), b"", look)
            file.write(b" and half")
        equal(m.get(framing), expected, framing)


def test_a_purge_takes_what_was_closed_and_nothing_unfinished(t):
    m = t.queue()
    with m.open_in("jobs") as file:
        file.write(b"kept")
        m.sh("printf gone >> jobs/in; echo jobs > jobs/purge")
        equal(m.get("jobs"), b"", "what is left")
    equal(m.get("jobs"), b"kept\n")


@timeout(600)
def test_a_close_that_has_returned_counts_at_once(t):
    need("busybox", "bash", "dash")
    m = t.queue()
    m.mkdir("other")
    load = ["echo x >> other/in", "cat other/out", "ls other/ready", "printf y >> other/in"]
    for shell in SHELLS:
        with shells(t, m, *load):
            got = m.out(
                "%s -c 'i=0; while [ $i -lt %d ]; do i=$((i+1)); printf x >> jobs/in;"
                " touch jobs/flush; cat jobs/out; printf x >> jobs/in; cat jobs/out; done'"
                % (shell, N_CLOSES // 3), seconds=500,
            )
        equal(got.count(b"x\n"), N_CLOSES // 3 * 2, "items by " + shell)


def test_a_listing_shows_what_was_closed(t):
    m = t.queue()
    for n in range(1, 30):
        got = m.out("printf x >> jobs/in; ls jobs/ready | wc -l")
        equal(int(got), n)


def test_hundreds_of_opens_that_end_at_once_count(t):
    m = t.queue()
    program = (
        "import os, resource; resource.setrlimit(resource.RLIMIT_NOFILE, (2000, 2000))\n"
        "for i in range(900): os.write(os.open('jobs/in', os.O_WRONLY), b'x')\n"
    )
    for _ in range(5):
        m.sh(["python3", "-c", program])
        equal(m.get("jobs").count(b"x\n"), 900, "items")


def test_a_close_in_the_hands_of_a_slow_thread_counts(t):
    m = t.mount(start=False)
    with preloaded(t, "slow_release"):
        m.start(wait=False)
    eventually(m.answers, 10, "the mount")
    m.mkdir("jobs")
    for look in ("cat jobs/out", "touch jobs/flush; cat jobs/out", ": > flush; cat jobs/out@1",
                 "id=$(ls jobs/ready); cat jobs/ready/$id; echo; cat jobs/out > /dev/null",
                 "sync jobs/in; cat jobs/out", "cat jobs/next"):
        for _ in range(5):
            equal(m.out("printf x >> jobs/in; " + look), b"x\n", look)
    m.sh("printf x >> jobs/in; echo jobs > jobs/purge")
    equal(m.get("jobs"), b"", "after a purge")
    took = []
    for _ in range(3):  # the best of them, so that a busy machine does not decide
        took.append(timed(m.sh, "( printf x; ls jobs/ready; cat jobs/out; printf x ) >> jobs/in"))
        equal(m.get("jobs"), b"xx\n", "after looks at a held open")
    assert min(took) < 1, "looks at a held open took %.2f s" % min(took)


def test_looks_at_a_held_open_are_not_slow(t):
    m = t.queue()
    script = ("printf half >&3; i=0; while [ $i -lt 100 ]; do i=$((i+1)); /usr/bin/printf . >&3;"
              " : > jobs/flush; ls jobs/ready; cat jobs/out; done")
    took = timed(m.sh, "( %s ) 3>> jobs/in" % script)
    equal(took < 5 * SLOW, True, "not %.1f s for a hundred looks" % took)
    equal(m.get("jobs"), b"half" + b"." * 100 + b"\n")


def test_who_is_killed_over_and_over_slows_down_nobody_who_looks(t):
    """What it asked for and nobody has read is withdrawn: no look waits for that."""
    m = t.queue()
    killed = ["timeout -s KILL 0.0%d sh -c 'while :; do : < jobs/out; read x < jobs/out; done'" % n
              for n in (1, 2, 3, 5)]
    looks = [lambda: os.stat(m.at("jobs/stats")), lambda: os.listdir(m.at("jobs/ready")),
             lambda: m.get("jobs"), lambda: m.stats("jobs")]
    took = [[] for _ in looks]
    with m.open_in("jobs") as file:
        file.write(b"half")
        with shells(t, m, *killed):
            end = time.monotonic() + (20 if FULL else 3)
            while time.monotonic() < end:
                for look, times in zip(looks, took):
                    times.append(timed(look))
    for times in took:
        half = sorted(times)[len(times) // 2]  # the shells that are busy slow down some of them
        assert half < 0.4, "half of %d looks took more than %.2f s" % (len(times), half)
    equal(m.get("jobs"), b"half\n")


if __name__ == "__main__":
    main()
