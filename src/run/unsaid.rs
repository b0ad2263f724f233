//! What a replica that stands by would have said.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::logic::event::{Note, Severity};
use crate::logic::model::Key;
use crate::logic::time::{Moment, Now};

/// More than a few seconds bring forth, and little to keep for ever.
const KEPT_MAX: usize = 256;

/// The latest warnings that were not said, because another replica says them; unless there was none
/// at that time, which shows only afterwards.
#[derive(Default)]
pub(super) struct Unsaid(
    /// Locked to add one, or to take them all.
    Mutex<VecDeque<(Key, Note, Now)>>,
);

impl Unsaid {
    /// Keeps a warning. Everything else results from writes, and the replica that writes announces it.
    pub(super) fn keep(&self, source: Key, note: Note, at: Now) {
        if note.severity != Severity::Warning {
            return;
        }
        let mut kept = self.0.lock();
        if kept.len() >= KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back((source, note, at));
    }

    /// Takes out all of them, and returns those of the time since then.
    pub(super) fn since(&self, since: Moment) -> impl Iterator<Item = (Key, Note, Now)> {
        let kept = std::mem::take(&mut *self.0.lock());
        kept.into_iter()
            .filter(move |(_, _, at)| at.moment >= since)
    }
}
