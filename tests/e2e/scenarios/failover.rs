//! §3: which pod leads, why a leader is replaced, and what a failover costs.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::harness::api::Kind::{Pod as PodKind, Service, Slice};
use crate::harness::objects::{Pod, Svc, annotation, endpoints, label, status, text};
use crate::harness::test::Test;
use crate::harness::waits::publishes;
use crate::scenarios;

scenarios! {
    Shared Both failover_by_readiness "§3 notReady" "§4 LeaderChanged" "§2 trigger time";
    Shared Both failover_by_deletion "§3 deleted";
    Shared Both failover_of_a_terminating_ready_leader "§3 terminating, left at once" "Go failure 8";
    Shared Both failover_costs_three_requests "DESIGN fail-over path: one slice write, identity, Event";
    Shared Both same_name_new_pod "§1 sticky by uid" "§3 deleted, re-created under its name";
    Shared Both same_pod_new_address "§3 the same UID with a new address: one patch, no failover";
    Shared Both leader_fails_or_completes "§3 notReady: a terminal phase";
    Shared Both leader_loses_address_or_labels "§3 noIP, unlabelled";
    Shared Both none_ready_is_an_empty_slice "§2 no leader: endpoints []" "Go failure 1" "§4 NoReadyPods";
    Shared Both last_leader_returns "§3 after a time without any leader: the last one";
    Shared Both last_leader_is_known_after_a_restart "§3 the last one; §2 last-leader-pod-uid";
    Shared Both eligible_means_all_of_it "§3 eligible: phase, Ready, address, namespace";
    Shared Both addresses_that_cannot_be_routed "§2 loopback, link-local, unspecified, multicast";
    Shared Both endpoint_has_its_whole_form "§2 EndpointSlice: targetRef, nodeName, conditions, ports";
    Shared Both job_pods_never_lead "§3 not controlled by a Job";
    Shared Both no_pods_at_all "§4 NoPodsFound, NoReadyPods, LeaderRoutingAvailable";
    Shared Both selector_moves_to_other_pods "§3 unlabelled by a new selector";
}

const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

async fn failover_by_readiness(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 3).await?;
    let lost = t.ready(&pods[0], false).await?;
    t.leads("web-leader", &pods[1]).await?;
    let slice = t.exists(Slice, "web-leader").await?;
    let trigger = annotation(&slice, TRIGGER).unwrap_or_default();
    trigger.parse::<jiff::Timestamp>()?;
    let leader = t.identified("web-leader", &pods[1]).await?;
    ensure!(annotation(&leader, "zen-lead.io/current-leader") == Some("web-1"));
    t.event(
        "web",
        "LeaderChanged",
        &["web-0 to web-1", "notReady", "web-leader"],
    )
    .await?;
    t.never_empty(&["web-leader"], lost)?;
    t.canary().await?;
    ensure!(t.event_objects("web", "LeaderChanged") == 1);
    // Any other write of the slice takes the trigger time away again.
    t.merge(
        Service,
        "web",
        json!({"metadata": {"labels": {"colour": "blue"}}}),
    )
    .await?;
    t.until(Slice, "web-leader", "the trigger time goes", |slice| {
        label(slice, "colour") == Some("blue") && annotation(slice, TRIGGER).is_none()
    })
    .await
    .map(drop)
}

async fn failover_by_deletion(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 3).await?;
    let lost = t.delete_pod(&pods[0], 0).await?;
    t.leads("web-leader", &pods[1]).await?;
    t.delete_pod(&pods[1], 0).await?;
    t.leads("web-leader", &pods[2]).await?;
    // A real server says "terminating" first even without a grace.
    t.event("web", "LeaderChanged", &["web-0 to web-1"]).await?;
    t.event("web", "LeaderChanged", &["web-1 to web-2"]).await?;
    t.never_empty(&["web-leader"], lost)
}

async fn failover_of_a_terminating_ready_leader(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    let lost = t.delete_pod(&pods[0], 30).await?;
    t.leads("web-leader", &pods[1]).await?;
    t.event("web", "LeaderChanged", &["web-0 to web-1", "terminating"])
        .await?;
    t.never_empty(&["web-leader"], lost)?;
    // It is still Ready, and stays out.
    t.canary().await?;
    t.reap(&pods[0]).await?;
    t.canary().await?;
    ensure!(publishes(&*t.exists(Slice, "web-leader").await?, &pods[1]));
    Ok(())
}

