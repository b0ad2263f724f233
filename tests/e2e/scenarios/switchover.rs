//! §1 `preferred-leader`: a planned switchover.

use std::sync::Arc;

use anyhow::{Result, ensure};

use crate::harness::api::Kind::{Service, Slice};
use crate::harness::objects::{Made, Pod, Svc, annotation};
use crate::harness::test::Test;
use crate::harness::waits::publishes;
use crate::scenarios;

scenarios! {
    Shared Both switchover_from_pod_to_pod "§1 preferred-leader, make-before-break" "§3 reason switchover";
    Shared Both switchover_waits_for_its_pod "§1 preferred-leader: as soon as it is eligible";
    Shared Both switchover_happens_once "§1 once per value and pod UID" "§1 removing moves nothing";
    Shared Both switchover_overrides_the_strategy "§1 preferred-leader overrides sticky and strategy";
    Own Both switchover_survives_a_restart "§1 zen-lead.io/handled-switchover";
}

/// Waits until the leader Service says that the switchover to this pod has been carried out.
async fn handled(t: &Test, pod: &Made) -> Result<()> {
    let pair = format!("{}/{}", pod.name, pod.uid);
    t.until(
        Service,
        "web-leader",
        "the switchover is remembered",
        |now| annotation(now, "zen-lead.io/handled-switchover") == Some(&pair),
    )
    .await
    .map(drop)
}

async fn still_leads(t: &Test, pod: &Made) -> Result<()> {
    t.canary().await?;
    let slice = t.exists(Slice, "web-leader").await?;
    ensure!(publishes(&slice, pod), "{} leads no more", pod.name);
    Ok(())
}

async fn switchover_from_pod_to_pod(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 3).await?;
    let before = t.history(Slice, "web-leader").len();
    let from = std::time::Instant::now();
    t.ask("web", "preferred-leader", Some("web-2")).await?;
    t.leads("web-leader", &pods[2]).await?;
    t.identified("web-leader", &pods[2]).await?;
    t.never_empty(&["web-leader"], from)?;
    handled(&t, &pods[2]).await?;
    let writes = t.history(Slice, "web-leader").len() - before;
    ensure!(
        writes == 1,
        "{writes} writes of the slice for one switchover"
    );
    t.event("web", "LeaderChanged", &["web-0 to web-2", "switchover"])
        .await
        .map(drop)
}

async fn switchover_waits_for_its_pod(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    t.ask("web", "preferred-leader", Some("web-2")).await?;
    still_leads(&t, &pods[0]).await?;
    let late = t.pod(Pod::new("web-2", "web").not_ready(), true).await?;
    still_leads(&t, &pods[0]).await?;
    let from = t.ready(&late, true).await?;
    t.leads("web-leader", &late).await?;
    t.never_empty(&["web-leader"], from)
}

async fn switchover_happens_once(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    t.ask("web", "preferred-leader", Some("web-1")).await?;
    t.leads("web-leader", &pods[1]).await?;
    handled(&t, &pods[1]).await?;
    // As of a StatefulSet: it crashes and comes back under its name.
    t.delete_pod(&pods[1], 0).await?;
    t.leads("web-leader", &pods[0]).await?;
    let again = t.pod(Pod::new("web-1", "web"), true).await?;
    still_leads(&t, &pods[0]).await?;
    // Taken away and asked for again, it is another request.
    t.ask("web", "preferred-leader", None).await?;
    still_leads(&t, &pods[0]).await?;
    t.until(Service, "web-leader", "nothing to remember", |now| {
        annotation(now, "zen-lead.io/handled-switchover").is_none()
    })
    .await?;
    t.ask("web", "preferred-leader", Some("web-1")).await?;
    t.leads("web-leader", &again).await?;
    handled(&t, &again).await?;
    t.ask("web", "preferred-leader", None).await?;
    still_leads(&t, &again).await
}

async fn switchover_overrides_the_strategy(t: Arc<Test>) -> Result<()> {
    let source = Svc::opted_in("web").asks("sticky", "false");
    let pods = t.served_as(source, "web", 2).await?;
    t.ask("web", "preferred-leader", Some("web-1")).await?;
    t.leads("web-leader", &pods[1]).await?;
    handled(&t, &pods[1]).await?;
    still_leads(&t, &pods[1]).await?;
    t.ask("web", "preferred-leader", Some("not_a_pod")).await?;
    t.event("web", "InvalidAnnotation", &["preferred-leader"])
        .await?;
    still_leads(&t, &pods[1]).await
}

async fn switchover_survives_a_restart(t: Arc<Test>) -> Result<()> {
    let mut controller = t.controller(&[]).await?;
    let pods = t.served("web", 2).await?;
    t.ask("web", "preferred-leader", Some("web-1")).await?;
    t.leads("web-leader", &pods[1]).await?;
    handled(&t, &pods[1]).await?;
    t.ready(&pods[1], false).await?;
    t.leads("web-leader", &pods[0]).await?;
    t.identified("web-leader", &pods[0]).await?;
    controller.stop().await?;
    // Missed: the pod is eligible again, and had its turn.
    t.ready(&pods[1], true).await?;
    let before = t.exists(Service, "web-leader").await?;
    let _again = t.controller(&[]).await?;
    still_leads(&t, &pods[0]).await?;
    t.untouched(Service, &before)
}
