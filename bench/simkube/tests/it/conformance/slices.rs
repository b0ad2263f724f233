//! `EndpointSlices`, and patches, preconditions and finalizers as they are for every kind.

use serde_json::{Value, json};

use super::{Step, delete, get, managers, patch, post, put, slice};

pub(super) fn steps() -> Vec<Step> {
    let with = |kind: &str, addresses: Value| json!({"addressType": kind, "endpoints": [{"addresses": addresses}]});
    let mut steps = vec![
        slice(
            "a",
            json!({"addressType": "IPv4", "endpoints": [], "ports": [{"port": 80}]}),
        ),
        get("slices", "/a"),
        patch(
            "slices",
            "a",
            json!([{"op": "replace", "path": "/endpoints", "value": [{"addresses": ["10.0.0.1"], "nodeName": "n", "targetRef": {"kind": "Pod", "name": "p", "namespace": "{ns}", "uid": "u"}, "conditions": {"ready": true, "serving": true, "terminating": false}}]}]),
        ),
        patch(
            "slices",
            "a",
            json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": "{rv}"}, {"op": "replace", "path": "/endpoints", "value": []}]),
        ),
        patch(
            "slices",
            "a",
            json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": "1"}, {"op": "replace", "path": "/endpoints", "value": []}]),
        ),
        patch(
            "slices",
            "a",
            json!([{"op": "test", "path": "/addressType", "value": "IPv6"}]),
        ),
        patch(
            "slices",
            "a",
            json!([{"op": "remove", "path": "/metadata/labels/x"}]),
        ),
        patch(
            "slices",
            "a",
            json!([{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]),
        ),
        patch(
            "slices",
            "a",
            json!([{"op": "add", "path": "/metadata/labels/a~1b", "value": "c"}]),
        ),
        patch(
            "slices",
            "a",
            json!([{"op": "replace", "path": "/addressType", "value": "IPv6"}]),
        ),
        patch(
            "slices",
            "a",
            json!([{"op": "replace", "path": "/metadata/name", "value": "b"}]),
        ),
        patch(
            "slices",
            "a",
            json!([{"op": "replace", "path": "/metadata/uid", "value": "b"}]),
        ),
        patch(
            "slices",
            "a",
            json!({"metadata": {"finalizers": ["example.com/x"]}}),
        ),
        delete("slices", "a", json!({"preconditions": {"uid": "other"}})),
        delete(
            "slices",
            "a",
            json!({"preconditions": {"resourceVersion": "1"}}),
        ),
        delete("slices", "a", json!({"preconditions": {"uid": "{uid}"}})),
        get("slices", "/a"),
        patch(
            "slices",
            "a",
            json!({"metadata": {"finalizers": ["example.com/x", "example.com/y"]}}),
        ),
        patch("slices", "a", json!({"metadata": {"finalizers": null}})),
        get("slices", "/a"),
        slice("bg", json!({"addressType": "IPv4", "endpoints": []})),
        delete("slices", "bg", json!({"propagationPolicy": "Orphan"})),
        get("slices", "/bg"),
        delete("slices", "bg", json!({"propagationPolicy": "Sideways"})),
        delete("slices", "bg", json!({"propagationPolicy": "Background"})),
        put(
            "slices",
            "none",
            json!({"metadata": {"name": "none"}, "addressType": "IPv4", "endpoints": []}),
        ),
    ];
    for body in [
        json!({"endpoints": []}),
        json!({"addressType": "IPv5", "endpoints": []}),
        with("IPv4", json!([])),
        with("IPv4", json!(["nonsense"])),
        with("IPv4", json!(["fd00::1"])),
        with("IPv6", json!(["10.0.0.1"])),
        with("IPv6", json!(["FD00::1"])),
        with("IPv4", json!(["127.0.0.1"])),
        with("IPv6", json!(["::1"])),
        with("IPv4", json!(["169.254.1.1"])),
        with("IPv6", json!(["fe80::1"])),
        with("IPv4", json!(["0.0.0.0"])),
        with("IPv4", json!(["224.0.0.5"])),
        with("IPv6", json!(["ff02::1"])),
        with("IPv4", json!(vec!["10.0.0.1"; 101])),
        json!({"addressType": "IPv4", "endpoints": vec![json!({"addresses": ["10.0.0.1"]}); 1_001]}),
        json!({"addressType": "IPv4", "endpoints": [], "ports": [{"port": 1}, {"port": 2}]}),
        json!({"addressType": "IPv4", "endpoints": [], "ports": [{"port": 1, "protocol": "X"}]}),
        json!({"addressType": "IPv4", "endpoints": [], "ports": [{"port": 1, "name": "A_"}]}),
        json!({"addressType": "IPv4", "endpoints": [], "ports": [{"port": 1, "name": "a".repeat(64)}]}),
        json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "A"}]}),
    ] {
        steps.push(slice("bad", body));
    }
    steps
}

/// Who is recorded as a manager, and how a client ends the recording.
pub(super) fn tracking() -> Vec<Step> {
    let by = |who: &str| format!("tracked?fieldManager={who}");
    let port = |number: u16| json!({"op": "add", "path": "/ports", "value": [{"port": number}]});
    let reset =
        |entries: Value| json!({"op": "add", "path": "/metadata/managedFields", "value": entries});
    let change = |who: &str, ops: Value| managers(patch("slices", &by(who), ops));
    let create = || {
        let body = json!({"metadata": {"name": "tracked"}, "addressType": "IPv4", "endpoints": []});
        managers(post("slices by alice", body))
    };
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    vec![
        create(),
        change("bob", json!([port(1)])),
        change("bob", json!([port(2), reset(Value::Null)])),
        change("bob", json!([port(3), reset(json!([{}]))])),
        change("carol", json!([port(4)])),
        change("carol", json!([port(4), reset(json!([{}]))])),
        managers(patch("slices", &by("carol"), label)),
        managers(get("slices", "/tracked")),
        delete("slices", "tracked", Value::Null),
        create(),
        change("bob", json!([reset(json!([]))])),
        change("bob", json!([port(1)])),
        delete("slices", "tracked", Value::Null),
    ]
}
