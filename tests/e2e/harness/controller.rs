//! The program under test as a child process.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};

use super::scrape::{self, Metrics};
use super::{SHORT, SOON};

/// What to run: `E2E_BINARY`, or the one that cargo just built.
pub fn binary() -> PathBuf {
    std::env::var_os("E2E_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_zen-lead").into(), PathBuf::from)
}

/// Ports that were free a moment ago, all of them different: they are held at the same time.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// A running (or ended) zen-lead.
pub struct Controller {
    child: Child,
    pid: Pid,
    /// Of `/metrics`.
    pub metrics_port: u16,
    /// Of `/healthz` and `/readyz`.
    pub probes_port: u16,
    /// Of `/debug/state`.
    pub debug_port: u16,
    /// Everything it printed.
    pub log: PathBuf,
}

impl Controller {
    /// Starts it as the user of a kubeconfig. Does not wait for anything.
    pub fn start(kubeconfig: &Path, log: PathBuf, arguments: &[&str]) -> Result<Self> {
        Self::start_in(kubeconfig, log, arguments, &[])
    }

    /// The same with variables.
    pub fn start_in(
        kubeconfig: &Path,
        log: PathBuf,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        let [metrics_port, probes_port, debug_port] = free_ports()?;
        let printed = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log)?;
        let level = std::env::var("E2E_LOG").unwrap_or_else(|_| "info".into());
        let encoding = std::env::var("E2E_WATCH_ENCODING").ok();
        let child = Command::new(binary())
            .env_clear()
            .env("KUBECONFIG", kubeconfig)
            .env("RUST_BACKTRACE", "1")
            .envs(encoding.map(|encoding| ("ZEN_LEAD_WATCH_ENCODING", encoding)))
            .envs(variables.iter().copied())
            .arg(format!("--metrics-bind-address=127.0.0.1:{metrics_port}"))
            .arg(format!(
                "--health-probe-bind-address=127.0.0.1:{probes_port}"
            ))
            .arg(format!("--debug-bind-address=127.0.0.1:{debug_port}"))
            .args(["--log-format", "json", "--log-level", &level])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(printed.try_clone()?)
            .stderr(printed)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", binary().display()))?;
        let id = child.id().context("it ended at once")?;
        let pid = Pid::from_raw(id.try_into()?).context("no process id")?;
        Ok(Self {
            child,
            pid,
            metrics_port,
            probes_port,
            debug_port,
            log,
        })
    }

    /// Waits until `/readyz` says so.
    pub async fn ready(&mut self) -> Result<Instant> {
        let deadline = Instant::now() + SOON;
        loop {
            if let Ok((200, _)) = scrape::get(self.probes_port, "/readyz").await {
                return Ok(Instant::now());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("zen-lead ended: {status}");
            }
            ensure!(
                Instant::now() < deadline,
                "/readyz is not 200 within {SOON:?}"
            );
            tokio::time::sleep(SHORT).await;
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        rustix::process::kill_process(self.pid, signal).context("signal zen-lead")
    }

    /// Waits for its end.
    pub async fn ended(&mut self, within: Duration) -> Result<ExitStatus> {
        let waited = tokio::time::timeout(within, self.child.wait()).await;
        Ok(waited.with_context(|| format!("zen-lead still runs after {within:?}"))??)
    }

    /// SIGTERM, and the end that is promised within two seconds.
    pub async fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let status = self.ended(SOON).await?;
        ensure!(status.success(), "zen-lead ended on SIGTERM with {status}");
        Ok(())
    }

    /// SIGKILL.
    pub async fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.ended(SOON).await.map(drop)
    }

    /// A scrape.
    pub async fn metrics(&self) -> Result<Metrics> {
        let (code, page) = scrape::get(self.metrics_port, "/metrics").await?;
        ensure!(code == 200, "/metrics says {code}");
        Ok(Metrics::parse(&page))
    }

    /// Everything it printed so far.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}
