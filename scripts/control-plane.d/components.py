"""How each component is started, and how it shows that it is ready."""

import http.client
import json
import os
import re
import ssl
import subprocess
import sys

from binaries import as_numbers
from common import Fail, exchange, free_ports, need, write
from instance import Instance

RELAY = os.path.join(os.path.dirname(os.path.realpath(__file__)), "relay.py")
# No nodelifecycle and no pod garbage collector: test nodes have no kubelet to
# keep them Ready, and pods bound to nodes that do not exist have to stay.
CONTROLLERS = ",".join(
    name + "-controller"
    for name in (
        "endpoints endpointslice endpointslice-mirroring namespace serviceaccount "
        "serviceaccount-token garbage-collector deployment replicaset statefulset daemonset "
        "job disruption resourcequota clusterrole-aggregation root-ca-certificate-publisher"
    ).split()
)

# What 1.27 and older call them, as far as it is more than the name without "-controller".
OLD_NAMES = {
    "endpoints-controller": "endpoint",
    "endpointslice-mirroring-controller": "endpointslicemirroring",
    "garbage-collector-controller": "garbagecollector",
    "node-lifecycle-controller": "nodelifecycle",
    "pod-garbage-collector-controller": "podgc",
    "root-ca-certificate-publisher-controller": "root-ca-cert-publisher",
}


def controllers_of(minor, names):
    """The list of controllers as kube-controller-manager of that minor takes it."""
    if not minor or as_numbers(minor) >= [1, 28]:
        return names

    def old(name):
        sign = "-" * name.startswith("-")
        name = name[len(sign) :]
        return sign + OLD_NAMES.get(name, name.removesuffix("-controller"))

    return ",".join(map(old, names.split(",")))


