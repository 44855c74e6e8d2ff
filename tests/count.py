#!/usr/bin/env python3
"""Count single test cases: count.py TESTLOG.JSON... TAPFILE...

Meson's testlog.json holds the output of each test program, a .tap file is such an output itself.
Prints the names of those that failed, what the first of them said, and a last line `N passed, N
failed, N skipped`; status 1 if one failed or none ran. A program that ended badly without saying
which case failed counts as one.
"""

import json
import os
import re
import sys

LINE = re.compile(r"^(not )?ok\b *(\d+)? *-? *(.*?)(?: *# *(SKIP|TODO)\b *(.*))?$", re.I)
SAID_LINES = 25  # of one failed case
SAID_CASES = 4
PLAN = re.compile(r"^1\.\.(\d+)(?: *# *SKIP *(.*))?", re.I)


class Counts:
    def __init__(self):
        self.passed = 0
        self.failed = []
        self.skipped = []
        self.said = []  # of each failed case: what its program printed behind it

    def program(self, name, text, well):
        """One program's output; `well`: it ended with status 0."""
        before, cases, planned = len(self.failed), 0, None
        lines = text.splitlines()
        for at, line in enumerate(lines):
            plan, case = PLAN.match(line), LINE.match(line)
            if plan:
                planned = int(plan.group(1))
                if plan.group(2):
                    self.skipped.append("%s: %s" % (name, plan.group(2)))
            elif case:
                cases += 1
                self.case(name, case)
                if len(self.failed) > len(self.said):
                    self.said.append(lines[at:at + SAID_LINES])
        if planned is None:
            self.plain(name, well)
        elif cases < planned:
            self.failed.append("%s: %d of %d cases did not run" % (name, planned - cases, planned))
        elif not well and len(self.failed) == before:
            self.failed.append(name + ": ended badly")
        if len(self.failed) > len(self.said):
            self.said.append(lines[-SAID_LINES:])

    def case(self, name, match):
        bad, _, title, mark, why = match.groups()
        title = "%s: %s" % (name, re.sub(r" *\([\d.]+s\)$", "", title))
        if mark and mark.upper() == "SKIP":
            self.skipped.append("%s (%s)" % (title, why))
        elif bad:
            self.failed.append(title)
        else:
            self.passed += 1

    def plain(self, name, well):
        if well:
            self.passed += 1
        else:
            self.failed.append(name)


def count(paths):
    counts = Counts()
    for path in paths:
        if not os.path.exists(path):
            counts.failed.append(path + " is not there")
            continue
        with open(path, errors="replace") as file:
            if path.endswith(".json"):
                for line in file:
                    run = json.loads(line)
                    if run["result"] == "SKIP" and "1.." not in run.get("stdout", ""):
                        counts.skipped.append(run["name"])
                    else:
                        counts.program(run["name"], run.get("stdout", ""),
                                       run["result"] in ("OK", "SKIP"))
            else:
                name = path.rsplit("/", 1)[-1].removesuffix(".tap")
                counts.program(name, file.read(), True)
    return counts


def main():
    counts = count(sys.argv[1:])
    for title in counts.skipped:
        print("skipped: " + title)
    for said in counts.said[:SAID_CASES]:
        print("\n".join("    " + line for line in said))
    for title in counts.failed:
        print("FAILED:  " + title)
    line = "%d passed, %d failed" % (counts.passed, len(counts.failed))
    print(line + (", %d skipped" % len(counts.skipped) if counts.skipped else ""))
    sys.exit(1 if counts.failed or not counts.passed else 0)


if __name__ == "__main__":
    main()
