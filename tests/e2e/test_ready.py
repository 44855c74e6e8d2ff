#!/usr/bin/env python3
"""ready/: what waits. Listing and reading only look; rm drops, mv to leased/ claims that item."""

import errno
import os
import threading
import time

from harness import FULL, SLOW, Fd, Skip, equal, eventually, fails, main, timeout
from work import (attribute, bytes_of, claim, claim_one, deliveries, eventually_counts, fill, jobs,
                  lines, listed, moment, move, pair, path, remove, where)

LISTED = 10000  # items of a listing at most


def test_listing_and_reading_only_look(t):
    m = jobs(t, 30)
    ids = listed(m, "ready")
    equal([len(ids), ids], [30, sorted(ids)], "the listing")
    equal([bytes_of(m, "ready", item) for item in ids], [b"%d" % n for n in range(30)])
    equal(m.sh("cat jobs/ready/*").stdout, b"".join(b"%d" % n for n in range(30)))
    eventually_counts(m, depth=30, leased=0, redelivered=0)
    equal(m.get("jobs"), lines(30), "what out gives")
    equal(listed(m, "ready"), [])
    fails(errno.ENOENT, os.stat, path(m, "ready", ids[0]))


def test_what_this_mount_has_buffered_is_shown(t):
    m = jobs(t, linger="1h")
    shown = m.out("echo one >> jobs/in; ls jobs/ready; cat jobs/ready/*")
    equal(len(shown.split()), 2, "an id and the item")
    assert shown.endswith(b"one"), shown


def test_what_another_mount_has_put_is_shown(t):
    _, one, two = pair(t, 5)
    ids = listed(two, "ready")
    equal(len(ids), 5, "items")
    equal([bytes_of(two, "ready", item) for item in ids], [b"%d" % n for n in range(5)])
    claim_one(one)
    equal(listed(two, "ready"), ids[1:], "after a claim through the other mount")


def test_what_ls_shows(t):
    m = jobs(t)
    begin = time.time()
    m.put("jobs", b"four\n" + b"x" * 200000 + b"\n")
    m.flush("jobs")
    stats = [os.stat(path(m, "ready", item)) for item in listed(m, "ready")]
    equal([s.st_size for s in stats], [4, 200000], "sizes")
    for status in stats:
        assert begin - 1 <= status.st_mtime <= time.time() + 1, status.st_mtime
    item = listed(m, "ready")[0]
    equal(os.getxattr(path(m, "ready", item), "user.deliveries"), b"0", "deliveries")
    enqueued = moment(attribute(m, "ready", item, "enqueued"))
    assert abs(enqueued - stats[0].st_mtime) < 0.001, enqueued
    fails(errno.ENODATA, os.getxattr, path(m, "ready", item), "user.lease_expires")
    shown = m.out("ls -l jobs/ready").decode().splitlines()
    equal(len([line for line in shown if " 200000 " in line]), 1, "lines of the large one")


def test_rm_drops(t):
    m = jobs(t, 4)
    ids = listed(m, "ready")
    m.sh("rm jobs/ready/" + ids[1])
    equal(where(m, ids[1]), [])
    fails(errno.ENOENT, os.unlink, path(m, "ready", ids[1]))
    m.restart()
    equal(m.get("jobs"), b"0\n2\n3\n", "what is left")


def test_rm_of_all(t):
    m = jobs(t, 300)
    m.sh("rm jobs/ready/*")
    equal(listed(m, "ready"), [])
    eventually_counts(m, depth=0, leased=0, dead=0)
    os.rmdir(m.at("jobs"))


def test_mv_to_leased_claims_that_one(t):
    m = jobs(t, 5)
    ids = listed(m, "ready")
    m.sh("mv jobs/ready/%s jobs/leased/" % ids[3])
    equal(where(m, ids[3]), ["leased"])
    equal(bytes_of(m, "leased", ids[3]), b"3")
    equal(deliveries(m, "leased", ids[3]), 1, "deliveries")
    eventually_counts(m, depth=4, leased=1)
    remove(m, "leased", ids[3])
    equal(claim(m, "claim@9"), ids[:3] + ids[4:], "the others")


def test_a_lost_race_is_ENOENT(t):
    _, one, two = pair(t, 2)
    first, second = listed(two, "ready")
    claim_one(one)
    fails(errno.ENOENT, move, two, first, "ready", "leased")
    remove(one, "ready", second)
    fails(errno.ENOENT, move, two, second, "ready", "leased")
    done = two.sh("mv jobs/ready/%s jobs/leased/" % first, check=False)
    assert done.returncode == 1 and b"No such file" in done.stderr, done.stderr


