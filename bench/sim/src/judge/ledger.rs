//! What has happened so far, and what is thought of each change as it happens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use simkube::{Committed, Kind};
use tokio::time::Instant;

use super::STALE_MAX;
use super::heard::Heard;
use super::nodes::Nodes;
use super::sight::{Floor, History, Sight, Version};
use crate::claims::{LeaseFact, is_for_followers};
use crate::event::{SOURCES, is_foreign, name_of};
use crate::facts::{PodFact, SourceFact, text};
use crate::plan::Budget;
use zen_lead::shell::lease::WritePermit;

const SOURCE: &str = "zen-lead.io/source-service";

/// Versions of one object, each with the request that made it, if one did.
type Writers = Vec<(u64, Option<u64>)>;

#[derive(Default)]
pub(super) struct Ledger {
    pub(super) violation: Option<String>,
    /// When each resourceVersion was the last one.
    pub(super) clock: Vec<(Instant, u64)>,
    pub(super) pods: History<PodFact>,
    pub(super) sources: History<SourceFact>,
    /// Leases of applications.
    pub(super) leases: History<LeaseFact>,
    /// By pod: the version with which it got the label that names a leader.
    pub(super) roles: BTreeMap<String, u64>,
    /// By client.
    pub(super) seen: BTreeMap<String, Seen>,
    /// What had been seen when a write was asked for.
    pub(super) asked: BTreeMap<u64, Asked>,
    /// Identities of what the controller made.
    pub(super) made: BTreeSet<String>,
    pub(super) slices: BTreeMap<String, SliceFact>,
    /// How often what a slice publishes has changed.
    pub(super) moves: BTreeMap<String, u64>,
    /// By source: the pods that lead, as far as can be known.
    pub(super) leaders: BTreeMap<String, BTreeSet<String>>,
    /// The pods that do so no more.
    pub(super) former: Vec<Former>,
    pub(super) wall_jumped: bool,
    /// Failovers that there may be because a leader is not Ready.
    pub(super) budget: Option<Budget>,
    /// The holder of the Lease may write for so long after it asked to renew it.
    pub(super) renewal: Duration,
    pub(super) nodes: Nodes,
    /// Lives that have begun.
    pub(super) born: usize,
    /// By source, and under no name for all: when it failed over because its leader was not Ready.
    pub(super) failed_over: BTreeMap<String, Vec<Instant>>,
    /// By leader Service: the pod of the switchover that it remembers, or nothing.
    pub(super) handled: History<String>,
    /// When an eviction was last called off.
    pub(super) called_off: Option<Instant>,
    pub(super) foreign: BTreeMap<(Kind, String), Value>,
    /// When something changed and by which client, when a fault hit, and when each client wrote to
    /// each object.
    pub(super) changes: Vec<(Instant, Option<String>)>,
    pub(super) faults: Vec<Instant>,
    pub(super) requests: BTreeMap<(String, Option<Kind>, String), Vec<Instant>>,
    /// When a hand was last laid on an object of ours.
    pub(super) touched: Option<Instant>,
    /// Requests that a fault hit.
    pub(super) hurt: BTreeSet<u64>,
    /// By name of an object: when a request for it last came to nothing.
    pub(super) delayed: BTreeMap<String, Instant>,
    pub(super) forbidden: Option<Instant>,
    /// When etcd was restored.
    pub(super) restored: Option<Instant>,
    /// When the holder of the Lease asked for its last renewal that was done.
    pub(super) renewed: BTreeMap<String, Instant>,
    /// The replicas that live, and whether each may write.
    pub(super) tenures: BTreeMap<String, WritePermit>,
    /// When a replica that was held still went on.
    pub(super) resumed: BTreeMap<String, Instant>,
    /// Objects to which a replica wrote after it was deposed, until it is the holder again.
    pub(super) late: BTreeSet<(String, Kind, String)>,
    /// How many requests have arrived at this moment.
    pub(super) pace: Option<(Instant, u32)>,
    /// The latest request.
    pub(super) asked_last: u64,
    /// The first request of each life.
    pub(super) lives: Vec<u64>,
    /// What changed an object, after which request: a request, or another client.
    pub(super) writers: BTreeMap<(Kind, String), Writers>,
}

/// The pod that led a source, until then.
pub(super) struct Former {
    pub(super) at: Instant,
    pub(super) source: String,
    pub(super) uid: String,
    /// The slice was deleted with it.
    pub(super) with_slice: bool,
}

