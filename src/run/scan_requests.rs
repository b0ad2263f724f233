//! Has leader Services looked at for slices of others, as soon as a fact gives reason to.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::logic::model::{Key, Service};
use crate::logic::snapshot::may_have_attracted_slices;
use crate::store::{Origin, Store};

/// Where Services enter the store, and the queue to the look for foreign slices.
#[derive(Clone)]
pub(super) struct ScanRequests {
    store: Arc<Store>,
    queue: mpsc::Sender<Key>,
}

impl ScanRequests {
    pub(super) const fn new(store: Arc<Store>, queue: mpsc::Sender<Key>) -> Self {
        Self { store, queue }
    }

    /// Takes a Service in and returns the sources that it concerns. What others may have attached is
    /// judged by what the Service has become and not by the answer to a write, which may be lost
    /// though the write was not.
    pub(super) fn put_service(&self, service: Service, origin: Origin) -> Vec<Key> {
        let key = service.metadata.key();
        let is_suspect = may_have_attracted_slices(self.store.service(&key).as_deref(), &service);
        let touched = self.store.put_service(service, origin);
        if is_suspect {
            self.ask(key);
        }
        touched
    }

    /// Has a leader Service looked at soon.
    pub(super) fn ask(&self, service: Key) {
        // A full queue means that everything will be looked at before long.
        let _ = self.queue.try_send(service);
    }
}
