//! The floor: a process that sends a bare PATCH the moment it sees a pod's event, and does nothing
//! else. It runs as a child, as the controller does.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::sync::Semaphore;
use zen_lead::logic::model::{Key, Pod};
use zen_lead::logic::reflect::Change;
use zen_lead::shell::api::Scope;
use zen_lead::shell::clock::Clock;
use zen_lead::shell::watch::{self, Selectors, Source, WatchOptions};

use crate::api::{Api, SLICES, path};
use crate::cluster::{FLOOR, leader_service};

/// As many as the controller has.
const IN_FLIGHT: usize = 64;

/// Runs until it is killed.
pub fn run(kubeconfig: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let watching = Api::connect(kubeconfig).await?;
        let writing = Api::connect(kubeconfig).await?;
        let slots = Arc::new(Semaphore::new(IN_FLIGHT));
        let mut number = 0_u16;
        let mut listed = false;
        // Pods whose loss has been answered. A deleted pod shows up twice: first it terminates, then it is gone.
        let mut answered = HashSet::new();
        let react = move |change: Change<Pod>, _| {
            let lost: Key = match change {
                Change::Upsert(pod) if !pod.ready || pod.terminating => {
                    let is_new = answered.insert(pod.key());
                    if !is_new || !listed || pod.ips.of(V4).is_none() {
                        return;
                    }
                    pod.key()
                }
                Change::Upsert(pod) => {
                    answered.remove(&pod.key());
                    return;
                }
                Change::Delete(gone) if !answered.remove(&gone.key) => gone.key,
                Change::Retain { .. } => {
                    listed = true;
                    return;
                }
                _ => return,
            };
            number = number.wrapping_add(1);
            let (api, slots) = (writing.clone(), Arc::clone(&slots));
            tokio::spawn(move_slice(api, slots, lost, number));
        };
        let source = Source {
            client: watching.0,
            scope: Scope::Namespace(FLOOR.into()),
            selectors: Selectors::default(),
            options: WatchOptions {
                list_timeout: Duration::from_secs(30),
                ..WatchOptions::default()
            },
        };
        let clock = Clock::system();
        watch::run(source, react, |_| {}, move || clock.now(), || 0.5).await;
        Ok(())
    })
}

const V4: zen_lead::logic::model::Family = zen_lead::logic::model::Family::IPv4;

async fn move_slice(api: Api, slots: Arc<Semaphore>, lost: Key, number: u16) {
    let _slot = slots.acquire().await;
    let (app, _) = lost.name.rsplit_once('-').unwrap_or_default();
    let [c, d] = number.to_be_bytes();
    let operations = json!([{
        "op": "replace", "path": "/endpoints",
        "value": [{"addresses": [format!("10.99.{c}.{d}")]}],
    }]);
    let slice = path(SLICES, &lost.namespace, &leader_service(app));
    if let Err(why) = api.call("PATCH", &slice, &operations).await {
        eprintln!("the floor: {why:#}");
    }
}
