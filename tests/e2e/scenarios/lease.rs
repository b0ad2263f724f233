//! §6, two replicas, one writer: the replica that holds the Lease writes, and one soon does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::api::Kind::{Service, Slice};
use crate::harness::api::Patch;
use crate::harness::controller::Controller;
use crate::harness::manifests;
use crate::harness::objects::{Made, text};
use crate::harness::test::Test;
use crate::harness::{SHORT, SOON, scrape};
use crate::scenarios;
use crate::scenarios::refused::user;

scenarios! {
    Own Both killed_holder_is_replaced "§6 a killed holder is replaced within 5 s" "§6 /readyz 200 for a standby";
    Own Both killed_holder_goes_on_in_its_pod "a container that restarts waits for no Lease of its own pod";
    Own Both stopped_holder_hands_over "§6 SIGTERM releases the Lease" "a stopped holder is replaced within 200 ms";
    Own Both holder_that_was_frozen_overwrites_nothing "no write of a deposed replica overwrites one of its successor";
    Own Both takeover_moves_nothing_by_itself "§1 a standby that takes over restarts no timer" "§3 sticky";
    Own Both deleted_lease_is_made_again "a user deletes the Lease";
    Own Both lease_of_another_program_is_waited_for "in-place replacement of the Go program";
    Own Both without_rights_on_leases_nothing_is_written "§6 /healthz, /readyz" "recovers by itself";
    Own RealOnly("simkube keeps no audit log by user") lease_costs_one_request_a_second "what standing by costs";
}

const LEASE: &str = "zen-lead-controller-leader-election";

fn path(t: &Test) -> String {
    format!("{}/{LEASE}", collection(t))
}

fn collection(t: &Test) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", t.ns)
}

async fn is_active(controller: &Controller) -> Result<bool> {
    let metrics = controller.metrics().await?;
    Ok(metrics.sum("zen_lead_is_active", &[]) == Some(1.0))
}

async fn until_active(controller: &Controller) -> Result<()> {
    let deadline = Instant::now() + SOON;
    while !is_active(controller).await? {
        ensure!(Instant::now() < deadline, "not active within {SOON:?}");
        tokio::time::sleep(SHORT).await;
    }
    Ok(())
}

/// A holder that serves `web` by the first of its pods, and a standby that is ready.
async fn pair(t: &Test, pods: usize) -> Result<(Controller, Controller, Vec<Made>)> {
    let holder = t.controller(&[]).await?;
    until_active(&holder).await?;
    let standby = t.controller(&[]).await?;
    let (code, body) = scrape::get(standby.probes_port, "/readyz").await?;
    ensure!(code == 200, "/readyz of a standby: {code} {body}");
    let pods = t.served("web", pods).await?;
    ensure!(!is_active(&standby).await?, "both are active");
    Ok((holder, standby, pods))
}

async fn killed_holder_is_replaced(t: Arc<Test>) -> Result<()> {
    let (mut holder, standby, pods) = pair(&t, 2).await?;
    let from = Instant::now();
    holder.kill().await?;
    t.ready(&pods[0], false).await?;
    let moved = t.leads("web-leader", &pods[1]).await?;
    let took = moved.duration_since(from);
    t.say(format!("killed → slice moved: {took:.1?}"));
    ensure!(is_active(&standby).await?);
    t.event("web", "LeaderChanged", &["from web-0 to web-1"])
        .await?;
    ensure!(t.count_events("web", "LeaderChanged") == 1);
    Ok(())
}

