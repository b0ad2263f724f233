//! The HTTP stack against real sockets on the loopback: real time, short intervals, and no sleep;
//! every test waits for what must happen.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use kube_client::{Client, Config};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, pki_types::PrivateKeyDer};
use zen_lead::logic::model::{Key, Meta, Object, Uid, Version as ResourceVersion};
use zen_lead::shell::api::{self, CallError, StreamError};
use zen_lead::shell::transport::{self, Tuning};

/// Far beyond every interval here: a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Deserialize)]
struct Thing {
    metadata: Meta,
}

impl Object for Thing {
    const RESOURCE: &'static str = "things";
    const API: &'static str = "/api/v1";

    fn key(&self) -> Key {
        self.metadata.key()
    }

    fn uid(&self) -> &Uid {
        &self.metadata.uid
    }

    fn version(&self) -> &ResourceVersion {
        &self.metadata.resource_version
    }
}

fn tuning() -> Tuning {
    Tuning {
        connect: Duration::from_millis(500),
        ping_interval: Duration::from_millis(200),
        ping_timeout: Duration::from_millis(300),
        ..Tuning::default()
    }
}

/// A server with a certificate of its own for `names`.
struct Server {
    address: SocketAddr,
    certificate: Vec<u8>,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

#[derive(Clone, Debug)]
struct Seen {
    version: Version,
    authorization: Option<String>,
}

/// Sends its line, if it has one, and then nothing, for ever.
struct Endless(Option<Bytes>);

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(line) => Poll::Ready(Some(Ok(Frame::data(line)))),
            None => Poll::Pending,
        }
    }
}

type Reply = http_body_util::combinators::BoxBody<Bytes, Infallible>;

async fn answer(request: Request<Incoming>) -> Result<Response<Reply>, Infallible> {
    let line = r#"{"type":"ADDED","object":{"metadata":{"name":"a","namespace":"n"}}}"#;
    let mut response = Response::new(Full::new(Bytes::from("{}")).boxed());
    match request.uri().path() {
        path if path.ends_with("/watch") => {
            *response.body_mut() = Endless(Some(format!("{line}\n").into())).boxed();
        }
        "/api/v1/hang" => std::future::pending().await,
        "/api/v1/busy" => {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            let seconds = http::HeaderValue::from_static("7");
            response.headers_mut().insert("retry-after", seconds);
        }
        _ => {}
    }
    Ok(response)
}

impl Server {
    async fn start(names: &[&str], protocols: &[&str]) -> Self {
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let mut tls = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .expect("a usable certificate");
        tls.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().into())
            .collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("a bound port");
        let connections = Arc::new(AtomicUsize::new(0));
        let requests = Arc::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(
            listener,
            TlsAcceptor::from(Arc::new(tls)),
            Arc::clone(&connections),
            Arc::clone(&requests),
        ));
        Self {
            address,
            certificate: certificate.to_vec(),
            connections,
            requests,
            _tasks: tasks,
        }
    }

    fn config(&self, address: SocketAddr) -> Config {
        let mut config = Config::new(format!("https://{address}").parse().expect("a valid URL"));
        config.root_cert = Some(vec![self.certificate.clone()]);
        config
    }

    fn client(&self) -> Client {
        transport::client(self.config(self.address), &tuning()).expect("a client")
    }

    fn seen(&self) -> Vec<Seen> {
        self.requests.lock().expect("no panic elsewhere").clone()
    }
}

