//! JSON and protobuf: whatever the server sends means the same in both encodings.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use zen_lead::logic::model::{Lease, Pod, Service, Slice};

use crate::harness::api::Kind;
use crate::harness::encodings::{ENCODINGS, agree, refusal, same_watch};
use crate::harness::test::Test;
use crate::scenarios;

scenarios! {
    Shared Both both_encodings_mean_the_same "§6 --watch-encoding: lists, watches and refusals mean the same in both encodings";
}

fn pods() -> [Value; 3] {
    let ports =
        json!([{"name": "http", "containerPort": 8080}, {"containerPort": 53, "protocol": "UDP"}]);
    let container = |name: &str, ports: &Value| json!({"name": name, "image": "x", "ports": ports});
    let mut sidecar = container(
        "side",
        &json!([{"name": "side", "containerPort": 9, "protocol": "SCTP"}]),
    );
    sidecar["restartPolicy"] = "Always".into();
    [
        json!({
            "metadata": {"name": "rich", "labels": {"app": "rich"},
                "annotations": {"zen-lead.io/priority": "7", "example.com/text": "é\n\"\u{1F600}"}},
            "spec": {"containers": [container("c", &ports)], "initContainers": [container("once", &ports), sidecar]},
        }),
        json!({
            "metadata": {"name": "of-a-job", "finalizers": ["example.com/hold"], "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "4fd5a30e-7c2f-4a0c-9d5c-0c7c3d0f1b22", "controller": true}]},
            "spec": {"containers": [container("c", &json!([]))], "hostNetwork": true, "hostname": "h"},
        }),
        json!({"metadata": {"name": "plain"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}),
    ]
}

fn services() -> [Value; 4] {
    let ports = json!([
        {"name": "a", "port": 80, "targetPort": "http", "appProtocol": "kubernetes.io/h2c"},
        {"name": "b", "port": 53, "protocol": "UDP", "targetPort": 5353}
    ]);
    let make = |name: &str, spec: Value| json!({"metadata": {"name": name, "annotations": {"a": "", "b": "é"}}, "spec": spec});
    [
        make(
            "ports",
            json!({"selector": {"app": "rich"}, "ports": ports, "type": "NodePort"}),
        ),
        make(
            "headless",
            json!({"clusterIP": "None", "publishNotReadyAddresses": true, "ports": [{"port": 1}]}),
        ),
        make(
            "outside",
            json!({"type": "ExternalName", "externalName": "example.com"}),
        ),
        make(
            "balanced",
            json!({"type": "LoadBalancer", "ports": ports, "loadBalancerClass": "example.com/lb",
            "loadBalancerSourceRanges": ["10.0.0.0/8"], "ipFamilyPolicy": "PreferDualStack"}),
        ),
    ]
}

fn slices() -> [Value; 2] {
    [
        json!({
            "metadata": {"name": "full", "labels": {"kubernetes.io/service-name": "ports"}}, "addressType": "IPv4",
            "endpoints": [{
                "addresses": ["10.1.2.3"], "conditions": {"ready": true, "serving": false}, "hostname": "h",
                "nodeName": "n", "zone": "z", "hints": {"forZones": [{"name": "z"}]},
                "targetRef": {"kind": "Pod", "namespace": "n", "name": "p", "uid": "u"}}, {"addresses": ["10.1.2.4"]}],
            "ports": [{"name": "", "port": 80, "protocol": "TCP"}, {"name": "x", "port": 81, "appProtocol": "http"}],
        }),
        json!({"metadata": {"name": "empty"}, "addressType": "IPv6", "endpoints": [], "ports": []}),
    ]
}

async fn both_encodings_mean_the_same(t: Arc<Test>) -> Result<()> {
    let before = t.api.get(&Kind::Pod.path(&t.ns)).await?;
    let before = before["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default();
    for pod in pods() {
        t.create(Kind::Pod, &pod).await?;
    }
    for service in services() {
        t.create(Kind::Service, &service).await?;
    }
    for slice in slices() {
        t.create(Kind::Slice, &slice).await?;
    }
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", t.ns);
    let lease = json!({"metadata": {"name": "full"}, "spec": {
        "holderIdentity": "a_b", "leaseDurationSeconds": 15, "leaseTransitions": 0,
        "acquireTime": "2026-01-01T00:00:00.000001Z", "renewTime": "2026-01-01T00:00:00.500000Z"}});
    t.api.create(&leases, &lease).await?;
    let empty = json!({"metadata": {"name": "empty"}, "spec": {"leaseDurationSeconds": 1}});
    t.api.create(&leases, &empty).await?;
    let status = json!({"status": {"phase": "Running", "podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.9"}, {"ip": "fd00::9"}],
        "conditions": [{"type": "DisruptionTarget", "status": "True", "lastTransitionTime": "2026-01-01T00:00:01Z"},
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:02Z"}]}});
    let path = format!("{}/status", t.path(Kind::Pod, "rich"));
    t.api
        .patch(&path, crate::harness::api::Patch::Merge, &status)
        .await?;
    t.delete(Kind::Pod, "of-a-job").await?;
    t.delete(Kind::Pod, "plain").await?;
    t.delete(Kind::Service, "headless").await?;
    t.canary().await?;

    let client = t.api.client();
    let listed = agree(client, &t.ns).await?;
    let since = [("resourceVersion", before), ("allowWatchBookmarks", "true")];
    let initial = [
        ("sendInitialEvents", "true"),
        ("resourceVersionMatch", "NotOlderThan"),
        ("allowWatchBookmarks", "true"),
    ];
    let mut seen = 0;
    for query in [&since[..], &initial] {
        seen += same_watch::<Pod>(client, &t.ns, query).await?
            + same_watch::<Service>(client, &t.ns, query).await?
            + same_watch::<Slice>(client, &t.ns, query).await?
            + same_watch::<Lease>(client, &t.ns, query).await?;
    }
    ensure!(listed > 8 && seen > 12, "{listed} objects, {seen} frames");
    t.say(format!(
        "{listed} objects and {seen} frames in both encodings"
    ));

    let mut refusals = Vec::new();
    for encoding in ENCODINGS {
        refusals.push(refusal::<Pod>(client, &t.ns, "missing", encoding).await?);
    }
    ensure!(refusals[0] == refusals[1], "{refusals:?}");
    let release = json!([{"op": "remove", "path": "/metadata/finalizers"}]);
    t.patch(Kind::Pod, "of-a-job", release).await?;
    Ok(())
}
