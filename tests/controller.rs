//! The whole controller in process against simkube: what is made, moved and taken down. Each test
//! names the row of `CONTRACT.md` that it is about.

mod support;

use std::sync::Arc;

use serde_json::{Value, json};
use simkube::{Kind, Options, Refusal, Rule, Verb, Verdict};
use support::{ENABLED, NS, World, ms, secs};

const NAME: &str = "zen-lead.io/leader-service-name";

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

/// §3, §4: whatever ends a leader, three requests and one event, and the right reason.
#[tokio::test(start_paused = true)]
async fn a_failover_is_three_requests() {
    check_failover("notReady", |world| world.kube.set_ready(NS, "a", false)).await;
    // Even without grace the server shows the pod as terminating first.
    check_failover("deleted", |world| world.kube.delete_pod(NS, "a", 0)).await;
    check_failover("terminating", |world| world.kube.delete_pod(NS, "a", 30)).await;
    check_failover("deleted", |world| world.kube.set_phase(NS, "a", "Failed")).await;
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

/// §2: one slice per family, so one more request in dual-stack.
#[tokio::test(start_paused = true)]
async fn a_dual_stack_failover_is_four_requests() {
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
    let second = world
        .kube
        .get(Kind::EndpointSlice, NS, "web-leader-ipv6")
        .expect("there");
    assert_eq!(second["endpoints"][0]["addresses"], json!(["fd00::2"]));
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
        "create Event LeaderChanged",
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

/// `DESIGN.md` Watching: nothing is decided before every kind has synced.
#[tokio::test(start_paused = true)]
async fn half_a_picture_decides_nothing() {
    for missing in [Kind::Service, Kind::Pod, Kind::EndpointSlice] {
        let mut world = World::new();
        world.source("web").create();
        world.pods("web", &["a"]);
        world.on_request(move |request| {
            let is_it = request.client == "watch" && request.kind == Some(missing);
            if is_it {
                Verdict::Hang { applied: false }
            } else {
                Verdict::Pass
            }
        });
        world.launch("");
        tokio::time::sleep(secs(45)).await;
        world.assert_words(&format!("without {missing}"), &[]);
        assert!(world.replica().readiness.check().is_err());
        let clock = &world.replica().clock;
        let health = world.replica().health.check(clock.moment());
        assert_eq!(health, Ok(()), "an API server that is away is no illness");
        world.heal();
        world.until_leader("web", "a").await;
        assert_eq!(world.replica().readiness.check(), Ok(()));
    }
}

/// `DESIGN.md`: a restart with nothing changed writes nothing.
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

/// The same: who waits for a name does not take it from him who has it, when somebody deletes his
/// leader Service. For a moment that would have been two endpoints.
#[tokio::test(start_paused = true)]
async fn a_name_stays_with_the_one_who_has_it() {
    let mut world = World::new();
    // News of a name reach the sources in order of their names: the one who waits comes first.
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
    let slices = world.kube.list(Kind::EndpointSlice, NS);
    assert_eq!(slices.len(), 1, "{slices:?}");
    assert_eq!(
        world.writes(),
        [
            "create Service primary",
            "patch EndpointSlice primary",
            "patch Service primary"
        ]
    );
}

/// §1: a leader Service that somebody deleted is made again with the addresses that it had.
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

fn attached(name: &str, manager: &str, owner: Option<&Value>) -> Value {
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
    let stranger = attached("mine", "somebody", None);
    let stranger = world.kube.create(Kind::EndpointSlice, NS, &stranger);
    world.clear();
    tokio::time::sleep(secs(3_600)).await;
    let told = world.told("web", "LeaderServiceConflict");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("mine of somebody") && told[0].ends_with("(1)"));
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

/// The same, alone: the new pod leads, and the slice says so by its uid.
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
    let told = world.told("web", "LeaderChanged");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("from a to a (deleted, "), "{told:?}");
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

/// `DESIGN.md` Watching: a slice that lost our label is out of the watch's sight; the next create
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
        let mut stranger = attached("web-leader", "somebody", None);
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

/// §2 "a slice name that an object not ours holds gets a hash suffix".
#[tokio::test(start_paused = true)]
async fn a_foreign_slice_under_our_name_is_evaded() {
    let mut world = World::new();
    let mut stranger = attached("web-leader", "somebody", None);
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

/// §4 `WriteRefused`: told once, in the server's own words; few requests; served once the policy
/// lets it be.
#[tokio::test(start_paused = true)]
async fn an_admission_policy_says_no() {
    for forbidden in [false, true] {
        let mut world = World::new();
        world.source("web").create();
        world.pods("web", &["a"]);
        world.kube.set_admission(Some(Arc::new(move |_, kind, _| {
            (kind == Kind::Service || kind == Kind::EndpointSlice).then(|| Refusal {
                message: "policy 'no-leaders' denied the request: not here".into(),
                forbidden,
            })
        })));
        world.start("").await;
        tokio::time::sleep(secs(3_600)).await;
        let writes = world.writes();
        assert!((100..400).contains(&writes.len()), "{}", writes.len());
        assert!(
            writes
                .iter()
                .all(|word| word == "create Service web-leader")
        );
        let told = world.told("web", "WriteRefused");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("'no-leaders' denied") && told[0].ends_with("(1)"));
        world.kube.set_admission(None);
        let took = world.until_leader("web", "a").await;
        assert!(took <= secs(30), "{took:?}");
    }
}

/// The same on the way: a failover that is refused is told once and done as soon as it may be; one
/// that is decided anew meanwhile is tried at once.
#[tokio::test(start_paused = true)]
async fn a_refused_failover_goes_on() {
    let world = World::serving(&["a", "b", "c"]).await;
    world
        .kube
        .set_deny(vec![Rule::new("patch", "endpointslices", "")]);
    world.clear();
    world.kube.set_ready(NS, "a", false);
    tokio::time::sleep(secs(600)).await;
    let refused = world.writes();
    assert!((20..80).contains(&refused.len()), "{}", refused.len());
    let told = world.told("web", "WriteRefused");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("cannot patch resource"), "{told:?}");
    world.kube.set_deny(vec![]);
    world.kube.set_ready(NS, "b", false);
    let took = world.until_leader("web", "c").await;
    assert!(took <= ms(5), "{took:?}");
    let told = world.told("web", "LeaderChanged");
    assert_eq!(told.len(), 1, "what was never published is not told");
    assert!(told[0].contains("from a to c (notReady, "), "{told:?}");
}

