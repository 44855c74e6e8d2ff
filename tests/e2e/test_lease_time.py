#!/usr/bin/env python3
"""How long a lease lasts: renewed while its file is open, in full again from the last close,
bounded by lease_max; in full again after a restart of the service.
"""

import os
import subprocess
import time

from harness import SLOW, Fd, equal, eventually, main, timeout
from work import (LEASE, attribute, bytes_of, claim, claim_one, deliveries, eventually_counts, jobs,
                  listed, moment, pair, path, remove, touch, where)

LEASE_TEXT = "%ds" % LEASE


def gone(m, item):
    return not os.path.exists(path(m, "leased", item))


def comes_back(m, item, begin, low, high):
    """The item can be claimed again through m, `low` to `high` seconds after `begin`."""
    equal(claim_one(m, 60), item, "the item that came back")
    taken = time.monotonic() - begin
    assert low <= taken <= high, "back after %.2f s instead of %.1f to %.1f" % (taken, low, high)


def test_it_ends(t):
    _, one, two = pair(t, 1, lease=LEASE_TEXT)
    begin = time.monotonic()
    item = claim_one(one)
    comes_back(two, item, begin, LEASE * 0.95, LEASE + 2 * SLOW)
    eventually(lambda: gone(one, item), 5, "its end in leased/")
    equal(deliveries(two, "leased", item), 2, "deliveries")
    eventually_counts(two, expired=1, redelivered=1, leased=1)


@timeout(60)
def test_an_open_file_renews_and_the_close_lets_it_run_in_full_again(t):
    _, one, two = pair(t, 1, lease=LEASE_TEXT)
    item = claim_one(one)
    files = [Fd(path(one, "leased", item), os.O_RDONLY) for _ in range(2)]
    for file in files:
        end = time.monotonic() + 1.5 * LEASE
        while time.monotonic() < end:
            equal(claim(two), [], "claimed while it was open")
            equal(listed(one, "leased"), [item], "leased while open")
            time.sleep(0.1)
        begin = time.monotonic()
        file.close()
    comes_back(two, item, begin, LEASE * 0.9, LEASE + 2 * SLOW)
    eventually_counts(one, expired=1)


@timeout(60)
def test_a_file_that_a_process_has_as_its_stdin_renews(t):
    m = jobs(t, 1, lease=LEASE_TEXT)
    item = claim_one(m)
    m.sh("sleep %f < jobs/leased/%s && rm jobs/leased/%s" % (2 * LEASE, item, item))
    m.flush("jobs")
    eventually_counts(m, depth=0, leased=0, expired=0, acks_late=0)


@timeout(60)
def test_a_killed_process_closes(t):
    _, one, two = pair(t, 1, lease=LEASE_TEXT)
    item = claim_one(one)
    with Fd(path(one, "leased", item), os.O_RDONLY) as file:
        worker = subprocess.Popen(["sleep", "100"], stdin=file)
    time.sleep(1.5 * LEASE)
    equal(listed(one, "leased"), [item], "leased while a process has it open")
    worker.kill()
    worker.wait()
    equal(claim_one(two, 60), item, "what came back")


@timeout(60)
def test_lease_max_bounds_what_is_renewed(t):
    _, one, two = pair(t, 2, lease=LEASE_TEXT, lease_max="%ds" % (2 * LEASE))
    begin = time.monotonic()
    item, touched = claim(one, "claim@2")
    with Fd(path(one, "leased", item), os.O_RDONLY) as file:
        ids = []
        while len(ids) < 2:
            assert time.monotonic() < begin + 15 * SLOW, "only %d came back" % len(ids)
            try:
                touch(one, "leased", touched)
            except OSError:
                pass  # over
            ids += claim(two, "claim@2")
            assert not ids or time.monotonic() - begin >= 1.9 * LEASE, "it came back too early"
            time.sleep(0.1)
        equal(sorted(ids), [item, touched], "what came back")
        eventually(lambda: gone(one, item) and gone(one, touched), 2, "their end in leased/")
        equal(file.read(), b"0", "what is read after the end")
    equal([where(two, i) for i in ids], [["leased"], ["leased"]], "where they are")


def test_lease_expires_is_kept_up_to_date(t):
    m = jobs(t, 1, lease="10s")
    item = claim_one(m)
    first = moment(attribute(m, "leased", item, "lease_expires"))

    def later():
        touch(m, "leased", item)
        m.flush("jobs")
        return moment(attribute(m, "leased", item, "lease_expires")) > first

    eventually(later, 5, "a later end after touch and flush")


def test_settings_change_live(t):
    _, one, two = pair(t, 2, lease="1h")
    long = claim_one(one)
    one.configure("jobs", lease="%ds" % LEASE)
    eventually(lambda: b"lease: %ds" % LEASE in two.out("cat jobs/config"), 5, "the setting")
    begin = time.monotonic()
    item = claim_one(one)
    comes_back(two, item, begin, LEASE * 0.95, LEASE + 2 * SLOW)
    equal(where(one, long), ["leased"], "the one with the lease of before")


@timeout(90)
def test_a_restart_of_the_service_lets_leases_run_in_full_again(t):
    service, one, two = pair(t, 2, lease="%ds" % (2 * LEASE))
    item, other = claim(one, "claim@2")
    remove(one, "leased", other)
    one.flush("jobs")
    time.sleep(LEASE)
    service.kill()
    begin = time.monotonic()
    service.start()
    eventually(lambda: two.stats()["connected"] == 1, 20, "the connection")
    equal(claim(two), [], "claimed after the restart")
    comes_back(two, item, begin, 1.9 * LEASE, 2 * LEASE + 10 * SLOW)
    equal(deliveries(two, "leased", item), 2, "deliveries")
    eventually_counts(two, depth=0, leased=1)


@timeout(60)
def test_a_claim_survives_a_kill_of_the_service(t):
    service, one, two = pair(t, 1)
    item = claim_one(one)
    service.kill()
    service.start()
    equal(bytes_of(one, "leased", item), b"0")
    one.sh("rm jobs/leased/%s; touch jobs/flush" % item)
    eventually(lambda: two.stats()["connected"] == 1, 20, "the connection")
    eventually_counts(two, depth=0, leased=0, dead=0, acks_late=0)


if __name__ == "__main__":
    main()
