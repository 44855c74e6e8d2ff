#!/usr/bin/env python3
"""leased/: what this mount has claimed. Acknowledged, given back, buried and renewed by rm, mv and
touch; and everything else that these could be asked for is refused, with nothing changed.
"""

import errno
import os
import stat
import time

from harness import SLOW, Fd, equal, eventually, fails, main, timed, timeout
from test_modes import as_user, shared
from work import (LEASE, attribute, bury, bytes_of, claim, claim_one, deliveries, eventually_counts,
                  fill, jobs, listed, moment, move, pair, path, remove, touch, where)


def test_rm_acknowledges(t):
    m = jobs(t, 2)
    item = claim_one(m)
    m.sh("rm jobs/leased/" + item)
    equal(listed(m, "leased"), [], "leased")
    fails(errno.ENOENT, os.unlink, path(m, "leased", item))
    m.flush("jobs")
    eventually_counts(m, depth=1, leased=0, redelivered=0)
    m.restart()
    equal(where(m, item), [], "where it is after a restart")
    assert claim_one(m) != item, "it came back"


def test_mv_to_ready_gives_back(t):
    _, one, two = pair(t, 2)
    item = claim_one(one)
    one.sh("mv jobs/leased/%s jobs/ready/" % item)
    equal(where(one, item), ["ready"])
    eventually_counts(one, depth=2, leased=0, redelivered=0)
    equal(claim_one(two), item, "what came back goes first")
    equal(deliveries(two, "leased", item), 2, "deliveries")
    equal(where(one, item), [], "where the other mount sees it")


def test_mv_to_dead_buries(t):
    m = jobs(t, 2)
    item = claim_one(m)
    m.sh("mv jobs/leased/%s jobs/dead/" % item)
    equal(where(m, item), ["dead"])
    eventually_counts(m, depth=1, leased=0, dead=1)
    equal(bytes_of(m, "dead", item), b"0")
    assert claim_one(m) != item, "a dead item was claimed"


def test_back_and_forth(t):
    """Each step is seen by the next: no stale name hides an item."""
    m = jobs(t, 1, retry_delay="0s", max_deliveries=1000)
    item = claim_one(m)
    for _ in range(50):
        move(m, item, "leased", "ready")
        equal(bytes_of(m, "ready", item), b"0")
        move(m, item, "ready", "leased")
        equal(bytes_of(m, "leased", item), b"0")
        fails(errno.ENOENT, os.stat, path(m, "ready", item))
    move(m, item, "leased", "dead")
    move(m, item, "dead", "ready")
    equal(where(m, item), ["ready"])


def test_a_listing_just_before_hides_no_move(t):
    """`ls -l` makes the kernel know names; a move must not meet what they were a moment ago."""
    m = jobs(t, 3)
    for step in ("claim", "give back", "take", "bury", "revive"):
        m.sh("ls -l jobs/ready jobs/leased jobs/dead")
        if step == "claim":
            item = claim_one(m)
        elif step == "give back":
            move(m, item, "leased", "ready")
        elif step == "take":
            move(m, item, "ready", "leased")
        elif step == "bury":
            move(m, item, "leased", "dead")
        else:
            move(m, item, "dead", "ready")
        expected = {"claim": "leased", "take": "leased", "bury": "dead"}.get(step, "ready")
        equal(where(m, item), [expected], "where it is after " + step)


def test_touch_renews(t):
    m = jobs(t, 2, lease="%ds" % (2 * LEASE))
    kept, other = claim_one(m), claim_one(m)
    before = moment(attribute(m, "leased", kept, "lease_expires"))
    end = time.monotonic() + 3 * LEASE
    while time.monotonic() < end:
        m.sh("touch jobs/leased/" + kept)
        time.sleep(0.3)
    equal(where(m, kept), ["leased"], "the one that was touched")
    assert moment(attribute(m, "leased", kept, "lease_expires")) > before + LEASE
    equal(where(m, other), ["ready"], "the other one")
    eventually_counts(m, expired=1, leased=1, depth=1, acks_late=0)


