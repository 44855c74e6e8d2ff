#!/usr/bin/env python3
"""Everyday programs on `out` take exactly what they show, and leave the rest."""

import errno
import os
import signal
import subprocess
import sys
import time

from harness import SLOW, equal, eventually, fails, main, need, sh, timed, timeout

TEN = b"".join(b"%d\n" % n for n in range(1, 11))


def ten(t):
    m = t.queue()
    m.put("jobs", TEN)
    m.flush("jobs")
    return m


def takes(t, script, shown, n, shell="sh"):
    """The script prints `shown`, nothing on stderr, and n items are gone: the first n."""
    m = ten(t)
    done = m.sh(script, shell=shell)
    equal(done.stdout, shown)
    equal(done.stderr, b"", "stderr")
    equal(m.get("jobs"), TEN.split(b"\n", n)[n], "what is left")


def test_head_of_one(t):
    takes(t, "head -n 1 jobs/out", b"1\n", 1)


def test_head_of_three(t):
    takes(t, "head -n 3 jobs/out", b"1\n2\n3\n", 3)


def test_head_of_three_from_stdin(t):
    takes(t, "head -n 3 < jobs/out", b"1\n2\n3\n", 3)


def test_sed_3q(t):
    takes(t, "sed 3q jobs/out", b"1\n2\n3\n", 3)


def test_grep_m_1(t):
    takes(t, "grep -m 1 . jobs/out", b"1\n", 1)


def test_grep_m_1_looks_at_what_it_must(t):
    takes(t, "grep -m 1 4 jobs/out", b"4\n", 4)


def test_while_read_in_sh(t):
    takes(t, "while read -r l; do echo $l; break; done < jobs/out", b"1\n", 1)


def test_while_read_in_bash(t):
    takes(t, "while read -r l; do echo $l; break; done < jobs/out", b"1\n", 1, "bash")


def test_two_reads_in_one_open_of_a_shell(t):
    takes(t, "{ read -r a; read -r b; echo $a $b; } < jobs/out", b"1 2\n", 2)
    takes_again = t.mounts[0]
    takes_again.put("jobs", TEN)
    equal(takes_again.out("{ read -r a; head -n 2; } < jobs/out"), b"2\n3\n")
    equal(takes_again.depth("jobs"), 7, "depth")


def test_python_for_loop_with_break(t):
    script = "import sys\nfor line in open('jobs/out'):\n  print(line, end='')\n  break"
    takes(t, [sys.executable, "-c", script], b"1\n", 1)


def test_python_for_loop_to_the_end(t):
    takes(t, [sys.executable, "-c", "for line in open('jobs/out'): print(line, end='')"], TEN, 10)


def test_awk_reads_all(t):
    takes(t, "awk '{ print }' jobs/out", TEN, 10)


def test_awk_with_a_count_takes_that_many(t):
    takes(t, "awk '{ print }' jobs/out@2", b"1\n2\n", 2)


def test_cat_takes_all(t):
    takes(t, "cat jobs/out", TEN, 10)


def test_cp_takes_all(t):
    takes(t, "cp jobs/out ../copy; cat ../copy", TEN, 10)


def test_wc_and_sort_take_all(t):
    takes(t, "wc -l < jobs/out", b"10\n", 10)
    m = t.mounts[0]
    m.put("jobs", b"b\na\n")
    equal(m.out("sort jobs/out"), b"a\nb\n")


def test_out_4_ends_after_4(t):
    takes(t, "cat jobs/out@4", b"1\n2\n3\n4\n", 4)


def test_a_count_and_a_time(t):
    takes(t, "cat jobs/out@3@1s", b"1\n2\n3\n", 3)


def test_head_then_cat_leave_nothing_behind(t):
    takes(t, "head -n 1 jobs/out; cat jobs/out | wc -l", b"1\n9\n", 10)


def test_a_time_is_waited_for_an_item(t):
    m = t.queue()
    assert 0.3 <= timed(m.get, "jobs", "out@300ms") < 0.3 + 2 * SLOW
    m.put("jobs", b"a\n")
    equal(m.get("jobs", "next@5s"), b"a\n")
    m.put("jobs", b"a\nb\n")
    assert timed(m.get, "jobs", "out@100@20s") < 5 * SLOW, "it waits for the first item only"


def test_get_timeout_of_the_queue_is_waited(t):
    m = t.queue(get_timeout="300ms")
    assert 0.3 <= timed(m.get, "jobs") < 0.3 + 2 * SLOW
    m.configure("jobs", get_timeout="20s")
    assert timed(m.get, "jobs", "out@0s") < 4


def test_grep_r_takes_nothing(t):
    m = ten(t)
    m.sh("grep -r . . > /dev/null", check=False, seconds=20)
    equal(m.get("jobs"), TEN)


def test_cp_r_takes_nothing(t):
    m = ten(t)
    m.sh("cp -r . ../copy; tar cf - . > ../tar", check=False, seconds=20)
    equal(m.depth("jobs"), 10, "depth")


