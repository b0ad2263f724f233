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
    // Removed and set again, it is a new request.
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
        node.unwrap_or("none").to_owned()
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
    // Those of the lost pod are shared among the others, which keep theirs.
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
    // A restart counts them as they are, and moves no leader.
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

/// Waits until no failover is under way, and returns the leader.
async fn flap(world: &World, pod: &str) -> String {
    world.kube.set_ready(NS, pod, false);
    tokio::time::sleep(ms(200)).await;
    world.kube.set_ready(NS, pod, true);
    tokio::time::sleep(ms(200)).await;
    world.leader("web").unwrap_or_else(|| "none".into())
}

fn metric(world: &World, name: &str) -> String {
    let text = world.replica().metrics.encode(world.replica().clock.now());
    let line = text
        .lines()
        .find(|line| line.starts_with(name) && line.contains("\"web\""));
    line.and_then(|line| line.rsplit(' ').next())
        .unwrap_or_default()
        .to_owned()
}

/// The storm guard: a probe that flaps bounces a Service ten times, and no more until there is
/// something in the budget again.
#[tokio::test(start_paused = true)]
async fn a_flapping_probe_is_stopped_by_the_budget() {
    let mut world = World::new();
    world.source("web").create();
    world.pods("web", &["a", "b"]);
    world.start("--failover-budget-per-service=10").await;
    world.until_leader("web", "a").await;
    world.settle().await;
    world.clear();
    for turn in 0..10 {
        let (leader, other) = [("a", "b"), ("b", "a")][turn % 2];
        assert_eq!(flap(&world, leader).await, other, "turn {turn}");
    }
    world.clear();
    for _ in 0..5 {
        assert_eq!(flap(&world, "a").await, "a", "it stays, Ready or not");
    }
    assert_eq!(world.writes(), Vec::<String>::new());
    assert_eq!(metric(&world, "zen_lead_failovers_held_total"), "5");
    assert_eq!(metric(&world, "zen_lead_leader_guarded"), "0");
    world.kube.set_ready(NS, "a", false);
    world.settle().await;
    assert_eq!(metric(&world, "zen_lead_leader_guarded"), "1");
    let told = world.told("web", "FailoverBudgetExceeded");
    assert!(
        told.len() == 1 && told[0].contains("--failover-budget-per-service"),
        "{told:?}"
    );
    // One is filled in a minute, and taken by its own timer.
    world.until_leader("web", "b").await;
    // What is gone is gone, budget or not.
    world.kube.set_ready(NS, "a", true);
    world.kube.delete_pod(NS, "b", 0);
    let took = world.until_leader("web", "a").await;
    assert!(took <= ms(5), "took {took:?}");
}

/// A restart begins with full budgets; without the flag there is none.
#[tokio::test(start_paused = true)]
async fn a_budget_is_full_after_a_restart_and_off_by_default() {
    let mut world = World::new();
    world.source("web").create();
    world.pods("web", &["a", "b"]);
    world.start("--failover-budget-per-service=1").await;
    world.until_leader("web", "a").await;
    assert_eq!(flap(&world, "a").await, "b");
    assert_eq!(flap(&world, "b").await, "b", "it is used up");
    world.crash().await;
    world.start("--failover-budget-per-service=1").await;
    // The Lease of the one that crashed has to run out.
    tokio::time::sleep(secs(10)).await;
    assert_eq!(flap(&world, "b").await, "a");
    world.crash().await;
    world.start("").await;
    tokio::time::sleep(secs(10)).await;
    for turn in 0..30 {
        let (leader, other) = [("a", "b"), ("b", "a")][turn % 2];
        assert_eq!(flap(&world, leader).await, other, "turn {turn}");
    }
}

/// A sick control plane that takes all pods for dead moves so many Services and no more.
#[tokio::test(start_paused = true)]
async fn a_storm_is_stopped_by_the_global_budget() {
    let mut world = World::new();
    for number in 0..20 {
        let name = format!("s{number}");
        world.source(&name).create();
        world.pods(&name, &[&format!("{name}-a"), &format!("{name}-b")]);
    }
    world.start("--failover-budget-global=5").await;
    world.settle().await;
    for number in 0..20 {
        world.kube.set_ready(NS, &format!("s{number}-a"), false);
    }
    world.settle().await;
    let moved = |world: &World| {
        let leads =
            |number: &i32| world.leader(&format!("s{number}")) == Some(format!("s{number}-b"));
        (0..20).filter(leads).count()
    };
    assert_eq!(moved(&world), 5);
    let told =
        (0..20).flat_map(|number| world.told(&format!("s{number}"), "FailoverBudgetExceeded"));
    let told: Vec<String> = told.collect();
    assert!(
        told.len() == 15 && told[0].contains("--failover-budget-global"),
        "{told:?}"
    );
    // Two minutes each, while they last.
    tokio::time::sleep(secs(4 * 60)).await;
    assert_eq!(moved(&world), 7);
    for number in 0..20 {
        world.kube.set_ready(NS, &format!("s{number}-a"), true);
    }
    world.settle().await;
    assert_eq!(moved(&world), 7, "those that were kept lead on");
}
