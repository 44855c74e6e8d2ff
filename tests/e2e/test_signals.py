#!/usr/bin/env python3
"""What a signal does to a call: what only waits is interrupted, everything else ends as if nothing
had come; what ends a process always gets through, and nothing is done and reported as EINTR.
"""

import os
import signal
import subprocess
import threading
import time

from harness import SLOW, equal, eventually, main, sh, timeout
from test_away import stop_at_once
from work import claim, listed, pair, path

ROUNDS = 200


def alarmed(t, call, name, n):
    """The outcomes of a call under a timer's signals, and how long it took in s."""
    program = t.path("alarmed")
    if not os.path.exists(program):
        t.compile("alarmed")
    lines = sh([program, call, name, str(n)], seconds=120).stdout.decode().split("\n")
    counts = {name: int(count) for name, count in (line.split() for line in lines if line)}
    return counts, counts.pop("us") / 1e6


def always_ok(t, call, name, n=ROUNDS):
    counts, _ = alarmed(t, call, name, n)
    equal(list(counts), ["ok"], "outcomes of %s under signals, %r" % (call, counts))
    return counts["ok"]


@timeout(180)
def test_calls_that_change_or_look_never_say_EINTR(t):
    _, m, _ = pair(t, 50)
    equal(always_ok(t, "mkdir", m.at("made")), 2 * ROUNDS, "mkdir and rmdir")
    always_ok(t, "chmod", m.at("jobs"))
    always_ok(t, "ls", m.at("jobs", "ready"))
    for item in listed(m, "ready")[:5]:
        always_ok(t, "stat", path(m, "ready", item), ROUNDS // 5)
        always_ok(t, "read", path(m, "ready", item), ROUNDS // 5)
    item = claim(m, "claim@1")[0]
    ready, dead = path(m, "ready", item), path(m, "dead", item)
    os.rename(path(m, "leased", item), ready)
    eventually(lambda: item in listed(m, "ready"), 5, "the item back")
    always_ok(t, "rm", m.at("jobs", "ready"), 1)
    equal(listed(m, "ready"), [], "what rm left")
    assert not os.path.exists(dead)


@timeout(180)
def test_claiming_and_giving_back_by_name_never_says_EINTR(t):
    _, m, _ = pair(t, 1, max_deliveries=1000000, retry_delay="0s")
    item = listed(m, "ready")[0]
    always_ok(t, "rename", "%s %s" % (path(m, "ready", item), path(m, "leased", item)))
    equal(listed(m, "ready"), [item], "ready")


@timeout(180)
def test_syncing_calls_never_say_EINTR_within_a_second(t):
    _, m, _ = pair(t, 0)
    for call, name in (("fsync", "in"), ("touch", "flush"), ("truncate", "flush"),
                       ("osync", "in")):
        always_ok(t, call, m.at("jobs", name))
    m.flush("jobs")
    equal(m.stats("jobs")["depth"], 2 * ROUNDS, "depth")


@timeout(120)
def test_a_syncing_call_says_EINTR_a_second_after_the_signal(t):
    """So does fsync; a write under O_SYNC has been taken, so it says 'not yet'."""
    service, m, _ = pair(t, 0)
    stop_at_once(service.daemon)
    for call, name, outcome in (("fsync", "in", "EINTR"), ("touch", "flush", "EINTR"),
                                ("truncate", "flush", "EINTR"), ("osync", "in", "ETIMEDOUT")):
        counts, taken = alarmed(t, call, m.at("jobs", name), "once")
        assert outcome in counts, "%s: %r" % (call, counts)
        assert 1 <= taken <= 1.1 + 0.5 * SLOW, "%s took %.2f s" % (call, taken)
    service.daemon.send_signal(signal.SIGCONT)
    m.flush("jobs")
    equal(m.get("jobs").splitlines(), [b"x", b"x"], "what was put")


@timeout(60)
def test_a_changing_call_that_gets_no_answer_says_ETIMEDOUT(t):
    service, m, _ = pair(t, 0)
    for call, name in (("mkdir", m.at("made")), ("chmod", m.at("jobs")),
                       ("ls", m.at("jobs/ready"))):
        stop_at_once(service.daemon)
        counts, taken = alarmed(t, call, name, "once")
        service.daemon.send_signal(signal.SIGCONT)
        eventually(lambda: m.stats()["connected"] == 1 and answers(m), 10, "the service")
        equal(list(counts), ["ETIMEDOUT"], call)
        assert taken <= 1.1 + 0.5 * SLOW, "%s took %.2f s" % (call, taken)


def answers(m):
    try:
        os.listdir(m.at("jobs/ready"))
    except TimeoutError:
        return False
    return True


@timeout(120)
def test_what_ends_a_process_gets_through_at_once(t):
    service, m, _ = pair(t, 1)
    stop_at_once(service.daemon)
    scripts = ["touch flush", "echo x >> in; exec sync in", "exec cat out@forever",
               "exec cat claim@forever", "echo jobs > purge"]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGQUIT):
        for script in scripts:
            script = script if "exec" in script else "exec " + script
            process = subprocess.Popen(["bash", "-c", "ulimit -c 0; " + script], cwd=m.at("jobs"),
                                       stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            time.sleep(0.2)
            begin = time.monotonic()
            process.send_signal(number)
            process.wait(20)
            taken = time.monotonic() - begin
            assert taken < 1.1 + 0.5 * SLOW, "%s ended %.2f s after signal %d" % (script, taken,
                                                                                  number)
    service.daemon.send_signal(signal.SIGCONT)


@timeout(60)
def test_reads_and_writes_that_wait_say_EINTR_at_once(t):
    m = t.queue()
    took = []
    for _ in range(3):
        counts, taken = alarmed(t, "read", m.at("jobs/next@forever"), "once")
        assert "EINTR" in counts, counts
        took.append(taken)
    assert min(took) < 0.2 + 0.2 * SLOW, "took %.2f s" % min(took)


def stopped_and_continued(process, pause):
    """Stopped, and going on after `pause` s. How long it took to stop."""
    begin = time.monotonic()
    process.send_signal(signal.SIGSTOP)
    eventually(lambda: state_of(process) == "T", 5, "a stopped process")
    taken = time.monotonic() - begin
    time.sleep(pause)
    process.send_signal(signal.SIGCONT)
    return taken


def state_of(process):
    with open("/proc/%d/stat" % process.pid) as stat:
        return stat.read().rsplit(") ", 1)[1].split()[0]


@timeout(60)
def test_a_stop_takes_effect_within_a_moment(t):
    m = t.queue()
    reader = subprocess.Popen(["cat", m.at("jobs/next@forever")], stdout=subprocess.PIPE)
    eventually(lambda: m.stats("jobs")["waiting"] == 1, 10, "a waiting reader")
    taken = min(stopped_and_continued(reader, 0.3) for _ in range(3))
    assert taken < 0.3 + 0.3 * SLOW, "stopped after %.2f s" % taken
    m.put("jobs", b"a\n")
    equal(reader.communicate(timeout=10 * SLOW)[0], b"a\n")


BUSY = {
    "sed": "sed -u s/^/x/ < jobs/out@forever",
    "xargs": "xargs -n 1 echo < jobs/out@forever",
    "gawk": "gawk '{ print; fflush() }' jobs/out@forever",
    "cat": "cat jobs/out@forever",
}


@timeout(120)
def test_a_stop_ends_no_reader_of_a_busy_queue(t):
    """Whoever gets an item every 50 ms is in its read when the stop comes, and has one before the
    moment is over: the read ends well."""
    m = t.queue()

    def put(end):
        while not end.wait(0.05):
            m.put("jobs", b"x\n")

    for name, script in BUSY.items():
        if sh("command -v " + name, check=False).returncode != 0:
            continue
        reader = subprocess.Popen(["sh", "-c", "exec " + script], cwd=m.path,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        end = threading.Event()
        writer = threading.Thread(target=put, args=(end,))
        writer.start()
        eventually(lambda: m.stats("jobs")["total_gets"] > 3, 10, "items that are read")
        for _ in range(5):
            stopped_and_continued(reader, 0.1)
            time.sleep(0.15)
        time.sleep(0.3)
        equal(reader.poll(), None, name + " after five stops")
        reader.kill()
        reader.communicate()
        end.set()
        writer.join()
        m.get("jobs")


if __name__ == "__main__":
    main()
