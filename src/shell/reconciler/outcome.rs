//! The outcome of a write: its answer is a fact, and the sources that it concerns are looked at again.

use std::sync::Arc;

use super::tell::name_of;
use super::{Reconciler, ReconcilerState};
use crate::logic::event::Note;
use crate::logic::model::{Key, Version};
use crate::logic::plan::{Action, Kind, Target, Write, WriteFailure};
use crate::logic::well_known::{ROLE, reason};
use crate::metrics::Outcome;
use crate::mutations::{self, Mutation};
use crate::shell::write::{Observed, Settled, Verdict};
use crate::store::Origin;

/// Number of consecutive 5xx answers that are reported as a refusal.
const SERVER_ERRORS_MAX: u32 = 3;

impl Reconciler {
    /// Takes the outcome of a write in.
    pub fn on_outcome(self: &Arc<Self>, settled: Settled) {
        self.count(&settled);
        let Settled {
            source,
            write,
            verdict,
            server_errors,
            took,
            ..
        } = settled;
        let mut state = self.state.lock();
        let mut touched = Vec::new();
        match verdict {
            Verdict::Accepted(observed) => {
                self.announce(&mut state, &source, &write);
                self.accepted(&mut state, &source, &write, observed.version());
                if !mutations::is(Mutation::AnswerIgnored) {
                    touched = self.apply(observed);
                }
            }
            Verdict::Conflict(observed) | Verdict::Probed(observed) => {
                touched = self.apply(observed);
            }
            Verdict::AddressTaken(status) => {
                if let Some(service) = state.services.get_mut(&source) {
                    service.forget_addresses(&write.target.key);
                }
                state.cluster.forget_addresses(&write.target.key);
                let name = &write.target.key.name;
                let text = format!(
                    "Service {name} gets a new cluster address, the one it had is taken: {status}"
                );
                let note = Note::warning(reason::WRITE_REFUSED, text);
                self.tell_of(&mut state, &source, note);
            }
            Verdict::Refused(status) => {
                let why = status.to_string();
                self.fail(&mut state, &source, &write, WriteFailure::Refused(&why));
            }
            Verdict::Unanswered => {
                self.fail(&mut state, &source, &write, WriteFailure::Unanswered(took));
            }
            Verdict::Failed { .. } if mutations::is(Mutation::SilenceIsConsent) => return,
            Verdict::Failed { why, .. } if server_errors >= SERVER_ERRORS_MAX => {
                // A leader Service is tried again as before; a refused slice gives way to others.
                let failure = match write.target.kind {
                    Kind::Slice => WriteFailure::Refused(&why),
                    Kind::Service => WriteFailure::ServerError(&why),
                };
                self.fail(&mut state, &source, &write, failure);
            }
            Verdict::AddressHeld(_) | Verdict::NamespaceTerminating | Verdict::Failed { .. } => {}
        }
        drop(state);
        if !touched.contains(&source) {
            touched.push(source);
        }
        self.reconcile_all(touched, self.clock.moment().into());
    }

    /// Notes that a write has been accepted, and as which version it was answered. What the answer
    /// shows is a fact of its own.
    pub fn acknowledge(&self, source: &Key, write: &Write, answered: Option<&Version>) {
        self.accepted(&mut self.state.lock(), source, write, answered);
    }

    fn accepted(
        &self,
        state: &mut ReconcilerState,
        source: &Key,
        write: &Write,
        answered: Option<&Version>,
    ) {
        if let Some(service) = state.services.get_mut(source) {
            service
                .heals
                .acknowledge(write, answered, self.clock.moment());
            service.refusals.accept(write);
        }
    }

    /// An answer is a fact like any other.
    fn apply(&self, observed: Observed) -> Vec<Key> {
        match observed {
            Observed::Service(service) => {
                self.outlets.scans.consider(&service);
                self.store.put_service(*service, Origin::Answer)
            }
            Observed::Slice(slice) => self.store.put_slice(*slice, Origin::Answer),
            Observed::Gone(Target {
                kind: Kind::Service,
                key,
            }) => self.store.remove_service(&key, None),
            Observed::Gone(Target {
                kind: Kind::Slice,
                key,
            }) => self.store.remove_slice(&key, None),
        }
    }

    /// Notes that a write had no effect, and reports it if that is news.
    fn fail(
        &self,
        state: &mut ReconcilerState,
        source: &Key,
        write: &Write,
        failure: WriteFailure<'_>,
    ) {
        let now = self.clock.moment();
        let service = state.services.get_mut(source);
        if !service.is_some_and(|service| service.refusals.note(write, failure, now)) {
            return;
        }
        let (verb, object) = (write.action.verb().as_str(), name_of(&write.target));
        let text = match failure {
            WriteFailure::Refused(why) | WriteFailure::ServerError(why) => {
                format!("The API server refused to {verb} {object}: {why}")
            }
            WriteFailure::Unanswered(took) => format!(
                "No answer within {took:?} to the {verb} of {object}: an admission webhook or the API server is slow; it is tried again"
            ),
        };
        let note = Note::warning(reason::WRITE_REFUSED, text);
        self.tell_of(state, source, note);
    }

    /// Says that a Service was made.
    fn announce(&self, state: &mut ReconcilerState, source: &Key, write: &Write) {
        if let Action::Create(body) = &write.action
            && write.target.kind == Kind::Service
        {
            let body = body.to_value();
            let kind = body["metadata"]["labels"][ROLE].as_str();
            let kind = kind.unwrap_or("leader");
            let text = format!("Created {kind} Service {}", write.target.key.name);
            let note = Note::normal(reason::LEADER_SERVICE_CREATED, text);
            self.tell_of(state, source, note);
        }
    }

    fn count(&self, settled: &Settled) {
        // The source may be gone by now, and its series with it.
        let Some(stats) = self.metrics.find(&settled.source) else {
            return;
        };
        let verb = settled.write.action.verb();
        if matches!(settled.verdict, Verdict::Probed(_)) {
            return; // Nothing was written.
        }
        if matches!(settled.verdict, Verdict::Unanswered) {
            // It may be written yet.
            let namespace = &settled.source.namespace;
            return self.metrics.timed_out(namespace, verb.as_str());
        }
        let is_accepted = matches!(settled.verdict, Verdict::Accepted(_));
        stats.api_call(
            verb,
            if is_accepted {
                Outcome::Success
            } else {
                Outcome::Error
            },
            settled.took,
        );
        match &settled.verdict {
            Verdict::Accepted(_) if settled.attempt > 1 => {
                return stats.succeeded_after_retry(verb);
            }
            Verdict::Accepted(_) | Verdict::Probed(_) | Verdict::Unanswered => return,
            Verdict::Conflict(_) => return stats.cache_missed(),
            Verdict::AddressHeld(_) => stats.failed("addressHeld"),
            Verdict::AddressTaken(_) => stats.failed("addressTaken"),
            Verdict::Refused(_) => stats.failed("writeRefused"),
            Verdict::NamespaceTerminating => stats.failed("namespaceTerminating"),
            Verdict::Failed { why, .. } => {
                stats.failed("writeFailed");
                tracing::warn!(service = %settled.source, object = %settled.write.target.key, %why, attempt = settled.attempt, "a write failed; trying again");
            }
        }
        stats.reconciled(Outcome::Error, settled.took);
        stats.retried(verb, settled.attempt);
        if settled.write.target.kind == Kind::Slice {
            stats.slice_write_failed();
        }
    }
}
