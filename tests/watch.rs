//! The watch loop against simkube, on a paused clock: hours pass in microseconds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Frame;
use kube_client::Client;
use kube_client::client::Body;
use serde::{Deserialize, Deserializer};
use serde_json::json;
use simkube::{
    ConnectionReset, Expiry, FrameInfo, FrameVerdict, Kind, Options, Protobuf, Record, RequestInfo,
    Rule, SimBody, SimKube, Verb, Verdict,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::Instant;
use zen_lead::logic::model::{FromProtobuf, Key, Meta, Object, Uid, Version};
use zen_lead::logic::protobuf::Malformed;
use zen_lead::logic::reflect::{Change, Failure, FailureClass, RestartReason};
use zen_lead::logic::time::{Moment, Now};
use zen_lead::shell::api::Scope;
use zen_lead::shell::watch::{self, Selectors, Source, WatchNote, WatchOptions};

const MINUTE: Duration = Duration::from_mins(1);

#[derive(Clone, Debug, Deserialize)]
struct Pod {
    metadata: Meta,
    #[serde(default, rename = "spec")]
    _spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(rename = "nodeName", deserialize_with = "not_odd")]
    _node_name: String,
}

/// Stands for whatever a later version of Kubernetes may put where we expect something else.
fn not_odd<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name == "odd" {
        return Err(serde::de::Error::custom("odd"));
    }
    Ok(name)
}

/// What a server's own pods are in protobuf, with the same idea of what is odd.
fn from_protobuf(message: &[u8]) -> Result<Pod, Malformed> {
    let read = zen_lead::logic::model::Pod::PROTOBUF.expect("pods are read from protobuf");
    let pod = read(message)?;
    if pod.node.as_deref() == Some("odd") {
        return Err(Malformed("nothing odd"));
    }
    let metadata = Meta {
        namespace: pod.namespace,
        name: pod.name,
        uid: pod.uid,
        resource_version: pod.version,
        labels: pod.labels,
        ..Meta::default()
    };
    Ok(Pod {
        metadata,
        _spec: Spec::default(),
    })
}

impl Object for Pod {
    const RESOURCE: &'static str = "pods";
    const API: &'static str = "/api/v1";
    const PROTOBUF: Option<FromProtobuf<Self>> = Some(from_protobuf);

    fn key(&self) -> Key {
        self.metadata.key()
    }

    fn uid(&self) -> &Uid {
        &self.metadata.uid
    }

    fn version(&self) -> &Version {
        &self.metadata.resource_version
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Note {
    Alive,
    Opened,
    Received,
    Listed(Duration),
    ListTimedOut,
    Restarted(RestartReason),
    Failed(FailureClass, String, Duration),
    Refused,
}

impl From<WatchNote<'_>> for Note {
    fn from(note: WatchNote<'_>) -> Self {
        match note {
            WatchNote::Alive => Self::Alive,
            WatchNote::Opened => Self::Opened,
            WatchNote::Received(_) => Self::Received,
            WatchNote::Listed { took } => Self::Listed(took),
            WatchNote::ListTimedOut => Self::ListTimedOut,
            WatchNote::Restarted(reason) => Self::Restarted(reason),
            WatchNote::Failed { failure, retry_in } => {
                Self::Failed(failure.class(), failure.to_string(), retry_in)
            }
            WatchNote::StreamingRefused(failure) => {
                assert!(matches!(failure, Failure::Status(_)));
                Self::Refused
            }
        }
    }
}

/// A watch in a task of its own, and the map that its changes make.
struct Watched {
    changes: UnboundedReceiver<(Change<Pod>, Moment)>,
    notes: Arc<Mutex<Vec<(Instant, Note)>>>,
    map: BTreeMap<String, Pod>,
    /// What of it is from before a restore.
    outdated: BTreeSet<String>,
    /// How many lists have come to their end.
    lists: usize,
    skipped: Vec<String>,
    _task: JoinSet<()>,
}

impl Watched {
    fn start(client: Client) -> Self {
        Self::start_with(client, Scope::All, Selectors::default())
    }

