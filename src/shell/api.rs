//! Raw requests to the API server: paths, one answer within a time limit, and a stream of lines.
//! Retries nothing, logs nothing and reads no clock; a leaf that every other file of `shell` may use.

mod list;

use std::fmt::Write as _;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kube_client::Client;
use kube_client::client::Body;

use crate::logic::model::Object;
use crate::logic::reflect::Frame;

pub use crate::logic::reflect::{ApiStatus, Cause};
pub use list::{ListError, list};

/// Longest answer that is read: a page of 500 large objects. Only there so that a server gone mad
/// cannot take all memory.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Longest line of a watch that is read. The server's own limit for one object is 1.5 MiB.
const LINE_BYTES_MAX: usize = 32 << 20;

/// A line buffer larger than this is given back once it is empty.
const BUFFER_BYTES_KEPT: usize = 64 << 10;

/// Which namespaces are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole cluster.
    All,
    /// One namespace.
    Namespace(Arc<str>),
}

impl Scope {
    /// The namespace, if it is one.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::Namespace(namespace) => Some(namespace),
        }
    }
}

/// What the server said, whatever it said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// All of the body.
    pub body: Bytes,
    /// The header of that name, if it is a number of seconds.
    pub retry_after: Option<Duration>,
}

impl Answer {
    /// Reads the body as the `Status` object of an answer that is not a success.
    #[must_use]
    pub fn to_status(&self) -> ApiStatus {
        let mut status = ApiStatus::parse(self.status.as_u16(), &self.body);
        // Whichever asks for more: the header is in whole seconds, and so is the body.
        status.retry_after = status.retry_after.max(self.retry_after);
        status
    }
}

/// Why there is no answer. Whether the request had an effect is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// None within the time limit.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The connection could not be made or broke.
    #[error("{0}")]
    Transport(String),
}

/// Sends `request` and reads the whole answer, both within `timeout`.
pub async fn unary(
    client: &Client,
    request: Request<Vec<u8>>,
    timeout: Duration,
) -> Result<Answer, CallError> {
    let exchange = async {
        let response = send(client, request).await?;
        collect(response).await
    };
    let answer = tokio::time::timeout(timeout, exchange).await;
    answer.unwrap_or(Err(CallError::Timeout(timeout)))
}

/// Why a stream could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No status line, or not the whole body of a refusal.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The server refused.
    #[error("{0}")]
    Status(ApiStatus),
}

/// Sends `request` and returns the body as lines once a 200 has come, within `timeout`.
pub async fn open<T: Object>(
    client: &Client,
    request: Request<Vec<u8>>,
    timeout: Duration,
) -> Result<Lines<T>, OpenError> {
    let exchange = async {
        let response = send(client, request).await?;
        if response.status() == StatusCode::OK {
            Ok(Lines::new(response.into_body()))
        } else {
            Err(OpenError::Status(collect(response).await?.to_status()))
        }
    };
    match tokio::time::timeout(timeout, exchange).await {
        Ok(opened) => opened,
        Err(_) => Err(CallError::Timeout(timeout).into()),
    }
}

async fn send(client: &Client, request: Request<Vec<u8>>) -> Result<Response<Body>, CallError> {
    let response = client.send(request.map(Body::from)).await;
    response.map_err(|error| CallError::Transport(chain(&error)))
}

async fn collect(response: Response<Body>) -> Result<Answer, CallError> {
    let status = response.status();
    let retry_after = response.headers().get(header::RETRY_AFTER);
    let retry_after = retry_after
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
    let body = body.collect().await.map_err(|error| {
        CallError::Transport(if error.is::<LengthLimitError>() {
            format!("an answer of more than {} MiB", ANSWER_BYTES_MAX >> 20)
        } else {
            chain(&*error)
        })
    })?;
    Ok(Answer {
        status,
        body: body.to_bytes(),
        retry_after,
    })
}

/// An error and its causes in one line. Libraries differ in whether a cause is already part of the
/// text before it; it is said once.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// The path of a resource: of all namespaces, of one, or of one object in it.
#[must_use]
pub fn path<T: Object>(namespace: Option<&str>, name: Option<&str>) -> String {
    let mut path = T::API.to_owned();
    if let Some(namespace) = namespace {
        path.push_str("/namespaces/");
        percent_encode(&mut path, namespace);
    }
    path.push('/');
    path.push_str(T::RESOURCE);
    if let Some(name) = name {
        path.push('/');
        percent_encode(&mut path, name);
    }
    path
}

/// Adds `?key=value&…` to a path.
#[must_use]
pub fn with_query(mut path: String, query: &[(&str, &str)]) -> String {
    for (at, (key, value)) in query.iter().enumerate() {
        path.push(if at == 0 { '?' } else { '&' });
        percent_encode(&mut path, key);
        path.push('=');
        percent_encode(&mut path, value);
    }
    path
}

/// A GET request. `uri` comes from [`path`] and [`with_query`], which leave nothing to refuse.
#[must_use]
pub fn get(uri: String) -> Request<Vec<u8>> {
    let mut request = Request::new(Vec::new());
    *request.uri_mut() = http::Uri::try_from(uri).unwrap_or_default();
    let json = header::HeaderValue::from_static("application/json");
    request.headers_mut().insert(header::ACCEPT, json);
    request
}

