//! Pods by name, without a copy of the name beside each: there are many.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::logic::model::Pod;

/// A pod that stands where its name does.
#[derive(Clone, Debug)]
pub(super) struct ByName(pub(super) Arc<Pod>);

impl Borrow<str> for ByName {
    fn borrow(&self) -> &str {
        &self.0.name
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for ByName {}

impl PartialOrd for ByName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.name.cmp(&other.0.name)
    }
}

impl Hash for ByName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As its borrowed form hashes.
        (*self.0.name).hash(state);
    }
}

/// All pods of a namespace.
#[derive(Debug, Default)]
pub(super) struct PodMap(HashSet<ByName, FixedState>);

impl PodMap {
    pub(super) fn get(&self, name: &str) -> Option<&Arc<Pod>> {
        self.0.get(name).map(|ByName(pod)| pod)
    }

    /// Puts a pod in the place of its namesake.
    pub(super) fn put(&mut self, pod: Arc<Pod>) {
        self.0.replace(ByName(pod));
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Arc<Pod>> {
        self.0.take(name).map(|ByName(pod)| pod)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.0.iter().map(|ByName(pod)| pod)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
