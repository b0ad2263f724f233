"""Failovers one by one, and what each client saw of them."""

import contextlib
import random
import time
from collections import namedtuple

from netns import INTERVAL
from stage import FLOOR, OURS, Neighbour
from world import Wrong

WRITERS = {OURS: "zen-lead", FLOOR: "bare PATCH"}
# In an eviction the old leader serves on; the bare PATCH loop does not know of it.
LOST = ["readiness", "deletion", "eviction"]
# In the first 10 s of its tenure zen-lead asks the server before it leaves a pod that is not Ready.
SETTLED = 11
# kube-proxy's longest pause between two syncs, in seconds.
PAUSE = 1.1
PATIENCE = 60


class Section(namedtuple("Section", "source app proxy batch share lost")):
    """What is the same in a group of failovers, how many times the rounds are done, and how leaders are lost."""

    @property
    def name(self):
        return f"{self.source} {self.proxy} {self.batch or ''}"


SECTIONS = [
    Section("ClusterIP", "by-ip", "idle", None, 2, LOST),
    Section("Headless", "headless", "idle", None, 1, LOST[:2]),
    Section("`service-proxy-name`", "labelled", "idle", None, 1, LOST[:2]),
    Section("ClusterIP", "by-ip", "busy", None, 1, LOST[:2]),
    Section("Headless", "headless", "busy", None, 1, LOST[:2]),
    Section("ClusterIP", "by-ip", "idle", "100ms", 1, LOST[:2]),
]


def perform(stage, nodes, sections, rounds, say):
    """All rounds. After each section: a row for each failover so far, and what was not as expected."""
    rows, wrong = [], []
    time.sleep(max(0, stage.began + SETTLED - time.monotonic()))
    for section in sections:
        begun = time.monotonic()
        count = section.share * rounds
        before = len(rows)
        if section.batch:
            stage.batch(section.batch)
        with Neighbour(stage) if section.proxy == "busy" else contextlib.nullcontext():
            bench = Bench(stage, nodes, section)
            bench.fail_over(OURS, LOST[0], 0)  # not counted: it may be the one that clears managedFields
            for lost in section.lost:
                for number in range(count):
                    turns = [OURS, FLOOR] if number % 2 else [FLOOR, OURS]
                    for namespace in turns if lost != "eviction" else [OURS]:
                        rows.append(bench.fail_over(namespace, lost, number))
            for each in bench.wrong:
                say("    " + each)
            wrong += bench.wrong
        say(f"{section.source}, kube-proxy {section.proxy}: {len(rows) - before} in {time.monotonic() - begun:.0f} s")
        yield rows, wrong


class Bench:
    def __init__(self, stage, nodes, section):
        self.stage, self.nodes, self.section = stage, nodes, section
        self.wrong = []  # counts that are not what they have to be

    def until(self, what, check):
        deadline = time.monotonic() + PATIENCE
        while not check():
            if time.monotonic() > deadline:
                self.stage.check()
                last = {node.label: sorted({answer for _, answer in node.client.seen[-100:]}) for node in self.nodes}
                raise Wrong(f"not within {PATIENCE} s: {what}; the last answers were {last}")
            time.sleep(INTERVAL)

    def quiet(self):
        """Until kube-proxy has nothing left to do and its pause is over; while it is busy, any moment."""
        if self.section.proxy == "busy":
            time.sleep(PAUSE + random.random())
        else:
            wakes = self.section.app != "headless"
            time.sleep(PAUSE * (2 if wakes else 1) + 0.1 * random.random())

    def fail_over(self, namespace, lost, number):
        """The leader is lost, the clients follow, and it comes back."""
        stage, app = self.stage, self.stage.apps[namespace, self.section.app]
        endpoints = stage.published(app)
        old = endpoints[0]["addresses"][0]
        pod = int(endpoints[0]["targetRef"]["name"][-1]) if namespace == OURS else number % 2
        address = stage.cluster_ip_of(app)
        for node in self.nodes:
            node.client.aim(address)
        self.until(f"{old} answers the clients", lambda: all(node.answered(old) for node in self.nodes))
        self.quiet()
        begun = time.monotonic()
        if lost == "readiness":
            stage.turn(app, pod, False)
        elif lost == "eviction":
            stage.evict(app, pod)
        else:
            for node in self.nodes:
                node.order("down", old)
            stage.delete(app, pod)
        self.until(f"a pod other than {old} answers", lambda: all(node.moved(begun, old) for node in self.nodes))
        stage.native_shows(app, pod, False)
        endpoints = stage.published(app)
        self.until("the watch shows both slices", lambda: all(stage.versions(begun, app)))
        ours, native = stage.versions(begun, app)
        seen = {node.label: self.look(node, begun, old) for node in self.nodes}
        if lost == "readiness":
            stage.turn(app, pod, True)
        elif lost == "eviction":
            stage.delete(app, pod)
            stage.create_pod(app, pod)
        else:
            for node in self.nodes:
                node.order("up", old)
            stage.create_pod(app, pod)
        stage.native_shows(app, pod, True)
        row = {
            "source": self.section.source,
            "proxy": self.section.proxy,
            "batch": self.section.batch,
            "lost": lost,
            "writer": WRITERS[namespace],
            "first": ours[0] < native[0],
            "writes": len(ours),
            "native writes": len(native),
            "published": [each for endpoint in endpoints for each in endpoint["addresses"]],
            "seen": seen,
        }
        about = ", ".join([self.section.source, self.section.proxy, lost, WRITERS[namespace]])
        self.wrong += [f"{about}: {each}" for each in unexpected(row, old)]
        return row

    def look(self, node, begun, old):
        """What a client saw of it: how long until it reached the new leader, and how many connects failed."""
        moved, new = node.moved(begun, old)
        answers = node.client.since(begun - 0.5)
        failed = [at for at, answer in answers if answer.startswith("-")]
        return {
            "ms": round(1e3 * (moved - begun), 1),
            "of": len(answers),
            "failed": len(failed),
            "failed later": sum(at > moved for at in failed),
            "why": sorted({answer for _, answer in answers if answer.startswith("-")}),
            "new": new,
            "others": sorted({answer for at, answer in answers if at > moved and answer[0] != "-"} - {new}),
        }


def unexpected(row, old):
    """Exactly one pod is published, by one write; it alone answers after the move; and while the old one
    serves on, no connect fails."""
    published = row["published"]
    if row["writes"] != 1:
        yield f"{row['writes']} writes of the leader Service's slice, expected one"
    if len(published) != 1 or published == [old]:
        yield f"{published} are published, expected one pod other than {old}"
    for label, one in row["seen"].items():
        if [one["new"]] != published or one["others"]:
            yield f"minSyncPeriod {label}: expected {published} alone to answer after the move: {one}"
        if row["lost"] != "deletion" and one["failed"]:
            yield f"minSyncPeriod {label}: {one['failed']} connects failed, expected none: {one['why']}"
