//! JSON patch (RFC 6902), hand-made: per key for maps, whole for lists.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::logic::model::Labels;

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

    /// Where it acts.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Add { path, .. } | Self::Replace { path, .. } | Self::Remove { path } => path,
        }
    }
}

/// What a string map should hold. Keys that are not named are left alone.
#[derive(Debug, Default)]
pub(super) struct Wanted<'a> {
    entries: BTreeMap<&'a str, Option<String>>,
}

impl<'a> Wanted<'a> {
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
            let all: serde_json::Map<_, _> = self
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
