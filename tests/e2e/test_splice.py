#!/usr/bin/env python3
"""Programs that copy by other calls than read(2): splice, sendfile, copy_file_range, mmap, AIO,
io_uring. All give what is there, or fail and have taken nothing."""

import errno
import http.server
import mmap
import os
import shutil
import socket
import subprocess
import threading

from harness import Skip, equal, fails, main, need, sh, timeout

UUTILS = "/usr/lib/cargo/bin/coreutils/"
# Larger than a page, than a pipe and than a read that gives one item.
LINES = b"".join(b"%06d %s\n" % (n, b"x" * (n % 90)) for n in range(12000))
FIRST = LINES.split(b"\n", 1)[0] + b"\n"
REST = LINES.split(b"\n", 1)[1]


def uutils(name):
    if not os.path.exists(UUTILS + name):
        raise Skip("rust-coreutils is not installed")
    return UUTILS + name


def filled(t):
    m = t.queue()
    m.put("jobs", LINES)
    m.flush("jobs")  # so that stats stand still
    return m


def text_of(m, name):
    """What config, or the part of stats that stands still, looks like to read(2)."""
    with m.open_out("jobs", name) as file:
        return still(file.read_all())


def still(text):
    return [line for line in text.split(b"\n") if b"uptime" not in line]


def copies(t, copy, waits="next@10ms", seeks=False):
    """copy(m, name) gives the bytes of jobs/NAME, of each kind of file; of `claim` not where it
    seeks, which a stream does not."""
    m = filled(t)
    equal(copy(m, "next"), FIRST, "next")
    equal(m.get("jobs", "out@3"), b"".join(REST.splitlines(True)[:3]), "after next")
    equal(copy(m, "out"), b"".join(REST.splitlines(True)[3:]), "out")
    equal(copy(m, "out"), b"", "out of an empty queue")
    equal(copy(m, waits), b"", "next of an empty queue")
    equal(still(copy(m, "stats")), text_of(m, "stats"), "stats")
    equal(still(copy(m, "config")), text_of(m, "config"), "config")
    m.put("jobs", b"work\n")
    claimed = (m.get("jobs", "claim") if seeks else copy(m, "claim")).decode().strip()
    equal(copy(m, "leased/" + claimed), b"work", "an item")
    os.unlink(m.at("jobs/leased", claimed))


def by_script(t, script, **more):
    copies(t, lambda m, name: m.out(script.replace("FILE", "jobs/" + name)), **more)


def to_file(function):
    def copy(m, name):
        target = m.path + ".copy"
        function(m.at("jobs", name), target)
        with open(target, "rb") as file:
            return file.read()

    return copy


def test_busybox_cat(t):
    need("busybox")
    by_script(t, "busybox cat FILE")


def test_busybox_cat_from_stdin(t):
    need("busybox")
    by_script(t, "busybox cat < FILE")


def test_busybox_cp(t):
    need("busybox")
    by_script(t, "busybox cp FILE ../copy; cat ../copy")


def test_uutils_cat(t):
    by_script(t, uutils("cat") + " FILE")


def test_uutils_cp(t):
    by_script(t, uutils("cp") + " FILE ../copy; cat ../copy")


def test_cp(t):
    by_script(t, "cp FILE ../copy; cat ../copy")


def test_cat_to_a_file(t):
    by_script(t, "cat FILE > ../copy; cat ../copy")


def test_shutil_copyfile(t):
    copies(t, to_file(shutil.copyfile))


def test_python_read(t):
    def copy(m, name):
        with open(m.at("jobs", name), "rb") as file:
            return file.read()

    copies(t, copy)


def test_socket_sendfile(t):
    def copy(m, name):
        ours, theirs = socket.socketpair()
        got = []
        reader = threading.Thread(target=lambda: got.extend(iter(lambda: theirs.recv(65536), b"")))
        reader.start()
        with open(m.at("jobs", name), "rb") as file:
            ours.sendfile(file)
        ours.close()
        reader.join()
        theirs.close()
        return b"".join(got)

    copies(t, copy, seeks=True)


