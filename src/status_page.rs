//! What the status page shows: a row per Service, with its last changes of leader.
//!
//! Machines put rows in after their writes are on the way; the server thread reads what is newer
//! than what a page has. Decides nothing, and nothing is decided by it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::FixedState;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;

use crate::logic::model::Key;

/// Maximum number of leader changes to keep per Service: an hour of a Service that is in trouble, a year
/// of one that is not.
const CHANGES_KEPT: usize = 12;
/// Maximum number of Services that left to remember; a page that missed more starts over.
const GONE_KEPT: usize = 1_024;
/// So many rows are read under one lock: the thread that moves traffic may wait for it.
const ROWS_PER_TURN: usize = 256;

/// One Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// State of its machine, as the metrics name it.
    pub state: &'static str,
    /// The leader Service's name, once it is known.
    pub leader_service: Option<Arc<str>>,
    /// The pod that leads.
    pub leader: Option<Arc<str>>,
    /// Since when it leads.
    pub since: Option<Timestamp>,
    /// Pods that are Ready and not terminating.
    pub available: usize,
    /// Pods that its selector matches.
    pub pods: usize,
    /// What the application says of its leader, if it decides.
    pub follow: Option<&'static str>,
    /// The followers Service, if there is to be one.
    pub followers: Option<FollowersShown>,
}

/// The followers Service of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FollowersShown {
    /// Its name.
    pub service: Arc<str>,
    /// Pods that it shows.
    pub pods: usize,
}

/// A change of leader that its slices show.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaderChange {
    /// When the slices were seen to show it.
    pub at: Timestamp,
    /// The leader before.
    pub from: Option<Arc<str>>,
    /// The leader now.
    pub to: Option<Arc<str>>,
    /// Why the one before was left; `elected` for a first election or a recovery.
    pub reason: &'static str,
    /// From the news to the API server's acknowledgement, in milliseconds.
    pub took_ms: f64,
}

/// A row as a page gets it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// The Service's namespace.
    pub namespace: Arc<str>,
    /// The Service's name.
    pub name: Arc<str>,
    #[serde(flatten)]
    row: Row,
    changes: VecDeque<LeaderChange>,
}

/// What a page does not have yet.
#[derive(Debug, Default, Serialize)]
pub struct Delta {
    /// Whether what the page has is worthless: it was away for too long.
    pub reset: bool,
    /// Rows that are new or different.
    pub rows: Vec<Shown>,
    /// Services that left, as `namespace/name`.
    pub gone: Vec<String>,
}

/// All rows.
#[derive(Debug, Default)]
pub struct StatusPage {
    epoch: i64,
    /// Number of the last change, by which a reader tells whether there is a new one.
    last: AtomicU64,
    /// Locked for one row, or for [`ROWS_PER_TURN`] by a reader.
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    known: HashMap<Key, BoardRow, FixedState>,
    /// Rows by the number of their last change.
    by_change: BTreeMap<u64, Key>,
    gone: VecDeque<(u64, Key)>,
    /// A page that has less than this has missed a Service that left.
    forgotten: u64,
}

#[derive(Debug)]
struct BoardRow {
    number: u64,
    row: Row,
    changes: VecDeque<LeaderChange>,
}

impl StatusPage {
    /// An empty board. `epoch` tells its numbers from those of an earlier process: when it began, in
    /// milliseconds.
    #[must_use]
    pub fn new(epoch: i64) -> Self {
        Self {
            epoch,
            ..Self::default()
        }
    }

    /// What tells its numbers from those of an earlier process.
    #[must_use]
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Shows a Service. Cheap if nothing is different.
    pub fn show(&self, service: &Key, row: Row, change: Option<LeaderChange>) {
        let mut rows = self.rows.lock();
        let rows = &mut *rows;
        let old = rows.known.get_mut(service);
        if change.is_none() && old.as_ref().is_some_and(|entry| entry.row == row) {
            return;
        }
        let number = self.last.load(Ordering::Relaxed) + 1;
        let mut changes = match old {
            Some(entry) => {
                rows.by_change.remove(&entry.number);
                std::mem::take(&mut entry.changes)
            }
            None => VecDeque::new(),
        };
        if let Some(change) = change {
            if changes.len() == CHANGES_KEPT {
                changes.pop_front();
            }
            // Ten thousand Services mostly have one each, and room for four is not free.
            if changes.len() < 4 {
                changes.reserve_exact(1);
            }
            changes.push_back(change);
        }
        let entry = BoardRow {
            number,
            row,
            changes,
        };
        rows.by_change.insert(number, service.clone());
        rows.known.insert(service.clone(), entry);
        self.last.store(number, Ordering::Release);
    }

    /// Takes a Service off.
    pub fn forget(&self, service: &Key) {
        let mut rows = self.rows.lock();
        let Some(entry) = rows.known.remove(service) else {
            return;
        };
        rows.by_change.remove(&entry.number);
        let number = self.last.load(Ordering::Relaxed) + 1;
        rows.gone.push_back((number, service.clone()));
        if rows.gone.len() > GONE_KEPT
            && let Some((number, _)) = rows.gone.pop_front()
        {
            rows.forgotten = number;
        }
        self.last.store(number, Ordering::Release);
    }

