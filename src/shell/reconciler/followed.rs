//! Tells the store what else concerns a source: its leader, whatever the labels of that pod, the name under
//! which it is served, and the Lease that it follows by the last valid value of its annotation.

use std::sync::Arc;

use tokio::sync::Notify;

use super::Reconciler;
use crate::logic::follow::Lease;
use crate::logic::fsm::{Machine, Phase};
use crate::logic::model::Key;
use crate::logic::snapshot::Snapshot;
use crate::store::FollowChange;

impl Reconciler {
    /// Notified when other Leases are followed than before.
    #[must_use]
    pub fn followed(&self) -> Arc<Notify> {
        Arc::clone(&self.followed)
    }

    /// Notes after a step what a source wants to hear of. Returns whether it has to be looked at again: a
    /// step that finds out about another Lease has seen nothing of it, and something is known.
    pub(super) fn remember(&self, source: &Key, machine: &Machine, snapshot: &Snapshot) -> bool {
        let leader = machine.leader().map(|leader| &leader.pod);
        self.store.pin(source, leader, machine.names());
        let follow = match machine.phase {
            Phase::Electing | Phase::Serving(_) => machine.settings.follow.as_ref(),
            Phase::Unmanaged | Phase::Draining => None,
        };
        let lease = follow
            .and_then(|follow| follow.lease(&source.namespace))
            .filter(|lease| self.may_follow(source, lease));
        self.note_followed(source, lease.as_ref(), awaits_write(snapshot))
    }

    /// Notes which Lease a source follows. Returns whether that is another one of which something is
    /// known.
    pub(super) fn note_followed(
        &self,
        source: &Key,
        lease: Option<&Key>,
        awaits_write: bool,
    ) -> bool {
        let change = self.store.follow(source, lease, awaits_write);
        if change != FollowChange::AsBefore {
            self.followed.notify_one();
        }
        change == FollowChange::Known
    }

    fn may_follow(&self, source: &Key, lease: &Key) -> bool {
        let allowed = &self.options.follow_lease_namespaces;
        lease.namespace == source.namespace || allowed.contains(&lease.namespace)
    }
}

/// Whether the next write of the Lease counts even if it only renews: a pod that has appeared since the
/// last one is named by none before.
fn awaits_write(snapshot: &Snapshot) -> bool {
    match &snapshot.lease {
        Lease::Present(fact) => snapshot.pods.iter().any(|pod| pod.appeared > fact.changed),
        Lease::Unread | Lease::Absent(_) => false,
    }
}
