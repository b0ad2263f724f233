"""What the scenarios work with: the cluster, zen-lead in it, and a client that counts."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from http.client import HTTPException

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "scripts", "cluster.d"))

from cluster import Cluster, check  # noqa: E402, F401
from components import ControlPlane  # noqa: E402

MANIFESTS = os.path.join(ROOT, "manifests")
CLUSTER = os.path.join(ROOT, "scripts", "cluster")
REGISTRY_IMAGE = "registry.example.com/platform/zen-lead"
CONTROLLER = "zen-lead"
# How long anything may take on a busy machine before it counts as not happening.
PATIENCE = 120
# After the slice has moved: kube-proxy may wait a second before it follows, and after an outage of the
# API server until its own back-off has passed.
FOLLOW = 60
SETTLE = 1


class Wrong(Exception):
    """What a scenario saw is not what it expected."""


def expect(what, got, wanted):
    if got != wanted:
        raise Wrong(f"{what}: got {got!r}, expected {wanted!r}")


def until(what, check, patience=PATIENCE, every=0.05):
    """Waits for check() to return something; that is the result."""
    deadline = time.monotonic() + patience
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Wrong(f"not within {patience} s: {what}")
        time.sleep(every)


def http(url, timeout=10):
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return answer.read().decode()


class World:
    def __init__(self, directory):
        self.dir = directory
        self.kubeconfig = self.cluster.kubeconfig_path()
        self.seen = []  # what the client saw in the present scenario
        self.notes = []
        self.count = 0

    @property
    def cluster(self):
        return Cluster(self.dir)

    @property
    def control_plane(self):
        return ControlPlane(os.path.join(self.dir, "control-plane"))

    # ------------------------------------------------------------ requests

    def kubectl(self, *arguments, stdin=None, check=True, timeout=PATIENCE):
        command = ["kubectl", "--kubeconfig", self.kubeconfig, *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=timeout)
        if check and done.returncode:
            raise Wrong(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout if check else done

    def apply(self, *objects):
        self.kubectl(
            "apply",
            "--server-side",
            "--filename=-",
            stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}),
        )

    def get(self, path):
        """An object or a list, None when there is none or no API server."""
        try:
            status, answer = self.control_plane.api("GET", path)
        except (OSError, HTTPException):
            return None
        return answer if status == 200 else None

    def post(self, path, body):
        status, answer = self.control_plane.api("POST", path, body)
        if status not in (200, 201):
            raise Wrong(f"POST {path}: {status} {answer}")

    def items(self, path):
        return (self.get(path) or {"items": []})["items"]

    def pods(self, namespace, selector):
        query = urllib.parse.quote(selector, safe="")
        return self.items(f"/api/v1/namespaces/{namespace}/pods?labelSelector={query}")

    def pod(self, name, namespace="default"):
        return self.get(f"/api/v1/namespaces/{namespace}/pods/{name}")

    # ------------------------------------------------------------ the client

    def start_client(self):
        node = self.cluster.nodes[-1].name
        self.kubectl("create", "namespace", "client")
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "client", "namespace": "client", "labels": {"role": "client"}},
                "spec": {
                    "nodeName": node,
                    "automountServiceAccountToken": False,
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [
                        {
                            "name": "client",
                            "image": "zen-lead-app:1",
                            "args": ["client"],
                            "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
                        }
                    ],
                },
            }
        )
        pod = until("the client is Ready", lambda: next(filter(is_ready, [self.pod("client", "client") or {}]), None))
        self.client = pod["status"]["podIP"]

    @contextlib.contextmanager
    def watching(self, app, targets=None, names=True):
        """A client opens a connection to the leader Service every 10 ms while the block runs, and every
        100 ms by its name."""
        seen = Seen(app)
        addresses = targets or [app.address()]
        named = [app.dns()] if names and not targets else []
        until("the client's node routes to the leader", lambda: self.reaches(addresses + named))
        self.connect("10ms", addresses)
        self.connect("100ms", named)
        time.sleep(0.3)
        seen.begun = time.time()
        try:
            yield seen
            self.follow(app)
        finally:
            seen.results = self.stop()
            self.seen.append(seen)

    def move(self, app, lose, targets=None, may_fail=False):
        """Has lose(leader) cost the leader its place while a client watches. Only the former leader and
        its successor answer, and no connection fails unless it may. Returns both."""
        old = app.leads()
        with self.watching(app, targets) as seen:
            lose(old)
            new = app.moved_from(old)
        if not may_fail:
            seen.never_failed()
        seen.answered(old, new)
        return old, new

    def follow(self, app):
        """Gives the client's node the time to follow the slice; what it did then is asserted later."""
        deadline = time.monotonic() + FOLLOW
        leader = app.leader()
        while time.monotonic() < deadline:
            last = json.loads(http(f"http://{self.client}:8080/last"))
            if all(pod == leader for pod in last.values()):
                break
            time.sleep(0.1)
        time.sleep(SETTLE)

    def reaches(self, targets):
        self.connect("20ms", targets)
        time.sleep(0.2)
        return not any(result["failed"] or not result["attempts"] for result in self.stop().values())

    def connect(self, every, targets):
        query = urllib.parse.urlencode([("every", every)] + [("target", target) for target in targets])
        http(f"http://{self.client}:8080/start?{query}")

    def stop(self):
        """Ends the client's connections; returns what it saw of each target."""
        return json.loads(http(f"http://{self.client}:8080/stop", timeout=30))

    # ------------------------------------------------------------ zen-lead

    def install(self, manifests=MANIFESTS, name="install.yaml"):
        """By the commands of manifests/README.md."""
        file = os.path.join(manifests, name)
        # Once more: the image's name belongs to `kubectl set image` by then, which sets it again.
        again = self.get("/apis/apps/v1/namespaces/zen-lead/deployments/zen-lead") is not None
        self.kubectl("apply", "--server-side", *["--force-conflicts"] * again, "--filename", file)
        self.name_image()

    def name_image(self):
        version = self.cluster.options["version"]
        image = f"zen-lead={REGISTRY_IMAGE}:{version}"
        self.kubectl("set", "image", "--namespace=zen-lead", "deployment/zen-lead", image)
        self.rolled_out()

    def rolled_out(self):
        self.kubectl("rollout", "status", "--namespace=zen-lead", "deployment/zen-lead", "--timeout=120s")
        self.settled()

    def uninstall(self):
        self.kubectl("delete", "--filename", os.path.join(ROOT, "manifests", "install.yaml"))

    def patch_controller(self, patch):
        self.kubectl("patch", "deployment", "--namespace=zen-lead", "zen-lead", "--patch", json.dumps(patch))
        self.rolled_out()

    def controllers(self):
        return [pod for pod in self.pods(CONTROLLER, "app.kubernetes.io/name=zen-lead") if not terminating(pod)]

    def active(self):
        """The replica that holds the Lease."""

        def find():
            path = "/apis/coordination.k8s.io/v1/namespaces/zen-lead/leases/zen-lead-controller-leader-election"
            holder = ((self.get(path) or {}).get("spec") or {}).get("holderIdentity") or ""
            return next((pod for pod in self.controllers() if holder.startswith(pod["metadata"]["name"])), None)

        return until("a replica of zen-lead holds the Lease", find)

    def standby(self):
        active = self.active()["metadata"]["name"]
        return until(
            "a second replica", lambda: next((p for p in self.controllers() if p["metadata"]["name"] != active), None)
        )

    def settled(self):
        """Every node is Ready, and zen-lead has its two replicas."""

        def check():
            deployment = self.get("/apis/apps/v1/namespaces/zen-lead/deployments/zen-lead") or {}
            status, metadata = deployment.get("status", {}), deployment.get("metadata", {})
            return (
                not self.cluster.missing()
                and status.get("observedGeneration") == metadata.get("generation")
                and status.get("readyReplicas") == status.get("replicas") == status.get("updatedReplicas") == 2
                and len(self.controllers()) == 2
            )

        until("all nodes and both replicas of zen-lead are Ready", check, patience=240)

    def restarts(self):
        """Restarts of zen-lead's containers, by pod."""
        return {
            pod["metadata"]["name"]: sum(c["restartCount"] for c in pod["status"].get("containerStatuses", []))
            for pod in self.controllers()
        }

    @contextlib.contextmanager
    def options(self, **variables):
        """zen-lead with other options, given as variables of its environment."""
        self.set_env(*(f"{name}={value}" for name, value in variables.items()))
        try:
            yield
        finally:
            self.set_env(*(f"{name}-" for name in variables))

    def set_env(self, *settings):
        self.kubectl("set", "env", "--namespace=zen-lead", "deployment/zen-lead", *settings)
        self.rolled_out()

    def allow_nodes(self):
        """The rights that --leave-cordoned-nodes and --node-lease-timeout need."""
        self.kubectl("apply", "--filename", os.path.join(ROOT, "manifests", "optional", "nodes.yaml"))

    # ------------------------------------------------------------ processes

    def number(self, pod):
        """The number of the node on which a pod runs."""
        return next(node.number for node in self.cluster.nodes if node.name == pod["spec"]["nodeName"])

    def on_node(self, number, *command):
        done = subprocess.run(self.cluster.enter(number, list(command)), capture_output=True, text=True, check=False)
        if done.returncode:
            raise Wrong(f"on node {number}: {' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def kill_container(self, pod):
        """SIGKILL to a pod's only container, as the kernel would send it."""
        identity = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
        ctr = "ctr --address /run/containerd/containerd.sock --namespace k8s.io tasks kill --signal SIGKILL"
        self.on_node(self.number(pod), *ctr.split(), identity)

    def kill_service(self, number, service):
        self.on_node(number, "sh", "-c", f"kill -9 $(cat /run/services/{service})")

    def note(self, text):
        self.notes.append(text)


@contextlib.contextmanager
def installed(binary=None, proxy_mode="nftables", keep=False):
    """A cluster of three nodes with zen-lead and the client in it, taken down at the end."""
    directory = tempfile.mkdtemp(prefix="zen-lead-real-")
    options = ["--dir", directory, "--proxy-mode", proxy_mode] + (["--binary", binary] if binary else [])
    try:
        if subprocess.run([CLUSTER, "up", *options], stdout=subprocess.DEVNULL, check=False).returncode:
            keep = False
            sys.exit(1)
        begun = time.monotonic()
        world = World(directory)
        world.install()
        world.start_client()
        print(f"installed in {time.monotonic() - begun:.1f} s", flush=True)
        yield world
    finally:
        if keep:
            print(f"end it: scripts/cluster down --dir {directory}")
        elif os.path.exists(os.path.join(directory, "state.json")):
            subprocess.run([CLUSTER, "down", "--dir", directory], check=False)
        else:
            shutil.rmtree(directory, ignore_errors=True)


def is_ready(pod):
    conditions = pod.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def terminating(pod):
    return "deletionTimestamp" in pod["metadata"]


class Seen:
    """What the client saw of each target."""

    def __init__(self, app):
        self.app, self.results, self.begun = app, {}, 0.0

    def order(self, result):
        """The pods that answered, each once for every run of answers."""
        return [stint["pod"] for stint in result["stints"]]

    def busiest(self):
        """The target with the most connections."""
        return max(self.results.values(), key=lambda result: result["attempts"])

    def never_failed(self):
        for target, result in self.results.items():
            if result["failed"]:
                after = result["first_failure"] - self.begun
                many = f"{result['failed']} of {result['attempts']} failed"
                raise Wrong(f"{target}: {many} {result['failures']}, the first after {after:.2f} s")

    def answered(self, *pods):
        """These pods answered, in this order, to every target, and no other."""
        for target, result in self.results.items():
            expect(f"who answered at {target}", self.order(result), list(pods))

    def moved_on(self, most=None):
        """No pod answered again after another one had, and there were at most so many moves."""
        for target, result in self.results.items():
            order = self.order(result)
            expect(f"pods that answered again at {target}, after {order}", len(order) - len(set(order)), 0)
            if most is not None and len(order) - 1 > most:
                raise Wrong(f"moves at {target}: got {order}, expected at most {most} moves")

    def moves(self):
        return max(len(self.order(result)) for result in self.results.values()) - 1
