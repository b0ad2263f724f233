//! Which leader a slice must not leave, and what must not go before something else.

use std::time::Duration;

use simkube::Committed;
use tokio::time::Instant;

use super::ledger::{Asked, Ledger, SliceFact};
use super::sight::{Version, ready_since, visible};
use super::{ECHO, STALE_MAX};
use crate::facts::{PodFact, SourceFact};

impl Ledger {
    /// Whether a decision about a slice may have waited: its write, or that of its Service, was
    /// tried before. The elected pod leads from then on, since the outcome is unknown.
    pub(super) fn is_delayed(&self, slice: &str, fact: &SliceFact, now: Instant) -> bool {
        let recent = |at: &Instant| now < *at + STALE_MAX;
        let names = [slice, fact.service.as_str()];
        self.forbidden.as_ref().is_some_and(recent)
            || names
                .iter()
                .any(|name| self.delayed.get(*name).is_some_and(recent))
    }

    /// Traffic is withdrawn before a leader Service goes.
    pub(super) fn check_withdrawn(&self, service: &str) -> Result<(), String> {
        let is_live = |(_, slice): &(&String, &SliceFact)| {
            slice.service == service && slice.by_us && slice.is_marked && !slice.leaders.is_empty()
        };
        match self.slices.iter().find(is_live) {
            Some((name, _)) => Err(format!(
                "Service {service} is deleted, and slice {name} still publishes a leader"
            )),
            None => Ok(()),
        }
    }

    /// The leader until now had to be replaced, in some view that the controller can have had.
    pub(super) fn check_left(
        &self,
        change: &Committed<'_>,
        name: &str,
        fact: &SliceFact,
        now: Instant,
    ) -> Result<(), String> {
        let Some(asked) = change
            .request
            .and_then(|request| self.asked.get(&request.number))
        else {
            return Ok(());
        };
        let Some(before) = self
            .slices
            .get(name)
            .filter(|slice| slice.by_us && slice.leaders != fact.leaders)
        else {
            return Ok(());
        };
        let is_touched =
            self.touched.is_some_and(|at| now < at + STALE_MAX) || self.is_restored_lately();
        // What was decided stays decided while its write is tried again.
        let is_late = self.is_delayed(name, fact, now);
        let is_young = asked
            .life
            .is_some_and(|life| now < life + Duration::from_secs(15));
        let (Some(old), false) = (before.leaders.first(), is_touched || is_young || is_late) else {
            return Ok(());
        };
        let sources = self
            .sources
            .get(&fact.source)
            .map_or(&[][..], Vec::as_slice);
        let wants = |(_, version): (usize, &Version<SourceFact>)| {
            version
                .fact
                .as_ref()
                .is_some_and(|source| source.serves(&fact.source, &fact.service, &fact.family))
        };
        // A younger version than the one that is known may change everything.
        if !visible(sources, asked.services).all(wants) {
            return Ok(());
        }
        let all: Vec<&SourceFact> = visible(sources, asked.services)
            .filter_map(|(_, version)| version.fact.as_ref())
            .collect();
        let mut followed = all.iter().map(|source| source.follow().is_some());
        if followed.clone().all(|is| is) && !all.iter().any(|source| source.is_paused()) {
            return self.check_unnamed(change, name, fact, old, asked);
        }
        // Where some view follows and some does not, either may be the reason.
        if followed.any(|is| is) && !self.surely_paused(&fact.source, asked) {
            return Ok(());
        }
        self.check_need(name, fact, old, &all, asked)
    }

    /// The same, where every view of the source wants the slice.
    fn check_need(
        &self,
        name: &str,
        fact: &SliceFact,
        old: &str,
        all: &[&SourceFact],
        asked: &Asked,
    ) -> Result<(), String> {
        let now = Instant::now();
        let is_sure = |uid: &str| {
            let found = self.pods.values().find_map(|versions| {
                let pod = self.surely_eligible(versions, uid, all, asked)?;
                Some((pod, &versions.last()?.fact.as_ref()?.node))
            });
            found.filter(|(_, node)| {
                !self.nodes.may_be_down(node, now) && !self.nodes.may_leave(node, now)
            })
        };
        if self.surely_paused(&fact.source, asked) && fact.leaders.is_empty() {
            return self.check_kept(name, old, all, asked);
        }
        if all.iter().any(|source| source.is_paused()) {
            return Ok(());
        }
        if fact.leaders.is_empty() {
            let could = self.pods.values().find_map(|versions| {
                let pod = versions.last()?.fact.as_ref()?;
                // A pod on a node that is down does not follow a leader, and the leader itself stays.
                let may_lead = pod.uid == old || !self.nodes.may_be_down(&pod.node, now);
                self.surely_eligible(versions, &pod.uid, all, asked)
                    .filter(|_| may_lead)
            });
            return could.map_or(Ok(()), |pod| {
                Err(format!("slice {name} is emptied, and {pod} could lead"))
            });
        }
        let is_sticky = all
            .iter()
            .all(|source| matches!(source.setting("sticky"), None | Some("true")));
        let is_asked = self.was_asked_for(fact, all, asked);
        match is_sure(old).filter(|_| is_sticky && !is_asked) {
            Some((pod, _)) => Err(format!(
                "slice {name} leaves {pod}, which could go on leading"
            )),
            None => Ok(()),
        }
    }

