//! How a leader is followed by another one, or by none.

use std::sync::Arc;

use serde_json::Value;
use simkube::{Kind, Options, Refusal};

use crate::support::{NS, World, ms, secs};

/// §3, §4: whatever ends a leader, three requests and one event, and the right reason.
#[tokio::test(start_paused = true)]
async fn a_failover_is_three_requests() {
    check_failover("notReady", |world| world.kube.set_ready(NS, "a", false)).await;
    // Even without grace the server shows the pod as terminating first.
    check_failover("deleted", |world| world.kube.delete_pod(NS, "a", 0)).await;
    check_failover("terminating", |world| world.kube.delete_pod(NS, "a", 30)).await;
    check_failover("notReady", |world| world.kube.set_phase(NS, "a", "Failed")).await;
    check_failover("noIP", |world| world.kube.set_ips(NS, "a", &[])).await;
    check_failover("noIP", |world| {
        world.kube.set_ips(NS, "a", &["169.254.0.1"])
    })
    .await;
    check_failover("unlabelled", |world| {
        world.kube.label(Kind::Pod, NS, "a", "app", None)
    })
    .await;
    check_failover("disrupted", |world| {
        world
            .kube
            .set_condition(NS, "a", "DisruptionTarget", "True")
    })
    .await;
}

async fn check_failover(reason: &str, act: impl FnOnce(&World) -> bool) {
    let world = World::serving(&["a", "b", "c"]).await;
    world.clear();
    assert!(act(&world), "{reason}: the cluster plays along");
    let took = world.until_leader("web", "b").await;
    assert!(took <= ms(5), "{reason} took {took:?}");
    world.settle().await;
    world.assert_words(
        reason,
        &[
            "patch EndpointSlice web-leader",
            "patch Service web-leader",
            "create Event LeaderChanged",
        ],
    );
    let told = world.told("web", "LeaderChanged");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with(&format!(
            "LeaderChanged: Leader changed from a to b ({reason}, "
        )) && told[0].ends_with("Routing available at web-leader (1)"),
        "{told:?}"
    );
    let slice = world.slice("web").expect("it stays");
    let trigger =
        &slice["metadata"]["annotations"]["endpoints.kubernetes.io/last-change-trigger-time"];
    assert!(trigger.is_string(), "{reason}: {slice}");
}

/// A world in which `a`, not `b`, leads `web` in both families.
async fn dual_stack() -> World {
    let mut world = World::with(Options {
        dual_stack: true,
        ..Options::default()
    });
    world
        .source("web")
        .with(|service| {
            service["spec"]["ipFamilyPolicy"] = "RequireDualStack".into();
        })
        .create();
    for (name, ips) in [
        ("a", ["10.1.0.1", "fd00::1"]),
        ("b", ["10.1.0.2", "fd00::2"]),
    ] {
        let pod = world.kube.pod(NS, name).labels(&[("app", "web")]);
        pod.ips(&ips).create();
    }
    world.start("").await;
    world.until_leader("web", "a").await;
    world.settle().await;
    world.clear();
    world
}

fn second_family(world: &World) -> Value {
    let slice = world.kube.get(Kind::EndpointSlice, NS, "web-leader-ipv6");
    slice.expect("there")["endpoints"][0]["addresses"][0].clone()
}

/// §2: one slice per family, so one more request in dual-stack.
#[tokio::test(start_paused = true)]
async fn a_dual_stack_failover_is_four_requests() {
    let world = dual_stack().await;
    world.kube.set_ready(NS, "a", false);
    world.until_leader("web", "b").await;
    world.settle().await;
    world.assert_words(
        "dual-stack",
        &[
            "patch EndpointSlice web-leader",
            "patch EndpointSlice web-leader-ipv6",
            "patch Service web-leader",
            "create Event LeaderChanged",
        ],
    );
    assert_eq!(second_family(&world), "fd00::2");
}

