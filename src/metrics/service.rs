//! The figures of one Service and of one namespace: plain atomics, read when a scrape comes.

use std::collections::BTreeMap;
use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed,
};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use super::histogram::{API_CALL, FAILOVER, Histogram, RECONCILIATION};
use super::label::{ATTEMPTS, Outcome};
use crate::logic::follow;
use crate::logic::names::{Reason, State, Verb};
use crate::logic::time::{Moment, Now};

/// Ports whose failures are told apart per Service; more go under an empty name.
const PORTS_MAX: usize = 32;

/// What a decision left behind. Setting it is a few relaxed stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// State of the machine. `Unmanaged` shows no other gauge: there is nothing to measure.
    pub state: State,
    /// Pods that could lead now.
    pub pods_available: u32,
    /// The leader that is published, if any is.
    pub leader: Option<LeaderFigures>,
    /// Whether the leader Service exists.
    pub leader_service: bool,
    /// Slices of ours that exist.
    pub slices: u32,
    /// Whether the leader is kept because the budget for failovers is used up.
    pub guarded: bool,
    /// Pods that the followers Service shows, if there is to be one.
    pub followers: Option<u32>,
    /// What the application says of its leader, if it decides.
    pub follow: Option<follow::State>,
}

/// The leader, as far as metrics are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderFigures {
    /// When it became leader.
    pub since: Moment,
    /// When its pod was created.
    pub created: jiff::Timestamp,
    /// Whether it is Ready.
    pub ready: bool,
}

/// No index of [`follow::State::ALL`].
const NOT_FOLLOWING: u8 = u8::MAX;

/// No leader, in the two fields of a leader's times.
const NONE: i64 = i64::MIN;
/// No followers Service, in the place of their number.
const NO_FOLLOWERS: u32 = u32::MAX;

/// The figures of one Service. Every method is a few atomic operations; what rarely happens
/// (a retry, an error, the first observation of a histogram) may take a short lock or allocate.
///
/// After its Service is forgotten, updates through a handle that still exists have no effect.
#[derive(Debug)]
pub struct ServiceStats {
    pub(super) space: Arc<NamespaceStats>,
    /// Whether histograms go to the namespace instead.
    collapsed: Arc<AtomicBool>,

    state: AtomicU8,
    pub(super) pods_available: AtomicU32,
    leader_since: AtomicI64,
    leader_created: AtomicI64,
    leader_ready: AtomicBool,
    pub(super) leader_service: AtomicBool,
    pub(super) slices: AtomicU32,
    pub(super) foreign_slices: AtomicU32,
    pub(super) guarded: AtomicBool,
    followers: AtomicU32,
    follow: AtomicU8,

    pub(super) failovers: [AtomicU64; Reason::ALL.len()],
    pub(super) failovers_held: AtomicU64,
    pub(super) reconciliations: [AtomicU64; 2],
    pub(super) sticky_hits: AtomicU64,
    pub(super) sticky_misses: AtomicU64,
    pub(super) selections: AtomicU64,
    pub(super) write_errors: AtomicU64,

    pub(super) histograms: OnceLock<Box<Histograms>>,
    pub(super) retries: OnceLock<Box<Retries>>,
    /// By `error_type`. Locked for one increment, never across an await.
    pub(super) errors: Mutex<Vec<(&'static str, u64)>>,
    /// By `port_name`. Locked for one increment, never across an await.
    pub(super) ports: Mutex<Vec<(Box<str>, u64)>>,
}

impl ServiceStats {
    pub(super) fn new(space: Arc<NamespaceStats>, collapsed: Arc<AtomicBool>) -> Self {
        Self {
            space,
            collapsed,
            state: AtomicU8::new(State::Unmanaged as u8),
            pods_available: AtomicU32::default(),
            leader_since: AtomicI64::new(NONE),
            leader_created: AtomicI64::new(NONE),
            leader_ready: AtomicBool::default(),
            leader_service: AtomicBool::default(),
            slices: AtomicU32::default(),
            foreign_slices: AtomicU32::default(),
            guarded: AtomicBool::default(),
            followers: AtomicU32::new(NO_FOLLOWERS),
            follow: AtomicU8::new(NOT_FOLLOWING),
            failovers: Default::default(),
            failovers_held: AtomicU64::default(),
            reconciliations: Default::default(),
            sticky_hits: AtomicU64::default(),
            sticky_misses: AtomicU64::default(),
            selections: AtomicU64::default(),
            write_errors: AtomicU64::default(),
            histograms: OnceLock::new(),
            retries: OnceLock::new(),
            errors: Mutex::default(),
            ports: Mutex::default(),
        }
    }

