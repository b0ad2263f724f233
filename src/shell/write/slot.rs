//! One object's place: what is to be written, when it may be tried, and the attempts under way.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::attempt::{self, Attempts, InFlight, Landed};
use super::{DELAY_MAX, WriterOptions};
use crate::logic::backoff::Backoff;
use crate::logic::fsm::Cause;
use crate::logic::model::Version;
use crate::logic::plan::{Action, Lane, Write};
use crate::mutations::{self, Mutation};

/// So many lost races in a row are tried again at once.
const RACES_AT_ONCE: u32 = 5;
/// Delay once that many were lost, for each of them.
const RACE_DELAY: Duration = Duration::from_millis(100);
/// Longest such delay of a write that moves traffic: no other client can hold up a failover by writing to
/// its slice again and again.
const FAILOVER_RACE_DELAY_MAX: Duration = Duration::from_millis(500);

/// An unanswered attempt of this age does not block a newer decision.
const BESIDE_AFTER: Duration = Duration::from_secs(1);

/// The latest write of one object.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that are independent of each other"
)]
pub(super) struct Slot {
    pub(super) write: Arc<Write>,
    pub(super) cause: Cause,
    /// Whether a worker is to send the write.
    pub(super) is_waiting: bool,
    /// What was sent and has no end yet.
    attempts: Attempts,
    /// Attempts at this content so far.
    tries: u32,
    /// Attempts of all contents so far: their numbers.
    sent: u32,
    /// Counts the writes that took this place, so that an attempt shows whether it is at the latest.
    edition: u32,
    pub(super) not_before: Option<Instant>,
    pub(super) wake: Arc<Notify>,
    /// What is to be done about it when its turn has come.
    pub(super) errand: RequestKind,
    /// Set from a create without an answer until it is known what came of it.
    is_in_doubt: bool,
    /// Set when the server refused the content, so that another content may be tried at once.
    is_refused: bool,
    /// Set while only races that were lost make it wait, and not the server.
    is_raced: bool,
    backoff: Option<Backoff>,
    races: u32,
    /// Attempts in a row that took too long.
    overdue: u32,
    /// Errors of the server's own (5xx) in a row.
    server_errors: u32,
}

/// What a worker has to do now.
pub(super) struct Dispatch {
    pub(super) errand: RequestKind,
    pub(super) write: Arc<Write>,
    pub(super) cause: Cause,
    /// By which the attempt is known.
    pub(super) number: u32,
    /// Attempts at this content, from 1.
    pub(super) tries: u32,
    /// Time without an answer after which a second attempt starts.
    pub(super) patience: Duration,
    /// Time without an answer after which the attempt is cancelled.
    pub(super) limit: Duration,
}

/// What a worker does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestKind {
    /// Sends it.
    Write,
    /// Reads the outcome of a write that is no longer desired.
    Ask,
}

impl Slot {
    pub(super) fn new(write: Write, cause: Cause) -> Self {
        Self {
            write: Arc::new(write),
            cause,
            is_waiting: true,
            attempts: Attempts::default(),
            tries: 0,
            sent: 0,
            edition: 0,
            not_before: None,
            wake: Arc::new(Notify::new()),
            errand: RequestKind::Write,
            is_in_doubt: false,
            is_refused: false,
            is_raced: false,
            backoff: None,
            races: 0,
            overdue: 0,
            server_errors: 0,
        }
    }

