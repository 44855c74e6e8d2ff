#!/usr/bin/env python3
"""`claim`: leases items and prints their ids, as many and as long as its name says."""

import errno
import os
import select
import signal
import subprocess
import threading
import time

from harness import SLOW, Fd, equal, eventually, fails, main, timed, timeout
from work import (bytes_of, claim, claim_one, counts, eventually_counts, fill, jobs, listed, move,
                  pair, remove)


def test_the_loop_of_the_page(t):
    m = jobs(t, 20)
    m.sh("""
        while id=$(cat jobs/claim) && [ -n "$id" ]; do
            cat jobs/leased/$id >> %s && rm jobs/leased/$id || mv jobs/leased/$id jobs/ready/
            echo >> %s
        done""" % (t.path("handled"), t.path("handled")))
    with open(t.path("handled")) as file:
        equal(file.read().split(), [str(n) for n in range(20)], "what was handled")
    m.flush("jobs")
    eventually_counts(m, depth=0, leased=0, dead=0, redelivered=0)


def test_nothing_when_empty(t):
    m = jobs(t)
    equal(m.get("jobs", "claim"), b"")
    equal(m.get("jobs", "claim@5"), b"")
    fill(m, 1)
    claim_one(m)
    equal(m.get("jobs", "claim"), b"", "a claim when all is leased")


def test_an_id_is_16_digits_and_a_newline_and_is_in_leased(t):
    m = jobs(t, 3)
    first = m.get("jobs", "claim")
    equal(len(first), 17, "bytes of a line")
    ids = [first.decode().strip(), claim_one(m), claim_one(m)]
    equal(sorted(ids), ids, "ids are in queue order")
    equal(len(set(ids)), 3, "different ids")
    equal(listed(m, "leased"), ids, "leased")
    equal([bytes_of(m, "leased", item) for item in ids], [b"0", b"1", b"2"], "unframed bytes")


def test_ids_are_never_used_twice(t):
    m = jobs(t)
    seen = set()
    for n in range(5):
        fill(m, 3)
        ids = claim(m, "claim@3")
        equal(len(ids), 3, "ids")
        assert not seen & set(ids), "an id was used twice"
        assert not seen or min(ids) > max(seen), "ids do not rise"
        seen |= set(ids)
        for item in ids:
            remove(m, "leased", item)
        m.flush("jobs")
        m.restart()


def test_a_count_in_the_name(t):
    m = jobs(t, 20)
    equal(len(claim(m, "claim@8")), 8, "ids of claim@8")
    equal(len(claim(m, "claim@1")), 1, "ids of claim@1")
    equal(len(claim(m, "claim@100")), 11, "ids of claim@100 with 11 there")
    eventually_counts(m, depth=0, leased=20)


def test_small_reads_give_an_id_each(t):
    m = jobs(t, 5)
    with m.open_out("jobs", "claim@3") as file:
        ids = [file.read(4096) for _ in range(4)]
    equal([len(line) for line in ids], [17, 17, 17, 0], "lengths of the reads")
    eventually_counts(m, leased=3, depth=2)
    equal(bytes_of(m, "leased", ids[1].decode().strip()), b"1")


def test_a_line_larger_than_the_buffer_goes_on_in_the_next_read(t):
    m = jobs(t, 2)
    with m.open_out("jobs", "claim@2") as file:
        text = file.read(5) + file.read(5) + file.read(100)
        equal(len(text), 17, "bytes of the first line in three reads")
        text += file.read_all()
    equal(text.decode().split(), listed(m, "leased"), "the ids")


def test_head_takes_what_it_shows(t):
    m = jobs(t, 10)
    shown = m.out("head -n 3 jobs/claim@5").decode().split()
    equal(len(shown), 3, "lines")
    eventually_counts(m, leased=3, depth=7)
    equal(listed(m, "leased"), shown, "leased")


def test_xargs_takes_one_at_a_time(t):
    m = jobs(t, 12)
    m.sh("xargs -I ID -P 4 rm jobs/leased/ID < jobs/claim@100")
    m.flush("jobs")
    eventually_counts(m, depth=0, leased=0)


def test_a_time_in_the_name(t):
    m = jobs(t)
    for name in ("claim@300ms", "claim@4@300ms"):
        taken = timed(lambda: equal(m.get("jobs", name), b"", name))
        assert 0.28 <= taken <= 3 * SLOW, "%s took %.2f s" % (name, taken)
    fill(m, 2)
    assert timed(lambda: equal(len(claim(m, "claim@20s")), 1, "ids")) < 5 * SLOW
    assert timed(lambda: equal(len(claim(m, "claim@8@20s")), 1, "ids")) < 5 * SLOW


