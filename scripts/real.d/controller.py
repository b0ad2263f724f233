"""What happens to zen-lead itself."""

from scenario import scenario
from planned import drain_node
from world import Wrong, expect, until


def fails_over(world, app):
    """A planned move, which must work whatever happened before."""
    old = app.leads()
    app.delete(old)
    return old, app.moved_from(old)


@scenario("active zen-lead is killed, then the leader is deleted", restarts=True)
def active_killed(world, make):
    # Its successor needs the Lease, which takes seconds: the app serves on for as long.
    app = make(drain="8s")
    active = world.active()
    with world.watching(app) as seen:
        world.kill_container(active)
        old, new = fails_over(world, app)
    seen.never_failed()
    seen.answered(old, new)


@scenario("standby zen-lead is killed, then the leader is deleted", restarts=True)
def standby_killed(world, make):
    app = make()
    active = world.active()["metadata"]["name"]
    with world.watching(app) as seen:
        world.kill_container(world.standby())
        old, new = fails_over(world, app)
    seen.never_failed()
    seen.answered(old, new)
    expect("the active replica", world.active()["metadata"]["name"], active)


@scenario("active zen-lead and the leader are deleted at once", changes=True)
def both_deleted(world, make):
    app = make()
    active = world.active()["metadata"]["name"]
    old = app.leads()
    with world.watching(app) as seen:
        world.kubectl("delete", "pod", "--namespace=zen-lead", active, "--wait=false")
        app.delete(old)
        new = app.moved_from(old)
    seen.never_failed()
    seen.answered(old, new)


@scenario("rollout restart of zen-lead, the leader deleted in it", ci=True, changes=True)
def rolled_out(world, make):
    app = make()
    before = {pod["metadata"]["name"] for pod in world.controllers()}
    with world.watching(app) as seen:
        world.kubectl("rollout", "restart", "--namespace=zen-lead", "deployment/zen-lead")
        until("the first new replica", lambda: {p["metadata"]["name"] for p in world.controllers()} - before)
        old, new = fails_over(world, app)
        world.kubectl("rollout", "status", "--namespace=zen-lead", "deployment/zen-lead", "--timeout=120s")
        world.settled()
    seen.never_failed()
    seen.answered(old, new)
    kept = before & {pod["metadata"]["name"] for pod in world.controllers()}
    expect("replicas that were not replaced", kept, set())


@scenario("drain of the active zen-lead's node", changes=True)
def drained(world, make):
    app = make()
    active = world.active()
    node = active["spec"]["nodeName"]
    with world.watching(app) as seen:
        drain_node(world, node)
        holder = world.active()["metadata"]["name"]
        if holder == active["metadata"]["name"]:
            raise Wrong(f"{holder} is active still")
        world.kubectl("uncordon", node)
        app.complete(2)
        fails_over(world, app)
    seen.never_failed()
    world.settled()
