//! What a leader Service and its slices have to look like.

use serde_json::Value;

use super::{SOURCE, ensure, owner, uid};
use crate::event::name_of;
use crate::facts::{PodFact, SourceFact, text};

pub(super) fn check_service(
    name: &str,
    source: &SourceFact,
    service: &Value,
) -> Result<(), String> {
    let who = name_of(service);
    let owner = owner(service).map(|owner| text(&owner["uid"]));
    ensure(owner.as_deref() == Some(&source.uid), || {
        format!("{who} has the owner {owner:?}")
    })?;
    let labels = &service["metadata"]["labels"];
    let marked = labels[SOURCE] == name && labels["app.kubernetes.io/managed-by"] == "zen-lead";
    ensure(marked, || format!("{who} lacks our labels"))?;
    let spec = &service["spec"];
    ensure(spec["selector"].is_null(), || {
        format!("{who} has a selector")
    })?;
    let ports = |ports: &[Value]| -> Vec<Value> {
        let plain = ports.iter().map(|port| {
            ["name", "port", "protocol", "targetPort", "appProtocol"]
                .iter()
                .map(|key| port[*key].clone())
                .collect()
        });
        plain.collect()
    };
    let own = spec["ports"].as_array().cloned().unwrap_or_default();
    ensure(ports(&own) == ports(&source.ports), || {
        format!("{who} has the ports {own:?}")
    })?;
    ensure(
        labels["color"].as_str() == source.labels.get("color").map(String::as_str),
        || format!("{who} has another color"),
    )?;
    let team = service["metadata"]["annotations"]["team"].as_str();
    ensure(
        team == source.annotations.get("team").map(String::as_str),
        || format!("{who} has another team"),
    )?;
    let (kind, headless) = (text(&spec["type"]), spec["clusterIP"] == "None");
    let fits = match source.setting("leader-service-type") {
        None | Some("ClusterIP") => kind == "ClusterIP" && !headless,
        Some("Headless") => headless,
        Some(wanted @ ("NodePort" | "LoadBalancer")) => kind == wanted,
        Some(_) => true,
    };
    ensure(fits, || {
        format!("{who} is of type {kind}, headless: {headless}")
    })?;
    let dns = service["metadata"]["annotations"]["dns"].as_str();
    let fits = match source.setting("leader-service-annotations") {
        None => dns.is_none(),
        Some(text) if text.contains("\"x\"") => dns == Some("x"),
        Some(text) if text.contains("\"y\"") => dns == Some("y"),
        Some(_) => true,
    };
    ensure(fits, || format!("{who} has the annotation dns: {dns:?}"))?;
    let pool = labels["pool"].as_str();
    let fits = match source.setting("leader-service-labels") {
        None => pool.is_none(),
        Some(text) if text.contains("{\"pool\":\"x\"") => pool == Some("x"),
        Some(text) if text.contains("{\"pool\":\"y\"") => pool == Some("y"),
        Some(_) => true,
    };
    ensure(fits, || format!("{who} has the label pool: {pool:?}"))?;
    ensure(spec["publishNotReadyAddresses"] == true, || {
        format!("{who} hides a leader that is held")
    })
}

pub(super) fn check_slice(
    source: &SourceFact,
    pod: &PodFact,
    service: &Value,
    slice: &Value,
) -> Result<(), String> {
    let who = name_of(slice);
    let endpoints = slice["endpoints"].as_array().cloned().unwrap_or_default();
    let labels = &slice["metadata"]["labels"];
    let marked = labels["endpointslice.kubernetes.io/managed-by"] == "zen-lead"
        && labels["app.kubernetes.io/managed-by"] == "zen-lead";
    ensure(marked, || format!("slice {who} lacks our labels"))?;
    let is_owned = owner(slice).is_some_and(|owner| owner["uid"] == uid(service));
    ensure(is_owned, || {
        format!("slice {who} is not owned by the leader Service")
    })?;
    ensure(labels["pool"].is_null(), || {
        format!("slice {who} has a label that is asked for on the Service")
    })?;
    let Some(ip) = pod.ip(&text(&slice["addressType"])) else {
        return ensure(endpoints.is_empty(), || {
            format!("slice {who} has an endpoint and the leader no such address")
        });
    };
    ensure(endpoints.len() == 1, || {
        format!("slice {who} has {} endpoints", endpoints.len())
    })?;
    let endpoint = &endpoints[0];
    ensure(!pod.of_job, || format!("slice {who} shows a Job's pod"))?;
    let is_there = endpoint["addresses"]
        .as_array()
        .is_some_and(|all| all.len() == 1 && all[0] == ip.as_str())
        && endpoint["targetRef"]["uid"] == *pod.uid
        && endpoint["nodeName"] == *pod.node;
    ensure(is_there, || {
        format!("slice {who} shows {endpoint}, and {} is at {ip}", pod.name)
    })?;
    let headless = service["spec"]["clusterIP"] == "None";
    let conditions = &endpoint["conditions"];
    // Only a pause keeps a terminating leader that has stopped serving, and says so.
    let serves = conditions["serving"] == true || (pod.terminating && !pod.ready);
    let fits = conditions["ready"] == (!pod.terminating || headless)
        && serves
        && conditions["terminating"] == pod.terminating;
    ensure(fits, || {
        format!("slice {who} has the conditions {conditions}")
    })?;
    let ports = slice["ports"].as_array().cloned().unwrap_or_default();
    let mut ports: Vec<(String, u64)> = ports
        .iter()
        .map(|port| {
            (
                text(&port["name"]),
                port["port"].as_u64().unwrap_or_default(),
            )
        })
        .collect();
    let mut wanted = pod.resolved(source);
    ports.sort();
    wanted.sort();
    ensure(ports == wanted, || {
        format!("slice {who} has the ports {ports:?} instead of {wanted:?}")
    })
}
