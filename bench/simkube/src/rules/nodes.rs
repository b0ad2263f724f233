//! Nodes: what one begins with, what is written even when it is empty, and rules for taints.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{meta, names};
use crate::api::violation::Violations;

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// `TaintNodesByCondition`: a new Node takes no pods until a controller takes the taint away.
pub(crate) fn default(value: &mut Value) {
    let taints = meta::map_at(value, "spec")
        .entry("taints")
        .or_insert_with(|| json!([]));
    if let Some(taints) = taints.as_array_mut()
        && taints.iter().all(|taint| taint["key"] != NOT_READY)
    {
        taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
    }
}

/// Structs of Go that are written even when there is nothing in them.
pub(crate) fn shape(value: &mut Value) {
    const INFO: [&str; 10] = [
        "machineID",
        "systemUUID",
        "bootID",
        "kernelVersion",
        "osImage",
        "containerRuntimeVersion",
        "kubeletVersion",
        "kubeProxyVersion",
        "operatingSystem",
        "architecture",
    ];
    meta::map_at(value, "spec");
    let status = meta::map_at(value, "status");
    status
        .entry("daemonEndpoints")
        .or_insert_with(|| json!({"kubeletEndpoint": {"Port": 0}}));
    let info = status.entry("nodeInfo").or_insert_with(|| json!({}));
    for field in INFO {
        if info.get(field).is_none() {
            info[field] = "".into();
        }
    }
}

/// Rules for the spec. The real server gives the path of taints as that of an annotation, which
/// they once were.
pub(crate) fn validate(value: &Value) -> Violations {
    let mut bad = Violations::default();
    let taints = value["spec"]["taints"].as_array();
    let mut seen = BTreeSet::new();
    for (at, taint) in taints.into_iter().flatten().enumerate() {
        let path = format!("metadata.taints[{at}]");
        let text = |field: &str| taint[field].as_str().unwrap_or_default();
        let (key, word, effect) = (text("key"), text("value"), text("effect"));
        for error in names::qualified_name(key) {
            bad.invalid(format!("{path}.key"), key, error);
        }
        for error in names::label_value(word) {
            bad.invalid(format!("{path}.value"), word, error);
        }
        if effect.is_empty() {
            bad.required(format!("{path}.effect"), "");
        } else if !EFFECTS.contains(&effect) {
            bad.not_supported(format!("{path}.effect"), effect, &EFFECTS);
        }
        if !seen.insert((key, effect)) {
            // Written as Go writes a struct, in the order of its fields.
            let shown = format!(
                "{{\"Key\":{key:?},\"Value\":{word:?},\"Effect\":{effect:?},\"TimeAdded\":null}}: taints must be unique by key and effect pair"
            );
            bad.duplicate_struct(path, &shown);
        }
    }
    bad
}
