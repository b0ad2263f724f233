//! Two replicas, one writer: whole controllers in process, which share a simulated API server and
//! nothing else. Time is virtual, so every bound below is exact.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use simkube::{FrameVerdict, Kind, Options, Rule, Verb, Verdict};
use support::{LEASE_NS, NS, Replica, World, ms, secs, word};
use tokio::time::{Instant, sleep};
use zen_lead::logic::time::Now;

const LEASE: &str = "zen-lead-controller-leader-election";

/// A world in which `a` leads `web`, written by the first of two replicas that are both synced.
async fn two(pods: &[&str]) -> (World, Replica, Replica) {
    two_in(World::new(), pods).await
}

async fn two_in(mut world: World, pods: &[&str]) -> (World, Replica, Replica) {
    world.source("web").create();
    world.pods("web", pods);
    let first = world.another("-1", "");
    until_active(&world, &first).await;
    let second = world.another("-2", "");
    world.until_leader("web", pods[0]).await;
    world
        .until("the second sync", |_| second.readiness.check().is_ok())
        .await;
    // Past the first seconds of the tenure, in which the server is asked before a leader is left.
    sleep(secs(12)).await;
    world.clear();
    (world, first, second)
}

async fn until_active(world: &World, replica: &Replica) -> Duration {
    world
        .until("it being active", |_| replica.tenure.is_active())
        .await
}

fn lease(world: &World) -> Option<Value> {
    world.kube.get(Kind::Lease, LEASE_NS, LEASE)
}

/// What came over the connection for writes of one replica.
fn asked_by(world: &World, name: &str) -> Vec<String> {
    let client = format!("write-{name}");
    let asked = world.asked();
    let own = asked.iter().filter(|record| record.client == client);
    own.map(word).collect()
}

fn metrics(replica: &Replica) -> String {
    let now: Now = replica.clock.now();
    replica.metrics.encode(now)
}

/// §6: a fresh Lease is held within a round trip, in the form of client-go; a standby is ready, and
/// does nothing that shows.
#[tokio::test(start_paused = true)]
async fn a_standby_is_ready_and_silent() {
    let (world, first, second) = two(&["a", "b"]).await;
    assert!(first.tenure.is_active() && !second.tenure.is_active());
    assert_eq!(second.readiness.check(), Ok(()));
    let lease = lease(&world).expect("held");
    let spec = &lease["spec"];
    let holder = spec["holderIdentity"].as_str().expect("a holder");
    let (_, suffix) = holder.rsplit_once('_').expect("a suffix");
    assert_eq!(suffix.len(), 16, "{holder}");
    assert_eq!(spec["leaseDurationSeconds"], 4);
    assert_eq!(spec["leaseTransitions"], 0);
    for time in ["acquireTime", "renewTime"] {
        let text = spec[time].as_str().expect("a time");
        assert_eq!(text.len(), "2026-01-01T00:00:00.000000Z".len(), "{text}");
    }
    world.kube.set_ready(NS, "a", false);
    world.until_leader("web", "b").await;
    sleep(secs(2)).await;
    assert_eq!(asked_by(&world, "2"), [""; 0]);
    assert_eq!(world.told("web", "LeaderChanged").len(), 1);
    let failovers =
        "zen_lead_failover_count_total{namespace=\"shop\",service=\"web\",reason=\"notReady\"} 1";
    assert!(metrics(&first).contains(failovers));
    assert!(metrics(&first).contains("zen_lead_is_active 1"));
    assert!(!metrics(&second).contains(failovers), "counted once");
    assert!(metrics(&second).contains("zen_lead_is_active 0"));
}

/// The leader dies together with the holder: the standby moves traffic once the Lease has expired.
#[tokio::test(start_paused = true)]
async fn a_killed_holder_is_replaced_within_five_seconds() {
    let (world, first, second) = two(&["a", "b"]).await;
    first.crash();
    world.kube.set_ready(NS, "a", false);
    let took = world.until_leader("web", "b").await;
    assert!(took > secs(3) && took <= ms(4_010), "{took:?}");
    sleep(secs(2)).await;
    second.check();
    // One failover, as if nothing else had happened, and no other write.
    assert_eq!(
        world.words(),
        [
            "patch EndpointSlice web-leader",
            "patch Service web-leader",
            "create Event LeaderChanged"
        ]
    );
    assert_eq!(lease(&world).expect("held")["spec"]["leaseTransitions"], 1);
}

