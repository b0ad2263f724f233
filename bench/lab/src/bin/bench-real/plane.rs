//! The control plane of a run: `scripts/control-plane`, which ends with the run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::audit::{self, Request};

/// The user as whom the controller runs.
pub const USER: &str = "zen-lead-bench";

/// The native controller, at the pace of an API server that it has for itself.
const MANAGER: [&str; 4] = [
    "--controllers=endpointslice-controller,namespace-controller",
    "--controller-manager-arg=--kube-api-qps=1000",
    "--controller-manager-arg=--kube-api-burst=2000",
    "--controller-manager-arg=--concurrent-endpoint-syncs=5",
];

/// A running control plane.
pub struct Plane {
    program: PathBuf,
    dir: PathBuf,
}

impl Plane {
    /// Starts one: etcd without fsync, so that the floor is low and every ratio strict.
    pub fn up() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let plane = Self {
            program: root.join("scripts/control-plane"),
            dir: std::env::temp_dir().join(format!("zen-lead-cp-bench-{}", std::process::id())),
        };
        let mut arguments = vec!["up", "--fast", "--controller-manager", "--audit-log"];
        arguments.push("--apiserver-arg=--audit-log-maxsize=2000");
        arguments.extend(MANAGER);
        plane.run(&arguments)?;
        Ok(plane)
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.program)
            .arg(arguments[0])
            .arg("--dir")
            .arg(&self.dir)
            .args(&arguments[1..])
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("run {}", self.program.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "control-plane {arguments:?}: {said}"
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The process id of the API server.
    pub fn server(&self) -> Result<u32> {
        let path = self.dir.join("state.json");
        let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let state: Value = serde_json::from_slice(&text)?;
        let pid = state["processes"]["kube-apiserver"]["pid"].as_u64();
        let pid = pid.and_then(|pid| pid.try_into().ok());
        pid.with_context(|| format!("{}: no process of an API server", path.display()))
    }

    /// The kubeconfig of the administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// The kubeconfig of [`USER`], who has no rights yet.
    pub fn kubeconfig_of_user(&self) -> Result<PathBuf> {
        Ok(self.run(&["kubeconfig-for", "--user", USER])?.into())
    }

    /// Ends the native controller.
    pub fn stop_native(&self) -> Result<()> {
        self.run(&["stop-controller-manager"]).map(drop)
    }

    /// Starts it again.
    pub fn start_native(&self) -> Result<()> {
        let mut arguments = vec!["start-controller-manager"];
        arguments.extend(MANAGER);
        self.run(&arguments).map(drop)
    }

    /// How many bytes the audit log has by now.
    pub fn mark(&self) -> u64 {
        std::fs::metadata(self.audit()).map_or(0, |meta| meta.len())
    }

    /// Requests of [`USER`] answered since a mark, without watches and whatever is about Leases;
    /// only writes, or all.
    pub fn requests_since(&self, mark: u64, writes_only: bool) -> Result<usize> {
        let requests = self.answered_since(mark)?;
        let is_counted = |request: &&Request| {
            let is_read = matches!(&*request.verb, "get" | "list");
            request.user == USER
                && request.verb != "watch"
                && request.resource != "leases"
                && !(writes_only && is_read)
        };
        Ok(requests.iter().filter(is_counted).count())
    }

    /// All requests answered since a mark, in the order of their answers.
    pub fn answered_since(&self, mark: u64) -> Result<Vec<Request>> {
        audit::read(&self.audit(), mark)
    }

    fn audit(&self) -> PathBuf {
        self.dir.join("log/audit.log")
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        if let Err(why) = self.run(&["down"]) {
            eprintln!("bench-real: {why:#}");
        }
    }
}
