//! Where news come from: the watches, that of the Lease among them, and the look for foreign slices.

use std::sync::Arc;
use std::time::Duration;

use kube_client::Client;
use tokio::sync::mpsc;

use super::task_set::TaskSet;
use super::{Controller, FirstSync};
use crate::logic::fsm::Cause;
use crate::logic::model::{Key, Lease, Object, Pod, Service, Slice, Uid};
use crate::logic::reflect::{Change, Failure, FailureClass, RestartReason, Unreadable};
use crate::logic::snapshot::{ForeignSlice, Role};
use crate::logic::time::{Moment, Now};
use crate::logic::well_known::{MANAGER, SERVICE_NAME, SLICE_MANAGED_BY, SOURCE_SERVICE};
use crate::shell::api::{LIVE_PODS, Scope};
use crate::shell::foreign_slices::ForeignSliceScanner;
use crate::shell::watch::{self, Selectors, WatchNote, WatchOptions};
use crate::store::{Fact, Origin};

impl Controller {
    pub(super) fn watch_services(&self, parts: &mut TaskSet, scope: &Scope, sync: &Arc<FirstSync>) {
        let (scans, reconciler) = (self.scans.clone(), Arc::clone(&self.reconciler));
        let clock = self.around.clock.clone();
        let mut take = self.intake::<Service>(scope, sync);
        self.watch(parts, scope, Selectors::default(), move |change, at| {
            if let Change::Upsert(service) = &change {
                scans.consider(service);
            }
            let touched = take(change, clock.now());
            reconciler.reconcile_all(touched, at.into());
        });
    }

    pub(super) fn watch_slices(&self, parts: &mut TaskSet, scope: &Scope, sync: &Arc<FirstSync>) {
        let (store, reconciler) = (Arc::clone(&self.store), Arc::clone(&self.reconciler));
        let (scans, clock) = (self.scans.clone(), self.around.clock.clone());
        let mut take = self.intake::<Slice>(scope, sync);
        let label = Some(SOURCE_SERVICE.to_owned());
        let selectors = Selectors { label, field: None };
        self.watch(parts, scope, selectors, move |change, at| {
            let lost = match &change {
                Change::Delete(gone) => store.slice(&gone.key),
                _ => None,
            };
            let is_list = matches!(change, Change::Retain { .. });
            let touched = take(change, clock.now());
            // Another client did this, else its end would be known. Perhaps that client only removed the
            // label, and the slice still exists where we cannot see it.
            if let Some(slice) = lost.filter(|slice| store.slice(&slice.metadata.key()).is_none())
                && let Some(name) = slice.metadata.labels.shared(SERVICE_NAME)
            {
                scans.ask(slice.metadata.key().sibling(Arc::clone(name)));
            }
            for source in touched.iter().filter(|_| is_list) {
                let snapshot = store.snapshot(source);
                for role in [Role::Leader, Role::Followers] {
                    for service in snapshot.own(role).services() {
                        scans.ask(service.metadata.key());
                    }
                }
            }
            reconciler.reconcile_all(touched, at.into());
        });
    }

    pub(super) fn watch_pods(&self, parts: &mut TaskSet, scope: &Scope, sync: &Arc<FirstSync>) {
        let (reconciler, clock) = (Arc::clone(&self.reconciler), self.around.clock.clone());
        let mut take = self.intake::<Pod>(scope, sync);
        let field = Some(LIVE_PODS.to_owned());
        let selectors = Selectors { label: None, field };
        self.watch(parts, scope, selectors, move |change, at| {
            let now = Now {
                moment: at,
                ..clock.now()
            };
            let changed = match &change {
                Change::Upsert(pod) => when_changed(pod, now),
                _ => now.wall,
            };
            let cause = Cause {
                at,
                pod_changed: Some(changed),
            };
            reconciler.reconcile_all(take(change, now), cause);
        });
    }

