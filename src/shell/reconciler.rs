//! Owns the machines and their deadlines. `reconcile` is synchronous: view, step, plan, and the writes
//! are in the writer's slots before it returns. Sends nothing itself.

mod deadlines;
mod decide;
mod doubt;
mod followed;
mod quota;
mod report;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use dashmap::DashMap;
use foldhash::fast::FixedState;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;

use self::deadlines::{Deadlines, Timer};
use self::decide::ClusterState;
use self::doubt::Sight;
pub use self::doubt::Suspect;
use self::quota::NamespaceQuota;
use self::report::{Trace, measure, show};
use super::clock::{Clock, HEARTBEAT};
use crate::logic::budget::Guard;
use crate::logic::event::Note;
use crate::logic::fsm::{Cause, Machine, Phase};
use crate::logic::heal::{ContestedField, RevertTracker, Throttled};
use crate::logic::mirror::Mirror;
use crate::logic::model::{Key, Service, Version};
use crate::logic::plan::{Refusals, Write};
use crate::logic::rate_limit::TokenBucket;
use crate::logic::time::Moment;
use crate::metrics::{Metrics, Outcome, ServiceStats};
use crate::mutations::{self, Mutation};
use crate::status_page::StatusPage;
use crate::store::Store;

/// So many Services are worked off before other tasks of the thread get their turn.
const TOUCHES_PER_TURN: usize = 256;
/// Fixed, so that nothing depends on the number of cores.
const SHARDS: usize = 16;

/// Where the outcome of a step goes. Implemented by the composition root.
pub trait Effects: Send + Sync {
    /// These, and no others, are the writes that the source wants now.
    fn submit(&self, source: &Key, writes: Vec<Write>, cause: Cause);
    /// Tells users something about the source.
    fn tell(&self, source: &Service, note: Note);
    /// Tells users of a fight over a field, and which client the other one is.
    fn tell_of_fight(&self, source: &Key, fought: ContestedField);
    /// Whether this replica writes. One that stands by decides all the same, follows what the other
    /// one publishes, and submits nothing.
    fn is_active(&self) -> bool {
        true
    }
    /// Asks the server for a pod, and calls [`Reconciler::verified`] once it is answered, or does not answer.
    /// Returns false if it cannot ask.
    fn verify(&self, _source: &Key, _pod: Suspect) -> bool {
        false
    }
    /// Writes that wait or are under way, for `/debug/state`.
    fn waiting(&self, source: &Key) -> Value;
}

/// What the machines go by.
pub struct Settings {
    /// Which labels and annotations are mirrored.
    pub mirror: Mirror,
    /// Opted-in Services served per namespace; `None` unlimited.
    pub services_per_namespace_max: Option<usize>,
    /// How many failovers there may be.
    pub guard: Guard,
    /// The namespaces with Leases that a Service of another namespace may follow.
    pub follow_lease_namespaces: Vec<Arc<str>>,
}

/// All machines.
pub struct Reconciler {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    outlet: Arc<dyn Effects>,
    /// For the status page, if there is one.
    board: Option<Arc<StatusPage>>,
    settings: Settings,
    clock: Clock,
    /// Cleared until every kind has synced: half a picture decides nothing.
    is_open: AtomicBool,
    /// A machine is locked for one step and never across an await.
    cells: DashMap<Key, Arc<Mutex<ServiceState>>, FixedState>,
    /// When to look at which source again. Locked for one insertion or removal.
    deadlines: Mutex<Deadlines>,
    earlier: Notify,
    /// Notified when other Leases are followed than before.
    followed: Arc<Notify>,
    /// Locked for one look-up; never together with `deadlines`.
    rooms: Mutex<BTreeMap<Arc<str>, NamespaceQuota>>,
    /// Since when this replica writes, in microseconds of [`Moment`].
    writes_since: AtomicI64,
    together: ClusterState,
}

#[derive(Default)]
struct ServiceState {
    machine: Machine,
    heals: RevertTracker,
    refusals: Refusals,
    deadline: Option<Timer>,
    /// The node that its leader is counted on.
    node: Option<Arc<str>>,
    /// Its budget for failovers.
    failovers: TokenBucket,
    /// What is known of the published pod for certain.
    sight: Sight,
    stats: Option<Arc<ServiceStats>>,
    steps: VecDeque<Trace>,
}

