"""What a cluster goes through."""

import time

from scenario import scenario
from world import Wrong, expect, until


@scenario("node power cut, plain Kubernetes", changes=True, restarts=True)
def power_cut(world, make):
    app = make()
    old = app.leads()
    cut(world, app, old)


@scenario("node power cut with --node-lease-timeout=20s", changes=True, restarts=True)
def power_cut_lease(world, make):
    world.allow_nodes()
    with world.options(ZEN_LEAD_NODE_LEASE_TIMEOUT="20s"):
        app = make()
        old = app.leads()
        cut(world, app, old)


def cut(world, app, old):
    number = world.number(world.pod(old))
    with_it = world.number(world.active()) == number
    world.note("the active zen-lead was on the node too" if with_it else "the active zen-lead was elsewhere")
    with world.watching(app, names=False) as seen:
        world.cluster.stop_node(number)
        new = app.moved_from(old)
    seen.answered(old, new)
    world.cluster.start_node(number)
    world.settled()
    expect("who leads once the node is back", app.leads(), new)


@scenario("API server away for 30 s, with a failover in it", ci=True)
def api_server(world, make):
    app = make()
    old = app.leads()
    with world.watching(app) as seen:
        world.cluster.control_plane("kill-apiserver")
        time.sleep(5)
        app.call(old, "/fail")
        time.sleep(25)
        world.cluster.control_plane("start-apiserver")
        new = app.moved_from(old)
    # Nothing can be known meanwhile: routing stays as it was, and the app serves on.
    seen.never_failed()
    seen.answered(old, new)
    # The node controller may have called nodes silent, and their pods not Ready, for that long.
    world.settled()


@scenario("kubelet of the leader's node restarts", ci=True)
def kubelet(world, make):
    service(world, make, "kubelet")


@scenario("containerd of the leader's node restarts")
def containerd(world, make):
    service(world, make, "containerd")


@scenario("kube-proxy of the client's node restarts")
def kube_proxy(world, make):
    app = make()
    leader = app.leads()
    with world.watching(app) as seen:
        world.kill_service(world.cluster.nodes[-1].number, "kube-proxy")
        time.sleep(3)
        app.delete(leader)
        new = app.moved_from(leader)
    seen.never_failed()
    seen.answered(leader, new)


def service(world, make, name):
    """Nothing moves, and afterwards a failover works."""
    app = make()
    old = app.leads()
    with world.watching(app) as seen:
        number = world.number(world.pod(old))
        before = world.on_node(number, "cat", f"/run/services/{name}")
        world.kill_service(number, name)
        until(f"{name} is started again", lambda: world.on_node(number, "cat", f"/run/services/{name}") != before)
        time.sleep(8)
        expect("the leader after the restart", app.leads(), old)
        world.settled()
        app.delete(old)
        new = app.moved_from(old)
    if name == "kubelet":
        seen.never_failed()
    if any(len(seen.order(result)) > 2 for result in seen.results.values()):
        raise Wrong(f"who answered: {[seen.order(result) for result in seen.results.values()]}, expected {[old, new]}")