/// What a client has seen in its present life, for certain.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) pods: Floor,
    pub(super) services: Floor,
    /// Of applications, by the watch of all of them.
    pub(super) leases: Floor,
    pub(super) heard: Heard,
    /// When its life began.
    pub(super) life: Option<Instant>,
    /// By kind: the latest version on a watch, and the latest one before the server was restored.
    pub(super) shown: BTreeMap<Kind, u64>,
    pub(super) lost: BTreeMap<Kind, u64>,
    /// It has asked for nothing yet.
    pub(super) is_new: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Asked {
    /// The last version of anything, at that moment.
    pub(super) rv: u64,
    /// When the life of the client began.
    pub(super) life: Option<Instant>,
    pub(super) at: Instant,
    pub(super) pods: Sight,
    pub(super) services: Sight,
    pub(super) leases: Sight,
}

pub(super) struct SliceFact {
    pub(super) source: String,
    pub(super) service: String,
    pub(super) family: String,
    /// The pods that it shows.
    pub(super) leaders: Vec<String>,
    pub(super) is_for_followers: bool,
    pub(super) by_us: bool,
    /// Its labels and its owner say whose it is.
    pub(super) is_marked: bool,
}

impl SliceFact {
    /// Whether it publishes a leader of this source.
    pub(super) fn leads_for(&self, source: &str) -> bool {
        let is_whole = self.by_us && self.is_marked && !self.is_for_followers;
        is_whole && self.source == source && !self.leaders.is_empty()
    }
}

impl Ledger {
    pub(super) fn judge(&mut self, change: &Committed<'_>, object: &Value) -> Result<(), String> {
        let now = Instant::now();
        self.clock.push((now, change.rv));
        let name = name_of(object).to_owned();
        let by_us = change.request.is_some();
        self.writers
            .entry((change.kind, name.clone()))
            .or_default()
            .push((
                self.asked_last,
                change.request.map(|request| request.number),
            ));
        let by = change.request.map(|request| request.client.clone());
        if !matches!(change.kind, Kind::Event | Kind::Lease) {
            self.changes.push((now, by));
        }
        if let Some(request) = change.request {
            self.check_fence(change, request)?;
        }
        if by_us {
            self.check_ours(change, &name)?;
        } else if self.made.contains(&text(&object["metadata"]["uid"])) {
            self.touched = Some(now);
        }
        if by_us {
            // Said above.
        } else if change.new.is_some_and(is_foreign) {
            self.foreign
                .insert((change.kind, name.clone()), object.clone());
        } else {
            // It is gone, or a restore has brought back an object of ours in its place.
            self.foreign.remove(&(change.kind, name.clone()));
        }
        self.note_handled(change, &name, now);
        if self.nodes.note(change, &name, now) {
            self.called_off = Some(now);
        }
        match change.kind {
            Kind::Lease => {
                self.note_renewal(change);
                self.note_lease(change, &name, now);
            }
            Kind::Pod => {
                let fact = change.new.map(PodFact::of);
                self.note_role(&name, fact.as_ref(), change.rv, now);
                let was_disrupted = change.old.is_some_and(|old| PodFact::of(old).disrupted);
                if was_disrupted && fact.as_ref().is_some_and(|pod| !pod.disrupted) {
                    self.called_off = Some(now);
                }
                self.pods.entry(name).or_default().push(Version {
                    rv: change.rv,
                    at: now,
                    fact,
                });
            }
            Kind::Service if SOURCES.contains(&name.as_str()) => {
                let fact = change.new.map(SourceFact::of);
                self.sources.entry(name).or_default().push(Version {
                    rv: change.rv,
                    at: now,
                    fact,
                });
            }
            Kind::Service if by_us && change.new.is_none() => self.check_withdrawn(&name)?,
            Kind::EndpointSlice => self.judge_slice(change, object, &name, now)?,
            _ => {}
        }
        Ok(())
    }

    /// The controller writes what it made, and nothing else.
    fn check_ours(&mut self, change: &Committed<'_>, name: &str) -> Result<(), String> {
        if change.kind == Kind::Event {
            return Ok(());
        }
        let uid = |object: &Value| text(&object["metadata"]["uid"]);
        match change.old {
            None => {
                self.made.extend(change.new.map(uid));
                Ok(())
            }
            Some(old) if self.made.contains(&uid(old)) => Ok(()),
            Some(_) => Err(format!(
                "{} {name} is not the controller's, and it wrote it",
                change.kind.name()
            )),
        }
    }

