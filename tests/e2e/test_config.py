#!/usr/bin/env python3
"""Settings: of the file, where each mistake is named, and live, through `config`."""

import errno
import os
import subprocess
import time

from harness import QUEUEFS, Fd, equal, fails, is_mounted, main, sh

GOOD = """\
store: {max_bytes: 64MiB, min_free: 1MiB}
log: {level: info}
defaults: {batch_size: 50, linger: 2ms}
queues:
  jobs: {batch_size: 200, maxsize: 10000, mode: 0640, framing: nul}
  logs: {}
"""

# settings, line, column (None: somewhere in that line), what the message must name
WRONG = [
    ("nonsense: 1\n", 1, 1, ["nonsense"]),
    ("defaults:\n  batch_sise: 1\n", 2, 3, ["batch_sise"]),
    ("defaults: {batch_size: 0}\n", 1, 24, ["batch_size"]),
    ("defaults: {batch_size: -1}\n", 1, 24, ["batch_size"]),
    ("defaults: {batch_size: many}\n", 1, 24, ["batch_size"]),
    ("defaults: {batch_size: [1]}\n", 1, 24, ["batch_size"]),
    ("defaults: {batch_size: 1, batch_size: 2}\n", 1, 27, ["batch_size"]),
    ("defaults: {linger: 5}\n", 1, 20, ["linger"]),
    ("defaults: {linger: 5 parsecs}\n", 1, 20, ["linger"]),
    ("defaults: {framing: heap}\n", 1, 21, ["framing", "line", "nul", "file"]),
    ("defaults: {on_full: explode}\n", 1, 21, ["on_full", "block", "fail"]),
    ("defaults: {max_item_size: 65MiB}\n", 1, 27, ["max_item_size", "64MiB"]),
    ("defaults: {mode: 9999}\n", 1, 18, ["mode"]),
    ("defaults: {sync_on_close: maybe}\n", 1, 27, ["sync_on_close"]),
    ("queues:\n  jobs: {}\n  jobs: {}\n", 3, 3, ["jobs"]),
    ("queues: {bad.name: {}}\n", 1, 10, ["bad.name"]),
    ("queues: {stats: {}}\n", 1, 10, ["stats"]),
    ("queues: 7\n", 1, 9, ["queues"]),
    ("queues: {jobs: {owner: no-such-user-here}}\n", 1, 24, ["owner"]),
    ("store: {engine: paper}\n", 1, 17, ["engine", "local", "memory"]),
    ("store: {max_bytes: lots}\n", 1, 20, ["max_bytes"]),
    ("log:\n  level: loud\n", 2, 10, ["level", "info"]),
    ("mount: {allow_other: perhaps}\n", 1, 22, ["allow_other"]),
    ("store: [\n", 2, None, []),
    ("a: b: c\n", 1, None, []),
]


def test_the_logs_files_are_of_the_size_that_is_set(t):
    m = t.mount("store: {segment: 1MiB}\n")
    m.mkdir("jobs")
    with m.open_in("jobs") as file:
        for _ in range(40):
            file.write_all(b"x" * 99999 + b"\n")
            file.sync()
    log = os.path.join(m.data, "log")
    equal({os.path.getsize(os.path.join(log, name)) for name in os.listdir(log)}, {1 << 20},
          "sizes of the log's files")


def test_each_wrong_setting_names_file_line_column_key_and_what_is_allowed(t):
    file, path = t.path("wrong.yaml"), t.path("q")
    os.mkdir(path)
    for text, line, column, words in WRONG:
        with open(file, "w") as out:
            out.write(text)
        done = sh([QUEUEFS, "-c", file, "-d", t.path("data"), path], check=False)
        message = done.stderr.decode()
        equal(done.returncode, 1, repr(text) + ": status")
        place = "%s:%d:" % (file, line) + ("%d:" % column if column else "")
        assert place in message, "%r: no %s in %r" % (text, place, message)
        equal(message.count("\n"), 1, repr(text) + ": lines of " + message)
        for word in words:
            assert word in message, "%r: no %s in %r" % (text, word, message)
        assert not is_mounted(path), repr(text)
        assert not os.path.exists(t.path("data/log")), repr(text)


def test_a_settings_file_that_is_not_there(t):
    os.mkdir(t.path("q"))
    done = sh([QUEUEFS, "-c", t.path("none.yaml"), t.path("q")], check=False)
    equal(done.returncode, 1, "status")
    assert b"none.yaml" in done.stderr, done.stderr


