//! What operators do, in process against simkube: a planned switchover, a pause, and where new
//! leaders go. Each test names the row of the contract that it is about.

mod support;

use serde_json::Value;
use simkube::{Kind, Verb, Verdict};
use support::{NS, World, ms, secs};

const PREFERRED: &str = "zen-lead.io/preferred-leader";
const HANDLED: &str = "zen-lead.io/handled-switchover";
const PAUSED: &str = "zen-lead.io/paused";
const PRIORITY: &str = "zen-lead.io/priority";
const STICKY: &str = "zen-lead.io/sticky";
const STRATEGY: &str = "zen-lead.io/strategy";

fn annotation(world: &World, key: &str) -> Option<String> {
    let service = world.leader_service("web")?;
    let value = service["metadata"]["annotations"][key].as_str()?;
    Some(value.to_owned())
}

fn uid(world: &World, pod: &str) -> String {
    let pod = world.kube.get(Kind::Pod, NS, pod).expect("there");
    pod["metadata"]["uid"].as_str().expect("a uid").to_owned()
}

/// §1 `preferred-leader`: one patch from pod to pod, then the memory with the identity.
#[tokio::test(start_paused = true)]
async fn a_switchover_is_three_requests() {
    let world = World::serving(&["a", "b", "c"]).await;
    world.clear();
    world.annotate("web", PREFERRED, Some("c"));
    let took = world.until_leader("web", "c").await;
    assert!(took <= ms(5), "took {took:?}");
    world.settle().await;
    // The first one is the user's own.
    let words = world.words();
    let expected = [
        "patch EndpointSlice web-leader",
        "patch Service web-leader",
        "create Event LeaderChanged",
    ];
    assert_eq!(words, expected);
    assert_eq!(
        annotation(&world, HANDLED),
        Some(format!("c/{}", uid(&world, "c")))
    );
    let told = world.told("web", "LeaderChanged");
    assert!(
        told.len() == 1 && told[0].contains("from a to c (switchover, "),
        "{told:?}"
    );
}

/// §1 `preferred-leader`: once per value, whatever becomes of the pod or the controller.
#[tokio::test(start_paused = true)]
async fn a_switchover_is_not_repeated_by_a_pod_that_comes_back_nor_by_a_restart() {
    let mut world = World::serving(&["a", "b", "c"]).await;
    world.annotate("web", PREFERRED, Some("c"));
    world.until_leader("web", "c").await;
    world.settle().await;
    world.kube.delete_pod(NS, "c", 0);
    world.until_leader("web", "a").await;
    world.pod("web", "c");
    world.settle().await;
    assert_eq!(world.leader("web").as_deref(), Some("a"));
    world.crash().await;
    world.clear();
    world.start("").await;
    world.settle().await;
    world.assert_words("restart", &[]);
    assert_eq!(world.leader("web").as_deref(), Some("a"));
    // Taken away and asked for anew, it is a request again.
    world.annotate("web", PREFERRED, None);
    world.settle().await;
    assert_eq!(annotation(&world, HANDLED), None);
    world.annotate("web", PREFERRED, Some("c"));
    world.until_leader("web", "c").await;
}

/// §1 `preferred-leader`: a crash between the slice and the memory repeats nothing.
#[tokio::test(start_paused = true)]
async fn a_crash_in_the_middle_of_a_switchover_finishes_it() {
    let mut world = World::serving(&["a", "b"]).await;
    world.annotate("web", STICKY, Some("false"));
    world.settle().await;
    world.on_request(|request| {
        let is_identity = request.kind == Some(Kind::Service) && request.verb == Verb::Patch;
        if is_identity && request.client == "write" {
            Verdict::Hang { applied: false }
        } else {
            Verdict::Pass
        }
    });
    world.annotate("web", PREFERRED, Some("b"));
    world
        .until("b in the slice", |world| {
            world.leader("web").as_deref() == Some("b")
        })
        .await;
    world.crash().await;
    world.heal();
    assert_eq!(annotation(&world, HANDLED), None);
    world.clear();
    world.start("").await;
    world.until_leader("web", "b").await;
    world.settle().await;
    assert_eq!(world.writes(), ["patch Service web-leader"]);
    assert!(annotation(&world, HANDLED).is_some());
}

