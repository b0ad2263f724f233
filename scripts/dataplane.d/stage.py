"""Two namespaces with the same applications: zen-lead serves one, the bare PATCH loop the other."""

import threading
import time
from collections import namedtuple

from api import Api, Slices
from world import PORT, World

OURS, FLOOR = "ours", "floor"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices"
SERVICES = "/api/v1/namespaces/{}/services"
PODS = "/api/v1/namespaces/{}/pods"
# Of a pod's environment: with it a pod takes 10 kB, as in real clusters.
FILLER = [{"name": f"VARIABLE_{number}", "value": "x" * 160} for number in range(40)]
# Another Service changes so often, in seconds, when kube-proxy is to be busy.
BUSY = 0.3
BATCH = "--endpointslice-updates-batch-period="

# The source Service by what kube-proxy makes of it.
SOURCES = {
    "by-ip": {},
    "headless": {"spec": {"clusterIP": "None"}},
    "labelled": {"labels": {"service.kubernetes.io/service-proxy-name": "none"}},
}
PER_APP = 2
# The native controller leaves out pods of a node that does not exist.
NODE = "node-a"


class App(namedtuple("App", "namespace name number")):
    """An application of two pods."""

    def pod(self, number):
        return f"{self.name}-{number}"

    def address(self, number):
        second = 20 if self.namespace == OURS else 21
        return f"10.{second}.{self.number}.{10 + number}"

    @property
    def leader(self):
        return self.name + "-leader"


class Stage(World):
    prefix = "zen-lead-dataplane-"

    def __init__(self, binary, floor):
        super().__init__(binary)
        self.floor = floor
        self.apps = {
            (namespace, name): App(namespace, name, number)
            for namespace in (OURS, FLOOR)
            for number, name in enumerate(SOURCES)
        }

    # ------------------------------------------------------------ what there is

    def populate(self):
        self.api = Api(self.plane)
        for namespace in (OURS, FLOOR):
            self.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        self.api.call("POST", "/api/v1/nodes", {"metadata": {"name": NODE}})
        for app in self.apps.values():
            self.create_app(app)
        self.start_controller(f"--namespaces={OURS}", f"--leader-election-namespace={OURS}", "--log-level=warn")
        self.began = time.monotonic()
        self.spawn("floor", [self.floor, "floor", self.kubeconfig])
        for app in self.apps.values():
            self.until(f"{app.leader} in {app.namespace} has an endpoint", lambda app=app: self.has_leader(app))
        self.create_neighbour()
        self.slices = Slices(self.plane)

    def create_app(self, app):
        for number in range(PER_APP):
            self.create_pod(app, number)
        more = SOURCES[app.name]
        annotations = {"zen-lead.io/enabled": "true"} if app.namespace == OURS else {}
        meta = {"name": app.name, "annotations": annotations, "labels": more.get("labels", {})}
        self.create_service(app.namespace, meta, {"selector": {"app": app.name}, **more.get("spec", {})})
        if app.namespace == FLOOR:
            self.create_service(FLOOR, {"name": app.leader}, {})
            self.create_slice(FLOOR, app.leader, f"10.99.255.{app.number + 1}")

    def create_service(self, namespace, meta, spec):
        ports = [{"name": "http", "port": 80, "targetPort": PORT}]
        body = {"metadata": meta, "spec": {"ports": ports, **spec}}
        self.api.call("POST", SERVICES.format(namespace), body)

    def create_slice(self, namespace, service, address):
        body = {
            "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": PORT}],
            "endpoints": [{"addresses": [address]}],
        }
        self.api.call("POST", SLICES.format(namespace), body)
        # As in a slice of zen-lead's.
        fields = {"metadata": {"managedFields": [{}]}}
        self.api.call("PATCH", f"{SLICES.format(namespace)}/{service}", fields)

    def create_pod(self, app, number):
        container = {"name": "main", "image": "example.com/app:1", "env": FILLER}
        meta = {"name": app.pod(number), "labels": {"app": app.name}}
        body = {"metadata": meta, "spec": {"nodeName": NODE, "containers": [container]}}
        self.api.call("POST", PODS.format(app.namespace), body)
        self.turn(app, number, True)

    def create_neighbour(self):
        self.create_service("default", {"name": "neighbour"}, {})
        self.create_slice("default", "neighbour", "10.98.0.1")

    # ------------------------------------------------------------ what happens

    def turn(self, app, number, ready):
        """What a kubelet would say of a pod."""
        address = app.address(number)
        condition = {"type": "Ready", "status": "True" if ready else "False"}
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [condition]}
        self.api.call("PATCH", f"{PODS.format(app.namespace)}/{app.pod(number)}/status", {"status": status})

    def delete(self, app, number):
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
        self.api.call("DELETE", f"{PODS.format(app.namespace)}/{app.pod(number)}", options)

    def evict(self, app, number):
        meta = {"name": app.pod(number), "namespace": app.namespace}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta}
        self.api.call("POST", f"{PODS.format(app.namespace)}/{app.pod(number)}/eviction", body)

    def batch(self, period):
        """Restarts the native controller with a batch period."""
        self.control("stop-controller-manager")
        self.control("start-controller-manager", f"--controller-manager-arg={BATCH}{period}")

    # ------------------------------------------------------------ what is so

    def published(self, app):
        """The endpoints of the leader Service's slice."""
        return self.api.call("GET", f"{SLICES.format(app.namespace)}/{app.leader}")["endpoints"] or []

    def has_leader(self, app):
        path = f"{SLICES.format(app.namespace)}?labelSelector=kubernetes.io/service-name={app.leader}"
        return any(one["endpoints"] for one in self.api.call("GET", path)["items"])

    def native_shows(self, app, number, ready):
        """Waits until the source's slice says so of a pod."""
        path = f"{SLICES.format(app.namespace)}?labelSelector=kubernetes.io/service-name={app.name}"

        def shows():
            endpoints = [each for one in self.api.call("GET", path)["items"] for each in one["endpoints"] or []]
            pods = [each["targetRef"]["name"] for each in endpoints if each["conditions"]["ready"]]
            return (app.pod(number) in pods) == ready

        self.until(f"the native slice of {app.name} shows {app.pod(number)}", shows)

    def versions(self, since, app):
        """Those of the leader Service's slice, and of the source's, that were written since then."""
        return [self.slices.versions(since, app.namespace, service) for service in (app.leader, app.name)]

    def cluster_ip_of(self, app):
        return self.api.call("GET", f"{SERVICES.format(app.namespace)}/{app.leader}")["spec"]["clusterIP"]


class Neighbour:
    """Changes another Service's slice again and again while it is open."""

    def __init__(self, stage):
        self.api = Api(stage.plane)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def run(self):
        number = 1
        while not self.over.wait(BUSY):
            number = number % 200 + 1
            body = {"endpoints": [{"addresses": [f"10.98.0.{number}"]}]}
            self.api.call("PATCH", SLICES.format("default") + "/neighbour", body)
