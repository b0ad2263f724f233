//! Stories of sources that follow the application's own leader: the table of §3a, row by row.

use std::time::Duration;

use super::record::redirect;
use super::story::{Act, asking, prefer, ready, wait};
use crate::logic::budget::{BudgetScope, Spent};
use crate::logic::follow::{Absence, Lease, State};
use crate::logic::plan::Kind;
use crate::logic::testkit::{Lab, pod};
use crate::logic::time::Moment;
use crate::logic::well_known::{
    FAILOVER_MIN_DELAY, FOLLOW, LEADER_NAMED_BY, MIN_READY_DURATION, PAUSED, PREFERRED_LEADER,
    STICKY, STRATEGY,
};

const LABEL: (&str, &str) = (FOLLOW, "label/role=primary");
const LEASE: (&str, &str) = (FOLLOW, "lease/db");

/// Sets the label `role=primary` on a pod, or removes it.
fn role(lab: &mut Lab, name: &str, is: bool) {
    lab.world.edit_pod(name, |pod| {
        pod.labels.retain(|(key, _)| key != "role");
        if is {
            pod.labels.push(("role".into(), "primary".into()));
        }
    });
}

/// Moves it from one pod to another, in two patches that are seen together.
fn moves(lab: &mut Lab, from: &str, to: &str) {
    role(lab, from, false);
    role(lab, to, true);
}

fn write(lab: &mut Lab, holder: &str) {
    lab.world.write_lease(holder, Some(15));
}

/// Another replica may know of a pod sooner, and publish it by a write that this one has seen before it.
fn age_lease(lab: &mut Lab, seconds: u64) {
    if let Lease::Present(fact) = &mut lab.world.lease {
        fact.changed = fact.changed - Duration::from_secs(seconds);
        fact.duration = None;
    }
}

fn milliseconds(lab: &mut Lab, number: u64) {
    lab.wait(Duration::from_millis(number));
}

/// Pods `a`, `b` and `c` and a source with these annotations, of which `a` is named; at rest.
fn lab(annotations: &[(&str, &str)]) -> Lab {
    let pods = ["a", "b", "c"].map(pod);
    let mut lab = Lab::new(asking(annotations), pods);
    if annotations.contains(&LABEL) {
        role(&mut lab, "a", true);
    }
    if annotations.contains(&LEASE) {
        write(&mut lab, "a");
    }
    lab.settle().forget();
    lab
}

fn check(sentence: &str, annotations: &[(&str, &str)], acts: &[(Act, &str)]) {
    let mut lab = lab(annotations);
    for (number, (act, expected)) in acts.iter().enumerate() {
        lab.forget();
        act(&mut lab);
        lab.settle();
        assert_eq!(lab.summary(), *expected, "{sentence}: act {}", number + 1);
    }
}

fn follow_state(lab: &Lab) -> Option<State> {
    lab.peek().report.follow
}

#[test]
#[rustfmt::skip]
fn the_named_pod_leads() {
    check("it is published, and no other (§3a)", &[LABEL], &[
        (|_| {}, "Serving a | s-leader: a"),
    ]);
    check("a label that moves is followed at once (§3a)", &[LABEL], &[
        (|l| moves(l, "a", "b"), "Serving b | s-leader: b | LeaderChanged (followed)"),
        (|l| moves(l, "b", "a"), "Serving a | s-leader: a | LeaderChanged (followed)"),
    ]);
    check("one that is set before it is removed, too (§3a)", &[LABEL], &[
        (|l| role(l, "b", true), "Serving b | s-leader: b | LeaderChanged (followed)"),
        (|l| role(l, "a", false), "Serving b | s-leader: b"),
    ]);
    check("one that is removed first leaves no gap (§3a)", &[LABEL], &[
        (|l| role(l, "a", false), "Serving a | s-leader: a"),
        (|l| milliseconds(l, 249), "Serving a | s-leader: a"),
        (|l| role(l, "b", true), "Serving b | s-leader: b | LeaderChanged (followed)"),
        (|l| wait(l, 60), "Serving b | s-leader: b"),
    ]);
    check("a delay and the storm guard hold no move (§3a)", &[LABEL, (FAILOVER_MIN_DELAY, "1h")], &[
        (|l| { l.spent = Some(Spent { until: Moment(i64::MAX), scope: BudgetScope::Service }); moves(l, "a", "b"); },
            "Serving b | s-leader: b | LeaderChanged (followed)"),
    ]);
    check("neither strategy nor sticky has a say (§3a)", &[LABEL, (STICKY, "false"), (STRATEGY, "newest")], &[
        (|l| l.world.put_pod(pod("z").created(999)), "Serving a | s-leader: a"),
        (|l| ready(l, "c", false), "Serving a | s-leader: a"),
    ]);
    check("it has to be Ready for long enough (§3a)", &[LABEL, (MIN_READY_DURATION, "10s")], &[
        (|l| { ready(l, "b", false); ready(l, "b", true); moves(l, "a", "b"); }, "Serving a | s-leader: a"),
        (|l| wait(l, 1), "Electing | s-leader: - | NoReadyPods (unnamed)"),
        (|l| wait(l, 8), "Electing | s-leader: -"),
        (|l| wait(l, 1), "Serving b | s-leader: b | LeaderRoutingAvailable"),
    ]);
    check("a node that is about to go is no reason to leave it (§3a)", &[LABEL], &[
        (|l| { l.nodes.leaving.insert("node-a".into()); }, "Serving a | s-leader: a"),
        (|l| { let now = l.world.now().moment; l.nodes.down.insert("node-a".into(), now); }, "Serving a | s-leader: a"),
        (|l| wait(l, 60), "Serving a | s-leader: a"),
        (|l| l.world.edit_pod("a", |pod| pod.disrupted = true), "Serving a, leaving | s-leader: a"),
    ]);
}

