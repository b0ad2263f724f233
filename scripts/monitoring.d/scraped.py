"""A real Prometheus scrapes a running zen-lead."""

import contextlib
import json
import os
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import operated
from alerts import MONITORING, alerts, read, rules
from kube import Cluster, Controller, ensure, free_ports, until
from tools import tool
from trial import ADDRESSES, application, deployed, path

# Scrapes each second; a rate needs a few of them.
VARIABLES = {"$__rate_interval": "10s", "$namespace": ".*", "$service": ".*"}
# What the Prometheus operator would attach to a target of the ServiceMonitor.
TARGET = {"namespace": "zen-lead", "service": "zen-lead-metrics", "pod": "zen-lead-0", "container": "zen-lead"}


class Prometheus:
    """One that scrapes one target, with the alerts loaded."""

    def __init__(self, directory, target):
        self.directory = directory
        [self.port] = free_ports(1)
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [
                {
                    "job_name": "zen-lead",
                    "honor_labels": True,
                    "static_configs": [{"targets": [f"127.0.0.1:{target}"], "labels": TARGET}],
                }
            ],
        }
        for name, content in (("prometheus.yaml", config), ("rules.yaml", rules())):
            with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
                json.dump(content, file)

    def __enter__(self):
        with open(os.path.join(self.directory, "prometheus.log"), "w", encoding="utf-8") as log:
            self.child = subprocess.Popen(
                [
                    tool("prometheus"),
                    f"--config.file={self.directory}/prometheus.yaml",
                    f"--storage.tsdb.path={self.directory}/tsdb",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log,
                stderr=log,
            )
        return self

    def __exit__(self, *_):
        self.child.terminate()
        self.child.wait(timeout=20)

    def ask(self, endpoint, **parameters):
        url = f"http://127.0.0.1:{self.port}/api/v1/{endpoint}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as answer:
            return json.load(answer)

    def query(self, expression):
        answer = self.ask("query", query=expression)
        ensure(answer["status"] == "success", f"{expression}: {answer.get('error')}")
        ensure(not answer.get("warnings"), f"{expression}: {answer.get('warnings')}")
        return answer["data"]["result"]

    def is_up(self):
        ensure(self.child.poll() is None, f"prometheus ended with {self.child.returncode}")
        # While it starts it refuses connections, then answers without JSON.
        with contextlib.suppress(OSError, ValueError):
            return bool(self.query("count_over_time(up[10s]) > 3 and up == 1"))
        return False

    def states(self):
        """The alerts that are not inactive."""
        groups = self.ask("rules")["data"]["groups"]
        found = {}
        for rule in (rule for group in groups for rule in group["rules"]):
            ensure(rule["health"] == "ok", f"{rule['name']} is {rule['health']}: {rule.get('lastError')}")
            if rule["state"] != "inactive":
                found[rule["name"]] = rule["state"]
        return found


def queries():
    """Every query of the dashboard with its panel, variables filled in; and those of the variables."""
    dashboard = json.loads(read(MONITORING, "dashboard.json"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"]
            for variable, value in VARIABLES.items():
                expression = expression.replace(variable, value)
            ensure("$" not in expression, f"{panel['title']}: unknown variable in {expression}")
            yield panel["title"], expression
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            series = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).group(1)
            yield variable["name"], f"count by (namespace, service) ({series.replace('$namespace', '.*')})"


def families(page):
    """The names of all series that a page can have, from its headers."""
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "info": ["_info"], "gauge": [""]}
    found = re.findall(r"^# TYPE (\S+) (\w+)$", page, re.M)
    return {name + suffix for name, kind in found for suffix in suffixes[kind]}


def names(expression):
    return set(re.findall(r"\b(?:zen_lead|process)_\w+", expression))


def run():
    with Cluster() as cluster:
        cluster.apply("-f", path("install-cluster-wide.yaml"))
        operated.trial(cluster)
        application(cluster, "default")
        with Controller(cluster, deployed(cluster), cluster.account_config()) as controller:
            until("my-app-0 leads", lambda: cluster.leader("default") == ADDRESSES[:1])
            with Prometheus(cluster.dir, controller.metrics_port) as prometheus:
                until("prometheus has scraped it", prometheus.is_up, 60)
                trial(cluster, controller, prometheus)


def trial(cluster, controller, prometheus):
    cluster.status("default", "my-app-0", False, ADDRESSES[0])
    until("my-app-1 leads", lambda: cluster.leader("default") == ADDRESSES[1:2])
    failovers = 'sum by (reason) (zen_lead_failover_count_total{namespace="default",service="my-app"}) > 0'
    [failover] = until("a failover was scraped", lambda: prometheus.query(failovers))
    ensure(failover["metric"] == {"reason": "notReady"} and failover["value"][1] == "1", f"it is {failover}")
    # A rate is over a window that has to hold the change.
    increase = "sum(increase(zen_lead_failover_count_total[10s])) > 0"
    until("the window holds the failover", lambda: prometheus.query(increase))
    every_query(controller, prometheus)
    every_alert(cluster, controller, prometheus)


def every_query(controller, prometheus):
    known, count, filled = families(controller.metrics()), 0, 0
    for title, expression in queries():
        missing = names(expression) - known
        ensure(not missing, f"{title}: /metrics has no {missing}")
        # What has no series yet, or asks for trouble only, may come back empty.
        has_series = all(prometheus.query(f"count({name})") for name in names(expression))
        if has_series and not re.search(r"[<>=] \d", expression):
            until(f"{title}: something for {expression}", lambda expression=expression: prometheus.query(expression))
            filled += 1
        else:
            prometheus.query(expression)
        count += 1
    print(f"test every_query ... ok, {count} queries of the dashboard, {filled} of them with figures")


def every_alert(cluster, controller, prometheus):
    known = families(controller.metrics())
    for alert in alerts():
        missing = names(alert["expr"]) - known
        ensure(not missing, f"{alert['alert']}: /metrics has no {missing}")
    # One replica runs here, so its missing partner is noticed, and nothing else.
    expected = {"ZenLeadNoStandby": "pending"}
    until("only the standby is missed", lambda: prometheus.states() == expected)
    cluster.status("default", "my-app-1", False, ADDRESSES[1])
    until("no pod leads", lambda: cluster.leader("default") == [])
    expected["ZenLeadServiceWithoutEndpoints"] = "pending"
    until("the alert is pending", lambda: prometheus.states() == expected)
    cluster.status("default", "my-app-1", True, ADDRESSES[1])
    del expected["ZenLeadServiceWithoutEndpoints"]
    until("the alert is resolved", lambda: prometheus.states() == expected)
    print(f"test every_alert ... ok, {len(alerts())} alerts evaluated on live metrics")
