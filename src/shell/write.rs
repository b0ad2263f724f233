//! Schedules the writes that the machines want. Each object has one slot, and a newer decision replaces
//! the write in it. Retries indefinitely; decides nothing about content.
//!
//! A worker task lives as long as its object has something to send. Failover writes have places of their
//! own, so no ordinary write delays them.
//!
//! # Slow answers
//!
//! An admission webhook may take 30 s, and cancelling a request also cancels its write. So a slow attempt
//! is not cancelled. A second attempt starts next to it: after 1 s if the machine has decided again, after
//! 5 s or more otherwise. The same version guards both, so at most one of them takes effect, and the other
//! one is answered 409. An attempt is cancelled only when the second one is slow too.

mod answer;
mod attempt;
mod exchange;
mod outbox;
mod slot;

use std::collections::HashMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use foldhash::fast::FixedState;
use kube_client::Client;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub use answer::{Observed, Settled, Verdict};
use attempt::Landed;
pub use outbox::Outbox;
use slot::{Dispatch, RequestKind, Slot};

use super::clock::Clock;
use super::departure::{Departure, Departures};
use crate::config::FastRetry;
use crate::logic::fsm::Cause;
use crate::logic::model::Key;
use crate::logic::plan::{Lane, Target, Write};
use crate::logic::rate_limit::{RateLimit, TokenBucket};
use crate::metrics::Metrics;
use crate::mutations::{self, Mutation};

/// Failover writes in flight: more than an API server works on at once, and less than what would
/// have it shed load when a node with a thousand leaders dies.
pub const FAILOVER_SLOTS: usize = 64;
/// Longest time between two attempts.
const DELAY_MAX: Duration = Duration::from_secs(30);
/// First delay after a refusal: trying again at once would only be refused again.
const REFUSED_DELAY: Duration = Duration::from_secs(1);
/// What is not urgent waits so long for its turn.
const LEISURE_MAX: Duration = Duration::from_secs(2);

/// So many times a leader Service that was deleted is asked for with the address it had.
const ADDRESS_ATTEMPTS: u32 = 20;
/// Between two of them: two seconds in all, where the server needs milliseconds.
const ADDRESS_DELAY: Duration = Duration::from_millis(100);

/// A future to be run beside everything else.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
/// Runs a task until it ends or is aborted: tokio's spawn, or a simulation's.
pub type Spawn = Arc<dyn Fn(Task) -> AbortHandle + Send + Sync>;

/// How writes are sent.
pub struct WriterOptions {
    /// Ordinary writes in flight.
    pub in_flight_max: usize,
    /// Whether to leave out the operation that clears the managedFields of an object.
    pub keep_managed_fields: bool,
    /// Limit for ordinary writes.
    pub rate_limit: Option<RateLimit>,
    /// Quick retries.
    pub fast_retry: FastRetry,
    /// A number in `[0, 1)`, for jitter.
    pub jitter: Arc<dyn Fn() -> f64 + Send + Sync>,
    /// Runs the workers.
    pub spawn: Spawn,
    /// Whether this replica may write. Asked whenever something is submitted, and again right
    /// before it leaves.
    pub may_write: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// All writes that wait or are under way.
#[derive(Clone)]
pub struct Writer(Arc<Inner>);

struct Inner {
    client: Client,
    options: WriterOptions,
    metrics: Arc<Metrics>,
    clock: Clock,
    /// By source. Locked for a look-up or a replacement, never across an await.
    slots: Mutex<HashMap<Key, Vec<Slot>, FixedState>>,
    /// Failover writes that are to leave at once.
    departures: Departures,
    failover: Semaphore,
    ordinary: Semaphore,
    trailing: Semaphore,
    /// What `--qps` leaves. Tokio's lock: the write whose turn is next holds it until that comes, so
    /// writes pass in the order in which they came.
    ordinary_rate: tokio::sync::Mutex<TokenBucket>,
    /// Hears of every outcome; set once by the composition root.
    settle: OnceLock<Arc<dyn Fn(Settled) + Send + Sync>>,
    is_closed: AtomicBool,
    in_flight: AtomicUsize,
    landed: Notify,
}

impl Writer {
    /// A writer with nothing to do.
    #[must_use]
    pub fn new(
        client: Client,
        options: WriterOptions,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        Self(Arc::new(Inner {
            client,
            departures: Departures::default(),
            failover: Semaphore::new(FAILOVER_SLOTS),
            ordinary: Semaphore::new(options.in_flight_max.max(1)),
            trailing: Semaphore::new((options.in_flight_max / 4).max(1)),
            ordinary_rate: tokio::sync::Mutex::default(),
            options,
            metrics,
            clock,
            slots: Mutex::default(),
            settle: OnceLock::new(),
            is_closed: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            landed: Notify::new(),
        }))
    }

