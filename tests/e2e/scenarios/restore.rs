//! etcd is restored from a backup: routing follows what there is now, without a restart.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::harness::api::Kind::{Pod as PodKind, Service, Slice};
use crate::harness::controller::Controller;
use crate::harness::objects::{Made, Pod, Svc, target_uid};
use crate::harness::test::Test;
use crate::harness::{SHORT, SOON};
use crate::scenarios;
use crate::scenarios::outage::insist_ready;

scenarios! {
    Alone Both etcd_is_restored_from_a_backup "§5 noticed within 10 s after the server is back" "no restart";
    Alone Both etcd_is_restored_to_before_the_installation "what the backup lacks is made again";
}

/// Within this time after the server is back the restore is noticed (§5).
const NOTICED: Duration = Duration::from_secs(10);
/// What every replica watches.
const WATCHED: [&str; 4] = ["services", "endpointslices", "pods", "leases"];
/// Changes that the backup lacks, more than what happens anyway while a server starts.
const CHANGES: usize = 500;

/// So much that the versions of a restored server stay behind for long.
async fn goes_on(t: &Test, pod: &Made) -> Result<()> {
    for number in 0..CHANGES {
        let note = json!({"metadata": {"annotations": {"note": number.to_string()}}});
        t.merge(PodKind, &pod.name, note).await?;
    }
    Ok(())
}

/// Goes back to the backup; when the server was ready again. The controller manager is new too: it
/// would wait for versions of before.
async fn restore(t: &Test) -> Result<Instant> {
    let control = &t.suite.control;
    control.stop_controllers().await?;
    control.run(&["restore"]).await?;
    let back = Instant::now();
    control.start_controllers("").await?;
    Ok(back)
}

/// Every watch has noticed it, and the log and the metric say so.
async fn noticed(t: &Test, controller: &Controller, back: Instant) -> Result<()> {
    let deadline = back + NOTICED;
    for resource in WATCHED {
        let labels = [("resource", resource), ("reason", "restored")];
        loop {
            let metrics = controller.metrics().await?;
            if metrics.sum("zen_lead_watch_restarts_total", &labels) >= Some(1.0) {
                break;
            }
            let waited = back.elapsed();
            ensure!(
                Instant::now() < deadline,
                "{resource}: not noticed {waited:.1?} after the server was ready"
            );
            tokio::time::sleep(SHORT).await;
        }
    }
    t.say(format!(
        "noticed {:.1?} after the API server was ready",
        back.elapsed()
    ));
    let printed = controller.printed();
    let words = "gone back to an earlier version";
    let told = printed
        .lines()
        .find(|line| line.contains(words))
        .context("the log says nothing")?;
    ensure!(told.contains("WARN"), "{told}");
    Ok(())
}

/// The pod of these that a slice publishes.
fn published<'a>(t: &Test, slice: &str, pods: &'a [Made]) -> Option<&'a Made> {
    t.obs.look(|log| {
        let uid = target_uid(log.get(Slice, slice)?)?;
        pods.iter().find(|pod| pod.uid == uid)
    })
}

/// Hands over from the pod that is published to the other one, and back.
async fn fails_over(t: &Test, app: &str, pods: &[Made]) -> Result<()> {
    let slice = format!("{app}-leader");
    for _ in 0..2 {
        for pod in pods {
            insist_ready(t, pod, true).await?;
        }
        t.canary().await?;
        let leader = published(t, &slice, pods).context("no pod is published")?;
        let other = pods.iter().find(|pod| pod.uid != leader.uid);
        let other = other.context("two pods")?;
        t.ready(leader, false).await?;
        t.leads_within(&slice, other, NOTICED).await?;
        t.identified(&slice, other).await?;
    }
    Ok(())
}

async fn etcd_is_restored_from_a_backup(t: Arc<Test>) -> Result<()> {
    t.disturbs();
    let mut controller = t.controller(&[]).await?;
    let web = t.served("web", 2).await?;
    t.served("kept", 1).await?;
    t.suite.control.run(&["backup"]).await?;
    // A failover, a Service that the backup lacks, and one that is only there.
    t.ready(&web[0], false).await?;
    t.identified("web-leader", &web[1]).await?;
    t.served("late", 1).await?;
    t.delete(Service, "kept").await?;
    t.withdrawn("kept-leader").await?;
    goes_on(&t, &web[1]).await?;
    let back = restore(&t).await?;
    noticed(&t, &controller, back).await?;
    t.obs
        .wait("the Services of the backup are served", SOON, |log| {
            let is_served = |slice| {
                log.get(Slice, slice)
                    .is_some_and(|now| target_uid(now).is_some())
            };
            let is_late = log.get(Service, "late-leader").is_some();
            (is_served("web-leader") && is_served("kept-leader") && !is_late).then_some(())
        })
        .await?;
    fails_over(&t, "web", &web).await?;
    t.say(format!("two failovers done {:.1?} after", back.elapsed()));
    let pod = t.pod(Pod::new("late-0", "late"), true).await?;
    t.service(Svc::opted_in("late")).await?;
    t.leads("late-leader", &pod).await?;
    ensure!(controller.is_running(), "it was restarted");
    controller.stop().await
}

async fn etcd_is_restored_to_before_the_installation(t: Arc<Test>) -> Result<()> {
    t.disturbs();
    // Nothing of ours is in this backup, not even the Lease.
    let web = t.pods("web", 2).await?;
    t.service(Svc::opted_in("web")).await?;
    t.suite.control.run(&["backup"]).await?;
    let mut controller = t.controller(&[]).await?;
    t.leads("web-leader", &web[0]).await?;
    t.ready(&web[0], false).await?;
    t.identified("web-leader", &web[1]).await?;
    goes_on(&t, &web[1]).await?;
    let back = restore(&t).await?;
    noticed(&t, &controller, back).await?;
    fails_over(&t, "web", &web).await?;
    t.say(format!("two failovers done {:.1?} after", back.elapsed()));
    ensure!(controller.is_running(), "it was restarted");
    controller.stop().await
}
