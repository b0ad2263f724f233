//! The shapes of JSON. Servers write "type" first, which saves serde from buffering the object.

use std::time::Duration;

use serde::Deserialize;

use super::{ApiStatus, Bookmark, Frame, ListHead, Skeleton, StatusCause, is_known};
use crate::logic::model::{Labels, Version};

#[derive(Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
pub(super) enum Event<T> {
    Added(T),
    Modified(T),
    Deleted(Skeleton),
    Bookmark(BookmarkObject),
    Error(StatusWire),
}

#[derive(Deserialize)]
pub(super) struct AnyEvent {
    #[serde(rename = "type")]
    pub(super) kind: Option<Box<str>>,
    pub(super) object: Option<Skeleton>,
}

#[derive(Deserialize)]
pub(super) struct BookmarkObject {
    metadata: BookmarkHead,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BookmarkHead {
    resource_version: Version,
    annotations: Labels,
}

impl BookmarkObject {
    pub(super) fn into_frame<T>(self) -> Frame<T> {
        let BookmarkHead {
            resource_version: version,
            annotations,
        } = self.metadata;
        if !is_known(&version) {
            let reason = "a bookmark without a resourceVersion".into();
            return Frame::Unreadable(Skeleton::default().unreadable(reason));
        }
        Frame::Bookmark(Bookmark {
            version,
            initial_events_end: annotations.get("k8s.io/initial-events-end") == Some("true"),
        })
    }
}

#[derive(Deserialize)]
pub(super) struct List<T> {
    pub(super) metadata: ListHead,
    // Bound by the parser's caller: `T` may borrow.
    pub(super) items: Option<Vec<T>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct StatusWire {
    code: Option<u16>,
    reason: Option<Box<str>>,
    message: Option<Box<str>>,
    details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Details {
    retry_after_seconds: Option<u64>,
    causes: Option<Vec<CauseObject>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CauseObject {
    reason: Option<Box<str>>,
    message: Option<Box<str>>,
    field: Option<Box<str>>,
}

impl From<StatusWire> for ApiStatus {
    fn from(status: StatusWire) -> Self {
        let details = status.details.unwrap_or_default();
        let seconds = details.retry_after_seconds.filter(|seconds| *seconds > 0);
        let causes = details.causes.unwrap_or_default();
        Self {
            code: status.code.unwrap_or_default(),
            reason: status.reason.unwrap_or_default(),
            message: status.message.unwrap_or_default(),
            retry_after: seconds.map(Duration::from_secs),
            causes: causes.into_iter().map(StatusCause::from).collect(),
        }
    }
}

impl From<CauseObject> for StatusCause {
    fn from(cause: CauseObject) -> Self {
        Self {
            reason: cause.reason.unwrap_or_default(),
            message: cause.message.unwrap_or_default(),
            field: cause.field.unwrap_or_default(),
        }
    }
}
