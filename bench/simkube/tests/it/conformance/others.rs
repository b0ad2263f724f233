//! What holds for any kind: bodies, paths, queries, namespaces that go; and pods.

use http::Method;
use serde_json::{Value, json};

use super::{Step, delete, get, patch, post, put, service, step};

pub(super) fn steps() -> Vec<Step> {
    let event = |message: &str| {
        json!({
            "metadata": {"name": "e"}, "involvedObject": {"kind": "Service", "namespace": "{ns}", "name": "a"},
            "eventTime": "2026-01-01T00:00:00.000000Z", "reportingComponent": "c",
            "reportingInstance": "i", "action": "A", "reason": "R", "type": "Normal", "message": message,
        })
    };
    let pod = json!({"nodeName": "n", "containers": [{"name": "a", "image": "i"}]});
    vec![
        post(
            "leases",
            json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a", "renewTime": "2026-01-01T00:00:00.123456Z"}}),
        ),
        put(
            "leases",
            "l",
            json!({"metadata": {"name": "l"}, "spec": {}}),
        ),
        put(
            "leases",
            "l",
            json!({"metadata": {"name": "l", "resourceVersion": "{rv}"}, "spec": {"holderIdentity": "b"}}),
        ),
        put(
            "leases",
            "l",
            json!({"metadata": {"name": "l", "resourceVersion": "1"}, "spec": {"holderIdentity": "b"}}),
        ),
        put(
            "leases",
            "new",
            json!({"metadata": {"name": "new"}, "spec": {"leaseDurationSeconds": 5}}),
        ),
        post(
            "leases",
            json!({"metadata": {"name": "x"}, "spec": {"leaseDurationSeconds": 0}}),
        ),
        post(
            "leases",
            json!({"metadata": {"name": "x"}, "spec": {"leaseTransitions": -1}}),
        ),
        post(
            "leases",
            json!({"metadata": {"name": "x", "namespace": "elsewhere"}, "spec": {}}),
        ),
        post("leases", json!({"kind": "Pod", "metadata": {"name": "x"}})),
        post(
            "leases",
            json!({"metadata": {"name": "x", "resourceVersion": "5"}, "spec": {}}),
        ),
        post("leases", json!({"spec": {}})),
        post("events", event(&"x".repeat(1_025))),
        post("events", event("fine")),
        post(
            "events",
            json!({"metadata": {"name": "old"}, "involvedObject": {"namespace": "{ns}"}, "message": "m"}),
        ),
        post(
            "events",
            json!({"metadata": {"name": "astray"}, "involvedObject": {"namespace": "elsewhere"}}),
        ),
        patch(
            "events",
            "e",
            json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}}),
        ),
        step(
            Method::POST,
            "/api/v1/namespaces/nowhere/services",
            "application/json",
            json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 1}]}}),
        ),
        step(
            Method::DELETE,
            "/api/v1/namespaces/{ns}/services/x/nonsense",
            "application/json",
            Value::Null,
        ),
        step(
            Method::POST,
            "/api/v1/services",
            "application/json",
            json!({"metadata": {"name": "a"}}),
        ),
        step(
            Method::GET,
            "/api/v1/namespaces/{ns}/pods?watch=1&sendInitialEvents=true",
            "application/json",
            Value::Null,
        ),
        step(
            Method::GET,
            "/api/v1/namespaces/{ns}/pods?watch=1&resourceVersionMatch=NotOlderThan",
            "application/json",
            Value::Null,
        ),
        step(
            Method::GET,
            "/api/v1/namespaces/{ns}/pods?resourceVersionMatch=Exact",
            "application/json",
            Value::Null,
        ),
        step(
            Method::GET,
            "/api/v1/namespaces/{ns}/pods?sendInitialEvents=true",
            "application/json",
            Value::Null,
        ),
        step(
            Method::PATCH,
            "/api/v1/namespaces/{ns}/pods/p",
            "text/plain",
            json!({}),
        ),
        get("pods", "?fieldSelector=spec.odd%3Da"),
        get("leases", "?fieldSelector=spec.odd%3Da"),
        post(
            "pods",
            json!({"metadata": {"name": "p"}, "spec": {"containers": []}}),
        ),
        post("pods", json!({"metadata": {"name": "p"}, "spec": pod})),
    ]
}

/// A namespace that goes while something in it is held.
pub(super) fn farewell() -> Vec<Step> {
    let here = |method: Method| {
        step(
            method,
            "/api/v1/namespaces/{ns}",
            "application/json",
            Value::Null,
        )
    };
    vec![
        post(
            "leases",
            json!({"metadata": {"name": "held", "finalizers": ["example.com/x"]}, "spec": {}}),
        ),
        here(Method::GET),
        here(Method::DELETE),
        here(Method::DELETE),
        service("late", json!({"ports": [{"port": 80}]})),
        post(
            "leases",
            json!({"metadata": {"generateName": "late-"}, "spec": {}}),
        ),
        patch(
            "leases",
            "held",
            json!({"metadata": {"labels": {"a": "b"}}}),
        ),
    ]
}

/// Pods are compared by what matters: their whole default spec is none of a controller's business.
pub(super) fn pods() -> Vec<Step> {
    vec![
        patch(
            "pods",
            "p/status",
            json!({"status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}}),
        ),
        patch("pods", "p", json!({"spec": {"nodeName": "other"}})),
        delete("pods", "p", Value::Null),
        delete("pods", "p", json!({"gracePeriodSeconds": 60})),
        delete("pods", "p", json!({"gracePeriodSeconds": 10})),
        delete("pods", "p", json!({"gracePeriodSeconds": 0})),
        get("pods", "/p"),
    ]
}
