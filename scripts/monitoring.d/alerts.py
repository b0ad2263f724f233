"""The alerts: syntax, unit tests, and that each leads somewhere."""

import json
import os
import re
import shutil
import tempfile

from kube import ROOT, ensure, objects, run
from tools import tool

MONITORING = os.path.join(ROOT, "manifests", "monitoring")
TESTS = os.path.join(ROOT, "tests", "manifests", "alerts.yaml")
GUIDE = "docs/TROUBLESHOOTING.md"


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def manifest(name):
    [item] = objects(read(MONITORING, name))
    return item


def rules():
    """The rule file within the PrometheusRule; JSON is YAML."""
    return manifest("prometheusrule.yaml")["spec"]


def alerts():
    return [rule for group in rules()["groups"] for rule in group["rules"]]


def check():
    with tempfile.TemporaryDirectory() as directory:
        with open(os.path.join(directory, "rules.yaml"), "w", encoding="utf-8") as file:
            json.dump(rules(), file)
        shutil.copy(TESTS, directory)
        for command in (
            ["check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"],
            ["test", "rules", "alerts.yaml"],
        ):
            run(tool("promtool"), *command, cwd=directory)
    all_lead_somewhere()
    all_are_tested()
    scraped_once()
    print(f"monitoring: {len(alerts())} alerts, each tested to fire and to be silent, each with a runbook")


def anchors():
    """As a page of Markdown names its headings."""
    headings = re.findall(r"^#+ (.+)$", read(ROOT, GUIDE), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def all_lead_somewhere():
    known, guide, names = anchors(), read(ROOT, GUIDE), set()
    for alert in alerts():
        name, notes = alert["alert"], alert["annotations"]
        ensure(name not in names, f"two alerts are called {name}")
        names.add(name)
        ensure(alert["labels"].get("severity") in ("critical", "warning"), f"{name}: its severity is {alert['labels']}")
        ensure(notes.get("summary") and notes.get("description"), f"{name} does not say what it means")
        file, _, anchor = notes["runbook_url"].partition("#")
        ensure(file == GUIDE, f"{name}: runbook_url is {notes['runbook_url']}")
        ensure(anchor in known, f"{name}: {GUIDE} has no section #{anchor}")
        ensure(f"`{name}`" in guide, f"{GUIDE} does not mention {name}")
    unknown = set(re.findall(r"`(ZenLead\w+)`", guide)) - names
    ensure(not unknown, f"{GUIDE} explains alerts that do not exist: {unknown}")


def all_are_tested():
    text = read(TESTS)
    silent = set(re.findall(r"alertname: (\w+), exp_alerts: \[\]", text))
    firing = set(re.findall(r"alertname: (\w+)\n +exp_alerts:\n +- ", text))
    names = {alert["alert"] for alert in alerts()}
    ensure(names == firing, f"not tested to fire: {names - firing}; unknown: {firing - names}")
    ensure(names == silent, f"not tested to be silent: {names - silent}; unknown: {silent - names}")


def scraped_once():
    """Both monitors find the port, and leave the labels that name the Service."""
    [service] = objects(read(ROOT, "manifests/base/metrics-service.yaml"))
    [deployment] = objects(read(ROOT, "manifests/base/deployment.yaml"))
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    for file, key, labels, ports in (
        ("servicemonitor.yaml", "endpoints", service["metadata"]["labels"], service["spec"]["ports"]),
        (
            "podmonitor.yaml",
            "podMetricsEndpoints",
            deployment["spec"]["template"]["metadata"]["labels"],
            container["ports"],
        ),
    ):
        spec = manifest(file)["spec"]
        [endpoint] = spec[key]
        ensure(endpoint["honorLabels"] is True, f"{file}: without honorLabels, `namespace` is that of the pod")
        ensure(endpoint["port"] in [port["name"] for port in ports], f"{file}: there is no port {endpoint['port']}")
        wanted = spec["selector"]["matchLabels"]
        ensure(wanted.items() <= labels.items(), f"{file} selects {wanted}, not {labels}")
    files = re.findall(r"^- (\S+)$", read(MONITORING, "kustomization.yaml"), re.M)
    ensure("podmonitor.yaml" not in files, "both monitors at once would scrape everything twice")
