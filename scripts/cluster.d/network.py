"""The cluster's own network: a bridge, a network namespace per node, and routes between them.

Nothing of the machine's own network is changed, and nothing is forwarded out of it."""

import ipaddress
import json
import os

from base import BRIDGE, GATEWAY, PODS, PREFIX_LENGTH, SERVICES, Fail, run


def check():
    """The addresses are free."""
    if os.path.exists(f"/sys/class/net/{BRIDGE}"):
        raise Fail(f"there is a bridge {BRIDGE} already: another cluster is up, or one was not taken down")
    own = [ipaddress.ip_network(net, strict=False) for net in (f"{GATEWAY}/{PREFIX_LENGTH}", PODS, SERVICES)]
    for route in json.loads(run("ip", "-json", "-4", "route", "show").stdout or "[]"):
        if route["dst"] == "default":
            continue
        taken = ipaddress.ip_network(route["dst"], strict=False)
        for net in own:
            if net.overlaps(taken):
                raise Fail(f"the machine has a route to {taken}, and the cluster uses {net}")


def make(nodes):
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "address", "add", f"{GATEWAY}/{PREFIX_LENGTH}", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    for node in nodes:
        run("ip", "netns", "add", node.netns)
        run("ip", "link", "add", node.link, "type", "veth", "peer", "name", "eth0", "netns", node.netns)
        run("ip", "link", "set", node.link, "master", BRIDGE, "up")
        inside("link", node, "set", "lo", "up")
        inside("address", node, "add", f"{node.address}/{PREFIX_LENGTH}", "dev", "eth0")
        connect(node, nodes)
        run("ip", "route", "add", node.pods, "via", node.address, "dev", BRIDGE)
        run("ip", "netns", "exec", node.netns, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")


def inside(what, node, *arguments):
    return run("ip", "-netns", node.netns, what, *arguments)


def connect(node, nodes):
    """The cable of a node, and the routes that go away when it is pulled."""
    run("ip", "link", "set", node.link, "up")
    inside("link", node, "set", "eth0", "up")
    inside("route", node, "replace", "default", "via", GATEWAY)
    for other in nodes:
        if other.number != node.number:
            inside("route", node, "replace", other.pods, "via", other.address)


def cut(node):
    """What a power cut is to the others: no answer, not even a refusal."""
    run("ip", "link", "set", node.link, "down", check=False)


def remove(nodes):
    for node in nodes:
        run("ip", "link", "delete", node.link, check=False)
        run("ip", "netns", "delete", node.netns, check=False)
    run("ip", "link", "delete", BRIDGE, check=False)
    # `ip netns` makes it for the first namespace, and leaves it when the last one is gone.
    if os.path.isdir("/run/netns") and not os.listdir("/run/netns"):
        run("umount", "/run/netns", check=False)
        os.rmdir("/run/netns")
