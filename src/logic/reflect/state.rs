//! Where the protocol stands, and how fast it may go on.

use std::sync::Arc;
use std::time::Duration;

use super::{Failure, Keys, Request};
use crate::logic::backoff::Backoff;
use crate::logic::model::{Key, Version};

/// After a server refused a streaming list, this many lists are paged before the next try: it may
/// have been upgraded, or another one may answer.
const LISTS_PAGED: u8 = 8;
/// First and longest delay while no connection can be made: an attempt costs the server nothing, and
/// a feed that still waits when the server is back is blind for as long.
const RECONNECT_FIRST: Duration = Duration::from_millis(100);
const RECONNECT_MAX: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReflectState {
    /// A streaming list is asked for or under way.
    Streaming {
        /// What it has shown so far.
        seen: Keys,
        /// Whether the server has begun to answer.
        opened: bool,
    },
    /// A paged list is under way.
    Paging {
        /// What the pages before have shown.
        seen: Keys,
        /// Version of the first page: a watch from there replays what the later ones missed.
        version: Option<Version>,
        /// Token of the page that is asked for.
        token: Option<Box<str>>,
    },
    /// A watch is asked for or open, and everything up to `version` is known.
    Watching {
        /// Of the last frame or bookmark, or of the list.
        version: Version,
    },
    /// Before `then`, the server is asked which version it is at.
    Checking {
        /// An answer was older than what was shown before.
        doubted: bool,
        /// A watch or a list.
        then: Box<Self>,
    },
    /// A delay runs; `then` comes after it.
    Waiting {
        /// All of it, as it was drawn.
        delay: Duration,
        /// Never `Waiting` itself.
        then: Box<Self>,
    },
}

impl ReflectState {
    pub(super) fn request(&self) -> Request {
        match self {
            Self::Streaming { .. } => Request::StreamingList,
            Self::Paging { token, .. } => Request::List {
                continue_token: token.clone(),
            },
            Self::Watching { version } => Request::Watch {
                version: version.clone(),
            },
            Self::Checking { .. } => Request::Check,
            Self::Waiting { delay, .. } => Request::Wait(*delay),
        }
    }

    /// Whether a list is under way or next.
    pub(super) fn is_listing(&self) -> bool {
        match self {
            Self::Streaming { .. } | Self::Paging { .. } => true,
            Self::Watching { .. } => false,
            Self::Checking { then, .. } | Self::Waiting { then, .. } => then.is_listing(),
        }
    }

    /// A watch that resumes where it was, once it is known that the server has not gone back.
    pub(super) fn resuming(version: Version) -> Self {
        Self::Checking {
            doubted: false,
            then: Box::new(Self::Watching { version }),
        }
    }

    pub(super) fn streaming() -> Self {
        Self::Streaming {
            seen: Keys::default(),
            opened: false,
        }
    }

    pub(super) fn paging() -> Self {
        Self::Paging {
            seen: Keys::default(),
            version: None,
            token: None,
        }
    }
}

/// What is remembered across states: how fast to go, and how to list.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// After errors that the server answers with.
    backoff: Backoff,
    /// While it cannot be reached.
    reconnect: Backoff,
    /// Breaks since a watch last got on.
    pub(super) breaks: u32,
    /// Whether a list was made since then because history was gone.
    relisted: bool,
    /// Lists that are still to be paged because a streaming one was refused.
    paged: u8,
    /// The newest version that was shown: a list of an older one would have what is gone come back.
    reached: Option<Version>,
    /// Of the last key that a list showed. They come namespace by namespace, and a hundred thousand
    /// keys need not each hold a copy of the same text.
    namespace: Arc<str>,
}

impl Pace {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            reconnect: Backoff::new(RECONNECT_FIRST, RECONNECT_MAX),
            breaks: 0,
            relisted: false,
            paged: 0,
            reached: None,
            namespace: "".into(),
        }
    }

    /// The key to be remembered, sharing its namespace with the one before.
    pub(super) fn share(&mut self, mut key: Key) -> Key {
        if self.namespace == key.namespace {
            key.namespace = Arc::clone(&self.namespace);
        } else {
            self.namespace = Arc::clone(&key.namespace);
        }
        key
    }

    /// Everything up to this version has been shown.
    pub(super) fn reach(&mut self, version: &Version) {
        if !self.is_past(version) {
            self.reached = Some(version.clone());
        }
    }

    /// Whether more than that has been shown already.
    pub(super) fn is_past(&self, version: &Version) -> bool {
        self.reached
            .as_ref()
            .is_some_and(|reached| version.is_older_than(reached))
    }

    /// Versions compare from zero.
    pub(super) fn begin_history(&mut self) {
        self.reached = None;
    }

    pub(super) fn progress(&mut self) {
        self.relisted = false;
        self.start_over();
    }

    fn start_over(&mut self) {
        self.breaks = 0;
        self.backoff.reset();
        self.reconnect.reset();
    }

    /// The state in which a new list begins.
    pub(super) fn list(&mut self) -> ReflectState {
        match self.paged.checked_sub(1) {
            Some(left) => {
                self.paged = left;
                ReflectState::paging()
            }
            None => ReflectState::streaming(),
        }
    }

    pub(super) fn refuse_streaming(&mut self) -> ReflectState {
        self.paged = LISTS_PAGED;
        ReflectState::paging()
    }

    /// The state after a break.
    pub(super) fn pause(
        &mut self,
        then: ReflectState,
        failure: Option<&Failure>,
        jitter: impl FnOnce() -> f64,
    ) -> ReflectState {
        let at_least = failure.and_then(Failure::retry_after);
        // A server that forgets is healthy, however long it was away before. One that has forgotten
        // again before anything came of the new list is not.
        if failure.is_some_and(Failure::is_gone) && !self.relisted && at_least.is_none() {
            self.relisted = true;
            self.start_over();
            return then;
        }
        self.breaks = self.breaks.saturating_add(1);
        let is_eager = failure.is_none_or(Failure::may_retry_at_once);
        if is_eager && self.breaks == 1 && at_least.is_none() {
            return then;
        }
        let backoff = match failure {
            Some(Failure::Transport(_)) => &mut self.reconnect,
            _ => &mut self.backoff,
        };
        ReflectState::Waiting {
            delay: backoff.next(jitter()).max(at_least.unwrap_or_default()),
            then: Box::new(then),
        }
    }
}
