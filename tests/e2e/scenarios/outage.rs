//! The API server dies, stands still, forgets: routing stays, and nothing is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::api::Kind::{Pod as PodKind, Service, Slice};
use crate::harness::api::Patch;
use crate::harness::objects::{Pod, Svc, uid_of};
use crate::harness::test::Test;
use crate::harness::{SHORT, SOON, scrape};
use crate::scenarios;

scenarios! {
    Alone Both api_server_killed_in_mid_failover "API server killed and restarted" "§6 /healthz never for an unreachable API server" "§7 fail-static";
    Alone Both failover_after_a_long_outage "an API server that is back is listed at once";
    Alone Both api_server_stands_still "silent connections are noticed within seconds";
    Alone Both compaction_while_stopped "etcd compaction under SIGSTOP: 410, relist, diff";
    Alone Both collector_and_program_together "§2 Leaving beside a garbage collector" "§1 orphan";
    Alone RealOnly("simkube has no EndpointSlice controller, whose slices are looked for") selector_for_a_moment "§1 born of a selector on our own leader Service" "same clusterIP again";
}

/// A request that is repeated until the server that is coming back answers it.
pub async fn insist_ready(
    t: &Test,
    pod: &crate::harness::objects::Made,
    ready: bool,
) -> Result<()> {
    let status = crate::harness::objects::status("Running", &pod.ips, ready, None, false);
    let path = format!("{}/status", t.path(PodKind, &pod.name));
    t.api
        .insist("the pod's status", SOON * 8, || {
            t.api.patch(&path, Patch::Merge, &status)
        })
        .await
        .map(drop)
}

async fn api_server_killed_in_mid_failover(t: Arc<Test>) -> Result<()> {
    let mut controller = t.controller(&[]).await?;
    let web = t.served("web", 2).await?;
    let shop = t.served("shop", 2).await?;
    let from = Instant::now();
    t.ready(&web[0], false).await?;
    t.suite.control.run(&["kill-apiserver"]).await?;
    for _ in 0..50 {
        let (code, body) = scrape::get(controller.probes_port, "/healthz").await?;
        ensure!(
            code == 200,
            "/healthz says {code} {body} while the API server is away"
        );
        ensure!(controller.is_running());
        tokio::time::sleep(SHORT).await;
    }
    t.suite.control.run(&["start-apiserver"]).await?;
    let back = Instant::now();
    t.leads_within("web-leader", &web[1], SOON * 3).await?;
    t.say(format!(
        "failed over {:.1?} after the API server was ready again",
        back.elapsed()
    ));
    t.never_empty(&["web-leader"], from)?;
    // The next failover is as quick as ever.
    insist_ready(&t, &shop[0], false).await?;
    let lost = Instant::now();
    t.leads_within("shop-leader", &shop[1], SOON * 2).await?;
    ensure!(
        lost.elapsed() < Duration::from_secs(10),
        "it took {:?}",
        lost.elapsed()
    );
    t.identified("web-leader", &web[1]).await?;
    controller.stop().await
}

/// A restarted server remembers no history and answers the first watch of each feed by 410. However
/// long it was away, that is no reason to wait.
async fn failover_after_a_long_outage(t: Arc<Test>) -> Result<()> {
    let mut controller = t.controller(&[]).await?;
    let web = t.served("web", 2).await?;
    t.suite.control.run(&["kill-apiserver"]).await?;
    let down = Instant::now();
    while down.elapsed() < Duration::from_secs(30) {
        let (code, body) = scrape::get(controller.probes_port, "/healthz").await?;
        ensure!(code == 200, "/healthz says {code} {body}");
        tokio::time::sleep(SHORT).await;
    }
    t.suite.control.run(&["start-apiserver"]).await?;
    let back = Instant::now();
    insist_ready(&t, &web[0], false).await?;
    t.leads_within("web-leader", &web[1], SOON * 2).await?;
    t.say(format!(
        "failed over {:.1?} after the API server was ready again",
        back.elapsed()
    ));
    // Every 410 was answered by a list at once, and none had to be repeated.
    let metrics = controller.metrics().await?;
    for resource in ["pods", "services", "endpointslices"] {
        let labels = [("resource", resource), ("reason", "gone")];
        let gone = metrics.sum("zen_lead_watch_restarts_total", &labels);
        ensure!(
            gone.unwrap_or(0.0) <= 1.0,
            "{resource}: {gone:?} times gone"
        );
    }
    let printed = controller.printed();
    let waits = |line: &&str| {
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        let failure = line["failure"].as_str().unwrap_or_default();
        line["message"] == "cannot watch; trying again" && failure.starts_with("410 ")
    };
    let waited: Vec<_> = printed.lines().filter(waits).collect();
    ensure!(waited.is_empty(), "{waited:?}");
    controller.stop().await
}

