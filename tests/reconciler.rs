//! What the drive owns, in the whole controller against simkube: deadlines, places under a limit,
//! healing and its limits, and facts that concern many Services at once.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use simkube::{Kind, Options, Verb, Verdict};
use support::{ENABLED, NS, World, ms, secs};
use tokio::time::{Instant, sleep};

const MIN_READY: &str = "zen-lead.io/min-ready-duration";
const MIN_DELAY: &str = "zen-lead.io/failover-min-delay";

/// §1 `min-ready-duration`: a timer elects when the time has come, and no event is needed.
#[tokio::test(start_paused = true)]
async fn min_ready_is_kept_to_the_millisecond() {
    let mut world = World::new();
    world.source("web").annotation(MIN_READY, "30s").create();
    world
        .kube
        .pod(NS, "a")
        .labels(&[("app", "web")])
        .ip("10.1.0.1")
        .ready(false)
        .create();
    world.start("").await;
    world.settle().await;
    world.kube.set_ready(NS, "a", true);
    let began = Instant::now();
    world.settle().await;
    assert_eq!(world.leader("web"), None);
    world.clear();
    world.until_leader("web", "a").await;
    assert!(
        (secs(30)..secs(30) + ms(3)).contains(&began.elapsed()),
        "{:?}",
        began.elapsed()
    );

    // A restart goes by the condition's own time and restarts no timer.
    world.kube.set_ready(NS, "a", false);
    world.until_none("web").await;
    // The condition's time has whole seconds only.
    world.kube.set_ready(NS, "a", true);
    let began = Instant::now();
    sleep(secs(20)).await;
    world.crash().await;
    world.start("").await;
    world.until_leader("web", "a").await;
    assert!(
        (secs(29)..=secs(30) + ms(3)).contains(&began.elapsed()),
        "{:?}",
        began.elapsed()
    );
}

/// The same while other news keep coming, and when the annotation changes under way.
#[tokio::test(start_paused = true)]
async fn min_ready_is_not_put_off_by_news() {
    for (shortened, expected) in [(false, 30), (true, 12)] {
        let mut world = World::new();
        world.source("web").annotation(MIN_READY, "30s").create();
        world.start("").await;
        world.settle().await;
        world.pod("web", "a");
        let began = Instant::now();
        for turn in 0..10 {
            sleep(secs(1)).await;
            let turn = turn.to_string();
            world.kube.label(Kind::Pod, NS, "a", "turn", Some(&turn));
        }
        if shortened {
            world.annotate("web", MIN_READY, Some("12s"));
        }
        world.until_leader("web", "a").await;
        let took = began.elapsed();
        assert!(
            (secs(expected)..secs(expected) + ms(3)).contains(&took),
            "{took:?}"
        );
    }
}

/// §1 `failover-min-delay`.
#[tokio::test(start_paused = true)]
async fn failover_waits_for_its_delay_and_not_longer() {
    let not_ready = |world: &World| assert!(world.kube.set_ready(NS, "a", false));
    check_delay("NotReady", secs(10), not_ready).await;
    check_delay("deleted", ms(0), |world| {
        world.kube.delete_pod(NS, "a", 0);
    })
    .await;
    check_delay("terminating", ms(0), |world| {
        world.kube.delete_pod(NS, "a", 30);
    })
    .await;
    check_delay("failed", ms(0), |world| {
        world.kube.set_phase(NS, "a", "Failed");
    })
    .await;
    check_delay("without address", ms(0), |world| {
        world.kube.set_ips(NS, "a", &[]);
    })
    .await;
    check_delay("unlabelled", ms(0), |world| {
        world.kube.label(Kind::Pod, NS, "a", "app", None);
    })
    .await;
}

async fn check_delay(what: &str, delay: Duration, act: impl FnOnce(&World)) {
    let world = World::serving(&["a", "b"]).await;
    world.annotate("web", MIN_DELAY, Some("10s"));
    world.settle().await;
    world.clear();
    act(&world);
    let took = world.until_leader("web", "b").await;
    assert!((delay..delay + ms(3)).contains(&took), "{what}: {took:?}");
    world.settle().await;
    assert_eq!(world.asked().len(), 3, "{what}: {:?}", world.words());
}

