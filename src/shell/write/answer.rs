//! What the API server's answer to a write means.

use std::sync::Arc;
use std::time::Duration;

use crate::logic::model::{Service, Slice, Version};
use crate::logic::plan::{Action, Kind, Target, Write};
use crate::shell::api::{self, Answer, ApiStatus};

/// The end of one attempt, or that it takes long.
#[derive(Debug)]
pub struct Settled {
    /// For whom it was.
    pub source: crate::logic::model::Key,
    /// What was sent.
    pub write: Arc<Write>,
    /// What came of it.
    pub verdict: Verdict,
    /// Number of the attempt at this content, from 1.
    pub attempt: u32,
    /// Number of consecutive 5xx answers, including this one.
    pub server_errors: u32,
    /// From sending to knowing.
    pub took: Duration,
}

/// What came of an attempt.
#[derive(Debug)]
pub enum Verdict {
    /// Done; this is the object now.
    Accepted(Observed),
    /// Another client was faster; this is the object now.
    Conflict(Observed),
    /// A create without an answer that is no longer desired: this is its outcome.
    Probed(Observed),
    /// The cluster address that a leader Service had before is not given back yet, it seems.
    AddressHeld(ApiStatus),
    /// The cluster address that a leader Service had before is gone.
    AddressTaken(ApiStatus),
    /// The server will not have it: quota, admission, RBAC, validation. Tried again with back-off.
    Refused(ApiStatus),
    /// Nothing to be told: the namespace is about to go.
    NamespaceTerminating,
    /// No answer yet: an admission webhook or the server is slow. The attempt continues and reports
    /// its own outcome. A second attempt starts if no other one is in flight.
    Unanswered,
    /// No answer, or one that says to come again. Whether it had an effect is unknown.
    Failed {
        /// What happened.
        why: String,
        /// HTTP status of the answer, if there was one.
        code: Option<u16>,
        /// How long the server wants to be left alone.
        retry_after: Option<Duration>,
    },
}

/// The truth about an object.
#[derive(Debug)]
pub enum Observed {
    /// A Service, ours or not.
    Service(Box<Service>),
    /// A slice, ours or not.
    Slice(Box<Slice>),
    /// It does not exist.
    Gone(Target),
}

impl Observed {
    /// The version of the object, if it exists.
    #[must_use]
    pub fn version(&self) -> Option<&Version> {
        match self {
            Self::Service(service) => Some(&service.metadata.resource_version),
            Self::Slice(slice) => Some(&slice.metadata.resource_version),
            Self::Gone(_) => None,
        }
    }
}

/// The path of an object, or of the collection it is created in.
pub(super) fn path(target: &Target, named: bool) -> String {
    let name = named.then_some(&*target.key.name);
    let namespace = Some(&*target.key.namespace);
    match target.kind {
        Kind::Service => api::path::<Service>(namespace, name),
        Kind::Slice => api::path::<Slice>(namespace, name),
    }
}

/// Reads the object in an answer.
pub(super) fn observed(write: &Write, answer: &Answer) -> Result<Observed, String> {
    let parsed = match write.target.kind {
        Kind::Service => serde_json::from_slice(&answer.body).map(Observed::Service),
        Kind::Slice => serde_json::from_slice(&answer.body).map(Observed::Slice),
    };
    parsed.map_err(|why| format!("an answer that does not parse: {why}"))
}

/// The verdict on a success.
pub(super) fn accepted(write: &Write, answer: &Answer) -> Verdict {
    if matches!(write.action, Action::Delete { .. }) {
        // A Status, or the object as it was; it is still there only while finalizers hold it.
        let object = observed(write, answer).ok();
        let is_held = |meta: &crate::logic::model::Meta| {
            meta.deletion_timestamp.is_some() && !meta.finalizers.is_empty()
        };
        return Verdict::Accepted(match object {
            Some(Observed::Service(service)) if is_held(&service.metadata) => {
                Observed::Service(service)
            }
            Some(Observed::Slice(slice)) if is_held(&slice.metadata) => Observed::Slice(slice),
            _ => Observed::Gone(write.target.clone()),
        });
    }
    match observed(write, answer) {
        Ok(object) => Verdict::Accepted(object),
        Err(why) => Verdict::Failed {
            why,
            code: None,
            retry_after: None,
        },
    }
}

/// The verdict on a refusal that is no race.
pub(super) fn refused(write: &Write, status: ApiStatus) -> Verdict {
    let is_create = matches!(write.action, Action::Create(_));
    let is_about_address = status
        .causes
        .iter()
        .any(|cause| cause.field.starts_with("spec.clusterIP"));
    let is_leader_service = is_create && write.target.kind == Kind::Service;
    match status.code {
        403 if status.has_cause("NamespaceTerminating") => Verdict::NamespaceTerminating,
        404 if is_create => Verdict::NamespaceTerminating,
        422 if is_leader_service && is_about_address && asks_for_address(write) => {
            Verdict::AddressTaken(status)
        }
        401 | 408 | 429 | 500.. => Verdict::Failed {
            why: status.to_string(),
            code: Some(status.code),
            retry_after: status.retry_after,
        },
        _ => Verdict::Refused(status),
    }
}

fn asks_for_address(write: &Write) -> bool {
    matches!(&write.action, Action::Create(body) if body.to_value()["spec"]["clusterIPs"].is_array())
}
