//! Stories: what happens one after the other, and every round of writes on the way.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::matrix::{dual_stack, finalize, native, spec, stranger};
use crate::logic::event::Severity;
use crate::logic::plan::{Action, Kind, Lane};
use crate::logic::testkit::{Lab, pod, source};
use crate::logic::well_known::{
    ENABLED, FAILOVER_MIN_DELAY, LAST_LEADER_POD_UID, LAST_SWITCH_TIME, LEADER_POD_UID,
    LEADER_SERVICE_NAME, LEADER_SERVICE_TYPE, MIN_READY_DURATION, PREFERRED_LEADER, SOURCE_SERVICE,
    STICKY, STRATEGY, TRIGGER_TIME,
};

pub(super) type Act = fn(&mut Lab);

/// A source with these annotations besides `enabled`.
pub(super) fn asking(annotations: &[(&str, &str)]) -> Value {
    let mut body = source("s");
    for (key, value) in annotations {
        body["metadata"]["annotations"][*key] = (*value).into();
    }
    body
}

/// Pods `a`, `b` and `c`, in the order of their age, and a lab at rest.
pub(super) fn lab(annotations: &[(&str, &str)]) -> Lab {
    let mut lab = Lab::new(asking(annotations), three());
    lab.settle().forget();
    lab
}

fn three() -> [crate::logic::testkit::PodSpec; 3] {
    [
        pod("a").created(1),
        pod("b").created(2),
        pod("c").created(3),
    ]
}

/// Does each act in turn, lets the lab settle, and compares what came of it.
pub(super) fn check(sentence: &str, annotations: &[(&str, &str)], acts: &[(Act, &str)]) {
    let mut lab = lab(annotations);
    for (number, (act, expected)) in acts.iter().enumerate() {
        lab.forget();
        act(&mut lab);
        lab.settle();
        assert_eq!(lab.summary(), *expected, "{sentence}: act {}", number + 1);
    }
}

pub(super) fn ready(lab: &mut Lab, name: &str, is: bool) {
    lab.world.edit_pod(name, |pod| pod.ready = is);
}

pub(super) fn wait(lab: &mut Lab, seconds: u64) {
    lab.wait(Duration::from_secs(seconds));
}

pub(super) fn prefer(lab: &mut Lab, name: &str) {
    lab.world.annotate("s", PREFERRED_LEADER, Some(name));
}

/// The node of a pod is about to go, or is not after all.
fn cordon(lab: &mut Lab, pod: &str, is: bool) {
    let node: Arc<str> = lab.world.pods[pod]
        .node
        .as_deref()
        .expect("scheduled")
        .into();
    if is {
        lab.nodes.leaving.insert(node);
    } else {
        lab.nodes.leaving.remove(&node);
    }
}

#[test]
#[rustfmt::skip]
fn leaders_come_and_go() {
    check("a sticky leader is kept when an older pod comes back (§1 sticky)", &[], &[
        (|l| ready(l, "a", false), "Serving b | s-leader: b | LeaderChanged (notReady)"),
        (|l| ready(l, "a", true), "Serving b | s-leader: b"),
    ]);
    check("without sticky the strategy's first choice leads at once (§1 sticky)", &[(STICKY, "false")], &[
        (|l| ready(l, "a", false), "Serving b | s-leader: b | LeaderChanged (notReady)"),
        (|l| ready(l, "a", true), "Serving a | s-leader: a | LeaderChanged (strategy)"),
    ]);
    check("without sticky a challenger has to be Ready for long enough (§1 min-ready-duration)",
        &[(STICKY, "false"), (MIN_READY_DURATION, "10s")], &[
        (|l| ready(l, "a", false), "Serving b | s-leader: b | LeaderChanged (notReady)"),
        (|l| ready(l, "a", true), "Serving b | s-leader: b"),
        (|l| wait(l, 9), "Serving b | s-leader: b"),
        (|l| wait(l, 1), "Serving a | s-leader: a | LeaderChanged (strategy)"),
    ]);
    check("the newest pod leads (§1 strategy)", &[(STRATEGY, "newest")], &[
        (|_| {}, "Serving c | s-leader: c"),
        (|l| l.world.delete_pod("c"), "Serving b | s-leader: b | LeaderChanged (deleted)"),
    ]);
    check("after a time without any leader the last one returns, though an older one is Ready (§3)", &[], &[
        (|l| ready(l, "a", false), "Serving b | s-leader: b | LeaderChanged (notReady)"),
        (|l| ["b", "c"].iter().for_each(|p| ready(l, p, false)), "Electing | s-leader: - | NoReadyPods (noneReady)"),
        (|l| ["a", "b", "c"].iter().for_each(|p| ready(l, p, true)), "Serving b | s-leader: b | LeaderRoutingAvailable"),
    ]);
    check("a restart without a leader knows the last one too (§3)", &[], &[
        (|l| ready(l, "a", false), "Serving b | s-leader: b | LeaderChanged (notReady)"),
        (|l| ["b", "c"].iter().for_each(|p| ready(l, p, false)), "Electing | s-leader: - | NoReadyPods (noneReady)"),
        (|l| { l.crash(); }, "Electing | s-leader: - | NoReadyPods"),
        (|l| ["a", "b", "c"].iter().for_each(|p| ready(l, p, true)), "Serving b | s-leader: b | LeaderRoutingAvailable"),
    ]);
    check("without sticky the last one has no right to return (§3)", &[(STICKY, "false")], &[
        (|l| ready(l, "a", false), "Serving b | s-leader: b | LeaderChanged (notReady)"),
        (|l| ["b", "c"].iter().for_each(|p| ready(l, p, false)), "Electing | s-leader: - | NoReadyPods (noneReady)"),
        (|l| ["a", "b", "c"].iter().for_each(|p| ready(l, p, true)), "Serving a | s-leader: a | LeaderRoutingAvailable"),
    ]);
    check("more resolved ports count before age, at an election (§2)", &[], &[
        (|l| spec(&mut l.world, "s", "ports", json!([{"name": "http", "port": 80, "targetPort": "web"}, {"name": "x", "port": 9, "targetPort": "x"}])),
         "Serving a | s-leader: a | PortResolutionFailed"),
        (|l| l.world.edit_pod("c", |p| *p = p.clone().ports(&[("web", 1), ("x", 2)])), "Serving a | s-leader: a"),
        (|l| l.world.delete_pod("a"), "Serving c | s-leader: c | LeaderChanged (deleted)"),
    ]);
}

