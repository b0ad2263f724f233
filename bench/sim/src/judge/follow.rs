//! Which pod an application can have named, and whether it can have spoken against one, in some view that
//! the controller can have had.

use std::time::Duration;

use simkube::Committed;
use tokio::time::Instant;

use super::ledger::{Asked, Ledger, SliceFact};
use super::sight::{Version, visible};
use crate::claims::{Follow, LeaseFact, line};
use crate::facts::{PodFact, SourceFact};

/// Timers may be late by so much, and a Lease that is renewed at the end of its time is not silent.
const MARGIN: Duration = Duration::from_millis(50);

/// A pod as it may be published, and who publishes it.
pub(super) struct Nominee<'a> {
    pub(super) pod: &'a PodFact,
    pub(super) client: &'a str,
    /// The decision may be an old one, whose write is tried again.
    pub(super) is_late: bool,
}

/// Where the last of these versions of a source says who leads: of what cannot be read, wherever an
/// earlier one said. `None` if it does not follow.
pub(super) fn follows(versions: &[Version<SourceFact>]) -> Option<Vec<Follow>> {
    let last = versions.last()?.fact.as_ref()?;
    Some(match last.follow()? {
        Follow::Unreadable => {
            let facts = versions.iter().filter_map(|version| version.fact.as_ref());
            let known = facts.filter_map(SourceFact::follow);
            known.filter(|known| *known != Follow::Unreadable).collect()
        }
        known => vec![known],
    })
}

impl Ledger {
    /// Whether this version of a source, the last of these, can have had that pod published as its
    /// application's choice, or does not follow.
    pub(super) fn may_be_named(
        &self,
        versions: &[Version<SourceFact>],
        nominee: &Nominee<'_>,
        asked: &Asked,
    ) -> bool {
        let Some(all) = follows(versions) else {
            return true;
        };
        let Some(source) = versions.last().and_then(|last| last.fact.as_ref()) else {
            return false;
        };
        all.iter().any(|follow| match follow {
            Follow::Role => self.may_have_role(source, nominee, asked),
            Follow::Lease(lease) => self.may_hold(lease, source, nominee, asked),
            Follow::Unreadable => false,
        })
    }

    /// A sole bearer of the label, or the one that got it last.
    fn may_have_role(&self, source: &SourceFact, nominee: &Nominee<'_>, asked: &Asked) -> bool {
        let pod = nominee.pod;
        if !pod.has_role() {
            return false;
        }
        let heard = self.seen.get(nominee.client).map(|seen| &seen.heard);
        let got = self.last_got_role(pod);
        let outranks = |other: &&String| {
            let certain = heard.and_then(|heard| heard.roles.get(*other));
            // What came with the label says nothing about the order.
            got.is_none_or(|got| certain.is_some_and(|at| *at > got))
        };
        nominee.is_late || !self.sure_bearers(source, pod, asked).iter().any(outranks)
    }

    /// The version with which a pod got the label while it was there; none if it came with it.
    fn last_got_role(&self, pod: &PodFact) -> Option<u64> {
        let versions = self.pods.get(&pod.name)?;
        let bears = |version: &Version<PodFact>| {
            let fact = version.fact.as_ref().filter(|fact| fact.uid == pod.uid);
            fact.map(PodFact::has_role)
        };
        let pairs = versions.windows(2).rev();
        let mut got =
            pairs.filter(|pair| bears(&pair[0]) == Some(false) && bears(&pair[1]) == Some(true));
        got.next().map(|pair| pair[1].rv)
    }

    /// Other pods that have the label in every view.
    fn sure_bearers<'a>(
        &'a self,
        source: &SourceFact,
        but: &PodFact,
        asked: &Asked,
    ) -> Vec<&'a String> {
        let bears = |fact: &PodFact| fact.has_role() && fact.matches(source) && fact.running;
        let sure = self.pods.values().filter_map(|versions| {
            let uid = &versions.last()?.fact.as_ref()?.uid;
            let mut views = visible(versions, asked.pods).peekable();
            let is_sure = views.peek().is_some()
                && views.all(|(_, version)| {
                    let fact = version.fact.as_ref();
                    fact.is_some_and(|fact| fact.uid == *uid && bears(fact))
                });
            (is_sure && *uid != but.uid).then_some(uid)
        });
        sure.collect()
    }

    /// Whether a Lease can have named that pod, and was not certainly silent.
    fn may_hold(
        &self,
        lease: &str,
        source: &SourceFact,
        nominee: &Nominee<'_>,
        asked: &Asked,
    ) -> bool {
        let versions = self.leases.get(lease).map_or(&[][..], Vec::as_slice);
        let heard = self.seen.get(nominee.client).map(|seen| &seen.heard);
        let pod = nominee.pod;
        let key = (pod.uid.clone(), lease.to_owned());
        let later = heard.and_then(|heard| heard.later.get(&key)).copied();
        let known = heard.and_then(|heard| heard.writings.get(lease)).copied();
        let is_live = |version: &Version<LeaseFact>, fact: &LeaseFact| {
            let is_of_earlier = later.is_some_and(|later| version.rv <= later);
            let over = fact.held_ms.map(Duration::from_millis);
            let is_silent = known
                .zip(over)
                .is_some_and(|((rv, at), over)| version.rv == rv && at + over + MARGIN < asked.at);
            nominee.is_late || !(is_of_earlier || is_silent)
        };
        visible(versions, asked.leases).any(|(_, version)| {
            let fact = version.fact.as_ref().filter(|fact| is_live(version, fact));
            fact.is_some_and(|fact| self.may_mean(&fact.holder, source, pod, asked))
        })
    }

    /// Whether an identity can mean that pod: by no later line than one by which it means another.
    fn may_mean(&self, holder: &str, source: &SourceFact, pod: &PodFact, asked: &Asked) -> bool {
        let Some(own) = line(holder, pod) else {
            return false;
        };
        let is_meant = |fact: &PodFact| {
            let is_earlier = line(holder, fact).is_some_and(|other| other < own);
            is_earlier && fact.uid != pod.uid && fact.running && fact.matches(source)
        };
        !self.pods.values().any(|versions| {
            let mut views = visible(versions, asked.pods).peekable();
            views.peek().is_some()
                && views.all(|(_, version)| version.fact.as_ref().is_some_and(is_meant))
        })
    }
}

