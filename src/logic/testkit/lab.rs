//! One machine at work on a model cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::build::PodSpec;
use super::world::{Refusal, World};
use crate::logic::addresses::Addresses;
use crate::logic::budget::Spent;
use crate::logic::elect::{Hold, Reason};
use crate::logic::event::Note;
use crate::logic::fsm::{Cause, Context, Machine, Phase, Step, Switched};
use crate::logic::mirror::Mirror;
use crate::logic::model::Key;
use crate::logic::nodes::Nodes;
use crate::logic::plan::{self, Write};
use crate::logic::snapshot::Snapshot;
use crate::logic::spread::{LeadersPerNode, Others};
use crate::logic::well_known::{SERVICE_NAME, SOURCE_SERVICE};

/// No situation needs more rounds of writes than this.
const ROUNDS_MAX: usize = 12;

/// A cluster, and what looks after the source `s` in it.
#[derive(Clone)]
pub(crate) struct Lab {
    pub(crate) world: World,
    pub(crate) machine: Machine,
    pub(crate) mirror: Mirror,
    pub(crate) is_over_limit: bool,
    /// Whether another replica writes.
    pub(crate) is_standby: bool,
    /// Nodes that are about to go, or down.
    pub(crate) nodes: Nodes,
    /// Cluster addresses of leader Services that were taken down.
    pub(crate) addresses: Addresses,
    /// The budget for failovers that is used up.
    pub(crate) spent: Option<Spent>,
    /// How many Services each node leads, this one included.
    pub(crate) spread: LeadersPerNode,
    /// The node that this one's leader is counted on.
    node: Option<Arc<str>>,
    /// Everything told so far.
    pub(crate) notes: Vec<Note>,
    /// Everything written so far.
    pub(crate) writes: Vec<Write>,
    /// Every switch that was confirmed.
    pub(crate) switches: Vec<Switched>,
    pub(crate) refusals: Vec<Refusal>,
}

impl Lab {
    /// A cluster with that source and these pods; nothing has been looked at.
    pub(crate) fn new(source: Value, pods: impl IntoIterator<Item = PodSpec>) -> Self {
        let mut world = World::new();
        world.create_service(source).expect("a valid source");
        pods.into_iter().for_each(|pod| world.put_pod(pod));
        Self {
            world,
            machine: Machine::default(),
            mirror: Mirror::default(),
            is_over_limit: false,
            is_standby: false,
            nodes: Nodes::default(),
            addresses: Addresses::default(),
            spent: None,
            spread: LeadersPerNode::default(),
            node: None,
            notes: Vec::new(),
            writes: Vec::new(),
            switches: Vec::new(),
            refusals: Vec::new(),
        }
    }

    pub(crate) fn key() -> Key {
        Key::new("n", "s")
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let pinned = self.machine.leader().map(|leader| &*leader.pod);
        self.world.snapshot(&Self::key(), pinned)
    }

    /// What a step would bring; nothing changes.
    pub(crate) fn peek(&self) -> Step {
        self.peek_at(&self.snapshot())
    }

    pub(crate) fn peek_at(&self, snapshot: &Snapshot) -> Step {
        let now = self.world.now();
        let cause = Cause {
            at: now.moment,
            pod_changed: Some(now.wall),
        };
        let context = Context {
            mirror: &self.mirror,
            is_over_limit: self.is_over_limit,
            others: Others {
                spread: &self.spread,
                own: self.node.as_ref(),
            },
            spent: self.spent,
            nodes: &self.nodes,
            addresses: &self.addresses,
            lease_namespaces: None,
            writes: !self.is_standby,
            cause,
        };
        self.machine.clone().step(snapshot, &context, now)
    }

    /// Steps once and returns what is to be written.
    pub(crate) fn look(&mut self) -> Vec<Write> {
        let snapshot = self.snapshot();
        let step = self.peek_at(&snapshot);
        let before = self.machine.phase.clone();
        self.machine = step.machine;
        let (source, now) = (Self::key(), self.world.now().moment);
        for (name, ips) in step.released {
            self.addresses
                .keep(source.sibling(name), &source.name, ips, now);
        }
        let node = step.goal.leader_node().cloned();
        self.spread.moved(self.node.as_ref(), node.as_ref());
        self.node = node;
        assert!(
            is_reachable(&before, &self.machine.phase),
            "from {} to {}",
            before.name(),
            self.machine.phase.name()
        );
        self.notes.extend(step.notes);
        self.switches.extend(step.switched);
        if let Some(deadline) = step.deadline {
            assert!(deadline > self.world.now().moment, "a deadline in the past");
        }
        let writes = plan::plan(&step.goal, &step.followers, &snapshot);
        let mut targets: Vec<_> = writes.iter().map(|write| &write.target).collect();
        targets.sort();
        targets.dedup();
        assert_eq!(
            targets.len(),
            writes.len(),
            "one write per object: {writes:#?}"
        );
        writes
    }

    /// One round: looks, and has every write done. Whether there was any.
    pub(crate) fn round(&mut self) -> bool {
        let writes = self.look();
        for write in &writes {
            if let Err(refusal) = self.world.apply(write) {
                self.refusals.push(refusal);
            }
        }
        self.writes.extend(writes.iter().cloned());
        !writes.is_empty()
    }

