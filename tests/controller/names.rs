//! Which name a leader Service has, and which Service holds it already.

use serde_json::{Value, json};
use simkube::{Kind, Rule, Verb, Verdict};
use tokio::time::sleep;

use crate::NAME;
use crate::drift::attached;
use crate::support::{ENABLED, NS, World, ms, secs};

/// §2 "name changed (the new one is served first)".
#[tokio::test(start_paused = true)]
async fn a_rename_makes_before_it_breaks() {
    let world = World::serving(&["a"]).await;
    world.clear();
    world.annotate("web", NAME, Some("primary"));
    world
        .until("the old name gone", |world| {
            world.leader_service("web").is_none()
        })
        .await;
    world.settle().await;
    assert_eq!(
        world.writes(),
        [
            "create Service primary",
            "create EndpointSlice primary",
            "patch Service primary",
            "delete EndpointSlice web-leader",
            "delete Service web-leader",
        ]
    );
    let slice = world.kube.get(Kind::EndpointSlice, NS, "primary");
    assert_eq!(
        slice.expect("served")["endpoints"][0]["targetRef"]["name"],
        "a"
    );
}

/// A name that changes back while a request about the other one is still on its way: a Service never
/// goes while a slice under it is being made, and no slice is made under a Service that is going.
#[tokio::test(start_paused = true)]
async fn a_name_that_changes_back_keeps_the_order() {
    let slow = |kind, verb, name: &'static str| {
        move |request: &simkube::RequestInfo| {
            if request.kind == Some(kind) && request.verb == verb && request.name == name {
                return Verdict::Delay {
                    before: ms(200),
                    after: ms(50),
                };
            }
            Verdict::Pass
        }
    };
    // 1. The new slice is being made.
    let world = World::serving(&["a"]).await;
    world.clear();
    world.on_request(slow(Kind::EndpointSlice, Verb::Create, "primary"));
    world.annotate("web", NAME, Some("primary"));
    sleep(ms(100)).await;
    world.annotate("web", NAME, None);
    sleep(secs(1)).await;
    let slices = [
        "create Service primary",
        "create EndpointSlice primary",
        "delete EndpointSlice primary",
        "delete Service primary",
    ];
    assert_eq!(world.writes(), slices);

    // 2. The old Service is going.
    let world = World::serving(&["a"]).await;
    world.clear();
    world.on_request(slow(Kind::Service, Verb::Delete, "web-leader"));
    world.annotate("web", NAME, Some("primary"));
    sleep(ms(100)).await;
    world.annotate("web", NAME, None);
    world.until_leader("web", "a").await;
    sleep(secs(1)).await;
    assert_eq!(
        world.writes(),
        [
            "create Service primary",
            "create EndpointSlice primary",
            "patch Service primary",
            "delete EndpointSlice web-leader",
            "delete Service web-leader",
            "create Service web-leader",
            "create EndpointSlice web-leader",
            "patch Service web-leader",
            "delete EndpointSlice primary",
            "delete Service primary",
        ]
    );
}

/// §1 `LeaderServiceConflict`: a stranger is never touched; a name that becomes free is served
/// without anyone touching the source again.
#[tokio::test(start_paused = true)]
async fn a_taken_name_is_waited_for() {
    let mut world = World::new();
    let stranger = world.kube.service(NS, "web-leader");
    let stranger = stranger.port("http", 80, 8080).create();
    world.source("web").create();
    world.pods("web", &["a"]);
    world.start("").await;
    tokio::time::sleep(secs(1_800)).await;
    assert_eq!(world.writes(), [""; 0]);
    assert_eq!(world.told("web", "LeaderServiceConflict").len(), 1);
    assert_eq!(world.leader_service("web"), Some(stranger));
    world.kube.delete(Kind::Service, NS, "web-leader");
    let took = world.until_leader("web", "a").await;
    assert!(took <= secs(1), "{took:?}");
}

/// The same where the source asks for a name that cannot be had, and keeps the one it has, though
/// nothing stands under it for a moment: it hears of the stranger there too, and does not ask for
/// the name again and again.
#[tokio::test(start_paused = true)]
async fn a_name_that_was_kept_is_lost_to_a_stranger() {
    let world = World::serving(&["a"]).await;
    world.annotate("web", NAME, Some("web"));
    world.settle().await;
    world
        .kube
        .set_deny(vec![Rule::new("create", "services", "")]);
    world.kube.delete(Kind::Service, NS, "web-leader");
    world.kube.gc();
    world.settle().await;
    let stranger = world.kube.service(NS, "web-leader");
    let stranger = stranger.port("http", 80, 8080).create();
    world.kube.set_deny(Vec::new());
    world.clear();
    tokio::time::sleep(secs(600)).await;
    assert_eq!(world.writes(), [""; 0]);
    assert_eq!(world.leader_service("web"), Some(stranger));
    assert_eq!(world.slice("web"), None);
    world.kube.delete(Kind::Service, NS, "web-leader");
    world.annotate("web", NAME, None);
    world.until_leader("web", "a").await;
}