/// A refusal of what is no longer wanted is forgotten: should it be wanted again, it is told again.
#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_for_each_wish() {
    let mut world = World::new();
    world
        .kube
        .set_deny(vec![Rule::new("create", "services", "")]);
    world.source("web").create();
    world.pods("web", &["a"]);
    world.start("").await;
    tokio::time::sleep(secs(100)).await;
    world.annotate("web", ENABLED, None);
    tokio::time::sleep(secs(100)).await;
    world.annotate("web", ENABLED, Some("true"));
    tokio::time::sleep(secs(100)).await;
    let told = world.told("web", "WriteRefused");
    assert_eq!(told.len(), 1, "one Event: {told:?}");
    assert!(told[0].ends_with("(2)"), "said twice: {told:?}");
}

/// A namespace that is being deleted is no reason to shout, nor to flood.
#[tokio::test(start_paused = true)]
async fn a_terminating_namespace_is_quiet() {
    let world = World::serving(&["a"]).await;
    world.clear();
    world.kube.delete(Kind::Namespace, "", NS);
    world.kube.delete(Kind::Service, NS, "web-leader");
    world.kube.delete(Kind::EndpointSlice, NS, "web-leader");
    tokio::time::sleep(secs(3_600)).await;
    let writes = world.writes().len();
    assert!((50..=130).contains(&writes), "{writes}");
    assert_eq!(world.told("web", "WriteRefused"), [""; 0]);
    world.kube.gc();
    world.settle().await;
    world.clear();
    tokio::time::sleep(secs(300)).await;
    world.assert_words("gone", &[]);
    assert_eq!(world.debug("web"), None);
    assert_eq!(world.replica().metrics.states(), []);
}