/// SIGTERM: what is under way lands, then the standby takes over at once.
#[tokio::test(start_paused = true)]
async fn a_stopped_holder_hands_over_at_once() {
    let (world, first, second) = two(&["a", "b"]).await;
    let took = first.stop().await;
    assert!(took <= ms(10), "{took:?}");
    let took = until_active(&world, &second).await;
    assert!(took <= ms(10), "{took:?}");
    world.kube.set_ready(NS, "a", false);
    world.until_leader("web", "b").await;
    // The last one releases it too, in the form of client-go.
    second.stop().await;
    let spec = lease(&world).expect("it stays")["spec"].clone();
    assert_eq!(spec["holderIdentity"], "");
    assert_eq!(spec["leaseDurationSeconds"], 1);
}

/// SIGTERM while an Event is under way: it lands too.
#[tokio::test(start_paused = true)]
async fn a_stopped_holder_has_its_say() {
    let (world, first, second) = two(&["a", "b"]).await;
    world.on_any_request(|request| match request.kind {
        Some(Kind::Event) => Verdict::Delay {
            before: ms(50),
            after: ms(0),
        },
        _ => Verdict::Pass,
    });
    world.kube.set_ready(NS, "a", false);
    world.until_leader("web", "b").await;
    sleep(ms(20)).await;
    first.stop().await;
    let events = world.events("web");
    let is_told = events.iter().any(|event| event.contains("from a to b"));
    assert!(is_told, "{events:?}");
    until_active(&world, &second).await;
}

/// Traffic that should have moved while no replica could move it, moves first and at once; and what has
/// not changed is not written, even though the former holder has decided a lot meanwhile.
#[tokio::test(start_paused = true)]
async fn a_takeover_moves_nothing_by_itself() {
    let (world, first, second) = two(&["a", "b"]).await;
    for (from, to) in [("a", "b"), ("b", "a"), ("a", "b")] {
        world.kube.set_ready(NS, from, false);
        world.until_leader("web", to).await;
        world.kube.set_ready(NS, from, true);
        sleep(secs(3)).await;
    }
    world.clear();
    first.stop().await;
    until_active(&world, &second).await;
    sleep(secs(20)).await;
    assert_eq!(world.words(), [""; 0], "the oldest pod is not returned to");
    assert_eq!(world.leader("web").as_deref(), Some("b"));
}

/// A standby that heard of things in another order decided otherwise, and follows the holder.
#[tokio::test(start_paused = true)]
async fn a_standby_follows_what_is_published() {
    let (world, first, second) = two(&["a", "b"]).await;
    world.pod("web", "c");
    // It hears of the strategy 10 s after the failover, and would have elected the next oldest.
    world.on_frame(|frame| {
        if frame.client == "watch-2" && frame.kind == Kind::Service {
            return FrameVerdict::HoldUntil(frame.at + secs(10));
        }
        FrameVerdict::Deliver
    });
    world.annotate("web", "zen-lead.io/strategy", Some("newest"));
    sleep(ms(100)).await;
    world.kube.set_ready(NS, "a", false);
    world.until_leader("web", "c").await;
    sleep(secs(15)).await;
    world.heal();
    world.clear();
    first.crash();
    until_active(&world, &second).await;
    sleep(secs(20)).await;
    assert_eq!(world.leader("web").as_deref(), Some("c"));
    assert_eq!(world.words(), [""; 0]);
}