/// §1: a name that another source of ours holds is taken as well.
#[tokio::test(start_paused = true)]
async fn two_sources_ask_for_the_same_name() {
    let mut world = World::new();
    for (name, pod) in [("one", "a"), ("two", "b")] {
        world.source(name).annotation(NAME, "primary").create();
        world.pod(name, pod);
    }
    world.start("").await;
    let leads = |world: &World, pod: &str| {
        let slice = world.kube.get(Kind::EndpointSlice, NS, "primary");
        slice.is_some_and(|slice| slice["endpoints"][0]["targetRef"]["name"] == pod)
    };
    world.until("one served", |world| leads(world, "a")).await;
    world.settle().await;
    assert_eq!(world.told("one", "LeaderServiceConflict"), [""; 0]);
    assert_eq!(world.told("two", "LeaderServiceConflict").len(), 1);
    world.clear();
    world.annotate("one", ENABLED, None);
    world.until("two served", |world| leads(world, "b")).await;
    world.settle().await;
    assert_eq!(
        world.writes(),
        [
            "delete EndpointSlice primary",
            "delete Service primary",
            "create Service primary",
            "create EndpointSlice primary",
            "patch Service primary",
        ]
    );
}

/// The same: a source that waits for a name does not take it from the source that has it when a user
/// deletes the leader Service. For a moment that would have been two endpoints.
#[tokio::test(start_paused = true)]
async fn a_name_stays_with_the_source_that_has_it() {
    for is_evasive in [false, true] {
        check_a_name_stays(is_evasive).await;
    }
}

/// `is_evasive`: the source's slice has another name, since a stranger's has that one.
async fn check_a_name_stays(is_evasive: bool) {
    let mut world = World::new();
    if is_evasive {
        let mut stranger = attached("primary", "stranger", None);
        stranger["metadata"]["labels"] = json!({"kubernetes.io/service-name": "other"});
        world.kube.create(Kind::EndpointSlice, NS, &stranger);
    }
    // News of a name reach the sources in order of their names: the one that waits comes first.
    for (name, pod) in [("zwei", "b"), ("eins", "a")] {
        world.source(name).annotation(NAME, "primary").create();
        world.pod(name, pod);
        if name == "zwei" {
            world.start("").await;
            world.settle().await;
        }
    }
    world.settle().await;
    let service = world.kube.get(Kind::Service, NS, "primary");
    let address = service.expect("served")["spec"]["clusterIP"].clone();
    world.clear();
    world.kube.delete(Kind::Service, NS, "primary");
    world.settle().await;
    let service = world.kube.get(Kind::Service, NS, "primary");
    let service = service.expect("made again");
    assert_eq!(
        service["metadata"]["labels"]["zen-lead.io/source-service"],
        "zwei"
    );
    assert_eq!(service["spec"]["clusterIP"], address);
    let mut slices = world.kube.list(Kind::EndpointSlice, NS);
    slices.retain(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == "primary");
    assert_eq!(slices.len(), 1, "{slices:?}");
    let slice = slices[0]["metadata"]["name"].as_str().expect("a name");
    assert_eq!(slice != "primary", is_evasive, "{slice}");
    let patch = format!("patch EndpointSlice {slice}");
    assert_eq!(
        world.writes(),
        ["create Service primary", &patch, "patch Service primary"]
    );
}

/// §2 "a slice name that an object not ours holds gets a hash suffix".
#[tokio::test(start_paused = true)]
async fn a_foreign_slice_under_our_name_is_evaded() {
    let mut world = World::new();
    let mut stranger = attached("web-leader", "stranger", None);
    stranger["metadata"]["labels"] = json!({"kubernetes.io/service-name": "other"});
    let stranger = world.kube.create(Kind::EndpointSlice, NS, &stranger);
    world.source("web").create();
    world.pods("web", &["a", "b"]);
    world.start("").await;
    let leader = |world: &World| {
        let slices = world.kube.list(Kind::EndpointSlice, NS);
        let ours = |slice: &&Value| {
            let labels = &slice["metadata"]["labels"];
            labels["kubernetes.io/service-name"] == "web-leader"
        };
        let slice = slices.iter().find(ours)?;
        let name = slice["endpoints"][0]["targetRef"]["name"].as_str()?;
        Some(name.to_owned())
    };
    let leads = |pod: &'static str| move |world: &World| leader(world).as_deref() == Some(pod);
    world.until("a slice by another name", leads("a")).await;
    world.settle().await;
    for crash in [false, true] {
        if crash {
            world.crash().await;
            world.start("").await;
            world.settle().await;
        }
        let slices = world.kube.list(Kind::EndpointSlice, NS);
        assert_eq!(slices.len(), 2, "{slices:?}");
        assert_eq!(world.slice("web"), Some(stranger.clone()));
    }
    world.clear();
    world.kube.set_ready(NS, "a", false);
    world.until("failover", leads("b")).await;
    world.settle().await;
    assert_eq!(world.asked().len(), 3, "{:?}", world.words());
}
