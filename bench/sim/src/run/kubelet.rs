//! Kubelets: they make their nodes known and renew their Leases, unless they have fallen silent.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use simkube::{Kind, SimKube};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::event::{NODE_LEASES, NODES};
use crate::fault::NodeSet;
use crate::plan::World;

/// One renews after the other, each every ten seconds.
const TURN: Duration = Duration::from_millis(3_333);

/// Until when each of them is silent.
type Silence = Arc<Mutex<[Option<Instant>; NODES.len()]>>;

/// The kubelets of all nodes.
pub(super) struct Kubelets {
    silent: Silence,
    at_work: Option<JoinHandle<()>>,
}

impl Kubelets {
    /// Puts up the nodes, if the controller watches them.
    pub(super) fn start(kube: &SimKube, world: &World) -> Self {
        let silent = Silence::default();
        let has_leases = world.node_leases.is_some();
        let is_asked = has_leases || world.leave_cordoned;
        if is_asked {
            kube.namespace(NODE_LEASES);
            for node in NODES {
                renew(kube, node, has_leases);
            }
        }
        let (of, kube) = (Arc::clone(&silent), kube.clone());
        Self {
            silent,
            at_work: is_asked.then(|| tokio::spawn(work(kube, of, has_leases))),
        }
    }

    /// From now on these say nothing for a while.
    pub(super) fn silence(&self, nodes: NodeSet, ms: u64) {
        let until = Instant::now() + Duration::from_millis(ms);
        for (number, silent) in self.silent.lock().iter_mut().enumerate() {
            if nodes.has(number) {
                *silent = (*silent).max(Some(until));
            }
        }
    }

    /// All of them work again.
    pub(super) fn recover(&self) {
        *self.silent.lock() = Default::default();
    }

    pub(super) fn leave(&mut self) {
        if let Some(task) = self.at_work.take() {
            task.abort();
        }
    }
}

/// Whether a pod on one of these nodes leads.
pub(super) fn lead(kube: &SimKube, nodes: NodeSet) -> bool {
    let slices = kube.list(Kind::EndpointSlice, "");
    let of = |slice: &Value| {
        let node = slice["endpoints"][0]["nodeName"].as_str()?;
        NODES.iter().position(|name| *name == node)
    };
    slices.iter().filter_map(of).any(|number| nodes.has(number))
}

async fn work(kube: SimKube, silent: Silence, has_leases: bool) {
    loop {
        for (number, node) in NODES.iter().enumerate() {
            sleep(TURN).await;
            let until = silent.lock()[number];
            if until.is_none_or(|until| until <= Instant::now()) {
                renew(&kube, node, has_leases);
            }
        }
    }
}

/// A machine of a name that was removed joins again.
fn renew(kube: &SimKube, node: &str, has_leases: bool) {
    if kube.get(Kind::Node, "", node).is_none() {
        kube.node(node);
    }
    if !has_leases {
        return;
    }
    let before = kube.resource_version();
    let is_there = kube.edit(Kind::Lease, NODE_LEASES, node, |lease| {
        // What a renewal says does not matter, only that it is another version.
        lease["metadata"]["annotations"] = json!({"renewed-after": before.to_string()});
    });
    if is_there.is_err() {
        let lease = json!({"metadata": {"name": node}, "spec": {"holderIdentity": node}});
        kube.create(Kind::Lease, NODE_LEASES, &lease);
    }
}