/// A standby that takes over before it has heard of the last failovers keeps to them when it does,
/// whichever kinds of news were late.
#[tokio::test(start_paused = true)]
async fn a_takeover_keeps_what_it_hears_of_late() {
    for late in [
        &[Kind::EndpointSlice][..],
        &[Kind::EndpointSlice, Kind::Service],
    ] {
        let (world, first, second) = two(&["a", "b"]).await;
        world.on_frame(move |frame| {
            if frame.client == "watch-2" && late.contains(&frame.kind) {
                return FrameVerdict::HoldUntil(frame.at + secs(10));
            }
            FrameVerdict::Deliver
        });
        world.kube.set_ready(NS, "a", false);
        world.kube.set_ready(NS, "a", true);
        world.until_leader("web", "b").await;
        sleep(secs(1)).await;
        first.crash();
        world.clear();
        until_active(&world, &second).await;
        sleep(secs(30)).await;
        assert_eq!(world.leader("web").as_deref(), Some("b"));
        let of_slices = |word: &String| word.contains("EndpointSlice");
        let words = world.words();
        assert!(!words.iter().any(of_slices), "{late:?}: {words:?}");
        assert_eq!(world.identity("web").as_deref(), Some("b"));
    }
}

/// Has `a` taken down, which is about to go and then Ready again. The second replica hears of the slice
/// so much later.
async fn take_down_unseen(world: &World, later: Duration) {
    world.kube.delete_pod(NS, "a", 600);
    sleep(secs(1)).await;
    world.on_frame(move |frame| {
        if frame.client == "watch-2" && frame.kind == Kind::EndpointSlice {
            return FrameVerdict::HoldUntil(frame.at + later);
        }
        FrameVerdict::Deliver
    });
    world.kube.set_ready(NS, "a", false);
    world.kube.set_ready(NS, "a", true);
    world.until_none("web").await;
    sleep(secs(1)).await;
}

/// The same of a leader that was taken down: about to go, it could stay, and cannot come back.
#[tokio::test(start_paused = true)]
async fn a_takeover_publishes_no_pod_that_was_taken_down() {
    let (world, first, second) = two(&["a"]).await;
    take_down_unseen(&world, secs(10)).await;
    first.crash();
    world.clear();
    until_active(&world, &second).await;
    sleep(secs(30)).await;
    assert_eq!(world.leader("web"), None);
    let words = world.words();
    assert!(
        !words.iter().any(|word| word.contains("EndpointSlice")),
        "{words:?}"
    );
}

/// Nor where a write of another family's slice is the latest word that it has heard: the leader has an
/// address in one family only, and the ports of both slices change while the news of them are late.
#[tokio::test(start_paused = true)]
async fn a_takeover_publishes_no_pod_that_was_taken_down_in_its_family() {
    let world = World::with(Options {
        dual_stack: true,
        ..Options::default()
    });
    let (world, first, second) = two_in(world, &["a"]).await;
    let edit = |service: &mut Value| {
        service["spec"]["ipFamilyPolicy"] = "RequireDualStack".into();
        service["spec"]["ipFamilies"] = json!(["IPv4", "IPv6"]);
    };
    let edited = world.kube.edit(Kind::Service, NS, "web", edit);
    edited.expect("accepted");
    let of_the_second = |world: &World| world.kube.get(Kind::EndpointSlice, NS, "web-leader-ipv6");
    world
        .until("the other slice", |world| of_the_second(world).is_some())
        .await;
    take_down_unseen(&world, secs(60)).await;
    first.crash();
    until_active(&world, &second).await;
    sleep(secs(10)).await;
    // The answer about the slice that contains the pod comes last.
    world.on_request(|request| match (request.verb, &*request.name) {
        (Verb::Patch, "web-leader") => Verdict::Delay {
            before: ms(50),
            after: ms(0),
        },
        _ => Verdict::Pass,
    });
    let port = |service: &mut Value| service["spec"]["ports"][0]["targetPort"] = json!(9_090);
    let edited = world.kube.edit(Kind::Service, NS, "web", port);
    edited.expect("accepted");
    sleep(secs(30)).await;
    let port = |slice: &Value| slice["ports"][0]["port"].clone();
    assert_eq!(port(&of_the_second(&world).expect("there")), 9_090);
    assert_eq!(world.leader("web"), None);
}

/// The second replica's watch of the pods falls behind. The first replica moves from a to b and is killed.
async fn crash_after_an_unseen_move(world: &World, first: Replica) {
    world.on_frame(|frame| {
        if frame.client == "watch-2" && frame.kind == Kind::Pod {
            return FrameVerdict::HoldUntil(frame.at + secs(60));
        }
        FrameVerdict::Deliver
    });
    world.pods("web", &["b"]);
    sleep(secs(1)).await;
    world.kube.delete_pod(NS, "a", 0);
    world.until_leader("web", "b").await;
    sleep(secs(1)).await;
    first.crash();
}