    fn start_with(client: Client, scope: Scope, selectors: Selectors) -> Self {
        let (sender, changes) = unbounded_channel();
        let notes = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&notes);
        let origin = Instant::now();
        let clock = move || Now {
            moment: Moment(i64::try_from(origin.elapsed().as_micros()).expect("a short test")),
            wall: jiff::Timestamp::UNIX_EPOCH,
        };
        let source = Source {
            client,
            scope,
            selectors,
            options: WatchOptions::default(),
        };
        let watch = watch::run::<Pod>(
            source,
            // The test may have ended.
            move |change, received| drop(sender.send((change, received))),
            move |note: WatchNote<'_>| {
                let mut notes = log.lock().expect("no panic elsewhere");
                notes.push((Instant::now(), note.into()));
            },
            clock,
            || 0.5,
        );
        let mut task = JoinSet::new();
        task.spawn(async { match watch.await {} });
        Self {
            changes,
            notes,
            map: BTreeMap::new(),
            outdated: BTreeSet::new(),
            lists: 0,
            skipped: Vec::new(),
            _task: task,
        }
    }

    async fn next(&mut self) -> (Change<Pod>, Moment) {
        let next = tokio::time::timeout(60 * MINUTE, self.changes.recv()).await;
        let next = next.unwrap_or_else(|_| panic!("no change in an hour: {:?}", self.notes()));
        let (change, received) = next.expect("the watch runs");
        self.apply(change.clone());
        (change, received)
    }

    /// Applies changes until the map has just these names.
    async fn until(&mut self, names: &[&str]) {
        self.until_that(|watched| watched.lists > 0 && watched.map.keys().eq(names))
            .await;
    }

    async fn until_that(&mut self, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            self.next().await;
        }
    }

    fn apply(&mut self, change: Change<Pod>) {
        match change {
            Change::Upsert(pod) => {
                let name = pod.metadata.name.to_string();
                self.outdated.remove(&name);
                self.map.insert(name, pod);
            }
            Change::Delete(tombstone) => {
                self.map.remove(&*tombstone.key.name);
            }
            Change::Retain { keys, version } => {
                self.lists += 1;
                let outdated = &mut self.outdated;
                self.map.retain(|name, pod| {
                    let is_newer = version.is_older_than(pod.version());
                    keys.contains(&pod.key()) || (is_newer && !outdated.remove(name))
                });
            }
            Change::Restored => self.outdated = self.map.keys().cloned().collect(),
            Change::Progress(_) => {}
            Change::Skipped(odd) => {
                let key = odd.key.expect("its metadata parses");
                self.skipped.push(key.name.to_string());
            }
        }
    }

    fn notes(&self) -> Vec<Note> {
        let notes = self.notes.lock().expect("no panic elsewhere");
        notes.iter().map(|(_, note)| note.clone()).collect()
    }

    fn restarts(&self) -> Vec<RestartReason> {
        let reason = |note| match note {
            Note::Restarted(reason) => Some(reason),
            _ => None,
        };
        self.notes().into_iter().filter_map(reason).collect()
    }
}

fn names(names: &[&str]) -> SimKube {
    cluster(Options::default(), names)
}

fn cluster(options: Options, names: &[&str]) -> SimKube {
    let kube = SimKube::new(options);
    for name in names {
        kube.pod("default", name).create();
    }
    kube
}

