//! §1 `paused`: never another pod than the one published.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::harness::api::Kind::{Service, Slice};
use crate::harness::objects::Svc;
use crate::harness::test::Test;
use crate::harness::waits::publishes;
use crate::scenarios;

scenarios! {
    Shared Both paused_keeps_a_failing_leader "§1 paused: a leader that turns NotReady stays" "§1 the end of the pause decides at once";
    Shared Both paused_keeps_a_terminating_leader_until_it_is_gone "§1 paused: deleted is withdrawn" "§4 Paused";
    Shared Both paused_and_empty_stays_empty "§1 paused: an empty Service stays empty";
    Shared Both paused_obeys_its_owner "§1 paused: renames, port edits, opt-out act as ever";
    Shared Both paused_by_a_typo "§1 paused: an invalid value counts as true";
    Own Both paused_over_a_restart "§1 paused";
}

async fn paused_keeps_a_failing_leader(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    t.ask("web", "paused", Some("true")).await?;
    t.canary().await?;
    let before = t.exists(Slice, "web-leader").await?;
    let from = t.ready(&pods[0], false).await?;
    t.ask("web", "preferred-leader", Some("web-1")).await?;
    t.canary().await?;
    t.untouched(Slice, &before)?;
    t.ask("web", "paused", Some("false")).await?;
    t.leads("web-leader", &pods[1]).await?;
    t.never_empty(&["web-leader"], from)?;
    t.event("web", "LeaderChanged", &["web-0 to web-1"])
        .await
        .map(drop)
}

async fn paused_keeps_a_terminating_leader_until_it_is_gone(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    t.ask("web", "paused", Some("true")).await?;
    t.canary().await?;
    t.delete_pod(&pods[0], 30).await?;
    let last_resort = json!({"ready": false, "serving": true, "terminating": true});
    t.until(Slice, "web-leader", "the last resort", |slice| {
        slice["endpoints"][0]["conditions"] == last_resort
    })
    .await?;
    t.ready(&pods[0], false).await?;
    t.until(Slice, "web-leader", "it serves no more", |slice| {
        slice["endpoints"][0]["conditions"]["serving"] == false
    })
    .await?;
    t.reap(&pods[0]).await?;
    t.empties("web-leader").await?;
    t.event("web", "Paused", &["until the pause ends"]).await?;
    t.ask("web", "paused", None).await?;
    t.leads("web-leader", &pods[1]).await.map(drop)
}

async fn paused_and_empty_stays_empty(t: Arc<Test>) -> Result<()> {
    let pods = t.pods("web", 2).await?;
    t.service(Svc::opted_in("web").asks("paused", "true"))
        .await?;
    t.empties("web-leader").await?;
    t.event("web", "Paused", &["web-leader"]).await?;
    t.canary().await?;
    t.empties("web-leader").await?;
    t.ask("web", "paused", Some("false")).await?;
    t.leads("web-leader", &pods[0]).await?;
    // A leader without an address goes at once, paused or not.
    t.ask("web", "paused", Some("true")).await?;
    t.canary().await?;
    let mut bare = crate::harness::objects::status("Running", &[], true, None, false);
    bare["status"]["podIP"] = serde_json::Value::Null;
    t.status(&pods[0], bare).await?;
    t.empties("web-leader").await?;
    t.ask("web", "paused", None).await?;
    t.leads("web-leader", &pods[1]).await.map(drop)
}

async fn paused_obeys_its_owner(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    t.ask("web", "paused", Some("true")).await?;
    // Services and pods are watched apart: the pause has to be seen first.
    t.canary().await?;
    t.ready(&pods[0], false).await?;
    t.canary().await?;
    let ports = json!([{"name": "main", "port": 81, "targetPort": 8081, "protocol": "TCP"}]);
    t.merge(Service, "web", json!({"spec": {"ports": ports}}))
        .await?;
    t.until(Slice, "web-leader", "the new port", |slice| {
        slice["ports"][0]["port"] == 8081 && publishes(slice, &pods[0])
    })
    .await?;
    t.ask("web", "leader-service-name", Some("main")).await?;
    t.leads("main", &pods[0]).await?;
    t.gone(Service, "web-leader").await?;
    t.ask("web", "enabled", None).await?;
    t.withdrawn("main").await
}

async fn paused_by_a_typo(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    t.ask("web", "paused", Some("on")).await?;
    t.event(
        "web",
        "InvalidAnnotation",
        &["zen-lead.io/paused", "\"on\""],
    )
    .await?;
    let before = t.exists(Slice, "web-leader").await?;
    t.ready(&pods[0], false).await?;
    t.canary().await?;
    t.untouched(Slice, &before)
}

async fn paused_over_a_restart(t: Arc<Test>) -> Result<()> {
    let mut controller = t.controller(&[]).await?;
    let pods = t.served("web", 2).await?;
    t.ask("web", "paused", Some("true")).await?;
    controller.stop().await?;
    t.ready(&pods[0], false).await?;
    let before = t.exists(Slice, "web-leader").await?;
    let _again = t.controller(&[]).await?;
    t.canary().await?;
    t.untouched(Slice, &before)?;
    t.ask("web", "paused", None).await?;
    t.leads("web-leader", &pods[1]).await?;
    let writes = t.writes().await?;
    ensure!(!writes.is_empty(), "the audit log has them");
    Ok(())
}
