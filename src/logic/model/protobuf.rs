//! The facts of Kubernetes objects, read from protobuf: what the serde structs read from JSON, field by
//! field. `tests/encodings.rs` and the end-to-end suite hold the two readers against each other.

use std::sync::Arc;

use super::lease::{Lease, LeaseSpec};
use super::meta::{Entry, Labels, Meta, OwnerReference, Version};
use super::node::{Node, is_departure};
use super::service::{Port, Service, ServiceSpec, TargetPort};
use super::slice::{AddressType, Conditions, Endpoint, EndpointPort, Slice, TargetRef};
use super::uid::Uid;
use crate::logic::protobuf::{Fields, Malformed, Value, one_of};

/// Adds one entry of a map of strings.
pub(super) fn push_entry(entries: &mut Vec<Entry>, value: Value<'_>) -> Result<(), Malformed> {
    let (key, text) = value.entry()?;
    if entries.capacity() == 0 {
        entries.reserve(8);
    }
    entries.push(Labels::entry(key, text));
    Ok(())
}

/// An empty version is an absent one.
pub(super) fn version(value: Value<'_>) -> Result<Version, Malformed> {
    Ok(value.some_text()?.map(Version::from).unwrap_or_default())
}

pub(super) fn uid(value: Value<'_>) -> Result<Uid, Malformed> {
    Ok(value.some_text()?.map(Uid::from).unwrap_or_default())
}

fn shared(value: Value<'_>) -> Result<Arc<str>, Malformed> {
    value.text().map(Into::into)
}

impl Meta {
    /// Reads an `ObjectMeta`.
    pub(super) fn read(message: Fields<'_>) -> Result<Self, Malformed> {
        let mut meta = Self::default();
        let (mut labels, mut annotations) = (Vec::new(), Vec::new());
        for field in message {
            let (number, value) = field?;
            match number {
                1 => meta.name = shared(value)?,
                3 => meta.namespace = shared(value)?,
                5 => meta.uid = uid(value)?,
                6 => meta.resource_version = version(value)?,
                8 => meta.creation_timestamp = value.time()?,
                9 => meta.deletion_timestamp = value.time()?,
                11 => push_entry(&mut labels, value)?,
                12 => push_entry(&mut annotations, value)?,
                13 => meta.owner_references.push(owner(value.message()?)?),
                14 => meta.finalizers.push(value.text()?.into()),
                17 => meta.is_tracked = true,
                _ => {}
            }
        }
        meta.labels = labels.into_iter().collect();
        meta.annotations = annotations.into_iter().collect();
        meta.owner_references.shrink_to_fit();
        meta.finalizers.shrink_to_fit();
        Ok(meta)
    }
}

fn owner(message: Fields<'_>) -> Result<OwnerReference, Malformed> {
    let mut owner = OwnerReference::default();
    for field in message {
        let (number, value) = field?;
        match number {
            1 => owner.kind = shared(value)?,
            3 => owner.name = shared(value)?,
            4 => owner.uid = uid(value)?,
            5 => owner.api_version = shared(value)?,
            6 => owner.controller = value.flag()?,
            7 => owner.block_owner_deletion = value.flag()?,
            _ => {}
        }
    }
    Ok(owner)
}

pub(super) fn service(message: &[u8]) -> Result<Service, Malformed> {
    let mut service = Service::default();
    for field in Fields::of(message) {
        match field? {
            (1, value) => service.metadata = Meta::read(value.message()?)?,
            (2, value) => service.spec = service_spec(value.message()?)?,
            (3, value) => {
                let balancer = value.message()?.find(1);
                let ingress = balancer.and_then(|value| value.message().ok()?.find(1));
                service.is_balanced = ingress.is_some();
            }
            _ => {}
        }
    }
    Ok(service)
}

fn service_spec(message: Fields<'_>) -> Result<ServiceSpec, Malformed> {
    let mut spec = ServiceSpec::default();
    let mut selector = Vec::new();
    for field in message {
        let (number, value) = field?;
        match number {
            1 => spec.ports.push(service_port(value.message()?)?),
            2 => push_entry(&mut selector, value)?,
            4 => spec.kind = value.word()?,
            9 => spec.load_balancer_source_ranges.push(shared(value)?),
            13 => spec.publish_not_ready_addresses = value.flag()?,
            17 => spec.ip_family_policy = Some(shared(value)?),
            18 => spec.cluster_ips.push(shared(value)?),
            19 => spec.ip_families.push(one_of(value.text()?)?),
            21 => spec.load_balancer_class = Some(shared(value)?),
            _ => {}
        }
    }
    spec.selector = selector.into_iter().collect();
    spec.ports.shrink_to_fit();
    spec.load_balancer_source_ranges.shrink_to_fit();
    spec.cluster_ips.shrink_to_fit();
    spec.ip_families.shrink_to_fit();
    Ok(spec)
}

fn service_port(message: Fields<'_>) -> Result<Port, Malformed> {
    let mut port = Port::default();
    for field in message {
        let (number, value) = field?;
        match number {
            1 => port.name = value.some_text()?.map(Into::into),
            2 => port.protocol = value.word()?,
            3 => port.port = value.number()?,
            4 => port.target_port = Some(target_port(value.message()?)?),
            5 => port.node_port = Some(value.number()?).filter(|number| *number != 0),
            6 => port.app_protocol = Some(shared(value)?),
            _ => {}
        }
    }
    Ok(port)
}