/// A successor whose watch of the pods is late does not know the pod that its predecessor has moved to. It
/// asks the server for that pod before it moves the traffic back to one that may be gone.
#[tokio::test(start_paused = true)]
async fn a_takeover_asks_for_a_leader_that_it_does_not_know() {
    let (world, first, second) = two(&["a"]).await;
    crash_after_an_unseen_move(&world, first).await;
    world.clear();
    until_active(&world, &second).await;
    sleep(secs(30)).await;
    assert_eq!(world.leader("web").as_deref(), Some("b"));
    let requests = world.kube.requests();
    let lists = requests
        .iter()
        .filter(|record| record.verb == Verb::List && record.kind == Some(Kind::Pod));
    assert_eq!(lists.count(), 1);
    let words = world.words();
    assert!(
        !words.iter().any(|word| word.contains("EndpointSlice")),
        "{words:?}"
    );
}

/// What the server tells of that pod concerns every Service that selects it.
#[tokio::test(start_paused = true)]
async fn the_answer_about_a_leader_reaches_all_its_services() {
    let (world, first, second) = two(&["a"]).await;
    world
        .kube
        .service(NS, "shop")
        .selector(&[("tier", "shop")])
        .port("http", 80, 8080)
        .annotation("zen-lead.io/enabled", "true")
        .create();
    sleep(secs(1)).await;
    crash_after_an_unseen_move(&world, first).await;
    let tier = |pod: &mut Value| pod["metadata"]["labels"]["tier"] = "shop".into();
    let edited = world.kube.edit(Kind::Pod, NS, "b", tier);
    edited.expect("accepted");
    until_active(&world, &second).await;
    sleep(secs(5)).await;
    assert_eq!(world.leader("web").as_deref(), Some("b"));
    assert_eq!(world.leader("shop").as_deref(), Some("b"));
}

/// Nor a pod that was replaced by another one, if that one is gone as well when the news of it arrive.
#[tokio::test(start_paused = true)]
async fn a_takeover_does_not_go_back_to_a_former_leader() {
    let (world, first, second) = two(&["a", "b"]).await;
    world.on_frame(|frame| {
        if frame.client == "watch-2" && frame.kind == Kind::EndpointSlice {
            return FrameVerdict::HoldUntil(frame.at + secs(60));
        }
        FrameVerdict::Deliver
    });
    world.kube.delete_pod(NS, "a", 600);
    world.until_leader("web", "b").await;
    sleep(secs(1)).await;
    first.crash();
    world.kube.set_phase(NS, "b", "Succeeded");
    world.clear();
    until_active(&world, &second).await;
    sleep(secs(30)).await;
    assert_eq!(world.leader("web"), None);
    // The first of them comes from what it saw last, is refused, and tells it of b.
    let about = |word: &String| word.ends_with("EndpointSlice web-leader");
    let words: Vec<String> = world.words().into_iter().filter(about).collect();
    let slice = |verb: &str| format!("{verb} EndpointSlice web-leader");
    assert_eq!(words, ["patch", "get", "patch"].map(slice));
}

/// Nor one that is Ready and could merely stay, since its ports are gone and the budget is used up: the
/// former holder has taken it down, and the news of it arrive one by one.
#[tokio::test(start_paused = true)]
async fn a_takeover_keeps_no_pod_whose_ports_are_gone() {
    let (mut world, first, second) = two(&["a"]).await;
    second.stop().await;
    let second = world.another("-2", "--failover-budget-per-service=1");
    sleep(secs(1)).await;
    world.on_frame(|frame| {
        if frame.client == "watch-2" && frame.kind == Kind::EndpointSlice {
            return FrameVerdict::HoldUntil(frame.at + secs(60));
        }
        FrameVerdict::Deliver
    });
    world.on_request(|request| match (request.verb, &*request.client) {
        (Verb::Patch, "write-2") => Verdict::Hang { applied: false },
        _ => Verdict::Pass,
    });
    let port = |to: Value| {
        let edit = |service: &mut Value| service["spec"]["ports"][0]["targetPort"] = to;
        let edited = world.kube.edit(Kind::Service, NS, "web", edit);
        edited.expect("accepted");
    };
    for number in [9_090, 9_091] {
        port(json!(number));
        sleep(secs(1)).await;
    }
    port(json!("missing"));
    world.until_none("web").await;
    sleep(secs(1)).await;
    first.crash();
    until_active(&world, &second).await;
    sleep(secs(50)).await;
    world.heal();
    sleep(secs(60)).await;
    assert_eq!(world.leader("web"), None);
}

