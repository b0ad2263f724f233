//! Services: rules.
//!
//! Addresses and node ports are given out elsewhere; here they are only judged.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ServiceSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::service::{is_external, is_headless, kind, ports};
use super::{families, names};
use crate::api::violation::Violations;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// Rules; `old` is the version before, if any.
pub(crate) fn validate(spec: &ServiceSpec, old: Option<&ServiceSpec>) -> Violations {
    let mut bad = Violations::default();
    if let Some(old) = old {
        families::validate_change(spec, old, &mut bad);
        if kind(old) == "LoadBalancer"
            && kind(spec) == "LoadBalancer"
            && old.load_balancer_class != spec.load_balancer_class
        {
            let class = json!(spec.load_balancer_class);
            bad.invalid("spec.loadBalancerClass", class, "may not change once set");
        }
    }
    let (kind, headless) = (kind(spec), is_headless(spec));
    if ports(spec).is_empty() && !headless && kind != "ExternalName" {
        bad.required("spec.ports", "");
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let text = format!("may not be set to 'None' for {kind} services");
            bad.invalid("spec.clusterIPs[0]", "None", text);
        }
        "ExternalName" => external_name(spec, &mut bad),
        _ => {}
    }
    validate_ports(spec, &mut bad);
    if let Some(selector) = &spec.selector {
        let map = selector
            .iter()
            .map(|(k, v)| (k.clone(), Value::from(v.as_str())))
            .collect();
        super::meta::labels_of("spec.selector", &map, &mut bad);
    }
    let affinity = spec.session_affinity.as_deref().unwrap_or_default();
    if !["ClientIP", "None"].contains(&affinity) {
        bad.not_supported("spec.sessionAffinity", affinity, &["ClientIP", "None"]);
    }
    bad.append(families::validate(spec));
    if !TYPES.contains(&kind) {
        bad.not_supported("spec.type", kind, &TYPES);
    }
    node_port_rules(spec, &mut bad);
    duplicates(spec, &mut bad);
    balancer_rules(spec, &mut bad);
    traffic_rules(spec, &mut bad);
    bad
}

/// An alias has no address, so nothing that has to do with addresses may be set.
fn external_name(spec: &ServiceSpec, bad: &mut Violations) {
    let text = "may not be set for ExternalName services";
    if !families::cluster_ips(spec).is_empty() {
        bad.forbidden("spec.clusterIPs", text);
    }
    if !families::ip_families(spec).is_empty() {
        bad.forbidden("spec.ipFamilies", text);
    }
    if spec.ip_family_policy.is_some() {
        bad.forbidden("spec.ipFamilyPolicy", text);
    }
    let name = spec.external_name.as_deref().unwrap_or_default();
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        bad.required("spec.externalName", "");
        return;
    }
    for error in names::dns1123_subdomain(name) {
        bad.invalid("spec.externalName", name, error);
    }
}

/// Each port for itself, and names that tell them apart as soon as there are two.
fn validate_ports(spec: &ServiceSpec, bad: &mut Violations) {
    let needs_name = ports(spec).len() > 1;
    let mut seen = BTreeSet::new();
    for (at, port) in ports(spec).iter().enumerate() {
        let path = format!("spec.ports[{at}]");
        let name = port.name.as_deref().unwrap_or_default();
        if name.is_empty() {
            if needs_name {
                bad.required(format!("{path}.name"), "");
            }
        } else {
            for error in names::dns1123_label(name) {
                bad.invalid(format!("{path}.name"), name, error);
            }
            if !seen.insert(name) {
                bad.duplicate(format!("{path}.name"), name);
            }
        }
        if let Some(error) = names::port_number(port.port) {
            bad.invalid(format!("{path}.port"), port.port, error);
        }
        let protocol = port.protocol.as_deref().unwrap_or_default();
        if !PROTOCOLS.contains(&protocol) {
            bad.not_supported(format!("{path}.protocol"), protocol, &PROTOCOLS);
        }
        match &port.target_port {
            Some(IntOrString::Int(number)) => {
                if let Some(error) = names::port_number(*number) {
                    bad.invalid(format!("{path}.targetPort"), *number, error);
                }
            }
            Some(IntOrString::String(name)) => {
                for error in names::port_name(name) {
                    bad.invalid(format!("{path}.targetPort"), name.as_str(), error);
                }
            }
            None => {}
        }
        for error in port
            .app_protocol
            .iter()
            .flat_map(|app| names::qualified_name(app))
        {
            bad.invalid(
                format!("{path}.appProtocol"),
                json!(port.app_protocol),
                error,
            );
        }
    }
}