def test_get_timeout_holds_for_claim(t):
    m = jobs(t, get_timeout="300ms")
    assert timed(lambda: equal(m.get("jobs", "claim"), b"")) >= 0.28


def test_only_the_first_id_is_waited_for(t):
    m = jobs(t)
    reader = subprocess.Popen(["cat", m.at("jobs/claim@8@forever")], stdout=subprocess.PIPE)
    eventually(lambda: m.stats("jobs")["waiting"] == 1, 10, "the reader")
    fill(m, 3)
    ids = reader.communicate(timeout=20 * SLOW)[0].split()
    assert 1 <= len(ids) <= 3, "%d ids" % len(ids)
    eventually_counts(m, leased=len(ids), depth=3 - len(ids))


def test_forever_waits_for_a_put_of_this_mount_and_of_another(t):
    _, one, two = pair(t)
    for putter in (one, two):
        reader = subprocess.Popen(["cat", one.at("jobs/claim@forever")], stdout=subprocess.PIPE)
        eventually(lambda: one.stats("jobs")["waiting"] == 1, 10, "the reader")
        putter.put("jobs", b"x\n")
        item = reader.communicate(timeout=20 * SLOW)[0].decode().strip()
        equal(bytes_of(one, "leased", item), b"x")
        remove(one, "leased", item)


def test_forever_waits_for_an_item_that_comes_back(t):
    _, one, two = pair(t, 1)
    item = claim_one(one)
    reader = subprocess.Popen(["cat", two.at("jobs/claim@forever")], stdout=subprocess.PIPE)
    eventually(lambda: two.stats("jobs")["waiting"] == 1, 10, "the reader")
    move(one, item, "leased", "ready")
    equal(reader.communicate(timeout=20 * SLOW)[0].decode(), item + "\n")


def test_what_is_buffered_is_claimed(t):
    m = jobs(t, linger="1h")
    m.put("jobs", b"a\n")
    item = claim_one(m)
    equal(bytes_of(m, "leased", item), b"a")


def test_nonblock(t):
    m = jobs(t)
    with m.open_out("jobs", "claim@forever", os.O_NONBLOCK) as file:
        fails(errno.EAGAIN, file.read)
        fill(m, 1)
        assert select.select([file], [], [], 10 * SLOW)[0], "not readable with an item there"
        equal(len(file.read()), 17)
        equal(file.read(), b"", "the end of its one id")
    with m.open_out("jobs", "claim", os.O_NONBLOCK) as file:
        equal(file.read(), b"", "a read that would not wait")


def ready(file, milliseconds):
    poller = select.poll()
    poller.register(file, select.POLLIN)
    return bool(poller.poll(milliseconds))


def test_poll_tells_and_leases_nothing(t):
    m = jobs(t)
    with m.open_out("jobs", "claim@forever") as file:
        assert not ready(file, 200), "readable with nothing there"
        timer = threading.Timer(0.2, fill, (m, 1))
        timer.start()
        assert ready(file, 20000), "it was never woken"
        timer.join()
        equal(listed(m, "leased"), [], "a poll gave an id")
    eventually_counts(m, depth=1, leased=0, redelivered=0)
    with m.open_out("jobs", "claim") as file:
        assert ready(file, 5000), "not readable with an item there"
        equal(len(file.read()), 17)


def test_what_was_fetched_and_not_given_goes_back_uncounted(t):
    m = jobs(t, 50)
    with m.open_out("jobs", "claim@50") as file:
        file.read(100)
    eventually_counts(m, depth=49, leased=1, redelivered=0)
    rest = claim(m, "claim@49")
    equal(len(rest), 49, "ids")
    equal({os.getxattr(m.at("jobs/leased", item), "user.deliveries") for item in rest}, {b"1"},
          "deliveries")


def test_reading_on_and_closing_acknowledge_nothing(t):
    m = jobs(t, 3)
    with m.open_out("jobs", "claim@3") as file:
        while file.read(17):
            pass
    eventually_counts(m, leased=3, depth=0)
    equal(len(listed(m, "leased")), 3, "leased")


