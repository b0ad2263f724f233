//! A cluster in this process, the controller that runs against it, and ways to count what it asks
//! for. All time is virtual.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test file uses its part"
)]

mod replica;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use replica::Replica;
use serde_json::Value;
use simkube::{
    FrameInfo, FrameVerdict, Kind, Options, Record, RequestInfo, ServiceBuilder, SimKube, Verb,
    Verdict,
};
use tokio::time::{Instant, sleep};
use zen_lead::config::{Config, Flags};
use zen_lead::logic::model::Key;
use zen_lead::shell::clock::Clock;

pub const NS: &str = "shop";
/// Where the Lease is.
pub const LEASE_NS: &str = "zl";
pub const ENABLED: &str = "zen-lead.io/enabled";

/// Convergence once nothing is wrong any more.
const CONVERGED: Duration = Duration::from_mins(1);

type OnRequest = Box<dyn FnMut(&RequestInfo) -> Verdict + Send>;
type OnFrame = Box<dyn FnMut(&FrameInfo) -> FrameVerdict + Send>;

/// What goes wrong at the moment.
#[derive(Default)]
pub struct Plan {
    request: Mutex<Option<OnRequest>>,
    /// Whether that goes for the Lease as well.
    spares_lease: AtomicBool,
    frame: Mutex<Option<OnFrame>>,
}

impl simkube::Faults for Plan {
    fn on_request(&self, request: &RequestInfo) -> Verdict {
        if request.kind == Some(Kind::Lease) && self.spares_lease.load(Ordering::Relaxed) {
            return Verdict::Pass;
        }
        let mut rule = self.request.lock().expect("no panic");
        rule.as_mut().map_or(Verdict::Pass, |rule| rule(request))
    }

    fn on_frame(&self, frame: &FrameInfo) -> FrameVerdict {
        let mut rule = self.frame.lock().expect("no panic");
        rule.as_mut()
            .map_or(FrameVerdict::Deliver, |rule| rule(frame))
    }
}

/// A cluster with a namespace, and at most one controller at work.
pub struct World {
    pub kube: SimKube,
    plan: Arc<Plan>,
    replica: Option<Replica>,
    began: Instant,
    starts: u64,
    pods_made: AtomicUsize,
}

/// The configuration that these flags make.
pub fn config(flags: &str) -> Config {
    let flags = format!("--leader-election-namespace=zl {flags}");
    let flags = Flags::parse(flags.split_whitespace().map(String::from)).expect("good flags");
    Config::resolve(&flags, |_| None).expect("good flags")
}

impl World {
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    pub fn with(options: Options) -> Self {
        let kube = SimKube::new(options);
        kube.namespace(NS);
        kube.namespace(LEASE_NS);
        let plan = Arc::new(Plan::default());
        kube.set_faults(Arc::clone(&plan) as _);
        Self {
            kube,
            plan,
            replica: None,
            began: Instant::now(),
            starts: 0,
            pods_made: AtomicUsize::new(0),
        }
    }

    /// A world in which `web` is served by its pods, of which the first one leads.
    pub async fn serving(pods: &[&str]) -> Self {
        let mut world = Self::new();
        world.source("web").create();
        world.pods("web", pods);
        world.start("").await;
        world.until_leader("web", pods[0]).await;
        world.settle().await;
        world
    }

    /// A Service that is opted in and selects `app=<name>`.
    pub fn source(&self, name: &str) -> ServiceBuilder {
        let service = self.kube.service(NS, name);
        service
            .selector(&[("app", name)])
            .port("http", 80, 8080)
            .annotation(ENABLED, "true")
    }

    /// Pods that `app` selects, each a second older than the next.
    pub fn pods(&self, app: &str, names: &[&str]) {
        for name in names {
            self.pod(app, name);
        }
    }

    pub fn pod(&self, app: &str, name: &str) {
        let number = self.pods_made.fetch_add(1, Ordering::Relaxed) + 1;
        let (high, low) = (number / 250, number % 250 + 1);
        let pod = self.kube.pod(NS, name).labels(&[("app", app)]);
        pod.ip(&format!("10.1.{high}.{low}")).create();
    }

    /// Starts a controller and waits until it writes: for its first sync, and for the Lease, which
    /// one that crashed leaves behind for some seconds.
    pub async fn start(&mut self, flags: &str) {
        self.start_without_lease(flags).await;
        self.until_active().await;
    }

