//! Leases as clients write them that elect a leader by them.

use http::Method;
use serde_json::{Value, json};

use super::{Step, base, delete, get, patch, post, put, step};

#[expect(clippy::needless_pass_by_value, reason = "reads better at its callers")]
fn lease(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": spec})
}

fn full(holder: &str) -> Value {
    json!({
        "holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 0,
        "acquireTime": "2026-01-01T00:00:00.000000Z", "renewTime": "2026-01-01T00:00:00.123456Z",
    })
}

pub(super) fn steps() -> Vec<Step> {
    let mut steps = vec![
        get("leases", "/elect"),
        post("leases", lease("elect", full("a"))),
        post("leases", lease("elect", full("b"))),
        get("leases", "/elect"),
        get("leases", "?fieldSelector=metadata.name%3Delect"),
    ];
    steps.extend(writes());
    steps.extend(refusals());
    steps.extend(selected());
    steps
}

/// What a holder, a rival and a holder that lets go do, with and without a version.
fn writes() -> Vec<Step> {
    let guarded = |version: &str, rest: Value| {
        let guard = json!({"op": "replace", "path": "/metadata/resourceVersion", "value": version});
        patch("leases", "elect", json!([guard, rest]))
    };
    let renew = |time: &str| json!({"op": "replace", "path": "/spec/renewTime", "value": time});
    let versioned = |version: &str, spec: Value| {
        let mut body = lease("elect", spec);
        body["metadata"]["resourceVersion"] = version.into();
        put("leases", "elect", body)
    };
    vec![
        versioned("{rv}", full("a")),
        versioned("{rv}", full("b")),
        versioned("1", full("c")),
        versioned("0", full("c")),
        versioned("odd", full("c")),
        versioned("", full("c")),
        guarded("{rv}", renew("2026-01-01T00:00:02.000000Z")),
        guarded("1", renew("2026-01-01T00:00:03.000000Z")),
        patch(
            "leases",
            "elect",
            json!({"spec": {"renewTime": "2026-01-01T00:00:04.000000Z"}}),
        ),
        patch(
            "leases",
            "elect",
            json!({"metadata": {"resourceVersion": "1"}, "spec": {"holderIdentity": "d"}}),
        ),
        patch(
            "leases",
            "elect",
            json!({"metadata": {"resourceVersion": "{rv}"}, "spec": {"holderIdentity": "", "leaseDurationSeconds": 1}}),
        ),
        patch("leases", "elect", json!({"spec": {"holderIdentity": null}})),
        patch("leases", "elect", json!({"spec": null})),
        patch(
            "leases",
            "elect",
            json!({"metadata": {"annotations": {"example.com/a": "b"}, "uid": "other"}}),
        ),
        patch("leases", "missing", json!({"spec": {}})),
        get("leases", "/elect/status"),
        delete(
            "leases",
            "elect",
            json!({"preconditions": {"resourceVersion": "1"}}),
        ),
        delete(
            "leases",
            "elect",
            json!({"preconditions": {"resourceVersion": "{rv}", "uid": "{uid}"}}),
        ),
        delete("leases", "elect", Value::Null),
        put("leases", "put-made", lease("put-made", full("a"))),
        versioned("5", full("late")),
        post(
            "leases",
            json!({"metadata": {"generateName": ""}, "spec": {}}),
        ),
        post("leases", json!({"metadata": {"name": "bare"}})),
        get("leases", "/bare"),
        step(
            Method::PUT,
            &format!("{}/put-made?dryRun=All", base("leases")),
            "application/json",
            json!({"metadata": {"name": "put-made", "resourceVersion": "{rv}"}, "spec": full("dry")}),
        ),
    ]
}

