//! Admission webhooks that are slow, hang, are down, or change what is written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use crate::harness::api::Kind::Service;
use crate::harness::objects::{Svc, text};
use crate::harness::test::Test;
use crate::harness::webhook::{self, Manner, Webhook};
use crate::scenarios;

scenarios! {
    Shared RealOnly("simkube calls no webhooks") slow_webhook "§4 WriteRefused: what is slow" "lands as late as the webhook";
    Shared RealOnly("simkube calls no webhooks") hanging_webhook_that_is_ignored "lands as late as the webhook's time-out";
    Shared RealOnly("simkube calls no webhooks") webhook_that_is_down "§4 WriteRefused: a 5xx";
    Shared RealOnly("simkube calls no webhooks") webhook_that_changes_a_value "§1 the same field reverted";
}

/// A failover while the webhook is in force; how long it took.
async fn fails_over(t: &Test, manner: Manner, within: Duration) -> Result<Duration> {
    let pods = t.served("web", 2).await?;
    let webhook = Webhook::start(manner).await?;
    webhook.register(t, "Validating", "Ignore").await?;
    let from = Instant::now();
    t.ready(&pods[0], false).await?;
    let told = [
        "No answer within 5s",
        "EndpointSlice web-leader",
        "admission webhook",
    ];
    let event = t.event("web", "WriteRefused", &told).await?;
    ensure!(text(&event, "/type") == "Warning");
    let landed = t.leads_within("web-leader", &pods[1], within).await?;
    let took = landed.duration_since(from);
    t.say(format!("landed after {took:.1?}"));
    Ok(took)
}

async fn slow_webhook(t: Arc<Test>) -> Result<()> {
    let slow = Manner::Allows(Duration::from_secs(6));
    let took = fails_over(&t, slow, Duration::from_secs(12)).await?;
    let bounds = Duration::from_millis(5_900)..Duration::from_secs(9);
    ensure!(bounds.contains(&took), "landed after {took:?}");
    Ok(())
}

async fn hanging_webhook_that_is_ignored(t: Arc<Test>) -> Result<()> {
    let took = fails_over(&t, Manner::Hangs, Duration::from_secs(15)).await?;
    let bounds = Duration::from_millis(9_900)..Duration::from_secs(13);
    ensure!(bounds.contains(&took), "landed after {took:?}");
    Ok(())
}

async fn webhook_that_is_down(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    let webhook = Webhook::start(Manner::Allows(Duration::ZERO)).await?;
    webhook.register(&t, "Validating", "Fail").await?;
    drop(webhook);
    t.ready(&pods[0], false).await?;
    t.event("web", "WriteRefused", &["failed calling webhook"])
        .await?;
    let path = format!("{}/{}", webhook::configurations("Validating"), t.ns);
    t.api.delete(&path, &json!({})).await?;
    t.leads_within("web-leader", &pods[1], Duration::from_secs(40))
        .await
        .map(drop)
}

async fn webhook_that_changes_a_value(t: Arc<Test>) -> Result<()> {
    let source = Svc::opted_in("web").label("colour", "green");
    t.served_as(source, "web", 2).await?;
    let red = json!([{"op": "add", "path": "/metadata/labels/colour", "value": "red"}]);
    let webhook = Webhook::start(Manner::Changes(red)).await?;
    webhook.register(&t, "Mutating", "Fail").await?;
    t.merge(
        Service,
        "web",
        json!({"metadata": {"labels": {"colour": "blue"}}}),
    )
    .await?;
    let told = [
        "/metadata/labels/colour",
        "admission policy or webhook changes it",
    ];
    t.event("web", "WriteRefused", &told).await?;
    ensure!(t.count_events("web", "WriteRefused") == 1);
    Ok(())
}
