//! The errors of the API server as values, and their bodies as it writes them.
//!
//! Messages, reasons and the order of the fields follow `apimachinery/pkg/api/errors`: a client that
//! matches on any of them must not be able to tell the difference.

use serde::Serialize;

use super::kind::Kind;

/// What a status says about the object or the request it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// Name of the object, where there is one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The plural resource, or for invalid objects the kind: the real server mixes them as well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// UID of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// One entry for each thing that is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// Seconds after which a retry makes sense.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
}

/// One reason for a refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// Machine-readable, such as `FieldValueRequired`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Path of the field.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// A request that failed, as the API server would put it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub code: u16,
    /// `reason` of the status; empty where the real server leaves it out.
    pub reason: &'static str,
    /// Text for people; clients match on some of it.
    pub message: String,
    /// Details, boxed because most results are successes.
    pub details: Option<Box<Details>>,
    /// Token to go on with an inconsistent list, only for expired ones.
    pub continue_token: Option<String>,
}

#[derive(Serialize)]
struct Body<'a> {
    kind: &'static str,
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    metadata: BodyMeta<'a>,
    status: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Details>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
}

#[derive(Serialize)]
struct BodyMeta<'a> {
    #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
    continue_token: Option<&'a str>,
}

/// The `Status` of a deletion that leaves no object to return. It has no code and no message.
pub(crate) fn success(kind: Kind, name: &str, uid: &str) -> Vec<u8> {
    let details = Details {
        name: name.into(),
        group: kind.group().into(),
        kind: kind.plural().into(),
        uid: uid.into(),
        ..Details::default()
    };
    encode(&Body {
        kind: "Status",
        api_version: "v1",
        metadata: BodyMeta {
            continue_token: None,
        },
        status: "Success",
        message: "",
        reason: "",
        details: Some(&details),
        code: None,
    })
}

fn encode(body: &Body<'_>) -> Vec<u8> {
    // Only strings and numbers inside: there is nothing in it that can fail to serialize.
    serde_json::to_vec(body).unwrap_or_default()
}