def test_o_nofollow_is_eperm(t):
    m = ten(t)
    for name in ("out", "next", "out@4", "next@1s"):
        fails(errno.EPERM, m.open_out, "jobs", name, os.O_NOFOLLOW)
    m.open_out("jobs", "stats", os.O_NOFOLLOW).close()


def test_a_large_read_gives_what_is_there_and_a_small_one_an_item(t):
    m = ten(t)
    with m.open_out("jobs") as file:
        equal(file.read(4096), b"1\n")
        equal(file.read((128 << 10) - 1), b"2\n")
        equal(file.read_all(), TEN[4:])
    m.put("jobs", TEN)
    m.flush("jobs")
    with m.open_out("jobs") as file:
        equal(file.read(128 << 10), TEN)
        equal(file.read(128 << 10), b"")


def test_an_item_larger_than_the_buffer_goes_on_in_the_next_read(t):
    m = t.queue()
    item = b"0123456789" * 60000 + b"\n"
    m.put("jobs", item + b"next\n")
    with m.open_out("jobs") as file:
        parts = [file.read(4096)]
        while parts[-1][-1:] != b"\n":
            parts.append(file.read(4096))
        equal(b"".join(parts), item)
    equal(m.get("jobs"), b"next\n")


def test_what_was_given_is_given_again_after_a_seek_back(t):
    m = ten(t)
    with m.open_out("jobs") as file:
        equal(file.read(100), b"1\n")
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        equal(file.read(100), b"1\n")
        equal(file.read(100), b"2\n")
        os.lseek(file.fileno(), -1, os.SEEK_CUR)
        equal(file.read(1), b"\n")
    equal(m.get("jobs"), TEN[4:])


def test_a_seek_elsewhere_is_einval(t):
    m = ten(t)
    with m.open_out("jobs") as file:
        equal(file.read(100), b"1\n")
        os.lseek(file.fileno(), 1000, os.SEEK_SET)
        fails(errno.EINVAL, file.read)
    with m.open_out("jobs") as file:
        fails(errno.EINVAL, os.pread, file.fileno(), 100, 5)


def test_an_item_is_lent_to_one_reader(t):
    m = ten(t)
    with m.open_out("jobs") as one, m.open_out("jobs") as two:
        equal([one.read(10), two.read(10), one.read(10)], [b"1\n", b"2\n", b"3\n"])


def test_o_nonblock_changes_only_what_would_wait(t):
    m = t.queue()
    with m.open_out("jobs", "out", os.O_NONBLOCK) as file:
        equal(file.read(), b"", "no wait is an end of file")
    with m.open_out("jobs", "out@forever", os.O_NONBLOCK) as file:
        fails(errno.EAGAIN, file.read)
        m.put("jobs", b"a\n")
        m.flush("jobs")
        equal(eventually(lambda: try_read(file)), b"a\n")
        fails(errno.EAGAIN, file.read)


def try_read(file):
    try:
        return file.read()
    except BlockingIOError:
        return b""


def test_a_killed_reader_is_like_one_that_closed(t):
    m = ten(t)
    command = "exec 3< jobs/out; dd bs=100 count=1 <&3 2> /dev/null; echo; sleep 100"
    child = subprocess.Popen(["sh", "-c", command], cwd=m.path, stdout=subprocess.PIPE)
    equal(child.stdout.readline(), b"1\n")
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    equal(m.get("jobs"), TEN[2:])


def test_a_reader_waits_for_a_writer(t):
    m = t.queue()
    reader = subprocess.Popen(["cat", m.at("jobs/next@forever")], stdout=subprocess.PIPE)
    eventually(lambda: m.stats("jobs")["waiting"] == 1, what="a waiting reader")
    begin = time.monotonic()
    m.put("jobs", b"x\n")
    equal(reader.communicate(timeout=10 * SLOW)[0], b"x\n")
    assert time.monotonic() - begin < 1 * SLOW


def test_fifty_waiting_readers_get_an_item_each(t):
    m = t.queue()
    path = m.at("jobs/next@forever")
    readers = [subprocess.Popen(["cat", path], stdout=subprocess.PIPE) for _ in range(50)]
    eventually(lambda: m.stats("jobs")["waiting"] == 50, 10, "50 waiting readers")
    m.put("jobs", b"".join(b"%d\n" % n for n in range(50)))
    got = sorted(int(r.communicate(timeout=20 * SLOW)[0]) for r in readers)
    equal(got, list(range(50)))
    equal(m.stats("jobs")["waiting"], 0, "waiting")


@timeout(60)
def test_node_and_go_read_whole_files(t):
    m = ten(t)
    need("node")
    script = "process.stdout.write(require('fs').readFileSync('jobs/out'))"
    equal(m.sh(["node", "-e", script]).stdout, TEN, "node")
    equal(m.get("jobs"), b"")


def test_less_than_a_whole_file_of_many_megabytes_can_be_read_with_head(t):
    m = t.queue()
    sh("seq 1 200000 > %s" % m.at("jobs/in"))
    equal(m.out("head -n 2 jobs/out"), b"1\n2\n")
    equal(m.out("cat jobs/out | wc -l"), b"199998\n")


if __name__ == "__main__":
    main()