async fn failover_costs_three_requests(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    // What belongs to the creation is over when something newer has been served.
    t.canary().await?;
    let before = t.requests().await?.len();
    t.ready(&pods[0], false).await?;
    t.identified("web-leader", &pods[1]).await?;
    t.event("web", "LeaderChanged", &[]).await?;
    let requests = t.requests().await?.split_off(before);
    let told: Vec<_> = requests
        .iter()
        .filter(|entry| entry.name.starts_with("web-leader"))
        .map(|entry| format!("{} {} {}", entry.verb, entry.resource, entry.code))
        .collect();
    ensure!(
        told == ["patch endpointslices 200", "patch services 200"],
        "requests {told:?}"
    );
    t.canary().await?;
    let events = t.count_events("web", "LeaderChanged");
    ensure!(events == 1, "{events} Events for one failover");
    Ok(())
}

async fn same_name_new_pod(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    t.delete_pod(&pods[0], 0).await?;
    let again = t.pod(Pod::new("web-0", "web"), true).await?;
    t.leads("web-leader", &pods[1]).await?;
    t.canary().await?;
    ensure!(
        publishes(&*t.exists(Slice, "web-leader").await?, &pods[1]),
        "led by its name"
    );
    ensure!(again.uid != pods[0].uid);
    // A StatefulSet of one: gone, and back under the same name with a new address.
    let pods = t.served("db", 1).await?;
    t.delete_pod(&pods[0], 0).await?;
    let again = t.pod(Pod::new("db-0", "db"), true).await?;
    t.leads("db-leader", &again).await?;
    let ever = t.history(Slice, "db-leader");
    let stale = ever
        .iter()
        .rev()
        .find(|seen| publishes(&seen.object, &pods[0]));
    ensure!(stale.is_some(), "the first one led before");
    Ok(())
}

async fn same_pod_new_address(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    let before = t.writes().await?.len();
    let mut moved = pods[0].clone();
    moved.ips = vec![t.suite.address()];
    t.status(&moved, status("Running", &moved.ips, true, None, false))
        .await?;
    t.leads("web-leader", &moved).await?;
    t.canary().await?;
    let writes = t.writes().await?.split_off(before);
    let count = writes
        .iter()
        .filter(|entry| entry.name == "web-leader")
        .count();
    ensure!(count == 1, "{count} writes for a new address");
    ensure!(
        t.event_objects("web", "LeaderChanged") == 0,
        "told as a failover"
    );
    Ok(())
}

async fn leader_fails_or_completes(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 3).await?;
    // As a kubelet tells an eviction.
    let mut failed = status("Failed", &pods[0].ips, false, None, true);
    failed["status"]["reason"] = "Evicted".into();
    t.status(&pods[0], failed).await?;
    // Told of as well: two failovers within a round trip are told as one.
    t.identified("web-leader", &pods[1]).await?;
    let succeeded = status("Succeeded", &pods[1].ips, false, None, false);
    t.status(&pods[1], succeeded).await?;
    t.leads("web-leader", &pods[2]).await?;
    for words in ["web-0 to web-1 (notReady", "web-1 to web-2 (notReady"] {
        t.event("web", "LeaderChanged", &[words]).await?;
    }
    Ok(())
}

async fn leader_loses_address_or_labels(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 3).await?;
    t.status(&pods[0], status("Running", &[], true, None, false))
        .await?;
    t.identified("web-leader", &pods[1]).await?;
    t.event("web", "LeaderChanged", &["web-0 to web-1", "noIP"])
        .await?;
    let patch = json!({"metadata": {"labels": {"app": null}}});
    t.merge(PodKind, "web-1", patch).await?;
    t.leads("web-leader", &pods[2]).await?;
    t.event("web", "LeaderChanged", &["web-1 to web-2", "unlabelled"])
        .await?;
    // The last one loses its address too: nothing may stay published.
    t.status(&pods[2], status("Running", &[], true, None, false))
        .await?;
    t.empties("web-leader").await.map(drop)
}

