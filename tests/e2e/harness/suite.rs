//! What all scenarios of a run share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::api::Api;
use super::audit::Audit;
use super::control::Control;
use super::controller::Controller;
use super::manifests;
use super::objects::text;

/// The user that the program runs as: the account of the manifests, with the rights that they grant.
pub const USER: &str = "system:serviceaccount:zen-lead:zen-lead";

/// One run of the suite.
pub struct Suite {
    /// The administrator's connection.
    pub api: Api,
    /// The control plane.
    pub control: Control,
    /// Kubeconfig of [`USER`].
    pub kubeconfig: PathBuf,
    /// Every request.
    pub audit: Audit,
    /// Where logs go.
    pub logs: PathBuf,
    /// Whether nothing was left out.
    pub is_whole: bool,
    /// The API server's version, as it says it.
    pub version: String,
    /// The minor part of it: 25 for v1.25.16.
    pub minor: u32,
    /// Tells namespaces of several runs on one control plane apart.
    pub run: String,
    addresses: AtomicU32,
}

/// The rights that the program needs in a namespace that it serves and has its Lease in.
pub fn rules() -> Result<Value> {
    Ok([manifests::served()?, manifests::lease()?].concat().into())
}

/// The version of an API server in full, and its minor part.
pub async fn version_of(api: &Api) -> Result<(String, u32)> {
    let told = api.get("/version").await?;
    let version = text(&told, "/gitVersion").to_owned();
    let minor = version.split('.').nth(1).and_then(|part| part.parse().ok());
    let minor = minor.with_context(|| format!("expected v1.MINOR.PATCH, /version says {told}"))?;
    Ok((version, minor))
}

impl Suite {
    /// Connects, and makes what every scenario builds on: rights and Nodes.
    pub async fn start(control: Control, is_whole: bool) -> Result<Arc<Self>> {
        let api = Api::connect(&control.kubeconfig()).await?;
        let (version, minor) = version_of(&api).await?;
        let logs = std::env::temp_dir().join(format!("zen-lead-e2e-{}", std::process::id()));
        std::fs::create_dir_all(&logs)?;
        let mut suite = Self {
            audit: Audit(control.audit_log()),
            api,
            control,
            kubeconfig: PathBuf::new(),
            logs,
            is_whole,
            version,
            minor,
            run: format!("{:x}", std::process::id()),
            addresses: AtomicU32::new(256),
        };
        suite.grant().await?;
        let (namespace, account) = (manifests::NAMESPACE, manifests::ACCOUNT);
        suite.kubeconfig = suite
            .control
            .kubeconfig_for_account(namespace, account)
            .await?;
        for node in ["node-a", "node-b", "node-c"] {
            let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}});
            suite.ensure("/api/v1/nodes", &node).await?;
        }
        Ok(Arc::new(suite))
    }

    /// Creates an object unless there is one.
    pub async fn ensure(&self, collection: &str, object: &Value) -> Result<()> {
        match self.api.create(collection, object).await {
            Err(why) if why.code != 409 => Err(why).context(collection.to_owned()),
            _ => Ok(()),
        }
    }

    /// An IPv4 address that no other pod of this run has.
    pub fn address(&self) -> String {
        let number = self.addresses.fetch_add(1, Ordering::Relaxed);
        let [_, b, c, d] = number.to_be_bytes();
        format!("10.{}.{c}.{d}", 128 + b)
    }

    /// Starts the program under test as [`USER`].
    pub fn controller(&self, name: &str, arguments: &[&str]) -> Result<Controller> {
        let log = self.logs.join(format!("{name}.log"));
        Controller::start(&self.kubeconfig, log, arguments)
    }
}
