//! A leader Service that is a load balancer: who may reach it, and who makes it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{annotate, check, follows, lab};
use crate::logic::plan::{Action, Kind};
use crate::logic::testkit::{Lab, pod, source};
use crate::logic::well_known::LOAD_BALANCER_CLEANUP;

#[test]
fn a_load_balancer_is_never_public_by_accident() {
    let mut lab = lab(|body| {
        body["spec"]["type"] = "LoadBalancer".into();
        body["spec"]["loadBalancerClass"] = "example.com/internal".into();
        body["spec"]["loadBalancerSourceRanges"] = json!(["10.0.0.0/8"]);
    });
    check(
        "a second one has to be asked for (§1)",
        &lab,
        Kind::Service,
        "/spec/type",
        &json!("ClusterIP"),
    );
    check(
        "no class without it (§1)",
        &lab,
        Kind::Service,
        "/spec/loadBalancerClass",
        &Value::Null,
    );
    let ask = |value: &'static str| {
        move |object: &mut Value| annotate(object, "leader-service-type", value)
    };
    follows(
        "class comes with the type (§1)",
        &mut lab,
        ask("LoadBalancer"),
        "/spec/loadBalancerClass",
        &json!("example.com/internal"),
    );
    check(
        "so do the ranges (§1)",
        &lab,
        Kind::Service,
        "/spec/loadBalancerSourceRanges",
        &json!(["10.0.0.0/8"]),
    );
    follows(
        "ranges follow edits (§1)",
        &mut lab,
        |object| object["spec"]["loadBalancerSourceRanges"] = json!(["10.1.0.0/16"]),
        "/spec/loadBalancerSourceRanges/0",
        &json!("10.1.0.0/16"),
    );
    lab.world.edit_service("s-leader", |object| {
        object["spec"]["loadBalancerSourceRanges"] = Value::Null;
    });
    lab.settle();
    check(
        "and are healed (§1)",
        &lab,
        Kind::Service,
        "/spec/loadBalancerSourceRanges/0",
        &json!("10.1.0.0/16"),
    );
    follows(
        "without them it is open to all, as the source (§1)",
        &mut lab,
        |object| object["spec"]["loadBalancerSourceRanges"] = Value::Null,
        "/spec/loadBalancerSourceRanges",
        &Value::Null,
    );
    follows(
        "back to ClusterIP all of it goes (§2 Leaving)",
        &mut lab,
        ask("ClusterIP"),
        "/spec/loadBalancerClass",
        &Value::Null,
    );
    check(
        "the type too",
        &lab,
        Kind::Service,
        "/spec/type",
        &json!("ClusterIP"),
    );
}

/// Sets the ranges of the leader Service by hand, and settles.
fn restrict(lab: &mut Lab, ranges: &Value) {
    lab.world.edit_service("s-leader", |object| {
        object["spec"]["loadBalancerSourceRanges"] = ranges.clone();
    });
    lab.settle();
}

#[test]
fn a_restriction_that_a_user_set_is_not_lifted() {
    const RANGES: &str = "/spec/loadBalancerSourceRanges";
    let mine = json!(["192.0.2.0/24"]);
    for is_balanced in [false, true] {
        let mut lab = lab(|body| {
            annotate(body, "leader-service-type", "LoadBalancer");
            if is_balanced {
                body["spec"]["type"] = "LoadBalancer".into();
            }
        });
        restrict(&mut lab, &mine);
        check("it stays (§1)", &lab, Kind::Service, RANGES, &mine);
        assert_eq!(lab.writes, [], "nothing is written");
        follows(
            "also beside an edit (§1)",
            &mut lab,
            |object| object["spec"]["ports"][0]["port"] = 81.into(),
            RANGES,
            &mine,
        );
    }
}

#[test]
fn ranges_are_asked_for_where_the_source_is_no_load_balancer() {
    const RANGES: &str = "/spec/loadBalancerSourceRanges";
    let ask = |value: &'static str| {
        move |object: &mut Value| annotate(object, "leader-service-source-ranges", value)
    };
    let two = json!(["10.0.0.0/8", "2001:db8::/32"]);
    let mut lab = lab(|body| {
        annotate(body, "leader-service-type", "LoadBalancer");
        ask("10.0.0.0/8, 2001:db8::/32")(body);
    });
    check("asked for (§1)", &lab, Kind::Service, RANGES, &two);
    restrict(&mut lab, &Value::Null);
    check("healed (§1)", &lab, Kind::Service, RANGES, &two);
    follows(
        "invalid (§1)",
        &mut lab,
        ask("10.0.0.0/8,all"),
        RANGES,
        &two,
    );
    assert_eq!(lab.news(), "InvalidAnnotation");
    lab.crash().settle();
    check("and a restart (§1)", &lab, Kind::Service, RANGES, &two);
    let one = json!(["10.1.0.0/16"]);
    follows("an edit (§1)", &mut lab, ask("10.1.0.0/16"), RANGES, &one);
    lab.world
        .annotate("s", "zen-lead.io/leader-service-source-ranges", None);
    lab.settle();
    check("never lifted by us (§1)", &lab, Kind::Service, RANGES, &one);
    restrict(&mut lab, &Value::Null);
    check(
        "but by a user (§1)",
        &lab,
        Kind::Service,
        RANGES,
        &Value::Null,
    );

    let source = json!(["192.0.2.0/24"]);
    let balance = |ranges: Value| {
        move |object: &mut Value| {
            object["spec"]["type"] = "LoadBalancer".into();
            object["spec"]["loadBalancerSourceRanges"] = ranges;
            annotate(object, "leader-service-source-ranges", "10.1.0.0/16");
        }
    };
    follows(
        "the source's come first (§1)",
        &mut lab,
        balance(source.clone()),
        RANGES,
        &source,
    );
    follows(
        "if it has any",
        &mut lab,
        balance(Value::Null),
        RANGES,
        &one,
    );
}