@timeout(120)
def test_java_files_copy(t):
    need("java")
    source = t.path("Copy.java")
    with open(source, "w") as file:
        file.write(
            "import java.nio.file.*;\n"
            "public class Copy { public static void main(String[] a) throws Exception {\n"
            "  for (int i = 0; i < a.length; i += 2)\n"
            "    Files.copy(Path.of(a[i]), Path.of(a[i + 1])); } }\n"
        )
    m = filled(t)
    names = ("next", "out", "config")
    pairs = " ".join("jobs/%s %s" % (name, t.path("to." + name)) for name in names)
    m.sh("java %s %s" % (source, pairs), seconds=100)
    for name, data in (("next", FIRST), ("out", REST)):
        with open(t.path("to." + name), "rb") as file:
            equal(file.read(), data, name)
    with open(t.path("to.config"), "rb") as file:
        equal(still(file.read()), text_of(m, "config"))


def test_aio(t):
    program = t.compile("async_read")
    by_script(t, program + " aio FILE")


def test_io_uring(t):
    program = t.compile("async_read")
    if sh([program, "uring", "/dev/null"], check=False).returncode == 77:
        raise Skip("io_uring is not allowed here")
    # It polls before it reads: an item has to come, or a read must not wait.
    by_script(t, program + " uring FILE", waits="next")


# The kernel does not move the position then: the same bytes again, and no end. An error ends it.
def test_io_uring_at_the_current_position(t):
    program = t.compile("async_read")
    if sh([program, "uring", "/dev/null"], check=False).returncode == 77:
        raise Skip("io_uring is not allowed here")
    m = t.queue()
    for name in ("next", "out", "out@1"):
        m.put("jobs", b"one\ntwo\n")
        done = sh([program, "uring", m.at("jobs") + "/" + name, "current"], check=False)
        equal(done.returncode, 1, name)
        equal(done.stderr, b"uring: Invalid argument\n", name)
        m.flush("jobs")
        equal(m.out("cat jobs/out"), b"one\ntwo\n", "nothing is taken by " + name)


def test_aio_with_o_direct(t):
    program = t.compile("async_read")
    by_script(t, program + " aio FILE direct")


# ---- what cannot be served fails, and has taken nothing ----


def test_bare_sendfile(t):
    m = filled(t)
    target = os.open(t.path("copy"), os.O_RDWR | os.O_CREAT)
    for name in ("out", "next", "claim", "stats", "config"):
        error = errno.EINVAL if name == "claim" else errno.ENOSYS  # the kernel's for a stream
        with m.open_out("jobs", name) as file:
            fails(error, os.sendfile, target, file.fileno(), None, 1 << 20)
            if name in ("stats", "config"):
                equal(still(file.read_all()), text_of(m, name))
    equal(m.get("jobs"), LINES)


def test_mapped(t):
    m = filled(t)
    with m.open_out("jobs") as file:
        fails(errno.ENODEV, mmap.mmap, file.fileno(), 4096, mmap.MAP_SHARED, mmap.PROT_READ)
    equal(m.get("jobs"), LINES)


def test_node_copy_file(t):
    need("node")
    m = filled(t)
    for name in ("config", "stats"):
        m.sh("node -e \"require('fs').copyFileSync('jobs/%s', '../copy.%s')\"" % (name, name))
        with open(t.path("copy." + name), "rb") as file:
            equal(still(file.read()), text_of(m, name))
    for name, error in (("out", b"ENOSYS"), ("claim", b"ESPIPE")):
        script = "node -e \"require('fs').copyFileSync('jobs/%s', '../copy')\"" % name
        done = m.sh(script, check=False)
        assert done.returncode != 0 and error in done.stderr, (name, done.stderr)
    equal(m.get("jobs"), LINES)


# ---- what asks for the size first, and trusts it ----

COPIES = (
    "fs.copyFileSync('jobs/NAME', '../copy')",
    "fs.copyFile('jobs/NAME', '../copy', error => { if (error) throw error })",
    "fs.promises.copyFile('jobs/NAME', '../copy')",
)


def test_node_copies_an_item(t):
    need("node")
    m = filled(t)
    lines = LINES.splitlines(True)
    for name in ("next", "next@5s", "out@1"):
        for script in COPIES:
            m.sh('node -e "%s"' % script.replace("NAME", name))
            with open(t.path("copy"), "rb") as file:
                equal(file.read(), lines.pop(0), script)
    equal(m.get("jobs"), b"".join(lines))


