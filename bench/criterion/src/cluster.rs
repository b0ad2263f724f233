//! The whole controller and an API server in one process and on one thread, and beside it the
//! floor: a loop that sends a bare PATCH the moment it sees the pod event.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kube_client::Client;
use parking_lot::Mutex;
use serde_json::{Value, json};
use simkube::{Committed, Kind, Observer, Options, SimKube};
use tokio::sync::{Notify, oneshot};
use zen_lead::logic::backoff::Backoff;
use zen_lead::logic::model::Pod;
use zen_lead::logic::reflect::Change;
use zen_lead::run::Clients;
use zen_lead::shell::api::{self, Scope};
use zen_lead::shell::clock::Clock;
use zen_lead::shell::watch::{self, Selectors, WatchOptions};

use crate::figures::cpu_time;
use crate::fleet::{namespace, opted_in, service_name};

/// Turns of the others without a change, after which nothing is under way.
const QUIET_TURNS: usize = 64;
/// So many requests are remembered: enough to count those of a failover.
const LOG_MAX: usize = 1_000;

/// When slices were changed by a request.
#[derive(Default)]
struct Moves {
    last: Mutex<HashMap<String, Duration>>,
    news: Notify,
}

impl Observer for Moves {
    fn committed(&self, change: &Committed<'_>) {
        if change.kind != Kind::EndpointSlice || change.request.is_none() {
            return;
        }
        let name = change
            .new
            .and_then(|slice| slice["metadata"]["name"].as_str());
        if let Some(name) = name {
            self.last.lock().insert(name.to_owned(), cpu_time());
            self.news.notify_one();
        }
    }
}

/// An API server in this process, and a client that moves its slices.
pub struct Cluster {
    /// The server.
    pub kube: SimKube,
    moves: Arc<Moves>,
    services: usize,
    /// Number of the leader of each Service.
    leaders: Vec<usize>,
    stop: Option<oneshot::Sender<()>>,
}

fn pod_name(service: usize, pod: usize) -> String {
    format!("{}-{pod}", service_name(service))
}

fn leader_service(service: usize) -> String {
    format!("{}-leader", service_name(service))
}

impl Cluster {
    /// So many Services with two pods each, without a client.
    #[must_use]
    pub fn new(services: usize) -> Self {
        let kube = SimKube::new(Options {
            auto_namespaces: true,
            history: 20_000,
            log_limit: LOG_MAX,
            ..Options::default()
        });
        for service in 0..services {
            let (namespace, app) = (namespace(service), service_name(service));
            kube.create(Kind::Service, &namespace, &opted_in(&app));
            for pod in 0..2 {
                let number = u32::try_from(2 * service + pod + 256).unwrap_or_default();
                let [_, b, c, d] = number.to_be_bytes();
                kube.pod(&namespace, &pod_name(service, pod))
                    .labels(&[("app", &app)])
                    .ip(&format!("10.{b}.{c}.{d}"))
                    .port("http", 8080)
                    .create();
            }
        }
        let moves = Arc::new(Moves::default());
        kube.set_observer(Arc::clone(&moves) as _);
        Self {
            kube,
            moves,
            services,
            leaders: vec![0; services],
            stop: None,
        }
    }

    /// Starts the controller and waits until every Service is served.
    pub async fn controlled(services: usize) -> Self {
        let mut cluster = Self::new(services);
        let clients = Clients {
            watch: cluster.kube.client_named("watch"),
            write: cluster.kube.client_named("write"),
            lease: cluster.kube.client_named("lease"),
            follow: cluster.kube.client_named("follow"),
        };
        let controller = crate::controller(clients);
        let (stop, stopped) = oneshot::channel();
        cluster.stop = Some(stop);
        tokio::spawn(controller.run(async move { drop(stopped.await) }));
        cluster.all_served().await;
        cluster.quiesce().await;
        cluster
    }

