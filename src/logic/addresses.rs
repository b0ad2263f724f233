//! The cluster addresses of leader Services that were taken down, for their sources to have again.
//!
//! A source that is replaced, opted out and in again, or without its selector for a moment gets the
//! address back that its clients know. This is memory of the process: a restart loses it, and the
//! next create gets a new address.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::model::Key;
use super::time::Moment;

/// How long an address is requested again.
const KEPT: Duration = Duration::from_mins(10);
/// Maximum number of leader Services to remember. The oldest entry is removed first.
const COUNT_MAX: usize = 4_096;

/// What leader Services had, by namespace and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    left: BTreeMap<Key, Left>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Left {
    /// Name of the source. Its uid does not count: a source that is replaced has another one.
    source: Arc<str>,
    cluster_ips: Vec<Arc<str>>,
    until: Moment,
}

impl Addresses {
    /// Remembers what a leader Service of that source has, which is about to go.
    pub fn keep(&mut self, service: Key, source: &Arc<str>, ips: Vec<Arc<str>>, now: Moment) {
        if self.left.len() >= COUNT_MAX && !self.left.contains_key(&service) {
            self.left.retain(|_, left| now < left.until);
            let oldest = self.left.iter().min_by_key(|(_, left)| left.until);
            if let Some(oldest) = oldest.filter(|_| self.left.len() >= COUNT_MAX) {
                let oldest = oldest.0.clone();
                self.left.remove(&oldest);
            }
        }
        let left = Left {
            source: Arc::clone(source),
            cluster_ips: ips,
            until: now + KEPT,
        };
        self.left.insert(service, left);
    }

    /// What the leader Service of that source had, if that was not long ago.
    #[must_use]
    pub fn of(&self, service: &Key, source: &str, now: Moment) -> &[Arc<str>] {
        let left = self.left.get(service);
        let left = left.filter(|left| *left.source == *source && now < left.until);
        left.map_or(&[], |left| &left.cluster_ips)
    }

    /// They are not to be had any more.
    pub fn forget(&mut self, service: &Key) {
        self.left.remove(service);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(text: &str) -> Vec<Arc<str>> {
        vec![text.into()]
    }

    #[test]
    fn an_address_is_kept_for_its_source_and_for_ten_minutes() {
        let mut addresses = Addresses::default();
        let (key, source) = (Key::new("n", "s-leader"), Arc::from("s"));
        addresses.keep(key.clone(), &source, ips("10.0.0.1"), Moment(0));
        let end = Moment(0) + KEPT;
        for (name, of, at, expected) in [
            ("s-leader", "s", Moment(0), ips("10.0.0.1")),
            ("s-leader", "s", Moment(end.0 - 1), ips("10.0.0.1")),
            ("s-leader", "s", end, vec![]),
            ("s-leader", "other", Moment(0), vec![]),
            ("other", "s", Moment(0), vec![]),
        ] {
            let got = addresses.of(&Key::new("n", name), of, at);
            assert_eq!(got, &expected[..], "{name} of {of} at {at:?}");
        }
        addresses.keep(key.clone(), &source, ips("10.0.0.2"), end);
        assert_eq!(
            addresses.of(&key, "s", end),
            &ips("10.0.0.2")[..],
            "the latest"
        );
        addresses.forget(&key);
        assert_eq!(addresses, Addresses::default());
    }

    #[test]
    fn the_oldest_memory_makes_room() {
        let mut addresses = Addresses::default();
        let source = Arc::from("s");
        let key = |number: usize| Key::new("n", format!("s{number}"));
        for number in 0..=COUNT_MAX {
            let at = Moment(i64::try_from(number).expect("small"));
            addresses.keep(key(number), &source, ips("10.0.0.1"), at);
        }
        let now = Moment(0);
        assert_eq!(addresses.left.len(), COUNT_MAX);
        assert!(addresses.of(&key(0), "s", now).is_empty());
        assert_eq!(addresses.of(&key(1), "s", now), &ips("10.0.0.1")[..]);
        let late = Moment(0) + KEPT * 2;
        addresses.keep(key(0), &source, ips("10.0.0.1"), late);
        assert_eq!(addresses.left.len(), 1, "what is over goes together");
    }
}