    /// Number of the last change. A page that has it lacks nothing.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// What came after change number `after`, the oldest first, and the number to ask with next
    /// time. Several calls may be needed: see [`StatusPage::last`].
    #[must_use]
    pub fn news(&self, after: u64) -> (Delta, u64) {
        let rows = self.rows.lock();
        let reset = after < rows.forgotten || after > self.last.load(Ordering::Relaxed);
        let after = if reset { 0 } else { after };
        let mut news = Delta {
            reset,
            ..Delta::default()
        };
        let mut upto = self.last.load(Ordering::Relaxed);
        let mut newer = rows.by_change.range(after + 1..);
        for (number, service) in newer.by_ref().take(ROWS_PER_TURN) {
            news.rows.push(rows.shown(service));
            upto = *number;
        }
        if newer.next().is_none() {
            upto = self.last.load(Ordering::Relaxed);
        }
        let left = rows.gone.iter().filter(|(number, service)| {
            // One that came back is among the rows, now or soon.
            (after + 1..=upto).contains(number) && !rows.known.contains_key(service)
        });
        news.gone
            .extend(left.map(|(_, service)| service.to_string()));
        (news, upto)
    }
}

impl Rows {
    fn shown(&self, service: &Key) -> Shown {
        let entry = &self.known[service];
        Shown {
            namespace: Arc::clone(&service.namespace),
            name: Arc::clone(&service.name),
            row: entry.row.clone(),
            changes: entry.changes.clone(),
        }
    }
}

impl Delta {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.reset && self.rows.is_empty() && self.gone.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(leader: &str) -> Row {
        Row {
            state: "Serving",
            leader_service: Some("web-leader".into()),
            leader: Some(leader.into()),
            since: None,
            available: 2,
            pods: 3,
            follow: None,
            followers: None,
        }
    }

    fn change(to: &str) -> LeaderChange {
        LeaderChange {
            at: Timestamp::UNIX_EPOCH,
            from: None,
            to: Some(to.into()),
            reason: "notReady",
            took_ms: 1.5,
        }
    }

    fn key(name: &str) -> Key {
        Key::new("shop", name)
    }

    fn names(news: &Delta) -> Vec<&str> {
        news.rows.iter().map(|shown| &*shown.name).collect()
    }

    #[test]
    fn only_what_is_different_is_news() {
        let board = StatusPage::default();
        board.show(&key("a"), row("a-0"), None);
        board.show(&key("b"), row("b-0"), None);
        let (news, upto) = board.news(0);
        assert_eq!(names(&news), ["a", "b"]);
        board.show(&key("a"), row("a-0"), None);
        assert_eq!(board.last(), upto, "the same row is no change");
        board.show(&key("a"), row("a-1"), Some(change("a-1")));
        let (news, upto) = board.news(upto);
        assert_eq!(names(&news), ["a"]);
        assert_eq!(news.rows[0].changes.len(), 1);
        assert!(board.news(upto).0.is_empty());
    }

    #[test]
    fn a_service_that_left_is_news_once_and_its_return_too() {
        let board = StatusPage::default();
        board.show(&key("a"), row("a-0"), Some(change("a-0")));
        let (_, upto) = board.news(0);
        board.forget(&key("a"));
        board.forget(&key("never"));
        let (news, upto) = board.news(upto);
        assert_eq!(
            (news.rows.len(), news.gone.as_slice()),
            (0, &["shop/a".to_owned()][..])
        );
        board.show(&key("a"), row("a-1"), None);
        let (news, _) = board.news(upto);
        assert_eq!((names(&news), news.gone.len()), (vec!["a"], 0));
        assert!(news.rows[0].changes.is_empty(), "another life");
    }

    #[test]
    fn changes_and_departures_are_bounded() {
        let board = StatusPage::default();
        for at in 0..100 {
            board.show(&key("a"), row("a-0"), Some(change(&format!("a-{at}"))));
        }
        let (news, _) = board.news(0);
        assert_eq!(news.rows[0].changes.len(), CHANGES_KEPT);
        assert_eq!(
            news.rows[0]
                .changes
                .back()
                .expect("12 of them")
                .to
                .as_deref(),
            Some("a-99")
        );
        for at in 0..=GONE_KEPT {
            let gone = key(&format!("gone-{at}"));
            board.show(&gone, row("x"), None);
            board.forget(&gone);
        }
        let (news, upto) = board.news(101);
        assert!(news.reset, "it missed one that is forgotten");
        assert_eq!(names(&news), ["a"]);
        assert!(board.news(upto).0.is_empty());
        assert!(
            board.news(u64::MAX).0.reset,
            "numbers of an earlier process"
        );
    }

    #[test]
    fn many_rows_come_in_turns_and_none_is_lost() {
        let board = StatusPage::default();
        for at in 0..1_000 {
            board.show(&key(&format!("{at}")), row("x"), None);
        }
        let (mut seen, mut upto, mut turns) = (0, 0, 0);
        while upto < board.last() {
            let (news, next) = board.news(upto);
            assert!(news.rows.len() <= ROWS_PER_TURN && next > upto);
            (seen, upto, turns) = (seen + news.rows.len(), next, turns + 1);
        }
        assert_eq!((seen, turns), (1_000, 4));
    }
}
