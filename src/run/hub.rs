//! The outcome of a write: its answer is a fact, and the sources that it concerns are looked at again.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use foldhash::fast::FixedState;
use kube_client::Client;
use parking_lot::Mutex;
use serde_json::Value;

use super::Env;
use super::rival;
use super::scan_requests::ScanRequests;
use super::suspect::Inquiry;
use super::unsaid::Unsaid;
use crate::logic::event::{Note, Severity, Subject};
use crate::logic::fsm::Cause;
use crate::logic::heal::ContestedField;
use crate::logic::model::{Key, Service};
use crate::logic::plan::{Action, Kind, Target, Write};
use crate::logic::time::Now;
use crate::logic::well_known::{ROLE, reason};
use crate::metrics::{Metrics, Outcome};
use crate::mutations::{self, Mutation};
use crate::shell::events::Events;
use crate::shell::reconciler::{Effects, Reconciler, Suspect};
use crate::shell::write::{Observed, Settled, Verdict, Writer};
use crate::store::{Origin, Store};

/// Objects of one source whose write has failed, with the last reported reason of each.
type Refusals = Vec<Refusal>;

/// Number of consecutive 5xx answers that are reported as a refusal.
const SERVER_ERRORS_MAX: u32 = 3;

struct Refusal {
    target: Target,
    /// In the server's own words; none while there is no answer.
    why: Option<Box<str>>,
}

/// Joins machines, writer, store and events.
pub(super) struct Hub {
    store: Arc<Store>,
    writer: Writer,
    client: Client,
    metrics: Arc<Metrics>,
    around: Env,
    events: Events,
    lookout: ScanRequests,
    /// Reported 5xx answers to writes of leader Services, and writes without an answer, by source. Each
    /// is reported once and forgotten when the write is no longer desired. Locked for a look-up. Other
    /// refusals are in [`Refusals`](crate::logic::plan::Refusals), because planning depends on them.
    refusals: Mutex<HashMap<Key, Refusals, FixedState>>,
    unsaid: Unsaid,
    /// Weak, since the machines hold the hub.
    reconciler: OnceLock<Weak<Reconciler>>,
}

impl Hub {
    pub(super) fn new(
        store: Arc<Store>,
        writer: Writer,
        client: Client,
        metrics: Arc<Metrics>,
        around: Env,
        events: Events,
        lookout: ScanRequests,
    ) -> Self {
        Self {
            store,
            writer,
            client,
            metrics,
            around,
            events,
            lookout,
            refusals: Mutex::default(),
            unsaid: Unsaid::default(),
            reconciler: OnceLock::new(),
        }
    }

    /// This replica writes from now on; for `vacant`, no replica did. Warnings of that time are
    /// announced now. The former replica has announced everything else.
    pub(super) fn take_over(&self, vacant: Duration) {
        let since = self.around.clock.moment() - vacant;
        for (source, note, at) in self.unsaid.since(since) {
            if let Some(service) = self.store.service(&source) {
                tracing::warn!(service = %source, reason = note.reason, "{}", note.message);
                send(&self.events, &service, note, at);
            }
        }
    }

    /// Has the writer's outcomes come back to the machines. Weak, since the machines hold the hub.
    pub(super) fn settle_into(self: &Arc<Self>, reconciler: &Arc<Reconciler>) {
        let (hub, reconciler) = (Arc::downgrade(self), Arc::downgrade(reconciler));
        let _ = self.reconciler.set(Weak::clone(&reconciler)); // It is joined once.
        self.writer.settle_with(Arc::new(move |settled| {
            if let (Some(hub), Some(reconciler)) = (hub.upgrade(), reconciler.upgrade()) {
                hub.settle(&reconciler, settled);
            }
        }));
    }

    fn settle(&self, reconciler: &Arc<Reconciler>, settled: Settled) {
        self.count(&settled);
        let Settled {
            source,
            write,
            verdict,
            server_errors,
            took,
            ..
        } = settled;
        let mut touched = Vec::new();
        match verdict {
            Verdict::Accepted(observed) => {
                self.forget_refusals(&source, |target| *target != write.target);
                self.announce(&source, &write);
                reconciler.acknowledge(&source, &write, observed.version());
                if !mutations::is(Mutation::AnswerIgnored) {
                    touched = self.apply(observed);
                }
            }
            Verdict::Conflict(observed) | Verdict::Probed(observed) => {
                touched = self.apply(observed);
            }
            Verdict::AddressTaken(status) => {
                reconciler.forget_addresses(&source, &write.target.key);
                let name = &write.target.key.name;
                let text = format!(
                    "Service {name} gets a new cluster address, the one it had is taken: {status}"
                );
                self.tell(&source, Note::warning(reason::WRITE_REFUSED, text));
            }
            Verdict::Refused(status) => {
                let why = status.to_string();
                if reconciler.refuse(&source, &write, &why) {
                    self.report_refusal(&source, &write, &why);
                }
            }
            Verdict::Unanswered => self.report_silence(&source, &write, took),
            Verdict::Failed { .. } if mutations::is(Mutation::SilenceIsConsent) => return,
            Verdict::Failed { why, .. } if server_errors >= SERVER_ERRORS_MAX => {
                let is_news = if write.target.kind == Kind::Slice {
                    reconciler.refuse(&source, &write, &why)
                } else {
                    self.note_refusal(&source, &write.target, Some(&why))
                };
                if is_news {
                    self.report_refusal(&source, &write, &why);
                }
            }
            Verdict::AddressHeld(_) | Verdict::NamespaceTerminating | Verdict::Failed { .. } => {}
        }
        if !touched.contains(&source) {
            touched.push(source);
        }
        reconciler.reconcile_all(
            touched,
            Cause {
                at: self.around.clock.moment(),
                pod_changed: None,
            },
        );
    }

