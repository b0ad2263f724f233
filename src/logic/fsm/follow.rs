//! A standby decides like everybody else, and another replica's decisions are the ones that count:
//! what the slices show is what that one decided. So whoever takes over goes on from there.

use std::sync::Arc;

use super::serve::published;
use super::{Machine, Phase, Serving, Switch};
use crate::logic::contract::{
    HANDLED_SWITCHOVER, LAST_LEADER_POD_UID, LAST_SWITCH_TIME, LEADER_POD_UID, PAUSED,
};
use crate::logic::elect::Hold;
use crate::logic::model::Uid;
use crate::logic::time::Now;
use crate::logic::view::View;

impl Machine {
    /// Takes over what another replica has published, to be called before [`Machine::step`] for as
    /// long as that one writes. A decision of our own that nobody has published yet is made again
    /// by the step; what was published instead stays.
    pub fn follow(&mut self, view: &View, now: Now) {
        if !matches!(self.phase, Phase::Electing | Phase::Serving(_)) {
            return;
        }
        let Some(name) = self.name.clone() else {
            return;
        };
        // A switchover that the other one has carried out is none that is still to come.
        let handled = view
            .service(&name)
            .and_then(|service| service.metadata.annotations.get(HANDLED_SWITCHOVER))
            .and_then(|text| text.parse().ok());
        self.handled = handled.or(self.handled.take());
        if view.own_slices().is_empty() {
            return self.follow_without_slices(view);
        }
        let leader = published(view, &name);
        let recorded = record(view, &name);
        match leader {
            Some(leader) if self.leader().is_none_or(|ours| ours.uid != leader.uid) => {
                let at = recorded.filter(|(uid, _)| *uid == leader.uid);
                self.last = Some(leader.uid.clone());
                self.shunned.retain(|(uid, _)| *uid != leader.uid);
                self.switched = at.as_ref().map(|(_, at)| *at).or(Some(now.wall));
                self.enter(Phase::Serving(Serving {
                    uid: leader.uid.clone(),
                    pod: Arc::clone(&leader.name),
                    since: at.map_or(now.moment, |(_, at)| now.moment_of(at)),
                    hold: Hold::Firm,
                }));
            }
            // The writer of the record knows when it was.
            Some(leader) => {
                if let Some((_, at)) = recorded.filter(|(uid, _)| *uid == leader.uid) {
                    self.switched = Some(at);
                }
            }
            None if self.leader().is_some() => self.enter(Phase::Electing),
            None => {}
        }
    }

    /// A slice that somebody deleted took no leadership with it, if the pod could be published
    /// anew. Where the Service is gone as well, it was withdrawn, and nothing of it is taken up.
    fn follow_without_slices(&mut self, view: &View) {
        let is_paused = is_paused(view);
        if let Some(switch) = self.pending.take_if(|_| is_paused) {
            self.go_back(view, switch);
        }
        let Some(leader) = self.leader() else {
            return;
        };
        let pod = view.pod(&leader.uid);
        let may_stay = pod.is_some_and(|pod| is_paused || (pod.ready && !pod.terminating));
        if view.own_services().is_empty() || !may_stay {
            self.enter(Phase::Electing);
        }
    }

    /// A pause has begun, and nobody has shown what was decided before it: who led until then still
    /// does, if anybody.
    fn go_back(&mut self, view: &View, switch: Switch) {
        let services = view.own_services();
        let mut remembered = services.iter().filter_map(|service| {
            let uid = service.metadata.annotations.get(LAST_LEADER_POD_UID);
            uid.map(Uid::from)
        });
        let led = switch.former_uid().cloned();
        self.last = led.or_else(|| remembered.next());
        self.switched = switch.from_switched;
        let phase = switch.from.map_or(Phase::Electing, Phase::Serving);
        if self.phase != phase {
            self.enter(phase);
        }
    }
}

/// Whether the source asks for a pause, as it is seen now: any value but one asks for it.
fn is_paused(view: &View) -> bool {
    let source = view.source.as_ref();
    let asked = source.and_then(|source| source.metadata.annotations.get(PAUSED));
    asked.is_some_and(|value| value != "false")
}

/// Whom the leader Service names, and since when.
fn record(view: &View, name: &str) -> Option<(Uid, jiff::Timestamp)> {
    let service = view.service(name)?;
    let annotations = &service.metadata.annotations;
    let uid = annotations.get(LEADER_POD_UID)?;
    let at = annotations.get(LAST_SWITCH_TIME)?.parse().ok()?;
    Some((uid.into(), at))
}