/// §1 `paused`: "never another pod than the one published". A slice that is deleted while no replica
/// writes takes no leadership with it.
#[tokio::test(start_paused = true)]
async fn a_takeover_during_a_pause_keeps_the_leader() {
    let (world, first, second) = two(&["a", "b"]).await;
    first.crash();
    world.kube.delete(Kind::EndpointSlice, NS, "web-leader");
    world.kube.set_ready(NS, "a", false);
    sleep(secs(1)).await;
    world.annotate("web", "zen-lead.io/paused", Some("true"));
    until_active(&world, &second).await;
    sleep(secs(30)).await;
    assert_eq!(world.leader("web").as_deref(), Some("a"));
    world.annotate("web", "zen-lead.io/paused", None);
    world.until_leader("web", "b").await;
}

/// §1: a hand edit that names an electable pod is a switchover for a new holder as well, and every other
/// edit is healed.
#[tokio::test(start_paused = true)]
async fn a_new_holder_treats_hand_edits_by_the_same_rule() {
    let (world, first, second) = two(&["a", "b"]).await;
    first.crash();
    until_active(&world, &second).await;
    sleep(secs(6)).await;
    let pod = world.kube.get(Kind::Pod, NS, "b").expect("there");
    let edit = |slice: &mut Value| {
        let endpoint = &mut slice["endpoints"][0];
        endpoint["addresses"] = json!([pod["status"]["podIP"]]);
        endpoint["targetRef"]["name"] = "b".into();
        endpoint["targetRef"]["uid"] = pod["metadata"]["uid"].clone();
    };
    let edited = world.kube.edit(Kind::EndpointSlice, NS, "web-leader", edit);
    edited.expect("accepted");
    sleep(secs(6)).await;
    assert_eq!(world.leader("web").as_deref(), Some("b"));
    let empty = |slice: &mut Value| slice["endpoints"] = json!([]);
    let edited = world
        .kube
        .edit(Kind::EndpointSlice, NS, "web-leader", empty);
    edited.expect("accepted");
    world.until_leader("web", "b").await;
}

/// A leader that terminates without a successor is the last resort (§3) after a rebuild, too: the replica
/// that takes over in the middle of one remembers it.
#[tokio::test(start_paused = true)]
async fn a_takeover_during_a_rebuild_keeps_the_leader() {
    let (world, first, second) = two(&["a"]).await;
    world.kube.delete_pod(NS, "a", 600);
    world.annotate("web", "zen-lead.io/enabled", Some("maybe"));
    sleep(secs(1)).await;
    // The leader Service gets a selector, and the native controller makes a slice for it. zen-lead must then
    // delete the Service and create it again.
    let service = world.leader_service("web").expect("there");
    let edit = |service: &mut Value| service["spec"]["selector"] = json!({"app": "web"});
    let edited = world.kube.edit(Kind::Service, NS, "web-leader", edit);
    edited.expect("accepted");
    let attached = json!({
        "metadata": {
            "name": "web-leader-x7k2p",
            "labels": {
                "kubernetes.io/service-name": "web-leader",
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Service", "controller": true,
                "name": "web-leader", "uid": service["metadata"]["uid"],
            }],
        },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": ["10.9.9.9"] }],
        "ports": [],
    });
    world.kube.create(Kind::EndpointSlice, NS, &attached);
    world.on_request(|request| match request.verb {
        Verb::Create => Verdict::Hang { applied: false },
        _ => Verdict::Pass,
    });
    world
        .until("the withdrawal", |world| {
            world.kube.gc();
            let is_ours = |slice: &Value| slice["metadata"]["name"] == "web-leader";
            let slices = world.kube.list(Kind::EndpointSlice, NS);
            !slices.iter().any(is_ours)
        })
        .await;
    first.crash();
    world.heal();
    until_active(&world, &second).await;
    sleep(secs(20)).await;
    let again = world.leader_service("web").expect("made again");
    assert_ne!(again["metadata"]["uid"], service["metadata"]["uid"]);
    assert_eq!(world.leader("web").as_deref(), Some("a"));
    let slice = world.slice("web").expect("made again");
    assert_eq!(slice["endpoints"][0]["conditions"]["terminating"], true);
}

