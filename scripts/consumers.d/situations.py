"""The situations, in the order in which one follows from the other."""

from world import PODS, SOURCES, World, leader_of, until

SITUATIONS = []


def situation(name):
    def register(function):
        SITUATIONS.append((name, function))
        return function

    return register


@situation("opted in")
def opted_in(world: World):
    for pod in PODS:
        world.ready(pod, pod != "my-app-2")
    world.annotate("zen-lead.io/enabled=true")
    world.settle("my-app-0")
    world.seen_cluster_ip = world.cluster_ip("my-app")


@situation("failover")
def failover(world: World):
    world.ready("my-app-0", False)
    world.settle("my-app-1")


@situation("planned move")
def planned(world: World):
    world.ready("my-app-0", True)
    world.annotate("zen-lead.io/preferred-leader=my-app-0")
    world.settle("my-app-0")


@situation("terminating, none ready")
def terminating(world: World):
    world.ready("my-app-1", False)
    world.kubectl("delete", "pod", "my-app-0", "--wait=false")
    world.settle("my-app-0")

    def told():
        return all(e["conditions"].get("terminating") for source in SOURCES for e in world.endpoints(source))

    until("the slices say that my-app-0 terminates", told)


@situation("none")
def none(world: World):
    world.kubectl("delete", "pod", "my-app-0", "--grace-period=0", "--force")
    world.settle(None)


@situation("opted out")
def opted_out(world: World):
    world.ready("my-app-1", True)
    world.settle("my-app-1")
    world.annotate("zen-lead.io/enabled-")
    world.leader = None
    for source in SOURCES:
        service = leader_of(source)
        until(f"{service} is gone", lambda source=source: not world.cluster_ip(source) and not world.endpoints(source))
