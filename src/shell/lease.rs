//! Performs what [`Claim`] asks for, one request at a time, and says until when this replica may
//! write. Decides nothing.
//!
//! [`WritePermit`] is what all other tasks see: a moment. A task that is about to send a request compares
//! it with the clock. So a process that was stopped for a minute is inactive before its first
//! instruction afterwards, whichever of its tasks runs first.

mod log;

use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use http::{HeaderValue, Method, header};
use kube_client::Client;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::log::LeaseLog;
use super::api::{self, ApiStatus};
use super::clock::{Clock, HEARTBEAT};
use crate::logic::claim::{Claim, ClaimEvent, LeaseAnswer, LeaseParams, LeaseRequest, Purpose};
use crate::logic::model::{Lease, Version};
use crate::logic::time::{Moment, Now};

/// Comes before every moment: not active.
const NEVER: i64 = i64::MIN;

/// This replica began or ceased to be the one that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenureChange {
    /// It writes.
    Active {
        /// For so long no replica wrote, as far as this one can tell.
        vacant: Duration,
    },
    /// It stands by.
    Standby,
}

/// Whether this replica may write. Cloned freely, asked right before every write.
#[derive(Clone)]
pub struct WritePermit {
    /// In microseconds of the clock's steady time.
    until: Arc<AtomicI64>,
    clock: Clock,
}

impl WritePermit {
    fn new(clock: Clock) -> Self {
        Self {
            until: Arc::new(AtomicI64::new(NEVER)),
            clock,
        }
    }

    /// Whether it may write at this very moment. Costs a load and a look at the clock.
    #[must_use]
    pub fn is_active(&self) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        self.clock.steady() < Moment(until)
    }
}

/// Takes part in the election. Cloned freely.
#[derive(Clone)]
pub struct Elector(Arc<ElectorInner>);

struct ElectorInner {
    client: Client,
    terms: LeaseParams,
    clock: Clock,
    jitter: Arc<dyn Fn() -> f64 + Send + Sync>,
    tenure: WritePermit,
    /// What the loop has not seen yet. Locked to put something in, or to take something out.
    mail: Mutex<Inbox>,
    delivered: Notify,
    /// Told when a stop is over.
    over: Notify,
}

/// Of news about the Lease only the latest count.
#[derive(Default)]
struct Inbox {
    restored: Option<ClaimEvent>,
    news: Option<ClaimEvent>,
    synced: Option<ClaimEvent>,
    stop: Option<ClaimEvent>,
}

impl Inbox {
    fn take(&mut self) -> Option<ClaimEvent> {
        let Self {
            restored,
            news,
            synced,
            stop,
        } = self;
        // What is known has to be doubted before news are judged by it.
        stop.take()
            .or_else(|| restored.take())
            .or_else(|| news.take())
            .or_else(|| synced.take())
    }
}

impl Elector {
    /// Makes one that is not active. Nothing is asked for before [`Self::run`].
    #[must_use]
    pub fn new(
        client: Client,
        terms: LeaseParams,
        clock: Clock,
        jitter: Arc<dyn Fn() -> f64 + Send + Sync>,
    ) -> Self {
        Self(Arc::new(ElectorInner {
            client,
            terms,
            tenure: WritePermit::new(clock.clone()),
            clock,
            jitter,
            mail: Mutex::default(),
            delivered: Notify::new(),
            over: Notify::new(),
        }))
    }

    /// Whether this replica may write, now and later.
    #[must_use]
    pub fn tenure(&self) -> WritePermit {
        self.0.tenure.clone()
    }

    /// The Lease as a watch shows it.
    pub fn seen(&self, lease: Lease) {
        self.deliver(|mail| mail.news = Some(ClaimEvent::Seen(Box::new(lease))));
    }

    /// A watch shows that there was no Lease at this version.
    pub fn gone(&self, version: Version) {
        self.deliver(|mail| mail.news = Some(ClaimEvent::Gone(version)));
    }

    /// The server was restored from a backup: versions of the Lease compare from zero.
    pub fn restored(&self) {
        self.deliver(|mail| mail.restored = Some(ClaimEvent::Restored));
    }

    /// The stores are warm.
    pub fn synced(&self) {
        self.deliver(|mail| mail.synced = Some(ClaimEvent::Synced));
    }

    /// Gives the Lease up, and waits until others can know.
    pub async fn release(&self) {
        let over = self.0.over.notified();
        self.deliver(|mail| mail.stop = Some(ClaimEvent::Stop));
        over.await;
    }

    fn deliver(&self, put: impl FnOnce(&mut Inbox)) {
        put(&mut self.0.mail.lock());
        self.0.delivered.notify_one();
    }