fn percent_encode(into: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

/// Why a stream ended before the server ended it.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The server said so in its last line.
    #[error("{0}")]
    Status(ApiStatus),
    /// The connection broke.
    #[error("{0}")]
    Transport(String),
    /// A line longer than anything an API server stores.
    #[error("a watch line of more than {} MiB", LINE_BYTES_MAX >> 20)]
    TooLong,
}

/// The frames of a watch, cut out of its body wherever that was split.
#[derive(Debug)]
pub struct Lines<T> {
    body: Body,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no end of line.
    scanned: usize,
    frames: PhantomData<fn() -> T>,
}

impl<T: Object> Lines<T> {
    /// Reads from `body`.
    #[must_use]
    pub fn new(body: Body) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
            scanned: 0,
            frames: PhantomData,
        }
    }

    /// The next frame; `None` at the end, where a line that was cut off is dropped.
    ///
    /// Cancel-safe, as [`Self::fill`] is.
    pub async fn next_frame(&mut self) -> Result<Option<Frame<T>>, StreamError> {
        loop {
            if let Some(frame) = self.buffered() {
                return frame.map(Some);
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// The next frame that has already arrived in full.
    pub fn buffered(&mut self) -> Option<Result<Frame<T>, StreamError>> {
        while let Some(at) = memchr::memchr(b'\n', &self.buffer[self.scanned..]) {
            let end = self.scanned + at;
            let line = self.buffer[..end].trim_ascii();
            let frame = (!line.is_empty()).then(|| Frame::parse(line));
            self.buffer.advance(end + 1);
            self.scanned = 0;
            if frame.is_some() {
                return frame.map(|frame| frame.map_err(StreamError::Status));
            }
        }
        self.scanned = self.buffer.len();
        None
    }

    /// Waits for more bytes; `false` at the end of the stream. Cancel-safe: the only await takes
    /// nothing out of the body before it is ready.
    pub async fn fill(&mut self) -> Result<bool, StreamError> {
        if self.buffer.is_empty() && self.buffer.capacity() > BUFFER_BYTES_KEPT {
            self.buffer = BytesMut::new();
        }
        match self.body.frame().await {
            Some(Ok(part)) => {
                if let Ok(data) = part.into_data() {
                    self.buffer.extend_from_slice(&data);
                    let too_long = self.buffer.len() > LINE_BYTES_MAX;
                    if too_long && memchr::memchr(b'\n', &data).is_none() {
                        return Err(StreamError::TooLong);
                    }
                }
                Ok(true)
            }
            Some(Err(error)) => Err(StreamError::Transport(chain(&error))),
            None => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::model::{Key, Meta, Uid, Version};

    #[test]
    fn queries_are_encoded() {
        let uri = with_query(
            "/api/v1/pods".to_owned(),
            &[("fieldSelector", "status.phase!=Failed,a=b c"), ("w", "é")],
        );
        assert_eq!(
            uri,
            "/api/v1/pods?fieldSelector=status.phase%21%3DFailed%2Ca%3Db%20c&w=%C3%A9"
        );
        assert_eq!(get(uri.clone()).uri().to_string(), uri);
    }

    #[derive(serde::Deserialize)]
    struct Thing {
        metadata: Meta,
    }

    impl Object for Thing {
        const RESOURCE: &'static str = "things";
        const API: &'static str = "/apis/example.com/v1";

        fn key(&self) -> Key {
            self.metadata.key()
        }

        fn uid(&self) -> &Uid {
            &self.metadata.uid
        }

        fn version(&self) -> &Version {
            &self.metadata.resource_version
        }
    }

    #[test]
    fn paths_name_a_scope_or_an_object() {
        let base = "/apis/example.com/v1";
        let path = path::<Thing>;
        assert_eq!(path(None, None), format!("{base}/things"));
        assert_eq!(path(Some("n"), None), format!("{base}/namespaces/n/things"));
        assert_eq!(
            path(Some("n"), Some("a/b")),
            format!("{base}/namespaces/n/things/a%2Fb")
        );
    }

    #[tokio::test]
    async fn lines_are_cut_out_and_blank_ones_skipped() {
        let line = r#"{"type":"ADDED","object":{"metadata":{"name":"a"}}}"#;
        let text = format!("\n{line}\r\n \n{line}\n{line}");
        let mut lines = Lines::<Thing>::new(Body::from(text.into_bytes()));
        for _ in 0..2 {
            let frame = lines.next_frame().await.expect("a good stream");
            assert!(matches!(frame, Some(Frame::Applied(_))));
        }
        let end = lines.next_frame().await.expect("a good end");
        assert!(end.is_none(), "the last line was cut off");
    }

    #[tokio::test]
    async fn a_line_without_end_is_an_error() {
        let body = Body::from(vec![b'x'; LINE_BYTES_MAX + 1]);
        let error = Lines::<Thing>::new(body).next_frame().await;
        let error = error.err().expect("too long");
        assert_eq!(error.to_string(), "a watch line of more than 32 MiB");
    }

    #[tokio::test]
    async fn many_lines_at_once_are_not_too_long() {
        let mut body = vec![b' '; LINE_BYTES_MAX];
        body.push(b'\n');
        let mut lines = Lines::<Thing>::new(Body::from(body));
        assert!(lines.next_frame().await.expect("no error").is_none());
    }

    #[test]
    fn causes_are_said_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] std::fmt::Error);
        let inner = std::fmt::Error;
        let text = chain(&Outer(inner));
        assert_eq!(text, format!("outer: {inner}"));
    }
}
