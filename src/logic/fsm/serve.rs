//! A source that is served: finds its leader in the cluster, holds the election, takes the verdict
//! into the state.

use std::sync::Arc;

use super::report::Report;
use super::{Cause, Context, Machine, Phase, Serving, Switch};
use crate::logic::contract::{
    AVOIDED_NODES, COOLING_DOWN, HANDLED_SWITCHOVER, LAST_LEADER_POD_UID, LAST_SWITCH_TIME,
    LEADER_POD_NAME, LEADER_POD_UID, SERVICE_NAME,
};
use crate::logic::desired::{Goal, Record};
use crate::logic::elect::{self, Ballot, Candidate, Hold, Incumbent, Reason, Rules, SHUN, Verdict};
use crate::logic::handover::Handover;
use crate::logic::model::{Pod, Service, TargetRef, Uid};
use crate::logic::nodes::Nodes;
use crate::logic::record;
use crate::logic::settings::Settings;
use crate::logic::time::{Moment, Now};
use crate::logic::view::View;
use crate::planted::{self, Bug};

impl Machine {
    pub(super) fn serve(
        &mut self,
        view: &View,
        context: &Context<'_>,
        now: Now,
        source: &Arc<Service>,
        name: Arc<str>,
        report: &mut Report,
    ) -> (Goal, Option<Moment>) {
        if matches!(self.phase, Phase::Unmanaged | Phase::Draining) {
            let was_withdrawn = self.phase == Phase::Draining;
            self.enter(Phase::Electing);
            self.adopt(view, &name, was_withdrawn, now);
        }
        let asked = self.asked();
        self.forgive(view, context.nodes, asked.awaited.as_ref());
        let rules = rules(&self.settings, source, context, &asked);
        let families = source.families();
        let incumbent = self.leader().map(|leader| leader.uid.clone());
        let verdict = self.elect(view, &rules, &name, incumbent.as_ref(), now.moment);
        report.elected(view, &rules, &verdict, incumbent.is_some());
        let mut deadline = verdict.deadline;
        self.apply(&verdict, incumbent, context.cause, now);
        self.explain(view, &rules, &verdict, &name);
        self.remember_handover(view, &name, &verdict);
        let record = self.record(view, context.nodes, &name, now);
        let mut desired = self.desired(view, context.mirror, source, name, verdict, families);
        desired.record = record;
        let service = view.service(&desired.name);
        let service = service.filter(|service| view.owns_service(service));
        let (service, class) = (
            service.map(|service| &**service),
            desired.load_balancer_class.as_ref(),
        );
        let patience = self.tell_of_balancer(source, service, class, now.moment);
        deadline = deadline.into_iter().chain(patience).min();
        (Goal::Serve(Box::new(desired)), deadline)
    }

    /// Every pod of a source that is served, as an election held now would see it. The machine has
    /// taken its step.
    #[must_use]
    pub fn scrutinize(&self, view: &View, context: &Context<'_>, now: Now) -> Vec<Candidate> {
        let Some(source) = &view.source else {
            return Vec::new();
        };
        let asked = self.asked();
        let rules = rules(&self.settings, source, context, &asked);
        let incumbent = self.leader().map(|leader| &leader.uid);
        elect::scrutinize(&rules, &self.ballot(view, incumbent), now.moment)
    }

    /// Holds the election. Who was decided upon and has not been shown by any slice yet has to be
    /// beyond doubt. If he is not, whoever he was to follow goes on where he can: clients have seen
    /// nobody else. If neither can, another follows: nobody begins to lead by being kept.
    fn elect(
        &self,
        view: &View,
        rules: &Rules<'_>,
        name: &str,
        incumbent: Option<&Uid>,
        now: Moment,
    ) -> Verdict {
        let verdict = elect::elect(rules, &self.ballot(view, incumbent), now);
        if verdict.confirms(incumbent) {
            return verdict;
        }
        let Some(switch) = self.pending.as_ref().filter(|_| incumbent.is_some()) else {
            return verdict;
        };
        let shown = published(view, name).map(|shown| &shown.uid);
        let former = switch.former_uid().filter(|uid| shown == Some(*uid));
        // This failover is decided and paid for; it goes on.
        let unspent = Rules {
            spent: None,
            ..*rules
        };
        let again = elect::elect(&unspent, &self.ballot(view, former), now);
        let goes_on = again.confirms(former);
        let stays = |pod: &&Arc<Pod>| Some(&pod.uid) == incumbent && shown != incumbent;
        let kept = verdict.leader.as_ref().filter(stays);
        // A silent node says nothing of its pod: with nobody else he is worth more than nobody.
        let is_bettered = |pod: &Arc<Pod>| again.leader.is_some() || elect::is_unfit(rules, pod);
        let begins_by_staying = !rules.paused && kept.is_some_and(is_bettered);
        if goes_on || begins_by_staying {
            Verdict {
                left: None,
                ..again
            }
        } else {
            verdict
        }
    }

