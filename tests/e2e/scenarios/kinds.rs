//! §1 `leader-service-type` and `leader-service-annotations`; §2 which kinds of sources are served.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::harness::SOON;
use crate::harness::api::Kind::{Service, Slice};
use crate::harness::api::Patch;
use crate::harness::objects::{Svc, annotation, label, text, uid_of};
use crate::harness::test::Test;
use crate::scenarios;

scenarios! {
    Shared Both type_of_the_source_is_not_copied "§1 leader-service-type default" "§2 nodePort never copied" "Go failure 4";
    Shared Both type_node_port_and_back_in_place "§1 leader-service-type NodePort" "§2 other changes of type in place";
    Shared Both type_load_balancer_is_never_public_by_accident "§1 leader-service-type LoadBalancer";
    Shared Both type_load_balancer_class_changes_in_two_patches "§1 a changed class needs two patches";
    Shared Both type_load_balancer_ranges_are_asked_for "§1 leader-service-source-ranges" "§1 a restriction is never lifted by us";
    Shared Both type_headless_on_and_off "§1 leader-service-type Headless" "§2 Leaving: Headless on or off" "§2 headless label";
    Shared Both type_headless_needs_no_ports "§1 no ports (unless Headless)";
    Shared Both type_invalid_keeps_the_last "§1 leader-service-type invalid";
    Shared Both headless_source_gets_a_cluster_ip "§1 leader-service-type default";
    Shared Both refused_external_name "§1 ExternalName" "§4 InvalidService" "Go failure 4";
    Shared Both refused_without_selector_or_ports "§1 no selector, no ports" "§4 InvalidService";
    Shared Both annotations_of_the_leader_service "§1 leader-service-annotations";
    Shared Both annotations_of_the_leader_service_invalid "§1 leader-service-annotations invalid";
}

async fn type_of_the_source_is_not_copied(t: Arc<Test>) -> Result<()> {
    for (name, kind) in [("node", "NodePort"), ("balanced", "LoadBalancer")] {
        let source = Svc::opted_in(name)
            .spec("type", json!(kind))
            .spec("sessionAffinity", json!("ClientIP"))
            .spec("internalTrafficPolicy", json!("Local"))
            .spec("externalTrafficPolicy", json!("Local"));
        t.served_as(source, name, 1).await?;
        let leader = t.exists(Service, &format!("{name}-leader")).await?;
        ensure!(
            text(&leader, "/spec/type") == "ClusterIP",
            "type {}",
            leader["spec"]["type"]
        );
        ensure!(
            leader["spec"]["ports"][0]["nodePort"].is_null(),
            "nodePort copied"
        );
        ensure!(text(&leader, "/spec/sessionAffinity") == "None");
        ensure!(text(&leader, "/spec/internalTrafficPolicy") == "Cluster");
    }
    Ok(())
}

async fn type_node_port_and_back_in_place(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 1).await?;
    let before = t.exists(Service, "web-leader").await?;
    for (asked, kind) in [
        (Some("NodePort"), "NodePort"),
        (Some("LoadBalancer"), "LoadBalancer"),
        (None, "ClusterIP"),
    ] {
        t.ask("web", "leader-service-type", asked).await?;
        let now = t
            .until(Service, "web-leader", &format!("type {kind}"), |now| {
                text(now, "/spec/type") == kind
            })
            .await?;
        ensure!(uid_of(&now) == uid_of(&before), "made again for {kind}");
        ensure!(now["spec"]["clusterIP"] == before["spec"]["clusterIP"]);
        let port = now["spec"]["ports"][0]["nodePort"].as_u64();
        ensure!(
            port.is_some() == (kind != "ClusterIP"),
            "nodePort {port:?} of {kind}"
        );
    }
    t.canary().await?;
    let from = t.leads("web-leader", &pods[0]).await?;
    t.never_empty(&["web-leader"], from)
}

