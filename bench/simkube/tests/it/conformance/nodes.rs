//! Nodes: what a drain, a cordon and a look at them need.

use serde_json::{Value, json};

use super::{Step, delete, get, patch, post, put};

pub(super) fn steps() -> Vec<Step> {
    let node = |rest: Value| {
        let mut body = rest;
        body["metadata"]["name"] = "{ns}-a".into();
        body
    };
    let mut steps = vec![
        get("nodes", "/{ns}-a"),
        post(
            "nodes",
            node(json!({"metadata": {"labels": {"zone": "{ns}"}}})),
        ),
        post("nodes", node(json!({}))),
        get("nodes", "/{ns}-a"),
        get("nodes", "?labelSelector=zone%3D{ns}"),
        get("nodes", "?fieldSelector=metadata.name%3D{ns}-a"),
        get(
            "nodes",
            "?labelSelector=zone%3D{ns}&fieldSelector=spec.unschedulable%3Dfalse",
        ),
        get("nodes", "?fieldSelector=spec.podCIDR%3Dx"),
        // A cordon, and its end.
        patch("nodes", "{ns}-a", json!({"spec": {"unschedulable": true}})),
        patch("nodes", "{ns}-a", json!({"spec": {"unschedulable": true}})),
        get(
            "nodes",
            "?labelSelector=zone%3D{ns}&fieldSelector=spec.unschedulable%3Dtrue",
        ),
        patch("nodes", "{ns}-a", json!({"spec": {"unschedulable": null}})),
        patch(
            "nodes",
            "{ns}-a",
            json!({"spec": {"taints": [{"key": "example.com/a", "effect": "NoSchedule"}]}}),
        ),
        patch("nodes", "{ns}-a", json!({"status": {"phase": "Running"}})),
        patch(
            "nodes",
            "{ns}-a/status",
            json!({"status": {
                "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
                "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": null, "lastTransitionTime": null}],
            }}),
        ),
        patch(
            "nodes",
            "{ns}-a/status",
            json!({"spec": {"unschedulable": true}}),
        ),
        patch(
            "nodes",
            "{ns}-a",
            json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": "1"}]),
        ),
    ];
    steps.extend(refusals());
    steps.extend([
        put("nodes", "{ns}-a", node(json!({"metadata": {"labels": {"zone": "{ns}", "put": "yes"}}}))),
        put("nodes", "{ns}-none", json!({"metadata": {"name": "{ns}-none"}})),
        patch("nodes", "{ns}-a", json!({"metadata": {"finalizers": ["example.com/x"]}})),
        delete("nodes", "{ns}-a", json!({"preconditions": {"uid": "other"}})),
        delete("nodes", "{ns}-a", Value::Null),
        patch("nodes", "{ns}-a", json!({"metadata": {"finalizers": null}})),
        delete("nodes", "{ns}-a", Value::Null),
        post(
            "nodes",
            json!({"metadata": {"name": "{ns}-b"}, "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}}),
        ),
        delete("nodes", "{ns}-b", Value::Null),
    ]);
    steps
}

fn refusals() -> Vec<Step> {
    let spec = |spec: Value| patch("nodes", "{ns}-a", json!({"spec": spec}));
    let mut steps = vec![
        spec(json!({"unschedulable": "yes"})),
        spec(json!({"taints": [{"key": "a"}]})),
        spec(json!({"taints": [{"key": "a b", "effect": "NoSchedule"}]})),
        spec(json!({"taints": [{"key": "a", "effect": "Odd"}]})),
        spec(
            json!({"taints": [{"key": "a", "effect": "NoExecute"}, {"key": "a", "effect": "NoExecute"}]}),
        ),
    ];
    for name in ["A", "a_b", "a b"] {
        steps.push(post("nodes", json!({"metadata": {"name": name}})));
    }
    steps.push(post(
        "nodes",
        json!({"metadata": {"name": "{ns}-c", "namespace": "default"}}),
    ));
    steps.push(delete("nodes", "{ns}-c", Value::Null));
    steps
}

/// A Node that comes, is cordoned and goes out of sight.
pub(super) fn watched() -> Vec<Step> {
    let made = |name: &str| {
        let labels = json!({"zone": "watched-{ns}"});
        post(
            "nodes",
            json!({"metadata": {"name": name, "labels": labels}}),
        )
    };
    vec![
        made("{ns}-watched"),
        patch(
            "nodes",
            "{ns}-watched",
            json!({"spec": {"unschedulable": true}}),
        ),
        patch(
            "nodes",
            "{ns}-watched",
            json!({"metadata": {"labels": null}}),
        ),
        delete("nodes", "{ns}-watched", Value::Null),
        made("{ns}-last"),
        delete("nodes", "{ns}-last", Value::Null),
    ]
}
