#!/usr/bin/env python3
"""docs/workers.md: each recipe is taken from the page and run as it stands there, with the output
that is shown there. A block is a script if it begins with #!, and installed under the name in its
second line; a unit if it begins with the unit's path; a session else: `$ ` and `> ` are typed.
"""

import glob
import os
import re
import shutil
import signal
import subprocess
import time

from harness import ROOT, SLOW, Skip, equal, eventually, main, need, sh, timeout
from work import LEASE, counts, eventually_counts, fill, listed

PAGE = ROOT + "/docs/workers.md"
SHORT = "%ds" % (1 + LEASE)  # the lease, where it is to end or to be renewed


def sections():
    with open(PAGE) as file:
        parts = re.split(r"^## (.*)\n", file.read(), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def blocks(text):
    """The indented blocks, without their indentation; an empty line ends none that goes on."""
    found = re.findall(r"(?:^    .*\n(?:\n(?=    ))?)+", text, flags=re.M)
    return ["".join(line[4:] if line.strip() else line for line in block.splitlines(True))
            for block in found]


def kind(block):
    return "script" if block.startswith("#!") else "unit" if block.startswith("# /") else "session"


def home(t, **settings):
    """A home with the mount ~/q, its queue, the scripts of the page, and `handle` and `encode`."""
    if not os.access(PAGE, os.R_OK):
        raise Skip("the page is not here")
    m = t.queue(**{"lease": "1m", **settings})
    os.mkdir(t.path("bin"))
    for text in sections().values():
        for block in blocks(text):
            if kind(block) == "script":
                install(t, block.splitlines()[1].split()[1], block)
    record = t.path("handled")
    install(t, "handle", "#!/bin/sh\nread -r item; echo \"$item\" >> %s\n" % record)
    install(t, "encode", "#!/bin/sh\nsleep %d; cat \"$1\" >> %s\n" % (2 + 2 * LEASE, record))
    return m


def install(t, name, text):
    with open(t.path("bin", name), "w") as file:
        file.write(text)
    os.chmod(t.path("bin", name), 0o755)


def environment(t):
    return dict(os.environ, HOME=t.directory, PATH=t.path("bin") + ":" + os.environ["PATH"],
                LC_ALL="C", TZ="UTC0")


def handled(t):
    if not os.path.exists(t.path("handled")):
        return []
    with open(t.path("handled")) as file:
        return file.read().split()


def typed(block):
    """The script that the session types, and the lines that it shows."""
    lines = block.splitlines()
    script = [line[2:] for line in lines if line[:2] in ("$ ", "> ")]
    return script, [line for line in lines if line[:2] not in ("$ ", "> ")]


def alike(line):
    """Without ids, times and owners."""
    line = re.sub(r"\b[0-9a-f]{16}\b", "ID", line)
    line = re.sub(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", "TIME", line)
    return re.sub(r"^(-rw)\S+ 1 \S+ +\S+ +(\d+) \w+ +\d+ \d+:\d+", r"\1 \2", line)


def session(t, title, n=None):
    """Type all sessions of a section, or its n-th, in one shell; compare what they show."""
    found = [block for block in blocks(sections()[title]) if kind(block) == "session"]
    script, shown = [], []
    for block in found if n is None else [found[n]]:
        lines, output = typed(block)
        script += lines
        shown += output
    done = sh(["sh", "-ec", "\n".join(script)], cwd=t.directory, env=environment(t), check=False,
              seconds=60)
    said = [line for line in done.stderr.decode().splitlines() if "itation" not in line]
    equal(done.returncode, 0, "status of %r, which said %r" % (script, said))
    equal([alike(line) for line in done.stdout.decode().splitlines()],
          [alike(line) for line in shown], "what %r shows" % script)
    return done


def running(group):
    """The processes of a group that have not ended."""
    for stat in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(stat) as file:
                state, _, pgrp = file.read().rsplit(") ", 1)[1].split()[:3]
        except OSError:
            continue
        if int(pgrp) == group and state not in "ZX":
            return True
    return False


def end(process, number=signal.SIGKILL):
    """It, and all it has started; its status."""
    os.killpg(process.pid, number)
    status = process.wait(20 * SLOW)
    eventually(lambda: not running(process.pid), 10, "the end of all")
    return status


def numbers(n):
    return sorted(str(i) for i in range(1, n + 1))


def test_every_recipe_is_a_test(t):
    tested = {"The loop", "Retry and bury by exit status", "A pool of eight", "A long job",
              "Two stages", "As a service", "Looking at what is there", "Reviving the dead",
              "Emptying a queue", "Take care"}
    equal(set(sections()), tested, "the sections of the page")
    found = [kind(block) for text in sections().values() for block in blocks(text)]
    equal([found.count("script"), found.count("unit")], [2, 1], "scripts and units")
    for number, line in enumerate(open(PAGE), 1):
        assert len(line) <= 101 or line.startswith("|"), "line %d is long" % number


def test_the_loop(t):
    m = home(t)
    text = [block for block in blocks(sections()["The loop"]) if kind(block) == "session"][0]
    worker = subprocess.Popen(["sh", "-c", "\n".join(typed(text)[0]) + "\nwait"],
                              env=environment(t), start_new_session=True)
    eventually(lambda: handled(t) == numbers(5), 20, "the handling of all")
    m.flush("jobs")
    eventually_counts(m, depth=0, leased=0)
    end(worker)


@timeout(60)
def test_the_loop_fails_and_dies(t):
    """An item that fails is tried again; so is one whose worker was killed."""
    m = home(t, retry_delay="0s", lease=SHORT)
    install(t, "fails_once", "#!/bin/sh\nmkdir %s 2> /dev/null || exec handle\n" % t.path("failed")
            + "exit 1\n")
    install(t, "dies_once", "#!/bin/sh\nmkdir %s 2> /dev/null || exec fails_once\nkill -9 0\n"
            % t.path("died"))
    fill(m, 3)
    command = ["worker", m.at("jobs"), "dies_once"]
    worker = subprocess.Popen(command, env=environment(t), start_new_session=True)
    equal(worker.wait(20 * SLOW), -9, "status of the worker that died")
    worker = subprocess.Popen(command, env=environment(t), start_new_session=True)
    eventually_counts(m, 20, depth=0, leased=0, redelivered=2, expired=1)
    end(worker)
    equal(sorted(handled(t)), ["0", "1", "2"], "what was handled")


def test_retry_and_bury_by_exit_status(t):
    m = home(t)
    session(t, "Retry and bury by exit status")
    eventually_counts(m, depth=0, leased=0, dead=1)
    fill(m, 1)
    for status, places in ((1, [1, 0, 1]), (0, [0, 0, 1])):
        sh("job $(cat claim) sh -c 'exit %d'" % status, cwd=m.at("jobs"), env=environment(t))
        equal([len(listed(m, place)) for place in ("ready", "leased", "dead")], places)


@timeout(90)
def test_a_pool_of_eight_with_xargs(t):
    m = home(t)
    session(t, "A pool of eight", 0)
    equal(sorted(handled(t)), numbers(20), "what was handled")
    sh("seq 20 >> in; " + typed(blocks(sections()["A pool of eight"])[1])[0][1], cwd=m.at("jobs"),
       env=environment(t))
    m.flush("jobs")
    eventually_counts(m, depth=0, leased=0, redelivered=0)
    equal(sorted(handled(t)), sorted(numbers(20) * 2), "what was handled in all")


@timeout(90)
def test_xargs_claims_only_what_it_can_work_on(t):
    m = home(t)
    install(t, "handle", "#!/bin/sh\ncat >> %s; sleep 100\n" % t.path("begun"))
    fill(m, 50)
    pool = subprocess.Popen(["sh", "-c", typed(blocks(sections()["A pool of eight"])[1])[0][1]],
                            cwd=m.at("jobs"), env=environment(t), start_new_session=True)
    eventually(lambda: len(listed(m, "leased")) >= 8, 20, "eight at work")
    time.sleep(0.5)
    held = len(listed(m, "leased"))
    end(pool)
    assert 8 <= held <= 10, "%d are leased by a pool of eight" % held


@timeout(120)
def test_a_pool_of_eight_with_parallel(t):
    need("parallel")
    m = home(t, lease_max="1h")
    script = typed(blocks(sections()["A pool of eight"])[2])[0]
    equal(len(script), 3, "lines")
    sh("\n".join(script), cwd=m.at("jobs"), env=environment(t))
    m.flush("jobs")
    eventually_counts(m, depth=0, leased=0, redelivered=0)
    equal(sorted(handled(t)), numbers(20), "what was handled")


@timeout(60)
def test_a_long_job(t):
    m = home(t, lease=SHORT)
    session(t, "A long job")
    m.flush("jobs")
    eventually_counts(m, depth=0, leased=0, expired=0, acks_late=0, redelivered=0)
    equal(" ".join(handled(t)), "a long film", "what was encoded")


def test_two_stages(t):
    m = home(t)
    session(t, "Two stages")
    m.flush()
    eventually_counts(m, depth=0, leased=0, dead=0)
    equal(m.stats("checked")["service_total_puts"], 3, "handed on")


@timeout(60)
def test_as_a_service(t):
    m = home(t)
    unit = blocks(sections()["As a service"])[0]
    path = unit.splitlines()[0][2:]
    fill(m, 3, 1)
    for old, new in (("/usr/local/bin", t.path("bin")), ("/mnt/q", m.path),
                     ("User=app", "User=daemon")):
        assert old in unit, old
        unit = unit.replace(old, new)
    command = re.search("^ExecStart=(.*)$", unit, flags=re.M).group(1).split()
    worker = subprocess.Popen(command, env=environment(t), start_new_session=True)
    eventually_counts(m, 20, depth=0, leased=0)
    equal(end(worker, signal.SIGTERM), -signal.SIGTERM, "status of a worker that was stopped")
    equal(handled(t), numbers(3), "what was handled")
    if shutil.which("systemd-analyze"):
        verify(t, os.path.basename(path), unit)


def verify(t, name, unit):
    """With a unit for the mount beside it."""
    mount = "[Service]\nType=oneshot\nExecStart=/bin/true\n"
    for file, text in ((name, unit), ("queuefs@.service", mount)):
        with open(t.path(file), "w") as out:
            out.write(text)
    instance = name.replace("@.", "@1.")
    done = sh(["systemd-analyze", "verify", t.path(instance)], check=False,
              env=dict(os.environ, SYSTEMD_UNIT_PATH=t.directory + ":"))
    wrong = [line for line in done.stderr.decode().splitlines() if "worker" in line]
    equal([done.returncode, wrong], [0, []], "what systemd-analyze says: %r" % done.stderr)


def test_looking_at_what_is_there(t):
    m = home(t)
    session(t, "Looking at what is there")
    eventually_counts(m, depth=2, leased=1)


def test_reviving_the_dead(t):
    m = home(t)
    session(t, "Reviving the dead")
    eventually_counts(m, depth=0, leased=0, dead=0)


def test_emptying_a_queue(t):
    m = home(t)
    session(t, "Emptying a queue")
    assert not os.path.exists(m.at("jobs")), "the queue is there"


def test_take_care_rm_r(t):
    """The queue stays, its items do not."""
    m = home(t)
    fill(m, 5)
    sh("for id in $(cat claim@2); do mv leased/$id dead/; done; cat claim > /dev/null",
       cwd=m.at("jobs"))
    done = m.sh("rm -r jobs", check=False)
    equal(done.returncode, 1, "status of rm -r")
    assert b"Operation not permitted" in done.stderr, done.stderr
    m.flush("jobs")
    eventually_counts(m, depth=0, leased=0, dead=0)
    assert os.path.exists(m.at("jobs/in")), "the queue is gone"


def test_take_care_mv_out_and_cp_r(t):
    m = home(t)
    fill(m, 3)
    m.sh("cp -r jobs %s" % t.path("copy"), check=False)
    equal(counts(m, "leased"), [0], "claimed by cp -r")
    equal(len(os.listdir(t.path("copy/ready"))), 3, "copied")
    os.mkdir(t.path("elsewhere"))
    m.sh("mv jobs/leased/$(cat jobs/claim) %s/" % t.path("elsewhere"))
    m.sh("mv jobs/ready/$(ls jobs/ready | head -n 1) %s/" % t.path("elsewhere"))
    m.flush("jobs")
    eventually_counts(m, depth=1, leased=0)
    equal(len(os.listdir(t.path("elsewhere"))), 2, "taken out")


if __name__ == "__main__":
    main()
