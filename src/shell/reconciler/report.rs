//! What a step shows to people: figures, a log line, the last steps, and `/debug/state`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Reconciler, ServiceState, Turn};
use crate::logic::duration::Brief;
use crate::logic::event::Note;
use crate::logic::follow::{self, Lease};
use crate::logic::fsm::{Machine, Phase, Report, Step, Switched};
use crate::logic::model::{Key, Meta, Pod, Service};
use crate::logic::names::Reason;
use crate::logic::plan::{Target, Write};
use crate::logic::snapshot::{Owned, Role, Snapshot};
use crate::logic::time::{Moment, Now};
use crate::logic::well_known::reason;
use crate::metrics::{Figures, LeaderFigures, ServiceStats};
use crate::status_page::{FollowersShown, LeaderChange, Row, StatusPage};

/// How many steps `/debug/state` shows.
const STEPS_KEPT: usize = 20;

/// One step that changed something.
pub(super) struct Trace {
    at: jiff::Timestamp,
    state: &'static str,
    leader: Option<Arc<str>>,
    /// What was done to which object; put into words on request.
    writes: Box<[(&'static str, Target)]>,
    events: Box<[&'static str]>,
}

/// Sets the figures of a source after a step. Gauges are kept by every replica and shown by the
/// active one; what is counted, is counted by the active one only, so that sums over replicas are
/// right.
pub(super) fn measure(stats: &ServiceStats, snapshot: &Snapshot, step: &Step, is_active: bool) {
    let Report {
        pods_available,
        is_election,
        kept,
        leader_created,
        unresolved_ports,
        foreign_slices,
        is_guarded,
        followers,
        follower_ports,
        follow,
        ..
    } = &step.report;
    let machine = &step.machine;
    let leader = machine.leader().map(|leader| LeaderFigures {
        since: leader.since,
        created: leader_created.unwrap_or_default(),
        ready: snapshot.pod(&leader.uid).is_some_and(|pod| pod.ready),
    });
    let is_served = machine.phase != Phase::Unmanaged;
    stats.decided(&Figures {
        state: machine.phase.state(),
        pods_available: count(*pods_available),
        leader,
        leader_service: is_served && !snapshot.own_services().is_empty(),
        slices: if is_served {
            count(snapshot.own_slices().len() + snapshot.own(Role::Followers).slices().len())
        } else {
            0
        },
        guarded: *is_guarded,
        followers: followers.map(count),
        follow: *follow,
    });
    stats.foreign_slices(count(*foreign_slices));
    if !is_active {
        return note_switch(snapshot, step, is_active);
    }
    stats.cache_hit();
    if *is_election {
        stats.selected();
    }
    match kept {
        Some(true) if machine.settings.sticky => stats.sticky_hit(),
        Some(false) if machine.settings.sticky => stats.sticky_missed(),
        _ => {}
    }
    let is_told = |note: &&Note| note.reason == reason::PORT_RESOLUTION_FAILED;
    let of_leader = if step.notes.iter().filter(is_told).count() > follower_ports.len() {
        unresolved_ports
    } else {
        &Vec::new()
    };
    for port in of_leader.iter().chain(follower_ports) {
        stats.port_unresolved(port);
    }
    if let Some(switched) = &step.switched
        && let Some(reason) = switched.reason
    {
        stats.failed_over(reason, switched.took);
    }
    note_switch(snapshot, step, is_active);
}

fn note_switch(snapshot: &Snapshot, step: &Step, is_active: bool) {
    let Some(switched) = &step.switched else {
        return;
    };
    let (service, took) = (&snapshot.key, Brief(switched.took));
    let from = switched.from.as_deref().unwrap_or("none");
    let to = switched.to.as_deref().unwrap_or("none");
    let reason = switched.reason.map_or("elected", Reason::as_str);
    if is_active {
        tracing::info!(%service, from, to, reason, %took, "leader changed");
    } else {
        tracing::debug!(%service, from, to, reason, %took, "leader changed, by another replica");
    }
}

/// Puts a source on the status page.
pub(super) fn show(
    board: &StatusPage,
    snapshot: &Snapshot,
    machine: &Machine,
    (follow, followers): (Option<follow::State>, Option<usize>),
    switched: Option<Switched>,
    now: Now,
) {
    let leader = machine.leader();
    let row = Row {
        state: machine.phase.name(),
        leader_service: machine.name.clone(),
        leader: leader.map(|leader| Arc::clone(&leader.pod)),
        since: leader.and_then(|leader| now.wall.checked_sub(now.moment.since(leader.since)).ok()),
        available: Report::available(snapshot),
        pods: snapshot.pods.len(),
        follow: follow.map(follow::State::as_str),
        followers: machine
            .followers
            .name
            .as_ref()
            .zip(followers)
            .map(|(service, pods)| FollowersShown {
                service: Arc::clone(service),
                pods,
            }),
    };
    let change = switched.map(|switched| LeaderChange {
        at: now.wall,
        from: switched.from,
        to: switched.to,
        reason: switched.reason.map_or("elected", Reason::as_str),
        took_ms: (switched.took.as_secs_f64() * 10_000.0).round() / 10.0,
    });
    board.show(&snapshot.key, row, change);
}

impl ServiceState {
    /// Keeps the step for `/debug/state` if it changed anything.
    pub(super) fn trace(&mut self, step: &Step, writes: &[Write], turn: &Turn) {
        let state = step.machine.phase.name();
        let leader = step.machine.leader().map(|leader| Arc::clone(&leader.pod));
        let stays = turn.state == state && turn.leader == leader;
        if writes.is_empty() && step.notes.is_empty() && stays {
            return;
        }
        if self.steps.len() >= STEPS_KEPT {
            self.steps.pop_front();
        }
        let what = |write: &Write| (write.action.verb().as_str(), write.target.clone());
        self.steps.push_back(Trace {
            at: turn.now.wall,
            state,
            leader,
            writes: writes.iter().map(what).collect(),
            events: step.notes.iter().map(|note| note.reason).collect(),
        });
        // Most Services have three steps in all.
        self.steps.shrink_to_fit();
    }
}

impl Reconciler {
    /// Everything about one source, for `/debug/state`.
    #[must_use]
    pub fn debug(&self, source: &Key) -> Option<Value> {
        let now = self.clock.moment();
        let known = {
            let state = self.state.lock();
            state.services.get(source)?.debug(now)
        };
        let mut all = json!({
            "service": source.to_string(),
            "isActive": self.is_active(),
            "facts": facts(&self.store.snapshot(source), now),
            "writes": self.outlets.writer.waiting(source),
        });
        if let (Value::Object(all), Value::Object(known)) = (&mut all, known) {
            all.extend(known);
        }
        Some(all)
    }
}

impl ServiceState {
    fn debug(&self, now: Moment) -> Value {
        let machine = &self.machine;
        let leader = machine.leader().map(|leader| {
            json!({
                "pod": leader.pod,
                "uid": leader.uid,
                "forSeconds": now.since(leader.since).as_secs_f64(),
                "hold": format!("{:?}", leader.hold),
            })
        });
        json!({
            "machine": {
                "state": machine.phase.name(),
                "leader": leader,
                "settings": format!("{:?}", machine.settings),
                "leaderService": machine.name,
                "followersService": machine.followers.name,
                "lastLeader": machine.last.as_ref().map(ToString::to_string),
                "attempt": machine.attempt.as_ref().map(|attempt| format!("{attempt:?}")),
            },
            "deadlineInSeconds": self.deadline.map(|(at, _)| at.since(now).as_secs_f64()),
            "steps": self.steps.iter().map(describe).collect::<Vec<_>>(),
        })
    }
}

fn facts(snapshot: &Snapshot, now: Moment) -> Value {
    let pod = |pod: &Arc<Pod>| {
        json!({
            "name": pod.name,
            "uid": pod.uid,
            "version": pod.version.to_string(),
            "phase": format!("{:?}", pod.phase),
            "ready": pod.ready,
            "readyOrNotForSeconds": now.since(pod.ready_since).as_secs_f64(),
            "terminating": pod.terminating,
            "disrupted": pod.disrupted, "ofJob": pod.of_job,
            "node": pod.node,
        })
    };
    let object = |meta: &Meta| {
        json!({
            "name": meta.name,
            "uid": meta.uid,
            "version": meta.resource_version.to_string(),
            "isBeingDeleted": meta.deletion_timestamp.is_some(),
        })
    };
    let source = |source: &Arc<Service>| {
        json!({
            "object": object(&source.metadata),
            "selector": source.spec.selector.iter().collect::<std::collections::BTreeMap<_, _>>(),
        })
    };
    let services = |own: &Owned| -> Value {
        let all = own.services().iter();
        all.map(|service| object(&service.metadata)).collect()
    };
    let slices = |own: &Owned| -> Value {
        let all = own.slices().iter();
        all.map(|slice| object(&slice.metadata)).collect()
    };
    let (leader, followers) = (snapshot.own(Role::Leader), snapshot.own(Role::Followers));
    json!({
        "source": snapshot.source.as_ref().map(source),
        "pods": snapshot.pods.iter().map(pod).collect::<Vec<_>>(),
        "leaderServices": services(leader),
        "slices": slices(leader),
        "followersServices": services(followers),
        "followersSlices": slices(followers),
        "lease": followed(&snapshot.lease, now),
        "foreignSlices": snapshot.foreign_slices.iter().map(|stranger| &stranger.name).collect::<Vec<_>>(),
    })
}

/// What is known of the Lease that the source follows, if it follows one.
fn followed(lease: &Lease, now: Moment) -> Value {
    match lease {
        Lease::Unread => Value::Null,
        Lease::Absent(why) => format!("{why:?}").into(),
        Lease::Present(fact) => json!({
            "holder": fact.holder,
            "durationSeconds": fact.duration.map(|span| span.as_secs()),
            "changedBeforeSeconds": now.since(fact.changed).as_secs_f64(),
        }),
    }
}

fn describe(trace: &Trace) -> Value {
    json!({
        "at": trace.at.to_string(),
        "state": trace.state,
        "leader": trace.leader,
        "writes": trace.writes.iter().map(in_words).collect::<Vec<_>>(),
        "events": trace.events,
    })
}

fn in_words((verb, target): &(&str, Target)) -> String {
    format!("{verb} {:?} {}", target.kind, target.key.name)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
