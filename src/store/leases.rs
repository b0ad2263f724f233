//! What is known of Leases that applications elect by, and which sources follow which of them. A Lease
//! may be of another namespace than the source, so these facts are not kept by namespace.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::Store;
use crate::logic::follow::{Absence, Lease, LeaseFact};
use crate::logic::model::{FollowedLease, Key, Version};
use crate::logic::time::Moment;

/// What became of a note about which Lease a source follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum FollowChange {
    /// It followed this one, or none, before.
    AsBefore,
    /// Another one, or none any more. What is known of it is unread.
    Unread,
    /// Another one, of which something is known: the source has to be looked at again.
    Known,
}

/// Leases in sight of a watch, and those that are followed, in sight or not.
#[derive(Debug, Default)]
pub(super) struct FollowedLeases {
    known: HashMap<Key, KnownLease, FixedState>,
    /// Which Lease a source follows.
    followed: HashMap<Key, Key, FixedState>,
    /// Which sources follow a Lease.
    followers: HashMap<Key, Vec<Follower>, FixedState>,
}

#[derive(Debug)]
struct KnownLease {
    /// Of the last reading, or of the deletion.
    version: Version,
    /// See [`FollowedLease::content`].
    content: u64,
    lease: Lease,
}

#[derive(Debug)]
struct Follower {
    source: Key,
    /// Whether the next write counts for this source even if it only renews: a pod has appeared since
    /// the last one.
    awaits_write: bool,
}

impl FollowedLeases {
    fn sources(&self, lease: &Key) -> Vec<Key> {
        let followers = self.followers.get(lease).into_iter().flatten();
        followers.map(|follower| follower.source.clone()).collect()
    }

    /// What the source sees of the Lease that it follows.
    fn of(&self, source: &Key) -> Lease {
        let lease = self.followed.get(source);
        let known = lease.and_then(|lease| self.known.get(lease));
        known.map_or(Lease::Unread, |known| known.lease.clone())
    }

    fn put(&mut self, reading: FollowedLease, at: Moment) -> Vec<Key> {
        let FollowedLease {
            key,
            version,
            holder,
            duration,
            content,
            ..
        } = reading;
        let Some(known) = self.known.get_mut(&key) else {
            let lease = Lease::Present(LeaseFact {
                holder,
                duration,
                changed: at,
            });
            let known = KnownLease {
                version,
                content,
                lease,
            };
            self.known.insert(key, known);
            return Vec::new(); // One that is followed is known, if only as unread.
        };
        if version.is_older_than(&known.version) {
            return Vec::new();
        }
        known.version = version;
        let Lease::Present(fact) = &mut known.lease else {
            known.content = content;
            known.lease = Lease::Present(LeaseFact {
                holder,
                duration,
                changed: at,
            });
            return self.sources(&key);
        };
        if known.content == content {
            return Vec::new();
        }
        known.content = content;
        let was_silent = fact
            .duration
            .is_some_and(|span| at.since(fact.changed) >= span);
        fact.changed = at;
        if fact.holder == holder && fact.duration == duration && !was_silent {
            return self.sources_that_await(&key);
        }
        fact.holder = holder;
        fact.duration = duration;
        self.sources(&key)
    }

    /// The sources for which a renewal is news. It is only once.
    fn sources_that_await(&mut self, lease: &Key) -> Vec<Key> {
        let followers = self.followers.get_mut(lease).into_iter().flatten();
        followers
            .filter_map(|follower| {
                let was_awaited = std::mem::take(&mut follower.awaits_write);
                was_awaited.then(|| follower.source.clone())
            })
            .collect()
    }

    /// A Lease is gone as of that version.
    fn remove(&mut self, key: &Key, version: &Version) -> Vec<Key> {
        let Some(known) = self.known.get_mut(key) else {
            return Vec::new();
        };
        if version.is_older_than(&known.version) {
            return Vec::new();
        }
        if !self.followers.contains_key(key) {
            self.known.remove(key);
            return Vec::new();
        }
        known.version = version.clone();
        self.absent(key, Absence::NotFound)
    }

    fn absent(&mut self, key: &Key, absence: Absence) -> Vec<Key> {
        match self.known.get_mut(key) {
            Some(known) if known.lease != Lease::Absent(absence) => {
                known.lease = Lease::Absent(absence);
                self.sources(key)
            }
            _ => Vec::new(),
        }
    }

    fn leave(&mut self, source: &Key) {
        let Some(lease) = self.followed.remove(source) else {
            return;
        };
        let Some(followers) = self.followers.get_mut(&lease) else {
            return;
        };
        followers.retain(|follower| follower.source != *source);
        if followers.is_empty() {
            self.followers.remove(&lease);
            // One that exists is in sight of a watch until that ends.
            let known = self.known.get(&lease);
            if known.is_some_and(|known| !matches!(known.lease, Lease::Present(_))) {
                self.known.remove(&lease);
            }
        }
    }

