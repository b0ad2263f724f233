//! The facts: what the API server has said, and which sources it concerns.
//!
//! One entry per namespace in a `DashMap`; facts and indices of a namespace change under one short
//! lock. Every method returns owned values, so no lock can be held across an await. Facts never
//! move back to an older version, unless the server itself was restored.

mod apply;
mod ended;
mod freshness;
mod intern;
mod leases;
mod name_index;
mod name_set;
mod namespace;
mod pod_map;
mod selectors;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dashmap::DashMap;
use foldhash::fast::FixedState;
use parking_lot::Mutex;

pub use apply::Fact;
pub use freshness::Origin;
pub use leases::FollowChange;

use crate::logic::model::{Key, Pod, Service, Slice, Version};
use crate::logic::snapshot::{ForeignSlice, Snapshot};
use crate::logic::time::Now;
use crate::mutations::{self, Mutation};
use leases::FollowedLeases;
use namespace::{Namespace, Touched};

/// Fixed, so that the order of iteration does not depend on the machine.
const SHARDS: usize = 16;

/// All facts.
#[derive(Debug)]
pub struct Store {
    namespaces: DashMap<Arc<str>, Namespace, FixedState>,
    /// Locked for one look-up or one change, never together with a namespace.
    leases: Mutex<FollowedLeases>,
    /// Whether the first lists are complete: what comes from now on was not there before.
    is_synced: AtomicBool,
}

/// How many objects a namespace has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectCounts {
    /// The namespace.
    pub namespace: Arc<str>,
    /// Pods of it.
    pub pods: usize,
    /// Services of it.
    pub services: usize,
    /// Slices with our label.
    pub slices: usize,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            namespaces: DashMap::with_capacity_and_hasher_and_shard_amount(
                0,
                FixedState::default(),
                SHARDS,
            ),
            leases: Mutex::default(),
            is_synced: AtomicBool::new(false),
        }
    }
}

impl Store {
    /// Takes a pod in and returns the sources that it concerns.
    #[must_use = "each returned source has to be looked at again"]
    pub fn put_pod(&self, pod: Pod, now: Now) -> Vec<Key> {
        let namespace = Arc::clone(&pod.namespace);
        let is_first_sight = !self.is_synced.load(Ordering::Relaxed);
        self.change(&namespace, |namespace| {
            namespace.put_pod(pod, now, is_first_sight)
        })
    }

    /// The first lists are complete. A pod that is new from now on has appeared since.
    pub fn synced(&self) {
        self.is_synced.store(true, Ordering::Relaxed);
    }

    /// Takes a Service in and returns the sources that it concerns, itself included.
    #[must_use = "each returned source has to be looked at again"]
    pub fn put_service(&self, service: Service, origin: Origin) -> Vec<Key> {
        let namespace = Arc::clone(&service.metadata.namespace);
        self.change(&namespace, |namespace| {
            namespace.put_service(service, origin)
        })
    }

    /// Takes a slice in and returns the sources that it concerns.
    #[must_use = "each returned source has to be looked at again"]
    pub fn put_slice(&self, slice: Slice, origin: Origin) -> Vec<Key> {
        let namespace = Arc::clone(&slice.metadata.namespace);
        self.change(&namespace, |namespace| namespace.put_slice(slice, origin))
    }

    /// Takes a pod out unless it is newer than `version`, at which it was gone.
    #[must_use = "each returned source has to be looked at again"]
    pub fn remove_pod(&self, key: &Key, version: Option<&Version>) -> Vec<Key> {
        self.change(&key.namespace, |namespace| {
            namespace.remove_pod(&key.name, version)
        })
    }

    /// Takes a pod out that the watch shows no more: it was deleted, or is in a terminal phase. A leader
    /// that ended, and was not being deleted, is remembered as such until it leads no more.
    #[must_use = "each returned source has to be looked at again"]
    pub fn lose_pod(&self, key: &Key, version: &Version) -> Vec<Key> {
        self.change(&key.namespace, |namespace| {
            namespace.lose_pod(&key.name, version)
        })
    }

    /// Takes a Service out unless it is newer than `version`, at which it was gone.
    #[must_use = "each returned source has to be looked at again"]
    pub fn remove_service(&self, key: &Key, version: Option<&Version>) -> Vec<Key> {
        self.change(&key.namespace, |namespace| {
            namespace.remove_service(&key.name, version)
        })
    }

    /// Takes a slice out, likewise.
    #[must_use = "each returned source has to be looked at again"]
    pub fn remove_slice(&self, key: &Key, version: Option<&Version>) -> Vec<Key> {
        self.change(&key.namespace, |namespace| {
            namespace.remove_slice(&key.name, version)
        })
    }

