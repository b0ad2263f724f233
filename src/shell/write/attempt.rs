//! The requests for one object that are under way, and how long each is waited for.

use std::time::Duration;

use tokio::time::Instant;

/// Time without an answer after which a second attempt starts, by the number of consecutive attempts
/// that took too long. The last value is the time that an API server allows a write, including
/// admission webhooks.
const PATIENCE: [Duration; 4] = [
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(20),
    Duration::from_secs(34),
];
/// After this long the API server has given up by itself, so there is no answer to wait for.
const ANSWER_MAX: Duration = Duration::from_secs(35);

/// After `overdue` consecutive attempts that took too long: the time until a second attempt starts,
/// and the time until the first one is cancelled.
pub(super) fn patience(overdue: u32) -> (Duration, Duration) {
    let at = usize::try_from(overdue).unwrap_or(PATIENCE.len());
    let of = |at: usize| PATIENCE[at.min(PATIENCE.len() - 1)];
    // Cancelling a request also cancels its write, so it stays until the second one is slow too.
    (of(at), (of(at) + of(at.saturating_add(1))).min(ANSWER_MAX))
}

/// At most two of them.
#[derive(Default)]
pub(super) struct Attempts {
    elder: Option<InFlight>,
    pub(super) younger: Option<InFlight>,
}

impl Attempts {
    pub(super) fn iter(&self) -> impl Iterator<Item = &InFlight> {
        self.elder.iter().chain(&self.younger)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.younger.is_none()
    }

    pub(super) fn are_full(&self) -> bool {
        self.elder.is_some()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut InFlight> {
        self.elder.iter_mut().chain(&mut self.younger)
    }

    pub(super) fn push(&mut self, attempt: InFlight) {
        self.elder = self.younger.replace(attempt);
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<InFlight> {
        let is_it = |attempt: &mut InFlight| attempt.number == number;
        let elder = self.elder.take_if(is_it);
        if elder.is_some() {
            return elder;
        }
        let younger = self.younger.take_if(is_it);
        if younger.is_some() {
            self.younger = self.elder.take();
        }
        younger
    }
}

/// One request that is under way. Its effect is unknown until it is answered or seen.
pub(super) struct InFlight {
    pub(super) number: u32,
    pub(super) edition: u32,
    pub(super) since: Instant,
    pub(super) is_overdue: bool,
    /// Another one has landed since: this one lands no more, and nothing waits for its end.
    pub(super) is_moot: bool,
}

/// What an attempt was at when it came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Landed {
    /// The latest write.
    Latest,
    /// The latest write too, and it took so long that a second attempt was due.
    Overdue,
    /// An earlier one.
    Earlier,
    /// Another attempt landed before it.
    Moot,
}