/// An `IntOrString`: its type says which of the two counts.
fn target_port(message: Fields<'_>) -> Result<TargetPort, Malformed> {
    let (mut is_name, mut number, mut name) = (false, None, "");
    for field in message {
        match field? {
            (1, value) => is_name = value.flag()?,
            (2, value) => number = Some(value),
            (3, value) => name = value.text()?,
            _ => {}
        }
    }
    if is_name {
        return Ok(TargetPort::Name(name.into()));
    }
    let number = number.map(Value::number).transpose()?;
    Ok(TargetPort::Number(number.unwrap_or_default()))
}

pub(super) fn slice(message: &[u8]) -> Result<Slice, Malformed> {
    let mut slice = Slice::default();
    for field in Fields::of(message) {
        match field? {
            (1, value) => slice.metadata = Meta::read(value.message()?)?,
            (2, value) => slice.endpoints.push(endpoint(value.message()?)?),
            (3, value) => slice.ports.push(endpoint_port(value.message()?)?),
            (4, value) => slice.address_type = value.word::<AddressType>()?,
            _ => {}
        }
    }
    slice.endpoints.shrink_to_fit();
    slice.ports.shrink_to_fit();
    Ok(slice)
}

fn endpoint(message: Fields<'_>) -> Result<Endpoint, Malformed> {
    let mut endpoint = Endpoint::default();
    for field in message {
        let (number, value) = field?;
        match number {
            1 => endpoint.addresses.push(value.text()?.into()),
            2 => endpoint.conditions = conditions(value.message()?)?,
            3 => endpoint.hostname = Some(value.text()?.into()),
            4 => endpoint.target_ref = Some(target_ref(value.message()?)?),
            6 => endpoint.node_name = Some(shared(value)?),
            7 => endpoint.zone = Some(value.text()?.into()),
            8 => endpoint.hints = Some(hints(value.message()?)?),
            _ => {}
        }
    }
    endpoint.addresses.shrink_to_fit();
    Ok(endpoint)
}

fn conditions(message: Fields<'_>) -> Result<Conditions, Malformed> {
    let mut conditions = Conditions::default();
    for field in message {
        match field? {
            (1, value) => conditions.ready = Some(value.flag()?),
            (2, value) => conditions.serving = Some(value.flag()?),
            (3, value) => conditions.terminating = Some(value.flag()?),
            _ => {}
        }
    }
    Ok(conditions)
}

fn target_ref(message: Fields<'_>) -> Result<TargetRef, Malformed> {
    let mut target = TargetRef::default();
    for field in message {
        match field? {
            (1, value) => target.kind = shared(value)?,
            (2, value) => target.namespace = shared(value)?,
            (3, value) => target.name = shared(value)?,
            (4, value) => target.uid = uid(value)?,
            _ => {}
        }
    }
    Ok(target)
}

/// The hints as JSON has them: they are compared and not read.
fn hints(message: Fields<'_>) -> Result<serde_json::Value, Malformed> {
    let mut hints = serde_json::Map::new();
    for field in message {
        let (list, value) = match field? {
            (1, value) => ("forZones", value),
            (2, value) => ("forNodes", value),
            _ => continue,
        };
        let name = value.message()?.find(1).map(Value::text).transpose()?;
        let entry = serde_json::json!({ "name": name.unwrap_or_default() });
        let list = hints.entry(list).or_insert_with(|| serde_json::json!([]));
        list.as_array_mut()
            .into_iter()
            .for_each(|list| list.push(entry.clone()));
    }
    Ok(hints.into())
}

fn endpoint_port(message: Fields<'_>) -> Result<EndpointPort, Malformed> {
    let mut port = EndpointPort::default();
    for field in message {
        match field? {
            (1, value) => port.name = Some(shared(value)?),
            (2, value) => port.protocol = value.word()?,
            (3, value) => port.port = Some(value.number()?),
            (4, value) => port.app_protocol = Some(shared(value)?),
            _ => {}
        }
    }
    Ok(port)
}

pub(super) fn lease(message: &[u8]) -> Result<Lease, Malformed> {
    let mut lease = Lease::default();
    for field in Fields::of(message) {
        match field? {
            (1, value) => lease.metadata = Meta::read(value.message()?)?,
            (2, value) => lease.spec = Some(lease_spec(value.message()?)?),
            _ => {}
        }
    }
    Ok(lease)
}

fn lease_spec(message: Fields<'_>) -> Result<LeaseSpec, Malformed> {
    let mut spec = LeaseSpec::default();
    for field in message {
        match field? {
            (1, value) => spec.holder_identity = Some(shared(value)?),
            (2, value) => spec.lease_duration_seconds = Some(value.number()?),
            (5, value) => spec.lease_transitions = Some(value.number()?),
            _ => {}
        }
    }
    Ok(spec)
}

pub(super) fn node(message: &[u8]) -> Result<Node, Malformed> {
    let (mut metadata, mut leaves) = (None, false);
    for field in Fields::of(message) {
        match field? {
            (1, value) => metadata = Some(Meta::read(value.message()?)?),
            (2, value) => {
                for field in value.message()? {
                    match field? {
                        (4, value) => leaves |= value.flag()?,
                        (5, taint) => {
                            let key = taint.message()?.find(1).map(Value::text).transpose()?;
                            leaves |= is_departure(key.unwrap_or_default());
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let metadata = metadata.ok_or(Malformed("metadata"))?;
    Ok(Node::new(metadata, leaves))
}