/// §1 `paused`: nothing moves until it ends, and then at once.
#[tokio::test(start_paused = true)]
async fn a_pause_keeps_the_leader_and_its_end_decides_at_once() {
    let mut world = World::serving(&["a", "b"]).await;
    world.annotate("web", PAUSED, Some("true"));
    world.settle().await;
    world.clear();
    world.kube.set_ready(NS, "a", false);
    world.annotate("web", PREFERRED, Some("b"));
    world.settle().await;
    assert_eq!(world.writes(), Vec::<String>::new());
    world.crash().await;
    world.start("").await;
    world.settle().await;
    assert_eq!(world.writes(), Vec::<String>::new(), "nor by a restart");
    world.annotate("web", PAUSED, None);
    let took = world.until_leader("web", "b").await;
    assert!(took <= ms(5), "took {took:?}");
}

/// §1 `paused`: an address may be given to another pod, so it goes with its pod.
#[tokio::test(start_paused = true)]
async fn a_pause_keeps_no_leader_that_is_gone() {
    let world = World::serving(&["a", "b"]).await;
    world.annotate("web", PAUSED, Some("true"));
    world.settle().await;
    world.kube.delete_pod(NS, "a", 30);
    world
        .until("the last resort", |world| {
            let slice = world.slice("web").expect("it stays");
            slice["endpoints"][0]["conditions"]["terminating"] == true
        })
        .await;
    world.kube.finish_termination(NS, "a");
    world.until_none("web").await;
    world.settle().await;
    let told = world.told("web", "Paused");
    assert!(
        told.len() == 1 && told[0].contains("until the pause ends"),
        "{told:?}"
    );
    assert_eq!(world.identity("web"), None);
    world.annotate("web", PAUSED, Some("false"));
    world.until_leader("web", "b").await;
}

/// §1: an invalid pause is one, and says so.
#[tokio::test(start_paused = true)]
async fn an_unclear_pause_is_a_pause() {
    let world = World::serving(&["a", "b"]).await;
    world.annotate("web", PAUSED, Some("yes"));
    world.settle().await;
    world.kube.set_ready(NS, "a", false);
    world.settle().await;
    assert_eq!(world.leader("web").as_deref(), Some("a"));
    let told = world.told("web", "InvalidAnnotation");
    assert!(told.len() == 1 && told[0].contains(PAUSED), "{told:?}");
}

/// §3 `priority`: by the pods' own words, at elections, and with `sticky: "false"` at once.
#[tokio::test(start_paused = true)]
async fn a_higher_priority_leads() {
    let mut world = World::new();
    world
        .source("web")
        .annotation(STRATEGY, "priority")
        .annotation(STICKY, "false")
        .create();
    world.pods("web", &["a", "b", "c"]);
    world.kube.annotate(Kind::Pod, NS, "b", PRIORITY, Some("5"));
    world.start("").await;
    world.until_leader("web", "b").await;
    world.kube.label(Kind::Pod, NS, "c", PRIORITY, Some("10"));
    world.until_leader("web", "c").await;
    world.kube.label(Kind::Pod, NS, "c", PRIORITY, Some("ten"));
    world.until_leader("web", "b").await;
    world.settle().await;
    let told = world.told("web", "InvalidAnnotation");
    assert!(
        told.len() == 1 && told[0].contains("Pod c") && told[0].contains("\"ten\""),
        "{told:?}"
    );
}

/// The nodes of the leaders of `web-0`, `web-1` and so on.
fn nodes(world: &World, services: usize) -> Vec<String> {
    let node = |number: usize| {
        let slice = world.slice(&format!("web-{number}")).unwrap_or_default();
        let node = slice["endpoints"][0]["nodeName"].as_str();
        node.unwrap_or("nobody").to_owned()
    };
    (0..services).map(node).collect()
}

