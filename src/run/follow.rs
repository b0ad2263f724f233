//! The watches of Leases that Services follow: from the first Service that follows one to the last. The
//! first sync does not wait for them, and a right that is missing stops nothing else.

mod feed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::timeout;

use self::feed::{Feed, FeedMeans, Standing};
use super::Controller;
use super::task_set::TaskSet;
use crate::logic::follow::Absence;
use crate::logic::lease_feeds::{self, LeaseFeed, NAMED_MAX, WantedFeeds};
use crate::logic::model::Key;
use crate::shell::clock::HEARTBEAT;

impl Controller {
    /// Watches what is followed, as long as it is.
    pub(super) fn follow_leases(&self, parts: &mut TaskSet) {
        let mut follower = LeaseWatches {
            means: FeedMeans {
                client: self.clients.follow.clone(),
                list_timeout: self.config.list_timeout,
                departures: self.writer.departures().clone(),
                around: self.around.clone(),
                store: Arc::clone(&self.store),
                reconciler: Arc::clone(&self.reconciler),
                metrics: Arc::clone(&self.metrics),
                health: Arc::clone(&self.health),
                news: self.reconciler.followed(),
            },
            is_cluster_wide: self.config.namespaces.is_empty(),
            feeds: BTreeMap::new(),
            left_out: BTreeSet::new(),
        };
        let alive = self.alive("followed Leases");
        parts.spawn("followed Leases", async move {
            let news = Arc::clone(&follower.means.news);
            while follower.settle() {
                alive();
                // Without news it beats and looks again, which changes nothing.
                let _is_idle = timeout(HEARTBEAT, news.notified()).await;
            }
        });
    }
}

/// All watches of followed Leases.
struct LeaseWatches {
    means: FeedMeans,
    is_cluster_wide: bool,
    feeds: BTreeMap<LeaseFeed, Feed>,
    /// Followed Leases that no watch shows.
    left_out: BTreeSet<Key>,
}

impl LeaseWatches {
    /// Starts and ends watches so that they are those that are needed, and says of each followed Lease
    /// that cannot be read why. Returns false if a watch has ended by itself, which none ever should.
    fn settle(&mut self) -> bool {
        if self.feeds.values().any(Feed::has_ended) {
            return false;
        }
        let followed = self.means.store.followed_leases();
        if followed.is_empty() && self.feeds.is_empty() {
            return true;
        }
        self.begin_again();
        let is_refused = |feed: &LeaseFeed| {
            let feed = self.feeds.get(feed);
            feed.is_some_and(|feed| feed.standing() == Standing::Refused)
        };
        let is_running = |feed: &LeaseFeed| self.feeds.contains_key(feed);
        let WantedFeeds { feeds, left_out } =
            lease_feeds::wanted(&followed, self.is_cluster_wide, is_refused, is_running);
        self.feeds.retain(|feed, _| feeds.contains(feed));
        for feed in &feeds {
            if !self.feeds.contains_key(feed) {
                let running = self.means.start(feed, Standing::Pending);
                self.feeds.insert(feed.clone(), running);
            }
        }
        let is_watched = |lease: &Key| feeds.iter().any(|feed| feed.covers(lease));
        self.means.store.forget_leases(is_watched);
        self.tell_left_out(left_out);
        let absent = followed.iter().filter_map(|lease| {
            let absence = self.absence(lease)?;
            Some(self.means.store.miss_lease(lease, absence))
        });
        let touched: BTreeSet<Key> = absent.flatten().collect();
        let cause = self.means.around.clock.moment().into();
        let touched = touched.into_iter().collect();
        self.means.reconciler.reconcile_all(touched, cause);
        true
    }

    /// A watch that is refused from now on, or not any more, begins with a new list. If it went on where
    /// it was, what was told to be unreadable meanwhile would stay so.
    fn begin_again(&mut self) {
        for (feed, running) in &mut self.feeds {
            if let Some(standing) = running.next() {
                *running = self.means.start(feed, standing);
            }
        }
    }

    /// Why a Lease cannot be read; none if a watch shows it, or has not answered yet.
    fn absence(&self, lease: &Key) -> Option<Absence> {
        if self.left_out.contains(lease) {
            return Some(Absence::Forbidden);
        }
        let named = self.feeds.get(&LeaseFeed::Named(lease.clone()));
        let wide = || self.feeds.iter().find(|(feed, _)| feed.covers(lease));
        let feed = named.or_else(|| wide().map(|(_, feed)| feed))?;
        match feed.standing() {
            Standing::Pending => None,
            Standing::Listed => Some(Absence::NotFound),
            Standing::Refused => Some(Absence::Forbidden),
            Standing::Unreachable => Some(Absence::Unreachable),
        }
    }

    /// Says once which Leases are not watched.
    fn tell_left_out(&mut self, left_out: BTreeSet<Key>) {
        if self.left_out == left_out {
            return;
        }
        if !left_out.is_empty() {
            let leases: Vec<String> = left_out.iter().map(ToString::to_string).collect();
            tracing::warn!(
                "at most {NAMED_MAX} Leases of a namespace are watched by name; the Services that follow {} get no new leader: grant list and watch on all Leases of the namespace",
                leases.join(", ")
            );
        }
        self.left_out = left_out;
    }
}
