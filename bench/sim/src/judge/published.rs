//! Which pod a slice may publish.

use std::time::Duration;

use serde_json::Value;
use simkube::Committed;
use tokio::time::Instant;

use super::STALE_MAX;
use super::follow::{Nominee, follows};
use super::ledger::{Asked, Former, Ledger, SliceFact};
use super::sight::{Sight, ready_since, visible};
use crate::facts::text;

/// A slice under way to its deletion may have been the memory of the leader.
const IN_FLIGHT: Duration = Duration::from_secs(15);

impl Ledger {
    pub(super) fn check_published(
        &self,
        change: &Committed<'_>,
        slice: &Value,
        name: &str,
        fact: &SliceFact,
        now: Instant,
    ) -> Result<(), String> {
        if fact.leaders.len() > 1 {
            return Err(format!("slice {name} has more than one endpoint"));
        }
        let Some(uid) = fact.leaders.first() else {
            return Ok(());
        };
        let is_second = |(other, slice): (&String, &SliceFact)| {
            *other != name
                && slice.by_us
                && slice.is_marked
                && slice.service == fact.service
                && slice.family == fact.family
                && !slice.leaders.is_empty()
        };
        if self.slices.iter().any(is_second) {
            return Err(format!(
                "a second endpoint of {} and {} in slice {name}",
                fact.service, fact.family
            ));
        }
        let asked = change
            .request
            .and_then(|request| self.asked.get(&request.number));
        let Some(asked) = asked else {
            return Err("a write that no replica asked for".into());
        };
        if self.is_restored_lately() || self.may_stay(&fact.source, uid, asked.life, now) {
            return Ok(());
        }
        let mut asked = *asked;
        let is_late = self.is_delayed(name, fact, now);
        if is_late {
            let rv = self.rv_at(asked.at.checked_sub(STALE_MAX));
            let long_ago = Sight { rv, past: rv };
            (asked.pods, asked.services, asked.leases) = (long_ago, long_ago, long_ago);
        }
        let pod = text(&slice["endpoints"][0]["targetRef"]["name"]);
        if self.surely_paused(&fact.source, &asked) {
            return Err(format!("slice {name} publishes {pod} during a pause"));
        }
        let client = change.request.map_or("", |request| &request.client);
        if self.was_eligible(&fact.source, &pod, uid, &asked, (client, is_late)) {
            Ok(())
        } else {
            Err(format!(
                "slice {name} publishes {pod} ({uid}), which was not eligible, or not named, in any view that the controller can have had"
            ))
        }
    }

    fn may_stay(&self, source: &str, uid: &String, life: Option<Instant>, now: Instant) -> bool {
        let leads = self
            .leaders
            .get(source)
            .is_some_and(|leaders| leaders.contains(uid));
        let is_young = life.is_some_and(|life| now < life + STALE_MAX);
        // A leader is remembered while everything is taken down to be made again.
        let of_source = |former: &&Former| former.source == source;
        let last = self.former.iter().rev().find(of_source).map(|last| last.at);
        let is_rebuilt =
            |former: &Former| Some(former.at) == last && self.is_wanted_since(source, former.at);
        let was = self.former.iter().any(|former| {
            former.source == source
                && former.uid == *uid
                && ((former.with_slice && (now < former.at + IN_FLIGHT || is_rebuilt(former)))
                    || (is_young && life.is_some_and(|life| life < former.at + STALE_MAX)))
        });
        leads || was
    }

    /// Whether a source has asked to be served all the time since then.
    fn is_wanted_since(&self, source: &str, at: Instant) -> bool {
        let versions = self.sources.get(source).map_or(&[][..], Vec::as_slice);
        let first = versions.iter().rposition(|version| version.at <= at);
        let mut since = versions[first.unwrap_or(0)..].iter();
        since.all(|version| {
            let fact = version.fact.as_ref().filter(|fact| !fact.deleting);
            fact.and_then(|fact| fact.enabled.as_deref())
                .is_some_and(|enabled| enabled != "false")
        })
    }

    fn was_eligible(
        &self,
        source: &str,
        pod: &str,
        uid: &str,
        asked: &Asked,
        (client, is_late): (&str, bool),
    ) -> bool {
        let pods = self.pods.get(pod).map_or(&[][..], Vec::as_slice);
        let sources = self.sources.get(source).map_or(&[][..], Vec::as_slice);
        visible(pods, asked.pods).any(|(at, version)| {
            let Some(fact) = version.fact.as_ref().filter(|fact| fact.uid == uid) else {
                return false;
            };
            visible(sources, asked.services).any(|(known, source)| {
                let nominee = Nominee {
                    pod: fact,
                    client,
                    is_late,
                };
                source.fact.as_ref().is_some_and(|source| {
                    let since = ready_since(&pods[..=at], uid);
                    // Transition times are whole seconds, and a jump of the clock falsifies them.
                    let ripe = since + Duration::from_millis(source.min_ready_ms());
                    let is_ripe = self.wall_jumped || asked.at + Duration::from_secs(1) >= ripe;
                    let is_down = self.nodes.is_surely_down(&fact.node, asked.at);
                    // The application's choice counts whatever is held against the node.
                    let follows = follows(&sources[..=known]).is_some();
                    fact.is_eligible(source)
                        && is_ripe
                        && (follows || !is_down)
                        && self.may_be_named(&sources[..=known], &nominee, asked)
                })
            })
        })
    }
}
