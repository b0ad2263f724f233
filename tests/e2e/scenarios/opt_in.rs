//! §1 `enabled`, and §2 "Leaving": how a Service comes in and goes.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::harness::api::Kind::{Service, Slice};
use crate::harness::objects::{Svc, annotation, endpoints, label, text, uid_of};
use crate::harness::observe::Change;
use crate::harness::test::Test;
use crate::scenarios;

scenarios! {
    Shared Both opt_in_creates_both_objects
        "§1 enabled" "§2 leader Service" "§2 EndpointSlice" "§4 Normal events";
    Shared Both opt_in_of_an_old_service "§1 enabled absent -> true";
    Shared Both enabled_typo_keeps_what_is_served "§1 enabled, any other value";
    Shared Both enabled_typo_does_not_opt_in "§1 enabled, any other value";
    Shared Both opt_out_by_removal "§2 Leaving: enabled removed, no garbage collector";
    Shared Both opt_out_by_false_and_back "§2 Leaving: enabled false; §1 enabled";
    Shared Both opt_out_with_the_name "§2 Leaving; Go failure 5: enabled and name removed together";
    Shared Both selector_removed_leaves "§2 Leaving: selector removed" "§4 InvalidService";
    Shared Both source_deleted "§2 Leaving: source deleted, no garbage collector";
    Shared Both source_recreated_at_once "§1 Ours: earlier source of this name";
    Shared Both source_orphans_its_objects "§1 orphan finalizer";
    Shared Both orphan_is_adopted_by_a_new_source "§1 Ours: orphaned";
}

async fn opt_in_creates_both_objects(t: Arc<Test>) -> Result<()> {
    let pods = t.pods("web", 2).await?;
    let source = t.service(Svc::opted_in("web")).await?;
    let seen = t.leads("web-leader", &pods[0]).await?;
    t.say(format!(
        "slice shows the leader, {} writes",
        t.writes().await?.len()
    ));
    let leader = t.identified("web-leader", &pods[0]).await?;

    ensure!(leader["spec"]["selector"].is_null(), "it has a selector");
    ensure!(text(&leader, "/spec/type") == "ClusterIP");
    ensure!(
        leader["spec"]["ports"] == source["spec"]["ports"],
        "ports differ"
    );
    ensure!(label(&leader, "app.kubernetes.io/managed-by") == Some("zen-lead"));
    ensure!(label(&leader, "zen-lead.io/source-service") == Some("web"));
    ensure!(
        owner(&leader, &source),
        "owner {}",
        leader["metadata"]["ownerReferences"]
    );
    for (key, value) in [
        ("current-leader", &pods[0].name),
        ("leader-pod-name", &pods[0].name),
        ("leader-pod-uid", &pods[0].uid),
        ("last-leader-pod-uid", &pods[0].uid),
    ] {
        let found = annotation(&leader, &format!("zen-lead.io/{key}"));
        ensure!(found == Some(value), "{key} is {found:?}");
    }
    let switched = annotation(&leader, "zen-lead.io/leader-last-switch-time").unwrap_or_default();
    switched.parse::<jiff::Timestamp>()?;

    let slice = t.exists(Slice, "web-leader").await?;
    for (key, value) in [
        ("kubernetes.io/service-name", "web-leader"),
        ("endpointslice.kubernetes.io/managed-by", "zen-lead"),
        ("app.kubernetes.io/managed-by", "zen-lead"),
        ("zen-lead.io/source-service", "web"),
    ] {
        ensure!(
            label(&slice, key) == Some(value),
            "label {key} of the slice"
        );
    }
    ensure!(label(&slice, "service.kubernetes.io/headless").is_none());
    ensure!(
        owner(&slice, &leader),
        "owner {}",
        slice["metadata"]["ownerReferences"]
    );
    ensure!(text(&slice, "/addressType") == "IPv4");
    let endpoint = &endpoints(&slice)[0];
    let expected = json!({
        "addresses": [pods[0].ips[0]],
        "conditions": {"ready": true, "serving": true, "terminating": false},
        "nodeName": "node-a",
        "targetRef": {"kind": "Pod", "namespace": t.ns, "name": pods[0].name, "uid": pods[0].uid},
    });
    ensure!(*endpoint == expected, "endpoint {endpoint}");
    let ports = json!([{"name": "main", "port": 8080, "protocol": "TCP"}]);
    ensure!(slice["ports"] == ports, "ports {}", slice["ports"]);

    for reason in ["LeaderServiceCreated", "LeaderRoutingAvailable"] {
        let event = t.event("web", reason, &["web-leader"]).await?;
        ensure!(text(&event, "/type") == "Normal");
        let by = [
            text(&event, "/reportingComponent"),
            text(&event, "/source/component"),
        ];
        ensure!(by.contains(&"zen-lead-controller"), "reported by {by:?}");
    }
    t.canary().await?;
    t.never_empty(&["web-leader"], seen)?;
    let kinds: Vec<_> = t
        .history(Service, "web")
        .iter()
        .map(|seen| seen.change)
        .collect();
    ensure!(
        kinds == [Change::Added],
        "the source was written: {kinds:?}"
    );
    Ok(())
}

