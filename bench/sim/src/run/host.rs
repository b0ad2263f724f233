//! A machine on which one replica of the controller lives, dies and lives again.

use std::sync::Arc;

use simkube::SimKube;
use zen_lead::config::{Config, Flags};
use zen_lead::logic::model::Key;

use crate::event::{NS, SOURCES};
use crate::plan::Plan;
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

fn config(name: &str, guard: Option<(u32, u32)>) -> Config {
    let (count, seconds) = guard.unwrap_or((0, 600));
    let flags = [
        "--leader-election-namespace=zl".to_owned(),
        format!("--failover-budget-per-service={count}"),
        format!("--failover-budget-window={seconds}s"),
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
            config: Arc::new(config(name, plan.world.guard)),
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
        let what = self.replica.as_mut()?.trouble()?;
        Some(format!("{}: {what}", self.name))
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
