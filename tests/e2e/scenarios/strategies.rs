//! §3 `priority` and `node-spread`.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::harness::api::Kind::{Pod as PodKind, Slice};
use crate::harness::objects::{Pod, Svc, text};
use crate::harness::test::Test;
use crate::harness::waits::publishes;
use crate::scenarios;

scenarios! {
    Shared Both priority_by_label_and_annotation "§3 priority: an integer, higher first, then oldest";
    Own Both node_spread_over_services "§3 node-spread: the node that leads the fewest";
    Shared Both node_spread_needs_sticky "§1 node-spread with sticky false is InvalidAnnotation";
}

const PRIORITY: &str = "zen-lead.io/priority";

async fn priority_by_label_and_annotation(t: Arc<Test>) -> Result<()> {
    let pods = t.pods("web", 3).await?;
    let rank = |value: &str| json!({"metadata": {"annotations": {PRIORITY: value}}});
    t.merge(PodKind, "web-1", rank("5")).await?;
    let source = Svc::opted_in("web")
        .asks("strategy", "priority")
        .asks("sticky", "false");
    t.service(source).await?;
    t.leads("web-leader", &pods[1]).await?;
    // A label counts as well, and as a number: 10 is more than 5.
    let label = json!({"metadata": {"labels": {PRIORITY: "10"}}});
    t.merge(PodKind, "web-2", label).await?;
    t.leads("web-leader", &pods[2]).await?;
    t.event("web", "LeaderChanged", &["web-1 to web-2", "strategy"])
        .await?;
    // Sticky again: a higher one waits for its turn.
    t.ask("web", "sticky", None).await?;
    t.merge(PodKind, "web-0", rank("high")).await?;
    t.event(
        "web",
        "InvalidAnnotation",
        &["web-0", "\"high\"", "integer"],
    )
    .await?;
    t.merge(PodKind, "web-0", rank("99")).await?;
    t.canary().await?;
    let slice = t.exists(Slice, "web-leader").await?;
    ensure!(publishes(&slice, &pods[2]), "it was taken from its place");
    t.ready(&pods[2], false).await?;
    t.leads("web-leader", &pods[0]).await.map(drop)
}

async fn node_spread_over_services(t: Arc<Test>) -> Result<()> {
    const SERVICES: usize = 6;
    let _controller = t.controller(&[]).await?;
    let mut pods = Vec::new();
    for (number, node) in ["node-a", "node-b", "node-c"].into_iter().enumerate() {
        let pod = Pod::new(&format!("db-{number}"), "db").spec("nodeName", node.into());
        pods.push(t.pod(pod, true).await?);
    }
    for number in 0..SERVICES {
        let source = Svc::opted_in(&format!("db-{number}"))
            .spec("selector", json!({"app": "db"}))
            .asks("strategy", "node-spread");
        t.service(source).await?;
    }
    let mut leads = BTreeMap::<String, usize>::new();
    for number in 0..SERVICES {
        let slice = t
            .until(Slice, &format!("db-{number}-leader"), "a leader", |slice| {
                pods.iter().any(|pod| publishes(slice, pod))
            })
            .await?;
        *leads
            .entry(text(&slice, "/endpoints/0/nodeName").to_owned())
            .or_default() += 1;
    }
    ensure!(
        leads.values().eq([2, 2, 2].iter()),
        "leaders per node: {leads:?}"
    );
    // Those of a pod that fails are shared among the others.
    t.ready(&pods[0], false).await?;
    let mut leads = BTreeMap::<String, usize>::new();
    for number in 0..SERVICES {
        let slice = t
            .until(
                Slice,
                &format!("db-{number}-leader"),
                "another leader",
                |slice| pods[1..].iter().any(|pod| publishes(slice, pod)),
            )
            .await?;
        *leads
            .entry(text(&slice, "/endpoints/0/nodeName").to_owned())
            .or_default() += 1;
    }
    ensure!(
        leads.values().eq([3, 3].iter()),
        "leaders per node: {leads:?}"
    );
    Ok(())
}

async fn node_spread_needs_sticky(t: Arc<Test>) -> Result<()> {
    let source = Svc::opted_in("web")
        .asks("strategy", "node-spread")
        .asks("sticky", "false");
    t.served_as(source, "web", 2).await?;
    t.event(
        "web",
        "InvalidAnnotation",
        &["zen-lead.io/sticky", "node-spread"],
    )
    .await
    .map(drop)
}
