//! Kubernetes' own types as judges of the trimmed ones.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::coordination::v1 as coordination;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use zen_lead::logic::model::{
    Family, Labels, Lease, Meta, Pod, PodPhase, Protocol, Service, Slice, TargetPort,
};

/// The largest annotation there is; its text is not kept.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Whether a server could hold a pod like this.
pub(super) fn is_valid_pod(pod: &core::Pod) -> bool {
    let spec = pod.spec.as_ref();
    let containers = spec.into_iter().flat_map(containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut kinds: Vec<_> = conditions.map(|condition| &condition.type_).collect();
    let count = kinds.len();
    kinds.sort();
    kinds.dedup();
    kinds.len() == count
        && ports.all(|port| is_port(port.container_port) && is_protocol(port.protocol.as_deref()))
}

fn containers(spec: &core::PodSpec) -> impl Iterator<Item = &core::Container> {
    let sidecars = spec.init_containers.iter().flatten();
    spec.containers.iter().chain(sidecars)
}

pub(super) fn is_valid_service(service: &core::Service) -> bool {
    let Some(spec) = &service.spec else {
        return true;
    };
    let is_family = |family: &String| matches!(family.as_str(), "IPv4" | "IPv6");
    spec.ip_families.iter().flatten().all(is_family)
        && spec.ports.iter().flatten().all(|port| {
            let target = match &port.target_port {
                Some(IntOrString::Int(number)) => is_port(*number),
                Some(IntOrString::String(name)) => !name.is_empty(),
                None => true,
            };
            target
                && is_port(port.port)
                && port.node_port.is_none_or(is_port)
                && is_protocol(port.protocol.as_deref())
        })
}

pub(super) fn is_valid_slice(slice: &EndpointSlice) -> bool {
    slice
        .ports
        .iter()
        .flatten()
        .all(|port| port.port.is_none_or(is_port) && is_protocol(port.protocol.as_deref()))
}

pub(super) fn is_valid_lease(lease: &coordination::Lease) -> bool {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
    let transitions = spec.and_then(|spec| spec.lease_transitions);
    seconds.is_none_or(|seconds| seconds > 0) && transitions.is_none_or(|count| count >= 0)
}

pub(super) fn same_lease(judge: &coordination::Lease, ours: &Lease) {
    same_meta(&judge.metadata, &ours.metadata);
    let spec = judge.spec.clone().unwrap_or_default();
    let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
    assert_eq!(ours.holder().map(|text| &**text), holder.as_deref());
    let seconds = ours.duration().map(|span| span.as_secs());
    let expected = spec.lease_duration_seconds;
    assert_eq!(seconds.map(u64::cast_signed), expected.map(i64::from));
    let transitions = spec.lease_transitions.unwrap_or(0);
    assert_eq!(ours.transitions(), i64::from(transitions));
}

fn is_port(number: i32) -> bool {
    (1..=65_535).contains(&number)
}

fn is_protocol(protocol: Option<&str>) -> bool {
    matches!(protocol, None | Some("TCP" | "UDP" | "SCTP"))
}

pub(super) fn same_pod(judge: &core::Pod, ours: &Pod) {
    let meta = &judge.metadata;
    same_text(meta.namespace.as_deref(), &ours.namespace);
    same_text(meta.name.as_deref(), &ours.name);
    same_text(meta.uid.as_deref(), &ours.uid.to_string());
    same_version(meta, &ours.version.to_string());
    let created = meta
        .creation_timestamp
        .as_ref()
        .map(instant)
        .unwrap_or_default();
    assert_eq!(ours.created, created);
    let deleted = meta.deletion_timestamp.is_some();
    assert_eq!(ours.terminating, deleted);
    assert_eq!(
        ours.gone,
        deleted && meta.deletion_grace_period_seconds == Some(0)
    );
    same_map(meta.labels.as_ref(), &ours.labels);
    let spec = judge.spec.clone().unwrap_or_default();
    let node = spec.node_name.as_deref().filter(|name| !name.is_empty());
    assert_eq!(ours.node.as_deref(), node);
    let is_own = |name: &&str| !name.is_empty() && **name != *ours.name;
    let hostname = spec.hostname.as_deref().filter(is_own);
    assert_eq!(ours.hostname.as_deref(), hostname);
    assert_eq!(ours.host_network, spec.host_network == Some(true));
    let rank = "zen-lead.io/priority";
    let from = |map: &Option<BTreeMap<String, String>>| map.as_ref()?.get(rank).cloned();
    let priority = from(&meta.labels).or_else(|| from(&meta.annotations));
    assert_eq!(ours.priority.as_deref(), priority.as_deref());
    let owners = judge.metadata.owner_references.iter().flatten();
    let mut jobs = owners.filter(|owner| {
        owner.controller == Some(true)
            && owner.kind == "Job"
            && owner.api_version.starts_with("batch/")
    });
    assert_eq!(ours.of_job, jobs.next().is_some());
    same_status(&judge.status.clone().unwrap_or_default(), ours);
    let all = spec.containers.iter().chain(
        spec.init_containers
            .iter()
            .flatten()
            .filter(|container| container.restart_policy.as_deref() == Some("Always")),
    );
    let named = all
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            let name = port.name.as_deref().filter(|name| !name.is_empty())?;
            Some((
                name,
                port.protocol.as_deref().unwrap_or("TCP"),
                port.container_port,
            ))
        });
    let mine = ours.ports.iter();
    let mine = mine.map(|port| (&*port.name, word(port.protocol), i32::from(port.number)));
    assert_eq!(mine.collect::<Vec<_>>(), named.collect::<Vec<_>>());
}

