//! An API server that has everything it says ready beforehand: streaming lists of a settled
//! cluster, and watches on which nothing ever happens. What a first sync costs is then the client's.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use kube_client::Client;
use kube_client::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use simkube::Kind;

use crate::figures::cpu_time;
use crate::fleet::{self, Fleet};
use crate::pods::{Facts, Template};

/// Bytes of a frame of the body: what HTTP/2 sends in one.
const FRAME_BYTES: usize = 16 << 10;

/// Services with their leader Services and slices, and pods, as they are once all is served.
pub struct Canned {
    services: Vec<u8>,
    slices: Vec<u8>,
    template: Template,
    services_count: usize,
    pods_each: usize,
    /// The Service whose leader is NotReady, if one is.
    lost: Option<usize>,
    /// Requests that are not lists: when they came, method and path.
    others: Mutex<Vec<(Duration, String)>>,
    synced: Mutex<Duration>,
}

impl Canned {
    /// The state that a fleet of so many Services with so many pods each settles in.
    #[must_use]
    pub fn new(services: usize, pods_each: usize) -> Self {
        // The election among three pods has the same result as among all.
        let fleet = Fleet::new(services, pods_each.min(3));
        let lines = |kind: Kind, group: &str| {
            let mut out = Vec::new();
            for mut object in fleet.kube.list(kind, "") {
                object["kind"] = kind.name().into();
                object["apiVersion"] = group.into();
                out.extend(line("ADDED", &object));
            }
            out
        };
        Self {
            services: lines(Kind::Service, "v1"),
            slices: lines(Kind::EndpointSlice, "discovery.k8s.io/v1"),
            template: Template::new(),
            services_count: services,
            pods_each,
            lost: None,
            others: Mutex::default(),
            synced: Mutex::default(),
        }
    }

    /// The same, but the leader of that Service turned NotReady while no client watched.
    #[must_use]
    pub fn with_lost(mut self, service: usize) -> Self {
        self.lost = Some(service);
        self
    }

    /// How many objects the three lists have.
    #[must_use]
    pub fn objects(&self) -> usize {
        self.services_count * (3 + self.pods_each)
    }

    /// Forgets the requests so far.
    pub fn clear(&self) {
        self.others.lock().clear();
    }

    /// The client has synced now.
    pub fn note_sync(&self) {
        *self.synced.lock() = cpu_time();
    }

    /// How long after the sync the first slice was to be patched; zero if it was before.
    #[must_use]
    pub fn first_patch_after_sync(&self) -> Duration {
        let first = self.first_patch().unwrap_or_default();
        first.saturating_sub(*self.synced.lock())
    }

    /// Whether a leader is lost and its slice is not patched yet.
    #[must_use]
    pub fn is_lost_unanswered(&self) -> bool {
        self.lost.is_some() && self.first_patch().is_none()
    }

    fn first_patch(&self) -> Option<Duration> {
        let others = self.others.lock();
        let mut patches = others.iter().filter(|(_, what)| what.starts_with("PATCH"));
        patches.next().map(|(at, _)| *at)
    }

    /// A client without sockets. Must be called inside a tokio runtime.
    #[must_use]
    pub fn client(self: &Arc<Self>) -> Client {
        let server = Arc::clone(self);
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = server.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        Client::new(service, "default")
    }

    fn answer(self: &Arc<Self>, request: &Request<Body>) -> Response<Stream> {
        let path = request.uri().path();
        let is_list = request
            .uri()
            .query()
            .is_some_and(|query| query.contains("sendInitialEvents"));
        let next = match path {
            "/api/v1/services" if is_list => Next::Services(0),
            "/apis/discovery.k8s.io/v1/endpointslices" if is_list => Next::Slices(0),
            "/api/v1/pods" if is_list => Next::Pod(0),
            _ => {
                let what = format!("{} {path}", request.method());
                self.others.lock().push((cpu_time(), what));
                let empty = json!({"metadata": {"resourceVersion": "1"}, "items": []});
                Next::Last(empty.to_string().into())
            }
        };
        Response::new(Stream {
            server: Arc::clone(self),
            next,
        })
    }

