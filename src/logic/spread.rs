//! Which node leads how many Services, by what was decided. The one thing in an election that is not
//! of its own source; kept by the owner of the machines.

use std::collections::BTreeMap;
use std::sync::Arc;

/// How many leaders each node has; nodes without any are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeadersPerNode {
    leaders: BTreeMap<Arc<str>, usize>,
}

impl LeadersPerNode {
    /// A source's leader has moved between nodes, has come or has gone.
    pub fn moved(&mut self, from: Option<&Arc<str>>, to: Option<&Arc<str>>) {
        if from == to {
            return;
        }
        if let Some(from) = from {
            let left = self.leaders.get_mut(from).map(|count| {
                *count -= 1;
                *count
            });
            debug_assert!(left.is_some(), "{from} leads nothing");
            if left == Some(0) {
                self.leaders.remove(from);
            }
        }
        if let Some(to) = to {
            *self.leaders.entry(Arc::clone(to)).or_default() += 1;
        }
    }
}

/// The same as one source sees it: without itself, or its own leader's node would look the fuller
/// for it.
#[derive(Clone, Copy, Debug)]
pub struct Others<'a> {
    /// All leaders.
    pub spread: &'a LeadersPerNode,
    /// The node that this source's own leader is counted on.
    pub own: Option<&'a Arc<str>>,
}

impl Others<'_> {
    /// How many other Services that node leads.
    #[must_use]
    pub fn on(&self, node: Option<&Arc<str>>) -> usize {
        let Some(node) = node else { return 0 };
        let all = self.spread.leaders.get(node).copied().unwrap_or_default();
        all - usize::from(self.own == Some(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaders_are_counted_where_they_are_and_never_below_nothing() {
        let [a, b]: [Arc<str>; 2] = ["a".into(), "b".into()];
        let mut spread = LeadersPerNode::default();
        spread.moved(None, Some(&a));
        spread.moved(None, Some(&a));
        spread.moved(Some(&a), Some(&b));
        let on = |own, node| {
            let spread = &spread;
            Others { spread, own }.on(node)
        };
        assert_eq!((on(None, Some(&a)), on(None, Some(&b))), (1, 1));
        assert_eq!(on(Some(&a), Some(&a)), 0, "itself does not count");
        assert_eq!(on(Some(&a), Some(&b)), 1, "the others do");
        assert_eq!(on(None, None), 0, "no node, no leaders");
        spread.moved(Some(&b), Some(&b));
        spread.moved(Some(&a), None);
        spread.moved(Some(&b), None);
        assert_eq!(spread, LeadersPerNode::default());
    }
}
