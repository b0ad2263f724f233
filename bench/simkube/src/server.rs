//! The HTTP side: from a request to an answer, with the fault plan in between.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Limited};
use kube_client::Client;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tower::BoxError;

use crate::api::path::{Query, Target, Verb};
use crate::api::status::{self, ApiError};
use crate::discovery;
use crate::fault::{ConnectionReset, Faults, NoFaults, RequestInfo, Verdict};
use crate::options::Options;
use crate::record::Record;
use crate::state::State;
use crate::store::text;
use crate::watch::WatchBody;
use crate::write::Caller;
use crate::write::delete::DeleteOptions;

/// What all handles of one server share.
pub(crate) struct Core {
    pub(crate) options: Arc<Options>,
    /// Never held across an await or while a fault plan is asked.
    pub(crate) state: Mutex<State>,
    faults: RwLock<Arc<dyn Faults>>,
}

impl Core {
    pub(crate) fn faults(&self) -> Arc<dyn Faults> {
        Arc::clone(&self.faults.read())
    }

    /// Runs a transaction, then wakes whoever waits for what it changed: the lock is free by then.
    pub(crate) fn transact<T>(&self, run: impl FnOnce(&mut State) -> T) -> T {
        let (result, wakers) = {
            let mut state = self.state.lock();
            let result = run(&mut state);
            (result, state.take_wakers())
        };
        for waker in wakers {
            waker.wake();
        }
        result
    }
}

/// A simulated API server. Clones are handles of the same one.
#[derive(Clone)]
pub struct SimKube {
    pub(crate) core: Arc<Core>,
}

impl std::fmt::Debug for SimKube {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rv = self.core.state.lock().store.rv();
        f.debug_struct("SimKube")
            .field("rv", &rv)
            .finish_non_exhaustive()
    }
}

impl SimKube {
    /// A server with the namespaces `default` and `kube-system` and nothing else.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let options = Arc::new(options);
        let state = Mutex::new(State::new(Arc::clone(&options)));
        let faults: Arc<dyn Faults> = Arc::new(NoFaults);
        Self {
            core: Arc::new(Core {
                options,
                state,
                faults: RwLock::new(faults),
            }),
        }
    }

    /// From now on this plan decides what goes wrong.
    pub fn set_faults(&self, faults: Arc<dyn Faults>) {
        *self.core.faults.write() = faults;
    }

    /// A client without sockets. Must be called inside a tokio runtime.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client_named("")
    }

    /// A client whose name fault plans and the request log can tell from others.
    #[must_use]
    pub fn client_named(&self, name: &str) -> Client {
        Client::new(self.service(name), "default")
    }

    /// The server as a tower Service, to be wrapped by layers of the caller's own.
    #[must_use]
    pub fn service(&self, client: &str) -> SimService {
        SimService {
            sim: self.clone(),
            client: client.into(),
        }
    }

    /// Answers a request. The error is a connection that breaks.
    pub async fn handle<B>(
        &self,
        client: &str,
        request: Request<B>,
    ) -> Result<Response<SimBody>, ConnectionReset>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let Ok(body) = Limited::new(body, self.core.options.body_limit)
            .collect()
            .await
        else {
            let error = ApiError::too_large(self.core.options.body_limit);
            return Ok(failure(&error));
        };
        let call = Call::new(client, parts, body.to_bytes());
        let info = self.admit_call(&call);
        let verdict = self.core.faults().on_request(&info);
        self.carry_out(&call, &info, verdict).await
    }

    async fn carry_out(
        &self,
        call: &Call,
        info: &RequestInfo,
        verdict: Verdict,
    ) -> Result<Response<SimBody>, ConnectionReset> {
        match verdict {
            Verdict::Pass => Ok(self.apply(call, info, None)),
            Verdict::Delay { before, after } => {
                sleep(before).await;
                let answer = self.apply(call, info, None);
                sleep(after).await;
                Ok(answer)
            }
            Verdict::Answer {
                code,
                retry_after,
                applied,
            } => {
                if applied {
                    drop(self.apply(call, info, None));
                }
                self.note(info.number, code, applied);
                Ok(failure(&ApiError::injected(code, retry_after)))
            }
            Verdict::Drop { applied } => {
                if applied {
                    drop(self.apply(call, info, None));
                }
                self.note(info.number, 0, applied);
                Err(ConnectionReset)
            }
            Verdict::Hang { applied } => {
                if applied {
                    drop(self.apply(call, info, None));
                }
                self.note(info.number, 0, applied);
                pending().await
            }
            Verdict::Twice => {
                drop(self.apply(call, info, None));
                Ok(self.apply(call, info, None))
            }
            Verdict::Truncate { bytes } => {
                let answer = self.apply(call, info, None);
                Ok(answer.map(|body| body.truncate(bytes)))
            }
            Verdict::Stale { ago } => {
                let past = Instant::now().checked_sub(ago);
                Ok(self.apply(call, info, past))
            }
        }
    }

    /// Logs a request and describes it to the fault plan.
    fn admit_call(&self, call: &Call) -> RequestInfo {
        let mut state = self.core.state.lock();
        let number = state.seen;
        state.seen += 1;
        let target = call.target.as_ref();
        let named = target.map(|t| t.name.clone()).unwrap_or_default();
        let info = RequestInfo {
            number,
            client: call.client.clone(),
            verb: call.verb,
            kind: target.map(|t| t.kind),
            namespace: target.map(|t| t.namespace.clone()).unwrap_or_default(),
            name: if named.is_empty() {
                call.name_in_body()
            } else {
                named
            },
            subresource: target.map(|t| t.subresource.clone()).unwrap_or_default(),
        };
        let record = Record {
            number,
            client: info.client.clone(),
            method: call.method.clone(),
            path: call.path.clone(),
            query: call.raw_query.clone(),
            verb: info.verb,
            kind: info.kind,
            namespace: info.namespace.clone(),
            name: info.name.clone(),
            subresource: info.subresource.clone(),
            body: call.body.clone(),
            status: 0,
            applied: false,
            at: Instant::now(),
        };
        state.log.push_back(record);
        while state.log.len() > self.core.options.log_limit {
            state.log.pop_front();
        }
        info
    }

    fn note(&self, number: u64, status: u16, applied: bool) {
        let mut state = self.core.state.lock();
        if let Some(record) = state.log.iter_mut().rev().find(|r| r.number == number) {
            record.status = status;
            record.applied = applied;
        }
    }

    /// Lets the server act, and notes what it answered.
    fn apply(&self, call: &Call, info: &RequestInfo, past: Option<Instant>) -> Response<SimBody> {
        let core = &self.core;
        let answer = core.transact(|state| call.answer(state, core, past));
        let response = answer.unwrap_or_else(|error| failure(&error));
        self.note(info.number, response.status().as_u16(), true);
        response
    }
}

