//! The HTTP side: `/metrics`, the status page, `/healthz` and `/readyz`, and `/debug/state` on
//! loopback.
//!
//! Runs on a thread of its own with a runtime of its own, so that a scrape of 10,000 Services never
//! stands in a failover's way. Reads shared atomics and what it is handed; changes nothing.

mod health;
mod live;
mod reply;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};
use tracing::{debug, warn};

use crate::config::Bind;
use crate::logic::model::Key;
use crate::logic::time::Now;
use crate::metrics::Metrics;
use crate::status_page::StatusPage;
pub use health::{Gate, Health, Heartbeat, Readiness};

/// Connections of one port at a time. A kubelet needs one, a scraper one or two; the rest waits in
/// the kernel's queue until an idle one is closed.
const CONNECTIONS_MAX: usize = 64;

/// A client has to send its request within this time, and an idle connection is closed after it.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection takes no further request after this time: no client holds a place indefinitely.
const CONNECTION_AGE_MAX: Duration = Duration::from_mins(1);

/// So much longer than a scrape may take, a client has to read the last answer.
const READ_SLACK: Duration = Duration::from_secs(10);

/// Bound of a request's head: probes and scrapers send a few hundred bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The whole process has two seconds to end; requests in flight get one of them.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// How often the watchdog looks at the clock.
const TICK: Duration = Duration::from_secs(1);

/// Why nothing is served.
#[derive(Debug, Error)]
pub enum ServeError {
    /// An address cannot be used.
    #[error("--{flag}: cannot listen on {address}: {source}")]
    Bind {
        /// The flag that named it.
        flag: &'static str,
        /// The address as it was given.
        address: Bind,
        /// What the system said.
        source: io::Error,
    },
    /// The thread or its runtime could not be started.
    #[error("cannot start the server thread: {0}")]
    Thread(#[source] io::Error),
}

/// What is served on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Surface {
    Metrics,
    Probes,
    Debug,
}

/// Bound sockets, not served yet. Dropping them gives the addresses back.
#[derive(Debug)]
pub struct Listeners(Vec<(Surface, std::net::TcpListener)>);

/// Where the listeners really are: port 0 is any free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundAddresses {
    /// Of `/metrics`.
    pub metrics: Option<SocketAddr>,
    /// Of `/healthz` and `/readyz`.
    pub probes: Option<SocketAddr>,
    /// Of `/debug/state`.
    pub debug: Option<SocketAddr>,
}

impl Listeners {
    /// Binds what is to be served; `None` is served nowhere. If the address of `/debug/state` cannot be
    /// had, a warning says so and the rest is served: no probe and no scrape depends on it.
    ///
    /// # Errors
    ///
    /// When another address cannot be had.
    pub fn bind(
        metrics: Option<Bind>,
        probes: Option<Bind>,
        debug: Option<Bind>,
    ) -> Result<Self, ServeError> {
        let mut listeners = Vec::new();
        for (port, flag, address) in [
            (Surface::Metrics, "metrics-bind-address", metrics),
            (Surface::Probes, "health-probe-bind-address", probes),
            (Surface::Debug, "debug-bind-address", debug),
        ] {
            let Some(address) = address else { continue };
            let listener = listen(address).map_err(|source| ServeError::Bind {
                flag,
                address,
                source,
            });
            match listener {
                Ok(listener) => listeners.push((port, listener)),
                Err(why) if port == Surface::Debug => warn!("{why}; /debug/state is not served"),
                Err(why) => return Err(why),
            }
        }
        Ok(Self(listeners))
    }

    /// Where they are.
    #[must_use]
    pub fn addresses(&self) -> BoundAddresses {
        let of = |port| {
            let (_, listener) = self.0.iter().find(|(other, _)| *other == port)?;
            listener.local_addr().ok()
        };
        BoundAddresses {
            metrics: of(Surface::Metrics),
            probes: of(Surface::Probes),
            debug: of(Surface::Debug),
        }
    }
}

