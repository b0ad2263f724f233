"""Moves that people or controllers ask for: no connect may fail."""

from scenario import scenario
from world import Wrong, expect, terminating


@scenario("delete, app drains 3 s", ci=True)
def delete_draining(world, make):
    app = make()
    world.move(app, app.delete)


@scenario("delete, app exits at SIGTERM")
def delete_exiting(world, make):
    app = make(on_term="exit")
    # SIGTERM and the slice race, so connects may fail: that is what preStop is for.
    world.move(app, app.delete, may_fail=True)


@scenario("delete, app exits at SIGTERM after preStop 2 s", ci=True)
def delete_pre_stop(world, make):
    app = make(on_term="exit", pre_stop=2)
    world.move(app, app.delete)


@scenario("switchover by preferred-leader", ci=True)
def switchover(world, make):
    app = make()
    old = app.leads()
    wanted = next(pod["metadata"]["name"] for pod in app.ready() if pod["metadata"]["name"] != old)
    with world.watching(app) as seen:
        app.annotate(f"zen-lead.io/preferred-leader={wanted}")
        expect("the new leader", app.moved_from(old), wanted)
    seen.never_failed()
    seen.answered(old, wanted)


@scenario("rollout restart of a Deployment", ci=True)
def rollout_deployment(world, make):
    app = make()
    before = {pod["metadata"]["name"] for pod in app.pods()}
    with world.watching(app) as seen:
        roll(world, app, "deployment")
    seen.never_failed()
    seen.moved_on(most=2)
    if app.leads() in before:
        raise Wrong(f"{app.leads()} leads, expected a pod of the new ReplicaSet")


@scenario("rollout restart of a Deployment, app exits at SIGTERM")
def rollout_exiting(world, make):
    app = make(on_term="exit")
    with world.watching(app) as seen:
        roll(world, app, "deployment")
    seen.moved_on(most=2)


@scenario("rollout restart of a StatefulSet", ci=True)
def rollout_stateful_set(world, make):
    app = make(kind="StatefulSet")
    before = {pod["metadata"]["uid"] for pod in app.pods()}
    with world.watching(app) as seen:
        roll(world, app, "statefulset")
    seen.never_failed()
    if seen.moves() > 2:
        raise Wrong(f"moves: got {seen.moves()}, expected at most 2")
    kept = [pod["metadata"]["name"] for pod in app.pods() if pod["metadata"]["uid"] in before]
    expect("pods that were not replaced", kept, [])


def roll(world, app, kind):
    world.kubectl("rollout", "restart", kind, app.name)
    world.kubectl("rollout", "status", kind, app.name, "--timeout=120s")
    app.complete(2)


@scenario("drain with a disruption budget", ci=True, changes=True)
def drain(world, make):
    app = make(budget=True)
    world.move(app, lambda leader: drain_node(world, node_of(world, leader)))


def node_of(world, pod):
    return world.pod(pod)["spec"]["nodeName"]


def drain_node(world, node):
    """Everything leaves but the client, which goes on counting."""
    options = ["--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=110s"]
    world.kubectl("drain", node, *options, "--pod-selector=role!=client")


@scenario("eviction by the API", ci=True)
def eviction(world, make):
    app = make(budget=True)

    def evict(leader):
        about = {"name": leader, "namespace": app.namespace}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": about}
        world.post(f"/api/v1/namespaces/{app.namespace}/pods/{leader}/eviction", body)

    world.move(app, evict)


@scenario("cordon with --leave-cordoned-nodes", changes=True)
def cordon(world, make):
    world.allow_nodes()
    with world.options(ZEN_LEAD_LEAVE_CORDONED_NODES="true"):
        app = make()
        old, _ = world.move(app, lambda leader: world.kubectl("cordon", node_of(world, leader)))
        expect("the old leader is left alone", terminating(world.pod(old)), False)


@scenario("scale down to the leader, and up again")
def scale(world, make):
    app = make()
    leader = app.leads()
    # The follower is the cheaper one to delete.
    for pod in app.pods():
        cost = "100" if pod["metadata"]["name"] == leader else "-100"
        world.kubectl("annotate", "pod", pod["metadata"]["name"], f"controller.kubernetes.io/pod-deletion-cost={cost}")
    with world.watching(app) as seen:
        world.kubectl("scale", "deployment", app.name, "--replicas=1")
        app.complete(1)
        world.kubectl("scale", "deployment", app.name, "--replicas=2")
        app.complete(2)
    seen.never_failed()
    seen.answered(leader)
