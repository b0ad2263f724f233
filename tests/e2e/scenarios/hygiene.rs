//! What must not happen: floods of Events, values that stop the program, writes to what is not
//! ours.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::harness::api::Kind::{self, Service, Slice};
use crate::harness::objects::{Pod, Svc, label, text, uid_of};
use crate::harness::suite::USER;
use crate::harness::test::Test;
use crate::scenarios;

scenarios! {
    Shared Both events_are_aggregated_and_limited "§4 repeats are aggregated and rate-limited per object";
    Shared Both values_that_are_hostile "§1 no annotation value can stop the controller or delay another Service";
    Shared Both look_alikes_of_other_owners "§1 Ours: neither orphaned nor of an earlier source";
    Shared Both many_services_of_the_same_pods "§3 each Service decides for itself";
    Own Both flapping_pods_settle "§3 bounded writes, one endpoint, the right end";
    Own RealOnly("simkube has no controller that mirrors Endpoints objects") endpoints_object_is_reported "§1 an Endpoints object that is mirrored";
    Shared RealOnly("simkube has no controller that mirrors Endpoints objects") waiting_endpoints_object_is_reported "§1 looked for after each create, and again a moment later";
    Alone Both writes_only_what_it_may "§2 nothing else is written";
}

async fn events_are_aggregated_and_limited(t: Arc<Test>) -> Result<()> {
    t.served("web", 1).await?;
    for number in 0..60 {
        t.ask("web", "strategy", Some(&format!("best-{number}")))
            .await?;
    }
    t.event("web", "InvalidAnnotation", &["best-0"]).await?;
    t.canary().await?;
    let sent: Vec<_> = t.requests().await?;
    let sent = sent
        .iter()
        .filter(|entry| entry.resource == "events" && entry.is_write())
        .count();
    let objects = t.event_objects("web", "InvalidAnnotation");
    let told = t.count_events("web", "InvalidAnnotation");
    t.say(format!(
        "60 typos: {sent} requests, {objects} Events that count {told}"
    ));
    ensure!(objects <= 15, "{objects} Event objects for 60 typos");
    ensure!(sent <= 45, "{sent} requests for Events");
    let long = t.obs.look(|log| {
        let mut notes = log
            .all(Kind::Event)
            .map(|event| text(event, "/message").len());
        notes.any(|len| len > 1_024)
    });
    ensure!(!long, "a note of more than 1,024 bytes");
    Ok(())
}

