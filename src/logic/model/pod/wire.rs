//! A pod as the API server writes it: some ten kilobytes, of which little is read and less copied.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::super::meta::{Labels, Version, flag, list};
use super::super::service::Protocol;
use super::super::text::{Text, some_text, text};
use super::super::uid::Uid;
use super::{Addresses, NamedPort, Pod, PodPhase, Relabelled};
use crate::logic::time::Moment;
use crate::logic::well_known::PRIORITY;

impl<'de> Deserialize<'de> for Pod {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        PodWire::deserialize(deserializer).map(Self::from)
    }
}

impl From<PodWire<'_>> for Pod {
    fn from(wire: PodWire<'_>) -> Self {
        let PodWire {
            metadata,
            spec,
            status,
        } = wire;
        let priority = metadata.labels.get(PRIORITY).map(Into::into);
        let sidecars = spec
            .init_containers
            .into_iter()
            .filter(|container| container.restarts);
        let ports = spec.containers.into_iter().chain(sidecars);
        let ports = ports.flat_map(|container| container.ports);
        let ports = ports.filter_map(|port| {
            Some(NamedPort {
                name: port.name?,
                protocol: port.protocol,
                number: port.number,
            })
        });
        let mut ips = Addresses::default();
        let addresses = status
            .pod_ip
            .0
            .into_iter()
            .chain(status.pod_ips.into_iter().filter_map(|entry| entry.ip.0));
        addresses.for_each(|address| ips.offer(address));
        let hostname = spec.hostname.map(|Text(hostname)| hostname);
        let hostname = hostname.filter(|name| !name.is_empty() && **name != *metadata.name);
        Self {
            priority: priority.or(metadata.annotations.0),
            created: metadata.creation_timestamp.unwrap_or_default(),
            terminating: metadata.deletion_timestamp.is_some(),
            gone: metadata.deletion_timestamp.is_some()
                && metadata.deletion_grace_period_seconds == Some(0),
            namespace: metadata.namespace,
            name: metadata.name,
            appeared: Moment::default(),
            relabelled: Relabelled::default(),
            uid: metadata.uid,
            version: metadata.resource_version,
            labels: metadata.labels,
            of_job: metadata.owner_references.0,
            node: spec.node_name,
            host_network: spec.host_network,
            hostname: hostname.map(|hostname| (*hostname).into()),
            ips,
            phase: status.phase,
            ready: status.conditions.ready,
            ready_transition: status.conditions.ready_transition,
            ready_since: Moment::default(),
            disrupted: status.conditions.disrupted,
            ports: ports.collect(),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct PodWire<'a> {
    pub(super) metadata: Metadata,
    #[serde(default, borrow)]
    pub(super) spec: PodSpecWire<'a>,
    #[serde(default)]
    pub(super) status: PodStatusWire,
}

/// The metadata of a pod: less than of what we write ourselves.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata {
    #[serde(deserialize_with = "text")]
    pub(super) namespace: Arc<str>,
    #[serde(deserialize_with = "text")]
    pub(super) name: Arc<str>,
    pub(super) uid: Uid,
    pub(super) resource_version: Version,
    pub(super) creation_timestamp: Option<jiff::Timestamp>,
    pub(super) deletion_timestamp: Option<jiff::Timestamp>,
    pub(super) deletion_grace_period_seconds: Option<i64>,
    pub(super) labels: Labels,
    pub(super) annotations: Priority,
    pub(super) owner_references: OfJob,
}

/// Whether one of the owners is a controlling Job, read without keeping the list.
#[derive(Default)]
pub(super) struct OfJob(pub(super) bool);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Owner<'a> {
    #[serde(default, borrow)]
    api_version: Option<Text<'a>>,
    #[serde(default, borrow)]
    kind: Option<Text<'a>>,
    #[serde(default)]
    controller: Option<bool>,
}

impl Owner<'_> {
    fn is_controlling_job(&self) -> bool {
        let is = |text: &Option<Text<'_>>, fits: fn(&str) -> bool| {
            text.as_ref().is_some_and(|text| fits(&text.0))
        };
        self.controller == Some(true)
            && is(&self.kind, |kind| kind == "Job")
            && is(&self.api_version, |version| version.starts_with("batch/"))
    }
}

impl<'de> Deserialize<'de> for OfJob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Find;
        impl<'de> Visitor<'de> for Find {
            type Value = OfJob;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of owner references")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OfJob, A::Error> {
                let mut found = false;
                while let Some(owner) = seq.next_element::<Owner<'_>>()? {
                    found |= owner.is_controlling_job();
                }
                Ok(OfJob(found))
            }
            fn visit_unit<E: serde::de::Error>(self) -> Result<OfJob, E> {
                Ok(OfJob::default())
            }
        }
        deserializer.deserialize_any(Find)
    }
}

