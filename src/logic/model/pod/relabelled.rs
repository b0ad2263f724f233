//! When labels of a pod were seen to be set.

use std::cmp::Ordering;
use std::sync::Arc;

use super::super::meta::{Labels, Version};
use crate::logic::time::Moment;

/// The labels that were seen to be set on a pod while it existed. Labels that it appeared with are not
/// among them. Most pods have none, and share nothing then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relabelled(Option<Arc<Vec<Dated>>>);

/// A label's key, and when it was set.
type Dated = (Arc<str>, LabelSet);

/// When a label was seen to be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSet {
    /// By our own clock.
    pub at: Moment,
    /// Version of the reading. All objects of a list arrive at once; the newer version counts.
    pub version: Version,
}

impl LabelSet {
    /// Which of two was set later.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        let by_version = || {
            let is_older = self.version.is_older_than(&other.version);
            let is_newer = other.version.is_older_than(&self.version);
            is_newer.cmp(&is_older)
        };
        self.at.cmp(&other.at).then_with(by_version)
    }
}

impl Relabelled {
    /// When this label was seen to be set.
    #[must_use]
    pub fn at(&self, key: &str) -> Option<&LabelSet> {
        let mut set = self.0.as_deref()?.iter();
        set.find(|(known, _)| **known == *key).map(|(_, set)| set)
    }

    /// What is known after a change of labels. Without a change, nothing is copied.
    pub(super) fn after(&self, before: &Labels, labels: &Labels, set: &LabelSet) -> Self {
        if before == labels {
            return self.clone();
        }
        let entries = labels.entries().iter();
        let dated = entries.filter_map(|(key, value)| {
            let set = if before.get(key) == Some(value) {
                self.at(key)?.clone()
            } else {
                set.clone()
            };
            Some((Arc::clone(key), set))
        });
        let dated: Vec<_> = dated.collect();
        Self((!dated.is_empty()).then(|| Arc::new(dated)))
    }
}