    fn follow(&mut self, source: &Key, lease: Option<&Key>, awaits_write: bool) -> FollowChange {
        if self.followed.get(source) == lease {
            let followers = lease.and_then(|lease| self.followers.get_mut(lease));
            let mut followers = followers.into_iter().flatten();
            if let Some(follower) = followers.find(|follower| follower.source == *source) {
                follower.awaits_write = awaits_write;
            }
            return FollowChange::AsBefore;
        }
        self.leave(source);
        let Some(lease) = lease else {
            return FollowChange::Unread;
        };
        self.followed.insert(source.clone(), lease.clone());
        let followers = self.followers.entry(lease.clone()).or_default();
        followers.push(Follower {
            source: source.clone(),
            awaits_write,
        });
        let known = self.known.entry(lease.clone()).or_insert(KnownLease {
            version: Version::default(),
            content: 0,
            lease: Lease::Unread,
        });
        match known.lease {
            Lease::Unread => FollowChange::Unread,
            Lease::Absent(_) | Lease::Present(_) => FollowChange::Known,
        }
    }
}

impl Store {
    /// Takes a Lease in and returns the sources that it concerns: those that follow it, if its holder or
    /// its duration is another one, if it was not there or silent until now, or if they wait for the
    /// next write. Nothing else comes of a renewal than its date.
    #[must_use = "each returned source has to be looked at again"]
    pub fn put_lease(&self, lease: FollowedLease, at: Moment) -> Vec<Key> {
        self.leases.lock().put(lease, at)
    }

    /// Takes a Lease out unless it is newer than `version`, at which it was gone.
    #[must_use = "each returned source has to be looked at again"]
    pub fn remove_lease(&self, key: &Key, version: &Version) -> Vec<Key> {
        self.leases.lock().remove(key, version)
    }

    /// After a complete list of the Leases that `covers` holds for: those that it lacks are gone.
    #[must_use = "each returned source has to be looked at again"]
    pub fn retain_leases<S: BuildHasher>(
        &self,
        covers: impl Fn(&Key) -> bool,
        kept: &HashSet<Key, S>,
        at: &Version,
    ) -> Vec<Key> {
        let mut leases = self.leases.lock();
        let is_gone = |key: &&Key| covers(key) && !kept.contains(*key);
        let mut gone: Vec<Key> = leases.known.keys().filter(is_gone).cloned().collect();
        gone.sort();
        let gone = gone.iter();
        gone.flat_map(|key| leases.remove(key, at)).collect()
    }

    /// The newest version that was shown of these Leases.
    #[must_use]
    pub fn newest_lease(&self, covers: impl Fn(&Key) -> bool) -> Version {
        let leases = self.leases.lock();
        let known = leases.known.iter().filter(|(key, _)| covers(key));
        known.fold(Version::default(), |newest, (_, known)| {
            let is_newer = newest.is_older_than(&known.version);
            if is_newer {
                known.version.clone()
            } else {
                newest
            }
        })
    }

    /// The server was restored from a backup: any reading of these Leases is newer than what is known.
    pub fn outdate_leases(&self, covers: impl Fn(&Key) -> bool) {
        let mut leases = self.leases.lock();
        let known = leases.known.iter_mut();
        for (_, known) in known.filter(|(key, _)| covers(key)) {
            known.version = Version::default();
        }
    }

    /// A followed Lease cannot be read, and is told so: at once if it is `refused`, else if nothing was
    /// read of it so far.
    #[must_use = "each returned source has to be looked at again"]
    pub fn miss_lease(&self, key: &Key, absence: Absence) -> Vec<Key> {
        let mut leases = self.leases.lock();
        let known = leases.known.get(key);
        let is_unread = known.is_some_and(|known| known.lease == Lease::Unread);
        if is_unread || absence == Absence::Forbidden {
            leases.absent(key, absence)
        } else {
            Vec::new()
        }
    }

    /// Forgets the Leases that no watch shows any more and no source follows.
    pub fn forget_leases(&self, is_watched: impl Fn(&Key) -> bool) {
        let mut leases = self.leases.lock();
        let FollowedLeases {
            known, followers, ..
        } = &mut *leases;
        known.retain(|key, _| followers.contains_key(key) || is_watched(key));
    }

    /// Notes which Lease a source follows, and whether it waits for the next write of it.
    pub fn follow(&self, source: &Key, lease: Option<&Key>, awaits_write: bool) -> FollowChange {
        self.leases.lock().follow(source, lease, awaits_write)
    }

    /// The Leases that are followed, in order.
    #[must_use]
    pub fn followed_leases(&self) -> Vec<Key> {
        let mut followed: Vec<Key> = self.leases.lock().followers.keys().cloned().collect();
        followed.sort();
        followed
    }

    /// How many Leases are known.
    #[must_use]
    pub fn leases(&self) -> usize {
        self.leases.lock().known.len()
    }

    pub(super) fn lease_of(&self, source: &Key) -> Lease {
        let leases = self.leases.lock();
        if leases.followed.is_empty() {
            return Lease::Unread;
        }
        leases.of(source)
    }
}

#[cfg(test)]
mod tests;
