"""The programs on a node: built once from pinned Go modules, or taken from Debian's packages."""

import contextlib
import glob
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time

from base import HERE, Fail, run, say
from binaries import build_flags, cache_dir, kubernetes_version
from common import locked, read, tail, write

CONTAINERD_TAGS = "no_btrfs no_devmapper no_zfs no_aufs no_tracing urfave_cli_no_docs osusergo netgo"
CONTAINERD = "github.com/containerd/containerd/v2/cmd/"
CNI = "github.com/containernetworking/plugins/plugins/"
# Program: its folder here, its package, build tags.
PROGRAMS = {
    "app": ("app", ".", ""),
    "ptp": ("cni", CNI + "main/ptp", ""),
    "loopback": ("cni", CNI + "main/loopback", ""),
    "host-local": ("cni", CNI + "ipam/host-local", ""),
    "coredns": ("coredns", ".", ""),
    "containerd": ("containerd", CONTAINERD + "containerd", CONTAINERD_TAGS),
    "containerd-shim-runc-v2": ("containerd", CONTAINERD + "containerd-shim-runc-v2", CONTAINERD_TAGS),
    "ctr": ("containerd", CONTAINERD + "ctr", CONTAINERD_TAGS),
    "kubelet": ("kubernetes", "k8s.io/kubernetes/cmd/kubelet", ""),
    "kube-scheduler": ("kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler", ""),
}
# Whose version names a folder of the cache.
PINNED = {
    "cni": "github.com/containernetworking/plugins",
    "coredns": "github.com/coredns/coredns",
    "containerd": "github.com/containerd/containerd/v2",
    "kubernetes": "k8s.io/kubernetes",
}
# Tools that need the C library: the tool, and the packages that hold it and what it loads.
DEBIAN = {
    "runc": ["runc", "libseccomp2"],
    "nft": ["nftables", "libnftables1", "libnftnl11", "libmnl0", "libjansson4", "libxtables12", "libedit2"],
    "iptables": ["iptables", "libip4tc2", "libip6tc2", "libxtables12", "libnetfilter-conntrack3", "libnfnetlink0"],
}


def version(folder):
    if folder not in PINNED:
        return "own"
    text = read(os.path.join(HERE, folder, "go.mod"))
    return re.search(rf"^\s*(?:require )?{re.escape(PINNED[folder])} (v\S+)", text, re.M).group(1)


def cache(*parts):
    return os.path.join(os.path.dirname(cache_dir()), "cluster", *parts)


def flags(folder, tags):
    found = build_flags(folder)
    return [*found, "-tags", tags] if tags else found


def stamp(name):
    """What a cached program was built from: its pins, its sources, its flags."""
    folder, package, tags = PROGRAMS[name]
    sources = sorted(glob.glob(os.path.join(HERE, folder, "*")))
    return hashlib.sha256("\0".join([*map(read, sources), package, *flags(folder, tags)]).encode()).hexdigest()


def place(name):
    folder = PROGRAMS[name][0]
    return cache(f"{folder}-{version(folder)}", name)


def is_current(name):
    with contextlib.suppress(OSError):
        return os.access(place(name), os.X_OK) and read(place(name) + ".stamp") == stamp(name)
    return False


def build(name):
    folder, package, tags = PROGRAMS[name]
    target = place(name)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    env = dict(os.environ, CGO_ENABLED="0", GOWORK="off", GOFLAGS="")
    for key in ("GOOS", "GOARCH"):
        env.pop(key, None)
    say(f"building {name} {version(folder)} (log: {target}.build.log)")
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=os.path.dirname(target)) as work:
        fresh = os.path.join(work, name)
        command = ["go", "build", *flags(folder, tags), "-o", fresh, package]
        with open(target + ".build.log", "w", encoding="utf-8") as log:
            env["GOTMPDIR"] = work
            done = subprocess.run(command, cwd=os.path.join(HERE, folder), env=env, stdout=log, stderr=log, check=False)
        if done.returncode:
            raise Fail(f"building {name} failed:\n{tail(target + '.build.log')}".rstrip())
        write(target + ".stamp", "")  # no old stamp may vouch for the new binary
        os.replace(fresh, target)
        write(target + ".stamp", stamp(name), 0o644)
    say(f"built {name} in {time.monotonic() - start:.0f} s")


