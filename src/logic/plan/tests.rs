//! What is written, field by field: given a source, and what other clients did to our objects.

use serde_json::{Value, json};

use super::{Action, Kind, Plan, PlanExclusions, Refusals, Target, WriteFailure, plan_beside};
use crate::logic::event::Severity;
use crate::logic::mirror::Mirror;
use crate::logic::testkit::{Lab, pod, set_key, source};

mod apart;
mod balancer;
mod tracked;

/// A lab at rest, for a source that was edited before it was opted in.
fn lab(edit: impl FnOnce(&mut Value)) -> Lab {
    let mut body = source("s");
    edit(&mut body);
    let mut lab = Lab::new(body, [pod("a").created(1), pod("b").created(2)]);
    lab.mirror = Mirror::new(["example.com"]);
    lab.settle().forget();
    lab
}

fn annotate(body: &mut Value, key: &str, value: &str) {
    body["metadata"]["annotations"][format!("zen-lead.io/{key}")] = value.into();
}

/// Compares the value at a JSON pointer of the leader Service, or of the slice `s-leader`.
fn check(sentence: &str, lab: &Lab, kind: Kind, pointer: &str, expected: &Value) {
    let objects = match kind {
        Kind::Service => &lab.world.services,
        Kind::Slice => &lab.world.slices,
    };
    let got = objects["s-leader"].pointer(pointer).unwrap_or(&Value::Null);
    assert_eq!(got, expected, "{sentence}: {pointer}");
    assert_eq!(lab.refusals, [], "{sentence}: nothing is refused");
}

/// Plans past what is refused.
fn plan_past(lab: &Lab, refusals: &Refusals) -> Plan {
    let aside = PlanExclusions {
        left: &[],
        refusals,
        now: lab.world.now().moment,
    };
    let step = lab.peek();
    plan_beside(&step.goal, &step.followers, &lab.snapshot(), aside)
}

/// Edits the source, settles, compares one field of the leader Service.
fn follows(
    sentence: &str,
    lab: &mut Lab,
    edit: impl FnOnce(&mut Value),
    pointer: &str,
    expected: &Value,
) {
    lab.world.edit_service("s", edit);
    lab.settle();
    check(sentence, lab, Kind::Service, pointer, expected);
}

