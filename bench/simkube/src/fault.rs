//! Where faults come in: once for each request, once for each frame of a watch.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::api::kind::Kind;
use crate::api::path::Verb;

/// A request, before anything has happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestInfo {
    /// Counts from 0 over the life of the server.
    pub number: u64,
    /// Which client sent it; see [`crate::SimKube::client_named`].
    pub client: String,
    /// What it does.
    pub verb: Verb,
    /// The kind it is about; none for discovery and health.
    pub kind: Option<Kind>,
    /// Namespace of the path; empty for the whole cluster.
    pub namespace: String,
    /// Name of the path; for a creation the name in the body.
    pub name: String,
    /// `status` or nothing.
    pub subresource: String,
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing unusual.
    Pass,
    /// It takes its time on the way there and back.
    Delay {
        /// Before the server acts.
        before: Duration,
        /// Before the answer arrives.
        after: Duration,
    },
    /// An admission webhook takes its time over a write. What the server refuses by itself, a stale
    /// version for instance, it refuses at once; the rest it looks at again afterwards. A client that
    /// leaves meanwhile takes its write with it.
    Admit {
        /// Until the webhook has answered, or is ignored.
        takes: Duration,
    },
    /// Something else happens to it, but so much later.
    Late {
        /// The time before anything else.
        by: Duration,
        /// What then happens.
        then: Box<Self>,
    },
    /// An error is answered, by the server or by something in front of it.
    Answer {
        /// HTTP status.
        code: u16,
        /// Seconds for a `Retry-After` header.
        retry_after: Option<u32>,
        /// Whether the server acted all the same.
        applied: bool,
    },
    /// The connection breaks before the answer.
    Drop {
        /// Whether the server acted all the same.
        applied: bool,
    },
    /// No answer ever comes, and no error either: what a lost packet looks like.
    Hang {
        /// Whether the server acted all the same.
        applied: bool,
    },
    /// Something in between sends it twice; the second answer arrives.
    Twice,
    /// The answer breaks off after so many bytes of its body.
    Truncate {
        /// Bytes that arrive.
        bytes: usize,
    },
    /// A list or a GET shows the state of some time ago, as a follower's cache would. A list of one
    /// object (`limit=1`) shows the present: by it a client asks etcd what the server is at.
    Stale {
        /// How long ago; the log's start is the limit.
        ago: Duration,
    },
}

/// A frame of a watch, before it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameInfo {
    /// Which client watches.
    pub client: String,
    /// Number of the watch, in order of opening.
    pub watch: u64,
    /// Kind that is watched.
    pub kind: Kind,
    /// The namespace that is watched; empty for the whole cluster.
    pub scope: String,
    /// `ADDED`, `MODIFIED`, `DELETED` or `BOOKMARK`.
    pub event: &'static str,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// resourceVersion of the change.
    pub rv: u64,
    /// When the change happened.
    pub at: Instant,
    /// Part of a streaming list: says nothing about the objects that follow.
    pub initial: bool,
}

/// What happens to a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameVerdict {
    /// It is sent.
    Deliver,
    /// It and all behind it wait; then the question is asked again. A past instant means: deliver.
    HoldUntil(Instant),
    /// It is sent twice.
    Twice,
    /// So many bytes of it are sent, then the connection breaks.
    Cut {
        /// Bytes that arrive.
        bytes: usize,
    },
    /// The stream ends cleanly in its place.
    End,
    /// An ERROR frame with 410 comes in its place, and the stream ends.
    Expire,
}

/// A plan of faults. The default is none; implementations decide from what they are given and from
/// their own seed, never from a clock of their own.
pub trait Faults: Send + Sync {
    /// Asked once when a request has arrived completely.
    fn on_request(&self, _request: &RequestInfo) -> Verdict {
        Verdict::Pass
    }

    /// Asked when a frame is about to be sent, and again after each hold.
    fn on_frame(&self, _frame: &FrameInfo) -> FrameVerdict {
        FrameVerdict::Deliver
    }
}

/// A change that has been stored.
#[derive(Clone, Copy, Debug)]
pub struct Committed<'a> {
    /// The request behind it; none if a fixture did it.
    pub request: Option<&'a RequestInfo>,
    /// Kind of the object.
    pub kind: Kind,
    /// Its resourceVersion after the change, or of its end.
    pub rv: u64,
    /// The object before; none if it is new. Without `kind` and `apiVersion`.
    pub old: Option<&'a Value>,
    /// The object after; none if it is gone.
    pub new: Option<&'a Value>,
}

/// Sees every change, in order, right after it was stored and before any watch shows it.
pub trait Observer: Send + Sync {
    /// A change has been stored. May look at the server.
    fn committed(&self, change: &Committed<'_>);
}

/// Everything works.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFaults;

impl Faults for NoFaults {}

/// The error of a connection that broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionReset;

impl std::fmt::Display for ConnectionReset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("connection reset by peer (simulated)")
    }
}

impl std::error::Error for ConnectionReset {}
