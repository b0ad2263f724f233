//! §3a: following the application's own leader, by a label.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::harness::api::Kind::{self, Slice};
use crate::harness::objects::{Made, Pod, Svc, annotation};
use crate::harness::test::Test;
use crate::harness::waits::publishes;
use crate::harness::{SHORT, SOON};
use crate::scenarios;

scenarios! {
    Shared Both follow_a_label_that_moves "§3a an eligible pod: one PATCH, never empty" "§3 reason followed";
    Shared Both follow_a_label_with_a_gap "§3a a label that moves within the delay is one PATCH";
    Shared Both follow_no_label "§3a no pod is named" "§3 reason unnamed" "§4 NoLeaderToFollow";
    Shared Both follow_a_pod_that_is_not_ready "§3a a pod that is not eligible";
    Shared Both follow_two_labels "§3a two pods are named" "§4 AmbiguousLeader";
    Shared Both follow_moves_nothing_by_itself "§3a adding and removing the annotation";
    Shared Both follow_keeps_its_last_value "§1 follow: a typo";
    Shared Both follow_overrules_users "§3a preferred-leader, a pause and hand edits";
    Own Both follow_survives_a_restart "§3a a restart writes nothing" "§5 zen_lead_follow_state";
}

const LEADER: &str = "web-leader";
const FOLLOW: &str = "label/role=primary";

/// Sets the label on a pod, or removes it.
async fn role(t: &Test, pod: &Made, is: bool) -> Result<()> {
    let value = is.then_some("primary");
    let change = json!({"metadata": {"labels": {"role": value}}});
    t.merge(Kind::Pod, &pod.name, change).await.map(drop)
}

/// Three Ready pods and a Service that follows a label. The first pod has the label.
async fn followed(t: &Test, delay: Option<&str>) -> Result<Vec<Made>> {
    let pods = t.pods("web", 3).await?;
    role(t, &pods[0], true).await?;
    let mut source = Svc::opted_in("web").asks("follow", FOLLOW);
    if let Some(delay) = delay {
        source = source.asks("failover-min-delay", delay);
    }
    t.service(source).await?;
    t.leads(LEADER, &pods[0]).await?;
    t.identified(LEADER, &pods[0]).await?;
    Ok(pods)
}

async fn still_leads(t: &Test, pod: &Made) -> Result<()> {
    t.canary().await?;
    let slice = t.exists(Slice, LEADER).await?;
    ensure!(publishes(&slice, pod), "{} leads no more", pod.name);
    Ok(())
}

async fn follow_a_label_that_moves(t: Arc<Test>) -> Result<()> {
    let pods = followed(&t, None).await?;
    let slice = t.exists(Slice, LEADER).await?;
    let recorded = annotation(&slice, "zen-lead.io/leader-named-by");
    ensure!(recorded == Some(FOLLOW), "{recorded:?}");
    let (before, from) = (t.history(Slice, LEADER).len(), Instant::now());
    role(&t, &pods[1], true).await?;
    t.leads(LEADER, &pods[1]).await?;
    role(&t, &pods[0], false).await?;
    t.identified(LEADER, &pods[1]).await?;
    still_leads(&t, &pods[1]).await?;
    t.never_empty(&[LEADER], from)?;
    let writes = t.history(Slice, LEADER).len() - before;
    ensure!(writes == 1, "{writes} writes of the slice for one move");
    let words = &["web-0 to web-1", "followed"];
    t.event("web", "LeaderChanged", words).await.map(drop)
}

async fn follow_a_label_with_a_gap(t: Arc<Test>) -> Result<()> {
    let pods = followed(&t, Some("60s")).await?;
    let (before, from) = (t.history(Slice, LEADER).len(), Instant::now());
    role(&t, &pods[0], false).await?;
    still_leads(&t, &pods[0]).await?;
    role(&t, &pods[2], true).await?;
    t.leads(LEADER, &pods[2]).await?;
    t.never_empty(&[LEADER], from)?;
    let writes = t.history(Slice, LEADER).len() - before;
    ensure!(writes == 1, "{writes} writes of the slice for one move");
    Ok(())
}

async fn follow_no_label(t: Arc<Test>) -> Result<()> {
    let pods = followed(&t, None).await?;
    role(&t, &pods[0], false).await?;
    t.empties(LEADER).await?;
    let words = &["web-0", "unnamed", "No pod of the Service has the label"];
    t.event("web", "NoLeaderToFollow", words).await?;
    t.canary().await?;
    role(&t, &pods[2], true).await?;
    t.leads(LEADER, &pods[2]).await?;
    // A pod that is gone is withdrawn without a delay, and no other pod is elected.
    t.delete_pod(&pods[2], 0).await?;
    t.empties(LEADER).await?;
    t.event("web", "NoLeaderToFollow", &["web-2", "deleted"])
        .await?;
    t.canary().await?;
    let slice = t.exists(Slice, LEADER).await?;
    ensure!(!publishes(&slice, &pods[0]) && !publishes(&slice, &pods[1]));
    Ok(())
}

