//! The list-and-watch protocol of one resource in one scope. Never awaits, logs, draws a random
//! number or reads a clock: it says what to ask the server next, takes what came back, and turns
//! that into changes of a map.
//!
//! ```text
//!              ┌─ refused, stalled ─► Paging ─ last page ─┐
//! Streaming ───┤                        ▲ └─ token gone ──┤ (restart of the list)
//!     ▲        └─ initial events end ───┼───────────────► Watching ─┐ closed, or failed and
//!     └───────────── gone ──────────────┴──────────────────┘  ▲     │ checked: resume by version
//!     ▲                                                       └─────┤
//!     └── older, and older again (the server was restored) ─ Checking
//! ```
//!
//! Every break may lead through `Waiting` first. What holds: a list starts with nothing assumed
//! and ends with one [`Change::Retain`], so deletions that were missed surface; a watch resumes
//! where the last frame or bookmark left it; nothing that a server does, repeated for ever, makes
//! a loop without delays, since only a watch that gets on, or serves for a while, resets them.
//!
//! # A server that was restored from a backup
//!
//! Its versions are lower than before, and a watch that resumes at a higher version stays open without
//! any event. So unless a stream ended normally, a list of one object reads the server's present version
//! before the watch resumes. If that version is older, the server may only lag, and a second list one
//! second later decides. If that one is older too, [`Change::Restored`] resets the comparison of
//! versions, and a complete list follows.

mod failure;
mod history;
mod machine;
mod state;
mod wire;

#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::Duration;

use foldhash::fast::FixedState;

use crate::logic::model::{Key, Version};

pub use failure::{Failure, FailureClass, RestartReason};
pub use machine::Reflector;
pub use wire::{ApiStatus, Bookmark, Encoding, Frame, Page, StatusCause, Tombstone, Unreadable};

/// The names a list has shown.
pub type Keys = HashSet<Key, FixedState>;

/// What to do next. Anything but a wait ends in exactly one [`Response::Failed`],
/// [`Response::Page`], [`Response::Closed`] or [`Response::Broken`], unless a step asks for
/// something else before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Open a watch that sends the present objects first and marks their end with a bookmark.
    StreamingList,
    /// Ask for one page of a consistent list.
    List {
        /// The token of the page before; `None` asks for the first one.
        continue_token: Option<Box<str>>,
    },
    /// Ask for one object of a consistent list: what counts is the version of the list.
    Check,
    /// Open a watch of everything after `version`.
    Watch {
        /// Where the last one, or the list, left off.
        version: Version,
    },
    /// Do nothing for so long, then answer [`Response::Waited`].
    Wait(Duration),
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response<T> {
    /// A page of the list.
    Page(Page<T>),
    /// The stream is open: the status line was 200.
    Opened,
    /// One event of the stream.
    Frame(Frame<T>),
    /// The stream has ended in good order.
    Closed {
        /// How long it was open.
        after: Duration,
    },
    /// The request was refused, or nothing came of it.
    Failed(Failure),
    /// The stream that was open broke off.
    Broken {
        /// How long it was open.
        after: Duration,
        /// Why.
        failure: Failure,
    },
    /// The wait is over.
    Waited,
}

/// One change of the map, in the order in which they must be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<T> {
    /// The object exists and looks like this (or, after a list, has looked so since).
    Upsert(T),
    /// The object is gone, or no longer matches the selectors.
    Delete(Tombstone),
    /// A list is complete: every object of this scope that is not in `keys` and whose known
    /// version is not newer than `version` is gone. The first one of a reflector means "synced".
    Retain {
        /// All objects there were, unreadable ones included.
        keys: Keys,
        /// Version of the list.
        version: Version,
    },
    /// The server was restored from a backup. All that is known belongs to a history that it does not
    /// continue; versions compare from zero. A complete list follows.
    Restored,
    /// Nothing happened up to this version.
    Progress(Version),
    /// An object that does not parse; what was known of it may stay.
    Skipped(Unreadable),
}

/// What follows from one response.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReflectStep<T> {
    /// To be applied in this order.
    pub changes: Vec<Change<T>>,
    /// To be done now, and whatever stream is open to be dropped; `None`: go on reading it.
    pub request: Option<Request>,
    /// Set when something has to be asked for again.
    pub restart: Option<RestartReason>,
}
