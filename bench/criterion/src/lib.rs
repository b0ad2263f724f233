//! What the benches measure with: figures and their table, realistic pods, facts without a server,
//! the whole controller in one process, and child processes looked at from outside.
//!
//! A figure counts only beside its floor, measured in turns with it in the same run: on a shared
//! machine everything else is weather.

pub mod canned;
pub mod cluster;
pub mod figures;
pub mod fleet;
pub mod pods;
pub mod process;

use std::sync::Arc;

use zen_lead::config::{Config, Flags};
use zen_lead::metrics::Metrics;
use zen_lead::run::{Clients, Controller, Env};
use zen_lead::shell::clock::Clock;

/// The configuration that no flags at all make.
///
/// # Panics
/// Never: the defaults are good.
#[must_use]
pub fn config() -> Arc<Config> {
    let flags = ["--leader-election-namespace=zen-lead"];
    let flags = Flags::parse(flags.map(str::to_owned)).expect("good flags");
    Arc::new(Config::resolve(&flags, |_| None).expect("good defaults"))
}

/// The controller, as the released binary makes it but for its sockets.
#[must_use]
pub fn controller(clients: Clients) -> Controller {
    let config = config();
    let around = Env {
        clock: Clock::system(),
        jitter: zen_lead::jitter::from_seed(1),
        spawn: Arc::new(|task| tokio::spawn(task).abort_handle()),
    };
    let metrics = Arc::new(Metrics::new(config.per_service_histograms_max));
    Controller::new(config, clients, around, metrics)
}

/// A runtime like the released binary's: one thread, a clock that is never paused.
///
/// # Panics
/// When the system has no file descriptor left.
#[must_use]
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}
