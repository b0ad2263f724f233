//! One replica's claim to the Lease. Never awaits, logs, draws a random number or reads a clock,
//! and never compares another machine's timestamp with anything.
//!
//! ```text
//!            free, or silent for its whole duration by our own clock
//!  Standby ──────────────────────────────────────────────────────────► asks for it ─┐
//!   ▲   ▲  ◄───────────────── another one was faster ─────────────────────────────  │
//!   │   │                                                                           │ accepted
//!   │   └─ released ─┐                                                              ▼
//!   └────────────────┴──────────── lapsed, or another one holds it ───────────── Active ─┐
//!                                                                                   ▲    │ renewed
//!                                                                                   └────┘
//! ```
//!
//! # Why two are never active at once
//!
//! A holder is active until *T* = the moment at which it **sent** the last write that was
//! acknowledged, plus the renew deadline. Another replica learns of that write after it was sent,
//! and waits the lease duration, which is longer, from then on; each goes by its own clock, so the
//! clocks have to tick about equally fast and nothing else. What it then writes is guarded by the
//! version that it waited for: if there was a renewal that it has not seen, that write is a clean
//! 409. So a watch that lags or is broken costs a request now and then, and never safety.
//!
//! That much is about time. Writes that leave at the very last moment are the business of
//! their own guards: see `docs/ARCHITECTURE.md`, Two replicas.
//!
//! There is one exception to the waiting. A container starts again once its former process has ended,
//! so a process that finds the Lease held by another one of its own pod, at its very first sight of
//! it, takes it at once. It can err only where two processes of one pod run side by side, which no
//! manifest has: then the two may be active together until the former one sees that it is deposed. A
//! holder of its pod that is seen to write later is alive, and is waited for like any other. The
//! new process does not release the Lease before the former one's claim has expired, so no replica of
//! another pod is active at the same time as either process.
//!
//! Deleting the Lease does not free it before its time: a holder that is active creates it again, and
//! every other replica waits its duration first. Only a replica that has never seen the Lease cannot
//! know that.

mod record;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::backoff::Backoff;
use super::model::{Key, Lease, Version};
use super::time::{Moment, Now};
use crate::mutations::{self, Mutation};

/// Longest pause that a server may ask for between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Comes before every moment.
const AT_ONCE: Moment = Moment(i64::MIN);

/// Which Lease, which process asks for it, and how long things may take: `duration` > `renew_deadline` >
/// `retry_period`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseParams {
    /// The Lease.
    pub lease: Key,
    /// Our identity: no other process, earlier ones included, ever has the same.
    pub identity: Arc<str>,
    /// What the identities of all processes of our pod begin with; `None` where no pod is known, and
    /// earlier processes are strangers.
    pub pod: Option<Arc<str>>,
    /// How long others wait for us after the last renewal; whole seconds.
    pub duration: Duration,
    /// How long we are active after the last renewal.
    pub renew_deadline: Duration,
    /// Between two renewals.
    pub retry_period: Duration,
}

impl LeaseParams {
    /// How long an answer is waited for. A slow answer still counts from when it was asked for, so
    /// there is no hurry; but there must be time for another attempt.
    #[must_use]
    pub fn answer_max(&self) -> Duration {
        let spare = self.renew_deadline.saturating_sub(self.retry_period);
        spare.max(self.renew_deadline / 2)
    }

    /// Whether this is another process of our pod.
    fn is_of_our_pod(&self, holder: &str) -> bool {
        let pod = self.pod.as_deref();
        let rest = pod.and_then(|pod| holder.strip_prefix(pod)?.strip_prefix('_'));
        rest.is_some() && holder != &*self.identity
    }
}

/// Something that a claim has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimEvent {
    /// Time has passed.
    Tick,
    /// The stores are warm: from now on it is worth something to hold the Lease.
    Synced,
    /// The Lease as a watch shows it.
    Seen(Box<Lease>),
    /// A watch says that there was no Lease at this version.
    Gone(Version),
    /// The server was restored from a backup: what a watch shows is news, however old.
    Restored,
    /// What came of the request under way.
    Answered(LeaseAnswer),
    /// To be given up.
    Stop,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// Done, or read; this is the Lease now.
    Lease(Box<Lease>),
    /// There is no Lease.
    Absent,
    /// Another replica was faster.
    Overtaken,
    /// Anything else that the server says.
    Failed {
        /// How long the server wants to be left alone.
        at_least: Duration,
    },
    /// No answer. The request may have taken effect.
    Lost,
}

/// What is to be asked of the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseRequest {
    /// GET the Lease, consistently.
    Read,
    /// POST this object.
    Create(Value),
    /// PATCH with this JSON patch, which is guarded by the resourceVersion.
    Patch(Purpose, Value),
}

/// Why something is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To learn the truth.
    Read,
    /// There is no Lease.
    Create,
    /// It has no holder any more.
    Take,
    /// To go on holding it.
    Renew,
    /// To let others have it at once.
    Release,
}

