//! What becomes of a source that follows its application's own leader, once there is peace.

use serde_json::Value;

use super::{Cluster, ensure};
use crate::claims::{Follow, LeaseFact, line};
use crate::event::name_of;
use crate::facts::{PodFact, SourceFact};

/// By the annotation of a slice: by which claim its pod was published.
const NAMED_BY: &str = "zen-lead.io/leader-named-by";

/// Whom an application names.
pub(super) enum Named<'a> {
    /// This pod, whatever a replica has seen.
    One(&'a PodFact),
    /// No pod, whatever a replica has seen.
    None,
    /// That depends on what was seen.
    Depends,
    /// Its last word does not count any more, or cannot be read.
    Silent,
}

impl Cluster<'_> {
    /// Whom the application of this source names; none if the source does not follow.
    pub(super) fn named(&self, source: &SourceFact) -> Option<Named<'_>> {
        Some(match source.follow()? {
            Follow::Role => self.named_by_role(source),
            Follow::Lease(lease) => self.named_by_lease(source, &lease),
            Follow::Unreadable => Named::Silent,
        })
    }

    fn members(&self, source: &SourceFact) -> impl Iterator<Item = &PodFact> {
        self.pods
            .iter()
            .filter(|pod| pod.matches(source) && !pod.ended)
    }

    fn named_by_role(&self, source: &SourceFact) -> Named<'_> {
        let all: Vec<&PodFact> = self.members(source).filter(|pod| pod.has_role()).collect();
        match all[..] {
            [] => Named::None,
            [pod] => Named::One(pod),
            _ => Named::Depends,
        }
    }

    fn named_by_lease(&self, source: &SourceFact, name: &str) -> Named<'_> {
        let lease = self.leases.iter().find(|lease| name_of(lease) == name);
        let Some(fact) = lease.map(LeaseFact::of) else {
            return Named::Silent;
        };
        if fact.holder.is_empty() {
            return Named::None;
        }
        let is_written = self.judge.is_written(name, fact.held_ms);
        if is_written.is_none() {
            return Named::Silent;
        }
        let lines = self
            .members(source)
            .filter_map(|pod| line(&fact.holder, pod));
        let first = lines.min();
        let is_meant = |pod: &&PodFact| first.is_some() && line(&fact.holder, pod) == first;
        let all: Vec<&PodFact> = self.members(source).filter(is_meant).collect();
        match all[..] {
            [] => Named::None,
            // A pod that came after the last writing is named by the next one.
            [pod] if is_written == Some(true) => Named::One(pod),
            _ => Named::Depends,
        }
    }

    /// The leader of a source that follows is whom the application names.
    pub(super) fn check_named(
        &self,
        source: &SourceFact,
        slices: &[&Value],
        leader: &PodFact,
        is_kept: bool,
    ) -> Result<(), String> {
        let Some(named) = self.named(source).filter(|_| !source.is_paused()) else {
            return Ok(());
        };
        let who = &leader.name;
        let is_mapped = slices.iter().any(|slice| {
            let by = &slice["metadata"]["annotations"][NAMED_BY];
            !by.is_null() && by.as_str() == source.setting("follow")
        });
        match named {
            Named::One(pod) => ensure(pod.uid == leader.uid, || {
                format!("{who} leads, and {} is named", pod.name)
            }),
            Named::None => ensure(!is_mapped, || format!("{who} leads, and no pod is named")),
            Named::Depends | Named::Silent => ensure(is_kept || leader.ready, || {
                format!("{who} leads, is not Ready, and is not named for certain")
            }),
        }
    }

    /// No pod leads: none that is named could.
    pub(super) fn check_none_named(&self, source: &SourceFact) -> Result<(), String> {
        let Some(Named::One(pod)) = self.named(source) else {
            return Ok(());
        };
        let could = pod.is_eligible(source) && !source.is_paused();
        ensure(!could, || {
            format!("no pod leads, and {} is named and could", pod.name)
        })
    }
}