    fn ballot<'b>(&'b self, view: &'b View, incumbent: Option<&'b Uid>) -> Ballot<'b> {
        Ballot {
            pods: &view.pods,
            incumbent: incumbent.map(|uid| Incumbent {
                uid,
                pod: view.pod(uid),
            }),
            last: self.last.as_ref(),
            shunned: &self.shunned,
        }
    }

    fn asked(&self) -> Asked {
        Asked {
            awaited: self.awaited().cloned(),
            handed: self.handled.as_ref().map(|handled| handled.uid.clone()),
        }
    }

    /// Finds out who leads according to the cluster: the slice says it. Restores what the leader
    /// Service remembers for us.
    fn adopt(&mut self, view: &View, name: &str, was_withdrawn: bool, now: Now) {
        // The Service under the right name knows best; during a rename the other one may know more.
        let mut services = view.own_services();
        services.sort_by_key(|service| &*service.metadata.name != name);
        let remembers = |key: &str| {
            services
                .iter()
                .find_map(|service| service.metadata.annotations.get(key))
        };
        let last = remembers(LAST_LEADER_POD_UID).map(Uid::from);
        let recorded = remembers(LEADER_POD_UID).map(Uid::from);
        let switched: Option<jiff::Timestamp> =
            remembers(LAST_SWITCH_TIME).and_then(|text| text.parse().ok());
        self.last = self.last.take().or(last);
        self.switched = self.switched.take().or(switched);
        let handled = remembers(HANDLED_SWITCHOVER).and_then(|text| text.parse().ok());
        self.handled = self.handled.take().or(handled);
        if self.shunned.is_empty()
            && let Some(recorded) = remembers(COOLING_DOWN)
        {
            self.shunned = record::read_cooling_down(recorded, now);
        }

        // A slice that somebody deleted while nobody watched took no leadership with it, if the
        // pod could be published anew; during a pause any that is still there could.
        let on_record = || {
            let is_lost = !was_withdrawn && view.own_slices().is_empty();
            let uid = recorded.clone().filter(|_| is_lost)?;
            let may_stay = |pod: &Pod| self.settings.paused || (pod.ready && !pod.terminating);
            view.pod(&uid).filter(|pod| may_stay(pod))?;
            let name = remembers(LEADER_POD_NAME)?.into();
            Some(TargetRef {
                name,
                uid,
                ..TargetRef::default()
            })
        };
        let Some(leader) = published(view, name).cloned().or_else(on_record) else {
            return;
        };
        let known = switched.filter(|_| recorded.as_ref() == Some(&leader.uid));
        let since = known.map_or(now.moment, |at| now.moment_of(at));
        // Without a record the crash came between the slice and the annotations.
        self.switched = known.or(Some(now.wall));
        self.last = Some(leader.uid.clone());
        self.enter(Phase::Serving(Serving {
            uid: leader.uid.clone(),
            pod: Arc::clone(&leader.name),
            since,
            hold: Hold::Firm,
        }));
    }

    /// A request for a pod ends the time for which it is not returned to, unless it is about to go
    /// now.
    fn forgive(&mut self, view: &View, nodes: &Nodes, asked: Option<&Arc<str>>) {
        let Some(asked) = asked.filter(|_| !self.shunned.is_empty()) else {
            return;
        };
        let goes = |pod: &Pod| pod.disrupted || nodes.leaves(pod.node.as_ref());
        let is_asked = |pod: &&Arc<Pod>| pod.name == *asked && !goes(pod);
        if let Some(pod) = view.pods.iter().find(is_asked) {
            self.shunned.retain(|(uid, _)| *uid != pod.uid);
        }
    }

    /// What the leader Service has to say of pods and nodes.
    fn record(&self, view: &View, nodes: &Nodes, name: &str, now: Now) -> Record {
        let service = view.service(name);
        let recorded = service.and_then(|service| service.metadata.annotations.get(AVOIDED_NODES));
        let avoided_nodes = record::avoided(nodes, &view.pods, now);
        Record {
            is_outdated: record::is_outdated(recorded, &avoided_nodes, &view.pods),
            cooling_down: record::cooling_down(&self.shunned, &view.pods, now),
            avoided_nodes,
        }
    }

    /// The pod that has been asked for and has not led yet.
    fn awaited(&self) -> Option<&Arc<str>> {
        let asked = self.settings.preferred.as_ref()?;
        let is_done = |handled: &Handover| handled.pod == *asked;
        let again = planted::is(Bug::SwitchoverRepeated);
        (again || !self.handled.as_ref().is_some_and(is_done)).then_some(asked)
    }

    /// Notes that a switchover has been carried out, once a slice shows it: a decision that no
    /// slice has shown yet may still come to nothing.
    fn remember_handover(&mut self, view: &View, name: &str, verdict: &Verdict) {
        let leader = verdict.leader.as_ref();
        let preferred = self.settings.preferred.as_deref();
        let is_forgotten =
            |handled: &mut Handover| !handled.stands(preferred, leader.map(|leader| &leader.uid));
        self.handled.take_if(is_forgotten);
        let arrived = leader.filter(|leader| {
            verdict.hold == Hold::Firm
                && self.awaited() == Some(&leader.name)
                && published(view, name).is_some_and(|shown| shown.uid == leader.uid)
        });
        if let Some(leader) = arrived {
            self.handled = Some(Handover {
                pod: Arc::clone(&leader.name),
                uid: leader.uid.clone(),
            });
        }
    }

    /// Takes the verdict into the state, and remembers a switch until a slice shows it.
    fn apply(&mut self, verdict: &Verdict, incumbent: Option<Uid>, cause: Cause, now: Now) {
        let next = verdict.leader.as_ref().map(|pod| (&pod.uid, &pod.name));
        let stays = next.map(|(uid, _)| uid) == incumbent.as_ref();
        let mut returned = None;
        if !stays {
            let called_off = self.switch(verdict, cause);
            returned = called_off.and_then(|switch| Some((switch.from?, switch.from_switched)));
        } else if self.is_called_off(incumbent.as_ref()) {
            self.pending = None;
        }
        if verdict.left == Some(Reason::Disrupted) {
            self.shunned
                .extend(incumbent.map(|uid| (uid, now.moment + SHUN)));
        }
        match next {
            Some((uid, pod)) => {
                self.last = Some(uid.clone());
                let since = match (returned, self.leader()) {
                    // He has led all the time.
                    (Some((former, switched)), _) => {
                        self.switched = switched;
                        former.since
                    }
                    (None, Some(leader)) if stays => leader.since,
                    (None, _) => {
                        self.switched = Some(now.wall);
                        now.moment
                    }
                };
                self.enter(Phase::Serving(Serving {
                    uid: uid.clone(),
                    pod: Arc::clone(pod),
                    since,
                    hold: verdict.hold,
                }));
            }
            None if self.phase != Phase::Electing => self.enter(Phase::Electing),
            None => {}
        }
    }

    /// Whether the leader that was to be left is the leader again: another replica, which writes,
    /// has kept it.
    fn is_called_off(&self, leader: Option<&Uid>) -> bool {
        let pending = self.pending.as_ref();
        pending.is_some_and(|switch| switch.former_uid() == leader)
    }

    /// Remembers a change of leader. One on top of another that no slice has shown yet makes one
    /// of both: what counts is who is published, since when he had to go, and why. Returns it if it
    /// leads back to him.
    fn switch(&mut self, verdict: &Verdict, cause: Cause) -> Option<Switch> {
        let next = verdict.leader.as_ref().map(|pod| &pod.uid);
        let switch = self.pending.take().unwrap_or_else(|| Switch {
            from: self.leader().cloned(),
            from_switched: self.switched,
            reason: verdict.left,
            at: cause.at,
            trigger: cause.pod_changed,
        });
        if switch.former_uid() == next {
            return Some(switch);
        }
        let reason = match switch.reason {
            Some(Reason::NotReady | Reason::NoneReady) if next.is_none() => Some(Reason::NoneReady),
            Some(Reason::NoneReady) => Some(Reason::NotReady),
            other => other,
        };
        self.pending = Some(Switch { reason, ..switch });
        None
    }
}

