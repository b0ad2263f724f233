"""What every consumer has: a start, a question, and the answers that are expected."""

import contextlib
import json
import time
import urllib.request

from world import Wrong

# Stands for the pod that zen-lead publishes in the situation.
LEADER = "leader"
CONSUMERS = []
# What has been done is known to the slowest one after this long: kube-proxy waits a second between syncs.
SETTLE = 1.5
PATIENCE = 20
# An answer has to hold for this long.
HOLD = 0.3


def consumer(kind):
    CONSUMERS.append(kind)
    return kind


class Consumer:
    """One program that reads Services and slices."""

    name = ""
    note = ""  # how the question is put
    build = ""  # what building it costs, once
    ci = False
    # Type of the leader Service: the answer in each situation, in the order of the situations.
    expected = {}

    def version(self):
        raise NotImplementedError

    def lacks(self):
        """Why it cannot run on this machine, if so."""

    def start(self, world):
        raise NotImplementedError

    def ask(self, world, source):
        """What it makes of the leader Service of a source: a list of names, or one word."""
        raise NotImplementedError

    def stop(self):
        """Ends what the world does not end by itself."""

    def checked(self, world, source, wanted):
        """Asks until the answer is the wanted one and stays so; returns the last answer."""
        wanted = [world.leader] if wanted == LEADER else wanted
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self.ask(world, source)
            if answer == wanted:
                time.sleep(HOLD)
                answer = self.ask(world, source)
            if answer == wanted or time.monotonic() > deadline:
                return answer, answer == wanted
            time.sleep(0.1)


def fetch(url):
    """The JSON behind an address, None while there is no answer."""
    with contextlib.suppress(OSError, ValueError):
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)
    return None


def fetched(url):
    found = fetch(url)
    if found is None:
        raise Wrong(f"no answer from {url}")
    return found