fn same_status(judge: &core::PodStatus, ours: &Pod) {
    let phase = match judge.phase.as_deref() {
        Some("Running") => PodPhase::Running,
        Some("Succeeded") => PodPhase::Succeeded,
        Some("Failed") => PodPhase::Failed,
        _ => PodPhase::Other,
    };
    assert_eq!(ours.phase, phase);
    let condition = |kind: &str| {
        let mut all = judge.conditions.iter().flatten();
        all.find(|condition| condition.type_ == kind)
    };
    let holds = |kind| condition(kind).is_some_and(|condition| condition.status == "True");
    assert_eq!(ours.ready, holds("Ready"));
    assert_eq!(ours.disrupted, holds("DisruptionTarget"));
    let since = condition("Ready").and_then(|ready| ready.last_transition_time.as_ref());
    assert_eq!(ours.ready_transition, since.map(instant));
    let entries = judge
        .pod_ips
        .iter()
        .flatten()
        .map(|entry| Some(entry.ip.as_str()));
    let texts: Vec<&str> = std::iter::once(judge.pod_ip.as_deref())
        .chain(entries)
        .flatten()
        .collect();
    let usable = texts
        .iter()
        .filter_map(|text| text.parse().ok())
        .filter(|ip| !is_refused(*ip));
    let (v4, v6): (Vec<_>, Vec<_>) = usable.partition(IpAddr::is_ipv4);
    assert_eq!(ours.ips.of(Family::IPv4), v4.first().copied());
    assert_eq!(ours.ips.of(Family::IPv6), v6.first().copied());
}

/// Loopback, link-local, unspecified, multicast and IPv4-in-IPv6, by their prefixes.
fn is_refused(address: IpAddr) -> bool {
    let within = |bits: u128, prefix: u128, length: u32, width: u32| {
        bits >> (width - length) == prefix >> (width - length)
    };
    match address {
        IpAddr::V4(v4) => {
            let bits = u128::from(u32::from(v4));
            let in_block = |a: u128, b: u128, length| within(bits, a << 24 | b << 16, length, 32);
            in_block(127, 0, 8) || in_block(169, 254, 16) || in_block(224, 0, 4) || bits == 0
        }
        IpAddr::V6(v6) => {
            let bits = u128::from(v6);
            bits <= 1
                || within(bits, 0xfe80 << 112, 10, 128)
                || within(bits, 0xff00 << 112, 8, 128)
                || within(bits, 0xffff << 32, 96, 128)
        }
    }
}

pub(super) fn same_service(judge: &core::Service, ours: &Service) {
    same_meta(&judge.metadata, &ours.metadata);
    let spec = judge.spec.clone().unwrap_or_default();
    let kind = match spec.type_.as_deref() {
        None => "ClusterIP",
        Some(kind @ ("ClusterIP" | "NodePort" | "LoadBalancer" | "ExternalName")) => kind,
        Some(_) => "Other",
    };
    assert_eq!(format!("{:?}", ours.spec.kind), kind);
    same_map(spec.selector.as_ref(), &ours.spec.selector);
    let texts = |list: Option<Vec<String>>| list.unwrap_or_default();
    assert_eq!(own(&ours.spec.cluster_ips), texts(spec.cluster_ips));
    assert_eq!(
        own(&ours.spec.load_balancer_source_ranges),
        texts(spec.load_balancer_source_ranges)
    );
    let families: Vec<_> = ours
        .spec
        .ip_families
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(families, texts(spec.ip_families));
    assert_eq!(
        ours.spec.ip_family_policy.as_deref(),
        spec.ip_family_policy.as_deref()
    );
    assert_eq!(
        ours.spec.load_balancer_class.as_deref(),
        spec.load_balancer_class.as_deref()
    );
    let ports = spec.ports.unwrap_or_default();
    assert_eq!(ours.spec.ports.len(), ports.len());
    for (ours, judge) in ours.spec.ports.iter().zip(&ports) {
        assert_eq!(ours.name.as_deref(), judge.name.as_deref());
        assert_eq!(
            word(ours.protocol),
            judge.protocol.as_deref().unwrap_or("TCP")
        );
        assert_eq!(ours.app_protocol.as_deref(), judge.app_protocol.as_deref());
        assert_eq!(i32::from(ours.port), judge.port);
        assert_eq!(ours.node_port.map(i32::from), judge.node_port);
        let target = ours.target_port.as_ref().map(|target| match target {
            TargetPort::Number(number) => IntOrString::Int(i32::from(*number)),
            TargetPort::Name(name) => IntOrString::String(name.to_string()),
        });
        assert_eq!(target, judge.target_port);
    }
}

