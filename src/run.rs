//! The composition root: makes the parts, joins them, and runs them until the first one ends.
//!
//! Nothing is decided here. News go from a watch into the store and from there to the machines;
//! writes go from the machines to the writer; the writer's answers are news again.

mod hub;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kube_client::Client;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::logic::fsm::Cause;
use crate::logic::mirror::Mirror;
use crate::logic::model::{Key, Object, Pod, Service, Slice};
use crate::logic::reflect::Change;
use crate::logic::time::{Moment, Now};
use crate::metrics::Metrics;
use crate::shell::clock::Clock;
use crate::shell::drive::{self, Drive};
use crate::shell::serve::{Gate, Health, Heart, Readiness};
use crate::shell::sweep::{self, Sweep};
use crate::shell::watch::{self, Scope, Selectors, WatchNote, WatchOptions};
use crate::shell::write::{Spawn, Writer, WriterOptions};
use crate::store::{Origin, Store};
use hub::Hub;

pub use hub::Tell;

/// A pod that ended is gone for us; the server need not send it.
const LIVE_PODS: &str = "status.phase!=Succeeded,status.phase!=Failed";
/// A stop has this long for the writes under way.
const CLOSE_MAX: Duration = Duration::from_millis(1_500);

/// The connections to the API server: a relist on one cannot delay a write on the other.
#[derive(Clone)]
pub struct Clients {
    /// For watches and lists.
    pub watch: Client,
    /// For writes and what they need to read.
    pub write: Client,
}

/// What a process, or a simulation, lends to the controller.
#[derive(Clone)]
pub struct Surroundings {
    /// Both clocks.
    pub clock: Clock,
    /// A number in `[0, 1)`.
    pub jitter: Arc<dyn Fn() -> f64 + Send + Sync>,
    /// Runs the writer's workers.
    pub spawn: Spawn,
    /// Takes events to the API server.
    pub tell: Tell,
}

/// The controller, ready to run.
pub struct Controller {
    config: Arc<Config>,
    clients: Clients,
    around: Surroundings,
    store: Arc<Store>,
    drive: Arc<Drive>,
    writer: Writer,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    readiness: Arc<Readiness>,
    asked: mpsc::Receiver<Key>,
}

impl Controller {
    /// Makes the parts and joins them. Nothing runs yet.
    #[must_use]
    pub fn new(
        config: Arc<Config>,
        clients: Clients,
        around: Surroundings,
        metrics: Arc<Metrics>,
    ) -> Self {
        let store = Arc::new(Store::default());
        let clock = around.clock.clone();
        let options = WriterOptions {
            in_flight_max: config.writes_in_flight_max,
            rate_limit: config.rate_limit,
            fast_retry: config.fast_retry,
            jitter: Arc::clone(&around.jitter),
            spawn: Arc::clone(&around.spawn),
        };
        let writer = Writer::new(
            clients.write.clone(),
            options,
            Arc::clone(&metrics),
            clock.clone(),
        );
        let (ask, asked) = mpsc::channel(sweep::ASKED_MAX);
        let hub = Arc::new(Hub::new(
            Arc::clone(&store),
            writer.clone(),
            clients.write.clone(),
            Arc::clone(&metrics),
            around.clone(),
            ask,
        ));
        let max = config.services_per_namespace_max;
        let settings = drive::Settings {
            mirror: Mirror::new(&config.mirror_prefixes),
            services_per_namespace_max: max
                .map(|max| usize::try_from(max.get()).unwrap_or(usize::MAX)),
        };
        let outlet: Arc<dyn drive::Outlet> = Arc::clone(&hub) as _;
        let drive = Arc::new(Drive::new(
            Arc::clone(&store),
            Arc::clone(&metrics),
            outlet,
            settings,
            clock.clone(),
        ));
        hub.settle_into(&drive);
        Self {
            health: Arc::new(Health::new(clock.moment())),
            readiness: Arc::new(Readiness::default()),
            config,
            clients,
            around,
            store,
            drive,
            writer,
            metrics,
            asked,
        }
    }

    /// For `/healthz`.
    #[must_use]
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// For `/readyz`.
    #[must_use]
    pub fn readiness(&self) -> Arc<Readiness> {
        Arc::clone(&self.readiness)
    }

    /// For `/debug/state`.
    #[must_use]
    pub fn drive(&self) -> Arc<Drive> {
        Arc::clone(&self.drive)
    }

    /// Runs until `stop`, or until a part ends, which none ever should.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), &'static str> {
        let mut parts: JoinSet<&'static str> = JoinSet::new();
        let scopes = self.scopes();
        let sync = Arc::new(FirstSync::new(
            3 * scopes.len(),
            Arc::clone(&self.drive),
            self.readiness.gate("the first sync"),
        ));
        for scope in &scopes {
            self.watch_services(&mut parts, scope, &sync);
            self.watch_slices(&mut parts, scope, &sync);
            self.watch_pods(&mut parts, scope, &sync);
        }
        let drive = Arc::clone(&self.drive);
        let alive = self.alive("deadlines");
        parts.spawn(async move {
            drive.run(alive).await;
            "deadlines"
        });
        self.sweep(&mut parts, scopes);

