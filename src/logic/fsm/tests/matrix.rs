//! Every state against every situation.

use serde_json::{Value, json};

use crate::logic::plan::Kind;
use crate::logic::testkit::{Lab, World, pod, set_key, source};
use crate::logic::well_known::{
    ENABLED, FAILOVER_MIN_DELAY, LEADER_POD_UID, LEADER_SERVICE_NAME, LEADER_SERVICE_TYPE,
    MANAGED_BY, PAUSED, PREFERRED_LEADER, SERVICE_NAME, SLICE_MANAGED_BY, SOURCE_SERVICE, STICKY,
    STRATEGY,
};

/// The states, as a lab that has come to rest in each; pod `a` is older than `b`.
fn starts() -> [Lab; 6] {
    let pods = || [pod("a").created(1), pod("b").created(2)];
    let mut out = source("s");
    out["metadata"]["annotations"] = json!({"team": "x"});
    let mut patient = source("s");
    patient["metadata"]["annotations"][FAILOVER_MIN_DELAY] = "30s".into();

    let mut unmanaged = Lab::new(out, pods());
    unmanaged.settle();
    let mut electing = Lab::new(
        source("s"),
        pods().map(crate::logic::testkit::PodSpec::not_ready),
    );
    electing.settle();
    let mut firm = Lab::new(source("s"), pods());
    firm.settle();
    let mut suspect = Lab::new(patient, pods());
    suspect.settle();
    suspect.world.edit_pod("a", |pod| pod.ready = false);
    suspect.settle();
    let mut leaving = firm.clone();
    leaving.world.edit_pod("b", |pod| pod.ready = false);
    leaving.world.edit_pod("a", |pod| pod.terminating = true);
    leaving.settle();
    let mut draining = firm.clone();
    finalize(&mut draining.world, "s-leader", "example.com/hold");
    draining.world.annotate("s", ENABLED, None);
    draining.settle();
    [unmanaged, electing, firm, suspect, leaving, draining]
}

pub(super) fn finalize(world: &mut World, service: &str, finalizer: &str) {
    world.edit_service(service, |object| {
        object["metadata"]["finalizers"] = json!([finalizer]);
    });
}

pub(super) fn spec(world: &mut World, service: &str, field: &str, value: Value) {
    world.edit_service(service, |object| object["spec"][field] = value);
}

fn label(world: &mut World, service: &str, key: &str, value: Option<&str>) {
    world.edit_service(service, |object| {
        set_key(&mut object["metadata"], "labels", key, value);
    });
}

fn owners(world: &mut World, kind: Kind, name: &str) {
    let strip = |object: &mut Value| object["metadata"]["ownerReferences"] = json!([]);
    match kind {
        Kind::Service => world.edit_service(name, strip),
        Kind::Slice => world.edit_slice(name, strip),
    }
}

pub(in crate::logic) fn dual_stack(world: &mut World) {
    spec(world, "s", "ipFamilyPolicy", json!("PreferDualStack"));
}

pub(super) fn stranger(world: &mut World, name: &str) {
    let body = json!({
        "metadata": {"name": name, "namespace": "n"},
        "spec": {"selector": {"app": "other"}, "ports": [{"port": 1}]},
    });
    let _ = world.create_service(body);
}

fn foreign_slice(world: &mut World, name: &str) {
    let body = json!({
        "metadata": {"name": name, "namespace": "n"},
        "addressType": "IPv4", "endpoints": [], "ports": [],
    });
    let _ = world.create_slice(body);
}

/// What the native controller makes of a selector: it copies the Service's labels.
pub(in crate::logic) fn native(world: &mut World) {
    native_of(world, "s-leader");
}