pub(super) fn same_slice(judge: &EndpointSlice, ours: &Slice) {
    same_meta(&judge.metadata, &ours.metadata);
    let kind = match judge.address_type.as_str() {
        kind @ ("IPv4" | "IPv6") => kind,
        _ => "Other",
    };
    assert_eq!(format!("{:?}", ours.address_type), kind);
    assert_eq!(ours.endpoints.len(), judge.endpoints.len());
    for (ours, judge) in ours.endpoints.iter().zip(&judge.endpoints) {
        assert_eq!(own(&ours.addresses), judge.addresses);
        let conditions = judge.conditions.clone().unwrap_or_default();
        assert_eq!(ours.conditions.ready, conditions.ready);
        assert_eq!(ours.conditions.serving, conditions.serving);
        assert_eq!(ours.conditions.terminating, conditions.terminating);
        assert_eq!(ours.node_name.as_deref(), judge.node_name.as_deref());
        assert_eq!(ours.zone.as_deref(), judge.zone.as_deref());
        assert_eq!(ours.hostname.as_deref(), judge.hostname.as_deref());
        assert_eq!(ours.hints.is_some(), judge.hints.is_some());
        assert_eq!(ours.target_ref.is_some(), judge.target_ref.is_some());
        if let (Some(ours), Some(judge)) = (&ours.target_ref, &judge.target_ref) {
            same_text(judge.kind.as_deref(), &ours.kind);
            same_text(judge.namespace.as_deref(), &ours.namespace);
            same_text(judge.name.as_deref(), &ours.name);
            same_text(judge.uid.as_deref(), &ours.uid.to_string());
        }
    }
    let ports = judge.ports.iter().flatten();
    assert_eq!(ours.ports.len(), ports.clone().count());
    for (ours, judge) in ours.ports.iter().zip(ports) {
        assert_eq!(ours.name.as_deref(), judge.name.as_deref());
        assert_eq!(
            word(ours.protocol),
            judge.protocol.as_deref().unwrap_or("TCP")
        );
        assert_eq!(ours.port.map(i32::from), judge.port);
        assert_eq!(ours.app_protocol.as_deref(), judge.app_protocol.as_deref());
    }
}

fn same_meta(judge: &ObjectMeta, ours: &Meta) {
    same_text(judge.namespace.as_deref(), &ours.namespace);
    same_text(judge.name.as_deref(), &ours.name);
    same_text(judge.uid.as_deref(), &ours.uid.to_string());
    same_version(judge, &ours.resource_version.to_string());
    assert_eq!(
        ours.creation_timestamp,
        judge.creation_timestamp.as_ref().map(instant)
    );
    assert_eq!(
        ours.deletion_timestamp,
        judge.deletion_timestamp.as_ref().map(instant)
    );
    let tracked = judge.managed_fields.iter().flatten();
    assert_eq!(ours.is_tracked, tracked.count() > 0);
    assert_eq!(
        own(&ours.finalizers),
        judge.finalizers.clone().unwrap_or_default()
    );
    same_map(judge.labels.as_ref(), &ours.labels);
    same_map(judge.annotations.as_ref(), &ours.annotations);
    let owners = judge.owner_references.iter().flatten();
    assert_eq!(ours.owner_references.len(), owners.clone().count());
    for (ours, judge) in ours.owner_references.iter().zip(owners) {
        assert_eq!(*ours.api_version, *judge.api_version);
        assert_eq!(*ours.kind, *judge.kind);
        assert_eq!(*ours.name, *judge.name);
        assert_eq!(ours.uid.to_string(), *judge.uid);
        assert_eq!(ours.controller, judge.controller.unwrap_or_default());
        assert_eq!(
            ours.block_owner_deletion,
            judge.block_owner_deletion.unwrap_or_default()
        );
    }
}

fn same_text(judge: Option<&str>, ours: &str) {
    assert_eq!(ours, judge.unwrap_or_default());
}

/// An absent version reads as "0", which a server takes for "any" as well.
fn same_version(judge: &ObjectMeta, ours: &str) {
    assert_eq!(ours, judge.resource_version.as_deref().unwrap_or("0"));
}

fn same_map(judge: Option<&BTreeMap<String, String>>, ours: &Labels) {
    let expected = judge.into_iter().flatten().map(|(key, value)| {
        let is_kept = key != LAST_APPLIED;
        (key.as_str(), if is_kept { value.as_str() } else { "" })
    });
    assert_eq!(
        ours.iter().collect::<Vec<_>>(),
        expected.collect::<Vec<_>>()
    );
}

fn own<T: AsRef<str>>(texts: &[T]) -> Vec<String> {
    texts.iter().map(|text| text.as_ref().to_owned()).collect()
}

fn instant(time: &Time) -> jiff::Timestamp {
    time.0
}

pub(super) fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    }
}