def test_node_copies_a_large_item(t):
    need("node")
    m = t.queue(framing="file", max_item_size="8MiB")
    data = os.urandom(5000001)
    m.put("jobs", data)
    m.sh('node -e "%s"' % COPIES[1].replace("NAME", "next"))
    with open(t.path("copy"), "rb") as file:
        equal(file.read(), data)
    equal(m.depth("jobs"), 0)


@timeout(60)
def test_node_copies_many_at_once(t):
    need("node")
    m = t.queue()
    m.put("jobs", b"".join(b"%d %s\n" % (n, b"x" * (n * 91 % 7000)) for n in range(300)))
    script = (
        "const fs = require('fs'), spawn = require('child_process').spawn;"
        "for (let n = 0; n < 300; n++) {"
        "  if (n % 20 == 0) spawn('true');"
        "  fs.copyFile('jobs/next', '../copy.' + n, error => { if (error) throw error }) }"
    )
    m.sh('node -e "%s"' % script)
    copies = []
    for n in range(300):
        with open(t.path("copy.%d" % n), "rb") as file:
            copies.append(file.read())
    for n, data in enumerate(sorted(copies, key=lambda data: int(data.split()[0]))):
        equal(data, b"%d %s\n" % (n, b"x" * (n * 91 % 7000)))
    equal(m.get("jobs"), b"")


def test_node_copies_nothing_from_an_empty_queue(t):
    need("node")
    m = t.queue()
    for script in COPIES:
        done = m.sh('node -e "%s"' % script.replace("NAME", "next"), check=False)
        assert done.returncode != 0 and b"ENOSYS" in done.stderr, done.stderr


def test_bytes_are_counted_and_left(t):
    m = filled(t)
    for script in ("wc -c jobs/next", "wc -c < jobs/next", "exec wc -c < jobs/next",
                   "stat -L -c %s - < jobs/next"):
        equal(int(m.out(script).split()[0]), len(FIRST), script)
    m.flush("jobs")
    (item,) = sorted(os.listdir(m.at("jobs/ready")))[:1]
    equal(os.getxattr(m.at("jobs/ready", item), "user.deliveries"), b"0")
    equal(m.stats("jobs")["total_gets"], 0)
    equal(m.get("jobs"), LINES)


def test_bytes_of_whole_pages_are_counted(t):
    m = t.queue()
    m.put("jobs", b"x" * 8191 + b"\n")
    equal(m.out("wc -c jobs/next"), b"8192 jobs/next\n")


def test_the_end_of_an_item(t):
    need("busybox")
    for tail in ("tail -c 5", "busybox tail -c 5", uutils("tail") + " -c 5"):
        m = t.queue() if tail == "tail -c 5" else m
        for size in (3, 5, 100, 4096, 4097, 100000):
            m.put("jobs", b"x" * (size - 4) + b"end\n"[-size:] + b"after\n")
            equal(m.out(tail + " jobs/next"), (b"x" + b"end\n")[-size:], (tail, size))
            equal(m.get("jobs"), b"after\n", (tail, size))


def test_the_last_lines_of_an_item(t):
    need("busybox")
    m = t.queue(framing="nul")
    for tail in ("tail -n 2", "busybox tail -n 2", uutils("tail") + " -n 2"):
        for size in (10, 4096, 30000):
            m.put("jobs", b"first\n" + b"x" * size + b"\n" + b"y" * size + b"\n\0after\0")
            equal(m.out(tail + " jobs/next"), b"y" * size + b"\n\0", (tail, size))
            equal(m.get("jobs"), b"after\0", (tail, size))


def test_python_reads_an_item(t):
    m = filled(t)
    lines = LINES.splitlines(True)
    for mode in ("r", "rb"):
        with open(m.at("jobs/next"), mode) as file:
            data = file.read()
        equal(data.encode() if mode == "r" else data, lines.pop(0))
    with open(m.at("jobs/next"), "rb", buffering=0) as file:
        equal(os.fstat(file.fileno()).st_size, len(lines[0]))
        equal(file.readall(), lines.pop(0))
    equal(m.get("jobs"), b"".join(lines))


def test_node_read_file(t):
    need("node")
    script = "process.stdout.write(require('fs').readFileSync('FILE'))"
    by_script(t, 'node -e "%s"' % script)


