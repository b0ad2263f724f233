"""The manifests on a real control plane."""

import copy
import json
import os
import time

from checks import RENDERED, kustomized, of_kind, path
from kube import ACCOUNT, ROOT, Cluster, Controller, ensure, objects, until

APP = os.path.join(ROOT, "docs/examples/my-app.yaml")
ADDRESSES = ["10.0.0.10", "10.0.0.11", "10.0.0.12"]


def run():
    passed = 0
    with Cluster() as cluster:
        for trial in (
            installs,
            pods_are_restricted,
            reaches_nothing_else,
            serves_its_namespaces_only,
            hands_over,
            serves_one_more_namespace,
            serves_the_cluster,
            serves_under_the_policy,
        ):
            start = time.monotonic()
            trial(cluster)
            print(f"test {trial.__name__} ... ok <{time.monotonic() - start:.1f}s>", flush=True)
            passed += 1
    print(f"manifests: {passed} passed, 0 failed")


def installs(cluster):
    """Every way to install applies strictly, and twice is the same as once."""
    for file, directory in reversed(RENDERED.items()):
        first = cluster.apply("-f", path(file))
        ensure(len(first) == len(objects(kustomized(directory))), f"{file}: {first}")
        before = versions(cluster, file)
        cluster.apply("-k", path(directory))
        ensure(before == versions(cluster, file), f"{directory} by -k changes what {file} by -f has made")
    # The default is there last; of the other one only this is left.
    cluster.kubectl("delete", "clusterrole,clusterrolebinding", "zen-lead")
    leftover = "deployment/zen-lead has the namespaces of the default"
    ensure("ZEN_LEAD_NAMESPACES" in json.dumps(deployed(cluster)), leftover)


def versions(cluster, file):
    return [item["metadata"]["resourceVersion"] for item in cluster.get("-f", path(file))["items"]]


def deployed(cluster):
    return cluster.get("deployment", "zen-lead", "-n", "zen-lead")


def deployment_of(directory):
    [deployment] = of_kind(objects(kustomized(directory)), "Deployment")
    return deployment


def pods_are_restricted(cluster):
    """The Deployment's pod passes the restricted profile, which refuses worse ones."""
    template = deployment_of("namespaced")["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", **copy.deepcopy(template)}
    pod["metadata"].update(name="zen-lead-0", namespace="zen-lead")
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(pod))
    made = cluster.get("pod", "zen-lead-0", "-n", "zen-lead")
    ensure(made["spec"]["priority"] == 1000000, f"priority is {made['spec']['priority']}")
    [container] = made["spec"]["containers"]
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    ensure(mounts == ["/var/run/secrets/kubernetes.io/serviceaccount"], f"it mounts {mounts}")
    for worse in ({"allowPrivilegeEscalation": True}, {"capabilities": {}}, {"runAsUser": 0}):
        bad = copy.deepcopy(pod)
        bad["metadata"]["name"] = "zen-lead-worse"
        bad["spec"]["containers"][0]["securityContext"].update(worse)
        refused = cluster.kubectl("create", "-f", "-", stdin=json.dumps(bad), ok=False)
        ensure('violates PodSecurity "restricted' in refused.stderr, f"{worse}: {refused.stdout}{refused.stderr}")


def reaches_nothing_else(cluster):
    """Seen from the authorizer: what it may, and above all what it may not."""
    for verb, resource, namespace, expected in (
        ("patch", "pods", "default", False),
        ("create", "pods", "default", False),
        ("delete", "pods", "default", False),
        ("watch", "pods", "default", True),
        ("patch", "endpointslices.discovery.k8s.io", "default", True),
        ("update", "services", "default", False),
        ("patch", "services --subresource=status", "default", False),
        ("get", "secrets", "default", False),
        ("get", "leases.coordination.k8s.io", "default", False),
        ("create", "leases.coordination.k8s.io", "zen-lead", True),
        ("patch", "leases.coordination.k8s.io/zen-lead-controller-leader-election", "zen-lead", True),
        ("patch", "leases.coordination.k8s.io/another", "zen-lead", False),
        ("list", "services", "zen-lead", False),
        ("list", "services", None, False),
        ("list", "pods", None, False),
        ("list", "pods", "kube-system", False),
    ):
        may = cluster.may(verb, resource, namespace)
        ensure(may == expected, f"may {verb} {resource} in {namespace or 'all namespaces'}: {may}")


def application(cluster, namespace):
    """Three pods, the first two Ready, and an opted-in Service."""
    if not cluster.get("namespace", namespace):
        cluster.kubectl("create", "namespace", namespace)
    # No controller makes ServiceAccounts here.
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace}}
    cluster.apply("-f", "-", stdin=json.dumps(account))
    cluster.kubectl("apply", "-n", namespace, "-f", APP)
    for number, address in enumerate(ADDRESSES[:2]):
        cluster.status(namespace, f"my-app-{number}", True, address)
    cluster.kubectl("annotate", "service", "my-app", "-n", namespace, "zen-lead.io/enabled=true", "--overwrite")


