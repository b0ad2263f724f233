//! Watch streams: where the bytes are split makes no difference, and each line means what a plain
//! reading of its JSON says.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube_client::Client;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use zen_lead::logic::model::{Object, Pod, Service, Slice};
use zen_lead::logic::reflect::{Encoding, Frame};
use zen_lead::shell::api::{self, ApiStatus, StreamError};

use super::build;
use super::choices::Choices;

/// Where a stream is cut is taken from the first bytes, the stream from the rest: as it is if it
/// begins like JSON, else built.
pub fn frames(data: &[u8]) {
    let (cuts, rest) = data.split_at(data.len().min(8));
    let stream = match rest.first() {
        Some(b'{' | b'\n' | b' ') => rest.to_vec(),
        _ => built(&mut Choices::of(rest)),
    };
    one_kind::<Pod>(cuts, &stream);
    one_kind::<Service>(cuts, &stream);
    one_kind::<Slice>(cuts, &stream);
    for line in stream.split(|byte| *byte == b'\n') {
        if let Ok(event @ Value::Object(_)) = serde_json::from_slice(line) {
            meaning::<Pod>(&event);
            meaning::<Service>(&event);
        }
    }
}

/// What a good server could send, with a line now and then that none would.
fn built(c: &mut Choices) -> Vec<u8> {
    let mut stream = Vec::new();
    while !c.is_empty() {
        let kind = c.pick(&["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR", "NEW"]);
        let object = match c.below(6) {
            0 | 1 => build::pod(c),
            2 => build::service(c),
            3 => build::slice(c),
            4 => json!({ "metadata": build::metadata(c) }),
            _ => {
                json!({ "kind": "Status", "code": c.below(256) * 2, "message": c.text(), "reason": c.text() })
            }
        };
        match c.below(8) {
            0 => stream.extend(c.text().into_bytes()),
            1 => stream.extend(
                json!({ "object": object, "type": kind })
                    .to_string()
                    .into_bytes(),
            ),
            _ => stream.extend(typed(kind, &object).into_bytes()),
        }
        let end: &[u8] = c.pick(&[b"\n", b"\n", b"\r\n", b"\n\n", b" \n \n", b""]);
        stream.extend(end);
    }
    stream
}

/// A line as servers write it: the type first.
fn typed(kind: &str, object: &Value) -> String {
    format!(r#"{{"type":{},"object":{object}}}"#, Value::from(kind))
}

fn one_kind<T: Object + Clone + std::fmt::Debug + PartialEq>(cuts: &[u8], stream: &[u8]) {
    let (expected, ended) = plain::<T>(Encoding::Json, stream);
    let (read, end) = read::<T>(Encoding::Json, split(cuts, stream));
    assert_eq!(read, expected);
    assert_eq!(end, ended);
}

/// A stream in up to 65 chunks.
pub(super) fn split(cuts: &[u8], stream: &[u8]) -> VecDeque<Bytes> {
    let mut chunks = VecDeque::new();
    let mut rest = stream;
    for cut in cuts.iter().cycle().take(64) {
        let (chunk, after) = rest.split_at(rest.len().min(usize::from(*cut)));
        chunks.push_back(Bytes::copy_from_slice(chunk));
        rest = after;
    }
    chunks.push_back(Bytes::copy_from_slice(rest));
    chunks
}

/// The events of a stream, without one that is cut off at the end.
fn events(encoding: Encoding, stream: &[u8]) -> Vec<&[u8]> {
    if encoding == Encoding::Json {
        let mut lines: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
        lines.pop();
        return lines.into_iter().map(<[u8]>::trim_ascii).collect();
    }
    let (mut events, mut rest) = (Vec::new(), stream);
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((event, after)) = after.split_at_checked(length) else {
            break;
        };
        events.push(event);
        rest = after;
    }
    events
}

/// The frames of a stream up to its end or to its first `ERROR`, from the whole of its bytes.
pub(super) fn plain<T: Object>(
    encoding: Encoding,
    stream: &[u8],
) -> (Vec<Frame<T>>, Option<ApiStatus>) {
    let mut frames = Vec::new();
    for event in events(encoding, stream) {
        if event.is_empty() {
            continue;
        }
        match Frame::read(encoding, event) {
            Ok(frame) => frames.push(frame),
            Err(status) => return (frames, Some(status)),
        }
    }
    (frames, None)
}