#[test]
#[rustfmt::skip]
fn a_named_pod_that_is_not_eligible() {
    check("a leader that is not Ready is kept for a moment (§3a)", &[LABEL], &[
        (|l| ready(l, "a", false), "Serving a, suspect | s-leader: a"),
        (|l| milliseconds(l, 249), "Serving a, suspect | s-leader: a"),
        (|l| milliseconds(l, 1), "Electing | s-leader: - | NoReadyPods (noneReady)"),
        (|l| ready(l, "a", true), "Serving a | s-leader: a | LeaderRoutingAvailable"),
    ]);
    check("one that terminates is the last resort (§3a)", &[LABEL], &[
        (|l| l.world.edit_pod("a", |pod| pod.terminating = true), "Serving a, leaving | s-leader: a (terminating)"),
        (|l| wait(l, 30), "Serving a, leaving | s-leader: a (terminating)"),
        (|l| l.world.delete_pod("a"), "Electing | s-leader: - | NoLeaderToFollow (deleted)"),
        (|l| role(l, "c", true), "Serving c | s-leader: c | LeaderRoutingAvailable"),
    ]);
    check("one without an address goes at once (§3a)", &[LABEL], &[
        (|l| l.world.edit_pod("a", |pod| pod.ips.clear()), "Electing | s-leader: - | NoReadyPods (noIP)"),
    ]);
    check("another leader is kept for a moment only (§3a)", &[LABEL], &[
        (|l| { ready(l, "b", false); moves(l, "a", "b"); }, "Serving a | s-leader: a"),
        (|l| milliseconds(l, 249), "Serving a | s-leader: a"),
        (|l| milliseconds(l, 1), "Electing | s-leader: - | NoReadyPods (unnamed)"),
        (|l| ready(l, "b", true), "Serving b | s-leader: b | LeaderRoutingAvailable"),
    ]);
    check("or until the named one is eligible (§3a)", &[LABEL], &[
        (|l| { ready(l, "b", false); moves(l, "a", "b"); }, "Serving a | s-leader: a"),
        (|l| ready(l, "b", true), "Serving b | s-leader: b | LeaderChanged (followed)"),
    ]);
    check("the storm guard does not keep it (§3a)", &[LABEL], &[
        (|l| { l.spent = Some(Spent { until: Moment(i64::MAX), scope: BudgetScope::Service }); role(l, "a", false); }, "Serving a | s-leader: a"),
        (|l| milliseconds(l, 250), "Electing | s-leader: - | NoLeaderToFollow (unnamed)"),
    ]);
}

