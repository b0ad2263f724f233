//! Stories about the followers Service (contract §1 `followers-service-name`, §2 Followers Service).

use serde_json::{Value, json};

use super::matrix::{dual_stack, finalize, native_of, spec, stranger};
use super::story::{check, lab, ready};
use crate::logic::plan::{Kind, Lane, Write};
use crate::logic::testkit::{Lab, pod, set_key};
use crate::logic::well_known::{
    ENABLED, FOLLOWERS_SERVICE_NAME, LEADER_POD_UID, LEADER_SERVICE_ANNOTATIONS,
    LEADER_SERVICE_LABELS, LEADER_SERVICE_NAME, LEADER_SERVICE_TYPE, MIN_READY_DURATION, MIRRORED,
    PAUSED, PREFERRED_LEADER, ROLE, TRIGGER_TIME,
};

const RO: (&str, &str) = (FOLLOWERS_SERVICE_NAME, "ro");

fn ask(lab: &mut Lab, key: &str, value: &str) {
    lab.world.annotate("s", key, Some(value));
}

fn unask(lab: &mut Lab, key: &str) {
    lab.world.annotate("s", key, None);
}

/// The objects that a round of writes is about, as `patch ro`.
fn written(writes: &[Write]) -> Vec<String> {
    let line =
        |write: &Write| format!("{} {}", write.action.verb().as_str(), write.target.key.name);
    writes.iter().map(line).collect()
}

/// Works round by round: what was written to slices in each.
fn rounds(lab: &mut Lab) -> Vec<Vec<String>> {
    let mut rounds = Vec::new();
    loop {
        lab.writes.clear();
        if !lab.round() {
            return rounds;
        }
        let of_slices: Vec<_> = lab.writes.clone();
        let of_slices: Vec<_> = of_slices
            .into_iter()
            .filter(|write| write.target.kind == Kind::Slice)
            .collect();
        rounds.push(written(&of_slices));
    }
}

#[test]
#[rustfmt::skip]
fn followers_come_and_go() {
    check("every eligible pod but the leader, by name (§2)", &[RO], &[
        (|_| {}, "Serving a | ro: b+c, s-leader: a"),
        (|l| ready(l, "b", false), "Serving a | ro: c, s-leader: a"),
        (|l| ready(l, "b", true), "Serving a | ro: b+c, s-leader: a"),
        (|l| l.world.put_pod(pod("aa")), "Serving a | ro: aa+b+c, s-leader: a"),
        (|l| l.world.edit_pod("c", |pod| pod.terminating = true), "Serving a | ro: aa+b, s-leader: a"),
        (|l| l.world.edit_pod("b", |pod| pod.of_job = true), "Serving a | ro: aa, s-leader: a"),
        (|l| l.world.edit_pod("aa", |pod| pod.labels.clear()), "Serving a | ro: -, s-leader: a"),
    ]);
    check("the promoted pod leaves, the old leader joins once it is eligible (§2)", &[RO], &[
        (|l| ready(l, "a", false), "Serving b | ro: c, s-leader: b | LeaderChanged (notReady)"),
        (|l| ready(l, "a", true), "Serving b | ro: a+c, s-leader: b"),
        (|l| ask(l, PREFERRED_LEADER, "c"), "Serving c | ro: a+b, s-leader: c | LeaderChanged (switchover)"),
    ]);
    check("nor is there a follower where there is no pod but the leader (§2)", &[RO], &[
        (|l| ["b", "c"].iter().for_each(|p| l.world.delete_pod(p)), "Serving a | ro: -, s-leader: a"),
        (|l| ready(l, "a", false), "Electing | ro: -, s-leader: - | NoReadyPods (noneReady)"),
        (|l| ready(l, "a", true), "Serving a | ro: -, s-leader: a | LeaderRoutingAvailable"),
    ]);
    check("min-ready-duration is for a pod that is to lead (§3)", &[RO, (MIN_READY_DURATION, "10s")], &[
        (|l| { ready(l, "b", false); l.settle(); ready(l, "b", true); }, "Serving a | ro: b+c, s-leader: a"),
    ]);
    check("a pause holds the leader, and followers go on (§1 paused)", &[RO, (PAUSED, "true")], &[
        (|_| {}, "Electing | ro: a+b+c, s-leader: -"),
        (|l| unask(l, PAUSED), "Serving a | ro: b+c, s-leader: a | LeaderRoutingAvailable"),
        (|l| { ask(l, PAUSED, "true"); ready(l, "a", false); ready(l, "c", false); }, "Serving a, paused | ro: b, s-leader: a"),
    ]);
    check("a last resort is no follower (§3)", &[RO], &[
        (|l| { for p in ["b", "c"] { ready(l, p, false); } l.world.edit_pod("a", |p| p.terminating = true); },
            "Serving a, leaving | ro: -, s-leader: a (terminating)"),
    ]);
}

