//! Sends Events: one bounded queue, one task, few requests in flight. Nothing waits for it.
//!
//! What to send is `logic::event`'s decision; here it is sent, repeated a few times, and given up.
//! An Event that is lost costs a line of `kubectl describe`; a controller that waits for one costs
//! a failover. So the queue drops its oldest note when it is full, and counts that.

use std::collections::VecDeque;
use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::logic::event::{Aggregator, EventAction, EventRecord, Note, Subject};
use crate::logic::model::Uid;
use crate::logic::reflect::ApiStatus;
use crate::logic::time::Now;

/// Notes that wait. A thousand failovers at once fit in; what is older than a thousand notes is of
/// less use than what is newer.
const QUEUE_MAX: usize = 1024;

/// Requests in flight: Events are the least important thing that the API server hears from us.
pub const IN_FLIGHT_MAX: usize = 3;

/// How long one request may take.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// Delays before the repetitions of a request that failed; after the last one it is given up.
const RETRY_DELAYS: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(8),
];

/// A server that asks for a longer pause than this is asked again after it all the same.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

/// The end that notes are put into. Cloned freely.
#[derive(Clone, Debug)]
pub struct Events(Arc<Queue>);

/// The end that sends them.
#[derive(Debug)]
pub struct EventSender {
    queue: Arc<Queue>,
    aggregator: Aggregator,
    instance: String,
}

#[derive(Debug, Default)]
struct Queue {
    /// Locked to put one in, or to take one out; never across an await.
    notes: Mutex<VecDeque<Queued>>,
    dropped: AtomicU64,
    filled: Notify,
}

#[derive(Debug)]
struct Queued {
    subject: Subject,
    note: Note,
    at: Now,
}

/// Both ends of a queue. `instance` is the pod that reports.
#[must_use]
pub fn queue(instance: &str) -> (Events, EventSender) {
    let queue = Arc::new(Queue::default());
    let poster = EventSender {
        queue: Arc::clone(&queue),
        aggregator: Aggregator::new(instance),
        instance: instance.into(),
    };
    (Events(queue), poster)
}

impl Events {
    /// Tells something about a Service. Never waits; when the queue is full, its oldest note goes.
    pub fn note(&self, subject: Subject, note: Note, at: Now) {
        {
            let mut notes = self.0.notes.lock();
            if notes.len() >= QUEUE_MAX {
                notes.pop_front();
                self.0.dropped.fetch_add(1, Relaxed);
            }
            notes.push_back(Queued { subject, note, at });
        }
        self.0.filled.notify_one();
    }

    /// Notes that were dropped because the queue was full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Relaxed)
    }
}

impl Queue {
    /// The oldest note about a Service that no request in flight is about: so that a patch never
    /// overtakes the creation of its Event.
    fn take(&self, busy: &[(Uid, impl Sized)]) -> Option<Queued> {
        let mut notes = self.notes.lock();
        let at = notes
            .iter()
            .position(|queued| busy.iter().all(|(uid, _)| *uid != queued.subject.uid))?;
        notes.remove(at)
    }
}

impl EventSender {
    /// Sends what is put into the queue, for as long as it is polled. `send` performs one request;
    /// it is given a relative URI, the content type and the body.
    pub async fn run<S, F, E>(mut self, send: S)
    where
        S: Fn(Request<Bytes>) -> F,
        F: Future<Output = Result<Response<Bytes>, E>>,
        E: Display,
    {
        let queue = Arc::clone(&self.queue);
        let instance = self.instance.clone();
        let refused = AtomicBool::new(false);
        let mut flying: Vec<(Uid, Pin<Box<_>>)> = Vec::with_capacity(IN_FLIGHT_MAX);
        loop {
            while flying.len() < IN_FLIGHT_MAX {
                let Some(Queued { subject, note, at }) = queue.take(&flying) else {
                    break;
                };
                let uid = subject.uid.clone();
                let (method, record) = match self.aggregator.judge(&subject, note, at) {
                    EventAction::Create(record) => (Method::POST, record),
                    EventAction::Patch(record) => (Method::PATCH, record),
                    EventAction::Drop => continue,
                };
                let delivery = deliver(&send, method, record, &instance, &refused);
                flying.push((uid, Box::pin(delivery)));
            }
            tokio::select! {
                biased;
                () = landed(&mut flying) => {}
                () = queue.filled.notified(), if flying.len() < IN_FLIGHT_MAX => {}
            }
        }
    }
}