/// All requests for pods as words: how they list, or where they watch from.
fn asked(kube: &SimKube) -> Vec<String> {
    let word = |record: &Record| {
        let parameter = |name: &str| {
            let mut pairs = record
                .query
                .split('&')
                .filter_map(|pair| pair.split_once('='));
            pairs
                .find(|pair| pair.0 == name)
                .map(|pair| pair.1.to_owned())
        };
        match parameter("watch") {
            None if parameter("continue").is_some() => "more".to_owned(),
            None if parameter("limit").as_deref() == Some("1") => "check".to_owned(),
            None => "list".to_owned(),
            Some(_) if parameter("sendInitialEvents").is_some() => "stream".to_owned(),
            Some(_) => format!("watch {}", parameter("resourceVersion").expect("a start")),
        }
    };
    kube.requests().iter().map(word).collect()
}

/// A plan of faults from two closures.
struct Plan<R, F>(R, F);

impl<R, F> simkube::Faults for Plan<R, F>
where
    R: Fn(&RequestInfo) -> Verdict + Send + Sync,
    F: Fn(&FrameInfo) -> FrameVerdict + Send + Sync,
{
    fn on_request(&self, request: &RequestInfo) -> Verdict {
        (self.0)(request)
    }

    fn on_frame(&self, frame: &FrameInfo) -> FrameVerdict {
        (self.1)(frame)
    }
}

fn pass(_: &RequestInfo) -> Verdict {
    Verdict::Pass
}

fn deliver(_: &FrameInfo) -> FrameVerdict {
    FrameVerdict::Deliver
}

type BoxedBody = UnsyncBoxBody<Bytes, tower::BoxError>;

/// simkube with a layer that answers some watches in its place: those that resume.
fn scripted(kube: &SimKube, bodies: Vec<String>) -> Client {
    let kube = kube.clone();
    let bodies = Arc::new(Mutex::new(VecDeque::from(bodies)));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (kube, bodies) = (kube.clone(), Arc::clone(&bodies));
        async move {
            let query = request.uri().query().unwrap_or_default();
            let body = if query.contains("resourceVersion=") {
                bodies.lock().expect("no panic elsewhere").pop_front()
            } else {
                None
            };
            if let Some(body) = body {
                let body: BoxedBody = Full::new(body.into()).map_err(Into::into).boxed_unsync();
                return Ok::<_, tower::BoxError>(Response::new(body));
            }
            let answer = kube.handle("", request).await?;
            Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
        }
    });
    Client::new(service, "default")
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_goes_on_as_a_watch() {
    let kube = names(&["a", "b"]);
    let mut watched = Watched::start(kube.client());
    watched.until(&["a", "b"]).await;
    kube.pod("default", "c").create();
    watched.until(&["a", "b", "c"]).await;
    kube.delete_pod("default", "a", 0);
    watched.until(&["b", "c"]).await;
    assert_eq!(asked(&kube), ["stream"]);
    assert_eq!(watched.restarts(), []);
}

#[tokio::test(start_paused = true)]
async fn one_namespace_with_selectors() {
    let kube = names(&["a"]);
    kube.namespace("other");
    kube.pod("other", "x").labels(&[("app", "x")]).create();
    kube.pod("other", "y").create();
    let selectors = Selectors {
        label: Some("app in (x, y)".into()),
        field: Some("status.phase!=Succeeded,status.phase!=Failed".into()),
    };
    let scope = Scope::Namespace("other".into());
    let mut watched = Watched::start_with(kube.client(), scope, selectors);
    watched.until(&["x"]).await;
    kube.set_phase("other", "x", "Failed");
    watched.until(&[]).await;
    assert_eq!(kube.requests()[0].path, "/api/v1/namespaces/other/pods");
}

#[tokio::test(start_paused = true)]
async fn a_server_without_streaming_lists_is_paged() {
    let options = Options {
        watch_list: false,
        ..Options::default()
    };
    let kube = cluster(options, &["a", "b"]);
    let mut watched = Watched::start(kube.client());
    watched.until(&["a", "b"]).await;
    kube.pod("default", "c").create();
    watched.until(&["a", "b", "c"]).await;
    assert_eq!(asked(&kube)[..2], ["stream", "list"]);
    assert_eq!(watched.notes()[0], Note::Refused);
    assert_eq!(watched.restarts(), [], "a refusal is no restart");
}

