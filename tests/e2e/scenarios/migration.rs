//! An installation of the Go program is replaced in place, and could be put back.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::harness::api::Kind::{Service, Slice};
use crate::harness::objects::{Made, Pod, Svc, annotation, endpoints, label, target_uid, uid_of};
use crate::harness::observe::Change;
use crate::harness::test::Test;
use crate::scenarios;

scenarios! {
    Own Both objects_of_the_go_program_are_adopted "preamble: replaceable in place" "§2 mirrored: without a list" "Go failure 6";
    Own Both a_whole_installation_is_taken_over "preamble: replaceable in place" "same leader, same address, at no moment none or two";
    Own Both dead_leaders_of_the_go_program_are_withdrawn "Go failure 1" "§2 no leader: endpoints []";
    Own Both leaders_lost_in_between_are_replaced "preamble: replaceable in place" "§3 sticky, known from the slice";
    Own Both back_to_the_go_program_and_here_again "preamble: names stay" "rollback";
}

/// When the Go program last moved a leader.
const SWITCHED: &str = "2026-01-02T03:04:05Z";

/// What the Go program makes of a source: its leader Service and its slice.
struct Left<'a> {
    source: &'a Value,
    /// Name of both.
    leader: &'a str,
    /// The pod that it published as ready, whatever became of it.
    pod: &'a Made,
}

impl Left<'_> {
    /// A controller reference as controller-runtime writes it.
    fn owner(object: &Value) -> Value {
        json!([{
            "apiVersion": "v1", "kind": "Service", "name": object["metadata"]["name"],
            "uid": uid_of(object), "controller": true, "blockOwnerDeletion": true,
        }])
    }

    /// Every label and annotation of the source, its inputs included, and no list of them.
    fn service(&self) -> Value {
        let of_source = |field: &str| {
            let map = self.source["metadata"][field].as_object();
            map.cloned().unwrap_or_default()
        };
        let (mut labels, mut annotations) = (of_source("labels"), of_source("annotations"));
        let name = self.source["metadata"]["name"].clone();
        labels.insert("app.kubernetes.io/managed-by".into(), "zen-lead".into());
        labels.insert("zen-lead.io/source-service".into(), name);
        for (key, value) in [
            ("current-leader", self.pod.name.as_str()),
            ("leader-pod-name", &self.pod.name),
            ("leader-pod-uid", &self.pod.uid),
            ("leader-last-switch-time", SWITCHED),
        ] {
            annotations.insert(format!("zen-lead.io/{key}"), value.into());
        }
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": self.leader, "labels": labels, "annotations": annotations,
                "ownerReferences": Self::owner(self.source),
            },
            "spec": {"type": "ClusterIP", "ports": self.source["spec"]["ports"]},
        })
    }

    fn slice(&self, t: &Test, service: &Value) -> Value {
        let mut labels = service["metadata"]["labels"].clone();
        labels["kubernetes.io/service-name"] = self.leader.into();
        labels["endpointslice.kubernetes.io/managed-by"] = "zen-lead".into();
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": self.leader, "labels": labels, "ownerReferences": Self::owner(service),
            },
            "addressType": "IPv4", "endpoints": [endpoint(t, self.pod)],
            "ports": [{"name": "main", "port": 8080, "protocol": "TCP"}],
        })
    }

    /// Makes both.
    async fn make(&self, t: &Test) -> Result<()> {
        let service = t.create(Service, &self.service()).await?;
        t.create(Slice, &self.slice(t, &service)).await?;
        t.exists(Slice, self.leader).await.map(drop)
    }
}

/// One condition instead of three.
fn endpoint(t: &Test, pod: &Made) -> Value {
    json!({
        "addresses": [pod.ips[0]], "conditions": {"ready": true}, "nodeName": "node-a",
        "targetRef": {"kind": "Pod", "namespace": t.ns, "name": pod.name, "uid": pod.uid},
    })
}

/// Waits until a leader Service and its slice are as this program keeps them.
async fn adopted(t: &Test, leader: &str) -> Result<Arc<Value>> {
    let service = t
        .until(Service, leader, "the inherited opt-in goes", |now| {
            annotation(now, "zen-lead.io/enabled").is_none()
                && annotation(now, "zen-lead.io/mirrored").is_some()
        })
        .await?;
    conditions(t, leader).await?;
    let slice = t.exists(Slice, leader).await?;
    let tracked = &slice["metadata"]["managedFields"];
    ensure!(
        tracked.is_null(),
        "managedFields after the first patch: {tracked}"
    );
    Ok(service)
}

