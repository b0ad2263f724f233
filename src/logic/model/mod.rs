//! What zen-lead knows of Kubernetes objects: trimmed, parsed once at the border.
//!
//! The serde structs read only the fields that a decision needs; everything else is skipped
//! without allocating. `null` lists read as empty, since the API server writes them so.

mod followed;
mod lease;
mod meta;
mod node;
mod pod;
mod protobuf;
mod service;
mod slice;
mod text;
mod uid;

pub use followed::FollowedLease;
pub use lease::{Lease, LeaseSpec};
pub use meta::{FromProtobuf, Key, Labels, Meta, Object, OwnerReference, Version};
pub use node::Node;
pub use pod::{Addresses, LabelSet, NamedPort, Pod, PodPhase, Relabelled, may_be_published};
pub use service::{Family, Port, Protocol, Service, ServiceSpec, ServiceType, TargetPort};
pub use slice::{AddressType, Conditions, Endpoint, EndpointPort, Slice, TargetRef};
pub use uid::Uid;
