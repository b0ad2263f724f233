"""Consumers that are built from pinned Go modules, once, and kept in the cache."""

import contextlib
import glob
import hashlib
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

from binaries import cache_dir
from common import Fail, locked, read, tail, write
from world import HERE

FLAGS = ["-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w"]
# Consumer: the module whose version is its own, and the package.
PROGRAMS = {
    "prometheus": ("github.com/prometheus/prometheus", "."),
}


def say(message):
    print("consumers: " + message, file=sys.stderr, flush=True)


def cache(*parts):
    return os.path.join(os.path.dirname(cache_dir()), "consumers", *parts)


def version(name):
    text = read(os.path.join(HERE, name, "go.mod"))
    return re.search(rf"^\s*(?:require )?{re.escape(PROGRAMS[name][0])} (v\S+)", text, re.M).group(1)


def stamp(name):
    """What a cached program was built from."""
    files = sorted(glob.glob(os.path.join(HERE, name, "**", "*.*"), recursive=True))
    return hashlib.sha256("\0".join([*map(read, files), PROGRAMS[name][1], *FLAGS]).encode()).hexdigest()


def program(name):
    """The path of a consumer; builds it when it is missing."""
    folder = cache(f"{name}-{version(name)}")
    target = os.path.join(folder, name)
    os.makedirs(folder, exist_ok=True)
    with locked(folder, "waiting for another build to end"):
        with contextlib.suppress(OSError):
            if os.access(target, os.X_OK) and read(target + ".stamp") == stamp(name):
                return target
        build(name, target)
    return target


def processor_time():
    """Of the programs that have ended, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def build(name, target):
    if not shutil.which("go"):
        raise Fail(f"no go to build {name}")
    log = target + ".build.log"
    say(f"once only: building {name} {version(name)} (log: {log})")
    env = dict(os.environ, CGO_ENABLED="0", GOWORK="off", GOFLAGS="")
    for key in ("GOOS", "GOARCH"):
        env.pop(key, None)
    start, used = time.monotonic(), processor_time()
    with tempfile.TemporaryDirectory(dir=os.path.dirname(target)) as work:
        env["GOTMPDIR"] = work
        fresh = os.path.join(work, name)
        command = ["go", "build", *FLAGS, "-o", fresh, PROGRAMS[name][1]]
        with open(log, "w", encoding="utf-8") as output:
            done = subprocess.run(
                command, cwd=os.path.join(HERE, name), env=env, stdout=output, stderr=output, check=False
            )
        if done.returncode:
            raise Fail(f"building {name} failed:\n{tail(log)}".rstrip())
        write(target + ".stamp", "")  # no old stamp may vouch for the new binary
        os.replace(fresh, target)
        write(target + ".stamp", stamp(name), 0o644)
    spent = processor_time() - used
    say(f"built {name} in {time.monotonic() - start:.0f} s, {spent:.0f} s of processor time")
