"""Other ways to the leader than a ClusterIP."""

from scenario import scenario
from world import expect


@scenario("NodePort", ci=True)
def node_port(world, make):
    app = make(annotations={"zen-lead.io/leader-service-type": "NodePort"})
    old = app.leads()
    port = app.service()["spec"]["ports"][0]["nodePort"]
    targets = [f"{node.address}:{port}" for node in world.cluster.nodes[:2]]
    with world.watching(app, targets) as seen:
        app.delete(old)
        new = app.moved_from(old)
    seen.never_failed()
    seen.answered(old, new)


@scenario("Headless, through CoreDNS", ci=True)
def headless(world, make):
    # The ttl of an answer is 5 s: an app behind clients that cache it serves on for longer.
    app = make(annotations={"zen-lead.io/leader-service-type": "Headless"}, on_term="exit", pre_stop=7)
    old = app.leads()
    expect("its clusterIP", app.service()["spec"]["clusterIP"], "None")
    with world.watching(app, [app.dns(8080)]) as seen:
        app.delete(old)
        new = app.moved_from(old)
    seen.never_failed()
    seen.answered(old, new)