/// A leader that comes back in time was never left: no request, no event.
#[tokio::test(start_paused = true)]
async fn a_leader_that_comes_back_in_time_stays() {
    let world = World::serving(&["a", "b"]).await;
    world.annotate("web", MIN_DELAY, Some("10s"));
    world.settle().await;
    world.clear();
    for _ in 0..20 {
        world.kube.set_ready(NS, "a", false);
        sleep(secs(9)).await;
        world.kube.set_ready(NS, "a", true);
        sleep(secs(1)).await;
    }
    world.settle().await;
    world.assert_words("never left", &[]);
    // A second pod's end does not shorten the wait, and the leader's own end does.
    world.kube.set_ready(NS, "a", false);
    sleep(secs(5)).await;
    world.kube.delete_pod(NS, "a", 0);
    let took = world.until_leader("web", "b").await;
    assert!(took <= ms(3), "{took:?}");
}

/// §6 `--max-cache-size-per-namespace`.
#[tokio::test(start_paused = true)]
async fn a_place_that_becomes_free_is_given_to_one_that_waits() {
    let mut world = World::new();
    let names = ["p", "q", "r", "s", "t"];
    world.start("--max-cache-size-per-namespace=2").await;
    for name in names {
        world.source(name).create();
        world.pod(name, &format!("{name}-pod"));
        world.settle().await;
    }
    let served = |world: &World| -> Vec<&str> {
        let is_served = |name: &&str| world.leader(name).is_some();
        names.into_iter().filter(is_served).collect()
    };
    assert_eq!(served(&world), ["p", "q"]);
    for name in ["r", "s", "t"] {
        let told = world.told(name, "InvalidService");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].contains("--max-cache-size-per-namespace"),
            "{told:?}"
        );
    }
    // One that waits leaves the queue; its place in it must not be the next one's end.
    world.annotate("r", ENABLED, None);
    world.settle().await;
    world.annotate("p", ENABLED, None);
    world.settle().await;
    assert_eq!(served(&world), ["q", "s"]);
    world.kube.delete(Kind::Service, NS, "s");
    world.settle().await;
    assert_eq!(served(&world), ["q", "t"]);
    // No Service waits; the next one to come is served.
    world.annotate("q", ENABLED, None);
    world.settle().await;
    world.annotate("p", ENABLED, Some("true"));
    world.settle().await;
    assert_eq!(served(&world), ["p", "t"]);
}

/// "never an eviction of a working one": neither by a restart, nor by a lower limit.
#[tokio::test(start_paused = true)]
async fn a_restart_keeps_those_that_work() {
    let mut world = World::new();
    for name in ["y", "z"] {
        world.source(name).create();
        world.pod(name, &format!("{name}-pod"));
    }
    world.start("").await;
    world.settle().await;
    for name in ["a", "b"] {
        world.source(name).create();
        world.pod(name, &format!("{name}-pod"));
    }
    for max in [2, 1] {
        world.crash().await;
        for name in ["a", "b"] {
            world
                .kube
                .delete(Kind::EndpointSlice, NS, &format!("{name}-leader"));
            world
                .kube
                .delete(Kind::Service, NS, &format!("{name}-leader"));
        }
        world
            .start(&format!("--max-cache-size-per-namespace={max}"))
            .await;
        world.settle().await;
        let served = ["a", "b", "y", "z"].map(|name| world.leader(name).is_some());
        assert_eq!(served, [false, false, true, true], "limit {max}");
    }
    // Over the limit: one that leaves makes no room yet.
    world.annotate("y", ENABLED, None);
    world.settle().await;
    assert_eq!(world.leader("a"), None);
    world.annotate("z", ENABLED, None);
    world.settle().await;
    assert_eq!(world.leader("a").as_deref(), Some("a-pod"));
    // Another namespace has a limit of its own.
    world.kube.namespace("other");
    let service = world
        .kube
        .service("other", "web")
        .selector(&[("app", "web")]);
    service
        .port("http", 80, 80)
        .annotation(ENABLED, "true")
        .create();
    world.settle().await;
    assert!(
        world
            .kube
            .get(Kind::Service, "other", "web-leader")
            .is_some()
    );
}

