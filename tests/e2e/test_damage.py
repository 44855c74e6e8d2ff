#!/usr/bin/env python3
"""A store is damaged, cut short under its service, or open to others: what users see of it. What
each bit does is tests/stress/flips."""

import os
import shutil

from harness import SLOW, equal, eventually, main, sh


def segment_of(data):
    """The first of the log."""
    return os.path.join(data, "log", "0" * 16 + ".log")


def turn_bit_of(path, text):
    """A bit of each place where the text stands in the file."""
    with open(path, "r+b") as file:
        content = file.read()
        at = content.find(text)
        assert at >= 0, "%r is not in %s" % (text, path)
        while at >= 0:
            file.seek(at)
            file.write(bytes([content[at] ^ 1]))
            at = content.find(text, at + 1)


def test_a_damaged_batch_is_named_and_counted_and_the_rest_is_served(t):
    m = t.mount()
    m.mkdir("jobs")
    m.mkdir("others")
    for text in (b"first\n" * 3, b"unlucky\n", b"last\n"):
        m.put("jobs", text)
        m.flush("jobs")
    m.put("others", b"other\n")
    m.flush("others")
    equal(m.stop(), 0, "status")
    turn_bit_of(segment_of(m.data), b"unlucky")
    m.start()
    equal(m.get("jobs"), b"first\n" * 3 + b"last\n", "what is left")
    equal(m.get("others"), b"other\n", "the other queue")
    eventually(lambda: m.stats("jobs")["damaged_batches"] == 1, 5, "the batch is counted")
    equal(m.stats("jobs")["damaged_items"], 1, "items")
    equal(m.stats("jobs")["depth"], 0, "depth")
    equal(m.stats("others")["damaged_batches"], 0, "of the other")
    eventually(lambda: m.stats()["damaged_rows"] == 1, 5, "the row is counted")
    equal(m.log().count("queue jobs: batch 2 is damaged"), 1, "lines in " + m.log())
    for word in ("backup", "echo jobs > jobs/purge"):
        assert word in m.log(), m.log()
    m.sh("echo jobs > jobs/purge && rmdir jobs")


def fill(m):
    m.mkdir("jobs")
    for _ in range(200):
        m.put("jobs", b"x" * 999 + b"\n")
        m.flush("jobs")


def works_again(program, m):
    program.start()
    eventually(lambda: m.sh("mkdir -p again", check=False).returncode == 0, 20, "a queue")
    m.sh("echo works >> again/in; touch again/flush")
    equal(m.get("again"), b"works\n", "an item")


def test_a_mount_whose_index_is_cut_under_it_ends_with_a_line_and_lacks_nothing(t):
    m = t.mount()
    fill(m)
    equal(m.stop(), 0, "status")
    m.start()
    os.truncate(os.path.join(m.data, "index/data.mdb"), 3 * 4096)
    sh(["timeout", str(20 * SLOW), "cat", m.at("jobs/out")], check=False, seconds=30 * SLOW)
    if m.daemon.poll() is None:  # the pages that were needed are in memory
        m.daemon.terminate()
    assert m.ended() in (0, 1), "status (a signal is negative)"
    works_again(m, m)
    assert len(m.get("jobs")) in (0, 200 * 1000), "items"


def test_a_service_whose_log_is_cut_under_it_ends_with_a_line_and_starts_again(t):
    service = t.service()
    m = t.mount_of(service.address)
    fill(m)
    os.truncate(segment_of(service.data), 3 * 4096)
    m.sh("echo more >> jobs/in", check=False)
    equal(service.ended(), 1, "status (a signal is negative)")
    assert "0000000000000000.log was cut short" in service.log(), service.log()
    assert "backup" in service.log(), service.log()
    works_again(service, m)


def test_an_index_that_is_gone_is_made_anew(t):
    m = t.mount()
    fill(m)
    equal(len(m.get("jobs", "out@3")), 3 * 1000, "items")
    equal(m.stop(), 0, "status")
    shutil.rmtree(os.path.join(m.data, "index"))
    m.start()
    equal(len(m.get("jobs")), 197 * 1000, "the other items")


def test_what_others_may_write_to_is_refused(t):
    m = t.mount()
    equal(m.stop(), 0, "status")
    for path, bad, good in ((m.data, 0o777, 0o700), (os.path.join(m.data, "log"), 0o777, 0o700)):
        os.chmod(path, bad)
        done = sh(m.command(), check=False)
        equal(done.returncode, 1, "status")
        equal(done.stderr.count(b"\n"), 1, "lines of %r" % done.stderr)
        assert ("chmod go-w " + path).encode() in done.stderr, done.stderr
        os.chmod(path, good)
    m.start()


main()
