"""The scenarios by name, and how one is run."""

import time
import traceback

import app
from base import Fail
from world import Wrong, expect

SCENARIOS = []


def scenario(name, ci=False, restarts=False, changes=False):
    """Registers a scenario. ci: in CI's selection, if a busy machine cannot change
    the outcome. restarts: zen-lead's own containers may restart in
    it. changes: zen-lead's pods are replaced by it."""

    def register(function):
        SCENARIOS.append({"name": name, "run": function, "ci": ci, "restarts": restarts, "changes": changes})
        return function

    return register


def perform(world, chosen):
    """Runs one scenario; returns its row of the table."""
    world.seen, world.notes, world.apps = [], [], []
    begun = time.monotonic()
    wrong = None
    try:
        world.settled()
        before = world.restarts()
        chosen["run"](world, lambda **options: app.make(world, **options))
        for made in world.apps:
            check_end(made)
        if not chosen["restarts"]:
            after = world.restarts()
            kept = {pod: count for pod, count in before.items() if pod in after or not chosen["changes"]}
            expect("restarts of zen-lead", {pod: after.get(pod) for pod in kept}, kept)
    except (Wrong, Fail) as error:
        wrong = str(error)
    except Exception:  # a scenario's own mistake must not end the others
        wrong = traceback.format_exc()
    finally:
        restore(world)
    return row(world, chosen, wrong, time.monotonic() - begun)


def check_end(made):
    """One pod is published; it is the one that answered the client last."""
    leader = made.leader()
    for seen in [seen for seen in made.world.seen if seen.app is made][-1:]:
        for target, result in seen.results.items():
            last = result["stints"][-1]["pod"] if result["stints"] else None
            expect(f"who answers at {target} in the end", last, leader)


def restore(world):
    """What the next scenario takes for granted."""
    if not world.control_plane.alive("kube-apiserver"):
        world.cluster.control_plane("start-apiserver")
    for node in world.cluster.nodes:
        if not world.cluster.alive(node.name):
            world.cluster.start_node(node.number)
    for made in world.apps:
        made.remove()
    for node in world.items("/api/v1/nodes"):
        if node["spec"].get("unschedulable"):
            world.kubectl("uncordon", node["metadata"]["name"])


def row(world, chosen, wrong, seconds):
    results = [result for seen in world.seen for result in seen.results.values()]
    return {
        "scenario": chosen["name"],
        "passed": wrong is None,
        "wrong": wrong,
        "attempts": sum(result["attempts"] for result in results),
        "failed": sum(result["failed"] for result in results),
        # By name there is a connection every 100 ms only: no measure of a gap.
        "longest_gap_ms": max((seen.busiest()["longest_gap_ms"] for seen in world.seen), default=0),
        "moves": max((seen.moves() for seen in world.seen), default=None),
        "notes": world.notes,
        "seconds": round(seconds, 1),
        "client": [seen.results for seen in world.seen],
    }