/// The one annotation that counts, read without keeping the others.
#[derive(Default)]
pub(super) struct Priority(pub(super) Option<Box<str>>);

impl<'de> Deserialize<'de> for Priority {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Find;
        impl<'de> Visitor<'de> for Find {
            type Value = Priority;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Priority, A::Error> {
                let mut found = None;
                while let Some(key) = map.next_key::<Text<'_>>()? {
                    if key.0 == PRIORITY {
                        let value: Option<Text<'_>> = map.next_value()?;
                        found = Some((*value.unwrap_or_default().0).into());
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Priority(found))
            }
            fn visit_unit<E: serde::de::Error>(self) -> Result<Priority, E> {
                Ok(Priority::default())
            }
        }
        deserializer.deserialize_any(Find)
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodSpecWire<'a> {
    #[serde(deserialize_with = "some_text")]
    pub(super) node_name: Option<Arc<str>>,
    /// That of a `StatefulSet`'s pod is the pod's name, and is not kept.
    #[serde(borrow)]
    pub(super) hostname: Option<Text<'a>>,
    #[serde(deserialize_with = "flag")]
    pub(super) host_network: bool,
    #[serde(deserialize_with = "list")]
    pub(super) containers: Vec<Container>,
    #[serde(deserialize_with = "list")]
    pub(super) init_containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container {
    #[serde(default, deserialize_with = "list")]
    pub(super) ports: Vec<ContainerPort>,
    #[serde(default, rename = "restartPolicy", deserialize_with = "is_always")]
    pub(super) restarts: bool,
}

/// Whether a restart policy says that an init container runs beside the others.
fn is_always<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let policy = Option::<Text<'_>>::deserialize(deserializer)?;
    Ok(policy.is_some_and(|policy| policy.0 == "Always"))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContainerPort {
    #[serde(default, deserialize_with = "some_text")]
    pub(super) name: Option<Arc<str>>,
    #[serde(rename = "containerPort")]
    pub(super) number: u16,
    #[serde(default)]
    pub(super) protocol: Protocol,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodStatusWire {
    pub(super) phase: PodPhase,
    #[serde(rename = "podIP")]
    pub(super) pod_ip: Address,
    #[serde(rename = "podIPs", deserialize_with = "list")]
    pub(super) pod_ips: Vec<Ip>,
    pub(super) conditions: PodConditions,
}

#[derive(Deserialize)]
pub(super) struct Ip {
    #[serde(default)]
    pub(super) ip: Address,
}

/// A text that is no address (there is none in practice) counts as a missing one.
#[derive(Default)]
pub(super) struct Address(pub(super) Option<IpAddr>);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<Text<'_>>::deserialize(deserializer)?;
        Ok(Self(text.and_then(|text| text.0.parse().ok())))
    }
}

/// The two conditions that count, read without keeping the list.
#[derive(Default)]
pub(super) struct PodConditions {
    pub(super) ready: bool,
    pub(super) ready_transition: Option<jiff::Timestamp>,
    pub(super) disrupted: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition<'a> {
    #[serde(rename = "type", default)]
    kind: ConditionKind,
    #[serde(default)]
    status: Truth,
    /// Parsed for the one condition whose time counts.
    #[serde(default, borrow)]
    last_transition_time: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
enum ConditionKind {
    Ready,
    DisruptionTarget,
    #[default]
    #[serde(other)]
    Other,
}

#[derive(Default, PartialEq, Eq, Deserialize)]
enum Truth {
    True,
    #[default]
    #[serde(other)]
    NotTrue,
}

impl<'de> Deserialize<'de> for PodConditions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fold;
        impl<'de> Visitor<'de> for Fold {
            type Value = PodConditions;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of pod conditions")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<PodConditions, A::Error> {
                let mut all = PodConditions::default();
                while let Some(condition) = seq.next_element::<Condition<'_>>()? {
                    let holds = condition.status == Truth::True;
                    match condition.kind {
                        ConditionKind::Ready => {
                            all.ready = holds;
                            let at = condition.last_transition_time;
                            let at = at.map(|at| at.0.parse()).transpose();
                            all.ready_transition = at.map_err(serde::de::Error::custom)?;
                        }
                        ConditionKind::DisruptionTarget => all.disrupted = holds,
                        ConditionKind::Other => {}
                    }
                }
                Ok(all)
            }
            fn visit_unit<E: serde::de::Error>(self) -> Result<PodConditions, E> {
                Ok(PodConditions::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PodConditions, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(PodConditions::default())
            }
        }
        deserializer.deserialize_any(Fold)
    }
}
