//! Failover writes that have not reached the connection yet. A watch loop yields to them before it reads
//! the next change. Every file of `shell` may use this one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// From a worker to the socket a request passes the client's queue, the connection's and its writer.
/// All of them run in one turn unless the runtime looks at its sockets in between; then in two.
const TURNS: usize = 2;
/// Maximum number of turns to yield. A worker that has not run by then waits for something else.
const TURNS_MAX: usize = 8;

/// Counts the writes that were started and have not run yet.
#[derive(Clone, Debug, Default)]
pub struct Departures(Arc<AtomicUsize>);

/// A write that has not run yet, for as long as it lives.
#[derive(Debug)]
pub struct Departure(Arc<AtomicUsize>);

impl Departures {
    /// Counts one more write.
    #[must_use]
    pub fn announce(&self) -> Departure {
        self.0.fetch_add(1, Ordering::Relaxed);
        Departure(Arc::clone(&self.0))
    }

    /// Yields until the announced writes are handed to the connection. Costs turns of the runtime, but no
    /// round trip, and nothing if no write is announced.
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
