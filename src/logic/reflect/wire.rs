//! What an API server says in a list, a watch and an error, read from bytes.
//!
//! Reading never gives up on more than one object: what does not parse becomes [`Unreadable`], with
//! as much of its metadata as there is. The server says in which of two encodings it answers; both mean the
//! same.

mod json;
mod protobuf;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use self::json::{AnyEvent, Event, List, StatusWire};
use crate::logic::model::{Key, Object, Uid, Version};

/// How an API server writes what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Lines of JSON: also what anything in front of the server answers.
    #[default]
    Json,
    /// Protobuf behind a prefix; in a watch each event behind its length.
    Protobuf,
}

impl Encoding {
    /// The encoding that the header `Content-Type` names.
    #[must_use]
    pub fn of(content_type: &str) -> Self {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("application/vnd.kubernetes.protobuf") {
            Self::Protobuf
        } else {
            Self::Json
        }
    }
}

/// One event of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<T> {
    /// `ADDED` or `MODIFIED`: no decision tells them apart.
    Applied(T),
    /// `DELETED`, or it no longer matches the selectors.
    Deleted(Tombstone),
    /// `BOOKMARK`.
    Bookmark(Bookmark),
    /// A line that says nothing we can use.
    Unreadable(Unreadable),
}

/// What is left of a deleted object. Read without the rest of it, so that an object that never
/// parsed can go all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Namespace and name.
    pub key: Key,
    /// Identity.
    pub uid: Uid,
    /// Version of the deletion.
    pub version: Version,
}

/// Everything up to `version` has been sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bookmark {
    /// Where a watch can be resumed.
    pub version: Version,
    /// Whether the initial events of a streaming list are complete.
    pub initial_events_end: bool,
}

/// An object that did not parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Namespace and name, if its metadata parses.
    pub key: Option<Key>,
    /// Its version, if its metadata parses.
    pub version: Option<Version>,
    /// What the parser said.
    pub reason: Box<str>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The objects that parsed.
    pub objects: Vec<T>,
    /// The others.
    pub unreadable: Vec<Unreadable>,
    /// Version of the list.
    pub version: Version,
    /// Asks for the next page; absent on the last one.
    pub continue_token: Option<Box<str>>,
}

/// A `Status` object, or what an answer that should have been one says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiStatus {
    /// HTTP status code; 0 if there is none.
    pub code: u16,
    /// Machine-readable word, for instance `Conflict`.
    pub reason: Box<str>,
    /// The server's own words.
    pub message: Box<str>,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
    /// Details, for instance the fields that are invalid.
    pub causes: Vec<StatusCause>,
}

/// One entry of `status.details.causes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusCause {
    /// Machine-readable word, for instance `FieldValueForbidden`.
    pub reason: Box<str>,
    /// The server's own words.
    pub message: Box<str>,
    /// Path of the field, if it is about one.
    pub field: Box<str>,
}

impl<T: Object> Frame<T> {
    /// Reads one event in this encoding.
    ///
    /// # Errors
    ///
    /// As for [`Self::parse`].
    pub fn read(encoding: Encoding, event: &[u8]) -> Result<Self, ApiStatus> {
        match encoding {
            Encoding::Json => Self::parse(event),
            Encoding::Protobuf => protobuf::frame(event),
        }
    }

    /// Reads one line of JSON.
    ///
    /// # Errors
    ///
    /// An `ERROR` line, which is the last one of its stream.
    pub fn parse(line: &[u8]) -> Result<Self, ApiStatus> {
        let error = match serde_json::from_slice::<Event<T>>(line) {
            Ok(Event::Added(object) | Event::Modified(object)) => return Ok(Self::Applied(object)),
            Ok(Event::Deleted(skeleton)) => return Ok(skeleton.into_deleted()),
            Ok(Event::Bookmark(bookmark)) => return Ok(bookmark.into_frame()),
            Ok(Event::Error(status)) => return Err(status.into()),
            Err(error) => error.to_string(),
        };
        match serde_json::from_slice::<AnyEvent>(line) {
            Ok(event) if event.kind.as_deref() == Some("ERROR") => Err(ApiStatus {
                message: error.into(),
                ..ApiStatus::default()
            }),
            Ok(event) => Ok(Self::Unreadable(
                event.object.unwrap_or_default().unreadable(error),
            )),
            Err(_) => Ok(Self::Unreadable(Skeleton::default().unreadable(error))),
        }
    }
}