#[test]
#[rustfmt::skip]
fn names_follow_the_leader_services_rules() {
    check("it comes and goes with its annotation (§1)", &[], &[
        (|l| ask(l, FOLLOWERS_SERVICE_NAME, "ro"), "Serving a | ro: b+c, s-leader: a"),
        (|l| unask(l, FOLLOWERS_SERVICE_NAME), "Serving a | s-leader: a"),
    ]);
    check("a new name takes the place of the old one (§1)", &[RO], &[
        (|l| ask(l, FOLLOWERS_SERVICE_NAME, "rw"), "Serving a | rw: b+c, s-leader: a"),
    ]);
    check("an invalid name leaves what is served (§1)", &[RO], &[
        (|l| ask(l, FOLLOWERS_SERVICE_NAME, "No"), "Serving a | ro: b+c, s-leader: a | InvalidLeaderServiceName"),
        (|l| l.world.delete(Kind::Service, "ro"), "Serving a | ro: b+c, s-leader: a"),
        (|l| { l.crash(); }, "Serving a | ro: b+c, s-leader: a | InvalidLeaderServiceName"),
        (|l| ask(l, FOLLOWERS_SERVICE_NAME, "s"), "Serving a | ro: b+c, s-leader: a | InvalidLeaderServiceName"),
        (|l| ask(l, FOLLOWERS_SERVICE_NAME, "ro"), "Serving a | ro: b+c, s-leader: a"),
    ]);
    check("an invalid name at first stops no leader (§1)", &[], &[
        (|l| ask(l, FOLLOWERS_SERVICE_NAME, "No"), "Serving a | s-leader: a | InvalidLeaderServiceName"),
    ]);
    check("a name that exists and is not ours, and the leader is served regardless (§1)", &[], &[
        (|l| { stranger(&mut l.world, "ro"); ask(l, FOLLOWERS_SERVICE_NAME, "ro"); }, "Serving a | ro (foreign): -, s-leader: a | LeaderServiceConflict"),
        (|l| ready(l, "a", false), "Serving b | ro (foreign): -, s-leader: b | LeaderChanged (notReady)"),
        (|l| l.world.delete(Kind::Service, "ro"), "Serving b | ro: c, s-leader: b"),
    ]);
    check("a new name that is taken leaves what is served (§1)", &[RO], &[
        (|l| { stranger(&mut l.world, "rw"); ask(l, FOLLOWERS_SERVICE_NAME, "rw"); }, "Serving a | ro: b+c, rw (foreign): -, s-leader: a | LeaderServiceConflict"),
        (|l| l.world.delete(Kind::Service, "rw"), "Serving a | rw: b+c, s-leader: a"),
    ]);
    check("equal names leave the old ones (§2)", &[RO], &[
        (|l| ask(l, LEADER_SERVICE_NAME, "ro"), "Serving a | ro: b+c, s-leader: a | InvalidLeaderServiceName"),
        (|l| l.world.delete(Kind::Service, "ro"), "Serving a | ro: b+c, s-leader: a"),
        (|l| unask(l, LEADER_SERVICE_NAME), "Serving a | ro: b+c, s-leader: a"),
        (|l| ask(l, FOLLOWERS_SERVICE_NAME, "s-leader"), "Serving a | ro: b+c, s-leader: a | InvalidLeaderServiceName"),
        (|l| { l.crash(); }, "Serving a | ro: b+c, s-leader: a | InvalidLeaderServiceName"),
    ]);
    check("of equal names at first the leader gets it (§2)", &[], &[
        (|l| ask(l, FOLLOWERS_SERVICE_NAME, "s-leader"), "Serving a | s-leader: a | InvalidLeaderServiceName"),
    ]);
    check("swapped names leave the old ones (§2)", &[RO], &[
        (|l| { ask(l, LEADER_SERVICE_NAME, "ro"); ask(l, FOLLOWERS_SERVICE_NAME, "s-leader"); },
            "Serving a | ro: b+c, s-leader: a | InvalidLeaderServiceName, InvalidLeaderServiceName"),
        (|l| { l.crash(); }, "Serving a | ro: b+c, s-leader: a | InvalidLeaderServiceName, InvalidLeaderServiceName"),
        (|l| ready(l, "a", false), "Serving b | ro: c, s-leader: b | LeaderChanged (notReady)"),
    ]);
    check("the name that one gives up is the other's, one after the other", &[RO], &[
        (|l| { ask(l, LEADER_SERVICE_NAME, "main"); ask(l, FOLLOWERS_SERVICE_NAME, "s-leader"); },
            "Serving a | main: a, s-leader: b+c | InvalidLeaderServiceName"),
    ]);
}