    /// After a complete list of pods: those that it lacks are gone.
    #[must_use = "each returned source has to be looked at again"]
    pub fn retain_pods<S: BuildHasher>(
        &self,
        scope: Option<&str>,
        kept: &HashSet<Key, S>,
        at: &Version,
    ) -> Vec<Key> {
        self.retain(
            scope,
            kept,
            |namespace| {
                let names = namespace.pods.iter().map(|pod| Arc::clone(&pod.name));
                names.collect()
            },
            |key| self.remove_pod(key, Some(at)),
        )
    }

    /// After a complete list of Services, likewise.
    #[must_use = "each returned source has to be looked at again"]
    pub fn retain_services<S: BuildHasher>(
        &self,
        scope: Option<&str>,
        kept: &HashSet<Key, S>,
        at: &Version,
    ) -> Vec<Key> {
        let names = |namespace: &Namespace| namespace.services.keys().cloned().collect();
        self.retain(scope, kept, names, |key| self.remove_service(key, Some(at)))
    }

    /// After a complete list of slices with our label, likewise.
    #[must_use = "each returned source has to be looked at again"]
    pub fn retain_slices<S: BuildHasher>(
        &self,
        scope: Option<&str>,
        kept: &HashSet<Key, S>,
        at: &Version,
    ) -> Vec<Key> {
        let names = |namespace: &Namespace| namespace.slices.keys().cloned().collect();
        self.retain(scope, kept, names, |key| self.remove_slice(key, Some(at)))
    }

    /// The server was restored from a backup, so that its versions say nothing about those that are
    /// known: each pod in `scope` stays until it is read again, whatever the version, or until a
    /// complete list lacks it.
    pub fn outdate_pods(&self, scope: Option<&str>) {
        self.each_in(scope, Namespace::outdate_pods);
    }

    /// The same for Services.
    pub fn outdate_services(&self, scope: Option<&str>) {
        self.each_in(scope, Namespace::outdate_services);
    }

    /// The same for slices.
    pub fn outdate_slices(&self, scope: Option<&str>) {
        self.each_in(scope, Namespace::outdate_slices);
    }

    /// Notes which slices others attached to a Service; returns the sources behind that Service if
    /// that is news.
    #[must_use = "each returned source has to be looked at again"]
    pub fn put_strangers(&self, service: &Key, mut foreign_slices: Vec<ForeignSlice>) -> Vec<Key> {
        foreign_slices.sort();
        self.change(&service.namespace, |namespace| {
            let known = namespace
                .foreign_slices
                .get(&service.name)
                .map_or(&[][..], Vec::as_slice);
            if known == foreign_slices {
                return Touched::new();
            }
            if foreign_slices.is_empty() {
                namespace.foreign_slices.remove(&service.name);
            } else {
                namespace
                    .foreign_slices
                    .insert(Arc::clone(&service.name), foreign_slices);
            }
            namespace.sources_behind(&service.name)
        })
    }