async fn values_that_are_hostile(t: Arc<Test>) -> Result<()> {
    let bystander = t.served("calm", 2).await?;
    let pods = t.served("web", 2).await?;
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let long = "h".repeat(60_000);
    for (key, value) in [
        ("min-ready-duration", "9223372036854775807ns1h"),
        ("failover-min-delay", "1e309s"),
        ("failover-min-delay", "\u{202e}5s\u{0}"),
        ("min-ready-duration", long.as_str()),
        ("leader-service-annotations", deep.as_str()),
        ("leader-service-annotations", r#"{"a":"\ud800"}"#),
        ("leader-service-name", long.as_str()),
        ("leader-service-type", ""),
        ("strategy", "random\n"),
        ("sticky", "TRUE"),
        ("no/such/key", "x"),
    ] {
        // The API server refuses some of them: just as well.
        t.ask("web", key, Some(value)).await.ok();
    }
    let from = t.ready(&bystander[0], false).await?;
    let seen = t.leads("calm-leader", &bystander[1]).await?;
    let took = seen.saturating_duration_since(from);
    ensure!(
        took < Duration::from_secs(5),
        "another Service waited {took:?}"
    );
    t.ready(&pods[0], false).await?;
    t.leads("web-leader", &pods[1]).await.map(drop)
}

async fn look_alikes_of_other_owners(t: Arc<Test>) -> Result<()> {
    let pods = t.pods("web", 2).await?;
    let maps = format!("/api/v1/namespaces/{}/configmaps", t.ns);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}});
    let map = t.api.create(&maps, &map).await?;
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner",
                        "uid": uid_of(&map), "controller": true}]);
    let mut alike = Svc::new("web-leader")
        .label("app.kubernetes.io/managed-by", "zen-lead")
        .label("zen-lead.io/source-service", "web")
        .spec("selector", Value::Null);
    alike.0["metadata"]["ownerReferences"] = owner.clone();
    let alike = t.service(alike).await?;
    t.service(Svc::opted_in("web")).await?;
    t.event("web", "LeaderServiceConflict", &["web-leader"])
        .await?;
    t.canary().await?;
    t.untouched(Service, &alike)?;
    // The same for a slice: it is left alone, and ours gets another name.
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "chief", "ownerReferences": owner, "labels": {
            "kubernetes.io/service-name": "elsewhere",
            "endpointslice.kubernetes.io/managed-by": "zen-lead",
            "app.kubernetes.io/managed-by": "zen-lead", "zen-lead.io/source-service": "web",
        }},
        "addressType": "IPv4", "ports": [], "endpoints": [],
    });
    let slice = t.create(Slice, &slice).await?;
    t.ask("web", "leader-service-name", Some("chief")).await?;
    t.obs
        .wait("a slice under another name", crate::harness::SOON, |log| {
            let mut all = log.all(Slice);
            all.any(|now| {
                label(now, "kubernetes.io/service-name") == Some("chief")
                    && crate::harness::waits::publishes(now, &pods[0])
            })
            .then_some(())
        })
        .await?;
    t.canary().await?;
    t.untouched(Slice, &slice)?;
    t.ask("web", "enabled", None).await?;
    t.gone(Service, "chief").await?;
    t.canary().await?;
    t.untouched(Slice, &slice)?;
    t.untouched(Service, &alike)
}

async fn many_services_of_the_same_pods(t: Arc<Test>) -> Result<()> {
    let pods = t.pods("web", 2).await?;
    let names: Vec<_> = (0..20).map(|number| format!("web-{number}")).collect();
    for name in &names {
        let source = Svc::opted_in(name).spec("selector", json!({"app": "web"}));
        t.service(source).await?;
    }
    for name in &names {
        t.leads(&format!("{name}-leader"), &pods[0]).await?;
    }
    let from = t.ready(&pods[0], false).await?;
    let mut last = from;
    for name in &names {
        last = last.max(t.leads(&format!("{name}-leader"), &pods[1]).await?);
        t.never_empty(&[&format!("{name}-leader")], from)?;
    }
    t.say(format!(
        "20 Services moved by one pod in {:.1?}",
        last.duration_since(from)
    ));
    Ok(())
}

async fn flapping_pods_settle(t: Arc<Test>) -> Result<()> {
    let _controller = t.controller(&[]).await?;
    let pods = t.served("web", 3).await?;
    let before = t.writes().await?.len();
    for round in 0..60_usize {
        // All kinds of turns, faster than any answer: pods 0 and 1 end NotReady, 2 ends Ready.
        t.ready(&pods[round % 3], round % 2 == 0 && round < 57)
            .await?;
    }
    t.ready(&pods[0], false).await?;
    t.ready(&pods[1], false).await?;
    t.ready(&pods[2], true).await?;
    t.leads("web-leader", &pods[2]).await?;
    t.identified("web-leader", &pods[2]).await?;
    t.canary().await?;
    t.leads("web-leader", &pods[2]).await?;
    let writes = t.writes().await?.split_off(before);
    let refused = writes.iter().filter(|entry| entry.code == 422).count();
    let slices = writes
        .iter()
        .filter(|entry| entry.resource == "endpointslices" && entry.name == "web-leader");
    let slices = slices.count();
    t.say(format!("63 turns: {slices} writes of the slice"));
    ensure!(refused == 0, "{refused} writes were refused as invalid");
    ensure!(slices <= 75, "{slices} writes of the slice for 63 turns");
    Ok(())
}

