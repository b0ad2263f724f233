//! One Event as the API has it.

use serde_json::{Value, json};

use super::{Note, Subject};

/// The reporter: `source.component` and `reportingComponent`.
pub const COMPONENT: &str = "zen-lead-controller";

/// One Event, complete: it can be patched or, if it is gone, created again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// Its name, `<service>.<hex>`; the namespace is the subject's.
    pub name: String,
    /// The object that it is about.
    pub subject: Subject,
    /// What it says.
    pub note: Note,
    /// How often it was said.
    pub count: u32,
    /// When it was said first.
    pub first: jiff::Timestamp,
    /// When it was said last.
    pub last: jiff::Timestamp,
}

impl EventRecord {
    /// The body that makes the Event. `instance` is the pod that reports.
    #[must_use]
    pub fn object(&self, instance: &str) -> Value {
        let Subject { key, uid, version } = &self.subject;
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "namespace": *key.namespace, "name": self.name },
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Service",
                "namespace": *key.namespace,
                "name": *key.name,
                "uid": uid,
                "resourceVersion": version.to_string(),
            },
            "type": self.note.severity.name(),
            "reason": self.note.reason,
            "message": self.note.message,
            "count": self.count,
            "firstTimestamp": time(self.first),
            "lastTimestamp": time(self.last),
            "source": { "component": COMPONENT },
            "reportingComponent": COMPONENT,
            "reportingInstance": instance,
        });
        if let Some(action) = self.note.action {
            object["action"] = action.into();
        }
        object
    }

    /// The merge patch that raises the count of the Event.
    #[must_use]
    pub fn patch(&self) -> Value {
        json!({
            "message": self.note.message,
            "count": self.count,
            "lastTimestamp": time(self.last),
        })
    }
}

/// `metav1.Time`: whole seconds.
fn time(at: jiff::Timestamp) -> String {
    format!("{at:.0}")
}
