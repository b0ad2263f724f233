//! What a machine remembers of the application's own leader. Standbys remember it as well, so that a
//! replica that takes over begins no delay again.

use super::Machine;
use super::announced::Topic;
use super::incumbent::Records;
use crate::logic::elect::{self, Rules, Verdict};
use crate::logic::event::Note;
use crate::logic::follow::{Claim, Follow, Named};
use crate::logic::model::Uid;
use crate::logic::snapshot::Snapshot;
use crate::logic::time::Moment;
use crate::logic::well_known::reason;

/// What has been seen of the application's own leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Following {
    /// The value of the annotation by which a pod was named. Until then nothing speaks against the
    /// published pod: what is followed may be none of the application's.
    mapped: Option<Follow>,
    /// The published pod against which the application speaks, and since when.
    contradicted: Option<(Uid, Moment)>,
    /// Since when several pods are named.
    ambiguous: Option<Moment>,
}

impl Machine {
    /// The verdict for a source that follows.
    pub(super) fn follow(
        &mut self,
        snapshot: &Snapshot,
        records: &Records<'_>,
        rules: &Rules<'_>,
        claim: &Claim<'_>,
        led: Option<&Uid>,
        now: Moment,
    ) -> Verdict {
        let memory = self.following.get_or_insert_default();
        if matches!(claim.named, Named::Pod(..)) && memory.mapped.as_ref() != Some(claim.follow) {
            memory.mapped = Some(claim.follow.clone());
        }
        let is_mapped = || {
            let is_recorded = |by: &str| claim.follow.to_string() == *by;
            memory.mapped.as_ref() == Some(claim.follow)
                || records.named_by().is_some_and(|by| is_recorded(by))
        };
        let against = led.filter(|led| claim.contradicts(led) && is_mapped());
        memory.contradicted = match (memory.contradicted.take(), against) {
            (Some((uid, since)), Some(led)) if uid == *led => Some((uid, since)),
            (_, Some(led)) => Some((led.clone(), now)),
            (_, None) => None,
        };
        memory.ambiguous = match claim.pods.len() {
            0 | 1 => None,
            _ => memory.ambiguous.or(Some(now)),
        };
        let contradicted = memory.contradicted.as_ref().map(|(_, since)| *since);
        let told_at = memory.ambiguous.map(|since| since + rules.failover_delay);
        let mut verdict =
            elect::follow(rules, claim, &self.ballot(snapshot, led), contradicted, now);
        let told_at = told_at.filter(|at| now < *at);
        verdict.deadline = verdict.deadline.into_iter().chain(told_at).min();
        verdict
    }

    /// Tells users what is wrong with what the application says, while a leader is published.
    pub(super) fn tell_of_claim(&mut self, rules: &Rules<'_>, verdict: &Verdict, now: Moment) {
        let (Some(claim), Some(memory)) = (rules.claim, &self.following) else {
            self.said.forget(Topic::Ambiguous);
            return self.said.forget(Topic::NotFollowed);
        };
        let leader = verdict.leader.as_ref();
        let is_due = |since: Moment| since + rules.failover_delay <= now;
        let several = leader.filter(|_| memory.ambiguous.is_some_and(is_due));
        let several = several.map(|leader| {
            let named: Vec<&str> = claim.pods.iter().map(|pod| &*pod.name).collect();
            format!(
                "Several pods are named by {}: {}; pod {} is published",
                claim.follow,
                named.join(", "),
                leader.name
            )
        });
        // Otherwise the published pod is kept for a moment only, and what follows is told then.
        let is_adrift = |uid: &Uid| claim.contradicts(uid) && memory.contradicted.is_none();
        let adrift = leader.filter(|leader| is_adrift(&leader.uid) && !rules.paused);
        let is_unclear = claim.named == Named::Unclear;
        let adrift = adrift.or(leader.filter(|_| is_unclear)).map(|leader| {
            format!(
                "{claim}; pod {} stays published until the application names a pod",
                leader.name
            )
        });
        self.said.set(Topic::Ambiguous, several, |text| {
            Note::warning(reason::AMBIGUOUS_LEADER, text)
        });
        self.said.set(Topic::NotFollowed, adrift, |text| {
            Note::warning(reason::NO_LEADER_TO_FOLLOW, text)
        });
    }
}