/// What was asked for by name. A copy, since the machine changes while the rules are in use.
struct Asked {
    /// A pod that has not led yet.
    awaited: Option<Arc<str>>,
    /// The pod that was handed over to.
    handed: Option<Uid>,
}

/// What an election of this source goes by.
fn rules<'a>(
    settings: &Settings,
    source: &'a Service,
    context: &Context<'a>,
    asked: &'a Asked,
) -> Rules<'a> {
    Rules {
        family: source.families()[0],
        ports: &source.spec.ports,
        sticky: settings.sticky,
        strategy: settings.strategy,
        min_ready: settings.min_ready,
        failover_delay: settings.failover_delay,
        service: &source.metadata.uid,
        others: context.others,
        preferred: asked.awaited.as_deref(),
        handed: asked.handed.as_ref(),
        paused: settings.paused,
        spent: context.spent,
        nodes: context.nodes,
    }
}

/// The pod that our slices name, those of the Service `name` before others.
#[must_use]
pub fn published<'a>(view: &'a View, name: &str) -> Option<&'a TargetRef> {
    let mut slices = view.own_slices();
    slices.sort_by_key(|slice| {
        let meta = &slice.metadata;
        (
            meta.labels.get(SERVICE_NAME) != Some(name),
            &*meta.name != name,
        )
    });
    slices.into_iter().find_map(|slice| slice.leader())
}