/// §1: a standby that takes over has watched all along and restarts no timer.
#[tokio::test(start_paused = true)]
async fn a_takeover_restarts_no_timer() {
    let (world, first, second) = two(&["a", "b"]).await;
    world.annotate("web", "zen-lead.io/failover-min-delay", Some("10s"));
    sleep(secs(1)).await;
    world.kube.set_ready(NS, "a", false);
    let since = Instant::now();
    sleep(secs(3)).await;
    first.crash();
    until_active(&world, &second).await;
    world.until_leader("web", "b").await;
    let took = since.elapsed();
    assert!(took > ms(9_990) && took < ms(10_020), "{took:?}");
}

/// A failover that no replica can write for a while is decided again and again, and paid for once.
#[tokio::test(start_paused = true)]
async fn a_vacancy_costs_no_budget() {
    let (mut world, first, second) = two(&["a", "b"]).await;
    second.stop().await;
    let second = world.another("-2", "--failover-budget-per-service=1");
    sleep(secs(1)).await;
    first.crash();
    world.kube.set_ready(NS, "a", false);
    for round in 0..20 {
        sleep(ms(100)).await;
        world.pod("web", &format!("more-{round}"));
    }
    until_active(&world, &second).await;
    let took = world.until_leader("web", "b").await;
    assert!(took <= ms(10), "{took:?}");
}

/// SIGSTOP at any moment: whatever it had in mind when it was stopped, nothing leaves afterwards.
#[tokio::test(start_paused = true)]
async fn a_holder_that_was_stopped_writes_nothing_afterwards() {
    let (world, first, second) = two(&["a", "b", "c"]).await;
    // Its write waits for the server when it is stopped.
    world.on_request(|request| {
        let is_refused = request.client == "write-1" && request.verb == Verb::Patch;
        if is_refused {
            return Verdict::Answer {
                code: 503,
                retry_after: None,
                applied: false,
            };
        }
        Verdict::Pass
    });
    world.kube.set_ready(NS, "a", false);
    sleep(ms(100)).await;
    first.pause();
    until_active(&world, &second).await;
    world.until_leader("web", "b").await;
    world.kube.set_ready(NS, "b", false);
    world.until_leader("web", "c").await;
    sleep(secs(2)).await;
    world.heal();
    world.clear();
    first.resume();
    assert!(!first.tenure.is_active(), "before its first instruction");
    sleep(secs(30)).await;
    assert_eq!(asked_by(&world, "1"), [""; 0]);
    assert_eq!(world.leader("web").as_deref(), Some("c"));
    // It stands by, and takes over when it is needed.
    second.stop().await;
    world.kube.set_ready(NS, "c", false);
    world.kube.set_ready(NS, "a", true);
    world.until_leader("web", "a").await;
}

/// A server takes 100 requests a connection. In a mass failover on one that
/// answers no write, less than that are under way, and no renewal stands behind any of them.
#[tokio::test(start_paused = true)]
async fn writes_that_hang_hold_up_no_renewal() {
    let mut world = World::new();
    let names: Vec<String> = (0..120).map(|number| format!("s{number}")).collect();
    for name in &names {
        world.source(name).create();
        world.pods(name, &[&format!("{name}-a"), &format!("{name}-b")]);
    }
    world.start("").await;
    world.until_leader("s119", "s119-a").await;
    world.settle().await;
    world.clear();
    let hanging = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&hanging);
    world.on_any_request(move |request| {
        if request.client != "write" {
            return Verdict::Pass;
        }
        count.fetch_add(1, Ordering::Relaxed);
        Verdict::Hang { applied: false }
    });
    let (failing, changing) = names.split_at(80);
    for name in failing {
        world.kube.set_ready(NS, &format!("{name}-a"), false);
    }
    for name in changing {
        world.annotate(name, "zen-lead.io/leader-service-type", Some("NodePort"));
        world.annotate(name, "zen-lead.io/sticky", Some("maybe"));
    }
    sleep(secs(4)).await;
    let places = 64 + 32 + 3;
    assert_eq!(
        hanging.load(Ordering::Relaxed),
        places,
        "none has timed out"
    );
    sleep(secs(26)).await;
    assert!(world.replica().tenure.is_active());
    let renewals = world.kube.requests().into_iter();
    let renewals = renewals.filter(|record| record.client == "lease").count();
    assert!((29..=30).contains(&renewals), "{renewals}");
    world.heal();
    world.until_leader("s79", "s79-b").await;
}