impl ApiError {
    pub(super) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            continue_token: None,
        }
    }

    fn about(mut self, kind: Kind, name: &str) -> Self {
        self.details = Some(Box::new(Details {
            name: name.into(),
            group: kind.group().into(),
            kind: kind.plural().into(),
            ..Details::default()
        }));
        self
    }

    /// The body as JSON.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        encode(&Body {
            kind: "Status",
            api_version: "v1",
            metadata: BodyMeta {
                continue_token: self.continue_token.as_deref(),
            },
            status: "Failure",
            message: &self.message,
            reason: self.reason,
            details: self.details.as_deref(),
            code: Some(self.code),
        })
    }

    /// Seconds for a `Retry-After` header.
    #[must_use]
    pub fn retry_after(&self) -> Option<u32> {
        self.details.as_ref().and_then(|d| d.retry_after_seconds)
    }

    /// Adds a cause.
    #[must_use]
    pub(crate) fn because(mut self, reason: &str, message: impl Into<String>, field: &str) -> Self {
        let cause = Cause {
            reason: reason.into(),
            message: message.into(),
            field: field.into(),
        };
        self.details.get_or_insert_default().causes.push(cause);
        self
    }

    pub(super) fn retry_in(mut self, seconds: Option<u32>) -> Self {
        if seconds.is_some() {
            self.details.get_or_insert_default().retry_after_seconds = seconds;
        }
        self
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub(crate) fn forbidden(kind: Kind, name: &str, why: &str) -> Self {
        let message = if name.is_empty() {
            format!("{} is forbidden: {why}", kind.resource())
        } else {
            format!("{} {name:?} is forbidden: {why}", kind.resource())
        };
        Self::new(403, "Forbidden", message).about(kind, name)
    }

    /// The same for a resource that may be none of the kinds that are stored.
    pub(crate) fn forbidden_resource(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let resource = if group.is_empty() {
            plural.to_owned()
        } else {
            format!("{plural}.{group}")
        };
        let shown = if name.is_empty() {
            resource
        } else {
            format!("{resource} {name:?}")
        };
        let message = format!("{shown} is forbidden: {why}");
        Self::new(403, "Forbidden", message).details(Details {
            name: name.into(),
            group: group.into(),
            kind: plural.into(),
            ..Details::default()
        })
    }

    pub(crate) fn not_found(kind: Kind, name: &str) -> Self {
        Self::new(
            404,
            "NotFound",
            format!("{} {name:?} not found", kind.resource()),
        )
        .about(kind, name)
    }

    /// A path that no handler serves.
    pub(crate) fn no_such_path() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
        .details(Details::default())
    }

    pub(super) fn details(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .details(Details::default())
    }

    /// What the real server can do and this one cannot.
    pub(crate) fn not_simulated(what: &str) -> Self {
        let message = format!(
            "simkube does not serve {what}: it knows get, list, watch, create, update, patch and delete"
        );
        Self::new(405, "MethodNotAllowed", message).details(Details::default())
    }

    pub(crate) fn already_exists(kind: Kind, name: &str) -> Self {
        Self::new(
            409,
            "AlreadyExists",
            format!("{} {name:?} already exists", kind.resource()),
        )
        .about(kind, name)
    }

    pub(crate) fn conflict(kind: Kind, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: {why}",
            kind.resource()
        );
        Self::new(409, "Conflict", message).about(kind, name)
    }

    /// A precondition of a deletion that fails. The real server puts the kind where it puts the
    /// resource everywhere else.
    pub(crate) fn precondition(kind: Kind, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: {why}",
            kind.qualified()
        );
        let mut error = Self::new(409, "Conflict", message).about(kind, name);
        error.details.get_or_insert_default().kind = kind.name().into();
        error
    }

    /// A lost race against another writer.
    pub(crate) fn modified(kind: Kind, name: &str) -> Self {
        Self::conflict(
            kind,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {limit}"),
        )
    }

    pub(crate) fn unsupported_media_type(accepted: &[&str]) -> Self {
        Self::new(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {}",
                accepted.join(", ")
            ),
        )
    }

    /// A PATCH of a type that no handler consumes.
    pub(crate) fn unsupported_patch() -> Self {
        Self::new(415, "UnsupportedMediaType", "415: Unsupported Media Type")
            .details(Details::default())
    }

    /// A JSON patch that does not apply; a failed `test` and a missing path look the same.
    pub(crate) fn unprocessable() -> Self {
        Self::new(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        )
        .details(Details::default())
    }

    /// An invalid object; `qualified` is `Kind.group`.
    pub(crate) fn invalid(
        group: &str,
        kind: &str,
        name: &str,
        text: &str,
        causes: Vec<Cause>,
    ) -> Self {
        let qualified = if group.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{group}")
        };
        Self::new(
            422,
            "Invalid",
            format!("{qualified} {name:?} is invalid: {text}"),
        )
        .details(Details {
            name: name.into(),
            group: group.into(),
            kind: kind.into(),
            causes,
            ..Details::default()
        })
    }

    /// What a `ValidatingAdmissionPolicy` answers.
    pub(crate) fn denied(kind: Kind, name: &str, message: &str, forbidden: bool) -> Self {
        let mut error = Self::forbidden(kind, name, message).because("", message, "");
        if !forbidden {
            // The policy engine keeps the text of a 403 and changes code and reason afterwards.
            error.code = 422;
            error.reason = "Invalid";
        }
        error
    }

    pub(crate) fn internal(message: &str) -> Self {
        Self::new(
            500,
            "InternalError",
            format!("Internal error occurred: {message}"),
        )
        .because("", message, "")
    }

    /// An error of a lower layer without a reason of its own.
    pub(crate) fn unknown(message: &str) -> Self {
        Self::new(500, "", message)
    }

    /// A list or streaming list at a resourceVersion that does not exist yet.
    pub(crate) fn future_version(wanted: u64, current: u64) -> Self {
        Self::new(
            504,
            "Timeout",
            format!("Timeout: Too large resource version: {wanted}, current: {current}"),
        )
        .because("ResourceVersionTooLarge", "Too large resource version", "")
        .retry_in(Some(1))
    }
}
