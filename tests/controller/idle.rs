//! What costs nothing, and what must not stop the controller.

use serde_json::json;
use simkube::{Kind, Verb};

use crate::support::{NS, World, secs};

/// §6: health through an idle hour, and no requests but watches and sweeps.
#[tokio::test(start_paused = true)]
async fn an_idle_hour_is_quiet_and_healthy() {
    let world = World::serving(&["a"]).await;
    world.clear();
    let replica = world.replica();
    for _ in 0..3_600 {
        tokio::time::sleep(secs(1)).await;
        let health = replica.health.check(replica.clock.moment());
        assert_eq!(health, Ok(()));
    }
    world.assert_words("idle", &[]);
    let requests = world.kube.requests();
    let lists = requests.iter().filter(|record| record.verb == Verb::List);
    // Two are further looks at the Service that was made just before.
    assert_eq!(lists.count(), 2 + 6, "a sweep every ten minutes");
    let watches = requests.iter().filter(|record| record.verb == Verb::Watch);
    let watches = watches.count();
    // Each of the four ends after 261 to 290 s and goes on where it was.
    assert!((48..=56).contains(&watches), "{watches}");
    let renewals = requests
        .iter()
        .filter(|record| record.kind == Some(Kind::Lease) && record.verb == Verb::Patch);
    let renewals = renewals.count();
    assert!((3_595..=3_600).contains(&renewals), "{renewals}");
}

/// §1 "No annotation value can stop the controller or delay another Service"; §2 the 256 KiB.
#[tokio::test(start_paused = true)]
async fn huge_annotations_stay_out_with_a_warning() {
    let mut world = World::new();
    let large = "x".repeat(200 * 1024);
    let source = world.source("web").annotation("large", &large);
    source.annotation("small", "fits").create();
    world.pods("web", &["a", "b"]);
    world.start("--mirror-prefixes=example.com/").await;
    world.until_leader("web", "a").await;
    let mirrored = |world: &World| {
        let service = world.leader_service("web").expect("there");
        let annotations = service["metadata"]["annotations"].clone();
        (
            annotations["large"].is_string(),
            annotations["small"].is_string(),
        )
    };
    assert_eq!(mirrored(&world), (true, true));
    // 256 KiB in all is the most that a Service may have, so ours on top of it would be too much.
    let rest = "y".repeat(55 * 1024);
    world.annotate("web", "more", Some(&rest));
    world.settle().await;
    let told = world.told("web", "InvalidAnnotation");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("left out: large"), "{told:?}");
    assert_eq!(mirrored(&world), (false, true));
    world.kube.set_ready(NS, "a", false);
    world.until_leader("web", "b").await;
    assert_eq!(world.told("web", "WriteRefused"), [""; 0]);
}

/// A pod of a megabyte passes through like any other; one that does not parse is left out.
#[tokio::test(start_paused = true)]
async fn odd_and_huge_objects_do_not_stop_the_controller() {
    let world = World::serving(&["a"]).await;
    let huge = world
        .kube
        .pod(NS, "b")
        .labels(&[("app", "web")])
        .ip("10.1.0.9");
    let huge = huge.with(|pod| pod["spec"]["containers"][0]["args"] = json!(["z".repeat(1 << 20)]));
    huge.create();
    let odd = world.kube.pod(NS, "0-odd").labels(&[("app", "web")]);
    let odd = odd.ip("10.1.0.8").with(|pod| {
        // The real server would refuse it, and so may a later one mean something by it.
        pod["spec"]["containers"][0]["ports"] = json!([{"name": "x", "containerPort": 70_000}]);
    });
    odd.create();
    world.kube.set_ready(NS, "a", false);
    world.until_leader("web", "b").await;
}
