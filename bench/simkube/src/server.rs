//! The HTTP side: from a request to an answer, with the fault plan in between.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use kube_client::Client;
use parking_lot::{Mutex, RwLock};
use tokio::time::{Instant, sleep};
use tower::BoxError;

use crate::access::User;
use crate::api::path::Verb;
use crate::api::status::ApiError;
use crate::audit::{Audited, Auditor, Stage};
use crate::body::{SimBody, failure, failure_as};
use crate::call::Call;
use crate::fault::{Committed, ConnectionReset, Faults, NoFaults, Observer, RequestInfo, Verdict};
use crate::options::Options;
use crate::record::Record;
use crate::state::State;

/// What all handles of one server share.
pub(crate) struct Core {
    pub(crate) options: Arc<Options>,
    /// Never held across an await or while a fault plan is asked.
    pub(crate) state: Mutex<State>,
    faults: RwLock<Arc<dyn Faults>>,
    observer: RwLock<Option<Arc<dyn Observer>>>,
    auditor: RwLock<Option<Arc<dyn Auditor>>>,
}

impl Core {
    pub(crate) fn faults(&self) -> Arc<dyn Faults> {
        Arc::clone(&self.faults.read())
    }

    /// Tells the auditor, if there is one.
    pub(crate) fn audit(&self, entry: &Audited) {
        let auditor = self.auditor.read().clone();
        if let Some(auditor) = auditor {
            auditor.audited(entry);
        }
    }

    /// Runs a transaction, then wakes the tasks that wait for what it changed: the lock is free by then.
    pub(crate) fn transact<T>(&self, run: impl FnOnce(&mut State) -> T) -> T {
        self.transact_for(None, run)
    }

    /// The same on behalf of a request.
    fn transact_for<T>(
        &self,
        request: Option<&RequestInfo>,
        run: impl FnOnce(&mut State) -> T,
    ) -> T {
        let (result, wakers, changes) = {
            let mut state = self.state.lock();
            let result = run(&mut state);
            (result, state.take_wakers(), state.store.take_unseen())
        };
        let observer = self.observer.read().clone();
        for (kind, change) in &changes {
            if let Some(observer) = &observer {
                observer.committed(&Committed {
                    request,
                    kind: *kind,
                    rv: change.rv,
                    old: change.old.as_ref().map(|object| &object.value),
                    new: change.new.as_ref().map(|object| &object.value),
                });
            }
        }
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
                observer: RwLock::new(None),
                auditor: RwLock::new(None),
            }),
        }
    }

    /// From now on this plan decides what goes wrong.
    pub fn set_faults(&self, faults: Arc<dyn Faults>) {
        *self.core.faults.write() = faults;
    }

    /// From now on this one sees every change.
    pub fn set_observer(&self, observer: Arc<dyn Observer>) {
        self.core.state.lock().store.observe();
        *self.core.observer.write() = Some(observer);
    }

    /// From now on this one is told of every answer.
    pub fn set_auditor(&self, auditor: Arc<dyn Auditor>) {
        *self.core.auditor.write() = Some(auditor);
    }

    /// A bearer token by which requests are this user's; see [`Options::rbac`].
    #[must_use]
    pub fn token(&self, user: User) -> String {
        let mut state = self.core.state.lock();
        let token = format!("{}.{}", state.chance.uid(), state.chance.uid());
        state.tokens.insert(token.clone(), user);
        token
    }

    /// A client without sockets. Must be called inside a tokio runtime.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client_named("")
    }

    /// A client whose name fault plans and the request log can tell from others.
    #[must_use]
    pub fn client_named(&self, name: &str) -> Client {
        Client::new(self.tower(name), "default")
    }

    /// The server as a tower Service, to be wrapped by layers of the caller's own.
    #[must_use]
    pub fn tower(&self, client: &str) -> SimService {
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
        let served = self.core.options.protobuf;
        let mut call = Call::new(client, parts, body.to_bytes(), served);
        let info = self.admit_call(&mut call);
        let verdict = self.core.faults().on_request(&info);
        self.carry_out(&call, &info, verdict).await
    }

    /// Does to a request what the plan says.
    async fn carry_out(
        &self,
        call: &Call,
        info: &RequestInfo,
        mut verdict: Verdict,
    ) -> Result<Response<SimBody>, ConnectionReset> {
        while let Verdict::Late { by, then } = verdict {
            sleep(by).await;
            verdict = *then;
        }
        match verdict {
            Verdict::Pass | Verdict::Late { .. } => Ok(self.apply(call, info, None)),
            Verdict::Delay { before, after } => {
                sleep(before).await;
                let answer = self.apply(call, info, None);
                sleep(after).await;
                Ok(answer)
            }
            Verdict::Admit { takes } => {
                if call.is_write() && self.is_acceptable(call) {
                    sleep(takes).await;
                }
                Ok(self.apply(call, info, None))
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
    fn admit_call(&self, call: &mut Call) -> RequestInfo {
        let mut state = self.core.state.lock();
        call.introduce(&state);
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

    /// Completes the log entry of a request that was answered, or never will be.
    fn note(&self, number: u64, status: u16, applied: bool) {
        let mut state = self.core.state.lock();
        if let Some(record) = state.log.iter_mut().rev().find(|r| r.number == number) {
            record.status = status;
            record.applied = applied;
        }
    }

    /// Lets the server act, and notes what it answered.
    /// Whether the server would do it, without doing it.
    fn is_acceptable(&self, call: &Call) -> bool {
        let trial = call.as_dry_run();
        let core = &self.core;
        core.transact(|state| trial.answer(state, core, None))
            .is_ok()
    }

    fn apply(&self, call: &Call, info: &RequestInfo, past: Option<Instant>) -> Response<SimBody> {
        let core = &self.core;
        let answer = core.transact_for(Some(info), |state| call.answer(state, core, past));
        let response = answer.unwrap_or_else(|error| failure_as(call.form(), &error));
        self.note(info.number, response.status().as_u16(), true);
        self.account(call, info, response)
    }

    /// Counts an answer and tells the auditor. That of a watch is complete when its body ends.
    fn account(
        &self,
        call: &Call,
        info: &RequestInfo,
        response: Response<SimBody>,
    ) -> Response<SimBody> {
        let mut entry = {
            let mut state = self.core.state.lock();
            let entry = call.audited(info, response.status().as_u16(), state.wall());
            state.counts.add(&entry, &call.method);
            entry
        };
        if call.verb == Verb::Watch && response.status().is_success() {
            entry.stage = Stage::ResponseStarted;
            self.core.audit(&entry);
            return response.map(|body| body.audit_end(entry));
        }
        self.core.audit(&entry);
        response
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