#[test]
#[rustfmt::skip]
fn what_happens_to_the_leader_service_happens_to_it() {
    check("opting out removes everything (§2 Leaving)", &[RO], &[
        (|l| unask(l, ENABLED), "Unmanaged"),
        (|l| ask(l, ENABLED, "true"), "Serving a | ro: b+c, s-leader: a | LeaderRoutingAvailable"),
        (|l| l.world.delete(Kind::Service, "s"), "Unmanaged"),
    ]);
    check("a deleted Service is made again (§1)", &[RO], &[
        (|l| l.world.delete(Kind::Service, "ro"), "Serving a | ro: b+c, s-leader: a"),
        (|l| l.world.delete(Kind::Slice, "ro"), "Serving a | ro: b+c, s-leader: a"),
    ]);
    check("a selector is taken off, and its slices go with the Service (§1)", &[RO], &[
        (|l| spec(&mut l.world, "ro", "selector", json!({"app": "s"})), "Serving a | ro: b+c, s-leader: a"),
        (|l| { native_of(&mut l.world, "ro"); l.settle(); l.world.collect_garbage(); }, "Serving a | ro: b+c, s-leader: a | LeaderServiceConflict"),
    ]);
    check("Headless on and off (§2)", &[RO], &[
        (|l| ask(l, LEADER_SERVICE_TYPE, "Headless"), "Serving a | ro: b+c, s-leader: a | LeaderRoutingAvailable"),
        (|l| { assert_eq!(l.world.services["ro"]["spec"]["clusterIPs"], json!(["None"])); unask(l, LEADER_SERVICE_TYPE); }, "Serving a | ro: b+c, s-leader: a | LeaderRoutingAvailable"),
        (|l| assert_ne!(l.world.services["ro"]["spec"]["clusterIPs"], json!(["None"])), "Serving a | ro: b+c, s-leader: a"),
    ]);
    check("a Service that cannot go blocks its name, and users are told (§1)", &[RO], &[
        (|l| { finalize(&mut l.world, "ro", "example.com/hold"); l.world.delete(Kind::Service, "ro"); },
            "Serving a | ro (going): b+c, s-leader: a | LeaderServiceConflict"),
        (|l| ready(l, "a", false), "Serving b | ro (going): c, s-leader: b | LeaderChanged (notReady)"),
    ]);
    check("labels that a user takes away come back, and decide nothing (§1)", &[RO], &[
        (|l| l.world.edit_service("ro", |o| o["metadata"]["labels"] = json!({})), "Serving a | ro: b+c, s-leader: a"),
        (|l| l.world.edit_service("s-leader", |o| o["metadata"]["labels"][ROLE] = "followers".into()), "Serving a | ro: b+c, s-leader: a"),
        (|l| l.world.edit_slice("s-leader", |o| o["metadata"]["labels"][ROLE] = "followers".into()), "Serving a | ro: b+c, s-leader: a"),
        (|l| l.world.edit_slice("ro", |o| set_key(&mut o["metadata"], "labels", ROLE, None)), "Serving a | ro: b+c, s-leader: a"),
        (|l| { for (object, role) in [(&l.world.services["ro"], json!("followers")), (&l.world.slices["ro"], json!("followers")),
                 (&l.world.services["s-leader"], Value::Null), (&l.world.slices["s-leader"], Value::Null)] {
                 assert_eq!(object["metadata"]["labels"][ROLE], role); } }, "Serving a | ro: b+c, s-leader: a"),
        (|l| l.world.edit_service("ro", |o| set_key(&mut o["metadata"], "annotations", MIRRORED, None)), "Serving a | ro: b+c, s-leader: a"),
    ]);
    check("a copy of it is deleted and told (§1 Ours)", &[RO], &[
        (|l| { let mut copy = l.world.services["ro"].clone(); copy["metadata"]["name"] = "mine".into();
               copy["spec"] = json!({"ports": copy["spec"]["ports"]}); l.world.create_service(copy).expect("free"); },
            "Serving a | ro: b+c, s-leader: a | LeaderServiceConflict"),
    ]);
}

