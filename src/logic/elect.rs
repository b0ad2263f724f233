//! Decides which pod leads. Total and deterministic: the same pods in any order give the same verdict.

mod eligible;
mod field;
mod ports;
mod rank;
mod standing;

use std::sync::Arc;
use std::time::Duration;

pub(in crate::logic) use eligible::could_lead;
pub use eligible::{Candidate, Obstacle, scrutinize};
pub use ports::{resolve, resolve_beside, resolve_without_pod};
pub use rank::priority;

use super::budget::{BudgetScope, Spent};
use super::model::{Family, Pod, Port, Uid};
use super::nodes::Nodes;
use super::settings::Strategy;
use super::spread::Others;
use super::time::Moment;
use crate::planted::{self, Bug};
use field::Field;
use standing::{Standing, judge};

/// How long a leader that was left for a disruption is not returned to: an eviction may be called
/// off, and the next one would bounce the leadership.
pub const SHUN: Duration = Duration::from_secs(150);

/// What an election goes by.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Family in which a leader must have an address.
    pub family: Family,
    /// Ports of the Service; a headless one may have none.
    pub ports: &'a [Port],
    /// Keep a leader that is still eligible.
    pub sticky: bool,
    /// Order of the candidates.
    pub strategy: Strategy,
    /// Ready for at least this long before becoming leader.
    pub min_ready: Duration,
    /// How long a leader that turned not Ready is kept.
    pub failover_delay: Duration,
    /// Identity of the source, which `random` mixes in.
    pub service: &'a Uid,
    /// How many other Services each node leads, which `node-spread` goes by.
    pub others: Others<'a>,
    /// Name of a pod to hand over to that has not led yet.
    pub preferred: Option<&'a str>,
    /// The pod that was handed over to on request: the strategy does not take that back.
    pub handed: Option<&'a Uid>,
    /// Never another pod than the one published.
    pub paused: bool,
    /// The budget for failovers that is used up, if one is.
    pub spent: Option<Spent>,
    /// Nodes that are about to go, or down.
    pub nodes: &'a Nodes,
}

/// Why a leader was left. The first that applies is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The pod is gone, re-created under its name, or has ended while it was being deleted.
    Deleted,
    /// It does not match the selector any more, or is a Job's, which never counts.
    Unlabelled,
    /// It is about to be evicted or preempted.
    Disrupted,
    /// It is being deleted.
    Terminating,
    /// It has no address that may be published.
    NoIp,
    /// It is not Ready, has ended, or resolves no port of the Service any more.
    NotReady,
    /// It is not Ready, and no pod follows.
    NoneReady,
    /// It was handed over on request.
    Switchover,
    /// The strategy prefers another pod, and `sticky` is off.
    Strategy,
}

impl Reason {
    /// As metrics, events and logs spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Unlabelled => "unlabelled",
            Self::Disrupted => "disrupted",
            Self::Terminating => "terminating",
            Self::NoIp => "noIP",
            Self::NotReady => "notReady",
            Self::NoneReady => "noneReady",
            Self::Switchover => "switchover",
            Self::Strategy => "strategy",
        }
    }
}

/// The pods among which to choose, and the current leader.
#[derive(Clone, Copy, Debug)]
pub struct Ballot<'a> {
    /// Every pod that the selector matches, in any order.
    pub pods: &'a [Arc<Pod>],
    /// The leader so far.
    pub incumbent: Option<Incumbent<'a>>,
    /// Identity of the last leader, for when there is none now.
    pub last: Option<&'a Uid>,
    /// Pods that were left for a disruption, and until when they are not returned to.
    pub shunned: &'a [(Uid, Moment)],
}

/// The leader so far: its identity, and the pod if it still exists, whatever its labels.
#[derive(Clone, Copy, Debug)]
pub struct Incumbent<'a> {
    /// Identity of the leader.
    pub uid: &'a Uid,
    /// The pod of that identity.
    pub pod: Option<&'a Arc<Pod>>,
}

/// The outcome of an election.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    /// The current leader.
    pub leader: Option<Arc<Pod>>,
    /// Why the incumbent was left, if it was.
    pub left: Option<Reason>,
    /// How an incumbent that is kept stands.
    pub hold: Hold,
    /// When to look again even if nothing happens.
    pub deadline: Option<Moment>,
}

/// How a leader that is kept stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    /// It is eligible.
    #[default]
    Firm,
    /// It is not Ready since then, within `failover-min-delay`.
    Suspect(Moment),
    /// It terminates or is disrupted, and no better pod is eligible.
    Leaving,
    /// It does not serve, or is about to go, and a pause keeps it.
    Paused,
    /// It does not serve, and the budget for failovers is used up.
    Guarded(BudgetScope),
}

/// Holds the election.
pub fn elect(rules: &Rules<'_>, ballot: &Ballot<'_>, now: Moment) -> Verdict {
    if rules.paused && !planted::is(Bug::PauseIgnored) {
        return hold_still(rules, ballot, now);
    }
    let field = Field::of(rules, ballot, now);
    match ballot.incumbent {
        Some(incumbent) => field.decide(&judge(rules, ballot, incumbent, now)),
        None => field.recover(),
    }
}

/// The verdict while nothing may move: the leader stays as long as its address is its own, and
/// no pod follows it.
fn hold_still(rules: &Rules<'_>, ballot: &Ballot<'_>, now: Moment) -> Verdict {
    let empty = |left| Verdict {
        leader: None,
        left,
        hold: Hold::Firm,
        deadline: None,
    };
    let Some(incumbent) = ballot.incumbent else {
        return empty(None);
    };
    match judge(rules, ballot, incumbent, now) {
        Standing::Firm(pod) => keep(pod, Hold::Firm, None),
        Standing::Yields(pod, _) | Standing::Waits(pod, _) | Standing::Fails(pod, _) => {
            keep(pod, Hold::Paused, None)
        }
        Standing::Gone(reason) => empty(Some(reason)),
    }
}

fn keep(pod: &Arc<Pod>, hold: Hold, deadline: Option<Moment>) -> Verdict {
    Verdict {
        leader: Some(Arc::clone(pod)),
        left: None,
        hold,
        deadline,
    }
}

impl Rules<'_> {
    /// Whether a leader that is eligible is kept against the strategy's choice: by rule, or because
    /// it was asked for.
    fn keeps(&self, pod: &Pod) -> bool {
        self.sticky || self.handed == Some(&pod.uid) || self.preferred == Some(&*pod.name)
    }

    /// Whether another pod has been asked for and has not led yet.
    fn awaits_another(&self, pod: &Pod) -> bool {
        self.preferred.is_some_and(|name| *name != *pod.name)
    }
}

#[cfg(test)]
mod tests;
