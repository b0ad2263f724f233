//! What a replica has certainly heard of the applications' own leaders: which label was set on a pod that
//! it knew, which pods came after the last writing of a Lease, and since when it knows of that writing.

use std::collections::BTreeMap;
use std::time::Duration;

use simkube::{Committed, Kind};
use tokio::time::Instant;

use super::Judge;
use super::ledger::Ledger;
use super::sight::Version;
use crate::claims::LeaseFact;
use crate::event::NS;
use crate::facts::PodFact;

/// An elector that renews its Lease does so within this time.
const RENEWED: Duration = Duration::from_millis(2_500);

/// What a client has heard in its present life, for certain.
#[derive(Default)]
pub(super) struct Heard {
    /// It has written, so its first lists are complete.
    pub(super) is_synced: bool,
    /// By pod: the version with which it got the label, on a pod that was known without it.
    pub(super) roles: BTreeMap<String, u64>,
    /// By pod and Lease: the writing of the Lease that was known when the pod came.
    pub(super) later: BTreeMap<(String, String), u64>,
    /// By Lease: its last writing, and when it was known.
    pub(super) writings: BTreeMap<String, (u64, Instant)>,
}

impl Heard {
    /// A watch of Leases begins, maybe with a list: what was known of them may be forgotten.
    pub(super) fn reads_again(&mut self) {
        self.later.clear();
        self.writings.clear();
    }
}

impl Judge {
    /// The pod that a source's slice of its first family publishes, and the slice.
    pub(crate) fn leads(&self, source: &str) -> Option<(String, String)> {
        let inner = self.inner.lock();
        let last = inner.sources.get(source)?.last()?;
        let family = last.fact.as_ref()?.families.first()?.clone();
        let mut slices = inner.slices.iter();
        let (name, slice) =
            slices.find(|(_, slice)| slice.leads_for(source) && slice.family == family)?;
        Some((slice.leaders.first()?.clone(), name.clone()))
    }

    /// How often what a slice publishes has changed.
    pub(crate) fn moves(&self, slice: &str) -> u64 {
        let inner = self.inner.lock();
        inner.moves.get(slice).copied().unwrap_or_default()
    }

    /// Whether a Lease is renewed: every replica has known each present pod at its last writing, or will
    /// at the next one. `None` if it is silent, or may be.
    pub(crate) fn is_written(&self, lease: &str, held_ms: Option<u64>) -> Option<bool> {
        let inner = self.inner.lock();
        let last = inner.leases.get(lease)?.last()?;
        let passed = last.at.elapsed();
        let is_live = held_ms.is_none_or(|held| passed < Duration::from_millis(held));
        is_live.then_some(passed < RENEWED)
    }

    /// Whether a pod got the label, or came with it, after another one got it.
    pub(crate) fn got_role_after(&self, uid: &str, other: &str) -> bool {
        let roles = &self.inner.lock().roles;
        roles.get(other).is_none_or(|other| {
            let since = roles.get(uid);
            since.is_some_and(|since| since > other)
        })
    }
}

impl Ledger {
    /// Notes what a change of a pod says of its label, and who knows the pod.
    pub(super) fn note_role(&mut self, name: &str, fact: Option<&PodFact>, rv: u64, now: Instant) {
        let before = self.pods.get(name).and_then(|versions| versions.last());
        let known = before.and_then(|before| Some((before.rv, before.fact.as_ref()?)));
        let Some(fact) = fact else {
            return;
        };
        let known = known.filter(|(_, before)| before.uid == fact.uid);
        let is_lost = !fact.has_role() || !fact.running;
        if is_lost {
            self.roles.remove(&fact.uid);
        }
        let is_set = known.is_some_and(|(_, before)| !before.has_role()) && fact.has_role();
        if is_set {
            self.roles.insert(fact.uid.clone(), rv);
        }
        for seen in self.seen.values_mut() {
            let heard = &mut seen.heard;
            if is_lost {
                heard.roles.remove(&fact.uid);
            }
            if !heard.is_synced {
                continue;
            }
            let is_known = known.is_some_and(|(before, _)| before <= seen.pods.rv);
            if is_set && is_known && fact.running {
                heard.roles.insert(fact.uid.clone(), rv);
            }
            if known.is_none() {
                let sight = seen.leases.before(now);
                for (lease, versions) in &self.leases {
                    let last = versions.last().filter(|last| last.fact.is_some());
                    if let Some(last) = last.filter(|last| last.rv <= sight.rv) {
                        let key = (fact.uid.clone(), lease.clone());
                        heard.later.insert(key, last.rv);
                    }
                }
            }
        }
    }

    /// Notes what an application wrote into its Lease.
    pub(super) fn note_lease(&mut self, change: &Committed<'_>, name: &str, now: Instant) {
        let lease = change.new.or(change.old);
        if change.kind != Kind::Lease
            || lease.is_none_or(|lease| lease["metadata"]["namespace"] != NS)
        {
            return;
        }
        let fact = change.new.map(LeaseFact::of);
        let versions = self.leases.entry(name.to_owned()).or_default();
        let holder = |fact: Option<&LeaseFact>| fact.map(|fact| fact.holder.clone());
        let before = versions.last().and_then(|last| last.fact.as_ref());
        if holder(before) != holder(fact.as_ref()) {
            self.changes.push((now, None));
        }
        versions.push(Version {
            rv: change.rv,
            at: now,
            fact,
        });
    }

    /// A watch of a client shows Leases up to this version.
    pub(super) fn hears_of_leases(&mut self, client: &str, rv: u64, now: Instant) {
        let Some(seen) = self.seen.get_mut(client) else {
            return;
        };
        seen.leases.raise(rv, now);
        for (lease, versions) in &self.leases {
            let Some(last) = versions.last().filter(|last| last.rv <= rv) else {
                continue;
            };
            let known = seen.heard.writings.get(lease).map(|(known, _)| *known);
            if known != Some(last.rv) {
                seen.heard.writings.insert(lease.clone(), (last.rv, now));
            }
        }
    }
}
