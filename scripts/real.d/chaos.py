"""Hundreds of Services on a real cluster, and whatever can happen to them, for as long as asked."""

import collections
import json
import random
import re
import time
import urllib.parse

import app
from planned import drain_node
from world import Wrong, http, is_ready, terminating, until

GROUPS = 12
PODS_PER_GROUP = 3
METRICS_PORT = 8080
# How much more memory the last quarter may show than the first.
GROWTH_MAX = 0.10


class Group:
    """A Deployment whose pods are selected by many Services."""

    def __init__(self, world, number, services):
        self.world, self.name = world, f"chaos-{number}"
        self.services = [f"{self.name}-{service}" for service in range(services)]

    def create(self):
        labels = {"app": self.name}
        spec = app.pod_spec(self.world)
        spec["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"] = labels
        del spec["affinity"]
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": self.name, "namespace": app.NAMESPACE},
            "spec": {
                "replicas": PODS_PER_GROUP,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }
        services = [
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {
                    "name": service,
                    "namespace": app.NAMESPACE,
                    "annotations": {"zen-lead.io/enabled": "true"},
                },
                "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
            }
            for service in self.services
        ]
        self.world.apply(deployment, *services)

    def pods(self):
        return self.world.pods(app.NAMESPACE, f"app={self.name}")


