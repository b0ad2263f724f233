//! The limit of opted-in Services per namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::logic::model::Key;

/// How many Services of each namespace are served, and which ones wait for a place. Counts only where
/// there is a limit.
#[derive(Default)]
pub(super) struct NamespaceQuotas(BTreeMap<Arc<str>, NamespaceQuota>);

#[derive(Default)]
struct NamespaceQuota {
    served: usize,
    waiting: BTreeSet<Key>,
}

impl NamespaceQuotas {
    /// Whether the namespace of a source that is not served has no place for it.
    pub(super) fn is_full(&self, max: Option<usize>, source: &Key) -> bool {
        let quota = self.0.get(&source.namespace);
        max.is_some_and(|max| quota.is_some_and(|quota| quota.served >= max))
    }

    /// Keeps the count of served Services: `served` before and after a step. Returns a source that waits
    /// if a place is free: it is to be looked at, and if it does not want the place any more, the next one.
    pub(super) fn count(
        &mut self,
        max: Option<usize>,
        source: &Key,
        served: [bool; 2],
        waits: bool,
    ) -> Option<Key> {
        let max = max?;
        let quota = self.0.entry(Arc::clone(&source.namespace)).or_default();
        let [was_served, is_served] = served.map(usize::from);
        quota.served = quota.served + is_served - was_served;
        if waits && !served[1] {
            quota.waiting.insert(source.clone());
        } else {
            quota.waiting.remove(source);
        }
        (quota.served < max).then(|| quota.waiting.pop_first())?
    }
}