/// The Lease lasts a minute, so whatever happens within the scenario's patience waited for nothing.
async fn killed_holder_goes_on_in_its_pod(t: Arc<Test>) -> Result<()> {
    let long = ["--lease-duration=60s"];
    let launch = |uid| {
        let pod = [("POD_NAME", "zen-lead-0"), ("POD_UID", uid)];
        t.launch_in(&t.suite.kubeconfig, &long, &pod)
    };
    let holds = async || -> Result<String> {
        let lease = t.suite.api.get(&path(&t)).await?;
        Ok(text(&lease, "/spec/holderIdentity").to_owned())
    };
    let mut holder = launch("5ca1ab1e")?;
    holder.ready().await?;
    until_active(&holder).await?;
    let standby = t.controller(&long).await?;
    let pods = t.served("web", 2).await?;
    let first = holds().await?;
    holder.kill().await?;
    let mut again = launch("5ca1ab1e")?;
    again.ready().await?;
    until_active(&again).await?;
    ensure!(!is_active(&standby).await?, "both are active");
    let second = holds().await?;
    for identity in [&first, &second] {
        ensure!(identity.starts_with("zen-lead-0_5ca1ab1e_"), "{identity}");
    }
    ensure!(first != second, "{first} is one process");
    t.ready(&pods[0], false).await?;
    t.leads("web-leader", &pods[1]).await?;
    // Another pod of that name waits like any other.
    again.kill().await?;
    let mut other = launch("0ff")?;
    other.ready().await?;
    let from = Instant::now();
    while !other.printed().contains("stands by: another replica") {
        ensure!(from.elapsed() < SOON, "it does not stand by");
        tokio::time::sleep(SHORT).await;
    }
    ensure!(!is_active(&other).await? && !is_active(&standby).await?);
    ensure!(holds().await? == second);
    Ok(())
}

async fn stopped_holder_hands_over(t: Arc<Test>) -> Result<()> {
    let (mut holder, mut standby, pods) = pair(&t, 2).await?;
    let mut took = Vec::new();
    for round in 0..5 {
        let (left, next) = (&pods[round % 2], &pods[(round + 1) % 2]);
        let from = Instant::now();
        holder.signal(Signal::TERM)?;
        // Before the standby can know, the leader is lost.
        t.ready(left, false).await?;
        let moved = t.leads("web-leader", next).await?;
        took.push(moved.duration_since(from));
        ensure!(holder.ended(SOON).await?.success());
        t.identified("web-leader", next).await?;
        t.ready(left, true).await?;
        until_active(&standby).await?;
        holder = std::mem::replace(&mut standby, t.controller(&[]).await?);
    }
    took.sort();
    t.say(format!(
        "SIGTERM → slice moved by the successor, 5 times: p50 {:.1?}, worst {:.1?}",
        took[2], took[4]
    ));
    // Released by the last one, too.
    standby.stop().await?;
    holder.stop().await?;
    let lease = t.api.get(&path(&t)).await?;
    ensure!(text(&lease, "/spec/holderIdentity").is_empty(), "{lease}");
    Ok(())
}

async fn holder_that_was_frozen_overwrites_nothing(t: Arc<Test>) -> Result<()> {
    let (frozen, standby, pods) = pair(&t, 3).await?;
    frozen.signal(Signal::STOP)?;
    // What it will find when it wakes up: two failovers that it missed.
    t.ready(&pods[0], false).await?;
    t.leads("web-leader", &pods[1]).await?;
    t.ready(&pods[1], false).await?;
    t.leads("web-leader", &pods[2]).await?;
    t.identified("web-leader", &pods[2]).await?;
    t.event("web", "LeaderChanged", &["to web-2"]).await?;
    let (service, slice) = (
        t.exists(Service, "web-leader").await?,
        t.exists(Slice, "web-leader").await?,
    );
    let writes = t.writes().await?.len();
    frozen.signal(Signal::CONT)?;
    let deadline = Instant::now() + Duration::from_secs(6);
    while Instant::now() < deadline {
        tokio::time::sleep(SHORT).await;
    }
    t.untouched(Service, &service)?;
    t.untouched(Slice, &slice)?;
    let late = t.writes().await?.split_off(writes);
    t.say(format!("writes after SIGCONT: {}", late.len()));
    ensure!(
        late.iter().all(|entry| entry.code >= 300),
        "it wrote {late:?}"
    );
    ensure!(t.count_events("web", "LeaderChanged") == 2);
    ensure!(!is_active(&frozen).await? && is_active(&standby).await?);
    // It stands by, and is there when it is needed.
    let mut standby = standby;
    standby.stop().await?;
    t.ready(&pods[2], false).await?;
    t.ready(&pods[0], true).await?;
    t.leads("web-leader", &pods[0]).await.map(drop)
}

