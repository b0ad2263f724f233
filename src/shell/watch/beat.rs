//! Waiting with signs of life, and what a request that came to nothing means to the protocol.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::WatchNote;
use crate::logic::reflect::Failure;
use crate::shell::api::{CallError, StreamError};
use crate::shell::clock::HEARTBEAT;

/// Awaits `future` for at most `limit`, with a sign of life in between.
pub(super) async fn beating<F: Future>(
    observe: &mut impl FnMut(WatchNote<'_>),
    limit: Option<Duration>,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let deadline = limit.map(|limit| Instant::now() + limit);
    loop {
        let beat = Instant::now() + HEARTBEAT;
        let until = deadline.map_or(beat, |deadline| deadline.min(beat));
        match timeout_at(until, future.as_mut()).await {
            Ok(output) => return Some(output),
            Err(_) if Some(until) == deadline => return None,
            Err(_) => observe(WatchNote::Alive),
        }
    }
}

pub(super) fn from_call(error: CallError) -> Failure {
    match error {
        CallError::Timeout(_) => Failure::Timeout,
        CallError::Transport(text) => Failure::Transport(text.into()),
    }
}

pub(super) fn from_stream(error: StreamError) -> Failure {
    match error {
        StreamError::Status(status) => Failure::Status(status),
        StreamError::Transport(text) => Failure::Transport(text.into()),
        StreamError::TooLong => Failure::Malformed(error.to_string().into()),
    }
}
