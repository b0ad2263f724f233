//! The real controller on a thread of its own, against the simulated cluster's port.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use zen_lead::config::{Config, Flags};
use zen_lead::jitter;
use zen_lead::logic::model::Key;
use zen_lead::metrics::Metrics;
use zen_lead::run::{Clients, Controller, Env};
use zen_lead::shell::clock::Clock;
use zen_lead::shell::reconciler::Reconciler;
use zen_lead::shell::serve::Readiness;
use zen_lead::shell::transport::{self, Tuning};

use super::news::What;
use super::{APP, NAMESPACE, Outlet};

/// Between two looks at the machine, for the view.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Starts it; it runs until the process ends.
pub(super) fn start(kubeconfig: PathBuf, clock: &Clock, outlet: &Outlet) -> anyhow::Result<()> {
    let (told, seen) = (outlet.clone(), clock.clone());
    super::on_thread("controller", outlet, clock, async move {
        // The environment is not asked: the demo behaves alike wherever it runs.
        let flags = Flags::parse([format!("--leader-election-namespace={NAMESPACE}")])
            .map_err(|exit| anyhow::anyhow!("{exit:?}"))?;
        let config = Arc::new(Config::resolve(&flags, |_| None)?);
        let api = transport::config(Some(&kubeconfig)).await?;
        let tuning = Tuning::default();
        let clients = Clients {
            watch: transport::client(api.clone(), &tuning)?,
            write: transport::client(api.clone(), &tuning)?,
            lease: transport::client(api.clone(), &tuning)?,
            follow: transport::client(api, &tuning)?,
        };
        let around = Env {
            clock: Clock::system(),
            jitter: jitter::from_entropy(),
            spawn: Arc::new(|task| tokio::spawn(task).abort_handle()),
        };
        let metrics = Arc::new(Metrics::new(config.per_service_histograms_max));
        let controller = Controller::new(config, clients, around, metrics);
        let (drive, readiness) = (controller.reconciler(), controller.readiness());
        tokio::select! {
            biased;
            ended = controller.run(std::future::pending()) => {
                ended.map_err(|part| anyhow::anyhow!("{part} ended"))
            }
            () = report(&drive, &readiness, &told, &seen) => Ok(()),
        }
    })
}

/// Tells of the machine's state whenever it is another one, for ever.
async fn report(drive: &Reconciler, readiness: &Readiness, outlet: &Outlet, clock: &Clock) {
    let source = Key::new(NAMESPACE, APP);
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    let (mut state, mut is_synced) = (String::new(), false);
    loop {
        ticks.tick().await;
        let debug = drive.debug(&source).unwrap_or_default();
        let now = debug["machine"]["state"].as_str().unwrap_or("Unmanaged");
        if now != state {
            now.clone_into(&mut state);
            super::tell(outlet, clock.moment(), What::State(state.clone()));
        }
        if !is_synced && readiness.check().is_ok() {
            is_synced = true;
            super::tell(outlet, clock.moment(), What::Synced);
        }
    }
}
