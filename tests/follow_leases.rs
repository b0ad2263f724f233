//! The watches of Leases that Services follow, in process against simkube: when there are any, what they
//! cost, and what happens where they are refused.

mod support;

use serde_json::{Value, json};
use simkube::{Backup, FrameVerdict, Kind, Record, Verb, Verdict};
use support::{NS, World, secs};
use tokio::time::sleep;

const FOLLOW: &str = "zen-lead.io/follow";
const NODE_LEASES: &str = "kube-node-lease";
const ONLY_OF_APPLICATIONS: &str = "fieldSelector=metadata.namespace%21%3Dkube-node-lease";

fn lease(world: &World, (namespace, name): (&str, &str), holder: &str) {
    let spec = json!({
        "holderIdentity": holder, "leaseDurationSeconds": 15,
        "acquireTime": "2026-01-01T00:00:00.000000Z", "renewTime": "2026-01-01T00:00:00.000000Z",
    });
    let lease = json!({"metadata": {"name": name}, "spec": spec});
    world.kube.create(Kind::Lease, namespace, &lease);
}

fn edit(world: &World, (namespace, name): (&str, &str), change: impl FnOnce(&mut Value)) {
    world
        .kube
        .edit(Kind::Lease, namespace, name, change)
        .expect("it is there");
}

/// As its holder does; what it writes as the time is its own business.
fn renew(world: &World, lease: (&str, &str)) {
    let version = world.kube.resource_version() % 1_000_000;
    edit(world, lease, |lease| {
        lease["spec"]["renewTime"] = format!("2026-01-01T00:00:00.{version:06}Z").into();
    });
}

/// Requests about Leases that are followed.
fn about_followed(world: &World) -> Vec<Record> {
    let mut requests = world.kube.requests();
    requests.retain(|record| record.client == "follow");
    requests
}

/// Watches of Leases that are open, but for that of our own.
fn feeds(world: &World) -> usize {
    world.kube.open_watches(Kind::Lease) - 1
}

async fn until_feeds(world: &World, count: usize) {
    let what = format!("{count} watches of followed Leases");
    world.until(&what, |world| feeds(world) == count).await;
}

/// What is known of the Lease that a source follows.
fn known(world: &World, source: &str) -> Value {
    let debug = world.debug(source).unwrap_or_default();
    debug["facts"]["lease"].clone()
}

async fn until_known(world: &World, source: &str, expected: &str) {
    let what = format!("{source} seeing {expected}");
    world
        .until(&what, |world| {
            let known = known(world, source);
            let holder = known["holder"].as_str();
            known == *expected || holder == Some(expected)
        })
        .await;
}

/// How many steps were taken.
fn steps(world: &World) -> u64 {
    let replica = world.replica();
    let text = replica.metrics.encode(replica.clock.now());
    let counters = text
        .lines()
        .filter(|line| line.starts_with("zen_lead_reconciliations_total{"));
    let values = counters.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count"
    )]
    let sum = values.sum::<f64>() as u64;
    sum
}

/// A world with a Service that follows the Lease `lock`, which its pod `b` holds.
async fn following(flags: &str) -> World {
    let mut world = World::new();
    lease(&world, (NS, "lock"), "b");
    world
        .source("web")
        .annotation(FOLLOW, "lease/lock")
        .create();
    world.pods("web", &["a", "b"]);
    world.start(flags).await;
    until_known(&world, "web", "b").await;
    world.settle().await;
    world
}

/// §3a "Feeds start with the first Service that follows and end with the last".
#[tokio::test(start_paused = true)]
async fn watches_are_open_while_a_service_follows() {
    let mut world = World::serving(&["a"]).await;
    lease(&world, (NS, "lock"), "a");
    sleep(secs(30)).await;
    assert_eq!(about_followed(&world).len(), 0, "no Service follows");
    world.annotate("web", FOLLOW, Some("lease/lock"));
    until_known(&world, "web", "a").await;
    let first = about_followed(&world).remove(0);
    assert_eq!(first.path, "/apis/coordination.k8s.io/v1/leases");
    assert!(
        first.query.contains(ONLY_OF_APPLICATIONS),
        "{}",
        first.query
    );
    // Another one shares the watch, and what is in sight is known at once.
    lease(&world, (NS, "other"), "x");
    world.settle().await;
    world.clear();
    let second = world.source("b").annotation(FOLLOW, "lease/other");
    second.create();
    until_known(&world, "b", "x").await;
    assert_eq!((feeds(&world), about_followed(&world).len()), (1, 0));
    world.annotate("web", FOLLOW, Some("label/role=primary"));
    world.settle().await;
    assert_eq!(feeds(&world), 1, "one still follows");
    world.kube.delete(Kind::Service, NS, "b");
    until_feeds(&world, 0).await;
    // A watch that has ended is missed by neither the probe nor the metrics.
    sleep(secs(120)).await;
    let replica = world.replica();
    assert_eq!(replica.health.check(replica.clock.moment()), Ok(()));
    world.annotate("web", FOLLOW, Some("lease/lock"));
    until_known(&world, "web", "a").await;
    assert!(world.stop().await < secs(2));
    until_closed(&world).await;
}

