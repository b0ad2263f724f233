//! Whether a pod may become leader, and what keeps it from that.

use std::sync::Arc;

use super::election::Election;
use super::ports::resolves_any;
use super::{Ballot, Rules};
use crate::logic::model::{Pod, PodPhase, Uid};
use crate::logic::time::Moment;
use crate::mutations::{self, Mutation};

/// What keeps a pod from becoming leader. Of several the first is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// A Job controls it.
    OfJob,
    /// Its containers have not started, or have ended.
    NotRunning,
    /// It is being deleted.
    Terminating,
    /// Its condition Ready is not True.
    NotReady,
    /// It has no address of the leader Service's first family that may be published.
    NoAddress,
    /// It resolves no port of the Service.
    NoPort,
    /// Its node has fallen silent.
    NodeDown,
    /// The application names another pod, or none.
    NotNamed,
    /// It will have been Ready for `min-ready-duration` only then.
    Unripe(Moment),
}

/// A pod in the eyes of an election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The pod.
    pub pod: Arc<Pod>,
    /// What keeps it from becoming leader; none when it is eligible. One that leads is judged by
    /// milder rules.
    pub obstacle: Option<Obstacle>,
    /// Whether it is chosen only when no other is eligible: it is about to be evicted, or was left
    /// for that reason a short while ago.
    pub is_last_resort: bool,
}

/// Every pod of a ballot: the eligible ones in the strategy's order, then the others by name. Where the
/// application decides, only the pod that it names can be eligible.
#[must_use]
pub fn assess_candidates(rules: &Rules<'_>, ballot: &Ballot<'_>, now: Moment) -> Vec<Candidate> {
    let field = Election::of(rules, ballot, now);
    let mut pods: Vec<_> = ballot.pods.iter().collect();
    let is_named = |pod: &Pod| {
        let claim = rules.claim;
        claim.is_none_or(|claim| claim.pod().is_some_and(|named| named.uid == pod.uid))
    };
    let obstacle = |pod: &Pod| {
        let unnamed = (!is_named(pod)).then_some(Obstacle::NotNamed);
        obstacle(rules, pod, now).or(unnamed)
    };
    pods.sort_by(|a, b| {
        let is_barred = |pod: &Pod| obstacle(pod).is_some();
        let by_rank = || field.rank(a).cmp(&field.rank(b));
        match (is_barred(a), is_barred(b)) {
            (false, false) => by_rank(),
            (true, true) => a.name.cmp(&b.name),
            (a, b) => a.cmp(&b),
        }
    });
    let judge = |pod: &Arc<Pod>| Candidate {
        obstacle: obstacle(pod),
        is_last_resort: rules.claim.is_none() && field.is_last_resort(pod),
        pod: Arc::clone(pod),
    };
    pods.into_iter().map(judge).collect()
}

/// Whether the pod of this identity may become leader now.
pub(in crate::logic) fn could_lead(
    rules: &Rules<'_>,
    pods: &[Arc<Pod>],
    uid: &Uid,
    now: Moment,
) -> bool {
    let pod = pods.iter().find(|pod| pod.uid == *uid);
    pod.is_some_and(|pod| obstacle(rules, pod, now).is_none())
}

/// Whether the followers Service may show a pod. `min-ready-duration` is for a pod that is to lead.
pub(in crate::logic) fn may_follow(rules: &Rules<'_>, pod: &Pod) -> bool {
    lasting(rules, pod).is_none()
}

/// What keeps a pod from becoming leader now.
pub(super) fn obstacle(rules: &Rules<'_>, pod: &Pod, now: Moment) -> Option<Obstacle> {
    let ripe = pod.ready_since + rules.min_ready;
    let is_ripe = now >= ripe || mutations::is(Mutation::MinReadyIgnored);
    lasting(rules, pod).or((!is_ripe).then_some(Obstacle::Unripe(ripe)))
}

/// What keeps a pod from becoming leader however much time passes.
pub(super) fn lasting(rules: &Rules<'_>, pod: &Pod) -> Option<Obstacle> {
    if pod.of_job {
        Some(Obstacle::OfJob)
    } else if pod.phase != PodPhase::Running {
        Some(Obstacle::NotRunning)
    } else if pod.terminating && !mutations::is(Mutation::TerminatingElected) {
        Some(Obstacle::Terminating)
    } else if !pod.ready {
        Some(Obstacle::NotReady)
    } else if pod.ips.of(rules.family).is_none() {
        Some(Obstacle::NoAddress)
    } else if !resolves_any(rules.ports, pod) {
        Some(Obstacle::NoPort)
    } else if rules.nodes.down_since(pod.node.as_ref()).is_some() {
        Some(Obstacle::NodeDown)
    } else {
        None
    }
}