#[test]
fn a_new_leader_service_is_made_as_the_contract_says() {
    let lab = lab(|body| {
        body["metadata"]["labels"] = json!({"app": "s", "tier": "db", "example.com/team": "x", "argocd.argoproj.io/instance": "i"});
        body["metadata"]["annotations"]["note"] = "n".into();
        body["spec"]["sessionAffinity"] = "ClientIP".into();
        body["spec"]["ports"] =
            json!([{"name": "http", "port": 80, "targetPort": "web", "appProtocol": "h2c"}]);
    });
    for (sentence, pointer, expected) in [
        ("no selector (§2)", "/spec/selector", Value::Null),
        (
            "ports mirrored (§2)",
            "/spec/ports",
            json!([{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "web", "appProtocol": "h2c"}]),
        ),
        (
            "a leader that is held is reached (§2)",
            "/spec/publishNotReadyAddresses",
            json!(true),
        ),
        (
            "no session affinity (§2)",
            "/spec/sessionAffinity",
            json!("None"),
        ),
        (
            "labels by allow-list, and ours (§2)",
            "/metadata/labels",
            json!({
            "tier": "db", "example.com/team": "x", "app.kubernetes.io/managed-by": "zen-lead", "zen-lead.io/source-service": "s"}),
        ),
        (
            "enabled is not copied (§2)",
            "/metadata/annotations/zen-lead.io~1enabled",
            Value::Null,
        ),
        (
            "the keys are remembered (§2)",
            "/metadata/annotations/zen-lead.io~1mirrored",
            json!(r#"{"labels":["example.com/team","tier"],"annotations":["note"]}"#),
        ),
        (
            "current-leader (§2)",
            "/metadata/annotations/zen-lead.io~1current-leader",
            json!("a"),
        ),
        (
            "leader-pod-name (§2)",
            "/metadata/annotations/zen-lead.io~1leader-pod-name",
            json!("a"),
        ),
        (
            "the owner is whole and never blocks (§1)",
            "/metadata/ownerReferences",
            json!([{
            "apiVersion": "v1", "kind": "Service", "name": "s", "uid": lab.world.services["s"]["metadata"]["uid"], "controller": true}]),
        ),
    ] {
        check(sentence, &lab, Kind::Service, pointer, &expected);
    }
    for (sentence, pointer, expected) in [
        (
            "labels of the slice (§2)",
            "/metadata/labels",
            json!({
            "tier": "db", "example.com/team": "x", "app.kubernetes.io/managed-by": "zen-lead", "zen-lead.io/source-service": "s",
            "kubernetes.io/service-name": "s-leader", "endpointslice.kubernetes.io/managed-by": "zen-lead"}),
        ),
        (
            "the pod's own port (§2)",
            "/ports",
            json!([{"name": "http", "port": 8080, "protocol": "TCP", "appProtocol": "h2c"}]),
        ),
        (
            "one endpoint (§2)",
            "/endpoints",
            json!([{
            "addresses": [lab.world.pods["a"].ips[0]],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": "node-a",
            "targetRef": {"kind": "Pod", "namespace": "n", "name": "a", "uid": lab.world.pods["a"].uid}}]),
        ),
        (
            "owned by the leader Service (§2)",
            "/metadata/ownerReferences/0/uid",
            lab.world.services["s-leader"]["metadata"]["uid"].clone(),
        ),
    ] {
        check(sentence, &lab, Kind::Slice, pointer, &expected);
    }
}

#[test]
fn what_is_mirrored_follows_the_source_and_what_users_set_stays() {
    let mut lab = lab(|body| body["metadata"]["annotations"]["note"] = "n".into());
    lab.world.annotate("s-leader", "mine", Some("1"));
    lab.world.edit_service("s-leader", |object| {
        set_key(&mut object["metadata"], "labels", "own", Some("2"));
        object["spec"]["sessionAffinity"] = "ClientIP".into();
        object["spec"]["externalTrafficPolicy"] = Value::Null;
    });
    let edit = |map: &'static str, key: &'static str, value: Option<&'static str>| {
        move |object: &mut Value| set_key(&mut object["metadata"], map, key, value)
    };
    follows(
        "an annotation that changes (§2)",
        &mut lab,
        edit("annotations", "note", Some("m")),
        "/metadata/annotations/note",
        &json!("m"),
    );
    follows(
        "an annotation that vanishes (§2)",
        &mut lab,
        edit("annotations", "note", None),
        "/metadata/annotations/note",
        &Value::Null,
    );
    follows(
        "a label that comes (§2)",
        &mut lab,
        edit("labels", "tier", Some("db")),
        "/metadata/labels/tier",
        &json!("db"),
    );
    check(
        "the slice has it too (§2)",
        &lab,
        Kind::Slice,
        "/metadata/labels/tier",
        &json!("db"),
    );
    follows(
        "a label that vanishes (§2)",
        &mut lab,
        edit("labels", "tier", None),
        "/metadata/labels/tier",
        &Value::Null,
    );
    check(
        "there too (§2)",
        &lab,
        Kind::Slice,
        "/metadata/labels/tier",
        &Value::Null,
    );
    check(
        "a user's annotation stays (§2)",
        &lab,
        Kind::Service,
        "/metadata/annotations/mine",
        &json!("1"),
    );
    check(
        "a user's label stays (§2)",
        &lab,
        Kind::Service,
        "/metadata/labels/own",
        &json!("2"),
    );
    check(
        "a user's field stays (§2)",
        &lab,
        Kind::Service,
        "/spec/sessionAffinity",
        &json!("ClientIP"),
    );
}

