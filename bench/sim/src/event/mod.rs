//! What users, kubelets and strangers do to a cluster. Each event stands for itself: it does nothing
//! where its object is missing, so that any subset of a schedule is a schedule.

mod draw;
mod effect;
mod elector;
mod hand;

use serde_json::Value;
use simkube::Kind;

pub(crate) use self::effect::create_pod;
pub(crate) use self::elector::APPS;
pub use self::elector::{Elector, ElectorAct, Habit, Identity};

/// The only namespace.
pub(crate) const NS: &str = "shop";
/// Where the controller's own Lease is.
pub(crate) const LEASE_NS: &str = "zl";
/// Sources.
pub(crate) const SOURCES: [&str; 4] = ["a", "b", "c", "d"];
/// Pods.
pub(crate) const PODS: [&str; 10] = ["p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9"];
/// Nodes.
pub(crate) const NODES: [&str; 3] = ["n0", "n1", "n2"];
/// By which an autoscaler says that a node goes.
pub(crate) const TAINT: &str = "ToBeDeletedByClusterAutoscaler";
/// Where kubelets renew the Leases of their nodes.
pub(crate) const NODE_LEASES: &str = "kube-node-lease";
const ENABLED: &str = "zen-lead.io/enabled";
const NAME: &str = "zen-lead.io/leader-service-name";
const SOURCE: &str = "zen-lead.io/source-service";
/// Bears every object that the workload made beside our objects.
pub(crate) const FOREIGN: &str = "foreign";
/// Names that sources ask for, or hold by default.
const NAMES: [&str; 7] = [
    "a-leader", "b-leader", "c-leader", "d-leader", "shared", "main-a", "main-b",
];

