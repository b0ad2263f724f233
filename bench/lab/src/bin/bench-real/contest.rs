//! Failovers one by one: the floor, the controller and the native controller in turns.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use zen_bench::figures::Times;
use zen_lead::logic::model::{Key, Slice, Version};

use crate::cluster::{Cluster, FLOOR, NATIVE, OURS, app, leader_service, leader_slice};
use crate::observe::Seen;

/// Nothing on a loopback interface takes longer.
pub const SOON: Duration = Duration::from_secs(30);
/// For work that no measurement waits for: events, and the native controller's writes about the other
/// two.
const PAUSE: Duration = Duration::from_millis(30);

/// How a leader is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Its status is patched.
    Readiness,
    /// It is deleted without grace.
    Deletion,
}

/// From the moment the request about the pod is sent to the moment a watching client receives the
/// slice's change.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Of the loop that sends a bare PATCH.
    pub floor: Times,
    /// Of the controller.
    pub ours: Times,
    /// Of the native controller, for a Service with a selector.
    pub native: Times,
}

impl Cluster {
    /// So many rounds; `services` of ours take turns.
    pub async fn contest(&self, how: How, rounds: usize, services: usize) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        for round in 0..rounds {
            // The order rotates, so that no contender always has the caches that another one warmed.
            for turn in 0..3 {
                match (round + turn) % 3 {
                    0 => outcome.floor.push(self.floor_round(how, round).await?),
                    1 => {
                        let app = app(round * 37 % services);
                        outcome.ours.push(self.our_round(how, &app).await?);
                    }
                    _ => outcome.native.push(self.native_round(how, round).await?),
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(outcome)
    }

    /// A pod is lost; the moment before the request was sent.
    pub async fn lose(&self, how: How, namespace: &str, app: &str, pod: usize) -> Result<Instant> {
        match how {
            How::Readiness => self.turn(namespace, app, pod, false).await,
            How::Deletion => self.delete_pod(namespace, app, pod).await,
        }
    }

    /// It comes back, Ready.
    pub async fn restore(&self, how: How, namespace: &str, app: &str, pod: usize) -> Result<()> {
        match how {
            How::Readiness => self.turn(namespace, app, pod, true).await.map(drop),
            How::Deletion => self.make_pod(namespace, app, pod).await,
        }
    }

    async fn floor_round(&self, how: How, round: usize) -> Result<Duration> {
        let (app, pod) = (app(0), round % 2);
        let key = leader_slice(FLOOR, &app);
        let version = |seen: &Seen| {
            let (at, slice) = seen.slices.get(&key)?;
            Some((*at, slice.metadata.resource_version.clone()))
        };
        let before = self.observer.look(version).context("the floor's slice")?;
        let from = self.lose(how, FLOOR, &app, pod).await?;
        let moved = |seen: &Seen| version(seen).filter(|(_, now)| *now != before.1);
        let (at, _) = self.observer.wait("the floor's PATCH", SOON, moved).await?;
        self.restore(how, FLOOR, &app, pod).await?;
        Ok(at.saturating_duration_since(from))
    }

    /// One of ours, and all that comes of it.
    pub async fn our_round(&self, how: How, app: &str) -> Result<Duration> {
        let pod = self.leader(app)?;
        let from = self.lose(how, OURS, app, pod).await?;
        let (at, uid) = self.moved_from(app, pod).await?;
        let service = Key::new(OURS, leader_service(app));
        self.named(&service, &uid).await?;
        self.restore(how, OURS, app, pod).await?;
        Ok(at.saturating_duration_since(from))
    }

    /// Waits until a leader Service names a pod.
    pub async fn named(&self, service: &Key, uid: &str) -> Result<()> {
        let named = |seen: &Seen| {
            let (_, service) = seen.services.get(service)?;
            let named = service
                .metadata
                .annotations
                .get("zen-lead.io/leader-pod-uid")?;
            (named == uid).then_some(())
        };
        self.observer.wait("the annotations", SOON, named).await
    }

    /// Waits until a slice of ours names another pod; when that was, and which.
    pub async fn moved_from(&self, app: &str, pod: usize) -> Result<(Instant, String)> {
        let key = leader_slice(OURS, app);
        let lost = format!("{app}-{pod}");
        let moved = |seen: &Seen| {
            let (at, slice) = seen.slices.get(&key)?;
            let leader = slice.leader().filter(|leader| *leader.name != *lost)?;
            Some((*at, leader.uid.to_string()))
        };
        self.observer.wait("the failover", SOON, moved).await
    }

    async fn native_round(&self, how: How, round: usize) -> Result<Duration> {
        let (app, pod) = (app(0), round % 2);
        let from = self.lose(how, NATIVE, &app, pod).await?;
        let at = self.native_shows(&app, pod, false).await?;
        self.restore(how, NATIVE, &app, pod).await?;
        self.native_shows(&app, pod, true).await?;
        Ok(at.saturating_duration_since(from))
    }

    /// Waits until the native slice of an application says so of a pod; when that was.
    pub async fn native_shows(&self, app: &str, pod: usize, ready: bool) -> Result<Instant> {
        let (at, _) = self.native_slice(NATIVE, app, pod, ready).await?;
        Ok(at)
    }

    /// Waits until the native slice of an application says so of a pod; when that was, and the
    /// version of the slice.
    pub async fn native_slice(
        &self,
        namespace: &str,
        app: &str,
        pod: usize,
        ready: bool,
    ) -> Result<(Instant, Version)> {
        let name = format!("{app}-{pod}");
        let shows = |seen: &Seen| {
            let mut slices = seen.slices.values();
            let (at, slice) = slices.find(|(_, slice)| is_native(slice, namespace, app))?;
            let is_ready = slice.endpoints.iter().any(|endpoint| {
                let pod = endpoint.target_ref.as_ref();
                pod.is_some_and(|pod| *pod.name == *name) && endpoint.conditions.ready == Some(true)
            });
            let version = slice.metadata.resource_version.clone();
            (is_ready == ready).then_some((*at, version))
        };
        self.observer
            .wait("the native controller", SOON, shows)
            .await
    }
}

fn is_native(slice: &Slice, namespace: &str, app: &str) -> bool {
    let labels = &slice.metadata.labels;
    &*slice.metadata.namespace == namespace && labels.get("kubernetes.io/service-name") == Some(app)
}