/// §2 "`publishNotReadyAddresses: true`", also on what an earlier version made.
#[test]
fn a_leader_service_that_hides_a_held_leader_is_mended_after_its_failover() {
    let mut lab = lab(|_| {});
    lab.world.edit_service("s-leader", |object| {
        object["spec"]["publishNotReadyAddresses"] = Value::Null;
    });
    lab.world.edit_pod("a", |pod| pod.ready = false);
    let first: Vec<_> = lab
        .look()
        .into_iter()
        .map(|write| write.target.kind)
        .collect();
    assert_eq!(first, [Kind::Slice], "traffic first");
    lab.settle();
    check(
        "it is put right",
        &lab,
        Kind::Service,
        "/spec/publishNotReadyAddresses",
        &json!(true),
    );
    assert!(!lab.round(), "once");
}

#[test]
fn the_inputs_of_a_source_never_stay_on_its_leader_service() {
    let mut lab = lab(|_| {});
    // The Go program copies what it reads, whatever we remember of having mirrored.
    for input in crate::logic::well_known::INPUTS {
        lab.world.annotate("s-leader", input, Some("true"));
    }
    lab.world
        .annotate("s-leader", "zen-lead.io/mine", Some("true"));
    lab.settle();
    let annotations = &lab.world.services["s-leader"]["metadata"]["annotations"];
    for input in crate::logic::well_known::INPUTS {
        assert_eq!(annotations[input], Value::Null, "{input} (§2 never)");
    }
    assert_eq!(annotations["zen-lead.io/mine"], "true", "no name of ours");
    assert_eq!(lab.writes.len(), 1, "one patch");
}