async fn follow_a_pod_that_is_not_ready(t: Arc<Test>) -> Result<()> {
    let pods = followed(&t, None).await?;
    t.ready(&pods[0], false).await?;
    t.empties(LEADER).await?;
    t.event("web", "NoReadyPods", &["web-0", "noneReady"])
        .await?;
    t.ready(&pods[0], true).await?;
    t.leads(LEADER, &pods[0]).await?;
    // Another pod is published than the one that is named.
    t.ready(&pods[1], false).await?;
    role(&t, &pods[1], true).await?;
    t.empties(LEADER).await?;
    t.event("web", "NoReadyPods", &["web-0", "unnamed"]).await?;
    t.ready(&pods[1], true).await?;
    t.leads(LEADER, &pods[1]).await?;
    // The last resort, until it is gone.
    let at = Instant::now();
    t.delete_pod(&pods[1], 30).await?;
    t.until(Slice, LEADER, "a terminating leader", |slice| {
        slice["endpoints"][0]["conditions"]["terminating"] == true
    })
    .await?;
    t.canary().await?;
    t.never_empty(&[LEADER], at)?;
    t.reap(&pods[1]).await?;
    // The label of the first pod is still there, and now it is the only one.
    t.leads(LEADER, &pods[0]).await.map(drop)
}

async fn follow_two_labels(t: Arc<Test>) -> Result<()> {
    let pods = followed(&t, None).await?;
    let mut late = Pod::new("web-3", "web");
    late.object["metadata"]["labels"]["role"] = "primary".into();
    let late = t.pod(late, true).await?;
    t.event("web", "AmbiguousLeader", &["web-0", "web-3"])
        .await?;
    still_leads(&t, &pods[0]).await?;
    // A label that was seen to be set is newer than one that a pod came with.
    role(&t, &pods[1], true).await?;
    t.leads(LEADER, &pods[1]).await?;
    role(&t, &pods[0], false).await?;
    role(&t, &late, false).await?;
    still_leads(&t, &pods[1]).await
}

async fn follow_moves_nothing_by_itself(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    let before = t.history(Slice, LEADER).len();
    t.ask("web", "follow", Some(FOLLOW)).await?;
    t.event("web", "NoLeaderToFollow", &["web-0 stays published"])
        .await?;
    still_leads(&t, &pods[0]).await?;
    ensure!(t.history(Slice, LEADER).len() == before, "a write");
    role(&t, &pods[1], true).await?;
    t.leads(LEADER, &pods[1]).await?;
    t.identified(LEADER, &pods[1]).await?;
    let before = t.history(Slice, LEADER).len();
    t.ask("web", "follow", None).await?;
    still_leads(&t, &pods[1]).await?;
    ensure!(t.history(Slice, LEADER).len() == before, "a write");
    t.ready(&pods[1], false).await?;
    t.leads(LEADER, &pods[0]).await.map(drop)
}

async fn follow_keeps_its_last_value(t: Arc<Test>) -> Result<()> {
    let pods = followed(&t, None).await?;
    t.ask("web", "follow", Some("lable/role=primary")).await?;
    let words = &["zen-lead.io/follow", "label/<key>=<value>"];
    t.event("web", "InvalidAnnotation", words).await?;
    still_leads(&t, &pods[0]).await?;
    role(&t, &pods[1], true).await?;
    t.leads(LEADER, &pods[1]).await.map(drop)
}

async fn follow_overrules_users(t: Arc<Test>) -> Result<()> {
    let pods = followed(&t, None).await?;
    t.ask("web", "preferred-leader", Some("web-2")).await?;
    let words = &["preferred-leader", "the application decides"];
    t.event("web", "InvalidAnnotation", words).await?;
    let edit = json!({"name": "web-2", "uid": pods[2].uid, "kind": "Pod", "namespace": t.ns});
    let slice = t.exists(Slice, LEADER).await?;
    let mut endpoints = slice["endpoints"].clone();
    endpoints[0]["targetRef"] = edit;
    endpoints[0]["addresses"] = json!(pods[2].ips);
    t.merge(Slice, LEADER, json!({"endpoints": endpoints}))
        .await?;
    t.leads(LEADER, &pods[0]).await?;
    t.ask("web", "paused", Some("true")).await?;
    t.canary().await?;
    role(&t, &pods[1], true).await?;
    still_leads(&t, &pods[0]).await?;
    t.ask("web", "paused", None).await?;
    t.leads(LEADER, &pods[1]).await.map(drop)
}

async fn follow_survives_a_restart(t: Arc<Test>) -> Result<()> {
    let mut controller = t.controller(&[]).await?;
    let pods = followed(&t, None).await?;
    role(&t, &pods[1], true).await?;
    t.leads(LEADER, &pods[1]).await?;
    t.identified(LEADER, &pods[1]).await?;
    controller.stop().await?;
    // Both pods have the label, and only the former process knows which one got it later.
    let before = t.writes().await?.len();
    let controller = t.controller(&[]).await?;
    let state = async |state: &str| {
        let metrics = controller.metrics().await?;
        let of = [("service", "web"), ("state", state)];
        anyhow::Ok(metrics.sum("zen_lead_follow_state", &of))
    };
    // The Event may be of the former process; the state is not.
    let since = Instant::now();
    while state("ambiguous").await? != Some(1.0) {
        ensure!(since.elapsed() < SOON, "not ambiguous within {SOON:?}");
        tokio::time::sleep(SHORT).await;
    }
    ensure!(state("named").await? == Some(0.0));
    t.event("web", "AmbiguousLeader", &["web-0", "web-1"])
        .await?;
    let writes = t.writes().await?.split_off(before);
    ensure!(writes.is_empty(), "{writes:?}");
    role(&t, &pods[0], false).await?;
    still_leads(&t, &pods[1]).await?;
    ensure!(state("named").await? == Some(1.0));
    ensure!(state("ambiguous").await? == Some(0.0));
    Ok(())
}
