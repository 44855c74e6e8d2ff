#!/usr/bin/env python3
"""--export and --import, of both programs: what goes out comes in, whole or not at all."""

import io
import os
import random
import signal
import subprocess
import tarfile
import threading
import time

from harness import FULL, QUEUED, QUEUEFS, SLOW, equal, eventually, main


def run(*words, program=None, given=b"", status=0, env=None):
    done = subprocess.run([program or QUEUED, *words], input=given, capture_output=True,
                          timeout=120 * SLOW, check=False, env=env)
    equal(done.returncode, status, "status of %s: %s" % (words, done.stderr))
    return done


def out(data, queue, **more):
    return run("-d", data, "--export", queue, **more).stdout


def into(data, queue, given, **more):
    return run("-d", data, "--import", queue, given=given, **more)


def refused(data, queue, given, word):
    done = into(data, queue, given, status=1)
    text = done.stderr.decode()
    assert word in text and text.count("\n") == 1, text
    assert "nothing was imported" in text, text
    return text


def tar_of(files, kind=tarfile.USTAR_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def files_of(tar):
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as opened:
        return [opened.extractfile(member).read() for member in opened]


def test_lines_come_back_as_they_went(t):
    lines = b"first\n\n\xff\x00\r \n" + b"x" * (1 << 20) + b"\n" + b"\n" * 70000 + b"last"
    for program in (QUEUED, QUEUEFS):
        data = t.path(os.path.basename(program))
        done = into(data, "jobs", lines, program=program)
        assert b"70005 items" in done.stdout, done.stdout
        equal(out(data, "jobs", program=program), lines + b"\n", "what came back")
    equal(into(data, "jobs", b"").stdout.split(b":")[1].split()[0], b"0", "of nothing")
    into(data, "jobs", b"more\n")
    equal(out(data, "jobs"), lines + b"\nmore\n", "what was added")
    m = t.mount(data=data)
    equal(m.stats("jobs")["depth"], 70006, "depth")
    equal(m.get("jobs"), lines + b"\nmore\n", "what a mount gets")
    equal(m.stop(), 0, "status")
    equal(out(data, "jobs"), b"", "of an empty queue")


def test_a_service_starts_while_somebody_is_slow_to_read_an_export(t):
    lines = b"".join(b"%07d %s\n" % (n, b"x" * 90) for n in range(100000))
    data = t.path("data")
    into(data, "jobs", lines)
    with subprocess.Popen([QUEUED, "-d", data, "--export", "jobs"],
                          stdout=subprocess.PIPE) as export:
        first = export.stdout.read(100)
        m = t.mount(data=data)
        m.put("jobs", b"another\n")
        m.flush("jobs")
        equal(first + export.stdout.read(), lines, "the export, as it stood")
        equal(export.wait(), 0, "its status")
    equal(m.get("jobs"), lines + b"another\n", "what a mount gets")


def test_the_data_directory_is_found_as_the_program_finds_it(t):
    env = {"PATH": os.environ["PATH"], "XDG_DATA_HOME": t.path("xdg")}
    for program, name in ((QUEUED, "queued"), (QUEUEFS, "queuefs")):
        run("--import", "jobs", program=program, given=name.encode(), env=env)
        equal(run("--export=jobs", program=program, env=env).stdout, name.encode() + b"\n", name)
        equal(out(t.path("xdg", name), "jobs"), name.encode() + b"\n", "by hand")
    with open(t.path("settings"), "w") as file:
        file.write("store: {path: %s}\nqueues: {cut: {framing: nul, max_item_size: 4}}\n"
                   % t.path("there"))
    run("-c", t.path("settings"), "--import", "cut", given=b"a\nb\0c\0\0d")
    equal(run("-c", t.path("settings"), "--export", "cut").stdout, b"a\nb\0c\0\0d\0", "by its file")
    done = run("-c", t.path("settings"), "--import", "cut", given=b"12345", status=1)
    assert b"item 1 is larger" in done.stderr, done.stderr


def test_files_go_through_every_tar(t):
    content = [b"", b"\n\0", os.urandom(511), os.urandom(512), os.urandom(513), os.urandom(16 << 20)]
    names = ["%d" % i for i in range(len(content))]
    for name, text in zip(names, content):
        with open(t.path(name), "wb") as file:
            file.write(text)
    tars = [tar_of(zip(names, content), kind) for kind in
            (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]
    long = ["n" * 300 + name for name in names]
    tars += [tar_of(zip(long, content), kind) for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]
    for kind in ("ustar", "gnu", "pax"):
        tars.append(subprocess.run(["tar", "-C", t.directory, "--format=" + kind, "-cf", "-", *names],
                                   stdout=subprocess.PIPE, check=True).stdout)
    for i, tar in enumerate(tars):
        into(t.path("d%d" % i), "files", tar)
        exported = out(t.path("d%d" % i), "files")
        equal(files_of(exported) == content, True, "the files of tar %d" % i)
        equal(len(exported) % 512, 0, "size")
    into(t.path("again"), "files", exported)
    os.mkdir(t.path("by_tar"))
    subprocess.run(["tar", "-C", t.path("by_tar"), "-xf", "-"], check=True,
                   input=out(t.path("again"), "files"))
    got = [open(t.path("by_tar", name), "rb").read() for name in sorted(os.listdir(t.path("by_tar")))]
    equal(got == content, True, "what GNU tar has unpacked")
    m = t.mount(data=t.path("again"))
    assert "framing: file" in m.sh("cat files/config").stdout.decode()
    equal(m.stats("files")["depth"], len(content), "depth")


def pax(pairs):
    text = b""
    for key, value in pairs:
        record = b" %s=%s\n" % (key, value)
        n = len(record)
        while len(b"%d" % n) + len(record) != n:
            n = len(b"%d" % n) + len(record)
        text += b"%d" % n + record
    return text


def header(kind=b"0", size=b"00000000003\0", name=b"f"):
    block = bytearray(512)
    block[:len(name)] = name
    block[124:124 + len(size)] = size
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(text):
    return text + bytes(-len(text) % 512)


ITEM = header() + padded(b"abc")
END = bytes(1024)


def test_hostile_tars_are_refused_whole(t):
    data = t.path("d")
    into(data, "files", ITEM + END)
    for tar, word in (
            (header(b"5", b"00000000000\0") + END, "is a directory"),
            (header(b"0", b"00000000000\0", b"old/") + END, "is a directory"),
            (header(b"1", b"00000000000\0") + END, "is a hard link"),
            (header(b"2", b"00000000000\0") + END, "is a symbolic link"),
            (header(b"3", b"00000000000\0") + END, "something special"),
            (header(b"S") + padded(b"abc") + END, "is a sparse file"),
            (header(size=b"77777777777\0") + END, "more than the queue's max_item_size"),
            (header(size=b"\x80" + b"\xff" * 11) + END, "damaged"),
            (header(size=b"\x80" + bytes(4) + b"\x7f" + bytes(6)) + END, "max_item_size"),
            (header(size=b"\xff" * 12) + END, "damaged"),
            (header(size=b"0000000x003\0") + END, "damaged"),
            (header(size=bytes(12)) + END, "damaged"),
            (header(size=b"00000002000\0") + padded(b"abc") + END, "cut off"),
            (header(size=b"00000001000\0") + END, "cut off"),
            (header(b"x", b"00000000020\0") + padded(b"99 size=1\n" + b"x" * 6) + ITEM + END,
             "attributes of file 2 are damaged"),
            (header(b"x", b"00000000020\0") + padded(b"x" * 16) + ITEM + END, "damaged"),
            (header(b"x", b"77777777777\0") + END, "attributes of 8589934591 bytes"),
            (header(b"L", b"77777777777\0") + END, "8589934591 bytes"),
            (header(b"L", b"00000000003\0") + padded(b"abc") + END, "cut off"),
            (ITEM[:512] + padded(b"abc") + bytes(512), "cut off"),
            (ITEM + END + b"x" + bytes(511), "behind the end"),
            (ITEM + bytes(512) + ITEM + END, "behind the end"),
            (b"not a tar " * 100, "damaged at byte"),
            (ITEM[:512][:148] + b"000000\0 " + ITEM[156:] + END, "damaged"),
    ):
        refused(data, "files", ITEM + tar, word)
    sized = pax([(b"size", b"3")])
    for pairs, word in (([(b"size", b"99999999999999999999")], "damaged"),
                        ([(b"size", b"1000000000")], "max_item_size"),
                        ([(b"GNU.sparse.major", b"1")], "a sparse file"),
                        ([(b"size", b"-1")], "damaged")):
        text = pax(pairs)
        refused(data, "files", header(b"x", b"%011o\0" % len(text)) + padded(text) + ITEM + END, word)
    refused(data, "files", header(b"g", b"%011o\0" % len(sized)) + padded(sized) + ITEM + END, "all")
    equal(files_of(out(data, "files")), [b"abc"], "what is there")
    right = header(b"x", b"%011o\0" % len(sized)) + padded(sized) + \
        header(size=b"00000000000\0") + padded(b"xyz") + END
    into(data, "files", right)
    equal(files_of(out(data, "files")), [b"abc", b"xyz"], "the size of pax counts")
    refused(data, "files", b"lines\n", "not a tar")
    refused(data, "files", b"l" * 600, "not a tar")
    into(t.path("lines"), "jobs", b"a\n")
    refused(t.path("lines"), "jobs", ITEM + END, "framing is line")
    equal(out(t.path("lines"), "jobs"), b"a\n", "the lines")


def test_a_tar_cut_at_each_byte_is_refused_or_whole(t):
    data = t.path("d")
    into(data, "files", ITEM + END)
    tar = ITEM + header(b"x", b"%011o\0" % len(pax([(b"a", b"b")]))) + padded(pax([(b"a", b"b")])) + \
        header() + padded(b"def") + END
    step = 1 if FULL else 37
    for end in sorted(set(range(0, len(tar), step)) | {512 * i for i in range(len(tar) // 512)}):
        refused(data, "files", tar[:end], "tar")
    equal(files_of(out(data, "files")), [b"abc"], "what is there")
    for _ in range(400 if FULL else 40):
        at = random.randrange(len(tar) - 1024)
        flipped = bytearray(tar)
        flipped[at] ^= 1 << random.randrange(8)
        done = subprocess.run([QUEUED, "-d", t.path("flip"), "--import", "files"], check=False,
                              input=bytes(flipped), capture_output=True, timeout=60 * SLOW)
        assert done.returncode in (0, 1) and done.stderr.count(b"\n") <= 1, done.stderr


def test_what_does_not_fit_leaves_nothing(t):
    with open(t.path("settings"), "w") as file:
        file.write("store: {max_bytes: 64MiB}\nqueues: {jobs: {maxsize: 10}, large: {}}\n")
    words = ("-c", t.path("settings"), "-d", t.path("d"))
    run(*words, "--import", "jobs", given=b"x\n" * 4)
    done = run(*words, "--import", "jobs", given=b"y\n" * 7, status=1)
    assert b"maxsize" in done.stderr and b"which is 6" in done.stderr, done.stderr
    run(*words, "--import", "jobs", given=b"z\n" * 6)
    equal(out(t.path("d"), "jobs"), b"x\n" * 4 + b"z\n" * 6, "up to maxsize")
    line = b"q" * 1000 + b"\n"
    done = run(*words, "--import", "large", given=b"ok\n" + line * 100000, status=1)
    assert b"store is full" in done.stderr and done.stderr.count(b"\n") == 1, done.stderr
    assert b"no queue large" in run("-d", t.path("d"), "--export", "large", status=1).stderr
    run(*words, "--import", "large", given=line * 20000)
    equal(out(t.path("d"), "large"), line * 20000, "as much as fits, behind that")
    done = into(t.path("d"), "large", b"a\n" + b"w" * (1 << 20) + b"x\n", status=1)
    assert b"item 2 is larger" in done.stderr, done.stderr
    equal(out(t.path("d"), "large") == line * 20000, True, "nothing of it is there")


def test_items_in_each_state_are_exported(t):
    m = t.mount()
    m.mkdir("jobs")
    m.put("jobs", b"".join(b"%d\n" % i for i in range(10)))
    m.flush("jobs")
    first = m.sh("cat jobs/claim").stdout.decode().strip()
    second = m.sh("cat jobs/claim").stdout.decode().strip()
    m.sh("mv jobs/leased/%s jobs/dead/; head -n 2 jobs/out" % second)
    third = m.sh("cat jobs/claim").stdout.decode().strip()
    m.sh("rm jobs/leased/%s" % third)
    assert first != third
    left = b"0\n1\n5\n6\n7\n8\n9\n"
    eventually(lambda: m.stats("jobs")["depth"] == 5, 5, "five left")
    m.flush("jobs")
    for program in (QUEUED, QUEUEFS):
        eventually(lambda: out(m.data, "jobs", program=program) == left, 5, "what is unfinished")
        equal(out(m.data, "jobs/dead", program=program), b"1\n", "the dead one")
    done = into(m.data, "jobs", b"x\n", status=1)
    text = done.stderr.decode()
    assert "%s/jobs/in" % m.path in text and "is in use by process" in text, text
    equal(text.count("\n"), 1, "lines of %s" % text)
    equal(m.stop(), 0, "status")
    equal(out(m.data, "jobs"), left, "of a store not in use")
    equal(out(m.data, "jobs/dead"), b"1\n", "the dead one")


def test_other_framings_than_the_queue_has_now(t):
    data = t.path("d")
    into(data, "jobs", b"one\ntwo\n")
    m = t.mount(data=data)
    m.sh("echo framing: nul > jobs/config; printf 'a\\nb\\0' >> jobs/in; touch jobs/flush; "
         "echo framing: line > jobs/config")
    equal(m.stop(), 0, "status")
    done = run("-d", data, "--export", "jobs", status=1)
    equal(done.stdout, b"one\ntwo\n", "what lines can say")
    assert b"holds a newline" in done.stderr and b"framing: file" in done.stderr, done.stderr
    with open(t.path("settings"), "w") as file:
        file.write("queues: {jobs: {framing: file}}\n")
    run("-c", t.path("settings"), "-d", data, "--import", "jobs", given=ITEM + END)
    equal(files_of(out(data, "jobs")), [b"one", b"two", b"a\nb", b"abc"], "as files")


def test_damage_is_named_and_the_rest_is_written(t):
    data = t.path("d")
    lines = [b"%07d %s\n" % (i, b"x" * 990) for i in range(4000)]
    for i in range(0, 4000, 1000):
        into(data, "jobs", b"".join(lines[i:i + 1000]))
    log = t.path("d", "log")
    for name in sorted(os.listdir(log)):
        with open(os.path.join(log, name), "r+b") as file:
            at = file.read().find(b"0002000 xxx")
            if at >= 0:
                file.seek(at)
                file.write(b"1")
    done = run("-d", data, "--export", "jobs", status=1)
    assert b"damaged in 1 places" in done.stderr and done.stderr.count(b"\n") == 1, done.stderr
    got = done.stdout.splitlines(keepends=True)
    equal(got == lines[:2000] + lines[3000:], True, "what is written")
    for name in os.listdir(log):
        os.truncate(os.path.join(log, name), 4096)
    done = run("-d", data, "--export", "jobs", status=1)
    assert b"no queue jobs" in done.stderr, done.stderr


def test_an_import_killed_at_any_moment_is_there_whole_or_not_at_all(t):
    data = t.path("d")
    lines = b"".join(b"%08d %s\n" % (i, b"x" * 500) for i in range(100000))
    begun = time.monotonic()
    into(t.path("whole"), "jobs", lines)
    took = time.monotonic() - begun
    into(data, "jobs", b"before\n")
    whole = b"before\n"
    rounds = 60 if FULL else 12
    n_taken_back = 0
    for i in range(rounds):
        with open(t.path("lines"), "wb") as file:
            file.write(lines)
        with open(t.path("lines"), "rb") as file, \
             subprocess.Popen([QUEUED, "-d", data, "--import", "jobs"], stdin=file,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as importing:
            time.sleep(took * i / rounds)
            importing.send_signal(signal.SIGKILL)
            said = importing.stdout.read()
        if said:
            whole += lines
        got = out(data, "jobs")
        assert got == whole or (not said and got == whole + lines), \
            "killed after %d %%: %d bytes are there" % (100 * i // rounds, len(got))
        whole = got
        done = into(data, "jobs", b"behind %d\n" % i)
        n_taken_back += b"taken back" in done.stderr
        whole += b"behind %d\n" % i
        equal(out(data, "jobs") == whole, True, "what is there, and what comes behind")
    assert n_taken_back > 0, "none was killed in the middle"
    into(data, "jobs", lines)
    equal(out(data, "jobs") == whole + lines, True, "given again")
    run("--verify", data)
    m = t.mount(data=data)
    equal(m.stats("jobs")["depth"], (whole + lines).count(b"\n"), "depth")
    equal(m.get("jobs") == whole + lines, True, "what a mount gets")


def test_a_service_takes_back_an_import_that_was_killed(t):
    data = t.path("data")
    into(data, "jobs", b"before\n")
    with subprocess.Popen([QUEUED, "-d", data, "--import", "jobs"], stdin=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as importing:
        importing.stdin.write((b"x" * 1000 + b"\n") * 40000)
        importing.stdin.flush()
        done = run("-d", data, "--import", "jobs", given=b"x", status=1)
        assert b"an import: wait" in done.stderr, done.stderr
        equal(out(data, "jobs"), b"before\n", "while it runs")
        importing.kill()
        importing.stdin.close()
    run("--backup", data, t.path("copy"))
    equal(out(t.path("copy"), "jobs"), b"before\n", "of a copy")
    for where in (data, t.path("copy")):
        m = t.mount(name="m" + os.path.basename(where), data=where)
        m.put("jobs", b"after\n")
        m.flush("jobs")
        equal(m.get("jobs"), b"before\nafter\n", "what is there")
        equal(m.stop(), 0, "status")


def numbers(text):
    return [int(line[:7]) for line in text.splitlines()]


def test_an_export_under_load(t):
    """Much comes and goes meanwhile, so that segments are released that are to be read."""
    m = t.mount()
    m.mkdir("stays")
    m.mkdir("load")
    stays = b"".join(b"%06d\n" % i for i in range(3000))
    m.put("stays", stays)
    m.flush("stays")
    ending, known = threading.Event(), [0]

    def put():
        while not ending.is_set():
            m.put("load", b"".join(b"%07d %s\n" % (known[0] + i, b"x" * 900) for i in range(200)))
            m.flush("load")
            known[0] += 200

    thread = threading.Thread(target=put)
    thread.start()
    taken = -1
    try:
        for _ in range(30 if FULL else 8):
            before = known[0]
            equal(out(m.data, "stays"), stays, "the queue that stays")
            got = numbers(out(m.data, "load"))
            equal(got, list(range(got[0], got[0] + len(got))) if got else [], "in order, once")
            assert before <= taken + 1 or (got and got[0] <= taken + 1 and got[-1] >= before - 1), \
                "acknowledged: %d, taken: %d, there: %s" % (before, taken, got[:1] + got[-1:])
            taken = max(numbers(m.get("load")), default=taken)
    finally:
        ending.set()
        thread.join()


def test_words_and_places_that_are_wrong(t):
    into(t.path("d"), "jobs", b"x\n")
    for words in (["--export", "a", "--import", "b"], ["--export", "a", "--export", "b"],
                  ["--export", "../x"], ["--import", "jobs/dead"], ["--export", "jobs", "more"],
                  ["--export", "jobs/ready"], ["--import", "stats"], ["--export", "a", "--json"]):
        for program in (QUEUED, QUEUEFS):
            run(*words, status=2, program=program)
    done = run("-d", t.path("d"), "--export", "none", status=1)
    assert b"no queue none: it has jobs" in done.stderr, done.stderr
    assert not os.path.exists(t.path("none"))
    done = run("-d", t.path("none"), "--export", "jobs", status=1)
    assert b"no store" in done.stderr and not os.path.exists(t.path("none")), done.stderr
    for target in ("/dev/full", "pipe"):
        read, write = os.pipe()
        os.close(read)
        with open("/dev/full", "wb") if target == "/dev/full" else os.fdopen(write, "wb") as sink:
            done = subprocess.run([QUEUED, "-d", t.path("d"), "--export", "jobs"], stdout=sink,
                                  stderr=subprocess.PIPE, timeout=60 * SLOW, check=False)
        equal((done.returncode, done.stderr.count(b"\n")), (1, 1), "status, lines for %s" % target)


if __name__ == "__main__":
    main()
