//! The one token bucket: it bounds failovers, repeated Events and ordinary writes.
//!
//! A bucket without tokens, as in the generic cell rate algorithm: it is one moment, the one at which
//! it will be full again. Reads no clock.

use std::time::Duration;

use super::time::Moment;

/// Longest time to one more token: a million of them fit into a [`Moment`].
const INTERVAL_MAX: Duration = Duration::from_hours(24 * 30);

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Number at once, at least one; 0 counts as one.
    pub burst: u32,
    /// Time in which an empty bucket regains one token.
    pub interval: Duration,
}

impl RateLimit {
    /// `count` at once, and in `window` on average.
    #[must_use]
    pub fn per_window(count: u32, window: Duration) -> Self {
        Self {
            burst: count,
            interval: window / count.max(1),
        }
    }

    /// `per_second` on average, which is more than 0, and `burst` at once. The rate is at least one in
    /// 30 days.
    #[must_use]
    pub fn per_second(per_second: f64, burst: u32) -> Self {
        let interval = Duration::try_from_secs_f64(per_second.recip());
        Self {
            burst,
            interval: interval.unwrap_or(INTERVAL_MAX).min(INTERVAL_MAX),
        }
    }
}

/// A bucket of tokens; full at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenBucket {
    /// When it will be full again, or was.
    full_at: Moment,
}

impl TokenBucket {
    /// When the bucket has a token again; `None` if it has one now.
    #[must_use]
    pub fn empty_until(&self, limit: RateLimit, now: Moment) -> Option<Moment> {
        let all_but_one = limit.interval.saturating_mul(limit.burst.max(1) - 1);
        let until = self.full_at - all_but_one;
        (now < until).then_some(until)
    }

    /// Takes a token. Of an empty bucket too: what happened has happened.
    pub fn take(&mut self, limit: RateLimit, now: Moment) {
        self.full_at = self.full_at.max(now) + limit.interval;
    }

    /// Takes a token if there is one.
    pub fn try_take(&mut self, limit: RateLimit, now: Moment) -> bool {
        let has_one = self.empty_until(limit, now).is_none();
        if has_one {
            self.take(limit, now);
        }
        has_one
    }

    /// Puts back a token that was taken for something that did not happen.
    pub fn put_back(&mut self, limit: RateLimit, now: Moment) {
        self.full_at = now.max(self.full_at - limit.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit() -> RateLimit {
        RateLimit::per_window(3, Duration::from_mins(6))
    }

    fn at(seconds: i64) -> Moment {
        Moment(seconds * 1_000_000)
    }

    #[test]
    fn a_bucket_is_emptied_at_once_and_filled_bit_by_bit() {
        let mut bucket = TokenBucket::default();
        for _ in 0..3 {
            assert_eq!(bucket.empty_until(limit(), at(1_000)), None);
            bucket.take(limit(), at(1_000));
        }
        assert_eq!(bucket.empty_until(limit(), at(1_000)), Some(at(1_120)));
        assert_eq!(bucket.empty_until(limit(), at(1_119)), Some(at(1_120)));
        assert!(!bucket.try_take(limit(), at(1_119)));
        assert_eq!(bucket.empty_until(limit(), at(1_120)), None);
        assert!(bucket.try_take(limit(), at(1_120)));
        assert_eq!(bucket.empty_until(limit(), at(1_120)), Some(at(1_240)));
    }

    #[test]
    fn a_long_rest_makes_it_no_fuller_than_full() {
        let mut bucket = TokenBucket::default();
        bucket.take(limit(), at(0));
        let later = at(1_000_000);
        for _ in 0..3 {
            assert!(bucket.try_take(limit(), later));
        }
        assert!(bucket.empty_until(limit(), later).is_some());
    }

    #[test]
    fn a_bucket_of_one() {
        let limit = RateLimit::per_window(1, Duration::from_mins(1));
        let mut bucket = TokenBucket::default();
        bucket.take(limit, at(5));
        assert_eq!(bucket.empty_until(limit, at(5)), Some(at(65)));
        assert_eq!(bucket.empty_until(limit, at(65)), None);
        bucket.take(limit, at(65));
        bucket.put_back(limit, at(65));
        assert_eq!(bucket.empty_until(limit, at(65)), None);
    }

    #[test]
    fn a_rate_of_almost_nothing_is_no_panic() {
        for per_second in [f64::MIN_POSITIVE, 1e-300, 1e-12] {
            let limit = RateLimit::per_second(per_second, 2);
            let mut bucket = TokenBucket::default();
            assert!(bucket.try_take(limit, at(1)), "{per_second}");
            assert!(bucket.try_take(limit, at(1)), "{per_second}");
            assert!(!bucket.try_take(limit, at(1_000_000)), "{per_second}");
        }
    }
}