/// A slice of the second family that the server keeps refusing waits alone: the first one, and what
/// the Service says and offers, go on.
#[tokio::test(start_paused = true)]
async fn a_second_family_that_is_refused_waits_alone() {
    let world = dual_stack().await;
    world.kube.set_admission(Some(Arc::new(|_, kind, object| {
        let is_second = object["metadata"]["name"] == "web-leader-ipv6";
        (kind == Kind::EndpointSlice && is_second).then(|| Refusal {
            message: "policy 'one-family' denied the request".into(),
            forbidden: true,
        })
    })));
    world.kube.set_ready(NS, "a", false);
    world.until_leader("web", "b").await;
    tokio::time::sleep(secs(1)).await;
    assert_eq!(world.identity("web").as_deref(), Some("b"));
    let edit = |service: &mut Value| service["spec"]["ports"][0]["port"] = 81.into();
    let edited = world.kube.edit(Kind::Service, NS, "web", edit);
    edited.expect("accepted");
    tokio::time::sleep(secs(1)).await;
    let ports = world.leader_service("web").expect("there")["spec"]["ports"].clone();
    assert_eq!(ports[0]["port"], 81);
    tokio::time::sleep(secs(600)).await;
    assert_eq!(second_family(&world), "fd00::1");
    assert_eq!(world.told("web", "WriteRefused").len(), 1);
    let writes = world.writes().len();
    assert!((20..80).contains(&writes), "{writes}");
    world.kube.set_admission(None);
    tokio::time::sleep(secs(31)).await;
    assert_eq!(second_family(&world), "fd00::2");
}

/// §2 "No leader: `endpoints: []`", §3 sticky return, §4 one event each.
#[tokio::test(start_paused = true)]
async fn without_a_leader_the_slice_is_empty() {
    let world = World::serving(&["a"]).await;
    world.clear();
    world.kube.set_ready(NS, "a", false);
    world.until_none("web").await;
    world.settle().await;
    let down = [
        "patch EndpointSlice web-leader",
        "patch Service web-leader",
        "create Event NoReadyPods",
    ];
    world.assert_words("down", &down);
    assert_eq!(world.identity("web"), None);
    let service = world.leader_service("web").expect("it stays");
    let last = &service["metadata"]["annotations"]["zen-lead.io/last-leader-pod-uid"];
    assert!(last.is_string(), "it is remembered");

    world.clear();
    world.kube.set_ready(NS, "a", true);
    world.until_leader("web", "a").await;
    world.settle().await;
    let up = [
        "patch EndpointSlice web-leader",
        "patch Service web-leader",
        // The first election said the same: the count of its Event goes up.
        "patch Event again",
    ];
    world.assert_words("up", &up);
}

/// §3 matched by UID: a leader that came back under its name is another pod.
#[tokio::test(start_paused = true)]
async fn a_leader_that_is_made_again_under_its_name_has_lost() {
    let world = World::serving(&["a", "b"]).await;
    world.clear();
    world.kube.delete_pod(NS, "a", 0);
    world.pod("web", "a");
    world.until_leader("web", "b").await;
    world.settle().await;
    assert_eq!(
        world.writes(),
        ["patch EndpointSlice web-leader", "patch Service web-leader"]
    );
    let told = world.told("web", "LeaderChanged");
    assert!(told[0].contains("from a to b (deleted, "), "{told:?}");
}

/// The same, alone: its loss is told, the new pod leads, and the slice says so by its uid.
#[tokio::test(start_paused = true)]
async fn a_lonely_leader_that_is_made_again_leads_again() {
    let world = World::serving(&["a"]).await;
    world.kube.delete_pod(NS, "a", 0);
    world.pod("web", "a");
    let pod = world.kube.get(Kind::Pod, NS, "a").expect("new");
    world
        .until("the new one leading", |world| {
            let slice = world.slice("web").expect("stays");
            slice["endpoints"][0]["targetRef"]["uid"] == pod["metadata"]["uid"]
        })
        .await;
    world.settle().await;
    // Each change is answered before the next one is read, so the loss is an outage of its own.
    let outage = world.told("web", "NoPodsFound");
    assert!(
        outage[0].contains("from a to none (deleted, "),
        "{outage:?}"
    );
    let available = world.told("web", "LeaderRoutingAvailable");
    assert!(
        available[0].ends_with("(2)"),
        "at first, and again: {available:?}"
    );
}
