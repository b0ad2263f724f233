//! The race with the native controller: both write a slice when a pod changes, and kube-proxy
//! programs the first change at once and the second one up to a second later.
//!
//! A pod belongs to a Service with a selector, whose slice the native controller writes, and to a
//! leader Service, or to the floor's slice. The order of the two writes is the order of their
//! resourceVersions: etcd gives them out one after the other. The margin is the time between their
//! arrivals at a watching client.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use zen_bench::figures::Table;
use zen_lead::logic::model::{Key, Version};

use crate::api::{SLICES, path};
use crate::arrivals;
use crate::cluster::{Cluster, FLOOR, HEAVY, OURS, app, leader_service, leader_slice};
use crate::contest::{How, SOON};
use crate::observe::Seen;
use crate::plane::Plane;
use crate::{SETTLED, Stage};

/// Between two rounds, so that no round meets the writes of the one before.
const PAUSE: Duration = Duration::from_millis(60);

/// Whether the slices of a race have managedFields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fields {
    /// They have: the controller runs with `--keep-managed-fields`.
    Kept,
    /// They have none.
    Cleared,
}

/// The outcome of some rounds.
#[derive(Debug, Default)]
struct Race {
    /// The arrival of the native slice minus that of the other one, in milliseconds.
    margins: Vec<f64>,
    /// Rounds in which the other slice was written before the native one.
    first: usize,
}

impl Race {
    fn report(&self, table: &mut Table, what: &str) {
        table.note(&format!("{what}: first"), self.share(), "% of failovers");
        for percent in [10, 50, 90] {
            let what = format!("{what}: ahead by, p{percent}");
            table.note(&what, self.margin(percent), "ms");
        }
    }

    /// Percentage of the rounds in which the other slice was written before the native one.
    #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
    fn share(&self) -> f64 {
        100.0 * self.first as f64 / self.margins.len() as f64
    }

    /// The margin that `percent` of the rounds do not exceed, in milliseconds.
    fn margin(&self, percent: usize) -> f64 {
        let mut sorted = self.margins.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        let found = sorted.get(last * percent / 100);
        found.copied().unwrap_or(f64::NAN)
    }
}

impl Stage<'_> {
    /// Which of two slices is written first when a pod changes.
    pub async fn race(&self, table: &mut Table) -> Result<()> {
        for fields in [Fields::Kept, Fields::Cleared] {
            let keep = format!("--keep-managed-fields={}", fields == Fields::Kept);
            let mut subject = self.start_with(&keep)?;
            subject.ready().await?;
            self.cluster.prepare_race().await?;
            tokio::time::sleep(SETTLED).await;
            let rounds = 2 * self.plan.rounds;
            self.cluster
                .races(table, self.plane, fields, rounds)
                .await?;
            subject.process.stop()?;
        }
        Ok(())
    }
}

/// When a slice was seen, and the number of its version.
type Sighting = (Instant, u64);

impl Cluster {
    /// Makes the application of the race, with pods of 10 kB, and waits until it is served.
    pub async fn prepare_race(&self) -> Result<()> {
        for namespace in [FLOOR, OURS] {
            self.populate(namespace, HEAVY..HEAVY + 1).await?;
        }
        for namespace in [FLOOR, OURS] {
            for pod in 0..2 {
                self.native_turned(namespace, pod, true).await?;
            }
        }
        let key = leader_slice(OURS, &app(HEAVY));
        let served = |seen: &Seen| seen.slices.get(&key)?.1.leader().map(|_| ());
        let served = self.observer.wait("the leader of the race", SOON, served);
        served.await
    }