    /// A decision was made; this is how things stand after it.
    pub fn decided(&self, figures: &Figures) {
        self.state.store(figures.state as u8, Relaxed);
        self.pods_available.store(figures.pods_available, Relaxed);
        let (since, created, ready) = match figures.leader {
            Some(leader) => (
                leader.since.0,
                leader.created.as_microsecond(),
                leader.ready,
            ),
            None => (NONE, NONE, false),
        };
        self.leader_since.store(since, Relaxed);
        self.leader_created.store(created, Relaxed);
        self.leader_ready.store(ready, Relaxed);
        self.leader_service.store(figures.leader_service, Relaxed);
        self.slices.store(figures.slices, Relaxed);
        if figures.guarded && !self.guarded.swap(figures.guarded, Relaxed) {
            self.failovers_held.fetch_add(1, Relaxed);
        }
        self.guarded.store(figures.guarded, Relaxed);
        let followers = figures.followers.unwrap_or(NO_FOLLOWERS);
        self.followers.store(followers, Relaxed);
        let follow = figures.follow.map_or(NOT_FOLLOWING, |state| state as u8);
        self.follow.store(follow, Relaxed);
    }

    /// A reconciliation came to its end.
    pub fn reconciled(&self, outcome: Outcome, took: Duration) {
        self.reconciliations[outcome as usize].fetch_add(1, Relaxed);
        self.histograms().reconciliations[outcome as usize].observe(took);
    }

    /// The leader changed; `latency` runs from the watch frame's receipt to the API server's
    /// acknowledgement.
    pub fn failed_over(&self, reason: Reason, latency: Duration) {
        self.failovers[reason as usize].fetch_add(1, Relaxed);
        self.histograms().failovers[reason as usize].observe(latency);
    }

    /// A request was answered, or failed for good.
    pub fn api_call(&self, operation: Verb, outcome: Outcome, took: Duration) {
        self.histograms().api_calls[operation as usize][outcome as usize].observe(took);
    }

    /// The attempt of this number, counted from 1, failed and will be repeated.
    pub fn retried(&self, operation: Verb, attempt: u32) {
        let at = (attempt.max(1) as usize).min(ATTEMPTS.len()) - 1;
        self.retries().attempts[operation as usize][at].fetch_add(1, Relaxed);
    }

    /// A request succeeded after at least one retry.
    pub fn succeeded_after_retry(&self, operation: Verb) {
        self.retries().successes[operation as usize].fetch_add(1, Relaxed);
    }

    /// An `EndpointSlice` could not be written.
    pub fn slice_write_failed(&self) {
        self.write_errors.fetch_add(1, Relaxed);
    }

    /// A leader had to be chosen.
    pub fn selected(&self) {
        self.selections.fetch_add(1, Relaxed);
    }

    /// The sticky leader stayed.
    pub fn sticky_hit(&self) {
        self.sticky_hits.fetch_add(1, Relaxed);
    }

    /// The sticky leader could not stay.
    pub fn sticky_missed(&self) {
        self.sticky_misses.fetch_add(1, Relaxed);
    }

    /// A step needed no request of its own to know what is the case.
    pub fn cache_hit(&self) {
        self.space.cache_hits.fetch_add(1, Relaxed);
    }

    /// A step needed a GET.
    pub fn cache_missed(&self) {
        self.space.cache_misses.fetch_add(1, Relaxed);
    }

    /// Something about this Service went wrong: a short constant such as `writeRefused`.
    pub fn failed(&self, error_type: &'static str) {
        let mut errors = self.errors.lock();
        match errors.iter_mut().find(|(known, _)| *known == error_type) {
            Some((_, count)) => *count += 1,
            None => errors.push((error_type, 1)),
        }
    }

    /// A pod does not resolve this port of the Service.
    pub fn port_unresolved(&self, port_name: &str) {
        let mut ports = self.ports.lock();
        let known = ports.iter().position(|(known, _)| **known == *port_name);
        if let Some(at) = known {
            ports[at].1 += 1;
        } else if ports.len() < PORTS_MAX {
            ports.push((port_name.into(), 1));
        } else if let Some((_, count)) = ports.iter_mut().find(|(known, _)| known.is_empty()) {
            *count += 1;
        } else {
            ports.push(("".into(), 1));
        }
    }

