//! What scenarios wait for. Each wait ends at the first event that fulfils it, and fails with what
//! there was instead.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::SOON;
use super::api::Kind;
use super::objects::{Made, Pod, Svc, annotation, endpoints, is_our_slice, target_uid, text};
use super::observe::{Change, Log, Seen};
use super::test::Test;

/// Whether a slice publishes exactly this pod.
pub fn publishes(slice: &Value, pod: &Made) -> bool {
    let list = endpoints(slice);
    list.len() == 1
        && target_uid(slice) == Some(&pod.uid)
        && pod
            .ips
            .iter()
            .any(|ip| text(&list[0], "/addresses/0") == ip)
}

impl Test {
    /// Waits until the slice of that name publishes this pod and no other; when it was seen.
    pub async fn leads(&self, slice: &str, pod: &Made) -> Result<Instant> {
        self.leads_within(slice, pod, SOON).await
    }

    /// The same with a deadline of its own.
    pub async fn leads_within(&self, slice: &str, pod: &Made, within: Duration) -> Result<Instant> {
        let what = format!("slice {slice} publishes {}", pod.name);
        self.obs
            .wait(&what, within, |log| {
                let now = log.get(Kind::Slice, slice)?;
                publishes(now, pod).then(|| last_change(log, Kind::Slice, slice))
            })
            .await
    }

    /// Waits until the leader Service names this pod.
    pub async fn identified(&self, service: &str, pod: &Made) -> Result<Arc<Value>> {
        let what = format!("Service {service} names {}", pod.name);
        self.until(Kind::Service, service, &what, |now| {
            annotation(now, "zen-lead.io/leader-pod-uid") == Some(&pod.uid)
        })
        .await
    }

    /// Waits until an object is as `is` wants it.
    pub async fn until(
        &self,
        kind: Kind,
        name: &str,
        what: &str,
        is: impl Fn(&Value) -> bool,
    ) -> Result<Arc<Value>> {
        self.obs
            .wait(what, SOON, |log| {
                log.get(kind, name).filter(|now| is(now)).cloned()
            })
            .await
    }

    /// Waits until the slice exists and has no endpoint.
    pub async fn empties(&self, slice: &str) -> Result<Instant> {
        self.obs
            .wait(&format!("slice {slice} is empty"), SOON, |log| {
                let now = log.get(Kind::Slice, slice)?;
                endpoints(now)
                    .is_empty()
                    .then(|| last_change(log, Kind::Slice, slice))
            })
            .await
    }

    /// Waits until an object exists.
    pub async fn exists(&self, kind: Kind, name: &str) -> Result<Arc<Value>> {
        self.until(kind, name, &format!("{kind:?} {name} exists"), |_| true)
            .await
    }

    /// Waits until an object is gone that was there.
    pub async fn gone(&self, kind: Kind, name: &str) -> Result<()> {
        self.obs
            .wait(&format!("{kind:?} {name} is gone"), SOON, |log| {
                log.get(kind, name).is_none().then_some(())
            })
            .await
    }

    /// Waits until a leader Service and its slices are gone, and checks that traffic went first.
    pub async fn withdrawn(&self, service: &str) -> Result<()> {
        self.gone(Kind::Service, service).await?;
        self.obs
            .wait(&format!("slices of {service} are gone"), SOON, |log| {
                let mut slices = log.all(Kind::Slice);
                let is_of = |slice: &Arc<Value>| is_slice_of(slice, service);
                (!slices.any(is_of)).then_some(())
            })
            .await
    }

    /// Waits for an Event about a Service whose message contains all of `words`.
    pub async fn event(&self, about: &str, reason: &str, words: &[&str]) -> Result<Arc<Value>> {
        let what = format!("Event {reason} about {about} with {words:?}");
        let waited = self
            .obs
            .wait(&what, SOON, |log| {
                events(log, about, reason)
                    .into_iter()
                    .find(|event| words.iter().all(|word| message(event).contains(word)))
            })
            .await;
        waited.map_err(|why| {
            let told = self.obs.look(|log| {
                let told = log.all(Kind::Event);
                told.map(|event| format!("{}: {}", text(event, "/reason"), message(event)))
                    .collect::<Vec<_>>()
            });
            anyhow::anyhow!("{why:#}\n      events: {told:#?}")
        })
    }

    /// How often an Event was sent, repeats counted.
    pub fn count_events(&self, about: &str, reason: &str) -> u64 {
        self.obs.look(|log| {
            let count = |event: &Arc<Value>| {
                let series = event["series"]["count"].as_u64();
                series.or(event["count"].as_u64()).unwrap_or(1).max(1)
            };
            events(log, about, reason).iter().map(count).sum()
        })
    }