/// §4 "told by one Warning that names the former leader, the reason and the latency".
#[test]
fn an_outage_is_told_once_and_by_a_warning() {
    let mut l = lab(&[]);
    for pod in ["a", "b", "c"] {
        ready(&mut l, pod, false);
    }
    l.look();
    assert_eq!(l.notes, [], "not before the slice shows it");
    // Meanwhile it gets worse: what is said is what is true by then.
    for pod in ["a", "b", "c"] {
        l.world.delete_pod(pod);
    }
    l.settle();
    let [note] = &l.notes[..] else {
        panic!("{:?}", l.notes);
    };
    assert_eq!(
        (note.severity, note.reason),
        (Severity::Warning, "NoPodsFound")
    );
    let head = "Leader changed from a to none (deleted, 0.0 ms). No pod matches";
    assert!(note.message.starts_with(head), "{}", note.message);
    l.forget().world.put_pod(pod("d").not_ready());
    l.settle();
    let [note] = &l.notes[..] else {
        panic!("{:?}", l.notes);
    };
    assert!(
        note.reason == "NoReadyPods" && note.message.starts_with("No pod is eligible"),
        "{note:?}"
    );
}

/// A rebuild on top, during which the leader is remembered (§1): the loss is told once it stands.
#[test]
fn an_outage_during_a_rebuild_is_told_too() {
    let mut l = lab(&[]);
    for pod in ["a", "b", "c"] {
        ready(&mut l, pod, false);
    }
    l.look();
    l.world.annotate("s", LEADER_SERVICE_TYPE, Some("Headless"));
    l.settle();
    assert_eq!(
        l.summary(),
        "Electing | s-leader: - | NoReadyPods (noneReady)"
    );
}

/// §1 "told once that it is ignored and why".
#[test]
fn a_source_that_looks_like_a_leader_service_is_told_so() {
    let mut body = source("s");
    body["metadata"]["labels"][SOURCE_SERVICE] = "other".into();
    let mut l = Lab::new(body, [pod("a")]);
    l.settle();
    assert_eq!(l.summary(), "Unmanaged | InvalidService");
    assert!(l.notes[0].message.contains(SOURCE_SERVICE), "{:?}", l.notes);
    l.forget().settle();
    l.world.annotate("s", "note", Some("x"));
    l.settle();
    assert_eq!(l.notes, [], "once");
    l.world.edit_service("s", |object| {
        object["metadata"]["labels"] = Value::Null;
    });
    l.settle();
    assert!(l.summary().starts_with("Serving a | s-leader: a"));
}

/// A Service made from the YAML of a leader Service goes like a leftover, and its author is told.
#[test]
fn a_copy_of_a_leader_service_is_told_of_and_a_rename_is_not() {
    let mut l = lab(&[]);
    let mut copy = l.world.services["s-leader"].clone();
    copy["metadata"]["name"] = "mine".into();
    for key in ["uid", "resourceVersion", "creationTimestamp"] {
        copy["metadata"]
            .as_object_mut()
            .expect("metadata")
            .remove(key);
    }
    for key in ["clusterIP", "clusterIPs"] {
        copy["spec"].as_object_mut().expect("a spec").remove(key);
    }
    l.world.create_service(copy).expect("it is free");
    l.settle();
    assert_eq!(
        l.summary(),
        "Serving a | s-leader: a | LeaderServiceConflict"
    );
    let text = &l.notes[0].message;
    assert!(
        text.starts_with("Service mine is deleted: ") && text.contains("ownerReferences"),
        "{text}"
    );
    l.forget()
        .world
        .annotate("s", LEADER_SERVICE_NAME, Some("other"));
    l.settle();
    assert_eq!(l.summary(), "Serving a | other: a", "our own leftover");
    l.forget().world.annotate("s", ENABLED, None);
    l.crash().settle();
    assert_eq!(l.summary(), "Unmanaged", "nor at a restart");
}

