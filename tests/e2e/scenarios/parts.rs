//! A part of a leader Service that the API server refuses, or that a policy changes, holds up no other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use crate::harness::SHORT;
use crate::harness::api::Kind::Service;
use crate::harness::api::Patch;
use crate::harness::objects::{Made, text};
use crate::harness::test::Test;
use crate::harness::webhook::{self, Manner, Webhook};
use crate::scenarios;
use crate::scenarios::refused::{bites, has_port_names, rename_port};

scenarios! {
    Shared RealOnly("simkube has no quotas") quota_without_node_ports "§4 a refused field holds up nothing else" "§4 WriteRefused: quota";
    Shared RealOnly("simkube calls no webhooks") policy_that_makes_services_dual_stack "§4 a refused field holds up nothing else" "§2 identity annotations";
}

/// A renamed port and a new leader reach the leader Service and its slice.
async fn follows(t: &Test, from: &Made, to: &Made, port: &str) -> Result<()> {
    rename_port(t, port).await?;
    t.until(Service, "web-leader", "its port is renamed", |now| {
        text(now, "/spec/ports/0/name") == port
    })
    .await?;
    has_port_names(t, &[port]).await?;
    t.ready(from, false).await?;
    t.leads("web-leader", to).await?;
    t.identified("web-leader", to).await?;
    t.ready(from, true).await.map(drop)
}

async fn quota_without_node_ports(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    let quotas = format!("/api/v1/namespaces/{}/resourcequotas", t.ns);
    let hard = json!({"services.nodeports": "0"});
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "ports"}, "spec": {"hard": hard},
    });
    t.api.create(&quotas, &quota).await?;
    // As the controller of quotas would say it.
    let counted = json!({"status": {"hard": hard, "used": hard}});
    let status = format!("{quotas}/ports/status");
    t.api.patch(&status, Patch::Merge, &counted).await?;
    bites(&t, Service, json!({"spec": {"type": "NodePort"}}), true).await?;
    t.ask("web", "leader-service-type", Some("NodePort"))
        .await?;
    t.event("web", "WriteRefused", &["exceeded quota"]).await?;
    follows(&t, &pods[0], &pods[1], "http").await?;
    follows(&t, &pods[1], &pods[0], "sql").await?;
    let leader = t.get(Service, "web-leader").await?;
    ensure!(text(&leader, "/spec/type") == "ClusterIP", "{leader}");
    let told = t.event_objects("web", "WriteRefused");
    ensure!(told == 1, "told {told} times");
    t.api.delete(&format!("{quotas}/ports"), &json!({})).await?;
    let deadline = Instant::now() + Duration::from_mins(1);
    while text(&t.get(Service, "web-leader").await?, "/spec/type") != "NodePort" {
        ensure!(Instant::now() < deadline, "the type does not come");
        tokio::time::sleep(SHORT).await;
    }
    Ok(())
}

async fn policy_that_makes_services_dual_stack(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    let dual = json!([{"op": "add", "path": "/spec/ipFamilyPolicy", "value": "PreferDualStack"}]);
    let webhook = Webhook::start(Manner::Changes(dual)).await?;
    webhook.register_for_services(&t).await?;
    // The leader Service becomes dual-stack by the next write. Its source, which is not written, does
    // not, so that each further write of the leader Service is to undo it, in vain.
    for (from, to) in [(&pods[0], &pods[1]), (&pods[1], &pods[0])] {
        t.ready(from, false).await?;
        t.leads("web-leader", to).await?;
        t.identified("web-leader", to).await?;
        t.ready(from, true).await?;
        let leader = t.get(Service, "web-leader").await?;
        ensure!(
            text(&leader, "/spec/ipFamilyPolicy") == "PreferDualStack",
            "{leader}"
        );
    }
    let source = t.get(Service, "web").await?;
    ensure!(
        text(&source, "/spec/ipFamilyPolicy") == "SingleStack",
        "{source}"
    );
    t.event("web", "WriteRefused", &["422", "spec.ipFamilyPolicy"])
        .await?;
    follows(&t, &pods[0], &pods[1], "http").await?;
    follows(&t, &pods[1], &pods[0], "sql").await?;
    let path = format!("{}/{}", webhook::configurations("Mutating"), t.ns);
    t.api.delete(&path, &json!({})).await?;
    Ok(())
}
