//! The state machine of one source. Never awaits, logs, counts or reads a clock.
//!
//! ```text
//!                opted in                 a leader
//!  Unmanaged ───────────────► Electing ───────────► Serving ──┐ failover: one patch,
//!      ▲                       ▲   ▲  ◄───────────    │ ▲     │ never an empty moment
//!      │ all gone    opted in  │   │  no pod left     │ └─────┘
//!      └──────── Draining ─────┘   │                  │
//!                   ▲  ▲  leaving  │                  │
//!                   │  └───────────┘                  │
//!                   └─────────────────────────────────┘ leaving
//! ```
//!
//! A step is level-triggered: it looks at a snapshot of the facts, whatever happened in between,
//! and says what should exist. A lost, doubled or reordered event does no harm, and a restart
//! rebuilds the state from the cluster: the slice names the leader, the labels say what is ours.

mod announce;
mod announced;
mod attempt;
mod balance;
mod desired;
mod follow;
mod followers;
mod incumbent;
mod lifecycle;
mod rebuild;
mod report;
mod serve;

use std::sync::Arc;

pub use announced::{Announced, Topic};
pub use attempt::Attempt;
pub use follow::Following;
pub use followers::Post;
pub(in crate::logic) use incumbent::has_record;
pub use incumbent::published;
pub use report::{Report, Switched};

use super::addresses::Addresses;
use super::budget::Spent;
use super::desired::Goal;
use super::elect::Hold;
use super::event::Note;
use super::handover::CompletedSwitchover;
use super::mirror::Mirror;
use super::model::{Service, Uid};
use super::names::State;
use super::nodes::Nodes;
use super::settings::Settings;
use super::snapshot::{Role, Snapshot};
use super::spread::Others;
use super::time::{Moment, Now};
use followers::without_followers;
use incumbent::Records;
use lifecycle::Lifecycle;
use serve::Served;

/// Where a source stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Not opted in, refused, or gone; nothing of ours exists.
    #[default]
    Unmanaged,
    /// Opted in, and no pod can lead; the slices are empty.
    Electing,
    /// Exactly one leader is published.
    Serving(Serving),
    /// The source leaves: traffic is withdrawn, then the objects go.
    Draining,
}

/// A published leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Identity of the leader.
    pub uid: Uid,
    /// Name of the leader.
    pub pod: Arc<str>,
    /// Since when it leads, by our own clock.
    pub since: Moment,
    /// How it stands.
    pub hold: Hold,
}

impl Phase {
    /// The state without what it holds.
    #[must_use]
    pub fn state(&self) -> State {
        match self {
            Self::Unmanaged => State::Unmanaged,
            Self::Electing => State::Electing,
            Self::Serving(_) => State::Serving,
            Self::Draining => State::Draining,
        }
    }

    /// The name of the state, as metrics and logs spell it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.state().as_str()
    }

    /// Whether the machine may go straight from here to `next`. Staying is no edge.
    #[must_use]
    pub fn may_become(&self, next: &Self) -> bool {
        matches!(
            (self, next),
            (Self::Unmanaged, Self::Electing)
                | (Self::Electing, Self::Serving(_) | Self::Draining)
                | (
                    Self::Serving(_),
                    Self::Serving(_) | Self::Electing | Self::Draining
                )
                | (Self::Draining, Self::Unmanaged | Self::Electing)
        )
    }
}

/// The state of one source and what it remembers. Everything in it can be lost: a restart rebuilds
/// what matters from the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Where it stands.
    pub phase: Phase,
    /// The last valid settings.
    pub settings: Settings,
    /// Whether the last valid word of the source was that it wants to be served.
    pub is_wanted: bool,
    /// The name it is served under.
    pub name: Option<Arc<str>>,
    /// The last names that it was served under before.
    pub former: Vec<Arc<str>>,
    /// Identity of the last leader, kept while there is none.
    pub last: Option<Uid>,
    /// Pods left for a disruption, and until when they are not returned to.
    pub shunned: Vec<(Uid, Moment)>,
    /// The last switchover on request that has been carried out.
    pub handled: Option<CompletedSwitchover>,
    /// A change of leader that is desired and that no slice shows yet.
    pub attempt: Option<Attempt>,
    /// The leader at the time at which everything was taken down to be made again.
    pub kept: Option<Serving>,
    /// Hand edits of the slice that have counted as switchovers within the last minute.
    pub edits: Vec<Moment>,
    /// What has been seen of the application's own leader, while following.
    pub following: Option<Box<Following>>,
    /// When the leadership last changed hands, by the wall clock.
    pub switched: Option<jiff::Timestamp>,
    /// Cluster addresses of the leader Service, to be asked for again if it is deleted.
    pub cluster_ips: Vec<Arc<str>>,
    /// The followers Service.
    pub followers: Post,
    /// The load balancer class that the leader Service was last sent into its type with.
    pub asked_class: Option<Arc<str>>,
    /// Since when the rest of a former load balancer keeps it out of that type.
    pub unbalanced_since: Option<Moment>,
    /// What users have been told.
    pub said: Announced,
}

