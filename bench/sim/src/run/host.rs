//! A machine on which one replica of the controller lives, dies and lives again.

use std::sync::Arc;

use serde_json::Value;
use simkube::{Kind, SimKube};
use zen_lead::config::{Config, Flags};
use zen_lead::logic::model::Key;
use zen_lead::shell::lease::WritePermit;

use crate::event::{LEASE_NS, NS, SOURCES};
use crate::plan::{Plan, World};
use crate::replica::{Gate, Replica, Wall};

/// What the replicas are called, as holders of the Lease and as clients of the server.
pub(crate) const HOSTS: [&str; 3] = ["zl-0", "zl-1", "zl-2"];

/// A machine and what runs on it.
pub(super) struct Host {
    pub(super) name: &'static str,
    config: Arc<Config>,
    pub(super) wall: Wall,
    gate: Arc<Gate>,
    replica: Option<Replica>,
    lives: u64,
    seed: u64,
}

fn config(name: &str, world: &World) -> Config {
    let renewal_s = world.renewal_s;
    let budget = world.budget;
    let leases = world.node_leases;
    let (timeout_s, share_max) = leases.map_or((0, 30), |of| (of.timeout_s, of.share_max));
    let flags = [
        format!("--leader-election-namespace={LEASE_NS}"),
        format!("--failover-budget-per-service={}", budget.per_service),
        format!("--failover-budget-global={}", budget.global),
        format!("--failover-budget-window={}s", budget.window_s),
        format!("--leave-cordoned-nodes={}", world.leave_cordoned),
        format!("--node-lease-timeout={timeout_s}s"),
        format!("--node-lease-max-stalled-percent={share_max}"),
        format!("--retry-period={renewal_s}s"),
        format!("--renew-deadline={}s", 3 * renewal_s),
        format!("--lease-duration={}s", 4 * renewal_s),
    ];
    let flags = Flags::parse(flags).expect("good flags");
    let variable = |key: &str| (key == "POD_NAME").then(|| name.to_owned());
    Config::resolve(&flags, variable).expect("good flags")
}

impl Host {
    pub(super) fn new(number: u8, plan: &Plan, epoch: jiff::Timestamp) -> Self {
        let name = HOSTS[usize::from(number) % HOSTS.len()];
        Self {
            name,
            config: Arc::new(config(name, &plan.world)),
            wall: Wall::new(epoch),
            gate: Arc::new(Gate::new(number)),
            replica: None,
            lives: 0,
            seed: plan.seed.wrapping_add(u64::from(number) << 40),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.replica.is_some()
    }

    /// Whether a Lease names a life of this host's as its holder.
    pub(super) fn holds(&self, lease: &Value) -> bool {
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        holder.split('_').next() == Some(self.name)
    }

    /// Whether the controller may write at this moment.
    pub(super) fn is_active(&self) -> bool {
        let replica = self.replica.as_ref();
        replica.is_some_and(|replica| replica.tenure.is_active())
    }

    /// What the controller says about that on its page of metrics.
    pub(super) fn says_active(&self) -> bool {
        let replica = self.replica.as_ref();
        replica.is_some_and(|replica| replica.metrics.is_active())
    }

    /// The number of the present life.
    pub(super) fn life(&self) -> Option<u64> {
        self.is_up().then_some(self.lives)
    }

    /// Whether the watch of this kind has noticed that etcd was restored.
    pub(super) fn has_noticed(&self, kind: Kind) -> bool {
        let replica = self.replica.as_ref();
        replica.is_some_and(|replica| replica.has_noticed(kind.plural()))
    }

    /// For the judge to ask.
    pub(super) fn tenure(&self) -> Option<WritePermit> {
        Some(self.replica.as_ref()?.tenure.clone())
    }

    /// Starts the controller; says which life this is.
    pub(super) fn start(&mut self, kube: &SimKube) -> u64 {
        self.lives += 1;
        let seed = self.seed.wrapping_add(self.lives);
        let replica = Replica::start(kube, self.name, &self.config, &self.wall, &self.gate, seed);
        self.replica = Some(replica);
        self.lives
    }

    /// Holds the controller still, if it runs.
    pub(super) fn pause(&self) {
        self.gate.shut();
    }

    pub(super) fn resume(&self) {
        self.gate.open();
    }

    /// The controller is gone, between two requests or in one.
    pub(super) async fn crash(&mut self) {
        if let Some(replica) = self.replica.take() {
            replica.crash().await;
        }
        self.gate.open();
    }

    /// The controller is told to stop, and has two seconds.
    pub(super) async fn stop(&mut self) -> Result<(), String> {
        self.gate.open();
        match self.replica.take() {
            Some(replica) => replica.stop().await,
            None => Ok(()),
        }
    }

    /// Why the controller is not alive and well, if it is not.
    pub(super) fn trouble(&mut self) -> Option<String> {
        let what = if self.gate.spins() {
            Some("a task runs again and again, and waits for nothing".into())
        } else {
            self.replica.as_mut()?.trouble()
        };
        Some(format!("{}: {}", self.name, what?))
    }

    /// Makes the controller look at every source.
    pub(super) fn look_again(&self) {
        if let Some(replica) = &self.replica {
            replica.look_at(SOURCES.map(|name| Key::new(NS, name)));
        }
    }

    /// What the controller thinks of these sources.
    pub(super) fn machines(&self, sources: &[&str]) -> Vec<String> {
        let Some(replica) = &self.replica else {
            return Vec::new();
        };
        let sources = sources.iter();
        sources
            .filter_map(|name| replica.drive.debug(&Key::new(NS, *name)))
            .map(|machine| format!("{}: {machine:#}", self.name))
            .collect()
    }
}
