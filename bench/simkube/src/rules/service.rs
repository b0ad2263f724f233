//! Services: defaults, what follows from a change of type, and rules.
//!
//! Addresses and node ports are given out elsewhere; here they are only judged.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ClientIPConfig, ServicePort, ServiceSpec, SessionAffinityConfig};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::families;
use super::names;
use crate::api::violation::Violations;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// The type; `ClusterIP` where none is set.
pub(crate) fn kind(spec: &ServiceSpec) -> &str {
    spec.type_
        .as_deref()
        .filter(|t| !t.is_empty())
        .unwrap_or("ClusterIP")
}

/// Whether it has no virtual address by choice.
pub(crate) fn is_headless(spec: &ServiceSpec) -> bool {
    families::cluster_ips(spec)
        .first()
        .is_some_and(|ip| ip == "None")
        || spec.cluster_ip.as_deref() == Some("None")
}

/// Whether node ports are given out for it.
pub(crate) fn needs_node_ports(spec: &ServiceSpec) -> bool {
    match kind(spec) {
        "NodePort" => true,
        "LoadBalancer" => spec.allocate_load_balancer_node_ports.unwrap_or(true),
        _ => false,
    }
}

fn is_external(spec: &ServiceSpec) -> bool {
    matches!(kind(spec), "NodePort" | "LoadBalancer")
        || (kind(spec) == "ClusterIP"
            && !spec
                .external_ips
                .iter()
                .flatten()
                .collect::<Vec<_>>()
                .is_empty())
}

fn ports(spec: &ServiceSpec) -> &[ServicePort] {
    spec.ports.as_deref().unwrap_or_default()
}

/// Ports of the nodes that it holds.
pub(crate) fn node_ports(spec: &ServiceSpec) -> Vec<i32> {
    ports(spec)
        .iter()
        .filter_map(|p| p.node_port)
        .filter(|p| *p != 0)
        .collect()
}

/// Fills in what a client may leave out.
pub(crate) fn default(spec: &mut ServiceSpec) {
    // An empty string and an absent field are the same to a typed server.
    for field in [
        &mut spec.cluster_ip,
        &mut spec.external_name,
        &mut spec.external_traffic_policy,
        &mut spec.session_affinity,
        &mut spec.type_,
        &mut spec.load_balancer_ip,
    ] {
        if field.as_deref() == Some("") {
            *field = None;
        }
    }
    let kind = spec.type_.get_or_insert_with(|| "ClusterIP".into()).clone();
    let affinity = spec.session_affinity.get_or_insert_with(|| "None".into());
    if affinity == "None" {
        spec.session_affinity_config = None;
    } else if affinity == "ClientIP" {
        let seconds = spec
            .session_affinity_config
            .as_ref()
            .and_then(|c| c.client_ip.as_ref())
            .and_then(|c| c.timeout_seconds);
        let client_ip = ClientIPConfig {
            timeout_seconds: Some(seconds.unwrap_or(10_800)),
        };
        spec.session_affinity_config = Some(SessionAffinityConfig {
            client_ip: Some(client_ip),
        });
    }
    for port in spec.ports.iter_mut().flatten() {
        default_port(port);
    }
    if is_external(spec) {
        spec.external_traffic_policy
            .get_or_insert_with(|| "Cluster".into());
    }
    if kind == "ExternalName" {
        spec.internal_traffic_policy = None;
    } else {
        spec.internal_traffic_policy
            .get_or_insert_with(|| "Cluster".into());
    }
    if kind == "LoadBalancer" {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
    }
}

fn default_port(port: &mut ServicePort) {
    if port.protocol.as_deref().unwrap_or_default().is_empty() {
        port.protocol = Some("TCP".into());
    }
    let unset = match &port.target_port {
        None => true,
        Some(IntOrString::Int(number)) => *number == 0,
        Some(IntOrString::String(name)) => name.is_empty(),
    };
    if unset {
        port.target_port = Some(IntOrString::Int(port.port));
    }
    if port.name.as_deref() == Some("") {
        port.name = None;
    }
    if port.node_port == Some(0) {
        port.node_port = None;
    }
}

/// Wipes what the new type has no use for, as long as the client did not touch it.
pub(crate) fn drop_type_dependent(new: &mut ServiceSpec, old: &ServiceSpec) {
    let name_now = kind(new) == "ExternalName";
    if kind(old) != "ExternalName" && name_now {
        if new.cluster_ip == old.cluster_ip && new.cluster_ips == old.cluster_ips {
            new.cluster_ip = None;
            new.cluster_ips = None;
        }
        if new.ip_families == old.ip_families {
            new.ip_families = None;
        }
        if new.ip_family_policy == old.ip_family_policy {
            new.ip_family_policy = None;
        }
    }
    if needs_node_ports(old) && !needs_node_ports(new) && node_ports(old) == node_ports(new) {
        for port in new.ports.iter_mut().flatten() {
            port.node_port = None;
        }
    }
    let was_balancer = kind(old) == "LoadBalancer";
    if was_balancer && kind(new) != "LoadBalancer" {
        if new.allocate_load_balancer_node_ports == old.allocate_load_balancer_node_ports {
            new.allocate_load_balancer_node_ports = None;
        }
        if new.load_balancer_class == old.load_balancer_class {
            new.load_balancer_class = None;
        }
        if new.health_check_node_port == old.health_check_node_port {
            new.health_check_node_port = None;
        }
    }
    if is_external(old)
        && !is_external(new)
        && new.external_traffic_policy == old.external_traffic_policy
    {
        new.external_traffic_policy = None;
    }
}

/// Puts back what was given out earlier and a client did not repeat.
pub(crate) fn patch_allocated(new: &mut ServiceSpec, old: &ServiceSpec) {
    if kind(old) != "ExternalName" && kind(new) != "ExternalName" {
        if new.cluster_ip.is_none() {
            new.cluster_ip.clone_from(&old.cluster_ip);
        }
        if families::cluster_ips(new).is_empty() {
            new.cluster_ips.clone_from(&old.cluster_ips);
        }
    }
    if needs_node_ports(old) && needs_node_ports(new) {
        let kept = node_ports(new);
        let used: BTreeSet<i32> = node_ports(old)
            .into_iter()
            .filter(|p| kept.contains(p))
            .collect();
        // By name: other properties of the port may have changed.
        let by_name: BTreeMap<Option<String>, i32> = ports(old)
            .iter()
            .filter_map(|p| p.node_port.map(|n| (p.name.clone(), n)))
            .collect();
        for port in new
            .ports
            .iter_mut()
            .flatten()
            .filter(|p| p.node_port.is_none())
        {
            port.node_port = by_name
                .get(&port.name)
                .copied()
                .filter(|n| !used.contains(n));
        }
    }
}

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

fn duplicates(spec: &ServiceSpec, bad: &mut Violations) {
    let mut seen = BTreeSet::new();
    for (at, port) in ports(spec).iter().enumerate() {
        if !seen.insert((port.protocol.clone(), port.port)) {
            // The Go struct as JSON, with every field of the internal type.
            let key = json!({
                "Name": "", "Protocol": port.protocol, "AppProtocol": null,
                "Port": port.port, "TargetPort": 0, "NodePort": 0,
            });
            bad.duplicate(format!("spec.ports[{at}]"), key);
        }
    }
}

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
    let known = ["PreferClose", "PreferSameNode", "PreferSameZone"];
    if let Some(distribution) = &spec.traffic_distribution
        && !known.contains(&distribution.as_str())
    {
        bad.not_supported("spec.trafficDistribution", distribution, &known);
    }
}
