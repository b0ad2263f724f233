//! §3: leaders that terminate or are about to be evicted.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::harness::api::Kind::Slice;
use crate::harness::objects::{Pod, Svc, endpoints, status, target_uid};
use crate::harness::test::Test;
use crate::harness::waits::publishes;
use crate::scenarios;

scenarios! {
    Shared Both terminating_without_successor "§3 last resort: ready false, serving, terminating";
    Shared Both terminating_headless_stays_ready "§3 last resort, for Headless ready true";
    Shared Both terminating_is_never_elected "§3 eligible: not terminating" "Go failure 8";
    Shared Both disrupted_leader_is_left "§3 DisruptionTarget" "§3 disrupted";
    Shared Both disrupted_pod_is_second_choice "§3 DisruptionTarget is chosen only if no other";
}

fn conditions(slice: &Value) -> Value {
    slice["endpoints"][0]["conditions"].clone()
}

async fn terminating_without_successor(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 1).await?;
    let lost = t.delete_pod(&pods[0], 30).await?;
    let last_resort = json!({"ready": false, "serving": true, "terminating": true});
    t.until(Slice, "web-leader", "the last resort", |slice| {
        conditions(slice) == last_resort
    })
    .await?;
    t.never_empty(&["web-leader"], lost)?;
    let slice = t.exists(Slice, "web-leader").await?;
    ensure!(target_uid(&slice) == Some(pods[0].uid.as_str()));
    // An eligible pod appears: the leader is replaced while it still serves.
    let next = t.pod(Pod::new("web-1", "web"), true).await?;
    t.leads("web-leader", &next).await?;
    t.event("web", "LeaderChanged", &["web-0 to web-1", "terminating"])
        .await?;
    // The same again, until it stops serving.
    t.delete_pod(&next, 30).await?;
    t.until(Slice, "web-leader", "the last resort", |slice| {
        conditions(slice) == last_resort
    })
    .await?;
    t.ready(&next, false).await?;
    t.empties("web-leader").await?;
    t.reap(&next).await?;
    t.canary().await?;
    ensure!(endpoints(&*t.exists(Slice, "web-leader").await?).is_empty());
    Ok(())
}

async fn terminating_headless_stays_ready(t: Arc<Test>) -> Result<()> {
    let source = Svc::opted_in("web").asks("leader-service-type", "Headless");
    let pods = t.served_as(source, "web", 1).await?;
    t.delete_pod(&pods[0], 30).await?;
    let stays = json!({"ready": true, "serving": true, "terminating": true});
    t.until(Slice, "web-leader", "it stays in DNS", |slice| {
        conditions(slice) == stays
    })
    .await?;
    t.reap(&pods[0]).await?;
    t.empties("web-leader").await.map(drop)
}

async fn terminating_is_never_elected(t: Arc<Test>) -> Result<()> {
    let pods = t.pods("web", 2).await?;
    t.delete_pod(&pods[0], 30).await?;
    t.delete_pod(&pods[1], 30).await?;
    t.canary().await?;
    t.service(Svc::opted_in("web")).await?;
    t.empties("web-leader").await?;
    t.event("web", "NoReadyPods", &[]).await?;
    let next = t.pod(Pod::new("web-2", "web"), true).await?;
    t.leads("web-leader", &next).await?;
    let ever = t.history(Slice, "web-leader");
    let only = |pod: &str| {
        ever.iter()
            .all(|seen| target_uid(&seen.object).is_none_or(|u| u == pod))
    };
    ensure!(only(&next.uid), "a terminating pod was elected");
    Ok(())
}

async fn disrupted_leader_is_left(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    let lost = t
        .status(&pods[0], status("Running", &pods[0].ips, true, None, true))
        .await?;
    t.leads("web-leader", &pods[1]).await?;
    t.event("web", "LeaderChanged", &["web-0 to web-1", "disrupted"])
        .await?;
    t.never_empty(&["web-leader"], lost)?;
    // The eviction is called off: it is not returned to, not even when the other one stumbles.
    t.ready(&pods[0], true).await?;
    t.canary().await?;
    ensure!(publishes(&*t.exists(Slice, "web-leader").await?, &pods[1]));
    Ok(())
}

async fn disrupted_pod_is_second_choice(t: Arc<Test>) -> Result<()> {
    let pods = t.pods("web", 2).await?;
    t.status(&pods[0], status("Running", &pods[0].ips, true, None, true))
        .await?;
    // Seen before the Service is, or web-0 would lead, and be left for good.
    t.canary().await?;
    t.service(Svc::opted_in("web")).await?;
    t.leads("web-leader", &pods[1]).await?;
    // The other way round: no other pod is eligible, so it leads, and as it is.
    t.ready(&pods[1], false).await?;
    t.leads("web-leader", &pods[0]).await?;
    let ready = json!({"ready": true, "serving": true, "terminating": false});
    ensure!(conditions(&*t.exists(Slice, "web-leader").await?) == ready);
    // A disrupted leader is left the moment another pod is eligible.
    t.ready(&pods[1], true).await?;
    t.leads("web-leader", &pods[1]).await.map(drop)
}