def test_o_nofollow_is_refused(t):
    m = jobs(t, 2)
    for name in ("claim", "claim@2", "claim@1s", "claim@2@1s"):
        fails(errno.EPERM, m.open_out, "jobs", name, os.O_NOFOLLOW)
    m.sh("grep -r . jobs > /dev/null", check=False)
    m.sh("cp -r jobs %s" % t.path("copy"), check=False)
    equal(listed(m, "leased"), [], "what grep and cp claimed")
    eventually_counts(m, depth=2, leased=0)


def test_names_that_are_no_claim(t):
    m = jobs(t, 1)
    for name in ("claim@", "claim@0", "claim@x", "claim@01", "claim@1@2", "claim@1s@1", "claims",
                 "claim@forever@1", "Claim"):
        fails(errno.ENOENT, os.stat, m.at("jobs", name))
    fails(errno.EACCES, Fd, m.at("jobs/claim"), os.O_WRONLY)
    fails(errno.EACCES, Fd, m.at("jobs/claim"), os.O_RDWR)
    fails(errno.EPERM, os.unlink, m.at("jobs/claim"))
    assert os.stat(m.at("jobs/claim")).st_size > 0, "sendfile would see an end of file"
    assert "claim" not in os.listdir(m.at("jobs")), os.listdir(m.at("jobs"))
    for place in ("ready", "leased", "dead"):
        assert os.path.isdir(m.at("jobs", place)), place


def test_waiting_claims_end_at_each_signal(t):
    m = jobs(t)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        reader = subprocess.Popen(["cat", m.at("jobs/claim@forever")], stdout=subprocess.PIPE)
        eventually(lambda: m.stats("jobs")["waiting"] == 1, 10, "the reader")
        reader.send_signal(number)
        assert timed(reader.communicate) < 0.5 * SLOW
        equal(reader.returncode, -number, "status")
        eventually(lambda: m.stats("jobs")["waiting"] == 0, 5, "no reader")
    fill(m, 1)
    claim_one(m)


@timeout(60)
def test_claims_killed_at_random_lose_nothing(t):
    m = jobs(t, lease="2s", max_deliveries=1000)
    for n in range(40):
        reader = subprocess.Popen(["cat", m.at("jobs/claim@forever")], stdout=subprocess.PIPE)
        time.sleep(n % 8 / 400)
        reader.kill()
        fill(m, 1, n)
        reader.communicate(timeout=10 * SLOW)
    found = set()
    end = time.monotonic() + 30 * SLOW
    while len(found) < 40:
        assert time.monotonic() < end, "%d of 40 items" % len(found)
        for item in claim(m, "claim@100@1s"):
            found.add(int(bytes_of(m, "leased", item)))
            remove(m, "leased", item)
    m.flush("jobs")
    eventually_counts(m, depth=0, leased=0, delayed=0, dead=0)


def test_two_mounts_never_claim_the_same(t):
    _, one, two = pair(t, 400)
    found = {one: [], two: []}

    def work(m):
        while True:
            ids = claim(m, "claim@3")
            if not ids:
                return
            found[m] += ids

    threads = [threading.Thread(target=work, args=(m,)) for m in (one, two) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = found[one] + found[two]
    equal([len(ids), len(set(ids))], [400, 400], "ids, and different ones")
    for m in (one, two):
        equal(listed(m, "leased"), sorted(found[m]), "what this mount holds")
    eventually_counts(one, leased=400, depth=0)


def test_claims_are_counted_as_gets(t):
    m = jobs(t, 10)
    claim(m, "claim@4")
    claim_one(m)
    equal(counts(m, "total_gets"), [5], "total_gets")
    eventually_counts(m, leased=5, depth=5)


def test_a_removed_queue_ends_a_waiting_claim(t):
    m = jobs(t)
    reader = subprocess.Popen(["cat", m.at("jobs/claim@forever")], stderr=subprocess.PIPE)
    eventually(lambda: m.stats("jobs")["waiting"] == 1, 10, "the reader")
    os.rmdir(m.at("jobs"))
    assert b"No such file" in reader.communicate(timeout=10 * SLOW)[1], "what cat said"


def test_framings(t):
    m = t.mount()
    for framing, data, items in (("nul", b"a\nb\0c\0", [b"a\nb", b"c"]),
                                 ("file", b"\0one\nfile\n", [b"\0one\nfile\n"])):
        m.mkdir(framing, framing=framing)
        m.put(framing, data)
        m.flush(framing)
        ids = m.get(framing, "claim@9").decode().splitlines()
        got = []
        for item in ids:
            with open(m.at(framing, "leased", item), "rb") as file:
                got.append(file.read())
        equal(got, items, "items of framing " + framing)


if __name__ == "__main__":
    main()
