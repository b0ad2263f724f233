//! Strings of the input, read where they stand. Copies only what is kept, once.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Visitor};

/// A string that is looked at and not kept: borrowed from the input unless it has escapes.
///
/// serde's own `Option<Cow<str>>` always copies, and its `Arc<str>` copies twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl Text<'_> {
    pub(super) fn shared(&self) -> Arc<str> {
        (*self.0).into()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;
        impl<'de> Visitor<'de> for Whole {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Whole)
    }
}

/// Reads a string to be shared, `null` as empty.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    let text = Option::<Text<'_>>::deserialize(deserializer)?;
    Ok(text.unwrap_or_default().shared())
}

/// Reads a string to be shared; `null` and the empty one are none.
pub(super) fn some_text<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Arc<str>>, D::Error> {
    let text = Option::<Text<'_>>::deserialize(deserializer)?;
    Ok(text
        .filter(|text| !text.0.is_empty())
        .map(|text| text.shared()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_only_what_has_escapes() {
        let read = |json| serde_json::from_str::<Text<'_>>(json).expect("a string");
        assert!(matches!(read(r#""plain""#), Text(Cow::Borrowed("plain"))));
        assert_eq!(read(r#""a\tb""#).0, "a\tb");
        assert!(serde_json::from_str::<Text<'_>>("7").is_err());
    }
}