    /// How many Event objects there are.
    pub fn event_objects(&self, about: &str, reason: &str) -> usize {
        self.obs.look(|log| events(log, about, reason).len())
    }

    /// How many Event objects there are whose message contains all of `words`.
    pub fn event_objects_with(&self, about: &str, reason: &str, words: &[&str]) -> usize {
        self.obs.look(|log| {
            let has = |event: &&Arc<Value>| words.iter().all(|word| message(event).contains(word));
            events(log, about, reason).iter().filter(has).count()
        })
    }

    /// That no leader Service of this name ever went before its slices had been emptied.
    pub fn traffic_went_first(&self, leader: &str) -> Result<()> {
        self.obs.look(|log| {
            let mut published = 0;
            for seen in log
                .ordered()
                .into_iter()
                .filter(|seen| seen.name() == leader)
            {
                let deleted = seen.change == Change::Deleted;
                if seen.kind == Kind::Slice {
                    published = if deleted {
                        0
                    } else {
                        endpoints(&seen.object).len()
                    };
                } else if deleted {
                    ensure!(published == 0, "{leader} went before its slice");
                }
            }
            Ok(())
        })
    }

    /// Has the program serve something new, so that everything older has been seen by it.
    pub async fn canary(&self) -> Result<()> {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("canary-{number}");
        self.service(Svc::opted_in(&name)).await?;
        let pod = self.pod(Pod::new(&name, &name), true).await?;
        self.leads(&format!("{name}-leader"), &pod).await?;
        self.ready(&pod, false).await?;
        self.empties(&format!("{name}-leader")).await.map(drop)
    }

    /// The same for a program that may not patch slices.
    pub async fn canary_without_patches(&self) -> Result<()> {
        let pod = self.pod(Pod::new("bystander", "bystander"), true).await?;
        self.service(Svc::opted_in("bystander")).await?;
        self.leads("bystander-leader", &pod).await.map(drop)
    }

    /// That no client has changed an object since it was `before`.
    pub fn untouched(&self, kind: Kind, before: &Value) -> Result<()> {
        let name = super::objects::name_of(before);
        let now = self.obs.look(|log| log.get(kind, name).cloned());
        ensure!(
            now.as_deref() == Some(before),
            "{kind:?} {name} is not as it was.\n      before {before}\n      now    {now:?}"
        );
        let writes = self.history(kind, name);
        ensure!(
            writes.iter().all(|seen| seen.change != Change::Deleted),
            "{kind:?} {name} was deleted meanwhile"
        );
        Ok(())
    }

    /// The events of one object.
    pub fn history(&self, kind: Kind, name: &str) -> Vec<Seen> {
        self.obs.history(kind, name)
    }

    /// That since `from` at every moment an endpoint was published by our slices of any of these
    /// leader Services.
    pub fn never_empty(&self, services: &[&str], from: Instant) -> Result<()> {
        self.obs.look(|log| {
            let mut now = std::collections::BTreeMap::new();
            for seen in log.history.iter().filter(|seen| seen.kind == Kind::Slice) {
                let is_of = services.iter().any(|name| is_slice_of(&seen.object, name));
                if !is_of || !is_our_slice(&seen.object) {
                    continue;
                }
                match seen.change {
                    Change::Deleted => now.remove(seen.name()),
                    _ => now.insert(seen.name(), endpoints(&seen.object).len()),
                };
                let published: usize = now.values().sum();
                ensure!(
                    seen.at < from || published > 0,
                    "nothing was published under {services:?} for a moment"
                );
            }
            Ok(())
        })
    }
}

/// Whether a slice says to belong to that Service.
pub fn is_slice_of(slice: &Value, service: &str) -> bool {
    super::objects::label(slice, "kubernetes.io/service-name") == Some(service)
}

fn last_change(log: &Log, kind: Kind, name: &str) -> Instant {
    let mut backwards = log.history.iter().rev();
    let last = backwards.find(|seen| seen.kind == kind && seen.name() == name);
    last.map_or_else(Instant::now, |seen| seen.at)
}

fn message(event: &Value) -> &str {
    text(event, "/message")
}

fn events(log: &Log, about: &str, reason: &str) -> Vec<Arc<Value>> {
    let is_it = |event: &&Arc<Value>| {
        text(event, "/reason") == reason && text(event, "/involvedObject/name") == about
    };
    log.all(Kind::Event).filter(is_it).cloned().collect()
}