def test_after_the_lease_has_ended(t):
    _, one, two = pair(t, 1, lease="1s")
    item = claim_one(one)
    eventually(lambda: not os.path.exists(path(one, "leased", item)), 5, "the end of the lease")
    equal(listed(one, "leased"), [], "leased")
    fails(errno.ENOENT, os.unlink, path(one, "leased", item))
    fails(errno.ENOENT, move, one, item, "leased", "ready")
    fails(errno.ENOENT, move, one, item, "leased", "dead")
    fails(errno.ESTALE, touch, one, "leased", item)
    fails(errno.ENOENT, Fd, path(one, "leased", item), os.O_RDONLY)
    done = one.sh("touch jobs/leased/" + item, check=False)
    assert done.returncode == 1 and b"Stale file handle" in done.stderr, done.stderr
    one.configure("jobs", lease="1m")  # the next one does not end, and is not counted
    equal(claim_one(two, 10), item, "its new holder's")
    fails(errno.ESTALE, touch, one, "leased", item)
    equal(where(two, item), ["leased"], "its new holder has it")
    eventually_counts(one, expired=1, redelivered=1)


def test_a_descriptor_goes_on_reading_after_the_end(t):
    m = jobs(t, 1)
    item = claim_one(m)
    with Fd(path(m, "leased", item), os.O_RDONLY) as file:
        remove(m, "leased", item)
        m.flush("jobs")
        equal(file.read(), b"0", "after rm")
    m.put("jobs", b"x" * 300000 + b"\n")
    m.flush("jobs")
    item = claim_one(m)
    with Fd(path(m, "leased", item), os.O_RDONLY) as file:
        move(m, item, "leased", "ready")
        m.flush("jobs")
        equal(len(file.read_all()), 300000, "bytes of a large one after mv")


def test_a_large_item_is_read_whole(t):
    m = jobs(t, max_item_size="16MiB")
    data = os.urandom(9 << 20).replace(b"\n", b"-")
    m.put("jobs", data + b"\nsmall\n")
    m.flush("jobs")
    item = claim_one(m)
    assert bytes_of(m, "leased", item) == data, "other bytes"
    equal(os.stat(path(m, "leased", item)).st_size, len(data), "size")
    with Fd(path(m, "leased", item), os.O_RDONLY) as file:
        equal(os.pread(file.number, 1000, 5 << 20), data[5 << 20:(5 << 20) + 1000], "a part")
        equal(os.pread(file.number, 1000, len(data)), b"", "the end")
    done = m.sh("sha256sum < jobs/leased/%s; sha256sum jobs/leased/%s" % (item, item)).stdout
    equal(len({line.split()[0] for line in done.splitlines()}), 1, "sums")
    equal(bytes_of(m, "leased", claim_one(m)), b"small")


def test_an_empty_item(t):
    m = jobs(t)
    m.put("jobs", b"\n")
    m.flush("jobs")
    item = claim_one(m)
    equal(bytes_of(m, "leased", item), b"")
    equal(os.stat(path(m, "leased", item)).st_size, 0, "size")
    remove(m, "leased", item)


def test_what_ls_and_getfattr_show(t):
    m = jobs(t, lease="1m")
    begin = time.time()
    m.put("jobs", b"hello\n")
    m.flush("jobs")
    end = time.time()
    item = claim_one(m)
    status = os.stat(path(m, "leased", item))
    assert stat.S_ISREG(status.st_mode), oct(status.st_mode)
    equal(status.st_size, 5, "size")
    assert begin - 1 <= status.st_mtime <= end + 1, "put at %f: %f" % (begin, status.st_mtime)
    equal(sorted(os.listxattr(path(m, "leased", item))),
          ["user.deliveries", "user.enqueued", "user.lease_expires"], "attributes")
    equal(deliveries(m, "leased", item), 1, "deliveries")
    enqueued = moment(attribute(m, "leased", item, "enqueued"))
    assert abs(enqueued - status.st_mtime) < 0.001, (enqueued, status.st_mtime)
    expires = moment(attribute(m, "leased", item, "lease_expires"))
    assert end + 50 < expires <= time.time() + 60, "expires at %f" % expires
    fails(errno.ENODATA, os.getxattr, path(m, "leased", item), "user.other")
    shown = m.out("ls -l jobs/leased").decode().split()
    assert item in shown and "5" in shown, shown
    dumped = m.out("getfattr -d jobs/leased/" + item).decode()
    assert 'user.deliveries="1"' in dumped, dumped


def test_the_same_inode_wherever_it_is(t):
    m = jobs(t, 1)
    item = listed(m, "ready")[0]
    inodes = [os.stat(path(m, "ready", item)).st_ino]
    claim_one(m)
    inodes.append(os.stat(path(m, "leased", item)).st_ino)
    move(m, item, "leased", "dead")
    inodes.append(os.stat(path(m, "dead", item)).st_ino)
    equal(len(set(inodes)), 1, "different inodes")


