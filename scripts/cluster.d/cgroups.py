"""A cgroup for each node, below that of the process that starts the cluster."""

import contextlib
import os
import time

from base import Fail

NEEDED = {"cpu", "cpuset", "memory", "pids"}


def mounts():
    """(file system, mount point, root of the mount, options) of every cgroup mount."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            fields, _, rest = line.partition(" - ")
            kind, _, options = rest.split()[:3]
            if kind in ("cgroup", "cgroup2"):
                yield kind, fields.split()[4], fields.split()[3], options.split(",")


def own():
    """The path of this process in each hierarchy, by the hierarchy's controllers."""
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        return {line.split(":")[1]: line.rstrip("\n").split(":", 2)[2] for line in file}


def version():
    return 2 if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else 1


def hierarchies():
    """Of cgroup v1: where each hierarchy holds this process, and how it is mounted once more."""
    paths = own()
    found = {}
    for kind, point, root, options in mounts():
        for controllers, path in paths.items():
            parts = controllers.split(",")
            if kind == "cgroup" and controllers and all(part in options for part in parts) and controllers not in found:
                below = os.path.relpath(path, root) if path.startswith(root) else "."
                mount = f"none,{controllers}" if controllers.startswith("name=") else controllers
                found[controllers] = (os.path.normpath(os.path.join(point, below)), mount)
    return found


def check():
    if version() == 2:
        base_v2()
        return
    controllers = {part for group in hierarchies() for part in group.split(",")}
    missing = (NEEDED | {"cpuacct", "devices", "freezer"}) - controllers
    if missing:
        raise Fail(f"cgroup v1 without {', '.join(sorted(missing))}: a kubelet cannot run here")
    for folder, _ in hierarchies().values():
        if not os.access(folder, os.W_OK):
            raise Fail(f"{folder} cannot be written: a node needs a cgroup of its own below it")


def base_v2():
    """The nearest cgroup upwards that may have children with controllers."""
    path = os.path.join("/sys/fs/cgroup", own().get("", "/").strip("/"))
    path = path.rstrip("/")
    while path.startswith("/sys/fs/cgroup"):
        if NEEDED <= set(words(path, "cgroup.controllers")):
            is_top = not os.path.exists(os.path.join(path, "cgroup.type"))
            delegates = set(words(path, "cgroup.subtree_control"))
            if is_top or NEEDED <= delegates or not words(path, "cgroup.procs"):
                return path
        path = os.path.dirname(path)
    raise Fail(
        "cgroup v2, and no cgroup upwards of this process may have children with the controllers "
        + ", ".join(sorted(NEEDED))
        + " (one that holds processes itself may not)"
    )


def words(folder, name):
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            return file.read().split()
    except OSError:
        return []


def put(folder, name, text):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        file.write(text)


def make(name):
    """Makes a node's cgroup; returns what its first process needs to enter it and to mount it."""
    if version() == 2:
        base = base_v2()
        with contextlib.suppress(OSError):
            put(base, "cgroup.subtree_control", " ".join(f"+{one}" for one in sorted(NEEDED)))
        folder = os.path.join(base, name)
        os.makedirs(folder, exist_ok=True)
        missing = NEEDED - set(words(folder, "cgroup.controllers"))
        if missing:
            raise Fail(f"{folder} does not get the controllers {', '.join(sorted(missing))}")
        return {"version": 2, "folders": [folder], "mounts": []}
    folders, again = [], []
    for controllers, (parent, mount) in hierarchies().items():
        folder = os.path.join(parent, name)
        os.makedirs(folder, exist_ok=True)
        if "cpuset" in controllers.split(","):
            for file in ("cpuset.cpus", "cpuset.mems"):
                put(folder, file, " ".join(words(parent, file)))
            put(folder, "cgroup.clone_children", "1")
        folders.append(folder)
        again.append([controllers.removeprefix("name="), mount])
    return {"version": 1, "folders": folders, "mounts": again}


def remove(folders, patience=10):
    """Removes cgroups from the leaves up; the kernel may take a moment to see that they are empty."""
    deadline = time.monotonic() + patience
    while True:
        for top in folders:
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        left = [top for top in folders if os.path.isdir(top)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)
