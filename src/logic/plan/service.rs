//! The writes of a leader Service.

use serde::Serialize;
use serde_json::{Value, json};

use super::patch::{Op, Wanted};
use super::{Action, Kind, Lane, Target, Write};
use crate::logic::contract::{
    AVOIDED_NODES, COOLING_DOWN, CURRENT_LEADER, HANDLED_SWITCHOVER, INPUTS, LAST_LEADER_POD_UID,
    LAST_SWITCH_TIME, LEADER_POD_NAME, LEADER_POD_UID, MANAGED_BY, MANAGER, MIRRORED,
    SOURCE_SERVICE,
};
use crate::logic::desired::Desired;
use crate::logic::mirror::Mirrored;
use crate::logic::model::{Labels, Meta, Port, Service, ServiceType, TargetPort, Uid};
use crate::logic::settings::Exposure;

pub(super) fn create(desired: &Desired) -> Write {
    let mut spec = json!({
        "type": service_type(desired.exposure),
        "ports": ports(desired),
        // Some data planes judge an endpoint by the pod's own readiness. Whether a leader that is
        // held takes traffic is for the slice to say.
        "publishNotReadyAddresses": true,
    });
    if desired.exposure == Exposure::Headless {
        spec["clusterIP"] = "None".into();
    } else if let Some(first) = desired.cluster_ips.first() {
        spec["clusterIP"] = (**first).into();
        spec["clusterIPs"] = json!(desired.cluster_ips);
    }
    if let Some(policy) = &desired.family_policy {
        spec["ipFamilyPolicy"] = (**policy).into();
        spec["ipFamilies"] = json!(desired.families);
    }
    if !desired.source_ranges.is_empty() {
        spec["loadBalancerSourceRanges"] = json!(desired.source_ranges);
    }
    if let Some(class) = &desired.load_balancer_class {
        spec["loadBalancerClass"] = (**class).into();
    }
    let mut annotations = Wanted::default();
    lend_annotations(desired, &mut annotations);
    let mut labels = Wanted::default();
    lend_labels(desired, &mut labels);
    let body = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": desired.name,
            "namespace": desired.source.namespace,
            "labels": labels.into_object(),
            "annotations": annotations.into_object(),
            "ownerReferences": [owner_reference(&desired.source.name, &desired.source_uid)],
        },
        "spec": spec,
    });
    let key = desired.source.sibling(desired.name.clone());
    Write {
        target: Target {
            kind: Kind::Service,
            key,
        },
        action: Action::Create(body.into()),
        lane: Lane::Ordinary,
    }
}

/// `leader_is_shown`: whether the slices name the leader, so that the annotations may.
pub(super) fn diff(desired: &Desired, service: &Service, leader_is_shown: bool) -> Option<Write> {
    let meta = &service.metadata;
    let mut ops = spec_ops(desired, service);

    let lent = mirrored(desired, service);
    let mut labels = Wanted::default();
    lent.labels
        .iter()
        .chain(&lent.asked_labels)
        .filter(|key| meta.labels.get(key).is_some())
        .for_each(|key| labels.unset(key));
    lend_labels(desired, &mut labels);
    ops.extend(labels.ops("/metadata/labels", &meta.labels));

    let mut annotations = Wanted::default();
    // The Go program copies a source's inputs too, and remembers none of what it copies.
    lent.annotations
        .iter()
        .map(String::as_str)
        .chain(INPUTS)
        .filter(|key| meta.annotations.get(key).is_some())
        .for_each(|key| annotations.unset(key));
    lend_annotations(desired, &mut annotations);
    let is_disowned = owners_differ(meta, &desired.source.name, &desired.source_uid);
    if leader_is_shown {
        name_leader(desired, &mut annotations);
        let is_due = desired.record.is_outdated || is_disowned || !ops.is_empty();
        if is_due || annotations.differ(&meta.annotations) {
            remember(desired, &meta.annotations, &mut annotations);
        }
    }
    ops.extend(annotations.ops("/metadata/annotations", &meta.annotations));

    if is_disowned {
        let owner = owner_reference(&desired.source.name, &desired.source_uid);
        ops.push(Op::add("/metadata/ownerReferences", vec![owner]));
    }
    let says_only = ops
        .iter()
        .all(|op| op.path().starts_with("/metadata/annotations"));
    (!ops.is_empty()).then(|| Write {
        target: Target {
            kind: Kind::Service,
            key: meta.key(),
        },
        action: Action::Patch {
            version: meta.resource_version.clone(),
            ops,
        },
        lane: if says_only {
            Lane::Trailing
        } else {
            Lane::Ordinary
        },
    })
}

