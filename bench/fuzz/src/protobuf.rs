//! Protobuf: an object means the same as in JSON, a stream the same wherever it is cut, and of any bytes at
//! all no more is kept than they hold.

use std::fmt::Debug;

use serde_json::{Value, json};
use simkube::Kind;
use simkube::protobuf::{encode, encode_list, encode_status, event};
use zen_lead::logic::model::{Lease, Node, Object, Pod, Service, Slice};
use zen_lead::logic::reflect::{Encoding, Frame, Page};
use zen_lead::shell::api::ApiStatus;

use super::build;
use super::choices::Choices;
use super::frames::{plain, read, split};

/// Bytes that begin as bodies of protobuf do are taken as they are, others as choices.
pub fn protobuf(data: &[u8]) {
    if data.starts_with(b"k8s\0") {
        any::<Pod>(data);
        any::<Service>(data);
        any::<Slice>(data);
        any::<Node>(data);
        any::<Lease>(data);
        let _ = ApiStatus::parse(500, data);
        return;
    }
    let c = &mut Choices::of(data);
    while !c.is_empty() {
        match c.below(5) {
            0 => same::<Pod>(c, Kind::Pod, build::pod),
            1 => same::<Service>(c, Kind::Service, build::service),
            2 => same::<Slice>(c, Kind::EndpointSlice, build::slice),
            3 => same::<Lease>(c, Kind::Lease, build::lease),
            _ => same::<Node>(c, Kind::Node, build::node),
        }
    }
}

/// Whatever the bytes are, each object and each complaint took at least two of them.
fn any<T: Object + Debug>(data: &[u8]) {
    if let Ok(page) = Page::<T>::read(Encoding::Protobuf, data) {
        assert!(page.objects.len() + page.unreadable.len() <= data.len() / 2);
    }
    let message = event("MODIFIED", data);
    let _ = Frame::<T>::read(Encoding::Protobuf, &message[4..]);
    let _ = Frame::<T>::read(Encoding::Protobuf, data);
}

/// The fact from JSON and the fact from protobuf, alone and in a list.
fn same<T: Object + Debug + PartialEq>(
    c: &mut Choices,
    kind: Kind,
    make: impl Fn(&mut Choices) -> Value,
) {
    let mut object = make(c);
    strip(&mut object);
    let judge: T = serde_json::from_value(object.clone()).expect("what is valid parses");
    let framed = event("ADDED", &encode(kind, &object));
    match Frame::<T>::read(Encoding::Protobuf, &framed[4..]) {
        Ok(Frame::Applied(fact)) => assert_eq!(fact, judge, "{object}"),
        odd => panic!("{object}: {odd:?}"),
    }
    let gone = event("DELETED", &encode(kind, &object));
    let deleted = json!({"type": "DELETED", "object": object}).to_string();
    assert_eq!(
        Frame::<T>::read(Encoding::Protobuf, &gone[4..]),
        Frame::parse(deleted.as_bytes())
    );
    let bookmark = c.pick(&[
        json!({"metadata": {"resourceVersion": "12"}}),
        json!({"metadata": {"resourceVersion": "12", "annotations": {"k8s.io/initial-events-end": "true"}}}),
        json!({"metadata": {"resourceVersion": "0"}}),
    ]);
    let marked = event("BOOKMARK", &encode(kind, &bookmark));
    let line = json!({"type": "BOOKMARK", "object": bookmark}).to_string();
    assert_eq!(
        Frame::<T>::read(Encoding::Protobuf, &marked[4..]),
        Frame::parse(line.as_bytes())
    );
    refused::<T>(c);
    let version = json!({"resourceVersion": "7", "continue": c.pick(&["", "next"])});
    let list = [object.clone(), object];
    let body = encode_list(kind, &version, &list);
    let page = Page::<T>::read(Encoding::Protobuf, &body).expect("a list");
    let text = json!({"metadata": version, "items": list}).to_string();
    assert_eq!(page, Page::parse(text.as_bytes()).expect("a list"));
}

/// A refusal, as the last event of a watch and as an answer.
fn refused<T: Object + Debug + PartialEq>(c: &mut Choices) {
    let status = json!({
        "status": "Failure", "message": c.text(), "reason": c.pick(&["Expired", ""]),
        "code": c.pick(&[410, 500, 0]),
        "details": {
            "causes": [{ "reason": c.text(), "message": "m", "field": "f" }],
            "retryAfterSeconds": c.pick(&[0, 3]),
        },
    });
    let body = encode_status(status.to_string().as_bytes());
    let line = json!({"type": "ERROR", "object": status}).to_string();
    assert_eq!(
        Frame::<T>::read(Encoding::Protobuf, &event("ERROR", &body)[4..]),
        Frame::parse(line.as_bytes())
    );
    assert_eq!(
        ApiStatus::parse(410, &body),
        ApiStatus::parse(410, status.to_string().as_bytes())
    );
}

/// Takes away what has no number yet, and a version that no server gives: it reads as absent in one
/// encoding and as empty in the other.
fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, field| {
                name != "fromTheFuture" && !(name == "resourceVersion" && field == "")
            });
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Where a stream is cut is taken from the first bytes, the stream from the rest: as it is if it begins
/// with a length that is not huge, else built.
pub fn protobuf_frames(data: &[u8]) {
    let (cuts, rest) = data.split_at(data.len().min(8));
    let stream = match rest.first() {
        Some(0) => rest.to_vec(),
        _ => built(&mut Choices::of(rest)),
    };
    let (expected, ended) = plain::<Pod>(Encoding::Protobuf, &stream);
    let (frames, end) = read::<Pod>(Encoding::Protobuf, split(cuts, &stream));
    assert_eq!(frames, expected);
    assert_eq!(end, ended);
}

/// What a good server could send, with an event now and then that none would.
fn built(c: &mut Choices) -> Vec<u8> {
    let mut stream = Vec::new();
    while !c.is_empty() {
        let kind = c.pick(&["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR", "NEW"]);
        let object = match c.below(4) {
            0 | 1 => encode(Kind::Pod, &build::pod(c)),
            2 => encode(Kind::Service, &build::service(c)),
            _ => c.text().into_bytes(),
        };
        let mut event = event(kind, &object);
        if c.once_in(8) {
            let at = c.below(event.len().min(256));
            event[at] = c.byte();
        }
        stream.extend(event);
    }
    stream
}
