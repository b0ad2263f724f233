//! Whom a slice may publish.

use std::time::Duration;

use serde_json::Value;
use simkube::Committed;
use tokio::time::Instant;

use super::STALE_MAX;
use super::ledger::{Asked, Ledger, SliceFact};
use super::sight::{Sight, ready_since, visible};
use crate::facts::text;

/// A slice under way to its deletion may have been the memory of who led.
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
            return Err("a write that nobody asked for".into());
        };
        if self.may_stay(&fact.source, uid, asked.life, now) {
            return Ok(());
        }
        let mut asked = *asked;
        if self.is_delayed(name, fact, now) {
            let rv = self.rv_at(asked.at.checked_sub(STALE_MAX));
            let long_ago = Sight { rv, past: rv };
            (asked.pods, asked.services) = (long_ago, long_ago);
        }
        let pod = text(&slice["endpoints"][0]["targetRef"]["name"]);
        if self.surely_paused(&fact.source, &asked) {
            return Err(format!("slice {name} publishes {pod} during a pause"));
        }
        if self.was_eligible(&fact.source, &pod, uid, &asked) {
            Ok(())
        } else {
            Err(format!(
                "slice {name} publishes {pod} ({uid}), which was not eligible in any view that the controller can have had"
            ))
        }
    }

    fn may_stay(&self, source: &str, uid: &String, life: Option<Instant>, now: Instant) -> bool {
        let leads = self
            .leaders
            .get(source)
            .is_some_and(|leaders| leaders.contains(uid));
        let is_young = life.is_some_and(|life| now < life + STALE_MAX);
        let was = self.former.iter().any(|former| {
            former.source == source
                && former.uid == *uid
                && ((former.with_slice && now < former.at + IN_FLIGHT)
                    || (is_young && life.is_some_and(|life| life < former.at + STALE_MAX)))
        });
        leads || was
    }

    fn was_eligible(&self, source: &str, pod: &str, uid: &str, asked: &Asked) -> bool {
        let pods = self.pods.get(pod).map_or(&[][..], Vec::as_slice);
        let sources = self.sources.get(source).map_or(&[][..], Vec::as_slice);
        visible(pods, asked.pods).any(|(at, version)| {
            let Some(fact) = version.fact.as_ref().filter(|fact| fact.uid == uid) else {
                return false;
            };
            visible(sources, asked.services).any(|(_, source)| {
                source.fact.as_ref().is_some_and(|source| {
                    let since = ready_since(&pods[..=at], uid);
                    // Transition times are whole seconds, and a jump of the clock falsifies them.
                    let ripe = since + Duration::from_millis(source.min_ready_ms());
                    let is_ripe = self.wall_jumped || asked.at + Duration::from_secs(1) >= ripe;
                    let is_down = self.nodes.is_surely_down(&fact.node, asked.at);
                    fact.is_eligible(source) && is_ripe && !is_down
                })
            })
        })
    }
}
