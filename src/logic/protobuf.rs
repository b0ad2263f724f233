//! Protocol buffers as an API server writes them, read where they stand.
//!
//! A reader goes over the fields of a message, picks those that it knows by their numbers and passes
//! over the others. Nothing is allocated and nothing is copied: texts are borrowed from the input, so
//! a field that is not read costs the two numbers in front of it. Memory and depth are therefore
//! bounded whatever the input says.
//!
//! The numbers are those of the `generated.proto` files of `k8s.io/api` and `k8s.io/apimachinery`.
//! An API server writes every field that is no pointer in Go, also if it is empty or zero; JSON leaves
//! out most of these. So an empty text of such a field reads as an absent one.

use serde::de::value::{Error, StrDeserializer};
use serde::de::{Deserialize, IntoDeserializer as _};

/// The first bytes of every body, and of every object in a watch event.
pub const MAGIC: &[u8] = b"k8s\0";

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("protobuf: expected {0}")]
pub struct Malformed(pub &'static str);

/// The content of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number or a truth.
    Number(u64),
    /// A text, a message or bytes.
    Bytes(&'a [u8]),
    /// Four or eight bytes; no field that is read has this form.
    Fixed,
}

/// The fields of a message: their numbers and contents. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The fields of `message`.
    #[must_use]
    pub fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first field with this number, if there is one before the first error.
    #[must_use]
    pub fn find(&self, wanted: u32) -> Option<Value<'a>> {
        let mut known = self.clone().map_while(Result::ok);
        known
            .find(|(number, _)| *number == wanted)
            .map(|(_, value)| value)
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| Malformed("a field number"))?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_| Malformed("a length"))?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(Malformed("a field without a group")),
        };
        Ok((number, value))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let cut = self.0.split_at_checked(length);
        let (head, rest) = cut.ok_or(Malformed("the rest of a field"))?;
        self.0 = rest;
        Ok(head)
    }

    /// Seven bits in each byte, the lowest first; the eighth says that more follow.
    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for (at, byte) in self.0.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.0 = &self.0[at + 1..];
                return Ok(number);
            }
        }
        Err(Malformed("the rest of a number"))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Value<'a> {
    /// The bytes of a text or a message.
    pub fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(_) | Self::Fixed => Err(Malformed("bytes")),
        }
    }

    /// A message of its own.
    pub fn message(self) -> Result<Fields<'a>, Malformed> {
        self.bytes().map(Fields::of)
    }

    /// A text.
    pub fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("UTF-8"))
    }

    /// A text that is not empty.
    pub fn some_text(self) -> Result<Option<&'a str>, Malformed> {
        self.text()
            .map(|text| Some(text).filter(|text| !text.is_empty()))
    }

    /// A number within the bounds of its type.
    pub fn number<T: TryFrom<i64>>(self) -> Result<T, Malformed> {
        match self {
            Self::Number(number) => {
                T::try_from(number.cast_signed()).map_err(|_| Malformed("a smaller number"))
            }
            Self::Bytes(_) | Self::Fixed => Err(Malformed("a number")),
        }
    }

    /// A truth.
    pub fn flag(self) -> Result<bool, Malformed> {
        self.number::<i64>().map(|number| number != 0)
    }

    /// One of the words that a type reads from JSON; the empty one is the default.
    pub fn word<T: Default + for<'de> Deserialize<'de>>(self) -> Result<T, Malformed> {
        match self.some_text()? {
            Some(text) => one_of(text),
            None => Ok(T::default()),
        }
    }

    /// A key and a value of a map.
    pub fn entry(self) -> Result<(&'a str, &'a str), Malformed> {
        let (mut key, mut text) = ("", "");
        for field in self.message()? {
            match field? {
                (1, value) => key = value.text()?,
                (2, value) => text = value.text()?,
                _ => {}
            }
        }
        Ok((key, text))
    }

    /// A point in time. The zero one of Go, which JSON writes as `null`, is an empty message.
    pub fn time(self) -> Result<Option<jiff::Timestamp>, Malformed> {
        let fields = self.message()?;
        if fields.is_empty() {
            return Ok(None);
        }
        let (mut seconds, mut nanos) = (0, 0);
        for field in fields {
            match field? {
                (1, value) => seconds = value.number()?,
                (2, value) => nanos = value.number()?,
                _ => {}
            }
        }
        let time = jiff::Timestamp::new(seconds, nanos);
        time.map(Some).map_err(|_| Malformed("a time"))
    }
}