    /// Makes slices by hand and starts the floor.
    pub async fn floor(services: usize) -> Self {
        let cluster = Self::new(services);
        for service in 0..services {
            let name = leader_service(service);
            let slice = json!({
                "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4", "ports": [], "endpoints": [],
            });
            cluster
                .kube
                .create(Kind::EndpointSlice, &namespace(service), &slice);
        }
        tokio::spawn(floor(
            cluster.kube.client_named("watch"),
            cluster.kube.client_named("write"),
        ));
        cluster.quiesce().await;
        cluster
    }

    /// Waits until nothing is under way.
    pub async fn quiesce(&self) {
        let mut quiet = 0;
        let mut version = self.kube.resource_version();
        while quiet < QUIET_TURNS {
            tokio::task::yield_now().await;
            let now = self.kube.resource_version();
            quiet = if now == version { quiet + 1 } else { 0 };
            version = now;
        }
    }

    /// The leaders of these Services turn NotReady at once; how long until all slices have moved.
    pub async fn fail_over(&mut self, services: std::ops::Range<usize>) -> Duration {
        let lost: Vec<_> = services
            .map(|service| (service, self.leaders[service]))
            .collect();
        for (service, leader) in &lost {
            let name = pod_name(*service, *leader);
            self.kube.set_ready(&namespace(*service), &name, false);
        }
        self.moves.last.lock().clear();
        let from = cpu_time();
        let mut latest = from;
        for (service, _) in &lost {
            latest = latest.max(self.moved(*service).await);
        }
        self.quiesce().await;
        for (service, leader) in lost {
            let name = pod_name(service, leader);
            self.kube.set_ready(&namespace(service), &name, true);
            self.leaders[service] = 1 - leader;
        }
        self.quiesce().await;
        latest.saturating_sub(from)
    }

    async fn moved(&self, service: usize) -> Duration {
        let slice = leader_service(service);
        loop {
            if let Some(at) = self.moves.last.lock().get(&slice) {
                return *at;
            }
            self.moves.news.notified().await;
        }
    }

    async fn all_served(&self) {
        for service in 0..self.services {
            self.moved(service).await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The receiver is gone if the runtime is.
            let _ = stop.send(());
        }
    }
}

/// Watches pods with the controller's own loop, and moves the slice of any that turns NotReady.
async fn floor(watching: Client, writing: Client) {
    let clock = Clock::system();
    let source = watch::Source {
        client: watching,
        scope: Scope::All,
        selectors: Selectors::default(),
        options: WatchOptions {
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(1)),
            ..WatchOptions::default()
        },
    };
    let mut sent = 0;
    let react = move |change: Change<Pod>, _| {
        let Change::Upsert(pod) = change else { return };
        if pod.ready {
            return;
        }
        sent += 1;
        let client = writing.clone();
        tokio::spawn(async move {
            let (app, _) = pod.name.rsplit_once('-').unwrap_or_default();
            patch(&client, &pod.namespace, &format!("{app}-leader"), sent).await;
        });
    };
    watch::run(source, react, |_| {}, move || clock.now(), || 0.5).await;
}

/// One PATCH that changes a slice's only endpoint.
async fn patch(client: &Client, namespace: &str, slice: &str, number: usize) {
    let [.., c, d] = number.to_be_bytes();
    let operations: Value = json!([{
        "op": "replace", "path": "/endpoints",
        "value": [{"addresses": [format!("10.9.{c}.{}", d % 250 + 1)]}],
    }]);
    let path = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices/{slice}");
    let mut request = http::Request::new(operations.to_string().into_bytes());
    *request.method_mut() = http::Method::PATCH;
    *request.uri_mut() = path.parse().unwrap_or_default();
    let content = http::HeaderValue::from_static("application/json-patch+json");
    request
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, content);
    let answer = api::unary(client, request, Duration::from_secs(10)).await;
    assert!(
        answer
            .as_ref()
            .is_ok_and(|answer| answer.status.is_success()),
        "a bare PATCH failed: {answer:?}"
    );
}
