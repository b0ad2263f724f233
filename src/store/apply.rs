//! What a change that a watch shows does to the facts: the controller and the commands share it.

use super::{Origin, Store};
use crate::logic::model::{Key, Object, Pod, Service, Slice, Version};
use crate::logic::reflect::{Change, Keys, Tombstone};
use crate::logic::time::Now;

/// A kind of object that is kept by namespace.
pub trait Fact: Object {
    /// Takes an object in.
    fn put(self, store: &Store, now: Now) -> Vec<Key>;
    /// Takes out an object that the watch no longer shows.
    fn lose(store: &Store, gone: &Tombstone) -> Vec<Key>;
    /// Takes out what a complete list lacks.
    fn retain(store: &Store, scope: Option<&str>, kept: &Keys, at: &Version) -> Vec<Key>;
    /// The server was restored from a backup.
    fn outdate(store: &Store, scope: Option<&str>);
}

impl Store {
    /// Takes in a change that a watch of `scope` has shown at `now`, and returns the sources that it
    /// concerns.
    #[must_use = "each returned source has to be looked at again"]
    pub fn apply<T: Fact>(&self, change: Change<T>, scope: Option<&str>, now: Now) -> Vec<Key> {
        match change {
            Change::Upsert(object) => object.put(self, now),
            Change::Delete(gone) => T::lose(self, &gone),
            Change::Retain { keys, version } => T::retain(self, scope, &keys, &version),
            Change::Restored => {
                T::outdate(self, scope);
                Vec::new()
            }
            Change::Progress(_) | Change::Skipped(_) => Vec::new(),
        }
    }
}

impl Fact for Pod {
    fn put(self, store: &Store, now: Now) -> Vec<Key> {
        store.put_pod(self, now)
    }

    fn lose(store: &Store, gone: &Tombstone) -> Vec<Key> {
        store.lose_pod(&gone.key, &gone.version)
    }

    fn retain(store: &Store, scope: Option<&str>, kept: &Keys, at: &Version) -> Vec<Key> {
        store.retain_pods(scope, kept, at)
    }

    fn outdate(store: &Store, scope: Option<&str>) {
        store.outdate_pods(scope);
    }
}

impl Fact for Service {
    fn put(self, store: &Store, _: Now) -> Vec<Key> {
        store.put_service(self, Origin::Watch)
    }

    fn lose(store: &Store, gone: &Tombstone) -> Vec<Key> {
        store.remove_service(&gone.key, Some(&gone.version))
    }

    fn retain(store: &Store, scope: Option<&str>, kept: &Keys, at: &Version) -> Vec<Key> {
        store.retain_services(scope, kept, at)
    }

    fn outdate(store: &Store, scope: Option<&str>) {
        store.outdate_services(scope);
    }
}

impl Fact for Slice {
    fn put(self, store: &Store, _: Now) -> Vec<Key> {
        store.put_slice(self, Origin::Watch)
    }

    fn lose(store: &Store, gone: &Tombstone) -> Vec<Key> {
        store.remove_slice(&gone.key, Some(&gone.version))
    }

    fn retain(store: &Store, scope: Option<&str>, kept: &Keys, at: &Version) -> Vec<Key> {
        store.retain_slices(scope, kept, at)
    }

    fn outdate(store: &Store, scope: Option<&str>) {
        store.outdate_slices(scope);
    }
}
