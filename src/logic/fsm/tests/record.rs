//! The slice is the memory: what it records, and what other hands do to it.

use std::time::Duration;

use serde_json::{Value, json};

use super::matrix::dual_stack;
use super::story::{lab, prefer, ready};
use crate::logic::plan::Kind;
use crate::logic::testkit::Lab;
use crate::logic::well_known::{
    FAILOVER_MIN_DELAY, HANDLED_SWITCHOVER, LAST_LEADER_POD_UID, LEADER_POD_UID, PAUSED, STICKY,
};

fn uid(lab: &Lab, pod: &str) -> String {
    lab.world.pods[pod].uid.clone()
}

/// What a slice records: the leader, the last leader, the switchover that was carried out.
fn record(lab: &Lab, slice: &str) -> [Value; 3] {
    let annotations = &lab.world.slices[slice]["metadata"]["annotations"];
    [LEADER_POD_UID, LAST_LEADER_POD_UID, HANDLED_SWITCHOVER].map(|key| annotations[key].clone())
}

/// Changes the pod that the endpoint names, and nothing else, as a user would by hand.
pub(super) fn redirect(lab: &mut Lab, slice: &str, pod: &str) {
    let (name, uid) = (pod.to_owned(), uid(lab, pod));
    lab.world.edit_slice(slice, |slice| {
        slice["endpoints"][0]["targetRef"]["name"] = name.into();
        slice["endpoints"][0]["targetRef"]["uid"] = uid.into();
    });
}

fn empty(lab: &mut Lab, slice: &str) {
    lab.world
        .edit_slice(slice, |slice| slice["endpoints"] = json!([]));
}

/// §2 "record the leader in the same patch".
#[test]
fn every_write_of_the_endpoint_writes_the_record() {
    let mut l = lab(&[]);
    let a = Value::from(uid(&l, "a"));
    assert_eq!(record(&l, "s-leader"), [a.clone(), a, Value::Null]);
    prefer(&mut l, "c");
    assert_eq!(l.look().len(), 1);
    l.round();
    let c = uid(&l, "c");
    let expected = [c.clone(), c.clone(), format!("c/{c}")].map(Value::from);
    assert_eq!(record(&l, "s-leader"), expected, "before any other write");
    l.settle();
    for pod in ["a", "b", "c"] {
        l.world.delete_pod(pod);
    }
    l.round();
    let expected = [Value::Null, c.clone().into(), format!("c/{c}").into()];
    assert_eq!(record(&l, "s-leader"), expected, "an emptiness of ours");
}

/// A crash between the slice and the Service loses nothing, since the slice has it all.
#[test]
fn a_crash_right_after_the_slice_repeats_no_switchover() {
    let mut l = lab(&[]);
    prefer(&mut l, "c");
    assert!(l.round(), "the slice");
    l.crash();
    // The requested pod fails and comes back; the request was carried out.
    ready(&mut l, "c", false);
    l.settle();
    assert_eq!(l.objects(), "s-leader: a");
    ready(&mut l, "c", true);
    l.settle();
    assert_eq!(l.objects(), "s-leader: a");
}

/// A replica of version 0.2.0 writes and records a switchover on the leader Service only. The standby
/// that takes over from it does not carry the switchover out again.
#[test]
fn a_standby_knows_the_switchover_that_a_writer_without_records_carried_out() {
    let mut l = lab(&[]);
    prefer(&mut l, "c");
    l.settle();
    l.is_standby = true;
    let publish = |l: &mut Lab, pod: &str| {
        redirect(l, "s-leader", pod);
        l.world.edit_slice("s-leader", |slice| {
            slice["metadata"]["annotations"] = Value::Null;
        });
    };
    prefer(&mut l, "a");
    publish(&mut l, "a");
    let handled = format!("a/{}", uid(&l, "a"));
    l.world
        .annotate("s-leader", HANDLED_SWITCHOVER, Some(&handled));
    l.look();
    ready(&mut l, "a", false);
    publish(&mut l, "b");
    l.look();
    ready(&mut l, "a", true);
    l.look();
    l.is_standby = false;
    assert_eq!(l.settle().objects(), "s-leader: b");
}

/// A slice without a record, of version 0.2.0 or of the Go program: its endpoint is the record, and no
/// write is made for the record alone.
#[test]
fn a_slice_without_a_record_is_believed_and_left_alone() {
    let mut l = lab(&[]);
    l.world.edit_slice("s-leader", |slice| {
        slice["metadata"]["annotations"] = Value::Null;
    });
    redirect(&mut l, "s-leader", "b");
    l.world.edit_slice("s-leader", |slice| {
        slice["endpoints"][0]["addresses"] = json!(["10.9.9.9"]);
    });
    l.crash().settle();
    assert_eq!(l.objects(), "s-leader: b");
    let b = Value::from(uid(&l, "b"));
    assert_eq!(record(&l, "s-leader")[0], b, "with the next write");
    l.world.edit_slice("s-leader", |slice| {
        slice["metadata"]["annotations"] = Value::Null;
    });
    l.forget().settle();
    assert_eq!(l.writes, [], "not without one");
}