    /// Everything that the lists say, thrown away: what saying it costs.
    pub fn recite(self: &Arc<Self>) -> usize {
        [Next::Services(0), Next::Slices(0), Next::Pod(0)]
            .into_iter()
            .map(|next| {
                let mut stream = Stream {
                    server: Arc::clone(self),
                    next,
                };
                std::iter::from_fn(|| stream.advance())
                    .map(|bytes| bytes.len())
                    .sum::<usize>()
            })
            .sum()
    }

    /// Whole pods, up to a frame's bytes.
    fn pods_from(&self, mut number: usize, out: &mut Vec<u8>) -> usize {
        let all = self.services_count * self.pods_each;
        while number < all && out.len() < FRAME_BYTES {
            let (service, pod) = (number / self.pods_each, number % self.pods_each);
            let app = fleet::service_name(service);
            // The pods of a fleet are numbered by Service; the uid is what a slice refers to.
            let each = self.pods_each.min(3);
            let facts = Facts {
                namespace: &fleet::namespace(service),
                name: &format!("{app}-{pod}"),
                app: &app,
                number: if pod < each {
                    service * each + pod
                } else {
                    all + number
                },
                ready: !(pod == 0 && self.lost == Some(service)),
                version: 1_000_000,
                noise: 0,
            };
            self.template.frame("ADDED", &facts, out);
            number += 1;
        }
        number
    }
}

fn line(event: &str, object: &Value) -> Vec<u8> {
    format!("{{\"type\":\"{event}\",\"object\":{object}}}\n").into_bytes()
}

/// The body of an answer.
struct Stream {
    server: Arc<Canned>,
    next: Next,
}

/// What comes next.
enum Next {
    /// From this byte of the prepared text on.
    Services(usize),
    Slices(usize),
    /// From this pod on.
    Pod(usize),
    /// The mark that ends the initial events; then silence.
    Mark,
    /// This and then the end.
    Last(Bytes),
    Silence,
    End,
}

impl Stream {
    fn advance(&mut self) -> Option<Bytes> {
        let (bytes, next) = match std::mem::replace(&mut self.next, Next::Silence) {
            Next::Services(at) => {
                let (bytes, end) = part(&self.server.services, at);
                (bytes, end.map_or(Next::Mark, Next::Services))
            }
            Next::Slices(at) => {
                let (bytes, end) = part(&self.server.slices, at);
                (bytes, end.map_or(Next::Mark, Next::Slices))
            }
            Next::Pod(from) => {
                let mut out = Vec::with_capacity(2 * FRAME_BYTES);
                let to = self.server.pods_from(from, &mut out);
                let next = if to == from {
                    Next::Mark
                } else {
                    Next::Pod(to)
                };
                (out.into(), next)
            }
            Next::Mark => {
                let mark = json!({"metadata": {
                    "resourceVersion": "2000000",
                    "annotations": {"k8s.io/initial-events-end": "true"},
                }});
                (line("BOOKMARK", &mark).into(), Next::Silence)
            }
            Next::Last(bytes) => (bytes, Next::End),
            Next::Silence => return None,
            Next::End => {
                self.next = Next::End;
                return None;
            }
        };
        self.next = next;
        Some(bytes)
    }
}

fn part(text: &[u8], at: usize) -> (Bytes, Option<usize>) {
    let end = text.len().min(at + FRAME_BYTES);
    let bytes = Bytes::copy_from_slice(&text[at..end]);
    (bytes, (end < text.len()).then_some(end))
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.advance() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None if matches!(self.next, Next::End) => Poll::Ready(None),
            // No task is woken: nothing happens any more.
            None => Poll::Pending,
        }
    }
}
