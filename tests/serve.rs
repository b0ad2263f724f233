//! The HTTP side on real loopback sockets: every path, what is refused, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zen_lead::config::Bind;
use zen_lead::logic::model::Key;
use zen_lead::logic::names::State;
use zen_lead::logic::time::{Moment, Now};
use zen_lead::metrics::{CONTENT_TYPE, Figures, Metrics};
use zen_lead::shell::serve::{
    BoundAddresses, Gate, Handlers, Health, Listeners, Readiness, ServeError, serve, spawn,
};
use zen_lead::status_page::{FollowersShown, LeaderChange, Row, StatusPage};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server on free ports, and a clock that moves by hand.
struct Server {
    at: BoundAddresses,
    clock: Arc<AtomicI64>,
    handlers: Handlers,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServeError>>,
}

fn loopback() -> Bind {
    Bind::At(([127, 0, 0, 1], 0).into())
}

fn handlers() -> (Handlers, Arc<AtomicI64>) {
    let clock = Arc::new(AtomicI64::new(1_000_000));
    let moment = Arc::clone(&clock);
    let handlers = Handlers {
        metrics: Arc::new(Metrics::new(500)),
        health: Arc::new(Health::new(Moment(1_000_000))),
        readiness: Arc::default(),
        board: Some(Arc::new(StatusPage::new(17))),
        explain: Arc::new(|key: &Key| {
            (&*key.name == "web").then(|| json!({ "service": key.to_string(), "leader": "web-0" }))
        }),
        clock: Arc::new(move || Now {
            moment: Moment(moment.load(Relaxed)),
            wall: jiff::Timestamp::UNIX_EPOCH,
        }),
        collection_timeout: Duration::from_secs(5),
    };
    (handlers, clock)
}

fn start_with(handlers: Handlers, clock: Arc<AtomicI64>) -> Server {
    let listeners =
        Listeners::bind(Some(loopback()), Some(loopback()), Some(loopback())).expect("free ports");
    let at = listeners.addresses();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async {
        let _ = stopped.await;
    };
    let task = tokio::spawn(serve(listeners, handlers.clone(), shutdown));
    Server {
        at,
        clock,
        handlers,
        stop,
        task,
    }
}

fn start() -> Server {
    let (handlers, clock) = handlers();
    start_with(handlers, clock)
}

impl Server {
    fn metrics(&self) -> SocketAddr {
        self.at.metrics.expect("bound")
    }

    fn probes(&self) -> SocketAddr {
        self.at.probes.expect("bound")
    }

    fn debug(&self) -> SocketAddr {
        self.at.debug.expect("bound")
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        let ended = timeout(PATIENCE, self.task).await.expect("it ends");
        ended.expect("no panic").expect("no error");
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// All that comes until the server closes the connection.
async fn raw(at: SocketAddr, request: String) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(at).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut text = Vec::new();
        // A connection that is cut may end in a reset; what came before counts.
        let _ = stream.read_to_end(&mut text).await;
        String::from_utf8(text).expect("text")
    };
    timeout(PATIENCE, exchange).await.expect("in time")
}

async fn send(at: SocketAddr, request: String) -> Answer {
    let text = raw(at, request).await;
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status");
    Answer {
        status: status.parse().expect("a number"),
        head: head.to_ascii_lowercase(),
        body: body.into(),
    }
}

async fn get(at: SocketAddr, path: &str) -> Answer {
    send(
        at,
        format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
    )
    .await
}

async fn status_and_body(at: SocketAddr, path: &str) -> (u16, String) {
    let answer = get(at, path).await;
    (answer.status, answer.body)
}

fn is(status: u16, body: &str) -> (u16, String) {
    (status, body.to_owned())
}

#[tokio::test]
async fn probes_say_why() {
    let server = start();
    let probes = server.probes();
    assert_eq!(status_and_body(probes, "/healthz").await, is(200, "ok\n"));
    assert_eq!(
        status_and_body(probes, "/readyz").await,
        is(503, "starting\n")
    );

    let gate: Gate = server.handlers.readiness.gate("pods");
    assert_eq!(
        status_and_body(probes, "/readyz").await,
        is(503, "waiting for pods\n")
    );
    gate.open();
    assert_eq!(status_and_body(probes, "/readyz").await, is(200, "ok\n"));

    let _heart = server.handlers.health.task("lease", Moment(1_000_000));
    for second in (2..=40).step_by(4) {
        server.clock.store(second * 1_000_000, Relaxed);
        get(probes, "/healthz").await;
    }
    assert_eq!(
        status_and_body(probes, "/healthz").await,
        is(503, "not running: lease for 37 s\n")
    );
    // The process stood still for an hour: no task is blamed at once.
    server.clock.fetch_add(3_600_000_000, Relaxed);
    assert_eq!(status_and_body(probes, "/healthz").await, is(200, "ok\n"));
    assert_eq!(
        status_and_body(probes, "/").await,
        is(404, "here are /healthz and /readyz\n")
    );
    server.stop().await;
}

