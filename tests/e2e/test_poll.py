#!/usr/bin/env python3
"""select, poll and epoll on `out`, `next` and `in`: they tell the truth and lease nothing."""

import errno
import os
import select
import threading
import time

from harness import SLOW, equal, eventually, fails, main


def ready(file, events, milliseconds):
    poller = select.poll()
    poller.register(file, events)
    return bool(poller.poll(milliseconds))


def test_out_is_readable_when_a_read_would_not_wait(t):
    m = t.queue()
    with m.open_out("jobs") as file:
        assert ready(file, select.POLLIN, 5000), "an end of file at once is readable"
        equal(file.read(), b"")


def test_out_forever_is_readable_with_an_item_only(t):
    m = t.queue()
    with m.open_out("jobs", "out@forever", os.O_NONBLOCK) as file:
        assert not ready(file, select.POLLIN, 200), "readable with nothing there"
        m.put("jobs", b"a\n")
        assert ready(file, select.POLLIN, 5000), "not readable with an item there"
        equal(file.read(), b"a\n")
        assert not ready(file, select.POLLIN, 200), "readable after the item was taken"


def test_a_poll_wakes_up_when_an_item_comes(t):
    m = t.queue()
    with m.open_out("jobs", "next@forever") as file:
        timer = threading.Timer(0.3, m.put, ("jobs", b"a\n"))
        timer.start()
        begin = time.monotonic()
        assert ready(file, select.POLLIN, 20000), "it was never woken"
        assert time.monotonic() - begin < 2 * SLOW
        timer.join()
        equal(file.read(), b"a\n")


def test_select_and_epoll_wake_up_too(t):
    m = t.queue()
    with m.open_out("jobs", "out@forever") as file:
        epoll = select.epoll()
        epoll.register(file, select.EPOLLIN)
        equal(epoll.poll(0.1), [])
        timer = threading.Timer(0.2, m.put, ("jobs", b"a\n"))
        timer.start()
        equal(epoll.poll(20), [(file.fileno(), select.EPOLLIN)])
        timer.join()
        equal(select.select([file], [], [], 5)[0], [file])
        equal(file.read(), b"a\n")
        equal(select.select([file], [], [], 0.1)[0], [])
        epoll.close()


def test_edge_triggered_epoll_tells_each_arrival(t):
    m = t.queue()
    with m.open_out("jobs", "out@forever", os.O_NONBLOCK) as file:
        epoll = select.epoll()
        epoll.register(file, select.EPOLLIN | select.EPOLLET)
        for n in range(20):
            m.put("jobs", b"%d\n" % n)
            assert epoll.poll(10), "arrival %d was not told" % n
            equal(drain(file), b"%d\n" % n)
        epoll.close()


def drain(file):
    data = b""
    while True:
        try:
            data += file.read()
        except BlockingIOError:
            return data


def test_a_poll_leases_nothing(t):
    m = t.queue()
    m.put("jobs", b"a\nb\n")
    m.flush("jobs")
    with m.open_out("jobs", "out@forever") as file:
        assert ready(file, select.POLLIN, 5000)
        stats = m.stats("jobs")
        equal([stats["depth"], stats["leased"]], [2, 0], "depth and leased")
        equal(m.get("jobs"), b"a\nb\n")
        assert not ready(file, select.POLLIN, 200), "another reader took them"


def test_in_is_writable_until_the_queue_is_full(t):
    m = t.queue(maxsize=5, batch_size=1)
    with m.open_in("jobs", os.O_NONBLOCK) as file:
        assert ready(file, select.POLLOUT, 5000)
        try:
            for n in range(1000):
                file.write(b"%d\n" % n)
                time.sleep(0.001)
        except BlockingIOError:
            pass
        assert not ready(file, select.POLLOUT, 200), "writable where a write is EAGAIN"
        eventually(lambda: not m.get("jobs") and ready(file, select.POLLOUT, 0), 10, "POLLOUT")
        file.write(b"more\n")


def test_a_poll_that_is_left_alone_does_no_harm(t):
    m = t.queue()
    for _ in range(50):
        with m.open_out("jobs", "out@forever") as file:
            equal(ready(file, select.POLLIN, 0), False)
    m.put("jobs", b"a\n")
    equal(m.get("jobs"), b"a\n")


def test_a_removed_queue_wakes_its_pollers(t):
    m = t.queue()
    with m.open_out("jobs", "out@forever") as file:
        timer = threading.Timer(0.2, os.rmdir, (m.at("jobs"),))
        timer.start()
        assert ready(file, select.POLLIN, 20000), "it was never woken"
        timer.join()


def test_a_mount_with_pollers_ends(t):
    m = t.queue()
    file = m.open_out("jobs", "out@forever")
    poller = select.epoll()
    poller.register(file, select.EPOLLIN)
    equal(poller.poll(0.1), [])
    equal(m.stop(), 0, "status")
    poller.close()
    fails(errno.ENOTCONN, file.close)


if __name__ == "__main__":
    main()