#[tokio::test(start_paused = true)]
async fn a_server_may_have_no_protobuf() {
    for (protobuf, watch_list, expected) in [
        (Protobuf::Served, true, &["stream"][..]),
        (Protobuf::Unknown, true, &["stream"]),
        (Protobuf::Refused, true, &["stream", "stream"]),
        (Protobuf::Served, false, &["stream", "list"]),
        (Protobuf::Unknown, false, &["stream", "list"]),
        (Protobuf::Refused, false, &["stream", "stream", "list"]),
    ] {
        let options = Options {
            protobuf,
            watch_list,
            ..Options::default()
        };
        let kube = cluster(options, &["a", "b"]);
        let mut watched = Watched::start(kube.client());
        watched.until(&["a", "b"]).await;
        kube.pod("default", "c").create();
        watched.until(&["a", "b", "c"]).await;
        let asked = asked(&kube);
        assert!(asked.starts_with(&expected.iter().map(ToString::to_string).collect::<Vec<_>>()));
        assert_eq!(watched.restarts(), [], "{protobuf:?}: asked again at once");
        let streams = asked.iter().filter(|word| *word == "stream").count();
        assert_eq!(streams, 1 + usize::from(protobuf == Protobuf::Refused));
    }
}

/// The first answer says that it is protobuf, and is not.
#[tokio::test(start_paused = true)]
async fn protobuf_that_makes_no_sense_is_asked_for_as_json() {
    let kube = names(&["a"]);
    let (inner, accepts) = (kube.clone(), Arc::new(Mutex::new(Vec::new())));
    let log = Arc::clone(&accepts);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (kube, log) = (inner.clone(), Arc::clone(&log));
        async move {
            let accept = request.headers()["accept"].to_str().unwrap_or_default();
            let is_protobuf = accept.contains("protobuf");
            log.lock().expect("no panic elsewhere").push(is_protobuf);
            if is_protobuf {
                let body = Full::new(Bytes::from_static(&[0xff; 64]));
                let body: BoxedBody = body.map_err(Into::into).boxed_unsync();
                let mut answer = Response::new(body);
                let kind = "application/vnd.kubernetes.protobuf;stream=watch";
                let kind = http::HeaderValue::from_static(kind);
                answer.headers_mut().insert("content-type", kind);
                return Ok::<_, tower::BoxError>(answer);
            }
            let answer = kube.handle("", request).await?;
            Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
        }
    });
    let mut watched = Watched::start(Client::new(service, "default"));
    watched.until(&["a"]).await;
    assert_eq!(*accepts.lock().expect("no panic elsewhere"), [true, false]);
    assert_eq!(watched.restarts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_continue_token_may_expire() {
    let options = Options {
        watch_list: false,
        ..Options::default()
    };
    let kube = SimKube::new(options);
    for number in 0..1_200 {
        kube.pod("default", &format!("p{number}")).create();
    }
    let inner = kube.clone();
    let forgetful = move |request: &RequestInfo| {
        // The second page of the first list comes too late, and one pod is gone by then.
        if request.verb == Verb::List && request.number == 2 {
            inner.delete_pod("default", "p0", 0);
            inner.compact_to_now();
        }
        Verdict::Pass
    };
    kube.set_faults(Arc::new(Plan(forgetful, deliver)));
    let mut watched = Watched::start(kube.client());
    watched.until_that(|watched| watched.lists == 1).await;
    assert_eq!(watched.map.len(), 1_199);
    assert!(!watched.map.contains_key("p0"));
    let lists = ["stream", "list", "more", "list", "more", "more"];
    assert_eq!(asked(&kube)[..6], lists);
    assert_eq!(watched.restarts(), [RestartReason::Gone]);
}

#[tokio::test(start_paused = true)]
async fn lost_history_is_made_up_for_by_a_new_list() {
    for expiry in [Expiry::Frame, Expiry::Status] {
        let options = Options {
            expiry,
            ..Options::default()
        };
        let kube = cluster(options, &["a", "b"]);
        let mut watched = Watched::start(kube.client());
        watched.until(&["a", "b"]).await;
        kube.break_watches(Kind::Pod);
        kube.delete_pod("default", "a", 0);
        kube.pod("default", "c").create();
        kube.compact_to_now();
        watched.until_that(|watched| watched.lists == 2).await;
        assert!(watched.map.keys().eq(&["b", "c"]), "{expiry:?}");
        assert_eq!(
            watched.restarts(),
            [RestartReason::Transport, RestartReason::Gone]
        );
        assert_eq!(asked(&kube).last().expect("requests"), "stream");
    }
}

/// An API server that is started again begins its history at the present version: the first watch
/// of a client that was there before is answered by 410.
fn restarts_after(kube: &SimKube, outage: Duration) -> Instant {
    let back = Instant::now() + outage;
    let down = move |_: &RequestInfo| {
        if Instant::now() < back {
            Verdict::Drop { applied: false }
        } else {
            Verdict::Pass
        }
    };
    kube.set_faults(Arc::new(Plan(down, deliver)));
    kube.break_watches(Kind::Pod);
    kube.compact_to_now();
    back
}

#[tokio::test(start_paused = true)]
async fn a_restarted_server_is_listed_at_once() {
    for expiry in [Expiry::Frame, Expiry::Status] {
        let options = Options {
            expiry,
            ..Options::default()
        };
        let kube = cluster(options, &["a"]);
        let mut watched = Watched::start(kube.client());
        watched.until(&["a"]).await;
        kube.service("default", "s").port("p", 80, 80).create();
        let back = restarts_after(&kube, Duration::from_secs(30));
        tokio::time::sleep_until(back).await;
        kube.clear_requests();
        kube.pod("default", "b").create();
        watched.until(&["a", "b"]).await;
        let took = back.elapsed();
        assert!(took <= Duration::from_secs(1), "{expiry:?}: {took:?}");

        let words = asked(&kube);
        assert_eq!((&*words[0], &*words[2]), ("check", "stream"), "{words:?}");
        let at = |at: usize| kube.requests()[at].at;
        assert_eq!(at(2) - at(1), Duration::ZERO, "{expiry:?}");
        assert_eq!(watched.restarts().last(), Some(&RestartReason::Gone));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_served_is_made_again_at_once_however_it_ended() {
    let kube = names(&["a"]);
    let mut watched = Watched::start(kube.client());
    watched.until(&["a"]).await;
    // Nothing comes but the end: what counts is the time.
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(20)).await;
        kube.break_watches(Kind::Pod);
        let cut = Instant::now();
        tokio::time::sleep(Duration::from_millis(1)).await;
        while kube.open_watches(Kind::Pod) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(
            cut.elapsed() <= Duration::from_millis(5),
            "{:?}",
            cut.elapsed()
        );
    }
    assert_eq!(watched.restarts(), [RestartReason::Transport; 3]);
}

/// It says nothing to a watch that resumes at a version of before.
#[tokio::test(start_paused = true)]
async fn a_restored_server_is_listed_from_zero() {
    for watch_list in [true, false] {
        let options = Options {
            watch_list,
            ..Options::default()
        };
        let kube = cluster(options, &["a", "b"]);
        let backup = kube.backup();
        let mut watched = Watched::start(kube.client());
        watched.until(&["a", "b"]).await;
        kube.pod("default", "c").create();
        kube.delete_pod("default", "a", 0);
        watched.until(&["b", "c"]).await;
        let restored = Instant::now();
        kube.restore(&backup);
        watched.until(&["a", "b"]).await;
        assert!(restored.elapsed() <= Duration::from_secs(2));
        kube.pod("default", "d").create();
        watched.until(&["a", "b", "d"]).await;
        assert_eq!(restored.elapsed().as_secs(), 1);
        let expected = [RestartReason::Transport, RestartReason::Restored];
        assert_eq!(watched.restarts(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn lists_are_timed() {
    let kube = names(&["a"]);
    let slow = |request: &RequestInfo| match request.number {
        0 => Verdict::Hang { applied: false },
        1 => Verdict::Delay {
            before: Duration::from_secs(2),
            after: Duration::ZERO,
        },
        _ => Verdict::Pass,
    };
    kube.set_faults(Arc::new(Plan(slow, deliver)));
    let mut watched = Watched::start(kube.client());
    watched.until(&["a"]).await;
    let notes = watched.notes();
    let lists: Vec<_> = notes
        .iter()
        .filter(|note| matches!(note, Note::Listed(_) | Note::ListTimedOut))
        .collect();
    let took = Duration::from_secs(2);
    assert_eq!(lists, [&Note::ListTimedOut, &Note::Listed(took)]);
}

#[tokio::test(start_paused = true)]
async fn a_bookmark_saves_a_list() {
    let kube = names(&["a"]);
    let mut watched = Watched::start(kube.client());
    watched.until(&["a"]).await;
    // Others write; the history that our last frame belongs to is forgotten.
    kube.service("default", "s").port("p", 80, 80).create();
    kube.compact_to_now();
    let now = kube.resource_version();
    loop {
        if let (Change::Progress(version), _) = watched.next().await {
            assert_eq!(version, Version::Number(now));
            break;
        }
    }
    kube.break_watches(Kind::Pod);
    kube.pod("default", "b").create();
    watched.until(&["a", "b"]).await;
    let expected = ["stream", "check", &format!("watch {now}")];
    assert_eq!(asked(&kube), expected);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_in_time_and_resumes() {
    let kube = names(&["a"]);
    let mut watched = Watched::start(kube.client());
    watched.until(&["a"]).await;
    tokio::time::sleep(60 * MINUTE).await;
    let restarts = watched.restarts();
    assert!((12..=14).contains(&restarts.len()), "{}", restarts.len());
    assert!(
        restarts
            .iter()
            .all(|reason| *reason == RestartReason::Closed)
    );
    let requests = asked(&kube);
    assert_eq!(requests.iter().filter(|word| *word == "stream").count(), 1);
    kube.pod("default", "b").create();
    watched.until(&["a", "b"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_waits_says_that_it_is_alive() {
    let kube = names(&["a"]);
    let mut watched = Watched::start(kube.client());
    watched.until(&["a"]).await;
    kube.set_deny(vec![Rule::new("", "pods", "")]);
    kube.break_watches(Kind::Pod);
    tokio::time::sleep(10 * MINUTE).await;
    let notes = watched.notes.lock().expect("no panic elsewhere").clone();
    for pair in notes.windows(2) {
        let gap = pair[1].0 - pair[0].0;
        assert!(
            gap <= Duration::from_millis(5_001),
            "{gap:?} before {pair:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn error_frames_are_waited_out() {
    let kube = names(&["a"]);
    let status = |code: u16, details: &serde_json::Value| {
        let object = json!({"kind": "Status", "code": code, "message": "why", "details": details});
        format!("{}\n", json!({"type": "ERROR", "object": object}))
    };
    let bodies = vec![
        status(429, &json!({"retryAfterSeconds": 7})),
        status(500, &json!(null)),
        status(504, &json!(null)),
        // Without a line feed at its end, which is nothing at all.
        status(500, &json!(null)).trim_end().to_owned(),
        "this is no JSON\n\n".to_owned(),
    ];
    let mut watched = Watched::start(scripted(&kube, bodies));
    watched.until(&["a"]).await;
    kube.break_watches(Kind::Pod);
    kube.pod("default", "b").create();
    let begun = Instant::now();
    while !watched.map.contains_key("b") {
        let (change, _) = watched.changes.recv().await.expect("the watch runs");
        if let Change::Skipped(odd) = &change {
            assert_eq!(odd.key, None);
        } else {
            watched.apply(change);
        }
    }
    assert!(begun.elapsed() > Duration::from_secs(7));
    assert!(begun.elapsed() < MINUTE);
    assert_eq!(
        watched.restarts(),
        [
            RestartReason::Transport,
            RestartReason::Error,
            RestartReason::Error,
            RestartReason::Timeout,
            RestartReason::Closed,
            RestartReason::Closed,
        ]
    );
    assert_eq!(watched.lists, 1, "resumed, not listed again");
}

#[tokio::test(start_paused = true)]
async fn frames_may_be_cut_anywhere() {
    for chunk in [1, 7, 1_000] {
        let options = Options {
            chunk: Some(chunk),
            ..Options::default()
        };
        let kube = cluster(options, &["a", "b"]);
        let mut watched = Watched::start(kube.client());
        watched.until(&["a", "b"]).await;
        kube.pod("default", "c").create();
        watched.until(&["a", "b", "c"]).await;
        assert_eq!(asked(&kube), ["stream"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_within_a_line_loses_nothing() {
    let kube = names(&["a"]);
    let mut watched = Watched::start(kube.client());
    watched.until(&["a"]).await;
    let cut = Mutex::new(Some(()));
    let once = move |_: &FrameInfo| match cut.lock().expect("no panic elsewhere").take() {
        Some(()) => FrameVerdict::Cut { bytes: 40 },
        None => FrameVerdict::Deliver,
    };
    kube.set_faults(Arc::new(Plan(pass, once)));
    kube.pod("default", "b").create();
    watched.until(&["a", "b"]).await;
    assert_eq!(watched.restarts(), [RestartReason::Transport]);
}

#[tokio::test(start_paused = true)]
async fn large_objects_and_unknown_fields_are_read() {
    let options = Options {
        chunk: Some(16 << 10),
        ..Options::default()
    };
    let kube = cluster(options, &[]);
    let large = |name: &str| {
        let pod = kube.pod("default", name);
        pod.with(|pod| {
            pod["spec"]["fieldOfTomorrow"] = json!({"a": [1, 2, {"b": null}]});
            pod["status"]["notes"] = json!("x\n\"{".repeat(300_000));
        })
        .create();
    };
    large("a");
    let mut watched = Watched::start(kube.client());
    watched.until(&["a"]).await;
    large("b");
    watched.until(&["a", "b"]).await;
    kube.pod("default", "c").create();
    watched.until(&["a", "b", "c"]).await;
    assert_eq!(watched.restarts(), []);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_does_not_parse_is_skipped() {
    for watch_list in [true, false] {
        let options = Options {
            watch_list,
            ..Options::default()
        };
        let kube = cluster(options, &["a"]);
        kube.pod("default", "odd1").node("odd").create();
        let mut watched = Watched::start(kube.client());
        watched.until(&["a"]).await;
        assert_eq!(watched.skipped, ["odd1"]);
        kube.pod("default", "odd2").node("odd").create();
        kube.pod("default", "b").create();
        watched.until(&["a", "b"]).await;
        assert_eq!(watched.skipped, ["odd1", "odd2"]);
        assert_eq!(watched.restarts(), []);
    }
}

/// A body that delivers the initial events, and then nothing and no end.
struct Silent {
    body: SimBody,
    synced: bool,
}

impl hyper::body::Body for Silent {
    type Data = Bytes;
    type Error = ConnectionReset;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionReset>>> {
        if self.synced {
            return Poll::Pending;
        }
        let poll = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &poll {
            let data = frame.data_ref().expect("a body of data");
            self.synced = String::from_utf8_lossy(data).contains("initial-events-end");
        }
        poll
    }
}

/// simkube behind something that loses all of the first watch after its initial events.
fn silenced(kube: &SimKube) -> Client {
    let kube = kube.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let kube = kube.clone();
        async move {
            let query = request.uri().query().unwrap_or_default();
            let resumed = query.contains("resourceVersion=");
            let answer = kube.handle("", request).await?;
            Ok::<_, ConnectionReset>(answer.map(|body| {
                if resumed {
                    body.boxed_unsync()
                } else {
                    let synced = false;
                    Silent { body, synced }.boxed_unsync()
                }
            }))
        }
    });
    Client::new(service, "default")
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_given_up() {
    let kube = names(&["a"]);
    let mut watched = Watched::start(silenced(&kube));
    watched.until(&["a"]).await;
    let begun = Instant::now();
    kube.pod("default", "b").create();
    watched.until(&["a", "b"]).await;
    // timeoutSeconds is 290 less 5 % at this jitter, and 5 s more are allowed.
    assert_eq!(begun.elapsed(), Duration::from_secs(275 + 5));
    assert_eq!(watched.restarts(), [RestartReason::Timeout]);
    assert_eq!(watched.lists, 1, "resumed, not listed again");
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_that_stalls_gives_way_to_pages() {
    let kube = names(&["a", "b"]);
    let stalled = |frame: &FrameInfo| match frame.name.as_str() {
        "b" => FrameVerdict::HoldUntil(Instant::now() + 60 * MINUTE),
        _ => FrameVerdict::Deliver,
    };
    kube.set_faults(Arc::new(Plan(pass, stalled)));
    let begun = Instant::now();
    let mut watched = Watched::start(kube.client());
    watched.until(&["a", "b"]).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(10));
    assert_eq!(asked(&kube)[..2], ["stream", "list"]);
    assert_eq!(watched.restarts(), [RestartReason::Timeout]);
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_is_waited_for() {
    let options = Options {
        deny: vec![Rule::new("", "pods", "")],
        ..Options::default()
    };
    let kube = cluster(options, &["a"]);
    let mut watched = Watched::start(kube.client());
    tokio::time::sleep(10 * MINUTE).await;
    let count = asked(&kube).len();
    assert!((60..200).contains(&count), "{count} requests");
    assert!(
        asked(&kube).iter().all(|word| word == "stream"),
        "no refusal"
    );
    let failed = watched.notes().into_iter().find_map(|note| match note {
        Note::Failed(class, text, _) => Some((class, text)),
        _ => None,
    });
    let (class, text) = failed.expect("a failure");
    assert_eq!(class, FailureClass::Forbidden);
    assert!(text.contains("pods is forbidden"), "{text}");

    kube.set_deny(Vec::new());
    let begun = Instant::now();
    watched.until(&["a"]).await;
    assert!(begun.elapsed() <= Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn the_receipt_is_when_the_bytes_came() {
    let kube = names(&["a"]);
    let mut watched = Watched::start(kube.client());
    watched.until(&["a"]).await;
    let begun = Instant::now();
    let late = begun + Duration::from_secs(3);
    let slow = move |_: &FrameInfo| FrameVerdict::HoldUntil(late);
    kube.set_faults(Arc::new(Plan(pass, slow)));
    kube.pod("default", "b").create();
    let (change, received) = watched.next().await;
    assert!(matches!(change, Change::Upsert(_)));
    assert_eq!(received, Moment(3_000_000));
}

#[tokio::test(start_paused = true)]
async fn a_long_list_lets_others_have_their_turn() {
    let kube = SimKube::new(Options::default());
    for number in 0..5_000 {
        kube.pod("default", &format!("p{number}")).create();
    }
    let mut watched = Watched::start(kube.client());
    let mut turns = 0;
    while watched.lists == 0 {
        tokio::task::yield_now().await;
        turns += 1;
        while let Ok((change, _)) = watched.changes.try_recv() {
            watched.apply(change);
        }
    }
    assert_eq!(watched.map.len(), 5_000);
    assert!(turns >= 5_000 / 256, "{turns} turns");
}