    /// Works until there is nothing left to write.
    pub(crate) fn settle(&mut self) -> &mut Self {
        let mut rounds = 0;
        while self.round() {
            rounds += 1;
            assert!(
                rounds <= ROUNDS_MAX,
                "no end: {:#?}",
                self.writes.split_off(self.writes.len().saturating_sub(4))
            );
        }
        self
    }

    /// Starts again with nothing but the cluster.
    pub(crate) fn crash(&mut self) -> &mut Self {
        self.machine = Machine::default();
        self.world.see_afresh();
        self
    }

    /// Lets time pass, looking at every deadline on the way.
    pub(crate) fn wait(&mut self, span: Duration) -> &mut Self {
        let end = self.world.now().moment + span;
        while let Some(deadline) = self.peek().deadline.filter(|at| *at <= end) {
            self.world.advance(deadline.since(self.world.now().moment));
            self.settle();
        }
        self.world.advance(end.since(self.world.now().moment));
        self.settle()
    }

    /// Forgets what was told and written.
    pub(crate) fn forget(&mut self) -> &mut Self {
        self.notes.clear();
        self.writes.clear();
        self.switches.clear();
        self.refusals.clear();
        self
    }

    /// State, objects and news in one line.
    pub(crate) fn summary(&self) -> String {
        [self.state(), self.objects(), self.news()]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" | ")
    }

    /// The state, as `Serving a, suspect`.
    pub(crate) fn state(&self) -> String {
        match &self.machine.phase {
            Phase::Serving(serving) => {
                let hold = match serving.hold {
                    Hold::Firm => "",
                    Hold::Suspect(_) => ", suspect",
                    Hold::Leaving => ", leaving",
                    Hold::Paused => ", paused",
                    Hold::Guarded(_) => ", guarded",
                };
                format!("Serving {}{hold}", serving.pod)
            }
            other => other.name().to_owned(),
        }
    }

    /// Every Service but the source, with what its slices publish: `s-leader: a`.
    pub(crate) fn objects(&self) -> String {
        let mut lines = Vec::new();
        for (name, service) in &self.world.services {
            if name == "s" {
                continue;
            }
            let is_ours = service["metadata"]["labels"][SOURCE_SERVICE] == "s";
            let mut published: Vec<String> = self.endpoints(name).into_values().flatten().collect();
            published.sort();
            published.dedup();
            let mark = match (
                is_ours,
                service["metadata"]["deletionTimestamp"].is_string(),
            ) {
                (true, false) => "",
                (true, true) => " (going)",
                (false, _) => " (foreign)",
            };
            let published = if published.is_empty() {
                "-".to_owned()
            } else {
                published.join("+")
            };
            lines.push(format!("{name}{mark}: {published}"));
        }
        let lost = self.world.slices.values().filter(|slice| {
            let service = slice["metadata"]["labels"][SERVICE_NAME].as_str();
            service.is_none_or(|service| !self.world.services.contains_key(service))
        });
        lines.extend(lost.map(|slice| format!("lost slice {}", slice["metadata"]["name"])));
        lines.join(", ")
    }

    /// The endpoints of all slices of a Service, by slice.
    pub(crate) fn endpoints(&self, service: &str) -> BTreeMap<String, Vec<String>> {
        let of_service = self
            .world
            .slices
            .iter()
            .filter(|(_, slice)| slice["metadata"]["labels"][SERVICE_NAME] == service);
        of_service
            .map(|(name, slice)| {
                let endpoints = slice["endpoints"].as_array().cloned().unwrap_or_default();
                (name.clone(), endpoints.iter().map(describe).collect())
            })
            .collect()
    }

    /// The reasons of all events, as `LeaderChanged (deleted)`.
    pub(crate) fn news(&self) -> String {
        let mut switches = self.switches.iter();
        let of = |note: &Note| {
            let is_switch = matches!(note.reason, "LeaderChanged" | "LeaderRoutingAvailable")
                || note.message.starts_with("Leader changed from ");
            let why = is_switch
                .then(|| switches.next())
                .flatten()
                .and_then(|s| s.reason);
            match why {
                Some(why) => format!("{} ({})", note.reason, Reason::as_str(why)),
                None => note.reason.to_owned(),
            }
        };
        let all: Vec<String> = self.notes.iter().map(of).collect();
        all.join(", ")
    }
}

fn describe(endpoint: &Value) -> String {
    let name = endpoint["targetRef"]["name"].as_str().unwrap_or("?");
    let conditions = &endpoint["conditions"];
    match (
        conditions["ready"] == true,
        conditions["terminating"] == true,
    ) {
        (true, false) => name.to_owned(),
        (true, true) => format!("{name} (terminating, ready)"),
        (false, true) => format!("{name} (terminating)"),
        (false, false) => format!("{name} (not ready)"),
    }
}

/// Whether legal edges lead from one state to the other, within one step.
fn is_reachable(from: &Phase, to: &Phase) -> bool {
    let via = [Phase::Electing, Phase::Draining, Phase::Unmanaged];
    from == to
        || from.may_become(to)
        || via.iter().any(|a| {
            from.may_become(a)
                && (a.may_become(to) || via.iter().any(|b| a.may_become(b) && b.may_become(to)))
        })
}
