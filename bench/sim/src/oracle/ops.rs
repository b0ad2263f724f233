//! What operators ask for, once there is peace: a pause keeps the leader, a switchover has happened.

use std::collections::BTreeSet;

use serde_json::Value;
use simkube::SimKube;

use super::{Cluster, SERVICE, SOURCE, ensure};
use crate::claims::is_for_followers;
use crate::event::name_of;
use crate::facts::{PodFact, SourceFact, text};
use crate::judge::Judge;

/// The switchover that a leader Service remembers: the pod's name and its identity.
pub(super) fn handled(service: &Value) -> Option<(&str, &str)> {
    let text = service["metadata"]["annotations"]["zen-lead.io/handled-switchover"].as_str()?;
    text.split_once('/')
}

/// Whether this leader is there because it was asked for: the strategy takes it no more.
pub(super) fn was_handed_over(source: &SourceFact, service: &Value, leader: &PodFact) -> bool {
    source.setting("preferred-leader").is_some()
        || handled(service).is_some_and(|(_, uid)| uid == leader.uid)
}

/// Leader Services that publish a pod which does not serve, as only a budget may have them do.
pub(crate) fn kept(kube: &SimKube, judge: &Judge) -> BTreeSet<String> {
    let cluster = Cluster::of(kube, judge);
    let label = |slice: &Value, key: &str| text(&slice["metadata"]["labels"][key]);
    let kept = cluster.slices.iter().filter(|slice| {
        let uid = &slice["endpoints"][0]["targetRef"]["uid"];
        let source = label(slice, SOURCE);
        let mut services = cluster.services.iter();
        let source = services.find(|service| name_of(service) == source);
        let pod = cluster.pods.iter().find(|pod| *uid == *pod.uid);
        let serves = |pod: &PodFact| {
            let reaches = |source| pod.is_reachable(&SourceFact::of(source));
            pod.ready && pod.running && source.is_some_and(reaches)
        };
        let may_keep = judge.guards() && !is_for_followers(slice);
        may_keep && pod.is_some_and(|pod| !serves(pod))
    });
    kept.map(|slice| label(slice, SERVICE)).collect()
}

impl Cluster<'_> {
    /// A leader that is only kept: it has an address of its own.
    pub(super) fn check_kept(source: &SourceFact, pod: &PodFact) -> Result<(), String> {
        let family = source.families.first().map_or("IPv4", String::as_str);
        let may_stay = pod.matches(source) && pod.ip(family).is_some() && !pod.ended;
        ensure(may_stay, || format!("{} must not even be kept", pod.name))
    }

    /// The pod that a source asks for leads, or has had its turn.
    pub(super) fn check_switchover(
        &self,
        source: &SourceFact,
        service: &Value,
        leader: &PodFact,
    ) -> Result<(), String> {
        let name = source.setting("preferred-leader");
        // What cannot be read leaves the last request as it was, which only the controller knows.
        let Some(name) = name.filter(|name| !name.contains(' ')) else {
            return Ok(());
        };
        let has_had_its_turn = handled(service).is_some_and(|(pod, _)| pod == name);
        if source.is_paused() || has_had_its_turn || self.judge.shuns() {
            return Ok(());
        }
        let could = |pod: &&PodFact| {
            pod.name == name && pod.is_eligible(source) && !self.is_last_resort(pod)
        };
        let could = self.pods.iter().any(|pod| could(&pod));
        ensure(!could, || {
            if leader.name == name {
                format!("{name} was asked for and leads, and this is not remembered")
            } else {
                format!("{} leads, and {name} was asked for", leader.name)
            }
        })
    }
}
