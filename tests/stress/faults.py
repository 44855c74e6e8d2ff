"""A disk that fails at a call of the test's choice (fault_preload.c), and what a log says of it."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))

from harness import ROOT, sh  # noqa: E402

# The kinds of calls that can be made to fail; fault_preload.c says which functions they are.
WRITES = ("pwrite", "writev", "write")
CALLS = WRITES + ("name", "sync", "truncate", "allocate")
WHY = {"EIO": "Input/output error", "ENOSPC": "No space left on device"}


class Disk:
    """The library that makes calls fail, and what it did."""

    def __init__(self, t, fault):
        self.fault = fault
        self.log = t.path("fault.log")
        self.library = os.environ.get("FAULT_PRELOAD") or self.build(t)

    @staticmethod
    def build(t):
        library = t.path("fault_preload.so")
        if not os.path.exists(library):
            source = os.path.join(ROOT, "tests/stress/fault_preload.c")
            sh(["cc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-shared", "-fPIC", "-o", library,
                source, "-ldl"])
        return library

    def environment(self, data):
        env = dict(os.environ, LD_PRELOAD=os.path.abspath(self.library), FAULT=self.fault,
                   FAULT_DIR=os.path.realpath(data), FAULT_LOG=self.log)
        # The sanitizer wants to be loaded first; it is none the worse for not being.
        env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        return env

    def struck(self):
        return os.path.exists(self.log)


def reasons(log):
    """The lines that say why a program ended."""
    return [line for line in log.splitlines() if any(why in line for why in WHY.values())]
