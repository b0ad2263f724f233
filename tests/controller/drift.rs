//! What others do to our objects, and to their names.

use serde_json::{Value, json};
use simkube::{Kind, Verb, Verdict};

use crate::support::{NS, World, ms, secs};

/// §1: a leader Service that a user deleted is made again with the addresses that it had.
#[tokio::test(start_paused = true)]
async fn a_deleted_leader_service_comes_back_with_its_address() {
    let world = World::serving(&["a"]).await;
    let address = world.cluster_ip("web").expect("has one");
    world.kube.delete(Kind::Service, NS, "web-leader");
    world.kube.gc();
    world.until_leader("web", "a").await;
    assert_eq!(world.cluster_ip("web"), Some(address));
}

/// §1: "taken meanwhile: a new address and a Warning".
#[tokio::test(start_paused = true)]
async fn a_taken_address_is_replaced() {
    let world = World::serving(&["a"]).await;
    let address = world.cluster_ip("web").expect("has one");
    world.kube.delete(Kind::Service, NS, "web-leader");
    let thief = world.kube.service(NS, "thief").port("http", 80, 80);
    thief
        .with(|service| service["spec"]["clusterIP"] = address.clone().into())
        .create();
    world.until_leader("web", "a").await;
    world.settle().await;
    let now = world.cluster_ip("web").expect("has one");
    assert_ne!(now, address);
    let told = world.told("web", "WriteRefused");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("a new cluster address"), "{told:?}");
}

/// §1: a server that gives the address back only a while after the deletion has been told (as the
/// real one does) is asked again for the same one.
#[tokio::test(start_paused = true)]
async fn an_address_that_is_given_back_late_is_kept() {
    let world = World::serving(&["a"]).await;
    let address = world.cluster_ip("web").expect("has one");
    world.kube.delete(Kind::Service, NS, "web-leader");
    let holder = world.kube.service(NS, "holder").port("http", 80, 80);
    holder
        .with(|service| service["spec"]["clusterIP"] = address.clone().into())
        .create();
    tokio::time::sleep(ms(300)).await;
    world.kube.delete(Kind::Service, NS, "holder");
    world.until_leader("web", "a").await;
    assert_eq!(world.cluster_ip("web"), Some(address));
    assert_eq!(world.told("web", "WriteRefused"), [""; 0]);
}

/// §1: slices born of a selector on our own leader Service go with it, and it comes back.
#[tokio::test(start_paused = true)]
async fn a_selector_on_the_leader_service_is_taken_off_and_cleaned_up_after() {
    let world = World::serving(&["a"]).await;
    let address = world.cluster_ip("web");
    let before = world.leader_service("web").expect("there");
    world.clear();
    let edit = |service: &mut Value| service["spec"]["selector"] = json!({"app": "web"});
    let edited = world.kube.edit(Kind::Service, NS, "web-leader", edit);
    edited.expect("accepted");
    world.kube.create(
        Kind::EndpointSlice,
        NS,
        &attached(
            "web-leader-x7k2p",
            "endpointslice-controller.k8s.io",
            Some(&before),
        ),
    );
    let uid = |service: &Value| service["metadata"]["uid"].clone();
    world
        .until("a new leader Service", |world| {
            world.kube.gc();
            let service = world.leader_service("web");
            service.is_some_and(|service| uid(&service) != uid(&before))
        })
        .await;
    world.until_leader("web", "a").await;
    world.settle().await;
    assert_eq!(
        world.writes(),
        [
            "patch Service web-leader",
            "delete EndpointSlice web-leader",
            "delete Service web-leader",
            "create Service web-leader",
            "create EndpointSlice web-leader",
            "patch Service web-leader",
        ]
    );
    assert_eq!(world.cluster_ip("web"), address);
    let slices = world.kube.list(Kind::EndpointSlice, NS);
    assert_eq!(slices.len(), 1, "{slices:?}");
}

