//! Nodes that are about to go, and nodes that fell silent, in process against simkube.

mod support;

use serde_json::{Value, json};
use simkube::{FrameVerdict, Kind, Rule, Verb, Verdict};
use support::{NS, World, ms, secs};

const LEASES: &str = "kube-node-lease";

/// Pods `a` on node `x`, `b` on `y` and `c` on `z`, a Service of them, and a controller.
async fn world(flags: &str) -> World {
    let mut world = World::new();
    world.source("web").create();
    world.kube.namespace(LEASES);
    for (name, node, ip) in [
        ("a", "x", "10.1.0.1"),
        ("b", "y", "10.1.0.2"),
        ("c", "z", "10.1.0.3"),
    ] {
        world.kube.node(node);
        let lease = json!({"metadata": {"name": node}, "spec": {"holderIdentity": node}});
        world.kube.create(Kind::Lease, LEASES, &lease);
        let pod = world.kube.pod(NS, name).labels(&[("app", "web")]);
        pod.node(node).ip(ip).create();
    }
    world.start(flags).await;
    world.until_leader("web", "a").await;
    world.settle().await;
    world
}

fn cordon(world: &World, node: &str, is: bool) {
    let edit = |node: &mut Value| node["spec"]["unschedulable"] = is.into();
    world
        .kube
        .edit(Kind::Node, "", node, edit)
        .expect("it is there");
}

/// As kubelets do.
fn renew(world: &World, nodes: &[&str]) {
    for node in nodes {
        let at = format!("{}", world.kube.resource_version());
        let edit = |lease: &mut Value| lease["metadata"]["annotations"] = json!({"renewed": at});
        world
            .kube
            .edit(Kind::Lease, LEASES, node, edit)
            .expect("it is there");
    }
}

/// Ten seconds between two renewals, for so many rounds.
async fn rounds(world: &World, nodes: &[&str], count: usize) {
    for _ in 0..count {
        renew(world, nodes);
        tokio::time::sleep(secs(10)).await;
    }
}

/// Drains: a leader on a node that is cordoned hands over while it serves, and does not flap back.
#[tokio::test(start_paused = true)]
async fn a_cordoned_node_is_left() {
    let world = world("--leave-cordoned-nodes").await;
    world.clear();
    cordon(&world, "x", true);
    let took = world.until_leader("web", "b").await;
    assert!(took <= ms(5), "took {took:?}");
    world.settle().await;
    let told = world.told("web", "LeaderChanged");
    assert!(told[0].contains("from a to b (disrupted, "), "{told:?}");
    cordon(&world, "x", false);
    tokio::time::sleep(secs(300)).await;
    assert_eq!(world.leader("web").as_deref(), Some("b"));
    // Everything is cordoned: to go from one to the other would gain nothing.
    for node in ["y", "x", "z"] {
        cordon(&world, node, true);
    }
    world.settle().await;
    let leader = world.leader("web").expect("a leader");
    world.clear();
    tokio::time::sleep(secs(300)).await;
    assert_eq!(world.writes(), Vec::<String>::new());
    assert_eq!(world.leader("web"), Some(leader));
}

/// What cluster-autoscaler and others say by a taint.
#[tokio::test(start_paused = true)]
async fn a_node_that_is_to_be_deleted_is_left() {
    let world = world("--leave-cordoned-nodes=true").await;
    let taint =
        json!([{"key": "ToBeDeletedByClusterAutoscaler", "value": "1", "effect": "NoSchedule"}]);
    let edit = |node: &mut Value| node["spec"]["taints"] = taint.clone();
    world
        .kube
        .edit(Kind::Node, "", "x", edit)
        .expect("it is there");
    world.until_leader("web", "b").await;
}

/// It is opt-in, and without it the controller reads neither nodes nor their Leases.
#[tokio::test(start_paused = true)]
async fn without_the_flags_no_node_is_looked_at() {
    let world = world("").await;
    world.clear();
    cordon(&world, "x", true);
    tokio::time::sleep(secs(120)).await;
    assert_eq!(world.leader("web").as_deref(), Some("a"));
    assert_eq!(world.kube.open_watches(Kind::Node), 0);
    let of_nodes = world.kube.requests().into_iter();
    let of_nodes = of_nodes
        .filter(|record| record.kind == Some(Kind::Node))
        .count();
    assert_eq!(of_nodes, 0);
}

