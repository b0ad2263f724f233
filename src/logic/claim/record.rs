//! What is written into the Lease, in the fields and forms of client-go, so that its programs and
//! ours wait for each other.

use serde_json::{Value, json};

use super::LeaseParams;
use crate::logic::model::Lease;

/// A new Lease that we hold.
pub(super) fn create(terms: &LeaseParams, now: jiff::Timestamp) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": &*terms.lease.name, "namespace": &*terms.lease.namespace },
        "spec": held(terms, 0, now),
    })
}

/// We hold it instead of the former holder.
pub(super) fn take(terms: &LeaseParams, lease: &Lease, now: jiff::Timestamp) -> Value {
    let transitions = lease.transitions().clamp(0, i64::from(i32::MAX) - 1) + 1;
    json!([guard(lease), add("", held(terms, transitions, now))])
}

/// We still hold it.
pub(super) fn renew(terms: &LeaseParams, lease: &Lease, now: jiff::Timestamp) -> Value {
    json!([
        guard(lease),
        add("/renewTime", micro_time(now)),
        // A user may have edited it; other replicas wait for as long as it says.
        add("/leaseDurationSeconds", seconds(terms)),
    ])
}

/// It has no holder. The duration of one second is what client-go leaves behind.
pub(super) fn release(lease: &Lease, now: jiff::Timestamp) -> Value {
    json!([
        guard(lease),
        add("/holderIdentity", ""),
        add("/leaseDurationSeconds", 1),
        add("/acquireTime", micro_time(now)),
        add("/renewTime", micro_time(now)),
    ])
}

fn held(terms: &LeaseParams, transitions: i64, now: jiff::Timestamp) -> Value {
    json!({
        "holderIdentity": &*terms.identity,
        "leaseDurationSeconds": seconds(terms),
        "acquireTime": micro_time(now),
        "renewTime": micro_time(now),
        "leaseTransitions": transitions,
    })
}

/// A lost race is a clean 409.
fn guard(lease: &Lease) -> Value {
    let version = lease.metadata.resource_version.to_string();
    json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": version })
}

fn add(field: &str, value: impl Into<Value>) -> Value {
    json!({ "op": "add", "path": format!("/spec{field}"), "value": value.into() })
}

/// Rounded up: others may wait too long, and never too short.
fn seconds(terms: &LeaseParams) -> u64 {
    let whole = terms.duration.as_secs();
    (whole + u64::from(terms.duration.subsec_nanos() > 0)).max(1)
}

/// As `metav1.MicroTime` is written: always six digits.
fn micro_time(at: jiff::Timestamp) -> String {
    format!("{at:.6}")
}
