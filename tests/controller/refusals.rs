//! What the API server will not have.

use std::sync::Arc;

use serde_json::{Value, json};
use simkube::{Kind, Refusal, Rule, Verb};

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
/// that is decided again meanwhile is tried at once.
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

/// Refuses every change of a leader Service that has this value at that place.
fn refuse_where(world: &World, pointer: &'static str, value: &'static str) {
    let policy = move |_: Verb, kind: Kind, object: &Value| {
        let is_leader = !object["metadata"]["labels"]["zen-lead.io/source-service"].is_null();
        let is_bad = object.pointer(pointer).is_some_and(|now| now == value);
        (kind == Kind::Service && is_leader && is_bad).then(|| Refusal {
            message: format!("exceeded quota: {value}"),
            forbidden: true,
        })
    };
    world.kube.set_admission(Some(Arc::new(policy)));
}

fn rename_port(world: &World, name: &'static str) {
    let edit = |source: &mut Value| source["spec"]["ports"][0]["name"] = name.into();
    let edited = world.kube.edit(Kind::Service, NS, "web", edit);
    edited.expect("the server takes it");
}

fn port_names(object: &Value) -> Vec<&str> {
    let ports = object.as_array().into_iter().flatten();
    let mut names: Vec<&str> = ports.filter_map(|port| port["name"].as_str()).collect();
    names.sort_unstable();
    names
}

/// §4: a type that the server refuses holds up neither ports nor the leader; it is requested with
/// back-off and told once.
#[tokio::test(start_paused = true)]
async fn a_refused_field_holds_up_nothing_else() {
    let world = World::serving(&["a", "b"]).await;
    refuse_where(&world, "/spec/type", "NodePort");
    world.annotate("web", "zen-lead.io/leader-service-type", Some("NodePort"));
    rename_port(&world, "sql");
    tokio::time::sleep(secs(1)).await;
    let service = world.leader_service("web").expect("it stands");
    assert_eq!(port_names(&service["spec"]["ports"]), ["sql"]);
    let slice = world.slice("web").expect("it stands");
    assert_eq!(port_names(&slice["ports"]), ["sql"]);
    world.kube.set_ready(NS, "a", false);
    world.until_leader("web", "b").await;
    let took = world
        .until("the Service says so", |world| {
            world.identity("web").as_deref() == Some("b")
        })
        .await;
    assert!(took <= secs(1), "{took:?}");
    world.clear();
    tokio::time::sleep(secs(3_600)).await;
    let writes = world.writes().len();
    assert!((100..=130).contains(&writes), "{writes}");
    let told = world.told("web", "WriteRefused");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("exceeded quota") && told[0].ends_with("(1)"));
    world.kube.set_admission(None);
    let took = world
        .until("the type is there", |world| {
            world.leader_service("web").expect("it stands")["spec"]["type"] == "NodePort"
        })
        .await;
    assert!(took <= secs(30), "{took:?}");
}

/// §4: if the Service is refused, the slice keeps both names of a renamed port.
#[tokio::test(start_paused = true)]
async fn a_refused_rename_cuts_nothing_off() {
    let world = World::serving(&["a", "b"]).await;
    let before = world.leader_service("web").expect("it stands")["spec"]["ports"][0].clone();
    refuse_where(&world, "/spec/ports/0/name", "sql");
    rename_port(&world, "sql");
    tokio::time::sleep(secs(1)).await;
    let mut both = [before["name"].as_str().expect("a name"), "sql"];
    both.sort_unstable();
    let slice = world.slice("web").expect("it stands");
    assert_eq!(port_names(&slice["ports"]), both);
    world.kube.set_ready(NS, "a", false);
    world.until_leader("web", "b").await;
    let slice = world.slice("web").expect("it stands");
    assert_eq!(port_names(&slice["ports"]), both, "after a failover too");
    world.kube.set_admission(None);
    world
        .until("the old name goes", |world| {
            port_names(&world.slice("web").expect("it stands")["ports"]) == ["sql"]
        })
        .await;
    let service = world.leader_service("web").expect("it stands");
    assert_eq!(port_names(&service["spec"]["ports"]), ["sql"]);
}

/// §1: an address that was given up is asked for again within ten minutes, also where the garbage
/// collector was faster, and by a replica that took over meanwhile.
#[tokio::test(start_paused = true)]
async fn a_source_that_is_replaced_keeps_the_address_of_its_leader_service() {
    for collects in [false, true] {
        let world = World::serving(&["a"]).await;
        let before = world.cluster_ip("web");
        let mut source = world.kube.get(Kind::Service, NS, "web").expect("ours");
        for field in ["uid", "resourceVersion", "creationTimestamp"] {
            source["metadata"][field] = json!(null);
        }
        for field in ["clusterIP", "clusterIPs"] {
            source["spec"][field] = json!(null);
        }
        world.kube.delete(Kind::Service, NS, "web");
        if collects {
            world.kube.gc();
        }
        world.until_gone("web").await;
        tokio::time::sleep(secs(500)).await;
        world.kube.create(Kind::Service, NS, &source);
        world.until_leader("web", "a").await;
        assert_eq!(world.cluster_ip("web"), before, "collected: {collects}");
        assert_eq!(world.told("web", "WriteRefused"), [""; 0]);
    }
}

/// §1: an address that another Service has by then is not waited for.
#[tokio::test(start_paused = true)]
async fn an_address_that_is_taken_meanwhile_is_told() {
    let world = World::serving(&["a"]).await;
    let before = world.cluster_ip("web").expect("it has one");
    world.annotate("web", ENABLED, None);
    world.until_gone("web").await;
    let other = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "other", "namespace": NS},
        "spec": {"clusterIP": before, "ports": [{"port": 80}]},
    });
    world.kube.create(Kind::Service, NS, &other);
    world.annotate("web", ENABLED, Some("true"));
    world.until_leader("web", "a").await;
    assert_ne!(world.cluster_ip("web"), Some(before));
    let told = world.told("web", "WriteRefused");
    assert!(
        told.len() == 1 && told[0].contains("new cluster address"),
        "{told:?}"
    );
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
