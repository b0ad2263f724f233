//! Leader elections that others wrote, as child processes: what `scripts/electors` builds.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};

use super::control::Server;
use super::test::Test;

/// Set by recipes that have built the electors before: one that is missing is a failure then.
const NEEDED: &str = "E2E_ELECTORS";
/// The exit status of `scripts/electors path` for what is not built.
const NOT_BUILT: i32 = 3;
/// For how long a Lease counts, when a renewal is given up, and between two attempts. Long enough for a
/// busy machine: an elector that loses its Lease by lack of processor time moves the leader.
const DURATION: Duration = Duration::from_secs(8);
const DEADLINE: Duration = Duration::from_secs(6);
const RETRY: Duration = Duration::from_secs(1);
/// Until another candidate has the Lease of one that ended without a word.
pub const TAKEN_OVER: Duration = Duration::from_secs(30);

/// Whose election it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// client-go's, by a program of ours, with or without `ReleaseOnCancel`.
    ClientGo {
        /// Whether a leader that is asked to end gives its Lease back.
        releases: bool,
    },
    /// That of `kube-controller-manager`, whose holder is `<host name>_<uuid>`.
    ControllerManager,
    /// That of the `kubernetes` package for Python.
    Python,
}

impl Kind {
    /// As `scripts/electors` calls it.
    const fn name(self) -> &'static str {
        match self {
            Self::ClientGo { .. } => "client-go",
            Self::ControllerManager => "kube-controller-manager",
            Self::Python => "python",
        }
    }
}

/// An election: what starts a candidate of it.
pub struct Election {
    kind: Kind,
    command: Vec<String>,
    kubeconfig: PathBuf,
    namespace: String,
    lease: &'static str,
    logs: PathBuf,
    server: Server,
}

impl Election {
    /// An election by a Lease of the scenario's namespace. None, and the scenario counts as skipped,
    /// when its program is not built on this machine.
    pub async fn of(t: &Test, kind: Kind, lease: &'static str) -> Result<Option<Self>> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/electors");
        let mut ask = Command::new(&script);
        ask.args(["path", kind.name()]);
        if t.suite.control.server == Server::Real {
            ask.arg(format!("--kubernetes=1.{}", t.suite.minor));
        }
        let told = ask.stdin(Stdio::null()).output().await;
        let told = told.with_context(|| script.display().to_string())?;
        let why = String::from_utf8_lossy(&told.stderr).trim().to_owned();
        match told.status.code() {
            Some(0) => {}
            Some(NOT_BUILT) if std::env::var_os(NEEDED).is_none() => {
                t.skip(why);
                return Ok(None);
            }
            _ => bail!("{}: {}: {why}", script.display(), told.status),
        }
        let command = String::from_utf8_lossy(&told.stdout);
        Ok(Some(Self {
            kind,
            command: command.lines().map(str::to_owned).collect(),
            kubeconfig: t.suite.control.kubeconfig(),
            namespace: t.ns.clone(),
            lease,
            logs: t.suite.logs.clone(),
            server: t.suite.control.server,
        }))
    }

    /// Starts a candidate for a pod.
    pub fn candidate(&self, pod: &str) -> Result<Elector> {
        let log = self.logs.join(format!("{}-{pod}.log", self.namespace));
        let printed = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log)?;
        let mut command = match self.kind {
            Kind::ControllerManager => self.controller_manager(pod),
            Kind::ClientGo { releases } => self.client_go(pod, releases),
            Kind::Python => self.python(pod),
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(printed.try_clone()?)
            .stderr(printed)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", self.kind.name()))?;
        let id = child.id().context("it ended at once")?;
        let pid = Pid::from_raw(id.try_into()?).context("no process id")?;
        Ok(Elector { child, pid, log })
    }

    fn program(&self) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        command
    }

    fn client_go(&self, pod: &str, releases: bool) -> Command {
        let mut command = self.program();
        command
            .arg(format!("-kubeconfig={}", self.kubeconfig.display()))
            .arg(format!("-lease={}/{}", self.namespace, self.lease))
            .arg(format!("-identity={pod}"))
            .arg(format!("-release={releases}"))
            .arg(format!("-json={}", self.server == Server::SimKube))
            .arg(format!("-duration={DURATION:?}"))
            .arg(format!("-deadline={DEADLINE:?}"))
            .arg(format!("-retry={RETRY:?}"));
        command
    }

    fn python(&self, pod: &str) -> Command {
        let mut command = self.program();
        command
            .arg(&self.kubeconfig)
            .arg(format!("{}/{}", self.namespace, self.lease))
            .arg(pod)
            .args([DURATION, DEADLINE, RETRY].map(|time| time.as_secs().to_string()));
        command
    }

    /// It takes the host name for its identity: it gets a namespace of host names of its own, in which the
    /// host has the pod's name. One controller that has nothing to do is all that it runs.
    fn controller_manager(&self, pod: &str) -> Command {
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command
            .args(["--uts", "sh", "-c", "hostname \"$0\" && exec \"$@\"", pod])
            .args(&self.command)
            .arg(format!("--kubeconfig={}", self.kubeconfig.display()))
            .args(["--secure-port=0", "--controllers=bootstrapsigner"])
            .arg("--leader-elect=true")
            .arg(format!(
                "--leader-elect-resource-namespace={}",
                self.namespace
            ))
            .arg(format!("--leader-elect-resource-name={}", self.lease))
            .arg(format!("--leader-elect-lease-duration={DURATION:?}"))
            .arg(format!("--leader-elect-renew-deadline={DEADLINE:?}"))
            .arg(format!("--leader-elect-retry-period={RETRY:?}"));
        command
    }
}

/// One candidate, running or ended.
pub struct Elector {
    child: Child,
    pid: Pid,
    log: PathBuf,
}

impl Elector {
    /// Sends a signal and waits for the end.
    pub async fn end(mut self, signal: Signal) -> Result<()> {
        rustix::process::kill_process(self.pid, signal).context("signal an elector")?;
        let ended = tokio::time::timeout(TAKEN_OVER, self.child.wait()).await;
        ended.with_context(|| format!("an elector still runs after {signal:?}"))??;
        Ok(())
    }

    /// Fails when it has ended by itself.
    pub fn runs(&mut self) -> Result<()> {
        let ended = self.child.try_wait()?;
        let printed = || std::fs::read_to_string(&self.log).unwrap_or_default();
        ensure!(
            ended.is_none(),
            "an elector ended ({ended:?}):\n{}",
            printed()
        );
        Ok(())
    }
}
