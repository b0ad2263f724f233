//! Figures and sentences about what a step found.

use std::sync::Arc;
use std::time::Duration;

use crate::logic::elect::{self, Hold, Reason, Rules, Verdict};
use crate::logic::follow::{self, Claim, Named};
use crate::logic::model::{Pod, PodPhase, Port, TargetPort};
use crate::logic::snapshot::Snapshot;
use crate::logic::well_known::reason;

/// Figures for the metrics of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Name of the state afterwards.
    pub state: &'static str,
    /// Pods that are Ready, not terminating and not a Job's.
    pub pods_available: usize,
    /// Whether an election was held.
    pub is_election: bool,
    /// Whether a leader was kept; `None` when there was none to keep.
    pub kept: Option<bool>,
    /// Why the leader so far was left, if it was.
    pub left: Option<Reason>,
    /// Whether the leader is kept because the budget for failovers is used up.
    pub is_guarded: bool,
    /// What the application says of its leader, if it decides.
    pub follow: Option<follow::State>,
    /// When the leader was created.
    pub leader_created: Option<jiff::Timestamp>,
    /// Names (or numbers) of the Service's ports that the leader does not resolve.
    pub unresolved_ports: Vec<Arc<str>>,
    /// Slices that others attached to a leader Service of this source.
    pub foreign_slices: usize,
    /// Pods that the followers Service shows; `None` if there is not to be one.
    pub followers: Option<usize>,
    /// Ports that users are told of because the followers do not have them alike.
    pub follower_ports: Vec<Arc<str>>,
}

/// A switch that a slice shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switched {
    /// The leader before.
    pub from: Option<Arc<str>>,
    /// The leader now.
    pub to: Option<Arc<str>>,
    /// Why the one before was left; `None` for a first election or a recovery, which are no
    /// failovers.
    pub reason: Option<Reason>,
    /// From the news to the slice.
    pub took: Duration,
}

impl Report {
    /// How many pods are Ready, not terminating and not a Job's.
    #[must_use]
    pub fn available(snapshot: &Snapshot) -> usize {
        let pods = snapshot.pods.iter();
        pods.filter(|pod| pod.ready && !pod.terminating && !pod.ended() && !pod.of_job)
            .count()
    }

    pub(super) fn of(snapshot: &Snapshot) -> Self {
        Self {
            pods_available: Self::available(snapshot),
            foreign_slices: snapshot.foreign_slices.len(),
            ..Self::default()
        }
    }

    pub(super) fn elected(
        &mut self,
        snapshot: &Snapshot,
        rules: &Rules<'_>,
        verdict: &Verdict,
        had_leader: bool,
    ) {
        self.is_election = rules.claim.is_none();
        self.follow = rules.claim.map(Claim::state);
        self.kept = had_leader.then_some(verdict.left.is_none());
        self.left = verdict.left;
        self.is_guarded = matches!(verdict.hold, Hold::Guarded(_));
        let leader = verdict.leader.as_ref();
        self.leader_created = leader.map(|leader| leader.created);
        let missing = match leader.or_else(|| portless(snapshot, rules)) {
            Some(pod) => elect::resolve(rules.ports, pod).1,
            None => Vec::new(),
        };
        let names = missing.iter().map(|at| port_name(&rules.ports[*at]));
        self.unresolved_ports = names.collect();
    }
}

/// A pod that could lead if it resolved any port; the first by name, where none does better.
fn portless<'a>(snapshot: &'a Snapshot, rules: &Rules<'_>) -> Option<&'a Arc<Pod>> {
    let ready = snapshot.pods.iter().filter(|pod| {
        let is_up = pod.ready && pod.phase == PodPhase::Running && !pod.terminating && !pod.of_job;
        is_up && pod.ips.of(rules.family).is_some()
    });
    let is_portless = |pod: &&Arc<Pod>| elect::resolve(rules.ports, pod).0.is_empty();
    let first = ready.clone().min_by(|a, b| a.name.cmp(&b.name))?;
    (!rules.ports.is_empty() && ready.clone().all(|pod| is_portless(&pod))).then_some(first)
}

pub(super) fn port_name(port: &Port) -> Arc<str> {
    port.name
        .clone()
        .unwrap_or_else(|| port.port.to_string().into())
}

/// The sentence about a port that the leader does not have.
pub(super) fn unresolved(port: &Port, leader: &Pod) -> String {
    format!(
        "Port {} is left out: {}",
        port_name(port),
        lacks(port, leader)
    )
}

pub(super) fn lacks(port: &Port, pod: &Pod) -> String {
    let target = match &port.target_port {
        Some(TargetPort::Name(name)) => format!("{name:?}"),
        Some(TargetPort::Number(number)) => number.to_string(),
        None => port.port.to_string(),
    };
    format!(
        "pod {} has no container port named {target} with protocol {} for port {}",
        pod.name,
        serde_json::to_string(&port.protocol)
            .unwrap_or_default()
            .trim_matches('"'),
        port_name(port),
    )
}

/// The event and the sentence for an election without a leader.
pub(super) fn why_no_leader(
    snapshot: &Snapshot,
    rules: &Rules<'_>,
    name: &str,
) -> (&'static str, String) {
    let claim = rules.claim;
    if rules.paused {
        let text = format!(
            "The Service is paused and has no leader; {name} has no endpoint until the pause ends{}",
            claim.map(|claim| format!(". {claim}")).unwrap_or_default()
        );
        return (reason::PAUSED, text);
    }
    if snapshot.pods.is_empty() {
        let text =
            format!("No pod matches the Service's selector; {name} has no endpoint until one does");
        return (reason::NO_PODS_FOUND, text);
    }
    if let Some(claim) = claim {
        return why_none_follows(claim, name);
    }
    if let Some(pod) = portless(snapshot, rules) {
        let ports: Vec<String> = rules.ports.iter().map(|port| lacks(port, pod)).collect();
        let text = format!(
            "No Ready pod resolves any port of the Service, for instance: {}; {name} has no endpoint until one does",
            ports.join("; ")
        );
        return (reason::PORT_RESOLUTION_FAILED, text);
    }
    let is_candidate = |pod: &Arc<Pod>| {
        pod.ready
            && pod.phase == PodPhase::Running
            && !pod.terminating
            && !pod.of_job
            && pod.ips.of(rules.family).is_some()
            && !elect::resolve(rules.ports, pod).0.is_empty()
    };
    let text = if snapshot.pods.iter().any(is_candidate) {
        format!(
            "No pod has been Ready for min-ready-duration ({:?}) yet; {name} has no endpoint until one has",
            rules.min_ready
        )
    } else {
        format!(
            "No pod is eligible to lead (Ready, not terminating, with an {} address, not of a Job); {name} has no endpoint until one is",
            rules.family
        )
    };
    (reason::NO_READY_PODS, text)
}

/// The same where the application decides.
fn why_none_follows(claim: &Claim<'_>, name: &str) -> (&'static str, String) {
    let (event, rest) = match claim.named {
        Named::Pod(..) => (
            reason::NO_READY_PODS,
            "has no endpoint until that pod is eligible (Running, Ready, with an address and a port)",
        ),
        Named::Several => (
            reason::AMBIGUOUS_LEADER,
            "has no endpoint until one pod is named",
        ),
        _ => (
            reason::NO_LEADER_TO_FOLLOW,
            "has no endpoint until one pod is named",
        ),
    };
    (event, format!("{claim}; {name} {rest}"))
}
