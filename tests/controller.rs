//! The whole controller in process against simkube: what is made, moved and taken down. Each test
//! names the row of `CONTRACT.md` that it is about.

mod support;

use serde_json::{Value, json};
use simkube::{Kind, Options, Verb, Verdict};
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
