"""kube-proxy, in a network namespace that holds the pods: asked by connecting to the cluster IP."""

import json
import os
import shutil
import subprocess
import sys

import parts
from binaries import binaries, kubernetes_version
from common import Fail, free_ports, write
from components import RELAY
from consumer import LEADER, Consumer, consumer
from world import HERE, NAMESPACE, PODS, PORT, leader_of

CONNECTS = 10
# Where connections come from.
CLIENT = "10.20.0.1"
SERVICES = "10.96.0.0/16"


class KubeProxy(Consumer):
    build = "2 min"
    ci = True
    expected = {
        "ClusterIP": [LEADER] * 4 + [["refused"], ["no answer"]],
        # There is nothing to program for a Service without a cluster IP.
        "Headless": ["ignored"] * 6,
    }
    mode = ""
    tools = []
    rules = []
    # Of its configuration, what is set beside the mode.
    settings = {}

    def __init__(self, label=None):
        self.label = label or self.mode  # one word for each of several
        self.netns = f"zen-lead-{os.getpid()}-{self.label}"
        self.made = False

    def version(self):
        return kubernetes_version()

    @property
    def note(self):
        return f"{CONNECTS} connects to the cluster IP"

    def lacks(self):
        if os.geteuid():
            return "it needs root, for a network namespace"
        if not shutil.which("ip"):
            return "it needs ip, on Debian: apt-get install iproute2"
        self.env = {**os.environ, **parts.Tools(self.tools).environment()}
        made = subprocess.run(["ip", "netns", "add", self.netns], capture_output=True, text=True, check=False)
        self.made = not made.returncode
        if not self.made:
            return f"no network namespace: {made.stderr.strip()}"
        listed = subprocess.run(self.enter(*self.rules), env=self.env, capture_output=True, text=True, check=False)
        return f"{' '.join(self.rules)}: {listed.stderr.strip()}" if listed.returncode else None

    def start(self, world):
        program = binaries(["kube-proxy"])["kube-proxy"]
        self.inside("ip", "link", "set", "lo", "up")
        self.inside("ip", "address", "add", CLIENT + "/32", "dev", "lo")
        # Not by the loopback: there the refusal of a packet that was to leave does not come back.
        self.inside("ip", "link", "add", "services", "type", "veth", "peer", "name", "nowhere")
        for link in ("services", "nowhere"):
            self.inside("ip", "link", "set", link, "up")
        self.inside("ip", "route", "add", SERVICES, "dev", "services", "src", CLIENT)
        self.start_pods(world)
        port = str(world.plane.ports["apiserver"])
        world.spawn("relay-" + self.label, [sys.executable, RELAY, self.netns, port])
        self.start_proxy(world, program)
        world.until(f"kube-proxy has programmed {self.mode}", lambda: "kubernetes" in self.ruleset(), patience=60)

    def start_pods(self, world):
        pods = [f"{name}={address}" for name, address in PODS.items()]
        script = os.path.join(HERE, "pods.py")
        world.spawn("pods-" + self.label, [sys.executable, script, self.netns, str(PORT), *pods])

    def start_proxy(self, world, program):
        node = "proxy-" + self.label
        status = {"addresses": [{"type": "InternalIP", "address": CLIENT}]}
        world.plane.ensure(
            "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}, "status": status}
        )
        config = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": self.mode,
            "clientConnection": {"kubeconfig": world.kubeconfig},
            "hostnameOverride": node,
            "healthzBindAddress": "",
            "metricsBindAddress": f"127.0.0.1:{free_ports(1)[0]}",
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
            **self.settings,
        }
        file = world.path(node + ".json")
        write(file, json.dumps(config))
        world.spawn("kube-proxy-" + self.label, self.enter(program, "--config=" + file), self.env)

    def enter(self, *command):
        return ["ip", "netns", "exec", self.netns, *command]

    def run(self, *command):
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Fail(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def inside(self, *command):
        return self.run(*self.enter(*command))

    def ruleset(self):
        return self.inside(*self.rules)

    def ask(self, world, source):
        if source != "my-app":
            return f"{leader_of(source)} in the rules" if self.names(source) in self.ruleset() else "ignored"
        script = os.path.join(HERE, "connect.py")
        line = self.enter(sys.executable, script, world.seen_cluster_ip, "80", str(CONNECTS))
        done = subprocess.run(line, env=self.env, capture_output=True, text=True, check=False, timeout=60)
        return done.stdout.split("\n")[:-1] or [done.stderr.strip()]

    def names(self, source):
        """How a rule's comment names a Service."""
        return f"{NAMESPACE}/{leader_of(source)}"

    def stop(self):
        if self.made:
            subprocess.run(["ip", "netns", "delete", self.netns], capture_output=True, check=False)


@consumer
class Nftables(KubeProxy):
    name = "kube-proxy, nftables"
    mode = "nftables"
    tools = ["nft"]
    rules = ["nft", "list", "ruleset"]


@consumer
class Iptables(KubeProxy):
    name = "kube-proxy, iptables"
    mode = "iptables"
    tools = ["nft", "iptables"]
    rules = ["iptables-save", "-t", "nat"]