    /// Whether nothing waits and nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_waiting && self.attempts.is_empty()
    }

    /// Whether it survives a new set of writes: what waits and is no longer wanted does not, unless
    /// it may have had its effect already.
    pub(super) fn keep(&mut self, writes: &[Write]) -> bool {
        if writes.iter().any(|write| write.target == self.write.target) {
            return true;
        }
        if !self.attempts.is_empty() {
            // Its end will have the source looked at again.
            self.stop_waiting();
            return true;
        }
        self.wake.notify_one();
        self.errand = RequestKind::Ask;
        self.is_in_doubt
    }

    /// Whether a write has to wait for what comes of this one.
    pub(super) fn holds_up(&self, write: &Write) -> bool {
        (!self.attempts.is_empty() || self.is_in_doubt) && write.must_wait_for(&self.write)
    }

    /// Takes a newer decision in. Returns whether a worker has to be started.
    pub(super) fn replace(&mut self, write: Write, cause: Cause, options: &WriterOptions) -> bool {
        let is_same = same_content(&self.write.action, &write.action);
        let is_latest = is_same && version(&self.write.action) == version(&write.action);
        if self.is_waiting {
            self.correct(write, cause, is_same, options);
            self.edition += u32::from(!is_latest);
            return false;
        }
        let raced = self.after_races(write.lane, options);
        let beside = match &self.attempts.younger {
            None => None,
            Some(last) if last.edition == self.edition && is_latest => return false,
            // The end of one of them will have the source looked at again.
            Some(_) if self.attempts.are_full() => return false,
            Some(last) if last.is_moot => None,
            Some(last) => Some(last.since + BESIDE_AFTER),
        };
        let is_create = matches!(write.action, Action::Create(_));
        *self = Self {
            attempts: std::mem::take(&mut self.attempts),
            sent: self.sent,
            edition: self.edition + 1,
            not_before: raced.max(beside),
            is_in_doubt: self.is_in_doubt && is_create,
            is_raced: beside.is_none(),
            races: self.races,
            overdue: self.overdue,
            server_errors: self.server_errors,
            ..Self::new(write, cause)
        };
        true
    }

    /// Changes what waits.
    fn correct(&mut self, write: Write, cause: Cause, is_same: bool, options: &WriterOptions) {
        if !is_same {
            self.cause = cause;
            self.tries = 0;
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
        // A patch or a deletion proves that the object exists.
        self.is_in_doubt &= matches!(write.action, Action::Create(_));
        self.errand = RequestKind::Write;
        self.write = Arc::new(write);
    }

    /// Its turn has come: one more attempt is under way.
    pub(super) fn take(&mut self, now: Instant) -> Dispatch {
        self.is_waiting = false;
        self.tries += 1;
        self.sent += 1;
        self.attempts.push(InFlight {
            number: self.sent,
            edition: self.edition,
            since: now,
            is_overdue: false,
            is_moot: false,
        });
        // What moves traffic is worth a second try sooner.
        let first = u32::from(self.write.lane != Lane::Failover);
        let (patience, limit) = attempt::patience(first.saturating_add(self.overdue));
        Dispatch {
            errand: self.errand,
            write: Arc::clone(&self.write),
            cause: self.cause,
            number: self.sent,
            tries: self.tries,
            patience,
            limit,
        }
    }

    /// Marks an attempt as too slow. Returns whether to start a worker for a second attempt, or `None` if
    /// the outcome of this attempt no longer matters.
    pub(super) fn press(&mut self, number: u32) -> Option<bool> {
        let is_it = |attempt: &&mut InFlight| attempt.number == number && !attempt.is_moot;
        self.attempts.iter_mut().find(is_it)?.is_overdue = true;
        self.overdue = self.overdue.saturating_add(1);
        Some(self.send_beside())
    }

    /// Requests a second attempt if every attempt in flight is too slow. Returns whether to start a
    /// worker.
    fn send_beside(&mut self) -> bool {
        let is_due = self.attempts.iter().all(|attempt| attempt.is_overdue);
        let may_send = !self.is_waiting && !self.attempts.are_full() && is_due;
        if may_send {
            self.is_waiting = true;
            self.not_before = None;
        }
        may_send
    }

    /// Decides how to continue after a failed attempt. If another attempt at the same write is in flight,
    /// its answer is awaited: returns whether to start a worker for one more. Returns `None` if the write
    /// has to be retried after a delay, because no other attempt is in flight, or because this one failed
    /// quickly while the other one is too slow.
    pub(super) fn go_on(&mut self, took_too_long: bool) -> Option<bool> {
        let edition = self.edition;
        let is_same = |attempt: &InFlight| attempt.edition == edition && !attempt.is_moot;
        let is_tried = !self.is_waiting && self.attempts.iter().any(is_same);
        let is_stuck = self.attempts.iter().all(|attempt| attempt.is_overdue);
        (is_tried && (took_too_long || !is_stuck)).then(|| self.send_beside())
    }

    /// Removes an attempt that has ended.
    pub(super) fn land(&mut self, number: u32) -> Landed {
        match self.attempts.remove(number) {
            Some(attempt) if attempt.is_moot => Landed::Moot,
            Some(attempt) if attempt.edition != self.edition => Landed::Earlier,
            Some(attempt) if attempt.is_overdue => Landed::Overdue,
            Some(_) => Landed::Latest,
            None => Landed::Earlier,
        }
    }

    /// Counts what the server answered with an error of its own, in a row.
    pub(super) fn count_errors(&mut self, is_server_error: bool) -> u32 {
        self.server_errors = if is_server_error {
            self.server_errors.saturating_add(1)
        } else {
            0
        };
        self.server_errors
    }

    /// It is done. What waits is decided again from what is true now.
    pub(super) fn close(&mut self) {
        self.stop_waiting();
        self.attempts
            .iter_mut()
            .for_each(|attempt| attempt.is_moot = true);
        self.is_in_doubt = false;
        self.races = 0;
        self.overdue = 0;
        self.server_errors = 0;
    }

    /// A race was lost: the truth is known now, and the machine decides again.
    pub(super) fn rest(&mut self) {
        self.stop_waiting();
        self.is_in_doubt = false;
        self.races = self.races.saturating_add(1);
        self.not_before = None;
    }

    fn stop_waiting(&mut self) {
        if std::mem::take(&mut self.is_waiting) {
            self.wake.notify_one();
        }
    }

    /// The outcome is unknown.
    pub(super) fn doubt(&mut self) {
        self.is_in_doubt |= matches!(self.write.action, Action::Create(_));
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

    /// Tries the same again after that long. Returns whether a worker has to see to it.
    pub(super) fn pause(&mut self, delay: Duration) -> bool {
        self.is_raced = false;
        self.not_before = Some(Instant::now() + delay);
        !std::mem::replace(&mut self.is_waiting, true)
    }

    /// What was refused is not what is wanted now, and that may be tried at once.
    pub(super) fn spare(&mut self) {
        self.not_before = None;
        self.wake.notify_one();
    }

    /// Sets the time of the next attempt: quickly at first unless the server refused. Returns
    /// whether a worker has to see to it.
    pub(super) fn delay(
        &mut self,
        is_refused: bool,
        at_least: Duration,
        options: &WriterOptions,
    ) -> bool {
        self.is_refused = is_refused;
        let jitter = (options.jitter)();
        let fast = options.fast_retry;
        let delay = if !is_refused && self.tries < fast.attempts {
            let doubled = fast.delay_first * 2_u32.saturating_pow(self.tries.saturating_sub(1));
            doubled.min(fast.delay_max).mul_f64(0.5 + jitter / 2.0)
        } else {
            let first = if is_refused { at_least } else { fast.delay_max };
            self.backoff
                .get_or_insert_with(|| Backoff::new(first, DELAY_MAX))
                .next(jitter)
        };
        let needs_worker = self.pause(delay.max(at_least));
        if mutations::is(Mutation::NoBackoff) {
            self.not_before = None;
        }
        needs_worker
    }

    pub(super) fn describe(&self, now: Instant) -> Value {
        let unanswered = self.attempts.iter();
        let unanswered =
            unanswered.map(|attempt| now.saturating_duration_since(attempt.since).as_secs_f64());
        json!({
            "object": format!("{:?} {}", self.write.target.kind, self.write.target.key),
            "verb": self.write.action.verb().as_str(),
            "lane": format!("{:?}", self.write.lane),
            "state": match (self.is_waiting, self.attempts.is_empty()) {
                (_, false) => "InFlight",
                (true, true) => "Waiting",
                (false, true) => "Resting",
            },
            "unansweredForSeconds": unanswered.collect::<Vec<_>>(),
            "isInDoubt": self.is_in_doubt,
            "attempts": self.tries,
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

/// The version that an action was planned against.
fn version(action: &Action) -> Option<&Version> {
    match action {
        Action::Create(_) => None,
        Action::Patch { version, .. } | Action::Delete { version, .. } => Some(version),
    }
}
