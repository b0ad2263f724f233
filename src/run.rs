//! The composition root: makes the parts, joins them, and runs them until the first one ends.
//!
//! Which pod leads and what is written is decided in `logic`; here and below it is decided *when*: which
//! Service is looked at next, when foreign slices are searched for, when a silent node is reported, and
//! when this process ends. Facts go from a watch into the store and from there to the machines; writes
//! go from the machines to the writer; the writer's answers are facts again.

mod election;
mod follow;
mod nodes;
mod task_set;
mod watches;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kube_client::Client;
use tokio::sync::mpsc;

use crate::config::{self, Config};
use crate::logic::mirror::Mirror;
use crate::logic::model::Key;
use crate::metrics::Metrics;
use crate::shell::api::{self, CallError, Scope};
use crate::shell::clock::Clock;
use crate::shell::events::{self, EventSender};
use crate::shell::foreign_slices::{self, ScanRequests};
use crate::shell::lease::{Elector, WritePermit};
use crate::shell::reconciler::{Outlets, Reconciler, ReconcilerOptions};
use crate::shell::serve::{Gate, Health, Heartbeat, Readiness};
use crate::shell::transport;
use crate::shell::write::{FAILOVER_SLOTS, Spawn, Writer, WriterOptions};
use crate::status_page::StatusPage;
use crate::store::Store;
use election::asking;
use task_set::TaskSet;

/// For one request about an Event.
const EVENT_TIMEOUT: Duration = Duration::from_secs(10);
/// A stop has this long for the writes under way, and then for the Lease: two seconds are promised.
const CLOSE_MAX: Duration = Duration::from_millis(1_100);
/// The standby takes over so much sooner than by waiting.
const RELEASE_MAX: Duration = Duration::from_millis(500);

/// The connections to the API server: a relist on one cannot delay a write on another, and on
/// neither can anything delay the Lease.
#[derive(Clone)]
pub struct Clients {
    /// For watches and lists, and reads that no traffic waits for.
    pub watch: Client,
    /// For writes and what they need to read, and for Events.
    pub write: Client,
    /// For the Lease: its watch and its renewals.
    pub lease: Client,
    /// For watches of Leases that Services follow, of which there may be many.
    pub follow: Client,
}

/// What is in flight at once on the connection for writes, unless a flag asks for more. Beyond what
/// the server takes, requests wait inside the connection, in no order of ours.
const IN_FLIGHT_MAX: usize = FAILOVER_SLOTS + config::WRITES_IN_FLIGHT + events::IN_FLIGHT_MAX;
const _: () = assert!(IN_FLIGHT_MAX < transport::STREAMS_MAX);

/// What a process, or a simulation, lends to the controller.
#[derive(Clone)]
pub struct Env {
    /// Both clocks.
    pub clock: Clock,
    /// A number in `[0, 1)`. Two replicas need different sequences: their identities come from it.
    pub jitter: Arc<dyn Fn() -> f64 + Send + Sync>,
    /// Runs every task there is.
    pub spawn: Spawn,
}

/// The controller, ready to run.
pub struct Controller {
    config: Arc<Config>,
    clients: Clients,
    around: Env,
    store: Arc<Store>,
    reconciler: Arc<Reconciler>,
    writer: Writer,
    elector: Elector,
    lease: Key,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    readiness: Arc<Readiness>,
    board: Option<Arc<StatusPage>>,
    scans: ScanRequests,
    asked: mpsc::Receiver<Key>,
    poster: EventSender,
}

