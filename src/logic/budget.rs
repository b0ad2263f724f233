//! The storm guard: how many failovers for `notReady` there may be in a while. A flapping readiness
//! probe, or an API server that takes every node for dead, must not bounce a database around.
//!
//! Token buckets without tokens: each is one moment, that at which it will be full again. Knows no
//! clock; a restart begins with full buckets.

use std::time::Duration;

use super::time::Moment;

/// How many failovers in which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Failovers at once, and in `window` on average; at least one.
    pub count: u32,
    /// The time in which an empty bucket is filled again.
    pub window: Duration,
}

impl Limit {
    fn interval(self) -> Duration {
        self.window / self.count.max(1)
    }
}

/// The budget of one Service, or of all together; full at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When it will be full again, or was.
    full_at: Moment,
}

impl Bucket {
    /// From when on there is something in it; `None` if that is now.
    #[must_use]
    pub fn empty_until(&self, limit: Limit, now: Moment) -> Option<Moment> {
        let all_but_one = limit.interval() * (limit.count.max(1) - 1);
        let until = self.full_at - all_but_one;
        (now < until).then_some(until)
    }

    /// Takes one out. Of an empty one too: what happened has happened.
    pub fn take(&mut self, limit: Limit, now: Moment) {
        self.full_at = self.full_at.max(now) + limit.interval();
    }

    /// Puts back what was taken for a failover that did not happen.
    pub fn put_back(&mut self, limit: Limit, now: Moment) {
        self.full_at = now.max(self.full_at - limit.interval());
    }
}

/// How many failovers for `notReady` there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Of one Service; `None` any number.
    pub per_service: Option<Limit>,
    /// Of all together; `None` any number.
    pub global: Option<Limit>,
}

/// Whose budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This Service's own.
    Service,
    /// That of all Services together.
    Global,
}

impl Scope {
    /// The flag that sets it.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::Service => "--failover-budget-per-service",
            Self::Global => "--failover-budget-global",
        }
    }
}

/// A budget that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Until then.
    pub until: Moment,
    /// Whose it is.
    pub scope: Scope,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit {
        count: 3,
        window: Duration::from_mins(6),
    };

    fn at(seconds: i64) -> Moment {
        Moment(seconds * 1_000_000)
    }

    #[test]
    fn a_bucket_is_emptied_at_once_and_filled_bit_by_bit() {
        let mut bucket = Bucket::default();
        for _ in 0..3 {
            assert_eq!(bucket.empty_until(LIMIT, at(1_000)), None);
            bucket.take(LIMIT, at(1_000));
        }
        assert_eq!(bucket.empty_until(LIMIT, at(1_000)), Some(at(1_120)));
        assert_eq!(bucket.empty_until(LIMIT, at(1_119)), Some(at(1_120)));
        assert_eq!(bucket.empty_until(LIMIT, at(1_120)), None);
        bucket.take(LIMIT, at(1_120));
        assert_eq!(bucket.empty_until(LIMIT, at(1_120)), Some(at(1_240)));
    }

    #[test]
    fn a_long_rest_makes_it_no_fuller_than_full() {
        let mut bucket = Bucket::default();
        bucket.take(LIMIT, at(0));
        let later = at(1_000_000);
        for _ in 0..3 {
            assert_eq!(bucket.empty_until(LIMIT, later), None);
            bucket.take(LIMIT, later);
        }
        assert!(bucket.empty_until(LIMIT, later).is_some());
    }

    #[test]
    fn a_bucket_of_one() {
        let limit = Limit {
            count: 1,
            window: Duration::from_mins(1),
        };
        let mut bucket = Bucket::default();
        bucket.take(limit, at(5));
        assert_eq!(bucket.empty_until(limit, at(5)), Some(at(65)));
        assert_eq!(bucket.empty_until(limit, at(65)), None);
    }
}
