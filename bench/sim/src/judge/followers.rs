//! What a slice of a followers Service may show.

use std::time::Duration;

use serde_json::Value;
use simkube::Committed;
use tokio::time::Instant;

use super::ledger::{Asked, Ledger, SliceFact};
use super::sight::{Version, visible};
use crate::facts::{SourceFact, text};

/// A replica that began to live a shorter time ago may be about to learn what there is.
const YOUNG: Duration = Duration::from_secs(15);

impl Ledger {
    /// Takes in what a slice shows.
    pub(super) fn note_slice(&mut self, change: &Committed<'_>, name: &str, fact: SliceFact) {
        if change.new.is_some() {
            self.slices.insert(name.to_owned(), fact);
        } else {
            self.slices.remove(name);
        }
    }

    /// Each pod was eligible in some view that the replica can have had. The former leader joins once
    /// the leader's slice does not show it any more, and the next one leaves once that slice shows it.
    pub(super) fn check_followers(
        &self,
        change: &Committed<'_>,
        slice: &Value,
        name: &str,
        fact: &SliceFact,
        now: Instant,
    ) -> Result<(), String> {
        let asked = change
            .request
            .and_then(|request| self.asked.get(&request.number));
        let Some(asked) = asked else {
            return Err("a write that no replica asked for".into());
        };
        if self.is_restored_lately() || self.is_delayed(name, fact, now) {
            return Ok(());
        }
        let sources = self
            .sources
            .get(&fact.source)
            .map_or(&[][..], Vec::as_slice);
        let endpoints = slice["endpoints"].as_array().cloned().unwrap_or_default();
        let could_not = |endpoint: &&Value| !self.could_follow(endpoint, sources, asked);
        if let Some(endpoint) = endpoints.iter().find(could_not) {
            let pod = text(&endpoint["targetRef"]["name"]);
            return Err(format!(
                "slice {name} shows {pod} as a follower, which was not eligible in any view that the controller can have had"
            ));
        }
        let is_young = asked.life.is_some_and(|life| now < life + YOUNG);
        if is_young || !self.nodes.was_calm(now) {
            return Ok(());
        }
        self.check_succession(name, fact, sources, asked)
    }

    /// Whether the pod of an endpoint was eligible in some view.
    fn could_follow(
        &self,
        endpoint: &Value,
        sources: &[Version<SourceFact>],
        asked: &Asked,
    ) -> bool {
        let target = &endpoint["targetRef"];
        let versions = self.pods.get(&text(&target["name"]));
        let mut views = visible(versions.map_or(&[][..], Vec::as_slice), asked.pods);
        views.any(|(_, version)| {
            let pod = version.fact.as_ref();
            let pod = pod.filter(|pod| target["uid"] == *pod.uid);
            pod.is_some_and(|pod| {
                visible(sources, asked.services)
                    .filter_map(|(_, source)| source.fact.as_ref())
                    .any(|source| pod.is_eligible(source))
            })
        })
    }

    /// The former leader joins after the leader's slice has left it, and the next one leaves after that
    /// slice shows it.
    fn check_succession(
        &self,
        name: &str,
        fact: &SliceFact,
        sources: &[Version<SourceFact>],
        asked: &Asked,
    ) -> Result<(), String> {
        let now = Instant::now();
        let before = self.slices.get(name).filter(|before| before.by_us);
        let Some(before) = before else {
            return Ok(());
        };
        let facts: Vec<&SourceFact> = visible(sources, asked.services)
            .filter_map(|(_, version)| version.fact.as_ref())
            .collect();
        let leads = |uid: &String| {
            let mut slices = self.slices.values();
            slices.any(|slice| slice.leads_for(&fact.source) && slice.leaders.contains(uid))
        };
        // A hand that named it first made a switchover.
        let shows = |uid: &String| {
            let mut slices = self.slices.values();
            slices.any(|slice| {
                slice.source == fact.source
                    && !slice.is_for_followers
                    && slice.leaders.contains(uid)
            })
        };
        let is_plain = facts.first().is_some_and(|first| {
            let key = "followers-service-name";
            first.setting(key) == Some(fact.service.as_str())
                && facts.iter().all(|fact| *fact == *first)
        });
        let added = |uid: &&String| !before.leaders.contains(uid);
        if let Some(uid) = fact.leaders.iter().filter(added).find(|uid| leads(uid)) {
            return Err(format!(
                "slice {name} shows {uid} as a follower, and it leads"
            ));
        }
        let is_lost = |uid: &&String| {
            let mut pods = self.pods.values();
            !fact.leaders.contains(uid)
                && !shows(uid)
                && pods.any(|versions| {
                    let node = versions.last().and_then(|last| last.fact.as_ref());
                    let is_up = node.is_some_and(|pod| !self.nodes.may_be_down(&pod.node, now));
                    let has_ip = node.is_some_and(|pod| pod.ip(&fact.family).is_some());
                    let is_sure = self.surely_eligible(versions, uid, &facts, asked).is_some();
                    is_up && has_ip && is_sure
                })
        };
        match before.leaders.iter().find(is_lost).filter(|_| is_plain) {
            Some(uid) => Err(format!(
                "slice {name} does not show {uid} any more, and no slice shows it as leader"
            )),
            None => Ok(()),
        }
    }
}