    /// The Services to which others are known to have attached slices.
    #[must_use]
    pub fn services_with_strangers(&self) -> Vec<Key> {
        let all = self.namespaces.iter().flat_map(|entry| {
            let names: Vec<_> = entry.foreign_slices.keys().cloned().collect();
            names
                .into_iter()
                .map(|name| Key {
                    namespace: Arc::clone(entry.key()),
                    name,
                })
                .collect::<Vec<_>>()
        });
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Remembers which pod a source has as leader, and the names that it and its followers are served
    /// under: it sees them, whatever their labels, and hears of them.
    pub fn pin(&self, source: &Key, pod: Option<&Arc<str>>, names: [Option<&Arc<str>>; 2]) {
        if let Some(mut namespace) = self.namespaces.get_mut(&source.namespace) {
            namespace.pin(&source.name, pod);
            namespace.hold(&source.name, names);
        }
    }

    /// Whether a source is opted in, or anything in sight could be its.
    #[must_use]
    pub fn concerns(&self, source: &Key) -> bool {
        self.namespaces
            .get(&source.namespace)
            .is_some_and(|namespace| namespace.concerns(&source.name))
    }

    /// Every source for which [`Store::concerns`] holds. First those whose published leader is not
    /// fit to be one, since their traffic waits; then those with objects: they are served already
    /// and keep their place under a limit; then the others.
    #[must_use]
    pub fn sources(&self) -> Vec<Key> {
        self.gather();
        let mut ordered = BTreeSet::new();
        for entry in &self.namespaces {
            ordered.extend(entry.sources().map(|(rank, name)| {
                let key = Key {
                    namespace: Arc::clone(entry.key()),
                    name,
                };
                (rank, key)
            }));
        }
        ordered.into_iter().map(|(_, key)| key).collect()
    }

    /// The sources that have a pod on one of these nodes.
    #[must_use]
    pub fn sources_on(&self, is_meant: impl Fn(&Arc<str>) -> bool) -> Vec<Key> {
        self.gather();
        let mut sources = BTreeSet::new();
        for entry in &self.namespaces {
            let is_there = |pod: &Arc<Pod>| pod.node.as_ref().is_some_and(&is_meant);
            let names = entry
                .members
                .iter()
                .filter(|(_, members)| members.iter().any(|pod| is_there(&pod.0)))
                .map(|(name, _)| Arc::clone(name));
            sources.extend(names.map(|name| Key {
                namespace: Arc::clone(entry.key()),
                name,
            }));
        }
        sources.into_iter().collect()
    }

    /// What a source sees now.
    #[must_use]
    pub fn snapshot(&self, key: &Key) -> Snapshot {
        let mut snapshot = self.view_of_namespace(key);
        snapshot.lease = self.lease_of(key);
        snapshot
    }

    fn view_of_namespace(&self, key: &Key) -> Snapshot {
        match self.namespaces.get(&key.namespace) {
            Some(namespace) if !namespace.is_late() => return namespace.snapshot(key),
            Some(_) => {}
            None => return Namespace::default().snapshot(key),
        }
        let mut namespace = self
            .namespaces
            .entry(Arc::clone(&key.namespace))
            .or_default();
        namespace.gather();
        namespace.snapshot(key)
    }

    fn gather(&self) {
        for mut namespace in self.namespaces.iter_mut() {
            namespace.gather();
        }
    }

    /// A Service by name.
    #[must_use]
    pub fn service(&self, key: &Key) -> Option<Arc<Service>> {
        self.namespaces
            .get(&key.namespace)?
            .services
            .get(&key.name)
            .cloned()
    }

    /// A slice by name.
    #[must_use]
    pub fn slice(&self, key: &Key) -> Option<Arc<Slice>> {
        self.namespaces
            .get(&key.namespace)?
            .slices
            .get(&key.name)
            .cloned()
    }

    /// How many objects each namespace has, by its name.
    #[must_use]
    pub fn census(&self) -> Vec<ObjectCounts> {
        let count = |namespace: &Arc<str>, facts: &Namespace| ObjectCounts {
            namespace: Arc::clone(namespace),
            pods: facts.pods.len(),
            services: facts.services.len(),
            slices: facts.slices.len(),
        };
        let mut all: Vec<_> = self
            .namespaces
            .iter()
            .map(|entry| count(entry.key(), &entry))
            .collect();
        all.sort_by(|a, b| a.namespace.cmp(&b.namespace));
        all
    }

    fn each_in(&self, scope: Option<&str>, change: impl Fn(&mut Namespace)) {
        if mutations::is(Mutation::LostHistoryKept) {
            return;
        }
        for mut entry in self.namespaces.iter_mut() {
            if scope.is_none_or(|scope| **entry.key() == *scope) {
                change(&mut entry);
            }
        }
    }

    fn change(
        &self,
        namespace: &Arc<str>,
        change: impl FnOnce(&mut Namespace) -> Touched,
    ) -> Vec<Key> {
        let touched = change(&mut self.namespaces.entry(Arc::clone(namespace)).or_default());
        touched
            .into_iter()
            .map(|name| Key {
                namespace: Arc::clone(namespace),
                name,
            })
            .collect()
    }

    fn retain<S: BuildHasher>(
        &self,
        scope: Option<&str>,
        kept: &HashSet<Key, S>,
        names: impl Fn(&Namespace) -> Vec<Arc<str>>,
        remove: impl Fn(&Key) -> Vec<Key>,
    ) -> Vec<Key> {
        let mut gone = Vec::new();
        for entry in self
            .namespaces
            .iter()
            .filter(|entry| scope.is_none_or(|scope| **entry.key() == *scope))
        {
            let all = names(&entry).into_iter().map(|name| Key {
                namespace: Arc::clone(entry.key()),
                name,
            });
            gone.extend(all.filter(|key| !kept.contains(key)));
        }
        gone.sort();
        if mutations::is(Mutation::RelistWithoutDiff) {
            gone.clear();
        }
        let touched: BTreeSet<Key> = gone.iter().flat_map(remove).collect();
        touched.into_iter().collect()
    }
}
