"""What must be there before anything runs: packages and programs."""

import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = ROOT + "/build-bench"

# As ./quickstart, and what makes the pictures.
PACKAGES = [
    "meson", "ninja-build", "gcc", "libc6-dev", "pkg-config", "libfuse3-dev", "fuse3", "libnng-dev",
    "liblmdb-dev", "libssl-dev", "libyaml-dev", "libbsd-dev", "libisal-dev", "gnuplot-nox",
]


def is_installed(package):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", package],
                          capture_output=True, text=True, check=False)
    return done.stdout == "installed"


def as_root(argv):
    if os.getuid() == 0:
        return argv
    if not shutil.which("sudo"):
        sys.exit("run this as root, or install sudo: packages are missing")
    return ["sudo"] + argv


def apt_get(*args):
    argv = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "-o",
            "DPkg::Lock::Timeout=120", *args]
    return subprocess.run(as_root(argv), capture_output=True, text=True, check=False)


def end_service(package):
    """A server's package starts it, with its own data and port. Not wanted: end it again."""
    script = "/etc/init.d/" + package
    if os.path.exists(script):
        subprocess.run(as_root([script, "stop"]), capture_output=True, check=False)
    if shutil.which("systemctl"):
        subprocess.run(as_root(["systemctl", "disable", "--now", package]), capture_output=True,
                       check=False)


def install(packages):
    missing = [package for package in packages if not is_installed(package)]
    if not missing:
        return
    print("installing " + " ".join(missing), flush=True)
    apt_get("update")
    done = apt_get("install", "--no-install-recommends", *missing)
    if done.returncode != 0:
        sys.exit("apt-get could not install them\n" + done.stderr[-2000:])
    for package in missing:
        end_service(package)


def build(directory):
    """Optimised, without the tests, in a directory of its own."""
    print("building in " + directory, flush=True)
    known = os.path.exists(directory + "/build.ninja")
    meson = ["meson", "configure", directory] if known else ["meson", "setup", directory, ROOT]
    for argv in (meson + ["-Dbuildtype=release", "-Dtests=false", "-Dbench=true"],
                 ["ninja", "-C", directory]):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit("the build failed\n" + (done.stdout + done.stderr)[-3000:])


def program_in(directory, folder):
    """A program has a folder of its own, but in builds of before 2026-12 it was in its place."""
    path = os.path.abspath(os.path.join(directory, folder))
    return os.path.join(path, os.path.basename(path)) if os.path.isdir(path) else path


def programs(directory):
    """Those of a build directory: (queuefs, queued)."""
    found = [program_in(directory, "fs/queuefs"), program_in(directory, "transport/queued")]
    for path in found:
        if not os.access(path, os.X_OK):
            sys.exit("%s: no such program; build it there first" % path)
    return found
