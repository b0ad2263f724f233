"""A control plane, zen-lead beside it, and an application of three pods that are only written down."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from http.client import HTTPException

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(ROOT, "scripts", "cluster.d"), os.path.join(ROOT, "scripts", "control-plane.d")]

from common import Fail, free_ports, tail  # noqa: E402
from components import ControlPlane  # noqa: E402

CONTROL_PLANE = os.path.join(ROOT, "scripts", "control-plane")
NAMESPACE = "default"
PORT = 8080
PODS = {"my-app-0": "10.20.0.10", "my-app-1": "10.20.0.11", "my-app-2": "10.20.0.12"}
# Source Service: the type of its leader Service.
SOURCES = {"my-app": "ClusterIP", "my-app-by-name": "Headless"}
# How long a step may take on a busy machine.
PATIENCE = 60


class Wrong(Exception):
    """What was seen is not what was expected."""


def until(what, check, patience=PATIENCE, every=0.1):
    """Waits for check() to return something; that is the result."""
    deadline = time.monotonic() + patience
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Wrong(f"not within {patience} s: {what}")
        time.sleep(every)


def leader_of(source):
    return source + "-leader"


class World:
    """Processes end with it; all that it writes is below its directory."""

    prefix = "zen-lead-consumers-"

    def __init__(self, binary):
        self.binary = binary
        self.dir = tempfile.mkdtemp(prefix=self.prefix)
        self.running = []
        self.leader = None  # the pod that is to be published

    def __enter__(self):
        try:
            self.control("up", "--fast", "--controller-manager")
            self.kubeconfig = self.path("control-plane", "kubeconfig")
            self.populate()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for child in reversed(self.running):
            end(child)
        if os.path.exists(self.path("control-plane", "state.json")):
            self.control("down", "--grace=1")
        shutil.rmtree(self.dir, ignore_errors=True)

    def populate(self):
        self.start_controller("--leader-election-namespace=default")
        self.create_application()

    def start_controller(self, *flags):
        ports = free_ports(3)
        binds = zip(("metrics", "health-probe", "debug"), ports)
        flags = [*flags, *(f"--{name}-bind-address=127.0.0.1:{port}" for name, port in binds)]
        self.spawn("zen-lead", [self.binary, *flags], {"KUBECONFIG": self.kubeconfig})

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    @property
    def plane(self):
        return ControlPlane(self.path("control-plane"))

    def control(self, command, *options):
        line = [sys.executable, CONTROL_PLANE, command, "--dir", self.path("control-plane"), *options]
        done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise Fail(f"control-plane {command} failed")
        return done.stdout.strip()

    def spawn(self, name, command, env=None, output=None, talks=False):
        """Starts a process that ends with the world. Its output is its log; if it talks, there are pipes to
        its standard input and from its standard output."""
        with open(output or self.path(name + ".log"), "w", encoding="utf-8") as log:
            child = subprocess.Popen(
                command,
                cwd=self.dir,
                env={**os.environ, **(env or {})},
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.running.append(child)
        child.name = name
        return child

    def check(self):
        """Every process is still there."""
        for child in self.running:
            if child.poll() is not None:
                log = tail(self.path(child.name + ".log"))
                raise Wrong(f"{child.name} ended with {child.returncode}; the end of its log:\n{log}".rstrip())

    def until(self, what, check, patience=PATIENCE):
        """As until(), which ends at once when a process has ended."""

        def found():
            self.check()
            return check()

        return until(what, found, patience)

    # ------------------------------------------------------------ requests

    def get(self, path):
        """An object or a list, None when there is none."""
        try:
            status, answer = self.plane.api("GET", path)
        except (OSError, HTTPException) as error:
            raise Wrong(f"GET {path}: {error}") from None
        if status not in (200, 404):
            raise Wrong(f"GET {path}: {status} {answer}")
        return answer if status == 200 else None

    def kubectl(self, *arguments, stdin=None):
        command = ["kubectl", "--kubeconfig", self.kubeconfig, *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=PATIENCE)
        if done.returncode:
            raise Wrong(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")

    def apply(self, *objects):
        everything = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.kubectl("apply", "--server-side", "--filename=-", stdin=everything)

    # ------------------------------------------------------------ the application

    def create_application(self):
        for source, kind in SOURCES.items():
            wanted = {"external-dns.alpha.kubernetes.io/hostname": source + ".example.com"}
            annotations = {
                "zen-lead.io/leader-service-type": kind,
                "zen-lead.io/leader-service-annotations": json.dumps(wanted),
            }
            self.apply(
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "metadata": {"name": source, "namespace": NAMESPACE, "annotations": annotations},
                    "spec": {
                        "selector": {"app": "my-app"},
                        "ports": [{"name": "http", "port": 80, "targetPort": PORT}],
                    },
                }
            )
        for pod in PODS:
            self.create(pod)

    def create(self, pod):
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": pod, "namespace": NAMESPACE, "labels": {"app": "my-app"}},
                "spec": {
                    "nodeName": "node-of-" + pod,
                    "terminationGracePeriodSeconds": 3600,
                    "containers": [{"name": "app", "image": "my-app"}],
                },
            }
        )

    def ready(self, pod, ready):
        """What a kubelet would say of a pod."""
        state = "True" if ready else "False"
        status = {
            "phase": "Running",
            "podIP": PODS[pod],
            "podIPs": [{"ip": PODS[pod]}],
            "conditions": [{"type": "Ready", "status": state}],
        }
        patch = json.dumps({"status": status})
        self.kubectl("patch", "pod", pod, "--subresource=status", "--type=merge", "--patch", patch)

    def annotate(self, *settings):
        self.kubectl("annotate", "service", *SOURCES, "--overwrite", *settings)

    def endpoints(self, source):
        path = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
        found = self.get(f"{path}?labelSelector=kubernetes.io/service-name={leader_of(source)}")["items"]
        return [endpoint for each in found for endpoint in each["endpoints"] or []]

    def cluster_ip(self, source):
        found = self.get(f"/api/v1/namespaces/{NAMESPACE}/services/{leader_of(source)}")
        return found["spec"]["clusterIP"] if found else None

    def published(self, source):
        """The pods in the slices of a leader Service."""
        return [endpoint["targetRef"]["name"] for endpoint in self.endpoints(source)]

    def settle(self, leader):
        """Waits until zen-lead publishes this pod, or none, for every source."""
        self.leader = leader
        wanted = [leader] if leader else []
        for source in SOURCES:
            self.until(f"{leader_of(source)} publishes {wanted}", lambda source=source: self.published(source) == wanted)

    def name(self, address):
        """An address as the answers have it: the pod's name, or what else it is."""
        for pod, ip in PODS.items():
            if address == ip:
                return pod
        return "cluster IP" if address == self.seen_cluster_ip else address


def end(child):
    """TERM, then KILL, to a process and its children."""
    for number, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        if child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=patience)
