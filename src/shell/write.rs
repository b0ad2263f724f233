//! Sends the writes that the machines want. Per object one request at a time, and behind it one
//! place that a newer decision takes over. Retries for ever; decides nothing about content.
//!
//! A worker task lives as long as its object has something to be written. Failover writes have
//! slots of their own, so nothing ordinary ever stands before them.

mod answer;
mod slot;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use foldhash::fast::FixedState;
use kube_client::Client;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub use answer::{Observed, Settled, Verdict};
use slot::{Errand, Slot, State};

use super::api::{self, CallError};
use super::clock::Clock;
use crate::config::{FastRetry, RateLimit};
use crate::logic::fsm::Cause;
use crate::logic::model::Key;
use crate::logic::plan::{Action, Lane, Target, Write};
use crate::metrics::Metrics;
use crate::planted::{self, Bug};

/// Failover writes in flight: more than an API server works on at once, and less than what would
/// have it shed load when a node with a thousand leaders dies.
pub const FAILOVER_SLOTS: usize = 64;
/// Longest time between two attempts.
const DELAY_MAX: Duration = Duration::from_secs(30);
/// First delay after a refusal: trying again at once would only be refused again.
const REFUSED_DELAY: Duration = Duration::from_secs(1);
/// A write that moves traffic is worth a second try after this long without an answer.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(5);
/// Any other request may take this long.
const TIMEOUT: Duration = Duration::from_secs(10);
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
    failover: Semaphore,
    ordinary: Semaphore,
    trailing: Semaphore,
    /// When the rate limit would be used up no more. Tokio's lock, held by the one whose turn is
    /// next until that has come: so they pass in the order in which they came.
    next_ordinary: tokio::sync::Mutex<Option<Instant>>,
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
            failover: Semaphore::new(FAILOVER_SLOTS),
            ordinary: Semaphore::new(options.in_flight_max.max(1)),
            trailing: Semaphore::new((options.in_flight_max / 4).max(1)),
            next_ordinary: tokio::sync::Mutex::new(None),
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
                let known = slots.iter_mut().find(|slot| slot.write.target == target);
                let needs_worker = if let Some(slot) = known {
                    slot.replace(write, cause, &self.0.options)
                } else {
                    slots.push(Slot::new(write, cause));
                    true
                };
                started.extend(needs_worker.then_some(target));
            }
            if slots.is_empty() {
                all.remove(source);
            }
        }
        for target in started {
            let worker = Arc::clone(&self.0).work(source.clone(), target);
            let _runs_alone = (self.0.options.spawn)(Box::pin(worker));
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

/// What a worker has to do now.
struct Turn {
    errand: Errand,
    write: Write,
    cause: Cause,
    /// From 1.
    attempt: u32,
}

/// A place in a lane, and for what trails its share of it. The lanes are never closed.
type Place<'a> = (Option<SemaphorePermit<'a>>, Option<SemaphorePermit<'a>>);

/// Waits until all who have queued for a place before have one, and takes none: places are given
/// in the order in which they were asked for.
async fn turn(lane: &Semaphore) {
    drop(lane.acquire().await);
}

impl Inner {
    /// Works until the object has nothing to be written.
    async fn work(self: Arc<Self>, source: Key, target: Target) {
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
            let Some(Turn {
                errand,
                write,
                cause,
                attempt,
            }) = self.take(&source, &target, lane)
            else {
                continue;
            };
            // 3. Send it.
            let under_way = UnderWay::of(&self);
            let started = Instant::now();
            if lane == Lane::Failover && cause.pod_changed.is_some() && attempt == 1 {
                self.metrics
                    .decided_within(self.clock.moment().since(cause.at));
            }
            // Boxed, so that the thousands that wait for a place take no room for an exchange.
            let verdict = match Box::pin(self.run(errand, &write)).await {
                // The server tells of a deletion before it gives the Service's address back.
                Verdict::AddressTaken(status) if attempt < ADDRESS_ATTEMPTS => {
                    Verdict::AddressHeld(status)
                }
                verdict => verdict,
            };
            let took = started.elapsed();
            drop(place);
            // 4. First the slot, then the news: who hears of them may write the object again.
            let is_done = self.put_back(&source, &target, &verdict);
            let settled = Settled {
                source: source.clone(),
                write,
                verdict,
                attempt,
                took,
            };
            if let Some(settle) = self.settle.get() {
                settle(settled);
            }
            drop(under_way);
            if is_done {
                return;
            }
        }
    }

    /// A place to send from. What only says who leads comes after all that moves traffic or makes
    /// it possible, and takes at most a quarter of the ordinary places.
    async fn place(&self, lane: Lane) -> Place<'_> {
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
        (slot.state == State::Waiting)
            .then(|| (slot.write.lane, slot.not_before, Arc::clone(&slot.wake)))
    }

    /// Takes the write, unless the decision changed lanes or was dropped.
    fn take(&self, source: &Key, target: &Target, lane: Lane) -> Option<Turn> {
        if self.is_closed.load(Ordering::Relaxed) {
            return None;
        }
        let may_write = (self.options.may_write)();
        if !may_write {
            // Its time came without anybody having been told yet, for instance during a SIGSTOP.
            self.drop_waiting(source, target);
        }
        let mut slots = self.slots.lock();
        let slot = slots
            .get_mut(source)?
            .iter_mut()
            .find(|slot| slot.write.target == *target)?;
        if slot.state != State::Waiting
            || slot.write.lane != lane
            || slot.not_before.is_some_and(|at| Instant::now() < at)
            || (slot.errand == Errand::Write && !may_write)
        {
            return None;
        }
        slot.state = State::InFlight;
        slot.attempt += 1;
        Some(Turn {
            errand: slot.errand,
            write: slot.write.clone(),
            cause: slot.cause,
            attempt: slot.attempt,
        })
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

    /// Frees the slot, or sets the time of the next attempt. Returns whether the worker is done.
    fn put_back(&self, source: &Key, target: &Target, verdict: &Verdict) -> bool {
        let mut all = self.slots.lock();
        let Some(slots) = all.get_mut(source) else {
            return true;
        };
        let Some(at) = slots.iter().position(|slot| slot.write.target == *target) else {
            return true;
        };
        let slot = &mut slots[at];
        match verdict {
            Verdict::Refused(_) if planted::is(Bug::RefusedForEver) => true,
            Verdict::Failed { .. } if planted::is(Bug::SilenceIsConsent) => {
                slots.swap_remove(at);
                true
            }
            Verdict::Accepted(_) | Verdict::Found(_) | Verdict::AddressTaken(_) => {
                slots.swap_remove(at);
                if slots.is_empty() {
                    all.remove(source);
                }
                true
            }
            Verdict::Overtaken(_) => {
                slot.rest();
                true
            }
            Verdict::AddressHeld(_) => {
                slot.pause(ADDRESS_DELAY);
                false
            }
            Verdict::Refused(_) => {
                slot.delay(true, REFUSED_DELAY, &self.options);
                false
            }
            Verdict::Quiet => {
                slot.delay(true, DELAY_MAX, &self.options);
                false
            }
            Verdict::Failed { retry_after, .. } => {
                slot.doubt();
                slot.delay(
                    false,
                    retry_after.unwrap_or_default().min(DELAY_MAX),
                    &self.options,
                );
                false
            }
        }
    }

    /// Waits until the rate limit lets one more ordinary write through (GCRA). Who gives up while
    /// it waits has used no turn.
    async fn pass_limit(&self) {
        let Some(limit) = self.options.rate_limit else {
            return;
        };
        let period = Duration::from_secs_f64(1.0 / limit.qps);
        let mut next = self.next_ordinary.lock().await;
        let until = next.and_then(|next| next.checked_sub(period * (limit.burst.get() - 1)));
        if let Some(until) = until {
            tokio::time::sleep_until(until).await;
        }
        let now = Instant::now();
        *next = Some(next.map_or(now, |next| next.max(now)) + period);
    }

    /// Does what there is to be done about a write.
    async fn run(&self, errand: Errand, write: &Write) -> Verdict {
        if errand == Errand::Write {
            return self.send(write).await;
        }
        match self.read(write, TIMEOUT).await {
            Verdict::Overtaken(observed) => Verdict::Found(observed),
            verdict => verdict,
        }
    }

    /// One request, and a second one to learn the truth where the first one met a surprise.
    async fn send(&self, write: &Write) -> Verdict {
        let timeout = if write.lane == Lane::Failover {
            FAILOVER_TIMEOUT
        } else {
            TIMEOUT
        };
        let answer = match api::unary(&self.client, request(write), timeout).await {
            Ok(answer) => answer,
            Err(why) => return failed(&why),
        };
        if answer.status.is_success() {
            return answer::accepted(write, &answer);
        }
        let status = answer.to_status();
        let is_create = matches!(write.action, Action::Create(_));
        match status.code {
            404 if !is_create => Verdict::Overtaken(Observed::Gone(write.target.clone())),
            409 if planted::is(Bug::ConflictIgnored) => {
                Verdict::Overtaken(Observed::Gone(write.target.clone()))
            }
            409 => self.read(write, timeout).await,
            _ => answer::refused(write, status),
        }
    }

    /// Reads the object: somebody else was faster.
    async fn read(&self, write: &Write, timeout: Duration) -> Verdict {
        match api::unary(
            &self.client,
            api::get(answer::path(&write.target, true)),
            timeout,
        )
        .await
        {
            Ok(answer) if answer.status.is_success() => answer::observed(write, &answer)
                .map_or_else(
                    |why| Verdict::Failed {
                        why,
                        retry_after: None,
                    },
                    Verdict::Overtaken,
                ),
            Ok(answer) if answer.status.as_u16() == 404 => {
                Verdict::Overtaken(Observed::Gone(write.target.clone()))
            }
            Ok(answer) => answer::refused(write, answer.to_status()),
            Err(why) => failed(&why),
        }
    }
}