    /// Says who hears of outcomes. Only the first call counts.
    pub fn settle_with(&self, settle: Arc<dyn Fn(Settled) + Send + Sync>) {
        let _ = self.0.settle.set(settle);
    }

    /// The failover writes that are about to leave.
    #[must_use]
    pub fn departures(&self) -> &Departures {
        &self.0.departures
    }

    /// Whether this replica may write at this very moment.
    #[must_use]
    pub fn may_write(&self) -> bool {
        (self.0.options.may_write)()
    }

    /// These, and no others, are the writes that the source wants now. What waits and is not among
    /// them is dropped; what is under way comes to its end, and then the source is looked at again.
    /// A replica that may not write keeps nothing that waits.
    pub fn submit(&self, source: &Key, mut writes: Vec<Write>, cause: Cause) {
        if self.0.is_closed.load(Ordering::Relaxed) {
            return;
        }
        if !self.may_write() {
            writes.clear();
        }
        if self.0.options.keep_managed_fields {
            writes.iter_mut().for_each(Write::keep_managed_fields);
        }
        let mut started = Vec::new();
        {
            let mut all = self.0.slots.lock();
            if writes.is_empty() && !all.contains_key(source) {
                return;
            }
            let slots = all.entry(source.clone()).or_default();
            // They are wanted again, or not, when the source is looked at after that.
            writes.retain(|write| !slots.iter().any(|slot| slot.holds_up(write)));
            slots.retain_mut(|slot| slot.keep(&writes));
            // Mostly one, and a cold start has thousands of sources wait.
            slots.reserve_exact(writes.len());
            for write in writes {
                let target = write.target.clone();
                let is_urgent = write.lane == Lane::Failover;
                let known = slots.iter_mut().find(|slot| slot.write.target == target);
                let needs_worker = if let Some(slot) = known {
                    slot.replace(write, cause, &self.0.options)
                } else {
                    slots.push(Slot::new(write, cause));
                    true
                };
                if needs_worker {
                    started.push((target, is_urgent.then(|| self.0.departures.announce())));
                }
            }
            if slots.is_empty() {
                all.remove(source);
            }
        }
        for (target, departure) in started {
            self.0.start(source, target, departure);
        }
    }

    /// What waits or is under way for a source, for `/debug/state`.
    #[must_use]
    pub fn waiting(&self, source: &Key) -> Value {
        let slots = self.0.slots.lock();
        let now = Instant::now();
        slots
            .get(source)
            .into_iter()
            .flatten()
            .map(|slot| slot.describe(now))
            .collect()
    }

    /// Drops whatever waits: another replica writes now. What is under way comes to its end.
    pub fn stand_down(&self) {
        self.0.slots.lock().retain(|_, slots| {
            slots.retain_mut(|slot| slot.keep(&[]));
            !slots.is_empty()
        });
    }

    /// Waits, for two seconds at most, until every write that stands in line now is under way: for
    /// what is less urgent than any of them.
    pub async fn leisure(&self) {
        let line = async {
            turn(&self.0.failover).await;
            turn(&self.0.ordinary).await;
        };
        // In vain only while the server does not keep up; then it is not for us to wait for ever.
        let _ = tokio::time::timeout(LEISURE_MAX, line).await;
    }

