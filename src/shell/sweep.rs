//! Looks for slices that others attached to leader Services: each is a second endpoint. Our watch
//! does not show them, since it asks for our label only. Changes nothing itself.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use kube_client::Client;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::api::{self, Scope};
use super::clock::HEARTBEAT;
use crate::logic::contract::{MANAGER, SERVICE_NAME, SLICE_MANAGED_BY, SOURCE_SERVICE};
use crate::logic::model::{Key, Slice};

/// Between two looks at everything.
const INTERVAL: Duration = Duration::from_mins(10);
/// After a look that failed.
const RETRY: Duration = Duration::from_secs(10);
/// After a look, before the next one: while many Services are made, one look at everything a second
/// does, and leaves the server to those who make them.
const PAUSE: Duration = Duration::from_secs(1);
/// A targeted list each up to this many Services; one look at everything is cheaper beyond.
const TARGETED_MAX: usize = 64;
/// So often a replica that stands by asks itself whether it still does.
const STANDBY: Duration = Duration::from_secs(1);
/// For one page of a list.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that wait to be looked at; more of them mean one look at everything.
pub const ASKED_MAX: usize = 1_024;

/// What a look needs to know and to tell.
pub struct Sweep<K, L, R> {
    /// The connection.
    pub client: Client,
    /// What is watched.
    pub scopes: Vec<Scope>,
    /// Leader Services to which strangers were attached at the last look.
    pub known: K,
    /// Whether a Service is a leader Service.
    pub is_leader: L,
    /// Whether this replica writes. One that stands by does not look, and looks at everything when
    /// it takes over.
    pub is_active: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Told for a leader Service which slices without our labels are attached to it now.
    pub report: R,
}

#[derive(Deserialize)]
struct Page {
    metadata: PageMeta,
    #[serde(default)]
    items: Option<Vec<Slice>>,
}

#[derive(Deserialize)]
struct PageMeta {
    #[serde(default, rename = "continue")]
    token: Option<String>,
}

impl<K, L, R> Sweep<K, L, R>
where
    K: Fn() -> Vec<Key>,
    L: Fn(&Key) -> bool,
    R: Fn(&Key, Vec<Slice>),
{
    /// Looks at everything now and every ten minutes, and at single Services when asked.
    pub async fn run(self, mut asked: mpsc::Receiver<Key>, alive: impl Fn()) -> Infallible {
        let mut everything_at = Instant::now();
        let mut pending: BTreeSet<Key> = BTreeSet::new();
        let mut not_before = Instant::now();
        loop {
            alive();
            while let Ok(key) = asked.try_recv() {
                pending.insert(key);
            }
            let now = Instant::now();
            if !(self.is_active)() {
                pending.clear();
                everything_at = now;
                tokio::time::sleep(STANDBY).await;
                continue;
            }
            if now < not_before || (pending.is_empty() && now < everything_at) {
                let wake = if pending.is_empty() {
                    everything_at.max(not_before)
                } else {
                    not_before
                };
                tokio::select! {
                    biased;
                    key = asked.recv(), if now >= not_before => pending.extend(key),
                    () = tokio::time::sleep_until(wake.min(now + HEARTBEAT)) => {}
                }
                continue;
            }
            let looked = if now >= everything_at || pending.len() > TARGETED_MAX {
                self.look_at_everything().await.map(|()| {
                    everything_at = Instant::now() + INTERVAL;
                    pending.clear();
                })
            } else {
                self.look_at(&mut pending).await
            };
            let pause = match looked {
                Ok(()) => PAUSE,
                Err(why) => {
                    tracing::warn!(%why, "could not look for foreign EndpointSlices; trying again");
                    RETRY
                }
            };
            not_before = Instant::now() + pause;
        }
    }

    async fn look_at(&self, pending: &mut BTreeSet<Key>) -> Result<(), String> {
        while let Some(service) = pending.first().cloned() {
            let selector = format!("{SERVICE_NAME}={}", service.name);
            let slices = self
                .list(&Scope::Namespace(Arc::clone(&service.namespace)), &selector)
                .await?;
            let others = slices.into_iter().filter(|slice| !bears_our_labels(slice));
            (self.report)(&service, others.collect());
            pending.remove(&service);
        }
        Ok(())
    }

    async fn look_at_everything(&self) -> Result<(), String> {
        let mut found: BTreeMap<Key, Vec<Slice>> = (self.known)()
            .into_iter()
            .map(|service| (service, Vec::new()))
            .collect();
        let selector = format!("{SERVICE_NAME},{SLICE_MANAGED_BY}!={MANAGER}");
        for scope in &self.scopes {
            for slice in self.list(scope, &selector).await? {
                let Some(name) = slice.metadata.labels.shared(SERVICE_NAME) else {
                    continue;
                };
                let service = Key {
                    namespace: Arc::clone(&slice.metadata.namespace),
                    name: Arc::clone(name),
                };
                if (self.is_leader)(&service) {
                    found.entry(service).or_default().push(slice);
                }
            }
        }
        for (service, slices) in found {
            (self.report)(&service, slices);
        }
        Ok(())
    }

    async fn list(&self, scope: &Scope, selector: &str) -> Result<Vec<Slice>, String> {
        let namespace = scope.namespace();
        let mut slices = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut query = vec![("labelSelector", selector), ("limit", "500")];
            query.extend(token.as_deref().map(|token| ("continue", token)));
            let uri = api::with_query(api::path::<Slice>(namespace, None), &query);
            let answer = api::unary(&self.client, api::get(uri), TIMEOUT)
                .await
                .map_err(|why| why.to_string())?;
            if !answer.status.is_success() {
                return Err(answer.to_status().to_string());
            }
            let page: Page = serde_json::from_slice(&answer.body).map_err(|why| why.to_string())?;
            slices.extend(page.items.unwrap_or_default());
            token = page.metadata.token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(slices);
            }
        }
    }
}

/// Ours are judged by the watch; this look is for the rest.
fn bears_our_labels(slice: &Slice) -> bool {
    let labels = &slice.metadata.labels;
    labels.get(SLICE_MANAGED_BY) == Some(MANAGER) && labels.get(SOURCE_SERVICE).is_some()
}