/// §2: any change to our objects is undone within a second, and nothing else is.
#[tokio::test(start_paused = true)]
async fn drift_is_healed() {
    use Kind::{EndpointSlice, Service};
    check_drift("endpoints", EndpointSlice, |slice| {
        slice["endpoints"] = json!([{ "addresses": ["10.9.9.9"] }]);
    })
    .await;
    check_drift("a second endpoint", EndpointSlice, |slice| {
        let endpoints = slice["endpoints"].as_array_mut().expect("one");
        endpoints.push(json!({ "addresses": ["10.9.9.9"] }));
    })
    .await;
    check_drift("readiness", EndpointSlice, |slice| {
        slice["endpoints"][0]["conditions"]["ready"] = false.into();
    })
    .await;
    check_drift("ports of the slice", EndpointSlice, |slice| {
        slice["ports"][0]["port"] = 1.into();
    })
    .await;
    check_drift("all labels of the slice", EndpointSlice, |slice| {
        slice["metadata"]["labels"] = Value::Null;
    })
    .await;
    check_drift("owner of the slice", EndpointSlice, |slice| {
        slice["metadata"]["ownerReferences"] = Value::Null;
    })
    .await;
    check_drift("selector", Service, |service| {
        service["spec"]["selector"] = json!({"app": "web"});
    })
    .await;
    check_drift("ports of the Service", Service, |service| {
        service["spec"]["ports"][0]["targetPort"] = 1.into();
    })
    .await;
    check_drift("our labels of the Service", Service, |service| {
        service["metadata"]["labels"] = Value::Null;
    })
    .await;
    check_drift("all annotations", Service, |service| {
        service["metadata"]["annotations"] = Value::Null;
    })
    .await;
    check_drift("identity", Service, |service| {
        service["metadata"]["annotations"]["zen-lead.io/current-leader"] = "b".into();
    })
    .await;
    check_drift("owner of the Service", Service, |service| {
        service["metadata"]["ownerReferences"] = Value::Null;
    })
    .await;
    check_drift("block", Service, |service| {
        service["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = true.into();
    })
    .await;
}

async fn check_drift(what: &str, kind: Kind, edit: impl FnOnce(&mut Value)) {
    let world = World::serving(&["a", "b"]).await;
    world.clear();
    let before = settled(&world, kind);
    let edited = world.kube.edit(kind, NS, "web-leader", edit);
    edited.unwrap_or_else(|why| panic!("{what}: {why:?}"));
    assert_ne!(settled(&world, kind), before, "{what}: nothing drifted");
    let healed = |world: &World| settled(world, kind) == before;
    let took = world.until(what, healed).await;
    assert!(took <= secs(1), "{what}: {took:?}");
    world.settle().await;
    assert_eq!(settled(&world, kind), before, "{what}");
    assert!(world.writes().len() <= 2, "{what}: {:?}", world.writes());
    assert_eq!(world.events("web").len(), 2, "{what} is not reported");
}

/// An object without what changes with every write.
fn settled(world: &World, kind: Kind) -> Value {
    let object = world.kube.get(kind, NS, "web-leader");
    let mut object = object.expect("it stays");
    let meta = object["metadata"].as_object_mut().expect("an object");
    meta.remove("resourceVersion");
    meta.remove("generation");
    if kind == Kind::EndpointSlice {
        // Only a failover has a trigger time.
        meta.remove("annotations");
    }
    object
}

/// §2 "a key or a spec field that a user sets on the leader Service himself … is left alone".
#[tokio::test(start_paused = true)]
async fn what_users_set_themselves_stays() {
    let world = World::serving(&["a", "b"]).await;
    world.clear();
    let edit = |service: &mut Value| {
        service["metadata"]["labels"]["theirs"] = "1".into();
        service["metadata"]["annotations"]["example.com/theirs"] = "2".into();
        service["spec"]["sessionAffinity"] = "ClientIP".into();
    };
    let edited = world.kube.edit(Kind::Service, NS, "web-leader", edit);
    edited.expect("accepted");
    world.settle().await;
    world.assert_words("left alone", &[]);
    world.kube.set_ready(NS, "a", false);
    world.until_leader("web", "b").await;
    let service = world.leader_service("web").expect("there");
    assert_eq!(service["metadata"]["labels"]["theirs"], "1");
    assert_eq!(
        service["metadata"]["annotations"]["example.com/theirs"],
        "2"
    );
    assert_eq!(service["spec"]["sessionAffinity"], "ClientIP");
}

/// §1 "The same field reverted three times within a minute": back-off up to five minutes, one
/// event, and no other field waits. §2: a slice without managedFields does not name the other manager.
#[tokio::test(start_paused = true)]
async fn a_fight_is_given_up_politely() {
    fight_about_a_slice("", "by a client that the object does not name").await;
}

#[tokio::test(start_paused = true)]
async fn a_fight_about_a_slice_that_keeps_its_managed_fields_names_the_manager() {
    fight_about_a_slice("--keep-managed-fields", "last changed by simkube").await;
}

async fn fight_about_a_slice(flags: &str, by: &str) {
    let mut world = World::with(Options {
        managed_fields: true,
        ..Options::default()
    });
    world.source("web").create();
    world.pods("web", &["a", "b"]);
    world.start(flags).await;
    world.until_leader("web", "a").await;
    world.settle().await;
    world.clear();
    let rival = Rival::start(&world, |slice| {
        slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] = "rival".into();
    });
    sleep(secs(30)).await;
    let first = world.writes().len();
    assert!(
        (4..=6).contains(&first),
        "three at once, then after 5 s and 10 s: {first}"
    );
    sleep(secs(3_570)).await;
    let all = world.writes().len();
    assert!((14..=20).contains(&all), "{all} in an hour");
    let told = world.told("web", "WriteRefused");
    assert_eq!(told.len(), 1, "{told:#?}");
    let text = format!(
        "EndpointSlice web-leader has /metadata/labels/endpointslice.kubernetes.io~1managed-by \
         reverted again and again, {by}"
    );
    assert!(told[0].contains(&text), "{told:?}");

    world.clear();
    world.kube.set_ready(NS, "a", false);
    let moved = |world: &World| world.leader("web").as_deref() == Some("b");
    let took = world.until("the slice moved", moved).await;
    assert!(
        took <= ms(3),
        "a failover does not wait for a fight: {took:?}"
    );
    rival.stop();
    sleep(secs(301)).await;
    let slice = world.slice("web").expect("there");
    let manager = &slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"];
    assert_eq!(manager, "zen-lead", "it is healed in the end");
}