def programs():
    """The path of every program; builds what is missing."""
    if version("kubernetes") != kubernetes_version():
        raise Fail(
            f"cluster.d pins Kubernetes {version('kubernetes')}, control-plane.d {kubernetes_version()}: expected one"
        )
    os.makedirs(cache(), exist_ok=True)
    with locked(cache(), "waiting for another build to end"):
        missing = [name for name in PROGRAMS if not is_current(name)]
        if missing and not shutil.which("go"):
            raise Fail(f"no go to build {', '.join(missing)}; install the version in cluster.d/kubernetes/go.mod")
        if len(missing) > 3:
            say(f"once only: building {', '.join(missing)} (from nothing, about 6 minutes of processor time)")
        for name in missing:
            build(name)
    return {name: place(name) for name in PROGRAMS}


class Tools:
    """The tools with C libraries: where they are, and the environment in which they run."""

    def __init__(self, wanted):
        self.folders, self.libraries, self.env = [], [], {}
        missing = [tool for tool in wanted if not shutil.which(tool)]
        if missing:
            self.fetch(missing)

    def fetch(self, tools):
        packages = sorted({package for tool in tools for package in DEBIAN[tool]})
        if not shutil.which("apt-get") or not shutil.which("dpkg"):
            raise Fail(
                f"{', '.join(tools)}: not on PATH, and no apt-get to fetch {'it' if len(tools) == 1 else 'them'}"
            )
        # The same packages of another release hold other libraries.
        key = hashlib.sha256("\0".join([read("/etc/os-release"), *packages]).encode()).hexdigest()[:12]
        root = cache("debian-" + key)
        os.makedirs(cache(), exist_ok=True)
        with locked(cache(), "waiting for another build to end"):
            if not os.path.isdir(root):
                download(packages, root)
        sbin, libraries = os.path.join(root, "usr", "sbin"), os.path.join(root, "usr", "lib")
        self.folders.append(sbin)
        self.libraries = [path for path in glob.glob(os.path.join(libraries, "*-linux-gnu*")) if os.path.isdir(path)]
        self.libraries += [path for path in glob.glob(os.path.join(root, "lib", "*-linux-gnu*"))]
        if "iptables" in tools:
            self.env["XTABLES_LIBDIR"] = os.path.join(self.libraries[0], "xtables")
            self.iptables_names(sbin)

    def iptables_names(self, sbin):
        """The names that Debian's alternatives would give to the nftables flavour."""
        for family in ("iptables", "ip6tables"):
            for suffix in ("", "-save", "-restore"):
                name = os.path.join(sbin, family + suffix)
                if not os.path.lexists(name):
                    os.symlink("xtables-nft-multi", name)

    def environment(self, *folders):
        path = [*folders, *self.folders, "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        env = {"PATH": ":".join(path), **self.env}
        if self.libraries:
            env["LD_LIBRARY_PATH"] = ":".join(self.libraries)
        return env


def download(packages, root):
    say(f"fetching Debian's {', '.join(packages)}")
    with tempfile.TemporaryDirectory(dir=os.path.dirname(root)) as work:
        os.chmod(work, 0o755)
        done = subprocess.run(
            ["apt-get", "download", "-qq", *packages], cwd=work, capture_output=True, text=True, check=False
        )
        if done.returncode:
            # The lists may be missing or older than the mirror.
            run("apt-get", "update", "-qq")
            done = subprocess.run(
                ["apt-get", "download", "-qq", *packages], cwd=work, capture_output=True, text=True, check=False
            )
        if done.returncode:
            raise Fail(f"apt-get download: {done.stderr.strip()}")
        tree = os.path.join(work, "tree")
        for package in glob.glob(os.path.join(work, "*.deb")):
            run("dpkg", "-x", package, tree)
        os.rename(tree, root)