    /// The name of a pod that is eligible and not about to go, in every view that the controller
    /// can have had.
    pub(super) fn surely_eligible<'a>(
        &self,
        versions: &'a [Version<PodFact>],
        uid: &str,
        sources: &[&SourceFact],
        asked: &Asked,
    ) -> Option<&'a str> {
        let mut name = None;
        for (at, version) in visible(versions, asked.pods) {
            let pod = version
                .fact
                .as_ref()
                .filter(|pod| pod.uid == uid && !pod.disrupted)?;
            let ripe = |source: &&SourceFact| {
                // With a margin for when the controller saw it.
                let wait = source.min_ready_max_ms();
                wait == 0
                    || (!self.wall_jumped
                        && ready_since(&versions[..=at], uid) + Duration::from_millis(wait) + ECHO
                            < asked.at)
            };
            if version.rv > asked.pods.rv
                || !sources
                    .iter()
                    .all(|source| pod.is_eligible(source) && ripe(source))
            {
                return None;
            }
            name = Some(pod.name.as_str());
        }
        name
    }

    /// Whether a pod of that name can be left for the sake of its node alone.
    pub(super) fn leaves_node(&self, pod: &str) -> bool {
        let last = self.pods.get(pod).and_then(|versions| versions.last());
        let fact = last.and_then(|version| version.fact.as_ref());
        fact.is_some_and(|pod| !pod.disrupted && self.nodes.may_leave(&pod.node, Instant::now()))
    }

    /// Whether a pod of that name was in a terminal phase at any moment that may count now.
    pub(super) fn has_just_ended(&self, pod: &str) -> bool {
        let versions = self.pods.get(pod).map_or(&[][..], Vec::as_slice);
        let ended = |version: &Version<PodFact>| {
            let is_recent = Instant::now() < version.at + STALE_MAX;
            is_recent && version.fact.as_ref().is_some_and(|pod| !pod.running)
        };
        versions.iter().any(ended)
    }

    pub(super) fn check_reason(
        &self,
        source: &str,
        from: &str,
        reason: &str,
    ) -> Result<(), String> {
        let now = Instant::now();
        if self.is_restored_lately() {
            return Ok(());
        }
        let name = source.rsplit('/').next().unwrap_or_default();
        let recent = |at: Instant| now < at + STALE_MAX;
        let versions = self.pods.get(from).map_or(&[][..], Vec::as_slice);
        let first = versions
            .iter()
            .rposition(|version| !recent(version.at))
            .unwrap_or(0);
        let versions = &versions[first..];
        let uid = versions
            .first()
            .and_then(|version| version.fact.as_ref())
            .map(|pod| &pod.uid);
        // The name may be that of a later pod.
        let led = |uid: &String| {
            let of = self.former.iter().rev();
            of.take_while(|former| recent(former.at))
                .any(|former| former.source == name && former.uid == *uid)
        };
        if !uid.is_some_and(led) {
            return Ok(());
        }
        let any = |holds: &dyn Fn(&PodFact) -> bool| {
            versions.iter().any(|version| {
                version
                    .fact
                    .as_ref()
                    .is_none_or(|pod| Some(&pod.uid) != uid || holds(pod))
            })
        };
        // A replica that takes over with a late view may not know of a pod yet that leads already.
        let is_young = versions.first().is_some_and(|version| recent(version.at));
        let holds = match reason {
            "deleted" => is_young || any(&|pod| !pod.running),
            "noIP" => any(&|pod| pod.ips.is_empty() || pod.ips.len() == 1),
            "terminating" => any(&|pod| pod.terminating),
            "disrupted" => any(&|pod| pod.disrupted || self.nodes.may_leave(&pod.node, now)),
            _ => true,
        };
        if holds {
            Ok(())
        } else {
            Err(format!(
                "source {name} left {from} because it was {reason}, and it was not"
            ))
        }
    }
}