async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<Seen>>>,
) {
    let mut tasks = JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.expect("a connection");
        connections.fetch_add(1, Ordering::SeqCst);
        let (tls, requests) = (tls.clone(), Arc::clone(&requests));
        tasks.spawn(async move {
            let Ok(stream) = tls.accept(tcp).await else {
                return;
            };
            let service = service_fn(move |request: Request<Incoming>| {
                let authorization = request.headers().get("authorization");
                let authorization = authorization.and_then(|value| value.to_str().ok());
                requests.lock().expect("no panic elsewhere").push(Seen {
                    version: request.version(),
                    authorization: authorization.map(str::to_owned),
                });
                answer(request)
            });
            // The client may leave as it likes.
            let mut builder = auto::Builder::new(TokioExecutor::new());
            let streams = u32::try_from(transport::STREAMS_MAX).expect("small");
            builder.http2().max_concurrent_streams(streams);
            builder
                .serve_connection(TokioIo::new(stream), service)
                .await
                .ok();
        });
    }
}

/// Forwards bytes until it is frozen: from then on it forwards nothing and accepts no connection, but
/// closes nothing either, like a peer that hangs while its kernel lives.
struct Relay {
    address: SocketAddr,
    /// Closed when frozen; it never gives a permit.
    thaw: Arc<Semaphore>,
    _tasks: JoinSet<()>,
}

impl Relay {
    async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("a bound port");
        let thaw = Arc::new(Semaphore::new(0));
        let frozen = Arc::clone(&thaw);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut pumps = JoinSet::new();
            while let Some(Ok((near, _))) = unless(&frozen, listener.accept()).await {
                let far = TcpStream::connect(target).await.expect("the server");
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                pumps.spawn(pump(near_read, far_write, Arc::clone(&frozen)));
                pumps.spawn(pump(far_read, near_write, Arc::clone(&frozen)));
            }
            // Keeps the listener and all sockets open.
            std::future::pending::<()>().await;
        });
        Self {
            address,
            thaw,
            _tasks: tasks,
        }
    }

    fn freeze(&self) {
        self.thaw.close();
    }
}