class ControlPlane(Instance):
    def start_etcd(self, paths):
        peer = f"http://127.0.0.1:{self.ports['etcd-peer']}"
        command = [
            paths["etcd"],
            "--name=zen-lead",
            "--data-dir=" + self.path("etcd"),
            "--listen-client-urls=" + self.etcd_url(),
            "--advertise-client-urls=" + self.etcd_url(),
            "--listen-peer-urls=" + peer,
            "--initial-advertise-peer-urls=" + peer,
            "--initial-cluster=zen-lead=" + peer,
            # Alone there is nobody to wait for: elect at once.
            "--heartbeat-interval=10",
            "--election-timeout=100",
            "--quota-backend-bytes=8589934592",
            "--log-level=warn",
        ]
        if self.options["fast"]:
            command.append("--unsafe-no-fsync")
        self.spawn("etcd", command + self.options["etcd_arg"])

    def etcd_healthy(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["etcd"], timeout=2)
        return exchange(connection, "GET", "/health")[1] == {"health": "true", "reason": ""}

    def start_apiserver(self, paths, timeout):
        options = self.options
        command = [
            paths["kube-apiserver"],
            "--etcd-servers=" + self.etcd_url(),
            f"--bind-address={options['bind_address']}",
            f"--secure-port={self.ports['apiserver']}",
            f"--advertise-address={options['advertise_address']}",
            "--tls-cert-file=" + self.path("pki", "apiserver.crt"),
            "--tls-private-key-file=" + self.path("pki", "apiserver.key"),
            "--client-ca-file=" + self.path("pki", "ca.crt"),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--service-account-key-file=" + self.path("pki", "sa.pub"),
            "--service-account-signing-key-file=" + self.path("pki", "sa.key"),
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            f"--service-cluster-ip-range={options['service_cluster_ip_range']}",
        ]
        if not options["service_account_admission"]:
            command.append("--disable-admission-plugins=ServiceAccount")
        if options["admission_plugins"]:
            command.append("--enable-admission-plugins=" + options["admission_plugins"])
        if options["feature_gates"]:
            command.append("--feature-gates=" + options["feature_gates"])
        if options["audit_log"]:
            os.makedirs(self.path("conf"), exist_ok=True)
            policy = {
                "apiVersion": "audit.k8s.io/v1",
                "kind": "Policy",
                "omitStages": [] if options["audit_received"] else ["RequestReceived"],
                "rules": [{"level": options["audit_log"]}],
            }
            write(self.path("conf", "audit.json"), json.dumps(policy))
            command += [
                "--audit-policy-file=" + self.path("conf", "audit.json"),
                "--audit-log-path=" + self.path("log", "audit.log"),
            ]
        self.spawn("kube-apiserver", command + options["apiserver_arg"])
        self.wait_apiserver(timeout)

    def wait_apiserver(self, timeout):
        self.wait("kube-apiserver", "kube-apiserver", lambda: self.ready("/readyz"), timeout)
        self.wait("kube-apiserver", "namespace default", lambda: self.ready("/api/v1/namespaces/default"), timeout)
        self.wait(
            "kube-apiserver",
            "Service kubernetes",
            lambda: self.ready("/api/v1/namespaces/default/services/kubernetes"),
            timeout,
        )

    def ready(self, path):
        status, answer = self.api("GET", path, timeout=2)
        failing = re.findall(r"^\[-\]\S+", str(answer), re.M)
        return status == 200 or f"{status} {' '.join(failing) or answer}"

    def start_controller_manager(self, paths, timeout):
        self.client_certificate("controller-manager", "system:kube-controller-manager")
        config = self.kubeconfig(
            "kubeconfig-controller-manager", "system:kube-controller-manager", certificate="controller-manager"
        )
        port = self.ports["controller-manager"] = free_ports(1)[0]
        command = [
            paths["kube-controller-manager"],
            "--kubeconfig=" + config,
            "--authentication-kubeconfig=" + config,
            "--authorization-kubeconfig=" + config,
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            "--tls-cert-file=" + self.path("pki", "apiserver.crt"),
            "--tls-private-key-file=" + self.path("pki", "apiserver.key"),
            "--root-ca-file=" + self.path("pki", "ca.crt"),
            "--service-account-private-key-file=" + self.path("pki", "sa.key"),
            "--cluster-signing-cert-file=" + self.path("pki", "ca.crt"),
            "--cluster-signing-key-file=" + self.path("pki", "ca.key"),
            f"--service-cluster-ip-range={self.options['service_cluster_ip_range']}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            "--controllers=" + controllers_of(self.options["kubernetes"], self.options["controllers"]),
        ]
        self.spawn("kube-controller-manager", command + self.options["controller_manager_arg"])

        def healthy():
            tls = ssl.create_default_context(cafile=self.path("pki", "ca.crt"))
            status, answer = exchange(
                http.client.HTTPSConnection("127.0.0.1", port, timeout=2, context=tls), "GET", "/healthz"
            )
            return status == 200 or f"{status} {answer}"

        self.wait("kube-controller-manager", "kube-controller-manager", healthy, timeout)

    def check_kube_proxy(self):
        """What kube-proxy needs of the machine, said before anything is started."""
        netns = self.options["proxy_netns"]
        if os.geteuid() != 0:
            raise Fail("kube-proxy needs root")
        if netns:
            need("ip", "iproute2", "to enter the network namespace")
            if not os.path.exists("/run/netns/" + netns):
                raise Fail(f"there is no network namespace {netns}; make it: ip netns add {netns}")
        need("nft", "nftables", "kube-proxy programs nftables with it")
        if subprocess.run([*self.netns(), "nft", "list", "tables"], capture_output=True, check=False).returncode:
            raise Fail("this kernel has no usable nftables: `nft list tables` fails, so kube-proxy cannot run")

    def netns(self):
        name = self.options["proxy_netns"]
        return ["ip", "netns", "exec", name] if name else []

    def start_kube_proxy(self, paths, timeout):
        self.check_kube_proxy()
        options = self.options
        # kube-proxy waits for its Node's addresses before it does anything.
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": options["proxy_node"]}}
        node["status"] = {
            "addresses": [{"type": "InternalIP", "address": address} for address in options["proxy_node_ip"].split(",")]
        }
        self.ensure("/api/v1/nodes", node)
        if options["proxy_netns"]:
            subprocess.run([*self.netns(), "ip", "link", "set", "lo", "up"], check=True)
            self.spawn("relay", [sys.executable, RELAY, options["proxy_netns"], str(self.ports["apiserver"])])
        self.client_certificate("proxy", "system:kube-proxy")
        os.makedirs(self.path("conf"), exist_ok=True)
        config = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {
                "kubeconfig": self.kubeconfig("kubeconfig-proxy", "system:kube-proxy", certificate="proxy")
            },
            "hostnameOverride": options["proxy_node"],
            "healthzBindAddress": "",
            "metricsBindAddress": f"127.0.0.1:{free_ports(1)[0]}",
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }
        write(self.path("conf", "kube-proxy.json"), json.dumps(config))
        self.spawn(
            "kube-proxy",
            [
                *self.netns(),
                paths["kube-proxy"],
                "--config=" + self.path("conf", "kube-proxy.json"),
                *options["kube_proxy_arg"],
            ],
        )

        def programmed():
            list_table = [*self.netns(), "nft", "list", "table", "ip", "kube-proxy"]
            return (
                subprocess.run(list_table, capture_output=True, check=False).returncode == 0 or "no nftables table yet"
            )

        self.wait("kube-proxy", "kube-proxy", programmed, timeout)

    def remove_proxy_tables(self):
        """kube-proxy leaves its tables behind when it ends."""
        if os.path.exists(self.path("conf", "kube-proxy.json")):
            for family in ("ip", "ip6"):
                delete = [*self.netns(), "nft", "delete", "table", family, "kube-proxy"]
                subprocess.run(delete, capture_output=True, check=False)
