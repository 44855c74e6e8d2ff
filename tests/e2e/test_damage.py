#!/usr/bin/env python3
"""A store is damaged, cut short under its service, or open to others: what users see of it. What
each bit does is tests/stress/flips."""

import os
import shutil

from harness import SLOW, eventually, equal, main, sh


def file_of(data):
    return os.path.join(data, "data.mdb")


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
    turn_bit_of(file_of(m.data), b"unlucky")
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


def cut(path):
    os.truncate(path, 3 * 4096)


def fill(m):
    m.mkdir("jobs")
    m.put("jobs", (b"x" * 999 + b"\n") * 2000)
    m.flush("jobs")


def start_again(program, data):
    """Over what is left. Where that lacks the page that says where the tables are, the start is
    refused, with a line that says what to do, and that is done."""
    try:
        program.start()
    except AssertionError:
        assert "move it away to begin with an empty one" in program.log(), program.log()
        shutil.move(file_of(data), data + ".old")
        program.start()


def test_a_mount_whose_store_is_cut_under_it_ends_with_a_line_and_starts_again(t):
    m = t.mount()
    fill(m)
    cut(file_of(m.data))
    sh(["timeout", str(20 * SLOW), "cat", m.at("jobs/out")], check=False, seconds=30 * SLOW)
    equal(m.ended(), 1, "status (a signal is negative)")
    assert "data.mdb" in m.log() and "backup" in m.log(), m.log()
    start_again(m, m.data)
    m.mkdir("again")
    m.put("again", b"works\n")
    equal(m.get("again"), b"works\n", "an item")


def test_a_service_whose_store_is_cut_under_it_ends_with_a_line_and_starts_again(t):
    service = t.service()
    m = t.mount_of(service.address)
    fill(m)
    cut(file_of(service.data))
    sh("echo more >> jobs/in", cwd=m.path, check=False)
    equal(service.ended(), 1, "status (a signal is negative)")
    assert "data.mdb" in service.log() and "backup" in service.log(), service.log()
    start_again(service, service.data)


def test_what_others_may_write_to_is_refused(t):
    m = t.mount()
    equal(m.stop(), 0, "status")
    for path, bad, good in ((m.data, 0o777, 0o700), (file_of(m.data), 0o666, 0o600)):
        os.chmod(path, bad)
        done = sh(m.command(), check=False)
        equal(done.returncode, 1, "status")
        equal(done.stderr.count(b"\n"), 1, "lines of %r" % done.stderr)
        assert ("chmod go-w " + path).encode() in done.stderr, done.stderr
        os.chmod(path, good)
    m.start()


main()