        let ended = tokio::select! {
            biased;
            () = stop => None,
            part = parts.join_next() => Some(part.and_then(Result::ok).unwrap_or("a part")),
        };
        parts.shutdown().await;
        if tokio::time::timeout(CLOSE_MAX, self.writer.close())
            .await
            .is_err()
        {
            tracing::warn!(
                "a write was still under way at the end; the next start finds out what became of it"
            );
        }
        ended.map_or(Ok(()), Err)
    }

    fn scopes(&self) -> Vec<Scope> {
        if self.config.namespaces.is_empty() {
            return vec![Scope::All];
        }
        self.config
            .namespaces
            .iter()
            .map(|namespace| Scope::Namespace(namespace.as_str().into()))
            .collect()
    }

    fn watch_services(
        &self,
        parts: &mut JoinSet<&'static str>,
        scope: &Scope,
        sync: &Arc<FirstSync>,
    ) {
        let (store, drive) = (Arc::clone(&self.store), Arc::clone(&self.drive));
        let within = namespace(scope).map(Arc::<str>::from);
        let mut synced = sync.once();
        self.watch::<Service>(parts, scope, Selectors::default(), move |change, at| {
            let touched = match change {
                Change::Upsert(service) => store.put_service(service, Origin::Watch),
                Change::Delete(gone) => store.remove_service(&gone.key, Some(&gone.version)),
                Change::Retain { keys, version } => {
                    let touched = store.retain_services(within.as_deref(), &keys, &version);
                    synced();
                    touched
                }
                Change::Progress(_) => return,
                Change::Skipped(unreadable) => return skipped::<Service>(&unreadable),
            };
            drive.touch_all(
                touched,
                Cause {
                    at,
                    pod_changed: None,
                },
            );
        });
    }

    fn watch_slices(
        &self,
        parts: &mut JoinSet<&'static str>,
        scope: &Scope,
        sync: &Arc<FirstSync>,
    ) {
        let (store, drive) = (Arc::clone(&self.store), Arc::clone(&self.drive));
        let within = namespace(scope).map(Arc::<str>::from);
        let mut synced = sync.once();
        let label = Some(crate::logic::contract::SOURCE_SERVICE.to_owned());
        self.watch::<Slice>(
            parts,
            scope,
            Selectors { label, field: None },
            move |change, at| {
                let touched = match change {
                    Change::Upsert(slice) => store.put_slice(slice, Origin::Watch),
                    Change::Delete(gone) => store.remove_slice(&gone.key, Some(&gone.version)),
                    Change::Retain { keys, version } => {
                        let touched = store.retain_slices(within.as_deref(), &keys, &version);
                        synced();
                        touched
                    }
                    Change::Progress(_) => return,
                    Change::Skipped(unreadable) => return skipped::<Slice>(&unreadable),
                };
                drive.touch_all(
                    touched,
                    Cause {
                        at,
                        pod_changed: None,
                    },
                );
            },
        );
    }

    fn watch_pods(&self, parts: &mut JoinSet<&'static str>, scope: &Scope, sync: &Arc<FirstSync>) {
        let (store, drive, clock) = (
            Arc::clone(&self.store),
            Arc::clone(&self.drive),
            self.around.clock.clone(),
        );
        let within = namespace(scope).map(Arc::<str>::from);
        let mut synced = sync.once();
        let field = Some(LIVE_PODS.to_owned());
        self.watch::<Pod>(
            parts,
            scope,
            Selectors { label: None, field },
            move |change, at| {
                let now = Now {
                    moment: at,
                    ..clock.now()
                };
                let mut changed = now.wall;
                let touched = match change {
                    Change::Upsert(pod) => {
                        changed = when_changed(&pod, now);
                        store.put_pod(pod, now)
                    }
                    Change::Delete(gone) => store.remove_pod(&gone.key, Some(&gone.version)),
                    Change::Retain { keys, version } => {
                        let touched = store.retain_pods(within.as_deref(), &keys, &version);
                        synced();
                        touched
                    }
                    Change::Progress(_) => return,
                    Change::Skipped(unreadable) => return skipped::<Pod>(&unreadable),
                };
                drive.touch_all(
                    touched,
                    Cause {
                        at,
                        pod_changed: Some(changed),
                    },
                );
            },
        );
    }

    fn watch<T: Object>(
        &self,
        parts: &mut JoinSet<&'static str>,
        scope: &Scope,
        selectors: Selectors,
        apply: impl FnMut(Change<T>, Moment) + Send + 'static,
    ) {
        let source = watch::Source {
            client: self.clients.watch.clone(),
            scope: scope.clone(),
            selectors,
            options: WatchOptions {
                list_timeout: self.config.list_timeout,
                ..WatchOptions::default()
            },
        };
        let stats = self.metrics.watch(T::RESOURCE);
        let alive = self.alive(&format!(
            "watch of {} ({})",
            T::RESOURCE,
            namespace(scope).unwrap_or("all namespaces")
        ));
        let mut trouble = None;
        let observe = move |note: WatchNote<'_>| {
            alive();
            match note {
                WatchNote::Alive => {}
                WatchNote::Opened => {
                    if trouble.take().is_some() {
                        tracing::info!(resource = T::RESOURCE, "watching again");
                    }
                }
                WatchNote::Received(at) => stats.seen(at),
                WatchNote::Restarted(reason) => stats.restarted(reason.as_str()),
                WatchNote::Failed { failure, retry_in } => {
                    // Said once per kind of trouble, not per attempt.
                    if trouble.replace(failure.class()) != Some(failure.class()) {
                        tracing::warn!(resource = T::RESOURCE, %failure, ?retry_in, "cannot watch; trying again");
                    }
                }
                WatchNote::StreamingRefused(failure) => {
                    tracing::info!(resource = T::RESOURCE, %failure, "no streaming lists here; listing page by page");
                }
            }
        };
        let clock = self.around.clock.clone();
        let jitter = Arc::clone(&self.around.jitter);
        parts.spawn(async move {
            watch::run(
                source,
                apply,
                observe,
                move || clock.now(),
                move || jitter(),
            )
            .await;
            "watch"
        });
    }

    fn sweep(&mut self, parts: &mut JoinSet<&'static str>, scopes: Vec<Scope>) {
        let (_, nobody) = mpsc::channel(1);
        let asked = std::mem::replace(&mut self.asked, nobody);
        let alive = self.alive("sweep");
        let store = Arc::clone(&self.store);
        let (known, leaders) = (Arc::clone(&store), Arc::clone(&store));
        let (drive, clock) = (Arc::clone(&self.drive), self.around.clock.clone());
        let sweep = Sweep {
            client: self.clients.write.clone(),
            scopes,
            known: move || known.services_with_strangers(),
            is_leader: move |key: &Key| {
                let marked = |service: Arc<Service>| {
                    service
                        .metadata
                        .labels
                        .get(crate::logic::contract::SOURCE_SERVICE)
                        .is_some()
                };
                leaders.service(key).is_some_and(marked)
            },
            report: move |service: &Key, strangers| {
                let touched = store.put_strangers(service, strangers);
                drive.touch_all(
                    touched,
                    Cause {
                        at: clock.moment(),
                        pod_changed: None,
                    },
                );
            },
        };
        let drive = Arc::clone(&self.drive);
        parts.spawn(async move {
            // Before the first sync nobody knows which Services are leader Services.
            while !drive.is_open() {
                alive();
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            sweep.run(asked, alive).await;
            "sweep"
        });
    }

    fn alive(&self, task: &str) -> impl Fn() + Send + 'static {
        let clock = self.around.clock.clone();
        let heart: Heart = self.health.task(task, clock.moment());
        move || heart.beat(clock.moment())
    }
}

