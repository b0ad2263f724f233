//! The status page: one file, and its rows as server-sent events.
//!
//! See <https://html.spec.whatwg.org/multipage/server-sent-events.html>. A stream ends by itself
//! before its connection would be cut; the browser comes back and says how far it got.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::ConnectionState;
use crate::status_page::StatusPage;

/// The page.
pub(super) const PAGE: &str = include_str!("page.html");

/// The page may run its own script and talk to us, and nothing else.
pub(super) const HEADERS: [(&str, &str); 3] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
];

/// Pages that are open at a time: a quarter of the port's connections, so that a scrape always
/// finds a place.
pub(super) const PAGES_MAX: usize = 16;

/// How late news may be on the page.
const TICK: Duration = Duration::from_millis(100);
/// How often a page hears that we live, in ticks.
const BEAT_TICKS: u32 = 20;
/// A stream ends after this time, before its connection does.
const STREAM_AGE_MAX: Duration = Duration::from_secs(45);
/// How soon a browser comes back.
const RETRY_MS: u32 = 300;

/// One page that is open.
pub(super) struct StatusStream {
    served: Arc<ConnectionState>,
    board: Arc<StatusPage>,
    /// Number of the last change that the page has.
    upto: u64,
    tick: Interval,
    ticks: u32,
    until: Instant,
    _place: OwnedSemaphorePermit,
}

impl StatusStream {
    /// For a page that has everything up to `last_id`, as it was told; `None` if there are too many
    /// of them.
    pub(super) fn new(served: &Arc<ConnectionState>, last_id: Option<&str>) -> Option<Self> {
        let board = Arc::clone(served.handlers.board.as_ref()?);
        let place = Arc::clone(&served.pages).try_acquire_owned().ok()?;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Some(Self {
            served: Arc::clone(served),
            upto: last_id.map_or(0, |id| position(id, board.epoch())),
            board,
            tick,
            ticks: 0,
            until: Instant::now() + STREAM_AGE_MAX,
            _place: place,
        })
    }

    /// The next events; no bytes at the end.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Bytes> {
        loop {
            let is_behind = self.ticks > 0 && self.upto != self.board.last();
            if is_behind {
                return Poll::Ready(self.news());
            }
            ready!(self.tick.poll_tick(context));
            if self.served.closing.is_closed() || Instant::now() >= self.until {
                return Poll::Ready(Bytes::new());
            }
            let beats = self.ticks.is_multiple_of(BEAT_TICKS);
            self.ticks += 1;
            if beats {
                return Poll::Ready(self.beat());
            }
        }
    }

    fn news(&mut self) -> Bytes {
        let (news, upto) = self.board.news(self.upto);
        self.upto = upto;
        let id = format!("{}-{upto}", self.board.epoch());
        event("news", Some(&id), &news)
    }

    fn beat(&self) -> Bytes {
        let handlers = &self.served.handlers;
        let beat = json!({
            "now": (handlers.clock)().wall.to_string(),
            "active": handlers.metrics.is_active(),
            "version": env!("CARGO_PKG_VERSION"),
        });
        event("beat", None, &beat)
    }
}

/// How far a page got. A page that knows another process has to start over: no number is that high.
fn position(id: &str, epoch: i64) -> u64 {
    id.rsplit_once('-')
        .filter(|(of, _)| *of == epoch.to_string())
        .and_then(|(_, number)| number.parse().ok())
        .unwrap_or(u64::MAX)
}

fn event(name: &str, id: Option<&str>, data: &impl Serialize) -> Bytes {
    // Strings, numbers and lists: what could fail is a map with keys that are no strings.
    let data = serde_json::to_string(data).unwrap_or_default();
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("retry: {RETRY_MS}\n{id}event: {name}\ndata: {data}\n\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_process_starts_over() {
        for (id, expected) in [
            ("17-4", 4),
            ("17-0", 0),
            ("18-4", u64::MAX),
            ("4", u64::MAX),
            ("", u64::MAX),
            ("17-x", u64::MAX),
            ("-17-4", u64::MAX),
        ] {
            assert_eq!(position(id, 17), expected, "{id:?}");
        }
        assert_eq!(position("-17-4", -17), 4, "before 1970");
    }
}
