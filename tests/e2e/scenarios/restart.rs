//! §2 "swept at start for everything missed while the controller was down", and crashes.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use serde_json::json;

use crate::harness::SOON;
use crate::harness::api::Kind::{Service, Slice};
use crate::harness::objects::{Svc, annotation, uid_of};
use crate::harness::test::Test;
use crate::scenarios;

scenarios! {
    Own Both start_sweeps_what_was_missed "§2 swept at start";
    Own Both start_catches_up_with_a_failover "§2 rebuilt from the cluster: the slice says who leads";
    Own Both start_keeps_a_younger_leader "§3 sticky, known from the slice";
    Own Both start_leaves_strangers_alone "§1 not ours is never touched" "Go failure 2: also at start";
    Own Both start_reports_attached_slices "§1 other slices under our Service's name" "§4 LeaderServiceConflict";
    Own Both crash_at_any_point "§2 Leaving survives a controller crash at any point";
    Own Both stopped_while_pods_turn_over "SIGSTOP and SIGCONT; §3";
}

async fn start_sweeps_what_was_missed(t: Arc<Test>) -> Result<()> {
    let mut controller = t.controller(&[]).await?;
    for app in ["out", "gone", "moved", "mended", "stays"] {
        t.served(app, 2).await?;
    }
    let stays = t.exists(Service, "stays-leader").await?;
    controller.stop().await?;
    t.ask("out", "enabled", None).await?;
    t.delete(Service, "gone").await?;
    t.ask("moved", "leader-service-name", Some("chief")).await?;
    t.delete(Slice, "mended-leader").await?;
    let _controller = t.controller(&[]).await?;
    t.withdrawn("out-leader").await?;
    t.withdrawn("gone-leader").await?;
    t.exists(Slice, "chief").await?;
    t.withdrawn("moved-leader").await?;
    t.exists(Slice, "mended-leader").await?;
    t.canary().await?;
    t.untouched(Service, &stays)
}

async fn start_catches_up_with_a_failover(t: Arc<Test>) -> Result<()> {
    let mut controller = t.controller(&[]).await?;
    let web = t.served("web", 2).await?;
    let lone = t.served("lone", 1).await?;
    controller.kill().await?;
    t.delete_pod(&web[0], 0).await?;
    t.ready(&lone[0], false).await?;
    let _controller = t.controller(&[]).await?;
    t.leads("web-leader", &web[1]).await?;
    t.empties("lone-leader").await?;
    t.event("web", "LeaderChanged", &["web-0 to web-1", "deleted"])
        .await?;
    t.event("lone", "NoReadyPods", &["lone-0 to none", "noneReady"])
        .await
        .map(drop)
}

async fn start_keeps_a_younger_leader(t: Arc<Test>) -> Result<()> {
    let mut controller = t.controller(&[]).await?;
    let pods = t.served("web", 3).await?;
    t.ready(&pods[0], false).await?;
    t.identified("web-leader", &pods[1]).await?;
    t.ready(&pods[0], true).await?;
    t.ready(&pods[1], false).await?;
    t.ready(&pods[2], false).await?;
    t.identified("web-leader", &pods[0]).await?;
    t.ready(&pods[1], true).await?;
    // web-0 leads. Then no pod is ready while it is down, and the two come back.
    t.ready(&pods[0], false).await?;
    let service = t.identified("web-leader", &pods[1]).await?;
    t.canary().await?;
    controller.stop().await?;
    t.ready(&pods[0], true).await?;
    let from = Instant::now();
    let controller = t.controller(&[]).await?;
    t.canary().await?;
    t.leads("web-leader", &pods[1]).await?;
    t.never_empty(&["web-leader"], from)?;
    t.untouched(Service, &service)?;
    // "Leading since" survives too.
    let of = [("namespace", t.ns.as_str()), ("service", "web")];
    let since = controller
        .metrics()
        .await?
        .sum("zen_lead_leader_duration_seconds", &of);
    ensure!(since.is_some(), "no zen_lead_leader_duration_seconds");
    Ok(())
}

async fn start_leaves_strangers_alone(t: Arc<Test>) -> Result<()> {
    let stranger = t
        .service(Svc::new("web-leader").annotation("example.com/mine", "1"))
        .await?;
    t.service(Svc::new("web")).await?;
    let taken = t.service(Svc::new("shop-leader")).await?;
    t.service(Svc::opted_in("shop")).await?;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "shop-leader", "labels": {
            "kubernetes.io/service-name": "shop-leader", "app.kubernetes.io/managed-by": "zen-lead",
            "zen-lead.io/source-service": "shop",
        }},
        "addressType": "IPv4", "ports": [], "endpoints": [],
    });
    let slice = t.create(Slice, &slice).await?;
    let _controller = t.controller(&[]).await?;
    t.event("shop", "LeaderServiceConflict", &["shop-leader"])
        .await?;
    t.canary().await?;
    t.untouched(Service, &stranger)?;
    t.untouched(Service, &taken)?;
    t.untouched(Slice, &slice)
}