    /// Says that something else is about to be written, which [`Writer::close`] then waits for;
    /// `None` if it must not be: another replica writes, or this one is stopping.
    #[must_use]
    pub fn begin(&self) -> Option<UnderWay> {
        let may_begin = self.may_write() && !self.0.is_closed.load(Ordering::Relaxed);
        may_begin.then(|| UnderWay::of(&self.0))
    }

    /// Starts no more writes, and waits for those under way.
    pub async fn close(&self) {
        self.0.is_closed.store(true, Ordering::Relaxed);
        while self.0.in_flight.load(Ordering::Relaxed) > 0 {
            let landed = self.0.landed.notified();
            if self.0.in_flight.load(Ordering::Relaxed) > 0 {
                landed.await;
            }
        }
    }
}

/// Something that is being written, for as long as it lives.
pub struct UnderWay(Arc<Inner>);

impl UnderWay {
    fn of(inner: &Arc<Inner>) -> Self {
        inner.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(inner))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.0.landed.notify_waiters();
    }
}

/// What an end of an attempt did to its slot.
struct Back {
    landed: Landed,
    /// Whether the same worker makes the next attempt.
    needs_worker: bool,
    /// Errors of the server's own in a row.
    server_errors: u32,
}

impl Back {
    /// There is no such slot any more.
    const NOWHERE: Self = Self {
        landed: Landed::Earlier,
        needs_worker: false,
        server_errors: 0,
    };
}

/// A place in a lane, and for what trails its share of it. The lanes are never closed.
type Permits<'a> = (Option<SemaphorePermit<'a>>, Option<SemaphorePermit<'a>>);

/// Waits until all who have queued for a place before have one, and takes none: places are given
/// in the order in which they were asked for.
async fn turn(lane: &Semaphore) {
    drop(lane.acquire().await);
}

impl Inner {
    /// Works until the object has nothing to be sent.
    async fn work(self: Arc<Self>, source: Key, target: Target, departure: Option<Departure>) {
        // It runs. If it may send at once, it does so before anything else does.
        drop(departure);
        while let Some((lane, until, wake)) = self.look(&source, &target) {
            // 1. Wait out the back-off; a newer decision may cut it short.
            if let Some(until) = until.filter(|until| Instant::now() < *until) {
                tokio::select! {
                    biased;
                    () = wake.notified() => {}
                    () = tokio::time::sleep_until(until) => {}
                }
                continue;
            }
            // 2. A place in the lane. The decision may change, or be dropped, meanwhile.
            let place = tokio::select! {
                biased;
                place = self.place(lane) => place,
                () = wake.notified() => continue,
            };
            if lane != Lane::Failover {
                tokio::select! {
                    biased;
                    () = self.pass_limit() => {}
                    () = wake.notified() => continue,
                }
            }
            let Some(turn) = self.take(&source, &target, lane) else {
                continue;
            };
            // 3. Send it.
            let is_news = lane == Lane::Failover && turn.cause.pod_changed.is_some();
            if is_news && turn.tries == 1 {
                let took = self.clock.moment().since(turn.cause.at);
                self.metrics.decided_within(took);
            }
            // Boxed, so that the thousands that wait for a place take no room for an exchange.
            if Box::pin(Arc::clone(&self).attempt(&source, turn, place)).await {
                return;
            }
        }
    }

