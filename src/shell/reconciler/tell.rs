//! What users are told of a source: Events, and lines of the log.

use std::sync::Arc;
use std::time::Duration;

use super::unsaid::Unsaid;
use super::{Reconciler, ReconcilerState, field_manager};
use crate::logic::event::{Note, Severity, Subject};
use crate::logic::heal::ContestedField;
use crate::logic::model::{Key, Service};
use crate::logic::plan::{Kind, Target};
use crate::logic::time::Now;
use crate::logic::well_known::reason;

impl Reconciler {
    /// Tells users something about a source, or notes what they are to be told if the other replica turns
    /// out to be gone.
    pub(super) fn tell(&self, unsaid: &mut Unsaid, source: &Service, note: Note) {
        let (service, now) = (source.key(), self.clock.now());
        if !self.is_active() {
            return unsaid.keep(service, note, now);
        }
        if note.severity == Severity::Warning {
            tracing::warn!(%service, reason = note.reason, "{}", note.message);
        } else {
            // A change of leader has a line of its own, with fields.
            tracing::debug!(%service, reason = note.reason, "{}", note.message);
        }
        self.send(source, note, now);
    }

    /// The same about a source that may be gone by now.
    pub(super) fn tell_of(&self, state: &mut ReconcilerState, source: &Key, note: Note) {
        if let Some(service) = self.store.service(source) {
            self.tell(&mut state.unsaid, &service, note);
        }
    }

    /// This replica writes from now on; for `vacant`, no replica did. Warnings of that time are
    /// announced now. The former replica has announced everything else.
    pub(super) fn tell_unsaid(&self, vacant: Duration) {
        let since = self.clock.moment() - vacant;
        let unsaid = self.state.lock().unsaid.since(since);
        for (source, note, at) in unsaid {
            if let Some(service) = self.store.service(&source) {
                tracing::warn!(service = %source, reason = note.reason, "{}", note.message);
                self.send(&service, note, at);
            }
        }
    }

    /// Tells users of a fight over a field, and which client the other one is.
    pub(super) fn tell_of_fight(self: &Arc<Self>, source: &Key, fought: ContestedField) {
        if !self.is_active() {
            return;
        }
        let (reconciler, source) = (Arc::clone(self), source.clone());
        let _runs_alone = (self.outlets.spawn)(Box::pin(async move {
            let text = reconciler.describe_fight(fought).await;
            tracing::warn!(service = %source, %text);
            if let Some(service) = reconciler.store.service(&source) {
                let note = Note::warning(reason::WRITE_REFUSED, text);
                reconciler.send(&service, note, reconciler.clock.now());
            }
        }));
    }

    async fn describe_fight(&self, fought: ContestedField) -> String {
        let ContestedField {
            target,
            path,
            delay,
            is_by_admission,
        } = fought;
        let what = name_of(&target);
        if path.is_empty() {
            // No managed fields are left that could name the client.
            format!("{what} is deleted again and again; it is made again in {delay:?}")
        } else if is_by_admission {
            format!(
                "{what} does not keep the value of {path}: an admission policy or webhook changes it as it is written; it is written again in {delay:?}"
            )
        } else {
            let by = field_manager::named(&self.outlets.client, &target).await;
            format!(
                "{what} has {path} reverted again and again, {by}; it is healed again in {delay:?}"
            )
        }
    }

    /// Puts an event where it is sent from, some time.
    fn send(&self, service: &Service, note: Note, at: Now) {
        let subject = Subject::from(&service.metadata);
        self.outlets.events.note(subject, note, at);
    }
}

/// An object as users know it: its kind and its name.
pub(super) fn name_of(target: &Target) -> String {
    let kind = match target.kind {
        Kind::Service => "Service",
        Kind::Slice => "EndpointSlice",
    };
    format!("{kind} {}", target.key.name)
}
