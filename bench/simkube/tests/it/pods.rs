//! Pods: birth, status, and the ways in which they end.

use std::time::Duration;

use serde_json::{Value, json};
use simkube::Kind;

use crate::http::{Lab, PODS};

fn pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"nodeName": "n", "containers": [{"name": "a", "image": "i", "ports": [{"containerPort": 80}]}]},
    })
}

#[tokio::test(start_paused = true)]
async fn a_pod_begins_pending_and_its_status_is_its_own() {
    let lab = Lab::plain();
    let mut object = pod("a");
    object["status"] = json!({"phase": "Running"});
    let made = lab.post(PODS, &object).await.expect(201);
    assert_eq!(made.body["status"]["phase"], "Pending");
    assert_eq!(made.body["metadata"]["generation"], 1);
    assert_eq!(
        made.body["spec"]["containers"][0]["ports"][0]["protocol"],
        "TCP"
    );
    let path = format!("{PODS}/a");
    let running = json!({"status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}});
    assert_eq!(lab.patch(&path, &running).await.expect(200).rv(), made.rv());
    let answer = lab
        .patch(&format!("{path}/status"), &running)
        .await
        .expect(200);
    assert_eq!(answer.body["status"]["phase"], "Running");
    let answer = lab
        .patch(&path, &json!({"spec": {"nodeName": "other"}}))
        .await
        .expect(422);
    assert!(
        answer
            .message()
            .contains("spec: Forbidden: pod updates may not change fields other than")
    );
    for (spec, text) in [
        (json!({"containers": []}), "spec.containers: Required value"),
        (
            json!({"containers": [{"name": "a"}]}),
            "spec.containers[0].image: Required value",
        ),
    ] {
        let answer = lab
            .post(PODS, &json!({"metadata": {"name": "b"}, "spec": spec}))
            .await
            .expect(422);
        assert!(answer.message().contains(text), "{}", answer.text);
    }
}

#[tokio::test(start_paused = true)]
async fn grace_runs() {
    let lab = Lab::plain();
    lab.sim.pod("default", "a").ip("10.0.0.1").create();
    let path = format!("{PODS}/a");
    let answer = lab.delete(&path, &Value::Null).await.expect(200);
    let meta = &answer.body["metadata"];
    assert_eq!(
        (
            &meta["deletionTimestamp"],
            &meta["deletionGracePeriodSeconds"]
        ),
        (&json!("2026-01-01T00:00:30Z"), &json!(30))
    );
    assert_eq!(meta["generation"], 2);
    tokio::time::advance(Duration::from_secs(5)).await;
    // Longer or unspecified: nothing happens. Shorter: it moves.
    for options in [Value::Null, json!({"gracePeriodSeconds": 60})] {
        assert_eq!(
            lab.delete(&path, &options).await.expect(200).body["metadata"],
            *meta
        );
    }
    let answer = lab
        .delete(&path, &json!({"gracePeriodSeconds": 10}))
        .await
        .expect(200);
    assert_eq!(
        answer.body["metadata"]["deletionTimestamp"],
        "2026-01-01T00:00:10Z"
    );
    // Past its time a graceful deletion still waits for the kubelet.
    tokio::time::advance(Duration::from_secs(20)).await;
    let answer = lab
        .delete(&path, &json!({"gracePeriodSeconds": 3}))
        .await
        .expect(200);
    assert_eq!(answer.body["metadata"]["deletionGracePeriodSeconds"], 1);
    assert!(lab.sim.get(Kind::Pod, "default", "a").is_some());
    assert!(lab.sim.finish_termination("default", "a"));
    lab.get(&path).await.expect(404);
}

#[tokio::test(start_paused = true)]
async fn some_pods_go_at_once() {
    let lab = Lab::plain();
    for (name, node, phase) in [
        ("unscheduled", "", "Pending"),
        ("failed", "n", "Failed"),
        ("done", "n", "Succeeded"),
    ] {
        lab.sim
            .pod("default", name)
            .node(node)
            .phase(phase)
            .create();
        lab.delete(&format!("{PODS}/{name}"), &Value::Null)
            .await
            .expect(200);
        assert!(lab.sim.get(Kind::Pod, "default", name).is_none(), "{name}");
    }
    lab.sim.pod("default", "forced").create();
    let mut watch = lab
        .watch(&format!(
            "{PODS}?watch=1&resourceVersion={}",
            lab.sim.resource_version()
        ))
        .await;
    lab.delete(&format!("{PODS}/forced?gracePeriodSeconds=0"), &Value::Null)
        .await
        .expect(200);
    // A forced deletion is seen as the real server shows it: marked, then gone.
    assert_eq!(watch.event().await.0, "MODIFIED");
    assert_eq!(watch.event().await.0, "DELETED");
    // Finalizers outlast grace.
    lab.sim
        .pod("default", "held")
        .with(|p| p["metadata"]["finalizers"] = json!(["a/b"]))
        .create();
    assert!(lab.sim.delete_pod("default", "held", 0));
    assert!(lab.sim.get(Kind::Pod, "default", "held").is_some());
    lab.patch(
        &format!("{PODS}/held"),
        &json!({"metadata": {"finalizers": null}}),
    )
    .await
    .expect(200);
    assert!(lab.sim.get(Kind::Pod, "default", "held").is_none());
}

#[tokio::test(start_paused = true)]
async fn fixtures_do_what_they_say() {
    let lab = Lab::plain();
    let sim = &lab.sim;
    let made = sim
        .pod("default", "a")
        .labels(&[("app", "db")])
        .ips(&["10.0.0.1", "fd00::1"])
        .port("sql", 5432)
        .ready(false)
        .create();
    assert_eq!(made["status"]["conditions"][0]["status"], "False");
    assert_eq!(
        made["status"]["podIPs"],
        json!([{"ip": "10.0.0.1"}, {"ip": "fd00::1"}])
    );
    let before = sim.resource_version();
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(sim.set_ready("default", "a", true));
    let pod = sim.get(Kind::Pod, "default", "a").unwrap();
    assert_eq!(
        pod["status"]["conditions"][0]["lastTransitionTime"],
        "2026-01-01T00:00:01Z"
    );
    assert!(sim.set_ready("default", "a", true), "no change is fine");
    assert_eq!(sim.resource_version(), before + 1);
    assert!(sim.set_ips("default", "a", &[]) && sim.set_phase("default", "a", "Failed"));
    assert!(
        sim.get(Kind::Pod, "default", "a").unwrap()["status"]
            .get("podIP")
            .is_none()
    );
    assert!(sim.label(Kind::Pod, "default", "a", "app", None));
    assert!(sim.annotate(Kind::Pod, "default", "a", "k", Some("v")));
    assert!(!sim.annotate(Kind::Pod, "default", "a", "bad key", Some("v")));
    assert!(!sim.set_ready("default", "missing", true));
    sim.service("default", "s")
        .selector(&[("app", "db")])
        .port("sql", 5432, "sql")
        .annotation("a", "b")
        .label("l", "m")
        .create();
    assert_eq!(
        sim.get(Kind::Service, "default", "s").unwrap()["spec"]["ports"][0]["targetPort"],
        "sql"
    );
    assert_eq!(
        sim.service("default", "t").try_create().unwrap_err().code,
        422
    );
    sim.node("n");
    assert!(sim.requests().is_empty(), "fixtures are no requests");
}