    /// Starts a controller and waits for its first sync.
    pub async fn start_without_lease(&mut self, flags: &str) {
        self.launch(flags);
        let what = "the first sync";
        self.until(what, |world| world.replica().readiness.check().is_ok())
            .await;
    }

    /// The cluster's wall clock, and a monotonic one that counts from now.
    pub fn clock(&self) -> Clock {
        let (epoch, began) = (Options::default().epoch, self.began);
        Clock::new(Arc::new(move || epoch + began.elapsed()))
    }

    async fn until_active(&self) {
        let what = "this replica holding the Lease";
        self.until(what, |world| world.replica().tenure.is_active())
            .await;
    }

    /// Starts a controller.
    pub fn launch(&mut self, flags: &str) {
        assert!(self.replica.is_none(), "one at a time");
        self.replica = Some(self.another("", flags));
    }

    /// Starts a controller beside it, whose connections are called `watch<name>`, `write<name>`
    /// and `lease<name>`.
    pub fn another(&mut self, name: &str, flags: &str) -> Replica {
        self.starts += 1;
        Replica::launch(&self.kube, name, self.starts, self.began, flags)
    }

    /// Neither the controller nor a worker of it has died.
    fn check(&self) {
        if let Some(replica) = &self.replica {
            replica.check();
        }
    }

    pub fn replica(&self) -> &Replica {
        self.replica.as_ref().expect("a controller runs")
    }

    /// Stops the controller in good order; says how long that took.
    pub async fn stop(&mut self) -> Duration {
        let replica = self.replica.take().expect("a controller runs");
        replica.stop().await
    }

    /// Kills it between two requests.
    pub async fn crash(&mut self) {
        let replica = self.replica.take().expect("a controller runs");
        replica.crash();
        tokio::task::yield_now().await;
    }

    /// From now on this decides what happens to requests, save those for the Lease.
    pub fn on_request(&self, rule: impl FnMut(&RequestInfo) -> Verdict + Send + 'static) {
        self.on_any_request(rule);
        self.plan.spares_lease.store(true, Ordering::Relaxed);
    }

    /// The same, those for the Lease included.
    pub fn on_any_request(&self, rule: impl FnMut(&RequestInfo) -> Verdict + Send + 'static) {
        *self.plan.request.lock().expect("no panic") = Some(Box::new(rule));
        self.plan.spares_lease.store(false, Ordering::Relaxed);
    }

    /// From now on this decides what happens to the frames of watches.
    pub fn on_frame(&self, rule: impl FnMut(&FrameInfo) -> FrameVerdict + Send + 'static) {
        *self.plan.frame.lock().expect("no panic") = Some(Box::new(rule));
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        *self.plan.request.lock().expect("no panic") = None;
        *self.plan.frame.lock().expect("no panic") = None;
    }

