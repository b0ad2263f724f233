"""Prometheus, whose service discovery lists the endpoints of slices as targets."""

import builds
from common import free_ports
from consumer import LEADER, Consumer, consumer, fetch, fetched
from world import leader_of

META = "__meta_kubernetes_"


@consumer
class Prometheus(Consumer):
    name = "Prometheus"
    note = "targets of its service discovery, role `endpointslice`, in a program of its own"
    build = "12 min, on a busy machine"
    expected = {kind: [LEADER] * 3 + [["my-app-0, not ready"]] + [[]] * 2 for kind in ("ClusterIP", "Headless")}
    # A Headless slice says ready of its last resort, since DNS knows no other word.
    expected["Headless"][3] = LEADER

    def version(self):
        """Its release; as a Go module, release 3.16.0 is version 0.316.0."""
        _, release, patch = builds.version("prometheus").split(".")
        return f"{int(release) // 100}.{int(release) % 100}.{patch}"

    def start(self, world):
        address = f"127.0.0.1:{free_ports(1)[0]}"
        self.url = f"http://{address}/"
        world.spawn("prometheus", [builds.program("prometheus"), world.kubeconfig, address])
        world.until("Prometheus has found a target", lambda: fetch(self.url))

    def ask(self, world, source):
        found = []
        for labels in fetched(self.url):
            if labels.get(META + "service_name") == leader_of(source):
                ready = labels.get(META + "endpointslice_endpoint_conditions_ready") == "true"
                found.append(labels[META + "pod_name"] + ("" if ready else ", not ready"))
        return found