/// A request that has been read.
struct Call {
    client: String,
    method: Method,
    path: String,
    raw_query: String,
    query: Query,
    target: Option<Target>,
    verb: Verb,
    /// The method exists on what the path names.
    served: bool,
    content_type: String,
    caller: Caller,
    body: Bytes,
}

impl Call {
    fn new(client: &str, parts: Parts, body: Bytes) -> Self {
        let raw_query = parts.uri.query().unwrap_or_default().to_owned();
        let query = Query::parse(&raw_query);
        let path = parts.uri.path().to_owned();
        let target = Target::parse(&path);
        let verb = target.as_ref().and_then(|t| t.verb(&parts.method, &query));
        Self {
            client: client.to_owned(),
            caller: Caller::from_query(&query, header_text(&parts.headers, header::USER_AGENT)),
            content_type: header_text(&parts.headers, header::CONTENT_TYPE).to_owned(),
            method: parts.method,
            path,
            raw_query,
            query,
            served: verb.is_some_and(|v| v != Verb::DeleteCollection),
            verb: verb.unwrap_or(Verb::Other),
            target,
            body,
        }
    }

    fn name_in_body(&self) -> String {
        if self.verb != Verb::Create {
            return String::new();
        }
        let value: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        text(&value, "name").to_owned()
    }

    fn json(&self) -> Result<Value, ApiError> {
        let kind = self
            .content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim();
        if !matches!(kind, "" | "application/json") {
            return Err(ApiError::unsupported_media_type(&["application/json"]));
        }
        serde_json::from_slice(&self.body).map_err(|e| {
            ApiError::bad_request(format!("couldn't get version/kind; json parse error: {e}"))
        })
    }

