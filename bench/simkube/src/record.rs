//! What was asked of the server, for tests that count.

use bytes::Bytes;
use http::Method;
use tokio::time::Instant;

use crate::api::kind::Kind;
use crate::api::path::Verb;

/// One request and how it was answered.
#[derive(Clone, Debug)]
pub struct Record {
    /// Counts from 0 over the life of the server.
    pub number: u64,
    /// Which client sent it; see [`crate::SimKube::client_named`].
    pub client: String,
    /// HTTP method.
    pub method: Method,
    /// Path without the query.
    pub path: String,
    /// The query as sent.
    pub query: String,
    /// What it does.
    pub verb: Verb,
    /// The kind it is about; none for discovery and health.
    pub kind: Option<Kind>,
    /// Namespace of the path.
    pub namespace: String,
    /// Name of the path; for a creation the name in the body.
    pub name: String,
    /// `status` or nothing.
    pub subresource: String,
    /// The body that was sent.
    pub body: Bytes,
    /// HTTP status; 0 if there was no answer.
    pub status: u16,
    /// Whether the server acted on it, whatever it answered.
    pub applied: bool,
    /// When it arrived.
    pub at: Instant,
}

impl Record {
    /// Whether it is a write.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.verb.is_write()
    }
}