/// Something happens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the fields say what they are")]
pub enum Event {
    /// A Service comes, opted in or not.
    Source {
        name: &'static str,
        app: &'static str,
        ports: u8,
        enabled: bool,
        dual: bool,
    },
    /// A Service goes; its dependents are orphaned, or not.
    DropSource { name: &'static str, orphan: bool },
    /// An annotation of a source is set or removed.
    Annotate {
        name: &'static str,
        key: &'static str,
        value: Option<&'static str>,
    },
    /// A label and an annotation that are mirrored.
    Mirror {
        name: &'static str,
        value: Option<&'static str>,
    },
    /// Another selector, or none.
    Select {
        name: &'static str,
        app: Option<&'static str>,
    },
    /// Other ports.
    Ports { name: &'static str, ports: u8 },
    /// One family or two.
    Families { name: &'static str, dual: bool },
    /// A pod comes.
    Pod {
        name: &'static str,
        app: &'static str,
        node: &'static str,
        ip: u8,
        ready: bool,
        of_job: bool,
    },
    /// A pod becomes Ready or not.
    Ready { name: &'static str, ready: bool },
    /// A pod is deleted, with grace.
    Terminate { name: &'static str },
    /// A pod is gone.
    Finish { name: &'static str },
    /// A pod is evicted by the API: told so, and deleted with grace.
    Evict { name: &'static str },
    /// A pod is about to be evicted, or that is called off.
    Disrupt { name: &'static str, on: bool },
    /// A pod is gone and back under its name at once.
    Recreate { name: &'static str, ip: u8 },
    /// Another address, or none, or one that must not be published.
    Address { name: &'static str, ip: u8 },
    /// A pod ends, or not yet runs.
    Phase {
        name: &'static str,
        phase: &'static str,
    },
    /// A pod gets a rank for the strategy `priority`, or loses it.
    Rank {
        name: &'static str,
        value: Option<&'static str>,
    },
    /// A pod changes its label.
    Relabel {
        name: &'static str,
        app: &'static str,
    },
    /// All pods of a node are Ready no more, or are again.
    Node { name: &'static str, up: bool },
    /// A node is cordoned, or is no more.
    Cordon { name: &'static str, on: bool },
    /// A node is marked for its deletion by an autoscaler, or is no more.
    Taint { name: &'static str, on: bool },
    /// A node is removed, and its pods with it.
    NodeGone { name: &'static str },
    /// A stranger takes a name that might be ours.
    Squat { kind: Kind, name: &'static str },
    /// The stranger gives the name up.
    Unsquat { kind: Kind, name: &'static str },
    /// A stranger attaches a slice to a leader Service.
    Attach { name: &'static str },
    /// A user edits a leader Service of ours.
    HandService { of: &'static str, edit: ServiceEdit },
    /// A user edits a slice of ours.
    HandSlice { of: &'static str, edit: SliceEdit },
    /// Something happens to the leader.
    OfLeader { of: &'static str, act: PodAct },
    /// The garbage collector comes by.
    Collect,
    /// Something happens to an application that elects its leader.
    Elector { app: &'static str, act: ElectorAct },
}

/// What happens to the pod that leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodAct {
    /// It is not Ready any more.
    Unready,
    /// It flaps.
    Flap,
    /// It is deleted, with grace.
    Terminate,
    /// It is killed.
    Kill,
    /// It is about to be evicted.
    Disrupt,
    /// It is evicted, with grace.
    Evict,
    /// Its node runs short of something, and it fails.
    Starve,
    /// It moves to another address.
    Move,
    /// It loses its address.
    Isolate,
    /// It ends.
    Fail,
    /// It loses its label.
    Unlabel,
    /// Its node is cordoned.
    Cordon,
}

/// What hands do to a leader Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceEdit {
    /// Takes our labels off.
    Unlabel,
    /// Makes it an orphan.
    Disown,
    /// Changes its ports.
    Ports,
    /// Sets an annotation of ours.
    Identity,
    /// Sets a label of its own.
    Own,
    /// Sets a selector, and the native controller makes a slice.
    Select,
    /// Deletes it.
    Delete,
}

/// What hands do to a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SliceEdit {
    /// Takes our labels off.
    Unlabel,
    /// Makes it an orphan.
    Disown,
    /// Empties it.
    Empty,
    /// Publishes another pod.
    Misroute,
    /// Changes its ports.
    Ports,
    /// Deletes it.
    Delete,
}

impl Event {
    /// The name under which its occurrences are counted; one of [`KINDS`].
    #[must_use]
    pub(crate) fn kind(&self) -> String {
        let text = |debug: String| {
            let end = debug.find([' ', '{']).unwrap_or(debug.len());
            debug[..end].to_owned()
        };
        match self {
            Self::HandService { edit, .. } => format!("HandService {edit:?}"),
            Self::OfLeader { act, .. } => format!("OfLeader {act:?}"),
            Self::HandSlice { edit, .. } => format!("HandSlice {edit:?}"),
            Self::Annotate { key, .. } => {
                format!("Annotate {}", key.trim_start_matches("zen-lead.io/"))
            }
            Self::Elector { act, .. } => format!("Elector {act:?}"),
            Self::Squat { kind, .. } => format!("Squat {kind:?}"),
            Self::Unsquat { kind, .. } => format!("Unsquat {kind:?}"),
            other => text(format!("{other:?}")),
        }
    }
}

/// Every kind there is: a test holds this against what is drawn.
pub(crate) const KINDS: &[&str] = &[
    "Address",
    "Annotate enabled",
    "Annotate failover-min-delay",
    "Annotate follow",
    "Annotate followers-service-name",
    "Annotate leader-service-annotations",
    "Annotate leader-service-labels",
    "Annotate leader-service-name",
    "Annotate leader-service-type",
    "Annotate leaderservice",
    "Annotate min-ready-duration",
    "Annotate paused",
    "Annotate preferred-leader",
    "Annotate sticky",
    "Annotate strategy",
    "Attach",
    "Collect",
    "Cordon",
    "Disrupt",
    "DropSource",
    "Elector Arrive",
    "Elector Drop",
    "Elector Move",
    "Elector Release",
    "Elector Return",
    "Elector Stranger",
    "Evict",
    "Families",
    "Finish",
    "HandService Delete",
    "HandService Disown",
    "HandService Identity",
    "HandService Own",
    "HandService Ports",
    "HandService Select",
    "HandService Unlabel",
    "HandSlice Delete",
    "HandSlice Disown",
    "HandSlice Empty",
    "HandSlice Misroute",
    "HandSlice Ports",
    "HandSlice Unlabel",
    "Mirror",
    "Node",
    "NodeGone",
    "OfLeader Cordon",
    "OfLeader Disrupt",
    "OfLeader Evict",
    "OfLeader Fail",
    "OfLeader Flap",
    "OfLeader Isolate",
    "OfLeader Kill",
    "OfLeader Move",
    "OfLeader Starve",
    "OfLeader Terminate",
    "OfLeader Unlabel",
    "OfLeader Unready",
    "Phase",
    "Pod",
    "Ports",
    "Rank",
    "Ready",
    "Recreate",
    "Relabel",
    "Select",
    "Source",
    "Squat EndpointSlice",
    "Squat Service",
    "Taint",
    "Terminate",
    "Unsquat EndpointSlice",
    "Unsquat Service",
];

/// The name of an object.
#[must_use]
pub(crate) fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Whether the workload made an object to stand beside ours.
#[must_use]
pub(crate) fn is_foreign(object: &Value) -> bool {
    object["metadata"]["annotations"][FOREIGN] == "yes"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::chance::Chance;
    use crate::plan::{Plan, What};

    #[test]
    fn every_kind_is_drawn_and_listed() {
        let mut chance = Chance::new(1);
        let any = (0..30_000).map(|_| Event::any(&mut chance, true, false).kind());
        let mut drawn: BTreeSet<String> = any.collect();
        for seed in 0..100 {
            drawn.extend(
                Plan::of(seed)
                    .steps
                    .iter()
                    .filter_map(|step| match &step.what {
                        What::Event(event) => Some(event.kind()),
                        What::Fault(_) => None,
                    }),
            );
        }
        let listed: BTreeSet<String> = KINDS.iter().map(|kind| (*kind).to_owned()).collect();
        assert_eq!(drawn, listed);
    }
}
