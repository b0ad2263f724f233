//! The composition root: makes the parts, joins them, and runs them until the first one ends.
//!
//! Nothing is decided here. News go from a watch into the store and from there to the machines;
//! writes go from the machines to the writer; the writer's answers are news again.

mod feeds;
mod hub;
mod parts;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kube_client::Client;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::logic::mirror::Mirror;
use crate::logic::model::Key;
use crate::metrics::Metrics;
use crate::shell::api::{self, CallError, Scope};
use crate::shell::clock::Clock;
use crate::shell::drive::{self, Drive};
use crate::shell::events::{self, Poster};
use crate::shell::serve::{Gate, Health, Heart, Readiness};
use crate::shell::sweep;
use crate::shell::write::{Spawn, Writer, WriterOptions};
use crate::store::Store;
pub(crate) use feeds::LIVE_PODS;
use hub::Hub;
use parts::Parts;

/// For one request about an Event.
const EVENT_TIMEOUT: Duration = Duration::from_secs(10);
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
    /// Runs every task there is.
    pub spawn: Spawn,
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
    ask: mpsc::Sender<Key>,
    asked: mpsc::Receiver<Key>,
    poster: Poster,
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
        let (events, poster) = events::queue(&config.lease.identity);
        let (ask, asked) = mpsc::channel(sweep::ASKED_MAX);
        let hub = Arc::new(Hub::new(
            Arc::clone(&store),
            writer.clone(),
            clients.write.clone(),
            Arc::clone(&metrics),
            around.clone(),
            events,
            ask.clone(),
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
            ask,
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

    /// For `/debug/state`.
    #[must_use]
    pub fn drive(&self) -> Arc<Drive> {
        Arc::clone(&self.drive)
    }

    /// Runs until `stop`, or until a part ends, which none ever should.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), &'static str> {
        // One replica: what it says about its Services counts.
        self.metrics.active(true);
        let mut parts = Parts::new(Arc::clone(&self.around.spawn));
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
        parts.spawn("deadlines", async move {
            drive.run(alive).await;
        });
        self.sweep(&mut parts, scopes);
        let poster = self.poster;
        let client = self.clients.write.clone();
        parts.spawn("events", async move {
            poster
                .run(|request| send_event(client.clone(), request))
                .await;
        });

        let ended = tokio::select! {
            biased;
            () = stop => None,
            part = parts.first_to_end() => Some(part),
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

/// Sends one request about an Event.
async fn send_event(
    client: Client,
    request: http::Request<Bytes>,
) -> Result<http::Response<Bytes>, CallError> {
    let request = request.map(|body| body.to_vec());
    let answer = api::unary(&client, request, EVENT_TIMEOUT).await?;
    let mut response = http::Response::new(answer.body);
    *response.status_mut() = answer.status;
    if let Some(seconds) = answer.retry_after {
        response
            .headers_mut()
            .insert(http::header::RETRY_AFTER, seconds.as_secs().into());
    }
    Ok(response)
}
