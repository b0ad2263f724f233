//! A pod read from protobuf, into what [`super::wire`] reads from JSON.

use super::Pod;
use super::wire::{
    Address, Container, ContainerPort, Ip, Metadata, PodConditions, PodSpecWire, PodStatusWire,
    PodWire,
};
use crate::logic::model::protobuf::{push_entry, uid, version};
use crate::logic::model::text::Text;
use crate::logic::protobuf::{Fields, Malformed, Value};
use crate::logic::well_known::PRIORITY;

pub(in crate::logic::model) fn pod(message: &[u8]) -> Result<Pod, Malformed> {
    let (mut metadata, mut spec, mut status) =
        (None, PodSpecWire::default(), PodStatusWire::default());
    for field in Fields::of(message) {
        match field? {
            (1, value) => metadata = Some(read_metadata(value.message()?)?),
            (2, value) => spec = read_spec(value.message()?)?,
            (3, value) => status = read_status(value.message()?)?,
            _ => {}
        }
    }
    let metadata = metadata.ok_or(Malformed("metadata"))?;
    Ok(Pod::from(PodWire {
        metadata,
        spec,
        status,
    }))
}

fn read_metadata(message: Fields<'_>) -> Result<Metadata, Malformed> {
    let mut metadata = Metadata::default();
    let mut labels = Vec::new();
    for field in message {
        let (number, value) = field?;
        match number {
            1 => metadata.name = value.text()?.into(),
            3 => metadata.namespace = value.text()?.into(),
            5 => metadata.uid = uid(value)?,
            6 => metadata.resource_version = version(value)?,
            8 => metadata.creation_timestamp = value.time()?,
            9 => metadata.deletion_timestamp = value.time()?,
            10 => metadata.deletion_grace_period_seconds = Some(value.number()?),
            11 => push_entry(&mut labels, value)?,
            12 => {
                let (key, text) = value.entry()?;
                if key == PRIORITY {
                    metadata.annotations.0 = Some(text.into());
                }
            }
            13 => metadata.owner_references.0 |= is_controlling_job(value.message()?)?,
            _ => {}
        }
    }
    metadata.labels = labels.into_iter().collect();
    Ok(metadata)
}

fn is_controlling_job(owner: Fields<'_>) -> Result<bool, Malformed> {
    let (mut is_job, mut is_batch, mut controls) = (false, false, false);
    for field in owner {
        match field? {
            (1, value) => is_job = value.text()? == "Job",
            (5, value) => is_batch = value.text()?.starts_with("batch/"),
            (6, value) => controls = value.flag()?,
            _ => {}
        }
    }
    Ok(is_job && is_batch && controls)
}

fn read_spec(message: Fields<'_>) -> Result<PodSpecWire<'_>, Malformed> {
    let mut spec = PodSpecWire::default();
    for field in message {
        match field? {
            (2, value) => spec.containers.push(read_container(value.message()?)?),
            (10, value) => spec.node_name = value.some_text()?.map(Into::into),
            (11, value) => spec.host_network = value.flag()?,
            (16, value) => spec.hostname = value.some_text()?.map(|text| Text(text.into())),
            (20, value) => spec.init_containers.push(read_container(value.message()?)?),
            _ => {}
        }
    }
    Ok(spec)
}

fn read_container(message: Fields<'_>) -> Result<Container, Malformed> {
    let mut container = Container::default();
    for field in message {
        match field? {
            (6, value) => container.ports.push(read_port(value.message()?)?),
            (24, value) => container.restarts = value.text()? == "Always",
            _ => {}
        }
    }
    Ok(container)
}

fn read_port(message: Fields<'_>) -> Result<ContainerPort, Malformed> {
    let mut port = ContainerPort::default();
    for field in message {
        match field? {
            (1, value) => port.name = value.some_text()?.map(Into::into),
            (3, value) => port.number = value.number()?,
            (4, value) => port.protocol = value.word()?,
            _ => {}
        }
    }
    Ok(port)
}

fn read_status(message: Fields<'_>) -> Result<PodStatusWire, Malformed> {
    let mut status = PodStatusWire::default();
    for field in message {
        match field? {
            (1, value) => status.phase = value.word()?,
            (2, value) => note_condition(&mut status.conditions, value.message()?)?,
            (6, value) => status.pod_ip = address(value)?,
            (12, value) => {
                let ip = value.message()?.find(1).map(address).transpose()?;
                let ip = ip.unwrap_or_default();
                status.pod_ips.push(Ip { ip });
            }
            _ => {}
        }
    }
    Ok(status)
}

fn note_condition(all: &mut PodConditions, message: Fields<'_>) -> Result<(), Malformed> {
    let (mut kind, mut holds, mut since) = ("", false, None);
    for field in message {
        match field? {
            (1, value) => kind = value.text()?,
            (2, value) => holds = value.text()? == "True",
            (4, value) => since = Some(value),
            _ => {}
        }
    }
    match kind {
        "Ready" => {
            all.ready = holds;
            all.ready_transition = since.map(Value::time).transpose()?.flatten();
        }
        "DisruptionTarget" => all.disrupted = holds,
        _ => {}
    }
    Ok(())
}

fn address(value: Value<'_>) -> Result<Address, Malformed> {
    value.text().map(|text| Address(text.parse().ok()))
}