async fn until_closed(world: &World) {
    let is_closed = |world: &World| world.kube.open_watches(Kind::Lease) == 0;
    world.until("no watch of Leases", is_closed).await;
}

/// An install for some namespaces watches Leases in those that it needs.
#[tokio::test(start_paused = true)]
async fn an_install_for_namespaces_watches_those_that_it_needs() {
    let mut world = World::new();
    for namespace in ["platform", "secret"] {
        world.kube.namespace(namespace);
        lease(&world, (namespace, "lock"), "a");
    }
    lease(&world, (NS, "lock"), "a");
    world
        .source("web")
        .annotation(FOLLOW, "lease/lock")
        .create();
    let other = world.source("b").annotation(FOLLOW, "lease/platform/lock");
    other.create();
    let forbidden = world.source("c").annotation(FOLLOW, "lease/secret/lock");
    forbidden.create();
    world.pods("web", &["a"]);
    world
        .start(&format!(
            "--namespaces={NS},zl --follow-lease-namespaces=platform"
        ))
        .await;
    until_known(&world, "web", "a").await;
    until_known(&world, "b", "a").await;
    world.settle().await;
    let mut paths: Vec<String> = about_followed(&world)
        .into_iter()
        .map(|record| record.path)
        .collect();
    paths.sort();
    paths.dedup();
    let expected = ["platform", NS]
        .map(|namespace| format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"));
    assert_eq!(paths, expected);
    assert_eq!(
        known(&world, "c"),
        Value::Null,
        "that namespace is not allowed"
    );
}

/// §3a "A renewal costs a constant: no request, no election, no timer".
#[tokio::test(start_paused = true)]
async fn a_renewal_runs_no_step_and_sends_nothing() {
    let world = following("").await;
    let before = steps(&world);
    world.clear();
    for _ in 0..60 {
        sleep(secs(2)).await;
        renew(&world, (NS, "lock"));
    }
    sleep(secs(1)).await;
    assert_eq!(steps(&world), before, "no step");
    world.assert_words("renewals", &[]);
    assert_eq!(about_followed(&world).len(), 0);
    let since = known(&world, "web")["changedBeforeSeconds"].as_f64();
    assert!(since.is_some_and(|since| since <= 1.1), "{since:?}");
    // What a step can see makes one: another holder, a silence that ends, a deletion, a new one.
    edit(&world, (NS, "lock"), |lease| {
        lease["spec"]["holderIdentity"] = "a".into();
    });
    until_known(&world, "web", "a").await;
    world.settle().await;
    let before = steps(&world);
    sleep(secs(60)).await;
    renew(&world, (NS, "lock"));
    sleep(secs(1)).await;
    assert!(steps(&world) > before, "the silence ended");
    world.kube.delete(Kind::Lease, NS, "lock");
    until_known(&world, "web", "NotFound").await;
    lease(&world, (NS, "lock"), "c");
    until_known(&world, "web", "c").await;
}

/// 1,000 Leases, renewed every 2 s as client-go does.
#[tokio::test(start_paused = true)]
async fn a_thousand_renewals_send_nothing() {
    let mut world = World::new();
    let names: Vec<String> = (0..1_000).map(|number| format!("s{number}")).collect();
    for name in &names {
        lease(&world, (NS, name), "elsewhere");
        let source = world.source(name);
        source.annotation(FOLLOW, &format!("lease/{name}")).create();
    }
    world.start("--max-cache-size-per-namespace=0").await;
    until_known(&world, "s999", "elsewhere").await;
    world.settle().await;
    let before = steps(&world);
    world.clear();
    for _ in 0..5 {
        for name in &names {
            renew(&world, (NS, name));
        }
        sleep(secs(2)).await;
    }
    assert_eq!(steps(&world), before, "no step");
    world.assert_words("renewals", &[]);
    assert_eq!((feeds(&world), about_followed(&world).len()), (1, 0));
}

/// A cluster has as many of those as it has nodes, each renewed every ten seconds.
#[tokio::test(start_paused = true)]
async fn the_leases_of_nodes_are_not_sent() {
    let mut world = World::new();
    world.kube.namespace(NODE_LEASES);
    lease(&world, (NODE_LEASES, "node"), "node");
    lease(&world, (NS, "lock"), "b");
    world
        .source("web")
        .annotation(FOLLOW, "lease/lock")
        .create();
    world.on_frame(|frame| {
        let is_followed = frame.kind == Kind::Lease && frame.client == "follow";
        assert!(!is_followed || frame.namespace != NODE_LEASES, "{frame:?}");
        FrameVerdict::Deliver
    });
    world.start("").await;
    until_known(&world, "web", "b").await;
    renew(&world, (NODE_LEASES, "node"));
    world.settle().await;
    assert_eq!(known(&world, "web")["holder"], "b");
}

/// §3a: with `resourceNames` the wide watch is answered 403, and one watch per name takes its place.
#[tokio::test(start_paused = true)]
async fn a_refused_watch_is_replaced_by_names_until_the_right_comes() {
    let mut world = World::new();
    lease(&world, (NS, "lock"), "b");
    lease(&world, (NS, "closed"), "b");
    world
        .source("web")
        .annotation(FOLLOW, "lease/lock")
        .create();
    world.source("a").annotation(FOLLOW, "lease/none").create();
    world.pods("web", &["a", "b"]);
    refuse_wide(&world);
    world.start("").await;
    assert_eq!(world.replica().readiness.check(), Ok(()));
    until_known(&world, "web", "b").await;
    until_known(&world, "a", "NotFound").await;
    assert_eq!(feeds(&world), 2);
    let named = about_followed(&world);
    let named = named.iter().filter(|record| record.namespace == NS);
    for record in named {
        let is_named = record.query.contains("fieldSelector=metadata.name%3D");
        assert!(is_named, "{}", record.query);
    }
    // News arrive by name as well.
    edit(&world, (NS, "lock"), |lease| {
        lease["spec"]["holderIdentity"] = "a".into();
    });
    until_known(&world, "web", "a").await;
    // The right comes: one watch again, within the longest delay between two attempts.
    world.heal();
    let what = "the wide watch alone";
    let is_alone = |world: &World| {
        let requests = about_followed(world);
        let opened = |record: &&Record| record.namespace.is_empty() && record.status == 200;
        feeds(world) == 1 && requests.iter().rev().any(|record| opened(&record))
    };
    let took = world.until(what, is_alone).await;
    assert!(took <= secs(31), "took {took:?}");
    assert_eq!(known(&world, "web")["holder"], "a");
    assert_eq!(known(&world, "a"), "NotFound");
}

fn refuse_wide(world: &World) {
    world.on_any_request(|request| {
        let is_wide = request.client == "follow" && request.namespace.is_empty();
        if is_wide { refused() } else { Verdict::Pass }
    });
}

fn refused() -> Verdict {
    Verdict::Answer {
        code: 403,
        retry_after: None,
        applied: false,
    }
}

/// A right that is taken back while the watch is open, and given again: the Lease is read again, even
/// though nothing has happened to it.
#[tokio::test(start_paused = true)]
async fn a_right_that_is_taken_and_given_again() {
    let world = following("").await;
    world.on_any_request(|request| match &*request.client {
        "follow" => refused(),
        _ => Verdict::Pass,
    });
    world.kube.close_watches(Kind::Lease);
    until_known(&world, "web", "Forbidden").await;
    // No hot loop, and nothing of it disturbs the others.
    world.settle().await;
    world.clear();
    sleep(secs(60)).await;
    let asked = about_followed(&world).len();
    assert!((4..=14).contains(&asked), "{asked} requests a minute");
    world.heal();
    until_known(&world, "web", "b").await;
    until_feeds(&world, 1).await;
}

/// §1: what an unreachable server says of a Lease is nothing, and the first sync does not wait.
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_told_apart() {
    let mut world = World::new();
    lease(&world, (NS, "lock"), "b");
    world
        .source("web")
        .annotation(FOLLOW, "lease/lock")
        .create();
    world.pods("web", &["a", "b"]);
    world.on_any_request(|request| match &*request.client {
        "follow" => Verdict::Answer {
            code: 503,
            retry_after: None,
            applied: false,
        },
        _ => Verdict::Pass,
    });
    world.start("").await;
    until_known(&world, "web", "Unreachable").await;
    world.heal();
    until_known(&world, "web", "b").await;
}

/// The protocol is that of every other watch: history that is gone, and a break in the middle.
#[tokio::test(start_paused = true)]
async fn a_watch_that_was_cut_misses_nothing() {
    let world = following("").await;
    world.on_any_request(|request| match (&*request.client, request.verb) {
        ("follow", Verb::Watch | Verb::List) => Verdict::Drop { applied: false },
        _ => Verdict::Pass,
    });
    world.kube.break_watches(Kind::Lease);
    edit(&world, (NS, "lock"), |lease| {
        lease["spec"]["holderIdentity"] = "a".into();
    });
    sleep(secs(5)).await;
    assert_eq!(known(&world, "web")["holder"], "b");
    // Its history is gone, and a deletion with it.
    world.kube.compact_to_now();
    world.heal();
    until_known(&world, "web", "a").await;
    world.on_any_request(|request| match &*request.client {
        "follow" => Verdict::Drop { applied: false },
        _ => Verdict::Pass,
    });
    world.kube.break_watches(Kind::Lease);
    world.kube.delete(Kind::Lease, NS, "lock");
    sleep(secs(5)).await;
    world.kube.compact_to_now();
    world.heal();
    until_known(&world, "web", "NotFound").await;
}

/// A backup in which b holds the Lease. Many versions later a holds it.
async fn after_a_backup() -> (World, Backup) {
    let world = following("").await;
    let backup: Backup = world.kube.backup();
    for _ in 0..20 {
        edit(&world, (NS, "lock"), |lease| {
            lease["spec"]["holderIdentity"] = "a".into();
        });
        renew(&world, (NS, "lock"));
    }
    until_known(&world, "web", "a").await;
    (world, backup)
}

/// A server that was restored from a backup shows the Lease as it was then.
#[tokio::test(start_paused = true)]
async fn a_restored_server_is_believed() {
    let (world, backup) = after_a_backup().await;
    world.kube.restore(&backup);
    until_known(&world, "web", "b").await;
}

/// The right to watch all Leases is lost with the restore: the watch by name that takes over knows what the
/// former watch had reached.
#[tokio::test(start_paused = true)]
async fn a_restored_server_is_believed_by_another_watch() {
    let (world, backup) = after_a_backup().await;
    refuse_wide(&world);
    world.kube.restore(&backup);
    until_known(&world, "web", "b").await;
}

/// Facts are kept by every replica, so that a successor does not begin with silence.
#[tokio::test(start_paused = true)]
async fn a_standby_knows_the_lease_as_well() {
    let mut world = following("").await;
    let standby = world.another("2", "");
    let key = zen_lead::logic::model::Key::new(NS, "web");
    let what = "the standby seeing the holder";
    world
        .until(what, |_| {
            let debug = standby.drive.debug(&key);
            debug.is_some_and(|debug| debug["facts"]["lease"]["holder"] == "b")
        })
        .await;
    standby.stop().await;
}

/// Rights to more Leases by name than are watched so.
#[tokio::test(start_paused = true)]
async fn so_many_names_of_a_namespace_are_watched() {
    let mut world = World::new();
    for number in 0..34 {
        let name = format!("s{number:02}");
        lease(&world, (NS, &name), "b");
        let source = world.source(&name);
        source.annotation(FOLLOW, &format!("lease/{name}")).create();
    }
    refuse_wide(&world);
    world.start("").await;
    until_known(&world, "s31", "b").await;
    until_known(&world, "s32", "Forbidden").await;
    world.settle().await;
    assert_eq!(feeds(&world), 32);
    // One of them leaves its place to another.
    world.kube.delete(Kind::Service, NS, "s00");
    until_known(&world, "s32", "b").await;
    assert_eq!(known(&world, "s33"), "Forbidden");
}
