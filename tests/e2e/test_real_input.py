#!/usr/bin/env python3
"""The Debian package index, 50 MB with empty lines and very long ones, in and out again."""

import os
import subprocess

from harness import SLOW, Fd, Skip, equal, main, need, sh, timeout


def index(t):
    """The index as a file; without one, lines of the same kind."""
    need("apt-cache")
    path = t.path("index")
    sh("apt-cache dumpavail > index", cwd=t.directory)
    if os.path.getsize(path) < 10_000_000:
        raise Skip("apt has no package lists: run apt-get update")
    return path


def spawn(script, cwd):
    return subprocess.Popen(["sh", "-c", script], cwd=cwd)


def all_succeed(processes):
    for process in processes:
        equal(process.wait(100 * SLOW), 0, "exit status")


@timeout(120)
def test_the_index_comes_out_byte_for_byte(t):
    path = index(t)
    m = t.queue()
    m.sh("cat ../index > jobs/in; touch jobs/flush", seconds=100)
    n_lines = int(sh(["wc", "-l", path]).stdout.split()[0])
    equal(m.depth("jobs"), n_lines, "depth")
    m.sh("cat jobs/out | cmp - ../index", seconds=100)
    equal(m.depth("jobs"), 0, "depth")
    equal(m.stats("jobs")["total_gets"], n_lines, "total_gets")


@timeout(120)
def test_the_index_survives_a_restart_halfway(t):
    index(t)
    m = t.queue()
    m.sh("cat ../index > jobs/in; touch jobs/flush; head -c 5000000 jobs/out@1000 > ../half")
    m.restart()
    m.sh("cat jobs/out >> ../half; cmp ../half ../index", seconds=100)


SIZES = (1, 10, 100, 1000, 4096, 65536, 262144, 1 << 20)


def put_part(m, path, writer):
    """In a child: every eighth line, marked with its writer, in writes of one size."""
    with open(path, "rb") as file:
        lines = [b"%d " % writer + line for n, line in enumerate(file) if n % 8 == writer]
    if writer < 2:  # writes of 1 and of 10 bytes take long: what is left goes in large ones
        small, large = lines[:2000 if writer else 500], lines[2000 if writer else 500:]
    else:
        small, large = lines, []
    with m.open_in("jobs") as out:
        data = b"".join(small)
        for at in range(0, len(data), SIZES[writer]):
            out.write_all(data[at:at + SIZES[writer]])
        out.write_all(b"".join(large))


@timeout(150)
def test_eight_writers_with_writes_of_1_byte_to_1_mib(t):
    path = index(t)
    m = t.queue()
    children = []
    for writer in range(8):
        pid = os.fork()
        if pid == 0:
            try:
                put_part(m, path, writer)
            except BaseException as error:
                os.write(2, repr(error).encode())
                os._exit(1)
            os._exit(0)
        children.append(pid)
    statuses = [os.waitpid(pid, 0)[1] for pid in children]
    equal(statuses, [0] * 8, "statuses of the writers")
    m.flush("jobs")
    got = [[] for _ in range(8)]
    for line in m.get("jobs").splitlines(True):
        got[int(line[:1])].append(line[2:])
    with open(path, "rb") as file:
        lines = file.readlines()
    for writer in range(8):
        if got[writer] != lines[writer::8]:
            raise AssertionError("what writer %d put came out differently" % writer)


@timeout(120)
def test_four_readers_get_each_item_once(t):
    path = index(t)
    m = t.queue()
    sh("awk '{ print NR, $0 }' index > numbered", cwd=t.directory)
    m.sh("cat ../numbered > jobs/in; touch jobs/flush", seconds=100)
    readers = [spawn("cat jobs/out > ../part%d" % n, m.path) for n in range(4)]
    all_succeed(readers)
    sh("sort -n -k 1,1 part0 part1 part2 part3 | cmp - numbered", cwd=t.directory, shell="bash")
    equal(m.depth("jobs"), 0, "depth")
    assert os.path.getsize(path) > 0


@timeout(120)
def test_four_readers_beside_two_writers(t):
    index(t)
    m = t.queue()
    sh("awk '{ print NR, $0 }' index > numbered; split -n l/2 numbered half.", cwd=t.directory)
    writers = [spawn("cat ../half.%s > jobs/in" % name, m.path) for name in ("aa", "ab")]
    readers = [spawn("cat jobs/out@10s > ../part%d" % n, m.path) for n in range(4)]
    all_succeed(writers + readers)
    m.sh("cat jobs/out > ../part4")
    sh("sort -n -k 1,1 part? | cmp - numbered", cwd=t.directory, shell="bash")


def test_a_line_of_75_kb_is_one_item(t):
    m = t.queue()
    with Fd(m.at("jobs/in"), os.O_WRONLY) as file:
        file.write_all(b"a\n" + b"b" * 75000 + b"\nc\n")
    equal(m.out("head -n 2 jobs/out | wc -c"), b"75003\n")
    equal(m.get("jobs"), b"c\n")


if __name__ == "__main__":
    main()
