//! What a controller holds against pods and nodes, as the leader Service records it: a restart goes
//! on from there, and commands that see the API server alone judge by it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::SignedDuration;

use super::elect::COOLDOWN;
use super::model::{Pod, Uid};
use super::nodes::Nodes;
use super::time::{Moment, Now};

/// Maximum number of entries of a record: all annotations share one size limit.
const ENTRIES_MAX: usize = 32;
/// A node that is cordoned, or tainted for its deletion.
const LEAVING: &str = "leaving";
/// A node whose Lease is not renewed.
const SILENT: &str = "silent";

/// The pods in cool-down as `pod/uid/time`, separated by commas. A deleted pod needs no record.
#[must_use]
pub fn cooling_down(shunned: &[(Uid, Moment)], pods: &[Arc<Pod>], now: Now) -> String {
    let entries = shunned.iter().filter_map(|(uid, until)| {
        let pod = pods.iter().find(|pod| pod.uid == *uid)?;
        let until = wall_of(*until, now)?;
        Some(format!("{}/{uid}/{until:.0}", pod.name))
    });
    entries.take(ENTRIES_MAX).collect::<Vec<_>>().join(",")
}

/// Reads the text of [`cooling_down`]. An entry that does not parse is ignored, and none lasts longer
/// than the cool-down itself.
#[must_use]
pub fn read_cooling_down(text: &str, now: Now) -> Vec<(Uid, Moment)> {
    let entries = text.split(',').filter_map(|entry| {
        let mut parts = entry.trim().split('/').skip(1);
        let uid = parts.next().filter(|uid| !uid.is_empty())?;
        let until: jiff::Timestamp = parts.next()?.parse().ok()?;
        let left = until.duration_since(now.wall).try_into().ok()?;
        Some((Uid::from(uid), now.moment + COOLDOWN.min(left)))
    });
    entries.take(ENTRIES_MAX).collect()
}

/// Those nodes of these pods on which a leader should not be, as `node/leaving` or
/// `node/silent/time` with commas.
#[must_use]
pub fn avoided(nodes: &Nodes, pods: &[Arc<Pod>], now: Now) -> String {
    if nodes.leaving.is_empty() && nodes.down.is_empty() {
        return String::new();
    }
    let names: BTreeSet<&Arc<str>> = pods.iter().filter_map(|pod| pod.node.as_ref()).collect();
    let entries = names.into_iter().filter_map(|name| {
        let since = nodes.down_since(Some(name));
        if let Some(since) = since.and_then(|since| wall_of(since, now)) {
            Some(format!("{name}/{SILENT}/{since:.0}"))
        } else {
            nodes
                .leaves(Some(name))
                .then(|| format!("{name}/{LEAVING}"))
        }
    });
    entries.take(ENTRIES_MAX).collect::<Vec<_>>().join(",")
}

/// Reads [`avoided`] back. What cannot be read counts as nothing.
#[must_use]
pub fn read_avoided(text: &str, now: Now) -> Nodes {
    let mut nodes = Nodes::default();
    for entry in text.split(',').take(ENTRIES_MAX) {
        let mut parts = entry.trim().split('/');
        let (name, what) = (parts.next().unwrap_or_default(), parts.next());
        match what {
            Some(LEAVING) => {
                nodes.leaving.insert(name.into());
            }
            Some(SILENT) => {
                let since = parts.next().and_then(|text| text.parse().ok());
                let since = since.map_or(now.moment, |since| now.moment_of(since));
                nodes.down.insert(name.into(), since);
            }
            _ => {}
        }
    }
    nodes
}

/// Whether a record of nodes tells something else of these pods than is known now. An entry of a node
/// that none of them is on does no harm, and is worth no write.
#[must_use]
pub fn is_outdated(recorded: Option<&str>, wanted: &str, pods: &[Arc<Pod>]) -> bool {
    let recorded = kinds(recorded.unwrap_or_default());
    let wanted = kinds(wanted);
    let is_on = |node: &str| pods.iter().any(|pod| pod.node.as_deref() == Some(node));
    let is_new = |(node, kind): (&&str, &&str)| recorded.get(*node) != Some(kind);
    let is_past = |node: &&str| !wanted.contains_key(*node) && is_on(node);
    wanted.iter().any(is_new) || recorded.keys().any(is_past)
}

