//! One object's place: what is to be written, and when it may be tried.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{DELAY_MAX, WriterOptions};
use crate::logic::backoff::Backoff;
use crate::logic::fsm::Cause;
use crate::logic::plan::{Action, Lane, Write};
use crate::planted::{self, Bug};

/// So many lost races in a row are tried again at once.
const RACES_AT_ONCE: u32 = 5;
/// Delay once that many were lost, for each of them.
const RACE_DELAY: Duration = Duration::from_millis(100);
/// Longest such delay of a write that moves traffic: nobody is to hold up a failover by writing to
/// its slice again and again.
const FAILOVER_RACE_DELAY_MAX: Duration = Duration::from_millis(500);

/// The latest write of one object.
pub(super) struct Slot {
    pub(super) write: Write,
    pub(super) cause: Cause,
    pub(super) state: State,
    /// Attempts at this content so far.
    pub(super) attempt: u32,
    pub(super) not_before: Option<Instant>,
    pub(super) wake: Arc<Notify>,
    /// What is to be done about it when its turn has come.
    pub(super) errand: Errand,
    /// Set from a create without an answer until it is known what came of it.
    is_in_doubt: bool,
    /// Set when the server refused the content, so that another content may be tried at once.
    is_refused: bool,
    /// Set while only races that were lost make it wait, and not the server.
    is_raced: bool,
    backoff: Option<Backoff>,
    races: u32,
}

/// What a worker does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// Sends it.
    Write,
    /// Asks what came of it, which nobody wants any more.
    Ask,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// A worker will send it.
    Waiting,
    /// A worker is sending it.
    InFlight,
    /// Nothing; remembers lost races until the next success.
    Resting,
}

impl Slot {
    pub(super) fn new(write: Write, cause: Cause) -> Self {
        Self {
            write,
            cause,
            state: State::Waiting,
            attempt: 0,
            not_before: None,
            wake: Arc::new(Notify::new()),
            errand: Errand::Write,
            is_in_doubt: false,
            is_refused: false,
            is_raced: false,
            backoff: None,
            races: 0,
        }
    }

    /// Whether it survives a new set of writes: what waits and is no longer wanted does not, unless
    /// it may have had its effect already.
    pub(super) fn keep(&mut self, writes: &[Write]) -> bool {
        let is_wanted = writes.iter().any(|write| write.target == self.write.target);
        if self.state == State::InFlight || is_wanted {
            return true;
        }
        self.wake.notify_one();
        self.errand = Errand::Ask;
        self.is_in_doubt
    }

    /// Whether a write has to wait for what comes of this one.
    pub(super) fn holds_up(&self, write: &Write) -> bool {
        (self.state == State::InFlight || self.is_in_doubt) && write.must_wait_for(&self.write)
    }

    /// Nothing is known of what came of it.
    pub(super) fn doubt(&mut self) {
        self.is_in_doubt = matches!(self.write.action, Action::Create(_));
    }

    /// Takes a newer decision in. Returns whether a worker has to be started.
    pub(super) fn replace(&mut self, write: Write, cause: Cause, options: &WriterOptions) -> bool {
        match self.state {
            // Its end will have the source looked at again.
            State::InFlight => false,
            State::Waiting => {
                if !same_content(&self.write.action, &write.action) {
                    self.cause = cause;
                    self.attempt = 0;
                    if std::mem::take(&mut self.is_refused) {
                        self.not_before = None;
                        self.backoff = None;
                    }
                    // Races that another write has lost are no reason for traffic to wait.
                    if self.is_raced && write.lane == Lane::Failover {
                        let latest = self.after_races(Lane::Failover, options);
                        self.not_before = self.not_before.min(latest);
                    }
                    self.wake.notify_one();
                }
                // Who wants it changed or deleted has seen it.
                self.is_in_doubt &= matches!(write.action, Action::Create(_));
                self.errand = Errand::Write;
                self.write = write;
                false
            }
            State::Resting => {
                *self = Self {
                    races: self.races,
                    not_before: self.after_races(write.lane, options),
                    is_raced: true,
                    ..Self::new(write, cause)
                };
                true
            }
        }
    }

    /// When to try again after the races that were lost so far; `None` at once.
    fn after_races(&self, lane: Lane, options: &WriterOptions) -> Option<Instant> {
        if self.races <= RACES_AT_ONCE {
            return None;
        }
        let delay = RACE_DELAY * self.races;
        let delay = match lane {
            // Spread, so that it does not keep step with its rival.
            Lane::Failover => {
                let delay = delay.min(FAILOVER_RACE_DELAY_MAX);
                delay.mul_f64(0.5 + (options.jitter)() / 2.0)
            }
            Lane::Ordinary | Lane::Trailing => delay.min(DELAY_MAX),
        };
        Some(Instant::now() + delay)
    }

    /// A race was lost: the truth is known now, and the machine decides anew.
    pub(super) fn rest(&mut self) {
        self.state = State::Resting;
        self.is_in_doubt = false;
        self.races = self.races.saturating_add(1);
        self.not_before = None;
    }

    /// Tries the same again after that long.
    pub(super) fn pause(&mut self, delay: Duration) {
        self.state = State::Waiting;
        self.is_raced = false;
        self.not_before = Some(Instant::now() + delay);
    }

    /// Sets the time of the next attempt: quickly at first unless the server refused.
    pub(super) fn delay(&mut self, is_refused: bool, at_least: Duration, options: &WriterOptions) {
        self.state = State::Waiting;
        self.is_raced = false;
        self.is_refused = is_refused;
        let jitter = (options.jitter)();
        let fast = options.fast_retry;
        let delay = if !is_refused && self.attempt < fast.attempts {
            let doubled = fast.delay_first * 2_u32.saturating_pow(self.attempt.saturating_sub(1));
            doubled.min(fast.delay_max).mul_f64(0.5 + jitter / 2.0)
        } else {
            let first = if is_refused { at_least } else { fast.delay_max };
            self.backoff
                .get_or_insert_with(|| Backoff::new(first, DELAY_MAX))
                .next(jitter)
        };
        if planted::is(Bug::NoBackoff) {
            self.not_before = None;
            return;
        }
        self.not_before = Some(Instant::now() + delay.max(at_least));
    }

    pub(super) fn describe(&self, now: Instant) -> Value {
        json!({
            "object": format!("{:?} {}", self.write.target.kind, self.write.target.key),
            "verb": self.write.action.verb(),
            "lane": format!("{:?}", self.write.lane),
            "state": format!("{:?}", self.state),
            "isInDoubt": self.is_in_doubt,
            "attempts": self.attempt,
            "retryInSeconds": self.not_before.map(|at| at.saturating_duration_since(now).as_secs_f64()),
        })
    }
}

/// Whether two actions would have the same effect, whatever version they were planned against.
fn same_content(a: &Action, b: &Action) -> bool {
    match (a, b) {
        (Action::Create(a), Action::Create(b)) => a == b,
        (Action::Patch { ops: a, .. }, Action::Patch { ops: b, .. }) => a == b,
        (Action::Delete { uid: a, .. }, Action::Delete { uid: b, .. }) => a == b,
        _ => false,
    }
}
