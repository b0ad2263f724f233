//! The application's own choice of its leader, for a source with `zen-lead.io/follow`. Sends no request
//! and reads no clock.

mod claim;
mod identity;
mod text;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::model::Key;
use super::time::Moment;

pub use claim::{Claim, Named, Silence, claim};
pub use identity::Line;

/// How long a leader is kept by default while a source follows. A label that moves in two patches, or a
/// Lease event that overtakes its pod event, is then one change.
pub const FAILOVER_DELAY: Duration = Duration::from_millis(250);

/// Where the application says which pod leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Follow {
    /// The pod of the source that has this label.
    Label {
        /// Key of the label.
        key: Arc<str>,
        /// Its value on the leader.
        value: Arc<str>,
    },
    /// The pod that holds this Lease.
    Lease {
        /// Namespace of the Lease; `None` for the source's own.
        namespace: Option<Arc<str>>,
        /// Name of the Lease.
        name: Arc<str>,
    },
    /// The annotation cannot be read, and no valid value is known: no pod is named, and the published
    /// leader stays.
    Unclear,
}

impl Follow {
    /// The Lease that a source in `namespace` follows, if it follows one.
    #[must_use]
    pub fn lease(&self, namespace: &Arc<str>) -> Option<Key> {
        match self {
            Self::Lease {
                namespace: other,
                name,
            } => Some(Key {
                namespace: Arc::clone(other.as_ref().unwrap_or(namespace)),
                name: Arc::clone(name),
            }),
            Self::Label { .. } | Self::Unclear => None,
        }
    }
}

impl fmt::Display for Follow {
    /// As the annotation spells it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label { key, value } => write!(f, "label/{key}={value}"),
            Self::Lease {
                namespace: Some(namespace),
                name,
            } => write!(f, "lease/{namespace}/{name}"),
            Self::Lease {
                namespace: None,
                name,
            } => write!(f, "lease/{name}"),
            Self::Unclear => f.write_str("unclear"),
        }
    }
}

/// What is known of the Lease that a source follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lease {
    /// It has not been read yet: the feed has just started. Nothing is told about it.
    #[default]
    Unread,
    /// It cannot be read, and counts as silent.
    Absent(Absence),
    /// What it said last.
    Present(LeaseFact),
}

/// Why a Lease cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// It was deleted, or there was none.
    NotFound,
    /// The API server refuses to let it be read.
    Forbidden,
    /// The API server has not answered so far.
    Unreachable,
}

/// What a followed Lease said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseFact {
    /// `spec.holderIdentity`; an empty one is none.
    pub holder: Option<Arc<str>>,
    /// `spec.leaseDurationSeconds`.
    pub duration: Option<Duration>,
    /// When the Lease was last seen to change, by our own monotonic clock: when its first reading arrived,
    /// or the last one that differed from the one before. A reading of the same version, after a new list,
    /// is no change.
    pub changed: Moment,
}

/// What the application says of its leader, as metrics spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It names one pod.
    Named,
    /// It names no pod, or one that is gone.
    None,
    /// It names something that is no pod of the source.
    Unknown,
    /// It names several pods.
    Ambiguous,
    /// Its Lease was not renewed, or cannot be read.
    Silent,
}

impl State {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::Named,
        Self::None,
        Self::Unknown,
        Self::Ambiguous,
        Self::Silent,
    ];

    /// As metrics and commands spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::None => "none",
            Self::Unknown => "unknown",
            Self::Ambiguous => "ambiguous",
            Self::Silent => "silent",
        }
    }
}

#[cfg(test)]
mod tests;
