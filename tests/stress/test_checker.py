#!/usr/bin/env python3
"""Short runs of the checker (checker.c), one for each way to disturb: nothing that was acknowledged
is lost, nothing is stored twice, all of it is in order. And its positive control: where puts are
acknowledged before they are committed, it must find what that loses.

    CHECKER, PROXY, QUEUED, QUEUEFS    the programs
    QUEUEFS_CHECKER_SEED=N             repeat the choices of a run that failed (it names its seed)

The long runs: tests/stress/run_long
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))

from harness import QUEUEFS, ROOT, SLOW, Skip, equal, main, sh, timeout  # noqa: E402

CHECKER = os.path.abspath(os.environ.get("CHECKER", ROOT + "/build/tests/checker"))
PROXY = os.path.abspath(os.environ.get("PROXY", ROOT + "/build/tests/proxy"))
QUEUED = os.path.abspath(os.environ.get("QUEUED", ROOT + "/build/transport/queued/queued"))
SECONDS = 6


def check(t, nemesis, *options, embedded=False, env=None):
    """Run the checker; its status and what it counted."""
    work = t.path("work")
    os.mkdir(work)
    command = [CHECKER, "--queuefs", QUEUEFS, "--dir", work, "--keep", "--nemesis", nemesis,
               "--seconds", str(SECONDS), *options]
    if not embedded:
        command += ["--queued", QUEUED]
    if "QUEUEFS_CHECKER_SEED" in os.environ:
        command += ["--seed", os.environ["QUEUEFS_CHECKER_SEED"]]
    done = sh(command, check=False, seconds=90, env={**os.environ, **(env or {})})
    counts = {}
    for line in done.stdout.decode().splitlines():
        name, value = line.split(": ")
        counts[name] = int(value)
    print("# " + " ".join("%s %d" % item for item in counts.items()), flush=True)
    assert done.returncode in (0, 1) and counts, done.stderr.decode()[-3000:]
    return done, counts


def well(t, nemesis, *options, **more):
    done, counts = check(t, nemesis, *options, **more)
    equal(done.returncode, 0, "status of the checker, which said: " + done.stderr.decode()[-3000:])
    assert counts["acknowledged"] > 0, "nothing was acknowledged"
    assert sum(counts[kind] for kind in nemesis.split(",")) > 0, "nothing was disturbed"


@timeout(100)
def test_undisturbed(t):
    done, counts = check(t, "", "--seconds", "3")
    equal(done.returncode, 0, "status of the checker, which said: " + done.stderr.decode()[-3000:])
    equal(counts["redelivered"], 0, "read twice")
    equal(counts["ok"], counts["acknowledged"], "ok")


@timeout(100)
def test_killed_service(t):
    well(t, "kill-service")


@timeout(100)
def test_killed_service_that_is_embedded(t):
    well(t, "kill-service", embedded=True)


@timeout(100)
def test_killed_mounts(t):
    well(t, "kill-mount")


@timeout(100)
def test_cut_and_slow_connections(t):
    well(t, "cut,half,delay", "--proxy", PROXY)


@timeout(100)
def test_stopped_service(t):
    well(t, "stop-service", "--timeout", str(1000 * SLOW))


@timeout(100)
def test_stopped_mounts(t):
    well(t, "stop-mount", "--timeout", str(1000 * SLOW))


@timeout(100)
def test_everything_at_once(t):
    well(t, "kill-service,kill-mount,stop-service,stop-mount,cut,half,delay", "--proxy", PROXY)


@timeout(100)
def test_losses_are_found_where_puts_are_acknowledged_before_they_are_committed(t):
    with open(QUEUED, "rb") as program:
        if b"QUEUEFS_TEST_ACK_EARLY" not in program.read():
            raise Skip("built without -Dfault_injection=true")
    done, counts = check(t, "kill-service", env={"QUEUEFS_TEST_ACK_EARLY": "50"})
    equal(done.returncode, 1, "status of the checker")
    assert counts["lost"] > 0, "no loss was found"
    equal(counts["unexpected"], 0, "unexpected")


if __name__ == "__main__":
    main()