#[tokio::test]
async fn metrics_are_one_open_metrics_text() {
    let server = start();
    server.handlers.metrics.active(true);
    let answer = get(server.metrics(), "/metrics").await;
    assert_eq!(answer.status, 200);
    let expected = format!("content-type: {CONTENT_TYPE}");
    assert!(answer.head.contains(&expected), "{}", answer.head);
    let length = format!("content-length: {}", answer.body.len());
    assert!(answer.head.contains(&length), "{}", answer.head);
    assert!(answer.body.contains("\nzen_lead_is_active 1\n"));
    assert!(answer.body.ends_with("# EOF\n"));
    assert_eq!(get(server.metrics(), "/healthz").await.status, 404);
    server.stop().await;
}

/// Chunked transfer, undone.
fn dechunked(body: &str) -> String {
    let (mut rest, mut text) = (body, String::new());
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            return text;
        }
        text.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    panic!("the text ends before its end");
}

fn crowd(metrics: &Metrics, services: usize) {
    for i in 0..services {
        let stats = metrics.service(&Key::new("n", format!("s{i:05}")));
        stats.decided(&Figures {
            state: State::Electing,
            pods_available: 0,
            leader: None,
            leader_service: true,
            slices: 1,
            guarded: false,
            followers: None,
            follow: None,
        });
    }
}

#[tokio::test]
async fn a_large_scrape_is_sent_in_pieces() {
    let server = start();
    server.handlers.metrics.active(true);
    crowd(&server.handlers.metrics, 2_000);
    let answer = get(server.metrics(), "/metrics").await;
    assert!(answer.head.contains("transfer-encoding: chunked"));
    let text = dechunked(&answer.body);
    let now = (server.handlers.clock)();
    let expected = server.handlers.metrics.encode(now);
    let stable = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with("process_"));
        lines.map(String::from).collect()
    };
    assert_eq!(stable(&text), stable(&expected));
    server.stop().await;
}

/// A clock that a scrape finds a second later at each look.
fn hurried(handlers: &mut Handlers, clock: &Arc<AtomicI64>) {
    let moment = Arc::clone(clock);
    handlers.clock = Arc::new(move || Now {
        moment: Moment(moment.fetch_add(1_500_000, Relaxed)),
        wall: jiff::Timestamp::UNIX_EPOCH,
    });
}

#[tokio::test]
async fn a_slow_scrape_is_no_half_truth() {
    let (mut handlers, clock) = handlers();
    handlers.collection_timeout = Duration::from_secs(1);
    hurried(&mut handlers, &clock);
    let server = start_with(handlers, clock);
    let answer = get(server.metrics(), "/metrics").await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.body,
        "collecting took longer than --metrics-collection-timeout-seconds\n"
    );
    server.stop().await;

    // Later than that, the connection is cut, whatever was sent of it.
    let (mut handlers, clock) = self::handlers();
    handlers.collection_timeout = Duration::from_secs(2);
    handlers.metrics.active(true);
    crowd(&handlers.metrics, 5_000);
    hurried(&mut handlers, &clock);
    let metrics = Arc::clone(&handlers.metrics);
    let server = start_with(handlers, clock);
    let request = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
    let text = raw(server.metrics(), request.into()).await;
    assert!(!text.contains("# EOF"));
    let text = metrics.encode((server.handlers.clock)());
    let counted =
        "zen_lead_timeout_occurrences_total{namespace=\"\",operation=\"metrics_collection\"} 1";
    assert!(text.contains(counted));
    server.stop().await;
}

#[tokio::test]
async fn debug_state() {
    let server = start();
    crowd(&server.handlers.metrics, 2);
    let (status, body) = status_and_body(server.debug(), "/debug/state").await;
    let list: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(status, 200);
    assert_eq!(
        list,
        json!({"services": [
            {"service": "n/s00000", "state": "Electing"},
            {"service": "n/s00001", "state": "Electing"},
        ]})
    );
    for path in ["?service=n/web", "?a=b&service=n%2Fweb"] {
        let (status, body) = status_and_body(server.debug(), &format!("/debug/state{path}")).await;
        assert_eq!(status, 200);
        let state: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(state["leader"], "web-0");
    }
    assert_eq!(
        status_and_body(server.debug(), "/debug/state?service=n/x").await,
        is(
            404,
            "n/x is not known here; /debug/state lists the Services that are\n"
        )
    );
    assert_eq!(
        status_and_body(server.debug(), "/debug/state?service=web").await,
        is(400, "expected ?service=<namespace>/<name>\n")
    );
    server.stop().await;
}