async fn type_load_balancer_is_never_public_by_accident(t: Arc<Test>) -> Result<()> {
    let source = Svc::opted_in("web")
        .asks("leader-service-type", "LoadBalancer")
        .spec("type", json!("LoadBalancer"))
        .spec("loadBalancerClass", json!("example.com/internal"))
        .spec("loadBalancerSourceRanges", json!(["192.0.2.0/24"]));
    t.served_as(source, "web", 1).await?;
    let first = &t.history(Service, "web-leader")[0].object;
    ensure!(text(first, "/spec/type") == "LoadBalancer");
    ensure!(
        first["spec"]["loadBalancerSourceRanges"] == json!(["192.0.2.0/24"]),
        "public at first"
    );
    ensure!(text(first, "/spec/loadBalancerClass") == "example.com/internal");
    let ranges = json!({"spec": {"loadBalancerSourceRanges": ["198.51.100.0/24"]}});
    t.merge(Service, "web", ranges.clone()).await?;
    t.until(Service, "web-leader", "the ranges follow", |now| {
        now["spec"]["loadBalancerSourceRanges"] == ranges["spec"]["loadBalancerSourceRanges"]
    })
    .await
    .map(drop)
}

/// Plays the controller of a load balancer class.
async fn balance(t: &Test, ingress: Value, finalizers: Value) -> Result<()> {
    let path = format!("{}/status", t.path(Service, "web-leader"));
    let status = json!({"status": {"loadBalancer": {"ingress": ingress}}});
    t.api.patch(&path, Patch::Merge, &status).await?;
    let finalizers = json!({"metadata": {"finalizers": finalizers}});
    t.merge(Service, "web-leader", finalizers).await.map(drop)
}

async fn type_load_balancer_class_changes_in_two_patches(t: Arc<Test>) -> Result<()> {
    let source = Svc::opted_in("web")
        .asks("leader-service-type", "LoadBalancer")
        .spec("type", json!("LoadBalancer"))
        .spec("loadBalancerClass", json!("example.com/a"));
    let pods = t.served_as(source, "web", 1).await?;
    let before = t.exists(Service, "web-leader").await?;
    let cleanup = json!(["service.kubernetes.io/load-balancer-cleanup"]);
    balance(&t, json!([{"ip": "192.0.2.1"}]), cleanup.clone()).await?;
    t.merge(Service, "web", json!({"spec": {"type": "ClusterIP"}}))
        .await?;
    t.canary().await?;
    let now = t.exists(Service, "web-leader").await?;
    ensure!(text(&now, "/spec/loadBalancerClass") == "example.com/a");
    let other = json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": "example.com/b"}});
    t.merge(Service, "web", other).await?;
    t.until(Service, "web-leader", "out of the type", |now| {
        text(now, "/spec/type") == "ClusterIP" && now["spec"]["loadBalancerClass"].is_null()
    })
    .await?;
    // The controller of the former class takes its time.
    t.canary().await?;
    let now = t.exists(Service, "web-leader").await?;
    ensure!(text(&now, "/spec/type") == "ClusterIP", "not seen by it");
    balance(&t, json!([]), cleanup).await?;
    t.canary().await?;
    let now = t.exists(Service, "web-leader").await?;
    ensure!(text(&now, "/spec/type") == "ClusterIP", "not cleaned up");
    balance(&t, json!([]), Value::Null).await?;
    let now = t
        .until(Service, "web-leader", "back in", |now| {
            text(now, "/spec/type") == "LoadBalancer"
                && text(now, "/spec/loadBalancerClass") == "example.com/b"
        })
        .await?;
    ensure!(uid_of(&now) == uid_of(&before), "made again");
    let from = t.leads("web-leader", &pods[0]).await?;
    t.never_empty(&["web-leader"], from)
}

