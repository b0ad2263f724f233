//! Tables: from what the application says to the pod that it names.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::logic::model::Pod;
use crate::logic::snapshot::Snapshot;
use crate::logic::testkit::World;
use crate::logic::time::Now;

/// A second of the process's clock.
fn at(seconds: i64) -> Now {
    Now {
        moment: Moment(seconds * 1_000_000),
        wall: World::origin() + jiff::SignedDuration::from_secs(seconds),
    }
}

fn body(name: &str, version: u64, labels: &Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "n", "uid": format!("uid-{name}"),
            "resourceVersion": version.to_string(), "labels": labels},
        "status": {"phase": "Running"},
    })
}

/// A pod as it was read at that second, after the reading before.
fn read(before: Option<&Arc<Pod>>, body: &Value, seconds: i64) -> Arc<Pod> {
    let pod: Pod = serde_json::from_str(&body.to_string()).expect("it parses");
    Arc::new(pod.seen(before.map(|before| &**before), at(seconds)))
}

fn snapshot(pods: Vec<Arc<Pod>>) -> Snapshot {
    Snapshot::new(Key::new("n", "s"), None, pods)
}

/// `named b`, `several a, b`, `none`, and for a Lease the number of the line.
fn describe(claim: &Claim<'_>) -> String {
    let mut pods: Vec<&str> = claim.pods.iter().map(|pod| &*pod.name).collect();
    pods.sort_unstable();
    let pods = pods.join(", ");
    match claim.named {
        Named::Pod(pod, line) => {
            let line = line.map(|line| format!("{} by ", line.number()));
            format!("{}{}", line.unwrap_or_default(), pod.name)
        }
        Named::Several => format!("several {pods}"),
        Named::Gone => format!("gone {pods}"),
        Named::None => "none".into(),
        Named::Unknown => "unknown".into(),
        Named::Silent(_) => "silent".into(),
        Named::Unclear => "unclear".into(),
    }
}

/// What happens to a pod's label `role`: at which second, to which pod, which value.
type Label = (i64, &'static str, Option<&'static str>);

/// Reads these pods' labels as they change. The first reading of a pod is its arrival.
fn by_label(changes: &[Label]) -> String {
    let mut pods: Vec<Arc<Pod>> = Vec::new();
    for (version, (seconds, name, value)) in (1..).zip(changes) {
        let labels = value.map_or_else(|| json!({}), |value| json!({ "role": value }));
        let known = pods.iter().position(|pod| *pod.name == **name);
        let before = known.map(|at| pods.remove(at));
        pods.push(read(
            before.as_ref(),
            &body(name, version, &labels),
            *seconds,
        ));
    }
    let follow = Follow::Label {
        key: "role".into(),
        value: "primary".into(),
    };
    pods.reverse();
    let reversed = snapshot(pods.clone());
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    let snapshot = snapshot(pods);
    let outcome = describe(&claim(&follow, &snapshot, at(100).moment));
    let again = describe(&claim(&follow, &reversed, at(100).moment));
    assert_eq!(outcome, again, "whatever the order of the pods");
    outcome
}

#[test]
fn the_label_that_was_set_last_counts() {
    const P: Option<&str> = Some("primary");
    const R: Option<&str> = Some("replica");
    let table: &[(&str, &[Label], &str)] = &[
        ("no pod has it", &[(1, "a", None), (1, "b", R)], "none"),
        ("one pod came with it", &[(1, "a", None), (2, "b", P)], "b"),
        ("it was set on one pod", &[(1, "a", R), (2, "a", P)], "a"),
        (
            "it was set on b before it was taken from a",
            &[(1, "a", P), (1, "b", R), (5, "b", P)],
            "b",
        ),
        (
            "it was set on a, then on b",
            &[(1, "a", R), (1, "b", R), (4, "a", P), (5, "b", P)],
            "b",
        ),
        (
            "and on a again",
            &[
                (1, "a", R),
                (1, "b", R),
                (4, "a", P),
                (5, "b", P),
                (6, "a", R),
                (7, "a", P),
            ],
            "a",
        ),
        (
            "a pod that arrives with it is no later than one that got it",
            &[(1, "a", R), (2, "a", P), (9, "b", P)],
            "a",
        ),
        (
            "two pods came with it",
            &[(1, "a", P), (2, "b", P)],
            "several a, b",
        ),
        (
            "the change of another label says nothing",
            &[(1, "a", P), (2, "b", P), (3, "b", P)],
            "several a, b",
        ),
        (
            "one list brings both, and the newer version counts",
            &[(1, "b", R), (1, "a", R), (4, "b", P), (4, "a", P)],
            "a",
        ),
        (
            "it was taken away again",
            &[(1, "a", R), (2, "a", P), (3, "a", None)],
            "none",
        ),
    ];
    for (sentence, changes, expected) in table {
        assert_eq!(by_label(changes), *expected, "{sentence}");
    }
}

