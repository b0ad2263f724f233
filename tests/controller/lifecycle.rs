//! How a source comes, stays and leaves.

use serde_json::{Value, json};
use simkube::{FrameVerdict, Kind, Verb, Verdict};
use tokio::time::Instant;

use crate::support::{ENABLED, NS, World, ms, secs};

/// §1 `enabled`, §2 leader Service and slice, §4 the events of a first election.
#[tokio::test(start_paused = true)]
async fn opting_in_makes_a_leader_service_a_slice_and_events() {
    let world = World::serving(&["a", "b"]).await;
    world.assert_words(
        "cold start",
        &[
            "create Service web-leader",
            "create EndpointSlice web-leader",
            "patch Service web-leader",
            "create Event LeaderServiceCreated",
            "create Event LeaderRoutingAvailable",
        ],
    );
    let source = world.kube.get(Kind::Service, NS, "web").expect("ours");
    let pod = world.kube.get(Kind::Pod, NS, "a").expect("ours");
    let service = world.leader_service("web").expect("made");
    let slice = world.slice("web").expect("made");
    let owner = |of: &Value, name: &str| {
        json!([{ "apiVersion": "v1", "kind": "Service", "name": name,
                 "uid": of["metadata"]["uid"], "controller": true }])
    };
    assert_eq!(
        service["metadata"]["ownerReferences"],
        owner(&source, "web")
    );
    assert_eq!(
        slice["metadata"]["ownerReferences"],
        owner(&service, "web-leader")
    );
    assert_eq!(service["spec"].get("selector"), None);
    let annotations = &service["metadata"]["annotations"];
    assert_eq!(annotations["zen-lead.io/current-leader"], "a");
    assert_eq!(
        annotations["zen-lead.io/leader-pod-uid"],
        pod["metadata"]["uid"]
    );
    assert_eq!(annotations.get(ENABLED), None, "an input is never copied");
    assert_eq!(
        slice["metadata"]["labels"],
        json!({
            "app.kubernetes.io/managed-by": "zen-lead",
            "endpointslice.kubernetes.io/managed-by": "zen-lead",
            "kubernetes.io/service-name": "web-leader",
            "zen-lead.io/source-service": "web",
        })
    );
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["10.1.0.2"]));
    assert_eq!(slice["endpoints"].as_array().map(Vec::len), Some(1));
    assert_eq!(slice["ports"][0]["port"], 8080);
}

/// A restart with nothing changed writes nothing.
#[tokio::test(start_paused = true)]
async fn a_restart_with_nothing_changed_writes_nothing() {
    let mut world = World::new();
    let names: Vec<String> = (0..100).map(|number| format!("s{number}")).collect();
    for name in &names {
        world.source(name).create();
        world.pod(name, &format!("{name}-a"));
        world.pod(name, &format!("{name}-b"));
    }
    world.start("").await;
    for name in &names {
        world.until_leader(name, &format!("{name}-a")).await;
    }
    world.settle().await;
    world.stop().await;
    for crash in [false, true] {
        world.clear();
        world.start("").await;
        world.settle().await;
        world.assert_words("restart", &[]);
        if crash {
            world.crash().await;
        } else {
            world.stop().await;
        }
    }
}

/// §2 "Leaving": traffic first, then the Service, for every way to leave.
#[tokio::test(start_paused = true)]
async fn opting_out_takes_traffic_first() {
    let annotate = |value: Option<&'static str>| {
        move |world: &World| {
            world
                .kube
                .annotate(Kind::Service, NS, "web", ENABLED, value)
        }
    };
    check_leaving("annotation removed", annotate(None)).await;
    check_leaving("annotation false", annotate(Some("false"))).await;
    check_leaving("source deleted", |world| {
        world.kube.delete(Kind::Service, NS, "web")
    })
    .await;
    check_leaving("selector removed", |world| {
        let edit = |service: &mut Value| service["spec"]["selector"] = Value::Null;
        world.kube.edit(Kind::Service, NS, "web", edit).is_ok()
    })
    .await;
    check_leaving("source is being deleted", |world| {
        let edit = |service: &mut Value| service["metadata"]["finalizers"] = json!(["x.io/keep"]);
        let kept = world.kube.edit(Kind::Service, NS, "web", edit).is_ok();
        kept && world.kube.delete(Kind::Service, NS, "web")
    })
    .await;
}

async fn check_leaving(what: &str, act: impl FnOnce(&World) -> bool) {
    let world = World::serving(&["a"]).await;
    world.clear();
    assert!(act(&world), "{what}: the cluster plays along");
    world.until_gone("web").await;
    world.settle().await;
    let expected = [
        "delete EndpointSlice web-leader",
        "delete Service web-leader",
    ];
    assert_eq!(world.writes(), expected, "{what}");
}

/// §2: swept at start for everything missed while the controller was down; no garbage collector.
#[tokio::test(start_paused = true)]
async fn what_left_while_the_controller_was_down_is_swept() {
    let mut world = World::serving(&["a"]).await;
    world.stop().await;
    world.kube.delete(Kind::Service, NS, "web");
    world.clear();
    world.start("").await;
    world.until_gone("web").await;
    let expected = [
        "delete EndpointSlice web-leader",
        "delete Service web-leader",
    ];
    assert_eq!(world.writes(), expected);
}