async fn start_reports_attached_slices(t: Arc<Test>) -> Result<()> {
    t.disturbs();
    let mut controller = t.controller(&[]).await?;
    let pods = t.served("web", 2).await?;
    controller.stop().await?;
    let attached = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "intruder", "labels": {
            "kubernetes.io/service-name": "web-leader",
            "endpointslice.kubernetes.io/managed-by": "stranger",
        }},
        "addressType": "IPv4", "ports": [], "endpoints": [{"addresses": ["192.0.2.7"]}],
    });
    let attached = t.create(Slice, &attached).await?;
    let _controller = t.controller(&[]).await?;
    let words = ["intruder", "web-leader"];
    t.event("web", "LeaderServiceConflict", &words).await?;
    t.canary().await?;
    t.untouched(Slice, &attached)?;
    t.ready(&pods[0], false).await?;
    t.leads("web-leader", &pods[1]).await.map(drop)
}

/// Kills the program at moments that differ from round to round, in the middle of coming and
/// going, and lets a new one finish.
async fn crash_at_any_point(t: Arc<Test>) -> Result<()> {
    // Each life waits for the Lease of the one before it.
    let flags = [
        "--lease-duration=2s",
        "--renew-deadline=1500ms",
        "--retry-period=500ms",
    ];
    let pods = t.pods("web", 2).await?;
    let mut source = t.service(Svc::new("web")).await?;
    for round in 0..6_u32 {
        let mut controller = t.controller(&flags).await?;
        t.ask("web", "enabled", Some("true")).await?;
        // The first objects tell where it is; killing costs it some more steps in some rounds.
        if round % 2 == 0 {
            t.exists(Service, "web-leader").await?;
        } else {
            t.exists(Slice, "web-leader").await?;
        }
        controller.kill().await?;
        let mut controller = t.controller(&flags).await?;
        t.leads("web-leader", &pods[0]).await?;
        t.identified("web-leader", &pods[0]).await?;
        match round % 3 {
            0 => drop(t.ask("web", "enabled", None).await?),
            1 => drop(t.ask("web", "leader-service-name", Some("chief")).await?),
            _ => drop(t.delete(Service, "web").await?),
        }
        if round > 2 {
            t.gone(Slice, "web-leader").await?;
        }
        controller.kill().await?;
        let mut controller = t.controller(&flags).await?;
        t.withdrawn("web-leader").await?;
        if round % 3 == 1 {
            t.leads("chief", &pods[0]).await?;
            let patch = json!({"metadata": {"annotations": {
                "zen-lead.io/enabled": null, "zen-lead.io/leader-service-name": null}}});
            t.merge(Service, "web", patch).await?;
            t.withdrawn("chief").await?;
        }
        controller.kill().await?;
        if round % 3 == 2 {
            source = t.service(Svc::new("web")).await?;
        }
    }
    ensure!(!uid_of(&source).is_empty());
    Ok(())
}

async fn stopped_while_pods_turn_over(t: Arc<Test>) -> Result<()> {
    let controller = t.controller(&[]).await?;
    let pods = t.served("web", 3).await?;
    controller.signal(Signal::STOP)?;
    t.delete_pod(&pods[0], 0).await?;
    t.ready(&pods[1], false).await?;
    t.ready(&pods[1], true).await?;
    t.delete_pod(&pods[1], 0).await?;
    let again = t
        .pod(crate::harness::objects::Pod::new("web-0", "web"), true)
        .await?;
    controller.signal(Signal::CONT)?;
    t.obs
        .wait("a pod that exists leads", SOON, |log| {
            let slice = log.get(Slice, "web-leader")?;
            let leads = |pod| crate::harness::waits::publishes(slice, pod);
            (leads(&pods[2]) || leads(&again)).then_some(())
        })
        .await?;
    t.canary().await?;
    let leader = t.exists(Service, "web-leader").await?;
    let named = annotation(&leader, "zen-lead.io/leader-pod-uid").unwrap_or_default();
    ensure!(
        named == pods[2].uid || named == again.uid,
        "the Service names {named}"
    );
    Ok(())
}
