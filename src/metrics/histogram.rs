//! A histogram of durations in a handful of atomics. Never allocates, never locks.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Finite buckets of every histogram; with `+Inf` that makes 8, the contract's bound.
pub(super) const BUCKETS: usize = 7;

/// Upper bounds of the finite buckets, ascending.
pub(super) type Bounds = [Duration; BUCKETS];

/// From receipt of a watch frame to the write being sent: tens of microseconds are expected.
pub(super) const DECISION: Bounds = micros([10, 25, 50, 100, 250, 1_000, 10_000]);
/// One reconciliation: microseconds, unless it waits for the API server.
pub(super) const RECONCILIATION: Bounds =
    micros([100, 1_000, 10_000, 100_000, 500_000, 1_000_000, 2_500_000]);
/// A failover: a few milliseconds, mostly the API server's.
pub(super) const FAILOVER: Bounds =
    micros([1_000, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000]);
/// One request.
pub(super) const API_CALL: Bounds = micros([
    5_000, 10_000, 25_000, 100_000, 500_000, 1_000_000, 5_000_000,
]);
/// One list of a namespace or the cluster.
pub(super) const LIST: Bounds = micros([
    5_000, 25_000, 100_000, 500_000, 1_000_000, 2_500_000, 10_000_000,
]);

const fn micros(values: [u64; BUCKETS]) -> Bounds {
    let mut bounds = [Duration::ZERO; BUCKETS];
    let mut i = 0;
    while i < BUCKETS {
        bounds[i] = Duration::from_micros(values[i]);
        i += 1;
    }
    bounds
}

/// Counts of durations, by upper bound.
#[derive(Debug)]
pub(super) struct Histogram {
    bounds: &'static Bounds,
    /// One per finite bucket and one for the rest; not cumulative.
    counts: [AtomicU64; BUCKETS + 1],
    /// Nanoseconds; 584 years of them.
    sum: AtomicU64,
}

/// One reading. The total is what the buckets add up to, so a reading is consistent in itself even
/// while others observe.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) sum: f64,
    pub(super) count: u64,
    /// Upper bound in seconds and the count below it, not cumulative.
    pub(super) buckets: [(f64, u64); BUCKETS + 1],
}

impl Histogram {
    pub(super) fn new(bounds: &'static Bounds) -> Self {
        Self {
            bounds,
            counts: Default::default(),
            sum: AtomicU64::new(0),
        }
    }

    pub(super) fn observe(&self, span: Duration) {
        let bucket = self.bounds.iter().take_while(|bound| span > **bound);
        self.counts[bucket.count()].fetch_add(1, Relaxed);
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.sum.fetch_add(nanos, Relaxed);
    }

    pub(super) fn read(&self) -> Reading {
        let mut buckets = [(f64::INFINITY, 0); BUCKETS + 1];
        for (bucket, bound) in buckets.iter_mut().zip(self.bounds) {
            bucket.0 = bound.as_secs_f64();
        }
        for (bucket, count) in buckets.iter_mut().zip(&self.counts) {
            bucket.1 = count.load(Relaxed);
        }
        Reading {
            sum: Duration::from_nanos(self.sum.load(Relaxed)).as_secs_f64(),
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::new(&FAILOVER);
        for millis in [0, 1, 2, 5, 2_500, 2_501] {
            histogram.observe(Duration::from_millis(millis));
        }
        let reading = histogram.read();
        assert_eq!(reading.buckets.map(|(_, n)| n), [2, 2, 0, 0, 0, 0, 1, 1]);
        assert!(reading.buckets[7].0.is_infinite());
        assert_eq!(reading.count, 6);
        assert!((reading.sum - 5.009).abs() < 1e-9);
    }

    #[test]
    fn bounds_ascend() {
        for bounds in [DECISION, RECONCILIATION, FAILOVER, API_CALL, LIST] {
            assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
        }
    }
}
