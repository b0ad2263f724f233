//! Many at once: leaders that are lost together, and Services that are met for the first time.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use zen_lead::logic::model::Version;

use crate::api::{SERVICES, SLICES, each, path};
use crate::cluster::{BARE, Cluster, FLOOR, OURS, app, bare_slice, is_served, leader_slice, turn};

/// Requests side by side, as the failover lane has them.
const FAILOVERS: usize = 64;
/// Requests side by side, as `--max-concurrent-reconciles` has them.
const CREATES: usize = 32;
/// Far more than anything here takes.
const LONG: Duration = Duration::from_mins(2);

impl Cluster {
    /// One pod each of so many applications turns NotReady; how long from the first request until
    /// the watching client has received the last slice's change.
    pub async fn lose_many(
        &self,
        namespace: &'static str,
        count: usize,
        round: usize,
    ) -> Result<Duration> {
        let mut lost = Vec::new();
        for number in 0..count {
            let app = app(number);
            let pod = match namespace {
                OURS => self.leader(&app)?,
                _ => round % 2,
            };
            lost.push((pod, self.version(namespace, &app)?));
        }
        let pods: Vec<_> = lost.iter().map(|(pod, _)| *pod).collect();
        let (from, _) = self.turn_all(namespace, &pods, false).await?;
        let mut latest = from;
        for (number, (_, before)) in lost.iter().enumerate() {
            let key = leader_slice(namespace, &app(number));
            let moved = self.observer.wait("the last slice", LONG, |seen| {
                let (at, slice) = seen.slices.get(&key)?;
                (slice.metadata.resource_version != *before).then_some(*at)
            });
            latest = latest.max(moved.await?);
        }
        self.turn_all(namespace, &pods, true).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok(latest.saturating_duration_since(from))
    }

    async fn turn_all(
        &self,
        namespace: &'static str,
        pods: &[usize],
        ready: bool,
    ) -> Result<(Instant, Duration)> {
        each(pods.len(), FAILOVERS, |number| {
            let (api, pod) = (self.api.clone(), pods[number]);
            async move {
                turn(&api, namespace, &app(number), pod, ready)
                    .await
                    .map(drop)
            }
        })
        .await
    }

    fn version(&self, namespace: &str, app: &str) -> Result<Version> {
        let key = leader_slice(namespace, app);
        let found = self.observer.look(|seen| {
            let (_, slice) = seen.slices.get(&key)?;
            Some(slice.metadata.resource_version.clone())
        });
        found.with_context(|| format!("no slice {key}"))
    }

    /// Sends a bare PATCH for so many slices, with nothing before them.
    pub async fn bare_patches(&self, count: usize, round: usize) -> Result<Duration> {
        let (_, took) = each(count, FAILOVERS, |number| {
            let api = self.api.clone();
            async move {
                let operations = json!([{
                    "op": "replace", "path": "/endpoints",
                    "value": [{"addresses": [format!("10.98.{round}.{}", number % 250)]}],
                }]);
                let slice = format!("{}-leader", app(number));
                let slice = path(SLICES, FLOOR, &slice);
                api.call("PATCH", &slice, &operations).await.map(drop)
            }
        })
        .await?;
        Ok(took)
    }

    /// A Service and a slice for each number, as a script makes them; they are gone afterwards.
    pub async fn bare_creates(&self, count: usize) -> Result<Duration> {
        let (_, took) = each(2 * count, CREATES, |number| {
            let (api, name) = (self.api.clone(), format!("bare-{:04}", number / 2));
            async move {
                if number % 2 == 0 {
                    let service = json!({
                        "metadata": {"name": name},
                        "spec": {"ports": [{"port": 80, "targetPort": 8080}]},
                    });
                    api.call("POST", &path(SERVICES, BARE, ""), &service).await
                } else {
                    let slice = bare_slice(&name);
                    api.call("POST", &path(SLICES, BARE, ""), &slice).await
                }
                .map(drop)
            }
        })
        .await?;
        each(count, CREATES, |number| {
            let (api, name) = (self.api.clone(), format!("bare-{number:04}"));
            async move {
                api.delete(&path(SLICES, BARE, &name)).await?;
                api.delete(&path(SERVICES, BARE, &name)).await
            }
        })
        .await?;
        Ok(took)
    }

    /// Waits until so many Services of ours are served; when the last one was.
    pub async fn all_served(&self, count: usize) -> Result<Instant> {
        let served = self.observer.wait("all served", LONG, |seen| {
            let ours = seen.slices.values().filter(|(_, slice)| is_served(slice));
            let arrived: Vec<_> = ours.map(|(at, _)| *at).collect();
            (arrived.len() >= count).then(|| arrived.into_iter().max())
        });
        let last = served.await?;
        ensure!(count > 0, "nothing to serve");
        last.context("a slice")
    }

    /// Waits until so many leader Services name their leader.
    pub async fn all_named(&self, count: usize) -> Result<()> {
        let named = self.observer.wait("all annotated", LONG, |seen| {
            let says = seen.services.values().filter(|(_, service)| {
                let annotations = &service.metadata.annotations;
                annotations.get("zen-lead.io/leader-pod-uid").is_some()
            });
            (says.count() >= count).then_some(())
        });
        named.await
    }
}
