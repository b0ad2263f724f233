//! Nodes that are about to go, and nodes that fell silent; with the optional rights of
//! `manifests/optional/nodes.yaml`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::harness::api::Kind::Slice;
use crate::harness::api::Patch;
use crate::harness::manifests;
use crate::harness::objects::{Made, Pod, Svc, name_of, text};
use crate::harness::test::Test;
use crate::harness::waits::publishes;
use crate::scenarios;

scenarios! {
    Own Both cordoned_node_is_left "drains: --leave-cordoned-nodes, manifests/optional/nodes.yaml";
    Own Both silent_node_is_left "dead nodes: --node-lease-timeout, node death to slice moved";
}

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

/// Grants what the flags need, as the manifest says.
async fn grant(t: &Test) -> Result<()> {
    for object in manifests::objects("optional/nodes.yaml")? {
        let namespace = text(&object, "/metadata/namespace");
        let within = match namespace {
            "" => String::new(),
            namespace => format!("namespaces/{namespace}/"),
        };
        let kind = text(&object, "/kind").to_lowercase();
        let collection = format!("/apis/rbac.authorization.k8s.io/v1/{within}{kind}s");
        let ensured = t.suite.ensure(&collection, &object).await;
        ensured.with_context(|| format!("{kind} {}", name_of(&object)))?;
    }
    Ok(())
}

/// A node of this scenario alone, and a Ready pod of `web` on it.
async fn node_with_pod(t: &Test, number: usize) -> Result<(String, Made)> {
    let node = format!("{}-{number}", t.ns);
    let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}});
    t.api.create("/api/v1/nodes", &object).await?;
    let pod = Pod::new(&format!("web-{number}"), "web").spec("nodeName", node.clone().into());
    Ok((node, t.pod(pod, true).await?))
}

async fn cordoned_node_is_left(t: Arc<Test>) -> Result<()> {
    grant(&t).await?;
    let (first, one) = node_with_pod(&t, 0).await?;
    let (second, other) = node_with_pod(&t, 1).await?;
    t.service(Svc::opted_in("web")).await?;
    let _controller = t.controller(&["--leave-cordoned-nodes"]).await?;
    t.leads("web-leader", &one).await?;
    let cordon = |is: bool| json!({"spec": {"unschedulable": is}});
    let path = |node: &str| format!("/api/v1/nodes/{node}");
    let from = Instant::now();
    t.api
        .patch(&path(&first), Patch::Merge, &cordon(true))
        .await?;
    let seen = t.leads("web-leader", &other).await?;
    t.say(format!(
        "cordon to slice moved: {:.0?}, while the old leader serves",
        seen.saturating_duration_since(from)
    ));
    t.never_empty(&["web-leader"], from)?;
    t.event("web", "LeaderChanged", &["web-0 to web-1", "disrupted"])
        .await?;
    // It never flaps back, and two bad ones are no reason to move.
    t.api
        .patch(&path(&first), Patch::Merge, &cordon(false))
        .await?;
    t.api
        .patch(&path(&first), Patch::Merge, &cordon(true))
        .await?;
    t.api
        .patch(&path(&second), Patch::Merge, &cordon(true))
        .await?;
    t.canary().await?;
    let slice = t.exists(Slice, "web-leader").await?;
    ensure!(publishes(&slice, &other), "it flapped");
    Ok(())
}

async fn renew(t: &Test, node: &str) -> Result<()> {
    let now = jiff::Timestamp::now();
    let renewed = json!({"spec": {"renewTime": format!("{now:.6}")}});
    let path = format!("{LEASES}/{node}");
    t.api.patch(&path, Patch::Merge, &renewed).await?;
    Ok(())
}

async fn silent_node_is_left(t: Arc<Test>) -> Result<()> {
    /// As kubelets do.
    const INTERVAL: Duration = Duration::from_secs(10);
    grant(&t).await?;
    let mut nodes = Vec::new();
    let mut pods = Vec::new();
    for number in 0..3 {
        let (node, pod) = node_with_pod(&t, number).await?;
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": node},
            "spec": {"holderIdentity": node, "leaseDurationSeconds": 40},
        });
        t.api.create(LEASES, &lease).await?;
        nodes.push(node);
        pods.push(pod);
    }
    t.service(Svc::opted_in("web")).await?;
    let flags = [
        "--node-lease-timeout=20s",
        "--node-lease-max-stalled-percent=50",
    ];
    let _controller = t.controller(&flags).await?;
    t.leads("web-leader", &pods[0]).await?;
    for node in &nodes {
        renew(&t, node).await?;
    }
    // From here on the first node is dead, and no pod's status says so.
    let died = Instant::now();
    let others = async {
        loop {
            tokio::time::sleep(INTERVAL).await;
            for node in &nodes[1..] {
                renew(&t, node).await?;
            }
        }
    };
    let moved = t.leads_within("web-leader", &pods[1], Duration::from_secs(45));
    let seen = tokio::select! {
        seen = moved => seen?,
        failed = others => return failed,
    };
    let took = seen.saturating_duration_since(died);
    t.say(format!(
        "node death to slice moved: {took:.1?}; by the node controller alone 40 to 50 s"
    ));
    ensure!(took >= Duration::from_secs(19), "too soon: {took:.1?}");
    ensure!(took < Duration::from_secs(35), "too late: {took:.1?}");
    t.event("web", "LeaderChanged", &["web-0 to web-1", "notReady"])
        .await
        .map(drop)
}
