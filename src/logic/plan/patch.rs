//! JSON patch (RFC 6902), hand-made: per key for maps, whole for lists.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::logic::model::Labels;

/// The managedFields of an object, as a JSON pointer.
pub const MANAGED_FIELDS: &str = "/metadata/managedFields";

/// One operation of a JSON patch.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Op {
    /// Sets a member, there or not.
    Add {
        /// Where.
        path: String,
        /// To what.
        value: Value,
    },
    /// Sets a member that is there.
    Replace {
        /// Where.
        path: String,
        /// To what.
        value: Value,
    },
    /// Removes a member that is there.
    Remove {
        /// Where.
        path: String,
    },
}

impl Op {
    pub(super) fn add(path: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Add {
            path: path.into(),
            value: value.into(),
        }
    }

    pub(super) fn replace(path: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Replace {
            path: path.into(),
            value: value.into(),
        }
    }

    pub(super) fn remove(path: impl Into<String>) -> Self {
        Self::Remove { path: path.into() }
    }

    /// Clears the managedFields of an object. The server then tracks no update of it.
    pub(super) fn untrack() -> Self {
        Self::add(
            MANAGED_FIELDS,
            Value::Array(vec![Value::Object(Map::new())]),
        )
    }

    /// The members that it sets, or removes with `None`: of labels and annotations each one, since
    /// a map that is set as a whole is one that was not there.
    #[must_use]
    pub fn members(&self) -> Vec<(Cow<'_, str>, Option<&Value>)> {
        match self {
            Self::Add {
                path,
                value: Value::Object(map),
            } if is_map(path) => map
                .iter()
                .map(|(key, value)| (format!("{path}/{}", escape(key)).into(), Some(value)))
                .collect(),
            Self::Add { path, value } | Self::Replace { path, value } => {
                vec![(path.into(), Some(value))]
            }
            Self::Remove { path } => vec![(path.into(), None)],
        }
    }

    /// The same without some of its members; `None` if nothing is left.
    #[must_use]
    pub fn without(self, mut is_out: impl FnMut(&str, Option<&Value>) -> bool) -> Option<Self> {
        match self {
            Self::Add {
                path,
                value: Value::Object(mut map),
            } if is_map(&path) => {
                map.retain(|key, value| !is_out(&format!("{path}/{}", escape(key)), Some(value)));
                (!map.is_empty()).then(|| Self::add(path, map))
            }
            Self::Add { ref value, .. } | Self::Replace { ref value, .. } => {
                (!is_out(self.path(), Some(value))).then_some(self)
            }
            Self::Remove { .. } => (!is_out(self.path(), None)).then_some(self),
        }
    }

    /// Where it acts.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Add { path, .. } | Self::Replace { path, .. } | Self::Remove { path } => path,
        }
    }
}

fn is_map(path: &str) -> bool {
    matches!(path, "/metadata/annotations" | "/metadata/labels")
}

/// What a string map should hold. Keys that are not named are left alone.
#[derive(Debug, Default)]
pub(super) struct MapPatch<'a> {
    entries: BTreeMap<&'a str, Option<String>>,
}

impl<'a> MapPatch<'a> {
    pub(super) fn set(&mut self, key: &'a str, value: impl Into<String>) {
        self.entries.insert(key, Some(value.into()));
    }

    pub(super) fn unset(&mut self, key: &'a str) {
        self.entries.insert(key, None);
    }

    /// Whether the map holds anything else.
    pub(super) fn differ(&self, observed: &Labels) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|(key, value)| observed.get(key) != value.as_deref())
    }

    /// The operations that bring the map at `path` to what is wanted.
    pub(super) fn ops(self, path: &str, observed: &Labels) -> Vec<Op> {
        if observed.is_empty() {
            // An absent map cannot be added to key by key.
            let all: Map<_, _> = self
                .entries
                .into_iter()
                .filter_map(|(key, value)| Some((key.into(), value?.into())))
                .collect();
            return if all.is_empty() {
                Vec::new()
            } else {
                vec![Op::add(path, all)]
            };
        }
        let differing = self
            .entries
            .into_iter()
            .filter(|(key, value)| observed.get(key) != value.as_deref());
        differing
            .map(|(key, value)| {
                let at = format!("{path}/{}", escape(key));
                match value {
                    Some(value) if observed.get(key).is_some() => Op::replace(at, value),
                    Some(value) => Op::add(at, value),
                    None => Op::remove(at),
                }
            })
            .collect()
    }

    /// The map as a JSON object, for a create.
    pub(super) fn into_object(self) -> Value {
        self.entries
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), Value::from(value?))))
            .collect()
    }
}

/// A key as a token of a JSON pointer (RFC 6901).
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The key that a token of a JSON pointer stands for.
pub(super) fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// A number by which a value can be compared later without keeping it.
#[must_use]
pub fn fingerprint<T: Hash + ?Sized>(value: &T) -> u64 {
    FixedState::default().hash_one(value)
}
