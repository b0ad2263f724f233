//! A Lease that an application elects its leader by.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use serde::Deserialize;
use serde::de::Deserializer;

use super::meta::{Key, Object, Version};
use super::text::{Text, some_text, text};
use super::uid::Uid;
use crate::mutations::{self, Mutation};

/// What is read of a Lease of an application. No time stamp of it is kept: those are other machines'
/// clocks, and two of them are compared only to tell whether the holder has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowedLease {
    /// Namespace and name.
    pub key: Key,
    /// Identity of the object.
    pub uid: Uid,
    /// Version of this reading.
    pub version: Version,
    /// `spec.holderIdentity`; an empty one is none.
    pub holder: Option<Arc<str>>,
    /// `spec.leaseDurationSeconds`, if it is more than zero.
    pub duration: Option<Duration>,
    /// A digest of the object's identity and of what its holder writes into `spec`. Every renewal has
    /// another one; what others write into `metadata` does not change it.
    pub content: u64,
}

impl Object for FollowedLease {
    const RESOURCE: &'static str = "leases";
    const API: &'static str = "/apis/coordination.k8s.io/v1";

    fn key(&self) -> Key {
        self.key.clone()
    }
    fn uid(&self) -> &Uid {
        &self.uid
    }
    fn version(&self) -> &Version {
        &self.version
    }
}

impl<'de> Deserialize<'de> for FollowedLease {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let FollowedWire { metadata, spec } = FollowedWire::deserialize(deserializer)?;
        let spec = spec.unwrap_or_default();
        let content = FixedState::default().hash_one((
            &metadata.uid,
            &spec.holder_identity,
            spec.lease_duration_seconds,
            spec.lease_transitions,
            spec.acquire_time.as_ref().map(|text| &*text.0),
            spec.renew_time.as_ref().map(|text| &*text.0),
        ));
        let content = if mutations::is(Mutation::RemoteClock) {
            let renewed = spec.renew_time.as_ref();
            let at = renewed.and_then(|text| text.0.parse::<jiff::Timestamp>().ok());
            at.map_or(content, |at| at.as_second().unsigned_abs())
        } else {
            content
        };
        let seconds = spec.lease_duration_seconds.unwrap_or_default();
        let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
        Ok(Self {
            key: Key {
                namespace: metadata.namespace,
                name: metadata.name,
            },
            uid: metadata.uid,
            version: metadata.resource_version,
            holder: spec.holder_identity,
            duration: seconds.map(Duration::from_secs),
            content,
        })
    }
}

#[derive(Deserialize)]
struct FollowedWire<'a> {
    metadata: FollowedHead,
    #[serde(borrow, default)]
    spec: Option<FollowedSpec<'a>>,
}

/// A default for each field and none for the whole, which would be made for every frame.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FollowedHead {
    #[serde(default, deserialize_with = "text")]
    namespace: Arc<str>,
    #[serde(default, deserialize_with = "text")]
    name: Arc<str>,
    #[serde(default)]
    uid: Uid,
    #[serde(default)]
    resource_version: Version,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FollowedSpec<'a> {
    #[serde(deserialize_with = "some_text")]
    holder_identity: Option<Arc<str>>,
    lease_duration_seconds: Option<i64>,
    lease_transitions: Option<i64>,
    #[serde(borrow)]
    acquire_time: Option<Text<'a>>,
    #[serde(borrow)]
    renew_time: Option<Text<'a>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(metadata: &str, spec: &str) -> FollowedLease {
        let text = format!(
            r#"{{"metadata":{{"name":"l","namespace":"n","labels":{{"a":"b"}},{metadata}}},"spec":{spec}}}"#
        );
        serde_json::from_str(&text).expect("a Lease")
    }

    #[test]
    fn a_lease_is_read_with_whatever_its_holder_left_out() {
        for (spec, holder, seconds) in [
            (
                r#"{"holderIdentity":"a","leaseDurationSeconds":15,"renewTime":"2026-01-01T00:00:00.000000Z"}"#,
                Some("a"),
                Some(15),
            ),
            (
                r#"{"holderIdentity":"","leaseDurationSeconds":1}"#,
                None,
                Some(1),
            ),
            (
                r#"{"holderIdentity":null,"leaseDurationSeconds":0}"#,
                None,
                None,
            ),
            (
                r#"{"leaseDurationSeconds":-3,"renewTime":null,"strategy":"x"}"#,
                None,
                None,
            ),
            ("{}", None, None),
            ("null", None, None),
        ] {
            let lease = read(r#""uid":"u""#, spec);
            assert_eq!(lease.key, Key::new("n", "l"));
            assert_eq!(lease.holder.as_deref(), holder, "{spec}");
            assert_eq!(lease.duration.map(|span| span.as_secs()), seconds, "{spec}");
        }
    }

    #[test]
    fn the_content_is_what_the_holder_writes() {
        let at = |renewed: &str| {
            format!(
                r#"{{"holderIdentity":"a","leaseDurationSeconds":15,"leaseTransitions":2,"acquireTime":"2026-01-01T00:00:00.000000Z","renewTime":"{renewed}"}}"#
            )
        };
        let first = read(
            r#""uid":"u","resourceVersion":"7""#,
            &at("2026-01-01T00:00:02.000000Z"),
        );
        for (metadata, spec, is_same, what) in [
            (
                r#""uid":"u","resourceVersion":"8","annotations":{"x":"y"}"#,
                at("2026-01-01T00:00:02.000000Z"),
                true,
                "an annotation is not of the holder",
            ),
            (
                r#""uid":"u","resourceVersion":"8""#,
                at("2026-01-01T00:00:04.000000Z"),
                false,
                "a renewal",
            ),
            (
                r#""uid":"u","resourceVersion":"8""#,
                at("2020-01-01T00:00:00.000000Z"),
                false,
                "a clock that went back",
            ),
            (
                r#""uid":"u","resourceVersion":"8""#,
                at("2026-01-01T00:00:02.000000Z").replace(":2,", ":3,"),
                false,
                "another transition",
            ),
            (
                r#""uid":"v","resourceVersion":"8""#,
                at("2026-01-01T00:00:02.000000Z"),
                false,
                "another object of the name",
            ),
        ] {
            let second = read(metadata, &spec);
            assert_eq!(first.content == second.content, is_same, "{what}");
        }
    }
}
