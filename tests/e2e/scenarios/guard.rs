//! The storm guard: too many failovers for `notReady` are held back.

use std::sync::Arc;

use anyhow::{Result, ensure};

use crate::harness::api::Kind::Slice;
use crate::harness::objects::Made;
use crate::harness::test::Test;
use crate::harness::waits::publishes;
use crate::scenarios;

scenarios! {
    Own Both guard_stops_a_flapping_probe "the storm guard: as many as the flag says" "events, metrics";
    Own Both guard_keeps_no_pod_that_is_gone "the storm guard: deleted, noIP and terminating never wait";
    Own Both guard_refills "the storm guard: a token bucket";
    Shared Both guard_is_off_by_default "§6 the storm guard is off by default";
}

/// The leader turns NotReady, and the other one takes over; then it is Ready again.
async fn bounce(t: &Test, from: &Made, to: &Made) -> Result<()> {
    t.ready(from, false).await?;
    t.leads("web-leader", to).await?;
    t.identified("web-leader", to).await?;
    t.ready(from, true).await.map(drop)
}

async fn guard_stops_a_flapping_probe(t: Arc<Test>) -> Result<()> {
    let controller = t.controller(&["--failover-budget-per-service=10"]).await?;
    let pods = t.served("web", 2).await?;
    for turn in 0..10 {
        bounce(&t, &pods[turn % 2], &pods[(turn + 1) % 2]).await?;
    }
    let from = t.ready(&pods[0], false).await?;
    t.event(
        "web",
        "FailoverBudgetExceeded",
        &["web-0", "--failover-budget-per-service"],
    )
    .await?;
    t.canary().await?;
    let slice = t.exists(Slice, "web-leader").await?;
    ensure!(publishes(&slice, &pods[0]), "one failover too many");
    t.never_empty(&["web-leader"], from)?;
    let metrics = controller.metrics().await?;
    let of = [("namespace", t.ns.as_str()), ("service", "web")];
    ensure!(metrics.sum("zen_lead_leader_guarded", &of) == Some(1.0));
    ensure!(metrics.sum("zen_lead_failovers_held_total", &of) == Some(1.0));
    // It does not keep a pod from coming back.
    t.ready(&pods[0], true).await?;
    t.canary().await?;
    let slice = t.exists(Slice, "web-leader").await?;
    ensure!(publishes(&slice, &pods[0]));
    Ok(())
}

async fn guard_keeps_no_pod_that_is_gone(t: Arc<Test>) -> Result<()> {
    let _controller = t.controller(&["--failover-budget-per-service=1"]).await?;
    let pods = t.served("web", 4).await?;
    t.ready(&pods[0], false).await?;
    t.leads("web-leader", &pods[1]).await?;
    t.ready(&pods[1], false).await?;
    t.event("web", "FailoverBudgetExceeded", &["web-1"]).await?;
    let deleted = t.delete_pod(&pods[1], 0).await?;
    let seen = t.leads("web-leader", &pods[2]).await?;
    t.say(format!(
        "a guarded leader that is deleted is left after {:.0?}",
        seen.saturating_duration_since(deleted)
    ));
    t.delete_pod(&pods[2], 30).await?;
    t.leads("web-leader", &pods[3]).await.map(drop)
}

async fn guard_refills(t: Arc<Test>) -> Result<()> {
    let flags = [
        "--failover-budget-per-service=2",
        "--failover-budget-window=6s",
    ];
    let _controller = t.controller(&flags).await?;
    let pods = t.served("web", 2).await?;
    bounce(&t, &pods[0], &pods[1]).await?;
    bounce(&t, &pods[1], &pods[0]).await?;
    let held = t.ready(&pods[0], false).await?;
    // By its own timer, when there is something in the bucket again.
    let seen = t.leads("web-leader", &pods[1]).await?;
    let took = seen.saturating_duration_since(held);
    t.say(format!("held for {took:.1?}, filled every 3 s"));
    t.event("web", "LeaderChanged", &["web-0 to web-1", "notReady"])
        .await
        .map(drop)
}

async fn guard_is_off_by_default(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    for turn in 0..15 {
        bounce(&t, &pods[turn % 2], &pods[(turn + 1) % 2]).await?;
    }
    Ok(())
}
