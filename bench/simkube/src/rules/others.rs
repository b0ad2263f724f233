//! Leases, events, pods, nodes and namespaces: only what a client of theirs can run into.

use k8s_openapi::api::coordination::v1::Lease;
use serde_json::{Value, json};

use super::{meta, names};
use crate::api::violation::Violations;

/// Rules for a Lease.
pub(crate) fn lease(lease: &Lease) -> Violations {
    let mut bad = Violations::default();
    let Some(spec) = &lease.spec else { return bad };
    if let Some(seconds) = spec.lease_duration_seconds.filter(|s| *s <= 0) {
        bad.invalid(
            "spec.leaseDurationSeconds",
            seconds,
            "must be greater than 0",
        );
    }
    if let Some(count) = spec.lease_transitions.filter(|n| *n < 0) {
        bad.invalid(
            "spec.leaseTransitions",
            count,
            "must be greater than or equal to 0",
        );
    }
    bad
}

/// A Lease always has a spec; what only coordinated elections know is dropped while they are off.
pub(crate) fn shape_lease(value: &mut Value) {
    let spec = meta::map_at(value, "spec");
    spec.remove("strategy");
    spec.remove("preferredHolder");
}

/// Conditions of pods and Nodes write their times even when no client has set them.
pub(crate) fn shape_conditions(value: &mut Value, times: &[&str]) {
    let conditions = value.pointer_mut("/status/conditions");
    let conditions = conditions.and_then(Value::as_array_mut);
    for condition in conditions
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        for time in times {
            condition.entry(*time).or_insert(Value::Null);
        }
    }
}

/// Fills in what a pod needs to be one.
pub(crate) fn default_pod(value: &mut Value) {
    let spec = meta::map_at(value, "spec");
    spec.entry("restartPolicy")
        .or_insert_with(|| "Always".into());
    spec.entry("terminationGracePeriodSeconds")
        .or_insert_with(|| 30.into());
    spec.entry("dnsPolicy")
        .or_insert_with(|| "ClusterFirst".into());
    spec.entry("schedulerName")
        .or_insert_with(|| "default-scheduler".into());
    for container in spec
        .get_mut("containers")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        for port in container["ports"].as_array_mut().into_iter().flatten() {
            if port.get("protocol").is_none() {
                port["protocol"] = "TCP".into();
            }
        }
        if container["ports"].is_null() && container.is_object() {
            // Indexing made the key; the real server leaves it out.
            if let Some(map) = container.as_object_mut() {
                map.remove("ports");
            }
        }
    }
}

/// Rules for a new pod.
pub(crate) fn pod(value: &Value) -> Violations {
    let mut bad = Violations::default();
    let containers = value["spec"]["containers"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if containers.is_empty() {
        bad.required("spec.containers", "");
    }
    for (at, container) in containers.iter().enumerate() {
        let name = container["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            bad.required(format!("spec.containers[{at}].name"), "");
        } else {
            for error in names::dns1123_label(name) {
                bad.invalid(format!("spec.containers[{at}].name"), name, error);
            }
        }
        if container["image"].as_str().unwrap_or_default().is_empty() {
            bad.required(format!("spec.containers[{at}].image"), "");
        }
    }
    bad
}

/// The spec of a pod is fixed but for a few fields.
pub(crate) fn pod_update(value: &Value, old: &Value) -> Violations {
    let mut bad = Violations::default();
    if fixed_spec(value) != fixed_spec(old) {
        bad.forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        );
    }
    bad
}

/// The spec without the fields that may change.
fn fixed_spec(value: &Value) -> Value {
    let mut spec = value["spec"].clone();
    for list in ["containers", "initContainers"] {
        for container in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(map) = container.as_object_mut() {
                map.remove("image");
            }
        }
    }
    if let Some(map) = spec.as_object_mut() {
        map.remove("activeDeadlineSeconds");
        map.remove("tolerations");
    }
    spec
}

/// A new namespace is active and kept alive by its own finalizer.
pub(crate) fn default_namespace(value: &mut Value) {
    value["spec"] = json!({"finalizers": ["kubernetes"]});
    value["status"] = json!({"phase": "Active"});
    let name = crate::store::text(value, "name").to_owned();
    let labels = meta::of_mut(value)
        .entry("labels")
        .or_insert_with(|| json!({}));
    if let Some(labels) = labels.as_object_mut() {
        labels.insert("kubernetes.io/metadata.name".into(), name.into());
    }
}
