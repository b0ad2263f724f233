//! One step of one machine, with what it has to know of the others. That is kept here and goes
//! into the step as plain values.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Reconciler, ServiceState, Turn};
use crate::logic::addresses::Addresses;
use crate::logic::budget::{BudgetScope, Guard, Spent};
use crate::logic::fsm::{Attempt, Cause, Context, Machine, Step};
use crate::logic::heal::Throttled;
use crate::logic::model::Key;
use crate::logic::nodes::Nodes;
use crate::logic::plan::{self, Plan, PlanExclusions, Target};
use crate::logic::rate_limit::{RateLimit, TokenBucket};
use crate::logic::spread::{LeadersPerNode, Others};
use crate::logic::time::Moment;
use crate::mutations::{self, Mutation};

/// What is true of all Services together.
#[derive(Default)]
pub(super) struct ClusterState {
    /// Which node leads how many.
    spread: LeadersPerNode,
    /// Cluster addresses of leader Services that were taken down.
    addresses: Addresses,
    /// Nodes that are about to go, or down.
    nodes: Nodes,
    /// The budget for failovers of all.
    failovers: TokenBucket,
}

impl Reconciler {
    /// Plans the writes without the fields that are contested and without the parts that the server
    /// refuses. Neither holds up the rest. A standby plans nothing.
    pub(super) fn plan(service: &mut ServiceState, turn: &Turn, step: &Step) -> Throttled {
        let now = turn.now.moment;
        if !turn.is_active {
            service.refusals.clear();
            return Throttled::default();
        }
        let refusals = &service.refusals;
        let plan = |left: &[Target]| {
            let aside = PlanExclusions {
                left,
                refusals,
                now,
            };
            plan::plan_beside(&step.goal, &step.followers, &turn.snapshot, aside)
        };
        let Plan {
            mut writes,
            waiting,
        } = plan(&[]);
        // A refusal is forgotten when the write is no longer desired, not when it is contested.
        let wanted: Vec<Target> = if service.refusals.is_empty() {
            Vec::new()
        } else {
            let writes = writes.iter().map(|write| &write.target);
            let waiting = waiting.iter().map(|waiting| &waiting.target);
            writes.chain(waiting).cloned().collect()
        };
        let mut restrained = service.heals.restrain(writes, now);
        if !restrained.left.is_empty() {
            writes = plan(&restrained.left).writes;
            let again = service.heals.restrain(writes, now);
            restrained.writes = again.writes;
            restrained.fought.extend(again.fought);
            restrained.until = restrained.until.into_iter().chain(again.until).min();
        }
        service.refusals.keep(&wanted);
        let due = waiting.iter().filter_map(|waiting| waiting.until).min();
        restrained.until = restrained.until.into_iter().chain(due).min();
        restrained
    }

    /// Steps one machine, which is no longer that of `service` until its successor is put there.
    pub(super) fn decide(
        &self,
        service: &mut ServiceState,
        cluster: &mut ClusterState,
        turn: &Turn,
        is_over_limit: bool,
    ) -> Step {
        let (snapshot, now) = (&turn.snapshot, turn.now);
        // A failover that is under way has its place in the budget already.
        let is_budgeted = |machine: &Machine| {
            let attempt = machine.attempt.as_ref();
            attempt.is_some_and(Attempt::is_budgeted)
        };
        let was_budgeted = is_budgeted(&service.machine);
        let spent = self
            .spent(service, cluster, now.moment)
            .filter(|_| !was_budgeted);
        let context = Context {
            mirror: &self.options.mirror,
            is_over_limit,
            others: Others {
                spread: &cluster.spread,
                own: service.node.as_ref(),
            },
            spent,
            nodes: &cluster.nodes,
            addresses: &cluster.addresses,
            lease_namespaces: Some(&self.options.follow_lease_namespaces),
            writes: turn.is_active,
            cause: turn.cause,
        };
        let step = std::mem::take(&mut service.machine).step(snapshot, &context, now);
        // A standby counts what is published, a replica that writes what it is about to publish.
        let published = step
            .machine
            .leader()
            .and_then(|leader| snapshot.pod(&leader.uid));
        let node = if turn.is_active {
            step.goal.leader_node()
        } else {
            published.and_then(|pod| pod.node.as_ref())
        };
        if service.node.as_ref() != node {
            cluster.spread.moved(service.node.as_ref(), node);
            service.node = node.cloned();
        }
        for (name, ips) in &step.released {
            let (service, source) = (snapshot.key.sibling(Arc::clone(name)), &snapshot.key.name);
            let addresses = &mut cluster.addresses;
            addresses.keep(service, source, ips.clone(), now.moment);
        }
        let (is_budgeted, is_settled) = (is_budgeted(&step.machine), step.switched.is_some());
        if was_budgeted && !is_budgeted && !is_settled {
            self.release(service, cluster, now.moment);
        } else if is_budgeted && (!was_budgeted || is_settled) {
            self.spend(service, cluster, now.moment);
        }
        step
    }

