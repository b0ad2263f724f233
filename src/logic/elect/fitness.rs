//! How a leader stands, before any other pod is considered.

use std::sync::Arc;

use super::ports::resolves_any;
use super::{Ballot, Incumbent, Reason, Rules};
use crate::logic::model::{Pod, PodPhase};
use crate::logic::time::Moment;
use crate::mutations::{self, Mutation};

/// How the incumbent stands.
pub(super) enum Fitness<'b> {
    /// Eligible.
    Firm(&'b Arc<Pod>),
    /// Not Ready, but kept until then.
    Waits(&'b Arc<Pod>, Moment),
    /// Still serves, and goes as soon as another can take over.
    Yields(&'b Arc<Pod>, Reason),
    /// Does not serve; only an order to hold still keeps it.
    Fails(&'b Arc<Pod>, Reason),
    /// Must not be published any more: its address may be another pod's.
    Gone(Reason),
}

pub(super) fn judge<'b>(
    rules: &Rules<'_>,
    ballot: &Ballot<'b>,
    incumbent: Incumbent<'b>,
    now: Moment,
) -> Fitness<'b> {
    let pod = match incumbent.pod {
        Some(pod) if !pod.ended() => pod,
        Some(pod) if pod.gone || pod.terminating => return Fitness::Gone(Reason::Deleted),
        // It is not Ready for good, and no order keeps it.
        Some(pod) if pod.disrupted => return Fitness::Gone(Reason::Disrupted),
        Some(_) => return Fitness::Gone(Reason::NotReady),
        None => return Fitness::Gone(Reason::Deleted),
    };
    let is_selected = ballot.pods.iter().any(|candidate| candidate.uid == pod.uid);
    if !is_selected || pod.of_job {
        return Fitness::Gone(Reason::Unlabelled);
    }
    let has_address = pod.ips.of(rules.family).is_some();
    let reason = if pod.disrupted {
        Reason::Disrupted
    } else if pod.terminating {
        Reason::Terminating
    } else if has_address {
        Reason::NotReady
    } else {
        Reason::NoIp
    };
    let is_guarded = rules.spent.is_some() && mutations::is(Mutation::GuardKeepsTheDead);
    if !has_address && !is_guarded && !mutations::is(Mutation::DeadAddress) {
        return Fitness::Gone(reason);
    }
    if !resolves_any(rules.ports, pod) {
        return Fitness::Fails(pod, reason);
    }
    let serves = pod.ready && pod.phase == PodPhase::Running;
    let node = pod.node.as_ref();
    // What a dead node last said of its pod stands until the node controller says otherwise.
    if let Some(since) = rules.nodes.down_since(node).filter(|_| serves) {
        let until = since + rules.failover_delay;
        return match reason {
            Reason::NotReady if now < until => Fitness::Waits(pod, until),
            _ => Fitness::Yields(pod, reason),
        };
    }
    if serves && reason == Reason::NotReady && rules.nodes.leaves(node) {
        return Fitness::Yields(pod, Reason::Disrupted);
    }
    match suspect_until(rules, pod, now) {
        _ if serves && (pod.disrupted || pod.terminating) => Fitness::Yields(pod, reason),
        _ if serves => Fitness::Firm(pod),
        Some(_) if pod.disrupted => Fitness::Yields(pod, reason),
        Some(until) => Fitness::Waits(pod, until),
        None => Fitness::Fails(pod, reason),
    }
}

/// Until when a leader that turned not Ready is kept; `None` once that is over or never applied.
pub(super) fn suspect_until(rules: &Rules<'_>, pod: &Pod, now: Moment) -> Option<Moment> {
    let until = pod.ready_since + rules.failover_delay;
    (!pod.ready && !pod.terminating && pod.phase == PodPhase::Running && now < until)
        .then_some(until)
}