async fn unless<F: Future>(frozen: &Semaphore, future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        _ = frozen.acquire() => None,
        output = future => Some(output),
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, frozen: Arc<Semaphore>) {
    let mut buffer = vec![0; 16 << 10];
    while let Some(Ok(count)) = unless(&frozen, from.read(&mut buffer)).await {
        if count == 0 || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    std::future::pending::<()>().await;
}

async fn get(client: &Client, path: &str) -> Result<api::Answer, CallError> {
    api::unary(client, api::get(path.to_owned()), PATIENCE).await
}

async fn watch(client: &Client) -> api::Frames<Thing> {
    watch_at(client, "/api/v1/watch".to_owned()).await
}

async fn watch_at(client: &Client, path: String) -> api::Frames<Thing> {
    let mut lines = api::open::<Thing>(client, api::get(path), PATIENCE)
        .await
        .expect("a stream");
    let first = lines.next_frame().await.expect("a frame");
    assert!(first.is_some());
    lines
}

#[tokio::test]
async fn one_http2_connection_carries_everything() {
    let server = Server::start(&["127.0.0.1"], &["h2", "http/1.1"]).await;
    let client = server.client();
    let _open = watch(&client).await;
    let mut calls = JoinSet::new();
    for _ in 0..64 {
        let client = client.clone();
        calls.spawn(async move { get(&client, "/api/v1/things").await });
    }
    while let Some(call) = calls.join_next().await {
        assert_eq!(call.expect("no panic").expect("an answer").status, 200);
    }
    let seen = server.seen();
    assert_eq!(seen.len(), 65);
    assert!(seen.iter().all(|seen| seen.version == Version::HTTP_2));
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

/// A server takes so many requests at once on a connection, and watches never end: those of many
/// namespaces need several.
#[tokio::test]
async fn watches_of_many_namespaces_are_all_opened() {
    let server = Server::start(&["127.0.0.1"], &["h2"]).await;
    let client = server.client();
    let mut open = Vec::new();
    for number in 0..transport::STREAMS_MAX {
        open.push(watch_at(&client, format!("/{number}/watch")).await);
    }
    let limit = Duration::from_millis(300);
    let late = api::unary(&client, api::get("/api/v1/things".to_owned()), limit).await;
    assert_eq!(late.expect_err("no room"), CallError::Timeout(limit));
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);

    let config = server.config(server.address);
    let client = transport::watching(config, &tuning(), 50).expect("a client");
    for number in 0..3 * 50 {
        open.push(watch_at(&client, format!("/{number}/watch")).await);
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1 + 5);
}

#[tokio::test]
async fn http1_is_the_fallback() {
    let server = Server::start(&["127.0.0.1"], &["http/1.1"]).await;
    let client = server.client();
    let _open = watch(&client).await;
    get(&client, "/api/v1/things").await.expect("an answer");
    let seen = server.seen();
    assert!(seen.iter().all(|seen| seen.version == Version::HTTP_11));
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn nothing_is_retried_in_silence() {
    let server = Server::start(&["127.0.0.1"], &["h2"]).await;
    let answer = get(&server.client(), "/api/v1/busy").await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn the_server_name_may_differ_from_the_address() {
    let server = Server::start(&["api.internal"], &["h2"]).await;
    let error = get(&server.client(), "/api/v1/things").await;
    let error = error.expect_err("the certificate is for another name");
    assert!(error.to_string().contains("certificate"), "{error}");

    let mut config = server.config(server.address);
    config.tls_server_name = Some("api.internal".into());
    let client = transport::client(config, &tuning()).expect("a client");
    get(&client, "/api/v1/things").await.expect("an answer");
}

#[tokio::test]
async fn a_token_from_a_file_goes_along() {
    let server = Server::start(&["127.0.0.1"], &["h2"]).await;
    let path = std::env::temp_dir().join(format!("zen-lead-token-{}", std::process::id()));
    std::fs::write(&path, "secret").expect("a file");
    let mut config = server.config(server.address);
    config.auth_info.token_file = Some(path.to_string_lossy().into_owned());
    let client = transport::client(config, &tuning()).expect("a client");
    get(&client, "/api/v1/things").await.expect("an answer");
    std::fs::remove_file(&path).expect("our own file");
    let seen = server.seen();
    assert_eq!(seen[0].authorization.as_deref(), Some("Bearer secret"));
}

#[tokio::test]
async fn a_dead_peer_is_noticed() {
    let server = Server::start(&["127.0.0.1"], &["h2"]).await;
    let relay = Relay::start(server.address).await;
    let config = server.config(relay.address);
    let client = transport::client(config.clone(), &tuning()).expect("a client");
    let mut lines = watch(&client).await;

    relay.freeze();
    let frozen = Instant::now();
    let (end, call) = tokio::time::timeout(PATIENCE, async {
        tokio::join!(lines.next_frame(), get(&client, "/api/v1/hang"))
    })
    .await
    .expect("the pings notice long before");
    assert!(matches!(end, Err(StreamError::Transport(_))), "{end:?}");
    assert!(matches!(call, Err(CallError::Transport(_))), "{call:?}");
    // Ping interval and time-out are half a second together; the rest is a slow machine.
    assert!(frozen.elapsed() < Duration::from_secs(5));

    // A new connection gets as far as the kernel; the handshake has a limit of its own.
    let begun = Instant::now();
    let call = get(&client, "/api/v1/things").await;
    assert!(matches!(call, Err(CallError::Transport(_))), "{call:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_refused_connection_is_an_error_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("a bound port");
    drop(listener);
    let config = Config::new(format!("http://{address}").parse().expect("a valid URL"));
    let client = transport::client(config, &tuning()).expect("a client");
    let error = get(&client, "/api/v1/things").await.expect_err("no server");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_timeout() {
    let server = Server::start(&["127.0.0.1"], &["h2"]).await;
    let client = server.client();
    let limit = Duration::from_millis(300);
    let call = api::unary(&client, api::get("/api/v1/hang".to_owned()), limit).await;
    assert_eq!(call.expect_err("no answer"), CallError::Timeout(limit));
    get(&client, "/api/v1/things")
        .await
        .expect("the connection lives");
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}
