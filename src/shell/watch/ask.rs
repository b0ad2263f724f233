//! The requests of a watch, and the choice of their encoding.

use http::StatusCode;

use super::beat::{beating, from_call};
use super::{Selectors, Watch, WatchNote};
use crate::logic::model::Object;
use crate::logic::reflect::{Encoding, Failure, Page, Request, Response};
use crate::shell::api::{self, Answer, Frames, OpenError};

/// Objects per page of a list, as client-go asks for.
pub(super) const PAGE_OBJECTS: &str = "500";

impl<T: Object, A, O: FnMut(WatchNote<'_>), C, J> Watch<T, A, O, C, J> {
    /// One page of a list.
    pub(super) async fn list(&mut self, uri: String) -> Response<T> {
        let mut answer = self.ask(uri.clone()).await;
        if let Ok(answered) = &answer
            && self.is_refused(answered.status.as_u16())
        {
            answer = self.ask(uri).await;
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => return Response::Failed(failure),
        };
        if !answer.status.is_success() {
            return Response::Failed(Failure::Status(answer.to_status()));
        }
        match Page::read(answer.encoding, &answer.body) {
            Ok(page) => Response::Page(page),
            Err(reason) => {
                self.encoding = Encoding::Json;
                Response::Failed(Failure::Malformed(reason.into()))
            }
        }
    }

    async fn ask(&mut self, uri: String) -> Result<Answer, Failure> {
        let request = api::get_as::<T>(uri, self.encoding);
        let timeout = self.source.options.list_timeout;
        let call = api::unary(&self.source.client, request, timeout);
        let answer = beating(&mut self.observe, None, call).await;
        answer.ok_or(Failure::Timeout)?.map_err(from_call)
    }

    /// Whether the answer refuses protobuf. Then JSON is asked for from now on.
    fn is_refused(&mut self, code: u16) -> bool {
        let is_refused =
            self.encoding == Encoding::Protobuf && code == StatusCode::NOT_ACCEPTABLE.as_u16();
        if is_refused {
            self.encoding = Encoding::Json;
        }
        is_refused
    }

    /// Opens a stream.
    pub(super) async fn open(
        &mut self,
        request: &Request,
        seconds: u64,
    ) -> Result<Frames<T>, Failure> {
        let opened = self.open_once(request, seconds).await;
        if let Err(Failure::Status(status)) = &opened
            && self.is_refused(status.code)
        {
            return self.open_once(request, seconds).await;
        }
        opened
    }

    async fn open_once(&mut self, request: &Request, seconds: u64) -> Result<Frames<T>, Failure> {
        let seconds = seconds.to_string();
        let version = match request {
            Request::Watch { version } => Some(version.to_string()),
            _ => None,
        };
        let mut query = vec![
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", &*seconds),
        ];
        match &version {
            Some(version) => query.push(("resourceVersion", version)),
            None => query.extend([
                ("sendInitialEvents", "true"),
                ("resourceVersionMatch", "NotOlderThan"),
            ]),
        }
        let request = api::get_as::<T>(self.uri(query), self.encoding);
        let timeout = self.source.options.list_timeout;
        let call = api::open(&self.source.client, request, timeout);
        match beating(&mut self.observe, None, call).await {
            Some(opened) => opened.map_err(|error| match error {
                OpenError::Call(error) => from_call(error),
                OpenError::Status(status) => Failure::Status(status),
            }),
            None => Err(Failure::Timeout),
        }
    }

    pub(super) fn uri<'a>(&'a self, mut query: Vec<(&'a str, &'a str)>) -> String {
        let Selectors { label, field } = &self.source.selectors;
        query.extend(label.iter().map(|text| ("labelSelector", &**text)));
        query.extend(field.iter().map(|text| ("fieldSelector", &**text)));
        api::with_query(api::path::<T>(self.source.scope.namespace(), None), &query)
    }

    /// One object of any kind of content: a server must not look through all of them for one that
    /// matches. A name stays, since the right to read may be that to this one object.
    pub(super) fn check_uri(&self) -> String {
        let field = self.source.selectors.field.as_deref();
        let name = field.filter(|field| field.starts_with("metadata.name="));
        let mut query = vec![("limit", "1")];
        query.extend(name.map(|name| ("fieldSelector", name)));
        api::with_query(api::path::<T>(self.source.scope.namespace(), None), &query)
    }
}
