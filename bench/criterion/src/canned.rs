//! An API server whose answers are ready beforehand: streaming lists of a settled cluster in protobuf, and
//! watches on which nothing ever happens. The cost of a first sync is then the client's.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::Frame;
use kube_client::Client;
use kube_client::client::Body;
use parking_lot::Mutex;
use serde_json::json;
use simkube::{Kind, protobuf};

use crate::figures::cpu_time;
use crate::fleet::{self, Fleet};
use crate::pods::{Facts, Template, to_protobuf};

/// Bytes of a frame of the body: what HTTP/2 sends in one.
const FRAME_BYTES: usize = 16 << 10;

/// The media type of a watch.
const WATCH: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// Services with their leader Services and slices, and pods, as they are once all is served.
pub struct Canned {
    services: Bytes,
    slices: Bytes,
    pods: Bytes,
    objects: usize,
    /// Whether the leader of a Service is NotReady.
    has_lost: bool,
    /// Requests that are not lists: when they came, method and path.
    others: Mutex<Vec<(Duration, String)>>,
    synced: Mutex<Duration>,
}

impl Canned {
    /// The state that a fleet of so many Services with so many pods each settles in. The leader of the
    /// Service `lost` turned NotReady while no client watched.
    #[must_use]
    pub fn new(services: usize, pods_each: usize, lost: Option<usize>) -> Self {
        // The election among three pods has the same result as among all.
        let fleet = Fleet::new(services, pods_each.min(3));
        let added = |kind: Kind| {
            let mut events = Vec::new();
            for object in fleet.kube.list(kind, "") {
                let object = protobuf::encode(kind, &object);
                events.extend(protobuf::event("ADDED", &object));
            }
            events.extend(mark(kind));
            events.into()
        };
        Self {
            services: added(Kind::Service),
            slices: added(Kind::EndpointSlice),
            pods: pods(services, pods_each, lost).into(),
            objects: services * (3 + pods_each),
            has_lost: lost.is_some(),
            others: Mutex::default(),
            synced: Mutex::default(),
        }
    }

    /// How many objects the three lists have.
    #[must_use]
    pub fn objects(&self) -> usize {
        self.objects
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
        self.has_lost && self.first_patch().is_none()
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

    fn answer(&self, request: &Request<Body>) -> Response<Stream> {
        let path = request.uri().path();
        let is_list = request
            .uri()
            .query()
            .is_some_and(|query| query.contains("sendInitialEvents"));
        let (rest, ends, media_type) = match path {
            "/api/v1/services" if is_list => (self.services.clone(), false, WATCH),
            "/apis/discovery.k8s.io/v1/endpointslices" if is_list => {
                (self.slices.clone(), false, WATCH)
            }
            "/api/v1/pods" if is_list => (self.pods.clone(), false, WATCH),
            _ => {
                let what = format!("{} {path}", request.method());
                self.others.lock().push((cpu_time(), what));
                let empty = json!({"metadata": {"resourceVersion": "1"}, "items": []});
                (empty.to_string().into(), true, "application/json")
            }
        };
        let mut response = Response::new(Stream { rest, ends });
        let media_type = HeaderValue::from_static(media_type);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, media_type);
        response
    }
}

/// The events of all pods.
fn pods(services: usize, pods_each: usize, lost: Option<usize>) -> Vec<u8> {
    let template = Template::new();
    let each = pods_each.min(3);
    let mut events = Vec::new();
    let mut line = Vec::new();
    for number in 0..services * pods_each {
        let (service, pod) = (number / pods_each, number % pods_each);
        let app = fleet::service_name(service);
        // The pods of a fleet are numbered by Service; the uid is what a slice refers to.
        let facts = Facts {
            namespace: &fleet::namespace(service),
            name: &format!("{app}-{pod}"),
            app: &app,
            number: if pod < each {
                service * each + pod
            } else {
                services * pods_each + number
            },
            ready: !(pod == 0 && lost == Some(service)),
            version: 1_000_000,
            noise: 0,
        };
        line.clear();
        template.frame("ADDED", &facts, &mut line);
        let event = to_protobuf(&line);
        events.extend(u32::try_from(event.len()).unwrap_or(u32::MAX).to_be_bytes());
        events.extend(event);
    }
    events.extend(mark(Kind::Pod));
    events
}

/// The bookmark that ends the initial events.
fn mark(kind: Kind) -> Vec<u8> {
    let object = json!({"metadata": {
        "resourceVersion": "2000000",
        "annotations": {"k8s.io/initial-events-end": "true"},
    }});
    protobuf::event("BOOKMARK", &protobuf::encode(kind, &object))
}

/// The body of an answer.
struct Stream {
    /// What is not sent yet.
    rest: Bytes,
    /// Whether the body ends after it; that of a watch does not.
    ends: bool,
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.rest.len().min(FRAME_BYTES);
        if length > 0 {
            Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
        } else if self.ends {
            Poll::Ready(None)
        } else {
            // No task is woken: nothing happens any more.
            Poll::Pending
        }
    }
}
