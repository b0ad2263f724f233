//! Every metric of the contract (§5), counted in atomics and written out when a scrape comes.
//!
//! Nothing here awaits, and nothing on the way of a failover allocates or takes a lock that a
//! scrape holds for long. The series of a Service are not kept by the library: [`ServiceStats`] are
//! plain atomics, and one collector per family walks over them while it writes. So 10,000 Services
//! cost a few hundred bytes each, and [`Scrape`] yields the text family by family, so that its
//! memory is bounded by the largest family instead of by all of them.
//!
//! Gauges of Services show on the active replica only, as in the Go program: a sum over replicas
//! counts nothing twice. Counters without an increment show as 0 up to
//! `per_service_histograms_max` Services (so that `increase()` sees the first one), above it they
//! are left out.

mod histogram;
mod label;
mod process;
mod service;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::logic::model::Key;
use crate::logic::names::State;
use crate::logic::time::{Moment, Now};
use histogram::{DECISION, Histogram, LIST};
pub use label::Outcome;
use service::NamespaceStats;
pub use service::{Figures, LeaderFigures, ServiceStats};
pub use text::Scrape;

/// The content type of what [`Metrics::encode`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of the process. One exists; shared by reference.
#[derive(Debug)]
pub struct Metrics {
    /// Locked to register, forget or copy the list, never while text is written.
    registered: RwLock<Registered>,
    per_service_histograms_max: usize,
    collapsed: Arc<AtomicBool>,
    active: AtomicBool,
    decisions: Histogram,
    /// By namespace, "" for the cluster. As many as are watched.
    lists: Mutex<BTreeMap<Box<str>, Arc<Histogram>>>,
    /// As many as there are watch loops. Locked to add one and to copy the list.
    watches: Mutex<Vec<Arc<WatchStats>>>,
    /// Where time-outs go that belong to no namespace with Services.
    elsewhere: Arc<NamespaceStats>,
    started: Option<f64>,
}

#[derive(Debug, Default)]
struct Registered {
    services: BTreeMap<Key, Arc<ServiceStats>>,
    namespaces: BTreeMap<Arc<str>, Arc<NamespaceStats>>,
}

impl Metrics {
    /// No Service yet. Above `per_service_histograms_max` Services, histograms are kept per
    /// namespace, with an empty `service`.
    #[must_use]
    pub fn new(per_service_histograms_max: usize) -> Self {
        Self {
            registered: RwLock::default(),
            per_service_histograms_max,
            collapsed: Arc::default(),
            active: AtomicBool::default(),
            decisions: Histogram::new(&DECISION),
            lists: Mutex::default(),
            watches: Mutex::default(),
            elsewhere: Arc::default(),
            started: process::started(),
        }
    }

    /// The figures of a Service that is opted in; made at the first call. To be kept beside its
    /// machine.
    pub fn service(&self, key: &Key) -> Arc<ServiceStats> {
        if let Some(stats) = self.find(key) {
            return stats;
        }
        let mut registered = self.registered.write();
        let Registered {
            services,
            namespaces,
        } = &mut *registered;
        let stats = services.entry(key.clone()).or_insert_with(|| {
            let space = namespaces.entry(Arc::clone(&key.namespace)).or_default();
            space.services.fetch_add(1, Relaxed);
            Arc::new(ServiceStats::new(
                Arc::clone(space),
                Arc::clone(&self.collapsed),
            ))
        });
        let stats = Arc::clone(stats);
        self.weigh(&registered);
        stats
    }

    /// The figures of a Service, if it is registered. What comes late, after [`Self::forget`],
    /// finds nothing and brings no series back.
    #[must_use]
    pub fn find(&self, key: &Key) -> Option<Arc<ServiceStats>> {
        self.registered.read().services.get(key).cloned()
    }

    /// The Service is gone: so are its series.
    pub fn forget(&self, key: &Key) {
        let mut registered = self.registered.write();
        let Some(stats) = registered.services.remove(key) else {
            return;
        };
        if stats.space.services.fetch_sub(1, Relaxed) == 1 {
            registered.namespaces.remove(&key.namespace);
        }
        self.weigh(&registered);
    }

