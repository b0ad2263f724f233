//! What the API server will not have.

use std::sync::Arc;

use simkube::{Kind, Refusal, Rule};

use crate::support::{ENABLED, NS, World, ms, secs};

/// §4 `WriteRefused`: told once, in the server's own words; few requests; served once the policy
/// lets it be.
#[tokio::test(start_paused = true)]
async fn an_admission_policy_says_no() {
    for forbidden in [false, true] {
        let mut world = World::new();
        world.source("web").create();
        world.pods("web", &["a"]);
        world.kube.set_admission(Some(Arc::new(move |_, kind, _| {
            (kind == Kind::Service || kind == Kind::EndpointSlice).then(|| Refusal {
                message: "policy 'no-leaders' denied the request: not here".into(),
                forbidden,
            })
        })));
        world.start("").await;
        tokio::time::sleep(secs(3_600)).await;
        let writes = world.writes();
        assert!((100..400).contains(&writes.len()), "{}", writes.len());
        assert!(
            writes
                .iter()
                .all(|word| word == "create Service web-leader")
        );
        let told = world.told("web", "WriteRefused");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("'no-leaders' denied") && told[0].ends_with("(1)"));
        world.kube.set_admission(None);
        let took = world.until_leader("web", "a").await;
        assert!(took <= secs(30), "{took:?}");
    }
}

/// The same on the way: a failover that is refused is told once and done as soon as it may be; one
/// that is decided anew meanwhile is tried at once.
#[tokio::test(start_paused = true)]
async fn a_refused_failover_goes_on() {
    let world = World::serving(&["a", "b", "c"]).await;
    world
        .kube
        .set_deny(vec![Rule::new("patch", "endpointslices", "")]);
    world.clear();
    world.kube.set_ready(NS, "a", false);
    tokio::time::sleep(secs(600)).await;
    let refused = world.writes();
    assert!((20..80).contains(&refused.len()), "{}", refused.len());
    let told = world.told("web", "WriteRefused");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("cannot patch resource"), "{told:?}");
    world.kube.set_deny(vec![]);
    world.kube.set_ready(NS, "b", false);
    let took = world.until_leader("web", "c").await;
    assert!(took <= ms(5), "{took:?}");
    let told = world.told("web", "LeaderChanged");
    assert_eq!(told.len(), 1, "what was never published is not told");
    assert!(told[0].contains("from a to c (notReady, "), "{told:?}");
}

/// A refusal of what is no longer wanted is forgotten: should it be wanted again, it is told again.
#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_for_each_wish() {
    let mut world = World::new();
    world
        .kube
        .set_deny(vec![Rule::new("create", "services", "")]);
    world.source("web").create();
    world.pods("web", &["a"]);
    world.start("").await;
    tokio::time::sleep(secs(100)).await;
    world.annotate("web", ENABLED, None);
    tokio::time::sleep(secs(100)).await;
    world.annotate("web", ENABLED, Some("true"));
    tokio::time::sleep(secs(100)).await;
    let told = world.told("web", "WriteRefused");
    assert_eq!(told.len(), 1, "one Event: {told:?}");
    assert!(told[0].ends_with("(2)"), "said twice: {told:?}");
}

/// A namespace that is being deleted is no reason to shout, nor to flood.
#[tokio::test(start_paused = true)]
async fn a_terminating_namespace_is_quiet() {
    let world = World::serving(&["a"]).await;
    world.clear();
    world.kube.delete(Kind::Namespace, "", NS);
    world.kube.delete(Kind::Service, NS, "web-leader");
    world.kube.delete(Kind::EndpointSlice, NS, "web-leader");
    tokio::time::sleep(secs(3_600)).await;
    let writes = world.writes().len();
    assert!((50..=130).contains(&writes), "{writes}");
    assert_eq!(world.told("web", "WriteRefused"), [""; 0]);
    world.kube.gc();
    world.settle().await;
    world.clear();
    tokio::time::sleep(secs(300)).await;
    world.assert_words("gone", &[]);
    assert_eq!(world.debug("web"), None);
    assert_eq!(world.replica().metrics.states(), []);
}