#[test]
fn ranges_are_there_from_the_first_create_on() {
    let mut body = source("s");
    annotate(&mut body, "leader-service-type", "LoadBalancer");
    annotate(&mut body, "leader-service-source-ranges", "10.0.0.0/8");
    let mut lab = Lab::new(body, [pod("a")]);
    let writes = lab.look();
    let [Action::Create(body)] = [&writes[0].action] else {
        panic!("{writes:?}");
    };
    let ranges = &body.to_value()["spec"]["loadBalancerSourceRanges"];
    assert_eq!(
        *ranges,
        json!(["10.0.0.0/8"]),
        "never open for a moment (§1)"
    );
}

/// Without its former balancer's rest, another class is reached in two patches.
#[test]
fn a_changed_class_leaves_the_type_and_comes_back() {
    const CLASS: &str = "/spec/loadBalancerClass";
    let mut lab = lab(|body| {
        annotate(body, "leader-service-type", "LoadBalancer");
        body["spec"]["type"] = "LoadBalancer".into();
        body["spec"]["loadBalancerClass"] = "example.com/a".into();
    });
    // What the controller of that class does.
    lab.world.edit_service("s-leader", |object| {
        object["metadata"]["finalizers"] = json!([LOAD_BALANCER_CLEANUP]);
        object["status"]["loadBalancer"]["ingress"] = json!([{"ip": "192.0.2.1"}]);
    });
    lab.world.edit_service("s", |object| {
        object["spec"]["type"] = "ClusterIP".into();
        object["spec"]["loadBalancerClass"] = Value::Null;
    });
    lab.settle();
    check(
        "it stays without a source that says",
        &lab,
        Kind::Service,
        CLASS,
        &json!("example.com/a"),
    );
    lab.forget();
    lab.world.edit_service("s", |object| {
        object["spec"]["type"] = "LoadBalancer".into();
        object["spec"]["loadBalancerClass"] = "example.com/b".into();
        object["spec"]["ports"][0]["appProtocol"] = "h2c".into();
    });
    lab.settle();
    check(
        "out of the type (§1)",
        &lab,
        Kind::Service,
        "/spec/type",
        &json!("ClusterIP"),
    );
    check(
        "nothing else waits",
        &lab,
        Kind::Service,
        "/spec/ports/0/appProtocol",
        &json!("h2c"),
    );
    lab.wait(Duration::from_secs(59));
    assert_eq!(lab.news(), "", "the controller has its time (§1)");
    lab.wait(Duration::from_secs(1));
    assert_eq!(lab.news(), "LeaderServiceConflict", "after 60 s (§1)");
    assert!(lab.notes[0].message.contains(LOAD_BALANCER_CLEANUP));
    lab.world.edit_service("s-leader", |object| {
        object["status"] = json!({"loadBalancer": {}});
    });
    lab.settle();
    check(
        "not with the finalizer (§1)",
        &lab,
        Kind::Service,
        "/spec/type",
        &json!("ClusterIP"),
    );
    lab.world.edit_service("s-leader", |object| {
        object["metadata"]["finalizers"] = Value::Null;
    });
    lab.settle();
    check(
        "back in (§1)",
        &lab,
        Kind::Service,
        CLASS,
        &json!("example.com/b"),
    );
    assert_eq!(lab.news(), "LeaderServiceConflict", "told once");
    lab.forget().wait(Duration::from_mins(2));
    assert_eq!((lab.writes.len(), lab.news()), (0, String::new()));
}

/// A policy that gives every load balancer its own class is no reason to take one down for ever.
#[test]
fn a_class_that_something_else_sets_is_left_alone() {
    let mut lab = lab(|body| {
        annotate(body, "leader-service-type", "LoadBalancer");
        body["spec"]["type"] = "LoadBalancer".into();
        body["spec"]["loadBalancerClass"] = "example.com/a".into();
    });
    let force = |lab: &mut Lab| {
        lab.world.edit_service("s-leader", |object| {
            object["spec"]["type"] = "ClusterIP".into();
            object["spec"]["loadBalancerClass"] = Value::Null;
        });
        lab.world.edit_service("s-leader", |object| {
            object["spec"]["type"] = "LoadBalancer".into();
            object["spec"]["loadBalancerClass"] = "example.com/forced".into();
        });
    };
    force(&mut lab);
    lab.settle();
    assert_eq!(
        (lab.writes.len(), &*lab.news()),
        (0, "LeaderServiceConflict")
    );
    assert!(lab.notes[0].message.contains("example.com/forced"));
}

#[test]
fn a_class_that_comes_later_blocks_nothing_else() {
    let mut lab = lab(|body| annotate(body, "leader-service-type", "LoadBalancer"));
    lab.world.edit_service("s", |object| {
        object["spec"]["type"] = "LoadBalancer".into();
        object["spec"]["loadBalancerClass"] = "example.com/internal".into();
        object["spec"]["ports"][0]["port"] = 81.into();
    });
    lab.settle();
    check(
        "the port follows",
        &lab,
        Kind::Service,
        "/spec/ports/0/port",
        &json!(81),
    );
    check(
        "and the class (§1)",
        &lab,
        Kind::Service,
        "/spec/loadBalancerClass",
        &json!("example.com/internal"),
    );
}
