//! A request that has been read, and which verb answers it.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::access::rbac::Wish;
use crate::access::{self, User, review};
use crate::api::accept::Form;
use crate::api::path::{self, Query, Target, Verb};
use crate::api::selector;
use crate::api::status::{self, ApiError};
use crate::audit::{Audited, Stage};
use crate::body::{SimBody, formed, json_response, object_response, respond, streamed};
use crate::discovery;
use crate::fault::RequestInfo;
use crate::options::Protobuf;
use crate::protobuf;
use crate::server::Core;
use crate::state::State;
use crate::store::{Object, text};
use crate::table;
use crate::write::Caller;
use crate::write::delete::DeleteOptions;

/// A request that has been read.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) client: String,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) raw_query: String,
    query: Query,
    pub(crate) target: Option<Target>,
    pub(crate) verb: Verb,
    /// The method exists on what the path names.
    served: bool,
    content_type: String,
    /// The form of the answer.
    form: Result<Form, ApiError>,
    caller: Caller,
    token: String,
    pub(crate) agent: String,
    /// The user that asks, once the server has looked; see [`Call::introduce`].
    user: Result<User, ApiError>,
    pub(crate) received: Timestamp,
    pub(crate) body: Bytes,
}

impl Call {
    pub(crate) fn new(client: &str, parts: Parts, body: Bytes, served: Protobuf) -> Self {
        let raw_query = parts.uri.query().unwrap_or_default().to_owned();
        let query = Query::parse(&raw_query);
        let path = parts.uri.path().to_owned();
        let target = Target::parse(&path);
        let verb = target.as_ref().and_then(|t| t.verb(&parts.method, &query));
        let agent = header_text(&parts.headers, header::USER_AGENT);
        Self {
            client: client.to_owned(),
            form: Form::of(
                header_text(&parts.headers, header::ACCEPT),
                target.as_ref(),
                served,
            ),
            caller: Caller::from_query(&query, agent),
            token: access::bearer(&parts.headers).to_owned(),
            agent: agent.to_owned(),
            user: Ok(User::default()),
            received: Timestamp::UNIX_EPOCH,
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

    /// The form of the answer; JSON if there is none that the client accepts.
    pub(crate) fn form(&self) -> Form {
        self.form.clone().unwrap_or_default()
    }

    /// The same with `dryRun=All`.
    pub(crate) fn as_dry_run(&self) -> Self {
        let mut trial = self.clone();
        trial.caller.dry_run = true;
        trial.query = Query::parse(&format!("{}&dryRun=All", self.raw_query));
        trial
    }

    pub(crate) fn is_write(&self) -> bool {
        self.verb.is_write()
    }

    /// Notes which user asks and when.
    pub(crate) fn introduce(&mut self, state: &State) {
        self.user = state.authenticate(&self.token);
        if let Ok(user) = &self.user {
            self.caller.user = user.clone();
        }
        self.received = state.wall();
    }

    /// The entry of the audit log for an answer of this code.
    pub(crate) fn audited(&self, info: &RequestInfo, code: u16, at: Timestamp) -> Audited {
        let verb = match self.verb {
            Verb::Other => self.method.as_str().to_lowercase(),
            known => known.name().to_owned(),
        };
        let query = if self.raw_query.is_empty() { "" } else { "?" };
        Audited {
            stage: Stage::ResponseComplete,
            number: info.number,
            user: self.user.clone().unwrap_or_default(),
            verb,
            kind: info.kind,
            namespace: info.namespace.clone(),
            name: info.name.clone(),
            subresource: info.subresource.clone(),
            uri: format!("{}{query}{}", self.path, self.raw_query),
            agent: self.agent.clone(),
            code,
            received: self.received,
            at,
        }
    }

    pub(crate) fn name_in_body(&self) -> String {
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

    /// The past moment whose state a list shows, if any. A list of one object always reads the present
    /// state from etcd.
    fn past_of_list(&self, past: Option<Instant>) -> Option<Instant> {
        past.filter(|_| self.query.get("limit") != "1")
    }

    fn get(
        &self,
        state: &State,
        target: &Target,
        past: Option<Instant>,
    ) -> Result<Response<SimBody>, ApiError> {
        let object = state.read(target, past)?;
        match self.form() {
            Form::Json => Ok(object_response(StatusCode::OK, &object)),
            Form::Table => {
                let metadata = json!({"resourceVersion": object.rv.to_string()});
                let out = table::write(target.kind, &metadata, &[&object], state.wall());
                Ok(json_response(out))
            }
            Form::Protobuf => {
                let out = protobuf::body(target.kind, object.message());
                Ok(formed(Form::Protobuf, SimBody::full(out)))
            }
        }
    }

    fn delete(&self, state: &mut State, target: &Target) -> Result<Response<SimBody>, ApiError> {
        let options = DeleteOptions::parse(&self.body, &self.query)?;
        let deleted = state.delete(target, &options)?;
        // What waits for grace or finalizers is always shown; what is gone only by some kinds.
        if target.kind.returns_deleted() || !deleted.gone {
            return Ok(shaped(StatusCode::OK, target, &deleted.object));
        }
        let uid = deleted.object.uid();
        Ok(json_response(status::success(
            target.kind,
            &target.name,
            uid,
        )))
    }

    /// Answers what is about no resource.
    fn answer_apart(&self, state: &State) -> Result<Response<SimBody>, ApiError> {
        if !discovery::is_health(&self.path) {
            let user = self.user.clone()?;
            if self.path == review::PATH {
                if self.method != Method::POST {
                    return Err(ApiError::method_not_allowed());
                }
                let review = review::read(&self.content_type, &self.body)?;
                let review = state.review(&user, &review)?;
                let json = serde_json::to_vec(&review).unwrap_or_default();
                return Ok(respond(StatusCode::CREATED, SimBody::full(json)));
            }
            if self.path == "/metrics" && self.method == Method::GET {
                return Ok(json_response(state.counts.page().into_bytes()));
            }
        }
        if let Some(what) = path::real_only(&self.path) {
            return Err(ApiError::not_simulated(what));
        }
        discovery::answer(&self.method, &self.path, state.options.minor).map(json_response)
    }

    /// Whether there is such a verb here, and whether the user may use it.
    fn admit(&self, state: &State, target: &Target) -> Result<(), ApiError> {
        let user = self.user.clone()?;
        let plural = target.kind.plural();
        if self.verb == Verb::DeleteCollection {
            let what = format!("deletecollection of {plural}");
            return Err(ApiError::not_simulated(&what));
        }
        if !self.served {
            return Err(ApiError::method_not_allowed());
        }
        let resource = if target.subresource.is_empty() {
            plural.to_owned()
        } else {
            format!("{plural}/{}", target.subresource)
        };
        let by_name = match self.verb {
            Verb::List | Verb::Watch => selector::name_asked_for(self.query.get("fieldSelector")),
            _ => None,
        };
        let wish = Wish {
            verb: self.verb.name(),
            group: target.kind.group(),
            resource: &resource,
            namespace: &target.namespace,
            name: by_name.unwrap_or(&target.name),
        };
        state.authorize(&user, &wish)
    }

    /// Lets the server act.
    pub(crate) fn answer(
        &self,
        state: &mut State,
        core: &Arc<Core>,
        past: Option<Instant>,
    ) -> Result<Response<SimBody>, ApiError> {
        let Some(target) = &self.target else {
            return self.answer_apart(state);
        };
        self.admit(state, target)?;
        let form = self.form.clone()?;
        let Target {
            kind, namespace, ..
        } = target;
        match self.verb {
            Verb::Get => self.get(state, target, past),
            Verb::List => state
                .list(target, &self.query, self.past_of_list(past), form)
                .map(|body| formed(form, SimBody::full(body))),
            Verb::Watch => {
                let body = state.open_watch(core, &self.client, target, &self.query, form)?;
                Ok(streamed(form, SimBody::watch(body)))
            }
            Verb::Create => {
                if kind.is_namespaced() && namespace.is_empty() {
                    return Err(ApiError::method_not_allowed());
                }
                let object = state.create(*kind, namespace, &self.json()?, &self.caller)?;
                Ok(shaped(StatusCode::CREATED, target, &object))
            }
            Verb::Update => {
                let written = state.update(target, &self.json()?, &self.caller)?;
                let status = if written.created {
                    StatusCode::CREATED
                } else {
                    StatusCode::OK
                };
                Ok(shaped(status, target, &written.object))
            }
            Verb::Patch => {
                let object = state.patch(target, &self.content_type, &self.body, &self.caller)?;
                Ok(shaped(StatusCode::OK, target, &object))
            }
            Verb::Delete => self.delete(state, target),
            Verb::DeleteCollection | Verb::Other => Err(ApiError::method_not_allowed()),
        }
    }
}

/// An object as clients see it that asked for this target.
fn shaped(code: StatusCode, target: &Target, object: &Arc<Object>) -> Response<SimBody> {
    object_response(code, &object.shaped(target.kind))
}

fn header_text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers
        .get(name)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default()
}