impl<T: Object> Page<T> {
    /// Reads one page in this encoding.
    ///
    /// # Errors
    ///
    /// When the answer as a whole is no list, or has no version to watch from.
    pub fn read(encoding: Encoding, body: &[u8]) -> Result<Self, String> {
        match encoding {
            Encoding::Json => Self::parse(body),
            Encoding::Protobuf => {
                let page = protobuf::page(body).map_err(|error| error.to_string())?;
                page.checked()
            }
        }
    }

    /// Reads one page of JSON. In one pass if all of it parses; else object by object.
    ///
    /// # Errors
    ///
    /// As for [`Self::read`].
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let page = match serde_json::from_slice::<List<T>>(body) {
            Ok(list) => Self::new(list.metadata, list.items.unwrap_or_default(), Vec::new()),
            Err(_) => Self::parse_each(body).map_err(|error| error.to_string())?,
        };
        page.checked()
    }

    fn checked(self) -> Result<Self, String> {
        if is_known(&self.version) {
            Ok(self)
        } else {
            Err("a list without a resourceVersion".into())
        }
    }

    fn parse_each(body: &[u8]) -> Result<Self, serde_json::Error> {
        let list: List<&RawValue> = serde_json::from_slice(body)?;
        let (mut objects, mut unreadable) = (Vec::new(), Vec::new());
        for item in list.items.unwrap_or_default() {
            match serde_json::from_str(item.get()) {
                Ok(object) => objects.push(object),
                Err(error) => {
                    let skeleton = serde_json::from_str(item.get());
                    let skeleton: Skeleton = skeleton.unwrap_or_default();
                    unreadable.push(skeleton.unreadable(error.to_string()));
                }
            }
        }
        Ok(Self::new(list.metadata, objects, unreadable))
    }

    fn new(head: ListHead, objects: Vec<T>, unreadable: Vec<Unreadable>) -> Self {
        Self {
            objects,
            unreadable,
            version: head.resource_version,
            continue_token: head.continue_token.filter(|token| !token.is_empty()),
        }
    }
}

impl ApiStatus {
    /// Reads the body of an answer that says `code` in its status line; the status line wins. The body
    /// itself shows its encoding: a server and what is in front of it need not use the same.
    #[must_use]
    pub fn parse(code: u16, body: &[u8]) -> Self {
        if let Some(status) = protobuf::status(body) {
            return Self { code, ..status };
        }
        let status = match serde_json::from_slice::<StatusWire>(body) {
            Ok(status) => status.into(),
            // Not from an API server but from something in front of it; a page of HTML, perhaps.
            Err(_) => Self {
                message: String::from_utf8_lossy(&body[..body.len().min(256)]).into(),
                ..Self::default()
            },
        };
        Self { code, ..status }
    }

    /// Whether one of the causes has this reason.
    #[must_use]
    pub fn has_cause(&self, reason: &str) -> bool {
        self.causes.iter().any(|cause| &*cause.reason == reason)
    }

    /// Whether the version or the continue token that was asked for is no longer kept.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.code == 410 || matches!(&*self.reason, "Expired" | "Gone")
    }

    /// Whether the server has not yet reached the version that was asked for, or never will
    /// because it was restored from a backup.
    #[must_use]
    pub fn is_ahead(&self) -> bool {
        self.has_cause("ResourceVersionTooLarge")
            || self.message.contains("Too large resource version")
    }

    /// Whether this is the answer of a server that knows no streaming lists, or has them switched
    /// off: 422 or 400 in general, 403 only if it is about the option and not about permissions.
    #[must_use]
    pub fn refuses_streaming(&self) -> bool {
        let names_option = |text: &str| {
            text.contains("sendInitialEvents") || text.contains("resourceVersionMatch")
        };
        match self.code {
            400 | 422 => true,
            403 => {
                let cause = |cause: &StatusCause| names_option(&cause.field);
                names_option(&self.message) || self.causes.iter().any(cause)
            }
            _ => false,
        }
    }
}

