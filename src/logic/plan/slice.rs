//! The writes of a slice.

use std::sync::Arc;

use serde_json::{Value, json};

use super::patch::{MapPatch, Op};
use super::service::{mirrored, owner_reference, owners_differ};
use super::{Action, Kind, Lane, Target, Write};
use crate::logic::desired::Desired;
use crate::logic::elect::resolve_without_pod;
use crate::logic::fsm::has_record;
use crate::logic::model::{
    AddressType, Conditions, Endpoint, EndpointPort, Family, Service, Slice, TargetRef, Uid,
};
use crate::logic::settings::LeaderServiceType;
use crate::logic::snapshot::{Role, is_marked_for_followers};
use crate::logic::well_known::{
    FOLLOWERS, HANDLED_SWITCHOVER, HEADLESS, LAST_LEADER_POD_UID, LEADER_NAMED_BY, LEADER_POD_UID,
    MANAGED_BY, MANAGER, ROLE, SERVICE_NAME, SLICE_MANAGED_BY, SOURCE_SERVICE, TRIGGER_TIME,
};
use crate::mutations::{self, Mutation};

pub(super) fn create(desired: &Desired, family: Family, service: &Service, name: &str) -> Write {
    let endpoints = endpoints(desired, family);
    let ports =
        shown_ports(desired).map_or_else(|| resolve_without_pod(&desired.ports), <[_]>::to_vec);
    let mut metadata = json!({
        "name": name,
        "namespace": desired.source.namespace,
        "labels": labels(desired, None).into_object(),
        "ownerReferences": [owner_reference(&service.metadata.name, &service.metadata.uid)],
    });
    let trigger = desired.trigger.filter(|_| !endpoints.is_empty());
    let annotations = annotations(desired, trigger).into_object();
    if annotations.as_object().is_some_and(|map| !map.is_empty()) {
        metadata["annotations"] = annotations;
    }
    let body = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": AddressType::from(family),
        "endpoints": endpoints,
        "ports": ports,
    });
    let key = desired.source.sibling(name);
    Write {
        target: Target {
            kind: Kind::Slice,
            key,
        },
        action: Action::Create(body.into()),
        lane: Lane::Ordinary,
    }
}

pub(super) fn diff(
    desired: &Desired,
    family: Family,
    service: &Service,
    slice: &Slice,
) -> Option<Write> {
    let wanted = endpoints(desired, family);
    let moves = slice.endpoints != wanted;
    let mut ops = Vec::new();
    if moves && mutations::is(Mutation::EndpointAdded) && !wanted.is_empty() {
        let both: Vec<&Endpoint> = slice.endpoints.iter().chain(&wanted).collect();
        ops.push(Op::add("/endpoints", to_value(&both)));
    } else if moves && mutations::is(Mutation::EmptyBetween) && !slice.endpoints.is_empty() {
        ops.push(Op::add("/endpoints", Value::Array(Vec::new())));
    } else if moves {
        ops.push(Op::add("/endpoints", to_value(&wanted)));
    }
    ops.extend(ports_op(desired, slice));
    ops.extend(
        labels(desired, Some((service, slice))).ops("/metadata/labels", &slice.metadata.labels),
    );
    if owners_differ(
        &slice.metadata,
        &service.metadata.name,
        &service.metadata.uid,
    ) {
        let owner = owner_reference(&service.metadata.name, &service.metadata.uid);
        ops.push(Op::add("/metadata/ownerReferences", vec![owner]));
    }
    if ops.is_empty() && !(has_record(slice) && record(desired).differ(&slice.metadata.annotations))
    {
        return None;
    }
    ops.extend(annotation_ops(
        desired,
        slice,
        desired.trigger.filter(|_| moves),
    ));
    let lane = if moves {
        lane(desired.role())
    } else {
        Lane::Ordinary
    };
    Some(patch(slice, ops, lane))
}

/// The lane of a write that moves traffic. A change among followers comes after any failover.
fn lane(role: Role) -> Lane {
    match role {
        Role::Leader => Lane::Failover,
        Role::Followers => Lane::Ordinary,
    }
}