/// Without the right, everything else works.
#[tokio::test(start_paused = true)]
async fn a_missing_right_stops_nothing_else() {
    let mut world = World::new();
    world.source("web").create();
    world.pods("web", &["a", "b"]);
    let deny = ["list", "watch"].map(|verb| Rule::new(verb, "nodes", ""));
    world.kube.set_deny(deny.to_vec());
    world.start("--leave-cordoned-nodes").await;
    world.until_leader("web", "a").await;
    world.kube.set_ready(NS, "a", false);
    let took = world.until_leader("web", "b").await;
    assert!(took <= ms(5), "took {took:?}");
}

/// Dead nodes: a Lease that is not renewed, while the others are.
#[tokio::test(start_paused = true)]
async fn a_node_that_falls_silent_is_left() {
    let world = world("--node-lease-timeout=20s").await;
    rounds(&world, &["x", "y", "z"], 3).await;
    assert_eq!(world.leader("web").as_deref(), Some("a"));
    renew(&world, &["x", "y", "z"]);
    let died = tokio::time::Instant::now();
    tokio::time::sleep(secs(10)).await;
    rounds(&world, &["y", "z"], 1).await;
    assert_eq!(world.leader("web").as_deref(), Some("a"), "not yet");
    // The others have renewed since this one was due: it is the node.
    renew(&world, &["y", "z"]);
    world.until_leader("web", "b").await;
    let took = died.elapsed();
    assert!(secs(20) <= took && took <= secs(22), "took {took:?}");
    world.settle().await;
    let told = world.told("web", "LeaderChanged");
    assert!(told[0].contains("from a to b (notReady, "), "{told:?}");
    // It renews again, and the leader does not flap back.
    rounds(&world, &["x", "y", "z"], 3).await;
    assert_eq!(world.leader("web").as_deref(), Some("b"));
    // A pod on a silent node does not become a successor.
    rounds(&world, &["y", "z"], 4).await;
    world.kube.set_ready(NS, "b", false);
    world.until_leader("web", "c").await;
}

/// Nor by a watch that lags: what it shows of the others came before what it does not show yet.
#[tokio::test(start_paused = true)]
async fn a_watch_that_lags_moves_no_leader() {
    let world = world("--node-lease-timeout=20s").await;
    rounds(&world, &["x", "y", "z"], 2).await;
    renew(&world, &["x"]);
    world.settle().await;
    world.on_frame(|frame| match frame.kind {
        Kind::Lease => FrameVerdict::HoldUntil(frame.at + secs(11)),
        _ => FrameVerdict::Deliver,
    });
    for _ in 0..6 {
        tokio::time::sleep(secs(1)).await;
        renew(&world, &["y", "z"]);
        tokio::time::sleep(secs(9)).await;
        renew(&world, &["x"]);
        assert_eq!(world.leader("web").as_deref(), Some("a"));
    }
    // If the Leases cannot be read, no node is considered down.
    world.on_any_request(|request| match (request.verb, request.kind) {
        (Verb::List, Some(Kind::Lease)) => Verdict::Hang { applied: false },
        _ => Verdict::Pass,
    });
    rounds(&world, &["y", "z"], 6).await;
    assert_eq!(world.leader("web").as_deref(), Some("a"));
    world.on_any_request(|_| Verdict::Pass);
    rounds(&world, &["y", "z"], 2).await;
    assert_eq!(world.leader("web").as_deref(), Some("b"));
}

/// Dead nodes: if no node is heard of, it is the control plane, or our watch.
#[tokio::test(start_paused = true)]
async fn a_silent_control_plane_moves_no_leader() {
    let world = world("--node-lease-timeout=20s").await;
    // They renew at different times, as kubelets do, and then none does.
    for node in ["x", "y", "z", "x", "y", "z"] {
        renew(&world, &[node]);
        tokio::time::sleep(ms(3_300)).await;
    }
    world.clear();
    tokio::time::sleep(secs(600)).await;
    assert_eq!(world.writes(), Vec::<String>::new());
    assert_eq!(world.leader("web").as_deref(), Some("a"));
    // Two of three come back: the third one is dead.
    rounds(&world, &["y", "z"], 3).await;
    world.until_leader("web", "b").await;
}

/// Dead nodes: two of three at once is more than the share.
#[tokio::test(start_paused = true)]
async fn too_many_silent_nodes_move_no_leader() {
    let world = world("--node-lease-timeout=20s").await;
    rounds(&world, &["x", "y", "z"], 2).await;
    world.clear();
    rounds(&world, &["z"], 12).await;
    assert_eq!(world.writes(), Vec::<String>::new());
    assert_eq!(world.leader("web").as_deref(), Some("a"));
}
