"""The cluster's own network: a bridge, a network namespace per node, and routes between them.

Nothing of the machine's own network is changed, and nothing is forwarded out of it."""

import ipaddress
import json
import os

from base import CLUSTERS_MAX, PREFIX_LENGTH, SERVICES, Fail, Net, run


def claim():
    """Makes the bridge of the first network whose addresses are free: from then on it is ours."""
    routes = json.loads(run("ip", "-json", "-4", "route", "show").stdout or "[]")
    taken = [ipaddress.ip_network(route["dst"], strict=False) for route in routes if route["dst"] != "default"]
    for net in map(Net, range(CLUSTERS_MAX)):
        own = [ipaddress.ip_network(range) for range in (net.nodes, net.pods, SERVICES)]
        if any(one.overlaps(other) for one in own for other in taken):
            continue
        # The kernel lets one of two that try at the same time have it.
        made = run("ip", "link", "add", net.bridge, "type", "bridge", check=False)
        if not made.returncode:
            return net
        if "File exists" not in made.stderr:
            raise Fail(f"no bridge {net.bridge}: {made.stderr.strip()}")
    last = Net(CLUSTERS_MAX - 1)
    raise Fail(
        f"no addresses are free for a cluster: it needs {SERVICES}, one of {Net(0).nodes} to {last.nodes} and one of "
        f"{Net(0).pods} to {last.pods}, none of them routed already"
    )


def make(net, nodes):
    run("ip", "address", "add", f"{net.gateway}/{PREFIX_LENGTH}", "dev", net.bridge)
    run("ip", "link", "set", net.bridge, "up")
    for node in nodes:
        run("ip", "netns", "add", node.netns)
        run("ip", "link", "add", node.link, "type", "veth", "peer", "name", "eth0", "netns", node.netns)
        run("ip", "link", "set", node.link, "master", net.bridge, "up")
        inside("link", node, "set", "lo", "up")
        inside("address", node, "add", f"{node.address}/{PREFIX_LENGTH}", "dev", "eth0")
        connect(node, nodes)
        run("ip", "route", "add", node.pods, "via", node.address, "dev", net.bridge)
        run("ip", "netns", "exec", node.netns, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")


def inside(what, node, *arguments):
    return run("ip", "-netns", node.netns, what, *arguments)


def connect(node, nodes):
    """The cable of a node, and the routes that go away when it is pulled."""
    run("ip", "link", "set", node.link, "up")
    inside("link", node, "set", "eth0", "up")
    inside("route", node, "replace", "default", "via", node.net.gateway)
    for other in nodes:
        if other.number != node.number:
            inside("route", node, "replace", other.pods, "via", other.address)


def cut(node):
    """What a power cut is to the others: no answer, not even a refusal."""
    run("ip", "link", "set", node.link, "down", check=False)


def remove(net, nodes):
    for node in nodes:
        run("ip", "link", "delete", node.link, check=False)
        run("ip", "netns", "delete", node.netns, check=False)
    run("ip", "link", "delete", net.bridge, check=False)
    unmount()


def unmount():
    """`ip netns` makes a mount for the first namespace, and leaves it when the last one is gone."""
    if os.path.isdir("/run/netns") and not os.listdir("/run/netns"):
        run("umount", "/run/netns", check=False)
        os.rmdir("/run/netns")
