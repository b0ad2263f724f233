//! Objects as the columns that kubectl prints, as the real server fills them. Endpoints and what
//! belongs to RBAC show their name and age only.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::kind::Kind;
use crate::store::{Object, text};

/// A table of objects; `metadata` is that of the list.
pub(crate) fn write(
    kind: Kind,
    metadata: &Value,
    objects: &[&Arc<Object>],
    now: Timestamp,
) -> Vec<u8> {
    let columns: Vec<Value> = columns(kind).iter().map(|name| column(name)).collect();
    let rows: Vec<Value> = objects.iter().map(|o| row(o, now)).collect();
    let table = json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns, "rows": rows,
    });
    serde_json::to_vec(&table).unwrap_or_default()
}

/// Those that begin with a plus are printed by `-o wide` only.
fn column(name: &str) -> Value {
    let (name, priority) = match name.strip_prefix('+') {
        Some(wide) => (wide, 1),
        None => (name, 0),
    };
    let format = if name == "Name" { "name" } else { "" };
    json!({"name": name, "type": "string", "format": format, "description": "", "priority": priority})
}

fn columns(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Pod => &[
            "Name",
            "Ready",
            "Status",
            "Restarts",
            "Age",
            "+IP",
            "+Node",
            "+Nominated Node",
            "+Readiness Gates",
        ],
        Kind::Service => &[
            "Name",
            "Type",
            "Cluster-IP",
            "External-IP",
            "Port(s)",
            "Age",
            "+Selector",
        ],
        Kind::EndpointSlice => &["Name", "AddressType", "Ports", "Endpoints", "Age"],
        Kind::Lease => &["Name", "Holder", "Age"],
        Kind::Namespace => &["Name", "Status", "Age"],
        Kind::Event | Kind::NewEvent => &[
            "Last Seen",
            "Type",
            "Reason",
            "Object",
            "+Subobject",
            "+Source",
            "Message",
            "+First Seen",
            "+Count",
            "+Name",
        ],
        Kind::Node => &[
            "Name",
            "Status",
            "Roles",
            "Age",
            "Version",
            "+Internal-IP",
            "+External-IP",
            "+OS-Image",
            "+Kernel-Version",
            "+Container-Runtime",
        ],
        Kind::ConfigMap => &["Name", "Data", "Age"],
        _ => &["Name", "Age"],
    }
}

