//! §2 "Ports": names, protocols, and what a pod does not have.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::harness::api::Kind::{Service, Slice};
use crate::harness::objects::{Pod, Svc, port_numbers, text};
use crate::harness::test::Test;
use crate::harness::waits::publishes;
use crate::scenarios;

scenarios! {
    Shared Both ports_named_are_each_pods_own "§2 Ports: named port of the leader pod" "Go failure 8: named ports";
    Shared Both ports_unresolved_are_left_out "§2 Ports: fails closed" "§4 PortResolutionFailed";
    Shared Both ports_none_resolved_is_not_eligible "§2 Ports: a pod that resolves none" "§4 PortResolutionFailed";
    Shared Both ports_more_resolved_are_preferred "§2 Ports: candidates that resolve more";
    Shared Both ports_of_restartable_init_containers "§2 Ports: restartable init containers" needs 29 "restartable init containers";
    Shared Both ports_same_name_other_protocol "§2 Ports: with the same protocol";
    Shared Both ports_renamed_pass_through_both_names "§4 traffic is never cut by a name";
    Shared Both ports_are_mirrored_and_follow "§2 leader Service ports" "§2 appProtocol";
}

fn named(name: &str, port: u16) -> Value {
    json!([{"name": name, "containerPort": port}])
}

fn web(ports: Value) -> Svc {
    Svc::opted_in("web").spec("ports", ports)
}

async fn has_ports(t: &Test, expected: &[(&str, u64)]) -> Result<()> {
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, n)| ((*name).to_owned(), *n))
        .collect();
    let what = format!("ports {expected:?}");
    t.until(Slice, "web-leader", &what, |slice| {
        let mut found = port_numbers(slice);
        found.sort();
        found == expected
    })
    .await
    .map(drop)
}

async fn ports_named_are_each_pods_own(t: Arc<Test>) -> Result<()> {
    let old = t
        .pod(Pod::new("web-0", "web").ports(named("http", 8080)), true)
        .await?;
    let new = t
        .pod(Pod::new("web-1", "web").ports(named("http", 9090)), true)
        .await?;
    t.service(web(
        json!([{"name": "main", "port": 80, "targetPort": "http"}]),
    ))
    .await?;
    t.leads("web-leader", &old).await?;
    has_ports(&t, &[("main", 8080)]).await?;
    t.ready(&old, false).await?;
    t.leads("web-leader", &new).await?;
    has_ports(&t, &[("main", 9090)]).await?;
    // Address and port move in one write: never the one pod with the other's port.
    for seen in t.history(Slice, "web-leader") {
        let port = port_numbers(&seen.object);
        for (pod, number) in [(&old, 8080), (&new, 9090)] {
            if publishes(&seen.object, pod) {
                ensure!(
                    port == [("main".to_owned(), number)],
                    "{} with {port:?}",
                    pod.name
                );
            }
        }
    }
    let leader = t.exists(Service, "web-leader").await?;
    ensure!(
        text(&leader, "/spec/ports/0/targetPort") == "http",
        "targetPort is not mirrored"
    );
    Ok(())
}

async fn ports_unresolved_are_left_out(t: Arc<Test>) -> Result<()> {
    let pods = [
        t.pod(Pod::new("web-0", "web").ports(named("http", 8080)), true)
            .await?,
        t.pod(Pod::new("web-1", "web").ports(named("http", 8080)), true)
            .await?,
    ];
    t.service(web(
        json!([{"name": "main", "port": 80, "targetPort": "http"}]),
    ))
    .await?;
    t.leads("web-leader", &pods[0]).await?;
    // A port is added before the rollout: what works goes on working.
    let from = std::time::Instant::now();
    let ports = json!({"spec": {"ports": [
        {"name": "main", "port": 80, "targetPort": "http", "protocol": "TCP"},
        {"name": "admin", "port": 81, "targetPort": "admin", "protocol": "TCP"},
    ]}});
    t.merge(Service, "web", ports).await?;
    let event = t
        .event("web", "PortResolutionFailed", &["admin", "web-0"])
        .await?;
    ensure!(text(&event, "/type") == "Warning");
    has_ports(&t, &[("main", 8080)]).await?;
    t.never_empty(&["web-leader"], from)?;
    t.until(Service, "web-leader", "both ports are mirrored", |now| {
        now["spec"]["ports"].as_array().map(Vec::len) == Some(2)
    })
    .await?;
    // The rollout: the pod that has both is there.
    let both =
        json!([{"name": "http", "containerPort": 8080}, {"name": "admin", "containerPort": 8081}]);
    let new = t.pod(Pod::new("web-2", "web").ports(both), true).await?;
    for pod in &pods {
        t.delete_pod(pod, 0).await?;
    }
    t.leads("web-leader", &new).await?;
    has_ports(&t, &[("admin", 8081), ("main", 8080)]).await
}

async fn ports_none_resolved_is_not_eligible(t: Arc<Test>) -> Result<()> {
    let bare = t.pod(Pod::new("web-0", "web"), true).await?;
    t.service(web(
        json!([{"name": "main", "port": 80, "targetPort": "http"}]),
    ))
    .await?;
    t.empties("web-leader").await?;
    t.event("web", "PortResolutionFailed", &["web-leader"])
        .await?;
    let good = t
        .pod(Pod::new("web-1", "web").ports(named("http", 8080)), true)
        .await?;
    t.leads("web-leader", &good).await?;
    t.delete_pod(&good, 0).await?;
    t.empties("web-leader").await?;
    // The Service is mended instead.
    let patch = json!([{"op": "replace", "path": "/spec/ports/0/targetPort", "value": 8080}]);
    t.patch(Service, "web", patch).await?;
    t.leads("web-leader", &bare).await.map(drop)
}

