//! Figures and sentences about what a step found.

use std::sync::Arc;
use std::time::Duration;

use crate::logic::contract::reason;
use crate::logic::elect::{self, Reason, Rules, Verdict};
use crate::logic::model::{Pod, Port, TargetPort};
use crate::logic::view::View;

/// Figures for the metrics of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Name of the state afterwards.
    pub state: &'static str,
    /// Pods that are Ready and not terminating.
    pub pods_available: usize,
    /// Whether an election was held.
    pub is_election: bool,
    /// Whether a leader was kept; `None` when there was none to keep.
    pub kept: Option<bool>,
    /// When the leader was created.
    pub leader_created: Option<jiff::Timestamp>,
    /// Names (or numbers) of the Service's ports that the leader does not resolve.
    pub unresolved_ports: Vec<Arc<str>>,
    /// Slices that others attached to a leader Service of this source.
    pub strangers: usize,
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
    pub(super) fn of(view: &View) -> Self {
        Self {
            pods_available: view
                .pods
                .iter()
                .filter(|pod| pod.ready && !pod.terminating && !pod.ended())
                .count(),
            strangers: view.strangers.len(),
            ..Self::default()
        }
    }

    pub(super) fn elected(&mut self, rules: &Rules<'_>, verdict: &Verdict, had_leader: bool) {
        self.is_election = true;
        self.kept = had_leader.then_some(verdict.left.is_none());
        if let Some(leader) = &verdict.leader {
            self.leader_created = Some(leader.created);
            let missing = elect::resolve(rules.ports, leader).1;
            self.unresolved_ports = missing
                .iter()
                .map(|at| port_name(&rules.ports[*at]))
                .collect();
        }
    }
}

fn port_name(port: &Port) -> Arc<str> {
    port.name
        .clone()
        .unwrap_or_else(|| port.port.to_string().into())
}

/// The sentence about a port that the leader does not have.
pub(super) fn unresolved(port: &Port, leader: &Pod) -> String {
    let target = match &port.target_port {
        Some(TargetPort::Name(name)) => format!("{name:?}"),
        Some(TargetPort::Number(number)) => number.to_string(),
        None => port.port.to_string(),
    };
    format!(
        "Port {} is left out: pod {} has no container port named {target} with protocol {}",
        port_name(port),
        leader.name,
        serde_json::to_string(&port.protocol)
            .unwrap_or_default()
            .trim_matches('"')
    )
}

/// The event and the sentence for an election that nobody won.
pub(super) fn why_nobody_leads(
    view: &View,
    rules: &Rules<'_>,
    name: &str,
) -> (&'static str, String) {
    if view.pods.is_empty() {
        let text =
            format!("No pod matches the Service's selector; {name} has no endpoint until one does");
        return (reason::NO_PODS_FOUND, text);
    }
    let serving =
        |pod: &&Arc<Pod>| pod.ready && !pod.terminating && pod.ips.of(rules.family).is_some();
    let ready: Vec<_> = view.pods.iter().filter(serving).collect();
    let unresolved_everywhere = !ready.is_empty()
        && ready
            .iter()
            .all(|pod| elect::resolve(rules.ports, pod).0.is_empty());
    if unresolved_everywhere && !rules.ports.is_empty() {
        let text = format!(
            "No Ready pod resolves any port of the Service; {name} has no endpoint until one does"
        );
        return (reason::PORT_RESOLUTION_FAILED, text);
    }
    let text = if ready.is_empty() {
        format!(
            "No pod is eligible to lead (Ready, not terminating, with an {} address); {name} has no endpoint until one is",
            rules.family
        )
    } else {
        format!(
            "No pod has been Ready for min-ready-duration ({:?}) yet; {name} has no endpoint until one has",
            rules.min_ready
        )
    };
    (reason::NO_READY_PODS, text)
}