    /// One attempt, from its request to its verdict. Returns whether the worker is done.
    async fn attempt(self: Arc<Self>, source: &Key, turn: Dispatch, place: Permits<'_>) -> bool {
        let Dispatch {
            errand,
            write,
            number,
            tries,
            patience,
            limit,
            ..
        } = turn;
        let under_way = UnderWay::of(&self);
        let started = Instant::now();
        let verdict = {
            let mut exchange = pin!(exchange::run(&self.client, errand, &write, limit));
            let in_time = tokio::time::timeout(patience, exchange.as_mut()).await;
            if let Ok(verdict) = in_time {
                verdict
            } else {
                self.press(source, &write, number, tries, patience);
                exchange.await
            }
        };
        let verdict = match verdict {
            // The server tells of a deletion before it gives the Service's address back.
            Verdict::AddressTaken(status) if tries < ADDRESS_ATTEMPTS => {
                Verdict::AddressHeld(status)
            }
            verdict => verdict,
        };
        let took = started.elapsed();
        drop(place);
        // Update the slot before reporting the outcome, because the receiver may write the object again.
        let back = self.put_back(source, &write.target, number, &verdict);
        // What lost against another attempt of ours is no failure.
        if back.landed != Landed::Moot || matches!(verdict, Verdict::Conflict(_)) {
            self.tell(Settled {
                source: source.clone(),
                write,
                verdict,
                attempt: tries,
                server_errors: back.server_errors,
                took,
            });
        }
        drop(under_way);
        !back.needs_worker
    }

    /// Handles an attempt that takes too long: starts a second attempt and reports the delay.
    fn press(
        self: &Arc<Self>,
        source: &Key,
        write: &Arc<Write>,
        number: u32,
        tries: u32,
        patience: Duration,
    ) {
        let pressed = {
            let mut all = self.slots.lock();
            let mut slots = all.get_mut(source).into_iter().flatten();
            let slot = slots.find(|slot| slot.write.target == write.target);
            slot.and_then(|slot| slot.press(number))
        };
        let Some(needs_worker) = pressed else {
            return;
        };
        if needs_worker {
            self.start(source, write.target.clone(), None);
        }
        self.tell(Settled {
            source: source.clone(),
            write: Arc::clone(write),
            verdict: Verdict::Unanswered,
            attempt: tries,
            server_errors: 0,
            took: patience,
        });
    }

    fn start(self: &Arc<Self>, source: &Key, target: Target, departure: Option<Departure>) {
        let worker = Arc::clone(self).work(source.clone(), target, departure);
        let _runs_alone = (self.options.spawn)(Box::pin(worker));
    }

    fn tell(&self, settled: Settled) {
        if let Some(settle) = self.settle.get() {
            settle(settled);
        }
    }

