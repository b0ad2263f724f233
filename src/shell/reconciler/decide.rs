//! One step of one machine, with what it has to know of the others. That is kept here and goes
//! into the step as plain values.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Reconciler, ServiceState};
use crate::logic::addresses::Addresses;
use crate::logic::budget::{BudgetScope, Guard, Spent};
use crate::logic::fsm::{Attempt, Cause, Context, Machine, Step};
use crate::logic::heal::Throttled;
use crate::logic::model::Key;
use crate::logic::nodes::Nodes;
use crate::logic::plan::{self, Plan, PlanExclusions, Target, Write};
use crate::logic::rate_limit::TokenBucket;
use crate::logic::snapshot::Snapshot;
use crate::logic::spread::{LeadersPerNode, Others};
use crate::logic::time::{Moment, Now};
use crate::mutations::{self, Mutation};

/// What is true of all Services together.
#[derive(Default)]
pub(super) struct ClusterState {
    /// What steps share. Locked for one step, after its machine and never across an await.
    shared: Mutex<Shared>,
    /// Nodes that are about to go, or down. Locked for one look or one change.
    nodes: Mutex<Arc<Nodes>>,
    /// The budget for failovers of all. Locked for one look or one change.
    failovers: Mutex<TokenBucket>,
}

/// What one step leaves for another.
#[derive(Default)]
struct Shared {
    /// Which node leads how many.
    spread: LeadersPerNode,
    /// Cluster addresses of leader Services that were taken down.
    addresses: Addresses,
}

impl Reconciler {
    /// Plans the writes without the fields that are contested and without the parts that the server
    /// refuses. Neither holds up the rest. A standby plans nothing.
    pub(super) fn plan(
        cell: &mut ServiceState,
        is_active: bool,
        step: &Step,
        snapshot: &Snapshot,
        now: Moment,
    ) -> Throttled {
        if !is_active {
            cell.refusals.clear();
            return Throttled::default();
        }
        let refusals = &cell.refusals;
        let plan = |left: &[Target]| {
            let aside = PlanExclusions {
                left,
                refusals,
                now,
            };
            plan::plan_beside(&step.goal, &step.followers, snapshot, aside)
        };
        let Plan {
            mut writes,
            waiting,
        } = plan(&[]);
        // A refusal is forgotten when the write is no longer desired, not when it is contested.
        let wanted: Vec<Target> = if cell.refusals.is_empty() {
            Vec::new()
        } else {
            let writes = writes.iter().map(|write| &write.target);
            let waiting = waiting.iter().map(|waiting| &waiting.target);
            writes.chain(waiting).cloned().collect()
        };
        let mut restrained = cell.heals.restrain(writes, now);
        if !restrained.left.is_empty() {
            writes = plan(&restrained.left).writes;
            let again = cell.heals.restrain(writes, now);
            restrained.writes = again.writes;
            restrained.fought.extend(again.fought);
            restrained.until = restrained.until.into_iter().chain(again.until).min();
        }
        cell.refusals.keep(&wanted);
        let due = waiting.iter().filter_map(|waiting| waiting.until).min();
        restrained.until = restrained.until.into_iter().chain(due).min();
        restrained
    }

    /// Notes that the server refuses a write, in these words. Returns whether to report it.
    pub fn refuse(&self, source: &Key, write: &Write, why: &str) -> bool {
        let cell = self.cells.get(source).map(|cell| Arc::clone(&cell));
        let now = self.clock.moment();
        cell.is_some_and(|cell| cell.lock().refusals.note(write, why, now))
    }

