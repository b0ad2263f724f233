//! The process: a command, or the controller with its flags, logs, connections, signals, exit code.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use zen_lead::cli::{self, Typed};
use zen_lead::config::Config;
use zen_lead::metrics::Metrics;
use zen_lead::run::{Clients, Controller, Env};
use zen_lead::shell::api;
use zen_lead::shell::clock::Clock;
use zen_lead::shell::serve::{self, Handlers, Listeners};
use zen_lead::shell::transport::{self, Tuning};
use zen_lead::{jitter, logs};

#[cfg(feature = "experimental")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let (program, words) = words
        .split_first()
        .map_or(("", &[][..]), |(first, rest)| (first, rest));
    match cli::read(program, words) {
        Typed::Controller => control_process(),
        typed => cli::run(typed),
    }
}

/// Runs the controller until it is told to stop.
fn control_process() -> ExitCode {
    let config = match Config::of_process(transport::namespace) {
        Ok(config) => config,
        Err(exit) => return exit.report(),
    };
    logs::init(config.log_format, &config.log_level);
    // One thread for everything that moves traffic: no lock is ever contended, no task changes
    // threads. What people look at is served by a thread of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime
        .context("cannot start")
        .and_then(|runtime| runtime.block_on(control(Arc::new(config))))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // Libraries differ in whether an error repeats its cause; it is said once.
            tracing::error!("{}", api::chain(&*why));
            ExitCode::FAILURE
        }
    }
}

async fn control(config: Arc<Config>) -> anyhow::Result<()> {
    config
        .notices
        .iter()
        .for_each(|notice| tracing::warn!("{notice}"));
    let listeners = Listeners::bind(config.metrics, config.probes, config.debug)?;
    let api = transport::config(config.kubeconfig.as_deref()).await?;
    // Before anything shows that we run: a process that sees it may stop us, and that is no crash. Not
    // before the credentials: a program that fetches them may hang, and a signal ends that.
    let told_to_stop = told_to_stop()?;
    tracing::info!(server = %api.cluster_url, version = env!("CARGO_PKG_VERSION"), "zen-lead starts");
    let tuning = Tuning::default();
    let clients = Clients {
        watch: transport::watching(api.clone(), &tuning, config.namespaces.len())?,
        write: transport::client(api.clone(), &tuning)?,
        lease: transport::client(api.clone(), &tuning)?,
        follow: transport::watching(api, &tuning, config.namespaces.len())?,
    };
    let clock = Clock::system();
    let metrics = Arc::new(Metrics::new(config.per_service_histograms_max));
    let around = Env {
        clock: clock.clone(),
        jitter: jitter::from_entropy(),
        spawn: Arc::new(|task| tokio::spawn(task).abort_handle()),
    };
    let controller = Controller::new(Arc::clone(&config), clients, around, Arc::clone(&metrics));
    let reconciler = controller.reconciler();
    let handlers = Handlers {
        metrics,
        health: controller.health(),
        readiness: controller.readiness(),
        board: controller.board(),
        explain: Arc::new(move |service| reconciler.debug(service)),
        clock: Arc::new(move || clock.now()),
        collection_timeout: config.collection_timeout,
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = serve::spawn(listeners, handlers, async move { drop(stopped.await) })?;

    let outcome = controller
        .run(async move {
            told_to_stop.await;
            tracing::info!("stopping; leader routing stays as it is");
        })
        .await;
    drop(stop);
    // It ends within a second; what it serves until then is still true.
    let _ = served.join();
    outcome.map_err(|part| anyhow::anyhow!("{part} ended, which it never should"))
}

/// Ends with the first SIGTERM or SIGINT from now on.
fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