/// §1: with an `orphan` finalizer our objects stay untouched.
#[tokio::test(start_paused = true)]
async fn a_source_that_orphans_its_objects_is_left_alone() {
    let world = World::serving(&["a", "b"]).await;
    let edit = |service: &mut Value| service["metadata"]["finalizers"] = json!(["orphan"]);
    let edited = world.kube.edit(Kind::Service, NS, "web", edit);
    edited.expect("accepted");
    world.settle().await;
    world.clear();
    world.kube.delete(Kind::Service, NS, "web");
    world.kube.set_ready(NS, "a", false);
    world.settle().await;
    world.assert_words("being orphaned", &[]);
    world.kube.gc();
    world.settle().await;
    world.assert_words("orphaned", &[]);
    assert!(world.slice("web").is_some() && world.leader_service("web").is_some());
    assert_eq!(world.kube.get(Kind::Service, NS, "web"), None);
}

/// §1 "Ours … one to an earlier source of this name": a source that was made again takes over what
/// its namesake had.
#[tokio::test(start_paused = true)]
async fn a_source_that_is_made_again_takes_over() {
    for is_down in [false, true] {
        let mut world = World::serving(&["a"]).await;
        let address = world.cluster_ip("web");
        if is_down {
            world.stop().await;
        }
        world.kube.delete(Kind::Service, NS, "web");
        let source = world.source("web").create();
        world.clear();
        if is_down {
            world.start("").await;
        }
        world
            .until("the new owner", |world| {
                world.leader_service("web").is_some_and(|service| {
                    service["metadata"]["ownerReferences"][0]["uid"] == source["metadata"]["uid"]
                })
            })
            .await;
        world.settle().await;
        assert_eq!(world.leader("web").as_deref(), Some("a"));
        if is_down {
            assert_eq!(world.writes(), ["patch Service web-leader"]);
            assert_eq!(world.cluster_ip("web"), address, "no traffic was lost");
        }
    }
}

/// An opt-out and opt-in faster than the writes leaves nothing behind and nothing out.
#[tokio::test(start_paused = true)]
async fn opting_out_and_in_again_and_again() {
    let world = World::serving(&["a"]).await;
    for gap in [0, 1, 2, 7, 20, 100] {
        world.on_request(move |request| {
            if request.verb.is_write() {
                Verdict::Delay {
                    before: ms(3),
                    after: ms(4),
                }
            } else {
                Verdict::Pass
            }
        });
        for _ in 0..5 {
            world.annotate("web", ENABLED, None);
            tokio::time::sleep(ms(gap)).await;
            world.annotate("web", ENABLED, Some("true"));
            tokio::time::sleep(ms(gap)).await;
        }
        world.until_leader("web", "a").await;
        world.annotate("web", ENABLED, None);
        world.until_gone("web").await;
        world.settle().await;
        assert_eq!(world.debug("web"), None, "nothing is left of it");
        world.annotate("web", ENABLED, Some("true"));
        world.until_leader("web", "a").await;
        world.settle().await;
        let slices = world.kube.list(Kind::EndpointSlice, NS);
        assert_eq!(slices.len(), 1, "{slices:?}");
    }
}

/// A create that fails after the source has opted out is not tried again: nothing of ours may
/// come into being any more.
#[tokio::test(start_paused = true)]
async fn a_failed_create_dies_with_the_wish() {
    let mut world = World::new();
    world.pods("web", &["a"]);
    world.start("").await;
    world.on_request(|request| match request.verb {
        Verb::Create => Verdict::Hang { applied: false },
        _ => Verdict::Pass,
    });
    world.source("web").create();
    let what = "the create under way";
    world.until(what, |world| !world.writes().is_empty()).await;
    world.annotate("web", ENABLED, None);
    tokio::time::sleep(secs(5)).await;
    world.heal();
    tokio::time::sleep(secs(120)).await;
    assert_eq!(world.writes(), ["create Service web-leader"]);
    let series = world.replica().metrics.states();
    assert_eq!(series, [], "§5: a series goes when its Service goes");
}

/// A create that landed without an answer, and of which no watch shows anything: what depends on it
/// waits until the controller has asked the server, even if an absent server does not answer at first.
#[tokio::test(start_paused = true)]
async fn what_a_lost_create_has_made_goes_before_its_service() {
    for answers_lost in [0, 1, 3] {
        let mut world = World::new();
        world.pods("web", &["a"]);
        world.start("").await;
        let dark_until = Instant::now() + secs(300);
        world.on_frame(move |frame| match frame.kind {
            Kind::EndpointSlice => FrameVerdict::HoldUntil(dark_until),
            _ => FrameVerdict::Deliver,
        });
        let mut left = answers_lost;
        world.on_request(move |request| match (request.kind, request.verb) {
            (Some(Kind::EndpointSlice), Verb::Create) => Verdict::Hang { applied: true },
            (Some(Kind::EndpointSlice), Verb::Get) if left > 0 => {
                left -= 1;
                Verdict::Drop { applied: false }
            }
            _ => Verdict::Pass,
        });
        world.source("web").create();
        let exists = |world: &World| world.slice("web").is_some();
        world.until("the slice", exists).await;
        world.annotate("web", ENABLED, None);
        tokio::time::sleep(secs(60)).await;
        assert_eq!(
            world.writes(),
            [
                "create Service web-leader",
                "create EndpointSlice web-leader",
                "delete EndpointSlice web-leader",
                "delete Service web-leader",
            ],
            "{answers_lost} answers lost"
        );
        let asked = world.words();
        let gets = asked.iter().filter(|what| what.starts_with("get "));
        assert_eq!(gets.count(), answers_lost + 1, "{asked:?}");
    }
}