#[test]
fn the_leaders_slice_is_written_first() {
    let mut lab = lab(&[RO]);
    ready(&mut lab, "a", false);
    assert_eq!(
        rounds(&mut lab),
        [vec!["patch s-leader"], vec!["patch ro"]],
        "b is promoted, and then no follower"
    );
    ready(&mut lab, "a", true);
    lab.settle();
    ask(&mut lab, PREFERRED_LEADER, "c");
    lab.round();
    assert_eq!(lab.objects(), "ro: a+c, s-leader: c", "make before break");
    lab.settle();
    assert_eq!(lab.objects(), "ro: a+b, s-leader: c");
}

#[test]
fn a_change_among_followers_waits_for_no_leader_and_takes_no_place_of_one() {
    let mut lab = lab(&[RO]);
    ready(&mut lab, "a", false);
    ready(&mut lab, "c", false);
    // The leader's write is refused for as long as it may be.
    let writes = lab.look();
    assert_eq!(written(&writes), ["patch s-leader", "patch ro"]);
    assert_eq!(
        writes.iter().map(|write| write.lane).collect::<Vec<_>>(),
        [Lane::Failover, Lane::Ordinary]
    );
    lab.world.apply(&writes[1]).expect("it is admissible");
    assert_eq!(lab.objects(), "ro: b, s-leader: a", "b is not promoted yet");
    let made = {
        let mut lab = Lab::new(super::story::asking(&[RO]), [pod("a"), pod("b")]);
        lab.settle();
        lab.writes
    };
    let of_followers = |write: &&Write| write.target.key.name.starts_with("ro");
    assert!(made.iter().filter(of_followers).count() > 1);
    let mut lanes = made.iter().filter(of_followers);
    assert!(lanes.all(|write| write.lane != Lane::Failover));
}

#[test]
fn a_first_leader_was_no_follower_before() {
    let mut lab = Lab::new(super::story::asking(&[RO]), [pod("a").created(1), pod("b")]);
    while lab.round() {
        let followers = lab.endpoints("ro");
        assert!(
            !followers.values().flatten().any(|name| name == "a"),
            "{followers:?}"
        );
    }
    assert_eq!(lab.objects(), "ro: b, s-leader: a");
}

#[test]
fn a_restart_at_any_moment_writes_nothing_else() {
    let mut straight = Lab::new(super::story::asking(&[RO]), [pod("a"), pod("b"), pod("c")]);
    straight.settle();
    let mut lab = Lab::new(super::story::asking(&[RO]), [pod("a"), pod("b"), pod("c")]);
    while lab.round() {
        lab.crash();
    }
    assert_eq!(lab.objects(), straight.objects());
    lab.forget().crash().settle();
    assert_eq!(lab.writes, []);
    // Nor does one in the midst of a hand-over, a rename or a withdrawal leave anything behind.
    ready(&mut lab, "a", false);
    while lab.round() {
        lab.crash();
    }
    assert_eq!(lab.objects(), "ro: c, s-leader: b");
    ask(&mut lab, FOLLOWERS_SERVICE_NAME, "rw");
    while lab.round() {
        lab.crash();
    }
    assert_eq!(lab.objects(), "rw: c, s-leader: b");
    unask(&mut lab, ENABLED);
    while lab.round() {
        lab.crash();
    }
    assert_eq!(lab.objects(), "");
}

