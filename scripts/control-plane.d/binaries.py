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
# Binary: module below control-plane.d, package.
BINARIES = {
    "etcd": ("etcd", "go.etcd.io/etcd/server/v3"),
    "kube-apiserver": ("kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver"),
    "kube-controller-manager": ("kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    "kube-proxy": ("kubernetes", "k8s.io/kubernetes/cmd/kube-proxy"),
}
# A program of ours that is built with a module's pins, for scripts/electors: its source, seen from there.
ELECTOR = "client-go-elector"
BUILT = {**BINARIES, ELECTOR: ("kubernetes", "../../../electors.d/client_go.go")}
BASE = ["etcd", "kube-apiserver"]


def as_numbers(minor):
    """"1.9" comes before "1.10"."""
    return [int(part) for part in minor.split(".")]


# The minors of Kubernetes that are pinned, oldest first; each in a directory of its own.
MINORS = sorted(os.listdir(os.path.join(MODULES, "kubernetes")), key=as_numbers)
DEFAULT = MINORS[-1]


def module_dir(module, minor=DEFAULT):
    """Where the go.mod of a binary is; etcd is the same for every minor."""
    return os.path.join(MODULES, module, minor) if module == "kubernetes" else os.path.join(MODULES, module)


def kubernetes_version(minor=DEFAULT):
    text = read(os.path.join(module_dir("kubernetes", minor), "go.mod"))
    return re.search(r"^\s*(?:require )?k8s\.io/kubernetes (v\S+)", text, re.M).group(1)


def cache_dir(minor=DEFAULT):
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(root, "zen-lead", kubernetes_version(minor))


def home(name, minor=DEFAULT):
    """The directory of the cache that holds a binary; etcd is kept once, beside the default."""
    return cache_dir(minor if BUILT[name][0] == "kubernetes" else DEFAULT)


def build_flags(module, minor=DEFAULT):
    flags = "-s -w"
    if module == "kubernetes":
        version = kubernetes_version(minor)
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


def stamp(name, minor=DEFAULT):
    """What a cached binary was built from."""
    module, package = BUILT[name]
    files = ["go.mod", "go.sum"] + [package] * package.endswith(".go")
    sums = (read(os.path.join(module_dir(module, minor), file)) for file in files)
    return hashlib.sha256("\0".join([*sums, *build_flags(module, minor)]).encode()).hexdigest()


def cached(name, minor=DEFAULT):
    path = os.path.join(home(name, minor), name)
    with contextlib.suppress(OSError):
        if os.access(path, os.X_OK) and read(path + ".stamp") == stamp(name, minor):
            return path
    return None


def build(name, minor=DEFAULT):
    module, package = BUILT[name]
    target = os.path.join(home(name, minor), name)
    temporary, log = f"{target}.tmp{os.getpid()}", target + ".build.log"
    command = ["go", "build", "-v", *build_flags(module, minor), "-o", temporary, package]
    work = tempfile.mkdtemp(prefix="work", dir=home(name, minor))
    env = dict(os.environ, CGO_ENABLED="0", GOWORK="off", GOTMPDIR=work)
    for key in ("GOOS", "GOARCH", "GOFLAGS"):
        env.pop(key, None)
    version = kubernetes_version(minor) if module == "kubernetes" else ""
    say(f"building {name} {version}".rstrip() + f" (log: {log})")
    start = time.monotonic()
    with open(log, "w", encoding="utf-8") as output:
        # A group of its own: Ctrl-C reaches it through the handler below only.
        child = subprocess.Popen(
            command,
            cwd=module_dir(module, minor),
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
        write(target + ".stamp", stamp(name, minor), 0o644)
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


WAY_OUT = """Ways out: run it once with Go (>= the version in control-plane.d/kubernetes/*/go.mod) and a
reachable module proxy, or set KUBEBUILDER_ASSETS to a directory with kube-apiserver and etcd."""


def assets():
    """The binaries of KUBEBUILDER_ASSETS, if it holds those that are always needed."""
    directory = os.environ.get("KUBEBUILDER_ASSETS")
    if not directory:
        return {}
    has = {name: os.path.join(directory, name) for name in BINARIES}
    has = {name: path for name, path in has.items() if os.access(path, os.X_OK)}
    if all(name in has for name in BASE):
        return has
    say("KUBEBUILDER_ASSETS does not hold both kube-apiserver and etcd: not used")
    return {}


def binaries(names, minor=""):
    """The paths of the named binaries; builds what is missing. Without a minor the default's, or
    what KUBEBUILDER_ASSETS holds."""
    found = {} if minor else assets()
    minor = minor or DEFAULT
    found.update({name: cached(name, minor) for name in names if name not in found})
    missing = [name for name in names if not found[name]]
    if not missing:
        return found
    if not shutil.which("go"):
        raise Fail("no Kubernetes binaries, and no go to build them. " + WAY_OUT)
    say(f"once only: building {', '.join(missing)} (from nothing, about 8 minutes on 2 cores)")
    for name in missing:
        directory = home(name, minor)
        try:
            os.makedirs(directory, exist_ok=True)
        except OSError as error:
            raise Fail(f"cannot write the cache: {error}; set XDG_CACHE_HOME to a writable directory") from None
        with locked(directory, "waiting for another build to end"):
            if not cached(name, minor):
                build(name, minor)
            found[name] = cached(name, minor)
    return found
