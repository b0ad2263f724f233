//! The clocks: monotonic by tokio (so that a paused test owns it), wall by injection, and the
//! monotonic one of the machine, which also counts while that is suspended.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::logic::time::{Moment, Now};

/// So often a loop that waits says that it is alive; a small part of what `/healthz` allows.
pub const HEARTBEAT: Duration = Duration::from_secs(5);

/// Where the wall clock comes from: the system's, or a simulation's.
pub type Wall = Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>;

/// Time since some origin, also while the machine was suspended.
pub type Steady = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Reads the clocks.
#[derive(Clone)]
pub struct Clock {
    origin: Instant,
    wall: Wall,
    /// Without one, the monotonic clock serves: nothing suspends a test.
    steady: Option<Steady>,
}

impl Clock {
    /// A clock whose moments count from now.
    #[must_use]
    pub fn new(wall: Wall) -> Self {
        Self {
            origin: Instant::now(),
            wall,
            steady: None,
        }
    }

    /// The system's clocks.
    #[must_use]
    pub fn system() -> Self {
        let clock = Self::new(Arc::new(jiff::Timestamp::now));
        #[cfg(target_os = "linux")]
        let clock = clock.with_steady(Arc::new(since_boot));
        clock
    }

    /// The same with another source of [`Self::steady`] time.
    #[must_use]
    pub fn with_steady(self, steady: Steady) -> Self {
        Self {
            steady: Some(steady),
            ..self
        }
    }

    /// Both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        Now {
            moment: self.moment(),
            wall: (self.wall)(),
        }
    }

    /// The monotonic clock alone.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment(0) + self.origin.elapsed()
    }

    /// The monotonic clock that also counts while the machine is suspended (`CLOCK_BOOTTIME`, where
    /// [`Self::moment`] is `CLOCK_MONOTONIC`): the only one by which a promise to others can end.
    /// Its moments compare with each other only.
    #[must_use]
    pub fn steady(&self) -> Moment {
        match &self.steady {
            Some(steady) => Moment(0) + steady(),
            None => self.moment(),
        }
    }

    /// When a moment comes; at once for one that has passed.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> Instant {
        // Bounded, since an `Instant` cannot hold "never".
        const FAR: Duration = Duration::from_hours(24);
        Instant::now() + moment.since(self.moment()).min(FAR)
    }
}

/// Since the machine was started, its time in suspension included.
#[cfg(target_os = "linux")]
fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // Neither is ever negative.
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}
