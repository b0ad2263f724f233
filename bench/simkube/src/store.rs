//! Objects, the log of their changes, and the one resourceVersion they all count by.
//!
//! Knows nothing of HTTP, validation or time beyond the instant a change is stamped with.

mod backup;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use crate::api::kind::Kind;
use crate::protobuf;

pub(crate) use backup::Saved;

/// Namespace and name; the namespace is empty for cluster-scoped objects.
pub(crate) type Key = (String, String);

/// All objects of a kind at one moment.
pub(crate) type Snapshot = BTreeMap<Key, Arc<Object>>;

/// One version of one object. Never changes once it is stored.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) kind: Kind,
    /// Without `kind` and `apiVersion`, which are the same for all of a table.
    pub(crate) value: Value,
    pub(crate) rv: u64,
    /// The fields as JSON without the opening brace: written once, sent to every watcher.
    tail: OnceLock<Bytes>,
    /// The same as protobuf.
    message: OnceLock<Bytes>,
}

impl Object {
    fn new(kind: Kind, value: Value, rv: u64) -> Self {
        Self {
            kind,
            value,
            rv,
            tail: OnceLock::new(),
            message: OnceLock::new(),
        }
    }

    /// The same object as clients of `kind` see it.
    pub(crate) fn shaped(self: &Arc<Self>, kind: Kind) -> Arc<Self> {
        if kind == self.kind {
            return Arc::clone(self);
        }
        let value = crate::rules::events::to_new(&self.value);
        Arc::new(Self::new(kind, value, self.rv))
    }

    fn tail(&self) -> &Bytes {
        self.tail.get_or_init(|| {
            let mut json = serde_json::to_vec(&self.value).unwrap_or_default();
            if !json.is_empty() {
                json.remove(0);
            }
            Bytes::from(json)
        })
    }

    /// The object as a protobuf message.
    pub(crate) fn message(&self) -> &Bytes {
        let encode = || Bytes::from(protobuf::message_of(self.kind, &self.value));
        self.message.get_or_init(encode)
    }

    /// Appends the object with `kind` and `apiVersion` in front.
    pub(crate) fn write_full(&self, out: &mut Vec<u8>) {
        let (kind, version) = (self.kind.name(), self.kind.api_version());
        out.extend_from_slice(
            format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{version}\",").as_bytes(),
        );
        out.extend_from_slice(self.tail());
    }

    /// Appends the object as an item of a list, which does not repeat `kind` and `apiVersion`.
    pub(crate) fn write_item(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        out.extend_from_slice(self.tail());
    }

    /// The value with `kind` and `apiVersion`, as clients see it.
    pub(crate) fn full_value(&self) -> Value {
        let mut value = self.value.clone();
        if let Some(map) = value.as_object_mut() {
            map.insert("kind".into(), self.kind.name().into());
            map.insert("apiVersion".into(), self.kind.api_version().into());
        }
        value
    }

    /// The same content with another resourceVersion: how a deletion shows the last state.
    pub(crate) fn at_version(&self, rv: u64) -> Self {
        let mut value = self.value.clone();
        stamp(&mut value, rv);
        Self::new(self.kind, value, rv)
    }

    pub(crate) fn key(&self) -> Key {
        (
            text(&self.value, "namespace").to_owned(),
            text(&self.value, "name").to_owned(),
        )
    }

    pub(crate) fn uid(&self) -> &str {
        text(&self.value, "uid")
    }
}

/// A string of the metadata; empty when absent.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value
        .get("metadata")
        .and_then(|m| m.get(field))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The part of a table that belongs to a namespace, from behind a key on.
pub(crate) fn in_range<'a>(
    objects: &'a Snapshot,
    namespace: &'a str,
    after: Option<Key>,
) -> impl Iterator<Item = &'a Arc<Object>> + 'a {
    let start = match after {
        Some(key) => Bound::Excluded(key),
        None => Bound::Included((namespace.to_owned(), String::new())),
    };
    objects
        .range((start, Bound::Unbounded))
        .take_while(move |(key, _)| namespace.is_empty() || key.0 == namespace)
        .map(|(_, object)| object)
}