async fn endpoints_object_is_reported(t: Arc<Test>) -> Result<()> {
    t.disturbs();
    let mut controller = t.controller(&[]).await?;
    let pods = t.served("web", 1).await?;
    controller.stop().await?;
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web-leader"},
        "subsets": [{"addresses": [{"ip": "192.0.2.8"}], "ports": [{"port": 80, "name": "main"}]}],
    });
    let path = format!("/api/v1/namespaces/{}/endpoints", t.ns);
    t.api.create(&path, &endpoints).await?;
    let mirrored = t
        .obs
        .wait(
            "the Endpoints object is mirrored",
            crate::harness::SOON,
            |log| {
                let by = "endpointslicemirroring-controller.k8s.io";
                let is = |slice: &&Arc<Value>| {
                    label(slice, "endpointslice.kubernetes.io/managed-by") == Some(by)
                };
                log.all(Slice).find(is).cloned()
            },
        )
        .await?;
    let controller = t.controller(&[]).await?;
    let name = crate::harness::objects::name_of(&mirrored);
    t.event(
        "web",
        "LeaderServiceConflict",
        &[name, "endpointslicemirroring"],
    )
    .await?;
    let foreign = controller.metrics().await?.sum(
        "zen_lead_foreign_endpointslices",
        &[("namespace", t.ns.as_str()), ("service", "web")],
    );
    ensure!(
        foreign == Some(1.0),
        "zen_lead_foreign_endpointslices is {foreign:?}"
    );
    t.canary().await?;
    t.untouched(Slice, &mirrored)?;
    t.leads("web-leader", &pods[0]).await.map(drop)
}

/// The mirroring controller waits for a Service of that name, and comes after the leader Service.
async fn waiting_endpoints_object_is_reported(t: Arc<Test>) -> Result<()> {
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web-leader"},
        "subsets": [{"addresses": [{"ip": "192.0.2.8"}], "ports": [{"port": 80, "name": "main"}]}],
    });
    let path = format!("/api/v1/namespaces/{}/endpoints", t.ns);
    t.api.create(&path, &endpoints).await?;
    let pods = t.served("web", 1).await?;
    t.event("web", "LeaderServiceConflict", &["endpointslicemirroring"])
        .await?;
    t.leads("web-leader", &pods[0]).await.map(drop)
}

/// Looks back at everything that the program wrote in the whole run.
async fn writes_only_what_it_may(t: Arc<Test>) -> Result<()> {
    let mut controller = t.controller(&[]).await?;
    let pods = t.served("web", 1).await?;
    let next = t.pod(Pod::new("web-1", "web"), true).await?;
    t.delete_pod(&pods[0], 0).await?;
    t.identified("web-leader", &next).await?;
    controller.stop().await?;
    let all = t.suite.audit.since(0, USER, None)?;
    let writes: Vec<_> = all.iter().filter(|entry| entry.is_write()).collect();
    let kinds: BTreeSet<_> = writes
        .iter()
        .map(|e| format!("{} {}", e.verb, e.resource))
        .collect();
    t.say(format!(
        "{} writes in the whole run: {kinds:?}",
        writes.len()
    ));
    let may = ["services", "endpointslices", "events", "leases"];
    let strange: Vec<_> = writes
        .iter()
        .filter(|entry| !may.contains(&entry.resource.as_str()))
        .collect();
    ensure!(strange.is_empty(), "it wrote {strange:?}");
    // Sources are what the API server knows as opted in: none of them was ever written.
    let sources = t.api.get("/api/v1/services").await?;
    let sources: BTreeSet<_> = sources["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|service| label(service, "zen-lead.io/source-service").is_none())
        .map(|service| {
            (
                text(service, "/metadata/namespace"),
                text(service, "/metadata/name"),
            )
        })
        .collect();
    let touched: Vec<_> = writes
        .iter()
        .filter(|entry| entry.resource == "services" && entry.code < 300)
        .filter(|entry| sources.contains(&(entry.namespace.as_str(), entry.name.as_str())))
        .collect();
    ensure!(
        touched.is_empty(),
        "it wrote sources or strangers: {touched:?}"
    );
    Ok(())
}