#[test]
#[rustfmt::skip]
fn no_pod_is_named() {
    check("the leader is kept for a moment (§3a)", &[LABEL], &[
        (|l| role(l, "a", false), "Serving a | s-leader: a"),
        (|l| milliseconds(l, 250), "Electing | s-leader: - | NoLeaderToFollow (unnamed)"),
        (|l| wait(l, 600), "Electing | s-leader: -"),
    ]);
    check("as long as it is asked to be (§1 failover-min-delay)", &[LABEL, (FAILOVER_MIN_DELAY, "0s")], &[
        (|l| role(l, "a", false), "Electing | s-leader: - | NoLeaderToFollow (unnamed)"),
    ]);
    check("the last leader has no right to return (§3a)", &[LABEL], &[
        (|l| role(l, "a", false), "Serving a | s-leader: a"),
        (|l| wait(l, 1), "Electing | s-leader: - | NoLeaderToFollow (unnamed)"),
        (|l| { l.crash(); }, "Electing | s-leader: - | NoLeaderToFollow"),
        (|l| ["b", "c"].iter().for_each(|p| ready(l, p, false)), "Electing | s-leader: -"),
    ]);
    check("without any pod (§4)", &[LABEL], &[
        (|l| ["a", "b", "c"].iter().for_each(|p| l.world.delete_pod(p)), "Electing | s-leader: - | NoPodsFound (deleted)"),
    ]);
    check("a holder that gives its Lease back (§3a)", &[LEASE], &[
        (|l| write(l, ""), "Serving a | s-leader: a"),
        (|l| milliseconds(l, 250), "Electing | s-leader: - | NoLeaderToFollow (unnamed)"),
        (|l| wait(l, 60), "Electing | s-leader: -"),
        (|l| write(l, "b"), "Serving b | s-leader: b | LeaderRoutingAvailable"),
    ]);
}

#[test]
#[rustfmt::skip]
fn what_is_followed_says_nothing_yet() {
    check("adding the annotation moves nothing until a pod was named (§3a)", &[], &[
        (|l| l.world.annotate("s", FOLLOW, Some("label/role=primary")), "Serving a | s-leader: a | NoLeaderToFollow"),
        (|l| wait(l, 60), "Serving a | s-leader: a"),
        (|l| role(l, "b", true), "Serving b | s-leader: b | LeaderChanged (followed)"),
        (|l| role(l, "b", false), "Serving b | s-leader: b"),
        (|l| wait(l, 1), "Electing | s-leader: - | NoLeaderToFollow (unnamed)"),
    ]);
    check("removing it moves nothing (§3a)", &[LABEL], &[
        (|l| moves(l, "a", "b"), "Serving b | s-leader: b | LeaderChanged (followed)"),
        (|l| l.world.annotate("s", FOLLOW, None), "Serving b | s-leader: b"),
        (|l| role(l, "c", true), "Serving b | s-leader: b"),
        (|l| ready(l, "b", false), "Serving a | s-leader: a | LeaderChanged (notReady)"),
    ]);
    check("an identity that never matched a pod moves nothing (§3a)", &[], &[
        (|l| { l.world.annotate("s", FOLLOW, Some("lease/db")); write(l, "a1b2c3"); }, "Serving a | s-leader: a | NoLeaderToFollow"),
        (|l| wait(l, 10), "Serving a | s-leader: a"),
        (|l| write(l, "b"), "Serving b | s-leader: b | LeaderChanged (followed)"),
        (|l| write(l, "a1b2c3"), "Serving b | s-leader: b"),
        (|l| wait(l, 1), "Electing | s-leader: - | NoLeaderToFollow (unnamed)"),
    ]);
    check("a typo keeps what was followed (§1)", &[LABEL], &[
        (|l| l.world.annotate("s", FOLLOW, Some("lable/role=primary")), "Serving a | s-leader: a | InvalidAnnotation"),
        (|l| moves(l, "a", "b"), "Serving b | s-leader: b | LeaderChanged (followed)"),
    ]);
    check("after a restart it holds everything still (§1)", &[LABEL], &[
        (|l| { l.world.annotate("s", FOLLOW, Some("lable/role=primary")); l.crash(); },
            "Serving a | s-leader: a | InvalidAnnotation, NoLeaderToFollow"),
        (|l| moves(l, "a", "b"), "Serving a | s-leader: a"),
        (|l| ready(l, "a", false), "Serving a, paused | s-leader: a"),
        (|l| l.world.delete_pod("a"), "Electing | s-leader: - | NoLeaderToFollow (deleted)"),
        (|l| l.world.annotate("s", FOLLOW, Some("label/role=primary")), "Serving b | s-leader: b | LeaderRoutingAvailable"),
    ]);
}

