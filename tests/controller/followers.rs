//! The followers Service (§2) at work: the order of its writes among those of the leader.

use simkube::{Kind, Verb, Verdict};

use crate::support::{NS, World, ms, secs};

const FOLLOWERS: &str = "zen-lead.io/followers-service-name";

/// The pods that the followers' slice shows.
fn followers(world: &World) -> Vec<String> {
    let slice = world.kube.get(Kind::EndpointSlice, NS, "web-ro");
    let endpoints = slice.and_then(|slice| slice["endpoints"].as_array().cloned());
    let name = |endpoint: &serde_json::Value| {
        let name = endpoint["targetRef"]["name"].as_str();
        name.unwrap_or_default().to_owned()
    };
    endpoints.unwrap_or_default().iter().map(name).collect()
}

/// `web` is served by `a`, with `b` and `c` as followers.
async fn serving(flags: &str) -> World {
    let mut world = World::new();
    let source = world.source("web").annotation(FOLLOWERS, "web-ro");
    source.create();
    world.pods("web", &["a", "b", "c"]);
    world.start(flags).await;
    world.until_leader("web", "a").await;
    world.settle().await;
    assert_eq!(followers(&world), ["b", "c"]);
    world
}

#[tokio::test(start_paused = true)]
async fn a_failover_is_one_request_more_and_the_leaders_slice_is_the_first() {
    let world = serving("").await;
    assert!(
        world
            .told("web", "LeaderServiceCreated")
            .iter()
            .any(|event| event.contains("Created followers Service web-ro")),
        "{:?}",
        world.events("web")
    );
    world.clear();
    world.kube.set_ready(NS, "a", false);
    world.until_leader("web", "b").await;
    world.settle().await;
    let words = world.words();
    assert_eq!(words[0], "patch EndpointSlice web-leader");
    let mut rest = words[1..].to_vec();
    rest.sort();
    let expected = [
        "create Event LeaderChanged",
        "patch EndpointSlice web-ro",
        "patch Service web-leader",
    ];
    assert_eq!(rest, expected);
    assert_eq!(followers(&world), ["c"]);
    world.clear();
    world.kube.set_ready(NS, "a", true);
    world.settle().await;
    world.assert_words("a follower more", &["patch EndpointSlice web-ro"]);
    assert_eq!(followers(&world), ["a", "c"]);
}

#[tokio::test(start_paused = true)]
async fn followers_wait_for_no_leader() {
    let world = serving("").await;
    // The leader's slice takes no write for a while.
    world.on_request(|request| {
        if request.verb == Verb::Patch && request.name == "web-leader" {
            return Verdict::Answer {
                code: 503,
                retry_after: None,
                applied: false,
            };
        }
        Verdict::Pass
    });
    world.kube.set_ready(NS, "a", false);
    world.kube.set_ready(NS, "c", false);
    let took = world
        .until("a follower less", |world| followers(world) == ["b"])
        .await;
    assert!(took <= ms(5), "{took:?}");
    assert_eq!(world.leader("web").as_deref(), Some("a"));
    world.heal();
    world.until_leader("web", "b").await;
    world
        .until("no follower", |world| followers(world).is_empty())
        .await;
}

#[tokio::test(start_paused = true)]
async fn no_failover_waits_for_followers() {
    // One ordinary write in five seconds.
    let world = serving("--qps=0.2 --burst=1").await;
    world.clear();
    for ready in [false, true, false] {
        world.kube.set_ready(NS, "c", ready);
        world.until("seen", |_| true).await;
    }
    world.kube.set_ready(NS, "a", false);
    let took = world
        .until("b leading", |world| {
            world.leader("web").as_deref() == Some("b")
        })
        .await;
    assert!(took <= ms(5), "{took:?}");
    let took = world
        .until("no follower", |world| followers(world).is_empty())
        .await;
    assert!(
        took > secs(1),
        "the followers' slice obeys the limit: {took:?}"
    );
    // Nor while their slice takes no write at all.
    world.on_request(|request| {
        if request.verb == Verb::Patch && request.name == "web-ro" {
            return Verdict::Hang { applied: false };
        }
        Verdict::Pass
    });
    world.kube.set_ready(NS, "a", true);
    tokio::time::sleep(ms(20)).await;
    world.kube.set_ready(NS, "b", false);
    let took = world
        .until("a leading", |world| {
            world.leader("web").as_deref() == Some("a")
        })
        .await;
    assert!(took <= ms(5), "{took:?}");
    world.heal();
}

#[tokio::test(start_paused = true)]
async fn a_restart_writes_nothing() {
    let mut world = serving("").await;
    world.stop().await;
    world.clear();
    world.start("").await;
    world.settle().await;
    assert_eq!(world.writes(), Vec::<String>::new());
}
