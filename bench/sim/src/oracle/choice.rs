//! Which pod a source that is not following its application has to publish, where that can be told.

use std::cmp::Reverse;

use super::Cluster;
use crate::facts::{PodFact, SourceFact};

impl Cluster<'_> {
    /// The pod that could lead instead of a leader that is about to go.
    pub(super) fn better(&self, source: &SourceFact, leader: &PodFact) -> Option<&PodFact> {
        let serves = leader.running && leader.ready && leader.is_reachable(source);
        let yields = self.is_last_resort(leader) && (serves || leader.disrupted);
        let mut others = self.pods.iter();
        others.find(|other| {
            other.uid != leader.uid
                && other.is_eligible(source)
                && (leader.terminating
                    || (yields && !self.is_last_resort(other) && !self.judge.shuns()))
        })
    }

    /// Whether a pod is about to go, by what is said of it or of its node.
    pub(super) fn is_last_resort(&self, pod: &PodFact) -> bool {
        pod.disrupted || self.leaving.contains(&pod.node)
    }

    /// The pod that a source without a sticky leader has to follow, where that can be told without
    /// knowing the past.
    pub(super) fn first_choice(&self, source: &SourceFact) -> Option<&PodFact> {
        let (is_newest, is_ranked) = match source.setting("strategy") {
            None | Some("oldest") => (false, false),
            Some("newest") => (true, false),
            Some("priority") => (false, true),
            Some(_) => return None,
        };
        if source.setting("sticky") != Some("false") || self.judge.shuns() {
            return None;
        }
        let eligible = self.pods.iter().filter(|pod| pod.is_eligible(source));
        let rank = |pod: &PodFact| if is_ranked { pod.rank } else { 0 };
        eligible.min_by(|a, b| {
            let by_age = a.created.cmp(&b.created);
            let ports = |pod: &PodFact| Reverse(pod.resolved(source).len());
            let is_last = |pod: &PodFact| self.is_last_resort(pod);
            is_last(a)
                .cmp(&is_last(b))
                .then_with(|| ports(a).cmp(&ports(b)))
                .then_with(|| rank(b).cmp(&rank(a)))
                .then(if is_newest { by_age.reverse() } else { by_age })
                .then_with(|| a.name.cmp(&b.name))
        })
    }
}
