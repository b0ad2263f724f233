"""The ways to install zen-lead, to steer it, and to hold it to its rights."""

import contextlib
import os
import subprocess
import tempfile
import time

from scenario import scenario
from world import MANIFESTS, REGISTRY_IMAGE, ROOT, Wrong, expect, until


# The last commit of 0.2.0: what an upgrade begins with.
RELEASED = "fbe5d96"


@contextlib.contextmanager
def released():
    """The folder of manifests as 0.2.0 has it."""
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.run(["git", "-C", ROOT, "archive", RELEASED, "manifests"], capture_output=True, check=False)
        expect("exit of git archive", packed.returncode, 0)
        subprocess.run(["tar", "-x", "-C", folder], input=packed.stdout, check=True)
        yield os.path.join(folder, "manifests")


def manifest(*parts):
    return os.path.join(MANIFESTS, *parts)


@scenario("kubectl exec of the commands in zen-lead's pod", ci=True)
def commands_inside(world, make):
    app = make()
    for pod in world.controllers():
        name = pod["metadata"]["name"]

        def run(*arguments, name=name):
            inside = ["exec", "--namespace=zen-lead", name, "--", "/zen-lead", *arguments, "--namespace=default"]
            return world.kubectl(*inside)

        expect("leader", run("leader", app.name).strip(), app.leads())
        if app.leads() not in run("status", app.name):
            raise Wrong(f"status in {name} does not name {app.leads()}")


@scenario("kubectl zen-lead from outside", ci=True)
def commands_outside(world, make):
    app = make()
    old = app.leads()
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(world.cluster.options["binary"], os.path.join(folder, "kubectl-zen_lead"))
        env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "KUBECONFIG": world.kubeconfig}

        def run(*arguments):
            done = subprocess.run(
                ["kubectl", "zen-lead", *arguments], env=env, capture_output=True, text=True, check=False, timeout=60
            )
            expect(f"exit of kubectl zen-lead {' '.join(arguments)}, {done.stdout}{done.stderr}", done.returncode, 0)
            return done.stdout

        expect("leader", run("leader", app.name).strip(), old)
        run("explain", app.name)
        with world.watching(app) as seen:
            run("switchover", app.name, "--wait")
            new = app.leads()
        seen.never_failed()
        seen.answered(old, new)
        run("doctor")


@scenario("under the admission policy", ci=True)
def admission_policy(world, make):
    policy = manifest("policy", "policy.yaml")
    world.kubectl("apply", "--server-side", "--filename", policy)
    try:
        app = make()
        account = "--as=system:serviceaccount:zen-lead:zen-lead"

        def refused():
            patch = ["patch", "service", app.name, account, "--type=merge", '--patch={"metadata":{"labels":{"a":"b"}}}']
            return "is not zen-lead's" in world.kubectl(*patch, check=False).stderr

        until("the policy holds zen-lead's account to its own Services", refused)
        world.move(app, app.delete)
    finally:
        world.kubectl("delete", "--filename", policy)


@scenario("cluster-wide install", changes=True)
def cluster_wide(world, make):
    world.kubectl("create", "namespace", "team-a")
    try:
        world.install(name="install-cluster-wide.yaml")
        # What the old installation granted, as manifests/README.md says.
        world.kubectl("delete", "role,rolebinding", "zen-lead", "--namespace=default")
        for namespace in ("team-a", "default"):
            app = make(namespace=namespace)
            world.move(app, app.delete)
    finally:
        world.kubectl("delete", "namespace", "team-a", "--wait=false")
        world.kubectl("delete", "clusterrole,clusterrolebinding", "zen-lead", "--ignore-not-found")
        world.install()


@scenario("upgrade from the manifests of 0.2.0, and back", changes=True)
def upgrade(world, make):
    with released() as old:
        world.install(old)
        app = make()
        for manifests in (old, MANIFESTS, old, MANIFESTS):
            leader = app.leads()
            with world.watching(app) as seen:
                world.install(manifests)
            seen.never_failed()
            seen.answered(leader)
            world.move(app, app.delete)
            app.complete(2)


@scenario("Helm: the chart of 0.2.0, upgrade, rollback", changes=True)
def helm(world, make):
    tool = os.path.join(ROOT, "scripts", "manifests")
    program = subprocess.run([tool, "helm"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()[-1]
    image = ["--set", "image.repository=" + REGISTRY_IMAGE]

    def run(*arguments):
        command = [program, "--kubeconfig", world.kubeconfig, "--namespace", "zen-lead", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
        expect(f"exit of helm {arguments[0]}, {done.stderr.strip()}", done.returncode, 0)

    world.uninstall()
    try:
        with released() as old:
            run("install", "zen-lead", os.path.join(old, "helm"), "--create-namespace", *image, "--wait")
        world.settled()
        app = make()
        world.move(app, app.delete)
        app.complete(2)
        leader = app.leads()
        with world.watching(app) as seen:
            run(
                "upgrade",
                "zen-lead",
                manifest("helm"),
                *image,
                "--set",
                "controller.extraArgs={--log-level=debug}",
                "--wait",
            )
            world.settled()
            run("rollback", "zen-lead", "1", "--wait")
            world.settled()
        seen.never_failed()
        seen.answered(leader)
        world.move(app, app.delete)
    finally:
        world.kubectl("delete", "namespace", "zen-lead", "--ignore-not-found")
        world.kubectl("delete", "priorityclass", "zen-lead", "--ignore-not-found")
        world.install()


@scenario("the token is rotated", changes=True)
def token_rotation(world, make):
    """A token of ten minutes, the shortest that there is, and failovers beyond its end."""
    token = {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}}
    authority = {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
    namespace = {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}
    patch = {
        "spec": {
            "template": {
                "spec": {
                    "automountServiceAccountToken": False,
                    "volumes": [{"name": "token", "projected": {"sources": [token, authority, namespace]}}],
                    "containers": [
                        {
                            "name": "zen-lead",
                            "volumeMounts": [
                                {
                                    "name": "token",
                                    "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                                    "readOnly": True,
                                }
                            ],
                        }
                    ],
                }
            }
        }
    }
    world.patch_controller(patch)
    try:
        app = make()
        before = world.restarts()
        begun = time.monotonic()
        while time.monotonic() - begun < 700:
            world.move(app, app.delete)
            app.complete(2)
            world.seen.clear()  # one row of the table is about the last
            time.sleep(60)
        world.move(app, app.delete)
        expect("restarts of zen-lead", world.restarts(), before)
    finally:
        world.uninstall()
        world.install()
