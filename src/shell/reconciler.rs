//! The one owner of decisions and their effects. `reconcile` is synchronous: snapshot, step, plan, and
//! the writes are in the writer's slots before it returns. The outcomes of writes come back here, and so
//! does what is found out about the Lease and the nodes.
//!
//! Everything that one source, or all of them together, depends on besides the facts is one `ReconcilerState` under
//! one lock. Whatever moves traffic runs on one thread, so the lock is free unless `/debug/state` is read.
//! What is called while it is held (store, writer, events, metrics, status page) never calls back.

mod deadlines;
mod decide;
mod doubt;
mod field_manager;
mod followed;
mod outcome;
mod quota;
mod report;
mod tell;
mod unsaid;

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use foldhash::fast::FixedState;
use kube_client::Client;
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::deadlines::{Deadlines, Timer};
use self::decide::ClusterState;
use self::doubt::Sight;
use self::quota::NamespaceQuotas;
use self::report::{Trace, measure, show};
use self::unsaid::Unsaid;
use super::clock::{Clock, HEARTBEAT};
use super::events::Events;
use super::foreign_slices::ScanRequests;
use super::lease::TenureChange;
use super::write::{Outbox, Spawn};
use crate::logic::budget::Guard;
use crate::logic::fsm::{Cause, Machine, Phase, Step};
use crate::logic::heal::{RevertTracker, Throttled};
use crate::logic::mirror::Mirror;
use crate::logic::model::Key;
use crate::logic::plan::Refusals;
use crate::logic::rate_limit::TokenBucket;
use crate::logic::snapshot::Snapshot;
use crate::logic::time::{Moment, Now};
use crate::metrics::{Metrics, Outcome, ServiceStats};
use crate::mutations::{self, Mutation};
use crate::status_page::StatusPage;
use crate::store::Store;

/// Maximum number of Services to reconcile before other tasks of the thread get their turn.
const TOUCHES_PER_TURN: usize = 256;

/// What the reconciler acts through.
pub struct Outlets {
    /// Takes the desired writes.
    pub writer: Arc<dyn Outbox>,
    /// Takes what users are told.
    pub events: Events,
    /// Takes the leader Services that foreign slices may be attached to.
    pub scans: ScanRequests,
    /// The status page, if there is one.
    pub board: Option<Arc<StatusPage>>,
    /// Reads what is not watched, before a doubtful write or for the text of an Event.
    pub client: Client,
    /// Runs these reads.
    pub spawn: Spawn,
}

/// The options of a process that decisions depend on.
pub struct ReconcilerOptions {
    /// Which labels and annotations are mirrored.
    pub mirror: Mirror,
    /// Opted-in Services served per namespace; `None` unlimited.
    pub services_per_namespace_max: Option<usize>,
    /// How many failovers there may be.
    pub guard: Guard,
    /// The namespaces with Leases that a Service of another namespace may follow.
    pub follow_lease_namespaces: Vec<Arc<str>>,
}

/// What one look at a source begins with.
struct Turn {
    cause: Cause,
    now: Now,
    snapshot: Snapshot,
    is_active: bool,
    /// The state of the machine, and its leader.
    state: &'static str,
    leader: Option<Arc<str>>,
}

/// All machines, and what they share.
pub struct Reconciler {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    outlets: Outlets,
    options: ReconcilerOptions,
    clock: Clock,
    /// Locked for one turn and never across an await.
    state: Mutex<ReconcilerState>,
    earlier: Notify,
    /// Notified when other Leases are followed than before.
    followed: Arc<Notify>,
}

