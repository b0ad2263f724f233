//! A pod, reduced to what an election needs.

mod protobuf;
mod relabelled;
mod wire;

use std::net::IpAddr;
use std::sync::Arc;

pub use relabelled::{LabelSet, Relabelled};

use super::meta::{FromProtobuf, Key, Labels, Object, Version};
use super::service::{Family, Protocol};
use super::uid::Uid;
use crate::logic::time::{Moment, Now};

/// What is known of one pod.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that do not depend on each other"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Identity.
    pub uid: Uid,
    /// Version of this reading.
    pub version: Version,
    /// When it was created.
    pub created: jiff::Timestamp,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Whether it is being deleted without any grace left: the kubelet's last word, or force. The
    /// server sends such a reading right before the deletion itself.
    pub gone: bool,
    /// When it was first seen, by our own clock; [`Moment::MIN`] if it was there when this process
    /// started.
    pub appeared: Moment,
    /// Labels.
    pub labels: Labels,
    /// Which of them were seen to be set on it, and when.
    pub relabelled: Relabelled,
    /// Whether a Job controls it: it does a piece of work and serves no client.
    pub of_job: bool,
    /// The node it runs on.
    pub node: Option<Arc<str>>,
    /// Whether it uses the node's network.
    pub host_network: bool,
    /// `spec.hostname`, if it differs from the name.
    pub hostname: Option<Box<str>>,
    /// Addresses that may be published: of `status.podIPs`, without those that
    /// [`may_be_published`] refuses.
    pub ips: Addresses,
    /// Lifecycle phase.
    pub phase: PodPhase,
    /// Whether the condition `Ready` is `True`.
    pub ready: bool,
    /// `lastTransitionTime` of the condition `Ready`.
    pub ready_transition: Option<jiff::Timestamp>,
    /// Since when `ready` has the value it has, by our own clock; see [`Pod::seen`].
    pub ready_since: Moment,
    /// Whether the condition `DisruptionTarget` is `True`.
    pub disrupted: bool,
    /// The priority label or annotation as it was written.
    pub priority: Option<Box<str>>,
    /// Named ports of containers and restartable init containers.
    pub ports: Arc<[NamedPort]>,
}

/// `status.phase`; a phase that is unknown here reads as [`PodPhase::Other`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub enum PodPhase {
    /// Started.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Not started, unknown, or not said.
    #[default]
    #[serde(other)]
    Other,
}

/// A container port that has a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamedPort {
    /// The name a Service's `targetPort` may use.
    pub name: Arc<str>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port number.
    pub number: u16,
}

/// At most one address per family, as a pod has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    v4: Option<std::net::Ipv4Addr>,
    v6: Option<std::net::Ipv6Addr>,
}

impl Addresses {
    /// The address of that family.
    #[must_use]
    pub fn of(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::IPv4 => self.v4.map(IpAddr::V4),
            Family::IPv6 => self.v6.map(IpAddr::V6),
        }
    }

    /// Takes an address unless it must not be published or its family has one.
    pub fn offer(&mut self, address: IpAddr) {
        match address {
            _ if !may_be_published(address) => {}
            IpAddr::V4(v4) => self.v4 = self.v4.or(Some(v4)),
            IpAddr::V6(v6) => self.v6 = self.v6.or(Some(v6)),
        }
    }
}

impl FromIterator<IpAddr> for Addresses {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        let mut all = Self::default();
        addresses.into_iter().for_each(|address| all.offer(address));
        all
    }
}

/// Whether an address may stand in a slice: the API server refuses the others, and traffic sent
/// to them would reach the node itself (CVE-2021-25737).
#[must_use]
pub fn may_be_published(address: IpAddr) -> bool {
    let refused = match address {
        IpAddr::V4(v4) => {
            v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast()
        }
        IpAddr::V6(v6) => {
            let mapped = v6.to_ipv4_mapped().is_some();
            let link_local = v6.is_unicast_link_local();
            mapped || link_local || v6.is_loopback() || v6.is_unspecified() || v6.is_multicast()
        }
    };
    !refused
}

impl Pod {
    /// Namespace and name.
    #[must_use]
    pub fn key(&self) -> Key {
        Key {
            namespace: Arc::clone(&self.namespace),
            name: Arc::clone(&self.name),
        }
    }