/// What is said of each node; since when is not compared.
fn kinds(text: &str) -> BTreeMap<&str, &str> {
    let entries = text.split(',').filter_map(|entry| {
        let mut parts = entry.trim().split('/');
        Some((parts.next()?, parts.next()?))
    });
    entries.collect()
}

/// The wall time of a moment, by today's offset between the clocks.
fn wall_of(at: Moment, now: Now) -> Option<jiff::Timestamp> {
    let apart = SignedDuration::from_micros(at.0.saturating_sub(now.moment.0));
    now.wall.checked_add(apart).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::testkit::{Lab, pod, source};

    fn now() -> Now {
        Now {
            moment: Moment(1_000_000_000),
            wall: "2026-01-01T00:00:00Z".parse().expect("a time"),
        }
    }

    /// Pods `a` on `x` and `b` on `y`.
    fn pods() -> Vec<Arc<Pod>> {
        let pods = [pod("a").node("x"), pod("b").node("y")];
        Lab::new(source("s"), pods).snapshot().pods
    }

    fn at(seconds: i64) -> Moment {
        Moment(1_000_000_000 + seconds * 1_000_000)
    }

    #[test]
    fn what_is_written_of_pods_is_read_back() {
        let pods = pods();
        let uid = |name: &str| {
            let found = pods.iter().find(|pod| &*pod.name == name);
            found.expect("there").uid.clone()
        };
        let shunned = [
            (uid("a"), at(90)),
            (Uid::from("gone"), at(90)),
            (uid("b"), at(150)),
        ];
        let text = cooling_down(&shunned, &pods, now());
        let expected = format!(
            "a/{}/2026-01-01T00:01:30Z,b/{}/2026-01-01T00:02:30Z",
            uid("a"),
            uid("b")
        );
        assert_eq!(text, expected);
        let read = [(uid("a"), at(90)), (uid("b"), at(150))];
        assert_eq!(read_cooling_down(&text, now()), read);
        assert_eq!(cooling_down(&[], &pods, now()), "");
    }

    #[test]
    fn a_record_of_pods_that_others_wrote_does_no_harm() {
        for (text, expected) in [
            ("", &[][..]),
            ("a", &[]),
            ("a/u", &[]),
            ("a//2026-01-01T00:01:00Z", &[]),
            ("a/u/soon", &[]),
            ("a/u/2025-12-31T23:59:00Z", &[]),
            (" a/u/2026-01-01T00:01:00Z, b", &[("u", 60)]),
            ("a/u/2030-01-01T00:00:00Z", &[("u", 150)]),
        ] {
            let expected: Vec<_> = expected
                .iter()
                .map(|(uid, seconds)| (Uid::from(*uid), at(*seconds)))
                .collect();
            assert_eq!(read_cooling_down(text, now()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_written_of_nodes_is_read_back() {
        let pods = pods();
        let mut nodes = Nodes::default();
        assert_eq!(avoided(&nodes, &pods, now()), "");
        nodes.leaving.extend(["x".into(), "elsewhere".into()]);
        nodes.down.insert("y".into(), at(-20));
        let text = avoided(&nodes, &pods, now());
        assert_eq!(text, "x/leaving,y/silent/2025-12-31T23:59:40Z");
        nodes.leaving.remove("elsewhere");
        assert_eq!(read_avoided(&text, now()), nodes);
        assert_eq!(read_avoided("x,y/odd,,/", now()), Nodes::default());
    }

    #[test]
    fn a_record_of_nodes_is_outdated_where_a_pod_is_concerned() {
        let pods = pods();
        for (recorded, wanted, expected) in [
            (None, "", false),
            (None, "x/leaving", true),
            (Some("x/leaving"), "x/leaving", false),
            (Some("x/leaving"), "", true),
            (Some("x/leaving"), "x/silent/2026-01-01T00:00:00Z", true),
            (
                Some("x/silent/2025-01-01T00:00:00Z"),
                "x/silent/2026-01-01T00:00:00Z",
                false,
            ),
            (Some("elsewhere/leaving"), "", false),
            (Some("elsewhere/leaving"), "y/leaving", true),
            (Some("nonsense"), "", false),
        ] {
            let is = is_outdated(recorded, wanted, &pods);
            assert_eq!(is, expected, "{recorded:?} {wanted}");
        }
    }
}
