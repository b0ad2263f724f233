//! Half a picture, gaps, lost answers, stops and crashes.

use serde_json::Value;
use simkube::{Kind, Verb, Verdict};

use crate::NAME;
use crate::support::{ENABLED, NS, World, ms, secs};

/// Nothing is decided before every kind has synced.
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

/// 410 → relist with a diff by key, so deletions missed meanwhile surface.
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
    let busy = Verdict::Answer {
        code: 503,
        retry_after: None,
        applied: false,
    };
    // Where no connection is made, an attempt costs the server nothing: it is found soon.
    for (fault, requests_max, late_max) in [
        (Verdict::Drop { applied: false }, 4_000, secs(2)),
        (Verdict::Hang { applied: false }, 1_000, secs(15)),
        (busy, 1_000, secs(15)),
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
        assert!(
            all < requests_max,
            "{fault:?}: {all} requests in five minutes"
        );
        let clock = &world.replica().clock;
        let health = world.replica().health.check(clock.moment());
        assert_eq!(health, Ok(()), "an API server that is away is no illness");
        assert_eq!(world.leader("web").as_deref(), Some("a"), "fail-static");
        world.heal();
        let took = world.until_leader("web", "b").await;
        assert!(took <= late_max, "{fault:?}: {took:?}");
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