/// One node port cannot lead to two places of the same protocol.
fn node_port_rules(spec: &ServiceSpec, bad: &mut Violations) {
    let mut seen = BTreeSet::new();
    for (at, port) in ports(spec).iter().enumerate() {
        let Some(number) = port.node_port else {
            continue;
        };
        let path = format!("spec.ports[{at}].nodePort");
        if kind(spec) == "ClusterIP" {
            bad.forbidden(path.as_str(), "may not be used when `type` is 'ClusterIP'");
        }
        if !seen.insert((port.protocol.clone(), number)) {
            bad.duplicate(path, number);
        }
    }
}

/// The same for the ports of the virtual address.
fn duplicates(spec: &ServiceSpec, bad: &mut Violations) {
    let mut seen = BTreeSet::new();
    for (at, port) in ports(spec).iter().enumerate() {
        if !seen.insert((port.protocol.clone(), port.port)) {
            // The Go struct as JSON, with every field of the internal type, in its order.
            let protocol = port.protocol.as_deref().unwrap_or_default();
            let key = format!(
                "{{\"Name\":\"\",\"Protocol\":{protocol:?},\"AppProtocol\":null,\"Port\":{},\"TargetPort\":0,\"NodePort\":0}}",
                port.port
            );
            bad.duplicate_struct(format!("spec.ports[{at}]"), &key);
        }
    }
}

/// Fields that only a load balancer reads are refused elsewhere rather than ignored.
fn balancer_rules(spec: &ServiceSpec, bad: &mut Violations) {
    let is_balancer = kind(spec) == "LoadBalancer";
    let only = "may only be used when `type` is 'LoadBalancer'";
    let ranges = spec
        .load_balancer_source_ranges
        .as_deref()
        .unwrap_or_default();
    if !ranges.is_empty() && !is_balancer {
        bad.forbidden("spec.LoadBalancerSourceRanges", only);
    }
    for (at, range) in ranges.iter().enumerate() {
        let valid = range.trim().split_once('/').is_some_and(|(ip, bits)| {
            let widest = ip.parse().map_or(
                0,
                |ip: std::net::IpAddr| if ip.is_ipv4() { 32 } else { 128 },
            );
            bits.parse().is_ok_and(|bits: u8| bits <= widest)
        });
        if !valid {
            bad.invalid(
                format!("spec.LoadBalancerSourceRanges[{at}]"),
                range.as_str(),
                "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            );
        }
    }
    if spec.allocate_load_balancer_node_ports.is_some() && !is_balancer {
        bad.forbidden("spec.allocateLoadBalancerNodePorts", only);
    }
    if let Some(class) = &spec.load_balancer_class {
        if !is_balancer {
            bad.forbidden("spec.loadBalancerClass", only);
        }
        for error in names::qualified_name(class) {
            bad.invalid("spec.loadBalancerClass", class.as_str(), error);
        }
    }
}

/// Where traffic may go.
fn traffic_rules(spec: &ServiceSpec, bad: &mut Violations) {
    let external = spec.external_traffic_policy.as_deref().unwrap_or_default();
    if !is_external(spec) {
        if !external.is_empty() {
            let text = "may only be set for externally-accessible services";
            bad.invalid("spec.externalTrafficPolicy", external, text);
        }
    } else if !["Cluster", "Local"].contains(&external) {
        bad.not_supported(
            "spec.externalTrafficPolicy",
            external,
            &["Cluster", "Local"],
        );
    }
    if let Some(internal) = &spec.internal_traffic_policy
        && !["Cluster", "Local"].contains(&internal.as_str())
    {
        bad.not_supported(
            "spec.internalTrafficPolicy",
            internal,
            &["Cluster", "Local"],
        );
    }
    let known = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    if let Some(distribution) = &spec.traffic_distribution
        && !known.contains(&distribution.as_str())
    {
        bad.not_supported("spec.trafficDistribution", distribution, &known);
    }
}

/// Rules for the status: only a load balancer has an ingress.
pub(crate) fn validate_status(value: &Value) -> Violations {
    let mut bad = Violations::default();
    let ingress = value["status"]["loadBalancer"]["ingress"].as_array();
    if ingress.is_some_and(|i| !i.is_empty()) && value["spec"]["type"] != "LoadBalancer" {
        let text = "may only be used when `spec.type` is 'LoadBalancer'";
        bad.forbidden("status.loadBalancer.ingress", text);
    }
    bad
}
