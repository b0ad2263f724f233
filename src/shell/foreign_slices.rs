//! Looks for slices that others attached to leader Services: each is a second endpoint. Our watch
//! does not show them, since it asks for our label only. Changes nothing itself.

mod requests;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use kube_client::Client;
use tokio::sync::mpsc;
use tokio::time::Instant;

pub use self::requests::ScanRequests;
use super::api::{self, ListError, Scope};
use super::clock::HEARTBEAT;
use crate::logic::model::{Key, Slice};
use crate::logic::well_known::{MANAGER, SERVICE_NAME, SLICE_MANAGED_BY, SOURCE_SERVICE};

/// Between two looks at everything.
const INTERVAL: Duration = Duration::from_mins(10);
/// After a look that failed.
const RETRY: Duration = Duration::from_secs(10);
/// After a look, before the next one: while many Services are made, one look at everything a second
/// does, and leaves the server to the clients that make them.
const PAUSE: Duration = Duration::from_secs(1);
/// After a request, a Service is looked at again: clients that attach to a new one take a moment,
/// as the controller does that mirrors an Endpoints object of its name, or longer, if it has to be
/// started first; and a server that lags behind does not show them yet.
const AGAIN: [Duration; 2] = [Duration::from_secs(5), Duration::from_mins(1)];
/// A targeted list each up to this many Services; one look at everything is cheaper beyond.
const TARGETED_MAX: usize = 64;
/// So often a replica that stands by asks itself whether it still does.
const STANDBY: Duration = Duration::from_secs(1);
/// For one page of a list.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that wait to be looked at; more of them mean one look at everything.
pub const ASKED_MAX: usize = 1_024;

/// What a look needs to know and to tell.
pub struct ForeignSliceScanner<K, L, R> {
    /// The connection.
    pub client: Client,
    /// What is watched.
    pub scopes: Vec<Scope>,
    /// Leader Services to which strangers were attached at the last look.
    pub known: K,
    /// Whether a Service is a leader Service.
    pub is_leader: L,
    /// Whether this replica writes. One that stands by does not look, and looks at everything when
    /// it takes over.
    pub is_active: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Told for a leader Service which slices without our labels are attached to it now.
    pub report: R,
}

impl<K, L, R> ForeignSliceScanner<K, L, R>
where
    K: Fn() -> Vec<Key>,
    L: Fn(&Key) -> bool,
    R: Fn(&Key, Vec<Slice>),
{
    /// Looks at everything now and every ten minutes, and at single Services when asked, and again
    /// later.
    pub async fn run(self, mut asked: mpsc::Receiver<Key>, alive: impl Fn()) -> Infallible {
        let mut agenda = Agenda::new(Instant::now());
        let mut not_before = Instant::now();
        loop {
            alive();
            let now = Instant::now();
            while let Ok(key) = asked.try_recv() {
                agenda.add(key, now);
            }
            if !(self.is_active)() {
                agenda = Agenda::new(now);
                tokio::time::sleep(STANDBY).await;
                continue;
            }
            agenda.ripen(now);
            let due = agenda.due_at(now).max(not_before);
            if now < due {
                tokio::select! {
                    biased;
                    Some(key) = asked.recv() => agenda.add(key, Instant::now()),
                    () = tokio::time::sleep_until(due.min(now + HEARTBEAT)) => {}
                }
                continue;
            }
            let looked = if now >= agenda.everything_at || agenda.pending.len() > TARGETED_MAX {
                self.look_at_everything().await.map(|()| {
                    agenda.everything_at = Instant::now() + INTERVAL;
                    agenda.pending.clear();
                })
            } else {
                self.look_at(&mut agenda.pending).await
            };
            let pause = match looked {
                Ok(()) => PAUSE,
                Err(why) => {
                    tracing::warn!(%why, "could not look for foreign EndpointSlices; trying again");
                    RETRY
                }
            };
            not_before = Instant::now() + pause;
        }
    }

    async fn look_at(&self, pending: &mut BTreeSet<Key>) -> Result<(), ListError> {
        while let Some(service) = pending.first().cloned() {
            let selector = format!("{SERVICE_NAME}={}", service.name);
            let scope = Scope::Namespace(Arc::clone(&service.namespace));
            let slices = self.list(&scope, &selector).await?;
            let others = slices.into_iter().filter(|slice| !bears_our_labels(slice));
            (self.report)(&service, others.collect());
            pending.remove(&service);
        }
        Ok(())
    }

    async fn look_at_everything(&self) -> Result<(), ListError> {
        let mut found: BTreeMap<Key, Vec<Slice>> = (self.known)()
            .into_iter()
            .map(|service| (service, Vec::new()))
            .collect();
        let selector = format!("{SERVICE_NAME},{SLICE_MANAGED_BY}!={MANAGER}");
        for scope in &self.scopes {
            for slice in self.list(scope, &selector).await? {
                let Some(name) = slice.metadata.labels.shared(SERVICE_NAME) else {
                    continue;
                };
                let service = Key {
                    namespace: Arc::clone(&slice.metadata.namespace),
                    name: Arc::clone(name),
                };
                if (self.is_leader)(&service) {
                    found.entry(service).or_default().push(slice);
                }
            }
        }
        for (service, slices) in found {
            (self.report)(&service, slices);
        }
        Ok(())
    }

    async fn list(&self, scope: &Scope, selector: &str) -> Result<Vec<Slice>, ListError> {
        let query = [("labelSelector", selector)];
        api::list(&self.client, scope, &query, TIMEOUT).await
    }
}

