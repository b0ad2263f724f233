"""init.py CONFIG: the first process of a node, in namespaces of its own.

Prepares what a kubelet takes for a machine, starts the node's services, starts one again that ends,
and collects orphans. When it is killed, everything on the node ends with it: a power cut."""

import json
import os
import socket
import subprocess
import sys
import time

# The kubelet sets these; they belong to the whole machine, so it gets files that hold its wishes.
SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
RESTART_AFTER = 0.3


def call(*command):
    subprocess.run(command, check=True)


def file(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as target:
        target.write(text)


def mount_cgroups(cgroup):
    with open("/proc/self/mountinfo", encoding="utf-8") as mounted:
        points = [line.split()[4] for line in mounted if " - cgroup" in line]
    # What is inherited shows the machine's root: runc would take it for the node's.
    for point in reversed(points):
        call("umount", point)
    subprocess.run(["umount", "-R", "/sys"], check=False)
    call("mount", "-t", "sysfs", "sysfs", "/sys")
    if cgroup["version"] == 2:
        call("mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup")
        # A cgroup with children that have controllers must not hold processes itself.
        os.makedirs("/sys/fs/cgroup/init", exist_ok=True)
        file("/sys/fs/cgroup/init/cgroup.procs", "0")
        with open("/sys/fs/cgroup/cgroup.controllers", encoding="utf-8") as controllers:
            every = " ".join("+" + name for name in controllers.read().split())
        file("/sys/fs/cgroup/cgroup.subtree_control", every)
        return
    call("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/sys/fs/cgroup")
    for name, options in cgroup["mounts"]:
        point = "/sys/fs/cgroup/" + name
        os.makedirs(point)
        call("mount", "-t", "cgroup", "-o", options, "cgroup", point)


def mount_folders(directory):
    """What services write to fixed paths stays with the node."""
    call("mount", "--make-rshared", "/")
    call("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for part in ("upper", "work", "log/node"):
        os.makedirs(os.path.join(directory, part), exist_ok=True)
    upper, work = os.path.join(directory, "upper"), os.path.join(directory, "work")
    options = f"lowerdir=/var/lib,upperdir={upper},workdir={work}"
    call("mount", "-t", "overlay", "-o", options, "overlay", "/var/lib")
    call("mount", "--bind", os.path.join(directory, "log", "node"), "/var/log")
    for name, value in SYSCTLS.items():
        if os.path.exists("/proc/sys/" + name):
            file("/run/sysctl/" + name, value + "\n")
            call("mount", "--bind", "/run/sysctl/" + name, "/proc/sys/" + name)


class Services:
    """The node's services by name; each is started again a moment after it has ended."""

    def __init__(self, config):
        self.config, self.running, self.ended = config, {}, {}
        os.makedirs("/run/services")

    def start(self, name):
        log_path = os.path.join(self.config["dir"], "log", name + ".log")
        with open(log_path, "a", encoding="utf-8") as log:
            child = subprocess.Popen(
                self.config["services"][name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.running[child.pid] = name
        file("/run/services/" + name, str(child.pid))

    def tend(self):
        """Collects every child that has ended: services, and orphans of theirs."""
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pid = 0
            if not pid:
                break
            if pid in self.running:
                self.ended[self.running.pop(pid)] = time.monotonic()
        for name, since in list(self.ended.items()):
            if time.monotonic() - since >= RESTART_AFTER:
                del self.ended[name]
                self.start(name)


def wait_for_socket(path, services):
    while True:
        services.tend()
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(path)
                return
            except OSError:
                time.sleep(0.05)


def import_images(config, log):
    """Once per archive: images stay on the node's disk."""
    for archive in config["images"]:
        mark = os.path.join(config["dir"], "imported-" + os.path.basename(archive))
        if not os.path.exists(mark):
            command = [*config["ctr"], "images", "import", archive]
            subprocess.run(command, stdout=log, stderr=log, check=True)
            file(mark, "")


def main():
    with open(sys.argv[1], encoding="utf-8") as source:
        config = json.load(source)
    socket.sethostname(config["name"])
    mount_folders(config["dir"])
    mount_cgroups(config["cgroup"])
    os.environ.clear()
    os.environ.update(config["env"])
    subprocess.run(["nft", "flush", "ruleset"], check=False)
    services = Services(config)
    services.start("containerd")
    wait_for_socket(config["socket"], services)
    with open(os.path.join(config["dir"], "log", "init.log"), "a", encoding="utf-8") as log:
        import_images(config, log)
    for name in config["services"]:
        if name != "containerd":
            services.start(name)
    while True:
        services.tend()
        time.sleep(0.1)


main()