/// The same over the existence of an object.
#[tokio::test(start_paused = true)]
async fn a_leader_service_that_a_client_keeps_deleting() {
    let world = World::serving(&["a"]).await;
    world.clear();
    for _ in 0..600 {
        world.kube.delete(Kind::Service, NS, "web-leader");
        world.kube.gc();
        sleep(secs(1)).await;
    }
    let creates = world.writes();
    let creates = creates
        .iter()
        .filter(|word| *word == "create Service web-leader");
    let creates = creates.count();
    assert!((6..=12).contains(&creates), "{creates}");
    let told = world.told("web", "WriteRefused");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("Service web-leader is deleted again and again"),
        "{told:?}"
    );
}

/// A client that puts a field of our slice back whenever it is healed.
struct Rival(tokio::task::JoinHandle<()>);

impl Rival {
    fn start(world: &World, edit: impl Fn(&mut Value) + Send + 'static) -> Self {
        let kube = world.kube.clone();
        Self(tokio::spawn(async move {
            loop {
                let before = kube
                    .get(Kind::EndpointSlice, NS, "web-leader")
                    .expect("there");
                let mut after = before.clone();
                edit(&mut after);
                if after != before {
                    let edited =
                        kube.edit(Kind::EndpointSlice, NS, "web-leader", |slice| edit(slice));
                    edited.expect("accepted");
                }
                sleep(ms(100)).await;
            }
        }))
    }

    fn stop(self) {
        self.0.abort();
    }
}