def test_the_queues_of_the_file_are_made_with_their_settings(t):
    m = t.mount(GOOD)
    equal(sorted(os.listdir(m.path)), ["flush", "help", "jobs", "logs", "stats"])
    config = m.out("cat jobs/config").decode()
    for line in ("batch_size: 200", "maxsize: 10000", "mode: 0640", "framing: nul", "linger: 2ms"):
        assert "\n" + line in "\n" + config, (line, config)
    assert "batch_size: 50" in m.out("cat logs/config").decode()
    m.mkdir("later")
    assert "batch_size: 50" in m.out("cat later/config").decode()


def test_own_settings_of_the_file_are_set_at_each_start(t):
    m = t.mount(GOOD)
    m.configure("jobs", maxsize=5)
    m.restart()
    assert "maxsize: 10000" in m.out("cat jobs/config").decode()


def test_check_prints_settings_that_read_back_the_same(t):
    file = t.path("settings.yaml")
    with open(file, "w") as out:
        out.write(GOOD)
    one = sh([QUEUEFS, "-c", file, "--check"]).stdout
    with open(file, "wb") as out:
        out.write(one)
    equal(sh([QUEUEFS, "-c", file, "--check"]).stdout, one)
    assert b"batch_size: 200" in one, one


def test_config_is_yaml_and_readable_in_one_piece(t):
    m = t.queue()
    config = m.out("cat jobs/config").decode()
    for line in config.splitlines():
        assert line.startswith("#") or ": " in line, line
    keys = [line.split(":")[0] for line in config.splitlines() if not line.startswith("#")]
    for key in ("maxsize", "max_item_size", "framing", "lease", "lease_max", "retry_delay",
                "max_deliveries", "mode", "owner", "group", "batch_size", "batch_bytes", "linger",
                "max_in_flight", "buffer_bytes", "put_timeout", "sync_on_close", "on_full",
                "get_timeout"):
        equal(keys.count(key), 1, key)


def test_writing_back_what_was_read_changes_nothing(t):
    m = t.queue(batch_size=7, maxsize=99, put_timeout="forever", linger="1500us")
    before = m.out("cat jobs/config")
    m.sh("cat jobs/config > ../config; cat ../config > jobs/config")
    equal(m.out("cat jobs/config"), before)
    m.sh("cp ../config jobs/config")
    equal(m.out("cat jobs/config"), before)


def test_one_write_of_many_lines_is_applied_whole(t):
    m = t.queue()
    m.configure("jobs", batch_size=3, maxsize=44, linger="1ms")
    config = m.out("cat jobs/config").decode()
    for line in ("batch_size: 3\n", "maxsize: 44\n", "linger: 1ms\n"):
        assert line in config, config
    with Fd(m.at("jobs/config"), os.O_WRONLY) as file:
        fails(errno.EINVAL, file.write, b"batch_size: 5\nmaxsize: -1\n")
    equal(m.out("cat jobs/config").decode(), config)


def test_queue_settings_are_kept_and_mount_settings_end_with_the_mount(t):
    m = t.queue()
    m.configure("jobs", maxsize=44, batch_size=3)
    m.restart()
    config = m.out("cat jobs/config").decode()
    assert "maxsize: 44\n" in config, config
    assert "batch_size: 100\n" in config, config


def test_echo_into_config_works(t):
    m = t.queue()
    m.sh("echo 'batch_size: 1' > jobs/config; echo 'get_timeout: 10ms' >> jobs/config")
    config = m.out("cat jobs/config").decode()
    assert "batch_size: 1\n" in config and "get_timeout: 10ms\n" in config, config


def test_batch_size_1_is_seen_in_the_next_batches(t):
    m = t.queue()
    m.put("jobs", b"a\n" * 100)
    m.flush("jobs")
    before = m.stats("jobs")
    m.configure("jobs", batch_size=1)
    m.put("jobs", b"b\n" * 50)
    m.flush("jobs")
    after = m.stats("jobs")
    equal(after["batch_puts"] - before["batch_puts"], 50, "batches of 50 items")
    m.configure("jobs", batch_size=1000, linger="1m")
    m.put("jobs", b"c\n" * 50)
    m.flush("jobs")
    equal(m.stats("jobs")["batch_puts"] - after["batch_puts"], 1, "batches of 50 items")
    equal(m.get("jobs"), b"a\n" * 100 + b"b\n" * 50 + b"c\n" * 50)


def test_maxsize_lifted_live_lets_writers_go_on(t):
    m = t.queue(maxsize=5, batch_size=1)
    writer = subprocess.Popen(["sh", "-c", "seq 1 200 > jobs/in; touch jobs/flush"], cwd=m.path)
    time.sleep(0.3)
    m.configure("jobs", maxsize=0)
    equal(writer.wait(20), 0, "status")
    equal(m.depth("jobs"), 200, "depth")


if __name__ == "__main__":
    main()
