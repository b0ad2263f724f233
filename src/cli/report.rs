//! What a source comes to: judged by a fresh machine on what the cluster holds, as the controller
//! does after a restart. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use crate::logic::addresses::Addresses;
use crate::logic::elect::Candidate;
use crate::logic::event::Severity;
use crate::logic::follow;
use crate::logic::fsm::{self, Cause, Context, Machine, Phase, Step};
use crate::logic::mirror::Mirror;
use crate::logic::model::{Key, TargetRef, Uid};
use crate::logic::nodes::Nodes;
use crate::logic::record;
use crate::logic::settings::{self, OptIn, Settings};
use crate::logic::snapshot::{Role, Snapshot};
use crate::logic::spread::{LeadersPerNode, Others};
use crate::logic::time::{Moment, Now};
use crate::logic::well_known::{AVOIDED_NODES, LAST_SWITCH_TIME, LEADER_POD_UID, SERVICE_NAME};
use crate::store::Store;

/// A source and what the controller's code makes of it.
pub(super) struct Judged {
    pub(super) snapshot: Snapshot,
    /// Whether it asks to be served.
    pub(super) is_wanted: bool,
    /// Whether it does, or anything of zen-lead's is there.
    pub(super) is_managed: bool,
    pub(super) settings: Settings,
    /// Every pod, the eligible ones first, in the order of preference.
    pub(super) candidates: Vec<Candidate>,
    /// Nodes on which a leader should not be, as the controller records them.
    pub(super) nodes: Nodes,
    /// Pods that are not returned to until then, likewise.
    pub(super) shunned: Vec<(Uid, Moment)>,
    /// Since when, and which pod, by what the cluster shows.
    pub(super) report: ServiceReport,
}

/// A source in figures and names; what `-o json` prints. Fields are only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a field of its own in what `-o json` prints"
)]
pub(super) struct ServiceReport {
    pub(super) namespace: Arc<str>,
    pub(super) service: Arc<str>,
    /// Null while there is none.
    pub(super) leader_service: Option<Arc<str>>,
    /// `Unmanaged`, `Electing`, `Serving` or `Draining`, by what is published.
    pub(super) state: &'static str,
    /// The pod that the slice names.
    pub(super) leader: Option<ShownLeader>,
    /// The pod that would lead if the leader died now.
    pub(super) next: Option<Arc<str>>,
    pub(super) pods: Count,
    pub(super) strategy: &'static str,
    pub(super) sticky: bool,
    pub(super) paused: bool,
    pub(super) preferred_leader: Option<Arc<str>>,
    /// Where the application says which pod leads; null unless it decides.
    pub(super) follow: Option<String>,
    /// What it says there: `named`, `none`, `unknown`, `ambiguous` or `silent`.
    pub(super) follow_state: Option<&'static str>,
    /// Why the last leader was left, by the last Event; null when none is kept.
    pub(super) last_reason: Option<String>,
    /// What the controller has still to do about the leader; null when nothing.
    pub(super) pending: Option<String>,
    /// Whether the storm guard holds the failover back that is pending, by the last Event about it.
    pub(super) guarded: bool,
    /// Whether the controller has said that the API server does not take what is pending.
    #[serde(skip)]
    pub(super) refused: bool,
    /// What is wrong, in the words of the controller's own Warning events.
    pub(super) problems: Vec<String>,
    /// What the followers Service publishes; null while there is none.
    pub(super) followers: Option<FollowersReport>,
}

/// A followers Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct FollowersReport {
    pub(super) service: Arc<str>,
    /// The pods that its slices name.
    pub(super) pods: Vec<Arc<str>>,
}

/// A published pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownLeader {
    pub(super) pod: Arc<str>,
    pub(super) uid: Uid,
    pub(super) address: Option<String>,
    pub(super) node: Option<Arc<str>>,
    /// RFC 3339; null where the leader Service does not say so of this pod yet.
    pub(super) since: Option<String>,
}

/// Pods of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Count {
    /// That may lead now.
    pub(super) eligible: usize,
    /// That the selector matches.
    pub(super) matching: usize,
}