/// §3 "not controlled by a Job": it never begins to lead, and one that leads from before is left.
#[test]
#[rustfmt::skip]
fn a_pod_of_a_job_never_leads() {
    check("a migration's pod", &[(STRATEGY, "newest")], &[
        (|l| l.world.put_pod(pod("job").created(999).of_job()), "Serving c | s-leader: c"),
        (|l| l.world.edit_pod("c", |p| p.of_job = true), "Serving b | s-leader: b | LeaderChanged (unlabelled)"),
        (|l| { l.world.delete_pod("a"); l.world.delete_pod("b"); }, "Electing | s-leader: - | NoReadyPods (deleted)"),
        (|l| l.world.annotate("s", PREFERRED_LEADER, Some("job")), "Electing | s-leader: -"),
    ]);
}

#[test]
#[rustfmt::skip]
fn patience_has_limits() {
    let delay = &[(FAILOVER_MIN_DELAY, "30s")];
    check("a leader that turned NotReady is left when its time is over (§1 failover-min-delay)", delay, &[
        (|l| ready(l, "a", false), "Serving a, suspect | s-leader: a"),
        (|l| wait(l, 29), "Serving a, suspect | s-leader: a"),
        (|l| wait(l, 1), "Serving b | s-leader: b | LeaderChanged (notReady)"),
    ]);
    check("a leader that recovers in time stays (§1 failover-min-delay)", delay, &[
        (|l| ready(l, "a", false), "Serving a, suspect | s-leader: a"),
        (|l| ready(l, "a", true), "Serving a | s-leader: a"),
        (|l| wait(l, 60), "Serving a | s-leader: a"),
    ]);
    check("a restart restarts no patience (§1)", delay, &[
        (|l| ready(l, "a", false), "Serving a, suspect | s-leader: a"),
        (|l| { wait(l, 20); l.crash(); }, "Serving a, suspect | s-leader: a"),
        (|l| wait(l, 10), "Serving b | s-leader: b | LeaderChanged (notReady)"),
    ]);
    check("patience shortened by an edit ends at once (§1)", delay, &[
        (|l| { ready(l, "a", false); wait(l, 5); l.world.annotate("s", FAILOVER_MIN_DELAY, Some("5s")); },
         "Serving b | s-leader: b | LeaderChanged (notReady)"),
    ]);
    check("a typo in the delay keeps the last valid one (§1)", delay, &[
        (|l| l.world.annotate("s", FAILOVER_MIN_DELAY, Some("30")), "Serving a | s-leader: a | InvalidAnnotation"),
        (|l| ready(l, "a", false), "Serving a, suspect | s-leader: a"),
        (|l| l.world.annotate("s", FAILOVER_MIN_DELAY, None), "Serving b | s-leader: b | LeaderChanged (notReady)"),
    ]);
    check("no pod follows: it has to be Ready for long enough (§1 min-ready-duration)", &[(MIN_READY_DURATION, "10s")], &[
        (|l| ["a", "b", "c"].iter().for_each(|p| ready(l, p, false)), "Electing | s-leader: - | NoReadyPods (noneReady)"),
        (|l| ready(l, "c", true), "Electing | s-leader: - | NoReadyPods"),
        (|l| wait(l, 9), "Electing | s-leader: -"),
        (|l| wait(l, 1), "Serving c | s-leader: c | LeaderRoutingAvailable"),
    ]);
}