fn stamp(value: &mut Value, rv: u64) {
    if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.insert("resourceVersion".into(), rv.to_string().into());
    }
}

/// A change: created (`old` is none), updated, or deleted (`new` is none).
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) rv: u64,
    pub(crate) at: Instant,
    pub(crate) old: Option<Arc<Object>>,
    pub(crate) new: Option<Arc<Object>>,
}

#[derive(Debug, Default)]
struct Table {
    objects: Snapshot,
    log: VecDeque<Change>,
    /// Nothing may start from before this one.
    floor: u64,
    /// The last change that was forgotten: a watch that has not seen it has missed it. A compaction moves the
    /// floor beyond it, but a watch that has seen everything lives on.
    forgotten: u64,
}

/// The changes wanted are no longer known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compacted {
    /// The oldest resourceVersion from which a watch may still start.
    pub(crate) floor: u64,
}

/// Everything that is stored.
#[derive(Debug)]
pub(crate) struct Store {
    rv: u64,
    history: usize,
    tables: BTreeMap<Kind, Table>,
    /// Kinds changed since the last `take_changed`: whose watchers to wake.
    changed: Vec<Kind>,
    /// Changes that an observer has not seen yet; kept only if there is one.
    unseen: Option<Vec<(Kind, Change)>>,
}

impl Store {
    pub(crate) fn new(history: usize) -> Self {
        let tables = Kind::ALL
            .into_iter()
            .map(|k| (k, Table::default()))
            .collect();
        // etcd counts from 1 before anything is written.
        Self {
            rv: 1,
            history: history.max(1),
            tables,
            changed: Vec::new(),
            unseen: None,
        }
    }

    /// From now on changes are kept for [`Store::take_unseen`].
    pub(crate) fn observe(&mut self) {
        self.unseen.get_or_insert_default();
    }

    /// The changes since the last call.
    pub(crate) fn take_unseen(&mut self) -> Vec<(Kind, Change)> {
        self.unseen.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The resourceVersion of the last change of any kind.
    pub(crate) fn rv(&self) -> u64 {
        self.rv
    }

    fn table(&self, kind: Kind) -> Option<&Table> {
        self.tables.get(&kind.stored())
    }

    pub(crate) fn get(&self, kind: Kind, key: &Key) -> Option<&Arc<Object>> {
        self.table(kind)?.objects.get(key)
    }

    /// Objects of a kind in key order; all namespaces when `namespace` is empty.
    pub(crate) fn list<'a>(
        &'a self,
        kind: Kind,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Object>> + 'a {
        self.list_after(kind, namespace, None)
    }

    /// Creates or replaces.
    pub(crate) fn put(&mut self, kind: Kind, mut value: Value, at: Instant) -> Arc<Object> {
        let kind = kind.stored();
        self.rv += 1;
        stamp(&mut value, self.rv);
        let object = Arc::new(Object::new(kind, value, self.rv));
        let change_new = Some(Arc::clone(&object));
        let key = object.key();
        let old = self
            .tables
            .entry(kind)
            .or_default()
            .objects
            .insert(key, Arc::clone(&object));
        self.record(
            kind,
            Change {
                rv: self.rv,
                at,
                old,
                new: change_new,
            },
        );
        object
    }

    /// Deletes, and says what was there, stamped with the resourceVersion of the deletion.
    pub(crate) fn remove(&mut self, kind: Kind, key: &Key, at: Instant) -> Option<Arc<Object>> {
        let kind = kind.stored();
        let old = self.tables.get_mut(&kind.stored())?.objects.remove(key)?;
        self.rv += 1;
        let last = Arc::new(old.at_version(self.rv));
        self.record(
            kind,
            Change {
                rv: self.rv,
                at,
                old: Some(old),
                new: None,
            },
        );
        Some(last)
    }