#[test]
#[rustfmt::skip]
fn two_pods_are_named() {
    check("the published one stays, and users are told (§3a)", &[LABEL], &[
        (|l| l.world.put_pod(pod("d").and_label("role", "primary")), "Serving a | s-leader: a"),
        (|l| milliseconds(l, 250), "Serving a | s-leader: a | AmbiguousLeader"),
        (|l| wait(l, 60), "Serving a | s-leader: a"),
        (|l| role(l, "d", false), "Serving a | s-leader: a"),
    ]);
    check("the newer label counts, and users are told if the older one stays (§3a)", &[LABEL], &[
        (|l| role(l, "b", true), "Serving b | s-leader: b | LeaderChanged (followed)"),
        (|l| wait(l, 1), "Serving b | s-leader: b | AmbiguousLeader"),
        (|l| { l.crash(); }, "Serving b | s-leader: b"),
        (|l| wait(l, 1), "Serving b | s-leader: b | AmbiguousLeader"),
        (|l| role(l, "a", false), "Serving b | s-leader: b"),
    ]);
    check("if neither is published, the leader is kept for a moment (§3a)", &[LABEL], &[
        (|l| { role(l, "a", false); for p in ["d", "e"] { l.world.put_pod(pod(p).and_label("role", "primary")); } }, "Serving a | s-leader: a"),
        (|l| milliseconds(l, 250), "Electing | s-leader: - | AmbiguousLeader (unnamed)"),
        (|l| role(l, "d", false), "Serving e | s-leader: e | LeaderRoutingAvailable"),
    ]);
}

#[test]
#[rustfmt::skip]
fn a_lease_names_the_leader() {
    check("its holder leads (§3a)", &[LEASE], &[
        (|l| write(l, "b_5f1b9c2e"), "Serving b | s-leader: b | LeaderChanged (followed)"),
        (|l| { wait(l, 10); write(l, "b_5f1b9c2e"); wait(l, 10); }, "Serving b | s-leader: b"),
    ]);
    check("silence moves and withdraws nothing (§3a)", &[LEASE], &[
        (|l| wait(l, 3_600), "Serving a | s-leader: a"),
        (|l| ready(l, "a", false), "Serving a, suspect | s-leader: a"),
        (|l| milliseconds(l, 250), "Electing | s-leader: - | NoLeaderToFollow (noneReady)"),
        (|l| ready(l, "a", true), "Electing | s-leader: -"),
        (|l| write(l, "a"), "Serving a | s-leader: a | LeaderRoutingAvailable"),
    ]);
    check("nor does it complete a change that has begun (§3a)", &[LEASE, (FAILOVER_MIN_DELAY, "20s")], &[
        (|l| { ready(l, "b", false); write(l, "b"); }, "Serving a | s-leader: a"),
        (|l| wait(l, 3_600), "Serving a | s-leader: a"),
        (|l| ready(l, "b", true), "Serving a | s-leader: a"),
    ]);
    check("nor does its deletion (§3a)", &[LEASE], &[
        (|l| l.world.lease = Lease::Absent(Absence::NotFound), "Serving a | s-leader: a"),
        (|l| { l.crash(); }, "Serving a | s-leader: a"),
        (|l| l.world.lease = Lease::Absent(Absence::Forbidden), "Serving a | s-leader: a"),
        (|l| l.world.lease = Lease::Unread, "Serving a | s-leader: a"),
        (|l| wait(l, 600), "Serving a | s-leader: a"),
    ]);
    check("a holder that is gone (§3a)", &[LEASE], &[
        (|l| l.world.delete_pod("a"), "Electing | s-leader: - | NoLeaderToFollow (deleted)"),
    ]);
    check("a pod that comes back under the holder's name has to write first (§3a)", &[LEASE], &[
        (|l| l.world.delete_pod("a"), "Electing | s-leader: - | NoLeaderToFollow (deleted)"),
        (|l| { wait(l, 1); l.world.put_pod(pod("a")); }, "Electing | s-leader: - | NoLeaderToFollow"),
        (|l| { wait(l, 1); write(l, "a"); }, "Serving a | s-leader: a | LeaderRoutingAvailable"),
    ]);
    check("a published pod that appeared later than the last write is not spoken against (§3a)", &[LEASE], &[
        (|l| age_lease(l, 2_000), "Serving a | s-leader: a"),
        (|l| wait(l, 1), "Serving a | s-leader: a"),
        (|l| write(l, "x"), "Serving a | s-leader: a"),
        (|l| wait(l, 1), "Electing | s-leader: - | NoLeaderToFollow (unnamed)"),
    ]);
    check("a restart takes what is there (§3a)", &[LEASE], &[
        (|l| { wait(l, 3_600); l.crash(); }, "Serving a | s-leader: a"),
        (|l| { l.world.delete_pod("a"); l.settle(); wait(l, 1); l.world.put_pod(pod("a")); l.crash(); },
            "Serving a | s-leader: a | NoLeaderToFollow (deleted), LeaderRoutingAvailable"),
    ]);
    check("what it was published by outlives a restart (§3a)", &[LEASE], &[
        (|l| write(l, "b"), "Serving b | s-leader: b | LeaderChanged (followed)"),
        (|l| { write(l, "x"); l.crash(); }, "Serving b | s-leader: b"),
        (|l| milliseconds(l, 250), "Electing | s-leader: - | NoLeaderToFollow (unnamed)"),
    ]);
    check("another Lease has to name a pod first (§3a)", &[LEASE], &[
        (|l| { l.world.annotate("s", FOLLOW, Some("lease/other")); write(l, "x"); }, "Serving a | s-leader: a | NoLeaderToFollow"),
        (|l| { l.crash(); wait(l, 10); }, "Serving a | s-leader: a | NoLeaderToFollow"),
    ]);
}