#[test]
#[rustfmt::skip]
fn pods_that_are_about_to_go() {
    check("a disrupted leader is left and not returned to for 2 min 30 s (§3)", &[(STICKY, "false")], &[
        (|l| l.world.edit_pod("a", |p| p.disrupted = true), "Serving b | s-leader: b | LeaderChanged (disrupted)"),
        (|l| l.world.edit_pod("a", |p| p.disrupted = false), "Serving b | s-leader: b"),
        (|l| wait(l, 149), "Serving b | s-leader: b"),
        (|l| wait(l, 1), "Serving a | s-leader: a | LeaderChanged (strategy)"),
    ]);
    check("a request for it ends that time (§3)", &[], &[
        (|l| l.world.edit_pod("a", |p| p.disrupted = true), "Serving b | s-leader: b | LeaderChanged (disrupted)"),
        (|l| l.world.edit_pod("a", |p| p.disrupted = false), "Serving b | s-leader: b"),
        (|l| prefer(l, "a"), "Serving a | s-leader: a | LeaderChanged (switchover)"),
        (|l| { l.world.edit_pod("a", |p| p.ready = false); }, "Serving b | s-leader: b | LeaderChanged (notReady)"),
        (|l| { ready(l, "a", true); l.settle(); l.forget(); l.world.delete_pod("b"); }, "Serving a | s-leader: a | LeaderChanged (deleted)"),
    ]);
    check("but not while it is about to go (§3)", &[], &[
        (|l| cordon(l, "a", true), "Serving b | s-leader: b | LeaderChanged (disrupted)"),
        (|l| prefer(l, "a"), "Serving b | s-leader: b"),
        (|l| cordon(l, "a", false), "Serving a | s-leader: a | LeaderChanged (switchover)"),
    ]);
    check("a restart knows of that time (§3)", &[(STICKY, "false")], &[
        (|l| l.world.edit_pod("a", |p| p.disrupted = true), "Serving b | s-leader: b | LeaderChanged (disrupted)"),
        (|l| { l.crash(); l.world.edit_pod("a", |p| p.disrupted = false); }, "Serving b | s-leader: b"),
        (|l| wait(l, 149), "Serving b | s-leader: b"),
        (|l| wait(l, 2), "Serving a | s-leader: a | LeaderChanged (strategy)"),
    ]);
    check("a shunned pod is better than none (§3)", &[], &[
        (|l| l.world.edit_pod("a", |p| p.disrupted = true), "Serving b | s-leader: b | LeaderChanged (disrupted)"),
        (|l| { l.world.edit_pod("a", |p| p.disrupted = false); l.world.delete_pod("c"); l.world.delete_pod("b"); },
         "Serving a | s-leader: a | LeaderChanged (deleted)"),
    ]);
    check("a disrupted leader stays while there is no better pod (§3)", &[], &[
        (|l| { l.world.delete_pod("c"); ready(l, "b", false); l.world.edit_pod("a", |p| p.disrupted = true); },
         "Serving a, leaving | s-leader: a"),
        (|l| l.world.edit_pod("b", |p| { p.ready = true; p.disrupted = true; }), "Serving a, leaving | s-leader: a"),
        (|l| l.world.edit_pod("b", |p| p.disrupted = false), "Serving b | s-leader: b | LeaderChanged (disrupted)"),
    ]);
    check("a disruption that is called off leaves all as it was (§3)", &[], &[
        (|l| { l.world.delete_pod("c"); l.world.delete_pod("b"); l.world.edit_pod("a", |p| p.disrupted = true); },
         "Serving a, leaving | s-leader: a"),
        (|l| l.world.edit_pod("a", |p| p.disrupted = false), "Serving a | s-leader: a"),
    ]);
    check("a terminating leader serves until it is gone, a disrupted pod is better (§3)", &[], &[
        (|l| { l.world.delete_pod("c"); ready(l, "b", false); l.world.edit_pod("a", |p| p.terminating = true); },
         "Serving a, leaving | s-leader: a (terminating)"),
        (|l| l.world.edit_pod("b", |p| { p.ready = true; p.disrupted = true; }), "Serving b, leaving | s-leader: b | LeaderChanged (terminating)"),
    ]);
    check("a terminating pod never becomes leader again (§3)", &[], &[
        (|l| { l.world.delete_pod("c"); l.world.delete_pod("b"); l.world.edit_pod("a", |p| { p.terminating = true; p.ready = false; }); },
         "Electing | s-leader: - | NoReadyPods (terminating)"),
        (|l| ready(l, "a", true), "Electing | s-leader: -"),
    ]);
    check("DNS servers know no last resort: a headless one stays ready (§3)", &[(LEADER_SERVICE_TYPE, "Headless")], &[
        (|l| { l.world.delete_pod("c"); l.world.delete_pod("b"); l.world.edit_pod("a", |p| p.terminating = true); },
         "Serving a, leaving | s-leader: a (terminating, ready)"),
    ]);
    check("the time of a pod that lost its label is over at once, delay or not (§1)", &[(FAILOVER_MIN_DELAY, "1h")], &[
        (|l| { ready(l, "a", false); l.settle(); l.forget(); l.world.edit_pod("a", |p| p.labels.clear()); },
         "Serving b | s-leader: b | LeaderChanged (unlabelled)"),
        (|l| { ready(l, "b", false); l.settle(); l.forget(); l.world.edit_pod("b", |p| p.phase = "Failed"); },
         "Serving c | s-leader: c | LeaderChanged (notReady)"),
    ]);
}