async fn none_ready_is_an_empty_slice(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    t.ready(&pods[1], false).await?;
    t.ready(&pods[0], false).await?;
    t.empties("web-leader").await?;
    let words = ["web-0 to none (noneReady, ", " ms)", "web-leader"];
    let told = t.event("web", "NoReadyPods", &words).await?;
    ensure!(text(&told, "/type") == "Warning");
    t.canary().await?;
    // On a slow machine there is another Warning from the time before the first pod was Ready.
    ensure!(
        t.event_objects_with("web", "NoReadyPods", &words) == 1,
        "an outage is told once"
    );
    ensure!(
        t.event_objects("web", "LeaderChanged") == 0,
        "and by no Normal event"
    );
    let leader = t
        .until(Service, "web-leader", "the identity goes", |now| {
            annotation(now, "zen-lead.io/leader-pod-uid").is_none()
        })
        .await?;
    for key in ["current-leader", "leader-pod-name"] {
        ensure!(
            annotation(&leader, &format!("zen-lead.io/{key}")).is_none(),
            "{key} stays"
        );
    }
    let last = annotation(&leader, "zen-lead.io/last-leader-pod-uid");
    ensure!(last == Some(&pods[0].uid), "last leader {last:?}");
    ensure!(annotation(&leader, "zen-lead.io/leader-last-switch-time").is_some());
    let refused = t
        .writes()
        .await?
        .into_iter()
        .filter(|entry| entry.code >= 400)
        .count();
    ensure!(refused == 0, "{refused} writes were refused");
    Ok(())
}

async fn last_leader_returns(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 3).await?;
    t.ready(&pods[0], false).await?;
    t.leads("web-leader", &pods[1]).await?;
    for pod in [&pods[2], &pods[1]] {
        t.ready(pod, false).await?;
    }
    t.empties("web-leader").await?;
    // A new Service over pods that are not Ready elects no pod; the first one to come leads …
    t.ready(&pods[2], true).await?;
    t.leads("web-leader", &pods[2]).await?;
    t.ready(&pods[2], false).await?;
    t.empties("web-leader").await?;
    // … and among several that come at once, the last one.
    t.merge(
        Service,
        "web",
        json!({"spec": {"selector": {"app": "none"}}}),
    )
    .await?;
    t.canary().await?;
    for pod in &pods {
        t.ready(pod, true).await?;
    }
    t.canary().await?;
    t.merge(
        Service,
        "web",
        json!({"spec": {"selector": {"app": "web"}}}),
    )
    .await?;
    t.leads("web-leader", &pods[2]).await.map(drop)
}

async fn last_leader_is_known_after_a_restart(t: Arc<Test>) -> Result<()> {
    // What a leader Service remembers is as good as what the process remembers: a Service that
    // opts out and in again has lost it, one that only had no leader has not.
    let pods = t.served("web", 2).await?;
    t.ready(&pods[0], false).await?;
    t.identified("web-leader", &pods[1]).await?;
    t.ready(&pods[1], false).await?;
    t.empties("web-leader").await?;
    t.until(Service, "web-leader", "the identity goes", |now| {
        annotation(now, "zen-lead.io/leader-pod-uid").is_none()
            && annotation(now, "zen-lead.io/last-leader-pod-uid") == Some(&pods[1].uid)
    })
    .await?;
    t.ready(&pods[1], true).await?;
    t.leads("web-leader", &pods[1]).await?;
    t.ready(&pods[0], true).await?;
    t.canary().await?;
    ensure!(publishes(&*t.exists(Slice, "web-leader").await?, &pods[1]));
    Ok(())
}

async fn eligible_means_all_of_it(t: Arc<Test>) -> Result<()> {
    t.service(Svc::opted_in("web")).await?;
    let mut pending = Pod::new("pending", "web");
    pending.phase = "Pending";
    t.pod(pending, true).await?;
    t.pod(Pod::new("unready", "web").not_ready(), true).await?;
    t.pod(Pod::new("addressless", "web"), false).await?;
    t.pod(Pod::new("six", "web").ips(&["2001:db8::6"]), false)
        .await?;
    t.pod(Pod::new("other", "else"), true).await?;
    t.canary().await?;
    let ever = t.history(Slice, "web-leader");
    let published = ever.iter().find(|seen| !endpoints(&seen.object).is_empty());
    ensure!(
        published.is_none(),
        "published {:?}",
        published.map(|seen| &seen.object)
    );
    let pod = t.pod(Pod::new("good", "web"), true).await?;
    t.leads("web-leader", &pod).await.map(drop)
}

async fn addresses_that_cannot_be_routed(t: Arc<Test>) -> Result<()> {
    t.service(Svc::opted_in("web")).await?;
    for (number, ip) in ["127.0.0.1", "169.254.1.1", "0.0.0.0", "224.0.0.1"]
        .iter()
        .enumerate()
    {
        let pod = Pod::new(&format!("bad-{number}"), "web").ips(&[ip]);
        t.pod(pod, false).await?;
    }
    t.canary().await?;
    t.empties("web-leader").await?;
    let refused = t
        .writes()
        .await?
        .into_iter()
        .filter(|entry| entry.code >= 400)
        .count();
    ensure!(
        refused == 0,
        "{refused} writes were refused: bad addresses were tried"
    );
    let pod = t.pod(Pod::new("good", "web"), true).await?;
    t.leads("web-leader", &pod).await.map(drop)
}

