//! What the controller can have seen of the cluster: frames and lists may be late, and a list may
//! show the past.

use std::collections::BTreeMap;
use tokio::time::Instant;

use crate::facts::PodFact;

pub(super) type History<T> = BTreeMap<String, Vec<Version<T>>>;

pub(super) struct Version<T> {
    pub(super) rv: u64,
    pub(super) at: Instant,
    pub(super) fact: Option<T>,
}

/// What the controller has seen of one kind, for certain.
#[derive(Clone, Copy, Default)]
pub(super) struct Floor {
    /// The latest resourceVersion, and what it was before this instant.
    pub(super) rv: u64,
    pub(super) before: u64,
    pub(super) since: Option<Instant>,
    /// A list may have shown this past since then: what is known does not go back, but what is
    /// gone may have come back.
    pub(super) past: u64,
    /// Whether anything has been shown in this life.
    pub(super) is_synced: bool,
}

/// What it had seen at some moment.
#[derive(Clone, Copy)]
pub(super) struct Sight {
    pub(super) rv: u64,
    pub(super) past: u64,
}

impl Floor {
    pub(super) fn raise(&mut self, rv: u64, now: Instant) {
        self.is_synced = true;
        self.past = self.past.max(rv);
        if rv <= self.rv {
            return;
        }
        if self.since.is_none_or(|since| since < now) {
            self.before = self.rv;
            self.since = Some(now);
        }
        self.rv = rv;
    }

    /// A life begins with a list.
    pub(super) fn begin(&mut self, rv: u64) {
        *self = Self {
            rv,
            before: rv,
            since: None,
            past: rv,
            is_synced: false,
        };
    }

    pub(super) fn look_back(&mut self, rv: u64) {
        if !self.is_synced && rv < self.rv {
            (self.rv, self.before) = (rv, rv);
        }
        self.past = self.past.min(rv);
    }

    /// What was known may be forgotten, and a list shows the past.
    pub(super) fn forget(&mut self, rv: u64) {
        self.rv = self.rv.min(rv);
        self.before = self.before.min(rv);
        self.past = self.past.min(rv);
    }

    /// Before this very moment: within a moment the order is unknown.
    pub(super) fn before(&self, now: Instant) -> Sight {
        let rv = if self.since.is_some_and(|since| since < now) {
            self.rv
        } else {
            self.before
        };
        Sight {
            rv,
            past: self.past.min(rv),
        }
    }
}

/// The versions that the controller can have taken for the current one.
pub(super) fn visible<T>(
    versions: &[Version<T>],
    sight: Sight,
) -> impl Iterator<Item = (usize, &Version<T>)> {
    let current = |rv: u64| versions.iter().rposition(|version| version.rv <= rv);
    let (known, past) = (current(sight.rv), current(sight.past).unwrap_or(0));
    let is_known = known.is_some_and(|known| versions[known].fact.is_some());
    let first = if is_known { known.unwrap_or(0) } else { past };
    versions.iter().enumerate().skip(first)
}

/// Since when the last of these versions has been Ready.
pub(super) fn ready_since(versions: &[Version<PodFact>], uid: &str) -> Instant {
    let is_ready = |version: &&Version<PodFact>| {
        version
            .fact
            .as_ref()
            .is_some_and(|fact| fact.ready && fact.uid == uid)
    };
    let ready = versions.iter().rev().take_while(is_ready).last();
    ready
        .or(versions.last())
        .map_or_else(Instant::now, |version| version.at)
}