#[test]
fn annotations_that_are_asked_for_are_there_from_the_first_create_on() {
    let mut lab = lab(|body| {
        body["metadata"]["annotations"]["note"] = "lent".into();
        annotate(
            body,
            "leader-service-annotations",
            r#"{"example.org/lb":"internal","note":"asked"}"#,
        );
    });
    check(
        "what is asked for wins (§1)",
        &lab,
        Kind::Service,
        "/metadata/annotations/note",
        &json!("asked"),
    );
    let ask = |value: Option<&'static str>| {
        move |object: &mut Value| {
            set_key(
                &mut object["metadata"],
                "annotations",
                "zen-lead.io/leader-service-annotations",
                value,
            );
        }
    };
    let at = "/metadata/annotations/example.org~1lb";
    follows(
        "it follows edits (§1)",
        &mut lab,
        ask(Some(r#"{"example.org/lb":"external"}"#)),
        at,
        &json!("external"),
    );
    follows(
        "a typo keeps it (§1)",
        &mut lab,
        ask(Some("{")),
        at,
        &json!("external"),
    );
    lab.crash().settle();
    check(
        "even with a restart (§1)",
        &lab,
        Kind::Service,
        at,
        &json!("external"),
    );
    follows(
        "it vanishes with the annotation (§1)",
        &mut lab,
        ask(None),
        at,
        &Value::Null,
    );
}

#[test]
fn labels_that_are_asked_for_are_on_the_leader_service_alone() {
    let mut lab = lab(|body| {
        body["metadata"]["labels"]["tier"] = "lent".into();
        annotate(
            body,
            "leader-service-labels",
            r#"{"istio.io/use-waypoint":"w","tier":"asked","app":"s"}"#,
        );
    });
    let ask = |value: Option<&'static str>| {
        move |object: &mut Value| {
            set_key(
                &mut object["metadata"],
                "annotations",
                "zen-lead.io/leader-service-labels",
                value,
            );
        }
    };
    let at = "/metadata/labels/istio.io~1use-waypoint";
    for (sentence, pointer, expected) in [
        ("it is there (§1)", at, json!("w")),
        (
            "what is asked for wins (§1)",
            "/metadata/labels/tier",
            json!("asked"),
        ),
        (
            "also over what is not mirrored (§2)",
            "/metadata/labels/app",
            json!("s"),
        ),
    ] {
        check(sentence, &lab, Kind::Service, pointer, &expected);
    }
    check("not on the slice (§2)", &lab, Kind::Slice, at, &Value::Null);
    check(
        "which has the source's (§2)",
        &lab,
        Kind::Slice,
        "/metadata/labels/tier",
        &json!("lent"),
    );
    assert!(
        lab.writes.is_empty() && !lab.round(),
        "from the first create on"
    );
    follows(
        "it follows edits (§1)",
        &mut lab,
        ask(Some(r#"{"istio.io/use-waypoint":"v"}"#)),
        at,
        &json!("v"),
    );
    check(
        "what is no longer asked for is the source's again",
        &lab,
        Kind::Service,
        "/metadata/labels/tier",
        &json!("lent"),
    );
    follows(
        "a reserved key changes nothing (§1)",
        &mut lab,
        ask(Some(r#"{"kubernetes.io/x":"y"}"#)),
        at,
        &json!("v"),
    );
    lab.crash().settle();
    check(
        "even with a restart (§1)",
        &lab,
        Kind::Service,
        at,
        &json!("v"),
    );
    follows(
        "it vanishes with the annotation (§1)",
        &mut lab,
        ask(None),
        at,
        &Value::Null,
    );
}

/// §2 "Not the labels by which an application's own Service is selected": what an earlier version
/// mirrored goes from Service and slice, and nothing else.
#[test]
fn labels_that_an_earlier_version_mirrored_go() {
    let mut lab = lab(|body| body["metadata"]["labels"]["tier"] = "db".into());
    let memory = r#"{"labels":["app","app.kubernetes.io/name","tier"],"annotations":[]}"#;
    lab.world
        .annotate("s-leader", "zen-lead.io/mirrored", Some(memory));
    let mirrored = |object: &mut Value| {
        for key in ["app", "app.kubernetes.io/name", "release"] {
            set_key(&mut object["metadata"], "labels", key, Some("s"));
        }
    };
    lab.world.edit_service("s-leader", mirrored);
    lab.world.edit_slice("s-leader", mirrored);
    lab.settle();
    for kind in [Kind::Service, Kind::Slice] {
        for (key, expected) in [
            ("app", Value::Null),
            ("app.kubernetes.io~1name", Value::Null),
            ("tier", json!("db")),
            ("release", json!("s")),
        ] {
            let pointer = format!("/metadata/labels/{key}");
            check("mirrored or a user's", &lab, kind, &pointer, &expected);
        }
    }
}

/// With the question unreadable, the leader Service itself has to say which of its keys are asked for.
#[test]
fn what_is_asked_for_and_what_is_lent_stay_apart_across_a_restart() {
    let mut lab = lab(|body| {
        body["metadata"]["annotations"] = json!({
            "zen-lead.io/enabled": "true", "note": "lent", "team": "blue",
            "zen-lead.io/leader-service-annotations": r#"{"note":"asked"}"#,
        });
    });
    let annotation = |key: &'static str, value: Option<&'static str>| {
        move |object: &mut Value| set_key(&mut object["metadata"], "annotations", key, value)
    };
    let question = "zen-lead.io/leader-service-annotations";
    lab.world.edit_service("s", annotation(question, Some("{")));
    lab.settle().crash();
    follows(
        "a key that the source loses meanwhile goes (§2)",
        &mut lab,
        annotation("team", None),
        "/metadata/annotations/team",
        &Value::Null,
    );
    check(
        "one that is asked for stays, though the source has another value (§1)",
        &lab,
        Kind::Service,
        "/metadata/annotations/note",
        &json!("asked"),
    );
}

#[test]
fn annotations_stay_within_the_servers_limit() {
    let kib = |count: usize| "x".repeat(count * 1024);
    let mut lab = lab(|body| {
        body["metadata"]["annotations"]["small"] = "s".into();
        body["metadata"]["annotations"]["large"] = kib(140).into();
        let asked = json!({"asked": kib(100)}).to_string();
        annotate(body, "leader-service-annotations", &asked);
    });
    let at = "/metadata/annotations/large";
    check(
        "what fits is there (§2)",
        &lab,
        Kind::Service,
        at,
        &kib(140).into(),
    );
    lab.world.annotate("s-leader", "large", None);
    lab.world.annotate("s-leader", "mine", Some(&kib(50)));
    lab.settle();
    check(
        "the largest that is lent stays out (§2)",
        &lab,
        Kind::Service,
        at,
        &Value::Null,
    );
    check(
        "a smaller one stays",
        &lab,
        Kind::Service,
        "/metadata/annotations/small",
        &json!("s"),
    );
    check(
        "what is asked for stays",
        &lab,
        Kind::Service,
        "/metadata/annotations/asked",
        &kib(100).into(),
    );
    check(
        "what others set stays",
        &lab,
        Kind::Service,
        "/metadata/annotations/mine",
        &kib(50).into(),
    );
    let told = lab.notes.iter().any(|note| {
        note.severity == Severity::Warning && note.message.ends_with("left out: large")
    });
    assert!(told, "{:?}", lab.notes);
    lab.world.annotate("s-leader", "mine", None);
    lab.settle();
    check(
        "it comes back when there is room",
        &lab,
        Kind::Service,
        at,
        &kib(140).into(),
    );
}

#[test]
fn node_ports_are_never_copied_and_never_lost() {
    let mut lab = lab(|body| {
        body["spec"]["type"] = "NodePort".into();
        body["spec"]["ports"] = json!([{"name": "http", "port": 80, "targetPort": "web", "nodePort": 30_007}, {"name": "x", "port": 9, "targetPort": 9}]);
    });
    check(
        "a NodePort source has a ClusterIP leader Service (§1)",
        &lab,
        Kind::Service,
        "/spec/type",
        &json!("ClusterIP"),
    );
    check(
        "without node ports (§2)",
        &lab,
        Kind::Service,
        "/spec/ports/0/nodePort",
        &Value::Null,
    );
    follows(
        "NodePort is to be asked for (§1)",
        &mut lab,
        |object| annotate(object, "leader-service-type", "NodePort"),
        "/spec/type",
        &json!("NodePort"),
    );
    let node = |lab: &Lab, at: usize| {
        lab.world.services["s-leader"]["spec"]["ports"][at]["nodePort"].clone()
    };
    let (first, second) = (node(&lab, 0), node(&lab, 1));
    assert!(first.is_number() && first != 30_007);
    follows(
        "a port that changes its number keeps its node port",
        &mut lab,
        |object| object["spec"]["ports"][0]["port"] = 81.into(),
        "/spec/ports/0/nodePort",
        &first,
    );
    follows(
        "a port that changes its name likewise",
        &mut lab,
        |object| object["spec"]["ports"][0]["name"] = "web".into(),
        "/spec/ports/0/nodePort",
        &first,
    );
    let swap = |object: &mut Value| {
        object["spec"]["ports"]
            .as_array_mut()
            .expect("ports")
            .reverse();
    };
    follows(
        "so do ports that change places",
        &mut lab,
        swap,
        "/spec/ports/1/nodePort",
        &first,
    );
    check(
        "each its own",
        &lab,
        Kind::Service,
        "/spec/ports/0/nodePort",
        &second,
    );
    follows(
        "back to ClusterIP they go (§2 Leaving)",
        &mut lab,
        |object| annotate(object, "leader-service-type", "ClusterIP"),
        "/spec/ports/0/nodePort",
        &Value::Null,
    );
}

#[test]
fn two_families_have_two_slices() {
    let mut lab = lab(|body| body["spec"]["ipFamilyPolicy"] = "PreferDualStack".into());
    check(
        "the first under the Service's name (§2)",
        &lab,
        Kind::Slice,
        "/addressType",
        &json!("IPv4"),
    );
    let second = |lab: &Lab| lab.world.slices["s-leader-ipv6"].clone();
    assert_eq!(second(&lab)["addressType"], "IPv6");
    assert_eq!(
        second(&lab)["endpoints"][0]["addresses"][0],
        lab.world.pods["a"].ips[1].as_str()
    );
    let only_v4 = lab.world.pods["a"].ips[..1].to_vec();
    lab.world.edit_pod("a", |pod| pod.ips = only_v4);
    lab.settle();
    assert_eq!(
        second(&lab)["endpoints"],
        Value::Null,
        "a leader without it: the second slice is empty (§3)"
    );
    check(
        "and the first is not",
        &lab,
        Kind::Slice,
        "/endpoints/0/targetRef/name",
        &json!("a"),
    );
}

#[test]
fn a_source_of_ipv6_first_has_its_second_slice_for_ipv4() {
    let lab = lab(|body| {
        body["spec"]["ipFamilyPolicy"] = "RequireDualStack".into();
        body["spec"]["ipFamilies"] = json!(["IPv6", "IPv4"]);
    });
    check(
        "the first family's slice (§2)",
        &lab,
        Kind::Slice,
        "/addressType",
        &json!("IPv6"),
    );
    assert_eq!(lab.world.slices["s-leader-ipv4"]["addressType"], "IPv4");
}

#[test]
fn a_cluster_that_became_dual_stack_starts_no_fight() {
    let mut lab = Lab::new(source("s"), [pod("a")]);
    lab.world.families = vec!["IPv4"];
    lab.world.edit_service("s", |object| {
        object["spec"]["ipFamilyPolicy"] = "PreferDualStack".into();
    });
    lab.settle();
    // The server adds the second family at the next write of the leader Service.
    lab.world.families = vec!["IPv4", "IPv6"];
    lab.world.annotate("s-leader", "mine", Some("1"));
    lab.forget();
    lab.settle();
    assert_eq!(lab.writes, []);
    check(
        "it has both",
        &lab,
        Kind::Service,
        "/spec/ipFamilies",
        &json!(["IPv4", "IPv6"]),
    );
}

#[test]
fn a_headless_leader_service_says_so_on_its_slices_and_only_then() {
    let label = "/metadata/labels/service.kubernetes.io~1headless";
    let mut lab = lab(|body| annotate(body, "leader-service-type", "Headless"));
    check("the label (§2)", &lab, Kind::Slice, label, &json!(""));
    check(
        "no address",
        &lab,
        Kind::Service,
        "/spec/clusterIP",
        &json!("None"),
    );
    follows(
        "off again",
        &mut lab,
        |object| annotate(object, "leader-service-type", "ClusterIP"),
        "/spec/type",
        &json!("ClusterIP"),
    );
    check("no label (§2)", &lab, Kind::Slice, label, &Value::Null);
    lab.world.edit_slice("s-leader", |slice| {
        set_key(
            &mut slice["metadata"],
            "labels",
            "service.kubernetes.io/headless",
            Some(""),
        );
    });
    lab.settle();
    check(
        "nor by the hand of another client (§2)",
        &lab,
        Kind::Slice,
        label,
        &Value::Null,
    );
}

#[test]
fn a_headless_source_needs_no_ports() {
    let mut lab = lab(|body| {
        body["spec"]["clusterIP"] = "None".into();
        body["spec"]["ports"] = json!([]);
        annotate(body, "leader-service-type", "Headless");
    });
    assert_eq!(lab.objects(), "s-leader: a");
    check("no ports", &lab, Kind::Slice, "/ports", &Value::Null);
    lab.world
        .annotate("s", "zen-lead.io/leader-service-type", None);
    lab.settle();
    assert_eq!(
        lab.summary(),
        "Unmanaged | InvalidService",
        "without Headless it is refused (§1)"
    );
}

#[test]
fn a_port_that_the_leader_lacks_is_left_out() {
    let mut lab = lab(|_| {});
    lab.world.edit_service("s", |object| {
        object["spec"]["ports"] = json!([{"name": "http", "port": 80, "targetPort": "web"}, {"name": "new", "port": 90, "targetPort": "new"}]);
    });
    lab.settle();
    check(
        "the others stay (§2)",
        &lab,
        Kind::Slice,
        "/ports",
        &json!([{"name": "http", "port": 8080, "protocol": "TCP"}]),
    );
    let message = &lab.notes[0].message;
    assert!(
        message.contains("pod a") && message.contains("new"),
        "names pod and port (§2): {message}"
    );
    lab.world
        .edit_pod("a", |pod| pod.ports.push(("new".into(), 9090)));
    lab.settle();
    check(
        "until it has it",
        &lab,
        Kind::Slice,
        "/ports/1/port",
        &json!(9090),
    );
}

/// What a leader Service of the Go program looks like.
fn go_leftovers(lab: &mut Lab) {
    let owner = json!([{"apiVersion": "v1", "kind": "Service", "name": "s", "uid": lab.world.services["s"]["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true}]);
    let body = json!({
        "metadata": {"name": "s-leader", "namespace": "n", "ownerReferences": owner,
            "labels": {"app": "s", "argocd.argoproj.io/instance": "i", "app.kubernetes.io/managed-by": "zen-lead", "zen-lead.io/source-service": "s"},
            "annotations": {"zen-lead.io/enabled": "true", "note": "n", "mine": "1", "zen-lead.io/leader-pod-uid": lab.world.pods["b"].uid,
                "zen-lead.io/leader-last-switch-time": "2026-01-01T01:00:00+01:00"}},
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": "web"}]},
    });
    lab.world.create_service(body).expect("it is free");
    let uid = lab.world.services["s-leader"]["metadata"]["uid"].clone();
    let pod = lab.world.pods["b"].clone();
    let body = json!({
        "metadata": {"name": "s-leader", "namespace": "n",
            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": "s-leader", "uid": uid, "controller": true}],
            "labels": {"kubernetes.io/service-name": "s-leader", "endpointslice.kubernetes.io/managed-by": "zen-lead", "zen-lead.io/source-service": "s", "argocd.argoproj.io/instance": "i"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [pod.ips[0]], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "namespace": "n", "name": "b", "uid": pod.uid}}],
    });
    lab.world.create_slice(body).expect("it is free");
}

#[test]
fn objects_of_the_go_program_are_taken_over_in_place() {
    let mut body = source("s");
    body["metadata"]["annotations"]["note"] = "n".into();
    body["metadata"]["labels"]["argocd.argoproj.io/instance"] = "i".into();
    let mut lab = Lab::new(body, [pod("a").created(1), pod("b").created(2)]);
    go_leftovers(&mut lab);
    let uid = lab.world.services["s-leader"]["metadata"]["uid"].clone();
    lab.settle();
    assert_eq!(
        lab.summary(),
        "Serving b | s-leader: b",
        "its leader stays, and nothing is told"
    );
    for (sentence, pointer, expected) in [
        ("the same object", "/metadata/uid", uid),
        (
            "what it copied and should not have goes (§2)",
            "/metadata/annotations/zen-lead.io~1enabled",
            Value::Null,
        ),
        (
            "a tool's label goes (§2)",
            "/metadata/labels/argocd.argoproj.io~1instance",
            Value::Null,
        ),
        (
            "what is mirrored stays (§2)",
            "/metadata/annotations/note",
            json!("n"),
        ),
        (
            "a user's key stays (§2)",
            "/metadata/annotations/mine",
            json!("1"),
        ),
        (
            "the owner never blocks (§1)",
            "/metadata/ownerReferences/0/blockOwnerDeletion",
            Value::Null,
        ),
        (
            "the switch time is kept",
            "/metadata/annotations/zen-lead.io~1leader-last-switch-time",
            json!("2026-01-01T00:00:00Z"),
        ),
    ] {
        check(sentence, &lab, Kind::Service, pointer, &expected);
    }
    check(
        "the slice loses the tool's label (§2)",
        &lab,
        Kind::Slice,
        "/metadata/labels/argocd.argoproj.io~1instance",
        &Value::Null,
    );
    check(
        "and has whole conditions (§2)",
        &lab,
        Kind::Slice,
        "/endpoints/0/conditions/terminating",
        &json!(false),
    );
    assert_eq!(lab.writes.len(), 2, "one write per object");
}

#[test]
fn a_leader_service_of_the_go_program_is_no_source() {
    let mut lab = Lab::new(source("s"), [pod("b")]);
    go_leftovers(&mut lab);
    let key = crate::logic::model::Key::new("n", "s-leader");
    let snapshot = lab.world.snapshot(&key, None);
    let step = lab.peek_at(&snapshot);
    assert_eq!(step.machine.phase.name(), "Unmanaged");
    assert_eq!(
        (
            super::plan(&step.goal, &step.followers, &snapshot),
            step.notes
        ),
        (vec![], vec![])
    );
}

#[test]
fn a_name_that_a_foreigner_holds_is_evaded_and_found_again() {
    let mut lab = Lab::new(source("s"), [pod("a")]);
    let foreign = json!({"metadata": {"name": "s-leader", "namespace": "n"}, "addressType": "IPv4", "endpoints": [], "ports": []});
    lab.world.create_slice(foreign).expect("a free name");
    let before = lab.world.slices.clone();
    lab.settle();
    let names: Vec<_> = lab.endpoints("s-leader").into_keys().collect();
    assert!(
        names.len() == 1 && names[0].starts_with("s-leader-"),
        "{names:?}"
    );
    assert_eq!(lab.world.slices["s-leader"], before["s-leader"]);
    lab.world.delete(Kind::Slice, "s-leader");
    lab.forget().crash().settle();
    assert_eq!(
        (lab.writes.len(), lab.objects()),
        (0, "s-leader: a".into()),
        "it stays where it is"
    );
}

#[test]
fn every_patch_starts_from_the_version_that_was_looked_at() {
    let mut lab = lab(|_| {});
    lab.world.delete_pod("a");
    let writes = lab.look();
    lab.world.edit_slice("s-leader", |slice| {
        slice["metadata"]["labels"]["x"] = "y".into();
    });
    let refused = lab.world.apply(&writes[0]);
    assert_eq!(refused, Err(crate::logic::testkit::Refusal::Conflict));
    assert!(
        matches!(&writes[0].action, Action::Patch { ops, .. } if ops.iter().all(|op| !op.path().contains("resourceVersion")))
    );
}

#[test]
fn a_refused_slice_holds_up_its_service_in_the_first_family_only() {
    for (refused, left) in [
        ("s-leader", [Kind::Slice].as_slice()),
        ("s-leader-ipv6", &[Kind::Slice, Kind::Service]),
    ] {
        let mut lab = lab(|_| {});
        crate::logic::fsm::tests::matrix::dual_stack(&mut lab.world);
        lab.settle();
        lab.world.delete_pod("a");
        let refused = [Target {
            kind: Kind::Slice,
            key: Lab::key().sibling(refused),
        }];
        let mut refusals = Refusals::default();
        let mut round = || {
            lab.look();
            let writes = plan_past(&lab, &refusals).writes;
            let now = lab.world.now().moment;
            for write in writes.iter().filter(|it| refused.contains(&it.target)) {
                refusals.note(write, WriteFailure::Refused("no"), now);
            }
            for write in writes.iter().filter(|it| !refused.contains(&it.target)) {
                lab.world.apply(write).expect("accepted");
            }
            let kinds = writes.iter().map(|write| write.target.kind);
            kinds.collect::<Vec<_>>()
        };
        assert_eq!(round(), [Kind::Slice, Kind::Slice], "both families first");
        assert_eq!(round(), left, "{refused:?}");
        assert_eq!(round(), [Kind::Slice], "it goes on waiting");
    }
}