/// A partition of the holder: it ceases to be active before the other one begins, at every
/// millisecond; what it had waiting is dropped.
#[tokio::test(start_paused = true)]
async fn a_partitioned_holder_ceases_first() {
    for is_silent in [false, true] {
        let (world, first, second) = two(&["a", "b"]).await;
        world.on_any_request(move |request| match request.client.as_str() {
            "write-1" | "watch-1" | "lease-1" if is_silent => Verdict::Hang { applied: false },
            "write-1" | "watch-1" | "lease-1" => Verdict::Drop { applied: false },
            _ => Verdict::Pass,
        });
        sleep(ms(500)).await;
        world.kube.set_ready(NS, "a", false);
        let began = Instant::now();
        let (mut ceased, mut began_active) = (None, None);
        while began.elapsed() < secs(10) {
            let active = (first.tenure.is_active(), second.tenure.is_active());
            assert_ne!(active, (true, true), "at {:?}", began.elapsed());
            if !active.0 && ceased.is_none() {
                ceased = Some(began.elapsed());
            }
            if active.1 && began_active.is_none() {
                began_active = Some(began.elapsed());
            }
            sleep(ms(1)).await;
        }
        let (ceased, began_active) = (ceased.expect("lapsed"), began_active.expect("expired"));
        assert!(
            ceased < began_active && began_active <= secs(4),
            "{ceased:?} {began_active:?}"
        );
        assert_eq!(world.leader("web").as_deref(), Some("b"));
        world.heal();
        world.clear();
        sleep(secs(60)).await;
        assert_eq!(asked_by(&world, "1"), [""; 0]);
        assert!(second.tenure.is_active() && !first.tenure.is_active());
    }
}

/// Three replicas: when the holder dies, there is always one successor.
#[tokio::test(start_paused = true)]
async fn of_two_standbys_one_takes_over() {
    let (mut world, first, second) = two(&["a", "b"]).await;
    let third = world.another("-3", "");
    world
        .until("the third sync", |_| third.readiness.check().is_ok())
        .await;
    first.stop().await;
    sleep(ms(50)).await;
    assert_ne!(second.tenure.is_active(), third.tenure.is_active());
    let (holder, other) = if second.tenure.is_active() {
        (second, third)
    } else {
        (third, second)
    };
    holder.crash();
    until_active(&world, &other).await;
    assert_eq!(lease(&world).expect("held")["spec"]["leaseTransitions"], 2);
}

/// A user deletes the Lease: its holder makes it again and no other replica takes it.
#[tokio::test(start_paused = true)]
async fn a_deleted_lease_stays_with_its_holder() {
    let (world, first, second) = two(&["a"]).await;
    for watches in [true, false] {
        if !watches {
            world.on_frame(|frame| match frame.kind {
                Kind::Lease => FrameVerdict::HoldUntil(frame.at + secs(3)),
                _ => FrameVerdict::Deliver,
            });
        }
        world.kube.delete(Kind::Lease, LEASE_NS, LEASE);
        for _ in 0..10_000 {
            assert!(first.tenure.is_active() && !second.tenure.is_active());
            sleep(ms(1)).await;
        }
        assert!(lease(&world).is_some());
    }
}

