//! The verdict for a source that follows the application's own leader. No election is held: a pod has to be
//! named to become leader, and remains it while nothing speaks against it.

use super::eligible::{Obstacle, obstacle};
use super::fitness::{Fitness, judge, suspect_until};
use super::{Ballot, Hold, Reason, Rules, Verdict, hold_still, keep};
use crate::logic::follow::{Claim, Named};
use crate::logic::time::Moment;
use crate::mutations::{self, Mutation};

/// Judges the leader so far by what the application says. `contradicted`: since when that speaks against
/// the published pod, if it does.
pub fn follow(
    rules: &Rules<'_>,
    claim: &Claim<'_>,
    ballot: &Ballot<'_>,
    contradicted: Option<Moment>,
    now: Moment,
) -> Verdict {
    if rules.paused || claim.named == Named::Unclear {
        return hold_still(rules, ballot, now);
    }
    let named = claim.pod();
    let barred = named.and_then(|pod| obstacle(rules, pod, now));
    let is_early = contradicted.is_some_and(|since| now < since + rules.failover_delay);
    let is_delayed = is_early && mutations::is(Mutation::MoveDelayed);
    let chosen = named.filter(|_| barred.is_none() && !is_delayed);
    let ripe = match barred {
        Some(Obstacle::Unripe(at)) => Some(at),
        _ => None,
    };
    let empty = |left| Verdict {
        leader: None,
        left,
        hold: Hold::Firm,
        deadline: ripe,
    };
    let Some(incumbent) = ballot.incumbent else {
        return Verdict {
            leader: chosen.cloned(),
            ..empty(None)
        };
    };
    if let Some(pod) = chosen.filter(|pod| pod.uid != *incumbent.uid) {
        return Verdict {
            leader: Some(pod.clone()),
            ..empty(Some(Reason::Followed))
        };
    }
    // 1. The leader by itself, as if no other pod were eligible.
    let mut verdict = match judge(rules, ballot, incumbent, now) {
        Fitness::Firm(pod) => keep(pod, Hold::Firm, None),
        Fitness::Waits(pod, until) => keep(pod, Hold::Suspect(pod.ready_since), Some(until)),
        Fitness::Yields(pod, _) => {
            let until = suspect_until(rules, pod, now);
            keep(pod, Hold::Leaving, until)
        }
        Fitness::Fails(pod, Reason::NotReady) => match rules.spent {
            Some(spent) => keep(pod, Hold::Guarded(spent.scope), Some(spent.until)),
            None => empty(Some(Reason::NoneReady)),
        },
        Fitness::Gone(Reason::NotReady) => empty(Some(Reason::NoneReady)),
        Fitness::Fails(_, reason) | Fitness::Gone(reason) => empty(Some(reason)),
    };
    // 2. What the application says of it.
    if let Some(since) = contradicted
        && verdict.leader.is_some()
    {
        let until = since + rules.failover_delay;
        if until <= now {
            return empty(Some(Reason::Unnamed));
        }
        verdict.deadline = verdict.deadline.into_iter().chain([until]).min();
    }
    verdict.deadline = verdict.deadline.into_iter().chain(ripe).min();
    verdict
}