    fn record(&mut self, kind: Kind, change: Change) {
        if let Some(unseen) = &mut self.unseen {
            unseen.push((kind, change.clone()));
        }
        let history = self.history;
        let table = self.tables.entry(kind).or_default();
        table.log.push_back(change);
        while table.log.len() > history {
            if let Some(dropped) = table.log.pop_front() {
                table.floor = dropped.rv;
                table.forgotten = dropped.rv;
            }
        }
        if !self.changed.contains(&kind) {
            self.changed.push(kind);
        }
    }

    pub(crate) fn take_changed(&mut self) -> Vec<Kind> {
        std::mem::take(&mut self.changed)
    }

    /// Forgets all changes so far, as etcd's compaction does.
    pub(crate) fn compact(&mut self) {
        let rv = self.rv;
        for (kind, table) in &mut self.tables {
            if let Some(last) = table.log.back() {
                table.forgotten = last.rv;
            }
            table.log.clear();
            table.floor = rv;
            // Watchers that lag behind have to learn that they are lost.
            if !self.changed.contains(kind) {
                self.changed.push(*kind);
            }
        }
    }

    /// Whether a watch may start after `rv`.
    pub(crate) fn check_start(&self, kind: Kind, rv: u64) -> Result<(), Compacted> {
        match self.table(kind) {
            Some(table) if rv < table.floor => Err(Compacted { floor: table.floor }),
            _ => Ok(()),
        }
    }

    /// The next change of a kind after `rv`, for a watch that is running.
    pub(crate) fn next_change(&self, kind: Kind, rv: u64) -> Result<Option<Change>, Compacted> {
        let Some(table) = self.table(kind) else {
            return Ok(None);
        };
        if rv < table.forgotten {
            return Err(Compacted { floor: table.floor });
        }
        let at = table.log.partition_point(|c| c.rv <= rv);
        Ok(table.log.get(at).cloned())
    }

    /// Whether the table still is as it was right after `rv`.
    pub(crate) fn is_current(&self, kind: Kind, rv: u64) -> bool {
        self.table(kind)
            .is_none_or(|t| t.log.back().is_none_or(|c| c.rv <= rv) && rv >= t.floor)
    }

