//! The pods that could lead instead of the incumbent, and the choice among them.

use std::sync::Arc;

use super::eligible::{lasting, obstacle};
use super::fitness::{Fitness, suspect_until};
use super::rank::{Rank, rank};
use super::{Ballot, Hold, Reason, Rules, Verdict, keep};
use crate::logic::model::Pod;
use crate::logic::time::Moment;
use crate::mutations::{self, Mutation};

pub(super) struct Election<'a, 'b> {
    rules: &'a Rules<'a>,
    ballot: &'a Ballot<'b>,
    now: Moment,
    /// Every pod but the incumbent that may become leader now.
    challengers: Vec<&'b Arc<Pod>>,
    /// The strategy's first choice among them.
    best: Option<&'b Arc<Pod>>,
    /// The one among them that was asked for.
    preferred: Option<&'b Arc<Pod>>,
}

impl<'a, 'b> Election<'a, 'b> {
    pub(super) fn of(rules: &'a Rules<'a>, ballot: &'a Ballot<'b>, now: Moment) -> Self {
        let mut field = Self {
            rules,
            ballot,
            now,
            challengers: challengers(rules, ballot, now),
            best: None,
            preferred: None,
        };
        let all = || field.challengers.iter().copied();
        let best = all().min_by_key(|pod| rank(rules, pod, field.is_last_resort(pod)));
        let preferred = all().find(|pod| rules.preferred == Some(&*pod.name));
        field.best = best;
        field.preferred = preferred.filter(|pod| field.is_sound(pod));
        field
    }

    /// The verdict without an incumbent. After a time without any leader a sticky Service returns
    /// to the last one.
    pub(super) fn recover(&self) -> Verdict {
        let last = |pod: &Arc<Pod>| self.rules.sticky && self.ballot.last == Some(&pod.uid);
        let returning = self.challengers.iter().copied().find(|pod| last(pod));
        let returning = returning.filter(|pod| self.is_sound(pod));
        self.elect(self.preferred.or(returning).or(self.best), None)
    }

    /// The verdict over an incumbent.
    pub(super) fn decide(&self, standing: &Fitness<'b>) -> Verdict {
        let rules = self.rules;
        let first = self.preferred.or(self.best);
        // A leader hands over to a pod that is about to go only if it is about to go itself.
        let successor = self.preferred.filter(|pod| !self.is_last_resort(pod));
        let spent = rules
            .spent
            .filter(|_| !mutations::is(Mutation::GuardIgnored));
        if let (
            Fitness::Fails(pod, Reason::NotReady) | Fitness::Yields(pod, Reason::NotReady),
            Some(spent),
            None,
        ) = (standing, spent, successor)
        {
            let next = self.next().filter(|_| rules.awaits_another(pod));
            return keep(
                pod,
                Hold::Guarded(spent.scope),
                earliest(Some(spent.until), next),
            );
        }
        match *standing {
            // What was asked for is no failover.
            Fitness::Fails(_, Reason::NotReady) if spent.is_some() => {
                self.elect(successor, Some(Reason::Switchover))
            }
            Fitness::Fails(_, Reason::NotReady) | Fitness::Gone(Reason::NotReady)
                if first.is_none() =>
            {
                self.elect(None, Some(Reason::NoneReady))
            }
            Fitness::Fails(_, reason) | Fitness::Gone(reason) => self.elect(first, Some(reason)),
            // To leave one pod that is about to go for another such pod would gain nothing, unless
            // the first one already terminates.
            Fitness::Yields(pod, reason) => {
                // Nor does one that is down stay for it.
                let must_go = pod.terminating || reason == Reason::NotReady;
                let gains = |first: &&Arc<Pod>| must_go || !self.is_last_resort(first);
                let Some(first) = first.filter(gains) else {
                    let until = suspect_until(rules, pod, self.now);
                    return keep(pod, Hold::Leaving, earliest(self.next(), until));
                };
                self.elect(Some(first), Some(reason))
            }
            Fitness::Waits(..) | Fitness::Firm(_) if successor.is_some() => {
                self.elect(successor, Some(Reason::Switchover))
            }
            Fitness::Waits(pod, until) => {
                let next = self.next().filter(|_| rules.awaits_another(pod));
                keep(
                    pod,
                    Hold::Suspect(pod.ready_since),
                    earliest(Some(until), next),
                )
            }
            Fitness::Firm(pod) => {
                let may_lose = !rules.keeps(pod) || mutations::is(Mutation::NotSticky);
                match self
                    .best
                    .filter(|best| may_lose && self.is_better(best, pod))
                {
                    Some(best) => self.elect(Some(best), Some(Reason::Strategy)),
                    None => keep(pod, Hold::Firm, self.next().filter(|_| !self.rests(pod))),
                }
            }
        }
    }

    fn elect(&self, leader: Option<&Arc<Pod>>, left: Option<Reason>) -> Verdict {
        let rests = leader.is_some_and(|leader| self.rests(leader));
        Verdict {
            leader: leader.cloned(),
            left,
            hold: Hold::Firm,
            deadline: self.next().filter(|_| !rests),
        }
    }

    /// Whether time alone challenges this leader no more: it is kept, is not about to go, and
    /// no other pod was requested.
    fn rests(&self, pod: &Pod) -> bool {
        self.rules.keeps(pod)
            && !self.rules.awaits_another(pod)
            && !pod.disrupted
            && !self.rules.nodes.leaves(pod.node.as_ref())
    }

    fn is_better(&self, pod: &Pod, than: &Pod) -> bool {
        self.rank(pod) < self.rank(than)
    }

    pub(super) fn rank<'p>(&self, pod: &'p Pod) -> Rank<'p> {
        rank(self.rules, pod, self.is_last_resort(pod))
    }

    /// Whether it may lead, but only if no other can.
    pub(super) fn is_last_resort(&self, pod: &Pod) -> bool {
        let mut shunned = self.ballot.shunned.iter();
        pod.disrupted
            || self.rules.nodes.leaves(pod.node.as_ref())
            || shunned.any(|(uid, until)| *uid == pod.uid && self.now < *until)
    }

    /// Of two that are about to go, one may be asked for or return; while another stays, neither.
    fn is_sound(&self, pod: &Pod) -> bool {
        let is_last = |best: &Arc<Pod>| self.is_last_resort(best);
        self.best.is_some_and(is_last) || !self.is_last_resort(pod)
    }

    /// When the next pod will have been Ready for long enough, or is no longer shunned.
    fn next(&self) -> Option<Moment> {
        let pods = self.ballot.pods.iter();
        let ripe = pods
            .filter(|pod| lasting(self.rules, pod).is_none())
            .map(|pod| pod.ready_since + self.rules.min_ready);
        let forgiven = self.ballot.shunned.iter().map(|(_, until)| *until);
        ripe.chain(forgiven).filter(|at| self.now < *at).min()
    }
}

fn challengers<'b>(rules: &Rules<'_>, ballot: &Ballot<'b>, now: Moment) -> Vec<&'b Arc<Pod>> {
    let leads = |pod: &Pod| {
        ballot
            .incumbent
            .is_some_and(|incumbent| *incumbent.uid == pod.uid)
    };
    let may_lead = |pod: &Pod| obstacle(rules, pod, now).is_none();
    let pods = ballot.pods.iter();
    pods.filter(|pod| !leads(pod) && may_lead(pod)).collect()
}

fn earliest(a: Option<Moment>, b: Option<Moment>) -> Option<Moment> {
    a.into_iter().chain(b).min()
}
