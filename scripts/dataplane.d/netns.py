"""A node: a network namespace with a kube-proxy of its own, pods and a client."""

import os
import sys
import threading
import time

from kube_proxy import CLIENT, Iptables, Nftables
from world import PORT, Wrong

HERE = os.path.dirname(os.path.realpath(__file__))
# Addresses of the pods that the native controller knows, and of those that the bare PATCH loop names.
NETWORKS = ["10.20.0.0/15", "10.99.0.0/16"]
# Between two connections of the client, in seconds.
INTERVAL = 0.01


class Client:
    """What a client saw: (when a connection began, who answered), in this order."""

    def __init__(self, child):
        self.child = child
        self.seen = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.child.stdout:
            begun, answer = line.split()
            self.seen.append((float(begun), answer))

    def aim(self, address):
        self.child.stdin.write(f"{address} 80\n")
        self.child.stdin.flush()

    def since(self, moment):
        return [one for one in self.seen[-2000:] if one[0] >= moment]


class Node:
    """A mixin: kube-proxy with a minSyncPeriod of its own."""

    def __init__(self, period):
        super().__init__(period)
        self.settings = {self.mode: {"minSyncPeriod": period}}

    def start(self, world):
        super().start(world)
        script = os.path.join(HERE, "client.py")
        line = self.enter(sys.executable, script, CLIENT, str(INTERVAL))
        self.client = Client(world.spawn("client-" + self.label, line, self.env, talks=True))

    def start_pods(self, world):
        script = os.path.join(HERE, "server.py")
        line = self.enter(sys.executable, script, str(PORT), *NETWORKS)
        self.pods = world.spawn("pods-" + self.label, line, self.env, talks=True)

    def order(self, word, address):
        """Ends a pod ("down"), or starts it again ("up")."""
        self.pods.stdin.write(f"{word} {address}\n")
        self.pods.stdin.flush()
        if self.pods.stdout.readline().split() != [word, address]:
            raise Wrong(f"the pods of {self.netns} did not follow: {word} {address}")

    def answered(self, address, count=10):
        """The last answers were all of this address."""
        last = self.client.seen[-count:]
        recent = last and last[-1][0] > time.monotonic() - 1
        return recent and len(last) == count and all(answer == address for _, answer in last)

    def moved(self, begun, old):
        """The first connection since then that another pod answered."""
        for one in self.client.since(begun):
            if one[1] != old and not one[1].startswith("-"):
                return one
        return None


class NftablesNode(Node, Nftables):
    pass


class IptablesNode(Node, Iptables):
    pass


KINDS = {"nftables": NftablesNode, "iptables": IptablesNode}