/// Judges sources one after the other, knowing where the others' leaders are.
pub(super) struct Evaluator<'a> {
    store: &'a Store,
    mirror: Mirror,
    spread: LeadersPerNode,
    /// Kept by the controller alone.
    addresses: Addresses,
    nodes: BTreeMap<Key, Arc<str>>,
    now: Now,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(store: &'a Store, now: Now) -> Self {
        let mut judge = Self {
            store,
            mirror: Mirror::new(None::<&str>),
            spread: LeadersPerNode::default(),
            addresses: Addresses::default(),
            nodes: BTreeMap::new(),
            now,
        };
        // What the strategy node-spread goes by: the leaders that are published.
        let (mut spread, mut nodes) = (LeadersPerNode::default(), BTreeMap::new());
        for key in store.sources() {
            let step = judge.step(Machine::default(), &store.snapshot(&key));
            if let Some(node) = step.goal.leader_node() {
                spread.moved(None, Some(node));
                nodes.insert(key, Arc::clone(node));
            }
        }
        (judge.spread, judge.nodes) = (spread, nodes);
        judge
    }

    /// All sources that are opted in or have anything of ours, by name.
    pub(super) fn all(&self) -> Vec<Judged> {
        let mut keys = self.store.sources();
        keys.sort();
        let judged = keys.iter().map(|key| self.source(key));
        judged.filter(|judged| judged.is_managed).collect()
    }

    /// One source, whether or not it is opted in.
    pub(super) fn source(&self, key: &Key) -> Judged {
        let snapshot = self.store.snapshot(key);
        let step = self.step(Machine::default(), &snapshot);
        let machine = &step.machine;
        let nodes = avoided(&snapshot, self.now);
        let candidates = match machine.phase {
            Phase::Electing | Phase::Serving(_) => {
                machine.assess_candidates(&snapshot, &self.context(key, &nodes), self.now)
            }
            Phase::Unmanaged | Phase::Draining => Vec::new(),
        };
        let wants = snapshot.source.as_ref().is_some_and(|source| {
            let is_source = source
                .metadata
                .labels
                .get(crate::logic::well_known::SOURCE_SERVICE);
            is_source.is_none() && settings::opt_in(source) != OptIn::No
        });
        let mut roles = [Role::Leader, Role::Followers].into_iter();
        let is_managed = wants || roles.any(|role| !snapshot.own(role).is_empty());
        let report = self.report(&snapshot, &step, &candidates);
        Judged {
            settings: machine.settings.clone(),
            shunned: machine.shunned.clone(),
            nodes,
            is_wanted: wants,
            is_managed,
            candidates,
            report,
            snapshot,
        }
    }

    fn report(&self, snapshot: &Snapshot, step: &Step, candidates: &[Candidate]) -> ServiceReport {
        let machine = &step.machine;
        let name = machine.name.as_ref();
        let shown = name.and_then(|name| fsm::published(snapshot, name));
        let decided = step.goal.leader().map(|leader| &leader.uid);
        let is_served = matches!(machine.phase, Phase::Electing | Phase::Serving(_));
        let state = match (&machine.phase, shown) {
            (Phase::Serving(_), None) => "Electing",
            (phase, _) => phase.name(),
        };
        let leader = shown.map(|shown| leader(snapshot, shown));
        ServiceReport {
            namespace: Arc::clone(&snapshot.key.namespace),
            service: Arc::clone(&snapshot.key.name),
            leader_service: name
                .filter(|name| {
                    snapshot
                        .own_services()
                        .iter()
                        .any(|own| own.metadata.name == **name)
                })
                .cloned(),
            state,
            next: self.successor(snapshot, step, shown.map(|shown| &shown.uid)),
            pods: Count {
                eligible: candidates
                    .iter()
                    .filter(|one| one.obstacle.is_none())
                    .count(),
                matching: snapshot.pods.len(),
            },
            strategy: machine.settings.strategy.as_str(),
            sticky: machine.settings.sticky,
            paused: machine.settings.paused,
            preferred_leader: machine.settings.preferred.clone(),
            follow: machine.settings.follow.as_ref().map(ToString::to_string),
            follow_state: step.report.follow.map(follow::State::as_str),
            last_reason: None,
            guarded: false,
            refused: false,
            pending: is_served.then(|| pending(shown, decided, step)).flatten(),
            problems: step
                .notes
                .iter()
                .filter(|note| note.severity == Severity::Warning)
                .map(|note| format!("{}: {}", note.reason, note.message))
                .collect(),
            followers: followers(snapshot, machine),
            leader,
        }
    }

    /// The pod that leads once that pod is gone.
    fn successor(
        &self,
        snapshot: &Snapshot,
        step: &Step,
        leader: Option<&Uid>,
    ) -> Option<Arc<str>> {
        let mut without = snapshot.clone();
        without.pods.retain(|pod| Some(&pod.uid) != leader);
        without.pinned_pods.retain(|pod| Some(&pod.uid) != leader);
        let then = self.step(step.machine.clone(), &without);
        let next = then.goal.leader()?;
        (Some(&next.uid) != leader).then(|| Arc::clone(&next.name))
    }

    fn step(&self, machine: Machine, snapshot: &Snapshot) -> Step {
        let nodes = avoided(snapshot, self.now);
        machine.step(snapshot, &self.context(&snapshot.key, &nodes), self.now)
    }

    fn context<'b>(&'b self, source: &Key, nodes: &'b Nodes) -> Context<'b> {
        Context {
            mirror: &self.mirror,
            is_over_limit: false,
            others: Others {
                spread: &self.spread,
                own: self.nodes.get(source),
            },
            // Kept by the controller alone: what it holds back shows as pending, and its Event says
            // why.
            spent: None,
            nodes,
            addresses: &self.addresses,
            // What the controller was told is not known here.
            lease_namespaces: None,
            writes: true,
            cause: Cause {
                at: self.now.moment,
                pod_changed: None,
            },
        }
    }
}