impl Ledger {
    /// A leader of a source that follows in every view was replaced or withdrawn. The pod that is
    /// published instead is looked at by `check_published`: here, nothing is withdrawn against which
    /// nothing speaks, nor before its time.
    pub(super) fn check_unnamed(
        &self,
        change: &Committed<'_>,
        name: &str,
        fact: &SliceFact,
        old: &str,
        asked: &Asked,
    ) -> Result<(), String> {
        let versions = self
            .sources
            .get(&fact.source)
            .map_or(&[][..], Vec::as_slice);
        if !fact.leaders.is_empty() || self.is_restored_lately() {
            return Ok(());
        }
        let views: Vec<usize> = visible(versions, asked.services)
            .map(|(at, _)| at)
            .collect();
        let facts: Vec<&SourceFact> = views
            .iter()
            .filter_map(|at| versions[*at].fact.as_ref())
            .collect();
        let eligible = self.pods.values().find_map(|pods| {
            let name = self.surely_eligible(pods, old, &facts, asked)?;
            Some((name, pods))
        });
        let Some((pod, pods)) = eligible else {
            return Ok(());
        };
        let contradicts = |at: &usize| {
            let source = versions[*at].fact.as_ref();
            let all = follows(&versions[..=*at]).unwrap_or_default();
            source.is_some_and(|source| {
                let delay = Duration::from_millis(source.delay_min_ms());
                let since =
                    asked.at.checked_sub(delay).unwrap_or(asked.at) + Duration::from_millis(1);
                all.iter().any(|follow| match follow {
                    Follow::Role => self.role_contradicts(source, old, pods, asked, since),
                    Follow::Lease(lease) => self.lease_contradicts(lease, old, pods, asked, since),
                    Follow::Unreadable => false,
                })
            })
        };
        if views.iter().any(contradicts) {
            return Ok(());
        }
        let by = change.request.map_or(0, |request| request.number);
        Err(format!(
            "slice {name} is emptied by request {by}, and the application does not speak against {pod}, or has not for long enough"
        ))
    }

    /// Whether the leader can have lacked the label, or another pod can have had it, by then.
    fn role_contradicts(
        &self,
        source: &SourceFact,
        old: &str,
        pods: &[Version<PodFact>],
        asked: &Asked,
        by: Instant,
    ) -> bool {
        let lacks = |fact: &PodFact| fact.uid == old && !fact.has_role();
        let bears = |fact: &PodFact| fact.uid != old && fact.has_role() && fact.matches(source);
        held_by(pods, asked, by, &lacks)
            || self
                .pods
                .values()
                .any(|pods| held_by(pods, asked, by, &bears))
    }

    /// Whether a Lease can have named another pod, or none, by then.
    fn lease_contradicts(
        &self,
        lease: &str,
        old: &str,
        pods: &[Version<PodFact>],
        asked: &Asked,
        by: Instant,
    ) -> bool {
        let versions = self.leases.get(lease).map_or(&[][..], Vec::as_slice);
        // By the name, or in some view by no line at all.
        let is_meant = |holder: &str| {
            let mut views = visible(pods, asked.pods).peekable();
            views.peek().is_some()
                && views.all(|(_, version)| {
                    let fact = version.fact.as_ref().filter(|fact| fact.uid == old);
                    fact.and_then(|fact| line(holder, fact))
                        .is_some_and(|line| line < 2)
                })
        };
        let speaks = |fact: &LeaseFact| !is_meant(&fact.holder);
        let first = visible(versions, asked.leases).next().map(|(at, _)| at);
        first.is_some_and(|first| {
            (first..versions.len())
                .any(|at| since(versions, at, &speaks).is_some_and(|since| since <= by))
        })
    }
}

/// Whether something of a pod can have been so by then.
fn held_by(
    pods: &[Version<PodFact>],
    asked: &Asked,
    by: Instant,
    is: &dyn Fn(&PodFact) -> bool,
) -> bool {
    visible(pods, asked.pods).any(|(at, _)| since(pods, at, is).is_some_and(|since| since <= by))
}

/// Since when something is so in this version, if it is.
fn since<T>(versions: &[Version<T>], at: usize, is: &dyn Fn(&T) -> bool) -> Option<Instant> {
    let is = |version: &&Version<T>| version.fact.as_ref().is_some_and(is);
    let run = versions[..=at].iter().rev().take_while(is);
    run.last().map(|version| version.at)
}
