//! One watch of Leases that can end: with its task go its heartbeat and its figures.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube_client::Client;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::logic::backoff::Backoff;
use crate::logic::lease_feeds::LeaseFeed;
use crate::logic::model::{FollowedLease, Object as _};
use crate::logic::reflect::{Change, Failure, FailureClass};
use crate::logic::time::Moment;
use crate::metrics::{Metrics, WatchStats};
use crate::mutations::{self, Mutation};
use crate::run::Env;
use crate::run::watches::{say_failed, skipped};
use crate::shell::api::Scope;
use crate::shell::departure::Departures;
use crate::shell::reconciler::Reconciler;
use crate::shell::serve::{Health, Heartbeat};
use crate::shell::watch::{self, Selectors, WatchNote, WatchOptions};
use crate::store::Store;

/// After so many failures in a row without a list, the server counts as unreachable.
const FAILURES_MAX: u32 = 3;

/// Between two attempts of a watch that is refused.
const REFUSED_MIN: Duration = Duration::from_secs(10);
const REFUSED_MAX: Duration = Duration::from_secs(30);

/// How a watch stands with the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has not made its first list yet.
    Pending,
    /// It has made a complete list.
    Listed,
    /// The server does not let it list or watch.
    Refused,
    /// It was not able to make its first list so far.
    Unreachable,
}

/// What every watch of Leases works with.
pub(super) struct FeedMeans {
    pub(super) client: Client,
    pub(super) list_timeout: Duration,
    pub(super) departures: Departures,
    pub(super) around: Env,
    pub(super) store: Arc<Store>,
    pub(super) reconciler: Arc<Reconciler>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
    /// Calls for a look at the watches.
    pub(super) news: Arc<Notify>,
}

/// A watch at work. It ends when this is dropped.
pub(super) struct Feed {
    task: AbortHandle,
    state: Arc<FeedState>,
    heart: Arc<Heartbeat>,
    health: Arc<Health>,
    figures: Arc<WatchStats>,
    metrics: Arc<Metrics>,
}

impl Feed {
    pub(super) fn standing(&self) -> Standing {
        *self.state.standing.lock()
    }

    /// How it has to begin again, if it was refused for the first time, or is not refused any more.
    pub(super) fn next(&self) -> Option<Standing> {
        match (self.standing(), self.state.began_refused) {
            (Standing::Refused, false) => Some(Standing::Refused),
            (Standing::Listed, true) => Some(Standing::Pending),
            _ => None,
        }
    }

    /// Whether its task has come to an end, which it never should.
    pub(super) fn has_ended(&self) -> bool {
        self.state.has_ended.load(Ordering::Relaxed)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
        self.health.retire(&self.heart);
        self.metrics.unwatch(&self.figures);
    }
}

/// What a watch has found out.
struct FeedState {
    feed: LeaseFeed,
    /// Locked for one look or one change.
    standing: Mutex<Standing>,
    /// Whether it is known from the beginning that the server refuses it.
    began_refused: bool,
    has_ended: AtomicBool,
    news: Arc<Notify>,
}

impl FeedState {
    /// Returns how it stood before.
    fn stands(&self, now: Standing) -> Standing {
        let before = std::mem::replace(&mut *self.standing.lock(), now);
        if before != now {
            self.news.notify_one();
        }
        before
    }

    fn refused(&self, failure: &Failure) {
        if self.stands(Standing::Refused) == Standing::Refused {
            return; // That was said.
        }
        match &self.feed {
            LeaseFeed::Named(lease) => {
                tracing::warn!(%lease, %failure, "the Lease cannot be watched, and the Services that follow it get no new leader: grant list and watch on leases, as manifests/optional/follow.yaml does");
            }
            LeaseFeed::Cluster | LeaseFeed::Namespace(_) => {
                let namespace = self.feed.namespace().map(|namespace| &**namespace);
                tracing::warn!(namespace, %failure, "the Leases cannot be watched together; each one that a Service follows is watched by its name");
            }
        }
    }

    fn listed(&self) {
        if self.stands(Standing::Listed) == Standing::Refused {
            let namespace = self.feed.namespace().map(|namespace| &**namespace);
            tracing::info!(namespace, "Leases can be watched again");
        }
    }
}

/// The options of a watch. Rights do not come within seconds, and there may be many watches that are
/// refused.
fn options(standing: Standing) -> WatchOptions {
    let mut options = WatchOptions::default();
    if standing == Standing::Refused {
        options.backoff = Backoff::new(REFUSED_MIN, REFUSED_MAX);
    }
    options
}

/// Says that the task of a watch ended, however it did.
struct FeedEnd(Arc<FeedState>);

impl Drop for FeedEnd {
    fn drop(&mut self) {
        self.0.has_ended.store(true, Ordering::Relaxed);
        self.0.news.notify_one();
    }
}