    /// Waits until something holds, and says how long that took, to the millisecond.
    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) -> Duration {
        let began = Instant::now();
        while !holds(self) {
            self.check();
            assert!(
                began.elapsed() < CONVERGED,
                "{what} did not come true\n{}",
                self.describe()
            );
            sleep(Duration::from_millis(1)).await;
        }
        began.elapsed()
    }

    pub async fn until_leader(&self, service: &str, pod: &str) -> Duration {
        let what = format!("{pod} leading {service}");
        self.until(&what, |world| {
            world.leader(service).as_deref() == Some(pod)
                && world.identity(service).as_deref() == Some(pod)
        })
        .await
    }

    pub async fn until_none(&self, service: &str) -> Duration {
        self.until("no leader", |world| {
            let slice = world.slice(service);
            // The server shows an empty list as null.
            slice.is_some_and(|slice| slice["endpoints"].as_array().is_none_or(Vec::is_empty))
        })
        .await
    }

    pub async fn until_gone(&self, service: &str) -> Duration {
        self.until("all gone", |world| {
            world.slice(service).is_none() && world.leader_service(service).is_none()
        })
        .await
    }

    /// Lets everything that is under way come to its end: no request for three seconds.
    pub async fn settle(&self) {
        if self.replica.is_some() {
            self.until_active().await;
        }
        loop {
            let before = self.asked().len();
            sleep(Duration::from_secs(3)).await;
            self.check();
            if self.asked().len() == before {
                return;
            }
        }
    }

    /// Forgets the requests so far.
    pub fn clear(&self) {
        self.kube.clear_requests();
    }

    /// What was asked for, save watches and lists, and whatever is about the Lease.
    pub fn asked(&self) -> Vec<Record> {
        let requests = self.kube.requests().into_iter();
        requests
            .filter(|record| !matches!(record.verb, Verb::Watch | Verb::List))
            .filter(|record| record.kind != Some(Kind::Lease))
            .collect()
    }

    /// The same in words: `patch EndpointSlice web-leader`. Events come last, since nothing waits
    /// for them: `create Event LeaderChanged`.
    pub fn words(&self) -> Vec<String> {
        let mut asked = self.asked();
        asked.sort_by_key(|record| record.kind == Some(Kind::Event));
        asked.iter().map(word).collect()
    }

    /// The words of those that wrote to Services and slices.
    pub fn writes(&self) -> Vec<String> {
        let asked = self.asked();
        let writes = asked
            .iter()
            .filter(|record| record.is_write() && record.kind != Some(Kind::Event));
        writes.map(word).collect()
    }

    #[track_caller]
    pub fn assert_words(&self, what: &str, expected: &[&str]) {
        assert_eq!(self.words(), expected, "{what}\n{}", self.describe());
    }

    /// The slice of a source that has the default name.
    pub fn slice(&self, source: &str) -> Option<Value> {
        self.kube
            .get(Kind::EndpointSlice, NS, &format!("{source}-leader"))
    }

    pub fn leader_service(&self, source: &str) -> Option<Value> {
        self.kube
            .get(Kind::Service, NS, &format!("{source}-leader"))
    }

    /// The pod that the slice names.
    pub fn leader(&self, source: &str) -> Option<String> {
        let slice = self.slice(source)?;
        let name = slice["endpoints"][0]["targetRef"]["name"].as_str()?;
        Some(name.to_owned())
    }

    /// The pod that the leader Service names.
    pub fn identity(&self, source: &str) -> Option<String> {
        let service = self.leader_service(source)?;
        let name = service["metadata"]["annotations"]["zen-lead.io/leader-pod-name"].as_str()?;
        Some(name.to_owned())
    }

    pub fn cluster_ip(&self, source: &str) -> Option<String> {
        let service = self.leader_service(source)?;
        Some(service["spec"]["clusterIP"].as_str()?.to_owned())
    }

    /// `reason: message (count)` of all events about a Service, in order of creation.
    pub fn events(&self, source: &str) -> Vec<String> {
        let mut events = self.kube.list(Kind::Event, NS);
        events.retain(|event| event["involvedObject"]["name"] == source);
        events.sort_by_key(|event| {
            let version = event["metadata"]["name"].as_str().unwrap_or_default();
            version.to_owned()
        });
        let text = |event: &Value| {
            format!(
                "{}: {} ({})",
                event["reason"].as_str().unwrap_or_default(),
                event["message"].as_str().unwrap_or_default(),
                event["count"],
            )
        };
        events.iter().map(text).collect()
    }

    /// The events of one reason.
    pub fn told(&self, source: &str, reason: &str) -> Vec<String> {
        let mut events = self.events(source);
        events.retain(|event| event.starts_with(&format!("{reason}:")));
        events
    }

    pub fn annotate(&self, service: &str, key: &str, value: Option<&str>) {
        assert!(
            self.kube.annotate(Kind::Service, NS, service, key, value),
            "{service} takes {key}"
        );
    }

    /// What the machine of a source says, if there is one.
    pub fn debug(&self, source: &str) -> Option<Value> {
        self.replica().drive.debug(&Key::new(NS, source))
    }

    fn describe(&self) -> String {
        let mut text = String::new();
        for record in self.asked().iter().rev().take(40).rev() {
            let _ = writeln!(text, "  {} -> {}", word(record), record.status);
        }
        for source in ["web", "a", "b"] {
            for event in self.events(source) {
                let _ = writeln!(text, "  {source}: {event}");
            }
            if let Some(slice) = self.slice(source) {
                let _ = writeln!(text, "  {slice}");
            }
            let key = Key::new(NS, source);
            if let Some(debug) = self
                .replica
                .as_ref()
                .and_then(|replica| replica.drive.debug(&key))
            {
                let _ = writeln!(text, "  {debug:#}");
            }
        }
        text
    }
}

pub fn word(record: &Record) -> String {
    let kind = record.kind.map_or("?", Kind::name);
    let body: Value = match record.kind {
        Some(Kind::Event) => serde_json::from_slice(&record.body).unwrap_or_default(),
        _ => Value::Null,
    };
    let name = match record.kind {
        Some(Kind::Event) => body["reason"].as_str().unwrap_or("again"),
        _ => &record.name,
    };
    format!("{} {kind} {name}", record.verb.name())
}

pub const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}
