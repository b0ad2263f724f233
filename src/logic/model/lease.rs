//! The Lease that says which replica writes.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::meta::{FromProtobuf, Key, Meta, Object, Version};
use super::protobuf;
use super::uid::Uid;

/// What is known of the Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Lease {
    /// Names and versions.
    pub metadata: Meta,
    /// The holder; `null` means that the Lease has no holder.
    pub spec: Option<LeaseSpec>,
}

/// `spec` of a Lease. `acquireTime` and `renewTime` are other machines' clocks: every renewal makes
/// a new version, so nothing here needs to read them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaseSpec {
    /// Identity of the holder; absent or empty when it is free.
    pub holder_identity: Option<Arc<str>>,
    /// How long a silent holder is waited for.
    pub lease_duration_seconds: Option<i64>,
    /// How often it changed hands.
    pub lease_transitions: Option<i64>,
}

impl Lease {
    /// The identity of the holder, if the Lease has one.
    #[must_use]
    pub fn holder(&self) -> Option<&Arc<str>> {
        let holder = self.spec.as_ref()?.holder_identity.as_ref()?;
        (!holder.is_empty()).then_some(holder)
    }

    /// How long its holder wants to be waited for, if it says anything sensible.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        let seconds = self.spec.as_ref()?.lease_duration_seconds?;
        let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0)?;
        Some(Duration::from_secs(seconds))
    }

    /// How often it changed hands so far.
    #[must_use]
    pub fn transitions(&self) -> i64 {
        let spec = self.spec.as_ref();
        spec.and_then(|spec| spec.lease_transitions).unwrap_or(0)
    }
}

impl Object for Lease {
    const RESOURCE: &'static str = "leases";
    const API: &'static str = "/apis/coordination.k8s.io/v1";
    const PROTOBUF: Option<FromProtobuf<Self>> = Some(protobuf::lease);
    const READS_MANAGED_FIELDS: bool = false;

    fn key(&self) -> Key {
        self.metadata.key()
    }
    fn uid(&self) -> &Uid {
        &self.metadata.uid
    }
    fn version(&self) -> &Version {
        &self.metadata.resource_version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_without_identity_has_no_holder() {
        for (spec, holder, seconds) in [
            (
                r#"{"holderIdentity":"a","leaseDurationSeconds":4}"#,
                Some("a"),
                Some(4),
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
                r#"{"leaseDurationSeconds":-3,"leaseTransitions":null}"#,
                None,
                None,
            ),
            ("{}", None, None),
            ("null", None, None),
        ] {
            let text = format!(r#"{{"metadata":{{"name":"l","namespace":"n"}},"spec":{spec}}}"#);
            let lease: Lease = serde_json::from_str(&text).expect("it parses");
            assert_eq!(lease.holder().map(|holder| &**holder), holder, "{spec}");
            assert_eq!(
                lease.duration().map(|span| span.as_secs()),
                seconds,
                "{spec}"
            );
            assert_eq!(lease.transitions(), 0);
        }
    }
}