/// `DESIGN.md` Watching: 410 → relist with a diff by key, so deletions missed meanwhile surface.
#[tokio::test(start_paused = true)]
async fn what_a_watch_missed_surfaces() {
    for (broken, reason) in [(false, "deleted"), (true, "deleted")] {
        let world = World::serving(&["a", "b"]).await;
        world.source("gone").create();
        world.pod("gone", "g");
        world.until_leader("gone", "g").await;
        world.settle().await;
        // The watches are away while things happen, and history is forgotten before they are back.
        world.on_request(|request| match request.verb {
            Verb::Watch => Verdict::Drop { applied: false },
            _ => Verdict::Pass,
        });
        for kind in [Kind::Pod, Kind::Service, Kind::EndpointSlice] {
            if broken {
                world.kube.break_watches(kind);
            } else {
                world.kube.close_watches(kind);
            }
        }
        tokio::time::sleep(secs(5)).await;
        world.clear();
        world.kube.delete_pod(NS, "a", 0);
        world.kube.delete(Kind::Service, NS, "gone");
        world.kube.compact_to_now();
        world.heal();
        let took = world.until_leader("web", "b").await;
        assert!(took <= secs(10), "{took:?}");
        world.until_gone("gone").await;
        world.settle().await;
        let told = world.told("web", "LeaderChanged");
        assert!(told[0].contains(&format!("({reason}, ")), "{told:?}");
        let writes = world.writes();
        assert_eq!(writes.len(), 4, "{writes:?}");
    }
}

/// §7 fail-static, and convergence afterwards: the API server is away for five minutes in which
/// the leader dies.
#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_costs_nothing_but_time() {
    for fault in [
        Verdict::Drop { applied: false },
        Verdict::Hang { applied: false },
        Verdict::Answer {
            code: 503,
            retry_after: None,
            applied: false,
        },
    ] {
        let world = World::serving(&["a", "b"]).await;
        let down = fault.clone();
        world.on_any_request(move |_| down.clone());
        for kind in [Kind::Pod, Kind::Service, Kind::EndpointSlice, Kind::Lease] {
            world.kube.break_watches(kind);
        }
        world.clear();
        tokio::time::sleep(secs(10)).await;
        world.kube.set_ready(NS, "a", false);
        tokio::time::sleep(secs(290)).await;
        let all = world.kube.requests().len();
        assert!(all < 700, "{fault:?}: {all} requests in five minutes");
        let clock = &world.replica().clock;
        let health = world.replica().health.check(clock.moment());
        assert_eq!(health, Ok(()), "an API server that is away is no illness");
        assert_eq!(world.leader("web").as_deref(), Some("a"), "fail-static");
        world.heal();
        let took = world.until_leader("web", "b").await;
        assert!(took <= secs(15), "{fault:?}: {took:?}");
    }
}

/// The same in mid-failover: the pod's end is known, and only writes are lost.
#[tokio::test(start_paused = true)]
async fn a_failover_whose_write_is_lost_is_done_again() {
    for applied in [false, true] {
        let world = World::serving(&["a", "b"]).await;
        world.clear();
        let mut left = 1;
        world.on_request(move |request| {
            if request.kind == Some(Kind::EndpointSlice) && request.verb.is_write() && left > 0 {
                left -= 1;
                return Verdict::Drop { applied };
            }
            Verdict::Pass
        });
        world.kube.set_ready(NS, "a", false);
        let took = world.until_leader("web", "b").await;
        assert!(took <= ms(25), "{took:?}");
        world.settle().await;
        let expected: &[&str] = if applied {
            // The watch showed what became of it before the retry.
            &["patch EndpointSlice web-leader", "patch Service web-leader"]
        } else {
            &[
                "patch EndpointSlice web-leader",
                "patch EndpointSlice web-leader",
                "patch Service web-leader",
            ]
        };
        assert_eq!(world.writes(), expected, "applied: {applied}");
        assert_eq!(world.told("web", "LeaderChanged").len(), 1);
    }
}

