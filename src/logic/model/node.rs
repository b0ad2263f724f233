//! A node, reduced to whether it is about to go.

use serde::Deserialize;
use serde::de::Deserializer;

use super::meta::{FromProtobuf, Key, Meta, Object, Version, list};
use super::protobuf;
use super::uid::Uid;

/// Taints that mark a node for removal: the scheduler's own mark of a cordoned node, and those of
/// cluster-autoscaler, Karpenter (its former name too), and cloud providers that shut it down.
const DEPARTURES: [&str; 6] = [
    "node.kubernetes.io/unschedulable",
    "node.kubernetes.io/out-of-service",
    "node.cloudprovider.kubernetes.io/shutdown",
    "ToBeDeletedByClusterAutoscaler",
    "karpenter.sh/disrupted",
    "karpenter.sh/disruption",
];

/// What is known of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    key: Key,
    uid: Uid,
    version: Version,
    /// Whether it is cordoned, tainted for its deletion, or being deleted.
    pub leaves: bool,
}

impl Object for Node {
    const RESOURCE: &'static str = "nodes";
    const API: &'static str = "/api/v1";
    const PROTOBUF: Option<FromProtobuf<Self>> = Some(protobuf::node);
    const READS_MANAGED_FIELDS: bool = false;

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

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = NodeWire::deserialize(deserializer)?;
        let is_marked = wire.spec.unschedulable.unwrap_or_default()
            || wire
                .spec
                .taints
                .iter()
                .any(|taint| is_departure(&taint.key));
        Ok(Self::new(wire.metadata, is_marked))
    }
}

impl Node {
    /// A node that is marked for its removal, or not.
    pub(super) fn new(metadata: Meta, is_marked: bool) -> Self {
        Self {
            leaves: is_marked || metadata.deletion_timestamp.is_some(),
            key: metadata.key(),
            uid: metadata.uid,
            version: metadata.resource_version,
        }
    }
}

/// Whether a taint of this key marks a node for removal.
pub(super) fn is_departure(key: &str) -> bool {
    DEPARTURES.contains(&key)
}

#[derive(Deserialize)]
struct NodeWire {
    metadata: Meta,
    #[serde(default)]
    spec: NodeSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeSpec {
    unschedulable: Option<bool>,
    #[serde(deserialize_with = "list")]
    taints: Vec<Taint>,
}

#[derive(Deserialize)]
struct Taint {
    key: Box<str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_leaves_when_it_is_marked() {
        for (spec, leaves) in [
            (r"{}", false),
            (r#"{"unschedulable":false,"taints":null}"#, false),
            (r#"{"unschedulable":true}"#, true),
            (
                r#"{"taints":[{"key":"node.kubernetes.io/unschedulable","effect":"NoSchedule"}]}"#,
                true,
            ),
            (
                r#"{"taints":[{"key":"ToBeDeletedByClusterAutoscaler","value":"1","effect":"NoSchedule"}]}"#,
                true,
            ),
            (
                r#"{"taints":[{"key":"karpenter.sh/disrupted","effect":"NoSchedule"}]}"#,
                true,
            ),
            (
                r#"{"taints":[{"key":"gpu","value":"true","effect":"NoSchedule"}]}"#,
                false,
            ),
        ] {
            let text = format!(
                r#"{{"metadata":{{"name":"n1","uid":"u","resourceVersion":"7"}},"spec":{spec},"status":{{"images":[]}}}}"#
            );
            let node: Node = serde_json::from_str(&text).expect("a node");
            assert_eq!(node.leaves, leaves, "{spec}");
            assert_eq!(&*node.key().name, "n1");
        }
    }
}