async fn takeover_moves_nothing_by_itself(t: Arc<Test>) -> Result<()> {
    let (mut holder, standby, pods) = pair(&t, 2).await?;
    t.ready(&pods[0], false).await?;
    t.identified("web-leader", &pods[1]).await?;
    t.ready(&pods[0], true).await?;
    t.event("web", "LeaderChanged", &["from web-0 to web-1"])
        .await?;
    let (service, slice) = (
        t.exists(Service, "web-leader").await?,
        t.exists(Slice, "web-leader").await?,
    );
    let writes = t.writes().await?.len();
    holder.stop().await?;
    until_active(&standby).await?;
    // It has looked at everything once it serves something new.
    t.canary().await?;
    t.untouched(Service, &service)?;
    t.untouched(Slice, &slice)?;
    let mut late = t.writes().await?.split_off(writes);
    late.retain(|entry| entry.name.starts_with("web"));
    ensure!(late.is_empty(), "it wrote {late:?}");
    ensure!(t.count_events("web", "LeaderChanged") == 1);
    Ok(())
}

async fn deleted_lease_is_made_again(t: Arc<Test>) -> Result<()> {
    let (holder, standby, pods) = pair(&t, 2).await?;
    let before = t.api.get(&path(&t)).await?;
    t.api.delete(&path(&t), &json!({})).await?;
    let deadline = Instant::now() + SOON;
    let after = loop {
        match t.api.get(&path(&t)).await {
            Ok(lease) => break lease,
            Err(why) => ensure!(Instant::now() < deadline, "{why}"),
        }
        tokio::time::sleep(SHORT).await;
    };
    let holder_of = |lease: &Value| text(lease, "/spec/holderIdentity").to_owned();
    ensure!(holder_of(&before) == holder_of(&after), "{after}");
    ensure!(is_active(&holder).await? && !is_active(&standby).await?);
    t.ready(&pods[0], false).await?;
    t.leads("web-leader", &pods[1]).await.map(drop)
}

async fn lease_of_another_program_is_waited_for(t: Arc<Test>) -> Result<()> {
    // Its clock is years ahead; what counts is the duration that it wrote.
    let held = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": LEASE},
        "spec": {
            "holderIdentity": "zen-lead-7c9_0b1e", "leaseDurationSeconds": 6,
            "acquireTime": "2999-01-01T00:00:00.000000Z",
            "renewTime": "2999-01-01T00:00:00.000000Z", "leaseTransitions": 3,
        },
    });
    t.api.create(&collection(&t), &held).await?;
    let from = Instant::now();
    let controller = t.controller(&[]).await?;
    let ready = from.elapsed();
    let pods = t.pods("web", 1).await?;
    t.service(crate::harness::objects::Svc::opted_in("web"))
        .await?;
    let moved = t.leads("web-leader", &pods[0]).await?;
    let took = moved.duration_since(from);
    t.say(format!("ready after {ready:.1?}, wrote after {took:.1?}"));
    ensure!(took >= Duration::from_secs(6), "it did not wait");
    ensure!(is_active(&controller).await?);
    let lease = t.api.get(&path(&t)).await?;
    ensure!(lease["spec"]["leaseTransitions"] == 4, "{lease}");
    Ok(())
}

