//! Decides which pod leads. Total and deterministic: the same pods in any order give the same verdict.

mod election;
mod eligible;
mod fitness;
mod follow;
mod ports;
mod rank;

use std::sync::Arc;
use std::time::Duration;

pub use eligible::{Candidate, Obstacle, assess_candidates};
pub(in crate::logic) use eligible::{could_lead, may_follow};
pub use follow::follow;
pub use ports::{resolve, resolve_beside, resolve_without_pod};
pub use rank::priority;

use super::budget::{BudgetScope, Spent};
use super::follow::Claim;
use super::model::{Family, Pod, Port, Uid};
pub use super::names::Reason;
use super::nodes::Nodes;
use super::settings::Strategy;
use super::spread::Others;
use super::time::Moment;
use crate::mutations::{self, Mutation};
use election::Election;
use fitness::{Fitness, judge};

/// How long a leader that was left for a disruption is not returned to: an eviction may be called
/// off, and the next one would bounce the leadership.
pub const COOLDOWN: Duration = Duration::from_secs(150);

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
    /// What the application says of its leader, if it decides.
    pub claim: Option<&'a Claim<'a>>,
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
    if rules.paused && !mutations::is(Mutation::PauseIgnored) {
        return hold_still(rules, ballot, now);
    }
    let field = Election::of(rules, ballot, now);
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
        Fitness::Firm(pod) => keep(pod, Hold::Firm, None),
        Fitness::Yields(pod, _) | Fitness::Waits(pod, _) | Fitness::Fails(pod, _) => {
            keep(pod, Hold::Paused, None)
        }
        Fitness::Gone(reason) => empty(Some(reason)),
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