/// Pods with everything that an identity may name.
fn members() -> Vec<Arc<Pod>> {
    let long = "x".repeat(62);
    let spec = [
        (
            "db-0",
            "10.0.0.1",
            json!({"nodeName": "n1", "hostname": "db-0"}),
        ),
        (
            "db-1",
            "10.0.0.2",
            json!({"nodeName": "n2", "hostname": "custom"}),
        ),
        ("db-10", "10.0.0.3", json!({"nodeName": "n3"})),
        ("web.blue", "fd00::4", json!({"nodeName": "n3"})),
        (
            "host-a",
            "192.0.2.1",
            json!({"nodeName": "m1", "hostNetwork": true}),
        ),
        (
            "host-b",
            "192.0.2.2",
            json!({"nodeName": "m2", "hostNetwork": true}),
        ),
        (
            "host-c",
            "192.0.2.2",
            json!({"nodeName": "m2", "hostNetwork": true}),
        ),
        (
            &*format!("{long}-y-0"),
            "10.0.0.5",
            json!({"nodeName": "n4"}),
        ),
        ("ended", "10.0.0.6", json!({"nodeName": "n4"})),
    ];
    let pod = |(name, ip, spec): &(&str, &str, Value)| {
        let mut body = body(name, 1, &json!({}));
        body["spec"] = spec.clone();
        body["status"]["podIPs"] = json!([{ "ip": ip }]);
        if *name == "ended" {
            body["status"]["phase"] = "Failed".into();
        }
        read(None, &body, 1)
    };
    spec.iter().map(pod).collect()
}

fn by_identity(holder: &str) -> String {
    let mut snapshot = snapshot(members());
    snapshot.lease = Lease::Present(LeaseFact {
        holder: Some(holder.into()),
        duration: None,
        changed: at(5).moment,
    });
    let follow = Follow::Lease {
        namespace: None,
        name: "db".into(),
    };
    describe(&claim(&follow, &snapshot, at(1_000_000).moment))
}

#[test]
fn the_first_line_with_a_match_names_the_pod() {
    let long = "x".repeat(62);
    for (holder, expected) in [
        ("", "none"),
        // 1. The name or the uid.
        ("db-0", "1 by db-0"),
        ("uid-db-1", "1 by db-1"),
        ("web.blue", "1 by web.blue"),
        // 2. Before the first underscore.
        ("db-0_5f1b9c2e", "2 by db-0"),
        ("db-0_5f1b_9c2e", "2 by db-0"),
        ("custom", "2 by db-1"),
        ("custom_5f1b9c2e", "2 by db-1"),
        ("db-1_5f1b9c2e", "2 by db-1"),
        ("host-a_1", "2 by host-a"),
        (&long, &format!("2 by {long}-y-0")),
        // The pod's name comes before the address behind it.
        ("db-0_10.0.0.2", "2 by db-0"),
        // 3. An address.
        ("10.0.0.2", "3 by db-1"),
        ("10.0.0.2:8080", "3 by db-1"),
        ("activator_10.0.0.2", "3 by db-1"),
        ("fd00::4", "3 by web.blue"),
        ("[fd00::4]", "3 by web.blue"),
        ("[fd00::4]:80", "3 by web.blue"),
        ("activator_[fd00::4]:80", "3 by web.blue"),
        ("192.0.2.2", "several host-b, host-c"),
        // 4. Before a separator.
        ("db-0.db.n.svc", "4 by db-0"),
        ("db-0:5432", "4 by db-0"),
        ("db-1/5f1b9c2e", "4 by db-1"),
        ("custom:1", "4 by db-1"),
        // 5. The node, of pods in its network only.
        ("m1", "5 by host-a"),
        ("m1_5f1b9c2e", "5 by host-a"),
        ("m2", "several host-b, host-c"),
        ("n1", "unknown"),
        // Case counts, and no part of a name is a match.
        ("DB-0", "unknown"),
        ("db", "unknown"),
        ("db-", "unknown"),
        ("db-0x", "unknown"),
        ("db-0-5f1b9c2e", "unknown"),
        ("_db-0", "unknown"),
        ("5f1b9c2e_db-0", "unknown"),
        ("0", "unknown"),
        ("10.0.0.20", "unknown"),
        ("ended", "unknown"),
        ("a1b2c3d4-0000-4000-8000-000000000000", "unknown"),
        (".", "unknown"),
        ("_", "unknown"),
        ("é_ü", "unknown"),
    ] {
        assert_eq!(by_identity(holder), expected, "{holder:?}");
    }
}

