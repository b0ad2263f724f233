//! Log lines about the Lease: one for each change, not one for each attempt.

use std::sync::Arc;
use std::time::Duration;

use super::{RequestFailure, RequestOutcome, TenureChange};
use crate::logic::claim::{Claim, LeaseAnswer, LeaseParams, Purpose};
use crate::logic::time::Moment;

/// Time after which a lasting refusal is explained. A server that starts refuses every request until its
/// RBAC cache is filled.
const EXPLAINED_AFTER: Duration = Duration::from_secs(3);

/// The state that was last logged and passed on.
pub(super) struct LeaseLog<C> {
    changed: C,
    is_active: bool,
    /// The holder that we stand by for.
    holder: Option<Arc<str>>,
    trouble: Option<Trouble>,
}

/// What does not work at present: said once, not per attempt.
struct Trouble {
    kind: String,
    since: Moment,
    is_explained: bool,
}

impl<C: FnMut(TenureChange)> LeaseLog<C> {
    pub(super) fn new(changed: C) -> Self {
        Self {
            changed,
            is_active: false,
            holder: None,
            trouble: None,
        }
    }

    pub(super) fn of(&mut self, claim: &Claim, terms: &LeaseParams, now: Moment) {
        let (lease, identity) = (&terms.lease, &terms.identity);
        let is_active = claim.active_until().is_some();
        let holder = claim.holder();
        if is_active != self.is_active {
            self.is_active = is_active;
            if is_active {
                self.holder = None;
                tracing::info!(%lease, %identity, "this replica holds the Lease: it writes");
            } else if claim.is_stopping() {
                tracing::info!(%lease, "gives up the Lease");
            } else {
                tracing::warn!(%lease, holder = holder.map(|holder| &**holder), "this replica no longer holds the Lease: it stops writing and stands by");
            }
            (self.changed)(if is_active {
                TenureChange::Active {
                    vacant: now.since(claim.vacant_since()),
                }
            } else {
                TenureChange::Standby
            });
        }
        let other = holder.filter(|holder| *holder != identity);
        if other.is_some() && other != self.holder.as_ref() {
            self.holder = other.cloned();
            let holder = other.map(|holder| &**holder);
            tracing::info!(%lease, holder, "stands by: another replica holds the Lease");
        }
    }

    /// Logs a failure that is news.
    pub(super) fn outcome(
        &mut self,
        outcome: RequestOutcome,
        terms: &LeaseParams,
        now: Moment,
    ) -> LeaseAnswer {
        let lease = &terms.lease;
        let (kind, why, answer) = match outcome.answer {
            Ok(answer) => {
                if self.trouble.take().is_some() {
                    tracing::info!(%lease, "the Lease is within reach again");
                }
                return answer;
            }
            Err(RequestFailure::Lost(why)) => ("no answer".into(), why, LeaseAnswer::Lost),
            Err(RequestFailure::Refused(status)) => {
                let at_least = status.retry_after.unwrap_or_default();
                let answer = LeaseAnswer::Failed { at_least };
                (status.code.to_string(), status.to_string(), answer)
            }
        };
        let purpose = match outcome.purpose {
            Purpose::Read => "read",
            Purpose::Create => "create",
            Purpose::Take => "take over",
            Purpose::Renew => "renew",
            Purpose::Release => "release",
        };
        let known = self.trouble.take().filter(|trouble| trouble.kind == kind);
        let is_news = known.is_none();
        let mut trouble = known.unwrap_or(Trouble {
            kind,
            since: now,
            is_explained: false,
        });
        let lasts = now.since(trouble.since) >= EXPLAINED_AFTER;
        if trouble.kind == "403" && lasts && !trouble.is_explained {
            trouble.is_explained = true;
            tracing::warn!(%lease, %why, "still cannot {purpose} the Lease. Without it this replica writes nothing: it needs get, list, watch and patch on this Lease, and create on leases of its namespace");
        } else if is_news {
            tracing::warn!(%lease, %why, "cannot {purpose} the Lease; trying again");
        } else {
            tracing::debug!(%lease, %why, "cannot {purpose} the Lease; trying again");
        }
        self.trouble = Some(trouble);
        answer
    }
}
