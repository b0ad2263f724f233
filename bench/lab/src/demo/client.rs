//! A client that watches what any client can watch: pods, Services, slices and Events, over a
//! connection and on a thread of its own. Where latency counts to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use zen_lead::jitter;
use zen_lead::logic::model::{Key, Meta, Object, Pod, Service, Slice, Uid, Version};
use zen_lead::logic::reflect::Change;
use zen_lead::logic::well_known::SOURCE_SERVICE;
use zen_lead::shell::api::Scope;
use zen_lead::shell::clock::Clock;
use zen_lead::shell::transport::{self, Tuning};
use zen_lead::shell::watch::{self, Selectors, Source, WatchOptions};

use super::news::{PodSeen, Route, Told, What};
use super::{APP, NAMESPACE, Outlet};

/// Starts it; it runs until the process ends.
pub(super) fn start(kubeconfig: PathBuf, clock: &Clock, outlet: &Outlet) -> anyhow::Result<()> {
    let (told, seen) = (outlet.clone(), clock.clone());
    super::on_thread("client", outlet, clock, async move {
        let api = transport::config(Some(&kubeconfig)).await?;
        let client = transport::client(api, &Tuning::default())?;
        let source = |label: Option<String>| Source {
            client: client.clone(),
            scope: Scope::Namespace(NAMESPACE.into()),
            selectors: Selectors { label, field: None },
            options: WatchOptions::default(),
        };
        let ours = Some(format!("{SOURCE_SERVICE}={APP}"));
        tokio::join!(
            follow::<Pod>(source(Some(format!("app={APP}"))), &seen, &told, pods),
            follow::<Slice>(source(ours.clone()), &seen, &told, route),
            follow::<Service>(source(ours), &seen, &told, leader_service),
            events(source(None), &seen, &told),
        );
        Ok(())
    })
}

/// Keeps all objects of a kind, and tells what they come to whenever that is something else.
async fn follow<T: Object>(
    source: Source,
    clock: &Clock,
    outlet: &Outlet,
    read: fn(&BTreeMap<Key, T>) -> What,
) {
    let mut known: BTreeMap<Key, T> = BTreeMap::new();
    let mut last = None;
    let apply = move |change: Change<T>, at| {
        match change {
            Change::Upsert(object) => {
                known.insert(object.key(), object);
            }
            Change::Delete(gone) => {
                known.remove(&gone.key);
            }
            Change::Retain { keys, .. } => known.retain(|key, _| keys.contains(key)),
            Change::Restored | Change::Progress(_) | Change::Skipped(_) => return,
        }
        let what = read(&known);
        if last.as_ref() != Some(&what) {
            last = Some(what.clone());
            super::tell(outlet, at, what);
        }
    };
    let jitter = jitter::from_entropy();
    watch::run(source, apply, |_| {}, || clock.now(), || jitter()).await;
}

fn pods(known: &BTreeMap<Key, Pod>) -> What {
    What::Pods(known.values().map(PodSeen::from).collect())
}

fn route(known: &BTreeMap<Key, Slice>) -> What {
    let endpoint = known.values().find_map(|slice| slice.endpoints.first());
    let route = endpoint.and_then(|endpoint| {
        let pod = endpoint.target_ref.as_ref()?;
        Some(Route::To {
            pod: Arc::clone(&pod.name),
            uid: pod.uid.clone(),
            ip: endpoint.addresses.first().map(|ip| Arc::from(&**ip))?,
        })
    });
    let none = if known.is_empty() {
        Route::Absent
    } else {
        Route::Empty
    };
    What::Route(route.unwrap_or(none))
}

fn leader_service(known: &BTreeMap<Key, Service>) -> What {
    let service = known.values().next().map(|service| {
        let address = service.spec.cluster_ips.first();
        let address = address.map_or_else(|| "no address".into(), Arc::clone);
        (Arc::clone(&service.metadata.name), address)
    });
    What::LeaderService(service)
}

/// Tells of every Event on the source, and again when its count goes up.
async fn events(source: Source, clock: &Clock, outlet: &Outlet) {
    let mut counts: BTreeMap<Uid, u64> = BTreeMap::new();
    let apply = move |change, at| {
        let Change::<Event>::Upsert(event) = change else {
            return;
        };
        let count = event.count.unwrap_or(1);
        let before = counts.insert(event.metadata.uid.clone(), count);
        if event.involved_object.name == APP && before.is_none_or(|before| before < count) {
            super::tell(outlet, at, What::Told(event.into()));
        }
    };
    let jitter = jitter::from_entropy();
    watch::run(source, apply, |_| {}, || clock.now(), || jitter()).await;
}

/// The part of an Event that is shown.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Event {
    metadata: Meta,
    involved_object: InvolvedObject,
    #[serde(rename = "type")]
    kind: String,
    reason: String,
    message: String,
    count: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct InvolvedObject {
    name: String,
}

impl From<Event> for Told {
    fn from(event: Event) -> Self {
        Self {
            is_warning: event.kind == "Warning",
            reason: event.reason,
            message: event.message,
        }
    }
}

impl Object for Event {
    const RESOURCE: &'static str = "events";
    const API: &'static str = "/api/v1";

    fn key(&self) -> Key {
        self.metadata.key()
    }
    fn uid(&self) -> &Uid {
        &self.metadata.uid
    }
    fn version(&self) -> &Version {
        &self.metadata.resource_version
    }
}
