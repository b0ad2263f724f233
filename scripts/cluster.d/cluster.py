"""A cluster: a state directory, a control plane in it, a scheduler and nodes."""

import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

import cgroups
import images
import network
import parts
from base import HERE, NODES_MAX, ROOT, SERVICES, Fail, Net, Node, run, say
from binaries import binaries
from common import free_ports, need, read
from components import ControlPlane
from instance import Instance, process_stat
from node import SANDBOX, Machine, first_process

CONTROL_PLANE = os.path.join(ROOT, "scripts", "control-plane")
BINARY = os.path.join(ROOT, "target", "dist", "zen-lead")
# The image under the name that manifests/install.yaml has, and under one as a registry's.
IMAGES = ["docker.io/library/zen-lead:{}", "registry.example.com/platform/zen-lead:{}"]
UNPRIVILEGED = "65534:65534"
# A bridge that lives for a moment.
BRIDGE = f"zl-t{os.getpid()}"


def check():
    """What this machine lacks, in one message, before anything is made."""
    if os.geteuid():
        raise Fail("needs root: it makes network namespaces, mounts and cgroups")
    for tool, package in (
        ("ip", "iproute2"),
        ("nsenter", "util-linux"),
        ("unshare", "util-linux"),
        ("kubectl", "kubectl"),
    ):
        need(tool, package, "the nodes need it")
    with open("/proc/filesystems", encoding="utf-8") as file:
        if (
            "\toverlay\n" not in file.read()
            and subprocess.run(["modprobe", "overlay"], capture_output=True, check=False).returncode
        ):
            raise Fail("this kernel has no overlayfs: containers cannot run here")
    cgroups.check()
    try_out()


def try_out():
    """Makes one of each thing that root may be kept from, as in a container, and removes it."""
    name = f"zen-lead-trial-{os.getpid()}"
    for what, kind, add in (
        ("network namespace", "netns", [name]),
        ("bridge", "link", [BRIDGE, "type", "bridge"]),
    ):
        made = run("ip", kind, "add", *add, check=False)
        if made.returncode:
            raise Fail(f"this machine lets root make no {what}: {made.stderr.strip()}")
        run("ip", kind, "delete", add[0], check=False)
    network.unmount()
    try:
        cgroups.remove(cgroups.make(name)["folders"])
    except OSError as error:
        raise Fail(f"this machine lets root make no cgroup: {error}") from None
    with tempfile.TemporaryDirectory() as directory:
        check_overlay(directory)


def check_overlay(directory):
    """An overlay cannot lie on every file system, as on another overlay."""
    trial = os.path.join(directory, "trial")
    for part in ("lower", "upper", "work", "all"):
        os.makedirs(os.path.join(trial, part))
    options = ",".join(f"{key}dir={trial}/{key}" for key in ("lower", "upper", "work"))
    mounted = run("mount", "-t", "overlay", "-o", options, "overlay", os.path.join(trial, "all"), check=False)
    if not mounted.returncode:
        run("umount", os.path.join(trial, "all"))
    shutil.rmtree(trial)
    if mounted.returncode:
        raise Fail(f"no overlay on {directory} ({mounted.stderr.strip()}): name a directory on a disk with --dir")


