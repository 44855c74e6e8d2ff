#!/usr/bin/env python3
"""Programs people use on files, and the same in Python, Node and Go."""

import os
import sys

from harness import equal, main, need, sh, timeout


def lines(first, last):
    return b"".join(b"%d\n" % n for n in range(first, last + 1))


def quiet(m, script, **options):
    """The script succeeds and prints nothing on stderr."""
    done = m.sh(script, **options)
    equal(done.stderr, b"", "stderr")
    return done.stdout


def test_tee(t):
    m = t.queue()
    equal(quiet(m, "seq 5 | tee jobs/in"), lines(1, 5))
    equal(quiet(m, "seq 6 10 | tee -a jobs/in > /dev/null; cat jobs/out"), lines(1, 10))


def test_dd_nonblock(t):
    m = t.queue()
    sh("seq 20000 > %s/seq" % t.directory)
    m.sh("dd if=../seq of=jobs/in oflag=nonblock bs=64k; touch jobs/flush")
    equal(m.out("dd if=jobs/out iflag=nonblock bs=1M 2> /dev/null | cat"), lines(1, 20000))


def test_dd_with_large_and_small_blocks(t):
    m = t.queue()
    sh("seq 300000 > %s/seq" % t.directory)
    m.sh("dd if=../seq of=jobs/in bs=4M 2> /dev/null; dd if=../seq of=jobs/in bs=100 2> /dev/null")
    m.sh("dd if=jobs/out of=../back bs=1M 2> /dev/null; cat ../seq ../seq | cmp - ../back")


@timeout(60)
def test_xargs_in_parallel(t):
    m = t.queue()
    quiet(m, "seq 400 | xargs -P 4 -I {} sh -c 'echo {} >> jobs/in'")
    equal(quiet(m, "cat jobs/out | sort -n"), lines(1, 400))


def test_xargs_runs_a_program_for_each_item(t):
    m = t.queue()
    m.put("jobs", lines(1, 20))
    equal(quiet(m, "xargs -P 4 -n 1 echo item < jobs/out | sort | wc -l"), b"20\n")


def test_split_filter(t):
    m = t.queue()
    quiet(m, "seq 10000 | split -l 1000 --filter='cat >> jobs/in' -")
    equal(quiet(m, "cat jobs/out"), lines(1, 10000))


def test_sed_w_awk_printf_and_here_documents(t):
    m = t.queue()
    quiet(m, "seq 3 | sed -n 'w jobs/in'; awk 'BEGIN { print 4 >> \"jobs/in\" }'")
    quiet(m, "cat > jobs/in << EOF\n5\n6\nEOF")
    equal(quiet(m, "cat jobs/out"), lines(1, 6))


def test_cp_and_install_of_a_file_into_in(t):
    m = t.queue()
    quiet(m, "seq 5 > ../a; cp ../a jobs/in; cat ../a >> jobs/in; cat jobs/out")
    equal(m.get("jobs"), b"")
    quiet(m, "cp ../a jobs/in; cp jobs/out ../b; cmp ../a ../b")


def test_cp_with_nothing_to_take_makes_an_empty_file(t):
    m = t.queue()
    quiet(m, "cp jobs/out ../empty; test -f ../empty; test ! -s ../empty")


def test_bash_redirections_kept_open(t):
    m = t.queue()
    script = """exec 3>> jobs/in; echo a >&3; echo b >&3; exec 3>&-
                exec 4< jobs/out; read -r x <&4; read -r y <&4; echo $x$y; exec 4<&-"""
    equal(quiet(m, script, shell="bash"), b"ab\n")


def test_python_appends_and_reads_whole(t):
    m = t.queue()
    program = """
import json
with open("jobs/in", "a") as put:
    for n in range(1, 1001):
        print(n, file=put)
with open("jobs/in", "a+") as put:
    put.write("last\\n")
    put.flush()
    import os
    os.fsync(put.fileno())
    assert put.read() == ""
print(open("jobs/out").read() == "".join("%d\\n" % n for n in range(1, 1001)) + "last\\n")
stats = dict(line.rstrip().split(": ", 1) for line in open("jobs/stats"))
print(stats["total_puts"], stats["total_gets"])
"""
    equal(quiet(m, [sys.executable, "-c", program]), b"True\n1001 1001\n")


@timeout(60)
def test_node_appends_and_reads_whole(t):
    need("node")
    m = t.queue()
    program = """
const fs = require('fs');
fs.appendFileSync('jobs/in', 'a\\n');
fs.writeFileSync('jobs/in', 'b\\n');
const fd = fs.openSync('jobs/in', 'a+');
for (let i = 0; i < 100; i++) fs.writeSync(fd, i + '\\n');
fs.fsyncSync(fd);
fs.closeSync(fd);
const stream = fs.createWriteStream('jobs/in', {flags: 'a'});
stream.end('c\\n', () => stream.on('close', () => {
    const all = fs.readFileSync('jobs/out', 'utf8').split('\\n');
    console.log(all.length, all[0], all[1], all[102]);
    console.log(/^total_puts: 103$/m.test(fs.readFileSync('jobs/stats', 'utf8')));
    console.log(fs.readFileSync('jobs/out', 'utf8') === '');
}));
"""
    equal(quiet(m, ["node", "-e", program]), b"104 a b c\ntrue\ntrue\n")


GO_PROGRAM = """package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

func main() {
	in, err := os.OpenFile("jobs/in", os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0644)
	if err != nil {
		panic(err)
	}
	for i := 0; i < 100; i++ {
		fmt.Fprintln(in, i)
	}
	if err := in.Sync(); err != nil {
		panic(err)
	}
	if err := in.Close(); err != nil {
		panic(err)
	}
	if err := os.WriteFile("jobs/in", []byte("last\\n"), 0644); err != nil {
		panic(err)
	}
	out, err := os.Open("jobs/out")
	if err != nil {
		panic(err)
	}
	scanner := bufio.NewScanner(out)
	for i := 0; i < 2 && scanner.Scan(); i++ {
		fmt.Println(scanner.Text())
	}
	out.Close()
	rest, err := os.ReadFile("jobs/out")
	if err != nil {
		panic(err)
	}
	stats, err := os.ReadFile("jobs/stats")
	if err != nil {
		panic(err)
	}
	fmt.Println(strings.Count(string(rest), "\\n"), strings.Contains(string(stats), "total_puts: 101\\n"))
}
"""


@timeout(120)
def test_go_appends_and_reads_whole(t):
    need("go")
    m = t.queue()
    with open(t.path("main.go"), "w") as source:
        source.write(GO_PROGRAM)
    env = dict(os.environ, HOME=t.directory, GOCACHE=t.path("cache"), GOTOOLCHAIN="local")
    sh("go build -o program main.go", cwd=t.directory, env=env, seconds=100)
    equal(quiet(m, [t.path("program")]), b"0\n1\n99 true\n")


def test_stdio_appends_and_reads(t):
    m = t.queue()
    program = t.compile("stdio")
    equal(quiet(m, [program, "jobs/in", "jobs/out"]), b"first\nsecond\n")
    equal(m.get("jobs"), b"third\n")


if __name__ == "__main__":
    main()