/// Lets the endpoint of a slice that is to go follow the leader until then: its successor may be a
/// long time in coming (a quota, an admission policy), and a client may still use it. `is_apart`:
/// it belongs to another Service than the one that is desired, so that it may be filled too.
pub(super) fn follow(desired: &Desired, slice: &Slice, is_apart: bool) -> Option<Write> {
    let family = match slice.address_type {
        AddressType::IPv4 => Some(Family::IPv4),
        AddressType::IPv6 => Some(Family::IPv6),
        AddressType::Other => None,
    };
    let wanted = family.map_or_else(Vec::new, |family| endpoints(desired, family));
    if slice.endpoints == wanted {
        return None;
    }
    if !is_apart {
        return (!slice.endpoints.is_empty()).then(|| empty(slice));
    }
    let mut ops = vec![Op::add("/endpoints", to_value(&wanted))];
    ops.extend(ports_op(desired, slice));
    ops.extend(annotation_ops(desired, slice, desired.trigger));
    Some(patch(slice, ops, lane(desired.role())))
}

/// What a slice records of its leader, for every process that comes after.
fn record(desired: &Desired) -> MapPatch<'static> {
    let mut record = MapPatch::default();
    let mut set = |key, value: Option<String>| match value {
        Some(value) => record.set(key, value),
        None => record.unset(key),
    };
    let leader = desired.leader.as_ref().map(|leader| leader.uid.to_string());
    set(LEADER_POD_UID, leader);
    let last = desired.last_leader.as_ref().map(ToString::to_string);
    set(LAST_LEADER_POD_UID, last);
    let handled = desired.handled.as_ref().map(ToString::to_string);
    set(HANDLED_SWITCHOVER, handled);
    set(LEADER_NAMED_BY, desired.named_by.as_deref().map(Into::into));
    record
}

/// The record, and the time from which kube-proxy measures; without a time that of an earlier change
/// goes.
fn annotations(desired: &Desired, trigger: Option<jiff::Timestamp>) -> MapPatch<'static> {
    let mut wanted = record(desired);
    match trigger {
        Some(trigger) => wanted.set(TRIGGER_TIME, trigger.to_string()),
        None => wanted.unset(TRIGGER_TIME),
    }
    wanted
}

fn annotation_ops(desired: &Desired, slice: &Slice, trigger: Option<jiff::Timestamp>) -> Vec<Op> {
    annotations(desired, trigger).ops("/metadata/annotations", &slice.metadata.annotations)
}

/// Takes the endpoints out of a slice that cannot be deleted at once, and the record with them.
pub(super) fn empty(slice: &Slice) -> Write {
    let mut ops = vec![Op::add("/endpoints", Value::Array(Vec::new()))];
    let mut annotations = MapPatch::default();
    annotations.unset(TRIGGER_TIME);
    annotations.unset(LEADER_POD_UID);
    annotations.unset(LEADER_NAMED_BY);
    ops.extend(annotations.ops("/metadata/annotations", &slice.metadata.annotations));
    let role = if is_marked_for_followers(&slice.metadata) {
        Role::Followers
    } else {
        Role::Leader
    };
    patch(slice, ops, lane(role))
}

/// A patch of a slice. It clears the managedFields: without them, a patch takes the server less time
/// and the slice is smaller for each client that watches it.
fn patch(slice: &Slice, mut ops: Vec<Op>, lane: Lane) -> Write {
    if slice.metadata.is_tracked && !mutations::is(Mutation::ManagedFieldsKept) {
        ops.push(Op::untrack());
    }
    Write {
        target: Target {
            kind: Kind::Slice,
            key: slice.key(),
        },
        action: Action::Patch {
            version: slice.metadata.resource_version.clone(),
            ops,
        },
        lane,
    }
}