/// One replica's claim. It has at most one request under way.
#[derive(Clone, Debug)]
pub struct Claim {
    terms: LeaseParams,
    /// The newest version that is known, also of a Lease that is gone since; `None` before anything
    /// was heard.
    version: Option<Version>,
    lease: Option<Lease>,
    /// Before this moment another replica may be active.
    theirs_until: Moment,
    /// Before this moment a former process of our pod could be active, if it ran on.
    former_until: Moment,
    /// Since when no replica was active, if none is: the last sign of life, ours or another's.
    vacant_since: Moment,
    /// We are active before this moment.
    ours_until: Option<Moment>,
    renew_at: Moment,
    /// What was asked for, and when.
    under_way: Option<(Purpose, Moment)>,
    must_read: bool,
    not_before: Moment,
    backoff: Backoff,
    is_candidate: bool,
    is_stopping: bool,
}

/// The outcome of one step.
#[derive(Clone, Debug)]
#[must_use]
pub struct ClaimStep {
    /// The claim afterwards.
    pub claim: Claim,
    /// To be asked at once; its answer is the next [`ClaimEvent::Answered`].
    pub request: Option<LeaseRequest>,
    /// When to come again even if nothing happens.
    pub deadline: Option<Moment>,
}

impl Claim {
    /// Knows nothing yet, and wants nothing before it is synced.
    #[must_use]
    pub fn new(terms: LeaseParams) -> Self {
        let delay = terms.retry_period / 4;
        Self {
            backoff: Backoff::new(delay, terms.duration),
            terms,
            version: None,
            lease: None,
            theirs_until: AT_ONCE,
            former_until: AT_ONCE,
            vacant_since: AT_ONCE,
            ours_until: None,
            renew_at: AT_ONCE,
            under_way: None,
            must_read: false,
            not_before: AT_ONCE,
            is_candidate: false,
            is_stopping: false,
        }
    }

    /// Takes in what happened and says what to do. `jitter` in `[0, 1)`.
    pub fn step(mut self, event: ClaimEvent, now: Now, jitter: f64) -> ClaimStep {
        self.lapse(now.moment);
        match event {
            ClaimEvent::Synced => self.is_candidate = true,
            ClaimEvent::Seen(lease) if self.is_news(&lease.metadata.resource_version) => {
                self.observe(*lease, now.moment);
            }
            ClaimEvent::Gone(version) => {
                if self.is_news(&version) {
                    self.version = Some(version);
                    self.miss(now.moment);
                }
            }
            // Read at once; what comes first is the truth.
            ClaimEvent::Restored => self.version = None,
            ClaimEvent::Seen(_) | ClaimEvent::Tick => {}
            ClaimEvent::Answered(answer) => self.take_in(answer, now.moment, jitter),
            ClaimEvent::Stop => {
                self.is_stopping = true;
                self.ours_until = None;
                self.not_before = AT_ONCE;
            }
        }
        // What came back late may have run out already.
        self.lapse(now.moment);
        let request = self.ask(now);
        let wish = self.wish().filter(|_| self.under_way.is_none());
        let wish = wish.map(|(_, at)| at.max(self.not_before));
        ClaimStep {
            request,
            deadline: wish.into_iter().chain(self.ours_until).min(),
            claim: self,
        }
    }

    /// Until when we may write; `None` when we may not.
    #[must_use]
    pub fn active_until(&self) -> Option<Moment> {
        self.ours_until
    }

    /// The holder of the Lease, as far as is known.
    #[must_use]
    pub fn holder(&self) -> Option<&Arc<str>> {
        self.lease.as_ref()?.holder()
    }

