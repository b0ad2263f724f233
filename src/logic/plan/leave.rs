//! What is to go, and in which order: traffic first.

use std::sync::Arc;

use super::{Action, Kind, Lane, Target, Write, slice};
use crate::logic::desired::Desired;
use crate::logic::model::{Meta, Service, Slice};
use crate::mutations::{self, Mutation};

/// Leftovers are withdrawn once their successor stands, and not left on a dead leader till then.
pub(super) fn leave(
    desired: &Desired,
    has_successor: bool,
    services: &[&Arc<Service>],
    slices: &[&Arc<Slice>],
) -> Vec<Write> {
    if mutations::is(Mutation::LeftoversForgotten) {
        return Vec::new();
    }
    if has_successor {
        return withdraw(services, slices);
    }
    let is_apart = |slice: &Slice| {
        services
            .iter()
            .any(|service| slice.is_of(&service.metadata))
    };
    slices
        .iter()
        .filter_map(|slice| follow(desired, slice, is_apart(slice)))
        .collect()
}

pub(super) fn follow(desired: &Desired, slice: &Slice, is_apart: bool) -> Option<Write> {
    let is_deleting = slice.metadata.deletion_timestamp.is_some();
    (!is_deleting)
        .then(|| slice::follow(desired, slice, is_apart))
        .flatten()
}

/// Takes objects down: slices first, and a Service once no slice of it is left.
pub(super) fn withdraw(services: &[&Arc<Service>], slices: &[&Arc<Slice>]) -> Vec<Write> {
    if mutations::is(Mutation::ServiceBeforeSlices) && !services.is_empty() {
        let all = services.iter();
        return all
            .filter_map(|service| delete(Kind::Service, &service.metadata))
            .collect();
    }
    let free = services
        .iter()
        .filter(|service| !slices.iter().any(|slice| slice.is_of(&service.metadata)));
    let deletions = free.filter_map(|service| delete(Kind::Service, &service.metadata));
    slices
        .iter()
        .filter_map(|slice| withdraw_slice(slice))
        .chain(deletions)
        .collect()
}

/// Deletes a slice. One that a finalizer would keep alive is emptied before, since kube-proxy
/// believes a slice until the very end.
pub(super) fn withdraw_slice(slice: &Slice) -> Option<Write> {
    let meta = &slice.metadata;
    if !meta.finalizers.is_empty()
        && !slice.endpoints.is_empty()
        && meta.deletion_timestamp.is_none()
    {
        return Some(slice::empty(slice));
    }
    delete(Kind::Slice, meta)
}

fn delete(kind: Kind, meta: &Meta) -> Option<Write> {
    meta.deletion_timestamp.is_none().then(|| Write {
        target: Target {
            kind,
            key: meta.key(),
        },
        action: Action::Delete {
            uid: meta.uid.clone(),
            version: meta.resource_version.clone(),
        },
        lane: Lane::Ordinary,
    })
}
