//! Identities of objects. Sixteen bytes each where a text takes sixty-eight: there is one per pod.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::text::Text;

/// The unique identity of one object; a re-created namesake has another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(Form);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Form {
    /// A UUID as every API server writes it, in lower case; its bytes in the order of the digits.
    Uuid([u8; 16]),
    /// Anything else, kept to the letter.
    Text(Arc<str>),
}

/// Where the dashes of a UUID are.
const DASHES: [usize; 4] = [8, 13, 18, 23];
/// How long its text is.
const UUID_BYTES: usize = 36;

impl Default for Uid {
    fn default() -> Self {
        Self(Form::Text(Arc::default()))
    }
}

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        Self(uuid(text).map_or_else(|| Form::Text(text.into()), Form::Uuid))
    }
}

/// The bytes of a UUID, if that is what the text is, in the one form that reads back the same.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let text = text.as_bytes();
    if text.len() != UUID_BYTES || DASHES.iter().any(|at| text[*at] != b'-') {
        return None;
    }
    let mut digits = (0..UUID_BYTES).filter(|at| !DASHES.contains(at));
    let mut digit = || match text[digits.next()?] {
        digit @ b'0'..=b'9' => Some(digit - b'0'),
        digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        *byte = digit()? << 4 | digit()?;
    }
    Some(bytes)
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = match &self.0 {
            Form::Uuid(bytes) => bytes,
            Form::Text(text) => return f.write_str(text),
        };
        for (at, byte) in bytes.iter().enumerate() {
            let dash = if matches!(at, 4 | 6 | 8 | 10) {
                "-"
            } else {
                ""
            };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Uid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Uid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Text::deserialize(deserializer).map(|text| Self::from(&*text.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_text_reads_back_the_same(
            text in "([0-9a-fA-F]{8}(-[0-9a-f]{4}){3}-[0-9a-g]{12})|[0-9a-f-]{34,38}|.{0,40}",
        ) {
            prop_assert_eq!(Uid::from(&*text).to_string(), text);
        }

        #[test]
        fn uuids_order_as_their_texts_do(a in any::<u128>(), b in any::<u128>()) {
            let text = |number: u128| {
                let hex = format!("{number:032x}");
                [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
            };
            let (a, b) = (text(a), text(b));
            prop_assert!(matches!(Uid::from(&*a).0, Form::Uuid(_)));
            prop_assert_eq!(Uid::from(&*a).cmp(&Uid::from(&*b)), a.cmp(&b));
        }
    }
}
