//! Tells users: why there is no leader, what stands in the way, and a switch once it is published.

use std::sync::Arc;

use super::announced::Topic;
use super::{Attempt, Machine, report};
use crate::logic::desired::Goal;
use crate::logic::elect::{self, Hold, Rules, Verdict};
use crate::logic::event::Note;
use crate::logic::follow::{Named, Silence};
use crate::logic::model::{Pod, Service};
use crate::logic::settings::{QUOTED_MAX, Strategy};
use crate::logic::snapshot::{Owned, Role, Snapshot};
use crate::logic::well_known::{PRIORITY, SOURCE_SERVICE, reason};

/// Whether the followed Lease will be read in a moment: until then there is nothing to say of it.
fn is_unread(rules: &Rules<'_>) -> bool {
    let unread = Named::Silent(Silence::Unread);
    rules.claim.is_some_and(|claim| claim.named == unread)
}

impl Machine {
    /// Says why there is no leader, or which ports the leader lacks. `is_lost`: the slices have just
    /// shown the loss.
    pub(super) fn explain(
        &mut self,
        snapshot: &Snapshot,
        rules: &Rules<'_>,
        verdict: &Verdict,
        name: &str,
        is_lost: bool,
    ) {
        self.tell_of_guard(verdict);
        let Some(leader) = &verdict.leader else {
            self.said.forget(Topic::Ports);
            let (event, text) = report::why_no_leader(snapshot, rules, name);
            let leaves = |attempt: &Attempt| attempt.from.is_some();
            if is_lost || self.attempt.as_ref().is_some_and(leaves) {
                // One event says that it was lost, to what, and why none follows.
                self.said.hold(event, text);
            } else {
                self.said.let_go();
                let text = Some(text).filter(|_| !is_unread(rules));
                self.said
                    .set(Topic::NoLeader, text, |text| Note::warning(event, text));
            }
            return;
        };
        self.said.forget(Topic::NoLeader);
        let missing = elect::resolve(rules.ports, leader).1;
        let texts = missing
            .iter()
            .map(|at| report::unresolved(&rules.ports[*at], leader))
            .collect();
        self.said.set_all(Topic::Ports, texts, |text| {
            Note::warning(reason::PORT_RESOLUTION_FAILED, text)
        });
    }

    /// A leader that is only kept because there have been too many failovers.
    fn tell_of_guard(&mut self, verdict: &Verdict) {
        let text = match (&verdict.leader, verdict.hold) {
            (Some(leader), Hold::Guarded(scope)) => Some(format!(
                "Leader {} is not Ready and is kept as long as it has an address: {} is used up",
                leader.name,
                scope.flag()
            )),
            _ => None,
        };
        self.said.set(Topic::Guard, text, |text| {
            Note::warning(reason::FAILOVER_BUDGET_EXCEEDED, text)
        });
    }

    /// Pods whose rank cannot be read, where that counts.
    pub(super) fn tell_of_priorities(&mut self, snapshot: &Snapshot) {
        let unread = |pod: &Arc<Pod>| {
            let text: String = elect::priority(pod)
                .err()?
                .chars()
                .take(QUOTED_MAX)
                .collect();
            Some(format!(
                "Pod {} has {PRIORITY} {text:?}; expected an integer, and it counts as 0",
                pod.name
            ))
        };
        let texts = match self.settings.strategy {
            Strategy::Priority if self.settings.follow.is_none() => {
                snapshot.pods.iter().filter_map(unread).collect()
            }
            _ => Vec::new(),
        };
        self.said.set_all(Topic::Priority, texts, |text| {
            Note::warning(reason::INVALID_ANNOTATION, text)
        });
    }

    pub(super) fn tell_of_strangers(&mut self, snapshot: &Snapshot, name: &str) {
        let texts = snapshot
            .foreign_slices
            .iter()
            .filter(|stranger| {
                let served = [Some(name), self.followers.name.as_deref()];
                served.contains(&Some(&*stranger.service))
            })
            .map(|stranger| {
                format!(
                    "EndpointSlice {} of {} is attached to Service {name} as well and may add endpoints; \
                     it is not ours and is left alone",
                    stranger.name, stranger.manager
                )
            })
            .collect();
        self.said.set_all(Topic::Strangers, texts, |text| {
            Note::warning(reason::LEADER_SERVICE_CONFLICT, text)
        });
    }

    /// Services that pass for ours and have never been served under: made by others from one of our
    /// Services' YAML. They go as leftovers do, and their author should know why.
    pub(super) fn tell_of_copies(&mut self, snapshot: &Snapshot, goal: &Goal) {
        let mut texts = Vec::new();
        for (role, serving, kind) in [
            (Role::Leader, self.name.clone(), "leader"),
            (Role::Followers, self.followers.name.clone(), "followers"),
        ] {
            let own = snapshot.own(role);
            let is_other =
                |service: &&Arc<Service>| Some(&service.metadata.name) != serving.as_ref();
            for other in own.services().iter().filter(is_other) {
                let meta = &other.metadata;
                if own.slices().iter().any(|slice| slice.is_of(meta)) {
                    // It was served under by an earlier process, or by another replica.
                    self.remember_name(&meta.name);
                } else if *goal != Goal::Untouched
                    && meta.deletion_timestamp.is_none()
                    && !self.former.contains(&meta.name)
                {
                    texts.push(format!(
                        "Service {} is deleted: by its owner or its labels it is a {kind} Service of {}, \
                         and not the one that is served. A Service that is made from a {kind} Service must \
                         have neither its ownerReferences nor the label {SOURCE_SERVICE}",
                        meta.name, snapshot.key.name
                    ));
                }
            }
        }
        self.said.set_all(Topic::Copies, texts, |text| {
            Note::warning(reason::LEADER_SERVICE_CONFLICT, text)
        });
    }

    /// Objects of ours that are being deleted block their name until their finalizers are done.
    pub(super) fn tell_what_is_stuck(&mut self, snapshot: &Snapshot, goal: &Goal) {
        if *goal == Goal::Untouched {
            return self.said.forget(Topic::Stuck);
        }
        let both = [Role::Leader, Role::Followers].map(|role| snapshot.own(role));
        let services = both.into_iter().flat_map(Owned::services);
        let services = services.map(|service| ("Service", &service.metadata));
        let slices = both.into_iter().flat_map(Owned::slices);
        let slices = slices.map(|slice| ("EndpointSlice", &slice.metadata));
        let texts = services
            .chain(slices)
            .filter(|(_, meta)| meta.deletion_timestamp.is_some() && !meta.finalizers.is_empty())
            .map(|(kind, meta)| {
                format!(
                    "{kind} {} is being deleted and waits for its finalizers: {}",
                    meta.name,
                    meta.finalizers.join(", ")
                )
            })
            .collect();
        self.said.set_all(Topic::Stuck, texts, |text| {
            Note::warning(reason::LEADER_SERVICE_CONFLICT, text)
        });
    }
}
