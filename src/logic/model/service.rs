//! A Service: a source, one of our leader Services, or one that zen-lead does not manage.

use std::fmt;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use super::meta::{FromProtobuf, Key, Labels, Meta, Object, Version, kept_list};
use super::protobuf;
use super::uid::Uid;
use crate::logic::well_known::LOAD_BALANCER_CLEANUP;

/// What is known of one Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Names, versions, labels, annotations, owners.
    pub metadata: Meta,
    /// The specification.
    pub spec: ServiceSpec,
    /// Whether `status.loadBalancer` shows one.
    #[serde(rename = "status", deserialize_with = "is_balanced")]
    pub is_balanced: bool,
}

/// The part of `spec` that is read, mirrored or held to a desired value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// How it is exposed.
    #[serde(rename = "type")]
    pub kind: ServiceType,
    /// Which pods it is for; empty for a leader Service.
    pub selector: Labels,
    /// Its ports.
    #[serde(deserialize_with = "kept_list")]
    pub ports: Vec<Port>,
    /// All cluster addresses, `None` for a headless Service.
    #[serde(rename = "clusterIPs", deserialize_with = "kept_list")]
    pub cluster_ips: Vec<Arc<str>>,
    /// Families in order of preference.
    #[serde(deserialize_with = "kept_list")]
    pub ip_families: Vec<Family>,
    /// `SingleStack`, `PreferDualStack` or `RequireDualStack`.
    pub ip_family_policy: Option<Arc<str>>,
    /// Address ranges that may reach a load balancer.
    #[serde(deserialize_with = "kept_list")]
    pub load_balancer_source_ranges: Vec<Arc<str>>,
    /// Which implementation makes the load balancer.
    pub load_balancer_class: Option<Arc<str>>,
    /// Whether DNS and data planes use endpoints that are not ready.
    pub publish_not_ready_addresses: bool,
}

fn is_balanced<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Status {
        load_balancer: Option<Balancer>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Balancer {
        ingress: Option<Vec<IgnoredAny>>,
    }
    let status = Option::<Status>::deserialize(from)?;
    let ingress = status
        .and_then(|status| status.load_balancer)
        .and_then(|balancer| balancer.ingress);
    Ok(ingress.is_some_and(|ingress| !ingress.is_empty()))
}

impl Service {
    /// Namespace and name.
    #[must_use]
    pub fn key(&self) -> Key {
        self.metadata.key()
    }

    /// Whether it has no cluster address by intent.
    #[must_use]
    pub fn is_headless(&self) -> bool {
        self.spec
            .cluster_ips
            .first()
            .is_some_and(|ip| &**ip == "None")
    }

    /// Whether something is left of the load balancer that it is or was.
    #[must_use]
    pub fn has_former_balancer(&self) -> bool {
        let mut finalizers = self.metadata.finalizers.iter();
        self.is_balanced || finalizers.any(|finalizer| &**finalizer == LOAD_BALANCER_CLEANUP)
    }

    /// Its families; an old server that says nothing has only IPv4, or what the address shows.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        if !self.spec.ip_families.is_empty() {
            return self.spec.ip_families.clone();
        }
        let v6 = self
            .spec
            .cluster_ips
            .first()
            .is_some_and(|ip| ip.contains(':'));
        vec![if v6 { Family::IPv6 } else { Family::IPv4 }]
    }
}

impl Object for Service {
    const RESOURCE: &'static str = "services";
    const API: &'static str = "/api/v1";
    const PROTOBUF: Option<FromProtobuf<Self>> = Some(protobuf::service);

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

/// `spec.type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceType {
    /// Reachable in the cluster; also what a headless Service is.
    #[default]
    ClusterIP,
    /// Reachable on every node.
    NodePort,
    /// Reachable through a load balancer of the cloud.
    LoadBalancer,
    /// An alias of a DNS name; never a source.
    ExternalName,
    /// A type newer than this program.
    #[serde(other)]
    Other,
}

/// One entry of `spec.ports`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Empty only when the Service has one port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// Transport protocol.
    #[serde(default)]
    pub protocol: Protocol,
    /// Application protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<Arc<str>>,
    /// Port of the Service.
    pub port: u16,
    /// Port of the pod; `port` itself when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_port: Option<TargetPort>,
    /// Port of the nodes, allocated by the server; read on our own Services, never mirrored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_port: Option<u16>,
}

/// A number, or the name of a container port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TargetPort {
    /// The same number on every pod.
    Number(u16),
    /// To be looked up in each pod.
    Name(Arc<str>),
}

/// Transport protocol of a port.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP, the default.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    IPv4,
    /// IPv6.
    IPv6,
}

impl Family {
    /// The ending of the second family's slice name.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::IPv4 => "-ipv4",
            Self::IPv6 => "-ipv6",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IPv4 => "IPv4",
            Self::IPv6 => "IPv6",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_service_as_the_server_writes_it() {
        let service: Service = serde_json::from_str(
            r#"{"metadata":{"name":"a","namespace":"n"},"spec":{"clusterIP":"10.0.0.1","clusterIPs":["10.0.0.1"],
              "type":"NodePort","sessionAffinity":"None","selector":{"app":"a"},"ipFamilies":["IPv4"],
              "ipFamilyPolicy":"SingleStack","ports":[
                {"name":"http","protocol":"TCP","port":80,"targetPort":"web","nodePort":30001,"appProtocol":"h2c"},
                {"name":"dns","protocol":"UDP","port":53,"targetPort":5353}]},"status":{"loadBalancer":{}}}"#,
        )
        .expect("it parses");
        assert_eq!(service.spec.kind, ServiceType::NodePort);
        assert_eq!(
            service.spec.ports[0].target_port,
            Some(TargetPort::Name("web".into()))
        );
        assert_eq!(
            service.spec.ports[1].target_port,
            Some(TargetPort::Number(5353))
        );
        assert!(!service.is_headless());
        assert_eq!(service.families(), [Family::IPv4]);
    }

    #[test]
    fn nulls_and_new_types_do_no_harm() {
        let service: Service = serde_json::from_str(
            r#"{"metadata":{"name":"a"},"spec":{"type":"Wormhole","selector":null,"ports":null,"clusterIPs":["None"]}}"#,
        )
        .expect("it parses");
        assert_eq!(service.spec.kind, ServiceType::Other);
        assert!(service.is_headless() && service.spec.selector.is_empty());
    }

    #[test]
    fn a_load_balancer_leaves_its_address_or_its_finalizer_behind() {
        for (rest, expected) in [
            (
                r#""status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}"#,
                true,
            ),
            (r#""status":{"loadBalancer":{"ingress":[]}}"#, false),
            (r#""status":{"loadBalancer":{}}"#, false),
            (r#""status":{"loadBalancer":null,"conditions":[]}"#, false),
            (r#""status":null"#, false),
            (
                r#""metadata":{"finalizers":["service.kubernetes.io/load-balancer-cleanup"]}"#,
                true,
            ),
            (r#""metadata":{"finalizers":["example.com/hold"]}"#, false),
        ] {
            let service: Service = serde_json::from_str(&format!("{{{rest}}}")).expect("it parses");
            assert_eq!(service.has_former_balancer(), expected, "{rest}");
        }
    }
}