    /// Takes a change into the store and returns the sources that it concerns. The first complete list is
    /// one of those that the first sync waits for.
    fn intake<T: Fact>(
        &self,
        scope: &Scope,
        sync: &Arc<FirstSync>,
    ) -> impl FnMut(Change<T>, Now) -> Vec<Key> + Send + 'static + use<T> {
        let store = Arc::clone(&self.store);
        let within = scope.namespace().map(Arc::<str>::from);
        let mut synced = sync.once();
        move |change, now| {
            if let Change::Skipped(unreadable) = &change {
                skipped::<T>(unreadable);
            }
            let is_list = matches!(change, Change::Retain { .. });
            let touched = store.apply(change, within.as_deref(), now);
            if is_list {
                synced();
            }
            touched
        }
    }

    /// Every replica watches the Lease: a released one is taken at once. The first sync does not wait
    /// for it.
    pub(super) fn watch_lease(&self, parts: &mut TaskSet) {
        let elector = self.elector.clone();
        let key = self.lease.clone();
        let scope = Scope::Namespace(Arc::clone(&key.namespace));
        let selectors = Selectors {
            label: None,
            // With it, a right to this one object is enough.
            field: Some(format!("metadata.name={}", key.name)),
        };
        let apply = move |change: Change<Lease>, _: Moment| match change {
            Change::Upsert(lease) if lease.key() == key => elector.seen(lease),
            Change::Delete(gone) if gone.key == key => elector.gone(gone.version),
            Change::Retain { keys, version } if !keys.contains(&key) => elector.gone(version),
            Change::Restored => elector.restored(),
            Change::Upsert(_) | Change::Delete(_) | Change::Retain { .. } | Change::Progress(_) => {
            }
            Change::Skipped(unreadable) => skipped::<Lease>(&unreadable),
        };
        self.watch_by(&self.clients.lease, parts, &scope, selectors, apply);
    }

    pub(super) fn watch<T: Object>(
        &self,
        parts: &mut TaskSet,
        scope: &Scope,
        selectors: Selectors,
        apply: impl FnMut(Change<T>, Moment) + Send + 'static,
    ) {
        self.watch_by(&self.clients.watch, parts, scope, selectors, apply);
    }

    fn watch_by<T: Object>(
        &self,
        client: &Client,
        parts: &mut TaskSet,
        scope: &Scope,
        selectors: Selectors,
        apply: impl FnMut(Change<T>, Moment) + Send + 'static,
    ) {
        let source = watch::Source {
            client: client.clone(),
            scope: scope.clone(),
            selectors,
            options: WatchOptions {
                list_timeout: self.config.list_timeout,
                encoding: self.config.watch_encoding,
                departures: self.writer.departures().clone(),
                ..WatchOptions::default()
            },
        };
        let observe = self.observer(T::RESOURCE, scope.namespace());
        let clock = self.around.clock.clone();
        let jitter = Arc::clone(&self.around.jitter);
        parts.spawn("watch", async move {
            watch::run(
                source,
                apply,
                observe,
                move || clock.now(),
                move || jitter(),
            )
            .await;
        });
    }

    /// Counts and logs what comes of a watch.
    fn observer(
        &self,
        resource: &'static str,
        namespace: Option<&str>,
    ) -> impl FnMut(WatchNote<'_>) + Send + 'static + use<> {
        let metrics = Arc::clone(&self.metrics);
        let stats = metrics.watch(resource);
        let alive = self.alive(&format!(
            "watch of {resource} ({})",
            namespace.unwrap_or("all namespaces")
        ));
        let namespace = namespace.unwrap_or_default().to_owned();
        let mut trouble = None;
        move |note: WatchNote<'_>| {
            alive();
            match note {
                WatchNote::Alive => {}
                WatchNote::Opened => {
                    if trouble.take().is_some() {
                        tracing::info!(resource, "watching again");
                    }
                }
                WatchNote::Received(at) => stats.seen(at),
                WatchNote::Listed { took } => metrics.listed(&namespace, took),
                WatchNote::ListTimedOut => metrics.timed_out(&namespace, "cache_update"),
                WatchNote::Restarted(reason) => {
                    stats.restarted(reason.as_str());
                    if reason == RestartReason::Restored {
                        tracing::warn!(
                            resource,
                            "the API server has gone back to an earlier version, as after a restore of etcd from a backup; everything is listed again"
                        );
                    }
                }
                WatchNote::Failed { failure, retry_in } => {
                    // Said once per kind of trouble, not per attempt.
                    if trouble.replace(failure.class()) != Some(failure.class()) {
                        say_failed(resource, failure, retry_in);
                    }
                }
                WatchNote::StreamingRefused(failure) => {
                    tracing::info!(resource, %failure, "no streaming lists here; listing page by page");
                }
            }
        }
    }

    pub(super) fn sweep(&mut self, parts: &mut TaskSet, scopes: Vec<Scope>) {
        let (_, closed) = mpsc::channel(1);
        let asked = std::mem::replace(&mut self.asked, closed);
        let alive = self.alive("sweep");
        let store = Arc::clone(&self.store);
        let (known, leaders) = (Arc::clone(&store), Arc::clone(&store));
        let (reconciler, clock) = (Arc::clone(&self.reconciler), self.around.clock.clone());
        let sweep = ForeignSliceScanner {
            client: self.clients.watch.clone(),
            scopes,
            known: move || known.services_with_strangers(),
            is_leader: move |key: &Key| {
                let marked =
                    |service: Arc<Service>| service.metadata.labels.get(SOURCE_SERVICE).is_some();
                leaders.service(key).is_some_and(marked)
            },
            is_active: self.is_active(),
            report: move |service: &Key, slices: Vec<Slice>| {
                // A slice that the leader Service controls is ours, and another client removed its
                // labels: a fact like those of the watch.
                let uid = store
                    .service(service)
                    .map(|service| service.metadata.uid.clone());
                let (ours, others): (Vec<_>, Vec<_>) = slices
                    .into_iter()
                    .partition(|slice| is_stripped(slice, uid.as_ref()));
                let foreign_slices = others
                    .iter()
                    .map(|slice| ForeignSlice::of(Arc::clone(&service.name), slice));
                let mut touched = store.put_strangers(service, foreign_slices.collect());
                for slice in ours {
                    touched.extend(store.put_slice(slice, Origin::Answer));
                }
                reconciler.reconcile_all(touched, clock.moment().into());
            },
        };
        let (reconciler, is_active) = (Arc::clone(&self.reconciler), self.is_active());
        parts.spawn("sweep", async move {
            // Before the first sync it is unknown which Services are leader Services.
            while !(reconciler.is_open() && is_active()) {
                alive();
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            sweep.run(asked, alive).await;
        });
    }
}

