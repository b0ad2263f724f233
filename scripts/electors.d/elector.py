"""One candidate of an election by the leader election of the `kubernetes` package of PyPI.

elector.py KUBECONFIG NAMESPACE/NAME IDENTITY DURATION DEADLINE RETRY (whole seconds)

It does nothing while it leads. The library has no way to give a Lease back.
"""

import sys

from kubernetes import config
from kubernetes.leaderelection.electionconfig import Config
from kubernetes.leaderelection.leaderelection import LeaderElection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock


def main(kubeconfig, lease, identity, *seconds):
    duration, deadline, retry = map(int, seconds)
    config.load_kube_config(kubeconfig)
    namespace, name = lease.split("/")
    LeaderElection(
        Config(
            LeaseLock(name, namespace, identity),
            lease_duration=duration,
            renew_deadline=deadline,
            retry_period=retry,
            onstarted_leading=lambda: print(f"{identity} leads", flush=True),
            onstopped_leading=lambda: print(f"{identity} does not lead", flush=True),
        )
    ).run()
    sys.exit(f"{identity}: lost the Lease")


main(*sys.argv[1:])