async fn api_server_stands_still(t: Arc<Test>) -> Result<()> {
    let mut controller = t.controller(&[]).await?;
    let pods = t.served("web", 2).await?;
    t.suite.control.run(&["pause"]).await?;
    let paused = Instant::now();
    // Connections are open and silent. The program notices, and says so.
    let deadline = paused + Duration::from_secs(12);
    let restarts = loop {
        let metrics = controller.metrics().await?;
        let restarts = metrics
            .sum("zen_lead_watch_restarts_total", &[])
            .unwrap_or(0.0);
        if restarts > 0.0 || Instant::now() > deadline {
            break restarts;
        }
        tokio::time::sleep(SHORT).await;
    };
    let noticed = paused.elapsed();
    t.suite.control.run(&["resume"]).await?;
    ensure!(
        restarts > 0.0,
        "a server that stands still was not noticed within {noticed:?}"
    );
    t.say(format!("noticed after {noticed:.1?}"));
    insist_ready(&t, &pods[0], false).await?;
    let from = Instant::now();
    t.leads_within("web-leader", &pods[1], SOON * 2).await?;
    ensure!(
        from.elapsed() < Duration::from_secs(15),
        "it took {:?}",
        from.elapsed()
    );
    controller.stop().await
}

async fn compaction_while_stopped(t: Arc<Test>) -> Result<()> {
    let mut controller = t.controller(&[]).await?;
    let web = t.served("web", 3).await?;
    t.served("out", 1).await?;
    t.served("gone", 1).await?;
    controller.signal(Signal::STOP)?;
    t.delete_pod(&web[0], 0).await?;
    t.ready(&web[1], false).await?;
    t.ask("out", "enabled", None).await?;
    t.delete(Service, "gone").await?;
    let late = t.pods("late", 1).await?;
    t.service(Svc::opted_in("late")).await?;
    t.delete(Slice, "web-leader").await?;
    t.suite.control.run(&["compact"]).await?;
    // A new API server has no cache of what was before.
    t.suite.control.run(&["kill-apiserver"]).await?;
    t.suite.control.run(&["start-apiserver"]).await?;
    controller.signal(Signal::CONT)?;
    t.leads_within("web-leader", &web[2], SOON * 2).await?;
    t.leads_within("late-leader", &late[0], SOON * 2).await?;
    t.withdrawn("out-leader").await?;
    t.withdrawn("gone-leader").await?;
    controller.stop().await
}

/// Has the controller manager run with these controllers, beside the usual ones.
async fn controllers(t: &Test, more: &str) -> Result<()> {
    t.suite.control.stop_controllers().await?;
    t.suite.control.start_controllers(more).await
}

async fn collector_and_program_together(t: Arc<Test>) -> Result<()> {
    controllers(&t, ",garbage-collector-controller").await?;
    let mut controller = t.controller(&[]).await?;
    let outcome = with_a_collector(&t).await;
    controllers(&t, "").await?;
    outcome?;
    controller.stop().await
}

async fn with_a_collector(t: &Test) -> Result<()> {
    for (app, policy) in [
        ("fore", "Foreground"),
        ("back", "Background"),
        ("left", "Orphan"),
    ] {
        t.served(app, 1).await?;
        let options = json!({"propagationPolicy": policy});
        t.api.delete(&t.path(Service, app), &options).await?;
        let leader = format!("{app}-leader");
        if policy == "Orphan" {
            t.obs
                .wait("the source is gone", SOON * 4, |log| {
                    log.get(Service, app).is_none().then_some(())
                })
                .await?;
            t.until(Service, &leader, "it is orphaned", |now| {
                now["metadata"]["ownerReferences"].is_null()
            })
            .await?;
        } else {
            t.withdrawn(&leader).await?;
        }
    }
    t.canary().await?;
    t.exists(Service, "left-leader").await?;
    t.exists(Slice, "left-leader").await.map(drop)
}

async fn selector_for_a_moment(t: Arc<Test>) -> Result<()> {
    t.disturbs();
    controllers(&t, ",garbage-collector-controller").await?;
    let mut controller = t.controller(&[]).await?;
    let outcome = born_slices_disappear(&t, &controller).await;
    controllers(&t, "").await?;
    outcome?;
    controller.stop().await
}

async fn born_slices_disappear(
    t: &Test,
    controller: &crate::harness::controller::Controller,
) -> Result<()> {
    let pods = t.served("web", 2).await?;
    let before = t.exists(Service, "web-leader").await?;
    controller.signal(Signal::STOP)?;
    let patch = json!({"spec": {"selector": {"app": "web"}}});
    t.merge(Service, "web-leader", patch).await?;
    let born = |slice: &serde_json::Value| {
        slice["metadata"]["labels"]["kubernetes.io/service-name"] == json!("web-leader")
            && !crate::harness::objects::is_our_slice(slice)
    };
    t.obs
        .wait("the native controller makes a slice", SOON * 2, |log| {
            log.all(Slice).any(|slice| born(slice)).then_some(())
        })
        .await?;
    controller.signal(Signal::CONT)?;
    let from = Instant::now();
    t.obs
        .wait("only our slice is left", SOON * 3, |log| {
            let is_new = log.get(Service, "web-leader").is_some_and(|now| {
                uid_of(now) != uid_of(&before)
                    && now["spec"]["clusterIPs"] == before["spec"]["clusterIPs"]
                    && now["spec"]["selector"].is_null()
            });
            (is_new && !log.all(Slice).any(|slice| born(slice))).then_some(())
        })
        .await?;
    t.say(format!(
        "born slices gone, same address, after {:.1?}",
        from.elapsed()
    ));
    t.leads("web-leader", &pods[0]).await?;
    let next = t.pod(Pod::new("web-9", "web"), true).await?;
    for pod in &pods {
        t.delete_pod(pod, 0).await?;
    }
    t.leads("web-leader", &next).await.map(drop)
}
