#!/usr/bin/env python3
"""Several processes with one open of `out`, `next` or `claim`, and reads that arrive in pieces."""

import os
import signal
import subprocess
import time

from harness import Fd, equal, eventually, main

MIB = 1 << 20


# ---- header and body by two processes ----


def test_head_and_cat_of_one_item(t):
    m = t.queue()
    m.put("jobs", b"abcdef\nghi\n")
    equal(m.out("{ head -c 3; echo; cat; } < jobs/next"), b"abc\ndef\n")
    equal(m.get("jobs"), b"ghi\n")


def test_header_and_body_of_a_file(t):
    m = t.queue(framing="file")
    body = bytes(range(256)) * 2000
    for _ in range(20):
        m.put("jobs", b"HEAD" + body)
        m.sh("{ dd bs=4 count=1 of=../h status=none; cat > ../b; } < jobs/out")
        with open(t.path("h"), "rb") as head, open(t.path("b"), "rb") as rest:
            equal(head.read(), b"HEAD")
            equal(rest.read(), body)
        equal(m.get("jobs"), b"")


def test_three_processes_of_one_item(t):
    m = t.queue()
    m.put("jobs", b"abcdefghi\n")
    equal(m.out("{ head -c 2; (head -c 3); sleep 0.2; cat; } < jobs/next"), b"abcdefghi\n")
    equal(m.depth("jobs"), 0)


def test_what_nobody_read_to_its_end_is_first_again(t):
    m = t.queue()
    for _ in range(50):
        m.put("jobs", b"abcdef\nghi\n")
        equal(m.out("head -c 3 jobs/next; echo; cat jobs/out"), b"abc\nabcdef\nghi\n")


def test_claim_sees_what_goes_back(t):
    m = t.queue()
    for _ in range(20):
        m.put("jobs", b"abcdef\n")
        script = "head -c 3 jobs/next; id=$(cat jobs/claim); cat jobs/leased/$id"
        equal(m.out(script + "; rm jobs/leased/$id"), b"abcabcdef")


# ---- those who share an open wait each for themselves ----


def state_of(pid):
    with open("/proc/%d/stat" % pid) as stat:
        return stat.read().rpartition(")")[2].split()[0]


def sharers(m, path, flags, argv):
    """Four programs with one open of a file as input or output, once all of them wait."""
    with Fd(m.at(path), flags) as file:
        std = "stdin" if flags == os.O_RDONLY else "stdout"
        started = [subprocess.Popen(argv, cwd=m.path, **{std: file.fileno()}) for _ in range(4)]
    eventually(lambda: all(state_of(each.pid) in "SD" for each in started), what="that all wait")
    time.sleep(0.5)
    return started


def kill(processes):
    for process in processes:
        process.kill()
    for process in processes:
        equal(process.wait(5), -signal.SIGKILL)


def test_each_sharer_of_a_claim_can_be_killed(t):
    m = t.queue()
    for process in reversed(sharers(m, "jobs/claim@forever", os.O_RDONLY, ["cat"])):
        kill([process])  # the last in line first


def test_all_who_write_to_one_open_of_a_full_queue_can_be_killed(t):
    """One alone only in its turn: the kernel lets the writers of an inode wait for its lock."""
    m = t.queue(maxsize=2)
    for flags in (os.O_WRONLY, os.O_WRONLY | os.O_APPEND):
        kill(sharers(m, "jobs/in", flags, ["yes"]))


def test_a_claim_is_read_byte_by_byte_and_in_pieces(t):
    m = t.queue(retry_delay="0s")
    m.put("jobs", b"a\nb\nc\nd\ne\n")
    m.flush("jobs")
    ready = sorted(os.listdir(m.at("jobs/ready")))
    for shell in ("bash", "dash"):
        got = m.out("while read -r id; do echo $id; done < jobs/claim@2", shell=shell)
        equal(got.decode().split(), ready[:2])
        m.sh("mv jobs/leased/* jobs/ready/")
    got = m.out("(dd bs=5 count=1 status=none; cat; cat) < jobs/claim@2; wc -l < jobs/claim@2;"
                "tail -n 1 jobs/claim")
    equal(got.decode().split(), ready[:2] + ["2"] + ready[4:])


# ---- a read(2) of more than 1 MiB ----


def test_large_read_gives_what_is_there(t):
    m = t.queue()
    m.put("jobs", b"0123456789abcde\n" * 65536)
    m.flush("jobs")
    begin = time.monotonic()
    got = m.sh("timeout 20 dd bs=4M count=1 if=jobs/out@forever status=none", check=False)
    assert time.monotonic() - begin < 20, "dd waits with items in hand"
    rest = m.get("jobs")
    equal(len(got.stdout) + len(rest), MIB)
    assert len(got.stdout) >= MIB - 16, len(got.stdout)


def test_large_reads_in_a_row_end_only_with_the_queue(t):
    m = t.queue()
    data = b"".join(b"%015d\n" % n for n in range(400000))
    m.put("jobs", data)
    for size in ("1M", "4M", "1048570", "1500K"):
        equal(m.out("dd bs=%s if=jobs/out status=none" % size) == data, True, size)
        m.put("jobs", data)


def test_largest_item_by_one_read(t):
    m = t.queue(framing="file")
    m.put("jobs", b"x" * MIB)
    equal(len(m.out("dd bs=1M count=1 if=jobs/out status=none")), MIB)
    equal(m.depth("jobs"), 0)


main()
