//! What the machines need of the writer.

use serde_json::Value;

use super::Writer;
use crate::logic::fsm::Cause;
use crate::logic::model::Key;
use crate::logic::plan::Write;

/// Where desired writes go. The [`Writer`] sends them; a benchmark of decisions takes them out.
pub trait Outbox: Send + Sync {
    /// These, and no others, are the writes that the source wants now.
    fn submit(&self, source: &Key, writes: Vec<Write>, cause: Cause);
    /// Whether this replica may write at this very moment.
    fn may_write(&self) -> bool;
    /// Drops whatever waits: another replica writes now.
    fn stand_down(&self);
    /// What waits or is under way for a source, for `/debug/state`.
    fn waiting(&self, source: &Key) -> Value;
}

impl Outbox for Writer {
    fn submit(&self, source: &Key, writes: Vec<Write>, cause: Cause) {
        Self::submit(self, source, writes, cause);
    }

    fn may_write(&self) -> bool {
        Self::may_write(self)
    }

    fn stand_down(&self) {
        Self::stand_down(self);
    }

    fn waiting(&self, source: &Key) -> Value {
        Self::waiting(self, source)
    }
}