def fails_over(cluster, namespace):
    """The first pod leads until it turns NotReady, the second until it is deleted; then opting out."""
    until(f"my-app-0 leads in {namespace}", lambda: cluster.leader(namespace) == ADDRESSES[:1])
    cluster.status(namespace, "my-app-0", False, ADDRESSES[0])
    until(f"my-app-1 leads in {namespace}", lambda: cluster.leader(namespace) == ADDRESSES[1:2])
    cluster.status(namespace, "my-app-2", True, ADDRESSES[2])
    cluster.kubectl("delete", "pod", "my-app-1", "-n", namespace, "--grace-period=0", "--force")
    until(f"my-app-2 leads in {namespace}", lambda: cluster.leader(namespace) == ADDRESSES[2:])
    until("an event tells of it", lambda: told(cluster, namespace))
    cluster.kubectl("annotate", "service", "my-app", "-n", namespace, "zen-lead.io/enabled-")
    until("all is taken down", lambda: not cluster.get("service", "my-app-leader", "-n", namespace))
    cluster.kubectl("delete", "-n", namespace, "-f", APP, "--grace-period=0", "--force", "--ignore-not-found")


def told(cluster, namespace):
    events = cluster.get("events", "-n", namespace)["items"]
    return any(event["reason"] == "LeaderChanged" and "my-app-2" in event["message"] for event in events)


def serves_its_namespaces_only(cluster):
    """The default, with no right at the level of the cluster."""
    bindings = cluster.get("clusterrolebindings")["items"]
    bound = [
        binding["metadata"]["name"]
        for binding in bindings
        for subject in binding.get("subjects", [])
        if subject["name"] == "zen-lead"
    ]
    ensure(not bound, f"rights at the level of the cluster by {bound}")
    application(cluster, "default")
    application(cluster, "elsewhere")
    with Controller(cluster, deployed(cluster), cluster.account_config()):
        fails_over(cluster, "default")
        ensure(cluster.leader("elsewhere") is None, "it served a namespace that it was not given")


def hands_over(cluster):
    """Two replicas with the rights to one Lease: one is active, then the other."""
    account = cluster.account_config()
    with Controller(cluster, deployed(cluster), account) as first:
        until("the only replica is active", first.is_active)
        with Controller(cluster, deployed(cluster), account, name="zen-lead-1") as second:
            ensure(first.is_active() and not second.is_active(), "both are active, or the wrong one")
            lease = cluster.get("lease", "zen-lead-controller-leader-election", "-n", "zen-lead")
            ensure(lease["spec"]["holderIdentity"].startswith("zen-lead-0"), f"it is {lease['spec']}")
            first.stop()
            until("the other one is active", second.is_active)
            application(cluster, "default")
            fails_over(cluster, "default")


def serves_one_more_namespace(cluster):
    """The two documented lines that add a namespace; a replica waits for the rights."""
    application(cluster, "team-a")
    cluster.kubectl("set", "env", "-n", "zen-lead", "deployment/zen-lead", "ZEN_LEAD_NAMESPACES=default,team-a")
    with Controller(cluster, deployed(cluster), cluster.account_config(), waits=False) as controller:
        until("a refused list is logged", lambda: 'in the namespace "team-a"' in controller.printed())
        ensure(not controller.is_ready(), "it is ready without rights in team-a")
        cluster.apply("-n", "team-a", "-f", path("served/rights.yaml"))
        until("it is ready with them", controller.is_ready, 40)
        fails_over(cluster, "team-a")


def serves_the_cluster(cluster):
    """The cluster-wide overlay over the default one."""
    cluster.apply("-k", path("cluster-wide"), "--force-conflicts")
    ensure("ZEN_LEAD_NAMESPACES" not in json.dumps(deployed(cluster)), "it still has its namespaces")
    application(cluster, "team-b")
    with Controller(cluster, deployed(cluster), cluster.account_config()):
        until("what waited elsewhere is served", lambda: cluster.leader("elsewhere") == ADDRESSES[:1])
        fails_over(cluster, "team-b")


def serves_under_the_policy(cluster):
    """The component applies beside an installation, its expressions check, and work goes on."""
    cluster.apply("-k", overlay(cluster, "policy"))
    cluster.control("start-controller-manager", "--controllers", "validatingadmissionpolicy-status-controller")
    for name in ("zen-lead-services", "zen-lead-endpointslices"):
        status = until(f"{name} was checked", lambda name=name: checked(cluster, name))
        ensure(not status.get("typeChecking"), f"{name}: {status}")
    until("a stranger's Service is refused", lambda: "owned by its source" in stranger(cluster).stderr)
    application(cluster, "team-c")
    with Controller(cluster, deployed(cluster), cluster.account_config()):
        fails_over(cluster, "team-c")


def overlay(cluster, component):
    """A kustomization as a user has it: the cluster-wide installation with one more component."""
    directory = os.path.join(cluster.dir, f"overlay-{component}")
    os.mkdir(directory)
    parts = {"resources": "cluster-wide", "components": component}
    listed = {key: [os.path.relpath(path(part), directory)] for key, part in parts.items()}
    with open(os.path.join(directory, "kustomization.yaml"), "w", encoding="utf-8") as file:
        json.dump({"kind": "Kustomization", **listed}, file)
    return directory


def checked(cluster, name):
    """The status of a policy, once it is about what was applied."""
    status = cluster.get("validatingadmissionpolicy", name).get("status", {})
    return status if status.get("observedGeneration") else None


def stranger(cluster):
    """An attempt, as zen-lead, to make a Service that is not its own."""
    service = ("create", "service", "clusterip", "stranger", "--tcp=80", "-n", "default")
    return cluster.kubectl(*service, "--dry-run=server", f"--as={ACCOUNT}", ok=False)