    /// All registered Services and the state of their machines, by key.
    #[must_use]
    pub fn states(&self) -> Vec<(Key, State)> {
        let registered = self.registered.read();
        let entries = registered.services.iter();
        entries
            .map(|(key, stats)| (key.clone(), stats.state()))
            .collect()
    }

    /// This replica began or ceased to hold the Lease.
    pub fn active(&self, active: bool) {
        self.active.store(active, Relaxed);
    }

    /// Whether this replica holds the Lease.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active.load(Relaxed)
    }

    /// From the receipt of a watch frame to the write that it caused being sent.
    pub fn decided_within(&self, latency: Duration) {
        self.decisions.observe(latency);
    }

    /// A list of a namespace ("" for the cluster) came to its end.
    pub fn listed(&self, namespace: &str, took: Duration) {
        let histogram = {
            let mut lists = self.lists.lock();
            let new = || Arc::new(Histogram::new(&LIST));
            Arc::clone(lists.entry(namespace.into()).or_insert_with(new))
        };
        histogram.observe(took);
    }

    /// Something took too long: `cache_update`, `metrics_collection`, `api_call`.
    pub fn timed_out(&self, namespace: &str, operation: &'static str) {
        let space = self.registered.read().namespaces.get(namespace).cloned();
        let space = space.as_ref().unwrap_or(&self.elsewhere);
        *space.timeouts.lock().entry(operation).or_default() += 1;
    }

    /// The figures of one watch loop, to be asked for once by each. `resource` is the plural name.
    pub fn watch(&self, resource: &'static str) -> Arc<WatchStats> {
        let watch = Arc::new(WatchStats::new(resource));
        self.watches.lock().push(Arc::clone(&watch));
        watch
    }

    /// A watch loop has ended. Its restarts stay counted, its lag does not.
    pub fn unwatch(&self, ended: &Arc<WatchStats>) {
        let mut watches = self.watches.lock();
        watches.retain(|watch| !Arc::ptr_eq(watch, ended));
        let mut others = watches.iter();
        if let Some(other) = others.find(|watch| watch.resource == ended.resource) {
            let mut sums = other.restarts.lock();
            for (reason, count) in &*ended.restarts.lock() {
                *sums.entry(reason).or_default() += count;
            }
        }
    }

    /// One scrape, family by family. What it yields, joined, is one `OpenMetrics` text.
    #[must_use]
    pub fn scrape(&self, now: Now) -> Scrape {
        Scrape::new(self, now)
    }

    /// One scrape as a single text.
    #[must_use]
    pub fn encode(&self, now: Now) -> String {
        self.scrape(now).collect()
    }

    fn weigh(&self, registered: &Registered) {
        let collapsed = registered.services.len() > self.per_service_histograms_max;
        self.collapsed.store(collapsed, Relaxed);
    }
}

/// The figures of one watch loop.
#[derive(Debug)]
pub struct WatchStats {
    resource: &'static str,
    /// When the last frame came; nothing before the first.
    seen: AtomicI64,
    /// By reason. Locked for one increment, never across an await.
    restarts: Mutex<BTreeMap<&'static str, u64>>,
}

/// No frame yet.
const NEVER: i64 = i64::MIN;

impl WatchStats {
    fn new(resource: &'static str) -> Self {
        Self {
            resource,
            seen: AtomicI64::new(NEVER),
            restarts: Mutex::default(),
        }
    }

    /// A frame or bookmark arrived.
    pub fn seen(&self, at: Moment) {
        self.seen.store(at.0, Relaxed);
    }

    /// The watch ended and is restarted: a short constant such as `gone`, `closed`, `transport`.
    pub fn restarted(&self, reason: &'static str) {
        *self.restarts.lock().entry(reason).or_default() += 1;
    }

    fn lag(&self, now: Now) -> Option<Duration> {
        match self.seen.load(Relaxed) {
            NEVER => None,
            seen => Some(now.moment.since(Moment(seen))),
        }
    }
}

#[cfg(test)]
mod tests;