fn failed(why: &CallError) -> Verdict {
    Verdict::Failed {
        why: why.to_string(),
        retry_after: None,
    }
}

fn request(write: &Write) -> http::Request<Vec<u8>> {
    let query = [("fieldManager", "zen-lead"), ("fieldValidation", "Strict")];
    let at = |named| api::with_query(answer::path(&write.target, named), &query);
    let (method, uri, content, body) = match &write.action {
        Action::Create(object) => (
            http::Method::POST,
            at(false),
            "application/json",
            object.as_str().to_owned(),
        ),
        Action::Patch { version, ops } => {
            let guard = json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": version.to_string() });
            let mut parts = vec![guard.to_string()];
            if planted::is(Bug::NoVersionGuard) {
                parts.clear();
            }
            // Plain data always serializes.
            parts.extend(
                ops.iter()
                    .map(|op| serde_json::to_string(op).unwrap_or_default()),
            );
            (
                http::Method::PATCH,
                at(true),
                "application/json-patch+json",
                format!("[{}]", parts.join(",")),
            )
        }
        Action::Delete { uid, version } => {
            let options = json!({
                "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
                "preconditions": { "uid": uid, "resourceVersion": version.to_string() },
            });
            let uri = answer::path(&write.target, true);
            (
                http::Method::DELETE,
                uri,
                "application/json",
                options.to_string(),
            )
        }
    };
    let mut request = http::Request::new(body.into_bytes());
    *request.method_mut() = method;
    // Names come from the API server, or were checked as DNS labels: they are fine in a path.
    *request.uri_mut() = uri.parse().unwrap_or_default();
    let content = http::HeaderValue::from_static(content);
    request
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, content);
    request
}
