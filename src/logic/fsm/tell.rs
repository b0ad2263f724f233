//! Tells users: why nobody leads, what stands in the way, and a switch once it is published.

use std::sync::Arc;
use std::time::Duration;

use super::Machine;
use super::notes::{self, Topic};
use super::report::{self, Switched};
use crate::logic::contract::{PRIORITY, reason};
use crate::logic::desired::Goal;
use crate::logic::elect::{self, Hold, Reason, Rules, Verdict};
use crate::logic::event::Note;
use crate::logic::model::{AddressType, Pod, Slice};
use crate::logic::settings::{QUOTED_MAX, Strategy};
use crate::logic::time::Now;
use crate::logic::view::View;

impl Machine {
    /// Says why nobody leads, or which ports the leader lacks.
    pub(super) fn explain(
        &mut self,
        view: &View,
        rules: &Rules<'_>,
        verdict: &Verdict,
        name: &str,
    ) {
        self.tell_of_guard(verdict);
        let Some(leader) = &verdict.leader else {
            self.said.forget(Topic::Ports);
            let (event, text) = report::why_nobody_leads(view, rules, name);
            let needs_a_person = matches!(event, reason::PORT_RESOLUTION_FAILED | reason::PAUSED);
            if verdict.left.is_some() && !needs_a_person {
                // The event of the failover says it.
                self.said.imply(Topic::NoLeader, text);
            } else {
                self.said.set(Topic::NoLeader, Some(text), |text| {
                    Note::warning(event, text)
                });
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
    pub(super) fn tell_of_priorities(&mut self, view: &View) {
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
            Strategy::Priority => view.pods.iter().filter_map(unread).collect(),
            _ => Vec::new(),
        };
        self.said.set_all(Topic::Priority, texts, |text| {
            Note::warning(reason::INVALID_ANNOTATION, text)
        });
    }

    pub(super) fn tell_of_strangers(&mut self, view: &View, name: &str) {
        let texts = view
            .strangers
            .iter()
            .filter(|stranger| &*stranger.service == name)
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

    /// Objects of ours that are being deleted block their name until their finalizers are done.
    pub(super) fn tell_what_is_stuck(&mut self, view: &View, goal: &Goal) {
        if *goal == Goal::Untouched {
            return self.said.forget(Topic::Stuck);
        }
        let services = view
            .own_services()
            .into_iter()
            .map(|service| ("Service", &service.metadata));
        let slices = view
            .own_slices()
            .into_iter()
            .map(|slice| ("EndpointSlice", &slice.metadata));
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

    /// Reports a pending switch once a slice of ours shows it.
    pub(super) fn confirm(&mut self, view: &View, goal: &Goal, now: Now) -> Option<Switched> {
        let Goal::Serve(desired) = goal else {
            return None;
        };
        let pending = self.pending.as_ref()?;
        let to = self.leader().map(|leader| (&leader.uid, &leader.pod));
        let slices = view.own_slices();
        let shows =
            |slice: &Slice| slice.leader().map(|leader| &leader.uid) == to.map(|(uid, _)| uid);
        let primary = AddressType::from(desired.families[0]);
        let is_published = slices.iter().any(|slice| {
            slice.address_type == primary
                && view
                    .slice_names(&desired.name)
                    .contains(&slice.metadata.name)
                && shows(slice)
        });
        if !is_published {
            return None;
        }
        let took: Duration = now.moment.since(pending.at);
        let switched = Switched {
            from: pending.from.as_ref().map(|former| Arc::clone(&former.pod)),
            to: to.map(|(_, pod)| Arc::clone(pod)),
            reason: pending.reason,
            took,
        };
        let why = switched.reason.map_or("", Reason::as_str);
        if switched.from.is_some() || switched.to.is_some() {
            let note = notes::announce(
                switched.from.as_deref(),
                switched.to.as_deref(),
                why,
                took,
                &desired.name,
            );
            self.said.say(note);
        }
        self.pending = None;
        Some(switched)
    }
}
