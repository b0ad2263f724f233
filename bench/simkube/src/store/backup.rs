//! A backup of everything that is stored, and the way back to it.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::{Change, Key, Snapshot, Store, Table};
use crate::api::kind::Kind;

/// All objects at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    rv: u64,
    objects: BTreeMap<Kind, Snapshot>,
}

impl Store {
    /// What a backup holds.
    pub(crate) fn save(&self) -> Saved {
        let objects = |(kind, table): (&Kind, &Table)| (*kind, table.objects.clone());
        Saved {
            rv: self.rv,
            objects: self.tables.iter().map(objects).collect(),
        }
    }

    /// Goes back to a backup. Its versions are counted on from there, and nothing is known of what was
    /// before.
    pub(crate) fn restore(&mut self, saved: &Saved, at: Instant) {
        self.rv = saved.rv;
        for (kind, table) in &mut self.tables {
            let objects = saved.objects.get(kind).cloned().unwrap_or_default();
            let before = std::mem::replace(&mut table.objects, objects);
            table.log.clear();
            table.floor = self.rv;
            table.forgotten = self.rv;
            if let Some(unseen) = &mut self.unseen {
                let keys: BTreeSet<&Key> = before.keys().chain(table.objects.keys()).collect();
                let changes = keys.into_iter().map(|key| Change {
                    rv: self.rv,
                    at,
                    old: before.get(key).cloned(),
                    new: table.objects.get(key).cloned(),
                });
                let is_other = |change: &Change| {
                    change.old.as_ref().map(|old| old.rv) != change.new.as_ref().map(|new| new.rv)
                };
                unseen.extend(changes.filter(is_other).map(|change| (*kind, change)));
            }
        }
    }
}
