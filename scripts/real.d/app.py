"""An application: a Deployment or a StatefulSet, its Service, and what zen-lead makes of it."""

import urllib.parse

from world import Wrong, http, is_ready, terminating, until

NAMESPACE = "default"


class App:
    """Created by World.app(); removed at the end of the scenario."""

    def __init__(self, world, name, namespace=NAMESPACE):
        self.world, self.name, self.namespace = world, name, namespace
        self.addresses = {}  # of its pods, for times without an API server

    # ------------------------------------------------------------ what it is

    def create(self, kind, replicas, spec, annotations, budget):
        labels = {"app": self.name}
        objects = [
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": self.name, "namespace": self.namespace, "annotations": annotations},
                "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
            },
            {
                "apiVersion": "apps/v1",
                "kind": kind,
                "metadata": {"name": self.name, "namespace": self.namespace},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": spec},
                    **({"serviceName": self.name} if kind == "StatefulSet" else {}),
                },
            },
        ]
        if budget:
            objects.append(
                {
                    "apiVersion": "policy/v1",
                    "kind": "PodDisruptionBudget",
                    "metadata": {"name": self.name, "namespace": self.namespace},
                    "spec": {"minAvailable": 1, "selector": {"matchLabels": labels}},
                }
            )
        self.world.apply(*objects)

    def remove(self):
        kinds = "service,deployment,statefulset,poddisruptionbudget"
        self.world.kubectl(
            "delete", kinds, self.name, "--namespace", self.namespace, "--ignore-not-found", "--wait=false"
        )
        self.world.kubectl(
            "delete",
            "pod",
            f"--selector=app={self.name}",
            "--namespace",
            self.namespace,
            "--wait=false",
            "--grace-period=1",
        )

    # ------------------------------------------------------------ what is so

    def pods(self):
        pods = self.world.pods(self.namespace, f"app={self.name}")
        self.addresses.update({pod["metadata"]["name"]: pod["status"].get("podIP") for pod in pods})
        return pods

    def ready(self):
        return [pod for pod in self.pods() if is_ready(pod) and not terminating(pod)]

    def service(self):
        return self.world.get(f"/api/v1/namespaces/{self.namespace}/services/{self.name}-leader")

    def endpoints(self):
        selector = urllib.parse.quote(f"kubernetes.io/service-name={self.name}-leader", safe="")
        path = f"/apis/discovery.k8s.io/v1/namespaces/{self.namespace}/endpointslices?labelSelector={selector}"
        return [endpoint for each in self.world.items(path) for endpoint in each["endpoints"] or []]

    def leader(self):
        """The name of the only pod that is published, None while there is none."""
        found = self.endpoints()
        if len(found) > 1:
            raise Wrong(f"{self.name}: {len(found)} endpoints, expected at most one: {found}")
        return found[0]["targetRef"]["name"] if found else None

    def leads(self):
        self.pods()
        return until(f"{self.name} has a leader", self.leader)

    def moved_from(self, old, patience=120):
        return until(
            f"{self.name} is led by another pod than {old}",
            lambda: self.leader() not in (None, old) and self.leader(),
            patience,
        )

    def complete(self, count):
        until(f"{self.name} has {count} Ready pods", lambda: len(self.ready()) == count and len(self.pods()) == count)

    # ------------------------------------------------------------ how it is reached

    def address(self):
        return self.service()["spec"]["clusterIP"] + ":80"

    def dns(self, port=80):
        return f"{self.name}-leader.{self.namespace}.svc.cluster.local.:{port}"

    def call(self, pod, path):
        """Tells a pod what to do, past every Service."""
        return http(f"http://{self.addresses[pod]}:8080{path}")

    def delete(self, pod, *options):
        self.world.kubectl("delete", "pod", pod, "--namespace", self.namespace, "--wait=false", *options)

    def annotate(self, *settings):
        self.world.kubectl("annotate", "service", self.name, "--namespace", self.namespace, "--overwrite", *settings)


def pod_spec(world, on_term="drain", drain="3s", pre_stop=None, memory="64Mi", scratch=False):
    """A pod of the app, kept off the client's node where there are others."""
    container = {
        "name": "app",
        "image": "zen-lead-app:1",
        "args": ["serve", "-on-term", on_term, "-drain", drain],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {
            "httpGet": {"path": "/healthz", "port": 8080},
            "periodSeconds": 1,
            "failureThreshold": 2,
            "timeoutSeconds": 1,
        },
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": memory}},
    }
    spec = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 20,
        "containers": [container],
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {}},
            }
        ],
    }
    if pre_stop:
        container["lifecycle"] = {"preStop": {"sleep": {"seconds": pre_stop}}}
    if scratch:
        container["volumeMounts"] = [{"name": "scratch", "mountPath": "/scratch"}]
        spec["volumes"] = [{"name": "scratch", "emptyDir": {"sizeLimit": "1Mi"}}]
    nodes = world.cluster.nodes
    if len(nodes) > 1:
        away = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": [nodes[-1].name]}
        terms = {"nodeSelectorTerms": [{"matchExpressions": [away]}]}
        spec["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    return spec


def make(
    world, kind="Deployment", replicas=2, namespace=NAMESPACE, annotations=None, budget=False, opted_in=True, **pod
):
    """An app of its own for the scenario, complete and with a leader."""
    world.count += 1
    app = App(world, f"app-{world.count}", namespace)
    world.apps.append(app)
    spec = pod_spec(world, **pod)
    spec["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"] = {"app": app.name}
    enabled = {"zen-lead.io/enabled": "true"} if opted_in else {}
    app.create(kind, replicas, spec, {**enabled, **(annotations or {})}, budget)
    app.complete(replicas)
    if opted_in:
        app.leads()
    return app