fn owner(object: &Value, owner: &Value) -> bool {
    let references = object["metadata"]["ownerReferences"].as_array();
    references.is_some_and(|references| {
        references.len() == 1
            && text(&references[0], "/uid") == uid_of(owner)
            && text(&references[0], "/kind") == "Service"
            && references[0]["controller"] == json!(true)
            && references[0]["blockOwnerDeletion"] != json!(true)
    })
}

async fn opt_in_of_an_old_service(t: Arc<Test>) -> Result<()> {
    let pods = t.pods("web", 1).await?;
    t.service(Svc::new("web")).await?;
    t.canary().await?;
    ensure!(
        t.history(Service, "web-leader").is_empty(),
        "served without being asked"
    );
    t.ask("web", "enabled", Some("true")).await?;
    t.leads("web-leader", &pods[0]).await.map(drop)
}

async fn enabled_typo_keeps_what_is_served(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    let served = t.exists(Slice, "web-leader").await?;
    t.ask("web", "enabled", Some("yes")).await?;
    let words = ["zen-lead.io/enabled", "yes", "true"];
    let event = t.event("web", "InvalidAnnotation", &words).await?;
    ensure!(text(&event, "/type") == "Warning");
    t.canary().await?;
    t.untouched(Slice, &served)?;
    // And served means served: a failover happens.
    t.ready(&pods[0], false).await?;
    t.leads("web-leader", &pods[1]).await.map(drop)
}

async fn enabled_typo_does_not_opt_in(t: Arc<Test>) -> Result<()> {
    t.pods("web", 1).await?;
    t.service(Svc::new("web").asks("enabled", "True")).await?;
    t.event("web", "InvalidAnnotation", &["zen-lead.io/enabled", "True"])
        .await?;
    t.canary().await?;
    ensure!(
        t.history(Service, "web-leader").is_empty(),
        "served in spite of the typo"
    );
    Ok(())
}

async fn opt_out_by_removal(t: Arc<Test>) -> Result<()> {
    t.served("web", 2).await?;
    t.ask("web", "enabled", None).await?;
    t.withdrawn("web-leader").await?;
    t.traffic_went_first("web-leader")
}

async fn opt_out_by_false_and_back(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    t.ask("web", "enabled", Some("false")).await?;
    t.withdrawn("web-leader").await?;
    t.traffic_went_first("web-leader")?;
    t.ask("web", "enabled", Some("true")).await?;
    t.leads("web-leader", &pods[0]).await?;
    // Out and in faster than anything can be taken down.
    t.ask("web", "enabled", None).await?;
    t.ask("web", "enabled", Some("true")).await?;
    t.canary().await?;
    t.leads("web-leader", &pods[0]).await?;
    t.exists(Service, "web-leader").await.map(drop)
}

