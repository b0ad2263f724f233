"""prometheus and promtool, without installing a service."""

import glob
import os
import shutil
import tempfile

from kube import ensure, run


def cache():
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(root, "zen-lead", "tools")


def tool(name):
    """The path of prometheus or promtool."""
    found = shutil.which(name)
    if found:
        return found
    path = os.path.join(cache(), "prometheus", "usr/bin", name)
    if not os.access(path, os.X_OK):
        unpack()
    return path


def unpack():
    for program in ("apt-get", "dpkg-deb"):
        ensure(shutil.which(program), "prometheus and promtool are needed: put them on PATH")
    os.makedirs(cache(), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache()) as directory:
        # Unpacked and not installed: Debian would start it as a service.
        fetched = run("apt-get", "download", "prometheus", ok=False, cwd=directory)
        if fetched.returncode:
            run("apt-get", "update", "-qq")
            run("apt-get", "download", "prometheus", cwd=directory)
        [package] = glob.glob(os.path.join(directory, "prometheus_*.deb"))
        fresh = os.path.join(directory, "prometheus")
        run("dpkg-deb", "-x", package, fresh)
        shutil.rmtree(os.path.join(cache(), "prometheus"), ignore_errors=True)
        os.rename(fresh, os.path.join(cache(), "prometheus"))
