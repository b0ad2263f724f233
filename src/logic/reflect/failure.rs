//! What can go wrong between us and the server, and what follows from it.

use std::fmt;
use std::time::Duration;

use super::ApiStatus;

/// The longest `Retry-After` that is obeyed.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);

/// Why something had to be asked for again; a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RestartReason {
    /// The server ended the stream in good order, as it does every few minutes.
    Closed,
    /// Nothing came for too long, or the server said so itself.
    Timeout,
    /// The version or continue token is no longer kept: a new list.
    Gone,
    /// The server answered with an error.
    Error,
    /// The connection broke.
    Transport,
    /// The server was restored from a backup: a new list.
    Restored,
}

impl RestartReason {
    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Gone => "gone",
            Self::Error => "error",
            Self::Transport => "transport",
            Self::Restored => "restored",
        }
    }
}

/// Why a request did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server said so: an HTTP status other than 200, or an `ERROR` frame.
    Status(ApiStatus),
    /// No answer, or none of the lines that must come, in time.
    Timeout,
    /// The connection could not be made or broke; the words of the library that noticed.
    Transport(Box<str>),
    /// The answer makes no sense as a whole.
    Malformed(Box<str>),
}

/// What kind of failure it is: worth one log line when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// 401: the credentials are not accepted.
    Unauthorized,
    /// 403: a permission is missing.
    Forbidden,
    /// 404: the server does not have the resource.
    NotFound,
    /// 410: history is no longer kept.
    Gone,
    /// 429: too many requests.
    Throttled,
    /// Any other 4xx.
    Rejected,
    /// 5xx other than 504, and errors without a code.
    Server,
    /// Nothing came in time; 408 and 504.
    Timeout,
    /// The connection.
    Transport,
    /// The answer makes no sense.
    Malformed,
}

impl Failure {
    /// What kind of failure it is.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Status(status) if status.is_gone() => FailureClass::Gone,
            Self::Status(status) => match status.code {
                401 => FailureClass::Unauthorized,
                403 => FailureClass::Forbidden,
                404 => FailureClass::NotFound,
                408 | 504 => FailureClass::Timeout,
                429 => FailureClass::Throttled,
                400..=499 => FailureClass::Rejected,
                _ => FailureClass::Server,
            },
            Self::Timeout => FailureClass::Timeout,
            Self::Transport(_) => FailureClass::Transport,
            Self::Malformed(_) => FailureClass::Malformed,
        }
    }

    pub(super) fn reason(&self) -> RestartReason {
        match self.class() {
            FailureClass::Gone => RestartReason::Gone,
            FailureClass::Timeout => RestartReason::Timeout,
            FailureClass::Transport => RestartReason::Transport,
            _ => RestartReason::Error,
        }
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status(status) => status.retry_after.map(|after| after.min(RETRY_AFTER_MAX)),
            _ => None,
        }
    }

    /// The server does not keep the version or the token any more.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Status(status) if status.is_gone())
    }

    /// A server that answers with an error is left alone for a while; after a connection that broke
    /// the first try is made at once.
    pub(super) fn may_retry_at_once(&self) -> bool {
        match self {
            Self::Status(_) | Self::Malformed(_) => false,
            Self::Timeout | Self::Transport(_) => true,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => fmt::Display::fmt(status, f),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Transport(text) | Self::Malformed(text) => f.write_str(text),
        }
    }
}