    /// Objects of a kind and namespace in key order, from behind a key on.
    pub(crate) fn list_after<'a>(
        &'a self,
        kind: Kind,
        namespace: &'a str,
        after: Option<Key>,
    ) -> impl Iterator<Item = &'a Arc<Object>> + 'a {
        self.table(kind)
            .into_iter()
            .flat_map(move |t| in_range(&t.objects, namespace, after.clone()))
    }

    /// The state of a kind right after `rv`, rebuilt by taking later changes back.
    pub(crate) fn snapshot(&self, kind: Kind, rv: u64) -> Result<Snapshot, Compacted> {
        let Some(table) = self.table(kind) else {
            return Ok(BTreeMap::new());
        };
        if rv < table.floor {
            return Err(Compacted { floor: table.floor });
        }
        let mut objects = table.objects.clone();
        for change in table.log.iter().rev().take_while(|c| c.rv > rv) {
            match (&change.old, &change.new) {
                (Some(old), _) => {
                    objects.insert(old.key(), Arc::clone(old));
                }
                (None, Some(new)) => {
                    objects.remove(&new.key());
                }
                (None, None) => {}
            }
        }
        Ok(objects)
    }

    /// The last resourceVersion of a kind at an earlier time, as far back as the log goes.
    pub(crate) fn version_at(&self, kind: Kind, at: Instant) -> u64 {
        let Some(table) = self.table(kind) else {
            return self.rv;
        };
        let later = table.log.partition_point(|c| c.at <= at);
        match later.checked_sub(1).and_then(|i| table.log.get(i)) {
            Some(change) if later < table.log.len() => change.rv,
            None if !table.log.is_empty() => table.floor,
            _ => self.rv,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, n: u32) -> Value {
        json!({"metadata": {"namespace": "a", "name": name}, "n": n})
    }

    fn names(store: &Store, rv: u64) -> Vec<(String, u64)> {
        let state = store.snapshot(Kind::Pod, rv).expect("kept");
        state
            .values()
            .map(|o| (o.key().1, o.value["n"].as_u64().expect("number")))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_past_can_be_rebuilt_until_it_is_compacted() {
        let mut store = Store::new(10);
        let now = Instant::now();
        assert_eq!(store.put(Kind::Pod, pod("x", 1), now).rv, 2);
        store.put(Kind::Pod, pod("y", 1), now);
        store.put(Kind::Lease, pod("l", 1), now);
        store.put(Kind::Pod, pod("x", 2), now);
        let gone = store
            .remove(Kind::Pod, &("a".into(), "y".into()), now)
            .expect("there");
        assert_eq!((gone.rv, text(&gone.value, "resourceVersion")), (6, "6"));

        assert_eq!(names(&store, 1), []);
        assert_eq!(names(&store, 2), [("x".into(), 1)]);
        assert_eq!(names(&store, 4), [("x".into(), 1), ("y".into(), 1)]);
        assert_eq!(names(&store, 5), [("x".into(), 2), ("y".into(), 1)]);
        assert_eq!(names(&store, 6), [("x".into(), 2)]);
        assert_eq!(
            store.next_change(Kind::Pod, 3).expect("kept").map(|c| c.rv),
            Some(5)
        );
        assert!(store.next_change(Kind::Pod, 6).expect("kept").is_none());

        store.compact();
        assert!(
            store
                .next_change(Kind::Lease, 4)
                .expect("nothing missed")
                .is_none()
        );
        assert_eq!(
            store.check_start(Kind::Lease, 4).err(),
            Some(Compacted { floor: 6 })
        );
        assert_eq!(
            store.snapshot(Kind::Pod, 5).err(),
            Some(Compacted { floor: 6 })
        );
        assert_eq!(
            store.next_change(Kind::Pod, 5).err(),
            Some(Compacted { floor: 6 })
        );
        assert_eq!(names(&store, 6), [("x".into(), 2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn history_is_bounded() {
        let mut store = Store::new(2);
        for n in 0..4 {
            store.put(Kind::Pod, pod("x", n), Instant::now());
        }
        assert_eq!(
            store.next_change(Kind::Pod, 2).err(),
            Some(Compacted { floor: 3 })
        );
        assert_eq!(
            store.next_change(Kind::Pod, 3).expect("kept").map(|c| c.rv),
            Some(4)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn versions_have_a_time() {
        let mut store = Store::new(10);
        let start = Instant::now();
        let second = std::time::Duration::from_secs(1);
        for n in 0..3_u32 {
            store.put(Kind::Pod, pod("x", n), start + second * n);
        }
        assert_eq!(store.version_at(Kind::Pod, start + second), 3);
        assert_eq!(store.version_at(Kind::Pod, start + second * 9), 4);
        assert_eq!(store.version_at(Kind::Pod, start - second), 0);
        assert_eq!(store.version_at(Kind::Lease, start), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn objects_write_their_type_first() {
        let mut store = Store::new(10);
        let object = store.put(Kind::EndpointSlice, pod("x", 1), Instant::now());
        let mut out = Vec::new();
        object.write_full(&mut out);
        let text = String::from_utf8(out).expect("JSON");
        assert!(text.starts_with(r#"{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","#));
        let parsed: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(parsed, object.full_value());
        let mut item = Vec::new();
        object.write_item(&mut item);
        assert_eq!(
            serde_json::from_slice::<Value>(&item).expect("JSON"),
            object.value
        );
    }
}
