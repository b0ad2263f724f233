//! The writes of a leader Service.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::patch::{MapPatch, Op};
use super::refusal::{IDENTITY, Part, Parts, content_of};
use super::spec::{ports, service_type, spec_ops};
use super::{Action, Kind, Lane, PlanExclusions, Target, Write};
use crate::logic::desired::Desired;
use crate::logic::mirror::Mirrored;
use crate::logic::model::{Labels, Meta, Service, Uid};
use crate::logic::settings::LeaderServiceType;
use crate::logic::snapshot::{Role, is_marked_for_followers};
use crate::logic::time::Moment;
use crate::logic::well_known::{
    AVOIDED_NODES, COOLING_DOWN, CURRENT_LEADER, FOLLOWERS, HANDLED_SWITCHOVER, INPUTS,
    LAST_LEADER_POD_UID, LAST_SWITCH_TIME, LEADER_POD_NAME, LEADER_POD_UID, MANAGED_BY, MANAGER,
    MIRRORED, ROLE, SOURCE_SERVICE,
};

pub(super) fn create(desired: &Desired) -> Write {
    let mut spec = json!({
        "type": service_type(desired.exposure),
        "ports": ports(desired),
    });
    if desired.role() == Role::Leader {
        // Some data planes judge an endpoint by the pod's own readiness. Whether a leader that is
        // held takes traffic is for the slice to say.
        spec["publishNotReadyAddresses"] = true.into();
    }
    if desired.exposure == LeaderServiceType::Headless {
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
    let mut annotations = MapPatch::default();
    lend_annotations(desired, &mut annotations);
    remember_keys(desired, &Mirrored::default(), Parts::ALL, &mut annotations);
    let mut labels = MapPatch::default();
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

/// The object that is written for a leader Service.
pub(super) fn target(service: &Service) -> Target {
    Target {
        kind: Kind::Service,
        key: service.metadata.key(),
    }
}

/// The patch of a leader Service, or when the next refused part of it is due.
/// `leader_is_shown`: whether the slices name the leader, so that the annotations may.
pub(super) fn diff(
    desired: &Desired,
    service: &Service,
    leader_is_shown: bool,
    aside: PlanExclusions<'_>,
) -> (Option<Write>, Option<Moment>) {
    let target = target(service);
    let ops_of = |parts| ops(desired, service, leader_is_shown, parts);
    let mut ops = ops_of(Parts::ALL);
    let mut until = None;
    if !ops.is_empty() && aside.refusals.has(&target) {
        let content = |parts| content_of(&ops_of(parts));
        let pending = Parts::of(&ops);
        let choice = aside.refusals.choose(&target, pending, aside.now, content);
        ops = ops_of(choice.parts);
        until = choice.until;
    }
    let says_only = ops
        .iter()
        .all(|op| op.path().starts_with("/metadata/annotations"));
    let write = (!ops.is_empty()).then(|| Write {
        target,
        action: Action::Patch {
            version: service.metadata.resource_version.clone(),
            ops,
        },
        lane: if says_only {
            Lane::Trailing
        } else {
            Lane::Ordinary
        },
    });
    (write, until)
}

/// What brings these parts of a leader Service to what is desired.
fn ops(desired: &Desired, service: &Service, leader_is_shown: bool, parts: Parts) -> Vec<Op> {
    let meta = &service.metadata;
    let lent = mirrored(desired, service);
    let mut ops = spec_ops(desired, service, lent.ranges, parts);

    let mut labels = MapPatch::default();
    if parts.has(Part::Labels) {
        lent.labels
            .iter()
            .chain(&lent.asked_labels)
            .filter(|key| meta.labels.get(key).is_some())
            .for_each(|key| labels.unset(key));
        lend_labels(desired, &mut labels);
        if desired.role() == Role::Leader && is_marked_for_followers(meta) {
            labels.unset(ROLE);
        }
    }
    ops.extend(labels.ops("/metadata/labels", &meta.labels));

    let mut annotations = MapPatch::default();
    if parts.has(Part::Annotations) {
        // The Go program copies a source's inputs too, and remembers none of what it copies.
        lent.annotations
            .iter()
            .map(String::as_str)
            .chain(INPUTS)
            .filter(|key| meta.annotations.get(key).is_some())
            .for_each(|key| annotations.unset(key));
        lend_annotations(desired, &mut annotations);
    }
    remember_keys(desired, &lent, parts, &mut annotations);
    let is_disowned = owners_differ(meta, &desired.source.name, &desired.source_uid);
    let is_owned_again = is_disowned && parts.has(Part::Owner);
    if leader_is_shown && parts.has(Part::Identity) {
        match desired.role() {
            Role::Leader => name_leader(desired, &mut annotations),
            Role::Followers => IDENTITY
                .into_iter()
                .filter(|key| meta.annotations.get(key).is_some())
                .for_each(|key| annotations.unset(key)),
        }
        let is_due = desired.record.is_outdated || is_owned_again || !ops.is_empty();
        if is_due || annotations.differ(&meta.annotations) {
            remember(desired, &meta.annotations, &mut annotations);
        }
    }
    ops.extend(annotations.ops("/metadata/annotations", &meta.annotations));

    if is_owned_again {
        let owner = owner_reference(&desired.source.name, &desired.source_uid);
        ops.push(Op::add("/metadata/ownerReferences", vec![owner]));
    }
    ops
}

/// The mirrored and the requested labels, and those that mark the Service as ours.
fn lend_labels<'a>(desired: &'a Desired, labels: &mut MapPatch<'a>) {
    let lent = desired.labels.iter();
    lent.chain(desired.asked_labels.iter())
        .for_each(|(key, value)| labels.set(key, value));
    labels.set(MANAGED_BY, MANAGER);
    labels.set(SOURCE_SERVICE, &*desired.source.name);
    if desired.role() == Role::Followers {
        labels.set(ROLE, FOLLOWERS);
    }
}

fn lend_annotations<'a>(desired: &'a Desired, annotations: &mut MapPatch<'a>) {
    desired
        .annotations
        .iter()
        .for_each(|(key, value)| annotations.set(key, value));
}

/// The memory of mirrored keys: the new keys of the parts that are written, and the former keys of the
/// other parts.
fn remember_keys(
    desired: &Desired,
    before: &Mirrored,
    parts: Parts,
    annotations: &mut MapPatch<'_>,
) {
    if ![Part::Labels, Part::Type, Part::Annotations]
        .into_iter()
        .any(|part| parts.has(part))
    {
        return;
    }
    let keys = |of: &Labels| of.iter().map(|(key, _)| key.to_owned()).collect();
    let keys_of = |part, new, before: &BTreeSet<String>| {
        if parts.has(part) {
            keys(new)
        } else {
            before.clone()
        }
    };
    let lent = Mirrored {
        labels: keys_of(Part::Labels, &desired.labels, &before.labels),
        annotations: keys_of(Part::Annotations, &desired.annotations, &before.annotations),
        asked: keys_of(Part::Annotations, &desired.asked_annotations, &before.asked),
        asked_labels: keys_of(Part::Labels, &desired.asked_labels, &before.asked_labels),
        ranges: if parts.has(Part::Type) {
            desired.is_range_lent
        } else {
            before.ranges
        },
        followers: desired.role() == Role::Followers,
    };
    // Plain data always serializes.
    annotations.set(MIRRORED, serde_json::to_string(&lent).unwrap_or_default());
}

fn name_leader<'a>(desired: &'a Desired, annotations: &mut MapPatch<'a>) {
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
fn remember<'a>(desired: &'a Desired, observed: &Labels, annotations: &mut MapPatch<'a>) {
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
