//! Points in time as plain numbers, so that pure code can calculate with them. Reads no clock.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on the process's monotonic clock: microseconds since an origin that the shell chose.
///
/// Signed, unlike `std::time::Instant`: a condition that turned true an hour before the process
/// started has a moment too, and no subtraction can panic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub i64);

impl Moment {
    /// Before every other moment.
    pub const MIN: Self = Self(i64::MIN);

    /// Time from `earlier` to `self`; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    /// Saturates: a duration of centuries is "never", not an overflow.
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(micros(span)))
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic; the only one that decides anything.
    pub moment: Moment,
    /// Wall clock; written into annotations and compared with a condition at first sight only.
    pub wall: jiff::Timestamp,
}

impl Now {
    /// The moment at which `wall` was, by today's offset between the clocks; never in the future.
    ///
    /// Meant for first sight of a condition's `lastTransitionTime`.
    #[must_use]
    pub fn moment_of(self, wall: jiff::Timestamp) -> Moment {
        let age = self.wall.duration_since(wall);
        match Duration::try_from(age) {
            Ok(age) => self.moment - age,
            Err(_) => self.moment,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Moment(5) + Duration::MAX, Moment(i64::MAX));
        assert_eq!(Moment(-5) - Duration::MAX, Moment(i64::MIN));
        assert_eq!(Moment(1).since(Moment(2)), Duration::ZERO);
        assert_eq!(Moment(3).since(Moment(1)), Duration::from_micros(2));
    }

    #[test]
    fn a_wall_time_in_the_future_counts_as_now() {
        let wall: jiff::Timestamp = "2026-01-01T00:00:10Z".parse().expect("a valid timestamp");
        let now = Now {
            moment: Moment(0),
            wall,
        };
        let at = |text: &str| now.moment_of(text.parse().expect("a valid timestamp"));
        assert_eq!(at("2026-01-01T00:00:20Z"), Moment(0));
        assert_eq!(at("2026-01-01T00:00:07Z"), Moment(-3_000_000));
    }
}
