//! Looks at the cluster: Services, pods and slices by the controller's own watches, into the
//! controller's own store.

use std::sync::Arc;
use std::time::Duration;

use kube_client::Client;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::client::Cluster;
use crate::jitter;
use crate::logic::model::{Key, Pod, Service, Slice};
use crate::logic::reflect::{Change, FailureClass};
use crate::logic::time::Now;
use crate::logic::well_known::SOURCE_SERVICE;
use crate::shell::api::{LIVE_PODS, Scope};
use crate::shell::clock::Clock;
use crate::shell::watch::{self, Selectors, Source, WatchNote, WatchOptions};
use crate::store::{Fact, Store};

/// Kinds that are watched in each namespace.
const KINDS: usize = 3;
/// For all of them to be known.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the cluster holds, kept up to date for as long as this value lives.
pub(super) struct ClusterView {
    pub(super) store: Arc<Store>,
    pub(super) clock: Clock,
    news: mpsc::UnboundedReceiver<WatchUpdate>,
    /// Ends the watches with this value.
    _watches: JoinSet<()>,
}

enum WatchUpdate {
    /// A kind is known completely.
    Synced,
    /// These sources may look different now.
    Touched(Vec<Key>),
    /// Something does not work.
    Failed { what: String, is_final: bool },
}

/// Why the cluster cannot be seen.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The server, or the way to it.
    #[error("cannot read {0}")]
    Failed(String),
    /// It took too long.
    #[error("cannot read the cluster: no complete answer within {0:?}")]
    Late(Duration),
}

impl ClusterView {
    /// Looks until every kind is known.
    pub(super) async fn of(cluster: &Cluster, scopes: &[Scope]) -> Result<Self, ReadError> {
        let (outlet, news) = mpsc::unbounded_channel();
        let clock = cluster.clock.clone();
        let store = Arc::new(Store::default());
        let mut watches = JoinSet::new();
        for scope in scopes {
            let watching = Watching {
                client: cluster.client.clone(),
                scope: scope.clone(),
                store: Arc::clone(&store),
                clock: clock.clone(),
                outlet: outlet.clone(),
            };
            watching.services(&mut watches);
            watching.slices(&mut watches);
            watching.pods(&mut watches);
        }
        let mut sight = Self {
            store,
            clock,
            news,
            _watches: watches,
        };
        let lists = KINDS * scopes.len();
        let synced = tokio::time::timeout(PATIENCE, sight.synced(lists)).await;
        synced.unwrap_or(Err(ReadError::Late(PATIENCE)))?;
        Ok(sight)
    }

    async fn synced(&mut self, lists: usize) -> Result<(), ReadError> {
        let (mut left, mut trouble) = (lists, 0);
        while left > 0 {
            match self.news.recv().await {
                Some(WatchUpdate::Synced) => left -= 1,
                Some(WatchUpdate::Failed { what, is_final }) => {
                    // One more try for what may have been an accident.
                    trouble += 1;
                    if is_final || trouble > lists {
                        return Err(ReadError::Failed(what));
                    }
                }
                Some(WatchUpdate::Touched(_)) => {}
                None => return Err(ReadError::Failed("the cluster: a watch ended".into())),
            }
        }
        Ok(())
    }

    /// The sources that may look different now; says on standard error what does not work. Never
    /// ends by itself.
    pub(super) async fn touched(&mut self) -> Vec<Key> {
        loop {
            match self.news.recv().await {
                Some(WatchUpdate::Touched(keys)) if !keys.is_empty() => return keys,
                Some(WatchUpdate::Failed { what, .. }) => {
                    eprintln!("zen-lead: cannot read {what}; trying again");
                }
                Some(WatchUpdate::Touched(_) | WatchUpdate::Synced) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Both clocks.
    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }
}

struct Watching {
    client: Client,
    scope: Scope,
    store: Arc<Store>,
    clock: Clock,
    outlet: mpsc::UnboundedSender<WatchUpdate>,
}

impl Watching {
    fn services(&self, watches: &mut JoinSet<()>) {
        self.watch::<Service>(watches, Selectors::default());
    }

    fn slices(&self, watches: &mut JoinSet<()>) {
        let label = Some(SOURCE_SERVICE.to_owned());
        self.watch::<Slice>(watches, Selectors { label, field: None });
    }

    fn pods(&self, watches: &mut JoinSet<()>) {
        let field = Some(LIVE_PODS.to_owned());
        self.watch::<Pod>(watches, Selectors { label: None, field });
    }

    fn watch<T: Fact>(&self, watches: &mut JoinSet<()>, selectors: Selectors) {
        let source = Source {
            client: self.client.clone(),
            scope: self.scope.clone(),
            selectors,
            options: WatchOptions::default(),
        };
        // The receiver is gone once the command ends.
        let outlet = self.outlet.clone();
        let (store, clock) = (Arc::clone(&self.store), self.clock.clone());
        let within = self.scope.namespace().map(Arc::<str>::from);
        let apply = move |change: Change<T>, at| {
            let is_whole = matches!(change, Change::Retain { .. });
            let now = Now {
                moment: at,
                ..clock.now()
            };
            let touched = store.apply(change, within.as_deref(), now);
            let _ = outlet.send(WatchUpdate::Touched(touched));
            if is_whole {
                let _ = outlet.send(WatchUpdate::Synced);
            }
        };
        let outlet = self.outlet.clone();
        let observe = move |note: WatchNote<'_>| {
            if let WatchNote::Failed { failure, .. } = note {
                let class = failure.class();
                let is_final = matches!(
                    class,
                    FailureClass::Unauthorized | FailureClass::Forbidden | FailureClass::NotFound
                );
                let what = format!("{}: {failure}", T::RESOURCE);
                let _ = outlet.send(WatchUpdate::Failed { what, is_final });
            }
        };
        let clock = self.clock.clone();
        let jitter = jitter::from_entropy();
        watches.spawn(async move {
            watch::run(
                source,
                apply,
                observe,
                move || clock.now(),
                move || jitter(),
            )
            .await;
        });
    }
}