impl Reconciler {
    /// No machine yet, and closed until [`Reconciler::open`].
    #[must_use]
    pub fn new(
        store: Arc<Store>,
        metrics: Arc<Metrics>,
        outlet: Arc<dyn Effects>,
        board: Option<Arc<StatusPage>>,
        settings: Settings,
        clock: Clock,
    ) -> Self {
        Self {
            store,
            metrics,
            outlet,
            board,
            settings,
            clock,
            is_open: AtomicBool::new(false),
            cells: DashMap::with_capacity_and_hasher_and_shard_amount(
                0,
                FixedState::default(),
                SHARDS,
            ),
            deadlines: Mutex::default(),
            earlier: Notify::new(),
            followed: Arc::default(),
            rooms: Mutex::default(),
            writes_since: AtomicI64::new(i64::MIN),
            together: ClusterState::default(),
        }
    }

    /// Every kind has synced: a full pass, those with objects of ours first.
    pub fn open(&self) {
        self.is_open.store(true, Ordering::Relaxed);
        self.store.synced();
        let now = self.clock.moment();
        for source in self.store.sources() {
            self.schedule(source, now);
        }
    }

    /// Whether decisions are made.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// From now on this replica writes: a full pass, those first whose traffic should have moved
    /// while no replica could move it.
    pub fn take_over(&self) {
        let now = self.clock.moment();
        self.writes_since.store(now.0, Ordering::Relaxed);
        if !self.is_open() {
            return;
        }
        let all = self.cells.iter();
        let all = all.map(|entry| (entry.key().clone(), Arc::clone(&entry)));
        let all: Vec<_> = all.collect();
        let is_urgent = |cell: &Mutex<ServiceState>| cell.lock().machine.attempt.is_some();
        let urgent = all.into_iter().filter(|(_, cell)| is_urgent(cell));
        let mut urgent: Vec<Key> = urgent.map(|(key, _)| key).collect();
        urgent.sort();
        let now = self.clock.moment();
        let sources = self.store.sources();
        let mut deadlines = self.deadlines.lock();
        // This pass looks at them as well, and sooner.
        deadlines.drop_due(now);
        for source in urgent.into_iter().chain(sources) {
            deadlines.insert(now, source, None);
        }
        drop(deadlines);
        self.earlier.notify_one();
    }

    /// Looks at these sources, because of one piece of news. What is too much for one turn is left
    /// to the deadlines.
    pub fn reconcile_all(&self, sources: Vec<Key>, cause: Cause) {
        let mut sources = sources.into_iter();
        for source in sources.by_ref().take(TOUCHES_PER_TURN) {
            self.reconcile(&source, cause);
        }
        if sources.len() == 0 {
            return; // Most news concern no source, and must not wake a task either.
        }
        let mut deadlines = self.deadlines.lock();
        for source in sources {
            deadlines.insert(cause.at, source, Some(cause));
        }
        drop(deadlines);
        self.earlier.notify_one();
    }