fn row(object: &Object, now: Timestamp) -> Value {
    let value = &object.value;
    let name = text(value, "name");
    let age = age(text(value, "creationTimestamp"), now);
    let cells = match object.kind {
        Kind::Pod => pod(value, name, &age),
        Kind::Service => service(value, name, &age),
        Kind::EndpointSlice => slice(value, name, &age),
        Kind::Node => node(value, name, &age),
        Kind::Event => event(value, name, now),
        Kind::Lease => json!([name, string(&value["spec"]["holderIdentity"]), age]),
        Kind::Namespace => json!([name, string(&value["status"]["phase"]), age]),
        Kind::ConfigMap => {
            let count = |field: &str| value[field].as_object().map_or(0, serde_json::Map::len);
            json!([name, count("data") + count("binaryData"), age])
        }
        _ => json!([name, age]),
    };
    json!({
        "cells": cells,
        "object": {
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"],
        },
    })
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A text, or what stands for its absence.
fn or<'a>(text: &'a str, absent: &'static str) -> &'a str {
    if text.is_empty() { absent } else { text }
}

/// Texts of a list joined, and no more than kubectl shows.
fn joined(all: impl Iterator<Item = String>, absent: &str) -> String {
    let all: Vec<String> = all.collect();
    match all.len() {
        0 => absent.into(),
        n if n > 3 => format!("{} + {} more...", all[..3].join(","), n - 3),
        _ => all.join(","),
    }
}

fn pod(value: &Value, name: &str, age: &str) -> Value {
    let (spec, status) = (&value["spec"], &value["status"]);
    let count = items(&spec["containers"]).count();
    let containers = &status["containerStatuses"];
    let ready = if containers.is_array() {
        let runs = |c: &&Value| c["ready"] == true && c["state"]["running"].is_object();
        items(containers).filter(runs).count()
    } else {
        // Fixtures say by their condition alone how they are; no kubelet does.
        let is_ready = |c: &Value| c["type"] == "Ready" && c["status"] == "True";
        count * usize::from(items(&status["conditions"]).any(is_ready))
    };
    let restarts: u64 = items(containers)
        .filter_map(|c| c["restartCount"].as_u64())
        .sum();
    let waits = items(containers).find_map(|c| {
        let state = &c["state"];
        let reason = [&state["waiting"]["reason"], &state["terminated"]["reason"]];
        reason.into_iter().find_map(Value::as_str)
    });
    let state = if crate::rules::meta::is_deleting(value) {
        "Terminating"
    } else {
        waits.unwrap_or(string(&status["phase"]))
    };
    let ip = items(&status["podIPs"])
        .next()
        .map_or("", |ip| string(&ip["ip"]));
    json!([
        name,
        format!("{ready}/{count}"),
        state,
        restarts.to_string(),
        age,
        or(ip, "<none>"),
        or(string(&spec["nodeName"]), "<none>"),
        or(string(&status["nominatedNodeName"]), "<none>"),
        "<none>"
    ])
}

fn service(value: &Value, name: &str, age: &str) -> Value {
    let spec = &value["spec"];
    let external = items(&spec["externalIPs"]).map(|ip| string(ip).to_owned());
    let outside = match string(&spec["type"]) {
        "LoadBalancer" => {
            let ingress = items(&value["status"]["loadBalancer"]["ingress"]);
            let named =
                ingress.map(|i| or(string(&i["ip"]), "").to_owned() + string(&i["hostname"]));
            let all: Vec<String> = named.chain(external).collect();
            or(&all.join(","), "<pending>").to_owned()
        }
        "ExternalName" => string(&spec["externalName"]).to_owned(),
        _ => or(&external.collect::<Vec<_>>().join(","), "<none>").to_owned(),
    };
    let port = |p: &Value| {
        let node = p["nodePort"]
            .as_u64()
            .map_or_else(String::new, |n| format!(":{n}"));
        format!("{}{node}/{}", p["port"], string(&p["protocol"]))
    };
    let ports: Vec<String> = items(&spec["ports"]).map(port).collect();
    let selector = spec["selector"].as_object().into_iter().flatten();
    let selector: Vec<String> = selector
        .map(|(k, v)| format!("{k}={}", string(v)))
        .collect();
    json!([
        name,
        string(&spec["type"]),
        or(string(&spec["clusterIP"]), "<none>"),
        outside,
        or(&ports.join(","), "<none>"),
        age,
        or(&selector.join(","), "<none>")
    ])
}

fn slice(value: &Value, name: &str, age: &str) -> Value {
    let ports = items(&value["ports"]).map(|p| p["port"].to_string());
    let addresses = items(&value["endpoints"]).flat_map(|e| items(&e["addresses"]));
    let addresses = addresses.map(|address| string(address).to_owned());
    json!([
        name,
        string(&value["addressType"]),
        joined(ports, "<unset>"),
        joined(addresses, "<unset>"),
        age
    ])
}

fn node(value: &Value, name: &str, age: &str) -> Value {
    const ROLE: &str = "node-role.kubernetes.io/";
    let status = &value["status"];
    let ready = items(&status["conditions"]).find(|c| c["type"] == "Ready");
    let mut state = match ready.map(|c| c["status"] == "True") {
        Some(true) => "Ready",
        Some(false) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if value["spec"]["unschedulable"] == true {
        state.push_str(",SchedulingDisabled");
    }
    let labels = value["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten();
    let roles: Vec<&str> = labels
        .filter_map(|(key, _)| key.strip_prefix(ROLE))
        .collect();
    let address = |kind: &str| {
        let found = items(&status["addresses"]).find(|a| a["type"] == kind);
        found.map_or("<none>", |a| string(&a["address"]))
    };
    let info = |field: &str| string(&status["nodeInfo"][field]);
    json!([
        name,
        state,
        or(&roles.join(","), "<none>"),
        age,
        info("kubeletVersion"),
        address("InternalIP"),
        address("ExternalIP"),
        or(info("osImage"), "<unknown>"),
        or(info("kernelVersion"), "<unknown>"),
        or(info("containerRuntimeVersion"), "<unknown>")
    ])
}

fn event(value: &Value, name: &str, now: Timestamp) -> Value {
    let since = |field: &str| match string(&value[field]) {
        "" => None,
        time => Some(age(time, now)),
    };
    let first = since("firstTimestamp").or_else(|| since("eventTime"));
    let first = first.unwrap_or_else(|| age("", now));
    let series = &value["series"];
    let (last, count) = if series.is_object() {
        let last = age(string(&series["lastObservedTime"]), now);
        (last, series["count"].as_u64().unwrap_or_default())
    } else {
        let last = since("lastTimestamp").unwrap_or_else(|| first.clone());
        (last, value["count"].as_u64().unwrap_or(1))
    };
    let about = &value["involvedObject"];
    let kind = string(&about["kind"]).to_lowercase();
    let target = match string(&about["name"]) {
        "" => kind,
        named => format!("{kind}/{named}"),
    };
    let source = &value["source"];
    let component = or(string(&source["component"]), "");
    let component = match component {
        "" => string(&value["reportingComponent"]),
        named => named,
    };
    let host = match string(&source["host"]) {
        "" => string(&value["reportingInstance"]),
        named => named,
    };
    let source = if host.is_empty() {
        component.to_owned()
    } else {
        format!("{component}, {host}")
    };
    let message = string(&value["message"]).trim();
    let (kind, reason) = (string(&value["type"]), string(&value["reason"]));
    let field = string(&about["fieldPath"]);
    json!([
        last, kind, reason, target, field, source, message, first, count, name
    ])
}

/// An age as people say it: two units while the first alone would say too little.
fn age(created: &str, now: Timestamp) -> String {
    let Ok(created) = created.parse::<Timestamp>() else {
        return "<unknown>".into();
    };
    let seconds = now.duration_since(created).as_secs().max(0);
    let two = |large: i64, unit: &str, small: i64, rest: &str| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit}{small}{rest}"),
    };
    let (minutes, hours) = (seconds / 60, seconds / 3_600);
    let days = hours / 24;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let now = Timestamp::from_second(1_000_000_000).expect("in range");
        for (seconds, want) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (121, "2m1s"),
            (660, "11m"),
            (11_000, "3h3m"),
            (30_000, "8h"),
            (180_000, "2d2h"),
            (700_000, "8d"),
            (70_000_000, "2y80d"),
            (300_000_000, "9y"),
            (-5, "0s"),
        ] {
            let created = Timestamp::from_second(1_000_000_000 - seconds).expect("in range");
            assert_eq!(age(&created.to_string(), now), want);
        }
        assert_eq!(age("", now), "<unknown>");
    }
}