/// §6: SIGTERM lets the write in flight land, and ends within two seconds.
#[tokio::test(start_paused = true)]
async fn a_stop_lets_the_write_in_flight_land() {
    for (latency, landed) in [(200, true), (30_000, false)] {
        let mut world = World::serving(&["a", "b"]).await;
        world.clear();
        world.on_request(move |request| {
            if request.verb.is_write() {
                Verdict::Delay {
                    before: ms(latency),
                    after: ms(0),
                }
            } else {
                Verdict::Pass
            }
        });
        world.kube.set_ready(NS, "a", false);
        world
            .until("the write under way", |world| !world.asked().is_empty())
            .await;
        let took = world.stop().await;
        assert!(took <= secs(2), "{took:?}");
        let leader = if landed { "b" } else { "a" };
        assert_eq!(world.leader("web").as_deref(), Some(leader));
        tokio::time::sleep(secs(60)).await;
        assert_eq!(world.writes(), ["patch EndpointSlice web-leader"]);
        world.heal();
        world.start("").await;
        world.until_leader("web", "b").await;
        world.settle().await;
        let told = world.told("web", "LeaderChanged");
        assert_eq!(told.len(), usize::from(!landed), "{told:?}");
    }
}

/// A crash between any two requests leaves a state from which the next start goes on.
#[tokio::test(start_paused = true)]
async fn a_crash_between_any_two_requests_is_survived() {
    let opt_out = |world: &World| world.annotate("web", ENABLED, None);
    let rename = |world: &World| world.annotate("web", NAME, Some("primary"));
    let headless = |world: &World| {
        world.annotate("web", "zen-lead.io/leader-service-type", Some("Headless"));
    };
    let fail_over = |world: &World| {
        world.kube.set_ready(NS, "a", false);
    };
    check_crashes("opt-out", &opt_out, &[]).await;
    let renamed = ["Service primary leads to a", "Slice primary has a"];
    check_crashes("rename", &rename, &renamed).await;
    let headless_one = [
        "headless Service web-leader leads to a",
        "Slice web-leader has a",
    ];
    check_crashes("headless", &headless, &headless_one).await;
    let moved = ["Service web-leader leads to b", "Slice web-leader has b"];
    check_crashes("failover", &fail_over, &moved).await;
}

async fn check_crashes(what: &str, act: &dyn Fn(&World), expected: &[&str]) {
    for after in 0..8 {
        let mut world = World::serving(&["a", "b"]).await;
        let mut left = after;
        world.on_request(move |request| {
            if !request.verb.is_write() || request.kind == Some(Kind::Event) {
                return Verdict::Pass;
            }
            if left == 0 {
                let applied = after % 2 == 0;
                return Verdict::Hang { applied };
            }
            left -= 1;
            Verdict::Pass
        });
        act(&world);
        tokio::time::sleep(secs(2)).await;
        world.crash().await;
        world.heal();
        world.start("").await;
        world.settle().await;
        assert_eq!(shape(&world), expected, "{what}, {after} requests");
    }
}

