//! When to look at which source again.

use std::collections::BTreeMap;

use crate::logic::fsm::Cause;
use crate::logic::model::Key;
use crate::logic::time::Moment;

/// One entry: its moment, and a number that makes it unique and keeps the order of insertion.
pub(super) type Timer = (Moment, u64);

/// Which source to look at, and because of which news; none when the time itself is the news.
pub(super) type Due = (Key, Option<Cause>);

/// All deadlines in the order in which they come.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    due: BTreeMap<Timer, Due>,
    sequence: u64,
}

impl Deadlines {
    pub(super) fn insert(&mut self, at: Moment, source: Key, cause: Option<Cause>) -> Timer {
        self.sequence += 1;
        let entry = (at, self.sequence);
        self.due.insert(entry, (source, cause));
        entry
    }

    fn remove(&mut self, entry: Timer) {
        self.due.remove(&entry);
    }

    /// Moves the timer of a source, which has at most one, or stops it. Returns whether it was set to
    /// another moment.
    pub(super) fn set(
        &mut self,
        timer: &mut Option<Timer>,
        source: &Key,
        at: Option<Moment>,
    ) -> bool {
        let current = timer.filter(|entry| self.contains(*entry));
        if current.map(|(at, _)| at) == at {
            return false;
        }
        if let Some(old) = current {
            self.remove(old);
        }
        *timer = at.map(|at| self.insert(at, source.clone(), None));
        at.is_some()
    }

    fn contains(&self, entry: Timer) -> bool {
        self.due.contains_key(&entry)
    }

    /// Drops those that have come, except for news.
    pub(super) fn drop_due(&mut self, now: Moment) {
        self.due
            .retain(|(at, _), (_, news)| *at > now || news.is_some());
    }

    /// The moment of the first one.
    pub(super) fn next(&self) -> Option<Moment> {
        self.due.keys().next().map(|(at, _)| *at)
    }

    /// Takes out those that have come, at most `max`.
    pub(super) fn take(&mut self, now: Moment, max: usize) -> Vec<Due> {
        let mut due = Vec::new();
        while due.len() < max {
            match self.due.first_entry() {
                Some(first) if first.key().0 <= now => due.push(first.remove()),
                _ => break,
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn come_in_order_and_no_more_than_asked_for() {
        let mut deadlines = Deadlines::default();
        let key = |name: &str| Key::new("n", name);
        deadlines.insert(Moment(5), key("b"), None);
        let gone = deadlines.insert(Moment(1), key("gone"), None);
        let cause = Moment(4).into();
        deadlines.insert(Moment(5), key("c"), Some(cause));
        deadlines.insert(Moment(2), key("a"), None);
        deadlines.insert(Moment(9), key("later"), None);
        deadlines.remove(gone);
        assert!(!deadlines.contains(gone));
        assert_eq!(deadlines.next(), Some(Moment(2)));
        let due = [(key("a"), None), (key("b"), None)];
        assert_eq!(deadlines.take(Moment(5), 2), due);
        assert_eq!(deadlines.take(Moment(5), 2), [(key("c"), Some(cause))]);
        assert_eq!(deadlines.take(Moment(5), 2), []);
        assert_eq!(deadlines.next(), Some(Moment(9)));
    }
}
