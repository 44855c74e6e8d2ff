#!/usr/bin/env python3
"""--verify and --backup, of both programs, on stores in use and not."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time

from harness import QUEUED, QUEUEFS, SLOW, Skip, equal, eventually, main, sh


def run(*words, program=None, status=0):
    done = subprocess.run([program or QUEUED, *words], capture_output=True, text=True,
                          timeout=60 * SLOW, check=False)
    equal(done.returncode, status, "status of %s: %s%s" % (words, done.stdout, done.stderr))
    return done


def verified(data, status=0):
    return json.loads(run("--verify", data, "--json", status=status).stdout)


def segments(data):
    return sorted(name for name in os.listdir(os.path.join(data, "log")) if name.endswith(".log"))


def filled(t, n=3000):
    m = t.mount()
    m.mkdir("jobs")
    for start in range(0, n, 100):
        m.put("jobs", b"".join(b"%06d\n" % i for i in range(start, start + 100)))
        m.flush("jobs")
    return m


def flip(path, text):
    with open(path, "r+b") as file:
        at = file.read().index(text)
        file.seek(at)
        file.write(bytes([text[0] ^ 1]))


def test_a_whole_store_is_verified_while_it_is_used_and_after(t):
    m = filled(t)
    for program in (QUEUED, QUEUEFS):
        text = run("--verify", m.data, program=program).stdout
        assert "the log is whole" in text and "in use" in text and "3000 items" in text, text
    equal(m.stop(), 0, "status")
    before = {name: os.stat(os.path.join(m.data, "log", name)).st_mtime_ns
              for name in segments(m.data)}
    seen = verified(m.data)
    equal((seen["damaged"], seen["index"], seen["items"], seen["queues"], seen["found"]),
          (False, "right", 3000, 1, []), "what it found")
    equal(before, {name: os.stat(os.path.join(m.data, "log", name)).st_mtime_ns
                   for name in segments(m.data)}, "times of the files")
    shutil.rmtree(os.path.join(m.data, "index"))
    equal(verified(m.data)["index"], "missing", "without an index")


def test_a_store_that_may_only_be_read_is_verified_and_copied(t):
    m = filled(t, 200)
    equal(m.stop(), 0, "status")
    os.mkdir(t.path("read"))
    if sh(["mount", "--bind", m.data, t.path("read")], check=False).returncode != 0:
        raise Skip("this user can't mount here")
    try:
        sh(["mount", "-o", "remount,ro,bind", t.path("read")])
        seen = verified(t.path("read"))
        equal((seen["damaged"], seen["index"], seen["items"]), (False, "not compared", 200), "seen")
        assert "may only be read" in run("--verify", t.path("read")).stdout
        run("--backup", t.path("read"), t.path("copy"))
    finally:
        sh(["umount", t.path("read")])
    equal(verified(t.path("copy"))["items"], 200, "items of the copy")


def test_one_flipped_bit_is_named_with_segment_and_place(t):
    m = filled(t)
    equal(m.stop(), 0, "status")
    flip(os.path.join(m.data, "log", segments(m.data)[0]), b"001700\n")
    seen = verified(m.data, status=1)
    equal((seen["damaged"], seen["damaged_places"], seen["items"]), (True, 1, 2900), "found")
    assert segments(m.data)[0] in seen["found"][0], seen
    assert "DAMAGED in 1 places" in run("--verify", m.data, status=1).stdout


def test_a_wrong_index_is_told_from_a_wrong_log(t):
    m = filled(t)
    equal(m.stop(), 0, "status")
    os.truncate(os.path.join(m.data, "index/data.mdb"), 4 * 4096)
    seen = verified(m.data, status=1)
    equal((seen["damaged_places"], seen["index"]), (0, "wrong"), "what it found")
    assert "loses nothing" in run("--verify", m.data, status=1).stdout


def test_words_that_are_wrong_are_refused(t):
    run("--verify", t.path("none"), status=1)
    for words in (["--backup", "a"], ["--json"], ["--verify", "a", "b"],
                  ["--backup", "a", "b", "c"], ["--verify", "a", "--backup", "b", "c"]):
        run(*words, status=2)
        run(*words, status=2, program=QUEUEFS)
    m = filled(t, 100)
    os.mkdir(t.path("other"))
    with open(t.path("other/file"), "w") as out:
        out.write("mine\n")
    done = run("--backup", m.data, t.path("other"), status=1)
    assert "something else" in done.stderr and done.stderr.count("\n") == 1, done.stderr
    equal(os.listdir(t.path("other")), ["file"], "what is there")


class Load:
    """Puts and takes, from threads; what was flushed is known."""

    def __init__(self, m):
        self.m, self.n, self.ending = m, 0, False
        self.thread = threading.Thread(target=self.put)
        self.thread.start()

    def put(self):
        while not self.ending:
            batch = b"".join(b"%07d %s\n" % (self.n + i, b"x" * 900) for i in range(200))
            self.m.put("load", batch)
            self.m.flush("load")
            self.n += 200

    def end(self):
        self.ending = True
        self.thread.join()


def numbers(text):
    return [int(line[:7]) for line in text.splitlines()]


def test_a_backup_under_load_has_all_that_was_acknowledged_before(t):
    """Much comes and goes, so that segments are released while they are copied; one queue stays."""
    m = filled(t)
    m.mkdir("load")
    load, taken = Load(m), 0
    try:
        for i in range(4):
            taken = max(numbers(m.get("load")), default=taken)
            known = load.n
            run("--backup", m.data, t.path("copy"))
            seen = verified(m.data)
            equal(seen["damaged"], False, "a store in use: %s" % seen["found"])
            equal(verified(t.path("copy"))["damaged"], False, "the copy")
            shutil.rmtree(t.path("restored"), ignore_errors=True)
            shutil.copytree(t.path("copy"), t.path("restored"))
            restored = t.mount(name="r%d" % i, data=t.path("restored"))
            got = restored.get("jobs")
            equal(got, b"".join(b"%06d\n" % i for i in range(3000)), "the queue that stays")
            got = numbers(restored.get("load"))
            equal(got, list(range(got[0], got[0] + len(got))) if got else [], "in order, once")
            if known > taken + 1:
                assert got and got[0] <= taken + 1 and got[-1] >= known - 1, \
                    "acknowledged: %d, taken: %d, there: %s" % (known, taken, got[:1] + got[-1:])
            equal(restored.stop(), 0, "status")
    finally:
        load.end()


def test_a_second_backup_copies_what_is_new(t):
    m = filled(t, 100)
    m.mkdir("large")
    for _ in range(20):
        m.put("large", (b"y" * 1023 + b"\n") * 1000)
        m.flush("large")
    run("--backup", m.data, t.path("copy"))
    full = segments(t.path("copy"))
    assert len(full) > 2, full
    before = {name: os.stat(t.path("copy", "log", name)).st_ino for name in full}
    m.put("jobs", b"more\n")
    m.flush("jobs")
    run("--backup", m.data, t.path("copy"))
    equal([name for name in full if os.stat(t.path("copy", "log", name)).st_ino != before[name]],
          full[-1:], "segments that were copied again")
    m.sh("cat large/out > /dev/null")
    eventually(lambda: m.stats("large")["depth"] == 0, 5, "all of them done")
    for _ in range(30):
        m.put("large", (b"z" * 1023 + b"\n") * 1000)
        m.flush("large")
    m.sh("cat large/out > /dev/null")
    m.put("jobs", b"again\n")
    m.flush("jobs")
    run("--backup", m.data, t.path("copy"))
    equal(segments(t.path("copy")), segments(m.data), "segments")
    copy = t.mount(name="c", data=t.path("copy"))
    equal(copy.get("jobs").splitlines()[-2:], [b"more", b"again"], "the last items")
    equal(copy.stop(), 0, "status")
    done = run("--backup", m.data, t.path("copy"), status=1)
    assert "a service has run on" in done.stderr, done.stderr


def test_a_copy_of_another_store_is_not_mixed_with_this_one(t):
    m, other = filled(t, 200), t.mount(name="o", data=t.path("other"))
    other.mkdir("jobs")
    other.put("jobs", b"other\n")
    other.flush("jobs")
    run("--backup", m.data, t.path("copy"))
    done = run("--backup", other.data, t.path("copy"), status=1)
    assert "another store" in done.stderr and done.stderr.count("\n") == 1, done.stderr
    equal(verified(t.path("copy"))["items"], 200, "items of the copy")


def test_a_backup_that_is_killed_leaves_the_older_copy_and_is_made_again(t):
    m = filled(t, 500)
    m.mkdir("large")
    run("--backup", m.data, t.path("copy"))
    for i in range(25):
        m.put("large", (b"%04d" % i + b"y" * 1019 + b"\n") * 1000)
        m.flush("large")
        with subprocess.Popen([QUEUED, "--backup", m.data, t.path("copy")],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as backup:
            time.sleep(0.004 * i)
            backup.send_signal(signal.SIGKILL)
        seen = verified(t.path("copy"))
        equal(seen["damaged"], False, "cut off after %d ms: %s" % (4 * i, seen["found"]))
        assert seen["items"] >= 500, seen
    run("--backup", m.data, t.path("copy"))
    equal(verified(t.path("copy"))["items"], 500 + 25000, "items")
    equal([name for name in os.listdir(t.path("copy", "log")) if "part" in name], [], "left behind")


if __name__ == "__main__":
    main()
