//! The API server of a run, on a thread of its own; and the floor of a first sync.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use simkube::{Authority, Committed, Kind, Observer, Options, SimKube};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use zen_bench::fleet::{namespace, opted_in, service_name};
use zen_lead::logic::model::{Object, Pod, Service, Slice};
use zen_lead::logic::reflect::Change;
use zen_lead::shell::api::Scope;
use zen_lead::shell::clock::Clock;
use zen_lead::shell::transport::{self, Tuning};
use zen_lead::shell::watch::{self, Selectors, Source, WatchOptions};

/// Counts Services of ours that name their leader: the last thing that is written of each.
#[derive(Default)]
struct Named(AtomicUsize);

impl Observer for Named {
    fn committed(&self, change: &Committed<'_>) {
        let names = |service: Option<&serde_json::Value>| {
            service.is_some_and(|service| {
                service["metadata"]["annotations"]["zen-lead.io/leader-pod-uid"].is_string()
            })
        };
        if change.kind == Kind::Service && names(change.new) && !names(change.old) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A served cluster.
pub struct Server {
    kube: SimKube,
    named: Arc<Named>,
    services: usize,
    /// Path of a kubeconfig for it.
    pub kubeconfig: String,
}

impl Server {
    /// So many opted-in Services with so many pods each, behind a loopback port.
    pub fn start(services: usize, pods_each: usize) -> std::io::Result<Self> {
        Self::with(services, pods_each, false)
    }

    /// The same, and each Service follows a Lease that its first pod holds.
    pub fn following(services: usize, pods_each: usize) -> std::io::Result<Self> {
        Self::with(services, pods_each, true)
    }

    fn with(services: usize, pods_each: usize, follow: bool) -> std::io::Result<Self> {
        let kube = SimKube::new(Options {
            auto_namespaces: true,
            history: 2_000,
            log_limit: 1_000,
            ..Options::default()
        });
        populate(&kube, services, pods_each);
        if follow {
            have_leases(&kube, services);
        }
        let named = Arc::new(Named::default());
        kube.set_observer(Arc::clone(&named) as _);
        let authority = Authority::new()?;
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let kubeconfig = std::env::temp_dir().join(format!(
            "zen-bench-{}-{services}-{follow}.kubeconfig",
            std::process::id()
        ));
        std::fs::write(&kubeconfig, authority.kubeconfig(listener.local_addr()?))?;
        let served = kube.clone();
        std::thread::spawn(move || {
            zen_bench::runtime().block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                let never = std::future::pending();
                served.serve(listener, &authority, "", never).await
            })
        });
        Ok(Self {
            kube,
            named,
            services,
            kubeconfig: kubeconfig.display().to_string(),
        })
    }

