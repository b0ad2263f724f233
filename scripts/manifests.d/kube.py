"""kubectl, a control plane, and zen-lead as a child process."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
MANIFESTS = os.path.join(ROOT, "manifests")
ACCOUNT = "system:serviceaccount:zen-lead:zen-lead"


class Failed(Exception):
    """What is wrong, in words for the reader of a test's output."""


def ensure(condition, why):
    if not condition:
        raise Failed(why)


def run(*command, stdin=None, env=None, ok=True, cwd=ROOT, timeout=300):
    """Performs a command; its result, whose failure is one of the caller unless `ok` is false."""
    try:
        done = subprocess.run(
            command, input=stdin, env=env, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False
        )
    except FileNotFoundError:
        raise Failed(f"{command[0]} is needed and was not found") from None
    if ok and done.returncode:
        raise Failed(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def objects(text):
    """The objects of a YAML text: kubectl reads it, so that nothing else has to."""
    # A merge of nothing, without a server, prints what it read.
    done = run("kubectl", "patch", "--local", "-f", "-", "--type=merge", "-p", "{}", "-o", "json", stdin=text)
    return decoded(done.stdout)


def decoded(text):
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text):
        value, end = decoder.raw_decode(text, at)
        found += value["items"] if value["kind"] == "List" else [value]
        at = end + len(text[end:]) - len(text[end:].lstrip())
    return found


def until(what, question, seconds=20):
    """Asks until the answer is a true one, and gives it."""
    deadline = time.monotonic() + seconds
    while True:
        answer = question()
        if answer:
            return answer
        ensure(time.monotonic() < deadline, f"not within {seconds} s: {what}")
        time.sleep(0.05)


class Cluster:
    """A control plane of its own, ended at the end."""

    def __init__(self, *options):
        self.dir = tempfile.mkdtemp(prefix="zen-lead-cp-manifests-")
        self.options = options

    def __enter__(self):
        self.control("up", "--fast", "--service-account-admission", "--audit-log", *self.options)
        self.env = dict(os.environ, KUBECONFIG=os.path.join(self.dir, "kubeconfig"))
        return self

    def __exit__(self, *_):
        self.control("down")
        shutil.rmtree(self.dir, ignore_errors=True)  # logs of zen-lead

    def control(self, command, *options):
        program = os.path.join(ROOT, "scripts", "control-plane")
        return run(program, command, "--dir", self.dir, *options).stdout.strip()

    def kubectl(self, *arguments, **options):
        return run("kubectl", *arguments, env=self.env, **options)

    def apply(self, *arguments, stdin=None):
        """Server-side and strict: an unknown or doubled field is an error, a warning as well."""
        done = self.kubectl("apply", "--server-side", "--validate=strict", *arguments, stdin=stdin)
        ensure("Warning" not in done.stderr, f"apply {' '.join(arguments)}: {done.stderr}")
        return done.stdout.splitlines()

    def get(self, *arguments):
        done = self.kubectl("get", *arguments, "-o", "json", ok=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def may(self, verb, resource, namespace=None):
        where = ["-n", namespace] if namespace else ["-A"]
        done = self.kubectl("auth", "can-i", verb, *resource.split(), *where, f"--as={ACCOUNT}", ok=False)
        answer = done.stdout.strip()
        ensure(answer in ("yes", "no"), f"can-i {verb} {resource}: {done.stderr}")
        return answer == "yes"

    def account_config(self):
        """A kubeconfig with a token of the ServiceAccount."""
        return self.control("kubeconfig-for", "--serviceaccount", "zen-lead/zen-lead")

    def status(self, namespace, pod, ready, address):
        """What a kubelet would say of a pod."""
        status = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": str(ready)}],
        }
        patch = json.dumps({"status": status})
        self.kubectl("patch", "pod", pod, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)

    def leader(self, namespace, service="my-app-leader"):
        """The addresses behind a leader Service; None without a slice."""
        found = self.get("endpointslices", "-n", namespace, "-l", f"kubernetes.io/service-name={service}")
        slices = found["items"] if found else []
        endpoints = [endpoint for item in slices for endpoint in item["endpoints"] or []]
        return [address for endpoint in endpoints for address in endpoint["addresses"]] if slices else None


class Controller:
    """zen-lead as the Deployment starts it, as far as that is possible outside of a pod."""

    def __init__(self, cluster, deployment, kubeconfig, name="zen-lead-0", waits=True):
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        self.binary = os.environ.get("ZEN_LEAD_BINARY", os.path.join(ROOT, "target/debug/zen-lead"))
        ports = free_ports(3)
        # Of a flag that comes twice the last one counts.
        own = (("metrics", ports[0]), ("health-probe", ports[1]), ("debug", ports[2]))
        binds = [f"--{name}-bind-address=127.0.0.1:{port}" for name, port in own]
        self.metrics_port, self.probes_port = ports[:2]
        self.arguments = [*container.get("args", []), *binds]
        fields = {
            "metadata.name": name,
            "metadata.namespace": deployment["metadata"]["namespace"],
            # A controller that is started here is a pod of its own each time.
            "metadata.uid": str(uuid.uuid4()),
        }
        self.env = {"KUBECONFIG": kubeconfig}
        for variable in container["env"]:
            source = variable.get("valueFrom")
            self.env[variable["name"]] = fields[source["fieldRef"]["fieldPath"]] if source else variable["value"]
        self.log = os.path.join(cluster.dir, f"zen-lead-{self.probes_port}.log")
        self.waits = waits

    def __enter__(self):
        ensure(os.access(self.binary, os.X_OK), f"{self.binary} is missing: cargo build, or set ZEN_LEAD_BINARY")
        with open(self.log, "a", encoding="utf-8") as log:
            self.child = subprocess.Popen([self.binary, *self.arguments], env=self.env, stdout=log, stderr=log)
        try:
            if self.waits:
                until("zen-lead is ready", self.is_ready)
        except Failed as why:
            self.__exit__()
            raise Failed(f"{why}\n{self.printed()[-4000:]}") from None
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.child.terminate()
        self.child.wait(timeout=10)

    def is_ready(self):
        ensure(self.child.poll() is None, f"zen-lead ended with {self.child.returncode}")
        with contextlib.suppress(OSError):
            return self.fetch(self.probes_port, "/readyz")[0] == 200
        return False

    def fetch(self, port, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read().decode()

    def is_active(self):
        return "\nzen_lead_is_active 1\n" in self.metrics()

    def printed(self):
        with open(self.log, encoding="utf-8") as log:
            return log.read()

    def metrics(self):
        return self.fetch(self.metrics_port, "/metrics")[1]


def free_ports(count):
    """Ports that were free a moment ago, all different: they are held at the same time."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in held]
    for listener in held:
        listener.close()
    return ports
