//! Which Services of a namespace select a pod with these labels.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::logic::model::Labels;

type Pair = (Arc<str>, Arc<str>);

/// Selectors under one of their own pairs: a pod asks only for the pairs that it bears, so what
/// cannot match costs nothing.
#[derive(Debug, Default)]
pub(super) struct SelectorIndex {
    by_pair: HashMap<Pair, Vec<IndexedSelector>, FixedState>,
    by_source: HashMap<Arc<str>, (Labels, Pair), FixedState>,
}

#[derive(Debug)]
struct IndexedSelector {
    source: Arc<str>,
    selector: Labels,
}

impl SelectorIndex {
    /// The selector of a source, if it has one here.
    pub(super) fn get(&self, source: &str) -> Option<&Labels> {
        self.by_source.get(source).map(|(selector, _)| selector)
    }

    /// Sets or, by an empty selector, removes the selector of a source.
    pub(super) fn set(&mut self, source: &Arc<str>, selector: &Labels) {
        if let Some((_, pair)) = self.by_source.remove(source)
            && let Some(bucket) = self.by_pair.get_mut(&pair)
        {
            bucket.retain(|entry| entry.source != *source);
            if bucket.is_empty() {
                self.by_pair.remove(&pair);
            }
        }
        // The least common pair so far: a pair that every Service has (`part-of`) would make the
        // look-up grow with their number.
        let crowd = |pair: &&Pair| self.by_pair.get(*pair).map_or(0, Vec::len);
        let Some(pair) = selector.entries().iter().min_by_key(crowd).cloned() else {
            return;
        };
        let entry = IndexedSelector {
            source: Arc::clone(source),
            selector: selector.clone(),
        };
        let bucket = self.by_pair.entry(pair.clone()).or_default();
        if bucket.is_empty() {
            // Mostly the only one.
            bucket.reserve_exact(1);
        }
        bucket.push(entry);
        self.by_source
            .insert(Arc::clone(source), (selector.clone(), pair));
    }

    /// The sources whose selector these labels satisfy.
    pub(super) fn matching<'a>(&'a self, labels: &'a Labels) -> impl Iterator<Item = &'a Arc<str>> {
        let buckets = labels
            .entries()
            .iter()
            .filter_map(|pair| self.by_pair.get(pair));
        buckets
            .flatten()
            .filter(|entry| labels.satisfy(&entry.selector))
            .map(|entry| &entry.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(pairs: &[(u8, u8)]) -> Labels {
        pairs
            .iter()
            .map(|(key, value)| (format!("k{key}"), format!("v{value}")))
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn finds_exactly_what_a_scan_would_find(
            edits in prop::collection::vec((0_u8..6, prop::collection::vec((0_u8..4, 0_u8..3), 0..4)), 0..40),
            pod in prop::collection::vec((0_u8..4, 0_u8..3), 0..4),
        ) {
            let mut index = SelectorIndex::default();
            let mut plain = HashMap::new();
            for (source, selector) in edits {
                let name: Arc<str> = format!("s{source}").into();
                index.set(&name, &labels(&selector));
                plain.insert(name, labels(&selector));
            }
            let pod = labels(&pod);
            let mut found: Vec<_> = index.matching(&pod).cloned().collect();
            let mut expected: Vec<_> =
                plain.into_iter().filter(|(_, selector)| pod.satisfy(selector)).map(|(name, _)| name).collect();
            found.sort();
            expected.sort();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_pair_that_all_have_does_not_crowd_a_bucket() {
        let mut index = SelectorIndex::default();
        for n in 0..1_000 {
            let selector = [("part-of", "shop".to_owned()), ("app", format!("app-{n}"))];
            index.set(
                &format!("s{n}").into(),
                &selector.into_iter().collect::<Labels>(),
            );
        }
        let largest = index.by_pair.values().map(Vec::len).max();
        assert!(largest <= Some(2), "{largest:?}");
    }
}
