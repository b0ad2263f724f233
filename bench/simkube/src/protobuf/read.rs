//! Protobuf into JSON by the same tables, as far as they name the fields. Fields that are empty or zero are
//! left out, as Go leaves them out of JSON.

use serde_json::{Map, Value, json};

use super::{Form, MAGIC, Schema, schema};
use crate::api::kind::Kind;

/// The JSON form of a body: an object or a list of a kind that is served as protobuf, or a `Status`.
#[must_use]
pub fn to_json(body: &[u8]) -> Option<Value> {
    let (mut types, mut message) = (&[][..], &[][..]);
    for (number, content) in fields(body.strip_prefix(MAGIC)?)? {
        match (number, content) {
            (1, Content::Bytes(bytes)) => types = bytes,
            (2, Content::Bytes(bytes)) => message = bytes,
            _ => {}
        }
    }
    let types = to_value(schema::TYPE_META, types)?;
    let kind = types["kind"].as_str()?;
    let found = |name: &str| Kind::ALL.into_iter().find(|kind| kind.name() == name);
    let mut value = match kind.strip_suffix("List").and_then(found) {
        Some(kind) => list(schema::of(kind)?, message)?,
        None if kind == "Status" => to_value(schema::STATUS, message)?,
        None => to_value(schema::of(found(kind)?)?, message)?,
    };
    value["kind"] = types["kind"].clone();
    value["apiVersion"] = types["apiVersion"].clone();
    Some(value)
}

/// The type of a watch event, and the body of its object.
#[must_use]
pub fn object(event: &[u8]) -> Option<(&str, &[u8])> {
    let (mut kind, mut object) = (None, None);
    for (number, content) in fields(event)? {
        match (number, content) {
            (1, Content::Bytes(bytes)) => kind = std::str::from_utf8(bytes).ok(),
            (2, Content::Bytes(bytes)) => {
                let (_, content) = fields(bytes)?
                    .into_iter()
                    .find(|(number, _)| *number == 1)?;
                object = content.bytes();
            }
            _ => {}
        }
    }
    Some((kind?, object?))
}

fn list(schema: &Schema, message: &[u8]) -> Option<Value> {
    let mut list = json!({"metadata": {}, "items": []});
    for (number, content) in fields(message)? {
        match (number, content) {
            (1, Content::Bytes(bytes)) => list["metadata"] = to_value(schema::LIST_META, bytes)?,
            (2, Content::Bytes(bytes)) => {
                let item = to_value(schema, bytes)?;
                list["items"].as_array_mut()?.push(item);
            }
            _ => {}
        }
    }
    Some(list)
}

#[derive(Clone, Copy)]
enum Content<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Content<'a> {
    fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Number(_) => None,
        }
    }

    fn text(self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    fn number(self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(number.cast_signed()),
            Self::Bytes(_) => None,
        }
    }
}

fn fields(mut message: &[u8]) -> Option<Vec<(u32, Content<'_>)>> {
    let mut all = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let content = match tag & 7 {
            0 => Content::Number(varint(&mut message)?),
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                let (head, rest) = message.split_at_checked(length)?;
                message = rest;
                Content::Bytes(head)
            }
            _ => return None,
        };
        all.push((u32::try_from(tag >> 3).ok()?, content));
    }
    Some(all)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn to_value(schema: &Schema, message: &[u8]) -> Option<Value> {
    let mut out = Map::new();
    for (number, content) in fields(message)? {
        let Some((name, _, form)) = schema.iter().find(|(_, known, _)| *known == number) else {
            continue;
        };
        add(&mut out, name, *form, content)?;
    }
    Some(out.into())
}

fn add(out: &mut Map<String, Value>, name: &str, form: Form, content: Content<'_>) -> Option<()> {
    let value = match form {
        Form::Text => Some(content.text()?.into()).filter(|text| *text != ""),
        Form::TextIf => Some(content.text()?.into()),
        Form::Number => Some(content.number()?.into()).filter(|number| *number != 0),
        Form::NumberIf => Some(content.number()?.into()),
        Form::Flag => Some((content.number()? != 0).into()).filter(|flag| *flag != false),
        Form::FlagIf => Some((content.number()? != 0).into()),
        Form::Time | Form::TimeIf => time(content.bytes()?, false)?,
        Form::MicroTimeIf => time(content.bytes()?, true)?,
        Form::Message(schema) | Form::MessageIf(schema) => {
            Some(to_value(schema, content.bytes()?)?)
        }
        Form::Embedded(schema) => {
            let Value::Object(fields) = to_value(schema, content.bytes()?)? else {
                return None;
            };
            out.extend(fields);
            None
        }
        Form::IntOrText => Some(int_or_text(content.bytes()?)?),
        Form::Raw => {
            let (_, raw) = *fields(content.bytes()?)?.first()?;
            Some(serde_json::from_slice(raw.bytes()?).ok()?)
        }
        Form::Texts => {
            return push(out, name, content.text()?.into());
        }
        Form::Messages(schema) => {
            let item = to_value(schema, content.bytes()?)?;
            return push(out, name, item);
        }
        Form::Map | Form::Quantities => {
            let (mut key, mut text) = (String::new(), Value::from(""));
            for (number, content) in fields(content.bytes()?)? {
                match number {
                    1 => key = content.text()?,
                    _ if matches!(form, Form::Map) => text = content.text()?.into(),
                    _ => text = fields(content.bytes()?)?.first()?.1.text()?.into(),
                }
            }
            let map = out.entry(name).or_insert_with(|| json!({}));
            map.as_object_mut()?.insert(key, text);
            return Some(());
        }
    };
    if let Some(value) = value {
        out.insert(name.to_owned(), value);
    }
    Some(())
}

fn push(out: &mut Map<String, Value>, name: &str, item: Value) -> Option<()> {
    let list = out.entry(name).or_insert_with(|| json!([]));
    list.as_array_mut()?.push(item);
    Some(())
}

fn int_or_text(message: &[u8]) -> Option<Value> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    for (at, content) in fields(message)? {
        match at {
            1 => is_text = content.number()? != 0,
            2 => number = content.number()?,
            _ => text = content.text()?,
        }
    }
    Some(if is_text { text.into() } else { number.into() })
}

/// `None` outside if it cannot be read, inside if it is the zero time.
#[expect(
    clippy::option_option,
    reason = "the inner one is a value of the format"
)]
fn time(message: &[u8], micros: bool) -> Option<Option<Value>> {
    let (mut seconds, mut nanos) = (None, 0);
    for (number, content) in fields(message)? {
        match number {
            1 => seconds = Some(content.number()?),
            _ => nanos = content.number()?,
        }
    }
    let Some(seconds) = seconds else {
        return Some(None);
    };
    let time = jiff::Timestamp::new(seconds, i32::try_from(nanos).ok()?).ok()?;
    let text = if micros {
        format!("{time:.6}")
    } else {
        time.to_string()
    };
    Some(Some(text.into()))
}