#[test]
#[rustfmt::skip]
fn others_have_no_say_while_following() {
    check("a pause holds the published pod (§1 paused)", &[LABEL, (PAUSED, "true")], &[
        (|l| l.world.annotate("s", PAUSED, None), "Serving a | s-leader: a | LeaderRoutingAvailable"),
        (|l| { l.world.annotate("s", PAUSED, Some("true")); moves(l, "a", "b"); }, "Serving a | s-leader: a"),
        (|l| wait(l, 60), "Serving a | s-leader: a"),
        (|l| l.world.annotate("s", PAUSED, None), "Serving b | s-leader: b | LeaderChanged (followed)"),
    ]);
    check("a preferred leader is not carried out (§3a)", &[LABEL], &[
        (|l| prefer(l, "b"), "Serving a | s-leader: a | InvalidAnnotation"),
    ]);
    check("a hand edit is drift (§1)", &[LABEL], &[
        (|l| redirect(l, "s-leader", "b"), "Serving a | s-leader: a"),
    ]);
    let mut l = lab(&[LABEL, (PAUSED, "true")]);
    l.crash().settle();
    let text = &l.notes.last().expect("a Warning").message;
    assert!(text.contains("Pod a has the label role=primary"), "{text}");
    prefer(&mut l, "b");
    l.forget().settle();
    let text = &l.notes[0].message;
    assert!(text.contains(PREFERRED_LEADER) && text.contains("the application decides"), "{text}");
}

/// The record is written with the endpoint and never by itself.
#[test]
fn the_record_of_a_followed_leader_causes_no_write() {
    let recorded = |l: &Lab| {
        let annotations = &l.world.slices["s-leader"]["metadata"]["annotations"];
        annotations[LEADER_NAMED_BY].as_str().map(String::from)
    };
    let mut l = lab(&[LABEL]);
    assert_eq!(recorded(&l).as_deref(), Some("label/role=primary"));
    l.crash().settle();
    assert_eq!(l.writes, [], "a restart");
    l.world.annotate("s", FOLLOW, Some("label/role=leader"));
    l.settle();
    l.world.annotate("s", FOLLOW, None);
    l.settle();
    assert_eq!(l.writes, [], "another value, or none");
    assert_eq!(recorded(&l).as_deref(), Some("label/role=primary"));
    ready(&mut l, "a", false);
    l.settle();
    assert_eq!(recorded(&l), None, "it leads by an election");
    l.world.annotate("s", FOLLOW, Some("label/role=primary"));
    role(&mut l, "a", false);
    role(&mut l, "b", true);
    l.settle();
    l.forget();
    role(&mut l, "c", true);
    assert_eq!(l.look().len(), 1);
    l.settle();
    let slices = l
        .writes
        .iter()
        .filter(|write| write.target.kind == Kind::Slice);
    assert_eq!(slices.count(), 1, "one patch for a move");
    role(&mut l, "b", false);
    role(&mut l, "c", false);
    l.settle();
    wait(&mut l, 1);
    assert_eq!((l.objects(), recorded(&l)), ("s-leader: -".into(), None));
}

#[test]
fn the_state_is_shown() {
    let mut l = lab(&[LEASE]);
    assert_eq!(follow_state(&l), Some(State::Named));
    write(&mut l, "x");
    assert_eq!(follow_state(&l), Some(State::Unknown));
    write(&mut l, "");
    assert_eq!(follow_state(&l), Some(State::None));
    wait(&mut l, 20);
    write(&mut l, "b");
    wait(&mut l, 20);
    assert_eq!(follow_state(&l), Some(State::Silent));
    l.world.annotate("s", FOLLOW, Some("label/app=s"));
    assert_eq!(follow_state(&l), Some(State::Ambiguous));
    l.world.annotate("s", FOLLOW, None);
    assert_eq!(follow_state(&l), None);
}
