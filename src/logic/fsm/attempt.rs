//! A change of leader that is desired and that no slice shows yet. It serves the reports and the
//! storm guard's budget, and decides nothing.

use std::sync::Arc;
use std::time::Duration;

use super::announced;
use super::incumbent::{Incumbent, Records};
use super::report::Switched;
use super::{Cause, Machine, Serving};
use crate::logic::elect::{Reason, Verdict};
use crate::logic::model::Uid;
use crate::logic::time::{Moment, Now};

/// A change of leader on its way to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The leader that is left: identity and name. `None` when there is none.
    pub from: Option<(Uid, Arc<str>)>,
    /// The leader that is desired. `None` when no pod can lead.
    pub to: Option<Uid>,
    /// Why the leader is left; `None` for a first election or a recovery.
    pub reason: Option<Reason>,
    /// When the change arrived that caused it.
    pub at: Moment,
    /// When the pod itself changed, if a pod did.
    pub trigger: Option<jiff::Timestamp>,
}

impl From<Moment> for Cause {
    /// News of that time that are about no pod.
    fn from(at: Moment) -> Self {
        Self {
            at,
            pod_changed: None,
        }
    }
}

impl Attempt {
    /// Whether it is a failover that draws on the storm guard's budget.
    #[must_use]
    pub fn is_budgeted(&self) -> bool {
        matches!(self.reason, Some(Reason::NotReady | Reason::NoneReady))
    }
}

impl Machine {
    /// Begins, changes or abandons the attempt, by what the election says of the incumbent.
    pub(super) fn attempt(
        &mut self,
        verdict: &Verdict,
        incumbent: Option<&Incumbent>,
        cause: Cause,
    ) {
        let desired = verdict.leader.as_ref().map(|pod| &pod.uid);
        let shown = self.leader().map(|leader| &leader.uid);
        let is_left = incumbent.is_some_and(|incumbent| Some(&incumbent.uid) != desired);
        if desired == shown && !is_left {
            self.attempt = None;
            return;
        }
        let from = incumbent.filter(|_| is_left);
        let (at, trigger) = match &self.attempt {
            Some(attempt) => (attempt.at, attempt.trigger),
            None => (cause.at, cause.pod_changed),
        };
        self.attempt = Some(Attempt {
            from: from.map(|from| (from.uid.clone(), Arc::clone(&from.pod))),
            to: desired.cloned(),
            reason: verdict.left,
            at,
            trigger,
        });
    }

    /// Ends the attempt once the slices show its outcome, or another change than the desired one.
    /// `before` is the leader that the slices showed at the last step.
    pub(super) fn settle(
        &mut self,
        records: &Records<'_>,
        incumbent: Option<&Incumbent>,
        before: Option<&Serving>,
        now: Now,
    ) -> Option<Switched> {
        if !records.has_slices() {
            return None;
        }
        let shown = incumbent.map(|incumbent| &incumbent.uid);
        let is_moved = shown != before.map(|before| &before.uid);
        let is_done = |attempt: &mut Attempt| is_moved || attempt.to.as_ref() == shown;
        let attempt = self.attempt.take_if(is_done);
        let to = incumbent.map(|incumbent| Arc::clone(&incumbent.pod));
        if incumbent.is_some_and(|incumbent| incumbent.is_by_hand) && is_moved {
            return Some(Switched {
                from: before.map(|before| Arc::clone(&before.pod)),
                to,
                reason: Some(Reason::Switchover),
                took: Duration::ZERO,
            });
        }
        let attempt = attempt?;
        let from = attempt.from.as_ref();
        if from.map(|(uid, _)| uid) == shown {
            return None;
        }
        Some(Switched {
            from: from.map(|(_, pod)| Arc::clone(pod)),
            to,
            reason: attempt.reason,
            took: now.moment.since(attempt.at),
        })
    }

    /// Tells users of a change of leader that the slices show.
    pub(super) fn announce(&mut self, switched: &Switched, name: &str) {
        let why = switched.reason.map_or("", Reason::as_str);
        match (switched.from.as_deref(), switched.to.as_deref()) {
            (from, Some(to)) => {
                let note = announced::announce(from, to, why, switched.took, name);
                self.said.say(note);
            }
            (Some(from), None) => self.said.end(from, why, switched.took),
            (None, None) => {}
        }
    }
}