async fn without_rights_on_leases_nothing_is_written(t: Arc<Test>) -> Result<()> {
    let name = format!("zen-lead-e2e-leaseless-{}", t.suite.run);
    let kubeconfig = user(&t, &name, &manifests::served()?.into()).await?;
    let mut controller = t.launch_as(&kubeconfig, &[])?;
    controller.ready().await?;
    let pods = t.pods("web", 1).await?;
    t.service(crate::harness::objects::Svc::opted_in("web"))
        .await?;
    let deadline = Instant::now() + Duration::from_secs(6);
    while Instant::now() < deadline {
        for probe in ["/healthz", "/readyz"] {
            let (code, body) = scrape::get(controller.probes_port, probe).await?;
            ensure!(code == 200, "{probe}: {code} {body}");
        }
        tokio::time::sleep(SHORT).await;
    }
    ensure!(t.history(Service, "web-leader").is_empty());
    let printed = controller.printed();
    let told = printed.lines().filter(|line| {
        line.contains("\"level\":\"WARN\"") && line.contains("the Lease; trying again")
    });
    let told: Vec<_> = told.collect();
    ensure!(told.len() == 1, "said once, and not this: {printed}");
    // What to do about it is said of a refusal that lasts, and once.
    let advice = "it needs get, list, watch and patch";
    ensure!(!told[0].contains(advice), "{printed}");
    let deadline = Instant::now() + Duration::from_secs(15);
    while !controller.printed().contains(advice) {
        ensure!(Instant::now() < deadline, "no advice: {printed}");
        tokio::time::sleep(SHORT).await;
    }
    let printed = controller.printed();
    ensure!(printed.matches(advice).count() == 1, "{printed}");
    // A user grants what was missing, and changes nothing else.
    let rules = [manifests::served()?, manifests::lease()?].concat();
    let role = format!(
        "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles/{name}",
        t.ns
    );
    t.api
        .patch(&role, Patch::Merge, &json!({"rules": rules}))
        .await?;
    t.leads("web-leader", &pods[0]).await.map(drop)
}

async fn lease_costs_one_request_a_second(t: Arc<Test>) -> Result<()> {
    const LONG: Duration = Duration::from_secs(20);
    let rules = [manifests::served()?, manifests::lease()?].concat();
    let from = t.suite.audit.mark()?;
    let mut running = Vec::new();
    for number in 0..2 {
        let name = format!("zen-lead-e2e-cost-{number}-{}", t.suite.run);
        let kubeconfig = user(&t, &name, &rules.clone().into()).await?;
        let mut controller = t.launch_as(&kubeconfig, &[])?;
        controller.ready().await?;
        if number == 0 {
            until_active(&controller).await?;
        }
        running.push((name, controller));
    }
    let pods = t.served("web", 2).await?;
    // What belongs to the creation is over, and answered.
    t.identified("web-leader", &pods[0]).await?;
    t.event("web", "LeaderRoutingAvailable", &[]).await?;
    for (name, _) in &running {
        t.suite.audit.settled(from, name, &t.ns).await?;
    }
    let mark = t.suite.audit.mark()?;
    tokio::time::sleep(LONG).await;
    let mut said = Vec::new();
    let mut counts = Vec::new();
    for (name, controller) in &running {
        let asked = t.suite.audit.since(mark, name, None)?;
        let renewals = asked
            .iter()
            .filter(|entry| entry.resource == "leases" && entry.verb == "patch")
            .count();
        let role = if is_active(controller).await? {
            "holder"
        } else {
            "standby"
        };
        said.push(format!(
            "{role}: {renewals} renewals, {} other",
            asked.len() - renewals
        ));
        counts.push((renewals, asked.len() - renewals));
    }
    t.say(format!("requests within {LONG:?}: {}", said.join("; ")));
    let [(holds, other), (stands, others)] = counts[..] else {
        unreachable!("two of them");
    };
    // What was under way when the look began may be among them.
    ensure!((15..=21).contains(&holds) && other <= 3, "{counts:?}");
    ensure!(stands == 0 && others <= 2, "{counts:?}");
    let (_, holder) = running.first().context("two of them")?;
    ensure!(is_active(holder).await?);
    Ok(())
}
