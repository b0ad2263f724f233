//! How long to wait between attempts: decorrelated back-off. Draws no random number and reads no
//! clock; the caller passes the jitter in.

use std::time::Duration;

/// A sequence of delays, each drawn between `base` and three times its predecessor, at most `cap`.
///
/// Decorrelated: two clients that failed together drift apart with every step, which a doubled
/// delay with a little jitter does not achieve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    last: Duration,
}

impl Backoff {
    /// A sequence that starts between `base` and three times `base`; a `cap` below `base` counts
    /// as `base`.
    #[must_use]
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self {
            base,
            cap: cap.max(base),
            last: base,
        }
    }

    /// The next delay; `jitter` in `[0, 1)` picks it from its range, anything outside is clamped.
    pub fn next(&mut self, jitter: f64) -> Duration {
        let ceiling = self.last.saturating_mul(3).min(self.cap);
        let jitter = if jitter.is_nan() { 0.0 } else { jitter };
        let span = ceiling.saturating_sub(self.base);
        let part = span.as_secs_f64() * jitter.clamp(0.0, 1.0);
        // Rounding may carry the longest spans past what a Duration holds.
        let part = Duration::try_from_secs_f64(part).unwrap_or(span).min(span);
        self.last = self.base + part;
        self.last
    }

    /// Starts over, after something has worked.
    pub fn reset(&mut self) {
        self.last = self.base;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn the_highest_jitter_triples_up_to_the_cap() {
        let mut backoff = Backoff::new(ms(100), ms(2000));
        let delays: Vec<_> = (0..5).map(|_| backoff.next(1.0)).collect();
        assert_eq!(delays, [ms(300), ms(900), ms(2000), ms(2000), ms(2000)]);
    }

    #[test]
    fn the_lowest_jitter_stays_at_the_base() {
        let mut backoff = Backoff::new(ms(100), ms(2000));
        for _ in 0..5 {
            assert_eq!(backoff.next(0.0), ms(100));
        }
    }

    #[test]
    fn a_reset_starts_over() {
        let mut backoff = Backoff::new(ms(100), ms(2000));
        let fresh = backoff.clone();
        let _ = backoff.next(0.9);
        assert_ne!(backoff, fresh);
        backoff.reset();
        assert_eq!(backoff, fresh);
    }

    #[test]
    fn every_delay_lies_between_base_and_cap() {
        for jitter in [f64::NAN, f64::NEG_INFINITY, -1.0, 0.5, 7.0, f64::INFINITY] {
            let mut backoff = Backoff::new(ms(20), ms(500));
            for _ in 0..50 {
                let delay = backoff.next(jitter);
                assert!((ms(20)..=ms(500)).contains(&delay), "{jitter}: {delay:?}");
            }
        }
    }

    #[test]
    fn odd_bounds_are_survived() {
        assert_eq!(Backoff::new(ms(100), ms(10)).next(1.0), ms(100));
        assert_eq!(
            Backoff::new(Duration::ZERO, ms(10)).next(1.0),
            Duration::ZERO
        );
        let mut endless = Backoff::new(ms(1), Duration::MAX);
        for _ in 0..200 {
            let _ = endless.next(1.0);
        }
        assert!(endless.next(1.0) > Duration::from_secs(u64::MAX / 2));
    }
}