/// What a step goes by beside the facts.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Which labels and annotations are mirrored.
    pub mirror: &'a Mirror,
    /// Whether the namespace has no room for a Service that is not served yet.
    pub is_over_limit: bool,
    /// How many other Services each node leads.
    pub others: Others<'a>,
    /// The budget for failovers that is used up, if one is.
    pub spent: Option<Spent>,
    /// Nodes that are about to go, or down.
    pub nodes: &'a Nodes,
    /// Cluster addresses of leader Services that were taken down.
    pub addresses: &'a Addresses,
    /// The namespaces with Leases that a Service of another namespace may follow; all of them if it is
    /// unknown.
    pub lease_namespaces: Option<&'a [Arc<str>]>,
    /// Whether this replica writes. A standby takes the same steps, and what it wants is not written.
    pub writes: bool,
    /// What made us look.
    pub cause: Cause,
}

/// What made us look at a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// When the news arrived.
    pub at: Moment,
    /// When the pod changed, if the news is about a pod.
    pub pod_changed: Option<jiff::Timestamp>,
}

/// Name and cluster addresses of a leader Service that is to go.
pub type Released = (Arc<str>, Vec<Arc<str>>);

/// The outcome of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Step {
    /// The machine afterwards.
    pub machine: Machine,
    /// What should exist for the leader.
    pub goal: Goal,
    /// What should exist for the followers.
    pub followers: Goal,
    /// What users are to be told.
    pub notes: Vec<Note>,
    /// A switch that is now in the slices.
    pub switched: Option<Switched>,
    /// Leader Services that are to go, and the cluster addresses they have.
    pub released: Vec<Released>,
    /// Figures for the metrics.
    pub report: Report,
    /// When to look again even if nothing happens.
    pub deadline: Option<Moment>,
}

impl Machine {
    /// Looks at the facts and moves on.
    pub fn step(mut self, snapshot: &Snapshot, context: &Context<'_>, now: Now) -> Step {
        self.shunned.retain(|(_, until)| now.moment < *until);
        let mut report = Report::of(snapshot);
        let mut released = Vec::new();
        let Served {
            goal,
            followers,
            deadline,
            switched,
        } = match lifecycle::read(&mut self, snapshot, context) {
            Lifecycle::Serve { source, name } => {
                release_others(snapshot.own_services(), &name, &mut released);
                self.remember_addresses(snapshot, &name, context.addresses, now.moment);
                self.post(snapshot, &source, &name, context, &mut released, now.moment);
                if self.must_rebuild(snapshot, &source, &name) {
                    let primary = source.families()[0].into();
                    self.keep(snapshot, &Records::of(snapshot, &name, primary), now.moment);
                    let followers = self.followers_meanwhile(snapshot);
                    Served::of(self.leave(snapshot, &mut released), followers)
                } else {
                    self.serve(snapshot, context, now, &source, name, &mut report)
                }
            }
            Lifecycle::Leave => {
                self.kept = None;
                self.release_followers(snapshot, &mut released);
                let followers = without_followers(snapshot);
                Served::of(self.leave(snapshot, &mut released), followers)
            }
            Lifecycle::Orphan => {
                self.retire();
                Served::of(Goal::Untouched, Goal::Untouched)
            }
        };
        self.tell_of_copies(snapshot, &goal);
        self.tell_what_is_stuck(snapshot, &goal);
        report.state = self.phase.name();
        Step {
            notes: self.said.take(),
            machine: self,
            goal,
            followers,
            switched,
            released,
            report,
            deadline,
        }
    }