class Upload(http.server.BaseHTTPRequestHandler):
    def do_PUT(self):
        if "Content-Length" in self.headers:
            self.server.body = self.rfile.read(int(self.headers["Content-Length"]))
        else:
            self.server.body = b"".join(iter(self.chunk, b""))
        self.server.headers = self.headers
        self.send_response(200)
        self.end_headers()

    def chunk(self):
        data = self.rfile.read(int(self.rfile.readline(), 16))
        self.rfile.readline()
        return data

    def log_message(self, *_):
        pass


def uploads():
    """A server that keeps the body of the last upload, and its address."""
    server = http.server.HTTPServer(("127.0.0.1", 0), Upload)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, "http://127.0.0.1:%d/" % server.server_port


def test_curl_uploads_an_item(t):
    need("curl")
    m = filled(t)
    server, url = uploads()
    lines = LINES.splitlines(True)
    for name in ("next", "next@5s", "out@1"):
        m.sh("curl -sS -T jobs/%s %s" % (name, url))
        equal(server.body, lines.pop(0), name)
        equal(int(server.headers["Content-Length"]), len(server.body), name)
    done = m.sh("curl -sS -T jobs/next http://127.0.0.1:1/", check=False)
    assert done.returncode != 0, "there is no server"
    equal(m.get("jobs"), b"".join(lines), "it is given back where it was not sent")
    done = m.sh("curl -sS -m 3 -T jobs/next " + url, check=False)
    assert done.returncode != 0, "curl says that it has sent what is not there"


def test_curl_upload(t):
    need("curl")
    m = filled(t)
    server, url = uploads()
    m.sh("curl -sS -T jobs/config " + url)
    equal(still(server.body), text_of(m, "config"))
    m.sh("curl -sS -T - %s < jobs/out@5000" % url)
    equal(server.body, b"".join(LINES.splitlines(True)[:5000]))
    done = m.sh("curl -sS -m 3 -T jobs/out " + url, check=False)
    assert done.returncode != 0, "curl says that it has sent a file of no known size"


# ---- ends, waits, sharers ----


def test_tail_reads_to_the_end(t):
    need("busybox")
    last = LINES.splitlines(True)[-1]
    for tail in ("tail -n 1", "busybox tail -n 1", uutils("tail") + " -n 1"):
        m = filled(t) if tail == "tail -n 1" else m
        if tail != "tail -n 1":
            m.put("jobs", LINES)
        equal(m.out(tail + " jobs/out"), last, tail)
        equal(m.get("jobs"), b"")


def test_waiting_busybox_cat_gives_each_item_when_it_comes(t):
    need("busybox")
    m = t.queue()
    reader = subprocess.Popen(["busybox", "cat", m.at("jobs/out@forever")], stdout=subprocess.PIPE)
    for line in (b"one\n", b"two\n", b"three\n"):
        m.put("jobs", line)
        equal(os.read(reader.stdout.fileno(), 100), line)
    reader.kill()
    reader.wait()
    reader.stdout.close()


def test_two_at_once(t):
    need("busybox")
    m = filled(t)
    programs = ["busybox cat jobs/out", uutils("cat") + " jobs/out"] * 2
    running = [subprocess.Popen(p.split(), cwd=m.path, stdout=subprocess.PIPE) for p in programs]
    outputs = [None] * len(running)

    def gather(i):
        outputs[i] = running[i].communicate()[0].splitlines(True)

    threads = [threading.Thread(target=gather, args=(i,)) for i in range(len(running))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for lines in outputs:
        equal(lines, sorted(lines), "each in order")
    equal(b"".join(sorted(sum(outputs, []))), LINES)


def test_after_read(t):
    need("busybox")
    m = filled(t)
    equal(m.out("{ head -n 2; busybox cat; } < jobs/out"), LINES)


@timeout(60)
def test_worker_loop_of_busybox(t):
    need("busybox")
    m = t.queue()
    m.put("jobs", b"".join(b"%d\n" % n for n in range(20)))
    loop = (
        "cat() { busybox cat \"$@\"; }\n"
        "while id=$(cat jobs/claim@200ms) && [ -n \"$id\" ]; do\n"
        "    cat < jobs/leased/$id && rm jobs/leased/$id || mv jobs/leased/$id jobs/ready/\n"
        "    echo\n"
        "done"
    )
    equal(m.sh(["busybox", "sh", "-c", loop]).stdout, b"".join(b"%d\n" % n for n in range(20)))
    m.flush("jobs")
    equal(m.depth("jobs"), 0)


main()
