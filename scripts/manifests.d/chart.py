"""The Helm chart: what it renders is what manifests/ says."""

import json
import os
import shutil
import tempfile
import time

from checks import of_kind, path
from kube import Cluster, Controller, ensure, objects, run
from trial import application, deployed, fails_over

HELM = "v3.22.0"
CHART = path("helm")
EVERYTHING = "admissionPolicy.enabled=true,monitoring.serviceMonitor=true,monitoring.prometheusRule=true"
# Each value of a flag, one that is not the default, and the argument that it becomes.
FLAGS = {
    "fastRetryInitialDelayMs": (30, "--fast-retry-initial-delay-ms=30"),
    "fastRetryMaxDelayMs": (600, "--fast-retry-max-delay-ms=600"),
    "fastRetryMaxAttempts": (3, "--fast-retry-max-attempts=3"),
    "maxCacheSizePerNamespace": (0, "--max-cache-size-per-namespace=0"),
    "maxConcurrentReconciles": (8, "--max-concurrent-reconciles=8"),
    "qps": (50, "--qps=50"),
    "burst": (100, "--burst=100"),
    "enableLeaderPodCache": (False, "--enable-leader-pod-cache=false"),
    "leaderPodCacheTTLSeconds": (60, "--leader-pod-cache-ttl-seconds=60"),
    "enableParallelAPICalls": (False, "--enable-parallel-api-calls=false"),
    "extraArgs": (["--log-level=debug"], "--log-level=debug"),
}


def helm():
    """The path of helm: on PATH, or built once from its Go module."""
    found = shutil.which("helm")
    if found:
        return found
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    built = os.path.join(root, "zen-lead", "tools", f"helm-{HELM}")
    if not os.access(built, os.X_OK):
        os.makedirs(os.path.dirname(built), exist_ok=True)
        print(f"once only: building helm {HELM} (some minutes)", flush=True)
        with tempfile.TemporaryDirectory(dir=os.path.dirname(built)) as directory:
            env = dict(os.environ, CGO_ENABLED="0", GOWORK="off", GOFLAGS="", GOBIN=directory)
            module = f"helm.sh/helm/v3/cmd/helm@{HELM}"
            run("go", "install", "-trimpath", "-ldflags=-s -w", module, env=env, timeout=1800)
            os.replace(os.path.join(directory, "helm"), built)
    return built


def template(*options, namespace="zen-lead"):
    # Every API, so that nothing is left out for want of one.
    done = run(helm(), "template", "zen-lead", CHART, "--namespace", namespace, "--kube-version=1.31", *options)
    return objects(done.stdout)


def keyed(found):
    def key(item):
        return item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]

    return {key(item): item for item in found if item["kind"] != "Namespace"}


def same(rendered, expected, what):
    one, other = keyed(rendered), keyed(expected)
    ensure(one.keys() == other.keys(), f"{what}: {sorted(map(str, one.keys() ^ other.keys()))} on one side only")
    for key, item in one.items():
        ensure(item == other[key], f"{what}: {key} is\n{json.dumps(item)}\nand should be\n{json.dumps(other[key])}")


def source(*files):
    texts = []
    for file in files:
        with open(path(file), encoding="utf-8") as text:
            texts.append(text.read())
    return objects("\n---\n".join(texts))


def check():
    run(helm(), "lint", "--strict", CHART)
    same(template(), source("install.yaml"), "the default")
    same(template("--set", "controller.namespaces=null"), source("install-cluster-wide.yaml"), "all namespaces")
    optional = ("policy/policy.yaml", "monitoring/servicemonitor.yaml", "monitoring/prometheusrule.yaml")
    same(template("--set", EVERYTHING), source("install.yaml", *optional), "everything")
    follows_leases()
    every_value_arrives()
    monitoring_values_arrive()
    elsewhere()
    refused()
    print(f"helm: the chart renders what manifests/ says, {len(FLAGS)} values of flags")


def follows_leases():
    """The right to follow Leases stands where the manifests would be applied, and the flag tells of it."""

    def rights(*namespaces):
        granted = [item for _ in namespaces for item in source("optional/follow.yaml")]
        for number, item in enumerate(granted):
            item["metadata"]["namespace"] = namespaces[number // 2]
        return granted

    enabled = ("--set", "followLeases.enabled=true")
    same(template(*enabled), source("install.yaml") + rights("default"), "followed Leases")
    everywhere = source("install-cluster-wide.yaml", "optional/follow-cluster-wide.yaml")
    same(template(*enabled, "--set", "controller.namespaces=null"), everywhere, "followed Leases of the cluster")
    found = template(*enabled, "--set", "followLeases.namespaces={platform,default}")
    args = container_of(found)["args"]
    ensure(args[-1] == "--follow-lease-namespaces=platform,default", f"it renders {args}")
    where = sorted(item["metadata"]["namespace"] for item in of_kind(found, "Role") if "follow" in item["metadata"]["name"])
    ensure(where == ["default", "platform"], f"rights in {where}")


def container_of(found):
    [deployment] = of_kind(found, "Deployment")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    return container


def every_value_arrives():
    usual = container_of(template())["args"]
    for name, (value, argument) in FLAGS.items():
        rendered = container_of(template("--set-json", f"controller.{name}={json.dumps(value)}"))["args"]
        ensure(rendered == [*usual, argument], f"controller.{name}={value} renders {rendered}")
    values = {
        "image": {"repository": "registry.example.com/zen-lead", "tag": "1"},
        "replicas": 3,
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"operator": "Exists"}],
        "podAnnotations": {"note": "x"},
        "imagePullSecrets": [{"name": "registry"}],
        "resources": {"requests": {"cpu": "1"}},
        "affinity": {"nodeAffinity": {}},
    }
    options = [part for key, value in values.items() for part in ("--set-json", f"{key}={json.dumps(value)}")]
    found = template(*options)
    [deployment] = of_kind(found, "Deployment")
    pod = deployment["spec"]["template"]
    container = container_of(found)
    ensure(deployment["spec"]["replicas"] == 3 and not of_kind(found, "PriorityClass"), "replicas or priority")
    ensure(container["image"] == "registry.example.com/zen-lead:1", container["image"])
    ensure(container["resources"] == values["resources"], container["resources"])
    ensure(pod["metadata"]["annotations"]["note"] == "x", pod["metadata"])
    for key in ("priorityClassName", "nodeSelector", "tolerations", "imagePullSecrets", "affinity"):
        ensure(pod["spec"][key] == values[key], f"{key} is {pod['spec'][key]}")


