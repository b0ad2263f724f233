"""A leader that fails by itself."""

import contextlib
import time

from scenario import scenario
from world import Wrong, expect, until


@scenario("opt-in", ci=True)
def opt_in(world, make):
    app = make(opted_in=False)
    expect("leader Service before", app.service(), None)
    app.annotate("zen-lead.io/enabled=true")
    leader = app.leads()
    with world.watching(app) as seen:
        time.sleep(1)
    seen.never_failed()
    seen.answered(leader)
    app.annotate("zen-lead.io/enabled-")
    until("the leader Service is gone", lambda: app.service() is None and not app.endpoints())
    world.seen.remove(seen)  # it describes a Service that is no more
    app.annotate("zen-lead.io/enabled=true")
    app.leads()
    with world.watching(app) as seen:
        time.sleep(1)
    seen.never_failed()


@scenario("probe fails, app serves on", ci=True)
def probe_fails(world, make):
    app = make()
    world.move(app, lambda leader: app.call(leader, "/fail"))


@scenario("app hangs")
def hangs(world, make):
    app = make()
    world.move(app, lambda leader: app.call(leader, "/hang"), may_fail=True)


@scenario("process exits", ci=True)
def process_exits(world, make):
    app = make()
    # The kubelet may start it again before it reports the pod NotReady.
    old, _ = world.move(app, lambda leader: app.call(leader, "/exit?code=1"), may_fail=True)
    expect("restarts of the leader's container", restarts(world, old), 1)


@scenario("process is killed")
def process_killed(world, make):
    app = make()
    world.move(app, lambda leader: world.kill_container(world.pod(leader)), may_fail=True)


@scenario("out of memory")
def out_of_memory(world, make):
    app = make(memory="48Mi")

    def allocate(leader):
        with contextlib.suppress(OSError):  # the process ends during the request, as it should
            app.call(leader, "/allocate?mb=200")

    old, _ = world.move(app, allocate, may_fail=True)
    status = world.pod(old)["status"]["containerStatuses"][0]
    ended = status.get("lastState", {}).get("terminated") or status["state"].get("terminated") or {}
    expect("why the container has ended", ended.get("reason"), "OOMKilled")


@scenario("kubelet evicts the leader")
def kubelet_evicts(world, make):
    app = make(scratch=True)
    old, _ = world.move(app, lambda leader: app.call(leader, "/fill?mb=5"), may_fail=True)
    pod = world.pod(old)
    if pod and pod["status"].get("reason") != "Evicted":
        raise Wrong(f"{old}: {pod['status'].get('reason')}, expected Evicted")


def restarts(world, pod):
    return world.pod(pod)["status"]["containerStatuses"][0]["restartCount"]