async fn type_load_balancer_ranges_are_asked_for(t: Arc<Test>) -> Result<()> {
    const RANGES: &str = "leader-service-source-ranges";
    let source = Svc::opted_in("web")
        .asks("leader-service-type", "LoadBalancer")
        .asks(RANGES, "192.0.2.0/24,2001:db8::/32");
    t.served_as(source, "web", 1).await?;
    let has = |ranges: Value| move |now: &Value| now["spec"]["loadBalancerSourceRanges"] == ranges;
    let both = json!(["192.0.2.0/24", "2001:db8::/32"]);
    let first = &t.history(Service, "web-leader")[0].object;
    ensure!(has(both.clone())(first), "open to all at first");
    t.ask("web", RANGES, Some("192.0.2.0/99")).await?;
    t.event(
        "web",
        "InvalidAnnotation",
        &[RANGES, "192.0.2.0/99", "CIDR"],
    )
    .await?;
    t.canary().await?;
    ensure!(has(both)(
        &t.exists(Service, "web-leader").await?.as_ref().clone()
    ));
    t.ask("web", RANGES, Some("198.51.100.7/32")).await?;
    t.until(
        Service,
        "web-leader",
        "an edit follows",
        has(json!(["198.51.100.7/32"])),
    )
    .await?;
    t.ask("web", RANGES, None).await?;
    t.canary().await?;
    let now = t.exists(Service, "web-leader").await?;
    ensure!(has(json!(["198.51.100.7/32"]))(&now), "lifted");
    // What a user sets there stays as well.
    let mine = json!({"spec": {"loadBalancerSourceRanges": ["203.0.113.0/24"]}});
    t.merge(Service, "web-leader", mine).await?;
    t.canary().await?;
    let now = t.exists(Service, "web-leader").await?;
    ensure!(has(json!(["203.0.113.0/24"]))(&now), "a user's is lifted");
    Ok(())
}

async fn type_headless_on_and_off(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 1).await?;
    let before = t.exists(Service, "web-leader").await?;
    for (asked, is_headless) in [(Some("Headless"), true), (None, false)] {
        t.ask("web", "leader-service-type", asked).await?;
        t.obs
            .wait(&format!("headless: {is_headless}"), SOON, |log| {
                let now = log.get(Service, "web-leader")?;
                let slice = log.get(Slice, "web-leader")?;
                let has_label = label(slice, "service.kubernetes.io/headless").is_some();
                let is = text(now, "/spec/clusterIP") == "None";
                (is == is_headless && has_label == is_headless && uid_of(now) != uid_of(&before))
                    .then_some(())
            })
            .await?;
        t.leads("web-leader", &pods[0]).await?;
    }
    t.traffic_went_first("web-leader")
}

async fn type_headless_needs_no_ports(t: Arc<Test>) -> Result<()> {
    let source = Svc::opted_in("web")
        .asks("leader-service-type", "Headless")
        .spec("clusterIP", json!("None"))
        .spec("ports", Value::Null);
    let pods = t.pods("web", 2).await?;
    t.service(source).await?;
    t.leads("web-leader", &pods[0]).await?;
    t.ready(&pods[0], false).await?;
    t.leads("web-leader", &pods[1]).await.map(drop)
}

async fn type_invalid_keeps_the_last(t: Arc<Test>) -> Result<()> {
    let source = Svc::opted_in("web").asks("leader-service-type", "NodePort");
    t.served_as(source, "web", 1).await?;
    t.ask("web", "leader-service-type", Some("nodeport"))
        .await?;
    t.event(
        "web",
        "InvalidAnnotation",
        &["leader-service-type", "nodeport", "LoadBalancer"],
    )
    .await?;
    t.canary().await?;
    let now = t.exists(Service, "web-leader").await?;
    ensure!(
        text(&now, "/spec/type") == "NodePort",
        "type {}",
        now["spec"]["type"]
    );
    Ok(())
}

async fn headless_source_gets_a_cluster_ip(t: Arc<Test>) -> Result<()> {
    t.served_as(
        Svc::opted_in("web").spec("clusterIP", json!("None")),
        "web",
        1,
    )
    .await?;
    let leader = t.exists(Service, "web-leader").await?;
    ensure!(
        text(&leader, "/spec/clusterIP") != "None",
        "headless without being asked"
    );
    let slice = t.exists(Slice, "web-leader").await?;
    ensure!(label(&slice, "service.kubernetes.io/headless").is_none());
    Ok(())
}

async fn refused(t: &Test, name: &str, words: &[&str]) -> Result<()> {
    let event = t.event(name, "InvalidService", words).await?;
    ensure!(text(&event, "/type") == "Warning");
    t.canary().await?;
    ensure!(
        t.history(Service, &format!("{name}-leader")).is_empty(),
        "{name} is served"
    );
    Ok(())
}

