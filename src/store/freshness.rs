//! Whether what arrives is news. Facts never move back, and a deletion leaves a grave.

use std::sync::Arc;

use super::namespace::Map;
use crate::logic::model::{Meta, Version};
use crate::mutations::{self, Mutation};

/// Where a fact comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A list or a watch: knows of every deletion.
    Watch,
    /// The answer to a request of ours: may be overtaken by a deletion.
    Answer,
}

/// Whether a reading is newer than what is known, and not of an object that has been deleted since.
pub(super) fn is_news(
    known: Option<&Meta>,
    grave: Option<&Version>,
    meta: &Meta,
    origin: Origin,
) -> bool {
    let version = &meta.resource_version;
    match known {
        Some(known) => {
            let is_older = version.is_older_than(&known.resource_version)
                && !mutations::is(Mutation::StaleBelieved);
            // Versions that do not compare: the watch has the last word.
            let compares = matches!(
                (version, &known.resource_version),
                (Version::Number(_), Version::Number(_))
            );
            !is_older && (compares || origin == Origin::Watch)
        }
        None => {
            origin == Origin::Watch
                || !grave.is_some_and(|grave| grave == version || version.is_older_than(grave))
        }
    }
}

pub(super) fn may_go(known: Option<&Meta>, version: Option<&Version>) -> bool {
    known.is_some_and(|known| {
        !version.is_some_and(|version| version.is_older_than(&known.resource_version))
    })
}

pub(super) fn bury(graves: &mut Map<Version>, name: &Arc<str>, version: Option<&Version>) {
    /// More deletions than any burst of overtaken answers could refer to.
    const GRAVES_MAX: usize = 4_096;
    if let Some(version) = version {
        if graves.len() >= GRAVES_MAX {
            graves.clear();
        }
        graves.insert(Arc::clone(name), version.clone());
    }
}
