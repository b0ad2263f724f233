//! Bodies of answers.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};

use crate::api::accept::Form;
use crate::api::status::ApiError;
use crate::audit::Audited;
use crate::fault::ConnectionReset;
use crate::protobuf;
use crate::store::Object;
use crate::watch::WatchBody;

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
    pub(crate) fn watch(body: WatchBody) -> Self {
        Self(Content::Watch(Box::new(body)))
    }

    pub(crate) fn full(bytes: Vec<u8>) -> Self {
        Self(Content::Full(Some(bytes.into())))
    }

    /// Has the end of a watch audited.
    pub(crate) fn audit_end(mut self, entry: Audited) -> Self {
        if let Content::Watch(watch) | Content::CutWatch(watch, _) = &mut self.0 {
            watch.audit_end(entry);
        }
        self
    }

    /// Breaks off after so many bytes.
    pub(crate) fn truncate(self, bytes: usize) -> Self {
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

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            // A length in the header instead of chunks, as the real server sends it.
            Content::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            _ => SizeHint::default(),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Content::Full(None) | Content::End)
    }
}

pub(crate) fn respond(code: StatusCode, body: SimBody) -> Response<SimBody> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

pub(crate) fn json_response(json: Vec<u8>) -> Response<SimBody> {
    respond(StatusCode::OK, SimBody::full(json))
}

pub(crate) fn object_response(code: StatusCode, object: &Object) -> Response<SimBody> {
    let mut out = Vec::new();
    object.write_full(&mut out);
    respond(code, SimBody::full(out))
}

/// A body in this form; a table is JSON.
pub(crate) fn formed(form: Form, body: SimBody) -> Response<SimBody> {
    let mut response = respond(StatusCode::OK, body);
    if form == Form::Protobuf {
        let protobuf = HeaderValue::from_static(protobuf::MEDIA_TYPE);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, protobuf);
    }
    response
}

/// The same for a stream of watch events.
pub(crate) fn streamed(form: Form, body: SimBody) -> Response<SimBody> {
    let mut response = respond(StatusCode::OK, body);
    if form == Form::Protobuf {
        let protobuf = HeaderValue::from_static("application/vnd.kubernetes.protobuf;stream=watch");
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, protobuf);
    }
    response
}

/// A refusal in the form that was asked for.
pub(crate) fn failure_as(form: Form, error: &ApiError) -> Response<SimBody> {
    let response = failure(error);
    if form != Form::Protobuf {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    let protobuf = HeaderValue::from_static(protobuf::MEDIA_TYPE);
    parts.headers.insert(header::CONTENT_TYPE, protobuf);
    let body = SimBody::full(protobuf::encode_status(&error.body()));
    Response::from_parts(parts, body)
}

pub(crate) fn failure(error: &ApiError) -> Response<SimBody> {
    let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = respond(code, SimBody::full(error.body()));
    if let Some(seconds) = error.retry_after() {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