    /// Looks at one source: view, step, plan, and into the writer's slots.
    pub fn reconcile(&self, source: &Key, cause: Cause) {
        if !self.is_open() {
            return;
        }
        let cell = match self.cells.get(source) {
            Some(cell) => Arc::clone(&cell),
            None if self.store.concerns(source) => {
                Arc::clone(&self.cells.entry(source.clone()).or_default())
            }
            // A write may have been under way when it left: what failed must not be tried again.
            None => return self.outlet.submit(source, Vec::new(), cause),
        };
        let mut cell = cell.lock();
        let now = self.clock.now();
        let snapshot = self.store.snapshot(source);
        let was_served = cell.machine.phase != Phase::Unmanaged;
        let is_over_limit = self.is_full(source, was_served);
        let before = (
            cell.machine.phase.name(),
            cell.machine.leader().map(|leader| Arc::clone(&leader.pod)),
        );
        let is_active = self.outlet.is_active();
        let step = self.decide(&mut cell, &snapshot, is_over_limit, cause, now);
        let is_in_doubt = self.is_in_doubt(&mut cell, &snapshot, &step, now.moment) && is_active;
        let restrained = if is_in_doubt {
            Throttled::default()
        } else {
            Self::plan(&mut cell, is_active, &step, &snapshot, now.moment)
        };
        let writes = restrained.writes;

        self.remember(source, &step.machine, &snapshot);
        let is_served = step.machine.phase != Phase::Unmanaged;
        let waits = is_over_limit && self.store.concerns(source);
        self.count_place(source, was_served, is_served, waits);
        cell.trace(&step, &writes, &before, now.wall);
        let state = step.machine.phase.name();
        if state != before.0 {
            tracing::debug!(service = %source, from = before.0, to = state, "state");
        }
        let figures = Arc::clone(
            cell.stats
                .get_or_insert_with(|| self.metrics.service(source)),
        );
        measure(&figures, &snapshot, &step, is_active);
        let deadline = step.deadline.into_iter().chain(restrained.until).min();
        let deadline = deadline.filter(|_| !mutations::is(Mutation::TimerLost));
        self.set_deadline(source, &mut cell, deadline);
        cell.machine = step.machine;
        let change = step.switched;
        let shown = (step.report.follow, step.report.followers);
        self.outlet.submit(source, writes, cause);
        if let Some(board) = &self.board {
            show(board, &snapshot, &cell.machine, shown, change, now);
        }
        for fought in restrained.fought {
            self.outlet.tell_of_fight(source, fought);
        }
        if let Some(service) = &snapshot.source {
            step.notes
                .into_iter()
                .for_each(|note| self.outlet.tell(service, note));
        }
        if is_active {
            figures.reconciled(Outcome::Success, self.clock.moment().since(now.moment));
        }
        if !is_served && !self.store.concerns(source) {
            self.forget(source, &mut cell);
        }
    }

    /// The source is gone, and everything of it.
    fn forget(&self, source: &Key, cell: &mut ServiceState) {
        self.set_deadline(source, cell, None);
        self.cells.remove(source);
        self.note_followed(source, None, false);
        self.metrics.forget(source);
        if let Some(board) = &self.board {
            board.forget(source);
        }
    }

    /// Notes that a write has been accepted, and as which version it was answered.
    pub fn acknowledge(&self, source: &Key, write: &Write, answered: Option<&Version>) {
        if let Some(cell) = self.cells.get(source).map(|cell| Arc::clone(&cell)) {
            let now = self.clock.moment();
            let mut cell = cell.lock();
            cell.heals.acknowledge(write, answered, now);
            cell.refusals.accept(write);
        }
    }

    /// Works off deadlines as they come. Never ends; `alive` is called at least every few seconds.
    pub async fn run(&self, alive: impl Fn()) -> std::convert::Infallible {
        loop {
            alive();
            let now = self.clock.moment();
            let due = self.deadlines.lock().take(now, TOUCHES_PER_TURN);
            if due.is_empty() {
                let next = self.deadlines.lock().next();
                let idle = tokio::time::Instant::now() + HEARTBEAT;
                let until = next.map_or(idle, |at| self.clock.instant(at).min(idle));
                tokio::select! {
                    biased;
                    () = self.earlier.notified() => {}
                    () = tokio::time::sleep_until(until) => {}
                }
                continue;
            }
            let cause = Cause {
                at: now,
                pod_changed: None,
            };
            for (source, news) in due {
                self.reconcile(&source, news.unwrap_or(cause));
            }
            tokio::task::yield_now().await;
        }
    }

    /// Looks at a source at that moment, whatever else is planned for it.
    pub fn schedule(&self, source: Key, at: Moment) {
        self.deadlines.lock().insert(at, source, None);
        self.earlier.notify_one();
    }

    fn set_deadline(&self, source: &Key, cell: &mut ServiceState, at: Option<Moment>) {
        let mut deadlines = self.deadlines.lock();
        let current = cell.deadline.filter(|entry| deadlines.contains(*entry));
        if current.map(|(at, _)| at) == at {
            return;
        }
        if let Some(old) = current {
            deadlines.remove(old);
        }
        cell.deadline = at.map(|at| deadlines.insert(at, source.clone(), None));
        drop(deadlines);
        if at.is_some() {
            self.earlier.notify_one();
        }
    }
}
