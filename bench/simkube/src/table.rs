//! Objects as the columns that kubectl prints.
//!
//! A choice of the real server's columns: those that show what a Service, a pod or a slice is doing.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::kind::Kind;
use crate::store::{Object, text};

/// Whether a client would rather have a table.
pub(crate) fn is_wanted(accept: &str) -> bool {
    accept.contains("as=Table")
}

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

fn column(name: &str) -> Value {
    let format = if name == "Name" { "name" } else { "" };
    json!({"name": name, "type": "string", "format": format, "description": "", "priority": 0})
}

fn columns(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Pod => &["Name", "Ready", "Status", "IP", "Node", "Age"],
        Kind::Service => &[
            "Name",
            "Type",
            "Cluster-IP",
            "External-IP",
            "Port(s)",
            "Age",
        ],
        Kind::EndpointSlice => &["Name", "AddressType", "Ports", "Endpoints", "Age"],
        Kind::Lease => &["Name", "Holder", "Age"],
        Kind::Namespace => &["Name", "Status", "Age"],
        Kind::Event => &["Name", "Type", "Reason", "Object", "Message", "Age"],
        _ => &["Name", "Age"],
    }
}

fn row(object: &Object, now: Timestamp) -> Value {
    let value = &object.value;
    let name = text(value, "name").to_owned();
    let age = age(text(value, "creationTimestamp"), now);
    let middle = match object.kind {
        Kind::Pod => pod(value),
        Kind::Service => service(value),
        Kind::EndpointSlice => slice(value),
        Kind::Lease => vec![string(&value["spec"]["holderIdentity"])],
        Kind::Namespace => vec![string(&value["status"]["phase"])],
        Kind::Event => {
            let about = &value["involvedObject"];
            let about = format!(
                "{}/{}",
                string(&about["kind"]).to_lowercase(),
                string(&about["name"])
            );
            vec![
                string(&value["type"]),
                string(&value["reason"]),
                about,
                string(&value["message"]),
            ]
        }
        _ => Vec::new(),
    };
    let cells: Vec<String> = std::iter::once(name).chain(middle).chain([age]).collect();
    json!({
        "cells": cells,
        "object": {
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"],
        },
    })
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Texts of a list joined, or `<none>`, and no more than kubectl shows.
fn joined(all: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = all.collect();
    match all.len() {
        0 => "<none>".into(),
        n if n > 3 => format!("{} + {} more...", all[..3].join(","), n - 3),
        _ => all.join(","),
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn pod(value: &Value) -> Vec<String> {
    let status = &value["status"];
    let containers = items(&value["spec"]["containers"]).count();
    let ready = items(&status["conditions"]).any(|c| c["type"] == "Ready" && c["status"] == "True");
    let state = if crate::rules::meta::is_deleting(value) {
        "Terminating".to_owned()
    } else {
        string(&status["phase"])
    };
    vec![
        format!("{}/{containers}", if ready { containers } else { 0 }),
        state,
        joined(items(&status["podIPs"]).map(|ip| string(&ip["ip"]))),
        string(&value["spec"]["nodeName"]),
    ]
}

fn service(value: &Value) -> Vec<String> {
    let spec = &value["spec"];
    let outside = match spec["type"].as_str() {
        Some("LoadBalancer") => {
            let ingress = &value["status"]["loadBalancer"]["ingress"];
            let all: Vec<String> = items(ingress).map(|i| string(&i["ip"])).collect();
            if all.is_empty() {
                "<pending>".into()
            } else {
                all.join(",")
            }
        }
        Some("ExternalName") => string(&spec["externalName"]),
        _ => "<none>".into(),
    };
    let ports = items(&spec["ports"]).map(|p| {
        let node = p["nodePort"]
            .as_u64()
            .map_or_else(String::new, |n| format!(":{n}"));
        format!("{}{node}/{}", p["port"], string(&p["protocol"]))
    });
    let ip = spec["clusterIP"].as_str().unwrap_or("<none>").to_owned();
    vec![string(&spec["type"]), ip, outside, joined(ports)]
}

fn slice(value: &Value) -> Vec<String> {
    let ports = items(&value["ports"]).map(|p| p["port"].to_string());
    let addresses = items(&value["endpoints"]).flat_map(|e| items(&e["addresses"]).map(string));
    let addresses: Vec<String> = addresses.collect();
    // Without any, kubectl says so in its own way.
    let addresses = if addresses.is_empty() {
        "<unset>".into()
    } else {
        joined(addresses.into_iter())
    };
    let ports: Vec<String> = ports.collect();
    let ports = if ports.is_empty() {
        "<unset>".into()
    } else {
        joined(ports.into_iter())
    };
    vec![string(&value["addressType"]), ports, addresses]
}

/// An age as people say it: one unit, two when it is young.
fn age(created: &str, now: Timestamp) -> String {
    let Ok(created) = created.parse::<Timestamp>() else {
        return "<unknown>".into();
    };
    let seconds = now.duration_since(created).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let now = Timestamp::from_second(1_000_000).expect("in range");
        for (seconds, want) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7_200, "2h"),
            (200_000, "2d"),
            (-5, "0s"),
        ] {
            let created = Timestamp::from_second(1_000_000 - seconds).expect("in range");
            assert_eq!(age(&created.to_string(), now), want);
        }
        assert_eq!(age("", now), "<unknown>");
    }
}