/// The Go program, or an earlier process of this pod, holds it: it is waited for by the duration
/// that it wrote itself, and by our own clock, whatever the time stamps say.
#[tokio::test(start_paused = true)]
async fn another_programs_lease_is_waited_for() {
    for renewed in ["1999-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"] {
        let mut world = World::new();
        let held = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": LEASE, "namespace": LEASE_NS },
            "spec": {
                "holderIdentity": "zen-lead-5d9_6a3c", "leaseDurationSeconds": 15,
                "acquireTime": renewed, "renewTime": renewed, "leaseTransitions": 3,
            },
        });
        world.kube.create(Kind::Lease, LEASE_NS, &held);
        world.source("web").create();
        world.pods("web", &["a"]);
        world.start_without_lease("").await;
        sleep(ms(14_900)).await;
        assert_eq!(world.words(), [""; 0]);
        let took = world.until_leader("web", "a").await;
        assert!(took <= ms(120), "{took:?}");
        assert_eq!(lease(&world).expect("held")["spec"]["leaseTransitions"], 4);
    }
}

/// Without rights it writes nothing, is healthy and ready, asks seldom, and goes on by itself.
#[tokio::test(start_paused = true)]
async fn missing_rights_are_waited_for() {
    for verb in ["create", ""] {
        let mut world = World::new();
        world
            .kube
            .set_deny(vec![Rule::new(verb, "leases", LEASE_NS)]);
        world.source("web").create();
        world.pods("web", &["a"]);
        world.start_without_lease("").await;
        sleep(secs(60)).await;
        assert_eq!(world.words(), [""; 0]);
        let replica = world.replica();
        assert_eq!(replica.health.check(replica.clock.moment()), Ok(()));
        assert_eq!(replica.readiness.check(), Ok(()));
        let asked = world.kube.requests();
        let asked = asked
            .iter()
            .filter(|record| record.kind == Some(Kind::Lease))
            .count();
        assert!(asked < 90, "{verb:?}: {asked} requests within a minute");
        world.kube.set_deny(Vec::new());
        let took = world.until_leader("web", "a").await;
        assert!(took <= secs(5), "{verb:?}: {took:?}");
    }
}

/// What it costs: one request a second for the holder, none for a standby; three watches' worth of
/// reopening aside.
#[tokio::test(start_paused = true)]
async fn standing_by_costs_no_requests() {
    let (world, _first, _second) = two(&["a"]).await;
    // The last look for slices that others attached to the new leader Service.
    sleep(secs(60)).await;
    world.clear();
    sleep(secs(60)).await;
    let mut count: BTreeMap<(String, Verb), usize> = BTreeMap::new();
    for record in world.kube.requests() {
        *count.entry((record.client, record.verb)).or_default() += 1;
    }
    let holder = ("lease-1".to_owned(), Verb::Patch);
    let renewals = count.remove(&holder).unwrap_or_default();
    assert!((59..=60).contains(&renewals), "{renewals}");
    assert!(count.is_empty(), "{count:?}");
}

/// The successor announces a warning that was due while no replica was active; one that the
/// former holder has announced is not announced again.
#[tokio::test(start_paused = true)]
async fn warnings_are_said_once() {
    let (world, first, second) = two(&["a"]).await;
    world.annotate("web", "zen-lead.io/sticky", Some("maybe"));
    sleep(secs(3)).await;
    first.crash();
    sleep(secs(1)).await;
    world.annotate("web", "zen-lead.io/strategy", Some("best"));
    until_active(&world, &second).await;
    sleep(secs(10)).await;
    let told = world.told("web", "InvalidAnnotation");
    assert_eq!(told.len(), 2, "{told:?}");
    for (annotation, told) in ["sticky", "strategy"].iter().zip(&told) {
        assert!(told.contains(annotation) && told.ends_with("(1)"), "{told}");
    }
}

/// A fresh start says what is wrong although it looks before it holds the Lease.
#[tokio::test(start_paused = true)]
async fn a_first_look_is_told_of() {
    let mut world = World::new();
    world
        .source("web")
        .annotation("zen-lead.io/sticky", "maybe")
        .create();
    world.pods("web", &["a"]);
    world.start("").await;
    world.until_leader("web", "a").await;
    world.settle().await;
    assert_eq!(world.told("web", "InvalidAnnotation").len(), 1);
}
