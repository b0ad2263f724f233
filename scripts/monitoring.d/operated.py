"""The objects for the Prometheus operator, held against its own definitions."""

import json
import os
import shutil

from alerts import manifest
from kube import ensure, run, until
from trial import overlay, path

# Its release as a Go module holds the definitions; no code of it is built.
MODULE = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
KINDS = ("servicemonitors", "podmonitors", "prometheusrules")


def trial(cluster):
    """Strict validation, by the API server, of what the components hold."""
    ensure(shutil.which("go"), "go is needed to fetch the operator's definitions")
    fetched = run("go", "mod", "download", "-json", MODULE, cwd=cluster.dir, env=dict(os.environ, GOWORK="off"))
    definitions = os.path.join(json.loads(fetched.stdout)["Dir"], "example", "prometheus-operator-crd")
    for kind in KINDS:
        cluster.apply("-f", os.path.join(definitions, f"monitoring.coreos.com_{kind}.yaml"))
        until(f"{kind} are served", lambda kind=kind: cluster.get(f"{kind}.monitoring.coreos.com", "-A"))
    applied = cluster.apply("-k", overlay(cluster, "monitoring"), "--force-conflicts")
    for kind in ("servicemonitor", "prometheusrule"):
        ensure(any(line.startswith(kind) for line in applied), f"no {kind} in {applied}")
    cluster.apply("-f", path("monitoring/podmonitor.yaml"))
    misspelt = manifest("servicemonitor.yaml")
    misspelt["spec"]["endpoints"][0]["honourLabels"] = True
    command = ("apply", "--server-side", "--validate=strict", "-f", "-")
    refused = cluster.kubectl(*command, stdin=json.dumps(misspelt), ok=False)
    ensure("honourLabels" in refused.stderr, f"a misspelt field passes: {refused.stdout}{refused.stderr}")
    print(f"test strict_by_the_operators_definitions ... ok, {len(KINDS)} kinds")