/// Until one of them is done, which is then taken out. Never, when there are none.
async fn landed<F: Future<Output = ()>>(flying: &mut Vec<(Uid, Pin<Box<F>>)>) {
    poll_fn(|context| {
        let ready = |(_, future): &mut (Uid, Pin<Box<F>>)| future.as_mut().poll(context).is_ready();
        match flying.iter_mut().position(ready) {
            Some(at) => {
                flying.swap_remove(at);
                Poll::Ready(())
            }
            None => Poll::Pending,
        }
    })
    .await;
}

/// What an answer means for its Event.
enum Next {
    Done,
    /// The Event is gone: it is created again, with its count.
    Recreate,
    /// After this long at least.
    Retry(Duration),
}

async fn deliver<S, F, E>(
    send: &S,
    mut method: Method,
    record: EventRecord,
    instance: &str,
    refused: &AtomicBool,
) where
    S: Fn(Request<Bytes>) -> F,
    F: Future<Output = Result<Response<Bytes>, E>>,
    E: Display,
{
    let mut delays = RETRY_DELAYS.into_iter();
    loop {
        let answer = timeout(REQUEST_MAX, send(request(&method, &record, instance))).await;
        let next = match answer {
            Ok(Ok(response)) => judge(&method, &record, &response, refused),
            Ok(Err(error)) => {
                debug!(service = %record.subject.key, %error, "an event could not be sent");
                Next::Retry(Duration::ZERO)
            }
            Err(_) => Next::Retry(Duration::ZERO),
        };
        match next {
            Next::Done => return,
            Next::Recreate => method = Method::POST,
            Next::Retry(at_least) => {
                let Some(delay) = delays.next() else {
                    let EventRecord { subject, note, .. } = record;
                    debug!(service = %subject.key, note.reason, "an event was given up");
                    return;
                };
                sleep(delay.max(at_least)).await;
            }
        }
    }
}

fn request(method: &Method, record: &EventRecord, instance: &str) -> Request<Bytes> {
    let namespace = &record.subject.key.namespace;
    let mut uri = format!("/api/v1/namespaces/{namespace}/events");
    let (content_type, body) = if *method == Method::PATCH {
        uri.extend(["/", &record.name]);
        ("application/merge-patch+json", record.patch())
    } else {
        ("application/json", record.object(instance))
    };
    uri.push_str("?fieldManager=zen-lead");
    let mut request = Request::new(Bytes::from(body.to_string()));
    *request.method_mut() = method.clone();
    // Names of namespaces and Services are DNS names: nothing in it needs escaping.
    *request.uri_mut() = uri.parse().unwrap_or_default();
    let value = http::HeaderValue::from_static(content_type);
    request.headers_mut().insert(CONTENT_TYPE, value);
    request
}

fn is_namespace_terminating(status: StatusCode, body: &[u8]) -> bool {
    status == StatusCode::FORBIDDEN
        && ApiStatus::parse(status.as_u16(), body).has_cause("NamespaceTerminating")
}

fn judge(
    method: &Method,
    record: &EventRecord,
    response: &Response<Bytes>,
    refused: &AtomicBool,
) -> Next {
    let said = || String::from_utf8_lossy(response.body());
    let service = &record.subject.key;
    match response.status() {
        status if status.is_success() => Next::Done,
        StatusCode::NOT_FOUND if *method == Method::PATCH => Next::Recreate,
        // The namespace is gone; or the Event is there already, made by an attempt whose answer
        // was lost.
        StatusCode::NOT_FOUND | StatusCode::CONFLICT => Next::Done,
        status if is_namespace_terminating(status, response.body()) => Next::Done,
        StatusCode::FORBIDDEN => {
            // It will be so for every event: said once is enough.
            if !refused.swap(true, Relaxed) {
                warn!(%service, answer = %said(), "events are refused, RBAC should allow create and patch");
            }
            Next::Done
        }
        status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
            Next::Retry(retry_after(response.headers()))
        }
        status => {
            debug!(%service, %status, answer = %said(), "an event was refused");
            Next::Done
        }
    }
}

/// What the server asks for, in seconds; bounded.
fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| {
        let text = value.to_str().ok()?;
        text.parse().ok()
    });
    Duration::from_secs(seconds.unwrap_or(0)).min(RETRY_AFTER_MAX)
}