/// The same where the answer says nothing of what became of the patch.
#[tokio::test(start_paused = true)]
async fn a_selector_that_went_without_an_answer_is_cleaned_up_after() {
    let applied = true;
    let unavailable = Verdict::Answer {
        code: 503,
        retry_after: None,
        applied,
    };
    for (fate, within) in [
        (Verdict::Twice, secs(1)),
        (Verdict::Drop { applied }, secs(1)),
        // The next write waits for the end of this one.
        (Verdict::Hang { applied }, secs(11)),
        (unavailable, secs(1)),
    ] {
        let world = World::serving(&["a"]).await;
        let before = world.leader_service("web").expect("there");
        tokio::time::sleep(secs(60)).await;
        let mut left = 1;
        let then = fate.clone();
        world.on_request(move |request| {
            if request.kind == Some(Kind::Service) && request.verb == Verb::Patch && left > 0 {
                left -= 1;
                return then.clone();
            }
            Verdict::Pass
        });
        let edit = |service: &mut Value| service["spec"]["selector"] = json!({"app": "web"});
        let edited = world.kube.edit(Kind::Service, NS, "web-leader", edit);
        edited.expect("accepted");
        let native = "endpointslice-controller.k8s.io";
        let born = attached("web-leader-x7k2p", native, Some(&before));
        world.kube.create(Kind::EndpointSlice, NS, &born);
        let uid = |service: &Value| service["metadata"]["uid"].clone();
        let took = world
            .until("a new leader Service", |world| {
                world.kube.gc();
                let service = world.leader_service("web");
                service.is_some_and(|service| uid(&service) != uid(&before))
            })
            .await;
        assert!(took <= within, "{fate:?}: {took:?}");
        world.until_leader("web", "a").await;
    }
}

/// §1 "Other slices": controllers that attach to a new Service take their time; an Endpoints object
/// that waits for a Service of its name is mirrored a moment after we made one.
#[tokio::test(start_paused = true)]
async fn a_slice_attached_soon_after_the_leader_service_was_made_is_reported_soon() {
    let world = World::serving(&["a"]).await;
    tokio::time::sleep(secs(2)).await;
    let mirroring = "endpointslicemirroring-controller.k8s.io";
    let slice = attached("web-leader-abcde", mirroring, None);
    world.kube.create(Kind::EndpointSlice, NS, &slice);
    tokio::time::sleep(secs(10)).await;
    let told = world.told("web", "LeaderServiceConflict");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("web-leader-abcde"), "{told:?}");
}

pub(crate) fn attached(name: &str, manager: &str, owner: Option<&Value>) -> Value {
    let mut slice = json!({
        "metadata": { "name": name, "labels": {
            "kubernetes.io/service-name": "web-leader",
            "endpointslice.kubernetes.io/managed-by": manager,
        }},
        "addressType": "IPv4",
        "endpoints": [{ "addresses": ["10.9.9.9"] }],
        "ports": [],
    });
    if let Some(owner) = owner {
        slice["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "v1", "kind": "Service", "controller": true,
            "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
        }]);
    }
    slice
}

/// §1 "Other slices under our Service's name": reported once, left alone, cleared when gone.
#[tokio::test(start_paused = true)]
async fn a_strangers_slice_is_reported_once() {
    let world = World::serving(&["a"]).await;
    let stranger = attached("mine", "stranger", None);
    let stranger = world.kube.create(Kind::EndpointSlice, NS, &stranger);
    world.clear();
    tokio::time::sleep(secs(3_600)).await;
    let told = world.told("web", "LeaderServiceConflict");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("mine of stranger") && told[0].ends_with("(1)"));
    assert_eq!(world.writes(), [""; 0]);
    let foreign =
        |world: &World| world.debug("web").expect("served")["facts"]["foreignSlices"].clone();
    assert_eq!(foreign(&world), json!(["mine"]));
    assert_eq!(
        world.kube.get(Kind::EndpointSlice, NS, "mine"),
        Some(stranger)
    );
    world.kube.delete(Kind::EndpointSlice, NS, "mine");
    tokio::time::sleep(secs(601)).await;
    assert_eq!(foreign(&world), json!([]));
}