def monitoring_values_arrive():
    base, label = "https://example.com/zen-lead/", {"release": "prometheus"}
    options = ("--set", f"{EVERYTHING},networkPolicy.enabled=false,monitoring.runbookBase={base}")
    found = template(*options, "--set-json", f"monitoring.labels={json.dumps(label)}")
    ensure(not of_kind(found, "NetworkPolicy"), "the network policy is there")
    for item in of_kind(found, "ServiceMonitor", "PrometheusRule"):
        ensure(label.items() <= item["metadata"]["labels"].items(), f"{item['kind']} lacks {label}")
    [rule] = of_kind(found, "PrometheusRule")
    links = [alert["annotations"]["runbook_url"] for group in rule["spec"]["groups"] for alert in group["rules"]]
    ensure(all(link.startswith(f"{base}docs/TROUBLESHOOTING.md#") for link in links), f"links are {links}")


def elsewhere():
    """Another namespace for the release: nothing points to the usual one any more."""
    options = ("--set", EVERYTHING, "--set", "controller.namespaces={team-a,team-b}")
    found = template(*options, namespace="infra")
    roles = sorted(item["metadata"]["namespace"] for item in of_kind(found, "Role"))
    ensure(roles == ["infra", "team-a", "team-b"], f"Roles in {roles}")
    for item in found:
        ensure(item["metadata"].get("namespace") != "zen-lead", f"{item['kind']} {item['metadata']['name']}")
    for binding in of_kind(found, "RoleBinding"):
        ensure(binding["subjects"][0]["namespace"] == "infra", f"rights for {binding['subjects']}")
    for policy in of_kind(found, "ValidatingAdmissionPolicy"):
        [condition] = policy["spec"]["matchConditions"]
        ensure("system:serviceaccount:infra:zen-lead" in condition["expression"], condition["expression"])
    [monitor] = of_kind(found, "ServiceMonitor")
    ensure(monitor["spec"]["namespaceSelector"] == {"matchNames": ["infra"]}, monitor["spec"])
    namespaces = [item["value"] for item in container_of(found)["env"] if item["name"] == "ZEN_LEAD_NAMESPACES"]
    ensure(namespaces == ["team-a,team-b"], f"the program is told {namespaces}")


def refused():
    for options, words in (
        (("--set", "controller.fastRetryMaxAttempt=3"), "fastRetryMaxAttempt"),
        (("--set", "controller.namespaces={Team_A}"), "namespaces"),
        (("--set", "monitoring.serviceMonitor=true,monitoring.podMonitor=true"), "scraped twice"),
    ):
        done = run(helm(), "template", CHART, "--kube-version=1.31", *options, ok=False)
        ensure(done.returncode and words in done.stderr, f"{options}: {done.stderr or 'rendered'}")


def test():
    """A release on a real control plane, served with all values of flags changed, and taken away."""
    start = time.monotonic()
    with Cluster() as cluster:
        values = [
            part
            for name, (value, _) in FLAGS.items()
            for part in ("--set-json", f"controller.{name}={json.dumps(value)}")
        ]
        options = ["--namespace", "zen-lead", "--create-namespace", "--set", "admissionPolicy.enabled=true", *values]
        run(helm(), "install", "zen-lead", CHART, *options, env=cluster.env)
        application(cluster, "default")
        with Controller(cluster, deployed(cluster), cluster.account_config()):
            fails_over(cluster, "default")
        run(helm(), "uninstall", "zen-lead", "--namespace", "zen-lead", env=cluster.env)
        for kind in ("deployment,service,role,rolebinding", "priorityclass,validatingadmissionpolicy"):
            left = [
                item["metadata"]["name"]
                for item in cluster.get(kind, "-A", "-l", "app.kubernetes.io/name=zen-lead")["items"]
            ]
            ensure(not left, f"the release leaves {left}")
    print(f"test a_release_serves ... ok <{time.monotonic() - start:.1f}s>")
