#!/usr/bin/env python3
"""What opens all that it finds takes nothing, changes nothing, and ends. `help` says what is there
though it is not listed.
"""

import os
import signal
import subprocess
import sys

from harness import equal, main, need, sh, timeout
from work import claim, listed

ITEMS = [b"%d" % n for n in range(5)]


def filled(t, settings=None):
    m = t.mount(settings)
    m.mkdir("jobs")
    m.put("jobs", b"".join(item + b"\n" for item in ITEMS))
    m.flush("jobs")
    equal(len(listed(m, "ready")), 5, "ready")
    return m


def takes_nothing(t, script, *programs, found=None):
    """Nothing is taken, claimed or gone after the script, whose status is its own affair."""
    need(*programs)
    m = filled(t)
    done = m.sh(script, shell="bash", check=False, seconds=15)
    if found:
        assert found in done.stdout, "%s found %r, said %r" % (script, done.stdout, done.stderr)
    equal([m.stats("jobs")[name] for name in ("depth", "leased", "dead", "total_gets")],
          [5, 0, 0, 0], "depth, leased, dead, gets after " + script)
    equal(m.get("jobs").split(), ITEMS, "items after " + script)


SCRIPTS = {
    "head": ("head jobs/*", b"jobs/stats"),
    "head deep": ("head jobs/*/*", b"4"),
    "cat": ("cat jobs/*", b"depth: 5"),
    "wc": ("wc jobs/*", b"jobs/stats"),
    "md5sum": ("md5sum jobs/* jobs/ready/*", b"jobs/ready/"),
    "file": ("file jobs/*", None),
    "rg": ("rg --no-ignore -uuu 'depth|3' .", b"depth: 5"),
    "grep -r": ("grep -r 'depth' .", b"depth: 5"),
    "grep -R": ("grep -R 'depth' .", b"depth: 5"),
    "busybox grep": ("busybox grep -r depth .", b"depth: 5"),
    "zip": ("zip -r ../a.zip jobs", None),
    "tar": ("tar cf ../a.tar jobs", None),
    "rsync": ("rsync -a --copy-links jobs/ ../copy/", None),
    "cp -rL": ("cp -rL jobs ../copy", None),
    "cp -r": ("cp -r jobs ../copy", None),
    "cp *": ("mkdir ../copy; cp -r jobs/* ../copy", None),
    "find": ("find . -type f -exec cat {} +", b"depth: 5"),
    "find busybox": ("busybox find . -type f -exec busybox cat {} +", None),
    "diff": ("diff -r jobs jobs; diff -r jobs /etc/ssl 2> /dev/null", None),
    "du": ("du -a jobs; ls -laR jobs", b"jobs/ready"),
    "python": ("python3 -c 'import pathlib\n"
               "for p in pathlib.Path().rglob(\"*\"):\n"
               "    try: print(p.read_bytes())\n"
               "    except OSError: pass'", b"depth: 5"),
}


def make(name, script, found):
    program = name.split()[0]

    @timeout(60)
    def test(t):
        takes_nothing(t, script, {"python": "python3"}.get(program, program), found=found)

    test.__name__ = "test_all_of_a_queue_by_" + "".join(
        c if c.isalnum() else "_" for c in name.replace("*", "all"))
    return test


for _name, (_script, _found) in SCRIPTS.items():
    _test = make(_name, _script, _found)
    globals()[_test.__name__] = _test


@timeout(60)
def test_a_web_servers_directory(t):
    need("wget")
    m = filled(t)
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "0"], cwd=m.path,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    port = int(server.stdout.readline().split()[5])  # it listens by now
    # A connection that is kept may be one that the server is just closing.
    get = "wget -q -e robots=off -T 5 -t 5 --no-http-keep-alive -r -P %s http://127.0.0.1:%d/" % (
        t.path("site"), port)
    sh(get, check=False)
    server.send_signal(signal.SIGTERM)
    server.wait()
    pages = sh("find %s -type f" % t.path("site")).stdout
    assert b"/jobs/ready/" in pages and b"/jobs/stats" in pages, pages
    equal(m.get("jobs").split(), ITEMS, "items")


def test_what_is_claimed_or_dead_is_only_looked_at(t):
    m = filled(t)
    ids = claim(m, "claim@2")
    os.rename(m.at("jobs/leased", ids[0]), m.at("jobs/dead", ids[0]))
    m.sh("grep -r . jobs; head jobs/* jobs/*/*; cp -rL jobs ../copy", check=False)
    equal(listed(m, "leased"), [ids[1]], "leased")
    equal(listed(m, "dead"), [ids[0]], "dead")
    equal(len(listed(m, "ready")), 3, "ready")


def test_names_that_are_not_listed_are_there(t):
    m = filled(t)
    for name in ("out", "next", "claim", "out@1"):
        assert name not in os.listdir(m.at("jobs"))
        os.stat(m.at("jobs", name))
    equal(m.out("test -f jobs/out && test -r jobs/claim && cat jobs/next"), b"0\n")


def test_list_all_lists_them(t):
    m = filled(t, "mount: {list: all}\n")
    names = os.listdir(m.at("jobs"))
    assert {"out", "next", "claim", "help", "in"} <= set(names), names
    assert b"not listed" not in m.out("cat help jobs/help")
    for entry in os.scandir(m.at("jobs")):
        equal(entry.inode(), os.stat(entry.path).st_ino, entry.name)


def test_help_names_all_that_is_there(t):
    m = filled(t)
    text = m.out("cat jobs/help").decode()
    for name in os.listdir(m.at("jobs")) + ["out", "next", "claim", "not listed", "claim@forever"]:
        assert name in text, name
    root = m.out("cat help").decode()
    for name in ["help", "stats", "flush", "not listed", "list: all", "mkdir"]:
        assert name in root, name
    for page in (text, root):
        assert len(page.splitlines()) <= 24, "more than a screenful"
        assert max(len(line) for line in page.splitlines()) <= 88, "wider than a screen"
    need("busybox")
    equal(m.out("busybox cat jobs/help").decode(), text, "by a tool that splices")
    equal(m.sh("echo x > help", check=False).returncode != 0, True, "help is not written")


if __name__ == "__main__":
    main()