fn refusals() -> Vec<Step> {
    let mut steps = Vec::new();
    for spec in [
        json!({"holderIdentity": ""}),
        json!({"leaseDurationSeconds": -5, "leaseTransitions": -2}),
        json!({"preferredHolder": "a"}),
        json!({"strategy": "OldestEmulationVersion"}),
        json!({"strategy": "Odd Strategy"}),
        json!({"renewTime": "2026-01-01T00:00:00Z"}),
        json!({"renewTime": "2026-01-01T00:00:00.123Z"}),
        json!({"renewTime": "2026-01-01T01:00:00.123456+01:00"}),
        json!({"renewTime": "2026-01-01T00:00:00.123456789Z"}),
        json!({"renewTime": "yesterday"}),
        json!({"renewTime": 5}),
        json!({"leaseDurationSeconds": "15"}),
        json!({"leaseDurationSeconds": 1.5}),
        json!({"leaseDurationSeconds": 3_000_000_000_u32}),
        json!({"unknown": 1}),
    ] {
        steps.push(post("leases", lease("bad", spec)));
        steps.push(delete("leases", "bad", Value::Null));
    }
    for name in ["A", "a_b", "a.b", "-a", &"a".repeat(254)] {
        steps.push(post("leases", lease(name, json!({}))));
    }
    for body in [
        json!({"apiVersion": "coordination.k8s.io/v1beta1", "kind": "Lease", "metadata": {"name": "x"}}),
        json!({"apiVersion": "v1", "kind": "Lease", "metadata": {"name": "x"}}),
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "LeaseList", "metadata": {"name": "x"}}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}),
        json!({"apiVersion": "example.com/v1", "metadata": {"name": "x"}}),
    ] {
        steps.push(post("leases", body));
    }
    steps.push(step(
        Method::POST,
        &format!("{}?fieldValidation=Strict", base("leases")),
        "application/json",
        lease("strict", json!({"unknown": 1})),
    ));
    steps
}

/// What a standby sees of a Lease that is taken, renewed and let go.
pub(super) fn watched() -> Vec<Step> {
    vec![
        post("leases", lease("unseen", full("a"))),
        post("leases", lease("watched", full("a"))),
        patch(
            "leases",
            "watched",
            json!({"spec": {"renewTime": "2026-01-01T00:00:02.000000Z"}}),
        ),
        patch("leases", "watched", json!({"spec": {"holderIdentity": ""}})),
        delete("leases", "watched", Value::Null),
    ]
}

/// One that can be told from those of other runs.
fn marked(name: &str) -> Value {
    let mut lease = lease(name, full("a"));
    lease["metadata"]["labels"] = json!({"run": "{ns}"});
    lease
}

/// Leases by where they are and how they are called.
fn selected() -> Vec<Step> {
    let not_of = |fields: &str| {
        let query = format!("?labelSelector=run%3D{{ns}}&fieldSelector={fields}");
        get("all leases", &query)
    };
    let apart = "metadata.namespace!%3Dkube-node-lease";
    vec![
        post("leases", marked("here")),
        post("leases of nodes", marked("{ns}-node")),
        not_of(apart),
        not_of(&format!("{apart},metadata.name%3Dhere")),
        not_of(&format!("{apart},metadata.name%3Dmissing")),
        get(
            "leases",
            "?fieldSelector=metadata.namespace!%3Dkube-node-lease",
        ),
        get(
            "leases",
            "?fieldSelector=metadata.namespace%3Dkube-node-lease",
        ),
        get(
            "leases of nodes",
            "?fieldSelector=metadata.name%3D{ns}-node",
        ),
        get("leases", "?fieldSelector=spec.holderIdentity%3Da"),
        delete("leases of nodes", "{ns}-node", Value::Null),
        delete("leases", "here", Value::Null),
    ]
}

/// What a watch of all Leases but those of nodes is shown.
pub(super) fn watched_everywhere() -> Vec<Step> {
    let renew = json!({"spec": {"renewTime": "2026-01-01T00:00:09.000000Z"}});
    vec![
        post("leases", marked("far")),
        post("leases of nodes", marked("{ns}-node")),
        patch("leases of nodes", "{ns}-node", renew.clone()),
        patch("leases", "far", renew),
        delete("leases of nodes", "{ns}-node", Value::Null),
        delete("leases", "far", Value::Null),
    ]
}
