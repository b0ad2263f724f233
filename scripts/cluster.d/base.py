"""What every part of the cluster agrees on: names, addresses, and how a command is run."""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.append(os.path.join(ROOT, "scripts", "control-plane.d"))

from common import Fail  # noqa: E402

PREFIX_LENGTH = 24
SERVICES = "10.96.0.0/16"
DNS = "10.96.0.10"
DOMAIN = "cluster.local"
NODES_MAX = 9
CLUSTERS_MAX = 9


class Net:
    """The names and addresses of one cluster, all of them from its number on this machine."""

    def __init__(self, number):
        self.number = number
        self.bridge = f"zl{number}"
        self.gateway = f"172.30.{number}.1"
        self.nodes = f"172.30.{number}.0/{PREFIX_LENGTH}"
        self.pods = f"10.{244 + number}.0.0/16"


class Node:
    """The names and addresses of one node, all of them from its number and its cluster's."""

    def __init__(self, net, number):
        self.net, self.number = net, number
        self.name = f"zn{number}"
        self.netns = f"{net.bridge}-zn{number}"
        self.link = f"{net.bridge}-v{number}"
        self.cgroup = f"zen-lead-{net.bridge}-zn{number}"
        self.address = f"172.30.{net.number}.{10 + number}"
        self.pods = f"10.{244 + net.number}.{number}.0/24"
        self.zone = f"zone-{number}"


def say(message):
    print("cluster: " + message, file=sys.stderr, flush=True)


def run(*command, check=True, stdin=None, timeout=None):
    """Runs a command to its end; its words are the error when it fails."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=timeout)
    if check and done.returncode:
        words = (done.stderr or done.stdout).strip() or f"exit {done.returncode}"
        raise Fail(f"{' '.join(command)}: {words}")
    return done