    /// Whether its containers have ended for good, whatever its other fields say.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.gone || matches!(self.phase, PodPhase::Succeeded | PodPhase::Failed)
    }

    /// Dates `ready_since`: a reading that continues `before` keeps its date, a change counts from
    /// now, and at first sight the condition's own `lastTransitionTime` is believed. Dates the pod itself
    /// and its labels, too.
    #[must_use]
    pub fn seen(mut self, before: Option<&Self>, now: Now) -> Self {
        let before = before.filter(|before| before.uid == self.uid);
        self.appeared = before.map_or(now.moment, |before| before.appeared);
        if let Some(before) = before {
            let set = LabelSet {
                at: now.moment,
                version: self.version.clone(),
            };
            self.relabelled = before.relabelled.after(&before.labels, &self.labels, &set);
        }
        self.ready_since = match before {
            Some(before)
                if before.ready == self.ready
                    && before.ready_transition == self.ready_transition =>
            {
                before.ready_since
            }
            Some(_) => now.moment,
            None => self
                .ready_transition
                .map_or(now.moment, |at| now.moment_of(at)),
        };
        self
    }

    /// Whether two readings differ in nothing that a decision could depend on.
    #[must_use]
    pub fn is_same_fact(&self, other: &Self) -> bool {
        // Ordered by how often the field changes; the version is left out on purpose.
        self.ready == other.ready
            && self.ready_since == other.ready_since
            && self.terminating == other.terminating
            && self.gone == other.gone
            && self.ips == other.ips
            && self.phase == other.phase
            && self.disrupted == other.disrupted
            && self.uid == other.uid
            && self.node == other.node
            && self.labels == other.labels
            && self.priority == other.priority
            && self.of_job == other.of_job
            && self.ports == other.ports
    }
}

impl Object for Pod {
    const RESOURCE: &'static str = "pods";
    const API: &'static str = "/api/v1";
    const PROTOBUF: Option<FromProtobuf<Self>> = Some(protobuf::pod);
    const READS_MANAGED_FIELDS: bool = false;