/// A Lease that was last seen to change at second 100, judged at that second.
fn judged(lease: Lease, appeared: i64, seconds: i64) -> String {
    let mut snapshot = snapshot(vec![read(None, &body("a", 1, &json!({})), appeared)]);
    snapshot.lease = lease;
    let follow = Follow::Lease {
        namespace: None,
        name: "db".into(),
    };
    describe(&claim(&follow, &snapshot, at(seconds).moment))
}

fn held(holder: &str, seconds: Option<u64>) -> Lease {
    Lease::Present(LeaseFact {
        holder: Some(holder.into()),
        duration: seconds.map(Duration::from_secs),
        changed: at(100).moment,
    })
}

#[test]
fn a_lease_is_silent_by_our_own_clock_only() {
    let absent = Lease::Absent;
    for (sentence, lease, now, expected) in [
        ("renewed", held("a", Some(15)), 114, "1 by a"),
        ("not for its duration", held("a", Some(15)), 115, "silent"),
        ("ever after", held("a", Some(15)), 9_999_999, "silent"),
        (
            "without a duration never",
            held("a", None),
            9_999_999,
            "1 by a",
        ),
        ("an unknown one too", held("x", Some(15)), 115, "silent"),
        (
            "an empty holder never is",
            held("", Some(15)),
            9_999_999,
            "none",
        ),
        ("not read yet", Lease::Unread, 100, "silent"),
        ("deleted", absent(Absence::NotFound), 100, "silent"),
        ("forbidden", absent(Absence::Forbidden), 100, "silent"),
        ("unreachable", absent(Absence::Unreachable), 100, "silent"),
    ] {
        assert_eq!(judged(lease, 1, now), expected, "{sentence}");
    }
    let nothing = Lease::Present(LeaseFact {
        holder: None,
        duration: Some(Duration::from_secs(1)),
        changed: at(100).moment,
    });
    assert_eq!(judged(nothing, 1, 9_999), "none", "null");
}

#[test]
fn a_claim_is_bound_to_the_pods_that_were_there() {
    let lease = || held("a", Some(15));
    assert_eq!(judged(lease(), 99, 101), "1 by a", "before the write");
    assert_eq!(judged(lease(), 100, 101), "1 by a", "with the write");
    assert_eq!(judged(lease(), 101, 101), "gone a", "after it");
    assert_eq!(judged(lease(), 101, 115), "silent", "and then it is silent");
}

#[test]
fn sentences_say_who_is_meant() {
    let mut snapshot = snapshot(members());
    let follow = Follow::Lease {
        namespace: Some("other".into()),
        name: "db".into(),
    };
    let says =
        |snapshot: &Snapshot, follow: &Follow| claim(follow, snapshot, at(6).moment).to_string();
    for (holder, expected) in [
        (
            "db-0_1",
            r#"Lease other/db is held by "db-0_1", which is pod db-0"#,
        ),
        (
            "x",
            r#"Lease other/db is held by "x", which matches no pod of the Service"#,
        ),
        (
            "m2",
            r#"Lease other/db is held by "m2", which matches several pods: host-b, host-c"#,
        ),
        ("", "Lease other/db has no holder"),
    ] {
        snapshot.lease = Lease::Present(LeaseFact {
            holder: Some(holder.into()),
            duration: None,
            changed: at(5).moment,
        });
        assert_eq!(says(&snapshot, &follow), expected);
    }
    snapshot.lease = Lease::Absent(Absence::NotFound);
    assert_eq!(says(&snapshot, &follow), "Lease other/db does not exist");
    let label = Follow::Label {
        key: "role".into(),
        value: "primary".into(),
    };
    let expected = "No pod of the Service has the label role=primary";
    assert_eq!(says(&snapshot, &label), expected);
}