    /// Holds the Lease whenever it can, for ever. `alive` is called at least every few seconds.
    pub async fn run(self, changed: impl FnMut(TenureChange), alive: impl Fn()) -> Infallible {
        let inner = &*self.0;
        let mut told = LeaseLog::new(changed);
        let mut claim = Claim::new(inner.terms.clone());
        let mut under_way: Option<PendingRequest<'_>> = None;
        let mut event = ClaimEvent::Tick;
        loop {
            alive();
            let now = inner.now();
            let step = claim.step(event, now, (inner.jitter)());
            claim = step.claim;
            let until = claim.active_until();
            let micros = until.map_or(NEVER, |until| until.0);
            inner.tenure.until.store(micros, Ordering::Relaxed);
            told.of(&claim, &inner.terms, now.moment);
            if claim.is_over() {
                inner.over.notify_waiters();
            }
            if let Some(request) = step.request {
                under_way = Some(Box::pin(inner.perform(request)));
            }
            let wake = inner.instant(step.deadline);
            event = tokio::select! {
                biased;
                outcome = landed(&mut under_way) => {
                    let now = inner.clock.steady();
                    ClaimEvent::Answered(told.outcome(outcome, &inner.terms, now))
                }
                event = inner.mail() => event,
                () = tokio::time::sleep_until(wake) => ClaimEvent::Tick,
            };
        }
    }
}

type PendingRequest<'a> = Pin<Box<dyn Future<Output = RequestOutcome> + Send + 'a>>;

/// An answer, or why there is none.
struct RequestOutcome {
    purpose: Purpose,
    answer: Result<LeaseAnswer, RequestFailure>,
}

/// Why something did not work.
enum RequestFailure {
    Refused(ApiStatus),
    Lost(String),
}

/// Until the request under way has its outcome; never without one.
async fn landed(under_way: &mut Option<PendingRequest<'_>>) -> RequestOutcome {
    let Some(request) = under_way else {
        return pending().await;
    };
    let outcome = request.await;
    *under_way = None;
    outcome
}

impl ElectorInner {
    fn now(&self) -> Now {
        Now {
            moment: self.clock.steady(),
            ..self.clock.now()
        }
    }

    /// When to come again. Timers do not run while the machine is suspended, so one may be late by
    /// as much; nothing but a take-over waits for them.
    fn instant(&self, deadline: Option<Moment>) -> Instant {
        let now = self.clock.steady();
        let span = deadline.map_or(HEARTBEAT, |at| at.since(now).min(HEARTBEAT));
        Instant::now() + span
    }

    async fn mail(&self) -> ClaimEvent {
        loop {
            let delivered = self.delivered.notified();
            if let Some(event) = self.mail.lock().take() {
                return event;
            }
            delivered.await;
        }
    }

    /// One request. Nothing but its own time limit cuts it short: what it brings back counts from when
    /// it was sent, however late.
    async fn perform(&self, request: LeaseRequest) -> RequestOutcome {
        let (purpose, request) = self.to_http(request);
        let answer = match api::unary(&self.client, request, self.terms.answer_max()).await {
            Err(why) => Err(RequestFailure::Lost(why.to_string())),
            Ok(answer) if answer.status.is_success() => serde_json::from_slice(&answer.body)
                .map(|lease| LeaseAnswer::Lease(Box::new(lease)))
                .map_err(|why| {
                    RequestFailure::Lost(format!("an answer that does not parse: {why}"))
                }),
            Ok(answer) => match answer.status.as_u16() {
                404 if purpose != Purpose::Create => Ok(LeaseAnswer::Absent),
                409 if purpose != Purpose::Read => Ok(LeaseAnswer::Overtaken),
                _ => Err(RequestFailure::Refused(answer.to_status())),
            },
        };
        RequestOutcome { purpose, answer }
    }

    fn to_http(&self, request: LeaseRequest) -> (Purpose, http::Request<Vec<u8>>) {
        let key = &self.terms.lease;
        let path = |name| api::path::<Lease>(Some(&*key.namespace), name);
        let query = [("fieldManager", "zen-lead")];
        let (purpose, method, path, content, body) = match request {
            LeaseRequest::Read => return (Purpose::Read, api::get(path(Some(&*key.name)))),
            LeaseRequest::Create(lease) => (
                Purpose::Create,
                Method::POST,
                path(None),
                "application/json",
                lease,
            ),
            LeaseRequest::Patch(purpose, ops) => (
                purpose,
                Method::PATCH,
                path(Some(&*key.name)),
                "application/json-patch+json",
                ops,
            ),
        };
        let mut request = http::Request::new(body.to_string().into_bytes());
        *request.method_mut() = method;
        // `path` escapes whatever a URI could not hold.
        *request.uri_mut() = api::with_query(path, &query).parse().unwrap_or_default();
        let content = HeaderValue::from_static(content);
        request.headers_mut().insert(header::CONTENT_TYPE, content);
        (purpose, request)
    }
}