impl FeedMeans {
    /// Starts a watch.
    pub(super) fn start(&self, feed: &LeaseFeed, standing: Standing) -> Feed {
        let clock = self.around.clock.clone();
        let state = Arc::new(FeedState {
            feed: feed.clone(),
            standing: Mutex::new(standing),
            began_refused: standing == Standing::Refused,
            has_ended: AtomicBool::new(false),
            news: Arc::clone(&self.news),
        });
        let heart = Arc::new(self.health.task("watch of followed leases", clock.moment()));
        let figures = self.metrics.watch(FollowedLease::RESOURCE);
        let namespace = feed.namespace().cloned();
        let source = watch::Source {
            client: self.client.clone(),
            scope: namespace.map_or(Scope::All, Scope::Namespace),
            selectors: Selectors {
                label: None,
                field: feed.field_selector(),
            },
            options: WatchOptions {
                list_timeout: self.list_timeout,
                // It may take the place of a watch that was refused when the server was restored.
                reached: self.store.newest_lease(|lease| feed.covers(lease)),
                departures: self.departures.clone(),
                ..options(standing)
            },
        };
        let apply = self.apply(&state);
        let mut observer = FeedObserver {
            state: Arc::clone(&state),
            figures: Arc::clone(&figures),
            failures: 0,
            trouble: None,
        };
        let (beat, at) = (Arc::clone(&heart), clock.clone());
        let observe = move |note: WatchNote<'_>| {
            beat.beat(at.moment());
            observer.observe(note);
        };
        let jitter = Arc::clone(&self.around.jitter);
        let end = FeedEnd(Arc::clone(&state));
        let task = (self.around.spawn)(Box::pin(async move {
            let _end = end;
            watch::run(
                source,
                apply,
                observe,
                move || clock.now(),
                move || jitter(),
            )
            .await;
        }));
        Feed {
            task,
            state,
            heart,
            health: Arc::clone(&self.health),
            figures,
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// What a change does to the store and the machines.
    fn apply(
        &self,
        state: &Arc<FeedState>,
    ) -> impl FnMut(Change<FollowedLease>, Moment) + Send + 'static + use<> {
        let (store, reconciler) = (Arc::clone(&self.store), Arc::clone(&self.reconciler));
        let state = Arc::clone(state);
        let clock = self.around.clock.clone();
        move |change, at| {
            let touched = match change {
                Change::Upsert(lease) if mutations::is(Mutation::RemoteClock) => {
                    let seconds = i64::try_from(lease.content).unwrap_or_default();
                    let renewed = jiff::Timestamp::from_second(seconds).unwrap_or_default();
                    store.put_lease(lease, clock.now().moment_of(renewed))
                }
                Change::Upsert(lease) => store.put_lease(lease, at),
                Change::Delete(gone) => store.remove_lease(&gone.key, &gone.version),
                Change::Retain { keys, version } => {
                    let covers = |lease: &_| state.feed.covers(lease);
                    let touched = store.retain_leases(covers, &keys, &version);
                    state.listed();
                    touched
                }
                Change::Restored => return store.outdate_leases(|lease| state.feed.covers(lease)),
                Change::Progress(_) => return,
                Change::Skipped(unreadable) => return skipped::<FollowedLease>(&unreadable),
            };
            if touched.is_empty() {
                return; // A renewal.
            }
            reconciler.reconcile_all(touched, at.into());
        }
    }
}

/// Counts and logs what comes of a watch.
struct FeedObserver {
    state: Arc<FeedState>,
    figures: Arc<WatchStats>,
    /// In a row.
    failures: u32,
    trouble: Option<FailureClass>,
}

impl FeedObserver {
    fn observe(&mut self, note: WatchNote<'_>) {
        match note {
            WatchNote::Opened => {
                self.failures = 0;
                if self.trouble.take().is_some() {
                    tracing::info!(resource = FollowedLease::RESOURCE, "watching again");
                }
            }
            WatchNote::Received(at) => self.figures.seen(at),
            WatchNote::Restarted(reason) => self.figures.restarted(reason.as_str()),
            WatchNote::Failed { failure, retry_in } => self.failed(failure, retry_in),
            WatchNote::Alive
            | WatchNote::Listed { .. }
            | WatchNote::ListTimedOut
            | WatchNote::StreamingRefused(_) => {}
        }
    }

    fn failed(&mut self, failure: &Failure, retry_in: Duration) {
        if failure.class() == FailureClass::Forbidden {
            self.trouble = None;
            return self.state.refused(failure);
        }
        self.failures += 1;
        let standing = *self.state.standing.lock();
        if standing == Standing::Pending && self.failures >= FAILURES_MAX {
            self.state.stands(Standing::Unreachable);
        }
        // Said once per kind of trouble, not per attempt.
        if self.trouble.replace(failure.class()) != Some(failure.class()) {
            say_failed(FollowedLease::RESOURCE, failure, retry_in);
        }
    }
}
