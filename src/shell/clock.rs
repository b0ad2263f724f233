//! The two clocks: monotonic by tokio (so that a paused test owns it), wall by injection.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::logic::time::{Moment, Now};

/// So often a loop that waits says that it is alive; a small part of what `/healthz` allows.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(5);

/// Where the wall clock comes from: the system's, or a simulation's.
pub type Wall = Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>;

/// Reads both clocks.
#[derive(Clone)]
pub struct Clock {
    origin: Instant,
    wall: Wall,
}

impl Clock {
    /// A clock whose moments count from now.
    #[must_use]
    pub fn new(wall: Wall) -> Self {
        Self {
            origin: Instant::now(),
            wall,
        }
    }

    /// The system's clocks.
    #[must_use]
    pub fn system() -> Self {
        Self::new(Arc::new(jiff::Timestamp::now))
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

    /// When a moment comes; at once for one that has passed.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> Instant {
        // Bounded, since an `Instant` cannot hold "never".
        const FAR: Duration = Duration::from_hours(24);
        Instant::now() + moment.since(self.moment()).min(FAR)
    }
}