async fn refused_external_name(t: Arc<Test>) -> Result<()> {
    let source = Svc::opted_in("far")
        .spec("type", json!("ExternalName"))
        .spec("externalName", json!("db.example.com"))
        .spec("selector", Value::Null);
    t.service(source).await?;
    refused(&t, "far", &["ExternalName"]).await?;
    // One that is served and becomes so.
    t.served("web", 1).await?;
    let patch = json!({"spec": {
        "type": "ExternalName", "externalName": "db.example.com",
        "clusterIP": null, "clusterIPs": null, "ipFamilies": null, "ipFamilyPolicy": null,
        "internalTrafficPolicy": null, "sessionAffinity": "None",
    }});
    t.merge(Service, "web", patch).await?;
    t.event("web", "InvalidService", &["ExternalName"]).await?;
    t.withdrawn("web-leader").await
}

async fn refused_without_selector_or_ports(t: Arc<Test>) -> Result<()> {
    t.service(Svc::opted_in("blind").spec("selector", Value::Null))
        .await?;
    refused(&t, "blind", &["selector"]).await?;
    let portless = Svc::opted_in("portless")
        .spec("clusterIP", json!("None"))
        .spec("ports", Value::Null);
    t.service(portless).await?;
    refused(&t, "portless", &["ports"]).await?;
    // Mended, it is served.
    let pods = t.pods("blind", 1).await?;
    t.merge(
        Service,
        "blind",
        json!({"spec": {"selector": {"app": "blind"}}}),
    )
    .await?;
    t.leads("blind-leader", &pods[0]).await.map(drop)
}

async fn annotations_of_the_leader_service(t: Arc<Test>) -> Result<()> {
    const ANNOTATIONS: &str = "leader-service-annotations";
    let source = Svc::opted_in("web").asks(
        ANNOTATIONS,
        r#"{"example.com/a":"1","external-dns.alpha.kubernetes.io/hostname":"db.example.com"}"#,
    );
    t.served_as(source, "web", 1).await?;
    let first = &t.history(Service, "web-leader")[0].object;
    ensure!(
        annotation(first, "example.com/a") == Some("1"),
        "not from the first create on"
    );
    let hostname = annotation(first, "external-dns.alpha.kubernetes.io/hostname");
    ensure!(hostname == Some("db.example.com"));
    t.ask("web", ANNOTATIONS, Some(r#"{"example.com/a":"2","b":"3"}"#))
        .await?;
    t.until(Service, "web-leader", "the edit follows", |now| {
        annotation(now, "example.com/a") == Some("2")
            && annotation(now, "b") == Some("3")
            && annotation(now, "external-dns.alpha.kubernetes.io/hostname").is_none()
    })
    .await?;
    t.ask("web", ANNOTATIONS, None).await?;
    t.until(Service, "web-leader", "all of them go", |now| {
        annotation(now, "example.com/a").is_none() && annotation(now, "b").is_none()
    })
    .await
    .map(drop)
}

async fn annotations_of_the_leader_service_invalid(t: Arc<Test>) -> Result<()> {
    const ANNOTATIONS: &str = "leader-service-annotations";
    let source = Svc::opted_in("web").asks(ANNOTATIONS, r#"{"example.com/a":"1"}"#);
    t.served_as(source, "web", 1).await?;
    for (bad, word) in [
        ("[1]", "JSON object"),
        (r#"{"example.com/a":1}"#, "JSON object"),
        (r#"{"zen-lead.io/sticky":"false"}"#, "zen-lead.io/sticky"),
        (r#"{"no such key":"x"}"#, "no such key"),
    ] {
        t.ask("web", ANNOTATIONS, Some(bad)).await?;
        t.event("web", "InvalidAnnotation", &[ANNOTATIONS, word])
            .await?;
        t.canary().await?;
        let now = t.exists(Service, "web-leader").await?;
        ensure!(
            annotation(&now, "example.com/a") == Some("1"),
            "{bad} took the last valid ones"
        );
        ensure!(annotation(&now, "zen-lead.io/sticky").is_none());
    }
    Ok(())
}
