"""What the tests of work share: claims, and where an item is.

All is about the queue `jobs`; ids are text, 16 hex digits, as `claim` prints them.
"""

import calendar
import os
import re
import time

from harness import SLOW, Fd, equal, eventually

LEASE = 1 if SLOW == 1 else 5  # s: short, but no hiccup of a slow machine outlasts it
PLACES = ("ready", "leased", "dead")


def lines(n, first=0):
    return b"".join(b"%d\n" % number for number in range(first, first + n))


def jobs(t, n=0, **settings):
    """A mount with a service inside, and the queue with n items in it."""
    m = t.queue(**settings)
    fill(m, n)
    return m


def pair(t, n=0, **settings):
    """A service and two mounts of it that know the queue."""
    service = t.service()
    one, two = t.mount_of(service.address, "a"), t.mount_of(service.address, "b")
    one.mkdir("jobs", **settings)
    eventually(lambda: os.path.exists(two.at("jobs")), 5, "the queue in the other mount")
    fill(one, n)
    return service, one, two


def fill(m, n, first=0):
    if n:
        m.put("jobs", lines(n, first))
        m.flush("jobs")


def claim(m, how="claim"):
    """The ids that one open and reads to its end give."""
    text = m.get("jobs", how).decode()
    ids = text.splitlines()
    assert text == "".join(i + "\n" for i in ids), "no lines: %r" % text
    assert all(re.fullmatch("[0-9a-f]{16}", i) for i in ids), "no ids: %r" % text
    return ids


def claim_one(m, seconds=0):
    """The id of one item, waiting for it at most so long."""
    ids = claim(m, "claim@%ds" % seconds if seconds else "claim")
    equal(len(ids), 1, "ids")
    return ids[0]


def path(m, place, item=""):
    return m.at("jobs", place, item) if item else m.at("jobs", place)


def bytes_of(m, place, item):
    with Fd(path(m, place, item), os.O_RDONLY) as file:
        return file.read_all()


def remove(m, place, item):
    os.unlink(path(m, place, item))


def move(m, item, source, target):
    os.rename(path(m, source, item), path(m, target, item))


def touch(m, place, item):
    """As touch(1): open, which makes it where it is not, then set its times."""
    number = os.open(path(m, place, item), os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK, 0o666)
    try:
        os.utime(number)
    finally:
        os.close(number)


def listed(m, place):
    return os.listdir(path(m, place))


def where(m, item):
    """The places in which the item is listed, and those in which it is found."""
    shown = [place for place in PLACES if item in listed(m, place)]
    found = [place for place in PLACES if os.path.exists(path(m, place, item))]
    equal(found, shown, "where %s is found, and where it is listed" % item)
    return shown


def counts(m, *names):
    stats = m.stats("jobs")
    return [stats[name] for name in names]


def eventually_counts(m, seconds=10, **expected):
    """The service's counters reach a mount behind what they count."""
    def right():
        stats = m.stats("jobs")
        return all(stats[name] == value for name, value in expected.items())

    try:
        eventually(right, seconds, "these counters")
    except AssertionError:
        stats = m.stats("jobs")
        equal({name: stats[name] for name in expected}, expected, "counters")


def attribute(m, place, item, name):
    return os.getxattr(path(m, place, item), "user." + name).decode()


def moment(text):
    """Seconds since 1970 of an attribute: ISO 8601, UTC, with microseconds."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text), text
    whole = calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))
    return whole + int(text[20:26]) / 1e6


def deliveries(m, place, item):
    return int(attribute(m, place, item, "deliveries"))


def bury(m, n=1):
    """Claim n items and bury them; their ids."""
    ids = claim(m, "claim@%d" % n)
    for item in ids:
        move(m, item, "leased", "dead")
    m.flush("jobs")
    return ids
