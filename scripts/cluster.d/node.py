"""A node: its configuration files, its first process, and how it is entered."""

import json
import os
import signal
import subprocess
import sys
import time

import cgroups
import network
from base import DNS, DOMAIN, HERE, Fail
from common import read, write
from instance import process_stat

SANDBOX = "docker.io/library/zen-lead-pause:1"
CONTAINERD_OFF = [
    "io.containerd." + name
    for name in (
        "nri.v1.nri",
        "internal.v1.opt",
        "snapshotter.v1.blockfile",
        "snapshotter.v1.erofs",
        "snapshotter.v1.native",
    )
]


def containerd(paths, directory):
    # restrict_oom_score_adj: a root without CAP_SYS_RESOURCE cannot lower a score.
    return f"""version = 3
root = "{directory}/containerd"
state = "/run/containerd"
disabled_plugins = {json.dumps(CONTAINERD_OFF)}

[grpc]
address = "/run/containerd/containerd.sock"

[plugins.'io.containerd.cri.v1.images']
snapshotter = "overlayfs"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{SANDBOX}"

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["{os.path.dirname(paths["ptp"])}"]
conf_dir = "{directory}/cni"
[plugins.'io.containerd.cri.v1.runtime'.containerd]
default_runtime_name = "runc"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = false
"""


def cni(node):
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni",
                    "ranges": [[{"subnet": node.pods}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }


def kubelet(node, directory, authority):
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": authority},
        },
        "authorization": {"mode": "Webhook"},
        "address": node.address,
        "clusterDNS": [DNS],
        "clusterDomain": DOMAIN,
        "resolvConf": os.path.join(directory, "resolv.conf"),
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,
        # A laptop's full disk is no reason to evict; the scenarios evict by themselves.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        # What a volume holds is looked at once a minute by default.
        "volumeStatsAggPeriod": "10s",
        "imageGCHighThresholdPercent": 100,
        "serializeImagePulls": False,
        "readOnlyPort": 0,
        "healthzBindAddress": "127.0.0.1",
        "logging": {"verbosity": 2},
    }


def proxy(node, kubeconfig, options):
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": options["proxy_mode"],
        "clientConnection": {"kubeconfig": kubeconfig},
        "hostnameOverride": node.name,
        "clusterCIDR": node.net.pods,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        options["proxy_mode"]: {"minSyncPeriod": options["proxy_min_sync_period"]},
    }


class Machine:
    """One node on this machine: its directory, and the process that all others on it descend from."""

    def __init__(self, node, directory):
        self.node, self.dir = node, directory

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def prepare(self, paths, tools, archives, credentials, options):
        for part in ("cni", "log", "kubelet"):
            os.makedirs(self.path(part), exist_ok=True)
        write(self.path("containerd.toml"), containerd(paths, self.dir))
        write(self.path("cni", "10-pods.conflist"), json.dumps(cni(self.node)))
        write(self.path("kubelet.json"), json.dumps(kubelet(self.node, self.dir, credentials["authority"])))
        write(self.path("proxy.json"), json.dumps(proxy(self.node, credentials["proxy"], options)))
        write(self.path("resolv.conf"), "")
        folders = {os.path.dirname(paths[name]) for name in ("containerd", "ptp", "kubelet")}
        config = {
            "name": self.node.name,
            "dir": self.dir,
            "env": tools.environment(*sorted(folders)),
            "socket": "/run/containerd/containerd.sock",
            "images": archives,
            "ctr": [paths["ctr"], "--address", "/run/containerd/containerd.sock", "--namespace", "k8s.io"],
            "services": {
                "containerd": [paths["containerd"], "--config", self.path("containerd.toml")],
                "kubelet": [
                    paths["kubelet"],
                    "--config=" + self.path("kubelet.json"),
                    "--kubeconfig=" + credentials["kubelet"],
                    "--root-dir=" + self.path("kubelet"),
                    "--cert-dir=" + self.path("pki"),
                    "--hostname-override=" + self.node.name,
                    "--node-ip=" + self.node.address,
                    "--node-labels=topology.kubernetes.io/zone=" + self.node.zone,
                ],
                "kube-proxy": [paths["kube-proxy"], "--config=" + self.path("proxy.json")],
            },
        }
        write(self.path("node.json"), json.dumps(config, indent=1))

    def boot(self):
        """Starts the first process; returns the pid that stands for the node."""
        config = json.loads(read(self.path("node.json")))
        config["cgroup"] = cgroups.make(self.node.cgroup)
        write(self.path("node.json"), json.dumps(config, indent=1))
        folders = config["cgroup"]["folders"]

        def enter():
            for folder in folders:
                with open(os.path.join(folder, "cgroup.procs"), "w", encoding="utf-8") as procs:
                    procs.write("0")

        command = ["nsenter", "--net=/run/netns/" + self.node.netns]
        command += "unshare --mount --uts --ipc --pid --cgroup --fork --kill-child --mount-proc".split()
        command += [sys.executable, "-B", os.path.join(HERE, "init.py"), self.path("node.json")]
        with open(self.path("log", "init.log"), "a", encoding="utf-8") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=enter,
            )
        return child.pid

    def cut_power(self, pid):
        """Ends everything on the node at once; nothing gets to say goodbye."""
        network.cut(self.node)
        first = first_process(pid)
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while process_stat(first)[0] not in "ZX" and time.monotonic() < deadline:
            time.sleep(0.02)
        self.clean()

    def clean(self):
        """Removes the cgroups of a node that is off."""
        if not os.path.exists(self.path("node.json")):
            return
        config = json.loads(read(self.path("node.json")))
        left = cgroups.remove(config.get("cgroup", {"folders": []})["folders"])
        if left:
            raise Fail(f"{self.node.name}: processes are left in {left[0]}")


def first_process(pid):
    """The process that is number 1 on the node, by its number outside."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = read(f"/proc/{entry}/stat").rpartition(")")[2].split()
            except OSError:
                continue
            if fields[1] == str(pid):
                return int(entry)
    raise Fail(f"the node's process {pid} has no child: it has ended, or has not begun yet")