    /// So many slices that others made hang on our leader Service.
    pub fn foreign_slices(&self, count: u32) {
        self.foreign_slices.store(count, Relaxed);
    }

    /// State of the machine at the last decision.
    #[must_use]
    pub fn state(&self) -> State {
        State::ALL[usize::from(self.state.load(Relaxed))]
    }

    /// What the application says of its leader, if it decides.
    pub(super) fn follow(&self) -> Option<follow::State> {
        let at = usize::from(self.follow.load(Relaxed));
        follow::State::ALL.get(at).copied()
    }

    pub(super) fn is_managed(&self) -> bool {
        self.state() != State::Unmanaged
    }

    /// Seconds since the leader became it; 0 without one.
    pub(super) fn leader_duration(&self, now: Now) -> f64 {
        match self.leader_since.load(Relaxed) {
            NONE => 0.0,
            since => now.moment.since(Moment(since)).as_secs_f64(),
        }
    }

    /// Seconds since the leader's pod was created; 0 without one.
    pub(super) fn leader_pod_age(&self, now: Now) -> f64 {
        match self.leader_created.load(Relaxed) {
            NONE => 0.0,
            created => {
                let micros = now.wall.as_microsecond().saturating_sub(created);
                Duration::from_micros(u64::try_from(micros).unwrap_or(0)).as_secs_f64()
            }
        }
    }

    pub(super) fn is_stable(&self) -> bool {
        self.leader_ready.load(Relaxed)
    }

    pub(super) fn has_no_endpoints(&self) -> bool {
        self.leader_service.load(Relaxed) && self.leader_since.load(Relaxed) == NONE
    }

    pub(super) fn followers(&self) -> Option<u32> {
        let followers = self.followers.load(Relaxed);
        (followers != NO_FOLLOWERS).then_some(followers)
    }

    fn histograms(&self) -> &Histograms {
        let own = !self.collapsed.load(Relaxed);
        let histograms = if own {
            &self.histograms
        } else {
            &self.space.histograms
        };
        histograms.get_or_init(Box::default)
    }

    fn retries(&self) -> &Retries {
        self.retries.get_or_init(Box::default)
    }
}

/// What is common to the Services of a namespace.
#[derive(Debug, Default)]
pub(super) struct NamespaceStats {
    /// Services registered in it. Changed under the registry's lock only.
    pub(super) services: AtomicUsize,
    pub(super) cache_hits: AtomicU64,
    pub(super) cache_misses: AtomicU64,
    /// Of all its Services together, once there are too many for histograms of their own.
    pub(super) histograms: OnceLock<Box<Histograms>>,
    /// By operation. Locked for one increment, never across an await.
    pub(super) timeouts: Mutex<BTreeMap<&'static str, u64>>,
}

/// The histograms of one Service, or of a namespace.
#[derive(Debug)]
pub(super) struct Histograms {
    pub(super) reconciliations: [Histogram; 2],
    pub(super) failovers: [Histogram; Reason::ALL.len()],
    pub(super) api_calls: [[Histogram; 2]; Verb::ALL.len()],
}

impl Default for Histograms {
    fn default() -> Self {
        use std::array::from_fn;
        Self {
            reconciliations: from_fn(|_| Histogram::new(&RECONCILIATION)),
            failovers: from_fn(|_| Histogram::new(&FAILOVER)),
            api_calls: from_fn(|_| from_fn(|_| Histogram::new(&API_CALL))),
        }
    }
}

/// Retries of one Service.
#[derive(Debug, Default)]
pub(super) struct Retries {
    pub(super) attempts: [[AtomicU64; ATTEMPTS.len()]; Verb::ALL.len()],
    pub(super) successes: [AtomicU64; Verb::ALL.len()],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_names_are_bounded() {
        let stats = ServiceStats::new(Arc::default(), Arc::default());
        for i in 0..100 {
            stats.port_unresolved(&format!("p{i}"));
            stats.port_unresolved("p0");
        }
        let ports = stats.ports.lock();
        assert_eq!(ports.len(), PORTS_MAX + 1);
        assert_eq!(ports[0], ("p0".into(), 101));
        assert_eq!(ports[PORTS_MAX], ("".into(), 100 - 32));
    }
}