impl fmt::Display for ApiStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if !self.reason.is_empty() {
            write!(f, " {}", self.reason)?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

/// Whether a version can be watched from. "0" and "" mean "any" to a server.
fn is_known(version: &Version) -> bool {
    match version {
        Version::Number(number) => *number != 0,
        Version::Opaque(text) => !text.is_empty(),
    }
}

/// The least that can be said about any object.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Skeleton {
    metadata: Head,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Head {
    namespace: Option<Arc<str>>,
    name: Option<Arc<str>>,
    uid: Option<Uid>,
    resource_version: Option<Version>,
}

impl Skeleton {
    fn into_deleted<T>(self) -> Frame<T> {
        let version = self.metadata.resource_version.clone().unwrap_or_default();
        let uid = self.metadata.uid.clone().unwrap_or_default();
        match self.key() {
            Some(key) => Frame::Deleted(Tombstone { key, uid, version }),
            None => Frame::Unreadable(self.unreadable("a deleted object without a name".into())),
        }
    }

    fn unreadable(self, reason: String) -> Unreadable {
        Unreadable {
            key: self.key(),
            version: self.metadata.resource_version.filter(is_known),
            reason: reason.into(),
        }
    }

    fn key(&self) -> Option<Key> {
        let name = self.metadata.name.clone()?;
        let namespace = self.metadata.namespace.clone();
        Some(Key::new(namespace.unwrap_or_else(|| "".into()), name))
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ListHead {
    resource_version: Version,
    #[serde(rename = "continue")]
    continue_token: Option<Box<str>>,
}

#[cfg(test)]
mod tests {
    use super::super::tests::Thing;
    use super::*;

    fn frame(line: &str) -> Result<Frame<Thing>, ApiStatus> {
        Frame::parse(line.as_bytes())
    }

    fn skipped(line: &str) -> Unreadable {
        match frame(line) {
            Ok(Frame::Unreadable(unreadable)) => unreadable,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn objects_parse_whatever_else_is_in_the_line() {
        for line in [
            r#"{"type":"ADDED","object":{"metadata":{"namespace":"n","name":"a","resourceVersion":"5"},"value":7}}"#,
            r#"{"type":"MODIFIED","object":{"kind":"Thing","spec":[{}],"value":7,"metadata":
                {"managedFields":[],"namespace":"n","name":"a","resourceVersion":"5"}},"more":1}"#,
            r#"{"object":{"metadata":{"namespace":"n","name":"a","resourceVersion":"5"},"value":7},"type":"ADDED"}"#,
        ] {
            let Ok(Frame::Applied(thing)) = frame(line) else {
                panic!("{line}")
            };
            assert_eq!((&*thing.metadata.name, thing.value), ("a", 7));
            assert_eq!(thing.metadata.resource_version, Version::Number(5));
        }
    }

    #[test]
    fn a_deleted_object_needs_no_more_than_a_name() {
        let line = r#"{"type":"DELETED","object":{"metadata":{"namespace":"n","name":"a","uid":"u",
            "resourceVersion":"9","labels":7},"value":"not a number"}}"#;
        let tombstone = Tombstone {
            key: Key::new("n", "a"),
            uid: "u".into(),
            version: Version::Number(9),
        };
        assert_eq!(frame(line), Ok(Frame::Deleted(tombstone)));
        let nameless = r#"{"type":"DELETED","object":{"metadata":{"resourceVersion":"9"}}}"#;
        assert_eq!(skipped(nameless).version, Some(Version::Number(9)));
    }