    /// Failovers of the controller in turns with those of the floor, by readiness and by deletion.
    pub async fn races(
        &self,
        table: &mut Table,
        plane: &Plane,
        fields: Fields,
        rounds: usize,
    ) -> Result<()> {
        if fields == Fields::Cleared {
            self.untrack_floor().await?;
        }
        // The first failover is not counted: it may be the one that clears managedFields.
        self.round(OURS, How::Readiness, 0).await?;
        for namespace in [OURS, FLOOR] {
            let key = leader_slice(namespace, &app(HEAVY));
            let is_tracked = |seen: &Seen| Some(seen.slices.get(&key)?.1.metadata.is_tracked);
            let is_tracked = self.observer.look(is_tracked);
            let expected = Some(fields == Fields::Kept);
            ensure!(
                is_tracked == expected,
                "{key}: managedFields {is_tracked:?}"
            );
        }
        for (how, name) in [(How::Readiness, "readiness"), (How::Deletion, "deletion")] {
            let mut races = [
                (OURS, "zen-lead", Race::default()),
                (FLOOR, "bare PATCH", Race::default()),
            ];
            let mark = plane.mark();
            for round in 0..rounds {
                for (namespace, _, race) in &mut races {
                    let (ours, native) = self.round(namespace, how, round).await?;
                    race.first += usize::from(ours.1 < native.1);
                    race.margins.push(signed_ms(ours.0, native.0));
                }
            }
            let requests = plane.answered_since(mark)?;
            for (namespace, who, race) in races {
                let what = format!("{who} and native, {name}, managedFields {fields:?}");
                race.report(table, &what);
                arrivals::report(table, &what, namespace, &requests)?;
            }
        }
        Ok(())
    }

    /// Takes the managedFields off the floor's slice.
    async fn untrack_floor(&self) -> Result<()> {
        let slice = path(SLICES, FLOOR, &leader_service(&app(HEAVY)));
        let reset = json!([{ "op": "add", "path": "/metadata/managedFields", "value": [{}] }]);
        let answer = self.api.call("PATCH", &slice, &reset).await?;
        let left = &answer["metadata"]["managedFields"];
        ensure!(left.is_null(), "managedFields after a reset: {left}");
        Ok(())
    }

    /// A pod is lost, both slices follow, and it comes back. Returns when the slice of the
    /// controller or the floor was seen to follow, and the native one.
    async fn round(&self, namespace: &str, how: How, round: usize) -> Result<(Sighting, Sighting)> {
        let app = app(HEAVY);
        let pod = match namespace {
            OURS => self.leader(&app)?,
            _ => round % 2,
        };
        let key = leader_slice(namespace, &app);
        let before = self.observer.look(|seen| sighting(seen, &key));
        let before = before.context("a slice of the race")?;
        self.lose(how, namespace, &app, pod).await?;
        let moved = |seen: &Seen| sighting(seen, &key).filter(|now| now.1 != before.1);
        let ours = self.observer.wait("the move", SOON, moved).await?;
        let native = self.native_turned(namespace, pod, false).await?;
        self.restore(how, namespace, &app, pod).await?;
        self.native_turned(namespace, pod, true).await?;
        tokio::time::sleep(PAUSE).await;
        Ok((ours, native))
    }

    async fn native_turned(&self, namespace: &str, pod: usize, ready: bool) -> Result<Sighting> {
        let app = app(HEAVY);
        let (at, version) = self.native_slice(namespace, &app, pod, ready).await?;
        Ok((at, number(&version)?))
    }
}

fn sighting(seen: &Seen, key: &Key) -> Option<Sighting> {
    let (at, slice) = seen.slices.get(key)?;
    Some((*at, number(&slice.metadata.resource_version).ok()?))
}

fn number(version: &Version) -> Result<u64> {
    match version {
        Version::Number(number) => Ok(*number),
        Version::Opaque(text) => anyhow::bail!("resourceVersion {text}: expected a number"),
    }
}

/// From `from` to `to` in milliseconds; negative if `to` came first.
fn signed_ms(from: Instant, to: Instant) -> f64 {
    let ahead = to.saturating_duration_since(from).as_secs_f64();
    let behind = from.saturating_duration_since(to).as_secs_f64();
    1e3 * (ahead - behind)
}
