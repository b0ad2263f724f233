//! Which watches of Leases there have to be, given which Leases are followed and what the API server
//! refuses. Starts none.
//!
//! One watch for all Leases of the cluster, or of a namespace, if that is allowed. Where it is refused,
//! one for each followed Lease, by its name: a right to that one object is enough for it. The refused
//! one stays too, since it finds out when the right comes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::model::Key;

/// Where kubelets renew the Leases of their nodes. Nothing but those by name is watched there.
pub const NODE_LEASES: &str = "kube-node-lease";

/// So many Leases of a namespace are watched by name.
pub const NAMED_MAX: usize = 32;

/// One watch of Leases.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeaseFeed {
    /// Those of the cluster, without those of nodes.
    Cluster,
    /// Those of a namespace.
    Namespace(Arc<str>),
    /// One of them.
    Named(Key),
}

impl LeaseFeed {
    /// Whether this watch shows that Lease.
    #[must_use]
    pub fn covers(&self, lease: &Key) -> bool {
        match self {
            Self::Cluster => *lease.namespace != *NODE_LEASES,
            Self::Namespace(namespace) => lease.namespace == *namespace,
            Self::Named(name) => lease == name,
        }
    }

    /// The namespace that it watches; none for the whole cluster.
    #[must_use]
    pub fn namespace(&self) -> Option<&Arc<str>> {
        match self {
            Self::Cluster => None,
            Self::Namespace(namespace) => Some(namespace),
            Self::Named(lease) => Some(&lease.namespace),
        }
    }

    /// Its `fieldSelector`.
    #[must_use]
    pub fn field_selector(&self) -> Option<String> {
        match self {
            Self::Cluster => Some(format!("metadata.namespace!={NODE_LEASES}")),
            Self::Namespace(_) => None,
            // With it, a right to this one object is enough.
            Self::Named(lease) => Some(format!("metadata.name={}", lease.name)),
        }
    }

    /// The watch that should show a Lease, if it is allowed.
    fn wide(lease: &Key, is_cluster_wide: bool) -> Option<Self> {
        if *lease.namespace == *NODE_LEASES {
            None
        } else if is_cluster_wide {
            Some(Self::Cluster)
        } else {
            Some(Self::Namespace(Arc::clone(&lease.namespace)))
        }
    }
}

/// What has to be watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedFeeds {
    /// The watches.
    pub feeds: BTreeSet<LeaseFeed>,
    /// Followed Leases that none of them shows, since there are too many to watch them by name.
    pub left_out: BTreeSet<Key>,
}

/// The watches for these Leases. Of more than [`NAMED_MAX`] in a namespace those stay that are watched
/// already.
#[must_use]
pub fn wanted(
    followed: &[Key],
    is_cluster_wide: bool,
    is_refused: impl Fn(&LeaseFeed) -> bool,
    is_running: impl Fn(&LeaseFeed) -> bool,
) -> WantedFeeds {
    let mut wanted = WantedFeeds::default();
    let mut by_name: BTreeMap<&Arc<str>, BTreeSet<(bool, &Key)>> = BTreeMap::new();
    for lease in followed {
        let wide = LeaseFeed::wide(lease, is_cluster_wide);
        if wide.as_ref().is_none_or(&is_refused) {
            let is_new = !is_running(&LeaseFeed::Named(lease.clone()));
            let leases = by_name.entry(&lease.namespace).or_default();
            leases.insert((is_new, lease));
        }
        wanted.feeds.extend(wide);
    }
    for leases in by_name.into_values() {
        for (at, (_, lease)) in leases.into_iter().enumerate() {
            if at < NAMED_MAX {
                wanted.feeds.insert(LeaseFeed::Named(lease.clone()));
            } else {
                wanted.left_out.insert(lease.clone());
            }
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> Vec<Key> {
        let key = |name: &&str| {
            let (namespace, name) = name.split_once('/').expect("namespace/name");
            Key::new(namespace, name)
        };
        names.iter().map(key).collect()
    }

    fn word(feed: &LeaseFeed) -> String {
        match feed {
            LeaseFeed::Cluster => "cluster".into(),
            LeaseFeed::Namespace(namespace) => namespace.to_string(),
            LeaseFeed::Named(lease) => lease.to_string(),
        }
    }

    #[test]
    fn as_few_watches_as_the_rights_allow() {
        for (sentence, is_cluster_wide, followed, refused, expected) in [
            ("no Service follows", true, &[][..], &[][..], &[][..]),
            (
                "one for the cluster",
                true,
                &["a/x", "b/y"],
                &[],
                &["cluster"],
            ),
            (
                "one a namespace",
                false,
                &["a/x", "a/y", "b/y"],
                &[],
                &["a", "b"],
            ),
            (
                "refused: by name, and the refused one goes on trying",
                true,
                &["a/x", "b/y"],
                &["cluster"],
                &["cluster", "a/x", "b/y"],
            ),
            (
                "each namespace has rights of its own",
                false,
                &["a/x", "b/y", "b/z"],
                &["b"],
                &["a", "b", "b/y", "b/z"],
            ),
            (
                "never all Leases of nodes",
                true,
                &["kube-node-lease/n1", "a/x"],
                &[],
                &["cluster", "kube-node-lease/n1"],
            ),
            (
                "nor in a few namespaces",
                false,
                &["kube-node-lease/n1"],
                &[],
                &["kube-node-lease/n1"],
            ),
        ] {
            let is_refused = |feed: &LeaseFeed| refused.contains(&&*word(feed));
            let wanted = wanted(&keys(followed), is_cluster_wide, is_refused, |_| false);
            let feeds: Vec<String> = wanted.feeds.iter().map(word).collect();
            assert_eq!(feeds, expected, "{sentence}");
            assert!(wanted.left_out.is_empty(), "{sentence}");
            for lease in keys(followed) {
                let is_shown = wanted.feeds.iter().any(|feed| feed.covers(&lease));
                assert!(is_shown, "{sentence}: {lease}");
            }
        }
    }

    #[test]
    fn too_many_names_are_left_out_and_what_is_watched_stays() {
        let all: Vec<Key> = (0..40)
            .map(|number| Key::new("a", format!("l{number:02}")))
            .chain([Key::new("b", "other")])
            .collect();
        let is_running = |feed: &LeaseFeed| *feed == LeaseFeed::Named(Key::new("a", "l39"));
        let wanted = wanted(&all, false, |_| true, is_running);
        let named = |feed: &&LeaseFeed| matches!(feed, LeaseFeed::Named(_));
        assert_eq!(wanted.feeds.iter().filter(named).count(), NAMED_MAX + 1);
        assert_eq!(wanted.left_out.len(), 40 - NAMED_MAX);
        assert!(!wanted.left_out.contains(&all[39]), "it is watched already");
        assert!(
            wanted.left_out.contains(&all[31]),
            "the last by name that is not"
        );
        assert!(!wanted.left_out.contains(&all[40]), "another namespace");
    }

    #[test]
    fn selectors_leave_out_what_is_not_asked_for() {
        for (feed, namespace, field) in [
            (
                LeaseFeed::Cluster,
                None,
                Some("metadata.namespace!=kube-node-lease"),
            ),
            (LeaseFeed::Namespace("a".into()), Some("a"), None),
            (
                LeaseFeed::Named(Key::new("a", "x")),
                Some("a"),
                Some("metadata.name=x"),
            ),
        ] {
            assert_eq!(feed.namespace().map(|name| &**name), namespace);
            assert_eq!(feed.field_selector().as_deref(), field);
        }
    }
}