    /// Waits until every Service is served and annotated.
    pub fn wait_until_served(&self, within: Duration) {
        let from = Instant::now();
        while self.named.0.load(Ordering::Relaxed) < self.services {
            assert!(from.elapsed() < within, "not all served within {within:?}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.kube.clear_requests();
    }

    /// Renews the Lease of a Service, as its holder does; the number tells one renewal from another.
    pub fn renew(&self, service: usize, number: usize) {
        let (namespace, app) = (namespace(service), service_name(service));
        let renewed = format!(
            "2026-01-01T{:02}:{:02}:{:02}.{:06}Z",
            number / 3_600 % 24,
            number / 60 % 60,
            number % 60,
            number % 1_000_000
        );
        let edited = self.kube.edit(Kind::Lease, &namespace, &app, |lease| {
            lease["spec"]["renewTime"] = renewed.into();
        });
        edited.expect("the Lease is there");
    }

    /// Requests since then, save those about the controller's own Lease.
    pub fn requests(&self) -> usize {
        let requests = self.kube.requests();
        let own = |record: &&simkube::Record| record.name != OWN_LEASE;
        requests.iter().filter(own).count()
    }

    /// Requests since then that could change something, save those about Leases.
    pub fn writes(&self) -> usize {
        let writes = self.kube.writes();
        writes
            .iter()
            .filter(|record| record.kind != Some(Kind::Lease))
            .count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It lies in the directory for temporary files.
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

/// The Lease by which replicas of the controller elect.
const OWN_LEASE: &str = "zen-lead-controller-leader-election";

/// Gives each Service a Lease to follow, as client-go writes it.
fn have_leases(kube: &SimKube, services: usize) {
    for service in 0..services {
        let (namespace, app) = (namespace(service), service_name(service));
        let time = "2026-01-01T00:00:00.000000Z";
        let lease = serde_json::json!({
            "metadata": {"name": app},
            "spec": {
                "holderIdentity": format!("{}_5f0c2f6e-6d0b-4c5e-9a53-0c1c52c3f1aa", pod_name(&app, 0)),
                "leaseDurationSeconds": 15, "leaseTransitions": 3,
                "acquireTime": time, "renewTime": time,
            },
        });
        kube.create(Kind::Lease, &namespace, &lease);
        let followed = format!("lease/{app}");
        kube.annotate(
            Kind::Service,
            &namespace,
            &app,
            "zen-lead.io/follow",
            Some(&followed),
        );
    }
}

fn pod_name(app: &str, pod: usize) -> String {
    format!("{app}-6d4cf56db6-{pod:05}")
}

fn populate(kube: &SimKube, services: usize, pods_each: usize) {
    for service in 0..services {
        let (namespace, app) = (namespace(service), service_name(service));
        kube.create(Kind::Service, &namespace, &opted_in(&app));
        for pod in 0..pods_each {
            let number = u32::try_from(service * pods_each + pod + 256).unwrap_or_default();
            let [_, b, c, d] = number.to_be_bytes();
            kube.pod(&namespace, &pod_name(&app, pod))
                .labels(&[
                    ("app", &app),
                    ("app.kubernetes.io/managed-by", "helm"),
                    ("app.kubernetes.io/part-of", "shop"),
                    ("pod-template-hash", "6d4cf56db6"),
                ])
                .node(&format!("node-{:04}", number % 1_000))
                .ip(&format!("10.{b}.{c}.{d}"))
                .port("http", 8080)
                .create();
        }
    }
}

/// The three lists as the controller asks for them, thrown away object by object.
pub fn list_everything() {
    zen_bench::runtime().block_on(async {
        let kubeconfig = std::env::var_os("KUBECONFIG").expect("KUBECONFIG");
        let config = transport::config(Some(Path::new(&kubeconfig))).await;
        let config = config.expect("a good kubeconfig");
        let client = transport::client(config, &Tuning::default()).expect("a client");
        let label = || Selectors {
            label: Some("zen-lead.io/source-service".to_owned()),
            field: None,
        };
        let field = || Selectors {
            label: None,
            field: Some("status.phase!=Succeeded,status.phase!=Failed".to_owned()),
        };
        let mut lists = JoinSet::new();
        lists.spawn(list::<Service>(client.clone(), Selectors::default()));
        lists.spawn(list::<Slice>(client.clone(), label()));
        lists.spawn(list::<Pod>(client, field()));
        lists.join_all().await;
    });
}

async fn list<T: Object>(client: kube_client::Client, selectors: Selectors) {
    let source = Source {
        client,
        scope: Scope::All,
        selectors,
        options: WatchOptions::default(),
    };
    let (done, is_done) = tokio::sync::oneshot::channel();
    let mut done = Some(done);
    let clock = Clock::system();
    let apply = move |change: Change<T>, _| {
        if matches!(change, Change::Retain { .. })
            && let Some(done) = done.take()
        {
            // The receiver is gone only when the run is over.
            let _ = done.send(());
        }
    };
    tokio::select! {
        biased;
        _ = is_done => {}
        _ = watch::run(source, apply, |_| {}, move || clock.now(), || 0.5) => {}
    }
}