#[test]
#[rustfmt::skip]
fn refused_and_served_after_all() {
    check("a name that becomes free is taken without a user's action (§1)", &[], &[
        (|l| { stranger(&mut l.world, "main"); l.world.annotate("s", LEADER_SERVICE_NAME, Some("main")); },
         "Serving a | main (foreign): -, s-leader: a | LeaderServiceConflict"),
        (|l| l.world.delete(Kind::Service, "main"), "Serving a | main: a"),
    ]);
    check("an old name stays though its Service is deleted while the new name is taken (§1)", &[], &[
        (|l| { stranger(&mut l.world, "main"); l.world.annotate("s", LEADER_SERVICE_NAME, Some("main")); },
         "Serving a | main (foreign): -, s-leader: a | LeaderServiceConflict"),
        (|l| l.world.delete(Kind::Service, "s-leader"), "Serving a | main (foreign): -, s-leader: a"),
    ]);
    check("what is served stays when there is no room for more (§6)", &[], &[
        (|l| l.is_over_limit = true, "Serving a | s-leader: a"),
        (|l| l.world.delete(Kind::Service, "s-leader"), "Serving a | s-leader: a"),
        (|l| { l.crash(); }, "Serving a | s-leader: a"),
        (|l| l.world.annotate("s", ENABLED, None), "Unmanaged"),
        (|l| l.world.annotate("s", ENABLED, Some("true")), "Unmanaged | InvalidService"),
        (|l| l.is_over_limit = false, "Serving a | s-leader: a | LeaderRoutingAvailable"),
    ]);
    check("a typo is told once, and again when it is made again (§1)", &[], &[
        (|l| l.world.annotate("s", STICKY, Some("ja")), "Serving a | s-leader: a | InvalidAnnotation"),
        (|l| ready(l, "c", false), "Serving a | s-leader: a"),
        (|l| l.world.annotate("s", STICKY, Some("true")), "Serving a | s-leader: a"),
        (|l| l.world.annotate("s", STICKY, Some("ja")), "Serving a | s-leader: a | InvalidAnnotation"),
        (|l| l.world.annotate("s", ENABLED, None), "Unmanaged"),
        (|l| l.world.annotate("s", ENABLED, Some("true")), "Serving a | s-leader: a | InvalidAnnotation, LeaderRoutingAvailable"),
    ]);
    check("opting in with an unclear value does nothing, staying with one does (§1)", &[(ENABLED, "yes")], &[
        (|_| {}, "Unmanaged"),
        (|l| l.world.annotate("s", ENABLED, Some("true")), "Serving a | s-leader: a | LeaderRoutingAvailable"),
        (|l| l.world.annotate("s", ENABLED, Some("True")), "Serving a | s-leader: a | InvalidAnnotation"),
        (|l| l.world.delete(Kind::Service, "s-leader"), "Serving a | s-leader: a"),
    ]);
    check("a typo does not keep a Service from being made again, not even with a restart (§1)", &[], &[
        (|l| l.world.annotate("s", ENABLED, Some("ture")), "Serving a | s-leader: a | InvalidAnnotation"),
        (|l| { native(&mut l.world); l.settle(); l.world.collect_garbage(); },
         "Serving a | s-leader: a | LeaderServiceConflict, LeaderRoutingAvailable"),
        (|l| { l.world.delete(Kind::Service, "s-leader"); l.crash(); }, "Serving a | s-leader: a | InvalidAnnotation"),
    ]);
    check("a typo in a name does not keep its Service from being made again (§1)", &[], &[
        (|l| l.world.annotate("s", LEADER_SERVICE_NAME, Some("a.b")), "Serving a | s-leader: a | InvalidLeaderServiceName"),
        (|l| { native(&mut l.world); l.settle(); l.world.collect_garbage(); },
         "Serving a | s-leader: a | LeaderServiceConflict, LeaderRoutingAvailable"),
    ]);
    check("a typo in the type does not cut traffic, not even with a restart (§1)", &[(LEADER_SERVICE_TYPE, "Headless")], &[
        (|l| { l.world.annotate("s", LEADER_SERVICE_TYPE, Some("headless")); l.crash(); }, "Serving a | s-leader: a | InvalidAnnotation"),
        (|l| assert_eq!(l.world.services["s-leader"]["spec"]["clusterIP"], "None"), "Serving a | s-leader: a"),
    ]);
    check("a finalizer that is stuck is told once (§1)", &[], &[
        (|l| { finalize(&mut l.world, "s-leader", "example.com/x"); l.world.annotate("s", ENABLED, None); },
         "Draining | s-leader (going): - | LeaderServiceConflict"),
        (|_| {}, "Draining | s-leader (going): -"),
    ]);
}

#[test]
#[rustfmt::skip]
fn a_source_that_is_refused_from_the_start_creates_nothing() {
    let refused = |sentence: &str, expected: &str, edit: fn(&mut Value)| {
        let mut body = source("s");
        edit(&mut body);
        let mut lab = Lab::new(body, three());
        lab.settle();
        assert_eq!((lab.summary().as_str(), lab.writes.len()), (expected, 0), "{sentence}");
        lab.settle();
        assert_eq!(lab.summary(), expected, "{sentence}: told once");
    };
    refused("no selector (§1)", "Unmanaged | InvalidService", |b| b["spec"]["selector"] = Value::Null);
    refused("no ports (§1)", "Unmanaged | InvalidService", |b| { b["spec"]["clusterIP"] = "None".into(); b["spec"]["ports"] = json!([]); });
    refused("ExternalName (§1)", "Unmanaged | InvalidService", |b| b["spec"] = json!({"type": "ExternalName", "externalName": "x", "selector": {"app": "s"}, "ports": [{"port": 1}]}));
    refused("marked as a leader Service (§1)", "Unmanaged | InvalidService", |b| b["metadata"]["labels"] = json!({"zen-lead.io/source-service": "t"}));
    refused("an invalid name (§1)", "Unmanaged | InvalidLeaderServiceName", |b| b["metadata"]["annotations"][LEADER_SERVICE_NAME] = "a.b".into());
    refused("its own name (§1)", "Unmanaged | InvalidLeaderServiceName", |b| b["metadata"]["annotations"][LEADER_SERVICE_NAME] = "s".into());
    refused("a value of enabled that is unclear (§1)", "Unmanaged | InvalidAnnotation", |b| b["metadata"]["annotations"][ENABLED] = "TRUE".into());
    refused("enabled=false with nonsense beside it (§1)", "Unmanaged", |b| b["metadata"]["annotations"] = json!({ENABLED: "false", "zen-lead.io/x": "y"}));
    let mut long = lab(&[]);
    long.world.create_service(source(&"x".repeat(60))).expect("a valid name");
    let key = crate::logic::model::Key::new("n", "x".repeat(60));
    long.machine = super::Machine::default();
    let step = long.peek_at(&long.world.snapshot(&key, None));
    assert!(step.notes[0].message.contains("set zen-lead.io/leader-service-name"), "a default that grows too long (§1)");
}

/// Rounds of writes, as `patch slice s-leader`; those of one round are joined by `, `.
fn rounds(lab: &mut Lab) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        lab.forget();
        if !lab.round() {
            return all;
        }
        let names = lab.writes.iter().map(|write| {
            let kind = if write.target.kind == Kind::Service {
                "service"
            } else {
                "slice"
            };
            format!(
                "{} {kind} {}",
                write.action.verb().as_str(),
                write.target.key.name
            )
        });
        all.push(names.collect::<Vec<_>>().join(", "));
        assert_eq!(lab.refusals, []);
    }
}