    /// An answer is a fact like any other.
    fn apply(&self, observed: Observed) -> Vec<Key> {
        match observed {
            Observed::Service(service) => self.lookout.put_service(*service, Origin::Answer),
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

    /// Says that a Service was made.
    fn announce(&self, source: &Key, write: &Write) {
        if let Action::Create(body) = &write.action
            && write.target.kind == Kind::Service
        {
            let body = body.to_value();
            let kind = body["metadata"]["labels"][ROLE].as_str();
            let kind = kind.unwrap_or("leader");
            let text = format!("Created {kind} Service {}", write.target.key.name);
            self.tell(source, Note::normal(reason::LEADER_SERVICE_CREATED, text));
        }
    }

    fn report_refusal(&self, source: &Key, write: &Write, why: &str) {
        let text = format!(
            "The API server refused to {} {}: {why}",
            write.action.verb().as_str(),
            name_of(&write.target)
        );
        self.tell(source, Note::warning(reason::WRITE_REFUSED, text));
    }

    /// Says that an answer takes long, once until the object is written.
    fn report_silence(&self, source: &Key, write: &Write, took: Duration) {
        if !self.note_refusal(source, &write.target, None) {
            return;
        }
        let text = format!(
            "No answer within {took:?} to the {} of {}: an admission webhook or the API server is slow; it is tried again",
            write.action.verb().as_str(),
            name_of(&write.target)
        );
        self.tell(source, Note::warning(reason::WRITE_REFUSED, text));
    }

    /// Returns whether that is news.
    fn note_refusal(&self, source: &Key, target: &Target, why: Option<&str>) -> bool {
        let mut all = self.refusals.lock();
        let refusals = all.entry(source.clone()).or_default();
        let known = refusals
            .iter_mut()
            .find(|known| known.target == *target && known.why.is_some() == why.is_some());
        let why: Option<Box<str>> = why.map(Into::into);
        let Some(known) = known else {
            let target = target.clone();
            refusals.push(Refusal { target, why });
            return true;
        };
        let is_news = known.why != why;
        known.why = why;
        is_news
    }

    /// Keeps only the refusals of these objects of a source.
    fn forget_refusals(&self, source: &Key, keep: impl Fn(&Target) -> bool) {
        let mut all = self.refusals.lock();
        let Some(refusals) = all.get_mut(source) else {
            return;
        };
        refusals.retain(|refusal| keep(&refusal.target));
        if refusals.is_empty() {
            all.remove(source);
        }
    }
}

impl Effects for Hub {
    fn submit(&self, source: &Key, writes: Vec<Write>, cause: Cause) {
        self.forget_refusals(source, |target| {
            writes.iter().any(|write| write.target == *target)
        });
        self.writer.submit(source, writes, cause);
    }

    fn is_active(&self) -> bool {
        self.writer.may_write()
    }

    fn verify(&self, source: &Key, pod: Suspect) -> bool {
        let Some(reconciler) = self.reconciler.get().cloned() else {
            return false;
        };
        let inquiry = Inquiry {
            client: self.client.clone(),
            store: Arc::clone(&self.store),
            clock: self.around.clock.clone(),
            reconciler,
        };
        drop(tokio::spawn(inquiry.run(source.clone(), pod)));
        true
    }

    fn tell(&self, source: &Service, note: Note) {
        let service = source.key();
        if !self.writer.may_write() {
            return self.unsaid.keep(service, note, self.around.clock.now());
        }
        if note.severity == Severity::Warning {
            tracing::warn!(%service, reason = note.reason, "{}", note.message);
        } else {
            // A change of leader has a line of its own, with fields.
            tracing::debug!(%service, reason = note.reason, "{}", note.message);
        }
        send(&self.events, source, note, self.around.clock.now());
    }

    fn tell_of_fight(&self, source: &Key, fought: ContestedField) {
        if !self.writer.may_write() {
            return;
        }
        let (source, client, store) =
            (source.clone(), self.client.clone(), Arc::clone(&self.store));
        let (around, events) = (self.around.clone(), self.events.clone());
        let _runs_alone = (self.around.spawn)(Box::pin(async move {
            let ContestedField {
                target,
                path,
                delay,
                is_by_admission,
            } = fought;
            let what = name_of(&target);
            let text = if path.is_empty() {
                // No managed fields are left that could name the client.
                format!("{what} is deleted again and again; it is made again in {delay:?}")
            } else if is_by_admission {
                format!(
                    "{what} does not keep the value of {path}: an admission policy or webhook changes it as it is written; it is written again in {delay:?}"
                )
            } else {
                let by = rival::named(&client, &target).await;
                format!(
                    "{what} has {path} reverted again and again, {by}; it is healed again in {delay:?}"
                )
            };
            tracing::warn!(service = %source, %text);
            if let Some(service) = store.service(&source) {
                let note = Note::warning(reason::WRITE_REFUSED, text);
                send(&events, &service, note, around.clock.now());
            }
        }));
    }

    fn waiting(&self, source: &Key) -> Value {
        self.writer.waiting(source)
    }
}

impl Hub {
    fn tell(&self, source: &Key, note: Note) {
        if let Some(service) = self.store.service(source) {
            Effects::tell(self, &service, note);
        }
    }
}

/// An object as users know it: its kind and its name.
fn name_of(target: &Target) -> String {
    let kind = match target.kind {
        Kind::Service => "Service",
        Kind::Slice => "EndpointSlice",
    };
    format!("{kind} {}", target.key.name)
}

/// Puts an event where it is sent from, some time.
fn send(events: &Events, service: &Service, note: Note, at: Now) {
    events.note(Subject::from(&service.metadata), note, at);
}