    /// Whether it was given up, and nothing is left to be done about it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_stopping && self.under_way.is_none() && self.wish().is_none()
    }

    /// Since when no replica was active, when we became so; long ago if none was known to be.
    #[must_use]
    pub fn vacant_since(&self) -> Moment {
        self.vacant_since
    }

    /// Whether it is being given up.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    fn is_ours(&self) -> bool {
        self.holder() == Some(&self.terms.identity)
    }

    fn lapse(&mut self, now: Moment) {
        if let Some(until) = self.ours_until.filter(|until| *until <= now) {
            if mutations::is(Mutation::HolderGoesOn) {
                self.ours_until = Some(now + self.terms.retry_period);
                return;
            }
            self.vacant_since = until;
            self.ours_until = None;
        }
    }

    /// Whether a version differs from what is known, and is not known to be older.
    fn is_news(&self, version: &Version) -> bool {
        let known = self.version.as_ref();
        known.is_none_or(|known| known != version && !version.is_older_than(known))
    }

    /// The Lease is this now, by the last we heard.
    fn observe(&mut self, lease: Lease, now: Moment) {
        match lease.holder() {
            None => {
                self.theirs_until = now;
                self.ours_until = None;
            }
            Some(holder) if *holder == self.terms.identity => self.theirs_until = now,
            Some(holder)
                if mutations::is(Mutation::RenewalsIgnored)
                    && self.holder() == Some(holder)
                    && self.ours_until.is_none() => {}
            Some(holder) => {
                let until = now + lease.duration().unwrap_or(self.terms.duration);
                let is_first_sight = self.version.is_none();
                if is_first_sight && self.terms.is_of_our_pod(holder) {
                    self.former_until = until;
                    self.theirs_until = now;
                } else {
                    self.theirs_until = until;
                }
                self.ours_until = None;
            }
        }
        if lease.holder() != Some(&self.terms.identity) {
            self.vacant_since = now;
        }
        self.version = Some(lease.metadata.resource_version.clone());
        self.lease = Some(lease);
    }

    /// There is no Lease. Unless we are active, another replica may have held it until just now: we
    /// may not have seen every change.
    fn miss(&mut self, now: Moment) {
        self.version.get_or_insert_default();
        if let Some(lease) = self.lease.take()
            && self.ours_until.is_none()
        {
            self.theirs_until = now + lease.duration().unwrap_or(self.terms.duration);
        }
    }

    fn take_in(&mut self, answer: LeaseAnswer, now: Moment, jitter: f64) {
        let Some((purpose, sent)) = self.under_way.take() else {
            return;
        };
        match answer {
            LeaseAnswer::Lease(lease) => self.accept(purpose, sent, *lease, now),
            LeaseAnswer::Absent if purpose != Purpose::Create => {
                self.must_read = false;
                self.miss(now);
            }
            LeaseAnswer::Overtaken if purpose != Purpose::Read => self.must_read = true,
            LeaseAnswer::Failed { at_least } => self.pause(at_least, now, jitter),
            LeaseAnswer::Lost => self.insist(now, jitter),
            // A GET that conflicts, or a namespace that is missing.
            LeaseAnswer::Absent | LeaseAnswer::Overtaken => self.pause(Duration::ZERO, now, jitter),
        }
    }

    fn accept(&mut self, purpose: Purpose, sent: Moment, lease: Lease, now: Moment) {
        let version = &lease.metadata.resource_version;
        // What was read is the truth even if it is older than what was known: a cluster that was
        // restored from a backup counts from an older version.
        let is_news = if purpose == Purpose::Read {
            self.lease.is_none() || self.version.as_ref() != Some(version)
        } else {
            self.is_news(version)
        };
        if is_news {
            self.observe(lease, now);
        }
        self.must_read = false;
        let holds = matches!(purpose, Purpose::Create | Purpose::Take | Purpose::Renew);
        if holds && self.is_ours() {
            self.backoff.reset();
            self.renew_at = sent + self.terms.retry_period;
            if !self.is_stopping {
                let from = if mutations::is(Mutation::RenewedByAnswer) {
                    now
                } else {
                    sent
                };
                self.ours_until = Some(from + self.terms.renew_deadline);
            }
        }
    }

    /// Tries again as often as a holder would write, since traffic waits for the server to come back;
    /// sooner while there is something to lose.
    fn insist(&mut self, now: Moment, jitter: f64) {
        let has_much_time = self.ours_until.is_none() && !self.is_stopping;
        let divisor = if has_much_time { 1 } else { 4 };
        let delay = self.terms.retry_period / divisor;
        self.not_before = now + delay.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
    }

    /// Tries again later: soon while there is something to lose, with back-off otherwise.
    fn pause(&mut self, at_least: Duration, now: Moment, jitter: f64) {
        let delay = if self.ours_until.is_some() || self.is_stopping {
            let quarter = self.terms.retry_period / 4;
            quarter.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
        } else {
            self.backoff.next(jitter)
        };
        self.not_before = now + delay.max(at_least.min(PAUSE_MAX));
    }

    /// What it wants to do next, and from when on.
    fn wish(&self) -> Option<(Purpose, Moment)> {
        let is_ours = self.is_ours();
        if self.is_stopping && !is_ours {
            return None;
        }
        if self.must_read || self.version.is_none() {
            return Some((Purpose::Read, AT_ONCE));
        }
        match &self.lease {
            _ if self.is_stopping => Some((Purpose::Release, self.former_until)),
            Some(_) if is_ours => Some((Purpose::Renew, self.renew_at)),
            _ if !self.is_candidate => None,
            Some(_) => Some((Purpose::Take, self.theirs_until)),
            None => Some((Purpose::Create, self.theirs_until)),
        }
    }

    fn ask(&mut self, now: Now) -> Option<LeaseRequest> {
        if self.under_way.is_some() {
            return None;
        }
        let (purpose, at) = self.wish()?;
        if now.moment < at.max(self.not_before) {
            return None;
        }
        self.under_way = Some((purpose, now.moment));
        Some(match (purpose, &self.lease) {
            (Purpose::Read, _) => LeaseRequest::Read,
            (Purpose::Take, Some(lease)) => {
                LeaseRequest::Patch(purpose, record::take(&self.terms, lease, now.wall))
            }
            (Purpose::Renew, Some(lease)) => {
                LeaseRequest::Patch(purpose, record::renew(&self.terms, lease, now.wall))
            }
            (Purpose::Release, Some(lease)) => {
                LeaseRequest::Patch(purpose, record::release(lease, now.wall))
            }
            (Purpose::Create | Purpose::Take | Purpose::Renew | Purpose::Release, _) => {
                LeaseRequest::Create(record::create(&self.terms, now.wall))
            }
        })
    }
}