fn check_rounds(sentence: &str, mut lab: Lab, act: Act, expected: &[&str]) {
    act(&mut lab);
    assert_eq!(rounds(&mut lab), expected, "{sentence}");
}

#[test]
#[rustfmt::skip]
fn writes_stand_in_an_order_that_is_safe_to_interrupt() {
    let dual = || { let mut l = lab(&[]); dual_stack(&mut l.world); l.settle(); l };
    check_rounds("an opt-in makes the Service, then its slice, then the identity (§2)",
        Lab::new(source("s"), three()), |_| {},
        &["create service s-leader", "create slice s-leader", "patch service s-leader"]);
    check_rounds("a failover is one slice and then one Service (DESIGN)", lab(&[]), |l| l.world.delete_pod("a"),
        &["patch slice s-leader", "patch service s-leader"]);
    check_rounds("in dual-stack two slices at once (DESIGN)", dual(), |l| l.world.delete_pod("a"),
        &["patch slice s-leader, patch slice s-leader-ipv6", "patch service s-leader"]);
    check_rounds("a new address of the same pod is one patch (§3)", lab(&[]), |l| l.world.edit_pod("a", |p| p.ips[0] = "10.8.8.8".into()),
        &["patch slice s-leader"]);
    check_rounds("opting out withdraws traffic first (§2 Leaving)", dual(), |l| l.world.annotate("s", ENABLED, None),
        &["delete slice s-leader, delete slice s-leader-ipv6", "delete service s-leader"]);
    check_rounds("a rename serves the new one before the old one goes (§2 Leaving)", lab(&[]), |l| l.world.annotate("s", LEADER_SERVICE_NAME, Some("main")),
        &["create service main", "create slice main", "patch service main, delete slice s-leader", "delete service s-leader"]);
    check_rounds("Headless on: traffic, then the Service, then all again (§2 Leaving)", lab(&[]), |l| l.world.annotate("s", LEADER_SERVICE_TYPE, Some("Headless")),
        &["delete slice s-leader", "delete service s-leader", "create service s-leader", "create slice s-leader", "patch service s-leader"]);
    check_rounds("a typo in enabled does not stop that half-way (§1)", lab(&[]), |l| {
            l.world.annotate("s", ENABLED, Some("ture"));
            l.world.annotate("s", LEADER_SERVICE_TYPE, Some("Headless"));
        },
        &["delete slice s-leader", "delete service s-leader", "create service s-leader", "create slice s-leader", "patch service s-leader"]);
    check_rounds("Headless off: likewise (§2 Leaving)", lab(&[(LEADER_SERVICE_TYPE, "Headless")]), |l| l.world.annotate("s", LEADER_SERVICE_TYPE, None),
        &["delete slice s-leader", "delete service s-leader", "create service s-leader", "create slice s-leader", "patch service s-leader"]);
    check_rounds("other types are patched in place (§2 Leaving)", lab(&[]), |l| l.world.annotate("s", LEADER_SERVICE_TYPE, Some("NodePort")),
        &["patch service s-leader"]);
    check_rounds("a second family is a patch and a slice (§2)", lab(&[]), |l| dual_stack(&mut l.world),
        &["create slice s-leader-ipv6", "patch service s-leader"]);
    check_rounds("a family that is dropped takes its slice with it (§2)", dual(), |l| l.world.edit_service("s", |s| {
            s["spec"]["ipFamilyPolicy"] = "SingleStack".into();
            s["spec"]["ipFamilies"] = json!(["IPv4"]);
            s["spec"]["clusterIPs"] = json!([s["spec"]["clusterIP"]]);
        }),
        &["patch service s-leader, delete slice s-leader-ipv6"]);
    check_rounds("a slice with a finalizer is emptied before it is deleted (§2 Leaving)", lab(&[]), |l| {
            l.world.edit_slice("s-leader", |s| s["metadata"]["finalizers"] = json!(["example.com/x"]));
            l.world.annotate("s", ENABLED, None);
        },
        &["patch slice s-leader", "delete slice s-leader"]);
    check_rounds("a selector on our Service goes at once, beside anything else (§1)", lab(&[]), |l| {
            spec(&mut l.world, "s-leader", "selector", json!({"app": "s"}));
            l.world.delete_pod("a");
        },
        &["patch slice s-leader, patch service s-leader", "patch service s-leader"]);
    check_rounds("labels that a user removed are put back (§1)", lab(&[]), |l| l.world.edit_service("s-leader", |s| s["metadata"]["labels"] = json!({})),
        &["patch service s-leader"]);
    check_rounds("a leader Service that a user deleted is made again, its slice finds it (§1)", lab(&[]), |l| l.world.delete(Kind::Service, "s-leader"),
        &["create service s-leader", "patch slice s-leader", "patch service s-leader"]);
    check_rounds("a failover while the new name cannot be had moves the old one (§2 Leaving)", lab(&[]), |l| {
            l.world.annotate("s", LEADER_SERVICE_NAME, Some("main"));
            l.world.delete_pod("a");
        },
        &["create service main, patch slice s-leader", "create slice main", "patch service main, delete slice s-leader", "delete service s-leader"]);
}

