//! An `EndpointSlice` that bears our label.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::meta::{FromProtobuf, Key, Meta, Object, Version, kept_list};
use super::protobuf;
use super::service::{Family, Protocol};
use super::uid::Uid;
use crate::logic::well_known::SERVICE_NAME;

/// What is known of one `EndpointSlice`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Slice {
    /// Names, versions, labels, annotations, owners.
    pub metadata: Meta,
    /// Family of all its addresses; immutable.
    pub address_type: AddressType,
    /// Its endpoints; ours have at most one.
    #[serde(deserialize_with = "kept_list")]
    pub endpoints: Vec<Endpoint>,
    /// Its ports.
    #[serde(deserialize_with = "kept_list")]
    pub ports: Vec<EndpointPort>,
}

impl Slice {
    /// Namespace and name.
    #[must_use]
    pub fn key(&self) -> Key {
        self.metadata.key()
    }

    /// The pod that it publishes, if it publishes one.
    #[must_use]
    pub fn leader(&self) -> Option<&TargetRef> {
        self.endpoints.first()?.target_ref.as_ref()
    }

    /// Whether it hangs on a Service, by its owner or by the label that kube-proxy reads.
    #[must_use]
    pub fn is_of(&self, service: &Meta) -> bool {
        self.is_controlled_by(service)
            || self.metadata.labels.get(SERVICE_NAME) == Some(&*service.name)
    }

    /// Whether its owner is that very Service.
    #[must_use]
    pub fn is_controlled_by(&self, service: &Meta) -> bool {
        let owner = self.metadata.controller();
        owner.is_some_and(|owner| owner.uid == service.uid)
    }
}

impl Object for Slice {
    const RESOURCE: &'static str = "endpointslices";
    const API: &'static str = "/apis/discovery.k8s.io/v1";
    const PROTOBUF: Option<FromProtobuf<Self>> = Some(protobuf::slice);

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

/// `addressType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddressType {
    /// IPv4 addresses.
    IPv4,
    /// IPv6 addresses.
    IPv6,
    /// Host names, or a type newer than this program; never ours.
    #[default]
    #[serde(other)]
    Other,
}

impl From<Family> for AddressType {
    fn from(family: Family) -> Self {
        match family {
            Family::IPv4 => Self::IPv4,
            Family::IPv6 => Self::IPv6,
        }
    }
}

impl fmt::Display for AddressType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IPv4 => "IPv4",
            Self::IPv6 => "IPv6",
            Self::Other => "another address type",
        })
    }
}

/// One endpoint. Whatever we do not write ourselves (hints, zone, hostname, deprecated topology)
/// is read anyway, so that an edit of it counts as drift.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// Addresses of one family; we write exactly one.
    #[serde(deserialize_with = "kept_list")]
    pub addresses: Vec<Box<str>>,
    /// Whether and how it serves.
    pub conditions: Conditions,
    /// Node of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<Arc<str>>,
    /// The pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// Not ours to write: one endpoint can only be misrouted by a zone.
    #[serde(skip_serializing)]
    pub zone: Option<Box<str>>,
    /// Not ours to write.
    #[serde(skip_serializing)]
    pub hostname: Option<Box<str>>,
    /// Not ours to write.
    #[serde(skip_serializing)]
    pub hints: Option<serde_json::Value>,
}

/// `conditions` of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conditions {
    /// Takes new connections; never true for a terminating pod, save for headless Services.
    pub ready: Option<bool>,
    /// Answers, terminating or not.
    pub serving: Option<bool>,
    /// Is being deleted.
    pub terminating: Option<bool>,
}

/// The pod behind an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetRef {
    /// `Pod`.
    pub kind: Arc<str>,
    /// Namespace of the pod.
    pub namespace: Arc<str>,
    /// Name of the pod.
    pub name: Arc<str>,
    /// Identity of the pod.
    pub uid: Uid,
}

/// One entry of `ports`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointPort {
    /// Name of the Service port; empty for an unnamed one.
    pub name: Option<Arc<str>>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port number of the pod.
    pub port: Option<u16>,
    /// Application protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<Arc<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emptied_slice_reads_back_with_nulls() {
        let slice: Slice = serde_json::from_str(
            r#"{"addressType":"IPv4","endpoints":null,"ports":null,"metadata":{"name":"a","namespace":"n"}}"#,
        )
        .expect("it parses");
        assert_eq!(slice.address_type, AddressType::IPv4);
        assert!(slice.leader().is_none() && slice.ports.is_empty());
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let endpoint = Endpoint {
            addresses: vec!["10.0.0.1".into()],
            conditions: Conditions {
                ready: Some(true),
                serving: Some(true),
                terminating: Some(false),
            },
            node_name: Some("node-1".into()),
            target_ref: Some(TargetRef {
                kind: "Pod".into(),
                namespace: "n".into(),
                name: "a-0".into(),
                uid: "u".into(),
            }),
            ..Endpoint::default()
        };
        let text = serde_json::to_string(&endpoint).expect("it is plain data");
        assert_eq!(
            serde_json::from_str::<Endpoint>(&text).expect("it parses"),
            endpoint
        );
        assert!(!text.contains("hints"));
    }
}
