//! What a source sees of its namespace.

use std::sync::Arc;

use super::name_set::NameSet;
use super::namespace::{Names, Namespace};
use crate::logic::model::{Key, Pod};
use crate::logic::settings::{self, OptIn};
use crate::logic::snapshot::{Snapshot, is_marked_for_followers};
use crate::mutations::{self, Mutation};

/// How urgent it is to look at a source that has not been looked at yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SourceRank {
    /// Its slice names a pod that is gone, not Ready or about to go.
    Lost,
    /// It has objects of ours.
    Served,
    /// It has none.
    New,
}

impl Namespace {
    /// Whether a source is opted in, or anything in sight could be its.
    pub(super) fn concerns(&self, source: &str) -> bool {
        self.requested.of(source).is_some()
            || self.selectors.get(source).is_some()
            || self
                .services
                .get(source)
                .is_some_and(|service| settings::opt_in(service) != OptIn::No)
            || self.related_services.contains_key(source)
            || self.related_slices.contains_key(source)
    }

    /// Every source for which [`Namespace::concerns`] holds, once, and how urgent it is.
    pub(super) fn sources(&self) -> impl Iterator<Item = (SourceRank, Arc<str>)> {
        let related = self
            .related_services
            .keys()
            .chain(self.related_slices.keys())
            .filter(|_| !mutations::is(Mutation::DrainForgotten));
        let opted_in = self
            .services
            .values()
            .filter(|service| settings::opt_in(service) != OptIn::No)
            .map(|service| &service.metadata.name);
        let names: Names = related.chain(opted_in).cloned().collect();
        names.into_iter().map(|name| (self.rank(&name), name))
    }

    fn rank(&self, source: &str) -> SourceRank {
        let slices = self.related_slices.get(source);
        let is_lost = |slice: &Arc<str>| {
            let slice = self.slices.get(slice);
            let slice = slice.filter(|slice| !is_marked_for_followers(&slice.metadata));
            let leader = slice.and_then(|slice| slice.leader());
            leader.is_some_and(|leader| {
                let pod = self.pods.get(&leader.name);
                !pod.is_some_and(|pod| pod.uid == leader.uid && pod.ready && !pod.terminating)
            })
        };
        if slices.into_iter().flat_map(NameSet::iter).any(is_lost) {
            SourceRank::Lost
        } else if slices.is_some() || self.related_services.contains_key(source) {
            SourceRank::Served
        } else {
            SourceRank::New
        }
    }

    /// What a source sees.
    pub(super) fn snapshot(&self, key: &Key) -> Snapshot {
        let name = &*key.name;
        let related = self.related_services.get(name);
        let mut names: Names = related
            .into_iter()
            .flat_map(NameSet::iter)
            .cloned()
            .collect();
        names.extend(self.names_of(name).cloned());
        let members = self.members.get(name);
        let pods = members.map(|members| members.iter().map(|pod| Arc::clone(&pod.0)).collect());
        let source = self.services.get(name).cloned();
        let mut snapshot = Snapshot::new(key.clone(), source, pods.unwrap_or_default());
        // Slices by labels, and by every name that a slice of a Service in question can have.
        let related = self.related_slices.get(name);
        let mut slices: Names = related
            .into_iter()
            .flat_map(NameSet::iter)
            .cloned()
            .collect();
        for service in &names {
            slices.extend(snapshot.slice_names(service));
            let evasive = self.evasive.get(service);
            slices.extend(evasive.into_iter().flat_map(NameSet::iter).cloned());
            snapshot.foreign_slices.extend(
                self.foreign_slices
                    .get(service)
                    .into_iter()
                    .flatten()
                    .cloned(),
            );
        }
        snapshot.slices = slices
            .iter()
            .filter_map(|slice| self.slices.get(slice))
            .cloned()
            .collect();
        // The owners of those slices, to tell a gone owner from a stranger.
        for slice in &snapshot.slices {
            names.extend(
                slice
                    .metadata
                    .owner_references
                    .iter()
                    .map(|owner| Arc::clone(&owner.name)),
            );
        }
        snapshot.services = names
            .iter()
            .filter_map(|service| self.services.get(service))
            .cloned()
            .collect();
        snapshot.pinned_pods = self.pinned_pods(name, &snapshot);
        snapshot.classify()
    }

    /// The pods that a slice in sight or the machine names as leader, whatever their labels.
    fn pinned_pods(&self, source: &str, snapshot: &Snapshot) -> Vec<Arc<Pod>> {
        if mutations::is(Mutation::IncumbentNotPinned) {
            return Vec::new();
        }
        let slices = snapshot.slices.iter();
        let slices = slices.filter(|slice| !is_marked_for_followers(&slice.metadata));
        let leaders = slices.filter_map(|slice| slice.leader());
        let leaders = leaders.map(|leader| &leader.name);
        let names: Names = leaders.chain(self.pins.of(source)).cloned().collect();
        let pods = names.iter().filter_map(|pod| self.pods.get(pod));
        pods.cloned().collect()
    }
}