    #[test]
    fn bookmarks_say_where_to_resume() {
        let bookmark = |version: u64, initial_events_end| {
            Ok(Frame::Bookmark(Bookmark {
                version: Version::Number(version),
                initial_events_end,
            }))
        };
        assert_eq!(
            frame(
                r#"{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"12",
                "creationTimestamp":null},"spec":{"containers":null},"status":{}}}"#
            ),
            bookmark(12, false)
        );
        assert_eq!(
            frame(
                r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"12","annotations":
                {"k8s.io/initial-events-end":"true"}}}}"#
            ),
            bookmark(12, true)
        );
        for version in ["", "0"] {
            let line = format!(
                r#"{{"type":"BOOKMARK","object":{{"metadata":{{"resourceVersion":"{version}"}}}}}}"#
            );
            assert_eq!(skipped(&line).version, None, "nothing to resume from");
        }
    }

    #[test]
    fn an_error_line_is_a_status() {
        let status = frame(
            r#"{"type":"ERROR","object":{"kind":"Status","status":"Failure","code":410,"reason":
            "Expired","message":"too old resource version: 1 (2)","metadata":{}}}"#,
        )
        .expect_err("an error");
        assert!(status.is_gone());
        assert_eq!(
            status.to_string(),
            "410 Expired: too old resource version: 1 (2)"
        );
        let odd = frame(r#"{"type":"ERROR","object":{"code":"x"}}"#).expect_err("an error still");
        assert_eq!(odd.code, 0);
    }

    #[test]
    fn what_does_not_parse_is_skipped_with_what_is_known_of_it() {
        let odd = skipped(
            r#"{"type":"ADDED","object":{"metadata":{"namespace":"n","name":"a","resourceVersion":"5",
            "labels":[1]}}}"#,
        );
        assert_eq!(odd.key, Some(Key::new("n", "a")));
        assert_eq!(odd.version, Some(Version::Number(5)));
        for line in [
            "",
            "{",
            "null",
            "[]",
            "<html>",
            r#"{"type":"SURPRISE"}"#,
            r#"{"type":"ADDED","object":{"metadata":{"name":5}}}"#,
            r#"{"type":"ADDED"}"#,
        ] {
            let unreadable = skipped(line);
            assert_eq!((unreadable.key, unreadable.version), (None, None), "{line}");
        }
        let not_text: &[u8] = &[b'{', 0xff, b'}'];
        assert!(matches!(
            Frame::<Thing>::parse(not_text),
            Ok(Frame::Unreadable(_))
        ));
    }

    #[test]
    fn a_page_survives_its_odd_objects() {
        let page = Page::<Thing>::parse(
            br#"{"kind":"ThingList","metadata":{"resourceVersion":"20","continue":"t"},"items":[
                {"metadata":{"name":"a","namespace":"n","resourceVersion":"5"}},
                {"metadata":{"name":"b","namespace":"n","resourceVersion":"6"},"value":"x"},
                7]}"#,
        )
        .expect("a page");
        assert_eq!(page.objects.len(), 1);
        let keys: Vec<_> = page.unreadable.iter().map(|odd| odd.key.clone()).collect();
        assert_eq!(keys, [Some(Key::new("n", "b")), None]);
        assert_eq!(page.version, Version::Number(20));
        assert_eq!(page.continue_token.as_deref(), Some("t"));
    }

    #[test]
    fn a_page_may_be_empty_but_not_without_a_version() {
        for body in [
            r#"{"metadata":{"resourceVersion":"20","continue":""},"items":null}"#,
            r#"{"metadata":{"resourceVersion":"20"}}"#,
        ] {
            let page = Page::<Thing>::parse(body.as_bytes()).expect("a page");
            assert_eq!((page.objects.len(), page.continue_token), (0, None));
        }
        for body in [
            r#"{"metadata":{},"items":[]}"#,
            r#"{"metadata":{"resourceVersion":""},"items":[]}"#,
            r#"{"metadata":{"resourceVersion":"0"},"items":[]}"#,
            r#"{"items":[]}"#,
            "<html>",
        ] {
            assert!(Page::<Thing>::parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_status_is_read_from_any_answer() {
        let status = ApiStatus::parse(
            429,
            br#"{"kind":"Status","code":500,"reason":"TooManyRequests","message":null,
                "details":{"retryAfterSeconds":3,"causes":[{"reason":"r","field":"f"}]}}"#,
        );
        assert_eq!(status.code, 429, "the status line wins");
        assert_eq!(status.retry_after, Some(Duration::from_secs(3)));
        assert_eq!(&*status.causes[0].field, "f");
        let html = ApiStatus::parse(502, b"<html>Bad Gateway</html>");
        assert_eq!(html.to_string(), "502: <html>Bad Gateway</html>");
        let details_null = ApiStatus::parse(403, br#"{"details":null,"reason":"Forbidden"}"#);
        assert_eq!(details_null.to_string(), "403 Forbidden");
    }

    #[test]
    fn a_missing_permission_is_no_refusal_of_streaming() {
        let cause = |field: &str| StatusCause {
            field: field.into(),
            ..StatusCause::default()
        };
        for (code, message, causes, refusal) in [
            (422, "", vec![], true),
            (400, "", vec![], true),
            (403, "pods is forbidden: cannot watch", vec![], false),
            (403, "", vec![cause("spec")], false),
            (403, "", vec![cause("sendInitialEvents")], true),
            (403, "sendInitialEvents is forbidden", vec![], true),
            (404, "sendInitialEvents", vec![], false),
            (500, "", vec![], false),
        ] {
            let status = ApiStatus {
                code,
                message: message.into(),
                causes,
                ..ApiStatus::default()
            };
            assert_eq!(status.refuses_streaming(), refusal, "{status}");
        }
    }
}