/// A slice that lost our label is out of the watch's sight; the next create
/// finds it, and puts the label back.
#[tokio::test(start_paused = true)]
async fn a_slice_without_our_label_is_found_and_healed() {
    let world = World::serving(&["a", "b"]).await;
    world.clear();
    let label = "zen-lead.io/source-service";
    world
        .kube
        .label(Kind::EndpointSlice, NS, "web-leader", label, None);
    world
        .until("the label back", |world| {
            world.slice("web").expect("stays")["metadata"]["labels"][label] == "web"
        })
        .await;
    world.settle().await;
    world.assert_words(
        "relabelled",
        &[
            "create EndpointSlice web-leader",
            "get EndpointSlice web-leader",
            "patch EndpointSlice web-leader",
        ],
    );
    world.kube.set_ready(NS, "a", false);
    world.until_leader("web", "b").await;
}

/// The same where it had to evade a name that is free again: the next create succeeds beside it.
#[tokio::test(start_paused = true)]
async fn an_evasive_slice_without_our_label_is_no_second_endpoint() {
    for is_down in [false, true] {
        let mut world = World::new();
        let mut stranger = attached("web-leader", "stranger", None);
        stranger["metadata"]["labels"] = json!({"kubernetes.io/service-name": "other"});
        world.kube.create(Kind::EndpointSlice, NS, &stranger);
        world.source("web").create();
        world.pods("web", &["a"]);
        world.start("").await;
        world.settle().await;
        world.kube.delete(Kind::EndpointSlice, NS, "web-leader");
        if is_down {
            world.crash().await;
        }
        let slices = world.kube.list(Kind::EndpointSlice, NS);
        let name = slices[0]["metadata"]["name"].as_str().expect("a name");
        for label in [
            "zen-lead.io/source-service",
            "endpointslice.kubernetes.io/managed-by",
        ] {
            world.kube.label(Kind::EndpointSlice, NS, name, label, None);
        }
        if is_down {
            world.start("").await;
        }
        world.settle().await;
        let slices = world.kube.list(Kind::EndpointSlice, NS);
        assert_eq!(slices.len(), 1, "{slices:?}");
        assert_eq!(slices[0]["endpoints"][0]["targetRef"]["name"], "a");
    }
}

/// A slice is being made under a name that another one turns out to have, or to have had: whether it
/// comes about is waited for before any other is written, or there would be two.
#[tokio::test(start_paused = true)]
async fn a_slice_is_not_made_twice_under_two_names() {
    let world = World::serving(&["a"]).await;
    tokio::time::sleep(secs(10)).await;
    world.clear();
    world.on_request(|request| {
        if request.kind == Some(Kind::EndpointSlice) && request.verb == Verb::Create {
            return Verdict::Delay {
                before: ms(300),
                after: ms(0),
            };
        }
        Verdict::Pass
    });
    // Out of sight; and with its Service gone, a stranger that holds our name.
    let edit = |slice: &mut Value| {
        slice["metadata"]["labels"] = json!({"kubernetes.io/service-name": "web-leader"});
    };
    let edited = world.kube.edit(Kind::EndpointSlice, NS, "web-leader", edit);
    edited.expect("accepted");
    tokio::time::sleep(ms(100)).await;
    world.kube.delete(Kind::Service, NS, "web-leader");
    tokio::time::sleep(ms(100)).await;
    world.kube.delete(Kind::EndpointSlice, NS, "web-leader");
    world.until_leader("web", "a").await;
    world.settle().await;
    assert_eq!(
        world.writes(),
        [
            "create EndpointSlice web-leader",
            "create Service web-leader",
            "patch EndpointSlice web-leader",
            "patch Service web-leader",
        ]
    );
}
