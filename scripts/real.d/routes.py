"""Other ways to the leader than a ClusterIP."""

from scenario import scenario
from world import expect


@scenario("NodePort", ci=True)
def node_port(world, make):
    app = make(annotations={"zen-lead.io/leader-service-type": "NodePort"})
    app.leads()
    port = app.service()["spec"]["ports"][0]["nodePort"]
    targets = [f"{node.address}:{port}" for node in world.cluster.nodes[:2]]
    world.move(app, app.delete, targets)


@scenario("Headless, through CoreDNS")
def headless(world, make):
    # The ttl of an answer is 5 s: an app behind clients that cache it serves on for longer.
    app = make(annotations={"zen-lead.io/leader-service-type": "Headless"}, on_term="exit", pre_stop=7)
    app.leads()
    expect("its clusterIP", app.service()["spec"]["clusterIP"], "None")
    world.move(app, app.delete, [app.dns(8080)])