/// Opens the machines once every watch has synced.
struct FirstSync {
    left: std::sync::atomic::AtomicUsize,
    drive: Arc<Drive>,
    gate: Gate,
}

impl FirstSync {
    fn new(watches: usize, drive: Arc<Drive>, gate: Gate) -> Self {
        Self {
            left: watches.into(),
            drive,
            gate,
        }
    }

    /// To be called at every complete list of one watch; the first call counts.
    fn once(self: &Arc<Self>) -> impl FnMut() + Send + 'static {
        let mut all = Some(Arc::clone(self));
        move || {
            let Some(all) = all.take() else {
                return;
            };
            if all.left.fetch_sub(1, std::sync::atomic::Ordering::AcqRel) == 1 {
                tracing::info!("synced");
                all.drive.open();
                all.gate.open();
            }
        }
    }
}

/// When a pod changed: its readiness says so itself, anything else happened just now.
fn when_changed(pod: &Pod, now: Now) -> jiff::Timestamp {
    /// A transition that is older than this is not what made the news.
    const RECENT: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);
    let recent = |at: &jiff::Timestamp| *at <= now.wall && now.wall.duration_since(*at) < RECENT;
    pod.ready_transition
        .filter(|at| !pod.terminating && recent(at))
        .unwrap_or(now.wall)
}

fn namespace(scope: &Scope) -> Option<&str> {
    match scope {
        Scope::All => None,
        Scope::Namespace(namespace) => Some(namespace),
    }
}

fn skipped<T: Object>(unreadable: &crate::logic::reflect::Unreadable) {
    let key = unreadable.key.as_ref().map(ToString::to_string);
    tracing::warn!(resource = T::RESOURCE, object = key, why = %unreadable.reason, "an object does not parse; it is left out");
}