class Cluster(Instance):
    OWN = ["state.json", "images", "nodes", "log", "kubeconfig*", "control-plane"]

    @property
    def net(self):
        return Net(self.options["net"])

    @property
    def nodes(self):
        return [Node(self.net, number) for number in range(1, self.options["nodes"] + 1)]

    def node(self, number):
        if not 1 <= number <= self.options["nodes"]:
            raise Fail(f"node {number}: expected 1 to {self.options['nodes']}")
        return Node(self.net, number)

    def machine(self, node):
        return Machine(node, self.path("nodes", node.name))

    def control_plane(self, *arguments):
        command = [sys.executable, CONTROL_PLANE, *arguments, "--dir", self.path("control-plane")]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise Fail(f"control-plane {arguments[0]} failed")
        return done.stdout.strip()

    def ask(self, path):
        """What the API server answers, None while it does not."""
        try:
            status, answer = ControlPlane(self.path("control-plane")).api("GET", path)
        except (OSError, http.client.HTTPException):
            return None
        return answer if status == 200 else None

    # ------------------------------------------------------------ up

    def up(self, options):
        if not 1 <= options["nodes"] <= NODES_MAX:
            raise Fail(f"--nodes: got {options['nodes']}, expected 1 to {NODES_MAX}")
        check_overlay(self.dir)
        self.options.update(options)
        paths = parts.programs()
        paths.update(binaries(["etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy"]))
        wanted = ["runc", "nft"] + ["iptables"] * (options["proxy_mode"] == "iptables")
        tools = parts.Tools(wanted)
        begun = time.monotonic()
        os.makedirs(self.path("log"), exist_ok=True)
        self.save()
        archives = self.write_images(paths)
        self.options["net"] = network.claim().number
        self.save()
        network.make(self.net, self.nodes)
        self.start_control_plane(paths)
        credentials = {
            "authority": self.path("control-plane", "pki", "ca.crt"),
            "proxy": self.control_plane("kubeconfig-for", "--user", "system:kube-proxy"),
        }
        for node in self.nodes:
            user = "system:node:" + node.name
            credentials["kubelet"] = self.control_plane("kubeconfig-for", "--user", user, "--group", "system:nodes")
            machine = self.machine(node)
            os.makedirs(machine.dir)
            machine.prepare(paths, tools, archives, credentials, self.options)
            self.boot(node)
        self.wait_ready(self.missing_nodes, options["timeout"])
        # With every node Ready its replicas are spread.
        file = os.path.join(HERE, "coredns.yaml")
        run("kubectl", "--kubeconfig", self.kubeconfig_path(), "apply", "--filename", file)
        self.wait_ready(self.missing, options["timeout"])
        say(f"{options['nodes']} nodes Ready in {time.monotonic() - begun:.1f} s in {self.dir}")

    def write_images(self, paths):
        folder = self.path("images")
        os.makedirs(folder)
        version = self.options["version"]
        wanted = {
            "pause": ([SANDBOX], {"app": (paths["app"], 0o755)}, ["/app", "pause"], UNPRIVILEGED),
            "app": (["docker.io/library/zen-lead-app:1"], {"app": (paths["app"], 0o755)}, ["/app"], UNPRIVILEGED),
            "coredns": (
                ["docker.io/library/zen-lead-coredns:1"],
                {"coredns": (paths["coredns"], 0o755)},
                ["/coredns"],
                "0:0",
            ),
        }
        archives = []
        for name, (names, files, entrypoint, user) in wanted.items():
            archives.append(os.path.join(folder, name + ".tar"))
            images.archive(archives[-1], names, files, entrypoint, user)
        archives.append(os.path.join(folder, "zen-lead.tar"))
        self.write_own_image(archives[-1], [name.format(version) for name in IMAGES])
        return archives

    def write_own_image(self, target, names):
        """The layout of the Containerfile's last stage, which scripts/image-check holds to it."""
        binary = self.options["binary"]
        files = images.with_libraries(binary)
        files["zen-lead"] = files.pop(os.path.basename(binary))
        files["usr/share/doc/zen-lead/LICENSE"] = (os.path.join(ROOT, "LICENSE"), 0o444)
        images.archive(target, names, files, ["/zen-lead"], UNPRIVILEGED)

    def start_control_plane(self, paths):
        keys = self.path("control-plane", "pki", "admin")
        self.control_plane(
            "up",
            "--fast",
            "--bind-address=" + self.net.gateway,
            "--service-cluster-ip-range=" + SERVICES,
            "--service-account-admission",
            "--controller-manager",
            "--controllers=*",
            f"--apiserver-arg=--kubelet-client-certificate={keys}.crt",
            f"--apiserver-arg=--kubelet-client-key={keys}.key",
            "--apiserver-arg=--kubelet-preferred-address-types=InternalIP",
            "--controller-manager-arg=--cluster-cidr=" + self.net.pods,
        )
        config = self.control_plane("kubeconfig-for", "--user", "system:kube-scheduler")
        command = [
            paths["kube-scheduler"],
            "--kubeconfig=" + config,
            "--authentication-kubeconfig=" + config,
            "--authorization-kubeconfig=" + config,
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={free_ports(1)[0]}",
        ]
        self.spawn("kube-scheduler", command)

    def kubeconfig_path(self):
        return self.path("control-plane", "kubeconfig")

    def boot(self, node):
        pid = self.machine(node).boot()
        boot = read("/proc/sys/kernel/random/boot_id").strip()
        self.state["processes"][node.name] = {"pid": pid, "start": process_stat(pid)[1], "boot": boot, "log": 0}
        self.save()

    def wait_ready(self, what, timeout):
        deadline = time.monotonic() + timeout
        while True:
            missing = what()
            if not missing:
                return
            ended = [node.name for node in self.nodes if not self.alive(node.name)]
            if ended or time.monotonic() > deadline:
                why = f"{ended[0]} ended" if ended else f"not ready after {timeout:.0f} s: {', '.join(missing)}"
                raise Fail(f"{why}; the logs are in {self.path('nodes')}/*/log")
            time.sleep(0.1)

    def missing_nodes(self):
        ready = set()
        for node in (self.ask("/api/v1/nodes") or {"items": []})["items"]:
            conditions = {c["type"]: c["status"] for c in node["status"].get("conditions", [])}
            if conditions.get("Ready") == "True":
                ready.add(node["metadata"]["name"])
        return [node.name for node in self.nodes if node.name not in ready or not self.alive(node.name)]

    def missing(self):
        """What is not Ready: nodes, and CoreDNS."""
        missing = self.missing_nodes()
        dns = self.ask("/apis/apps/v1/namespaces/kube-system/deployments/coredns") or {}
        if dns.get("status", {}).get("readyReplicas", 0) < 2:
            missing.append("CoreDNS")
        return missing

    # ------------------------------------------------------------ nodes

    def stop_node(self, number):
        node = self.node(number)
        if not self.alive(node.name):
            raise Fail(f"{node.name} is off already")
        self.machine(node).cut_power(self.state["processes"][node.name]["pid"])
        self.state["processes"].pop(node.name)
        self.save()

    def start_node(self, number):
        node = self.node(number)
        if self.alive(node.name):
            raise Fail(f"{node.name} is on already")
        network.connect(node, self.nodes)
        self.boot(node)

    def enter(self, number, command):
        """The command with which a command runs on a node."""
        node = self.node(number)
        if not self.alive(node.name):
            raise Fail(f"{node.name} is off")
        target = str(first_process(self.state["processes"][node.name]["pid"]))
        env = json.loads(read(self.machine(node).path("node.json")))["env"]
        settings = [f"{key}={value}" for key, value in env.items()]
        return ["nsenter", "--target", target, "--all", "env", "-i", *settings, *command]

    # ------------------------------------------------------------ down

    def down(self, keep=False):
        left = []
        for node in self.nodes if "net" in self.options else []:
            try:
                if self.alive(node.name):
                    self.stop_node(node.number)
                else:
                    self.machine(node).clean()
            except Fail as error:
                left.append(str(error))
        self.stop(["kube-scheduler"], grace=2)
        if os.path.exists(self.path("control-plane", "state.json")):
            self.control_plane("down", "--grace=1")
        if "net" in self.options:
            network.remove(self.net, self.nodes)
        if not keep:
            self.remove()
        if left:
            raise Fail("; ".join(left))