    /// A place to send from. What only says who leads comes after all that moves traffic or makes
    /// it possible, and takes at most a quarter of the ordinary places.
    async fn place(&self, lane: Lane) -> Permits<'_> {
        match lane {
            Lane::Failover => (self.failover.acquire().await.ok(), None),
            Lane::Ordinary => (self.ordinary.acquire().await.ok(), None),
            Lane::Trailing => {
                let share = self.trailing.acquire().await.ok();
                turn(&self.failover).await;
                (self.ordinary.acquire().await.ok(), share)
            }
        }
    }

    /// What is to be done about an object, if anything.
    fn look(&self, source: &Key, target: &Target) -> Option<(Lane, Option<Instant>, Arc<Notify>)> {
        if self.is_closed.load(Ordering::Relaxed) {
            return None;
        }
        let slots = self.slots.lock();
        let slot = slots
            .get(source)?
            .iter()
            .find(|slot| slot.write.target == *target)?;
        slot.is_waiting
            .then(|| (slot.write.lane, slot.not_before, Arc::clone(&slot.wake)))
    }

    /// Takes the write, unless the decision changed lanes or was dropped.
    fn take(&self, source: &Key, target: &Target, lane: Lane) -> Option<Dispatch> {
        if self.is_closed.load(Ordering::Relaxed) {
            return None;
        }
        let may_write = (self.options.may_write)();
        if !may_write {
            // Its time ended before the slots were cleared, for instance during a SIGSTOP.
            self.drop_waiting(source, target);
        }
        let mut slots = self.slots.lock();
        let slot = slots
            .get_mut(source)?
            .iter_mut()
            .find(|slot| slot.write.target == *target)?;
        let now = Instant::now();
        if !slot.is_waiting
            || slot.write.lane != lane
            || slot.not_before.is_some_and(|at| now < at)
            || (slot.errand == RequestKind::Write && !may_write)
        {
            return None;
        }
        Some(slot.take(now))
    }

    fn drop_waiting(&self, source: &Key, target: &Target) {
        let mut all = self.slots.lock();
        if let Some(slots) = all.get_mut(source) {
            slots.retain_mut(|slot| slot.write.target != *target || slot.keep(&[]));
            if slots.is_empty() {
                all.remove(source);
            }
        }
    }

    /// Frees the slot, or sets the time of the next attempt.
    fn put_back(&self, source: &Key, target: &Target, number: u32, verdict: &Verdict) -> Back {
        let mut all = self.slots.lock();
        let Some(slots) = all.get_mut(source) else {
            return Back::NOWHERE;
        };
        let Some(at) = slots.iter().position(|slot| slot.write.target == *target) else {
            return Back::NOWHERE;
        };
        if matches!(verdict, Verdict::Refused(_)) && mutations::is(Mutation::RefusedForEver) {
            return Back::NOWHERE;
        }
        let slot = &mut slots[at];
        let landed = slot.land(number);
        let mut back = Back {
            landed,
            needs_worker: false,
            server_errors: 0,
        };
        if landed != Landed::Moot {
            (back.needs_worker, back.server_errors) = self.settle_slot(slot, landed, verdict);
        }
        let is_over = !matches!(verdict, Verdict::Conflict(_)) || landed == Landed::Moot;
        if slot.is_idle() && is_over {
            slots.swap_remove(at);
            if slots.is_empty() {
                all.remove(source);
            }
        }
        back
    }

    /// What a verdict makes of its slot: whether a worker has to see to it, and how many errors of
    /// the server's own there were in a row.
    fn settle_slot(&self, slot: &mut Slot, landed: Landed, verdict: &Verdict) -> (bool, u32) {
        let errors = match verdict {
            Verdict::Failed { code: None, .. } => 0,
            Verdict::Failed {
                code: Some(code), ..
            } => slot.count_errors(*code >= 500),
            _ => slot.count_errors(false),
        };
        let needs_worker = match verdict {
            Verdict::Accepted(_) | Verdict::Probed(_) | Verdict::AddressTaken(_) => {
                slot.close();
                false
            }
            Verdict::Failed { .. } if mutations::is(Mutation::SilenceIsConsent) => {
                slot.close();
                false
            }
            Verdict::Unanswered => false,
            Verdict::Conflict(_) => {
                slot.rest();
                false
            }
            // What is wanted now has not been refused.
            Verdict::AddressHeld(_) | Verdict::Refused(_) | Verdict::NamespaceTerminating
                if landed == Landed::Earlier =>
            {
                slot.spare();
                false
            }
            Verdict::AddressHeld(_) => slot.pause(ADDRESS_DELAY),
            Verdict::Refused(_) => slot.delay(true, REFUSED_DELAY, &self.options),
            Verdict::NamespaceTerminating => slot.delay(true, DELAY_MAX, &self.options),
            Verdict::Failed { retry_after, .. } => {
                slot.doubt();
                if let Some(needs_worker) = slot.go_on(landed != Landed::Latest) {
                    return (needs_worker, errors);
                }
                let at_least = retry_after.unwrap_or_default().min(DELAY_MAX);
                slot.delay(false, at_least, &self.options)
            }
        };
        (needs_worker, errors)
    }

    /// Waits until the rate limit lets one more ordinary write through through. A write that is
    /// abandoned while it waits takes no token.
    async fn pass_limit(&self) {
        let Some(limit) = self.options.rate_limit else {
            return;
        };
        let mut bucket = self.ordinary_rate.lock().await;
        let now = self.clock.moment();
        if let Some(until) = bucket.empty_until(limit, now) {
            tokio::time::sleep(until.since(now)).await;
        }
        bucket.take(limit, self.clock.moment());
    }
}
