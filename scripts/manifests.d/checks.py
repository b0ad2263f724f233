"""What can be said about the manifests without a cluster."""

import os

from kube import MANIFESTS, ensure, objects, run

# What is rendered from where, for those who `kubectl apply -f`.
RENDERED = {"install.yaml": "namespaced", "install-cluster-wide.yaml": "cluster-wide"}
HEADER = "# Rendered from the kustomization `{}` by `scripts/manifests render`: edit it there.\n"
RIGHTS = {
    "services": {"get", "list", "watch", "create", "patch", "delete"},
    "endpointslices": {"get", "list", "watch", "create", "patch", "delete"},
    "pods": {"get", "list", "watch"},
    "events": {"create", "patch"},
    "leases": {"get", "list", "watch", "create", "patch"},
}


def path(name):
    return os.path.join(MANIFESTS, name)


def kustomized(directory):
    return run("kubectl", "kustomize", path(directory)).stdout


def rendered(directory):
    return HEADER.format(directory) + kustomized(directory)


def render():
    for file, directory in RENDERED.items():
        with open(path(file), "w", encoding="utf-8") as output:
            output.write(rendered(directory))


def check():
    for file, directory in RENDERED.items():
        with open(path(file), encoding="utf-8") as committed:
            is_fresh = committed.read() == rendered(directory)
        ensure(is_fresh, f"manifests/{file} is not what manifests/{directory} renders to: run scripts/manifests render")
        found = objects(kustomized(directory))
        one_name(found, file)
        at_most_the_documented_rights(found, file)
        namespaces_have_rights(found, file)
        print(f"{file}: {len(found)} objects, up to date")
    check_optional()


def check_optional():
    """What is applied beside an installation, for a few namespaces and for all, grants the same."""
    granted = []
    for file in ("optional/follow.yaml", "optional/follow-cluster-wide.yaml"):
        with open(path(file), encoding="utf-8") as text:
            found = objects(text.read())
        one_name(found, file)
        at_most_the_documented_rights(found, file)
        granted.append([role["rules"] for role in of_kind(found, "Role", "ClusterRole")])
    ensure(granted[0] == granted[1], f"one grants {granted[0]}, the other {granted[1]}")


def of_kind(found, *kinds):
    return [item for item in found if item["kind"] in kinds]


def one_name(found, file):
    for item in found:
        name = item["metadata"].get("labels", {}).get("app.kubernetes.io/name")
        ensure(name == "zen-lead", f"{file}: {item['kind']} {item['metadata']['name']} is labelled {name}")
    for binding in of_kind(found, "RoleBinding", "ClusterRoleBinding"):
        who = [(subject["kind"], subject["namespace"], subject["name"]) for subject in binding["subjects"]]
        ensure(who == [("ServiceAccount", "zen-lead", "zen-lead")], f"{file}: rights for {who}")


def at_most_the_documented_rights(found, file):
    for role in of_kind(found, "Role", "ClusterRole"):
        for rule in role["rules"]:
            for resource in rule["resources"]:
                more = set(rule["verbs"]) - RIGHTS.get(resource, set())
                ensure(not more, f"{file}: {role['metadata']['name']} grants {sorted(more)} on {resource}")


def namespaces_have_rights(found, file):
    """The variable and the Roles tell the same story."""
    [deployment] = of_kind(found, "Deployment")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    told = [variable["value"] for variable in container["env"] if variable["name"] == "ZEN_LEAD_NAMESPACES"]
    roles = sorted(
        binding["metadata"]["namespace"]
        for binding in of_kind(found, "RoleBinding")
        if binding["roleRef"]["name"] == "zen-lead"
    )
    everywhere = [item["metadata"]["name"] for item in of_kind(found, "ClusterRoleBinding")]
    if told:
        ensure(not everywhere, f"{file}: namespaces are named, and yet rights everywhere by {everywhere}")
        ensure(sorted(told[0].split(",")) == roles, f"{file}: {told[0]} is to be served, but Roles are in {roles}")
    else:
        ensure(everywhere == ["zen-lead"], f"{file}: no namespaces are named, and rights everywhere by {everywhere}")