    /// Steps one machine, which is `cell`'s no more until its successor is put there.
    pub(super) fn decide(
        &self,
        cell: &mut ServiceState,
        snapshot: &Snapshot,
        is_over_limit: bool,
        cause: Cause,
        now: Now,
    ) -> Step {
        let is_active = self.outlet.is_active();
        // A failover that is under way has its place in the budget already.
        let is_budgeted = |machine: &Machine| {
            let attempt = machine.attempt.as_ref();
            attempt.is_some_and(Attempt::is_budgeted)
        };
        let was_budgeted = is_budgeted(&cell.machine);
        let spent = self.spent(cell, now).filter(|_| !was_budgeted);
        let nodes = Arc::clone(&self.together.nodes.lock());
        let mut shared = self.together.shared.lock();
        let context = Context {
            mirror: &self.settings.mirror,
            is_over_limit,
            others: Others {
                spread: &shared.spread,
                own: cell.node.as_ref(),
            },
            spent,
            nodes: &nodes,
            addresses: &shared.addresses,
            lease_namespaces: Some(&self.settings.follow_lease_namespaces),
            writes: is_active,
            cause,
        };
        let step = std::mem::take(&mut cell.machine).step(snapshot, &context, now);
        // A standby counts what is published, a replica that writes what it is about to publish.
        let published = step
            .machine
            .leader()
            .and_then(|leader| snapshot.pod(&leader.uid));
        let node = if is_active {
            step.goal.leader_node()
        } else {
            published.and_then(|pod| pod.node.as_ref())
        };
        if cell.node.as_ref() != node {
            shared.spread.moved(cell.node.as_ref(), node);
            cell.node = node.cloned();
        }
        for (name, ips) in &step.released {
            let (service, source) = (snapshot.key.sibling(Arc::clone(name)), &snapshot.key.name);
            let addresses = &mut shared.addresses;
            addresses.keep(service, source, ips.clone(), now.moment);
        }
        drop(shared);
        let (is_budgeted, is_settled) = (is_budgeted(&step.machine), step.switched.is_some());
        if was_budgeted && !is_budgeted && !is_settled {
            self.release(cell, now);
        } else if is_budgeted && (!was_budgeted || is_settled) {
            self.spend(cell, now);
        }
        step
    }

    /// The cluster addresses that a leader Service had are not to be had any more.
    pub fn forget_addresses(&self, source: &Key, service: &Key) {
        if let Some(cell) = self.cells.get(source).map(|cell| Arc::clone(&cell)) {
            let machine = &mut cell.lock().machine;
            if machine.followers.name.as_ref() == Some(&service.name) {
                machine.followers.cluster_ips.clear();
            } else {
                machine.cluster_ips.clear();
            }
        }
        self.together.shared.lock().addresses.forget(service);
    }

    /// Something has become known of nodes: those whose pods run there look again.
    pub fn nodes_changed(&self, change: impl FnOnce(&mut Nodes), cause: Cause) {
        let (before, after) = {
            let mut nodes = self.together.nodes.lock();
            let before = Arc::clone(&nodes);
            change(Arc::make_mut(&mut nodes));
            (before, Arc::clone(&nodes))
        };
        let leaving = before.leaving.symmetric_difference(&after.leaving);
        let is_other =
            |node: &&Arc<str>| before.down.contains_key(*node) != after.down.contains_key(*node);
        let down = before.down.keys().chain(after.down.keys()).filter(is_other);
        let changed: BTreeSet<&Arc<str>> = leaving.chain(down).collect();
        if !changed.is_empty() && !mutations::is(Mutation::NodeNewsLost) {
            let sources = self.store.sources_on(|node| changed.contains(node));
            self.reconcile_all(sources, cause);
        }
    }

    /// The budget that is used up; of two the one that takes longer.
    fn spent(&self, cell: &ServiceState, now: Now) -> Option<Spent> {
        let Guard {
            per_service,
            global,
        } = self.settings.guard;
        let own = per_service.and_then(|limit| {
            let until = cell.failovers.empty_until(limit, now.moment)?;
            let scope = BudgetScope::Service;
            Some(Spent { until, scope })
        });
        let all = global.and_then(|limit| {
            let bucket = *self.together.failovers.lock();
            let until = bucket.empty_until(limit, now.moment)?;
            let scope = BudgetScope::Global;
            Some(Spent { until, scope })
        });
        own.into_iter().chain(all).max_by_key(|spent| spent.until)
    }

    /// An attempt at a failover was abandoned.
    fn release(&self, cell: &mut ServiceState, now: Now) {
        if let Some(limit) = self.settings.guard.per_service {
            cell.failovers.put_back(limit, now.moment);
        }
        if let Some(limit) = self.settings.guard.global {
            self.together.failovers.lock().put_back(limit, now.moment);
        }
    }

    fn spend(&self, cell: &mut ServiceState, now: Now) {
        if let Some(limit) = self.settings.guard.per_service {
            cell.failovers.take(limit, now.moment);
        }
        if let Some(limit) = self.settings.guard.global {
            self.together.failovers.lock().take(limit, now.moment);
        }
    }
}
