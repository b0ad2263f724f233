//! Owns the machines and their deadlines. `touch` is synchronous: view, step, plan, and the writes
//! are in the writer's slots before it returns. Sends nothing itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dashmap::DashMap;
use foldhash::fast::FixedState;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::clock::Clock;
use crate::logic::contract::reason;
use crate::logic::fsm::{Cause, Context, Machine, Note, Phase, Report, Step};
use crate::logic::heal::{Fought, Heals};
use crate::logic::mirror::Mirror;
use crate::logic::model::{Key, Service};
use crate::logic::plan::{self, Write};
use crate::logic::time::Moment;
use crate::logic::view::View;
use crate::metrics::{Figures, LeaderFigures, Metrics, ServiceStats, State};
use crate::store::Store;

/// So many Services are worked off before other tasks of the thread get their turn.
const TOUCHES_PER_TURN: usize = 256;
/// How many steps `/debug/state` shows.
const STEPS_KEPT: usize = 20;
/// Fixed, so that nothing depends on the number of cores.
const SHARDS: usize = 16;

/// Where the outcome of a step goes. Implemented by the composition root.
pub trait Outlet: Send + Sync {
    /// These, and no others, are the writes that the source wants now.
    fn submit(&self, source: &Key, writes: Vec<Write>, cause: Cause);
    /// Tells users something about the source.
    fn tell(&self, source: &Service, note: Note);
    /// Writes that wait or are under way, for `/debug/state`.
    fn waiting(&self, source: &Key) -> Value;
}

/// What the machines go by.
pub struct Settings {
    /// Which labels and annotations are mirrored.
    pub mirror: Mirror,
    /// Opted-in Services served per namespace; `None` unlimited.
    pub services_per_namespace_max: Option<usize>,
}

/// All machines.
pub struct Drive {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    outlet: Arc<dyn Outlet>,
    settings: Settings,
    clock: Clock,
    /// Cleared until every kind has synced: half a picture decides nothing.
    is_open: AtomicBool,
    /// parking_lot: a machine is locked for one step and never across an await.
    cells: DashMap<Key, Arc<Mutex<Cell>>, FixedState>,
    /// When to look at which source again. Locked for one insertion or removal.
    deadlines: Mutex<Deadlines>,
    earlier: Notify,
    /// Locked for one look-up; never together with `deadlines`.
    rooms: Mutex<BTreeMap<Arc<str>, Room>>,
}

#[derive(Default)]
struct Cell {
    machine: Machine,
    heals: Heals,
    deadline: Option<(Moment, u64)>,
    stats: Option<Arc<ServiceStats>>,
    steps: VecDeque<Trace>,
}

/// One step that changed something, for `/debug/state`.
struct Trace {
    at: jiff::Timestamp,
    state: &'static str,
    leader: Option<Arc<str>>,
    writes: Vec<String>,
    events: Vec<&'static str>,
}

#[derive(Default)]
struct Deadlines {
    due: BTreeMap<(Moment, u64), Key>,
    sequence: u64,
}

/// How many Services of a namespace are served, and who waits for a place.
#[derive(Default)]
struct Room {
    served: usize,
    waiting: BTreeSet<Key>,
}

impl Drive {
    /// No machine yet, and closed until [`Drive::open`].
    #[must_use]
    pub fn new(
        store: Arc<Store>,
        metrics: Arc<Metrics>,
        outlet: Arc<dyn Outlet>,
        settings: Settings,
        clock: Clock,
    ) -> Self {
        Self {
            store,
            metrics,
            outlet,
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
            rooms: Mutex::default(),
        }
    }

