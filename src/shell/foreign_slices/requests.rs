//! Has leader Services looked at for slices of others, as soon as a fact gives reason to.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::logic::model::{Key, Service};
use crate::logic::snapshot::may_have_attracted_slices;
use crate::store::Store;

/// The queue to the look for foreign slices.
#[derive(Clone)]
pub struct ScanRequests {
    store: Arc<Store>,
    queue: mpsc::Sender<Key>,
}

impl ScanRequests {
    /// The entrance of a queue.
    #[must_use]
    pub const fn new(store: Arc<Store>, queue: mpsc::Sender<Key>) -> Self {
        Self { store, queue }
    }

    /// To be called before a Service enters the store: has it looked at afterwards if others may have
    /// attached slices. That is judged by what the Service becomes and not by the answer to a write,
    /// which may be lost though the write was not.
    pub fn consider(&self, service: &Service) {
        let key = service.metadata.key();
        let known = self.store.service(&key);
        if may_have_attracted_slices(known.as_deref(), service) {
            self.ask(key);
        }
    }

    /// Has a leader Service looked at soon.
    pub fn ask(&self, service: Key) {
        // A full queue means that everything will be looked at before long.
        let _ = self.queue.try_send(service);
    }
}
