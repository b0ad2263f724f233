//! What should exist for one source. A value that says everything the writer needs to know.

use std::sync::Arc;

use super::handover::CompletedSwitchover;
use super::model::{EndpointPort, Family, Key, Labels, Pod, Port, Uid};
use super::settings::LeaderServiceType;
use super::snapshot::Role;

/// What should become of the objects of one source that have the same role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Leave everything as it is.
    Untouched,
    /// One Service with its slices; everything else of ours for the same role goes.
    Serve(Box<Desired>),
    /// Everything of ours for that role goes, traffic first.
    Withdraw,
}

impl Goal {
    /// The leader that is to be published.
    #[must_use]
    pub fn leader(&self) -> Option<&Leader> {
        match self {
            Self::Serve(desired) => desired.leader.as_ref(),
            Self::Untouched | Self::Withdraw => None,
        }
    }

    /// The node of the leader that is to be published.
    #[must_use]
    pub fn leader_node(&self) -> Option<&Arc<str>> {
        self.leader()?.node.as_ref()
    }
}

/// The leader Service, or the followers Service, and its slices as they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// The source.
    pub source: Key,
    /// Identity of the source, for the ownerReference.
    pub source_uid: Uid,
    /// Name of the leader Service.
    pub name: Arc<str>,
    /// Its exposure.
    pub exposure: LeaderServiceType,
    /// Its ports, without node ports.
    pub ports: Vec<Port>,
    /// Families in the source's order; at least one.
    pub families: Vec<Family>,
    /// The source's policy.
    pub family_policy: Option<Arc<str>>,
    /// Source ranges of a load balancer; empty for no restriction.
    pub source_ranges: Vec<Arc<str>>,
    /// Whether it is the source's own restriction.
    pub is_range_lent: bool,
    /// Whether the source is a load balancer itself, and its lack of a restriction says something.
    pub is_source_balanced: bool,
    /// The controller that makes the load balancer.
    pub load_balancer_class: Option<Arc<str>>,
    /// Labels that the source lends.
    pub labels: Labels,
    /// Labels from `leader-service-labels`. They override mirrored labels.
    pub asked_labels: Labels,
    /// Annotations that the source lends or asks for.
    pub annotations: Labels,
    /// Those of them that it asks for.
    pub asked_annotations: Labels,
    /// The source's own labels: a leader Service of the Go program has no list of what it mirrors,
    /// there every key that equals the source's counts.
    pub source_labels: Labels,
    /// The source's own annotations, likewise.
    pub source_annotations: Labels,
    /// Cluster addresses that this leader Service had before a user deleted it.
    pub cluster_ips: Vec<Arc<str>>,
    /// The followers, if this is their Service. All that is said of a leader is empty then.
    pub followers: Option<Followers>,
    /// The leader.
    pub leader: Option<Leader>,
    /// Identity of the last leader.
    pub last_leader: Option<Uid>,
    /// The last switchover on request that has been carried out.
    pub handled: Option<CompletedSwitchover>,
    /// The value of `follow` by which the leader was published, if it was.
    pub named_by: Option<Arc<str>>,
    /// When the leadership last changed hands.
    pub switched: Option<jiff::Timestamp>,
    /// What the leader Service records of pods and nodes.
    pub record: Record,
    /// When the pod changed, if the leader is new because a pod just did.
    pub trigger: Option<jiff::Timestamp>,
}

impl Desired {
    /// What the objects are for.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.followers {
            Some(_) => Role::Followers,
            None => Role::Leader,
        }
    }
}

/// Every pod that is to be published but the leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followers {
    /// The pods, by name.
    pub pods: Vec<Arc<Pod>>,
    /// The ports that all of them resolve alike.
    pub ports: Vec<EndpointPort>,
}

/// What the leader Service records for a restart and for the commands; see [`super::record`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Pods that are not returned to for a while. Written along with something else only: it lapses
    /// by itself, and begins with a change of leader.
    pub cooling_down: String,
    /// Nodes on which a leader should not be.
    pub avoided_nodes: String,
    /// Whether what is recorded of nodes is not true any more.
    pub is_outdated: bool,
}

/// The published pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Identity.
    pub uid: Uid,
    /// Name.
    pub name: Arc<str>,
    /// Node.
    pub node: Option<Arc<str>>,
    /// Address per family.
    pub ips: super::model::Addresses,
    /// Whether it is being deleted and only a last resort.
    pub terminating: bool,
    /// Whether it may be used at all: of those that terminate, only a pause keeps one that does
    /// not serve any more.
    pub serving: bool,
    /// The ports that it resolves.
    pub ports: Vec<EndpointPort>,
}

/// The API server's limit on all keys and values of an object's annotations, less what we write
/// there ourselves.
const ANNOTATIONS_MAX: usize = 256 * 1024 - 8 * 1024;

/// The mirrored (`lent`) and requested (`asked`) annotations within the server's size limit, and the
/// keys that are omitted: the largest mirrored ones first, then the largest requested ones. A requested
/// value overrides a mirrored one. The keys of `labels` take space too, because an annotation remembers
/// them. `foreign` is the size of the annotations that others set.
#[must_use]
pub fn within_limit(
    lent: &Labels,
    asked: &Labels,
    labels: impl Iterator<Item = impl AsRef<str>>,
    foreign: usize,
) -> (Labels, Vec<String>) {
    type Entry = (Arc<str>, Arc<str>);
    // `mirrored` repeats every key, with quotes and a comma: once, or twice if it is asked for.
    let cost = |(is_asked, (key, value)): &(bool, &Entry)| {
        let times = 1 + usize::from(*is_asked);
        key.len() + value.len() + times * (key.len() + 4)
    };
    let remembered: usize = labels.map(|key| key.as_ref().len() + 4).sum();
    let mut wanted: Vec<(bool, &Entry)> = lent
        .entries()
        .iter()
        .filter(|(key, _)| asked.get(key).is_none())
        .map(|entry| (false, entry))
        .chain(asked.entries().iter().map(|entry| (true, entry)))
        .collect();
    wanted.sort_by_key(|entry| (entry.0, std::cmp::Reverse(cost(entry))));
    let mut total = wanted.iter().map(cost).sum::<usize>() + remembered + foreign;
    let mut dropped = Vec::new();
    let kept = wanted.into_iter().filter(|entry| {
        let fits = total <= ANNOTATIONS_MAX;
        if !fits {
            total -= cost(entry);
            dropped.push(entry.1.0.to_string());
        }
        fits
    });
    let kept = kept.map(|(_, entry)| entry.clone()).collect();
    (kept, dropped)
}