/// Waits until the slice says all three conditions of its endpoint.
async fn conditions(t: &Test, leader: &str) -> Result<()> {
    t.until(Slice, leader, "all three conditions", |now| {
        let of = |condition: &str| &now["endpoints"][0]["conditions"][condition];
        *of("serving") == json!(true) && *of("terminating") == json!(false)
    })
    .await
    .map(drop)
}

/// That a client saw, at any time since the Go program's objects were made, this pod as the
/// only endpoint, behind the same address.
fn undisturbed(t: &Test, leader: &str, pod: &Made) -> Result<()> {
    let slices = t.history(Slice, leader);
    let first = slices.first().context("no slice was seen")?;
    for seen in &slices {
        ensure!(seen.change != Change::Deleted, "slice {leader} was deleted");
        ensure!(
            uid_of(&seen.object) == uid_of(&first.object),
            "slice {leader} was made again"
        );
        ensure!(
            crate::harness::waits::publishes(&seen.object, pod),
            "slice {leader} did not publish {} alone: {:?}",
            pod.name,
            endpoints(&seen.object)
        );
    }
    let others = t.obs.look(|log| {
        let of_it = log
            .all(Slice)
            .filter(|slice| label(slice, "kubernetes.io/service-name") == Some(leader));
        of_it.count()
    });
    ensure!(others == 1, "{others} slices under {leader}");
    let services = t.history(Service, leader);
    let first = services.first().context("no Service was seen")?;
    for seen in &services {
        let same = |pointer: &str| seen.object.pointer(pointer) == first.object.pointer(pointer);
        ensure!(
            seen.change != Change::Deleted && same("/metadata/uid"),
            "Service {leader} was made again"
        );
        ensure!(
            same("/spec/clusterIPs"),
            "Service {leader} lost its address"
        );
        ensure!(
            annotation(&seen.object, "zen-lead.io/leader-pod-uid") == Some(&pod.uid),
            "Service {leader} named another pod"
        );
    }
    ensure!(
        annotation(
            &services[services.len() - 1].object,
            "zen-lead.io/leader-last-switch-time"
        ) == Some(SWITCHED),
        "nothing was switched under {leader}"
    );
    Ok(())
}

async fn objects_of_the_go_program_are_adopted(t: Arc<Test>) -> Result<()> {
    t.disturbs();
    let pods = t.pods("web", 3).await?;
    let source = Svc::opted_in("web")
        .asks("sticky", "true")
        .label("team", "blue")
        .annotation("contact", "ops")
        .annotation("kubectl.kubernetes.io/last-applied-configuration", "{}")
        .annotation("example.com/copied", "x");
    let source = t.service(source).await?;
    let left = Left {
        source: &source,
        leader: "web-leader",
        pod: &pods[1],
    };
    left.make(&t).await?;
    let mine =
        json!({"metadata": {"labels": {"mine": "1"}, "annotations": {"example.com/mine": "2"}}});
    t.merge(Service, "web-leader", mine).await?;

    let _controller = t.controller(&[]).await?;
    let service = adopted(&t, "web-leader").await?;
    t.canary().await?;
    undisturbed(&t, "web-leader", &pods[1])?;
    ensure!(
        annotation(&service, "contact") == Some("ops") && label(&service, "team") == Some("blue")
    );
    for copied in [
        "example.com/copied",
        "zen-lead.io/sticky",
        "kubectl.kubernetes.io/last-applied-configuration",
    ] {
        let there = annotation(&service, copied);
        ensure!(
            there.is_none(),
            "{copied} was copied by the Go program only: {there:?}"
        );
    }
    ensure!(
        annotation(&service, "example.com/mine") == Some("2"),
        "the user's own"
    );
    ensure!(label(&service, "mine") == Some("1"), "the user's own");
    let blocks = service["metadata"]["ownerReferences"].to_string();
    ensure!(!blocks.contains("\"blockOwnerDeletion\":true"), "{blocks}");
    ensure!(
        t.event_objects("web", "LeaderChanged") == 0,
        "adoption is no failover"
    );
    ensure!(
        t.event_objects("web-leader", "InvalidService") == 0,
        "a leader Service is no source"
    );
    t.ready(&pods[1], false).await?;
    t.leads("web-leader", &pods[0]).await.map(drop)
}

