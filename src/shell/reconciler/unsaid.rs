//! What a replica that stands by would have said.

use std::collections::VecDeque;

use crate::logic::event::{Note, Severity};
use crate::logic::model::Key;
use crate::logic::time::{Moment, Now};

/// More than a few seconds bring forth, and little to keep for ever.
const KEPT_MAX: usize = 256;

/// The latest warnings that were not said, because another replica says them; unless there was none
/// at that time, which shows only afterwards.
#[derive(Default)]
pub(super) struct Unsaid(VecDeque<(Key, Note, Now)>);

impl Unsaid {
    /// Keeps a warning. Everything else results from writes, and the replica that writes announces it.
    pub(super) fn keep(&mut self, source: Key, note: Note, at: Now) {
        if note.severity != Severity::Warning {
            return;
        }
        if self.0.len() >= KEPT_MAX {
            self.0.pop_front();
        }
        self.0.push_back((source, note, at));
    }

    /// Takes out all of them, and returns those of the time since then.
    pub(super) fn since(&mut self, since: Moment) -> Vec<(Key, Note, Now)> {
        let mut kept = std::mem::take(&mut self.0);
        kept.retain(|(_, _, at)| at.moment >= since);
        kept.into()
    }
}