#[derive(Default)]
struct ReconcilerState {
    /// Set once every kind has synced: half a picture decides nothing.
    is_open: bool,
    /// Boxed, so that a growing map moves pointers.
    services: HashMap<Key, Box<ServiceState>, FixedState>,
    /// When to look at which source again.
    deadlines: Deadlines,
    quotas: NamespaceQuotas,
    cluster: ClusterState,
    unsaid: Unsaid,
    /// Since when this replica writes, if it has ever done so.
    writes_since: Option<Moment>,
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
        outlets: Outlets,
        options: ReconcilerOptions,
        clock: Clock,
    ) -> Self {
        Self {
            store,
            metrics,
            outlets,
            options,
            clock,
            state: Mutex::default(),
            earlier: Notify::new(),
            followed: Arc::default(),
        }
    }

    /// Every kind has synced: a full pass, those with objects of ours first.
    pub fn open(&self) {
        self.store.synced();
        let now = self.clock.moment();
        let sources = self.store.sources();
        let mut state = self.state.lock();
        state.is_open = true;
        for source in sources {
            state.deadlines.insert(now, source, None);
        }
        drop(state);
        self.earlier.notify_one();
    }

    /// Whether decisions are made.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state.lock().is_open
    }

    /// This replica begins to write, or another one may.
    pub fn on_lease(&self, change: TenureChange) {
        match change {
            TenureChange::Active { vacant } => {
                self.metrics.active(true);
                self.tell_unsaid(vacant);
                self.take_over();
            }
            TenureChange::Standby => {
                self.metrics.active(false);
                self.outlets.writer.stand_down();
            }
        }
    }

    /// A full pass, those first whose traffic should have moved while no replica could move it.
    fn take_over(&self) {
        let now = self.clock.moment();
        let mut state = self.state.lock();
        state.writes_since = Some(now);
        if !state.is_open {
            return;
        }
        let urgent = state.services.iter();
        let urgent = urgent.filter(|(_, service)| service.machine.attempt.is_some());
        let mut urgent: Vec<Key> = urgent.map(|(key, _)| key.clone()).collect();
        urgent.sort();
        // This pass looks at them as well, and sooner.
        state.deadlines.drop_due(now);
        for source in urgent.into_iter().chain(self.store.sources()) {
            state.deadlines.insert(now, source, None);
        }
        drop(state);
        self.earlier.notify_one();
    }

    /// Looks at these sources, because of one piece of news. What is too much for one turn is left
    /// to the deadlines.
    pub fn reconcile_all(self: &Arc<Self>, sources: Vec<Key>, cause: Cause) {
        if sources.is_empty() {
            return; // Most news concern no source.
        }
        let mut sources = sources.into_iter();
        let mut state = self.state.lock();
        for source in sources.by_ref().take(TOUCHES_PER_TURN) {
            self.reconcile(&mut state, &source, cause);
        }
        if sources.len() == 0 {
            return; // No task has to wake up.
        }
        for source in sources {
            state.deadlines.insert(cause.at, source, Some(cause));
        }
        drop(state);
        self.earlier.notify_one();
    }

    /// Looks at one source: snapshot, step, plan, and into the writer's slots.
    fn reconcile(self: &Arc<Self>, state: &mut ReconcilerState, source: &Key, cause: Cause) {
        if !state.is_open {
            return;
        }
        let service = match state.services.get_mut(source) {
            Some(service) => service,
            None if self.store.concerns(source) => {
                state.services.entry(source.clone()).or_default()
            }
            // A write may have been under way when it left: what failed must not be tried again.
            None => return self.outlets.writer.submit(source, Vec::new(), cause),
        };
        let turn = Turn {
            cause,
            now: self.clock.now(),
            snapshot: self.store.snapshot(source),
            is_active: self.is_active(),
            state: service.machine.phase.name(),
            leader: service.machine.leader().map(|it| Arc::clone(&it.pod)),
        };
        let was_served = service.machine.phase != Phase::Unmanaged;
        let max = self.options.services_per_namespace_max;
        let is_over_limit = !was_served && state.quotas.is_full(max, source);
        let step = self.decide(service, &mut state.cluster, &turn, is_over_limit);
        let is_in_doubt = self.is_in_doubt(service, state.writes_since, &turn, &step);
        let plan = if is_in_doubt && turn.is_active {
            Throttled::default()
        } else {
            Self::plan(service, &turn, &step)
        };

        let is_served = step.machine.phase != Phase::Unmanaged;
        let waits = is_over_limit && self.store.concerns(source);
        let quotas = &mut state.quotas;
        let next = quotas.count(max, source, [was_served, is_served], waits);
        let is_known = self.remember(source, &step.machine, &turn.snapshot);
        for source in is_known.then(|| source.clone()).into_iter().chain(next) {
            let at = self.clock.moment();
            state.deadlines.insert(at, source, None);
            self.earlier.notify_one();
        }
        let deadline = step.deadline.into_iter().chain(plan.until).min();
        let deadline = deadline.filter(|_| !mutations::is(Mutation::TimerLost));
        if state.deadlines.set(&mut service.deadline, source, deadline) {
            self.earlier.notify_one();
        }
        self.act(service, &mut state.unsaid, &turn, step, plan);
        if !is_served && !self.store.concerns(source) {
            self.forget(state, source);
        }
    }

    /// Performs what a step has decided, and shows it.
    fn act(
        self: &Arc<Self>,
        service: &mut ServiceState,
        unsaid: &mut Unsaid,
        turn: &Turn,
        step: Step,
        plan: Throttled,
    ) {
        let source = &turn.snapshot.key;
        service.trace(&step, &plan.writes, turn);
        let state = step.machine.phase.name();
        if state != turn.state {
            tracing::debug!(service = %source, from = turn.state, to = state, "state");
        }
        let new = || self.metrics.service(source);
        let figures = Arc::clone(service.stats.get_or_insert_with(new));
        measure(&figures, &turn.snapshot, &step, turn.is_active);
        service.machine = step.machine;
        self.outlets.writer.submit(source, plan.writes, turn.cause);
        if let Some(board) = &self.outlets.board {
            let shown = (step.report.follow, step.report.followers);
            show(
                board,
                &turn.snapshot,
                &service.machine,
                shown,
                step.switched,
                turn.now,
            );
        }
        for fought in plan.fought {
            self.tell_of_fight(source, fought);
        }
        if let Some(service) = &turn.snapshot.source {
            for note in step.notes {
                self.tell(unsaid, service, note);
            }
        }
        if turn.is_active {
            let took = self.clock.moment().since(turn.now.moment);
            figures.reconciled(Outcome::Success, took);
        }
    }

    /// The source is gone, and everything of it.
    fn forget(&self, state: &mut ReconcilerState, source: &Key) {
        if let Some(mut service) = state.services.remove(source) {
            state.deadlines.set(&mut service.deadline, source, None);
        }
        self.note_followed(source, None, false);
        self.metrics.forget(source);
        if let Some(board) = &self.outlets.board {
            board.forget(source);
        }
    }

    /// Whether this replica writes. One that stands by decides all the same, follows what the other one
    /// publishes, and submits nothing.
    fn is_active(&self) -> bool {
        self.outlets.writer.may_write()
    }

    /// Works off deadlines as they come. Never ends; `alive` is called at least every few seconds.
    pub async fn run(self: Arc<Self>, alive: impl Fn()) -> std::convert::Infallible {
        loop {
            alive();
            if let ControlFlow::Break(next) = self.work_off() {
                let idle = tokio::time::Instant::now() + HEARTBEAT;
                let until = next.map_or(idle, |at| self.clock.instant(at).min(idle));
                tokio::select! {
                    biased;
                    () = self.earlier.notified() => {}
                    () = tokio::time::sleep_until(until) => {}
                }
            } else {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Looks at the sources whose time has come. If there is none, returns when the next one comes.
    fn work_off(self: &Arc<Self>) -> ControlFlow<Option<Moment>> {
        let now = self.clock.moment();
        let mut state = self.state.lock();
        let due = state.deadlines.take(now, TOUCHES_PER_TURN);
        if due.is_empty() {
            return ControlFlow::Break(state.deadlines.next());
        }
        for (source, news) in due {
            self.reconcile(&mut state, &source, news.unwrap_or(now.into()));
        }
        ControlFlow::Continue(())
    }

    /// Looks at a source at that moment, whatever else is planned for it.
    pub fn schedule(&self, source: Key, at: Moment) {
        self.state.lock().deadlines.insert(at, source, None);
        self.earlier.notify_one();
    }
}