/// The same through the client, in these chunks. A frame that announces more than any server sends ends
/// the stream.
pub(super) fn read<T: Object>(
    encoding: Encoding,
    chunks: VecDeque<Bytes>,
) -> (Vec<Frame<T>>, Option<ApiStatus>) {
    thread_local! {
        static RUNTIME: RefCell<Runtime> = RefCell::new(
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"),
        );
    }
    let service = tower::service_fn(move |_| {
        let body = Chunks(chunks.clone());
        let mut response = http::Response::new(body);
        if encoding == Encoding::Protobuf {
            let kind = "application/vnd.kubernetes.protobuf;stream=watch";
            let kind = http::HeaderValue::from_static(kind);
            response.headers_mut().insert("content-type", kind);
        }
        async move { Ok::<_, Infallible>(response) }
    });
    RUNTIME.with_borrow(|runtime| {
        runtime.block_on(async {
            let client = Client::new(service, "default");
            let request = api::get("/".to_owned());
            let opened = api::open::<T>(&client, request, Duration::from_mins(1)).await;
            let mut lines = opened.expect("the answer is 200");
            let mut frames = Vec::new();
            loop {
                match lines.next_frame().await {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) | Err(StreamError::TooLong) => return (frames, None),
                    Err(StreamError::Status(status)) => return (frames, Some(status)),
                    Err(why) => panic!("{why}"),
                }
            }
        })
    })
}

/// A body in pieces.
struct Chunks(VecDeque<Bytes>);

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        Poll::Ready(
            self.0
                .pop_front()
                .map(|chunk| Ok(hyper::body::Frame::data(chunk))),
        )
    }
}

/// What one event means, told from its JSON by hand; whether the type stands first or last.
fn meaning<T: Object + Clone + std::fmt::Debug + PartialEq>(event: &Value) {
    let (Some(kind), Some(object)) = (event["type"].as_str(), event.get("object")) else {
        return;
    };
    let parse = |line: String| Frame::<T>::parse(line.as_bytes());
    let first = parse(typed(kind, object));
    let last = parse(format!(
        r#"{{"object":{object},"type":{}}}"#,
        Value::from(kind)
    ));
    assert_eq!(
        without_reason(first.clone()),
        without_reason(last),
        "{event}"
    );
    let meta = &object["metadata"];
    let text = |field: &str| meta[field].as_str();
    match (kind, first) {
        ("ADDED" | "MODIFIED", Ok(Frame::Applied(applied))) => {
            let alone = serde_json::from_value(object.clone()).map_err(|why| why.to_string());
            assert_eq!(Ok(applied), alone);
        }
        ("ADDED" | "MODIFIED", Ok(Frame::Unreadable(_))) => {
            assert!(
                serde_json::from_value::<T>(object.clone()).is_err(),
                "{event}"
            );
        }
        ("DELETED", Ok(Frame::Deleted(stone))) => {
            assert_eq!(Some(&*stone.key.name), text("name"));
            assert_eq!(&*stone.key.namespace, text("namespace").unwrap_or_default());
            assert_eq!(stone.uid.to_string(), text("uid").unwrap_or_default());
            let version = text("resourceVersion").unwrap_or("0");
            assert_eq!(stone.version.to_string(), version);
        }
        ("BOOKMARK", Ok(Frame::Bookmark(bookmark))) => {
            assert_eq!(
                Some(&*bookmark.version.to_string()),
                text("resourceVersion")
            );
            let end = &meta["annotations"]["k8s.io/initial-events-end"];
            assert_eq!(bookmark.initial_events_end, end == "true");
        }
        ("ERROR", Err(status)) => {
            if let Ok(judge) = serde_json::from_value::<Status>(object.clone()) {
                let code = u16::try_from(judge.code.unwrap_or_default()).unwrap_or_default();
                if status.code != 0 {
                    assert_eq!(status.code, code);
                    assert_eq!(*status.reason, *judge.reason.unwrap_or_default());
                    assert_eq!(*status.message, *judge.message.unwrap_or_default());
                }
            }
        }
        ("DELETED", Ok(Frame::Unreadable(_))) => {
            let is_tombstone = text("name").is_some()
                && ["namespace", "uid", "resourceVersion"]
                    .iter()
                    .all(|field| meta[*field].is_string() || meta[*field].is_null());
            assert!(!is_tombstone, "{event}");
        }
        ("BOOKMARK", Ok(Frame::Unreadable(_))) => {
            let version = text("resourceVersion").filter(|version| !["", "0"].contains(version));
            let annotations = &meta["annotations"];
            let plain = annotations.is_null()
                || annotations
                    .as_object()
                    .is_some_and(|all| all.values().all(Value::is_string));
            assert!(version.is_none() || !plain, "{event}");
        }
        ("ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR", odd) => {
            panic!("{event}: {odd:?}")
        }
        (_, odd) => assert!(matches!(odd, Ok(Frame::Unreadable(_))), "{event}: {odd:?}"),
    }
}

/// The reason names a column, which depends on the order.
fn without_reason<T>(frame: Result<Frame<T>, ApiStatus>) -> Result<Frame<T>, ApiStatus> {
    match frame {
        Ok(Frame::Unreadable(mut unreadable)) => {
            unreadable.reason = "".into();
            Ok(Frame::Unreadable(unreadable))
        }
        Err(status) if status.code == 0 => Err(ApiStatus::default()),
        other => other,
    }
}
