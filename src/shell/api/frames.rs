//! The frames of a watch, cut out of its body wherever that was split.

use std::marker::PhantomData;

use bytes::{Buf as _, BytesMut};
use http_body_util::BodyExt as _;
use kube_client::client::Body;

use super::{ApiStatus, chain};
use crate::logic::model::Object;
use crate::logic::reflect::{Encoding, Frame};

/// Longest frame of a watch that is read. The server's own limit for one object is 1.5 MiB.
const FRAME_BYTES_MAX: usize = 32 << 20;

/// A buffer larger than this is given back once it is empty.
const BUFFER_BYTES_KEPT: usize = 64 << 10;

/// Bytes in front of a frame of protobuf: its length, the highest byte first.
const LENGTH_BYTES: usize = 4;

/// Why a stream ended before the server ended it.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The server said so in its last frame.
    #[error("{0}")]
    Status(ApiStatus),
    /// The connection broke.
    #[error("{0}")]
    Transport(String),
    /// A frame longer than anything an API server stores.
    #[error("a watch frame of more than {} MiB", FRAME_BYTES_MAX >> 20)]
    TooLong,
}

/// The frames of a watch: lines of JSON, or protobuf with its length in front.
#[derive(Debug)]
pub struct Frames<T> {
    body: Body,
    encoding: Encoding,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no end of line.
    scanned: usize,
    objects: PhantomData<fn() -> T>,
}

/// What the buffer begins with.
enum Cut {
    /// A frame in these bytes; those up to the end of its line, or its own, are used up.
    Frame {
        begin: usize,
        end: usize,
        used: usize,
    },
    /// Not all of a frame yet.
    Part,
    /// A frame that is not to be waited for.
    TooLong,
}

impl<T: Object> Frames<T> {
    /// Reads from `body`.
    #[must_use]
    pub fn new(body: Body, encoding: Encoding) -> Self {
        Self {
            body,
            encoding,
            buffer: BytesMut::new(),
            scanned: 0,
            objects: PhantomData,
        }
    }

    /// The next frame; `None` at the end, where a frame that was cut off is dropped.
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
        loop {
            let cut = match self.encoding {
                Encoding::Json => self.cut_line(),
                Encoding::Protobuf => self.cut_message(),
            };
            match cut {
                Cut::Part => return None,
                Cut::TooLong => return Some(Err(StreamError::TooLong)),
                Cut::Frame { begin, end, used } => {
                    let bytes = &self.buffer[begin..end];
                    let frame = (begin < end).then(|| Frame::read(self.encoding, bytes));
                    self.buffer.advance(used);
                    if frame.is_some() {
                        return frame.map(|frame| frame.map_err(StreamError::Status));
                    }
                }
            }
        }
    }

    /// A line without the blanks around it; of a blank one nothing is left.
    fn cut_line(&mut self) -> Cut {
        let Some(at) = memchr::memchr(b'\n', &self.buffer[self.scanned..]) else {
            self.scanned = self.buffer.len();
            if self.scanned > FRAME_BYTES_MAX {
                return Cut::TooLong;
            }
            return Cut::Part;
        };
        let line = &self.buffer[..self.scanned + at];
        let used = line.len() + 1;
        let begin = line.len() - line.trim_ascii_start().len();
        let end = begin + line.trim_ascii().len();
        self.scanned = 0;
        Cut::Frame { begin, end, used }
    }

    fn cut_message(&self) -> Cut {
        let Some((length, rest)) = self.buffer.split_first_chunk::<LENGTH_BYTES>() else {
            return Cut::Part;
        };
        match usize::try_from(u32::from_be_bytes(*length)) {
            Ok(length) if length > FRAME_BYTES_MAX => Cut::TooLong,
            Ok(length) if length <= rest.len() => {
                let end = LENGTH_BYTES + length;
                Cut::Frame {
                    begin: LENGTH_BYTES,
                    end,
                    used: end,
                }
            }
            Ok(_) => Cut::Part,
            Err(_) => Cut::TooLong,
        }
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
    use crate::logic::model::{Key, Pod};

    const LINE: &str = r#"{"type":"ADDED","object":{"metadata":{"name":"a","namespace":"n"}}}"#;

    /// The same in protobuf, with its length in front.
    fn message() -> Vec<u8> {
        let metadata = b"\x0a\x01a\x1a\x01n";
        let object = [&b"k8s\0\x12\x08\x0a\x06"[..], metadata].concat();
        let event = [&b"\x0a\x05ADDED\x12\x10\x0a\x0e"[..], &object].concat();
        let length = u32::try_from(event.len()).expect("short");
        [&length.to_be_bytes()[..], &event].concat()
    }

    /// Frames of a body that ends in the middle of the third one.
    async fn two_of(body: Vec<u8>, encoding: Encoding) {
        let mut frames = Frames::<Pod>::new(Body::from(body), encoding);
        for _ in 0..2 {
            let frame = frames.next_frame().await.expect("a good stream");
            let Some(Frame::Applied(pod)) = frame else {
                panic!("{frame:?}")
            };
            assert_eq!(pod.key(), Key::new("n", "a"));
        }
        let end = frames.next_frame().await.expect("a good end");
        assert!(end.is_none(), "the last frame was cut off");
    }

    #[tokio::test]
    async fn lines_are_cut_out_and_blank_ones_skipped() {
        let text = format!("\n{LINE}\r\n \n{LINE}\n{LINE}");
        two_of(text.into_bytes(), Encoding::Json).await;
    }

    #[tokio::test]
    async fn messages_are_cut_out_by_their_length() {
        let message = message();
        let half = &message[..message.len() - 1];
        two_of([&message, &message[..], half].concat(), Encoding::Protobuf).await;
    }

    async fn error(body: Vec<u8>, encoding: Encoding) -> String {
        let error = Frames::<Pod>::new(Body::from(body), encoding)
            .next_frame()
            .await;
        error.expect_err("too long").to_string()
    }

    #[tokio::test]
    async fn a_frame_without_end_is_an_error() {
        let line = vec![b'x'; FRAME_BYTES_MAX + 1];
        let expected = "a watch frame of more than 32 MiB";
        assert_eq!(error(line, Encoding::Json).await, expected);
        assert_eq!(error(vec![0xff; 4], Encoding::Protobuf).await, expected);
    }

    #[tokio::test]
    async fn many_lines_at_once_are_not_too_long() {
        let mut body = vec![b' '; FRAME_BYTES_MAX];
        body.push(b'\n');
        let mut frames = Frames::<Pod>::new(Body::from(body), Encoding::Json);
        assert!(frames.next_frame().await.expect("no error").is_none());
    }
}
