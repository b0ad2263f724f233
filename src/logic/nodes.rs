//! What is known of the nodes that pods run on: which are about to go, and which have stopped
//! renewing their Leases. Both are opt-in; without them the controller knows nothing of any node.
//!
//! # When a silent node counts as down
//!
//! A kubelet renews its Lease every ten seconds. By our own clock, a node is down once its Lease has
//! not been renewed for the configured time, *and* other nodes prove meanwhile that the control plane
//! works: of all nodes, no more than a set share may be without a renewal since this node's renewal was
//! due. When an API server or our watch dies, no renewal arrives from any node; after the first node
//! falls silent, the others do not renew either, and nothing moves. When renewals arrive again, they
//! arrive one node after the other, and the watch may break again before the last one arrives. So every
//! node that was not overdue when the silence began has the whole time again. And a watch can lag: the
//! renewals of other nodes prove that it shows something, not that it shows everything. So before a node
//! is considered down, the controller reads the Leases from the server (`run::nodes`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::model::Version;
use super::time::Moment;
use crate::mutations::{self, Mutation};

/// How often a kubelet renews the Lease of its node: a quarter of 40 s.
pub const RENEWAL_INTERVAL: Duration = Duration::from_secs(10);

/// Without any renewal for this long, the nodes are not the cause, as long as there are two nodes and
/// one of them works.
const QUIET: Duration = Duration::from_secs(15);

/// Nodes on which a leader should not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    /// Cordoned, or tainted for their deletion.
    pub leaving: BTreeSet<Arc<str>>,
    /// Down, and since when that is known.
    pub down: BTreeMap<Arc<str>, Moment>,
}

impl Nodes {
    /// Whether the node is about to go.
    #[must_use]
    pub fn leaves(&self, node: Option<&Arc<str>>) -> bool {
        node.is_some_and(|node| self.leaving.contains(node))
    }

    /// Since when the node is known to be down.
    #[must_use]
    pub fn down_since(&self, node: Option<&Arc<str>>) -> Option<Moment> {
        self.down.get(node?).copied()
    }
}

/// When a node's Lease counts as stalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLeasePolicy {
    /// A Lease that was not renewed for so long has stalled.
    pub timeout: Duration,
    /// If more than this share of the nodes stalls together, in percent, it is not the nodes.
    pub share_max: u8,
}

/// The Leases of the nodes, each with when it was last seen to be renewed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heartbeats {
    seen: BTreeMap<Arc<str>, (Version, Moment)>,
    /// When any of them was last seen to be renewed.
    latest: Option<Moment>,
}

impl Heartbeats {
    /// A node's Lease has been read: in another version than before, it was renewed. At first sight
    /// the time of the renewal is unknown, and it counts as just now. An older version, as a watch shows
    /// it that lags behind a list, changes nothing.
    pub fn read(&mut self, node: &Arc<str>, version: &Version, at: Moment) {
        if let Some((known, _)) = self.seen.get(node)
            && (known == version || version.is_older_than(known))
        {
            return;
        }
        let before = self.latest.replace(at);
        if let Some(before) = before.filter(|before| at.since(*before) > QUIET) {
            let seen = self.seen.values_mut().map(|(_, seen)| seen);
            for seen in seen.filter(|seen| before.since(**seen) <= QUIET) {
                *seen = at;
            }
        }
        self.seen.insert(Arc::clone(node), (version.clone(), at));
    }

    /// The server was restored from a backup: the versions that are known say nothing any more.
    pub fn begin_history(&mut self) {
        for (version, _) in self.seen.values_mut() {
            *version = Version::default();
        }
    }

    /// A node is gone together with its Lease; its pods go by themselves.
    pub fn gone(&mut self, node: &str) {
        self.seen.remove(node);
    }

