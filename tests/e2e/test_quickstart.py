#!/usr/bin/env python3
"""./quickstart on a fresh copy: it builds, mounts, shows what the README shows, and can be run again."""

import errno
import os
import shutil

from harness import ROOT, Skip, equal, fails, is_mounted, main, sh, timeout


def copy(t):
    """The sources as a clone has them, and an environment whose home is the test's directory."""
    if not os.access(ROOT + "/meson.build", os.R_OK):
        raise Skip("the sources are not here")
    ignore = shutil.ignore_patterns("build*", ".git", "__pycache__")
    shutil.copytree(ROOT, t.path("clone"), ignore=ignore)
    env = dict(os.environ, HOME=t.directory, XDG_DATA_HOME=t.path("share"))
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "STATE_DIRECTORY", "MAKEFLAGS"):
        env.pop(name, None)
    return env


def quickstart(t, env, *args, check=True):
    done = sh([t.path("clone/quickstart"), *args], cwd=t.directory, env=env, check=check, seconds=300)
    return done.stdout.decode()


def tour_of(text):
    """The lines of the tour alone."""
    lines = text.splitlines()
    first, last = lines.index("A queue is a directory"), lines.index("$ rmdir tour")
    return [line for line in lines[first:last + 1] if line]


def readme_tour():
    with open(ROOT + "/README.md") as file:
        lines = [line[4:] if line.startswith("    ") else line for line in file.read().splitlines()]
    return tour_of("\n".join(lines))


@timeout(300)
def test_from_a_clone_to_a_mount_and_back(t):
    env = copy(t)
    output = quickstart(t, env)
    q = t.path("q")
    assert is_mounted(q), output
    equal(tour_of(output), readme_tour(), "the tour")

    os.mkdir(q + "/jobs")
    sh("echo mine > jobs/in; touch flush", cwd=q)
    again = quickstart(t, env)
    equal(tour_of(again), tour_of(output), "the tour of the second run")
    equal(sh("cat stats | grep ^depth:", cwd=q).stdout, b"depth: 1\n")

    with open(q + "/stats"):
        refused = sh([t.path("clone/quickstart"), "--unmount"], env=env, check=False)
        equal(refused.returncode, 1, "status of --unmount while in use")
        assert b"in use" in refused.stderr, refused.stderr
    quickstart(t, env, "--unmount")
    assert not is_mounted(q)
    fails(errno.ENOENT, os.stat, q + "/stats")
    quickstart(t, env, "--unmount")

    quickstart(t, env)
    equal(sh("cat jobs/next", cwd=q).stdout, b"mine\n")
    quickstart(t, env, "--unmount")

    other = t.path("other place")
    quickstart(t, env, other)
    assert is_mounted(other)
    quickstart(t, env, "--unmount", other)
    assert not is_mounted(other)

    os.mkdir(t.path("full"))
    sh("touch full/file", cwd=t.directory)
    refused = sh([t.path("clone/quickstart"), t.path("full")], env=env, check=False)
    equal(refused.returncode, 1, "status for a directory with files in it")
    assert b"not empty" in refused.stderr, refused.stderr


if __name__ == "__main__":
    main()
