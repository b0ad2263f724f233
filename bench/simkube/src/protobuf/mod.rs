//! Objects, lists, statuses and watch events in protobuf, made from their JSON by tables of field numbers
//! (`schema`), and read back into JSON for tests.
//!
//! As the real server does, a field that is no pointer in Go is written also if it is empty or zero, and a
//! zero time is an empty message. What the tables do not name is left out.

mod read;
mod schema;

use serde_json::Value;

use crate::api::kind::Kind;

pub use read::{object, to_json};

/// The media type.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// Before every body and every object of a watch event.
const MAGIC: &[u8] = b"k8s\0";

/// The fields of a message, in the order of their numbers.
type Schema = [(&'static str, u32, Form)];

/// What a field holds. Those that end in `If` are pointers in Go: written if they are in the JSON.
#[derive(Clone, Copy)]
enum Form {
    Text,
    TextIf,
    Number,
    NumberIf,
    Flag,
    FlagIf,
    /// Seconds.
    Time,
    TimeIf,
    /// Seconds and microseconds.
    MicroTimeIf,
    Texts,
    Map,
    Message(&'static Schema),
    MessageIf(&'static Schema),
    Messages(&'static Schema),
    /// Fields of the same JSON object, in a message of their own.
    Embedded(&'static Schema),
    /// A number or a name.
    IntOrText,
    /// A map of quantities.
    Quantities,
    /// JSON as it is.
    Raw,
}

/// Whether a kind is served as protobuf.
pub(crate) fn is_served(kind: Kind) -> bool {
    schema::of(kind).is_some()
}

/// The message of an object; empty for a kind that is served as JSON only.
pub(crate) fn message_of(kind: Kind, value: &Value) -> Vec<u8> {
    schema::of(kind).map_or_else(Vec::new, |schema| message(schema, value))
}

/// A message as a body.
pub(crate) fn body(kind: Kind, message: &[u8]) -> Vec<u8> {
    unknown(kind.api_version(), kind.name(), message)
}

/// A list of messages as a body.
pub(crate) fn list<'a>(
    kind: Kind,
    metadata: &Value,
    items: impl Iterator<Item = &'a [u8]>,
) -> Vec<u8> {
    let mut list = Vec::new();
    bytes(&mut list, 1, &message(schema::LIST_META, metadata));
    items.for_each(|item| bytes(&mut list, 2, item));
    let name = format!("{}List", kind.name());
    unknown(kind.api_version(), &name, &list)
}

/// A `Status` from its JSON, as a body.
#[must_use]
pub fn encode_status(json: &[u8]) -> Vec<u8> {
    let value: Value = serde_json::from_slice(json).unwrap_or_default();
    unknown("v1", "Status", &message(schema::STATUS, &value))
}

/// A watch event with its length in front. `object` is a body.
#[must_use]
pub fn event(kind: &str, object: &[u8]) -> Vec<u8> {
    let mut raw = Vec::new();
    bytes(&mut raw, 1, object);
    let mut event = Vec::new();
    bytes(&mut event, 1, kind.as_bytes());
    bytes(&mut event, 2, &raw);
    let length = u32::try_from(event.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &event].concat()
}

/// An object of one of the kinds as a body, from its JSON: for tests and benches without a server.
#[must_use]
pub fn encode(kind: Kind, value: &Value) -> Vec<u8> {
    body(kind, &message_of(kind, value))
}

/// The same for a list of them, with the list's own metadata.
#[must_use]
pub fn encode_list(kind: Kind, metadata: &Value, items: &[Value]) -> Vec<u8> {
    let items: Vec<_> = items.iter().map(|item| message_of(kind, item)).collect();
    list(kind, metadata, items.iter().map(Vec::as_slice))
}

fn unknown(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut types = Vec::new();
    bytes(&mut types, 1, api_version.as_bytes());
    bytes(&mut types, 2, kind.as_bytes());
    let mut out = MAGIC.to_vec();
    bytes(&mut out, 1, &types);
    bytes(&mut out, 2, message);
    bytes(&mut out, 3, b"");
    bytes(&mut out, 4, b"");
    out
}

fn message(schema: &Schema, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, number, form) in schema {
        let field = match form {
            Form::Embedded(_) => value,
            _ => &value[*name],
        };
        write(&mut out, *number, *form, field);
    }
    out
}

fn write(out: &mut Vec<u8>, number: u32, form: Form, value: &Value) {
    let is_there = !value.is_null();
    match form {
        Form::TextIf
        | Form::NumberIf
        | Form::FlagIf
        | Form::TimeIf
        | Form::MicroTimeIf
        | Form::MessageIf(_)
        | Form::IntOrText
        | Form::Raw
            if !is_there => {}
        Form::Text | Form::TextIf => bytes(out, number, text(value)),
        Form::Number | Form::NumberIf => int(out, number, value.as_i64().unwrap_or_default()),
        Form::Flag | Form::FlagIf => int(out, number, i64::from(value == true)),
        Form::Time | Form::TimeIf | Form::MicroTimeIf => bytes(out, number, &time(value)),
        Form::Texts => items(value).for_each(|item| bytes(out, number, text(item))),
        Form::Map => {
            for (key, value) in entries(value) {
                bytes(out, number, &entry(key, text(value)));
            }
        }
        Form::Quantities => {
            for (key, value) in entries(value) {
                let mut quantity = Vec::new();
                bytes(&mut quantity, 1, text(value));
                bytes(out, number, &entry(key, &quantity));
            }
        }
        Form::Message(schema) | Form::MessageIf(schema) | Form::Embedded(schema) => {
            bytes(out, number, &message(schema, value));
        }
        Form::Messages(schema) => {
            items(value).for_each(|item| bytes(out, number, &message(schema, item)));
        }
        Form::IntOrText => bytes(out, number, &int_or_text(value)),
        Form::Raw => {
            let mut raw = Vec::new();
            bytes(&mut raw, 1, value.to_string().as_bytes());
            bytes(out, number, &raw);
        }
    }
}

fn entry(key: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, 1, key.as_bytes());
    bytes(&mut out, 2, value);
    out
}

fn int_or_text(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    int(&mut out, 1, i64::from(value.is_string()));
    int(&mut out, 2, value.as_i64().unwrap_or_default());
    bytes(&mut out, 3, text(value));
    out
}

fn time(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(time) = value
        .as_str()
        .and_then(|text| text.parse::<jiff::Timestamp>().ok())
    {
        // Nanoseconds are those since the second before, also before 1970.
        let nanos = i64::from(time.subsec_nanosecond());
        let borrow = i64::from(nanos < 0);
        int(&mut out, 1, time.as_second() - borrow);
        int(&mut out, 2, nanos + borrow * 1_000_000_000);
    }
    out
}

fn text(value: &Value) -> &[u8] {
    value.as_str().unwrap_or_default().as_bytes()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn bytes(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    varint(out, u64::from(number) << 3 | 2);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn int(out: &mut Vec<u8>, number: u32, value: i64) {
    varint(out, u64::from(number) << 3);
    varint(out, value.cast_unsigned());
}

/// Seven bits in each byte, the lowest first; the eighth says that more follow.
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}
