//! One request, one answer. Everything is in memory: only the status page waits, for news.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::live::{self, StatusStream};
use super::{ConnectionState, Handlers, Surface};
use crate::logic::model::Key;
use crate::logic::time::Moment;
use crate::metrics::{self, Scrape};

/// Up to here a scrape is collected before the answer begins: small installations get it whole, or
/// a clean 503. It also bounds the pieces of a larger one from below.
const PIECE_BYTES: usize = 256 * 1024;

/// The body of an answer.
pub(super) enum Reply {
    /// All of it, taken when sent.
    Whole(Bytes),
    /// A scrape that is written while it is read, piece by piece.
    ChunkedScrape(Box<ChunkedScrape>),
    /// The rows of the status page, as they change.
    StatusStream(Box<StatusStream>),
}

/// The rest of a scrape.
pub(super) struct ChunkedScrape {
    scrape: Scrape,
    ready: String,
    deadline: Moment,
    served: Arc<ConnectionState>,
}

/// A scrape took too long; the connection is cut, so that no half text is taken for a whole one.
#[derive(Debug)]
pub(super) struct Overdue;

impl fmt::Display for Overdue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the scrape took too long")
    }
}

impl std::error::Error for Overdue {}

impl Body for Reply {
    type Data = Bytes;
    type Error = Overdue;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Overdue>>> {
        let piece = match &mut *self {
            Self::StatusStream(live) => Ok(ready!(live.poll_next(context))),
            Self::Whole(bytes) => Ok(std::mem::take(bytes)),
            Self::ChunkedScrape(pieces) => pieces.next(),
        };
        Poll::Ready(match piece {
            Ok(bytes) if bytes.is_empty() => None,
            Ok(bytes) => Some(Ok(Frame::data(bytes))),
            Err(overdue) => Some(Err(overdue)),
        })
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::ChunkedScrape(_) | Self::StatusStream(_) => SizeHint::default(),
        }
    }
}

impl ChunkedScrape {
    fn next(&mut self) -> Result<Bytes, Overdue> {
        let mut text = std::mem::take(&mut self.ready);
        collect(&mut self.scrape, &mut text);
        self.served.handlers.in_time(self.deadline)?;
        Ok(text.into())
    }
}

/// Fills `text` up to the size of a piece; whether that was all.
fn collect(scrape: &mut Scrape, text: &mut String) -> bool {
    while text.len() < PIECE_BYTES {
        match scrape.next() {
            Some(part) => text.push_str(&part),
            None => return true,
        }
    }
    false
}

impl Handlers {
    fn in_time(&self, deadline: Moment) -> Result<(), Overdue> {
        if (self.clock)().moment <= deadline {
            return Ok(());
        }
        self.metrics.timed_out("", "metrics_collection");
        Err(Overdue)
    }
}

pub(super) fn answer<B>(
    port: Surface,
    served: &Arc<ConnectionState>,
    request: &Request<B>,
) -> Response<Reply> {
    let handlers = &served.handlers;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        let allowed = const { hyper::header::HeaderValue::from_static("GET, HEAD") };
        reply.headers_mut().insert(ALLOW, allowed);
        return reply;
    }
    match (port, request.uri().path()) {
        (Surface::Metrics, "/metrics") => scrape(served),
        (Surface::Metrics, "/") if handlers.board.is_some() => page(),
        (Surface::Metrics, "/status/stream") if handlers.board.is_some() => {
            let last = request.headers().get("last-event-id");
            stream(served, last.and_then(|id| id.to_str().ok()))
        }
        (Surface::Probes, "/healthz") => probe(&handlers.health.check((handlers.clock)().moment)),
        (Surface::Probes, "/readyz") => probe(&handlers.readiness.check()),
        (Surface::Debug, "/debug/state") => state(handlers, request.uri().query()),
        (Surface::Metrics, _) if handlers.board.is_some() => {
            text(StatusCode::NOT_FOUND, "here are / and /metrics\n")
        }
        (Surface::Metrics, _) => text(StatusCode::NOT_FOUND, "here is only /metrics\n"),
        (Surface::Probes, _) => text(StatusCode::NOT_FOUND, "here are /healthz and /readyz\n"),
        (Surface::Debug, _) => text(
            StatusCode::NOT_FOUND,
            "here are /debug/state and /debug/state?service=<namespace>/<name>\n",
        ),
    }
}