pub(super) fn native_of(world: &mut World, name: &str) {
    let Some(service) = world.services.get(name).cloned() else {
        return;
    };
    let mut labels = service["metadata"]["labels"].clone();
    labels[SERVICE_NAME] = name.into();
    labels[SLICE_MANAGED_BY] = "endpointslice-controller.k8s.io".into();
    let owner = json!({
        "apiVersion": "v1", "kind": "Service", "name": name,
        "uid": service["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    });
    let endpoint = |ip: &str, name: &str| json!({"addresses": [ip], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": name}});
    let body = json!({
        "metadata": {"name": "s-leader-x7k2p", "namespace": "n", "labels": labels, "ownerReferences": [owner]},
        "addressType": "IPv4", "ports": [],
        "endpoints": [endpoint("10.1.0.98", "a"), endpoint("10.1.0.99", "b")],
    });
    world.create_slice(body).expect("a fresh name");
}

fn attach(world: &mut World) {
    let body = json!({
        "metadata": {"name": "mine", "namespace": "n", "labels": {SERVICE_NAME: "s-leader"}},
        "addressType": "IPv4", "ports": [], "endpoints": [],
    });
    world.create_slice(body).expect("a fresh name");
}

/// Deletes the slice and makes it again with the other address type.
fn retype(world: &mut World) {
    let Some(mut slice) = world.slices.get("s-leader").cloned() else {
        return;
    };
    world.delete(Kind::Slice, "s-leader");
    slice["addressType"] = "IPv6".into();
    slice["endpoints"] = json!([]);
    world.create_slice(slice).expect("the name is free");
}

/// Objects that are not ours, which must be unchanged.
fn foreign(world: &World) -> Vec<Value> {
    let is_foreign = |object: &&Value| {
        let labels = &object["metadata"]["labels"];
        let is_native = labels[SLICE_MANAGED_BY] == "endpointslice-controller.k8s.io";
        let owned = object["metadata"]["ownerReferences"].is_array();
        !owned && labels[MANAGED_BY] != "zen-lead" && object["metadata"]["name"] != "s-leader"
            || is_native
    };
    world
        .services
        .values()
        .chain(world.slices.values())
        .filter(is_foreign)
        .cloned()
        .collect()
}

fn lab_holds(lab: &Lab) -> bool {
    lab.state().contains(", ")
}

fn objects_show_a_leader(objects: &str) -> bool {
    objects.contains(": a")
}

type Situation = fn(&mut World);

/// The states' columns: what comes of it, or `=` where nothing does.
struct Row(&'static str, &'static str, Situation, [&'static str; 6]);

fn check(row: &Row) -> Result<(), String> {
    let Row(sentence, section, situation, expected) = row;
    let mut wrong = Vec::new();
    for (start, expected) in starts().iter().zip(expected) {
        let mut lab = start.clone();
        let from = lab.summary();
        let before = [lab.state(), lab.objects()].join(" | ");
        lab.forget();
        situation(&mut lab.world);
        let others = foreign(&lab.world);
        let mut crashed = lab.clone();
        let lost = lab.objects();
        lab.settle();
        // It works with no garbage collector running; with one only foreign objects differ.
        let alone = lab.objects();
        lab.world.collect_garbage();
        lab.settle();
        if lab.objects() != alone && !sentence.ends_with("which made slices") {
            wrong.push(format!(
                "{from}: {alone:?}, with garbage collected {:?}",
                lab.objects()
            ));
        }
        let came = lab.summary();
        let came = if came == before && lab.writes.is_empty() {
            "="
        } else {
            &came
        };
        if came != *expected {
            wrong.push(format!("{from}: {came:?}, expected {expected:?}"));
        }
        // Foreign objects are as they were, unless they went with their owner.
        let now = foreign(&lab.world);
        assert!(
            now.iter().all(|object| others.contains(object)),
            "{sentence}: {others:?} {now:?}"
        );
        // A restart finds nothing to write.
        let objects = lab.objects();
        lab.forget();
        lab.crash().settle();
        if (lab.writes.len(), lab.objects()) != (0, objects.clone()) {
            wrong.push(format!(
                "{from}: a restart writes {:?} and comes to {:?}",
                lab.writes,
                lab.objects()
            ));
        }
        // A crash before the situation was even seen comes to the same objects.
        crashed.crash().settle();
        crashed.world.collect_garbage();
        crashed.settle();
        // What no slice shows any more is forgotten by a crash: a leader that was only held goes.
        let is_held = lab_holds(start) && !objects_show_a_leader(&lost);
        if crashed.objects() != objects && !is_held {
            wrong.push(format!(
                "{from}: after a crash {:?}, else {objects:?}",
                crashed.objects()
            ));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("§{section} {sentence}:\n  {}", wrong.join("\n  ")))
    }
}

#[test]
fn every_state_against_every_situation() {
    // Columns: Unmanaged, Electing, Serving firm, suspect, leaving, Draining.
    let wrong: Vec<String> = rows().iter().filter_map(|row| check(row).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    vec![
        Row("nothing happens", "1", |_| {}, [
            "Unmanaged",
            "=",
            "=",
            "=",
            "=",
            "=",
        ]),
        Row("the source opts in", "1", |w| w.annotate("s", ENABLED, Some("true")), [
            "Serving a | s-leader: a | LeaderRoutingAvailable",
            "=",
            "=",
            "=",
            "=",
            "Serving a | s-leader (going): a | LeaderRoutingAvailable",
        ]),
        Row("the source opts out", "2 Leaving", |w| w.annotate("s", ENABLED, None), [
            "Unmanaged",
            "Unmanaged",
            "Unmanaged",
            "Unmanaged",
            "Unmanaged",
            "=",
        ]),
        Row("the source says enabled=false", "2 Leaving", |w| w.annotate("s", ENABLED, Some("false")), [
            "Unmanaged",
            "Unmanaged",
            "Unmanaged",
            "Unmanaged",
            "Unmanaged",
            "=",
        ]),
        Row("the value of enabled is unclear", "1", |w| w.annotate("s", ENABLED, Some("yes")), [
            "Unmanaged | InvalidAnnotation",
            "Electing | s-leader: - | InvalidAnnotation",
            "Serving a | s-leader: a | InvalidAnnotation",
            "Serving a, suspect | s-leader: a | InvalidAnnotation",
            "Serving a, leaving | s-leader: a (terminating) | InvalidAnnotation",
            "Serving a | s-leader (going): a | InvalidAnnotation, LeaderRoutingAvailable",
        ]),
        Row("the source is deleted", "1", |w| w.delete(Kind::Service, "s"), [
            "Unmanaged",
            "Unmanaged",
            "Unmanaged",
            "Unmanaged",
            "Unmanaged",
            "=",
        ]),
        Row("the source is deleted and its finalizer holds it", "1", |w| { finalize(w, "s", "example.com/hold"); w.delete(Kind::Service, "s"); }, [
            "Unmanaged",
            "Unmanaged",
            "Unmanaged",
            "Unmanaged",
            "Unmanaged",
            "=",
        ]),
        Row("the source is deleted and its objects are to be orphaned", "1", |w| { finalize(w, "s", "orphan"); w.delete(Kind::Service, "s"); }, [
            "Unmanaged",
            "Unmanaged | s-leader: -",
            "Unmanaged | s-leader: a",
            "Unmanaged | s-leader: a",
            "Unmanaged | s-leader: a (terminating)",
            "Unmanaged | s-leader (going): -",
        ]),
        Row("the source is deleted and made again", "1", |w| { w.delete(Kind::Service, "s"); w.create_service(source("s")).expect("it is free"); }, [
            "Serving a | s-leader: a | LeaderRoutingAvailable",
            "Electing | s-leader: -",
            "Serving a | s-leader: a",
            "Serving b | s-leader: b | LeaderChanged (notReady)",
            "Serving a, leaving | s-leader: a (terminating)",
            "Serving a | s-leader (going): a | LeaderRoutingAvailable",
        ]),
        Row("the source loses its selector", "1", |w| spec(w, "s", "selector", json!(null)), [
            "Unmanaged",
            "Unmanaged | InvalidService",
            "Unmanaged | InvalidService",
            "Unmanaged | InvalidService",
            "Unmanaged | InvalidService",
            "=",
        ]),
        Row("the source becomes an ExternalName", "1", |w| spec(w, "s", "type", json!("ExternalName")), [
            "Unmanaged",
            "Unmanaged | InvalidService",
            "Unmanaged | InvalidService",
            "Unmanaged | InvalidService",
            "Unmanaged | InvalidService",
            "=",
        ]),
        Row("the source is marked as a leader Service", "1", |w| label(w, "s", SOURCE_SERVICE, Some("t")), [
            "Unmanaged",
            "Unmanaged | InvalidService",
            "Unmanaged | InvalidService",
            "Unmanaged | InvalidService",
            "Unmanaged | InvalidService",
            "=",
        ]),
        Row("the name asked for is invalid", "1", |w| w.annotate("s", LEADER_SERVICE_NAME, Some("Not_A_Name")), [
            "Unmanaged",
            "Electing | s-leader: - | InvalidLeaderServiceName",
            "Serving a | s-leader: a | InvalidLeaderServiceName",
            "Serving a, suspect | s-leader: a | InvalidLeaderServiceName",
            "Serving a, leaving | s-leader: a (terminating) | InvalidLeaderServiceName",
            "=",
        ]),
        Row("the name asked for is too long", "1", |w| w.annotate("s", LEADER_SERVICE_NAME, Some(&"x".repeat(64))), [
            "Unmanaged",
            "Electing | s-leader: - | InvalidLeaderServiceName",
            "Serving a | s-leader: a | InvalidLeaderServiceName",
            "Serving a, suspect | s-leader: a | InvalidLeaderServiceName",
            "Serving a, leaving | s-leader: a (terminating) | InvalidLeaderServiceName",
            "=",
        ]),
        Row("the name asked for is the source's own", "1", |w| w.annotate("s", LEADER_SERVICE_NAME, Some("s")), [
            "Unmanaged",
            "Electing | s-leader: - | InvalidLeaderServiceName",
            "Serving a | s-leader: a | InvalidLeaderServiceName",
            "Serving a, suspect | s-leader: a | InvalidLeaderServiceName",
            "Serving a, leaving | s-leader: a (terminating) | InvalidLeaderServiceName",
            "=",
        ]),
        Row("the name asked for is taken", "1", |w| { stranger(w, "main"); w.annotate("s", LEADER_SERVICE_NAME, Some("main")); }, [
            "Unmanaged | main (foreign): -",
            "Electing | main (foreign): -, s-leader: - | LeaderServiceConflict",
            "Serving a | main (foreign): -, s-leader: a | LeaderServiceConflict",
            "Serving a, suspect | main (foreign): -, s-leader: a | LeaderServiceConflict",
            "Serving a, leaving | main (foreign): -, s-leader: a (terminating) | LeaderServiceConflict",
            "Draining | main (foreign): -, s-leader (going): -",
        ]),
        Row("the name asked for is another", "2 Leaving", |w| w.annotate("s", LEADER_SERVICE_NAME, Some("main")), [
            "Unmanaged",
            "Electing | main: - | NoReadyPods",
            "Serving a | main: a",
            "Serving a, suspect | main: a",
            "Serving a, leaving | main: a (terminating)",
            "=",
        ]),
        Row("the source wants Headless", "2 Leaving", |w| w.annotate("s", LEADER_SERVICE_TYPE, Some("Headless")), [
            "Unmanaged",
            "Electing | s-leader: -",
            "Serving a | s-leader: a | LeaderRoutingAvailable",
            "Serving a, suspect | s-leader: a | LeaderRoutingAvailable",
            "Serving a, leaving | s-leader: a (terminating, ready) | LeaderRoutingAvailable",
            "=",
        ]),
        Row("the source wants NodePort", "2 Leaving", |w| w.annotate("s", LEADER_SERVICE_TYPE, Some("NodePort")), [
            "Unmanaged",
            "Electing | s-leader: -",
            "Serving a | s-leader: a",
            "Serving a, suspect | s-leader: a",
            "Serving a, leaving | s-leader: a (terminating)",
            "=",
        ]),
        Row("the source wants LoadBalancer", "2 Leaving", |w| w.annotate("s", LEADER_SERVICE_TYPE, Some("LoadBalancer")), [
            "Unmanaged",
            "Electing | s-leader: -",
            "Serving a | s-leader: a",
            "Serving a, suspect | s-leader: a",
            "Serving a, leaving | s-leader: a (terminating)",
            "=",
        ]),
        Row("the type asked for is unknown", "1", |w| w.annotate("s", LEADER_SERVICE_TYPE, Some("Portal")), [
            "Unmanaged",
            "Electing | s-leader: - | InvalidAnnotation",
            "Serving a | s-leader: a | InvalidAnnotation",
            "Serving a, suspect | s-leader: a | InvalidAnnotation",
            "Serving a, leaving | s-leader: a (terminating) | InvalidAnnotation",
            "=",
        ]),
        Row("the source is paused", "1 paused", |w| w.annotate("s", PAUSED, Some("true")), [
            "Unmanaged",
            "Electing | s-leader: - | Paused",
            "=",
            "Serving a, paused | s-leader: a",
            "Serving a, paused | s-leader: a (terminating)",
            "=",
        ]),
        Row("a pause is spelt wrong", "1 paused", |w| w.annotate("s", PAUSED, Some("on")), [
            "Unmanaged",
            "Electing | s-leader: - | InvalidAnnotation, Paused",
            "Serving a | s-leader: a | InvalidAnnotation",
            "Serving a, paused | s-leader: a | InvalidAnnotation",
            "Serving a, paused | s-leader: a (terminating) | InvalidAnnotation",
            "=",
        ]),
        Row("the source is paused, and the other pod is Ready", "1 paused", |w| { w.annotate("s", PAUSED, Some("true")); w.edit_pod("b", |p| p.ready = true); }, [
            "Unmanaged",
            "Electing | s-leader: - | Paused",
            "=",
            "Serving a, paused | s-leader: a",
            "Serving a, paused | s-leader: a (terminating)",
            "=",
        ]),
        Row("the source is paused, and the leader stops serving", "1 paused", |w| { w.annotate("s", PAUSED, Some("true")); w.edit_pod("a", |p| p.ready = false); }, [
            "Unmanaged",
            "Electing | s-leader: - | Paused",
            "Serving a, paused | s-leader: a",
            "Serving a, paused | s-leader: a",
            "Serving a, paused | s-leader: a (terminating)",
            "=",
        ]),
        Row("the source is paused, and the leader is deleted", "1 paused", |w| { w.annotate("s", PAUSED, Some("true")); w.delete_pod("a"); }, [
            "Unmanaged",
            "Electing | s-leader: - | Paused",
            "Electing | s-leader: - | Paused (deleted)",
            "Electing | s-leader: - | Paused (deleted)",
            "Electing | s-leader: - | Paused (deleted)",
            "=",
        ]),
        Row("the source is paused, and the leader loses its address", "1 paused", |w| { w.annotate("s", PAUSED, Some("true")); w.edit_pod("a", |p| p.ips.clear()); }, [
            "Unmanaged",
            "Electing | s-leader: - | Paused",
            "Electing | s-leader: - | Paused (noIP)",
            "Electing | s-leader: - | Paused (noIP)",
            "Electing | s-leader: - | Paused (terminating)",
            "=",
        ]),
        Row("the source is paused and opts out", "1 paused", |w| { w.annotate("s", PAUSED, Some("true")); w.annotate("s", ENABLED, None); }, [
            "Unmanaged",
            "Unmanaged",
            "Unmanaged",
            "Unmanaged",
            "Unmanaged",
            "=",
        ]),
        Row("the source is paused and wants another name", "1 paused", |w| { w.annotate("s", PAUSED, Some("true")); w.annotate("s", LEADER_SERVICE_NAME, Some("main")); }, [
            "Unmanaged",
            "Electing | main: - | Paused",
            "Serving a | main: a",
            "Serving a, paused | main: a",
            "Serving a, paused | main: a (terminating)",
            "=",
        ]),
        Row("the source is paused, and its slice is deleted", "1 paused", |w| { w.annotate("s", PAUSED, Some("true")); w.delete(Kind::Slice, "s-leader"); }, [
            "Unmanaged",
            "Electing | s-leader: - | Paused",
            "Serving a | s-leader: a",
            "Serving a, paused | s-leader: a",
            "Serving a, paused | s-leader: a (terminating)",
            "=",
        ]),
        Row("another pod is preferred", "1 preferred-leader", |w| w.annotate("s", PREFERRED_LEADER, Some("b")), [
            "Unmanaged",
            "=",
            "Serving b | s-leader: b | LeaderChanged (switchover)",
            "Serving b | s-leader: b | LeaderChanged (switchover)",
            "=",
            "=",
        ]),
        Row("the leader itself is preferred", "1 preferred-leader", |w| w.annotate("s", PREFERRED_LEADER, Some("a")), [
            "Unmanaged",
            "=",
            "Serving a | s-leader: a",
            "=",
            "=",
            "=",
        ]),
        Row("a pod is preferred that there is not", "1 preferred-leader", |w| w.annotate("s", PREFERRED_LEADER, Some("x")), [
            "Unmanaged",
            "=",
            "=",
            "=",
            "=",
            "=",
        ]),
        Row("what is preferred is no pod's name", "1 preferred-leader", |w| w.annotate("s", PREFERRED_LEADER, Some("Pod B")), [
            "Unmanaged",
            "Electing | s-leader: - | InvalidAnnotation",
            "Serving a | s-leader: a | InvalidAnnotation",
            "Serving a, suspect | s-leader: a | InvalidAnnotation",
            "Serving a, leaving | s-leader: a (terminating) | InvalidAnnotation",
            "=",
        ]),
        Row("another pod is preferred during a pause", "1 paused", |w| { w.annotate("s", PAUSED, Some("true")); w.annotate("s", PREFERRED_LEADER, Some("b")); }, [
            "Unmanaged",
            "Electing | s-leader: - | Paused",
            "=",
            "Serving a, paused | s-leader: a",
            "Serving a, paused | s-leader: a (terminating)",
            "=",
        ]),
        Row("the strategy becomes priority", "3", |w| { w.annotate("s", STRATEGY, Some("priority")); w.edit_pod("b", |p| p.priority = Some("5")); }, [
            "Unmanaged",
            "=",
            "=",
            "=",
            "=",
            "=",
        ]),
        Row("it does, without sticky", "3", |w| { w.annotate("s", STRATEGY, Some("priority")); w.annotate("s", STICKY, Some("false")); w.edit_pod("b", |p| p.priority = Some("5")); }, [
            "Unmanaged",
            "=",
            "Serving b | s-leader: b | LeaderChanged (strategy)",
            "=",
            "=",
            "=",
        ]),
        Row("a priority is no number", "3", |w| { w.annotate("s", STRATEGY, Some("priority")); w.edit_pod("b", |p| p.priority = Some("high")); }, [
            "Unmanaged",
            "Electing | s-leader: - | InvalidAnnotation",
            "Serving a | s-leader: a | InvalidAnnotation",
            "Serving a, suspect | s-leader: a | InvalidAnnotation",
            "Serving a, leaving | s-leader: a (terminating) | InvalidAnnotation",
            "=",
        ]),
        Row("the strategy becomes node-spread", "3", |w| w.annotate("s", STRATEGY, Some("node-spread")), [
            "Unmanaged",
            "=",
            "=",
            "=",
            "=",
            "=",
        ]),
        Row("it does, without sticky, which does not go together", "3", |w| { w.annotate("s", STRATEGY, Some("node-spread")); w.annotate("s", STICKY, Some("false")); }, [
            "Unmanaged",
            "Electing | s-leader: - | InvalidAnnotation",
            "Serving a | s-leader: a | InvalidAnnotation",
            "Serving a, suspect | s-leader: a | InvalidAnnotation",
            "Serving a, leaving | s-leader: a (terminating) | InvalidAnnotation",
            "=",
        ]),
        Row("the source gets a second family", "2", dual_stack, [
            "Unmanaged",
            "Electing | s-leader: -",
            "Serving a | s-leader: a",
            "Serving a, suspect | s-leader: a",
            "Serving a, leaving | s-leader: a (terminating)",
            "=",
        ]),
        Row("the port's number changes", "2", |w| spec(w, "s", "ports", json!([{"name": "http", "port": 81, "targetPort": "web"}])), [
            "Unmanaged",
            "Electing | s-leader: -",
            "Serving a | s-leader: a",
            "Serving a, suspect | s-leader: a",
            "Serving a, leaving | s-leader: a (terminating)",
            "=",
        ]),
        Row("the port's target is unknown to all pods", "2", |w| spec(w, "s", "ports", json!([{"name": "http", "port": 80, "targetPort": "wab"}])), [
            "Unmanaged",
            "Electing | s-leader: -",
            "Electing | s-leader: - | PortResolutionFailed (noneReady)",
            "Electing | s-leader: - | PortResolutionFailed (noneReady)",
            "Electing | s-leader: - | NoReadyPods (terminating)",
            "=",
        ]),
        Row("a port is added before the rollout", "2", |w| spec(w, "s", "ports", json!([{"name": "http", "port": 80, "targetPort": "web"}, {"name": "new", "port": 90, "targetPort": "new"}])), [
            "Unmanaged",
            "Electing | s-leader: -",
            "Serving a | s-leader: a | PortResolutionFailed",
            "Serving a, suspect | s-leader: a | PortResolutionFailed",
            "Serving a, leaving | s-leader: a (terminating) | PortResolutionFailed",
            "=",
        ]),
        Row("an annotation of ours is unknown", "1", |w| w.annotate("s", "zen-lead.io/stiky", Some("true")), [
            "Unmanaged",
            "Electing | s-leader: - | InvalidAnnotation",
            "Serving a | s-leader: a | InvalidAnnotation",
            "Serving a, suspect | s-leader: a | InvalidAnnotation",
            "Serving a, leaving | s-leader: a (terminating) | InvalidAnnotation",
            "=",
        ]),
        Row("an annotation's value is invalid", "1", |w| w.annotate("s", STICKY, Some("maybe")), [
            "Unmanaged",
            "Electing | s-leader: - | InvalidAnnotation",
            "Serving a | s-leader: a | InvalidAnnotation",
            "Serving a, suspect | s-leader: a | InvalidAnnotation",
            "Serving a, leaving | s-leader: a (terminating) | InvalidAnnotation",
            "=",
        ]),
        Row("all pods are deleted", "3", |w| { w.delete_pod("a"); w.delete_pod("b"); }, [
            "Unmanaged",
            "Electing | s-leader: - | NoPodsFound",
            "Electing | s-leader: - | NoPodsFound (deleted)",
            "Electing | s-leader: - | NoPodsFound (deleted)",
            "Electing | s-leader: - | NoPodsFound (deleted)",
            "=",
        ]),
        Row("no pod is Ready", "3", |w| { w.edit_pod("a", |p| p.ready = false); w.edit_pod("b", |p| p.ready = false); }, [
            "Unmanaged",
            "=",
            "Electing | s-leader: - | NoReadyPods (noneReady)",
            "=",
            "Electing | s-leader: - | NoReadyPods (terminating)",
            "=",
        ]),
        Row("both pods are Ready", "3", |w| { w.edit_pod("a", |p| { p.ready = true; }); w.edit_pod("b", |p| p.ready = true); }, [
            "Unmanaged",
            "Serving a | s-leader: a | LeaderRoutingAvailable",
            "=",
            "Serving a | s-leader: a",
            "Serving b | s-leader: b | LeaderChanged (terminating)",
            "=",
        ]),
        Row("pod a turns NotReady", "3", |w| w.edit_pod("a", |p| p.ready = false), [
            "Unmanaged",
            "=",
            "Serving b | s-leader: b | LeaderChanged (notReady)",
            "=",
            "Electing | s-leader: - | NoReadyPods (terminating)",
            "=",
        ]),
        Row("pod a is deleted", "3", |w| w.delete_pod("a"), [
            "Unmanaged",
            "=",
            "Serving b | s-leader: b | LeaderChanged (deleted)",
            "Serving b | s-leader: b | LeaderChanged (deleted)",
            "Electing | s-leader: - | NoReadyPods (deleted)",
            "=",
        ]),
        Row("pod a is made again under its name", "3", |w| { w.delete_pod("a"); w.put_pod(pod("a").created(999)); }, [
            "Unmanaged",
            "Serving a | s-leader: a | LeaderRoutingAvailable",
            "Serving b | s-leader: b | LeaderChanged (deleted)",
            "Serving b | s-leader: b | LeaderChanged (deleted)",
            "Serving a | s-leader: a | LeaderChanged (deleted)",
            "=",
        ]),
        Row("pod a fails", "3", |w| w.edit_pod("a", |p| p.phase = "Failed"), [
            "Unmanaged",
            "=",
            "Serving b | s-leader: b | LeaderChanged (notReady)",
            "Serving b | s-leader: b | LeaderChanged (notReady)",
            "Electing | s-leader: - | NoReadyPods (deleted)",
            "=",
        ]),
        Row("pod a loses its label", "3", |w| w.edit_pod("a", |p| p.labels.clear()), [
            "Unmanaged",
            "=",
            "Serving b | s-leader: b | LeaderChanged (unlabelled)",
            "Serving b | s-leader: b | LeaderChanged (unlabelled)",
            "Electing | s-leader: - | NoReadyPods (unlabelled)",
            "=",
        ]),
        Row("pod a loses its address", "3", |w| w.edit_pod("a", |p| p.ips.clear()), [
            "Unmanaged",
            "=",
            "Serving b | s-leader: b | LeaderChanged (noIP)",
            "Serving b | s-leader: b | LeaderChanged (noIP)",
            "Electing | s-leader: - | NoReadyPods (terminating)",
            "=",
        ]),
        Row("pod a gets an address of the node", "2", |w| w.edit_pod("a", |p| p.ips = vec!["169.254.1.1".into()]), [
            "Unmanaged",
            "=",
            "Serving b | s-leader: b | LeaderChanged (noIP)",
            "Serving b | s-leader: b | LeaderChanged (noIP)",
            "Electing | s-leader: - | NoReadyPods (terminating)",
            "=",
        ]),
        Row("pod a gets another address", "3", |w| w.edit_pod("a", |p| p.ips[0] = "10.9.9.9".into()), [
            "Unmanaged",
            "=",
            "Serving a | s-leader: a",
            "Serving a, suspect | s-leader: a",
            "Serving a, leaving | s-leader: a (terminating)",
            "=",
        ]),
        Row("pod a is being deleted", "3", |w| w.edit_pod("a", |p| p.terminating = true), [
            "Unmanaged",
            "=",
            "Serving b | s-leader: b | LeaderChanged (terminating)",
            "Serving b | s-leader: b | LeaderChanged (terminating)",
            "=",
            "=",
        ]),
        Row("pod a is being deleted and stops serving", "3", |w| w.edit_pod("a", |p| { p.terminating = true; p.ready = false; }), [
            "Unmanaged",
            "=",
            "Serving b | s-leader: b | LeaderChanged (terminating)",
            "Serving b | s-leader: b | LeaderChanged (terminating)",
            "Electing | s-leader: - | NoReadyPods (terminating)",
            "=",
        ]),
        Row("pod a is disrupted", "3", |w| w.edit_pod("a", |p| p.disrupted = true), [
            "Unmanaged",
            "=",
            "Serving b | s-leader: b | LeaderChanged (disrupted)",
            "Serving b | s-leader: b | LeaderChanged (disrupted)",
            "=",
            "=",
        ]),
        Row("both pods are disrupted", "3", |w| { w.edit_pod("a", |p| p.disrupted = true); w.edit_pod("b", |p| p.disrupted = true); }, [
            "Unmanaged",
            "=",
            "Serving a, leaving | s-leader: a",
            "Serving a, leaving | s-leader: a",
            "=",
            "=",
        ]),
        Row("pod b turns Ready", "3", |w| w.edit_pod("b", |p| p.ready = true), [
            "Unmanaged",
            "Serving b | s-leader: b | LeaderRoutingAvailable",
            "=",
            "=",
            "Serving b | s-leader: b | LeaderChanged (terminating)",
            "=",
        ]),
        Row("a pod older than all comes", "3", |w| w.put_pod(pod("o").created(0)), [
            "Unmanaged",
            "Serving o | s-leader: o | LeaderRoutingAvailable",
            "=",
            "=",
            "Serving o | s-leader: o | LeaderChanged (terminating)",
            "=",
        ]),
        Row("the leader Service is deleted", "1", |w| w.delete(Kind::Service, "s-leader"), [
            "Unmanaged",
            "Electing | s-leader: -",
            "Serving a | s-leader: a",
            "Serving a, suspect | s-leader: a",
            "Serving a, leaving | s-leader: a (terminating)",
            "=",
        ]),
        Row("the leader Service is deleted and collected", "1", |w| { w.delete(Kind::Service, "s-leader"); w.collect_garbage(); }, [
            "Unmanaged",
            "Electing | s-leader: -",
            "Serving a | s-leader: a",
            "Serving a, suspect | s-leader: a",
            "Serving a, leaving | s-leader: a (terminating)",
            "=",
        ]),
        Row("the leader Service is deleted and a finalizer holds it", "1", |w| { finalize(w, "s-leader", "example.com/hold"); w.delete(Kind::Service, "s-leader"); }, [
            "Unmanaged",
            "Electing | s-leader (going): - | LeaderServiceConflict",
            "Serving a | s-leader (going): a | LeaderServiceConflict",
            "Serving a, suspect | s-leader (going): a | LeaderServiceConflict",
            "Serving a, leaving | s-leader (going): a (terminating) | LeaderServiceConflict",
            "=",
        ]),
        Row("the leader Service is deleted and its name taken", "1", |w| { w.delete(Kind::Service, "s-leader"); stranger(w, "s-leader"); }, [
            "Unmanaged | s-leader (foreign): -",
            "Unmanaged | s-leader (foreign): - | LeaderServiceConflict",
            "Unmanaged | s-leader (foreign): - | LeaderServiceConflict",
            "Unmanaged | s-leader (foreign): - | LeaderServiceConflict",
            "Unmanaged | s-leader (foreign): - | LeaderServiceConflict",
            "=",
        ]),
        Row("the leader Service gets a selector", "1", |w| spec(w, "s-leader", "selector", json!({"app": "s"})), [
            "Unmanaged",
            "Electing | s-leader: -",
            "Serving a | s-leader: a",
            "Serving a, suspect | s-leader: a",
            "Serving a, leaving | s-leader: a (terminating)",
            "=",
        ]),
        Row("the leader Service got a selector, which made slices", "1", |w| { spec(w, "s-leader", "selector", json!({"app": "s"})); native(w); }, [
            "Unmanaged",
            "Electing | s-leader: - | LeaderServiceConflict",
            "Serving a | s-leader: a | LeaderServiceConflict, LeaderRoutingAvailable",
            "Serving a, suspect | s-leader: a | LeaderServiceConflict, LeaderRoutingAvailable",
            "Serving a, leaving | s-leader: a (terminating) | LeaderServiceConflict, LeaderRoutingAvailable",
            "Draining | s-leader (going): a+b",
        ]),
        Row("the leader Service loses our labels", "1", |w| { label(w, "s-leader", SOURCE_SERVICE, None); label(w, "s-leader", MANAGED_BY, None); }, [
            "Unmanaged",
            "Electing | s-leader: -",
            "Serving a | s-leader: a",
            "Serving a, suspect | s-leader: a",
            "Serving a, leaving | s-leader: a (terminating)",
            "Draining | s-leader (foreign): -",
        ]),
        Row("the leader Service loses its owner", "1", |w| owners(w, Kind::Service, "s-leader"), [
            "Unmanaged",
            "Electing | s-leader: -",
            "Serving a | s-leader: a",
            "Serving a, suspect | s-leader: a",
            "Serving a, leaving | s-leader: a (terminating)",
            "=",
        ]),
        Row("the leader Service loses its ports", "2", |w| spec(w, "s-leader", "ports", json!([{"name": "x", "port": 1}])), [
            "Unmanaged",
            "Electing | s-leader: -",
            "Serving a | s-leader: a",
            "Serving a, suspect | s-leader: a",
            "Serving a, leaving | s-leader: a (terminating)",
            "=",
        ]),
        Row("the leader's identity is tampered with", "2", |w| w.annotate("s-leader", LEADER_POD_UID, Some("x")), [
            "Unmanaged",
            "Electing | s-leader: -",
            "Serving a | s-leader: a",
            "Serving a, suspect | s-leader: a",
            "Serving a, leaving | s-leader: a (terminating)",
            "=",
        ]),
        Row("another controller attaches a slice", "1", attach, [
            "Unmanaged | lost slice \"mine\"",
            "Electing | s-leader: - | LeaderServiceConflict",
            "Serving a | s-leader: a | LeaderServiceConflict",
            "Serving a, suspect | s-leader: a | LeaderServiceConflict",
            "Serving a, leaving | s-leader: a (terminating) | LeaderServiceConflict",
            "=",
        ]),
        Row("the slice is deleted", "1", |w| w.delete(Kind::Slice, "s-leader"), [
            "Unmanaged",
            "Electing | s-leader: -",
            "Serving a | s-leader: a",
            "Serving a, suspect | s-leader: a",
            "Serving a, leaving | s-leader: a (terminating)",
            "=",
        ]),
        Row("the slice's endpoint is edited", "2", |w| w.edit_slice("s-leader", |slice| if slice["endpoints"].is_array() { slice["endpoints"][0]["addresses"] = json!(["10.66.6.6"]) }), [
            "Unmanaged",
            "=",
            "Serving a | s-leader: a",
            "Serving a, suspect | s-leader: a",
            "Serving a, leaving | s-leader: a (terminating)",
            "=",
        ]),
        Row("the slice gets a second endpoint", "2", |w| w.edit_slice("s-leader", |slice| { let one = json!({"addresses": ["10.66.6.6"]}); match slice["endpoints"].as_array_mut() { Some(all) => all.push(one), None => slice["endpoints"] = json!([one]) } }), [
            "Unmanaged",
            "Electing | s-leader: -",
            "Serving a | s-leader: a",
            "Serving a, suspect | s-leader: a",
            "Serving a, leaving | s-leader: a (terminating)",
            "=",
        ]),
        Row("the slice loses the Service's name", "1", |w| w.edit_slice("s-leader", |slice| set_key(&mut slice["metadata"], "labels", SERVICE_NAME, None)), [
            "Unmanaged",
            "Electing | s-leader: -",
            "Serving a | s-leader: a",
            "Serving a, suspect | s-leader: a",
            "Serving a, leaving | s-leader: a (terminating)",
            "=",
        ]),
        Row("the slice loses all labels", "1", |w| w.edit_slice("s-leader", |slice| slice["metadata"]["labels"] = json!({})), [
            "Unmanaged",
            "Electing | s-leader: -",
            "Serving a | s-leader: a",
            "Serving a, suspect | s-leader: a",
            "Serving a, leaving | s-leader: a (terminating)",
            "=",
        ]),
        Row("the slice loses its owner", "1", |w| owners(w, Kind::Slice, "s-leader"), [
            "Unmanaged",
            "Electing | s-leader: -",
            "Serving a | s-leader: a",
            "Serving a, suspect | s-leader: a",
            "Serving a, leaving | s-leader: a (terminating)",
            "=",
        ]),
        Row("a foreigner holds the slice's name", "2", |w| { w.delete(Kind::Slice, "s-leader"); foreign_slice(w, "s-leader"); }, [
            "Unmanaged | lost slice \"s-leader\"",
            "Electing | s-leader: -, lost slice \"s-leader\"",
            "Serving a | s-leader: a, lost slice \"s-leader\"",
            "Serving a, suspect | s-leader: a, lost slice \"s-leader\"",
            "Serving a, leaving | s-leader: a (terminating), lost slice \"s-leader\"",
            "Draining | s-leader (going): -, lost slice \"s-leader\"",
        ]),
        Row("the slice's address type is wrong", "2", retype, [
            "Unmanaged",
            "Electing | s-leader: -",
            "Serving a | s-leader: a",
            "Serving a, suspect | s-leader: a",
            "Serving a, leaving | s-leader: a (terminating)",
            "=",
        ]),
        Row("the slice is deleted and a finalizer holds it", "1", |w| { w.edit_slice("s-leader", |slice| slice["metadata"]["finalizers"] = json!(["example.com/hold"])); w.delete(Kind::Slice, "s-leader"); }, [
            "Unmanaged",
            "Electing | s-leader: - | LeaderServiceConflict",
            "Serving a | s-leader: a | LeaderServiceConflict",
            "Serving a, suspect | s-leader: a | LeaderServiceConflict",
            "Serving a, leaving | s-leader: a (terminating) | LeaderServiceConflict",
            "=",
        ]),
    ]
}
