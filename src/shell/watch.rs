//! Performs what [`Reflector`] asks for and hands the changes on. Decides nothing about the
//! protocol, keeps no object, logs nothing.
//!
//! # When a connection dies silently
//!
//! The stream itself is given up after `timeoutSeconds` plus [`WatchOptions::silence`] without a
//! byte, since the server must have ended it by then. That is the last resort: over HTTP/2 the
//! transport's pings notice within about 2 s whether the peer answers, over HTTP/1.1 the kernel
//! notices within about 6 s whether packets are acknowledged (`TCP_USER_TIMEOUT`, keep-alive after
//! 5 s). Only an HTTP/1.1 peer whose kernel lives while its process hangs is left to the last
//! resort; a list, a request or the opening of a watch has a time limit of its own.

mod ask;
mod beat;

use std::convert::Infallible;
use std::marker::PhantomData;
use std::time::Duration;

use kube_client::Client;

use self::beat::{beating, from_stream};
use super::api::{Frames, Scope, StreamError};
use super::departure::Departures;
use crate::logic::backoff::Backoff;
use crate::logic::model::{Object, Version};
use crate::logic::reflect::{
    Change, Encoding, Failure, Frame, Reflector, Request, Response, RestartReason,
};
use crate::logic::time::{Moment, Now};

/// After this many changes in one go, other tasks of the thread get their turn: some 5 ms of
/// parsing, so that a relist of 100,000 pods does not hold up a failover.
const CHANGES_PER_TURN: u32 = 256;

/// What the server leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selectors {
    /// A `labelSelector`.
    pub label: Option<String>,
    /// A `fieldSelector`.
    pub field: Option<String>,
}

/// Time limits and back-off of one watch.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// For one page of a list, for the opening of a stream, and between two frames of a streaming
    /// list that is not complete yet.
    pub list_timeout: Duration,
    /// The longest `timeoutSeconds` that the server is asked for; up to a tenth is taken off at
    /// random, so that the watches do not all end together.
    pub watch_timeout: Duration,
    /// What is allowed beyond `timeoutSeconds` before a silent stream is given up.
    pub silence: Duration,
    /// Between attempts.
    pub backoff: Backoff,
    /// What the server is asked for where it has a choice. It may answer in JSON all the same.
    pub encoding: Encoding,
    /// The newest version of what this watch is going to show that is known from another watch.
    pub reached: Version,
    /// Writes that a change gave rise to: they leave before the next change is read.
    pub departures: Departures,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            list_timeout: Duration::from_secs(10),
            watch_timeout: Duration::from_secs(290),
            silence: Duration::from_secs(5),
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(10)),
            encoding: Encoding::Protobuf,
            reached: Version::default(),
            departures: Departures::default(),
        }
    }
}

/// What is watched, and through which connection.
#[derive(Clone)]
pub struct Source {
    /// The connection for watches.
    pub client: Client,
    /// Which namespaces.
    pub scope: Scope,
    /// Which objects of them.
    pub selectors: Selectors,
    /// Time limits and back-off.
    pub options: WatchOptions,
}

/// Something to count or to log. Any of them means that the loop is alive; the next one comes
/// within 5 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchNote<'a> {
    /// Nothing else to say.
    Alive,
    /// A stream is open.
    Opened,
    /// Bytes of a stream, or a page of a list, arrived at this moment.
    Received(Moment),
    /// A complete list was made.
    Listed {
        /// From its first request to its last object.
        took: Duration,
    },
    /// A list, or a page of it, took too long.
    ListTimedOut,
    /// Something has to be asked for again.
    Restarted(RestartReason),
    /// Something did not work. Worth a log line when the class of the failure changes.
    Failed {
        /// What.
        failure: &'a Failure,
        /// When it is tried again; zero is at once.
        retry_in: Duration,
    },
    /// The server does not do streaming lists; pages are used instead. Not an error.
    StreamingRefused(&'a Failure),
}