#[test]
fn a_rename_never_has_an_empty_moment() {
    let mut lab = lab(&[]);
    lab.world.annotate("s", LEADER_SERVICE_NAME, Some("main"));
    loop {
        let writes = lab.look();
        if writes.is_empty() {
            break;
        }
        for write in &writes {
            lab.world.apply(write).expect("it is admissible");
            let served = |name: &str| lab.endpoints(name).into_values().flatten().next().is_some();
            assert!(served("main") || served("s-leader"), "after {write:?}");
        }
    }
    assert_eq!(lab.objects(), "main: a");
    assert_eq!(lab.summary(), "Serving a | main: a", "and is no failover");
}

#[test]
fn a_leader_service_that_was_deleted_gets_its_addresses_back_and_a_renamed_one_others() {
    let address = |lab: &Lab, name: &str| lab.world.services[name]["spec"]["clusterIPs"].clone();
    let mut lab = lab(&[]);
    let before = address(&lab, "s-leader");
    lab.world.delete(Kind::Service, "s-leader");
    lab.settle();
    assert_eq!(address(&lab, "s-leader"), before);
    lab.world.annotate("s", LEADER_SERVICE_NAME, Some("main"));
    lab.settle();
    assert_ne!(address(&lab, "main"), before);
    assert_eq!(lab.refusals, [], "an address in use is not asked for");
}

#[test]
fn a_rebuild_asks_for_the_same_addresses_even_after_a_restart() {
    let mut lab = lab(&[]);
    let before = lab.world.services["s-leader"]["spec"]["clusterIPs"].clone();
    native(&mut lab.world);
    lab.crash();
    // One round withdraws the slice, one the Service; then the native slices are collected.
    lab.round();
    lab.round();
    assert!(!lab.world.services.contains_key("s-leader"));
    lab.world.collect_garbage();
    lab.settle();
    assert_eq!(lab.world.services["s-leader"]["spec"]["clusterIPs"], before);
    assert_eq!(lab.objects(), "s-leader: a");
}

#[test]
fn the_trigger_time_is_there_only_when_a_pod_event_is_answered_at_once() {
    let trigger = |lab: &Lab| {
        let annotations = &lab.world.slices["s-leader"]["metadata"]["annotations"];
        annotations[TRIGGER_TIME].as_str().map(str::to_owned)
    };
    let mut lab = lab(&[]);
    lab.world.advance(Duration::from_micros(1_500_250));
    let now = lab.world.now().wall.to_string();
    lab.world.delete_pod("a");
    lab.settle();
    assert_eq!(trigger(&lab), Some(now), "with a failover");
    // Nothing but the annotation is no reason to write, an edit of the slice is.
    spec(
        &mut lab.world,
        "s",
        "ports",
        json!([{"name": "h", "port": 80, "targetPort": "web"}]),
    );
    lab.settle();
    assert_eq!(trigger(&lab), None, "every other write removes it");
    for name in ["b", "c"] {
        lab.world.edit_pod(name, |pod| pod.ready = false);
    }
    lab.settle();
    assert!(
        trigger(&lab).is_some(),
        "traffic is withdrawn at once as well"
    );
}

#[test]
fn a_switch_on_top_of_an_unpublished_one_is_told_as_one() {
    let mut lab = lab(&[]);
    lab.world.delete_pod("a");
    let lost = lab.look();
    assert_eq!(lost.len(), 1);
    lab.world.advance(Duration::from_millis(5));
    lab.world.edit_pod("b", |pod| pod.ready = false);
    lab.settle();
    assert_eq!(
        lab.summary(),
        "Serving c | s-leader: c | LeaderChanged (deleted)"
    );
    assert_eq!(
        lab.notes[0].message,
        "Leader changed from a to c (deleted, 5.0 ms). Routing available at s-leader"
    );
}

#[test]
fn a_switch_that_is_taken_back_before_it_is_published_is_not_told() {
    let mut lab = lab(&[(STICKY, "false")]);
    lab.world.edit_pod("a", |pod| pod.ready = false);
    assert_eq!(lab.look().len(), 1);
    lab.world.edit_pod("a", |pod| pod.ready = true);
    lab.settle();
    assert_eq!(lab.summary(), "Serving a | s-leader: a");
}

#[test]
fn a_switch_that_comes_to_nothing_before_it_is_published_moves_nothing() {
    type Ends = fn(&mut Lab);
    let ends: [(&str, Ends); 5] = [
        ("it terminates", |l| {
            l.world.edit_pod("c", |pod| pod.terminating = true);
        }),
        ("it is gone", |l| l.world.delete_pod("c")),
        ("it turns NotReady, for a delay", |l| ready(l, "c", false)),
        ("it is about to be evicted", |l| {
            l.world.edit_pod("c", |pod| pod.disrupted = true);
        }),
        ("it loses its label", |l| {
            l.world.edit_pod("c", |pod| pod.labels.clear());
        }),
    ];
    for (how, end) in ends {
        let mut lab = lab(&[(FAILOVER_MIN_DELAY, "30s")]);
        ready(&mut lab, "a", false);
        wait(&mut lab, 30);
        ready(&mut lab, "a", true);
        lab.settle();
        assert_eq!(
            lab.objects(),
            "s-leader: b",
            "neither the first choice nor the one asked for"
        );
        lab.world.annotate("s", PREFERRED_LEADER, Some("c"));
        assert_eq!(lab.look().len(), 1, "a switchover");
        lab.forget();
        lab.world.advance(Duration::from_secs(2));
        end(&mut lab);
        assert!(!lab.round(), "{how}: {:?}", lab.writes);
        assert_eq!(lab.summary(), "Serving b | s-leader: b", "{how}");
    }
}

