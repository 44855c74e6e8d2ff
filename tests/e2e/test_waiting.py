#!/usr/bin/env python3
"""Ten thousand reads wait on empty queues, and nobody else notices."""

import errno
import os
import signal
import subprocess
import time

from harness import SLOW, equal, eventually, main, timed, timeout

PROCESSES, THREADS = 200, 50
N = PROCESSES * THREADS
SESSION_THREADS = 10  # libfuse starts that many at most, as requests come side by side


class Waiters:
    """N reads of out@forever."""

    def __init__(self, t, m, queue="jobs"):
        program = t.compile("waiters")
        command = [program, str(PROCESSES), str(THREADS), m.at(queue, "out@forever")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        equal(self.process.stdout.readline(), b"ready\n")
        eventually(lambda: m.stats()["waiting"] == N, 30, "%d waiting reads" % N)

    def ask(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().decode()

    def milliseconds(self, line):
        return float(line.split(" in ")[1].split()[0])

    def end(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def latency_ms(function, times=20):
    """The median, so that a busy machine does not decide."""
    taken = []
    for _ in range(times):
        begin = time.monotonic()
        function()
        taken.append((time.monotonic() - begin) * 1000)
    return sorted(taken)[times // 2]


@timeout(90)
def test_10000_waiting_reads_slow_nothing_down(t):
    m = t.queue()
    m.mkdir("other")
    m.put("other", b"x\n")
    m.get("other")
    before = m.threads()
    waiters = Waiters(t, m)
    assert m.threads() < before + SESSION_THREADS, "%d, before %d" % (m.threads(), before)
    calls = {
        "ls": lambda: os.listdir(m.path),
        "stat": lambda: os.stat(m.at("jobs/in")),
        "stats": lambda: m.stats("other"),
        "mkdir": lambda: (m.mkdir("more"), os.rmdir(m.at("more"))),
        "put": lambda: (m.put("other", b"x\n"), m.flush("other")),
        "get": lambda: m.get("other", "next"),
    }
    for name, call in calls.items():
        taken = latency_ms(call)
        assert taken < 50 * SLOW, "%s takes %.1f ms" % (name, taken)
    m.flush("other")
    waiters.end()


@timeout(90)
def test_sigint_and_sigkill_free_each_waiter_at_once(t):
    m = t.queue()
    waiters = Waiters(t, m)
    for number in (signal.SIGINT, signal.SIGKILL):
        taken = waiters.milliseconds(waiters.ask(str(int(number))))
        assert taken < 3000 * SLOW, "signal %d took %.0f ms for half of them" % (number, taken)
    eventually(lambda: m.stats()["waiting"] == N // 4, 5, "a quarter of the waiters")
    waiters.end()
    eventually(lambda: m.stats()["waiting"] == 0, 5, "no waiters")
    m.put("jobs", b"a\n")
    equal(m.get("jobs"), b"a\n")


@timeout(90)
def test_one_waiter_of_10000_is_freed_in_milliseconds(t):
    m = t.queue()
    waiters = Waiters(t, m)
    for number in (signal.SIGINT, signal.SIGKILL):
        took = []
        for _ in range(3):  # the best of them, so that a busy machine does not decide
            reader = subprocess.Popen(["cat", m.at("jobs/out@forever")])
            eventually(lambda: m.stats()["waiting"] == N + 1, 5, "one more waiter")
            reader.send_signal(number)
            took.append(timed(reader.wait))
            eventually(lambda: m.stats()["waiting"] == N, 5, "one waiter less")
        assert min(took) < 0.2 * SLOW, "signal %d took %.2f s" % (number, min(took))
    waiters.end()


@timeout(90)
def test_sigterm_of_the_daemon_frees_all_in_under_a_second(t):
    m = t.queue()
    waiters = Waiters(t, m)
    begin = time.monotonic()
    m.daemon.terminate()
    equal(waiters.ask("wait"), "errno %d count %d\n" % (errno.ESHUTDOWN, N))
    equal(m.ended(10), 0, "status")
    taken = time.monotonic() - begin
    assert taken < (12 if SLOW > 1 else 1), "it took %.2f s" % taken
    waiters.end()


@timeout(90)
def test_10000_items_for_10000_waiters(t):
    m = t.queue()
    waiters = Waiters(t, m)
    m.put("jobs", b"".join(b"%d\n" % n for n in range(N)))
    equal(waiters.ask("wait"), "errno 0 count %d\n" % N)
    waiters.end()
    stats = m.stats("jobs")
    equal([stats["total_gets"], stats["waiting"]], [N, 0])
    eventually(lambda: m.depth("jobs") == 0 and m.stats("jobs")["leased"] == 0)


if __name__ == "__main__":
    main()
