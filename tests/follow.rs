//! §3a: following the application's own leader, by a label and by a Lease, in process against simkube.

mod support;

use std::io;

use serde_json::{Value, json};
use simkube::Kind;
use support::{NS, World, ms, secs};
use tokio::time::sleep;
use zen_lead::cli::{Cluster, Typed, answer, read};

const FOLLOW: &str = "zen-lead.io/follow";
const LABEL: &str = "label/role=primary";
const LEASE: &str = "lease/lock";

/// Sets the label on a pod, or removes it.
fn role(world: &World, pod: &str, is: bool) {
    let edited = world.kube.edit(Kind::Pod, NS, pod, |pod| {
        let value = if is { "primary".into() } else { Value::Null };
        let labels = pod["metadata"]["labels"].as_object_mut().expect("labels");
        labels.insert("role".into(), value);
        labels.retain(|_, value| !value.is_null());
    });
    edited.expect("the pod is there");
}

/// The application's elector writes its Lease.
fn write(world: &World, holder: &str) {
    let time = format!("2026-01-01T00:00:00.{:06}Z", world.kube.resource_version());
    let spec = json!({
        "holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": time,
    });
    let known = world.kube.edit(Kind::Lease, NS, "lock", |lease| {
        lease["spec"] = spec.clone();
    });
    if known.is_err() {
        let lease = json!({"metadata": {"name": "lock"}, "spec": spec});
        world.kube.create(Kind::Lease, NS, &lease);
    }
}

/// Pods `a`, `b` and `c`, and a Service that follows. The application names `a`.
async fn following(follow: &str) -> World {
    let mut world = World::new();
    world.source("web").annotation(FOLLOW, follow).create();
    world.pods("web", &["a", "b", "c"]);
    role(&world, "a", true);
    write(&world, "a_5f1b");
    world.start("").await;
    world.until_leader("web", "a").await;
    world.settle().await;
    world.clear();
    world
}

/// Nothing is published.
fn is_empty(world: &World) -> bool {
    world.leader("web").is_none()
}

/// One move: the slice, then what the leader Service says, and one Event.
const MOVE: [&str; 3] = [
    "patch EndpointSlice web-leader",
    "patch Service web-leader",
    "create Event LeaderChanged",
];

#[tokio::test(start_paused = true)]
async fn a_label_that_moves_is_one_patch() {
    let world = following(LABEL).await;
    role(&world, "b", true);
    world.until_leader("web", "b").await;
    role(&world, "a", false);
    world.settle().await;
    world.assert_words("set, then removed", &MOVE);
    world.clear();
    role(&world, "b", false);
    sleep(ms(200)).await;
    assert_eq!(
        world.leader("web").as_deref(),
        Some("b"),
        "within the delay"
    );
    role(&world, "c", true);
    world.until_leader("web", "c").await;
    world.settle().await;
    world.assert_words("removed, then set within the delay", &MOVE);
}