/// Watches for ever: every change goes to `apply`, together with the moment at which its bytes had
/// arrived, in the order of the protocol.
///
/// Spawns nothing. Dropping the future ends the watch; it can be dropped at any point.
pub async fn run<T: Object>(
    source: Source,
    apply: impl FnMut(Change<T>, Moment),
    observe: impl FnMut(WatchNote<'_>),
    clock: impl Fn() -> Now,
    jitter: impl FnMut() -> f64,
) -> Infallible {
    let reflector = Reflector::new(source.options.backoff.clone());
    let mut reflector = reflector.having_reached(&source.options.reached);
    let mut request = reflector.request();
    let encoding = match T::PROTOBUF {
        Some(_) => source.options.encoding,
        None => Encoding::Json,
    };
    let mut watch = Watch {
        source,
        encoding,
        apply,
        observe,
        clock,
        jitter,
        changes: 0,
        list_began: Moment(0),
        objects: PhantomData,
    };
    loop {
        (reflector, request) = watch.perform(reflector, request).await;
    }
}

struct Watch<T, A, O, C, J> {
    source: Source,
    /// What is asked for: JSON from the first answer on that refused protobuf, or could not be read.
    encoding: Encoding,
    apply: A,
    observe: O,
    clock: C,
    jitter: J,
    /// Since the last turn of the others.
    changes: u32,
    /// When the first request of the present list was sent.
    list_began: Moment,
    objects: PhantomData<fn() -> T>,
}

impl<T, A, O, C, J> Watch<T, A, O, C, J>
where
    T: Object,
    A: FnMut(Change<T>, Moment),
    O: FnMut(WatchNote<'_>),
    C: Fn() -> Now,
    J: FnMut() -> f64,
{
    async fn perform(&mut self, reflector: Reflector, request: Request) -> (Reflector, Request) {
        if matches!(
            request,
            Request::StreamingList
                | Request::List {
                    continue_token: None
                }
        ) {
            self.list_began = (self.clock)().moment;
        }
        let response = match request {
            Request::Wait(delay) => {
                beating(&mut self.observe, None, tokio::time::sleep(delay)).await;
                Response::Waited
            }
            Request::List { continue_token } => {
                let mut query = vec![("limit", ask::PAGE_OBJECTS)];
                query.extend(continue_token.as_deref().map(|token| ("continue", token)));
                let uri = self.uri(query);
                self.list(uri).await
            }
            Request::Check => {
                let uri = self.check_uri();
                self.list(uri).await
            }
            Request::StreamingList | Request::Watch { .. } => {
                return self.stream(reflector, &request).await;
            }
        };
        let received = (self.clock)().moment;
        if matches!(response, Response::Page(_)) {
            (self.observe)(WatchNote::Received(received));
        }
        let (reflector, request) = self.step(reflector, response, received).await;
        let request = request.unwrap_or_else(|| reflector.request());
        (reflector, request)
    }

    /// A stream, from its opening to its end.
    async fn stream(
        &mut self,
        mut reflector: Reflector,
        request: &Request,
    ) -> (Reflector, Request) {
        let share = 1.0 - (self.jitter)().clamp(0.0, 1.0) / 10.0;
        let seconds = self.source.options.watch_timeout.mul_f64(share).as_secs();
        let silence = Duration::from_secs(seconds) + self.source.options.silence;
        let opened = self.open(request, seconds).await;
        let opened_at = (self.clock)().moment;
        let mut received = opened_at;
        let mut frames = match opened {
            Ok(frames) => frames,
            Err(failure) => {
                let (reflector, next) = self
                    .step(reflector, Response::Failed(failure), received)
                    .await;
                let next = next.unwrap_or_else(|| reflector.request());
                return (reflector, next);
            }
        };
        (self.observe)(WatchNote::Opened);
        let mut response = Response::Opened;
        loop {
            let next;
            (reflector, next) = self.step(reflector, response, received).await;
            if let Some(next) = next {
                return (reflector, next);
            }
            let limit = if reflector.is_listing() {
                self.source.options.list_timeout
            } else {
                silence
            };
            response = match self.read(&mut frames, limit, &mut received).await {
                Ok(Some(frame)) => Response::Frame(frame),
                Ok(None) => Response::Closed {
                    after: (self.clock)().moment.since(opened_at),
                },
                Err(failure) => Response::Broken {
                    after: (self.clock)().moment.since(opened_at),
                    failure,
                },
            };
        }
    }

    /// The next frame; notes when its last bytes arrived.
    async fn read(
        &mut self,
        frames: &mut Frames<T>,
        limit: Duration,
        received: &mut Moment,
    ) -> Result<Option<Frame<T>>, Failure> {
        loop {
            if let Some(frame) = frames.buffered() {
                return frame.map(Some).map_err(|error| self.unread(error));
            }
            match beating(&mut self.observe, Some(limit), frames.fill()).await {
                Some(Ok(true)) => {
                    *received = (self.clock)().moment;
                    (self.observe)(WatchNote::Received(*received));
                }
                Some(Ok(false)) => return Ok(None),
                Some(Err(error)) => return Err(self.unread(error)),
                None => return Err(Failure::Timeout),
            }
        }
    }

    /// Why nothing more of a stream can be read. One that makes no sense is asked for as JSON next time.
    fn unread(&mut self, error: StreamError) -> Failure {
        let failure = from_stream(error);
        if matches!(failure, Failure::Malformed(_)) {
            self.encoding = Encoding::Json;
        }
        failure
    }

    /// Takes one response through the machine; `None` means that the stream is to be read on.
    async fn step(
        &mut self,
        reflector: Reflector,
        response: Response<T>,
        received: Moment,
    ) -> (Reflector, Option<Request>) {
        let failure = match &response {
            Response::Failed(failure) | Response::Broken { failure, .. } => Some(failure.clone()),
            _ => None,
        };
        if failure == Some(Failure::Timeout) && reflector.is_listing() {
            (self.observe)(WatchNote::ListTimedOut);
        }
        let (reflector, step) = reflector.step(response, &mut self.jitter);
        for change in step.changes {
            if matches!(change, Change::Retain { .. }) {
                let took = (self.clock)().moment.since(self.list_began);
                (self.observe)(WatchNote::Listed { took });
            }
            (self.apply)(change, received);
            self.source.options.departures.pass().await;
            self.changes += 1;
            if self.changes == CHANGES_PER_TURN {
                self.changes = 0;
                tokio::task::yield_now().await;
            }
        }
        if let Some(reason) = step.restart {
            (self.observe)(WatchNote::Restarted(reason));
        }
        match (&failure, step.restart) {
            (Some(failure), Some(_)) => {
                let retry_in = match step.request {
                    Some(Request::Wait(delay)) => delay,
                    _ => Duration::ZERO,
                };
                (self.observe)(WatchNote::Failed { failure, retry_in });
            }
            (Some(failure), None) => (self.observe)(WatchNote::StreamingRefused(failure)),
            (None, _) => {}
        }
        (reflector, step.request)
    }
}