async fn ports_more_resolved_are_preferred(t: Arc<Test>) -> Result<()> {
    t.pod(Pod::new("web-0", "web").ports(named("http", 8080)), true)
        .await?;
    let both =
        json!([{"name": "http", "containerPort": 8080}, {"name": "admin", "containerPort": 8081}]);
    let full = t.pod(Pod::new("web-1", "web").ports(both), true).await?;
    // Kinds are watched apart: that the program knows both pods has to be seen, not assumed.
    t.canary().await?;
    t.service(web(json!([
        {"name": "main", "port": 80, "targetPort": "http"},
        {"name": "admin", "port": 81, "targetPort": "admin"},
    ])))
    .await?;
    t.leads("web-leader", &full).await?;
    has_ports(&t, &[("admin", 8081), ("main", 8080)]).await
}

async fn ports_of_restartable_init_containers(t: Arc<Test>) -> Result<()> {
    let inits = json!([
        {"name": "sidecar", "image": "example.com/sidecar:1", "restartPolicy": "Always",
         "ports": [{"name": "proxy", "containerPort": 15001}]},
        {"name": "once", "image": "example.com/once:1",
         "ports": [{"name": "setup", "containerPort": 4444}]},
    ]);
    let pod = Pod::new("web-0", "web").spec("initContainers", inits);
    let pod = t.pod(pod, true).await?;
    t.service(web(json!([
        {"name": "main", "port": 80, "targetPort": "proxy"},
        {"name": "setup", "port": 81, "targetPort": "setup"},
    ])))
    .await?;
    t.leads("web-leader", &pod).await?;
    has_ports(&t, &[("main", 15001)]).await?;
    t.event("web", "PortResolutionFailed", &["setup", "web-0"])
        .await
        .map(drop)
}

async fn ports_same_name_other_protocol(t: Arc<Test>) -> Result<()> {
    let ports = json!([
        {"name": "dns-tcp", "containerPort": 5353, "protocol": "TCP"},
        {"name": "dns", "containerPort": 5300, "protocol": "UDP"},
    ]);
    let pod = t.pod(Pod::new("web-0", "web").ports(ports), true).await?;
    t.service(web(json!([
        {"name": "tcp", "port": 53, "protocol": "TCP", "targetPort": "dns"},
        {"name": "udp", "port": 53, "protocol": "UDP", "targetPort": "dns"},
    ])))
    .await?;
    t.leads("web-leader", &pod).await?;
    has_ports(&t, &[("udp", 5300)]).await?;
    let slice = t.exists(Slice, "web-leader").await?;
    ensure!(text(&slice, "/ports/0/protocol") == "UDP");
    Ok(())
}

async fn ports_are_mirrored_and_follow(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 1).await?;
    let ports = json!([
        {"name": "main", "port": 8000, "targetPort": 9000, "protocol": "TCP",
         "appProtocol": "kubernetes.io/h2c"},
        {"name": "quic", "port": 443, "targetPort": 8443, "protocol": "UDP"},
    ]);
    let from = std::time::Instant::now();
    t.merge(Service, "web", json!({"spec": {"ports": ports}}))
        .await?;
    has_ports(&t, &[("main", 9000), ("quic", 8443)]).await?;
    t.until(Service, "web-leader", "its ports follow", |now| {
        now["spec"]["ports"] == ports
    })
    .await?;
    let slice = t.exists(Slice, "web-leader").await?;
    ensure!(text(&slice, "/ports/0/appProtocol") == "kubernetes.io/h2c");
    t.never_empty(&["web-leader"], from)?;
    t.leads("web-leader", &pods[0]).await?;
    // One unnamed port is allowed too.
    let single = json!({"spec": {"ports": [{"port": 80, "targetPort": 8081, "protocol": "TCP"}]}});
    t.merge(Service, "web", single).await?;
    has_ports(&t, &[("", 8081)]).await
}

async fn ports_renamed_pass_through_both_names(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 1).await?;
    let from = std::time::Instant::now();
    let ports = json!({"spec": {"ports": [
        {"name": "sql", "port": 80, "targetPort": 9000, "protocol": "TCP"},
    ]}});
    t.merge(Service, "web", ports).await?;
    has_ports(&t, &[("sql", 9000)]).await?;
    t.until(Service, "web-leader", "its port is renamed", |now| {
        text(now, "/spec/ports/0/name") == "sql"
    })
    .await?;
    let seen: Vec<_> = t
        .history(Slice, "web-leader")
        .iter()
        .filter(|seen| publishes(&seen.object, &pods[0]))
        .map(|seen| {
            let mut names: Vec<_> = port_numbers(&seen.object)
                .into_iter()
                .map(|p| p.0)
                .collect();
            names.sort();
            names.join(" ")
        })
        .collect();
    let mut steps = seen.clone();
    steps.dedup();
    ensure!(steps == ["main", "main sql", "sql"], "{seen:?}");
    t.never_empty(&["web-leader"], from)
}