    /// Keeps those nodes only.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.seen.retain(|node, _| keep(node));
    }

    /// The nodes that are down now.
    #[must_use]
    pub fn down(&self, patience: NodeLeasePolicy, now: Moment) -> BTreeSet<Arc<str>> {
        let stalled = self
            .seen
            .iter()
            .filter(|(_, (_, at))| now.since(*at) >= patience.timeout);
        let is_alone = |at: Moment| {
            let due = at + RENEWAL_INTERVAL;
            let silent = self.seen.values().filter(|(_, at)| *at <= due).count();
            // A node by itself is always believed, if there is another one to tell.
            let share = self.seen.len() * usize::from(patience.share_max) / 100;
            silent <= share.max(1) && silent < self.seen.len()
        };
        stalled
            .filter(|(_, (_, at))| is_alone(*at) || mutations::is(Mutation::SilenceBelieved))
            .map(|(node, _)| Arc::clone(node))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: NodeLeasePolicy = NodeLeasePolicy {
        timeout: Duration::from_secs(20),
        share_max: 30,
    };

    fn at(seconds: i64) -> Moment {
        Moment(seconds * 1_000_000)
    }

    /// The nodes a, b, c … with the second of each last renewal; which are down at second 100.
    fn down(seen: &[i64]) -> String {
        Vec::from_iter(heard(seen).down(PATIENCE, at(100))).concat()
    }

    fn heard(seen: &[i64]) -> Heartbeats {
        let nodes = ('a'..).zip(seen).map(|(name, seconds)| {
            let name: Arc<str> = name.to_string().into();
            (name, ("1".into(), at(*seconds)))
        });
        Heartbeats {
            seen: nodes.collect(),
            latest: seen.iter().copied().max().map(at),
        }
    }

    #[test]
    fn who_is_down() {
        for (sentence, seen, expected) in [
            ("all renew", &[95, 96, 97, 98][..], ""),
            ("one does not, and the others do", &[79, 96, 97, 98], "a"),
            ("exactly the timeout is enough", &[80, 96, 97, 98], "a"),
            ("less is not", &[81, 96, 97, 98], ""),
            ("no node renews: the control plane", &[79, 78, 77, 76], ""),
            (
                "the one that fell silent first is no different",
                &[70, 78, 79, 77],
                "",
            ),
            ("two of four are too many", &[79, 78, 97, 98], ""),
            (
                "of ten, three may be down",
                &[75, 76, 77, 95, 96, 97, 98, 99, 95, 96],
                "abc",
            ),
            (
                "four may not",
                &[75, 76, 77, 78, 96, 97, 98, 99, 95, 96],
                "",
            ),
            ("of two, one tells of the other", &[70, 98], "a"),
            ("if it renewed after the other's was due", &[79, 89], ""),
            ("one alone tells nothing", &[10], ""),
            (
                "one that has long been down does not hide another",
                &[10, 79, 95, 96, 97, 98, 99],
                "ab",
            ),
        ] {
            assert_eq!(down(seen), expected, "{sentence}");
        }
    }

    #[test]
    fn only_another_version_is_a_renewal() {
        let mut all = Heartbeats::default();
        let node: Arc<str> = "a".into();
        all.read(&"b".into(), &"1".into(), at(99));
        all.read(&node, &"1".into(), at(10));
        all.read(&node, &"1".into(), at(99));
        assert_eq!(all.down(PATIENCE, at(100)).len(), 1, "a list read it again");
        all.read(&node, &"0".into(), at(99));
        assert_eq!(all.down(PATIENCE, at(100)).len(), 1, "a watch lags");
        all.read(&node, &"2".into(), at(99));
        assert!(all.down(PATIENCE, at(100)).is_empty());
    }

    /// Each step: the second, which nodes renew then, and which are down at the end of it.
    #[test]
    fn who_is_heard_of_first_does_not_tell_of_the_others() {
        let mut all = Heartbeats::default();
        let mut version = 0;
        for (seconds, heard, expected) in [
            (10, "abc", ""),
            (20, "ab", ""),
            // No node is heard of, and then one.
            (45, "a", ""),
            (55, "ab", ""),
            (65, "ab", "c"),
            // A node that was down before remains down.
            (90, "a", "c"),
            (100, "ab", "c"),
            (110, "abc", ""),
        ] {
            for node in heard.chars() {
                version += 1;
                let version = version.to_string().as_str().into();
                all.read(&node.to_string().as_str().into(), &version, at(seconds));
            }
            let patience = NodeLeasePolicy {
                share_max: 70,
                ..PATIENCE
            };
            let down = Vec::from_iter(all.down(patience, at(seconds))).concat();
            assert_eq!(down, expected, "at second {seconds}");
        }
    }

    #[test]
    fn a_node_that_is_gone_is_not_down() {
        let mut all = heard(&[10, 99, 99]);
        assert_eq!(all.down(PATIENCE, at(100)).len(), 1);
        let mut one = all.clone();
        one.gone("a");
        all.retain(|node| node != "a");
        assert_eq!(one, all);
        assert!(all.down(PATIENCE, at(100)).is_empty());
    }
}