/// Data planes read more of an endpoint than its address: identity and node by the pod, ports by name,
/// and each of the three conditions.
async fn endpoint_has_its_whole_form(t: Arc<Test>) -> Result<()> {
    let source = Svc::opted_in("web").spec(
        "ports",
        json!([
            {"name": "http", "port": 80, "targetPort": "web", "appProtocol": "http"},
            {"name": "raw", "port": 90, "targetPort": 9090},
        ]),
    );
    t.service(source).await?;
    let ports = json!([{"name": "web", "containerPort": 8080}]);
    let pod = t.pod(Pod::new("web-0", "web").ports(ports), true).await?;
    t.leads("web-leader", &pod).await?;
    let slice = t.exists(Slice, "web-leader").await?;
    let expected = json!([{
        "addresses": [pod.ips[0]],
        "conditions": {"ready": true, "serving": true, "terminating": false},
        "nodeName": "node-a",
        "targetRef": {"kind": "Pod", "namespace": t.ns, "name": "web-0", "uid": pod.uid},
    }]);
    ensure!(
        slice["endpoints"] == expected,
        "{} is not {expected}",
        slice["endpoints"]
    );
    let mut ports = slice["ports"].as_array().cloned().unwrap_or_default();
    ports.sort_by_key(|port| port["port"].as_u64());
    let expected = [
        json!({"name": "http", "port": 8080, "protocol": "TCP", "appProtocol": "http"}),
        json!({"name": "raw", "port": 9090, "protocol": "TCP"}),
    ];
    ensure!(ports == expected, "{ports:?}");
    ensure!(slice["addressType"] == "IPv4");
    ensure!(label(&slice, "kubernetes.io/service-name") == Some("web-leader"));
    Ok(())
}

async fn job_pods_never_lead(t: Arc<Test>) -> Result<()> {
    let mut migration = Pod::new("migrate", "web");
    migration.object["metadata"]["ownerReferences"] = json!([
        {"apiVersion": "batch/v1", "kind": "Job", "name": "migrate", "uid": "0f4c0c9e-2b1e-4f5c-9f7e-3c9b0a8d7e61", "controller": true}
    ]);
    t.pod(migration, true).await?;
    t.service(Svc::opted_in("web").asks("strategy", "newest"))
        .await?;
    t.event("web", "NoReadyPods", &["not of a Job"]).await?;
    let pod = t.pod(Pod::new("web-0", "web"), true).await?;
    t.leads("web-leader", &pod).await?;
    t.canary().await?;
    let ever = t.history(Slice, "web-leader");
    let shows = |name: &str| {
        ever.iter()
            .any(|seen| seen.object["endpoints"][0]["targetRef"]["name"] == name)
    };
    ensure!(
        shows("web-0") && !shows("migrate"),
        "a Job's pod was published"
    );
    Ok(())
}

async fn no_pods_at_all(t: Arc<Test>) -> Result<()> {
    t.service(Svc::opted_in("web")).await?;
    t.empties("web-leader").await?;
    let event = t.event("web", "NoPodsFound", &["web-leader"]).await?;
    ensure!(text(&event, "/type") == "Warning");
    t.event("web", "LeaderServiceCreated", &["web-leader"])
        .await?;
    let pod = t.pod(Pod::new("web-0", "web").not_ready(), true).await?;
    t.event("web", "NoReadyPods", &[]).await?;
    t.ready(&pod, true).await?;
    t.leads("web-leader", &pod).await?;
    t.event("web", "LeaderRoutingAvailable", &["web-0"]).await?;
    ensure!(
        t.event_objects("web", "LeaderChanged") == 0,
        "a first election is no failover"
    );
    Ok(())
}

async fn selector_moves_to_other_pods(t: Arc<Test>) -> Result<()> {
    let blue = t.served("web", 2).await?;
    let green = t.pods("green", 1).await?;
    // Services and pods come by different watches: the pods have to be known first.
    t.canary().await?;
    let lost = std::time::Instant::now();
    t.merge(
        Service,
        "web",
        json!({"spec": {"selector": {"app": "green"}}}),
    )
    .await?;
    t.leads("web-leader", &green[0]).await?;
    t.never_empty(&["web-leader"], lost)?;
    t.event("web", "LeaderChanged", &["web-0 to green-0", "unlabelled"])
        .await?;
    t.merge(
        Service,
        "web",
        json!({"spec": {"selector": {"app": "web"}}}),
    )
    .await?;
    t.leads("web-leader", &blue[0]).await.map(drop)
}