/// §1 "a hand edit of `targetRef.uid` … is a switchover by hand".
#[test]
fn a_hand_edit_that_names_an_electable_pod_is_a_switchover() {
    for (setting, expected) in [
        (None, "b"),
        (Some((PAUSED, "true")), "b"),
        (Some((STICKY, "false")), "a"),
    ] {
        let mut l = lab(&[]);
        if let Some((key, value)) = setting {
            l.world.annotate("s", key, Some(value));
            l.settle();
        }
        redirect(&mut l, "s-leader", "b");
        l.settle();
        let switched = if expected == "b" {
            " | LeaderChanged (switchover)"
        } else {
            ""
        };
        let summary = format!("Serving {expected} | s-leader: {expected}{switched}");
        assert_eq!(l.summary(), summary, "{setting:?}");
        let recorded = Value::from(uid(&l, expected));
        assert_eq!(record(&l, "s-leader")[0], recorded);
    }
}

/// The same: "nor the third time within a minute: then, as every other edit, it is drift".
#[test]
fn the_third_hand_edit_within_a_minute_is_drift() {
    let mut l = lab(&[]);
    let mut after = |pod: &str| {
        redirect(&mut l, "s-leader", pod);
        l.settle();
        l.world.advance(Duration::from_secs(20));
        l.objects()
    };
    assert_eq!(after("b"), "s-leader: b");
    assert_eq!(after("c"), "s-leader: c");
    assert_eq!(after("a"), "s-leader: c");
    assert_eq!(after("b"), "s-leader: b", "a minute after the first one");
}

#[test]
fn every_other_hand_edit_is_drift() {
    type Edit = fn(&mut Lab);
    let edits: [(&str, Edit); 4] = [
        ("a pod that is not Ready", |l| {
            ready(l, "b", false);
            redirect(l, "s-leader", "b");
        }),
        ("a pod that does not exist", |l| {
            l.world.edit_slice("s-leader", |slice| {
                slice["endpoints"][0]["targetRef"]["uid"] = "other".into();
            });
        }),
        ("no endpoint", |l| empty(l, "s-leader")),
        ("another record", |l| {
            l.world.edit_slice("s-leader", |slice| {
                slice["metadata"]["annotations"][LEADER_POD_UID] = "other".into();
            });
        }),
    ];
    for (what, edit) in edits {
        let mut l = lab(&[]);
        edit(&mut l);
        let mut crashed = l.clone();
        crashed.crash();
        for lab in [&mut l, &mut crashed] {
            lab.settle();
            assert_eq!(lab.objects(), "s-leader: a", "{what}");
            let recorded = Value::from(uid(lab, "a"));
            assert_eq!(record(lab, "s-leader")[0], recorded, "{what}");
        }
    }
    let mut l = lab(&[]);
    dual_stack(&mut l.world);
    l.settle();
    redirect(&mut l, "s-leader-ipv6", "b");
    l.settle();
    assert_eq!(l.objects(), "s-leader: a", "the second family says nothing");
}

/// §3 judges a leader by the record as any other, whatever the pod's state.
#[test]
fn a_leader_whose_slice_is_gone_is_the_leader_all_the_same() {
    type Act = fn(&mut Lab);
    let acts: [(&str, Act, &str); 3] = [
        ("Ready", |_| {}, "s-leader: a"),
        (
            "not Ready, within its delay",
            |l| ready(l, "a", false),
            "s-leader: a",
        ),
        ("gone", |l| l.world.delete_pod("a"), "s-leader: b"),
    ];
    for (what, act, expected) in acts {
        let mut l = lab(&[(FAILOVER_MIN_DELAY, "30s")]);
        act(&mut l);
        l.world.delete(Kind::Slice, "s-leader");
        let mut crashed = l.clone();
        crashed.crash();
        for lab in [&mut l, &mut crashed] {
            lab.settle();
            assert_eq!(lab.objects(), expected, "{what}");
        }
    }
}

/// A decision whose write has not landed does not exist: the next step decides again, from what the
/// slice shows.
#[test]
fn a_leader_that_recovers_before_the_write_lands_stays() {
    let mut l = lab(&[]);
    ready(&mut l, "a", false);
    let writes = l.look();
    assert_eq!(writes.len(), 1, "to b");
    ready(&mut l, "a", true);
    assert_eq!(l.look(), [], "a leads, and is Ready");
    // It was under way: it lands, and b is what the slice says.
    l.world.apply(&writes[0]).expect("it is of that version");
    l.settle();
    assert_eq!(l.objects(), "s-leader: b");
}