#[tokio::test]
async fn other_methods_are_refused_and_head_is_short() {
    let server = start();
    let request = |method| {
        format!(
            "{method} /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        )
    };
    let answer = send(server.probes(), request("POST")).await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (405, "only GET and HEAD\n")
    );
    assert!(answer.head.contains("allow: get, head"));
    let answer = send(server.probes(), request("HEAD")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    let answer = send(server.probes(), "nonsense\r\n\r\n".into()).await;
    assert_eq!(answer.status, 400);
    server.stop().await;
}

/// Waits for real time: a client that sends nothing is dropped after five seconds, and so is one
/// that keeps its connection without a further request.
#[tokio::test]
async fn silent_clients_are_dropped() {
    let server = start();
    let at = server.probes();
    let silent = async {
        let mut stream = TcpStream::connect(at).await.expect("a connection");
        stream.write_all(b"GET /hea").await.expect("sent");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    };
    let idle = async {
        let mut stream = TcpStream::connect(at).await.expect("a connection");
        let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
        stream.write_all(request).await.expect("sent");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    };
    let both = async { tokio::join!(silent, idle) };
    timeout(PATIENCE, both).await.expect("both are dropped");
    server.stop().await;
}

#[tokio::test]
async fn connections_are_bounded_and_the_next_one_waits() {
    let server = start();
    let at = server.probes();
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(TcpStream::connect(at).await.expect("a connection"));
    }
    let mut late = TcpStream::connect(at).await.expect("the kernel's queue");
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    late.write_all(request).await.expect("sent");
    let mut answer = Vec::new();
    let early = timeout(Duration::from_millis(300), late.read_to_end(&mut answer)).await;
    assert!(early.is_err(), "all places are taken");
    held.pop();
    let read = timeout(PATIENCE, late.read_to_end(&mut answer)).await;
    read.expect("in time").expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    // The clients of the other ports are still served.
    assert_eq!(get(server.metrics(), "/metrics").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn an_address_in_use_is_one_clear_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = Bind::At(taken.local_addr().expect("an address"));
    let error = Listeners::bind(None, Some(address), None).expect_err("it is taken");
    let expected = format!("--health-probe-bind-address: cannot listen on {address}: Address");
    assert!(error.to_string().starts_with(&expected), "{error}");

    let everywhere = std::net::TcpListener::bind("[::]:0").expect("a free port");
    let port = everywhere.local_addr().expect("an address").port();
    let error = Listeners::bind(Some(Bind::All(port)), None, None).expect_err("it is taken");
    let expected = format!("--metrics-bind-address: cannot listen on :{port}: Address");
    assert!(error.to_string().starts_with(&expected), "{error}");
}

/// §6: of the debug port it is a warning, and the others are served.
#[tokio::test]
async fn a_debug_address_in_use_ends_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = Bind::At(taken.local_addr().expect("an address"));
    let listeners = Listeners::bind(Some(loopback()), Some(loopback()), Some(address));
    let at = listeners.expect("it is a warning").addresses();
    assert!(at.metrics.is_some() && at.probes.is_some(), "{at:?}");
    assert_eq!(at.debug, None);
}

#[tokio::test]
async fn all_interfaces_means_both_families() {
    let listeners = Listeners::bind(None, Some(Bind::All(0)), None).expect("a free port");
    let port = listeners.addresses().probes.expect("bound").port();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    let task = tokio::spawn(serve(listeners, handlers().0, shutdown));
    let v4 = get(([127, 0, 0, 1], port).into(), "/healthz").await;
    assert_eq!(v4.status, 200);
    if let Ok(_stream) = TcpStream::connect(("::1", port)).await {
        let v6: SocketAddr = format!("[::1]:{port}").parse().expect("an address");
        assert_eq!(get(v6, "/healthz").await.status, 200);
    }
    drop(stop);
    let ended = timeout(PATIENCE, task).await.expect("it ends");
    ended.expect("no panic").expect("no error");
}

/// On its own thread, as in the binary; it ends in time although a client just sits there.
#[test]
fn a_thread_of_its_own() {
    let listeners = Listeners::bind(Some(loopback()), Some(loopback()), None).expect("free ports");
    let at = listeners.addresses();
    assert_eq!(at.debug, None);
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    let thread = spawn(listeners, handlers().0, shutdown).expect("a thread");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let _sitting = runtime.block_on(async {
        let answer = get(at.probes.expect("bound"), "/healthz").await;
        assert_eq!(answer.status, 200);
        TcpStream::connect(at.metrics.expect("bound")).await
    });
    stop.send(()).expect("it listens");
    thread.join().expect("no panic");
    let again = std::net::TcpListener::bind(at.probes.expect("bound"));
    assert!(again.is_ok(), "the address is free again");
}