def race(m, ids, ours, end, report):
    """Take each id as soon as the other process comes to it too; a byte for each: 1, it was ours.

    They let each other through by a byte each way through a pair of pipes.
    """
    reading, writing = ours
    marks = bytearray()
    for item in ids:
        if time.monotonic() > end:
            break
        try:
            os.write(writing, b"g")
        except BrokenPipeError:
            break  # the other one has ended
        if not os.read(reading, 1):
            break
        try:
            move(m, item, "ready", "leased")
            marks.append(1)
        except FileNotFoundError:
            marks.append(0)
    os.write(report, marks)


def fork_race(m, ids, ours, others, end, report):
    pid = os.fork()
    if pid == 0:
        for number in others:
            os.close(number)
        status = 1
        try:
            race(m, ids, ours, end, report)
            status = 0
        finally:
            os._exit(status)
    return pid


@timeout(200 if FULL else 60)
def test_two_mounts_take_the_same_item_and_one_wins(t):
    """10,000 rounds, or as many as there is time for."""
    rounds, seconds = 10000, 1e9 if FULL else 6
    _, one, two = pair(t, rounds, lease="1h")
    ids = listed(one, "ready")
    equal(len(ids), rounds, "items")
    took = contest(t, (one, two), ids, time.monotonic() + seconds)
    n = min(len(marks) for marks in took)
    print("# %d rounds, won %d and %d" % (n, sum(took[0]), sum(took[1])), flush=True)
    assert n == rounds or not FULL, "%d of %d rounds" % (n, rounds)
    assert n > 100 // SLOW, "only %d rounds" % n
    for index in range(n):
        equal(took[0][index] + took[1][index], 1, "winners of " + ids[index])
    for m, marks in ((one, took[0]), (two, took[1])):
        mine = [item for item, mark in zip(ids, marks) if mark]
        equal(listed(m, "leased")[:len(mine)], mine[:LISTED], "what the winner holds")
    eventually_counts(one, leased=sum(took[0]) + sum(took[1]))


def contest(t, mounts, ids, end):
    """Two processes; each one's marks."""
    forth, back = os.pipe(), os.pipe()
    reports = [os.open(t.path("won%d" % n), os.O_RDWR | os.O_CREAT) for n in range(2)]
    ends = [(forth[0], back[1]), (back[0], forth[1])]
    pids = [fork_race(mounts[n], ids, ends[n], ends[1 - n], end, reports[n]) for n in range(2)]
    for number in (*forth, *back):
        os.close(number)
    for pid in pids:
        equal(os.waitpid(pid, 0)[1], 0, "status of a racer")
    took = []
    for report in reports:
        took.append(os.pread(report, len(ids), 0))
        os.close(report)
    return took


@timeout(60)
def test_the_first_10000_are_listed_and_any_id_is_found(t):
    m = jobs(t, 12000)
    ids = listed(m, "ready")
    equal(len(ids), LISTED, "items listed")
    equal([bytes_of(m, "ready", item) for item in (ids[0], ids[-1])], [b"0", b"9999"])
    m.get("jobs", "out@5000")
    rest = listed(m, "ready")
    equal([len(rest), rest[:5000]], [7000, ids[5000:]], "what is listed after 5,000 gets")
    fill(m, 6000, 12000)
    equal(bytes_of(m, "ready", rest[-1]), b"11999", "the bytes of one far behind")
    item = beyond(m)
    equal(bytes_of(m, "ready", item), b"17999", "the last one of all")
    move(m, item, "ready", "leased")
    equal(bytes_of(m, "leased", item), b"17999")
    equal(len(listed(m, "ready")), LISTED, "items listed")


def beyond(m):
    """The id of the last of 18,000 items of which 5,000 are gone: shown by none of the listings."""
    shown = set(listed(m, "ready"))
    ids = claim(m, "claim@13000")
    equal(len(ids), 13000, "ids")
    m.configure("jobs", retry_delay="0s", max_deliveries=100)
    for item in ids:
        move(m, item, "leased", "ready")
    m.flush("jobs")
    assert ids[-1] not in shown, "it was listed"
    return ids[-1]


class Churn:
    """Claims, acknowledges, gives back and puts, until it is told to stop."""

    def __init__(self, m):
        self.m, self.stop, self.failure = m, False, None
        self.thread = threading.Thread(target=self.run)

    def run(self):
        try:
            n = 0
            while not self.stop:
                n += 1
                ids = claim(self.m, "claim@20")
                for item in ids[n % 2::2]:
                    remove(self.m, "leased", item)
                for item in ids[1 - n % 2::2]:
                    move(self.m, item, "leased", "ready")
                fill(self.m, 10, 100000 * n)
        except BaseException as failure:  # told by the test
            self.failure = failure