/// The endpoints of one family: the leader, or the followers by name.
fn endpoints(desired: &Desired, family: Family) -> Vec<Endpoint> {
    let Some(followers) = &desired.followers else {
        return Vec::from_iter(leader(desired, family));
    };
    let pods = followers.pods.iter();
    pods.filter_map(|pod| {
        Some(Endpoint {
            addresses: vec![pod.ips.of(family)?.to_string().into()],
            conditions: Conditions {
                ready: Some(true),
                serving: Some(true),
                terminating: Some(false),
            },
            node_name: pod.node.clone(),
            target_ref: Some(target(desired, &pod.name, &pod.uid)),
            ..Endpoint::default()
        })
    })
    .collect()
}

fn leader(desired: &Desired, family: Family) -> Option<Endpoint> {
    let leader = desired.leader.as_ref()?;
    let address = leader.ips.of(family)?;
    Some(Endpoint {
        addresses: vec![address.to_string().into()],
        conditions: Conditions {
            // A terminating endpoint is kube-proxy's last resort (KEP-1669) and must not be called
            // ready (KEP-1672); DNS servers know no last resort, so a headless one stays ready.
            ready: Some(!leader.terminating || desired.exposure == LeaderServiceType::Headless),
            serving: Some(leader.serving),
            terminating: Some(leader.terminating),
        },
        node_name: leader.node.clone(),
        target_ref: Some(target(desired, &leader.name, &leader.uid)),
        ..Endpoint::default()
    })
}

fn target(desired: &Desired, pod: &Arc<str>, uid: &Uid) -> TargetRef {
    TargetRef {
        kind: "Pod".into(),
        namespace: Arc::clone(&desired.source.namespace),
        name: Arc::clone(pod),
        uid: uid.clone(),
    }
}

/// The labels of a slice. Against an existing one, keys that its Service mirrored so far and the
/// source no longer has are taken off.
fn labels<'a>(desired: &'a Desired, existing: Option<(&'a Service, &'a Slice)>) -> MapPatch<'a> {
    let mut wanted = MapPatch::default();
    if let Some((service, slice)) = existing {
        let lent = mirrored(desired, service);
        let present = slice
            .metadata
            .labels
            .entries()
            .iter()
            .map(|(key, _)| &**key);
        present
            .filter(|key| lent.labels.contains(*key))
            .for_each(|key| wanted.unset(key));
    }
    desired
        .labels
        .iter()
        .for_each(|(key, value)| wanted.set(key, value));
    wanted.set(SERVICE_NAME, &*desired.name);
    wanted.set(SLICE_MANAGED_BY, MANAGER);
    wanted.set(MANAGED_BY, MANAGER);
    wanted.set(SOURCE_SERVICE, &*desired.source.name);
    if desired.role() == Role::Followers {
        wanted.set(ROLE, FOLLOWERS);
    } else if existing.is_some_and(|(_, slice)| is_marked_for_followers(&slice.metadata)) {
        wanted.unset(ROLE);
    }
    if desired.exposure == LeaderServiceType::Headless {
        wanted.set(HEADLESS, "");
    } else {
        wanted.unset(HEADLESS);
    }
    wanted
}

/// Without an endpoint no client needs the ports, and leaving them saves a change back.
fn ports_op(desired: &Desired, slice: &Slice) -> Option<Op> {
    let ports = shown_ports(desired)?;
    let is_same = same_ports(&slice.ports, ports);
    (!is_same).then(|| Op::add("/ports", to_value(&ports)))
}

/// The ports of what is published; none if nothing is.
fn shown_ports(desired: &Desired) -> Option<&[EndpointPort]> {
    match &desired.followers {
        Some(followers) => (!followers.pods.is_empty()).then_some(&followers.ports),
        None => desired.leader.as_ref().map(|leader| &*leader.ports),
    }
}

fn same_ports(a: &[EndpointPort], b: &[EndpointPort]) -> bool {
    a.len() == b.len() && a.iter().all(|port| b.contains(port))
}

/// Plain data always serializes.
fn to_value<T: serde::Serialize>(data: &T) -> Value {
    serde_json::to_value(data).unwrap_or_default()
}
