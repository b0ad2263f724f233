//! The one message that kubectl insists on sending as protobuf: an access review. Everything else
//! is JSON here.

use serde_json::{Map, Value, json};

/// Before every message: `k8s` and a zero byte.
const MAGIC: &[u8] = b"k8s\0";

/// Field numbers of `ResourceAttributes`.
const ATTRIBUTES: [&str; 7] = [
    "namespace",
    "verb",
    "group",
    "version",
    "resource",
    "subresource",
    "name",
];

/// Reads a `SelfSubjectAccessReview` into its JSON form; `None` if it is none.
pub(super) fn review(body: &[u8]) -> Option<Value> {
    // runtime.Unknown: 2 is the raw object, whose 2 is the spec, whose 1 are the attributes.
    let raw = field(body.strip_prefix(MAGIC)?, 2)?;
    let spec = field(raw, 2)?;
    let Some(attributes) = field(spec, 1) else {
        return Some(json!({"spec": {}}));
    };
    let mut named = Map::new();
    for (number, name) in (1..).zip(ATTRIBUTES) {
        let text = field(attributes, number).unwrap_or_default();
        let text = std::str::from_utf8(text).ok()?;
        if !text.is_empty() {
            named.insert(name.into(), text.into());
        }
    }
    Some(json!({"spec": {"resourceAttributes": named}}))
}

/// The content of the first field with this number, if it is one of bytes.
fn field(mut message: &[u8], wanted: u64) -> Option<&[u8]> {
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let content = match key & 7 {
            0 => {
                varint(&mut message)?;
                &[]
            }
            1 => take(&mut message, 8)?,
            2 => {
                let length = varint(&mut message)?;
                take(&mut message, usize::try_from(length).ok()?)?
            }
            5 => take(&mut message, 4)?,
            _ => return None,
        };
        if key >> 3 == wanted {
            return Some(content);
        }
    }
    None
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = message.split_at_checked(length)?;
    *message = tail;
    Some(head)
}

/// Seven bits in each byte, the lowest first; the eighth says that more follow.
fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(message, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("short");
        [&[number << 3 | 2, length], content].concat()
    }

    #[test]
    fn reviews_are_read() {
        let attributes = [bytes(2, b"list"), bytes(5, b"pods")].concat();
        let object = [bytes(1, b""), bytes(2, &bytes(1, &attributes))].concat();
        let message = [MAGIC, &bytes(1, b"type"), &bytes(2, &object)].concat();
        assert_eq!(
            review(&message),
            Some(json!({"spec": {"resourceAttributes": {"verb": "list", "resource": "pods"}}}))
        );
        for cut in 0..message.len() {
            // Whatever is missing, it is no panic.
            let _ = review(&message[..cut]);
        }
        assert_eq!(review(b"{}"), None);
    }
}