/// The controller's view of the pods' nodes, from its record on the leader Service. The user may lack
/// the right to read nodes, and the command does not know the controller's flags.
fn avoided(snapshot: &Snapshot, now: Now) -> Nodes {
    let services = snapshot.own_services();
    let mut annotations = services.iter().map(|own| &own.metadata.annotations);
    let recorded = annotations.find_map(|annotations| annotations.get(AVOIDED_NODES));
    recorded.map_or_else(Nodes::default, |text| record::read_avoided(text, now))
}

fn leader(snapshot: &Snapshot, shown: &TargetRef) -> ShownLeader {
    let slices = snapshot.own_slices();
    let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
    let names = |target: &TargetRef| target.uid == shown.uid;
    let mut fitting = endpoints.filter(|endpoint| endpoint.target_ref.as_ref().is_some_and(names));
    let services = snapshot.own_services();
    let since = services.iter().find_map(|service| {
        let annotations = &service.metadata.annotations;
        let is_of_this_pod = annotations.get(LEADER_POD_UID) == Some(&*shown.uid.to_string());
        annotations.get(LAST_SWITCH_TIME).filter(|_| is_of_this_pod)
    });
    let endpoint = fitting.next();
    let address = endpoint.and_then(|endpoint| endpoint.addresses.first());
    ShownLeader {
        pod: Arc::clone(&shown.name),
        uid: shown.uid.clone(),
        address: address.map(ToString::to_string),
        node: endpoint.and_then(|endpoint| endpoint.node_name.clone()),
        since: since.map(str::to_owned),
    }
}

fn followers(snapshot: &Snapshot, machine: &Machine) -> Option<FollowersReport> {
    let own = snapshot.own(Role::Followers);
    let service = own.service(machine.followers.name.as_ref()?)?;
    let name = &service.metadata.name;
    let slices = own.slices().iter();
    let of_it = slices.filter(|slice| slice.metadata.labels.get(SERVICE_NAME) == Some(name));
    let endpoints = of_it.flat_map(|slice| &slice.endpoints);
    let targets = endpoints.filter_map(|endpoint| endpoint.target_ref.as_ref());
    let pods: BTreeSet<_> = targets.map(|target| Arc::clone(&target.name)).collect();
    Some(FollowersReport {
        service: Arc::clone(name),
        pods: pods.into_iter().collect(),
    })
}

/// What is decided by the facts and not published.
fn pending(shown: Option<&TargetRef>, decided: Option<&Uid>, step: &Step) -> Option<String> {
    if shown.map(|shown| &shown.uid) == decided {
        return None;
    }
    Some(match step.goal.leader() {
        Some(leader) => format!("{} is to lead and is not published", leader.name),
        None => "the leader is to be withdrawn and is still published".into(),
    })
}
