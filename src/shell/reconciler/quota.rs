//! The limit of opted-in Services per namespace.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Reconciler;
use crate::logic::model::Key;

/// How many Services of a namespace are served, and which ones wait for a place.
#[derive(Default)]
pub(super) struct NamespaceQuota {
    served: usize,
    waiting: BTreeSet<Key>,
}

impl Reconciler {
    pub(super) fn is_full(&self, source: &Key, is_served: bool) -> bool {
        let Some(max) = self.settings.services_per_namespace_max else {
            return false;
        };
        !is_served
            && self
                .rooms
                .lock()
                .get(&source.namespace)
                .is_some_and(|room| room.served >= max)
    }

    /// Keeps the count of served Services, and offers a place that is free to one that waits. One
    /// that does not want it any more has the next one asked.
    pub(super) fn count_place(&self, source: &Key, was_served: bool, is_served: bool, waits: bool) {
        let Some(max) = self.settings.services_per_namespace_max else {
            return;
        };
        let next = {
            let mut rooms = self.rooms.lock();
            let room = rooms.entry(Arc::clone(&source.namespace)).or_default();
            room.served = room.served + usize::from(is_served) - usize::from(was_served);
            if waits && !is_served {
                room.waiting.insert(source.clone());
            } else {
                room.waiting.remove(source);
            }
            if room.served < max {
                room.waiting.pop_first()
            } else {
                None
            }
        };
        if let Some(next) = next {
            self.schedule(next, self.clock.moment());
        }
    }
}