    fn judge_slice(
        &mut self,
        change: &Committed<'_>,
        object: &Value,
        name: &str,
        now: Instant,
    ) -> Result<(), String> {
        let uid = text(&object["metadata"]["uid"]);
        if !self.made.contains(&uid) {
            return Ok(());
        }
        let by_us = change.request.is_some();
        let leaders: Vec<String> = change.new.map(published).unwrap_or_default();
        let labels = &object["metadata"]["labels"];
        let known = self.slices.get(name);
        // A slice whose label a user removed can come back with a restore: the label tells once it is healed.
        let known_source = known.map(|slice| slice.source.clone());
        let known_source = known_source.filter(|source| !source.is_empty());
        let source = known_source.unwrap_or_else(|| text(&labels[SOURCE]));
        let changed = known.is_none_or(|slice| slice.leaders != leaders);
        let names_no_pod = known.is_none_or(|slice| slice.leaders.is_empty()) && leaders.is_empty();
        let fact = SliceFact {
            source: source.clone(),
            service: text(&labels["kubernetes.io/service-name"]),
            family: text(&object["addressType"]),
            by_us: if changed {
                by_us
            } else {
                known.is_some_and(|slice| slice.by_us)
            },
            leaders: leaders.clone(),
            is_for_followers: is_for_followers(object),
            is_marked: labels[SOURCE].is_string()
                && object["metadata"]["ownerReferences"].is_array(),
        };
        if by_us && change.old.is_some() && change.new.is_some_and(is_tracked) {
            return Err(format!("slice {name} is patched and keeps managedFields"));
        }
        if fact.is_for_followers {
            if by_us && change.new.is_some() {
                self.check_followers(change, object, name, &fact, now)?;
            }
            self.note_slice(change, name, fact);
            return Ok(());
        }
        if by_us && change.new.is_some() {
            self.check_published(change, object, name, &fact, now)?;
            self.check_left(change, name, &fact, now)?;
        }
        if changed {
            *self.moves.entry(name.to_owned()).or_default() += 1;
        }
        self.note_slice(change, name, fact);
        self.note_leaders(change, &source, names_no_pod, now);
        Ok(())
    }

    /// Notes which pods lead a source, and which do so no more.
    fn note_leaders(
        &mut self,
        change: &Committed<'_>,
        source: &str,
        names_no_pod: bool,
        now: Instant,
    ) {
        let by_us = change.request.is_some();
        let mut published: BTreeSet<String> = self
            .slices
            .values()
            .filter(|slice| slice.source == source && !slice.is_for_followers)
            .flat_map(|slice| slice.leaders.iter().cloned())
            .collect();
        let leaders = self.leaders.entry(source.to_owned()).or_default();
        if !by_us || names_no_pod {
            // What hands did, a restart takes for the truth; without one the leader stays. A slice of
            // another family says nothing of it.
            published.extend(leaders.iter().cloned());
        }
        let gone = leaders.difference(&published).map(|uid| Former {
            at: now,
            source: source.to_owned(),
            uid: uid.clone(),
            with_slice: change.new.is_none(),
        });
        self.former.extend(gone);
        *leaders = published;
    }

    /// Whether a replica may still act on a history that is lost.
    pub(super) fn is_restored_lately(&self) -> bool {
        let now = Instant::now();
        self.restored.is_some_and(|at| now < at + 2 * STALE_MAX)
    }

    pub(super) fn rv_at(&self, then: Option<Instant>) -> u64 {
        let at = self
            .clock
            .partition_point(|(at, _)| then.is_none_or(|then| *at <= then));
        at.checked_sub(1).map_or(0, |at| self.clock[at].1)
    }
}

/// Whether the server notes which client wrote which field of an object.
pub(super) fn is_tracked(object: &Value) -> bool {
    let entries = object["metadata"]["managedFields"].as_array();
    entries.is_some_and(|entries| !entries.is_empty())
}

/// Identities of the pods that a slice publishes; an endpoint without one counts as itself.
fn published(slice: &Value) -> Vec<String> {
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    endpoints
        .map(|endpoint| {
            endpoint["targetRef"]["uid"]
                .as_str()
                .map_or_else(|| endpoint.to_string(), str::to_owned)
        })
        .collect()
}