fn spec_ops(desired: &Desired, service: &Service) -> Vec<Op> {
    let spec = &service.spec;
    let mut ops = Vec::new();
    if !spec.selector.is_empty() {
        ops.push(Op::remove("/spec/selector"));
    }
    if !spec.publish_not_ready_addresses {
        ops.push(Op::add("/spec/publishNotReadyAddresses", true));
    }
    let kind = service_type(desired.exposure);
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
    if observed != wanted {
        ops.push(set_list(
            "/spec/ports",
            &keep_node_ports(desired, wanted, &spec.ports),
        ));
    }
    if let Some(policy) = &desired.family_policy {
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
    }
    let is_balanced = desired.exposure == Exposure::LoadBalancer;
    if spec.load_balancer_source_ranges != desired.source_ranges
        && (is_balanced || spec.kind == ServiceType::LoadBalancer)
    {
        ops.push(set_list(
            "/spec/loadBalancerSourceRanges",
            &desired.source_ranges,
        ));
    }
    // The class of a load balancer that stands is immutable: set on the way in, removed on the way
    // out, and otherwise left alone, or the server would refuse every other change with it.
    match &desired.load_balancer_class {
        Some(class) if is_balanced && spec.kind != ServiceType::LoadBalancer => {
            ops.push(Op::add("/spec/loadBalancerClass", &**class));
        }
        None if !is_balanced && spec.load_balancer_class.is_some() => {
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

/// What the source lends or asks for, and what marks the Service as ours.
fn lend_labels<'a>(desired: &'a Desired, labels: &mut Wanted<'a>) {
    let lent = desired.labels.iter();
    lent.chain(desired.asked_labels.iter())
        .for_each(|(key, value)| labels.set(key, value));
    labels.set(MANAGED_BY, MANAGER);
    labels.set(SOURCE_SERVICE, &*desired.source.name);
}

fn lend_annotations<'a>(desired: &'a Desired, annotations: &mut Wanted<'a>) {
    desired
        .annotations
        .iter()
        .for_each(|(key, value)| annotations.set(key, value));
    let keys = |of: &Labels| of.iter().map(|(key, _)| key.to_owned()).collect();
    let lent = Mirrored {
        labels: keys(&desired.labels),
        annotations: keys(&desired.annotations),
        asked: keys(&desired.asked_annotations),
        asked_labels: keys(&desired.asked_labels),
    };
    // Plain data always serializes.
    annotations.set(MIRRORED, serde_json::to_string(&lent).unwrap_or_default());
}

fn name_leader<'a>(desired: &'a Desired, annotations: &mut Wanted<'a>) {
    match &desired.leader {
        Some(leader) => {
            annotations.set(CURRENT_LEADER, &*leader.name);
            annotations.set(LEADER_POD_NAME, &*leader.name);
            annotations.set(LEADER_POD_UID, leader.uid.to_string());
        }
        None => [CURRENT_LEADER, LEADER_POD_NAME, LEADER_POD_UID]
            .into_iter()
            .for_each(|key| annotations.unset(key)),
    }
    match &desired.handled {
        Some(handled) => annotations.set(HANDLED_SWITCHOVER, handled.to_string()),
        None => annotations.unset(HANDLED_SWITCHOVER),
    }
    if let Some(uid) = &desired.last_leader {
        annotations.set(LAST_LEADER_POD_UID, uid.to_string());
        if let Some(at) = desired.switched {
            annotations.set(LAST_SWITCH_TIME, format!("{at:.0}"));
        }
    }
}

/// What is worth no write of its own unless it is outdated.
fn remember<'a>(desired: &'a Desired, observed: &Labels, annotations: &mut Wanted<'a>) {
    let record = &desired.record;
    for (key, value) in [
        (COOLING_DOWN, &record.cooling_down),
        (AVOIDED_NODES, &record.avoided_nodes),
    ] {
        if !value.is_empty() {
            annotations.set(key, &**value);
        } else if observed.get(key).is_some() {
            annotations.unset(key);
        }
    }
}

/// The keys that a leader Service has from its source.
pub(super) fn mirrored(desired: &Desired, service: &Service) -> Mirrored {
    Mirrored::read(service).unwrap_or_else(|| {
        Mirrored::guess(service, &desired.source_labels, &desired.source_annotations)
    })
}

fn service_type(exposure: Exposure) -> ServiceType {
    match exposure {
        Exposure::ClusterIP | Exposure::Headless => ServiceType::ClusterIP,
        Exposure::NodePort => ServiceType::NodePort,
        Exposure::LoadBalancer => ServiceType::LoadBalancer,
    }
}

/// The ports as the server will show them: it fills in an absent `targetPort`.
fn ports(desired: &Desired) -> Vec<Port> {
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
fn keep_node_ports(desired: &Desired, mut wanted: Vec<Port>, observed: &[Port]) -> Vec<Port> {
    if !matches!(
        desired.exposure,
        Exposure::NodePort | Exposure::LoadBalancer
    ) {
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

/// An ownerReference. Never `blockOwnerDeletion`: it would need a right on the owner's finalizers
/// where `OwnerReferencesPermissionEnforcement` is on.
pub(super) fn owner_reference(name: &str, uid: &Uid) -> Value {
    json!({ "apiVersion": "v1", "kind": "Service", "name": name, "uid": uid, "controller": true })
}

pub(super) fn owners_differ(meta: &Meta, name: &str, uid: &Uid) -> bool {
    !matches!(
        meta.owner_references.as_slice(),
        [owner] if &*owner.api_version == "v1"
            && &*owner.kind == "Service"
            && &*owner.name == name
            && owner.uid == *uid
            && owner.controller
            && !owner.block_owner_deletion
    )
}