impl Controller {
    /// Makes the parts and joins them. Nothing runs yet.
    #[must_use]
    pub fn new(config: Arc<Config>, clients: Clients, around: Env, metrics: Arc<Metrics>) -> Self {
        let store = Arc::new(Store::default());
        let clock = around.clock.clone();
        let (elector, lease) = election::elector(&config, &clients, &around);
        let writer = Writer::new(
            clients.write.clone(),
            writer_options(&config, &around, &elector.tenure()),
            Arc::clone(&metrics),
            clock.clone(),
        );
        let (events, poster) = events::queue(&config.lease.identity);
        let (queue, asked) = mpsc::channel(foreign_slices::ASKED_MAX);
        let scans = ScanRequests::new(Arc::clone(&store), queue);
        let is_shown = config.status_page && config.metrics.is_some();
        let began = clock.now().wall.as_millisecond();
        let board = is_shown.then(|| Arc::new(StatusPage::new(began)));
        let outlets = Outlets {
            writer: Arc::new(writer.clone()),
            events,
            scans: scans.clone(),
            board: board.clone(),
            client: clients.watch.clone(),
            spawn: Arc::clone(&around.spawn),
        };
        let reconciler = Arc::new(Reconciler::new(
            Arc::clone(&store),
            Arc::clone(&metrics),
            outlets,
            reconciler_options(&config),
            clock.clone(),
        ));
        // Weak, since the reconciler holds the writer.
        let outcomes = Arc::downgrade(&reconciler);
        writer.settle_with(Arc::new(move |settled| {
            if let Some(reconciler) = outcomes.upgrade() {
                reconciler.on_outcome(settled);
            }
        }));
        Self {
            health: Arc::new(Health::new(clock.moment())),
            readiness: Arc::new(Readiness::default()),
            config,
            clients,
            around,
            store,
            reconciler,
            writer,
            elector,
            lease,
            metrics,
            board,
            scans,
            asked,
            poster,
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

    /// For the status page; `None` if there is none.
    #[must_use]
    pub fn board(&self) -> Option<Arc<StatusPage>> {
        self.board.clone()
    }

    /// For `/debug/state`.
    #[must_use]
    pub fn reconciler(&self) -> Arc<Reconciler> {
        Arc::clone(&self.reconciler)
    }

    /// Whether this replica writes, now and later.
    #[must_use]
    pub fn tenure(&self) -> WritePermit {
        self.elector.tenure()
    }

    /// Runs until `stop`, or until a part ends, which none ever should.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), &'static str> {
        let mut parts = TaskSet::new(Arc::clone(&self.around.spawn));
        let scopes = self.scopes();
        let sync = Arc::new(FirstSync::new(
            3 * scopes.len(),
            Arc::clone(&self.reconciler),
            self.elector.clone(),
            self.readiness.gate("the first sync"),
        ));
        self.take_part(&mut parts);
        for scope in &scopes {
            self.watch_services(&mut parts, scope, &sync);
            self.watch_slices(&mut parts, scope, &sync);
            self.watch_pods(&mut parts, scope, &sync);
        }
        let reconciler = Arc::clone(&self.reconciler);
        let alive = self.alive("deadlines");
        parts.spawn("deadlines", async move {
            reconciler.run(alive).await;
        });
        self.sweep(&mut parts, scopes);
        self.watch_lease(&mut parts);
        self.watch_the_nodes(&mut parts);
        self.follow_leases(&mut parts);
        let (client, writer) = (self.clients.write.clone(), self.writer.clone());
        let poster = self.poster;
        parts.spawn("events", async move {
            poster
                .run(|request| send_event(&client, &writer, request))
                .await;
        });

        let ended = tokio::select! {
            biased;
            () = stop => None,
            part = parts.first_to_end() => Some(part),
        };
        // 1. What is under way comes to its end.
        if tokio::time::timeout(CLOSE_MAX, self.writer.close())
            .await
            .is_err()
        {
            tracing::warn!(
                "a write was still under way at the end; the next start finds out what became of it"
            );
        }
        // 2. Only then may another replica take over.
        if tokio::time::timeout(RELEASE_MAX, self.elector.release())
            .await
            .is_err()
        {
            tracing::warn!("the Lease could not be released; others wait until it expires");
        }
        parts.shutdown().await;
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

    fn alive(&self, task: &str) -> impl Fn() + Send + 'static + use<> {
        let clock = self.around.clock.clone();
        let heart: Heartbeat = self.health.task(task, clock.moment());
        move || heart.beat(clock.moment())
    }
}

fn reconciler_options(config: &Config) -> ReconcilerOptions {
    let max = config.services_per_namespace_max;
    let allowed = config.follow_lease_namespaces.iter();
    ReconcilerOptions {
        mirror: Mirror::new(&config.mirror_prefixes),
        services_per_namespace_max: max.map(|max| usize::try_from(max.get()).unwrap_or(usize::MAX)),
        guard: config.failovers,
        follow_lease_namespaces: allowed.map(|name| name.as_str().into()).collect(),
    }
}

fn writer_options(config: &Config, around: &Env, tenure: &WritePermit) -> WriterOptions {
    WriterOptions {
        in_flight_max: config.writes_in_flight_max,
        keep_managed_fields: config.keep_managed_fields,
        rate_limit: config.rate_limit,
        fast_retry: config.fast_retry,
        jitter: Arc::clone(&around.jitter),
        spawn: Arc::clone(&around.spawn),
        may_write: asking(tenure),
    }
}

/// Opens the machines once every watch has synced.
struct FirstSync {
    left: std::sync::atomic::AtomicUsize,
    reconciler: Arc<Reconciler>,
    elector: Elector,
    gate: Gate,
}

impl FirstSync {
    fn new(watches: usize, reconciler: Arc<Reconciler>, elector: Elector, gate: Gate) -> Self {
        Self {
            left: watches.into(),
            reconciler,
            elector,
            gate,
        }
    }

    /// To be called at every complete list of one watch; the first call counts.
    fn once(self: &Arc<Self>) -> impl FnMut() + Send + 'static + use<> {
        let mut all = Some(Arc::clone(self));
        move || {
            let Some(all) = all.take() else {
                return;
            };
            if all.left.fetch_sub(1, std::sync::atomic::Ordering::AcqRel) == 1 {
                tracing::info!("synced");
                all.reconciler.open();
                all.elector.synced();
                all.gate.open();
            }
        }
    }
}

/// Sends one request about an Event, once nothing that matters more stands in line.
async fn send_event(
    client: &Client,
    writer: &Writer,
    request: http::Request<Bytes>,
) -> Result<http::Response<Bytes>, CallError> {
    writer.leisure().await;
    let Some(_under_way) = writer.begin() else {
        return Err(CallError::Transport("this replica writes no more".into()));
    };
    let request = request.map(|body| body.to_vec());
    let answer = api::unary(client, request, EVENT_TIMEOUT).await?;
    let mut response = http::Response::new(answer.body);
    *response.status_mut() = answer.status;
    if let Some(seconds) = answer.retry_after {
        response
            .headers_mut()
            .insert(http::header::RETRY_AFTER, seconds.as_secs().into());
    }
    Ok(response)
}