/// Sources of every kind that the Go program served; the leader is never the oldest pod.
async fn a_whole_installation_is_taken_over(t: Arc<Test>) -> Result<()> {
    t.disturbs();
    let plain = |name: &str| (Svc::opted_in(name), format!("{name}-leader"));
    let mut shapes: Vec<(Svc, String)> = (0..8).map(|n| plain(&format!("app-{n}"))).collect();
    shapes.push((
        Svc::opted_in("named").asks("leader-service-name", "named-primary"),
        "named-primary".into(),
    ));
    shapes.push((
        Svc::opted_in("port").spec(
            "ports",
            json!([{"name": "main", "port": 80, "targetPort": "http", "protocol": "TCP"}]),
        ),
        "port-leader".into(),
    ));
    shapes.push((
        Svc::opted_in("calm").asks("min-ready-duration", "10m"),
        "calm-leader".into(),
    ));
    let mut leaders = Vec::new();
    for (source, leader) in shapes {
        let app = source.0["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let ports = json!([{"name": "http", "containerPort": 8080}]);
        for number in 0..3 {
            let pod = Pod::new(&format!("{app}-{number}"), &app).ports(ports.clone());
            let pod = t.pod(pod, true).await?;
            if number == 2 {
                leaders.push((leader.clone(), pod));
            }
        }
        let source = t.service(source).await?;
        let (leader, pod) = &leaders[leaders.len() - 1];
        let source = &source;
        Left {
            source,
            leader,
            pod,
        }
        .make(&t)
        .await?;
    }
    let mut controller = t.controller(&[]).await?;
    for (leader, _) in &leaders {
        adopted(&t, leader).await?;
    }
    t.canary().await?;
    for (leader, pod) in &leaders {
        undisturbed(&t, leader, pod)?;
    }
    let of_them = |entry: &crate::harness::audit::Entry| {
        leaders.iter().any(|(leader, _)| *leader == entry.name)
    };
    let writes = t
        .writes()
        .await?
        .into_iter()
        .filter(|entry| of_them(entry))
        .count();
    t.say(format!(
        "{} Services taken over with {writes} writes",
        leaders.len()
    ));
    ensure!(
        writes <= 2 * leaders.len(),
        "{writes} writes for {} Services and as many slices",
        leaders.len()
    );
    // A second start finds nothing to do.
    controller.stop().await?;
    let _again = t.controller(&[]).await?;
    t.canary().await?;
    let more = t
        .writes()
        .await?
        .into_iter()
        .filter(|entry| of_them(entry))
        .count();
    ensure!(more == writes, "{} writes after a restart", more - writes);
    Ok(())
}

/// Its empty slice was refused, so that the dead leader stayed published as ready for ever.
async fn dead_leaders_of_the_go_program_are_withdrawn(t: Arc<Test>) -> Result<()> {
    t.disturbs();
    let dead = t.pod(Pod::new("web-0", "web").not_ready(), true).await?;
    let source = t.service(Svc::opted_in("web")).await?;
    let left = Left {
        source: &source,
        leader: "web-leader",
        pod: &dead,
    };
    left.make(&t).await?;
    let address = t.exists(Service, "web-leader").await?["spec"]["clusterIPs"].clone();
    let _controller = t.controller(&[]).await?;
    t.empties("web-leader").await?;
    let service = t
        .until(Service, "web-leader", "no pod is named", |now| {
            annotation(now, "zen-lead.io/leader-pod-uid").is_none()
        })
        .await?;
    ensure!(annotation(&service, "zen-lead.io/current-leader").is_none());
    ensure!(annotation(&service, "zen-lead.io/enabled").is_none());
    ensure!(service["spec"]["clusterIPs"] == address);
    t.event("web", "NoReadyPods", &["web-0 to none", "noneReady"])
        .await?;
    t.ready(&dead, true).await?;
    t.leads("web-leader", &dead).await?;
    t.identified("web-leader", &dead).await.map(drop)
}

/// Between the end of the one program and the start of the other the leader went.
async fn leaders_lost_in_between_are_replaced(t: Arc<Test>) -> Result<()> {
    t.disturbs();
    let mut nexts = Vec::new();
    for app in ["gone", "down"] {
        let pods = t.pods(app, 3).await?;
        let source = t.service(Svc::opted_in(app)).await?;
        let leader = format!("{app}-leader");
        let left = Left {
            source: &source,
            leader: &leader,
            pod: &pods[0],
        };
        left.make(&t).await?;
        if app == "gone" {
            t.delete_pod(&pods[0], 0).await?;
        } else {
            t.ready(&pods[0], false).await?;
        }
        nexts.push((leader, pods[1].clone()));
    }
    let from = Instant::now();
    let _controller = t.controller(&[]).await?;
    for (leader, next) in &nexts {
        t.leads(leader, next).await?;
        t.identified(leader, next).await?;
        t.never_empty(&[leader], from)?;
        for seen in t.history(Slice, leader) {
            let count = endpoints(&seen.object).len();
            ensure!(count == 1, "{count} endpoints at once under {leader}");
        }
    }
    Ok(())
}

/// What the Go program looks at when it takes over again: names, labels, owners, the leader.
fn fit_for_the_go_program(service: &Value, slice: &Value, source: &Value) -> Result<()> {
    for object in [service, slice] {
        for (key, want) in [
            ("app.kubernetes.io/managed-by", "zen-lead"),
            ("zen-lead.io/source-service", "web"),
        ] {
            ensure!(
                label(object, key) == Some(want),
                "{key}: {:?}",
                label(object, key)
            );
        }
    }
    let by = label(slice, "endpointslice.kubernetes.io/managed-by");
    ensure!(
        by == Some("zen-lead") && label(slice, "kubernetes.io/service-name") == Some("web-leader")
    );
    ensure!(service["spec"]["selector"].is_null());
    for (object, owner) in [(service, source), (slice, service)] {
        let first = &object["metadata"]["ownerReferences"][0];
        ensure!(first["uid"] == uid_of(owner) && first["controller"] == json!(true));
    }
    let named = annotation(service, "zen-lead.io/leader-pod-uid");
    ensure!(named == target_uid(slice) && named.is_some(), "{named:?}");
    Ok(())
}

async fn back_to_the_go_program_and_here_again(t: Arc<Test>) -> Result<()> {
    t.disturbs();
    let mut controller = t.controller(&[]).await?;
    let pods = t.served("web", 3).await?;
    controller.stop().await?;
    let service = t.exists(Service, "web-leader").await?;
    let slice = t.exists(Slice, "web-leader").await?;
    let source = t.exists(Service, "web").await?;
    fit_for_the_go_program(&service, &slice, &source)?;

    // It writes its way, and fails over to a pod of its choice.
    let from = Instant::now();
    let annotations = json!({
        "zen-lead.io/enabled": "true", "zen-lead.io/sticky": "true",
        "zen-lead.io/current-leader": pods[2].name, "zen-lead.io/leader-pod-name": pods[2].name, "zen-lead.io/leader-pod-uid": pods[2].uid,
        "zen-lead.io/leader-last-switch-time": SWITCHED,
    });
    let change = json!({"metadata": {"annotations": annotations}});
    t.merge(Service, "web-leader", change).await?;
    let change = json!({"endpoints": [endpoint(&t, &pods[2])]});
    t.merge(Slice, "web-leader", change).await?;
    t.leads("web-leader", &pods[2]).await?;

    let _controller = t.controller(&[]).await?;
    conditions(&t, "web-leader").await?;
    t.canary().await?;
    t.leads("web-leader", &pods[2]).await?;
    let again = t
        .until(Service, "web-leader", "the copied inputs go", |now| {
            let inputs = ["zen-lead.io/enabled", "zen-lead.io/sticky"];
            inputs.iter().all(|key| annotation(now, key).is_none())
        })
        .await?;
    t.never_empty(&["web-leader"], from)?;
    ensure!(uid_of(&again) == uid_of(&service));
    ensure!(again["spec"]["clusterIPs"] == service["spec"]["clusterIPs"]);
    ensure!(annotation(&again, "zen-lead.io/leader-last-switch-time") == Some(SWITCHED));
    ensure!(
        t.event_objects("web", "LeaderChanged") == 0,
        "nothing was switched"
    );
    t.ready(&pods[2], false).await?;
    t.leads("web-leader", &pods[0]).await.map(drop)
}