    /// Every kind has synced: a full pass, those with objects of ours first.
    pub fn open(&self) {
        self.is_open.store(true, Ordering::Relaxed);
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

    /// Looks at these sources, because of one piece of news. What is too much for one turn is left
    /// to the deadlines.
    pub fn touch_all(&self, sources: Vec<Key>, cause: Cause) {
        let mut sources = sources.into_iter();
        for source in sources.by_ref().take(TOUCHES_PER_TURN) {
            self.touch(&source, cause);
        }
        for source in sources {
            self.schedule(source, cause.at);
        }
    }

    /// Looks at one source: view, step, plan, and into the writer's slots.
    pub fn touch(&self, source: &Key, cause: Cause) {
        if !self.is_open() {
            return;
        }
        let cell = match self.cells.get(source) {
            Some(cell) => Arc::clone(&cell),
            None if self.store.concerns(source) => {
                Arc::clone(&self.cells.entry(source.clone()).or_default())
            }
            None => return,
        };
        let mut cell = cell.lock();
        let now = self.clock.now();
        let view = self.store.view(source);
        let was_served = cell.machine.phase != Phase::Unmanaged;
        let context = Context {
            mirror: &self.settings.mirror,
            is_over_limit: self.is_full(source, was_served),
            cause,
        };
        let before = (
            cell.machine.phase.name(),
            cell.machine.leader().map(|leader| Arc::clone(&leader.pod)),
        );
        let step = std::mem::take(&mut cell.machine).step(&view, &context, now);
        let (writes, healing) = cell
            .heals
            .restrain(plan::plan(&step.goal, &view), now.moment);

        self.store
            .pin(source, step.machine.leader().map(|leader| &leader.pod));
        let is_served = step.machine.phase != Phase::Unmanaged;
        self.count_place(source, was_served, is_served, context.is_over_limit);
        cell.trace(&step, &writes, before, now.wall);
        let stats = Arc::clone(
            cell.stats
                .get_or_insert_with(|| self.metrics.service(source)),
        );
        self.measure(&stats, &view, &step);
        let deadline = step.deadline.into_iter().chain(healing).min();
        self.set_deadline(source, &mut cell, deadline);
        cell.machine = step.machine;
        self.outlet.submit(source, writes, cause);
        if let Some(service) = &view.source {
            step.notes
                .into_iter()
                .for_each(|note| self.outlet.tell(service, note));
        }
        stats.reconciled(
            crate::metrics::Outcome::Success,
            self.clock.moment().since(now.moment),
        );
        if !is_served && !self.store.concerns(source) {
            self.set_deadline(source, &mut cell, None);
            self.cells.remove(source);
            self.metrics.forget(source);
        }
    }

    /// Notes that a write has been accepted; a fight that it belongs to is reported.
    #[must_use]
    pub fn acknowledge(&self, source: &Key, write: &Write) -> Option<Fought> {
        let cell = Arc::clone(&*self.cells.get(source)?);
        cell.lock().heals.acknowledge(write, self.clock.moment())
    }

    /// The cluster addresses that a leader Service had are not to be had any more.
    pub fn forget_addresses(&self, source: &Key) {
        if let Some(cell) = self.cells.get(source).map(|cell| Arc::clone(&cell)) {
            cell.lock().machine.cluster_ips.clear();
        }
    }

    /// Works off deadlines as they come. Never ends; `alive` is called at least every few seconds.
    pub async fn run(&self, alive: impl Fn()) -> std::convert::Infallible {
        loop {
            alive();
            let mut due = self.take_due();
            if due.is_empty() {
                let next = self.deadlines.lock().due.keys().next().map(|(at, _)| *at);
                let idle = tokio::time::Instant::now() + super::watch::HEARTBEAT;
                let until = next.map_or(idle, |at| self.clock.instant(at).min(idle));
                tokio::select! {
                    biased;
                    () = self.earlier.notified() => {}
                    () = tokio::time::sleep_until(until) => {}
                }
                continue;
            }
            let cause = Cause {
                at: self.clock.moment(),
                pod_changed: None,
            };
            due.drain(..).for_each(|source| self.touch(&source, cause));
            tokio::task::yield_now().await;
        }
    }

    fn take_due(&self) -> Vec<Key> {
        let now = self.clock.moment();
        let mut deadlines = self.deadlines.lock();
        let mut due = Vec::new();
        while due.len() < TOUCHES_PER_TURN {
            match deadlines.due.first_entry() {
                Some(first) if first.key().0 <= now => due.push(first.remove()),
                _ => break,
            }
        }
        due
    }

    /// Looks at a source at that moment, whatever else is planned for it.
    pub fn schedule(&self, source: Key, at: Moment) {
        self.deadlines.lock().insert(at, source);
        self.earlier.notify_one();
    }

    fn set_deadline(&self, source: &Key, cell: &mut Cell, at: Option<Moment>) {
        if cell.deadline.map(|(at, _)| at) == at
            && cell
                .deadline
                .is_some_and(|entry| self.deadlines.lock().due.contains_key(&entry))
        {
            return;
        }
        let mut deadlines = self.deadlines.lock();
        if let Some(old) = cell.deadline.take() {
            deadlines.due.remove(&old);
        }
        if let Some(at) = at {
            cell.deadline = Some(deadlines.insert(at, source.clone()));
            drop(deadlines);
            self.earlier.notify_one();
        }
    }

    fn is_full(&self, source: &Key, is_served: bool) -> bool {
        let Some(max) = self.settings.services_per_namespace_max else {
            return false;
        };
        !is_served
            && self
                .rooms
                .lock()
                .get(&source.namespace)
                .is_some_and(|room| room.served >= max)
    }

    /// Keeps the count of served Services, and gives a place that became free to one that waits.
    fn count_place(&self, source: &Key, was_served: bool, is_served: bool, was_refused: bool) {
        if self.settings.services_per_namespace_max.is_none() {
            return;
        }
        let next = {
            let mut rooms = self.rooms.lock();
            let room = rooms.entry(Arc::clone(&source.namespace)).or_default();
            room.served = room.served + usize::from(is_served) - usize::from(was_served);
            if was_refused && !is_served {
                room.waiting.insert(source.clone());
            } else {
                room.waiting.remove(source);
            }
            if was_served && !is_served {
                room.waiting.pop_first()
            } else {
                None
            }
        };
        if let Some(next) = next {
            self.schedule(next, self.clock.moment());
        }
    }

    fn measure(&self, stats: &ServiceStats, view: &View, step: &Step) {
        let Report {
            pods_available,
            is_election,
            kept,
            leader_created,
            unresolved_ports,
            strangers,
            ..
        } = &step.report;
        let machine = &step.machine;
        let leader = machine.leader().map(|leader| LeaderFigures {
            since: leader.since,
            created: leader_created.unwrap_or_default(),
            ready: view.pod(&leader.uid).is_some_and(|pod| pod.ready),
        });
        let is_served = machine.phase != Phase::Unmanaged;
        stats.decided(&Figures {
            state: state(&machine.phase),
            pods_available: count(*pods_available),
            leader,
            leader_service: is_served && !view.own_services().is_empty(),
            slices: if is_served {
                count(view.own_slices().len())
            } else {
                0
            },
        });
        stats.foreign_slices(count(*strangers));
        stats.cache_hit();
        if *is_election {
            stats.selected();
        }
        match kept {
            Some(true) if machine.settings.sticky => stats.sticky_hit(),
            Some(false) if machine.settings.sticky => stats.sticky_missed(),
            _ => {}
        }
        if step
            .notes
            .iter()
            .any(|note| note.reason == reason::PORT_RESOLUTION_FAILED)
        {
            unresolved_ports
                .iter()
                .for_each(|port| stats.port_unresolved(port));
        }
        if let Some(switched) = &step.switched {
            if let Some(reason) = switched.reason {
                stats.failed_over(reason.as_str(), switched.took);
            }
            tracing::info!(
                service = %view.key,
                from = switched.from.as_deref().unwrap_or("none"),
                to = switched.to.as_deref().unwrap_or("none"),
                reason = switched.reason.map_or("", crate::logic::elect::Reason::as_str),
                took_ms = switched.took.as_secs_f64() * 1_000.0,
                "leader changed"
            );
        }
    }

    /// Everything about one source, for `/debug/state`.
    #[must_use]
    pub fn debug(&self, source: &Key) -> Option<Value> {
        let cell = Arc::clone(&*self.cells.get(source)?);
        let cell = cell.lock();
        let view = self.store.view(source);
        let now = self.clock.moment();
        let pods = view.pods.iter().map(|pod| {
            json!({ "name": pod.name, "uid": &*pod.uid.0, "ready": pod.ready, "phase": format!("{:?}", pod.phase),
                "readyForSeconds": now.since(pod.ready_since).as_secs_f64(), "terminating": pod.terminating,
                "disrupted": pod.disrupted, "node": pod.node, "version": pod.version.to_string() })
        });
        let objects = |metas: Vec<&crate::logic::model::Meta>| -> Vec<Value> {
            metas.iter().map(|meta| json!({ "name": meta.name, "uid": &*meta.uid.0, "version": meta.resource_version.to_string() })).collect()
        };
        let machine = &cell.machine;
        let in_seconds = |at: Moment| (at.0 - now.0) as f64 / 1e6;
        Some(json!({
            "service": source.to_string(),
            "facts": {
                "source": view.source.as_ref().map(|source| json!({ "uid": &*source.metadata.uid.0,
                    "version": source.metadata.resource_version.to_string(), "selector": format!("{:?}", source.spec.selector) })),
                "pods": pods.collect::<Vec<_>>(),
                "leaderServices": objects(view.own_services().iter().map(|s| &s.metadata).collect()),
                "slices": objects(view.own_slices().iter().map(|s| &s.metadata).collect()),
                "foreignSlices": view.strangers.iter().map(|stranger| stranger.name.to_string()).collect::<Vec<_>>(),
            },
            "machine": {
                "state": machine.phase.name(),
                "leader": machine.leader().map(|leader| json!({ "pod": leader.pod, "uid": &*leader.uid.0,
                    "forSeconds": now.since(leader.since).as_secs_f64(), "hold": format!("{:?}", leader.hold) })),
                "settings": format!("{:?}", machine.settings),
                "leaderService": machine.name,
                "lastLeader": machine.last.as_ref().map(ToString::to_string),
                "pendingSwitch": machine.pending.as_ref().map(|switch| format!("{switch:?}")),
            },
            "deadlineInSeconds": cell.deadline.map(|(at, _)| in_seconds(at)),
            "writes": self.outlet.waiting(source),
            "steps": cell.steps.iter().map(|trace| json!({ "at": trace.at.to_string(), "state": trace.state,
                "leader": trace.leader, "writes": trace.writes, "events": trace.events })).collect::<Vec<_>>(),
        }))
    }
}

impl Deadlines {
    fn insert(&mut self, at: Moment, source: Key) -> (Moment, u64) {
        self.sequence += 1;
        let entry = (at, self.sequence);
        self.due.insert(entry, source);
        entry
    }
}

impl Cell {
    fn trace(
        &mut self,
        step: &Step,
        writes: &[Write],
        before: (&'static str, Option<Arc<str>>),
        at: jiff::Timestamp,
    ) {
        let state = step.machine.phase.name();
        let leader = step.machine.leader().map(|leader| Arc::clone(&leader.pod));
        if writes.is_empty() && step.notes.is_empty() && before == (state, leader.clone()) {
            return;
        }
        if self.steps.len() >= STEPS_KEPT {
            self.steps.pop_front();
        }
        let writes = writes.iter().map(|write| {
            format!(
                "{} {:?} {}",
                write.action.verb(),
                write.target.kind,
                write.target.key.name
            )
        });
        let events = step.notes.iter().map(|note| note.reason).collect();
        self.steps.push_back(Trace {
            at,
            state,
            leader,
            writes: writes.collect(),
            events,
        });
    }
}

fn state(phase: &Phase) -> State {
    match phase {
        Phase::Unmanaged => State::Unmanaged,
        Phase::Electing => State::Electing,
        Phase::Serving(_) => State::Serving,
        Phase::Draining => State::Draining,
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