fn page() -> Response<Reply> {
    let body = Reply::Whole(Bytes::from_static(live::PAGE.as_bytes()));
    let mut response = respond(StatusCode::OK, "text/html; charset=utf-8", body);
    for (name, value) in live::HEADERS {
        let value = hyper::header::HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

fn stream(served: &Arc<ConnectionState>, last_id: Option<&str>) -> Response<Reply> {
    match StatusStream::new(served, last_id) {
        Some(live) => respond(
            StatusCode::OK,
            "text/event-stream",
            Reply::StatusStream(Box::new(live)),
        ),
        None => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many status pages are open\n",
        ),
    }
}

fn scrape(served: &Arc<ConnectionState>) -> Response<Reply> {
    let handlers = &served.handlers;
    let now = (handlers.clock)();
    let deadline = now.moment + handlers.collection_timeout;
    let mut scrape = handlers.metrics.scrape(now);
    let mut ready = String::new();
    let complete = collect(&mut scrape, &mut ready);
    if handlers.in_time(deadline).is_err() {
        let why = "collecting took longer than --metrics-collection-timeout-seconds\n";
        return text(StatusCode::SERVICE_UNAVAILABLE, why);
    }
    let body = if complete {
        Reply::Whole(ready.into())
    } else {
        Reply::ChunkedScrape(Box::new(ChunkedScrape {
            scrape,
            ready,
            deadline,
            served: Arc::clone(served),
        }))
    };
    respond(StatusCode::OK, metrics::CONTENT_TYPE, body)
}

fn probe(verdict: &Result<(), String>) -> Response<Reply> {
    match verdict {
        Ok(()) => text(StatusCode::OK, "ok\n"),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n")),
    }
}

fn state(handlers: &Handlers, query: Option<&str>) -> Response<Reply> {
    let pairs = query.unwrap_or_default().split('&');
    let asked = pairs
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(name, value)| (name == "service").then(|| decoded(value)));
    let Some(asked) = asked else {
        return list(handlers);
    };
    let key = match asked.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Key::new(namespace, name)
        }
        _ => {
            let hint = "expected ?service=<namespace>/<name>\n";
            return text(StatusCode::BAD_REQUEST, hint);
        }
    };
    match (handlers.explain)(&key) {
        Some(value) => pretty(&value),
        None => text(
            StatusCode::NOT_FOUND,
            &format!("{key} is not known here; /debug/state lists the Services that are\n"),
        ),
    }
}

/// All Services. Written as text line by line: a tree of ten thousand would take megabytes, which the
/// process would keep.
fn list(handlers: &Handlers) -> Response<Reply> {
    let mut body = String::from("{\n  \"services\": [");
    for (at, (key, state)) in handlers.metrics.states().into_iter().enumerate() {
        let service = json!({ "service": key.to_string(), "state": state.as_str() });
        body.push_str(if at == 0 { "\n" } else { ",\n" });
        body.push_str("    ");
        body.push_str(&service.to_string());
    }
    body.push_str("\n  ]\n}\n");
    respond(
        StatusCode::OK,
        "application/json",
        Reply::Whole(body.into()),
    )
}

fn pretty(value: &Value) -> Response<Reply> {
    // `{:#}` of a Value is indented JSON and cannot fail.
    let body = Reply::Whole(format!("{value:#}\n").into());
    respond(StatusCode::OK, "application/json", body)
}

fn text(status: StatusCode, text: &str) -> Response<Reply> {
    let body = Reply::Whole(Bytes::copy_from_slice(text.as_bytes()));
    respond(status, "text/plain; charset=utf-8", body)
}

fn respond(status: StatusCode, content_type: &'static str, body: Reply) -> Response<Reply> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let value = |text| hyper::header::HeaderValue::from_static(text);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, value(content_type));
    headers.insert(CACHE_CONTROL, value("no-store"));
    response
}

/// Undoes percent-encoding; what is none stays as it is.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = (bytes[i] == b'%')
            .then(|| text.get(i + 1..i + 3))
            .flatten()
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(hex.unwrap_or(bytes[i]));
        i += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding() {
        for (text, expected) in [
            ("n/s", "n/s"),
            ("n%2Fs", "n/s"),
            ("n%2fs%", "n/s%"),
            ("%2", "%2"),
            ("%+1", "%+1"),
            ("%é", "%é"),
            ("%ff", "\u{fffd}"),
            ("", ""),
        ] {
            assert_eq!(decoded(text), expected, "{text}");
        }
    }
}
