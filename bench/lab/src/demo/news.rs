//! What the parts of the demo tell the one that shows it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use zen_lead::logic::model::{Pod, Uid};

/// Time since the demo began.
pub(super) type At = Duration;

/// Something that happened, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    /// For what the API server has stored: right after that. For what a client sees: its arrival.
    pub(super) at: At,
    /// What happened.
    pub(super) what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The API server has stored a change of a pod, made by any client.
    PodStored {
        /// Its identity.
        uid: Uid,
        /// Whether it could lead: running, Ready, with an address and not terminating.
        serves: bool,
        /// Whether it is there and Ready, terminating or not.
        ready: bool,
    },
    /// The API server has stored a source that is now opted in, or no longer.
    OptStored(bool),
    /// The controller has seen everything once.
    Synced,
    /// The state of the controller's machine.
    State(String),
    /// A part of the demo ended, which none should.
    Broken(String),
    /// All pods of the application, as a watching client sees them.
    Pods(Vec<PodSeen>),
    /// Where the leader Service leads to, as a watching client sees it.
    Route(Route),
    /// The leader Service's name and address, while it is there.
    LeaderService(Option<(Arc<str>, Arc<str>)>),
    /// An Event on the source.
    Told(Told),
}

/// A pod as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodSeen {
    /// Its name, which a successor will bear as well.
    pub(super) name: Arc<str>,
    /// Its identity, which no other pod ever bears.
    pub(super) uid: Uid,
    /// Its address.
    pub(super) ip: Option<String>,
    /// How it is.
    pub(super) stage: Stage,
}

/// How a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Takes traffic.
    Ready,
    /// Is there and takes none.
    NotReady,
    /// Is being deleted, and serves until its process has ended.
    Terminating,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "Ready",
            Self::NotReady => "not Ready",
            Self::Terminating => "terminating",
        })
    }
}

impl From<&Pod> for PodSeen {
    fn from(pod: &Pod) -> Self {
        let stage = match (pod.terminating, pod.ready) {
            (true, _) => Stage::Terminating,
            (false, true) => Stage::Ready,
            (false, false) => Stage::NotReady,
        };
        let ip = pod.ips.of(zen_lead::logic::model::Family::IPv4);
        Self {
            name: Arc::clone(&pod.name),
            uid: pod.uid.clone(),
            ip: ip.map(|ip| ip.to_string()),
            stage,
        }
    }
}

/// Where a client of the leader Service gets to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Route {
    /// There is no slice of ours.
    #[default]
    Absent,
    /// There is one, and no endpoint in it.
    Empty,
    /// To this pod.
    To {
        /// Its name.
        pod: Arc<str>,
        /// Its identity.
        uid: Uid,
        /// Its address.
        ip: Arc<str>,
    },
}

impl Route {
    /// The pod's name.
    #[must_use]
    pub(super) fn pod(&self) -> Option<&Arc<str>> {
        match self {
            Self::To { pod, .. } => Some(pod),
            Self::Absent | Self::Empty => None,
        }
    }
}

/// An Event, as `kubectl get events` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// `Warning` rather than `Normal`.
    pub(super) is_warning: bool,
    /// In one word.
    pub(super) reason: String,
    /// In a sentence.
    pub(super) message: String,
}