    fn answer(
        &self,
        state: &mut State,
        core: &Arc<Core>,
        past: Option<Instant>,
    ) -> Result<Response<SimBody>, ApiError> {
        let Some(target) = &self.target else {
            return discovery::answer(&self.method, &self.path).map(json_response);
        };
        if !self.served {
            return Err(ApiError::method_not_allowed());
        }
        let Target {
            kind,
            namespace,
            name,
            subresource,
        } = target;
        state.authorize(self.verb, *kind, namespace, name, subresource)?;
        match self.verb {
            Verb::Get => {
                let mut out = Vec::new();
                state.read(target, past)?.write_full(&mut out);
                Ok(json_response(out))
            }
            Verb::List => state.list(target, &self.query, past).map(json_response),
            Verb::Watch => {
                let body = state.open_watch(core, &self.client, target, &self.query)?;
                Ok(respond(
                    StatusCode::OK,
                    SimBody(Content::Watch(Box::new(body))),
                ))
            }
            Verb::Create => {
                if kind.is_namespaced() && namespace.is_empty() {
                    return Err(ApiError::method_not_allowed());
                }
                let object = state.create(*kind, namespace, &self.json()?, &self.caller)?;
                Ok(object_response(StatusCode::CREATED, &object))
            }
            Verb::Update => {
                let written = state.update(target, &self.json()?, &self.caller)?;
                let status = if written.created {
                    StatusCode::CREATED
                } else {
                    StatusCode::OK
                };
                Ok(object_response(status, &written.object))
            }
            Verb::Patch => {
                let object = state.patch(target, &self.content_type, &self.body, &self.caller)?;
                Ok(object_response(StatusCode::OK, &object))
            }
            Verb::Delete => {
                let options = DeleteOptions::parse(&self.body, &self.query)?;
                let deleted = state.delete(target, &options)?;
                if kind.returns_deleted() {
                    return Ok(object_response(StatusCode::OK, &deleted));
                }
                Ok(json_response(status::success(*kind, name, deleted.uid())))
            }
            Verb::DeleteCollection | Verb::Other => Err(ApiError::method_not_allowed()),
        }
    }
}

fn header_text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers
        .get(name)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default()
}

fn respond(code: StatusCode, body: SimBody) -> Response<SimBody> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn json_response(json: Vec<u8>) -> Response<SimBody> {
    respond(StatusCode::OK, SimBody::full(json))
}

fn object_response(code: StatusCode, object: &crate::store::Object) -> Response<SimBody> {
    let mut out = Vec::new();
    object.write_full(&mut out);
    respond(code, SimBody::full(out))
}

fn failure(error: &ApiError) -> Response<SimBody> {
    let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = respond(code, SimBody::full(error.body()));
    if let Some(seconds) = error.retry_after() {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// The body of an answer: complete, or a watch that goes on.
pub struct SimBody(Content);

enum Content {
    Full(Option<Bytes>),
    /// What is left of a full body, and then the connection breaks.
    Broken(Option<Bytes>),
    Watch(Box<WatchBody>),
    /// A watch of which only so many bytes arrive.
    CutWatch(Box<WatchBody>, usize),
    End,
}

impl SimBody {
    fn full(bytes: Vec<u8>) -> Self {
        Self(Content::Full(Some(bytes.into())))
    }

    fn truncate(self, bytes: usize) -> Self {
        Self(match self.0 {
            Content::Full(Some(full)) => Content::Broken(Some(full.slice(..bytes.min(full.len())))),
            Content::Watch(watch) => Content::CutWatch(watch, bytes),
            other => other,
        })
    }
}

impl Body for SimBody {
    type Data = Bytes;
    type Error = ConnectionReset;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionReset>>> {
        let this = self.get_mut();
        match &mut this.0 {
            Content::Full(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Content::Broken(bytes) => {
                if let Some(bytes) = bytes.take().filter(|b| !b.is_empty()) {
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                this.0 = Content::End;
                Poll::Ready(Some(Err(ConnectionReset)))
            }
            Content::Watch(watch) => watch.poll_next(context),
            Content::CutWatch(_, 0) => {
                this.0 = Content::End;
                Poll::Ready(Some(Err(ConnectionReset)))
            }
            Content::CutWatch(watch, left) => match watch.poll_next(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    let data = frame.into_data().unwrap_or_default();
                    let data = data.slice(..data.len().min(*left));
                    *left -= data.len();
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                other => other,
            },
            Content::End => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Content::Full(None) | Content::End)
    }
}

/// A [`SimKube`] as a tower Service for one client.
#[derive(Clone, Debug)]
pub struct SimService {
    sim: SimKube,
    client: Arc<str>,
}

impl<B> tower::Service<Request<B>> for SimService
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<SimBody>;
    type Error = ConnectionReset;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (sim, client) = (self.sim.clone(), Arc::clone(&self.client));
        Box::pin(async move { sim.handle(&client, request).await })
    }
}
