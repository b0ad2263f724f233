//! The rights and policies that users install: what is in `manifests/`, and nothing written twice.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::control::Server;
use super::objects::{name_of, text};
use super::suite::Suite;

/// Where the manifests put the program.
pub const NAMESPACE: &str = "zen-lead";
/// Its `ServiceAccount` there.
pub const ACCOUNT: &str = "zen-lead";

/// The first minor version of Kubernetes 1 that evaluates all that `policy.yaml` calls.
const POLICY_SINCE: u32 = 31;

/// The objects of a file, in its order.
pub fn objects(file: &str) -> Result<Vec<Value>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("manifests")
        .join(file);
    let yaml = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    serde_saphyr::from_multiple(&yaml).with_context(|| path.display().to_string())
}

/// The rules of a Role of the default installation.
fn rules_of(role: &str) -> Result<Vec<Value>> {
    let installed = objects("install.yaml")?;
    let found = installed
        .iter()
        .find(|object| text(object, "/kind") == "Role" && name_of(object) == role)
        .and_then(|role| role["rules"].as_array())
        .with_context(|| format!("install.yaml has no Role {role} with rules"))?;
    Ok(found.clone())
}

/// What the program may do in a namespace that it serves.
pub fn served() -> Result<Vec<Value>> {
    rules_of("zen-lead")
}

/// What it may do to its Lease.
pub fn lease() -> Result<Vec<Value>> {
    rules_of("zen-lead-lease")
}

/// The additional rights for the options that look at nodes, and for following Leases.
pub fn optional() -> Result<Vec<Value>> {
    let (nodes, follow) = (
        objects("optional/nodes.yaml")?,
        objects("optional/follow.yaml")?,
    );
    let rules = nodes
        .iter()
        .chain(&follow)
        .filter_map(|object| object["rules"].as_array());
    Ok(rules.flatten().cloned().collect())
}

impl Suite {
    /// Installs the account with its rights, everywhere; the Lease's rights as well, since the
    /// instances of scenarios have Leases in namespaces of their own.
    pub async fn grant(&self) -> Result<()> {
        const RBAC: &str = "rbac.authorization.k8s.io";
        for object in objects("install-cluster-wide.yaml")? {
            let collection = match text(&object, "/kind") {
                "Namespace" => "/api/v1/namespaces".to_owned(),
                "ServiceAccount" => format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts"),
                "ClusterRole" => format!("/apis/{RBAC}/v1/clusterroles"),
                "ClusterRoleBinding" => format!("/apis/{RBAC}/v1/clusterrolebindings"),
                // The rest is about pods, which do not run here.
                _ => continue,
            };
            self.ensure(&collection, &object).await?;
        }
        // simkube evaluates no admission policies, and older versions of Kubernetes cannot read it.
        if self.control.server == Server::Real && self.minor >= POLICY_SINCE {
            self.hold().await?;
        }
        let name = "zen-lead-e2e-lease";
        let role = json!({
            "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole",
            "metadata": {"name": name}, "rules": lease()?,
        });
        let binding = json!({
            "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}],
        });
        let roles = format!("/apis/{RBAC}/v1/clusterroles");
        self.ensure(&roles, &role).await?;
        let bindings = format!("/apis/{RBAC}/v1/clusterrolebindings");
        self.ensure(&bindings, &binding).await
    }

    /// Installs the policy that holds the account to its own objects.
    async fn hold(&self) -> Result<()> {
        for object in objects("policy/policy.yaml")? {
            let plural = match text(&object, "/kind") {
                "ValidatingAdmissionPolicy" => "validatingadmissionpolicies",
                "ValidatingAdmissionPolicyBinding" => "validatingadmissionpolicybindings",
                kind => bail!("policy.yaml holds a {kind}"),
            };
            let collection = format!("/apis/admissionregistration.k8s.io/v1/{plural}");
            self.ensure(&collection, &object).await?;
        }
        Ok(())
    }
}