    /// The published leader, if there is one.
    #[must_use]
    pub fn leader(&self) -> Option<&Serving> {
        match &self.phase {
            Phase::Serving(serving) => Some(serving),
            Phase::Unmanaged | Phase::Electing | Phase::Draining => None,
        }
    }

    /// The names that the source and its followers are served under.
    #[must_use]
    pub fn names(&self) -> [Option<&Arc<str>>; 2] {
        [self.name.as_ref(), self.followers.name.as_ref()]
    }

    fn enter(&mut self, next: Phase) {
        debug_assert!(
            self.phase.may_become(&next),
            "illegal edge from {} to {}",
            self.phase.name(),
            next.name()
        );
        self.phase = next;
    }

    /// Ends: objects of ours that still exist belong to no source any more. Settings and what was announced
    /// stay, since the source may still be there with the same fault.
    fn retire(&mut self) {
        if self.phase != Phase::Unmanaged {
            self.drain();
            self.enter(Phase::Unmanaged);
        }
        [self.name.take(), self.followers.name.take()]
            .iter()
            .flatten()
            .for_each(|old| self.remember_name(old));
        *self = Self {
            said: std::mem::take(&mut self.said),
            settings: std::mem::take(&mut self.settings),
            kept: self.kept.take(),
            former: std::mem::take(&mut self.former),
            ..Self::default()
        };
    }

    /// Notes that it was served under this name.
    fn remember_name(&mut self, name: &Arc<str>) {
        /// More renames than could be under way at once.
        const NAMES_MAX: usize = 8;
        self.former.retain(|known| known != name);
        if self.former.len() == NAMES_MAX {
            self.former.remove(0);
        }
        self.former.push(Arc::clone(name));
    }

    /// Goes to Draining by legal edges from wherever it stands.
    fn drain(&mut self) {
        if self.phase == Phase::Unmanaged {
            self.enter(Phase::Electing);
        }
        if self.phase != Phase::Draining {
            self.enter(Phase::Draining);
        }
        self.attempt = None;
    }

    /// The source leaves, or what is published has to be taken down before it can be made again.
    fn leave(&mut self, snapshot: &Snapshot, released: &mut Vec<Released>) -> Goal {
        // A user may have deleted the Service together with the source.
        if let Some(name) = self.name.as_ref().filter(|_| !self.cluster_ips.is_empty()) {
            released.push((Arc::clone(name), self.cluster_ips.clone()));
        }
        let name = self.name.as_deref().unwrap_or_default();
        release_others(snapshot.own_services(), name, released);
        let roles = [Role::Leader, Role::Followers];
        if roles.into_iter().all(|role| snapshot.own(role).is_empty()) {
            self.retire();
            return Goal::Untouched;
        }
        self.drain();
        Goal::Withdraw
    }

    /// Keeps the cluster addresses of the Service it serves under, in case a user deletes it.
    /// Another name gets others: the old Service has these until it goes. A name that was given up a
    /// short while ago gets back what it had.
    fn remember_addresses(
        &mut self,
        snapshot: &Snapshot,
        name: &Arc<str>,
        former: &Addresses,
        now: Moment,
    ) {
        if self.name.as_ref() != Some(name) {
            self.cluster_ips.clear();
            self.name
                .take()
                .iter()
                .for_each(|old| self.remember_name(old));
        }
        self.name = Some(Arc::clone(name));
        let service = snapshot
            .own_service(name)
            .filter(|service| !service.is_headless());
        if let Some(service) = service.filter(|service| !service.spec.cluster_ips.is_empty()) {
            self.cluster_ips.clone_from(&service.spec.cluster_ips);
        } else if self.cluster_ips.is_empty() && snapshot.service(name).is_none() {
            let key = snapshot.key.sibling(Arc::clone(name));
            self.cluster_ips = former.of(&key, &snapshot.key.name, now).to_vec();
        }
    }
}

/// Services of ours but the one of that name: all of them are to go.
fn release_others(own: &[Arc<Service>], name: &str, released: &mut Vec<Released>) {
    let others = own.iter().filter(|service| {
        *service.metadata.name != *name
            && !(service.is_headless() || service.spec.cluster_ips.is_empty())
    });
    released.extend(others.map(|service| {
        let name = Arc::clone(&service.metadata.name);
        (name, service.spec.cluster_ips.clone())
    }));
}

#[cfg(test)]
pub(super) mod tests;