/// §3 `node-spread`: each new leader goes where the fewest are, and stays there.
#[tokio::test(start_paused = true)]
async fn leaders_spread_over_nodes() {
    const SERVICES: usize = 6;
    let mut world = World::new();
    for number in 0..SERVICES {
        let source = world.source(&format!("web-{number}"));
        source
            .selector(&[("app", "web")])
            .annotation(STRATEGY, "node-spread")
            .create();
    }
    for (name, node, ip) in [
        ("a", "x", "10.1.0.1"),
        ("b", "y", "10.1.0.2"),
        ("c", "z", "10.1.0.3"),
    ] {
        let pod = world.kube.pod(NS, name).labels(&[("app", "web")]);
        pod.node(node).ip(ip).create();
    }
    world.start("").await;
    world.settle().await;
    let count = |nodes: &[String], name: &str| nodes.iter().filter(|node| **node == *name).count();
    let before = nodes(&world, SERVICES);
    for node in ["x", "y", "z"] {
        assert_eq!(count(&before, node), 2, "{before:?}");
    }
    // Those of the lost pod are shared among the others, who keep theirs.
    world.kube.set_ready(NS, "a", false);
    world.settle().await;
    let after = nodes(&world, SERVICES);
    assert_eq!(
        (count(&after, "y"), count(&after, "z")),
        (3, 3),
        "{after:?}"
    );
    for (before, after) in before.iter().zip(&after) {
        assert!(before == "x" || before == after, "{before} {after}");
    }
    // A restart counts them as they are, and moves nobody.
    world.crash().await;
    world.kube.set_ready(NS, "a", true);
    world.start("").await;
    world.settle().await;
    assert_eq!(nodes(&world, SERVICES), after);
    // A Service that is withdrawn counts no more.
    for (number, _) in after.iter().enumerate().filter(|(_, node)| **node == *"y") {
        world.annotate(&format!("web-{number}"), support::ENABLED, None);
    }
    world.settle().await;
    world.kube.set_ready(NS, "c", false);
    world.settle().await;
    let last = nodes(&world, SERVICES);
    let counts = (count(&last, "x"), count(&last, "y"), count(&last, "z"));
    assert_eq!(counts, (2, 1, 0), "{last:?}");
}

/// §3: `node-spread` applies at elections only.
#[tokio::test(start_paused = true)]
async fn a_spread_without_sticky_is_refused() {
    let world = World::serving(&["a", "b"]).await;
    world.annotate("web", STRATEGY, Some("node-spread"));
    world.annotate("web", STICKY, Some("false"));
    world.settle().await;
    assert_eq!(world.leader("web").as_deref(), Some("a"));
    let told = world.told("web", "InvalidAnnotation");
    assert!(
        told.len() == 1 && told[0].contains("node-spread"),
        "{told:?}"
    );
}

/// §1: none of these passes through an empty slice.
#[tokio::test(start_paused = true)]
async fn nothing_that_is_planned_empties_a_slice() {
    let world = World::serving(&["a", "b", "c"]).await;
    world.clear();
    for pod in ["b", "c", "a", "b"] {
        world.annotate("web", PREFERRED, Some(pod));
        world.until_leader("web", pod).await;
    }
    world.annotate("web", PAUSED, Some("true"));
    world.kube.set_ready(NS, "b", false);
    world.settle().await;
    let written = world.asked().into_iter().filter(|record| {
        record.kind == Some(Kind::EndpointSlice) && record.is_write() && record.status < 300
    });
    let mut patches = 0;
    for record in written {
        let ops: Vec<Value> = serde_json::from_slice(&record.body).expect("a patch");
        for op in ops.iter().filter(|op| op["path"] == "/endpoints") {
            patches += 1;
            assert_eq!(op["value"].as_array().map(Vec::len), Some(1), "{op}");
        }
    }
    assert_eq!(patches, 4);
    world.annotate("web", PAUSED, None);
    world.settle().await;
    tokio::time::sleep(secs(1)).await;
    assert_eq!(world.leader("web").as_deref(), Some("a"));
}