async fn opt_out_with_the_name(t: Arc<Test>) -> Result<()> {
    let pods = t.pods("web", 1).await?;
    t.service(Svc::opted_in("web").asks("leader-service-name", "chief"))
        .await?;
    t.leads("chief", &pods[0]).await?;
    let patch = json!({"metadata": {"annotations": {
        "zen-lead.io/enabled": null, "zen-lead.io/leader-service-name": null,
    }}});
    t.merge(Service, "web", patch).await?;
    t.withdrawn("chief").await?;
    ensure!(t.history(Service, "web-leader").is_empty());
    Ok(())
}

async fn selector_removed_leaves(t: Arc<Test>) -> Result<()> {
    t.served("web", 1).await?;
    t.merge(Service, "web", json!({"spec": {"selector": null}}))
        .await?;
    t.event("web", "InvalidService", &["selector"]).await?;
    t.withdrawn("web-leader").await?;
    t.traffic_went_first("web-leader")
}

async fn source_deleted(t: Arc<Test>) -> Result<()> {
    t.served("web", 1).await?;
    t.delete(Service, "web").await?;
    t.withdrawn("web-leader").await?;
    t.traffic_went_first("web-leader")
}

async fn source_recreated_at_once(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    t.delete(Service, "web").await?;
    let source = t.service(Svc::opted_in("web")).await?;
    t.obs
        .wait(
            "the new source's leader Service",
            crate::harness::SOON,
            |log| {
                let leader = log.get(Service, "web-leader")?;
                let slice = log.get(Slice, "web-leader")?;
                (owner(leader, &source) && owner(slice, leader)).then_some(())
            },
        )
        .await?;
    t.leads("web-leader", &pods[0]).await.map(drop)
}

async fn source_orphans_its_objects(t: Arc<Test>) -> Result<()> {
    t.served("web", 1).await?;
    let leader = t.exists(Service, "web-leader").await?;
    let slice = t.exists(Slice, "web-leader").await?;
    // As `kubectl delete --cascade=orphan`; the harness plays the garbage collector.
    let options = json!({"propagationPolicy": "Orphan"});
    t.api.delete(&t.path(Service, "web"), &options).await?;
    t.until(Service, "web", "the source is terminating", |now| {
        !now["metadata"]["deletionTimestamp"].is_null()
    })
    .await?;
    t.canary().await?;
    t.untouched(Service, &leader)?;
    t.untouched(Slice, &slice)?;
    let released = t
        .merge(
            Service,
            "web-leader",
            json!({"metadata": {"ownerReferences": null}}),
        )
        .await?;
    t.merge(Service, "web", json!({"metadata": {"finalizers": null}}))
        .await?;
    t.gone(Service, "web").await?;
    t.canary().await?;
    t.untouched(Service, &released)?;
    t.untouched(Slice, &slice)
}

async fn orphan_is_adopted_by_a_new_source(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    let leader = t.exists(Service, "web-leader").await?;
    let from = t.leads("web-leader", &pods[0]).await?;
    let options = json!({"propagationPolicy": "Orphan"});
    t.api.delete(&t.path(Service, "web"), &options).await?;
    t.merge(
        Service,
        "web-leader",
        json!({"metadata": {"ownerReferences": null}}),
    )
    .await?;
    t.merge(Service, "web", json!({"metadata": {"finalizers": null}}))
        .await?;
    t.gone(Service, "web").await?;
    let source = t.service(Svc::opted_in("web")).await?;
    let adopted = t
        .until(Service, "web-leader", "the orphan is adopted", |now| {
            owner(now, &source)
        })
        .await?;
    ensure!(
        uid_of(&adopted) == uid_of(&leader),
        "made again instead of adopted"
    );
    t.canary().await?;
    t.leads("web-leader", &pods[0]).await?;
    t.never_empty(&["web-leader"], from)?;
    // A pod that never led cannot have been published.
    let strangers = t.history(Slice, "web-leader");
    let other = |slice: &Value| text(slice, "/endpoints/0/targetRef/uid") == pods[1].uid;
    ensure!(
        !strangers.iter().any(|seen| other(&seen.object)),
        "the leader changed"
    );
    Ok(())
}