    fn key(&self) -> Key {
        self.key()
    }
    fn uid(&self) -> &Uid {
        &self.uid
    }
    fn version(&self) -> &Version {
        &self.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Pod {
        serde_json::from_str(json).expect("it parses")
    }

    #[test]
    fn reads_what_an_election_needs_and_skips_the_rest() {
        let pod = parse(
            r#"{"kind":"Pod","metadata":{"name":"a-0","namespace":"n","uid":"u","resourceVersion":"9",
              "creationTimestamp":"2026-01-01T00:00:00Z","labels":{"app":"a","zen-lead.io/priority":"7"},
              "managedFields":[{"manager":"kubelet","fieldsV1":{"f:status":{}}}]},
              "spec":{"nodeName":"node-1","volumes":[{"name":"v"}],
                "initContainers":[{"name":"once","ports":[{"name":"no","containerPort":1}]},
                  {"name":"side","restartPolicy":"Always","ports":[{"name":"side","containerPort":9000,"protocol":"UDP"}]}],
                "containers":[{"name":"c","ports":[{"name":"http","containerPort":8080},{"containerPort":1}]}]},
              "status":{"phase":"Running","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"},{"ip":"fd00::1"}],
                "conditions":[{"type":"PodScheduled","status":"True"},
                  {"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:05Z"},
                  {"type":"DisruptionTarget","status":"True"}]}}"#,
        );
        assert_eq!(pod.key(), Key::new("n", "a-0"));
        assert!(pod.ready && pod.disrupted && !pod.terminating && !pod.ended());
        assert_eq!(
            pod.ips.of(Family::IPv4),
            Some("10.0.0.1".parse().expect("v4"))
        );
        assert_eq!(
            pod.ips.of(Family::IPv6),
            Some("fd00::1".parse().expect("v6"))
        );
        assert_eq!(pod.priority.as_deref(), Some("7"));
        let ports: Vec<_> = pod
            .ports
            .iter()
            .map(|p| (&*p.name, p.protocol, p.number))
            .collect();
        assert_eq!(
            ports,
            [("http", Protocol::Tcp, 8080), ("side", Protocol::Udp, 9000)]
        );
    }

    #[test]
    fn nulls_and_odd_values_read_as_absent() {
        let pod = parse(
            r#"{"metadata":{"name":"a","namespace":"n","labels":null,"deletionTimestamp":"2026-01-01T00:00:00Z"},
              "spec":{"containers":null,"initContainers":null},
              "status":{"phase":"Martian","podIP":null,"podIPs":[{"ip":"10.0.0.300"},{"ip":"127.0.0.1"},{}],
                "conditions":null}}"#,
        );
        assert!(pod.terminating && !pod.ready && !pod.ended());
        assert_eq!(
            (pod.phase, pod.ips),
            (PodPhase::Other, Addresses::default())
        );
        assert_eq!(
            parse(r#"{"metadata":{"name":"a"}}"#).ips,
            Addresses::default()
        );
    }

    #[test]
    fn a_pod_of_a_job_is_known_by_its_controller() {
        let owned = |owners: &str| {
            parse(&format!(
                r#"{{"metadata":{{"name":"a","ownerReferences":{owners}}}}}"#
            ))
        };
        for (owners, expected) in [
            (
                r#"[{"apiVersion":"batch/v1","kind":"Job","name":"j","uid":"u","controller":true}]"#,
                true,
            ),
            (
                r#"[{"apiVersion":"v1","kind":"Node"},{"controller":true,"kind":"Job","apiVersion":"batch/v2"}]"#,
                true,
            ),
            (
                r#"[{"apiVersion":"batch/v1","kind":"Job","name":"j","uid":"u"}]"#,
                false,
            ),
            (
                r#"[{"apiVersion":"batch/v1","kind":"Job","controller":false}]"#,
                false,
            ),
            (
                r#"[{"apiVersion":"batch/v1","kind":"CronJob","controller":true}]"#,
                false,
            ),
            (
                r#"[{"apiVersion":"batch.example.com/v1","kind":"Job","controller":true}]"#,
                false,
            ),
            (
                r#"[{"apiVersion":"apps/v1","kind":"ReplicaSet","controller":true}]"#,
                false,
            ),
            (
                r#"[{"apiVersion":null,"kind":null,"controller":null},{}]"#,
                false,
            ),
            ("[]", false),
            ("null", false),
        ] {
            assert_eq!(owned(owners).of_job, expected, "{owners}");
        }
        let (plain, of_job) = (
            owned("null"),
            Pod {
                of_job: true,
                ..owned("null")
            },
        );
        assert!(!plain.is_same_fact(&of_job), "an adoption is news");
    }

    #[test]
    fn a_deletion_without_grace_is_the_end() {
        let deleted = |grace: &str| {
            parse(&format!(
                r#"{{"metadata":{{"name":"a","deletionTimestamp":"2026-01-01T00:00:00Z","deletionGracePeriodSeconds":{grace}}}}}"#
            ))
        };
        assert!(!deleted("30").ended());
        assert!(!deleted("null").ended());
        assert!(deleted("0").ended());
    }

    #[test]
    fn addresses_of_the_node_itself_are_refused() {
        for (address, fine) in [
            ("10.0.0.1", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("fd00::1", true),
            ("::1", false),
            ("fe80::1", false),
            ("::", false),
            ("ff02::1", false),
            ("::ffff:127.0.0.1", false),
        ] {
            assert_eq!(
                may_be_published(address.parse().expect("an address")),
                fine,
                "{address}"
            );
        }
    }

    #[test]
    fn readiness_is_dated_at_first_sight_and_by_what_was_seen() {
        let text = |ready: &str, at: &str| {
            format!(
                r#"{{"metadata":{{"name":"a","uid":"u"}},"status":{{"conditions":[{{"type":"Ready","status":"{ready}","lastTransitionTime":"2026-01-01T00:00:{at}Z"}}]}}}}"#
            )
        };
        let now = |seconds: i64| Now {
            moment: Moment(seconds * 1_000_000),
            wall: "2026-01-01T00:00:00Z"
                .parse::<jiff::Timestamp>()
                .expect("a time")
                + jiff::SignedDuration::from_secs(seconds),
        };
        let first = parse(&text("True", "03")).seen(None, now(10));
        assert_eq!(
            first.ready_since,
            Moment(3_000_000),
            "believed at first sight"
        );
        let same = parse(&text("True", "03")).seen(Some(&first), now(20));
        assert_eq!(same.ready_since, first.ready_since);
        let lost = parse(&text("False", "15")).seen(Some(&first), now(20));
        assert_eq!(
            lost.ready_since,
            Moment(20_000_000),
            "a change counts from when it was seen"
        );
        let flapped = parse(&text("True", "18")).seen(Some(&first), now(20));
        assert_eq!(
            flapped.ready_since,
            Moment(20_000_000),
            "even one whose middle was missed"
        );
        let future = parse(&text("True", "59")).seen(None, now(10));
        assert_eq!(
            future.ready_since,
            Moment(10_000_000),
            "never from the future"
        );
    }
}