class Chaos:
    def __init__(self, world, services, seed):
        self.world, self.random = world, random.Random(seed)
        self.groups = [Group(world, number, services // GROUPS) for number in range(GROUPS)]
        self.done = collections.Counter()
        self.memory = []  # (seconds since the start, bytes), of the active replica
        self.begun = 0.0

    # ------------------------------------------------------------ what happens

    def any_pod(self):
        pods = [pod for group in self.groups for pod in group.pods() if is_ready(pod) and not terminating(pod)]
        return self.random.choice(pods) if pods else None

    def tell(self, path):
        pod = self.any_pod()
        if pod:
            http(f"http://{pod['status']['podIP']}:8080{path}", timeout=3)

    def probe_fails(self):
        pod = self.any_pod()
        if pod:
            address = f"http://{pod['status']['podIP']}:8080"
            http(address + "/fail", timeout=3)
            time.sleep(self.random.uniform(1, 6))
            http(address + "/recover", timeout=3)

    def process_exits(self):
        self.tell("/exit?code=1")

    def pod_deleted(self):
        pod = self.any_pod()
        if pod:
            force = self.random.random() < 0.3
            options = ["--grace-period=0", "--force"] if force else []
            self.world.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false", *options)

    def rollout(self):
        self.world.kubectl("rollout", "restart", "deployment", self.random.choice(self.groups).name)

    def node_drained(self):
        node = self.random.choice(self.world.cluster.nodes).name
        drain_node(self.world, node)
        time.sleep(self.random.uniform(0, 5))
        self.world.kubectl("uncordon", node)

    def power_cut(self):
        number = self.random.choice(self.world.cluster.nodes).number
        self.world.cluster.stop_node(number)
        time.sleep(self.random.choice([5, 60]))
        self.world.cluster.start_node(number)

    def api_server_restarted(self):
        self.world.cluster.control_plane("kill-apiserver")
        time.sleep(self.random.uniform(0, 20))
        self.world.cluster.control_plane("start-apiserver")

    def active_killed(self):
        self.world.kill_container(self.world.active())

    def standby_killed(self):
        self.world.kill_container(self.world.standby())

    def kubelet_killed(self):
        self.world.kill_service(self.random.choice(self.world.cluster.nodes).number, "kubelet")

    WEIGHTS = {
        "probe_fails": 20,
        "process_exits": 10,
        "pod_deleted": 20,
        "rollout": 5,
        "node_drained": 3,
        "power_cut": 2,
        "api_server_restarted": 2,
        "active_killed": 1,
        "standby_killed": 1,
        "kubelet_killed": 3,
    }

    # ------------------------------------------------------------ how it goes

    def run(self, minutes):
        for group in self.groups:
            group.create()
        self.all_routed("in the beginning")
        self.begun = time.monotonic()
        while time.monotonic() - self.begun < minutes * 60:
            (what,) = self.random.choices(list(self.WEIGHTS), list(self.WEIGHTS.values()))
            try:
                getattr(self, what)()
                self.done[what] += 1
            except (Wrong, OSError):
                self.done[what + " (not possible at that moment)"] += 1
            self.measure()
            time.sleep(self.random.uniform(0.5, 4))
        self.world.settled()
        self.all_routed("in the end")

    def all_routed(self, when):
        """Every Service routes to exactly one pod, which is Ready and one of its own."""
        until(f"every Service has one eligible endpoint {when}: {self.unrouted()}", lambda: not self.unrouted(), 300, 1)

    def unrouted(self):
        ready = {
            g.name: {p["metadata"]["uid"] for p in g.pods() if is_ready(p) and not terminating(p)} for g in self.groups
        }
        selector = urllib.parse.quote("endpointslice.kubernetes.io/managed-by=zen-lead", safe="")
        found = collections.defaultdict(list)
        path = f"/apis/discovery.k8s.io/v1/namespaces/{app.NAMESPACE}/endpointslices?labelSelector={selector}"
        for slice in self.world.items(path):
            source = slice["metadata"]["labels"]["zen-lead.io/source-service"]
            found[source] += [endpoint["targetRef"]["uid"] for endpoint in slice["endpoints"] or []]
        return {
            service: found[service]
            for group in self.groups
            for service in group.services
            if len(found[service]) != 1 or found[service][0] not in ready[group.name]
        }

    def measure(self):
        try:
            metrics = http(f"http://{self.world.active()['status']['podIP']}:{METRICS_PORT}/metrics", timeout=3)
        except (OSError, Wrong, KeyError):
            return
        resident = re.search(r"^process_resident_memory_bytes (\S+)", metrics, re.M)
        self.memory.append((time.monotonic() - self.begun, float(resident.group(1))))

    # ------------------------------------------------------------ what came of it

    def report(self):
        return {
            "services": sum(len(group.services) for group in self.groups),
            "minutes": round((time.monotonic() - self.begun) / 60, 1),
            "done": dict(self.done),
            "resident_bytes": {"first_quarter": self.quarter(0), "last_quarter": self.quarter(3)},
            "events": dict(self.events()),
            "log": dict(self.complaints()),
            "restarts": self.world.restarts(),
        }

    def quarter(self, number):
        values = [value for at, value in self.memory if int(4 * at / self.memory[-1][0] * 0.999) == number]
        return round(sum(values) / len(values)) if values else None

    def outgrown(self, report):
        """What is wrong with the memory, None if nothing is."""
        first, last = report["resident_bytes"]["first_quarter"], report["resident_bytes"]["last_quarter"]
        if first and last and last > first * (1 + GROWTH_MAX):
            return f"resident memory: first quarter {first}, last quarter {last}, expected growth of at most 10 %"
        return None

    def events(self):
        """How often each reason was told, with the repeats that an Event counts."""
        found = collections.Counter()
        for event in self.world.items(f"/apis/events.k8s.io/v1/namespaces/{app.NAMESPACE}/events"):
            if event.get("reportingController") == "zen-lead-controller":
                found[event["reason"]] += (event.get("series") or {}).get("count", 1)
        return found

    def complaints(self):
        """What zen-lead's present pods logged above INFO, by message."""
        found = collections.Counter()
        for pod in self.world.controllers():
            text = self.world.kubectl("logs", "--namespace=zen-lead", pod["metadata"]["name"])
            for line in text.splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if entry.get("level") in ("WARN", "ERROR"):
                    found[f"{entry['level']} {entry.get('message') or entry.get('fields', {}).get('message')}"] += 1
        return found