def refused(m, error, function, *args):
    """It fails, and the queue is as it was."""
    names = ("ready", "leased", "dead")
    before = [listed(m, place) for place in names], sorted(os.listdir(m.path))
    fails(error, function, *args)
    equal(([listed(m, place) for place in names], sorted(os.listdir(m.path))), before,
          "what is where after " + repr(args))


@timeout(60)
def test_every_other_rename_is_refused(t):
    m = jobs(t, 4)
    m.mkdir("other")
    dead = bury(m)[0]
    leased = claim_one(m)
    ready = listed(m, "ready")[0]
    here = {"ready": ready, "leased": leased, "dead": dead}
    allowed = {("leased", "ready"), ("leased", "dead"), ("ready", "leased"), ("dead", "ready")}
    for source, item in here.items():
        for target in here:
            if (source, target) not in allowed and source != target:
                refused(m, errno.EPERM, move, m, item, source, target)
            refused(m, errno.EPERM, os.rename, path(m, source, item),
                    path(m, target, "00000000deadbeef"))
            refused(m, errno.EPERM, os.rename, path(m, source, item), path(m, target, "name"))
            refused(m, errno.EPERM, os.rename, path(m, source, item),
                    m.at("other", target, item))
        for name in (m.at(item), m.at("jobs", item), m.at("other", item), m.at("other/name")):
            refused(m, errno.EPERM, os.rename, path(m, source, item), name)
        refused(m, errno.EPERM, os.rename, path(m, source), path(m, source) + "x")
        refused(m, errno.EPERM, os.rename, m.at("jobs/stats"), path(m, source, "stats"))
    refused(m, errno.EPERM, os.rename, m.at("jobs"), m.at("renamed"))
    refused(m, errno.EPERM, os.rename, m.at("jobs/in"), m.at("jobs/other"))
    refused(m, errno.EXDEV, os.rename, path(m, "leased", leased), t.path("outside"))


def test_mv_to_another_queue_says_so_and_does_nothing(t):
    m = jobs(t, 1)
    m.mkdir("other")
    item = claim_one(m)
    done = m.sh("mv jobs/leased/%s other/ready/" % item, check=False)
    equal(done.returncode, 1, "status of mv")
    assert b"Operation not permitted" in done.stderr, done.stderr
    equal([where(m, item), os.listdir(m.at("other/ready"))], [["leased"], []])


def test_mv_out_of_the_mount_takes_the_item_out(t):
    m = jobs(t, 1)
    item = claim_one(m)
    m.sh("mv jobs/leased/%s %s" % (item, t.path("taken")))
    with open(t.path("taken"), "rb") as file:
        equal(file.read(), b"0")
    m.flush("jobs")
    eventually_counts(m, depth=0, leased=0)


def overwrite(name):
    with Fd(name, os.O_WRONLY) as file:
        file.write(b"x")


@timeout(60)
def test_what_nobody_may(t):
    m = jobs(t, 4)
    items = {"dead": bury(m)[0], "leased": claim_one(m), "ready": listed(m, "ready")[0]}
    for place, item in items.items():
        name = path(m, place, item)
        refused(m, errno.EPERM, os.link, name, path(m, place, "00000000deadbeef"))
        refused(m, errno.EPERM, os.symlink, "x", path(m, place, "link"))
        refused(m, errno.EPERM, os.mkdir, path(m, place, "directory"))
        refused(m, errno.EPERM, os.rmdir, path(m, place))
        refused(m, errno.EPERM, os.chmod, name, 0o644)
        refused(m, errno.EPERM, os.chown, name, 1, 1)
        refused(m, errno.EPERM, os.truncate, name, 0)
        refused(m, errno.EPERM, Fd, path(m, place, "name"), os.O_WRONLY | os.O_CREAT)
        refused(m, errno.ENOENT, os.stat, path(m, place, "name"))
        refused(m, errno.ENOENT, os.stat, path(m, place, item.upper().replace("0", "F", 1)))
        refused(m, errno.EPERM, overwrite, name)
        refused(m, errno.EPERM, Fd, name, os.O_WRONLY | os.O_TRUNC)
    for place in ("ready", "dead"):
        refused(m, errno.EPERM, touch, m, place, items[place])
    for place, item in items.items():
        equal(bytes_of(m, place, item), {"dead": b"0", "leased": b"1", "ready": b"2"}[place])