/// The first candidate that works. "In use" is final: the second candidate would only hide it.
fn listen(address: Bind) -> io::Result<std::net::TcpListener> {
    let mut result = Err(io::ErrorKind::AddrNotAvailable.into());
    for candidate in address.candidates() {
        result = std::net::TcpListener::bind(candidate);
        match &result {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {}
            _ => break,
        }
    }
    let listener = result?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Reads both clocks.
pub type ReadClocks = Arc<dyn Fn() -> Now + Send + Sync>;

/// Everything that is known about one Service, for people.
pub type Explain = Arc<dyn Fn(&Key) -> Option<Value> + Send + Sync>;

/// What the server answers from.
#[derive(Clone)]
pub struct Handlers {
    /// For `/metrics`, and for the list of Services in `/debug/state`.
    pub metrics: Arc<Metrics>,
    /// For `/healthz`.
    pub health: Arc<Health>,
    /// For `/readyz`.
    pub readiness: Arc<Readiness>,
    /// For the status page; `None` serves none.
    pub board: Option<Arc<StatusPage>>,
    /// For `/debug/state?service=…`.
    pub explain: Explain,
    /// The clocks.
    pub clock: ReadClocks,
    /// How long a scrape may take.
    pub collection_timeout: Duration,
}

/// What every connection is served from.
struct ConnectionState {
    handlers: Handlers,
    /// Never gives a permit: its closing tells every connection to end.
    closing: Semaphore,
    /// Places for pages that are open.
    pages: Arc<Semaphore>,
}

/// Serves on a thread of its own until `shutdown` is done and requests in flight had a second.
pub fn spawn(
    listeners: Listeners,
    handlers: Handlers,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ServeError::Thread)?;
    std::thread::Builder::new()
        .name("serve".into())
        .spawn(move || {
            if let Err(error) = runtime.block_on(serve(listeners, handlers, shutdown)) {
                warn!(%error, "nothing is served");
            }
        })
        .map_err(ServeError::Thread)
}

/// Serves until `shutdown` is done and requests in flight had a second.
pub async fn serve(
    listeners: Listeners,
    handlers: Handlers,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let served = Arc::new(ConnectionState {
        handlers,
        closing: Semaphore::new(0),
        pages: Arc::new(Semaphore::new(live::PAGES_MAX)),
    });
    let mut ports = JoinSet::new();
    for (port, listener) in listeners.0 {
        let listener = TcpListener::from_std(listener).map_err(ServeError::Thread)?;
        ports.spawn(accept(port, listener, Arc::clone(&served)));
    }
    let watchdog = async {
        let mut ticks = interval(TICK);
        loop {
            ticks.tick().await;
            let handlers = &served.handlers;
            handlers.health.tick((handlers.clock)().moment);
        }
    };
    tokio::select! {
        biased;
        () = shutdown => {}
        () = watchdog => {}
    }
    served.closing.close();
    let drain = async { while ports.join_next().await.is_some() {} };
    if timeout(DRAIN_MAX, drain).await.is_err() {
        debug!("some connections did not end in time");
    }
    Ok(())
}

async fn accept(port: Surface, listener: TcpListener, served: Arc<ConnectionState>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let next = async || {
        let place = Arc::clone(&places).acquire_owned().await;
        (place, listener.accept().await)
    };
    loop {
        let (place, accepted) = tokio::select! {
            biased;
            _ = served.closing.acquire() => break,
            next = next() => next,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let served = Arc::clone(&served);
                connections.spawn(async move {
                    connection(port, stream, served).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Mostly too many open files: trying again at once would only burn the CPU.
                warn!(%error, ?port, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// One client, until it leaves, falls silent or does not read, or the server ends.
async fn connection(port: Surface, stream: TcpStream, served: Arc<ConnectionState>) {
    let rest_max = served.handlers.collection_timeout + READ_SLACK;
    // Small answers should not wait for an acknowledgement; without it they are only later.
    let _ = stream.set_nodelay(true);
    let lent = Arc::clone(&served);
    let service = service_fn(move |request| {
        let served = Arc::clone(&lent);
        async move { Ok::<_, Infallible>(reply::answer(port, &served, &request)) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        biased;
        result = serving.as_mut() => Some(result),
        _ = served.closing.acquire() => None,
        () = sleep(CONNECTION_AGE_MAX) => None,
    };
    let ended = if let Some(result) = ended {
        Ok(result)
    } else {
        serving.as_mut().graceful_shutdown();
        timeout(rest_max, serving).await
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, ?port, "a connection failed"),
        Err(_) => debug!(
            ?port,
            "a connection was cut, since its client does not read"
        ),
    }
}
