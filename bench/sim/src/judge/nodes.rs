//! Which nodes may be left, by what was said of them and by how their Leases were renewed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use simkube::{Committed, Kind};
use tokio::time::Instant;

use super::STALE_MAX;
use crate::event::{NODE_LEASES, TAINT};
use crate::plan::{NodeLeases, World};

/// A kubelet renews so often.
const RENEWAL: Duration = Duration::from_secs(10);
/// Renewals may be seen so much later than they are made.
const LAG: Duration = Duration::from_secs(6);
/// A watch has caught up so long after a fault.
const CALM: Duration = Duration::from_secs(15);
/// No node renewed for so long, or for a little longer.
const QUIET: Duration = Duration::from_secs(14);
/// Silent nodes are looked for every second, and what follows takes its time.
const LOOK: Duration = Duration::from_secs(3);

/// What has been said of nodes.
#[derive(Default)]
pub(super) struct Nodes {
    minds_cordons: bool,
    leases: Option<NodeLeases>,
    /// When each began to leave, or to stay.
    leaving: BTreeMap<String, Vec<(Instant, bool)>>,
    /// When each renewed its Lease.
    beats: BTreeMap<String, Vec<Instant>>,
    /// Until when anything may have been seen late.
    troubled: Option<Instant>,
}

impl Nodes {
    pub(super) fn new(world: &World) -> Self {
        Self {
            minds_cordons: world.leave_cordoned,
            leases: world.node_leases,
            ..Self::default()
        }
    }

    /// Whether leaders leave nodes that are cordoned.
    pub(super) fn minds_cordons(&self) -> bool {
        self.minds_cordons
    }

    /// News may be late until then.
    pub(super) fn trouble(&mut self, until: Instant) {
        self.troubled = self.troubled.max(Some(until));
    }

    /// Takes a change in. Whether a node that was to go stays after all.
    pub(super) fn note(&mut self, change: &Committed<'_>, name: &str, now: Instant) -> bool {
        match change.kind {
            Kind::Node => {
                let leaves = change.new.is_some_and(leaves);
                let all = self.leaving.entry(name.to_owned()).or_default();
                let before = all.last().is_some_and(|(_, before)| *before);
                all.push((now, leaves));
                self.minds_cordons && before && !leaves
            }
            Kind::Lease if is_of_node(change) => {
                if change.new.is_some() {
                    self.beats.entry(name.to_owned()).or_default().push(now);
                } else {
                    self.beats.remove(name);
                    self.trouble(now + RENEWAL);
                }
                false
            }
            _ => false,
        }
    }

    /// Whether the controller can have taken the node for one that is about to go.
    pub(super) fn may_leave(&self, node: &str, now: Instant) -> bool {
        let all = self.leaving.get(node).map_or(&[][..], Vec::as_slice);
        let is_old = |(at, _): &(Instant, bool)| *at + STALE_MAX < now;
        let first = all.iter().rposition(is_old).unwrap_or(0);
        self.minds_cordons && all[first..].iter().any(|(_, leaves)| *leaves)
    }

    /// Whether the controller can have taken the node for down.
    pub(super) fn may_be_down(&self, node: &str, now: Instant) -> bool {
        let Some(leases) = self.leases else {
            return false;
        };
        let Some(beats) = self.beats.get(node) else {
            return true;
        };
        let ends = [&beats[1..], &[now]].concat();
        let timeout = Duration::from_secs(leases.timeout_s.into());
        let mut silences = beats.iter().copied().zip(ends).rev();
        silences.any(|(from, to)| {
            now <= to + STALE_MAX
                && to >= from + timeout.saturating_sub(LAG)
                && (!self.was_calm(from) || self.is_believed(leases, from, to))
        })
    }

    /// Whether the controller must have taken the node for down by now.
    pub(super) fn is_surely_down(&self, node: &str, now: Instant) -> bool {
        let last = self.beats.get(node).and_then(|beats| beats.last());
        let (Some(leases), Some(last)) = (self.leases, last.copied()) else {
            return false;
        };
        let from = self.quiet_until(last).unwrap_or(last);
        let known = from + Duration::from_secs(leases.timeout_s.into()) + LOOK;
        self.was_calm(last)
            && known <= now
            && self.is_believed(leases, last, now.checked_sub(LOOK).unwrap_or(now))
    }

    /// When a node renewed again, after none had for long, and later than `from`. A node that was
    /// silent until then has all the time again.
    fn quiet_until(&self, from: Instant) -> Option<Instant> {
        let mut all: Vec<Instant> = self.beats.values().flatten().copied().collect();
        all.sort();
        let gaps = all.windows(2).filter(|gap| gap[1] - gap[0] > QUIET);
        gaps.map(|gap| gap[1]).rfind(|until| *until > from)
    }

    /// Whether others prove by then that it is the node which is silent since `from`, and not the
    /// control plane.
    fn is_believed(&self, leases: NodeLeases, from: Instant, by: Instant) -> bool {
        let due = from + RENEWAL;
        let is_silent = |beats: &&Vec<Instant>| !beats.iter().any(|at| due < *at && *at <= by);
        let silent = self.beats.values().filter(is_silent).count();
        let share = self.beats.len() * usize::from(leases.share_max) / 100;
        silent <= share.max(1) && silent < self.beats.len()
    }

    /// Whether nothing was late at that moment, nor has been since.
    pub(super) fn was_calm(&self, at: Instant) -> bool {
        self.troubled.is_none_or(|until| until + CALM < at)
    }
}

/// Whether a node is cordoned or about to be deleted. New nodes bear other taints.
pub(crate) fn leaves(node: &Value) -> bool {
    let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
    node["spec"]["unschedulable"] == true || taints.any(|taint| taint["key"] == TAINT)
}

fn is_of_node(change: &Committed<'_>) -> bool {
    let lease = change.new.or(change.old);
    lease.is_some_and(|lease| lease["metadata"]["namespace"] == NODE_LEASES)
}