#[test]
fn its_objects_are_built_by_the_rules_of_the_leaders() {
    let mut lab = lab(&[
        RO,
        (LEADER_SERVICE_TYPE, "NodePort"),
        (LEADER_SERVICE_ANNOTATIONS, r#"{"example.com/dns":"x"}"#),
        (LEADER_SERVICE_LABELS, r#"{"pool":"p"}"#),
    ]);
    lab.world.edit_service("s", |source| {
        source["metadata"]["labels"]["team"] = "blue".into();
        source["metadata"]["annotations"]["note"] = "x".into();
    });
    ready(&mut lab, "a", false);
    lab.settle();
    let service = &lab.world.services["ro"];
    let source = &lab.world.services["s"];
    let meta = &service["metadata"];
    assert_eq!(
        meta["labels"],
        json!({
            "team": "blue", "app.kubernetes.io/managed-by": "zen-lead",
            "zen-lead.io/source-service": "s", "zen-lead.io/role": "followers",
        })
    );
    let annotations = meta["annotations"].as_object().expect("annotations");
    let keys: Vec<&String> = annotations.keys().collect();
    assert_eq!(keys, ["note", MIRRORED], "no identity, nothing asked for");
    assert_eq!(meta["ownerReferences"][0]["uid"], source["metadata"]["uid"]);
    assert_eq!(meta["ownerReferences"][0]["controller"], true);
    assert_eq!(service["spec"]["type"], "ClusterIP");
    assert_eq!(service["spec"]["ports"], source["spec"]["ports"]);
    assert_eq!(service["spec"]["publishNotReadyAddresses"], Value::Null);
    let slice = &lab.world.slices["ro"];
    assert_eq!(slice["metadata"]["labels"][ROLE], "followers");
    assert_eq!(slice["metadata"]["ownerReferences"][0]["uid"], meta["uid"]);
    let annotations = &slice["metadata"]["annotations"];
    for key in [TRIGGER_TIME, LEADER_POD_UID] {
        assert_eq!(annotations[key], Value::Null);
    }
    let endpoint = |slice: &Value| {
        let mut endpoint = slice["endpoints"][0].clone();
        endpoint["addresses"].take();
        endpoint["nodeName"].take();
        endpoint["targetRef"]["uid"].take();
        endpoint["targetRef"]["name"].take();
        endpoint
    };
    let leader = &lab.world.slices["s-leader"];
    assert_eq!(endpoint(slice), endpoint(leader), "the same form");
    assert_eq!(slice["endpoints"][0]["nodeName"], "node-c");
    assert_eq!(slice["ports"], leader["ports"]);
    // What a user adds by hand goes as well.
    lab.world.edit_service("ro", |service| {
        service["metadata"]["annotations"][LEADER_POD_UID] = "u".into();
        service["spec"]["type"] = "NodePort".into();
    });
    lab.world.edit_slice("ro", |slice| {
        slice["metadata"]["annotations"][LEADER_POD_UID] = "u".into();
        slice["endpoints"] = json!([]);
    });
    lab.settle();
    let meta = &lab.world.services["ro"];
    assert_eq!(meta["metadata"]["annotations"][LEADER_POD_UID], Value::Null);
    assert_eq!(meta["spec"]["type"], "ClusterIP");
    let slice = &lab.world.slices["ro"]["metadata"]["annotations"];
    assert_eq!(slice[LEADER_POD_UID], Value::Null);
    assert_eq!(lab.objects(), "ro: c, s-leader: b");
}

#[test]
fn one_slice_for_each_family() {
    let mut lab = lab(&[RO]);
    lab.world.edit_pod("c", |pod| pod.ips.truncate(1));
    dual_stack(&mut lab.world);
    lab.settle();
    let shown = lab.endpoints("ro");
    assert_eq!(shown["ro"], ["b", "c"]);
    assert_eq!(shown["ro-ipv6"], ["b"], "c has no address of that family");
    ready(&mut lab, "a", false);
    lab.settle();
    let shown = lab.endpoints("ro");
    assert_eq!(
        (&*shown["ro"], shown["ro-ipv6"].len()),
        (&["c".to_owned()][..], 0)
    );
}

#[test]
fn a_slice_name_that_both_could_have_is_the_leaders() {
    let source = super::story::asking(&[(FOLLOWERS_SERVICE_NAME, "s-leader-ipv6")]);
    let mut lab = Lab::new(source, [pod("a").created(1), pod("b")]);
    dual_stack(&mut lab.world);
    lab.settle();
    assert_eq!(lab.refusals, []);
    assert_eq!(lab.endpoints("s-leader")["s-leader-ipv6"], ["a"]);
    let shown = lab.endpoints("s-leader-ipv6");
    assert_eq!(shown.len(), 2, "one of them under another name: {shown:?}");
    assert!(shown.values().all(|pods| *pods == ["b"]), "{shown:?}");
}

#[test]
fn ports_that_differ_are_told() {
    let mut lab = lab(&[RO]);
    lab.world.put_pod(pod("d").ports(&[("web", 9090)]));
    lab.settle();
    assert_eq!(lab.objects(), "ro: b+c, s-leader: a");
    let note = lab.notes.last().expect("told");
    assert_eq!(note.reason, "PortResolutionFailed");
    for word in ["Pod d", "Service ro", "9090", "port http", "8080"] {
        assert!(note.message.contains(word), "{word}: {}", note.message);
    }
    assert_eq!(
        &*lab.peek().report.follower_ports,
        [] as [std::sync::Arc<str>; 0]
    );
    let more = json!([
        {"name": "http", "port": 80, "targetPort": "web"},
        {"name": "fixed", "port": 81, "targetPort": 81},
        {"name": "grpc", "port": 82, "targetPort": "grpc"},
    ]);
    lab.forget();
    lab.world
        .edit_pod("c", |pod| pod.ports.push(("grpc".into(), 5)));
    spec(&mut lab.world, "s", "ports", more);
    lab.settle();
    let names = |slice: &Value| -> Vec<String> {
        let ports = slice["ports"].as_array().cloned().unwrap_or_default();
        ports
            .iter()
            .map(|port| port["name"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(names(&lab.world.slices["ro"]), ["http", "fixed"]);
    let told = lab
        .notes
        .iter()
        .find(|note| note.message.contains("Service ro"));
    let told = &told.expect("told").message;
    assert!(
        told.contains("Port grpc") && told.contains("pod b"),
        "{told}"
    );
}

#[test]
fn more_followers_than_a_slice_holds_are_told() {
    let mut lab = lab(&[RO]);
    for number in 0..1_000 {
        lab.world.put_pod(pod(&format!("p-{number:04}")));
    }
    lab.settle();
    assert_eq!(lab.endpoints("ro")["ro"].len(), 1_000);
    let note = lab.notes.last().expect("told");
    assert_eq!(note.reason, "InvalidService");
    assert!(note.message.contains("1002 followers"), "{}", note.message);
}

#[test]
fn its_address_is_asked_for_again() {
    let mut lab = lab(&[RO]);
    let address = |lab: &Lab| lab.world.services["ro"]["spec"]["clusterIPs"].clone();
    let before = address(&lab);
    lab.world.delete(Kind::Service, "ro");
    lab.settle();
    assert_eq!(address(&lab), before, "a user deleted it");
    unask(&mut lab, FOLLOWERS_SERVICE_NAME);
    lab.settle();
    ask(&mut lab, FOLLOWERS_SERVICE_NAME, "ro");
    lab.settle();
    assert_eq!(address(&lab), before, "asked for again");
    unask(&mut lab, ENABLED);
    lab.settle();
    ask(&mut lab, ENABLED, "true");
    lab.settle();
    assert_eq!(address(&lab), before, "opted out and in");
}

#[test]
fn a_source_without_it_pays_nothing() {
    let lab = lab(&[]);
    let step = lab.peek();
    assert_eq!(step.followers, crate::logic::desired::Goal::Untouched);
    assert_eq!(step.report.followers, None);
    let writes = crate::logic::plan::plan(&step.goal, &step.followers, &lab.snapshot());
    assert_eq!(writes, []);
    let body = lab.world.services["s-leader"]["metadata"]["annotations"][MIRRORED].clone();
    assert!(!body.as_str().expect("text").contains("followers"));
}
