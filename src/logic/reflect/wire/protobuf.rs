//! Watch events, lists and statuses in protobuf. Numbers of fields: see [`crate::logic::protobuf`].

use std::time::Duration;

use super::{ApiStatus, Bookmark, Frame, Head, ListHead, Page, Skeleton, StatusCause, is_known};
use crate::logic::model::Object;
use crate::logic::protobuf::{Fields, Malformed, Value, object};

/// The annotation of the bookmark that ends a streaming list.
const INITIAL_EVENTS_END: (&str, &str) = ("k8s.io/initial-events-end", "true");

pub(super) fn frame<T: Object>(event: &[u8]) -> Result<Frame<T>, ApiStatus> {
    let odd = |reason: &str| {
        Ok(Frame::Unreadable(
            Skeleton::default().unreadable(reason.into()),
        ))
    };
    let (kind, message) = match read_event(event) {
        Ok(event) => event,
        Err(why) => return odd(&why.to_string()),
    };
    match kind {
        "ADDED" | "MODIFIED" => Ok(match read_object(message) {
            Ok(object) => Frame::Applied(object),
            Err(why) => Frame::Unreadable(skeleton(message).unreadable(why.to_string())),
        }),
        "DELETED" => Ok(skeleton(message).into_deleted()),
        "BOOKMARK" => match read_bookmark(message) {
            Ok(Some(bookmark)) => Ok(Frame::Bookmark(bookmark)),
            Ok(None) => odd("a bookmark without a resourceVersion"),
            Err(why) => odd(&why.to_string()),
        },
        "ERROR" => Err(read_status(message).unwrap_or_else(|why| ApiStatus {
            message: why.to_string().into(),
            ..ApiStatus::default()
        })),
        kind => {
            let reason = format!("an event of the unknown type {kind:?}");
            Ok(Frame::Unreadable(skeleton(message).unreadable(reason)))
        }
    }
}

pub(super) fn page<T: Object>(body: &[u8]) -> Result<Page<T>, Malformed> {
    let (mut head, mut objects, mut unreadable) = (ListHead::default(), Vec::new(), Vec::new());
    for field in Fields::of(object(body)?) {
        match field? {
            (1, value) => head = read_list_head(value.message()?)?,
            (2, value) => {
                let message = value.bytes()?;
                match read_object(message) {
                    Ok(object) => objects.push(object),
                    Err(why) => unreadable.push(skeleton(message).unreadable(why.to_string())),
                }
            }
            _ => {}
        }
    }
    Ok(Page::new(head, objects, unreadable))
}

/// The status in the body of an answer, if that is one.
pub(super) fn status(body: &[u8]) -> Option<ApiStatus> {
    read_status(object(body).ok()?).ok()
}

fn read_object<T: Object>(message: &[u8]) -> Result<T, Malformed> {
    let read = T::PROTOBUF.ok_or(Malformed("JSON"))?;
    read(message)
}

/// The type of an event, and the message of its object.
fn read_event(event: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let (mut kind, mut message) = ("", None);
    for field in Fields::of(event) {
        match field? {
            (1, value) => kind = value.text()?,
            (2, value) => {
                let raw = value.message()?.find(1).ok_or(Malformed("an object"))?;
                message = Some(object(raw.bytes()?)?);
            }
            _ => {}
        }
    }
    Ok((kind, message.ok_or(Malformed("an object"))?))
}

/// As much of the metadata as there is: nothing of the rest is looked at.
fn skeleton(message: &[u8]) -> Skeleton {
    let metadata = Fields::of(message).find(1);
    let metadata = metadata.and_then(|value| read_head(value.message().ok()?).ok());
    Skeleton {
        metadata: metadata.unwrap_or_default(),
    }
}

fn read_head(message: Fields<'_>) -> Result<Head, Malformed> {
    let mut head = Head::default();
    for field in message {
        match field? {
            (1, value) => head.name = value.some_text()?.map(Into::into),
            (3, value) => head.namespace = value.some_text()?.map(Into::into),
            (5, value) => head.uid = value.some_text()?.map(Into::into),
            (6, value) => head.resource_version = value.some_text()?.map(Into::into),
            _ => {}
        }
    }
    Ok(head)
}

fn read_bookmark(message: &[u8]) -> Result<Option<Bookmark>, Malformed> {
    let metadata = Fields::of(message).find(1).ok_or(Malformed("metadata"))?;
    let metadata = metadata.message()?;
    let mut initial_events_end = false;
    for field in metadata.clone() {
        if let (12, value) = field? {
            initial_events_end |= value.entry()? == INITIAL_EVENTS_END;
        }
    }
    let version = read_head(metadata)?.resource_version;
    Ok(version.filter(is_known).map(|version| Bookmark {
        version,
        initial_events_end,
    }))
}

fn read_list_head(message: Fields<'_>) -> Result<ListHead, Malformed> {
    let mut head = ListHead::default();
    for field in message {
        match field? {
            (2, value) => {
                head.resource_version = value.some_text()?.map(Into::into).unwrap_or_default();
            }
            (3, value) => head.continue_token = value.some_text()?.map(Into::into),
            _ => {}
        }
    }
    Ok(head)
}

fn read_status(message: &[u8]) -> Result<ApiStatus, Malformed> {
    let mut status = ApiStatus::default();
    for field in Fields::of(message) {
        match field? {
            (3, value) => status.message = value.text()?.into(),
            (4, value) => status.reason = value.text()?.into(),
            (5, value) => read_details(value.message()?, &mut status)?,
            (6, value) => status.code = value.number()?,
            _ => {}
        }
    }
    Ok(status)
}

fn read_details(message: Fields<'_>, status: &mut ApiStatus) -> Result<(), Malformed> {
    for field in message {
        match field? {
            (4, value) => status.causes.push(read_cause(value)?),
            (5, value) => {
                let seconds = value.number::<i64>()?;
                let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
                status.retry_after = seconds.map(Duration::from_secs);
            }
            _ => {}
        }
    }
    Ok(())
}

fn read_cause(value: Value<'_>) -> Result<StatusCause, Malformed> {
    let mut cause = StatusCause::default();
    for field in value.message()? {
        match field? {
            (1, value) => cause.reason = value.text()?.into(),
            (2, value) => cause.message = value.text()?.into(),
            (3, value) => cause.field = value.text()?.into(),
            _ => {}
        }
    }
    Ok(cause)
}