/// A fact that concerns many Services is worked off in chunks with a yield between
/// them, and none of them is served worse for being late.
#[tokio::test(start_paused = true)]
async fn one_fact_that_concerns_a_thousand_services() {
    const COUNT: usize = 1_000;
    let mut world = World::new();
    for number in 0..COUNT {
        let source = world.source(&format!("s{number}"));
        let selector = |service: &mut Value| service["spec"]["selector"] = json!({"app": "all"});
        source.with(selector).create();
    }
    world.pods("all", &["a", "b"]);
    world.start("").await;
    world.settle().await;
    assert_eq!(leaders(&world).get("a"), Some(&COUNT));
    world.clear();

    // Another task of the same thread, and how much is done between two of its turns.
    let moved = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&moved);
    world.on_request(move |request| {
        if request.kind == Some(Kind::EndpointSlice) && request.verb == Verb::Patch {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Verdict::Pass
    });
    world.kube.set_ready(NS, "a", false);
    let (mut most, mut last) = (0, 0);
    while last < COUNT {
        tokio::task::yield_now().await;
        let now = moved.load(Ordering::Relaxed);
        (most, last) = (most.max(now - last), now);
    }
    assert!(most <= 320, "{most} at once");
    world.settle().await;
    assert_eq!(leaders(&world).get("b"), Some(&COUNT));
    let slices = world.kube.list(Kind::EndpointSlice, NS);
    let trigger = "endpoints.kubernetes.io/last-change-trigger-time";
    let told = slices
        .iter()
        .filter(|slice| slice["metadata"]["annotations"][trigger].is_string());
    assert_eq!(told.count(), COUNT, "each answers the same pod event");
    world.settle().await;
    let requests = world.asked();
    let events = requests
        .iter()
        .filter(|record| record.kind == Some(Kind::Event));
    assert_eq!(requests.len() - events.count(), 2 * COUNT);
}

/// `docs/ARCHITECTURE.md`, From frame to PATCH: 1,000 leaders lost at once; slices come first, 64 at
/// a time, each once.
#[tokio::test(start_paused = true)]
async fn a_thousand_leaders_lost_at_once() {
    const COUNT: usize = 1_000;
    let mut world = World::new();
    for number in 0..COUNT {
        let name = format!("s{number}");
        world.source(&name).create();
        world.pod(&name, &format!("{name}-a"));
        world.pod(&name, &format!("{name}-b"));
    }
    world.start("").await;
    world.settle().await;
    assert_eq!(led_by(&world, "-a"), COUNT);
    world.clear();
    let latency = ms(10);
    world.on_request(move |request| {
        if request.verb.is_write() {
            Verdict::Delay {
                before: latency,
                after: ms(0),
            }
        } else {
            Verdict::Pass
        }
    });
    for number in 0..COUNT {
        world.kube.set_ready(NS, &format!("s{number}-a"), false);
    }
    // As fast as 64 at a time can be: 1,000 / 64 rounds of 10 ms, and one more.
    sleep(latency * 17).await;
    assert_eq!(led_by(&world, "-b"), COUNT);
    world.settle().await;
    let mut counts = BTreeMap::new();
    for record in world.asked() {
        *counts.entry((record.verb.name(), record.kind)).or_insert(0) += 1;
    }
    assert_eq!(
        counts.get(&("patch", Some(Kind::EndpointSlice))),
        Some(&COUNT)
    );
    assert_eq!(counts.get(&("patch", Some(Kind::Service))), Some(&COUNT));
    assert_eq!(counts.get(&("get", Some(Kind::EndpointSlice))), None);
}

/// How many slices name which pod.
fn leaders(world: &World) -> BTreeMap<String, usize> {
    let mut leaders = BTreeMap::new();
    for slice in world.kube.list(Kind::EndpointSlice, NS) {
        let name = &slice["endpoints"][0]["targetRef"]["name"];
        *leaders
            .entry(name.as_str().unwrap_or_default().to_owned())
            .or_insert(0) += 1;
    }
    leaders
}

fn led_by(world: &World, ending: &str) -> usize {
    let leaders = leaders(world).into_iter();
    leaders
        .filter(|(name, _)| name.ends_with(ending))
        .map(|(_, count)| count)
        .sum()
}