#[tokio::test(start_paused = true)]
async fn without_a_named_pod_the_leader_is_withdrawn() {
    for follow in [LABEL, LEASE] {
        let world = following(follow).await;
        role(&world, "a", false);
        write(&world, "");
        sleep(ms(240)).await;
        assert!(!is_empty(&world), "{follow}: within the delay");
        sleep(ms(30)).await;
        assert!(is_empty(&world), "{follow}: after it");
        world.settle().await;
        let told = world.told("web", "NoLeaderToFollow");
        assert!(told.len() == 1 && told[0].contains("unnamed"), "{told:?}");
        sleep(secs(60)).await;
        assert!(is_empty(&world), "{follow}: no pod is elected");
        role(&world, "b", true);
        write(&world, "b");
        world.until_leader("web", "b").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_changes_hands_is_one_patch() {
    let world = following(LEASE).await;
    write(&world, "b_77aa");
    world.until_leader("web", "b").await;
    world.settle().await;
    world.assert_words("another holder", &MOVE);
    world.clear();
    for _ in 0..30 {
        sleep(secs(2)).await;
        write(&world, "b_77aa");
    }
    world.settle().await;
    world.assert_words("renewals", &[]);
}

/// Neither its silence nor its deletion nor a typo takes the traffic away.
#[tokio::test(start_paused = true)]
async fn a_lease_that_says_nothing_keeps_the_leader() {
    let world = following(LEASE).await;
    sleep(secs(60)).await;
    world.kube.delete(Kind::Lease, NS, "lock");
    sleep(secs(60)).await;
    world.annotate("web", FOLLOW, Some("lease/other"));
    sleep(secs(60)).await;
    world.annotate("web", FOLLOW, Some("lease"));
    sleep(secs(60)).await;
    assert_eq!(world.leader("web").as_deref(), Some("a"));
    assert_eq!(world.writes(), Vec::<String>::new());
    // The pod itself is judged as ever, and no other pod takes its place.
    world.kube.set_ready(NS, "a", false);
    world.until_none("web").await;
    world.kube.set_ready(NS, "a", true);
    sleep(secs(5)).await;
    assert!(is_empty(&world));
}

/// A pod that is made again under the holder's name is another pod.
#[tokio::test(start_paused = true)]
async fn a_pod_that_comes_back_has_to_write_first() {
    let world = following(LEASE).await;
    world.kube.delete_pod(NS, "a", 0);
    world.until_none("web").await;
    sleep(secs(1)).await;
    world.pod("web", "a");
    sleep(secs(5)).await;
    assert!(is_empty(&world), "the Lease means the former pod");
    write(&world, "a_5f1b");
    world.until_leader("web", "a").await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_writes_nothing() {
    for follow in [LABEL, LEASE] {
        let mut world = following(follow).await;
        role(&world, "b", true);
        write(&world, "b");
        world.until_leader("web", "b").await;
        world.settle().await;
        world.crash().await;
        world.clear();
        // The label is on two pods, and the order is known to the former process only.
        world.start("").await;
        world.settle().await;
        assert_eq!(world.leader("web").as_deref(), Some("b"), "{follow}");
        assert_eq!(world.writes(), Vec::<String>::new(), "{follow}");
    }
}

/// A standby has watched all along: the delay is over when it was over for the former holder.
#[tokio::test(start_paused = true)]
async fn a_successor_begins_no_delay_again() {
    let mut world = following(LABEL).await;
    world.annotate("web", "zen-lead.io/failover-min-delay", Some("60s"));
    let standby = world.another("other", "");
    sleep(secs(5)).await;
    role(&world, "a", false);
    sleep(secs(50)).await;
    let stopped = world.stop().await;
    sleep(secs(11).saturating_sub(stopped)).await;
    assert!(is_empty(&world), "60 s after the label went");
    standby.stop().await;
}

async fn typed(world: &World, words: &str) -> Result<String, String> {
    let words: Vec<String> = words.split_whitespace().map(String::from).collect();
    let Typed::Call(call) = read("zen-lead", &words) else {
        panic!("{words:?} is a command");
    };
    let mut out: Vec<u8> = Vec::new();
    let cluster = Cluster::with(world.kube.client_named("cli"), NS, world.clock());
    let done = answer(&call, &cluster, &mut out as &mut dyn io::Write).await;
    done.map_err(|why| format!("{why:#}"))?;
    Ok(String::from_utf8(out).expect("text"))
}

#[tokio::test(start_paused = true)]
async fn commands_say_what_is_named() {
    let world = following(LEASE).await;
    let text = typed(&world, "explain web").await.expect("explained");
    for expected in [
        "Rules: follows lease/lock",
        "Named: Lease lock is held by \"a_5f1b\", which is pod a, by rule 2",
        "not named by the application",
        "no leader until the application names another pod",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    let text = typed(&world, "status -o wide").await.expect("a status");
    assert!(text.contains("lease/lock (named)"), "{text}");
    let why = typed(&world, "switchover web --to b")
        .await
        .expect_err("refused");
    assert!(
        why.contains("the application decides") && why.contains("Lease lock"),
        "{why}"
    );
    write(&world, "x");
    world.settle().await;
    let text = typed(&world, "doctor").await.expect("a diagnosis");
    let expected = "Lease lock is held by \"x\", which matches no pod of the Service";
    assert!(text.contains(expected), "{text}");
    world.annotate("web", FOLLOW, Some("label/app=web"));
    world.settle().await;
    let text = typed(&world, "doctor").await.expect("a diagnosis");
    assert!(
        text.contains("its selector contains the followed label app=web"),
        "{text}"
    );
}