/// Whether a slice is controlled by that Service, and no one else says to manage it.
fn is_stripped(slice: &Slice, service: Option<&Uid>) -> bool {
    let manager = slice.metadata.labels.get(SLICE_MANAGED_BY);
    let owner = slice.metadata.controller().map(|owner| &owner.uid);
    owner.is_some() && owner == service && matches!(manager, None | Some(MANAGER))
}

/// When a pod changed: its readiness says so itself, anything else happened just now.
fn when_changed(pod: &Pod, now: Now) -> jiff::Timestamp {
    /// A transition that is older than this is not what made the news.
    const RECENT: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);
    let recent = |at: &jiff::Timestamp| *at <= now.wall && now.wall.duration_since(*at) < RECENT;
    pod.ready_transition
        .filter(|at| !pod.terminating && recent(at))
        .unwrap_or(now.wall)
}

pub(super) fn say_failed(resource: &'static str, failure: &Failure, retry_in: Duration) {
    if !retry_in.is_zero() {
        tracing::warn!(resource, %failure, ?retry_in, "cannot watch; trying again");
    } else if failure.class() == FailureClass::Gone {
        tracing::info!(resource, %failure, "the history is gone; listing again");
    } else {
        tracing::warn!(resource, %failure, "the watch broke off; trying again at once");
    }
}

pub(super) fn skipped<T: Object>(unreadable: &Unreadable) {
    let key = unreadable.key.as_ref().map(ToString::to_string);
    tracing::warn!(resource = T::RESOURCE, object = key, why = %unreadable.reason, "an object does not parse; it is left out");
}
