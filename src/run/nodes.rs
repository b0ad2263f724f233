//! What is watched of the nodes, if it is enabled: marks that one is about to go, and Leases that
//! are not renewed any more. The first sync does not wait for either: without the right to read them
//! everything else works as ever.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kube_client::Client;
use parking_lot::Mutex;

use super::Controller;
use super::task_set::TaskSet;
use super::watches::skipped;
use crate::logic::fsm::Cause;
use crate::logic::lease_feeds::NODE_LEASES;
use crate::logic::model::{Lease, Node, Object as _};
use crate::logic::nodes::{Heartbeats, NodeLeasePolicy};
use crate::logic::reflect::Change;
use crate::logic::time::Moment;
use crate::mutations::{self, Mutation};
use crate::shell::api::{self, ListError, Scope};
use crate::shell::reconciler::Reconciler;
use crate::shell::watch::Selectors;

/// How often to look for nodes that have fallen silent.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the server has for an answer before a node is considered down.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

impl Controller {
    pub(super) fn watch_the_nodes(&self, parts: &mut TaskSet) {
        if self.config.leave_cordoned_nodes {
            self.watch_nodes(parts);
        }
        if let Some(patience) = self.config.node_leases {
            self.watch_node_leases(parts, patience);
        }
    }

    /// Nodes that are cordoned, or tainted for their deletion.
    fn watch_nodes(&self, parts: &mut TaskSet) {
        let reconciler = Arc::clone(&self.reconciler);
        self.watch::<Node>(
            parts,
            &Scope::All,
            Selectors::default(),
            move |change, at| {
                let cause = Cause::from(at);
                match change {
                    Change::Upsert(node) => {
                        let name = node.key().name;
                        let mark = |leaving: &mut BTreeSet<Arc<str>>| {
                            if node.leaves {
                                leaving.insert(name);
                            } else if !mutations::is(Mutation::CordonForEver) {
                                leaving.remove(&name);
                            }
                        };
                        reconciler.on_nodes(|nodes| mark(&mut nodes.leaving), cause);
                    }
                    Change::Delete(gone) => reconciler.on_nodes(
                        |nodes| {
                            nodes.leaving.remove(&gone.key.name);
                        },
                        cause,
                    ),
                    Change::Retain { keys, .. } => {
                        let names: BTreeSet<Arc<str>> =
                            keys.into_iter().map(|key| key.name).collect();
                        let stays = |name: &Arc<str>| names.contains(name);
                        reconciler.on_nodes(|nodes| nodes.leaving.retain(stays), cause);
                    }
                    Change::Restored | Change::Progress(_) => {}
                    Change::Skipped(unreadable) => skipped::<Node>(&unreadable),
                }
            },
        );
    }

    /// Nodes that do not renew their Leases any more, by our own clock.
    fn watch_node_leases(&self, parts: &mut TaskSet, patience: NodeLeasePolicy) {
        let heartbeats = Arc::new(Mutex::new(Heartbeats::default()));
        let scope = Scope::Namespace(NODE_LEASES.into());
        let heard = Arc::clone(&heartbeats);
        self.watch::<Lease>(
            parts,
            &scope,
            Selectors::default(),
            move |change, at| match change {
                Change::Upsert(lease) => {
                    heard.lock().read(&lease.key().name, lease.version(), at);
                }
                Change::Delete(gone) => heard.lock().gone(&gone.key.name),
                Change::Retain { keys, .. } => {
                    let names: BTreeSet<Arc<str>> = keys.into_iter().map(|key| key.name).collect();
                    heard.lock().retain(|name| names.contains(name));
                }
                Change::Restored => heard.lock().begin_history(),
                Change::Progress(_) => {}
                Change::Skipped(unreadable) => skipped::<Lease>(&unreadable),
            },
        );
        let (reconciler, clock) = (Arc::clone(&self.reconciler), self.around.clock.clone());
        let client = self.clients.watch.clone();
        let alive = self.alive("node Leases");
        parts.spawn("node Leases", async move {
            let mut known = BTreeSet::new();
            loop {
                alive();
                tokio::time::sleep(LOOK_EVERY).await;
                let mut down = heartbeats.lock().down(patience, clock.moment());
                if !down.is_subset(&known) {
                    match leases(&client).await {
                        Ok(leases) => {
                            let (at, mut heard) = (clock.moment(), heartbeats.lock());
                            for lease in leases {
                                heard.read(&lease.key().name, lease.version(), at);
                            }
                            down = heard.down(patience, at);
                        }
                        Err(why) => {
                            tracing::warn!(%why, "cannot read the Leases of nodes; no further node is considered down");
                            down.retain(|node| known.contains(node));
                        }
                    }
                }
                if down != known {
                    tell(&reconciler, &down, &known, clock.moment());
                    known = down;
                }
            }
        });
    }
}

/// The Leases of all nodes, as the server has them: a watch that lags tells of renewals late.
async fn leases(client: &Client) -> Result<Vec<Lease>, ListError> {
    let scope = Scope::Namespace(NODE_LEASES.into());
    api::list(client, &scope, &[], ASK_TIMEOUT).await
}

/// Has those look again whose pods are on a node that fell silent, or is heard of again.
fn tell(
    reconciler: &Arc<Reconciler>,
    down: &BTreeSet<Arc<str>>,
    known: &BTreeSet<Arc<str>>,
    now: Moment,
) {
    for node in down.difference(known) {
        tracing::warn!(%node, "the Lease of the node is not renewed; its leaders hand over");
    }
    for node in known.difference(down) {
        tracing::info!(%node, "the node is heard of again, or none is");
    }
    reconciler.on_nodes(
        |nodes| {
            nodes.down.retain(|node, _| down.contains(node));
            for node in down {
                nodes.down.entry(Arc::clone(node)).or_insert(now);
            }
        },
        now.into(),
    );
}