@timeout(90)
def test_listings_are_stable_under_change(t):
    """None twice, in order, and none missing that was there throughout."""
    _, m, other = pair(t, 12000, retry_delay="0s", max_deliveries=1000)
    churn = Churn(m)
    before = listed(other, "ready")
    equal(len(before), LISTED, "items listed")
    churn.thread.start()
    shown, end = [], time.monotonic() + 3
    while time.monotonic() < end or len(shown) < 4:
        shown.append(slowly_listed(other, "ready") if len(shown) % 2 else listed(other, "ready"))
    churn.stop = True
    churn.thread.join()
    assert churn.failure is None, repr(churn.failure)
    m.flush("jobs")
    after = set(listed(other, "ready"))
    taken = [item for item in before if item not in after]
    print("# %d listings, %d items were taken" % (len(shown), len(taken)), flush=True)
    assert taken, "nothing changed"
    # What was given back was not there for a moment; beyond the last one claimed nothing changed.
    untouched = [item for item in before if item > taken[-1]][20:]
    for ids in shown:
        equal(len(ids), LISTED, "items listed")
        assert ids == sorted(set(ids)), "out of order or twice"
        missing = {item for item in untouched if item < ids[-1]} - set(ids)
        assert not missing, "missing: %s" % sorted(missing)[:5]


def slowly_listed(m, place):
    """By many small reads of the directory, with pauses."""
    ids = []
    with os.scandir(path(m, place)) as entries:
        for entry in entries:
            ids.append(entry.name)
            if len(ids) % 2000 == 0:
                time.sleep(0.02)
    return ids


def test_items_larger_than_one_look_of_the_service(t):
    """It reads some 16 MiB to answer one question about a listing."""
    m = jobs(t, framing="file", max_item_size="32MiB")
    for _ in range(3):
        m.put("jobs", bytes(20 << 20))
    m.put("jobs", b"small")
    m.flush("jobs")
    ids = listed(m, "ready")
    equal([os.stat(path(m, "ready", item)).st_size for item in ids], [20 << 20] * 3 + [5], "sizes")
    equal(len(m.out("ls -l jobs/ready").splitlines()), 5, "lines")


@timeout(120)
def test_open_items_take_a_gigabyte_at_most(t):
    """Each open of an item that waits has its bytes in the mount, which must not end of it."""
    if not FULL or SLOW > 1:
        raise Skip("it needs a gigabyte of memory")
    m = jobs(t, framing="file", max_item_size="64MiB")
    m.put("jobs", bytes(64 << 20))
    m.flush("jobs")
    item = path(m, "ready", listed(m, "ready")[0])
    files = [os.open(item, os.O_RDONLY) for _ in range(15)]  # each costs a little more
    fails(errno.ENOMEM, os.open, item, os.O_RDONLY)
    os.close(files.pop())
    files.append(eventually(lambda: opened(item), 5, "room for one more"))
    for file in files:
        os.close(file)


def opened(item):
    try:
        return os.open(item, os.O_RDONLY)
    except OSError as error:
        equal(error.errno, errno.ENOMEM, "why not")
        return None


def test_a_listing_from_the_start_again(t):
    m = jobs(t, 100)
    number = os.open(path(m, "ready"), os.O_RDONLY | os.O_DIRECTORY)
    first = os.listdir(number)
    fill(m, 10, 100)
    equal(len(first), 100, "items")
    again = os.listdir(number)
    os.close(number)
    equal([again[:100], len(again)], [first, 110], "after a rewind")


def test_ls_stops_early(t):
    m = jobs(t, 5000)
    equal(len(m.out("ls jobs/ready | head -n 3").split()), 3, "lines")
    equal(len(m.out("ls -U jobs/ready | head -n 3").split()), 3, "lines")
    equal(m.out("find jobs/ready -type f | wc -l").strip(), b"5000", "files")


def test_a_descriptor_of_a_ready_item_goes_on_reading(t):
    m = jobs(t, 2)
    item = listed(m, "ready")[0]
    with Fd(path(m, "ready", item), os.O_RDONLY) as file:
        remove(m, "ready", item)
        equal(file.read(), b"0")


def test_what_was_listed_and_is_gone_cannot_be_opened(t):
    """grep -r opens what it has listed while its directory is open: ENOENT, not ESTALE."""
    _, one, two = pair(t, 2)
    with os.scandir(path(two, "ready")) as listing:
        first, second = sorted(entry.name for entry in [next(listing), next(listing)])
        os.stat(path(two, "ready", first))
        move(one, first, "ready", "leased")
        equal(two.get("jobs", "next"), b"1\n", "what this mount takes itself")
        for item in (first, second):
            fails(errno.ENOENT, os.open, path(two, "ready", item), os.O_RDONLY)


def test_a_queue_removed_under_a_listing(t):
    _, one, two = pair(t, 5)
    number = os.open(path(two, "ready"), os.O_RDONLY | os.O_DIRECTORY)
    item = listed(two, "ready")[0]
    one.get("jobs")
    os.rmdir(one.at("jobs"))
    eventually(lambda: not os.path.exists(two.at("jobs")), 5, "its end in the other mount")
    fails(errno.ENOENT, os.stat, path(two, "ready", item))
    fails(errno.ENOENT, os.listdir, path(two, "ready"))
    os.close(number)


if __name__ == "__main__":
    main()
