//! What kubectl prints: columns, and the cells of one object of each kind.

use serde_json::{Value, json};

use super::{Step, delete, get, patch, post, printed};

pub(super) fn steps() -> Vec<Step> {
    let mut steps = objects();
    for (kind, name) in [
        ("services", "t"),
        ("services", "t-lb"),
        ("services", "t-ext"),
        ("services", "t-none"),
        ("services", "t-np"),
        ("pods", "t"),
        ("pods", "t-new"),
        ("slices", "t"),
        ("slices", "t-empty"),
        ("leases", "t"),
        ("nodes", "{ns}-t"),
        ("nodes", "{ns}-t2"),
        ("namespaces", "{ns}"),
        ("configmaps", "t"),
    ] {
        steps.push(printed(get(kind, &format!("/{name}"))));
    }
    for kind in ["leases", "slices", "configmaps"] {
        steps.push(printed(get(kind, "?fieldSelector=metadata.name%3Dt")));
        steps.push(printed(get(kind, "?fieldSelector=metadata.name%3Dnobody")));
    }
    steps.extend([
        printed(get("leases", "/missing")),
        delete("nodes", "{ns}-t", Value::Null),
        delete("nodes", "{ns}-t2", Value::Null),
    ]);
    steps
}

fn objects() -> Vec<Step> {
    let ready = json!({"status": {
        "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": "a", "image": "i", "imageID": "", "ready": true, "restartCount": 2, "state": {"running": {}}}],
    }});
    let pod = |name: &str| {
        post(
            "pods",
            json!({"metadata": {"name": name}, "spec": {"nodeName": "n", "containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]}}),
        )
    };
    let service = |name: &str, spec: Value| {
        post(
            "services",
            json!({"metadata": {"name": name}, "spec": spec}),
        )
    };
    vec![
        service(
            "t",
            json!({"selector": {"a": "b", "c": "d"}, "ports": [{"name": "x", "port": 80}, {"name": "y", "port": 53, "protocol": "UDP"}]}),
        ),
        service(
            "t-lb",
            json!({"type": "LoadBalancer", "ports": [{"port": 80}]}),
        ),
        service(
            "t-ext",
            json!({"type": "ExternalName", "externalName": "a.example.com"}),
        ),
        service("t-none", json!({"clusterIP": "None"})),
        service(
            "t-np",
            json!({"type": "NodePort", "externalIPs": ["192.0.2.9"], "ports": [{"port": 80}]}),
        ),
        pod("t"),
        patch("pods", "t/status", ready),
        pod("t-new"),
        post(
            "slices",
            json!({
                "metadata": {"name": "t"}, "addressType": "IPv4", "ports": [{"name": "x", "port": 80}, {"name": "y", "port": 81}],
                "endpoints": [{"addresses": ["10.0.0.1", "10.0.0.5"]}, {"addresses": ["10.0.0.2"]}, {"addresses": ["10.0.0.3"]}, {"addresses": ["10.0.0.4"]}],
            }),
        ),
        post(
            "slices",
            json!({"metadata": {"name": "t-empty"}, "addressType": "IPv4", "endpoints": []}),
        ),
        post(
            "leases",
            json!({"metadata": {"name": "t"}, "spec": {"holderIdentity": "me"}}),
        ),
        post(
            "nodes",
            json!({"metadata": {"name": "{ns}-t", "labels": {"node-role.kubernetes.io/worker": ""}}, "spec": {"unschedulable": true}}),
        ),
        post("nodes", json!({"metadata": {"name": "{ns}-t2"}})),
        patch(
            "nodes",
            "{ns}-t2/status",
            json!({"status": {
                "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
                "conditions": [{"type": "Ready", "status": "True"}],
                "nodeInfo": {"kubeletVersion": "v1.2.3", "osImage": "Linux", "kernelVersion": "6", "containerRuntimeVersion": "c://1"},
            }}),
        ),
        post(
            "configmaps",
            json!({"metadata": {"name": "t"}, "data": {"a": "b", "c": "d"}}),
        ),
    ]
}
