//! What operators ask for: nothing moves during a pause, and a switchover happens once.

use std::time::Duration;

use simkube::{Committed, Kind};
use tokio::time::Instant;

use super::STALE_MAX;
use super::ledger::{Asked, Ledger, SliceFact};
use super::sight::{Version, visible};
use crate::facts::SourceFact;

/// For this long, the write of a record of a switchover may be under way.
const IN_FLIGHT: Duration = Duration::from_secs(15);

impl Ledger {
    /// Notes which switchover a leader Service remembers.
    pub(super) fn note_handled(&mut self, change: &Committed<'_>, name: &str, now: Instant) {
        if change.kind != Kind::Service {
            return;
        }
        let pod = |text: &str| text.split('/').next().unwrap_or_default().to_owned();
        let fact = change.new.map(|service| {
            let handled = &service["metadata"]["annotations"]["zen-lead.io/handled-switchover"];
            handled.as_str().map(pod).unwrap_or_default()
        });
        let history = self.handled.entry(name.to_owned()).or_default();
        history.push(Version {
            rv: change.rv,
            at: now,
            fact,
        });
    }

    /// Whether the source was paused in every view that the controller can have had.
    pub(super) fn surely_paused(&self, source: &str, asked: &Asked) -> bool {
        let sources = self.sources.get(source).map_or(&[][..], Vec::as_slice);
        let mut views = visible(sources, asked.services).peekable();
        let is_paused = |source: &SourceFact| source.is_paused();
        views.peek().is_some()
            && views.all(|(_, version)| version.fact.as_ref().is_some_and(is_paused))
    }

    /// The leader of a paused source is not replaced while it exists and has its address.
    pub(super) fn check_kept(
        &self,
        name: &str,
        old: &str,
        sources: &[&SourceFact],
        asked: &Asked,
    ) -> Result<(), String> {
        let surely_stays = |versions: &[Version<crate::facts::PodFact>]| {
            let mut views = visible(versions, asked.pods).peekable();
            views.peek().is_some()
                && views.all(|(_, version)| {
                    let is_known = version.rv <= asked.pods.rv;
                    is_known
                        && version.fact.as_ref().is_some_and(|pod| {
                            let stays = |source: &&SourceFact| {
                                let family = source.families.first().map_or("IPv4", String::as_str);
                                pod.matches(source) && pod.ip(family).is_some()
                            };
                            pod.uid == old
                                && pod.running
                                && !pod.terminating
                                && sources.iter().all(stays)
                        })
                })
        };
        if self.pods.values().any(|versions| surely_stays(versions)) {
            Err(format!("slice {name} is emptied during a pause"))
        } else {
            Ok(())
        }
    }

    /// Whether the pod that leads now was asked for, and has not had its turn before.
    pub(super) fn was_asked_for(
        &self,
        fact: &SliceFact,
        sources: &[&SourceFact],
        asked: &Asked,
    ) -> bool {
        let leader = fact.leaders.first();
        let is_of = |version: &Version<crate::facts::PodFact>| {
            version
                .fact
                .as_ref()
                .is_some_and(|pod| Some(&pod.uid) == leader)
        };
        let Some(name) = self
            .pods
            .iter()
            .find_map(|(name, versions)| versions.iter().any(is_of).then_some(name))
        else {
            return true;
        };
        let is_asked = |source: &&SourceFact| match source.setting("preferred-leader") {
            Some(preferred) => preferred == name || preferred.contains(' '),
            None => false,
        };
        sources.iter().any(is_asked) && !self.has_had_its_turn(name, fact, asked)
    }

    /// The storm guard: what is told as a failover for `notReady` had its budget. A life, and a
    /// source that is created again, begin with a full one. A pod that has ended is left without one.
    pub(super) fn check_guard(
        &mut self,
        source: &str,
        from: &str,
        reason: &str,
    ) -> Result<(), String> {
        let Some(budget) = self.budget else {
            return Ok(());
        };
        if !matches!(reason, "notReady" | "noneReady") || self.has_just_ended(from) {
            return Ok(());
        }
        let name = source.rsplit('/').next().unwrap_or_default();
        let versions = self.sources.get(name).map_or(&[][..], Vec::as_slice);
        let was_away = |version: &&Version<SourceFact>| {
            let is_served = |source: &SourceFact| source.enabled.as_deref() == Some("true");
            !version.fact.as_ref().is_some_and(is_served)
        };
        let fresh = self.born + versions.iter().filter(was_away).count();
        self.check_spent(name, fresh, budget.per_service, budget.window_s)?;
        self.check_spent("", self.born, budget.global, budget.window_s)
    }

    /// The same for one budget, of which there have been so many fresh ones.
    fn check_spent(
        &mut self,
        of: &str,
        fresh: usize,
        count: u32,
        window_s: u32,
    ) -> Result<(), String> {
        if count == 0 {
            return Ok(());
        }
        let all = self.failed_over.entry(of.to_owned()).or_default();
        all.push(Instant::now());
        let first = all.first().copied().unwrap_or_else(Instant::now);
        let filled = first.elapsed().as_secs() * u64::from(count) / u64::from(window_s) + 1;
        let allowed = count as usize * fresh + usize::try_from(filled).unwrap_or(usize::MAX);
        if all.len() <= allowed {
            return Ok(());
        }
        let (told, whose) = (all.len(), if of.is_empty() { "all" } else { of });
        Err(format!(
            "source {whose} failed over {told} times because of NotReady, of which the budget allows {allowed}"
        ))
    }

    /// Whether the controller surely knew that this switchover had been carried out, and it
    /// was not requested again.
    fn has_had_its_turn(&self, pod: &str, fact: &SliceFact, asked: &Asked) -> bool {
        let then = asked.at.checked_sub(STALE_MAX);
        let versions = self
            .sources
            .get(&fact.source)
            .map_or(&[][..], Vec::as_slice);
        let first = versions
            .iter()
            .rposition(|version| then.is_some_and(|then| version.at <= then));
        let Some(first) = first else { return false };
        let is_same = |version: &Version<SourceFact>| {
            version.fact.as_ref().is_some_and(|source| {
                source.setting("preferred-leader") == Some(pod)
                    && source.enabled.as_deref() == Some("true")
            })
        };
        let handled = self
            .handled
            .get(&fact.service)
            .map_or(&[][..], Vec::as_slice);
        let is_old = |version: &Version<String>| version.at + IN_FLIGHT < asked.at;
        let mut known = visible(handled, asked.services).peekable();
        let is_it =
            |version: &Version<String>| version.fact.as_deref() == Some(pod) && is_old(version);
        self.touched.is_none_or(|at| at + STALE_MAX < asked.at)
            && versions[first..].iter().all(is_same)
            && known.peek().is_some()
            && known.all(|(_, version)| is_it(version))
    }
}