def test_rm_of_what_is_not_held_here(t):
    _, one, two = pair(t, 1)
    item = claim_one(one)
    for place in ("ready", "leased", "dead"):
        fails(errno.ENOENT, os.unlink, path(two, place, item))
    fails(errno.ENOENT, move, two, item, "leased", "ready")
    fails(errno.ENOENT, move, two, item, "ready", "leased")
    fails(errno.ENOENT, move, two, item, "dead", "ready")
    fails(errno.ESTALE, touch, two, "leased", item)
    equal(where(one, item), ["leased"])


def test_modes(t):
    m, user = shared(t)
    fill(m, 4)
    dead, leased = bury(m)[0], claim_one(m)
    ready = listed(m, "ready")[0]

    def strangers():
        for place, item in (("ready", ready), ("leased", leased), ("dead", dead)):
            fails(errno.EACCES, listed, m, place)
            fails(errno.EACCES, bytes_of, m, place, item)
            fails(errno.EACCES, remove, m, place, item)
        fails(errno.EACCES, move, m, leased, "leased", "ready")
        fails(errno.EACCES, move, m, ready, "ready", "leased")
        fails(errno.EACCES, touch, m, "leased", leased)
        fails(errno.EACCES, m.get, "jobs", "claim")

    as_user(user, strangers)
    os.chmod(m.at("jobs"), 0o622)
    as_user(user, strangers)
    os.chmod(m.at("jobs"), 0o644)

    def readers():
        equal(listed(m, "leased"), [leased], "leased")
        equal(bytes_of(m, "leased", leased), b"1")
        touch(m, "leased", leased)
        move(m, leased, "leased", "ready")
        move(m, leased, "ready", "leased")
        remove(m, "leased", leased)
        move(m, dead, "dead", "ready")
        remove(m, "ready", dead)
        remove(m, "leased", claim_one(m))
        fails(errno.EACCES, m.put, "jobs", b"x\n")

    as_user(user, readers)
    m.flush("jobs")
    eventually_counts(m, depth=1, leased=0, dead=0)
    equal([os.stat(path(m, place)).st_uid for place in ("ready", "leased", "dead")], [0, 0, 0])


@timeout(90)
def test_rm_of_10000(t):
    """At once, and after a flush they are gone for good, also if the mount is killed."""
    n = 10000
    service, m, other = pair(t)
    fill(m, n + 1)
    equal(len(claim(m, "claim@%d" % n)), n, "ids of one claim")
    equal(len(listed(m, "leased")), n, "leased")
    taken = timed(m.sh, "rm jobs/leased/*")
    print("# rm leased/* of %d: %.2f s" % (n, taken), flush=True)
    assert taken < 3 * SLOW, "rm of %d took %.2f s" % (n, taken)
    m.flush("jobs")
    m.kill()
    eventually_counts(other, depth=1, leased=0, delayed=0, dead=0)
    equal(len(claim(other, "claim@100")), 1, "ids that are left")
    service.kill()
    service.start()
    eventually(lambda: other.stats()["connected"] == 1, 10, "the connection")
    equal(claim(other, "claim@100@1s"), [], "items that came back")


def test_a_mount_that_ends_gives_its_items_back(t):
    _, one, two = pair(t, 3)
    ids = claim(one, "claim@3")
    equal(one.stop(), 0, "status")
    equal([claim_one(two, 5) for _ in range(3)], ids, "what the other mount gets")


def test_a_killed_mounts_items_come_back_when_their_leases_end(t):
    _, one, two = pair(t, 3, lease="5s")
    ids = claim(one, "claim@3")
    one.kill()
    equal(claim(two), [], "before the leases' end")
    equal([claim_one(two, 10) for _ in range(3)], ids, "after it")


def test_rmdir_of_a_queue_with_something_leased(t):
    m = jobs(t, 1)
    item = claim_one(m)
    fails(errno.ENOTEMPTY, os.rmdir, m.at("jobs"))
    remove(m, "leased", item)
    os.rmdir(m.at("jobs"))


def test_purge_leaves_what_is_leased(t):
    m = jobs(t, 5)
    item = claim_one(m)
    m.sh("echo jobs > jobs/purge")
    equal(where(m, item), ["leased"])
    eventually_counts(m, depth=0, leased=1)
    remove(m, "leased", item)
    m.flush("jobs")
    eventually_counts(m, depth=0, leased=0, acks_late=0)


if __name__ == "__main__":
    main()