#[test]
fn readiness_without_gates_is_not_ready() {
    assert!(Readiness::default().check().is_err());
}

fn row(leader: &str) -> Row {
    Row {
        state: "Serving",
        leader_service: Some("web-leader".into()),
        leader: Some(leader.into()),
        since: Some(jiff::Timestamp::UNIX_EPOCH),
        available: 2,
        pods: 3,
        follow: None,
        followers: Some(FollowersShown {
            service: "web-ro".into(),
            pods: 1,
        }),
    }
}

/// An open status page.
struct Page {
    stream: TcpStream,
    text: String,
}

impl Page {
    async fn open(at: SocketAddr, last_id: &str) -> Self {
        let mut stream = TcpStream::connect(at).await.expect("a connection");
        let request =
            format!("GET /status/stream HTTP/1.1\r\nhost: x\r\nlast-event-id: {last_id}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        Self {
            stream,
            text: String::new(),
        }
    }

    /// Reads on until that has come.
    async fn until(&mut self, expected: &str) -> &str {
        let read = async {
            while !self.text.contains(expected) {
                let mut piece = [0; 4096];
                let length = self.stream.read(&mut piece).await.expect("a piece");
                assert!(length > 0, "no {expected} in {}", self.text);
                let piece = std::str::from_utf8(&piece[..length]).expect("text");
                self.text.push_str(piece);
            }
        };
        timeout(PATIENCE, read).await.expect("in time");
        &self.text
    }
}

#[tokio::test]
async fn the_status_page_is_one_file_that_loads_nothing() {
    let server = start();
    let page = get(server.metrics(), "/").await;
    assert_eq!(page.status, 200);
    assert!(
        page.head
            .contains("content-security-policy: default-src 'none'")
    );
    assert!(page.body.contains("<!doctype html>") && page.body.contains("status/stream"));
    assert!(!page.body.contains("://"), "nothing from elsewhere");
    assert!(
        !page.body.contains("innerHTML"),
        "names are text, never markup"
    );
    server.stop().await;

    let (mut handlers, clock) = handlers();
    handlers.board = None;
    let server = start_with(handlers, clock);
    for path in ["/", "/status/stream"] {
        assert_eq!(get(server.metrics(), path).await.status, 404, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_status_page_shows_a_failover_and_resumes() {
    let server = start();
    let board = server.handlers.board.clone().expect("given");
    let web = Key::new("shop", "web");
    board.show(&web, row("web-0"), None);
    let mut page = Page::open(server.metrics(), "").await;
    page.until("event: beat").await;
    page.until(r#""leader":"web-0""#).await;
    page.until(r#""followers":{"service":"web-ro","pods":1}"#)
        .await;
    let change = LeaderChange {
        at: jiff::Timestamp::UNIX_EPOCH,
        from: Some("web-0".into()),
        to: Some("web-1".into()),
        reason: "notReady",
        took_ms: 3.1,
    };
    board.show(&web, row("web-1"), Some(change));
    page.until(r#""reason":"notReady","tookMs":3.1"#).await;
    assert!(page.until("id: 17-2\n").await.contains(r#""reset":false"#));

    // What it has is not sent again; a Service that left is.
    let mut again = Page::open(server.metrics(), "17-2").await;
    again.until("event: beat").await;
    board.forget(&web);
    let text = again.until(r#""gone":["shop/web"]"#).await;
    assert!(!text.contains("web-1"), "{text}");
    // The numbers of another process mean nothing.
    let mut other = Page::open(server.metrics(), "16-2").await;
    other.until(r#""reset":true"#).await;
    server.stop().await;
}

#[tokio::test]
async fn status_pages_are_bounded_and_a_scrape_finds_a_place() {
    let server = start();
    let mut pages = Vec::new();
    for _ in 0..16 {
        let mut page = Page::open(server.metrics(), "").await;
        page.until("event: beat").await;
        pages.push(page);
    }
    assert_eq!(get(server.metrics(), "/status/stream").await.status, 503);
    assert_eq!(get(server.metrics(), "/metrics").await.status, 200);
    server.stop().await;
    for page in &mut pages {
        let mut rest = Vec::new();
        let read = page.stream.read_to_end(&mut rest);
        timeout(PATIENCE, read)
            .await
            .expect("it ends")
            .expect("cleanly");
        let rest = String::from_utf8(rest).expect("text");
        assert!(rest.ends_with("0\r\n\r\n"), "the last chunk: {rest:?}");
    }
}
