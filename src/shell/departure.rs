//! Writes on their way to the connection, so that a loop with more news at hand can let them pass.
//! A leaf that every other file of `shell` may use.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// From a worker to the socket a request passes the client's queue, the connection's and its writer.
/// All of them run in one turn unless the runtime looks at its sockets in between; then in two.
const TURNS: usize = 2;
/// A worker that does not run in so many turns is held up by something else.
const TURNS_MAX: usize = 8;

/// Counts the writes that were started and have not run yet.
#[derive(Clone, Debug, Default)]
pub struct Departures(Arc<AtomicUsize>);

/// A write that has not run yet, for as long as it lives.
#[derive(Debug)]
pub struct Departure(Arc<AtomicUsize>);

impl Departures {
    /// One more.
    #[must_use]
    pub fn announce(&self) -> Departure {
        self.0.fetch_add(1, Ordering::Relaxed);
        Departure(Arc::clone(&self.0))
    }

    /// Gives the thread to others until what was announced has been handed to its connection. Costs
    /// turns of the runtime and no round trip; nothing if nothing was announced.
    pub async fn pass(&self) {
        if self.are_none() {
            return;
        }
        for _ in 0..TURNS_MAX {
            if self.are_none() {
                break;
            }
            tokio::task::yield_now().await;
        }
        for _ in 1..TURNS {
            tokio::task::yield_now().await;
        }
    }

    fn are_none(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
