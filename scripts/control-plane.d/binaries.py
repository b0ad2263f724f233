"""The binaries: found in KUBEBUILDER_ASSETS or built once from pinned Go modules."""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

from common import Fail, locked, read, say, tail, write

MODULES = os.path.dirname(os.path.realpath(__file__))
# Binary: module directory below control-plane.d, package.
BINARIES = {
    "etcd": ("etcd", "go.etcd.io/etcd/server/v3"),
    "kube-apiserver": ("kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver"),
    "kube-controller-manager": ("kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    "kube-proxy": ("kubernetes", "k8s.io/kubernetes/cmd/kube-proxy"),
}
BASE = ["etcd", "kube-apiserver"]


def kubernetes_version():
    text = read(os.path.join(MODULES, "kubernetes", "go.mod"))
    return re.search(r"^\s*(?:require )?k8s\.io/kubernetes (v\S+)", text, re.M).group(1)


def cache_dir():
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(root, "zen-lead", kubernetes_version())


def build_flags(module):
    flags = "-s -w"
    if module == "kubernetes":
        version = kubernetes_version()
        major, minor = version[1:].split(".")[:2]
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
            for key, value in (
                ("gitVersion", version),
                ("gitMajor", major),
                ("gitMinor", minor),
                ("gitTreeState", "clean"),
                ("gitCommit", "unknown"),
            ):
                flags += f" -X {package}.{key}={value}"
    return ["-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", flags]


def stamp(name):
    """What a cached binary was built from."""
    module = BINARIES[name][0]
    sums = (read(os.path.join(MODULES, module, file)) for file in ("go.mod", "go.sum"))
    return hashlib.sha256("\0".join([*sums, *build_flags(module)]).encode()).hexdigest()


def cached(name):
    path = os.path.join(cache_dir(), name)
    with contextlib.suppress(OSError):
        if os.access(path, os.X_OK) and read(path + ".stamp") == stamp(name):
            return path
    return None


def build(name):
    module, package = BINARIES[name]
    target = os.path.join(cache_dir(), name)
    temporary, log = f"{target}.tmp{os.getpid()}", target + ".build.log"
    command = ["go", "build", "-v", *build_flags(module), "-o", temporary, package]
    work = tempfile.mkdtemp(prefix="work", dir=cache_dir())
    env = dict(os.environ, CGO_ENABLED="0", GOWORK="off", GOTMPDIR=work)
    for key in ("GOOS", "GOARCH", "GOFLAGS"):
        env.pop(key, None)
    say(f"building {name} {kubernetes_version() if module == 'kubernetes' else ''}".rstrip() + f" (log: {log})")
    start = time.monotonic()
    with open(log, "w", encoding="utf-8") as output:
        # A group of its own: Ctrl-C reaches it through the handler below only.
        child = subprocess.Popen(
            command,
            cwd=os.path.join(MODULES, module),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        while True:
            try:
                child.wait(timeout=15)
                break
            except subprocess.TimeoutExpired:
                count = sum(not line.startswith("go: ") for line in read(log).splitlines())
                done = f"{count} packages compiled" if count else "fetching modules"
                say(f"building {name}: {done}, {time.monotonic() - start:.0f} s")
        if child.returncode:
            raise Fail(f"building {name} failed:\n{tail(log)}{WAY_OUT}")
        write(target + ".stamp", "")  # no old stamp may vouch for the new binary
        os.replace(temporary, target)
        write(target + ".stamp", stamp(name), 0o644)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGINT)
            try:
                child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        shutil.rmtree(work, ignore_errors=True)
    say(f"built {name} in {time.monotonic() - start:.0f} s")


WAY_OUT = """Ways out: run it once with Go (>= the version in control-plane.d/kubernetes/go.mod) and a
reachable module proxy, or set KUBEBUILDER_ASSETS to a directory with kube-apiserver and etcd."""


def binaries(names):
    """The paths of the named binaries; builds what is missing."""
    found = {}
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets:
        has = {name: os.path.join(assets, name) for name in BINARIES if os.access(os.path.join(assets, name), os.X_OK)}
        if all(name in has for name in BASE):
            found = has
        else:
            say("KUBEBUILDER_ASSETS does not hold both kube-apiserver and etcd: not used")
    found.update({name: cached(name) for name in names if name not in found})
    if all(found[name] for name in names):
        return found
    if not shutil.which("go"):
        raise Fail("no Kubernetes binaries, and no go to build them. " + WAY_OUT)
    try:
        os.makedirs(cache_dir(), exist_ok=True)
    except OSError as error:
        raise Fail(f"cannot write the cache: {error}; set XDG_CACHE_HOME to a writable directory") from None
    with locked(cache_dir(), "waiting for another build to end"):
        missing = [name for name in names if not found[name] and not cached(name)]
        if missing:
            say(f"once only: building {', '.join(missing)} (from nothing, about 8 minutes on 2 cores)")
        for name in names:
            if not found[name]:
                if name in missing:
                    build(name)
                found[name] = cached(name)
    return found
