//! Services: defaults, and what follows from a change of type.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ClientIPConfig, ServicePort, ServiceSpec, SessionAffinityConfig};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::families;

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

/// Whether traffic from outside the cluster reaches it: decides if `externalTrafficPolicy` makes sense.
pub(crate) fn is_external(spec: &ServiceSpec) -> bool {
    matches!(kind(spec), "NodePort" | "LoadBalancer")
        || (kind(spec) == "ClusterIP"
            && !spec
                .external_ips
                .iter()
                .flatten()
                .collect::<Vec<_>>()
                .is_empty())
}

/// The ports; none for a headless Service without any.
pub(crate) fn ports(spec: &ServiceSpec) -> &[ServicePort] {
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
    if spec.publish_not_ready_addresses == Some(false) {
        spec.publish_not_ready_addresses = None;
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

/// Go's zero values count as absent: that is how they arrive from typed clients.
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
