"""The state directory of an instance: its processes, its keys, its answers."""

import base64
import contextlib
import glob
import http.client
import ipaddress
import json
import os
import random
import re
import shutil
import signal
import ssl
import subprocess
import time

from common import Fail, exchange, read, tail, write


def process_stat(pid):
    """State letter and start time of a process."""
    try:
        fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    except OSError:
        return "X", ""
    return fields[0], fields[19]


class Instance:
    """One control plane: a directory with state.json, keys, data and logs."""

    OWN = ["state.json", "pki", "etcd", "etcd-backup", "log", "conf", "kubeconfig*"]

    def __init__(self, directory):
        self.dir = os.path.abspath(directory)
        self.state = {"ports": {}, "options": {}, "processes": {}}
        with contextlib.suppress(FileNotFoundError):
            self.state = json.loads(read(self.path("state.json")))
        self.ports, self.options = self.state["ports"], self.state["options"]

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def save(self):
        write(self.path("state.json"), json.dumps(self.state, indent=1) + "\n")

    def log(self, name):
        return self.path("log", name + ".log")

    def process_state(self, name):
        """'running', 'paused' or 'stopped'; never fooled by a reused pid."""
        saved = self.state["processes"].get(name)
        if saved and saved["boot"] == read("/proc/sys/kernel/random/boot_id").strip():
            letter, start = process_stat(saved["pid"])
            if start == saved["start"] and letter not in "ZX":
                return "paused" if letter in "Tt" else "running"
        return "stopped"

    def alive(self, name):
        return self.process_state(name) != "stopped"

    def spawn(self, name, command):
        with open(self.log(name), "a", encoding="utf-8") as log:
            begin = log.tell()
            child = subprocess.Popen(
                command, cwd=self.dir, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        boot = read("/proc/sys/kernel/random/boot_id").strip()
        start = process_stat(child.pid)[1]
        self.state["processes"][name] = {"pid": child.pid, "start": start, "boot": boot, "log": begin}
        self.save()

    def signal(self, name, number):
        if not self.alive(name):
            raise Fail(f"{name} is not running in {self.dir}")
        os.kill(self.state["processes"][name]["pid"], number)

    def stop(self, names, grace):
        """TERM, then KILL once the grace period is over."""
        for number, limit in ((signal.SIGTERM, grace), (signal.SIGKILL, 10)):
            deadline = time.monotonic() + limit
            for name in filter(self.alive, names):
                with contextlib.suppress(ProcessLookupError, Fail):
                    self.signal(name, number)
                    self.signal(name, signal.SIGCONT)
            while any(map(self.alive, names)) and time.monotonic() < deadline:
                time.sleep(0.02)
        for name in names:
            self.state["processes"].pop(name, None)
        self.save()

    def wait(self, name, what, check, timeout):
        """Until check() is true; fails at once when the process ends."""
        deadline = time.monotonic() + timeout
        last = "no answer"
        while True:
            try:
                last = check()
                if last is True:
                    return
            except (OSError, http.client.HTTPException) as error:
                last = error
            alive = self.alive(name)
            if not alive or time.monotonic() > deadline:
                why = f"{what} not ready after {timeout} s ({last})" if alive else f"{name} ended"
                end = tail(self.log(name), self.state["processes"][name]["log"])
                raise Fail(f"{why}; the end of {self.log(name)}:\n{end}".rstrip())
            time.sleep(0.05)

    def remove(self):
        for pattern in self.OWN:
            for path in glob.glob(os.path.join(glob.escape(self.dir), pattern)):
                if os.path.isdir(path):
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    os.unlink(path)
        with contextlib.suppress(OSError):
            os.rmdir(self.dir)

    # ------------------------------------------------------------ requests

    def host(self):
        bind = self.options["bind_address"]
        bind = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)
        return f"[{bind}]" if ":" in bind else bind

    def server(self):
        return f"https://{self.host()}:{self.ports['apiserver']}"

    def etcd_url(self):
        return f"http://127.0.0.1:{self.ports['etcd']}"

    def api(self, method, path, body=None, timeout=10):
        """A request as the admin: status and parsed (or plain) body."""
        tls = ssl.create_default_context(cafile=self.path("pki", "ca.crt"))
        tls.load_cert_chain(self.path("pki", "admin.crt"), self.path("pki", "admin.key"))
        host = self.host().strip("[]")
        connection = http.client.HTTPSConnection(host, self.ports["apiserver"], timeout=timeout, context=tls)
        return exchange(connection, method, path, body)

    def etcd(self, path, body):
        status, answer = exchange(
            http.client.HTTPConnection("127.0.0.1", self.ports["etcd"], timeout=30), "POST", path, body
        )
        if status != 200:
            raise Fail(f"etcd answered {status} to {path}: {answer}")
        return answer

    def ensure(self, path, body):
        status, answer = self.api("POST", path, body)
        if status not in (201, 409):
            raise Fail(f"creating {body['kind']} {body['metadata']['name']}: {status} {answer}")

    # ------------------------------------------------------------ keys

    def openssl(self, *arguments, stdin=None):
        done = subprocess.run(
            ["openssl", *arguments], cwd=self.path("pki"), input=stdin, capture_output=True, check=False
        )
        if done.returncode:
            raise Fail(f"openssl {arguments[0]} failed: {done.stderr.decode().strip()}")

    def certificate(self, name, subject, extensions, issuer="ca"):
        """Makes name.key and name.crt (P-256, a year)."""
        subject = "".join(f"/{key}=" + re.sub(r"([/+\\])", r"\\\1", value) for key, value in subject)
        write(self.path("pki", "request.cnf"), "[req]\ndistinguished_name=dn\nprompt=no\n[dn]\n")
        write(self.path("pki", name + ".ext"), extensions)
        self.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", name + ".key")
        self.openssl(
            "req",
            "-new",
            "-utf8",
            "-config",
            "request.cnf",
            "-key",
            name + ".key",
            "-subj",
            subject,
            "-out",
            name + ".csr",
        )
        sign = ["-signkey", "ca.key"] if issuer is None else ["-CA", "ca.crt", "-CAkey", "ca.key"]
        serial = str(random.getrandbits(63) | 1 << 62)
        self.openssl(
            "x509",
            "-req",
            "-sha256",
            "-days",
            "365",
            "-set_serial",
            serial,
            "-in",
            name + ".csr",
            "-extfile",
            name + ".ext",
            *sign,
            "-out",
            name + ".crt",
        )
        for suffix in (".csr", ".ext"):
            os.unlink(self.path("pki", name + suffix))

    def client_certificate(self, name, user, groups=()):
        usage = "basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n"
        self.certificate(name, [*(("O", group) for group in groups), ("CN", user)], usage)

    def make_keys(self):
        old = os.umask(0o077)
        os.makedirs(self.path("pki"), exist_ok=True)
        authority = (
            "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
        )
        self.certificate("ca", [("CN", "zen-lead-control-plane")], authority, issuer=None)
        names = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ]
        services = [str(ipaddress.ip_network(cidr)[1]) for cidr in self.options["service_cluster_ip_range"].split(",")]
        addresses = {"127.0.0.1", "::1", self.options["bind_address"], self.options["advertise_address"], *services}
        alternatives = ",".join(["DNS:" + name for name in names] + ["IP:" + address for address in sorted(addresses)])
        usage = "basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n"
        self.certificate("apiserver", [("CN", "kube-apiserver")], f"{usage}subjectAltName={alternatives}\n")
        self.client_certificate("admin", "kubernetes-admin", ["system:masters"])
        self.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "sa.key")
        self.openssl("ec", "-in", "sa.key", "-pubout", "-out", "sa.pub")
        os.umask(old)
        self.kubeconfig("kubeconfig", "kubernetes-admin", certificate="admin")

    def kubeconfig(self, file, user, certificate=None, token=None):
        def embed(name):
            with open(self.path("pki", name), "rb") as source:
                return base64.b64encode(source.read()).decode()

        if token:
            secret = f"    token: {token}\n"
        else:
            secret = (
                f"    client-certificate-data: {embed(certificate + '.crt')}\n"
                f"    client-key-data: {embed(certificate + '.key')}\n"
            )
        path = self.path(file)
        write(
            path,
            f"""apiVersion: v1
kind: Config
clusters:
- name: zen-lead
  cluster:
    server: {self.server()}
    certificate-authority-data: {embed("ca.crt")}
users:
- name: {json.dumps(user)}
  user:
{secret}contexts:
- name: zen-lead
  context:
    cluster: zen-lead
    user: {json.dumps(user)}
current-context: zen-lead
""",
        )
        return path

    # ------------------------------------------------------------ components