    /// Something has become known of nodes: those whose pods run there look again.
    pub fn on_nodes(self: &Arc<Self>, change: impl FnOnce(&mut Nodes), cause: Cause) {
        let changed: BTreeSet<Arc<str>> = {
            let nodes = &mut self.state.lock().cluster.nodes;
            let before = nodes.clone();
            change(nodes);
            let leaving = before.leaving.symmetric_difference(&nodes.leaving);
            let is_other = |node: &&Arc<str>| {
                before.down.contains_key(*node) != nodes.down.contains_key(*node)
            };
            let down = before.down.keys().chain(nodes.down.keys());
            leaving.chain(down.filter(is_other)).cloned().collect()
        };
        if !changed.is_empty() && !mutations::is(Mutation::NodeNewsLost) {
            let sources = self.store.sources_on(|node| changed.contains(node));
            self.reconcile_all(sources, cause);
        }
    }

    /// The budget that is used up; of two the one that takes longer.
    fn spent(&self, service: &ServiceState, cluster: &ClusterState, now: Moment) -> Option<Spent> {
        let of = |limit: Option<RateLimit>, bucket: &TokenBucket, scope| {
            let until = bucket.empty_until(limit?, now)?;
            Some(Spent { until, scope })
        };
        let Guard {
            per_service,
            global,
        } = self.options.guard;
        let own = of(per_service, &service.failovers, BudgetScope::Service);
        let all = of(global, &cluster.failovers, BudgetScope::Global);
        own.into_iter().chain(all).max_by_key(|spent| spent.until)
    }

    /// An attempt at a failover was abandoned.
    fn release(&self, service: &mut ServiceState, cluster: &mut ClusterState, now: Moment) {
        if let Some(limit) = self.options.guard.per_service {
            service.failovers.put_back(limit, now);
        }
        if let Some(limit) = self.options.guard.global {
            cluster.failovers.put_back(limit, now);
        }
    }

    fn spend(&self, service: &mut ServiceState, cluster: &mut ClusterState, now: Moment) {
        if let Some(limit) = self.options.guard.per_service {
            service.failovers.take(limit, now);
        }
        if let Some(limit) = self.options.guard.global {
            cluster.failovers.take(limit, now);
        }
    }
}

impl ClusterState {
    /// The cluster addresses that a leader Service had are not to be had any more.
    pub(super) fn forget_addresses(&mut self, service: &Key) {
        self.addresses.forget(service);
    }
}

impl ServiceState {
    /// The same for the machine of its source.
    pub(super) fn forget_addresses(&mut self, service: &Key) {
        let machine = &mut self.machine;
        if machine.followers.name.as_ref() == Some(&service.name) {
            machine.followers.cluster_ips.clear();
        } else {
            machine.cluster_ips.clear();
        }
    }
}
