//! §3a: following the application's own leader by a Lease, with the optional rights of
//! `manifests/optional/follow.yaml`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::harness::api::Kind::Slice;
use crate::harness::api::Patch;
use crate::harness::manifests;
use crate::harness::objects::{Made, Svc, name_of, text};
use crate::harness::test::Test;
use crate::harness::waits::publishes;
use crate::scenarios;

scenarios! {
    Own Both follow_a_lease "§3a a Lease: named, moved, silent, deleted, released" "§3 reasons followed and unnamed";
    Own Both follow_a_lease_by_its_name "§3a resourceNames: one watch per name";
    Own Both follow_a_lease_without_the_right "§3a forbidden is silent, and the right may come later";
}

pub(super) const LEADER: &str = "web-leader";
pub(super) const LOCK: &str = "lock";
/// Between two attempts of a watch that is refused, and some more.
const REGAINED: Duration = Duration::from_secs(45);

pub(super) fn leases(t: &Test) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", t.ns)
}

/// Grants the right to follow Leases in the scenario's namespace, or to follow those of the names.
pub(super) async fn grant(t: &Test, names: &[&str]) -> Result<()> {
    for mut object in manifests::objects("optional/follow.yaml")? {
        if !names.is_empty() && object["kind"] == "Role" {
            object["rules"][0]["resourceNames"] = json!(names);
        }
        let kind = text(&object, "/kind").to_lowercase();
        let collection = format!(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/{kind}s",
            t.ns
        );
        let made = t.api.create(&collection, &object).await;
        made.with_context(|| format!("{kind} {}", name_of(&object)))?;
    }
    Ok(())
}

/// As client-go writes it.
fn spec(holder: &str) -> Value {
    let now = format!("{:.6}", jiff::Timestamp::now());
    json!({
        "holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 1,
        "acquireTime": now, "renewTime": now,
    })
}

async fn acquire(t: &Test, holder: &str) -> Result<()> {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": LOCK}, "spec": spec(holder),
    });
    t.api.create(&leases(t), &lease).await?;
    Ok(())
}

async fn write(t: &Test, holder: &str) -> Result<()> {
    let path = format!("{}/{LOCK}", leases(t));
    let change = json!({"spec": spec(holder)});
    t.api.patch(&path, Patch::Merge, &change).await?;
    Ok(())
}

/// Three Ready pods and a Service that follows the Lease, which the second pod holds.
async fn followed(t: &Test) -> Result<Vec<Made>> {
    let pods = t.pods("web", 3).await?;
    acquire(t, &pods[1].name).await?;
    let source = Svc::opted_in("web").asks("follow", &format!("lease/{LOCK}"));
    t.service(source).await?;
    Ok(pods)
}

async fn still_leads(t: &Test, pod: &Made) -> Result<()> {
    t.canary().await?;
    let slice = t.exists(Slice, LEADER).await?;
    ensure!(publishes(&slice, pod), "{} leads no more", pod.name);
    Ok(())
}

async fn follow_a_lease(t: Arc<Test>) -> Result<()> {
    grant(&t, &[]).await?;
    let pods = followed(&t).await?;
    let _controller = t.controller(&[]).await?;
    t.leads(LEADER, &pods[1]).await?;
    t.identified(LEADER, &pods[1]).await?;
    // A renewal is no news: nothing is written, whatever the holder's clock says.
    let before = t.history(Slice, LEADER).len();
    for _ in 0..5 {
        write(&t, &pods[1].name).await?;
    }
    still_leads(&t, &pods[1]).await?;
    let written = t.history(Slice, LEADER).len();
    ensure!(written == before, "a renewal wrote the slice");
    // An identity as client-go makes it: the pod's name, and a part that tells processes apart.
    let from = Instant::now();
    write(&t, &format!("{}_5b2f0c1e", pods[2].name)).await?;
    t.leads(LEADER, &pods[2]).await?;
    t.identified(LEADER, &pods[2]).await?;
    t.never_empty(&[LEADER], from)?;
    let moved = t.history(Slice, LEADER).len() - written;
    ensure!(moved == 1, "{moved} writes of the slice for one move");
    t.event("web", "LeaderChanged", &["web-1 to web-2", "followed"])
        .await?;
    // A Lease that is gone says nothing: the published pod stays while it is Ready.
    let path = format!("{}/{LOCK}", leases(&t));
    t.api.delete(&path, &json!({})).await?;
    still_leads(&t, &pods[2]).await?;
    // It holds no other pod: the next holder is followed at once.
    acquire(&t, &pods[0].name).await?;
    t.leads(LEADER, &pods[0]).await?;
    // Released: an empty holder names no pod.
    write(&t, "").await?;
    t.empties(LEADER).await?;
    t.event("web", "NoLeaderToFollow", &["web-0", "unnamed"])
        .await?;
    write(&t, &pods[1].name).await?;
    t.leads(LEADER, &pods[1]).await.map(drop)
}

async fn follow_a_lease_by_its_name(t: Arc<Test>) -> Result<()> {
    grant(&t, &[LOCK]).await?;
    let pods = followed(&t).await?;
    let _controller = t.controller(&[]).await?;
    t.leads(LEADER, &pods[1]).await?;
    let from = Instant::now();
    write(&t, &pods[0].name).await?;
    let seen = t.leads(LEADER, &pods[0]).await?;
    t.say(format!(
        "Lease to slice moved: {:.0?}",
        seen.saturating_duration_since(from)
    ));
    t.never_empty(&[LEADER], from)
}

async fn follow_a_lease_without_the_right(t: Arc<Test>) -> Result<()> {
    let _controller = t.controller(&[]).await?;
    let pods = t.served("web", 2).await?;
    acquire(&t, &pods[1].name).await?;
    t.ask("web", "follow", Some(&format!("lease/{LOCK}")))
        .await?;
    let from = Instant::now();
    still_leads(&t, &pods[0]).await?;
    grant(&t, &[]).await?;
    t.leads_within(LEADER, &pods[1], REGAINED).await?;
    t.never_empty(&[LEADER], from)
}
