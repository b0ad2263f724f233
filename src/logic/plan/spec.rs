//! The specification of a leader Service: ports, families, type.

use std::sync::Arc;

use serde::Serialize;
use serde_json::json;

use super::patch::Op;
use super::refusal::{Part, Parts};
use crate::logic::desired::Desired;
use crate::logic::model::{Port, Service, ServiceType, TargetPort};
use crate::logic::settings::LeaderServiceType;
use crate::logic::snapshot::Role;

/// What brings these parts of a specification to what is desired. `ranges_are_lent`: the source ranges
/// that it has are those of the source.
pub(super) fn spec_ops(
    desired: &Desired,
    service: &Service,
    ranges_are_lent: bool,
    parts: Parts,
) -> Vec<Op> {
    let spec = &service.spec;
    let mut ops = Vec::new();
    if !spec.selector.is_empty() && parts.has(Part::Selector) {
        ops.push(Op::remove("/spec/selector"));
    }
    let shows_not_ready = desired.role() == Role::Leader;
    if shows_not_ready && !spec.publish_not_ready_addresses && parts.has(Part::NotReady) {
        ops.push(Op::add("/spec/publishNotReadyAddresses", true));
    }
    // The type that it has after this patch.
    let kind = if parts.has(Part::Type) {
        next_type(desired, service)
    } else {
        spec.kind
    };
    if spec.kind != kind {
        ops.push(Op::replace("/spec/type", json!(kind)));
    }
    let wanted = ports(desired);
    let observed: Vec<Port> = spec
        .ports
        .iter()
        .cloned()
        .map(|port| Port {
            node_port: None,
            ..port
        })
        .collect();
    if observed != wanted && parts.has(Part::Ports) {
        ops.push(set_list(
            "/spec/ports",
            &keep_node_ports(kind, wanted, &spec.ports),
        ));
    }
    if parts.has(Part::Families) {
        ops.extend(family_ops(desired, service));
    }
    if parts.has(Part::Type) {
        ops.extend(balancer_ops(desired, service, kind, ranges_are_lent));
    }
    ops
}

fn family_ops(desired: &Desired, service: &Service) -> Vec<Op> {
    let spec = &service.spec;
    let mut ops = Vec::new();
    let Some(policy) = &desired.family_policy else {
        return ops;
    };
    if spec.ip_family_policy.as_ref() != Some(policy) {
        ops.push(Op::add("/spec/ipFamilyPolicy", &**policy));
    }
    // Where a source prefers two families and got one, before its cluster had two, the server
    // gives its leader Service both at once, and would again.
    let is_prefix = spec.ip_families.starts_with(&desired.families);
    let is_more = is_prefix && &**policy == "PreferDualStack";
    if spec.ip_families != desired.families && !is_more {
        ops.push(Op::add("/spec/ipFamilies", json!(desired.families)));
        if desired.families.len() < spec.cluster_ips.len() {
            // The addresses must go with their families, or the server refuses the change.
            ops.push(Op::add(
                "/spec/clusterIPs",
                json!(spec.cluster_ips[..desired.families.len()]),
            ));
        }
    }
    ops
}

/// The type that a leader Service is given now. The class of a load balancer that stands is immutable:
/// for another one the Service leaves the type, and comes back once nothing of the former load balancer
/// is left, so that the controller of the former class takes it down.
fn next_type(desired: &Desired, service: &Service) -> ServiceType {
    let spec = &service.spec;
    let wanted = service_type(desired.exposure);
    let Some(class) = &desired.load_balancer_class else {
        return wanted;
    };
    let is_balanced = spec.kind == ServiceType::LoadBalancer;
    if is_balanced && spec.load_balancer_class.as_ref() != Some(class) {
        ServiceType::ClusterIP
    } else if !is_balanced && service.has_former_balancer() {
        spec.kind
    } else {
        wanted
    }
}

/// `kind`: the type that it has after this patch.
fn balancer_ops(
    desired: &Desired,
    service: &Service,
    kind: ServiceType,
    ranges_are_lent: bool,
) -> Vec<Op> {
    let spec = &service.spec;
    let was_balanced = spec.kind == ServiceType::LoadBalancer;
    let is_balanced = kind == ServiceType::LoadBalancer;
    let mut ops = Vec::new();
    // A restriction goes with the type that it needs, and with the source's that it came from. One
    // that a user set is never lifted.
    let ranges: &[Arc<str>] = match &desired.source_ranges[..] {
        [] if is_balanced && !(desired.is_source_balanced && ranges_are_lent) => {
            &spec.load_balancer_source_ranges
        }
        _ if !is_balanced => &[],
        wanted => wanted,
    };
    if spec.load_balancer_source_ranges != ranges {
        ops.push(set_list("/spec/loadBalancerSourceRanges", ranges));
    }
    match &desired.load_balancer_class {
        Some(class) if is_balanced && !was_balanced => {
            ops.push(Op::add("/spec/loadBalancerClass", &**class));
        }
        _ if !is_balanced && spec.load_balancer_class.is_some() => {
            ops.push(Op::remove("/spec/loadBalancerClass"));
        }
        _ => {}
    }
    ops
}

/// Sets a list that differs; an empty one is not there at all.
fn set_list<T: Serialize>(path: &str, list: &[T]) -> Op {
    if list.is_empty() {
        Op::remove(path)
    } else {
        Op::add(path, json!(list))
    }
}

pub(super) fn service_type(exposure: LeaderServiceType) -> ServiceType {
    match exposure {
        LeaderServiceType::ClusterIP | LeaderServiceType::Headless => ServiceType::ClusterIP,
        LeaderServiceType::NodePort => ServiceType::NodePort,
        LeaderServiceType::LoadBalancer => ServiceType::LoadBalancer,
    }
}

/// The ports as the server will show them: it fills in an absent `targetPort`.
pub(super) fn ports(desired: &Desired) -> Vec<Port> {
    let filled = |port: &Port| Port {
        target_port: Some(match &port.target_port {
            None | Some(TargetPort::Number(0)) => TargetPort::Number(port.port),
            Some(given) => given.clone(),
        }),
        node_port: None,
        ..port.clone()
    };
    desired.ports.iter().map(filled).collect()
}

/// A port that stays keeps the node port that the server gave it: by its name, as the server
/// itself does it, or by its number if it was renamed.
fn keep_node_ports(kind: ServiceType, mut wanted: Vec<Port>, observed: &[Port]) -> Vec<Port> {
    if !matches!(kind, ServiceType::NodePort | ServiceType::LoadBalancer) {
        return wanted;
    }
    let mut given: Vec<&Port> = observed
        .iter()
        .filter(|old| old.node_port.is_some())
        .collect();
    let same_name = |old: &Port, new: &Port| (old.protocol, &old.name) == (new.protocol, &new.name);
    let same_number = |old: &Port, new: &Port| (old.protocol, old.port) == (new.protocol, new.port);
    for is_same in [same_name, same_number] {
        for port in wanted.iter_mut().filter(|port| port.node_port.is_none()) {
            if let Some(at) = given.iter().position(|old| is_same(old, port)) {
                port.node_port = given.swap_remove(at).node_port;
            }
        }
    }
    wanted
}