/// Reads a text as the word that it is in JSON.
pub fn one_of<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, Malformed> {
    let word: StrDeserializer<'_, Error> = text.into_deserializer();
    T::deserialize(word).map_err(|_| Malformed("a known word"))
}

/// The object in a body or in a watch event: behind [`MAGIC`] stands a `runtime.Unknown`, whose
/// second field it is.
pub fn object(body: &[u8]) -> Result<&[u8], Malformed> {
    let unknown = body
        .strip_prefix(MAGIC)
        .ok_or(Malformed("the prefix k8s"))?;
    let mut object: &[u8] = &[];
    for field in Fields::of(unknown) {
        if let (2, value) = field? {
            object = value.bytes()?;
        }
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(message: &[u8]) -> Result<Vec<(u32, Value<'_>)>, Malformed> {
        Fields::of(message).collect()
    }

    #[test]
    fn fields_are_read_by_their_wire_type() {
        let message = [
            &[0x08, 0x96, 0x01][..],         // 1: 150
            &[0x12, 0x02, b'h', b'i'],       // 2: "hi"
            &[0x19, 1, 2, 3, 4, 5, 6, 7, 8], // 3: eight bytes
            &[0x25, 1, 2, 3, 4],             // 4: four bytes
            &[0xa2, 0x01, 0x00],             // 20: ""
            &[
                0x28, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ], // 5: -1
        ];
        let message = message.concat();
        let fields = all(&message).expect("a message");
        assert_eq!(fields[0], (1, Value::Number(150)));
        assert_eq!(fields[1].1.text(), Ok("hi"));
        assert_eq!(
            (fields[2], fields[3]),
            ((3, Value::Fixed), (4, Value::Fixed))
        );
        assert_eq!(fields[4], (20, Value::Bytes(b"")));
        assert_eq!(fields[5].1.number::<i32>(), Ok(-1));
        assert!(fields[5].1.number::<u16>().is_err());
        assert_eq!(Fields::of(&message).find(20), Some(Value::Bytes(b"")));
        assert_eq!(Fields::of(&message).find(6), None);
    }

    #[test]
    fn what_is_cut_off_or_odd_is_an_error_and_the_end() {
        for message in [
            &[0x08][..],   // no number
            &[0x08, 0x80], // half a number
            &[
                0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
            ], // too long
            &[0x12, 0x03, b'h', b'i'], // a short text
            &[
                0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ], // all of memory
            &[0x19, 1, 2, 3], // half of eight bytes
            &[0x0b, 0x0c], // a group
            &[0x0f],       // no such type
        ] {
            assert!(all(message).is_err(), "{message:?}");
            assert_eq!(Fields::of(message).count(), 1, "{message:?}");
        }
        assert!(Value::Bytes(&[0xff]).text().is_err());
        assert!(Value::Number(1).text().is_err() && Value::Bytes(b"1").flag().is_err());
    }

    #[test]
    fn times_have_seconds_and_nanoseconds() {
        let time = |message: &[u8]| Value::Bytes(message).time();
        assert_eq!(time(&[]), Ok(None));
        assert_eq!(time(&[8, 0, 16, 0]), Ok(Some(jiff::Timestamp::UNIX_EPOCH)));
        let at = jiff::Timestamp::new(1, 500).expect("in range");
        assert_eq!(time(&[8, 1, 16, 0xf4, 0x03]), Ok(Some(at)));
        let never = [8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert!(time(&never).is_err());
    }

    #[test]
    fn an_object_stands_behind_the_prefix() {
        assert_eq!(object(b"k8s\0\x0a\x00\x12\x01x\x1a\x00"), Ok(&b"x"[..]));
        assert_eq!(object(b"k8s\0"), Ok(&b""[..]));
        assert!(object(b"{}").is_err() && object(b"k8s\0\x12\x05x").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_input_is_too_odd(message in prop::collection::vec(any::<u8>(), 0..64)) {
            for field in Fields::of(&message) {
                let Ok((_, value)) = field else { break };
                let _ = (value.text(), value.flag(), value.entry(), value.time());
            }
            let _ = object(&message);
        }
    }
}
