//! A client that watches all slices and Services, and notes when it receives what.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use tokio::sync::Notify;
use zen_lead::logic::model::{Key, Object, Service, Slice};
use zen_lead::logic::reflect::Change;
use zen_lead::shell::api::Scope;
use zen_lead::shell::clock::Clock;
use zen_lead::shell::watch::{self, Selectors, Source, WatchOptions};

use crate::api::Api;

/// All that is known, with the moment at which it arrived.
#[derive(Default)]
pub struct Seen {
    /// By namespace and name.
    pub slices: HashMap<Key, (Instant, Slice)>,
    /// By namespace and name.
    pub services: HashMap<Key, (Instant, Service)>,
}

/// The watching client.
#[derive(Default)]
pub struct Observer {
    seen: Mutex<Seen>,
    news: Notify,
}

impl Observer {
    /// Watches with two connections of its own, for as long as the process lives.
    pub fn start(slices: &Api, services: &Api) -> Arc<Self> {
        let observer = Arc::new(Self::default());
        let of_slices = Arc::clone(&observer);
        let on_slice = move |change| {
            of_slices.note(change, |seen: &mut Seen| &mut seen.slices);
        };
        let of_services = Arc::clone(&observer);
        let on_service = move |change| {
            of_services.note(change, |seen: &mut Seen| &mut seen.services);
        };
        tokio::spawn(follow::<Slice>(slices.clone(), on_slice));
        tokio::spawn(follow::<Service>(services.clone(), on_service));
        observer
    }

    fn note<T: Object>(
        &self,
        change: Change<T>,
        map: impl Fn(&mut Seen) -> &mut HashMap<Key, (Instant, T)>,
    ) {
        let at = Instant::now();
        match change {
            Change::Upsert(object) => {
                let key = object.key();
                map(&mut self.seen.lock()).insert(key, (at, object));
            }
            Change::Delete(gone) => {
                map(&mut self.seen.lock()).remove(&gone.key);
            }
            Change::Retain { .. } | Change::Restored | Change::Progress(_) | Change::Skipped(_) => {
                return;
            }
        }
        self.news.notify_one();
    }

    /// Looks at what is known.
    pub fn look<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock())
    }

    /// Waits until `probe` finds what it looks for. One waits at a time.
    pub async fn wait<T>(
        &self,
        what: &str,
        within: Duration,
        probe: impl Fn(&Seen) -> Option<T>,
    ) -> Result<T> {
        let found = async {
            loop {
                if let Some(found) = self.look(&probe) {
                    return found;
                }
                self.news.notified().await;
            }
        };
        let waited = tokio::time::timeout(within, found).await;
        waited.with_context(|| format!("{what}: not within {within:?}"))
    }
}

async fn follow<T: Object>(api: Api, mut on: impl FnMut(Change<T>) + Send + 'static) {
    let source = Source {
        client: api.0,
        scope: Scope::All,
        selectors: Selectors::default(),
        options: WatchOptions::default(),
    };
    let clock = Clock::system();
    let apply = move |change, _| on(change);
    watch::run(source, apply, |_| {}, move || clock.now(), || 0.5).await;
}
