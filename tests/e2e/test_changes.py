#!/usr/bin/env python3
"""Settings are changed one by one: two changes of different keys at once, from anywhere, both hold."""

import os
import stat
import threading

from harness import Fd, equal, eventually, main

ROUNDS = 100


def at_once(*functions):
    """Run them at the same time; the first error is ours."""
    errors, barrier = [], threading.Barrier(len(functions))

    def run(function):
        try:
            barrier.wait()
            function()
        except Exception as error:  # of a thread: told below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def write_config(mount, line):
    with Fd(mount.at("jobs/config"), os.O_WRONLY) as config:
        equal(config.write(line), len(line))


def expect(mount, mode, maxsize, what):
    with open(mount.at("jobs/config")) as config:
        lines = config.read().splitlines()
    equal([line for line in lines if line.startswith(("mode:", "maxsize:"))],
          ["maxsize: %d" % maxsize, "mode: 0%o" % mode], what)
    equal(stat.S_IMODE(os.stat(mount.at("jobs")).st_mode) & 0o666, mode, what)


def rounds(one, other):
    """chmod through one, a line into `config` through the other."""
    for i in range(ROUNDS):
        mode, maxsize = (0o600, 0o666, 0o640)[i % 3], i + 1
        at_once(lambda: os.chmod(one.at("jobs"), mode),
                lambda: write_config(other, b"maxsize: %d\n" % maxsize))
        # What a mount shows is never older than what it was acknowledged; to ask it for another
        # change of nothing makes that now.
        for mount in (one, other):
            write_config(mount, b"lease: 30s\n")
        expect(one, mode, maxsize, "round %d" % i)
        expect(other, mode, maxsize, "round %d" % i)


def test_chmod_beside_a_line_into_config(t):
    m = t.queue()
    rounds(m, m)


def test_over_two_mounts(t):
    service = t.service()
    one, other = (t.mount_of(service.address, name=name) for name in ("a", "b"))
    one.mkdir("jobs")
    eventually(lambda: os.path.exists(other.at("jobs")), what="the queue in the other mount")
    rounds(one, other)


def test_lines_into_config_beside_each_other(t):
    """Of the queue and of the mount, both, and each key by another writer."""
    m = t.queue()
    keys = {"maxsize": "%d", "max_deliveries": "%d", "batch_size": "%d", "max_in_flight": "%d"}
    for i in range(1, 31):
        lines = ["%s: %s\n" % (key, value % i) for key, value in keys.items()]
        at_once(*[lambda line=line: write_config(m, line.encode()) for line in lines])
        config = m.out("cat jobs/config").decode()
        for line in lines:
            assert "\n" + line in config, (line, config)


if __name__ == "__main__":
    main()
