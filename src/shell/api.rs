//! Raw requests to the API server: paths, one answer within a time limit, and a stream of frames.
//! Retries nothing, logs nothing and reads no clock; a leaf that every other file of `shell` may use.

mod frames;
mod list;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kube_client::Client;
use kube_client::client::Body;

use crate::logic::model::Object;
use crate::logic::reflect::Encoding;

pub use self::frames::{Frames, StreamError};
pub use self::list::{ListError, list};
pub use crate::logic::reflect::{ApiStatus, StatusCause};

/// Field selector of the watches of pods. A pod that ended is gone for us; the server need not send it.
pub const LIVE_PODS: &str = "status.phase!=Succeeded,status.phase!=Failed";
/// Longest answer that is read: a page of 500 large objects. Only there so that a server gone mad
/// cannot take all memory.
const ANSWER_BYTES_MAX: usize = 256 << 20;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf,application/json";
const PROTOBUF_TRIMMED: &str = "application/vnd.kubernetes.protobuf;drop=metadata.managedFields,\
     application/json;drop=metadata.managedFields";

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
    /// How the body is written.
    pub encoding: Encoding,
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

/// Sends `request` and returns the body as frames once a 200 has come, within `timeout`.
pub async fn open<T: Object>(
    client: &Client,
    request: Request<Vec<u8>>,
    timeout: Duration,
) -> Result<Frames<T>, OpenError> {
    let exchange = async {
        let response = send(client, request).await?;
        if response.status() == StatusCode::OK {
            let encoding = encoding(response.headers());
            Ok(Frames::new(response.into_body(), encoding))
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
    let encoding = encoding(response.headers());
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
        encoding,
        retry_after,
    })
}

fn encoding(headers: &HeaderMap) -> Encoding {
    let named = headers.get(header::CONTENT_TYPE);
    let named = named.and_then(|value| value.to_str().ok());
    Encoding::of(named.unwrap_or_default())
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
    let json = HeaderValue::from_static(JSON);
    request.headers_mut().insert(header::ACCEPT, json);
    request
}

/// The same, for a list or a watch of such objects in an encoding. Of two that it knows the server takes the
/// first one, and says so in its answer; a parameter that it does not know it ignores.
#[must_use]
pub fn get_as<T: Object>(uri: String, encoding: Encoding) -> Request<Vec<u8>> {
    let mut request = get(uri);
    let accept = match (encoding, T::READS_MANAGED_FIELDS) {
        (Encoding::Json, _) => return request,
        (Encoding::Protobuf, true) => PROTOBUF,
        (Encoding::Protobuf, false) => PROTOBUF_TRIMMED,
    };
    let accept = HeaderValue::from_static(accept);
    request.headers_mut().insert(header::ACCEPT, accept);
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
