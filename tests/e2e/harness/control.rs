//! The control plane: `scripts/control-plane`, simkube, or any program with the same sub-commands.
//!
//! `up` prints a kubeconfig; `kubeconfig-for` with `--user NAME` or `--serviceaccount NS/NAME` prints
//! another; `kill-apiserver`, `start-apiserver`, `pause`, `resume`, `compact`,
//! `start-controller-manager`, `stop-controller-manager` and `down` do as they say. The audit log of
//! the API server is read where it exists.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use super::runner::Asked;

/// The controllers that run from the start. No garbage collector: the program has to do without.
const CONTROLLERS: &str =
    "endpointslice-controller,endpointslice-mirroring-controller,namespace-controller";

/// A restarted manager looks at everything there is, thousands of objects that other scenarios
/// left; at its usual 20 requests a second that takes minutes.
const QUICK: [&str; 2] = [
    "--controller-manager-arg=--kube-api-qps=1000",
    "--controller-manager-arg=--kube-api-burst=2000",
];

/// The first argument by which this very program becomes simkube's.
pub const AS_SIMKUBE: &str = "--as-simkube";

/// What the scenarios run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// Kubernetes itself.
    Real,
    /// The simulated API server of this workspace, as a process of its own.
    SimKube,
}

impl Server {
    /// As `E2E_SERVER` says: `real`, which is the default, or `simkube`.
    pub fn chosen() -> Result<Self> {
        match std::env::var("E2E_SERVER").as_deref() {
            Err(_) | Ok("" | "real") => Ok(Self::Real),
            Ok("simkube") => Ok(Self::SimKube),
            Ok(other) => bail!("E2E_SERVER={other}: expected real or simkube"),
        }
    }
}

/// One control plane, and how to command it.
pub struct Control {
    program: PathBuf,
    /// Arguments that come before the sub-command.
    prefix: &'static [&'static str],
    dir: PathBuf,
    is_ours: bool,
    /// What it is.
    pub server: Server,
    /// The feature gates that it was started with.
    pub gates: String,
    /// The minor versions of Kubernetes that it is to be upgraded through.
    pub upgrade: Vec<String>,
}

impl Control {
    /// Starts a control plane, or takes the running one that `E2E_CONTROL_DIR` names.
    pub async fn up(server: Server, asked: &Asked) -> Result<Self> {
        let (program, prefix) = program(server)?;
        if let Some(dir) = std::env::var_os("E2E_CONTROL_DIR") {
            return Ok(Self {
                program,
                prefix,
                dir: dir.into(),
                is_ours: false,
                server,
                gates: String::new(),
                upgrade: Vec::new(),
            });
        }
        let dir = std::env::temp_dir().join(format!("zen-lead-cp-e2e-{}", std::process::id()));
        let control = Self {
            program,
            prefix,
            dir,
            is_ours: true,
            server,
            gates: asked.gates.clone().unwrap_or_default(),
            upgrade: asked.upgrade.clone(),
        };
        let mut arguments = vec![
            "up",
            "--fast",
            "--controller-manager",
            "--controllers",
            CONTROLLERS,
            "--admission-plugins",
            "OwnerReferencesPermissionEnforcement",
            "--audit-log",
            "--apiserver-arg=--audit-log-maxsize=2000",
        ];
        arguments.extend(QUICK);
        if server == Server::Real {
            // simkube adds a request to the log before a watch shows what it changed.
            arguments.push("--audit-received");
        }
        if let Some(gates) = &asked.gates {
            arguments.extend(["--feature-gates", gates]);
        }
        if let Some(minor) = &asked.kubernetes {
            arguments.extend(["--kubernetes", minor]);
        }
        control.run(&arguments).await?;
        Ok(control)
    }

    /// Performs a sub-command; its output, trimmed.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.program)
            .args(self.prefix)
            .arg(arguments[0])
            .arg("--dir")
            .arg(&self.dir)
            .args(&arguments[1..])
            .stdin(Stdio::null())
            .output()
            .await
            .with_context(|| format!("run {}", self.program.display()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("control-plane {arguments:?}: {}\n{said}", output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The kubeconfig of the administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// Ends the controller manager.
    pub async fn stop_controllers(&self) -> Result<()> {
        self.run(&["stop-controller-manager"]).await.map(drop)
    }

    /// Starts it again, with `more` controllers beside the usual ones (",a,b").
    pub async fn start_controllers(&self, more: &str) -> Result<()> {
        let list = format!("{CONTROLLERS}{more}");
        let mut arguments = vec!["start-controller-manager", "--controllers", &list];
        arguments.extend(QUICK);
        self.run(&arguments).await.map(drop)
    }

    /// A kubeconfig for another user, who has no rights yet.
    pub async fn kubeconfig_for(&self, user: &str) -> Result<PathBuf> {
        Ok(self.run(&["kubeconfig-for", "--user", user]).await?.into())
    }

    /// A kubeconfig with a token of a `ServiceAccount`.
    pub async fn kubeconfig_for_account(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let account = format!("{namespace}/{name}");
        let arguments = ["kubeconfig-for", "--serviceaccount", &account];
        Ok(self.run(&arguments).await?.into())
    }

    /// Where the API server writes down every request.
    pub fn audit_log(&self) -> PathBuf {
        self.dir.join("log/audit.log")
    }

    /// Ends it, if it was started here; with `E2E_KEEP` it stays.
    pub async fn down(&self) -> Result<()> {
        if !self.is_ours {
            return Ok(());
        }
        if std::env::var_os("E2E_KEEP").is_some() {
            println!("kept: KUBECONFIG={}", self.kubeconfig().display());
            println!(
                "end it with: {} {} down --dir {}",
                self.program.display(),
                self.prefix.join(" "),
                self.dir.display()
            );
            return Ok(());
        }
        self.run(&["down"]).await.map(drop)
    }
}

/// What performs the sub-commands, and with which arguments before them.
fn program(server: Server) -> Result<(PathBuf, &'static [&'static str])> {
    if let Some(given) = std::env::var_os("E2E_CONTROL") {
        return Ok((given.into(), &[]));
    }
    match server {
        Server::Real => {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/control-plane");
            Ok((script, &[]))
        }
        Server::SimKube => Ok((std::env::current_exe()?, &[AS_SIMKUBE])),
    }
}