#[test]
fn an_abandoned_switch_goes_to_another_pod_if_the_leader_cannot_stay() {
    let mut lab = lab(&[]);
    lab.world.edit_pod("a", |pod| pod.terminating = true);
    assert_eq!(lab.look().len(), 1, "to b");
    lab.world.edit_pod("b", |pod| pod.ready = false);
    lab.settle();
    assert_eq!(
        lab.summary(),
        "Serving c | s-leader: c | LeaderChanged (terminating)"
    );
}

#[test]
fn a_failure_that_ends_well_before_it_is_published_says_why_the_old_one_was_left() {
    let mut lab = lab(&[]);
    for name in ["a", "b", "c"] {
        lab.world.edit_pod(name, |pod| pod.ready = false);
    }
    assert_eq!(lab.look().len(), 1, "an empty slice");
    lab.world.edit_pod("b", |pod| pod.ready = true);
    lab.settle();
    assert_eq!(
        lab.summary(),
        "Serving b | s-leader: b | LeaderChanged (notReady)"
    );
}

#[test]
fn without_a_leader_the_identity_goes_and_the_memory_stays() {
    let annotation = |lab: &Lab, key: &str| {
        lab.world.services["s-leader"]["metadata"]["annotations"][key].clone()
    };
    let mut lab = lab(&[]);
    let (uid, at) = (
        annotation(&lab, LEADER_POD_UID),
        annotation(&lab, LAST_SWITCH_TIME),
    );
    assert!(uid.is_string() && at == "2026-01-01T00:16:40Z", "{at}");
    lab.world.advance(Duration::from_mins(1));
    for name in ["a", "b", "c"] {
        lab.world.delete_pod(name);
    }
    lab.settle();
    assert_eq!(annotation(&lab, LEADER_POD_UID), Value::Null);
    assert_eq!(annotation(&lab, LAST_LEADER_POD_UID), uid);
    assert_eq!(annotation(&lab, LAST_SWITCH_TIME), at);
    lab.world.annotate("s-leader", LAST_SWITCH_TIME, None);
    lab.settle();
    assert_eq!(annotation(&lab, LAST_SWITCH_TIME), at, "and is put back");
}

#[test]
fn a_restart_between_slice_and_identity_finishes_the_job() {
    let mut lab = lab(&[]);
    lab.world.delete_pod("a");
    assert!(lab.round(), "the slice");
    lab.crash().forget();
    lab.settle();
    let verbs: Vec<_> = lab.writes.iter().map(|write| write.target.kind).collect();
    assert_eq!(verbs, [Kind::Service], "the identity alone");
    assert_eq!(lab.objects(), "s-leader: b");
}

#[test]
fn a_move_of_traffic_stands_in_a_lane_of_its_own() {
    let mut lab = lab(&[]);
    lab.world.delete_pod("a");
    lab.settle();
    let lanes: Vec<_> = lab.writes.iter().map(|write| write.lane).collect();
    assert_eq!(lanes, [Lane::Failover, Lane::Trailing]);
    let guarded = lab
        .writes
        .iter()
        .all(|write| matches!(&write.action, Action::Patch { .. }));
    assert!(guarded);
}

/// §1: a leader Service that we took down ourselves has its address again, if its source asks for it
/// within ten minutes: replaced, opted out and in, without its selector, or served under another name
/// for a moment.
#[test]
fn a_source_that_comes_back_has_its_address_again() {
    type Edit = fn(&mut Lab);
    let cases: [(&str, Edit, Edit); 4] = [
        (
            "opted out and in",
            |lab| lab.world.annotate("s", "zen-lead.io/enabled", None),
            |lab| lab.world.annotate("s", "zen-lead.io/enabled", Some("true")),
        ),
        (
            "replaced",
            |lab| lab.world.delete(Kind::Service, "s"),
            |lab| lab.world.create_service(source("s")).expect("it is free"),
        ),
        (
            "without its selector",
            |lab| {
                lab.world
                    .edit_service("s", |object| object["spec"]["selector"] = json!({}));
            },
            |lab| {
                lab.world.edit_service("s", |object| {
                    object["spec"]["selector"] = json!({"app": "s"});
                });
            },
        ),
        (
            "under another name",
            |lab| {
                lab.world
                    .annotate("s", "zen-lead.io/leader-service-name", Some("main"));
            },
            |lab| {
                lab.world
                    .annotate("s", "zen-lead.io/leader-service-name", None);
            },
        ),
    ];
    for (what, away, back) in cases {
        for (minutes, is_kept) in [(9, true), (10, false)] {
            let mut lab = Lab::new(source("s"), [pod("a")]);
            lab.settle();
            let address = |lab: &Lab| lab.world.services["s-leader"]["spec"]["clusterIP"].clone();
            let before = address(&lab);
            away(&mut lab);
            lab.settle();
            assert!(!lab.world.services.contains_key("s-leader"), "{what}");
            lab.world.advance(Duration::from_mins(minutes));
            back(&mut lab);
            lab.settle();
            assert_eq!(address(&lab) == before, is_kept, "{what}, {minutes} min");
        }
    }
}