/// Everything of ours that users see, less what differs by nature.
fn shape(world: &World) -> Vec<String> {
    let mut services = world.kube.list(Kind::Service, NS);
    services.retain(|service| service["metadata"]["name"] != "web");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let services = services.iter().map(|service| {
        let meta = &service["metadata"];
        let headless = service["spec"]["clusterIP"] == "None";
        let leader = text(&meta["annotations"]["zen-lead.io/leader-pod-name"]);
        let kind = if headless {
            "headless Service"
        } else {
            "Service"
        };
        format!("{kind} {} leads to {leader}", text(&meta["name"]))
    });
    let slices = world.kube.list(Kind::EndpointSlice, NS);
    let slices = slices.iter().map(|slice| {
        let leader = text(&slice["endpoints"][0]["targetRef"]["name"]);
        format!("Slice {} has {leader}", text(&slice["metadata"]["name"]))
    });
    services.chain(slices).collect()
}

/// §6: health through an idle hour, and no requests but watches and sweeps.
#[tokio::test(start_paused = true)]
async fn an_idle_hour_is_quiet_and_healthy() {
    let world = World::serving(&["a"]).await;
    world.clear();
    let replica = world.replica();
    for _ in 0..3_600 {
        tokio::time::sleep(secs(1)).await;
        let health = replica.health.check(replica.clock.moment());
        assert_eq!(health, Ok(()));
    }
    world.assert_words("idle", &[]);
    let requests = world.kube.requests();
    let lists = requests.iter().filter(|record| record.verb == Verb::List);
    assert_eq!(lists.count(), 6, "a sweep every ten minutes");
    let watches = requests.iter().filter(|record| record.verb == Verb::Watch);
    let watches = watches.count();
    // Each of the four ends after 261 to 290 s and goes on where it was.
    assert!((48..=56).contains(&watches), "{watches}");
    let renewals = requests
        .iter()
        .filter(|record| record.kind == Some(Kind::Lease) && record.verb == Verb::Patch);
    let renewals = renewals.count();
    assert!((3_595..=3_600).contains(&renewals), "{renewals}");
}

/// §1 "No annotation value can stop the controller or delay another Service"; §2 the 256 KiB.
#[tokio::test(start_paused = true)]
async fn huge_annotations_stay_out_with_a_warning() {
    let mut world = World::new();
    let large = "x".repeat(200 * 1024);
    let source = world.source("web").annotation("large", &large);
    source.annotation("small", "fits").create();
    world.pods("web", &["a", "b"]);
    world.start("--mirror-prefixes=example.com/").await;
    world.until_leader("web", "a").await;
    let mirrored = |world: &World| {
        let service = world.leader_service("web").expect("there");
        let annotations = service["metadata"]["annotations"].clone();
        (
            annotations["large"].is_string(),
            annotations["small"].is_string(),
        )
    };
    assert_eq!(mirrored(&world), (true, true));
    // 256 KiB in all is the most that a Service may have, so ours on top of it would be too much.
    let rest = "y".repeat(55 * 1024);
    world.annotate("web", "more", Some(&rest));
    world.settle().await;
    let told = world.told("web", "InvalidAnnotation");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("left out: large"), "{told:?}");
    assert_eq!(mirrored(&world), (false, true));
    world.kube.set_ready(NS, "a", false);
    world.until_leader("web", "b").await;
    assert_eq!(world.told("web", "WriteRefused"), [""; 0]);
}

/// A pod of a megabyte passes through like any other; one that does not parse is left out.
#[tokio::test(start_paused = true)]
async fn odd_and_huge_objects_stop_nobody() {
    let world = World::serving(&["a"]).await;
    let huge = world
        .kube
        .pod(NS, "b")
        .labels(&[("app", "web")])
        .ip("10.1.0.9");
    let huge = huge.with(|pod| pod["spec"]["containers"][0]["args"] = json!(["z".repeat(1 << 20)]));
    huge.create();
    let odd = world.kube.pod(NS, "0-odd").labels(&[("app", "web")]);
    let odd = odd.ip("10.1.0.8").with(|pod| {
        // The real server would refuse it, and so may a later one mean something by it.
        pod["spec"]["containers"][0]["ports"] = json!([{"name": "x", "containerPort": 70_000}]);
    });
    odd.create();
    world.kube.set_ready(NS, "a", false);
    world.until_leader("web", "b").await;
}