/// What is to be looked at, and when.
struct Agenda {
    began: Instant,
    everything_at: Instant,
    /// Now.
    pending: BTreeSet<Key>,
    /// Again, in order of time; `None` is everything.
    again: BTreeSet<(Instant, Option<Key>)>,
}

impl Agenda {
    const fn new(now: Instant) -> Self {
        Self {
            began: now,
            everything_at: now,
            pending: BTreeSet::new(),
            again: BTreeSet::new(),
        }
    }

    fn add(&mut self, key: Key, now: Instant) {
        for delay in AGAIN {
            let due = now + delay;
            self.again.insert(if self.again.len() < TARGETED_MAX {
                (due, Some(key.clone()))
            } else {
                (self.second_after(due), None)
            });
        }
        self.pending.insert(key);
    }

    /// The end of the second in which a moment lies: of those that are many, all at once.
    fn second_after(&self, at: Instant) -> Instant {
        let within = at.duration_since(self.began).subsec_nanos();
        at + PAUSE - Duration::from_nanos(within.into())
    }

    /// What was to be looked at again, and is due.
    fn ripen(&mut self, now: Instant) {
        while let Some(entry) = self.again.pop_first() {
            if entry.0 > now {
                self.again.insert(entry);
                return;
            }
            match entry.1 {
                Some(key) => _ = self.pending.insert(key),
                None => self.everything_at = self.everything_at.min(now),
            }
        }
    }

    /// When the next look is due.
    fn due_at(&self, now: Instant) -> Instant {
        if !self.pending.is_empty() {
            return now;
        }
        let again = self.again.first().map(|(at, _)| *at);
        again.map_or(self.everything_at, |at| at.min(self.everything_at))
    }
}

/// Ours are judged by the watch; this look is for the rest.
fn bears_our_labels(slice: &Slice) -> bool {
    let labels = &slice.metadata.labels;
    labels.get(SLICE_MANAGED_BY) == Some(MANAGER) && labels.get(SOURCE_SERVICE).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_are_looked_at_again_together() {
        let now = Instant::now();
        let mut agenda = Agenda::new(now);
        let mut last = now;
        for number in 0..10_000 {
            last = now + Duration::from_millis(number);
            agenda.add(Key::new("shop", number.to_string()), last);
        }
        assert_eq!(agenda.pending.len(), 10_000);
        assert!(agenda.again.len() < 100, "{}", agenda.again.len());
        agenda.pending.clear();
        for delay in AGAIN {
            let due = last + delay;
            let covered = |(at, what): &(Instant, Option<Key>)| {
                what.is_none() && *at >= due && *at <= due + PAUSE
            };
            assert!(agenda.again.iter().any(covered), "{delay:?}");
            agenda.ripen(due + PAUSE);
            assert!(agenda.everything_at <= due + PAUSE);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn few_are_looked_at_one_by_one() {
        let now = Instant::now();
        let mut agenda = Agenda::new(now + INTERVAL);
        let key = Key::new("shop", "web-leader");
        agenda.add(key.clone(), now);
        for delay in AGAIN {
            assert_eq!(agenda.pending.pop_first(), Some(key.clone()));
            assert_eq!(agenda.due_at(now), now + delay);
            agenda.ripen(now + delay);
        }
        assert_eq!(agenda.pending.pop_first(), Some(key));
        assert_eq!(agenda.due_at(now), now + INTERVAL);
    }
}
