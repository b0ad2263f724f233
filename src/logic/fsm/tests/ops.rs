//! Stories of operators: a planned switchover, a pause, and where new leaders go.

use std::time::Duration;

use serde_json::Value;

use super::story::{check, lab, prefer, ready, wait};
use crate::logic::budget::{BudgetScope, Spent};
use crate::logic::plan::{Kind, Lane};
use crate::logic::testkit::{Lab, pod};
use crate::logic::well_known::{
    FAILOVER_MIN_DELAY, HANDLED_SWITCHOVER, LEADER_SERVICE_NAME, LEADER_SERVICE_TYPE,
    MIN_READY_DURATION, PAUSED, PREFERRED_LEADER, STICKY, STRATEGY,
};

fn clear_preference(lab: &mut Lab) {
    lab.world.annotate("s", PREFERRED_LEADER, None);
}

fn pause(lab: &mut Lab, is: &str) {
    lab.world.annotate("s", PAUSED, Some(is));
}

/// The budget for failovers is used up for so long, or has something in it.
fn spend(lab: &mut Lab, seconds: Option<u64>) {
    let now = lab.world.now().moment;
    lab.spent = seconds.map(|seconds| Spent {
        until: now + Duration::from_secs(seconds),
        scope: BudgetScope::Service,
    });
}

/// The pod is deleted and comes back under its name.
fn recreate(lab: &mut Lab, name: &str) {
    lab.world.delete_pod(name);
    lab.settle();
    lab.world.put_pod(pod(name).created(900).ready_at(900));
}

#[test]
#[rustfmt::skip]
fn switchovers_happen_once() {
    check("a pod is asked for once, and what comes later is by the rules (§1 preferred-leader)", &[], &[
        (|l| prefer(l, "c"), "Serving c | s-leader: c | LeaderChanged (switchover)"),
        (|l| ready(l, "c", false), "Serving a | s-leader: a | LeaderChanged (notReady)"),
        (|l| ready(l, "c", true), "Serving a | s-leader: a"),
        (|l| { l.crash(); }, "Serving a | s-leader: a"),
    ]);
    check("a pod that comes back under its name gets nothing back by itself (§1 preferred-leader)", &[], &[
        (|l| prefer(l, "c"), "Serving c | s-leader: c | LeaderChanged (switchover)"),
        (|l| recreate(l, "c"), "Serving a | s-leader: a | LeaderChanged (deleted)"),
        (|l| { l.crash(); }, "Serving a | s-leader: a"),
    ]);
    check("a request for the pod that already leads is fulfilled at once (§1 preferred-leader)", &[], &[
        (|l| prefer(l, "a"), "Serving a | s-leader: a"),
        (|l| ready(l, "a", false), "Serving b | s-leader: b | LeaderChanged (notReady)"),
        (|l| ready(l, "a", true), "Serving b | s-leader: b"),
    ]);
    check("another value is another request, and so is the first one again (§1 preferred-leader)", &[], &[
        (|l| prefer(l, "c"), "Serving c | s-leader: c | LeaderChanged (switchover)"),
        (|l| prefer(l, "b"), "Serving b | s-leader: b | LeaderChanged (switchover)"),
        (|l| prefer(l, "c"), "Serving c | s-leader: c | LeaderChanged (switchover)"),
    ]);
    check("so is the same one taken away and set again, once it was lost (§1 preferred-leader)", &[], &[
        (|l| prefer(l, "c"), "Serving c | s-leader: c | LeaderChanged (switchover)"),
        (|l| ready(l, "c", false), "Serving a | s-leader: a | LeaderChanged (notReady)"),
        (|l| ready(l, "c", true), "Serving a | s-leader: a"),
        (clear_preference, "Serving a | s-leader: a"),
        (|l| prefer(l, "c"), "Serving c | s-leader: c | LeaderChanged (switchover)"),
    ]);
    check("to take the request away moves nothing (§1 preferred-leader)", &[], &[
        (|l| prefer(l, "c"), "Serving c | s-leader: c | LeaderChanged (switchover)"),
        (clear_preference, "Serving c | s-leader: c"),
        (|l| { l.crash(); }, "Serving c | s-leader: c"),
    ]);
    check("the strategy takes nothing back, with the request or without (§1 preferred-leader)", &[(STICKY, "false")], &[
        (|l| prefer(l, "c"), "Serving c | s-leader: c | LeaderChanged (switchover)"),
        (|l| { l.crash(); }, "Serving c | s-leader: c"),
        (clear_preference, "Serving c | s-leader: c"),
        (|l| { l.crash(); }, "Serving c | s-leader: c"),
        (|l| ready(l, "c", false), "Serving a | s-leader: a | LeaderChanged (notReady)"),
        (|l| ready(l, "c", true), "Serving a | s-leader: a"),
    ]);
}

#[test]
#[rustfmt::skip]
fn switchovers_wait_for_their_pod() {
    check("a pod that is not there yet takes over when it is (§1 preferred-leader)", &[], &[
        (|l| prefer(l, "d"), "Serving a | s-leader: a"),
        (|l| l.world.put_pod(pod("d").created(900).not_ready()), "Serving a | s-leader: a"),
        (|l| ready(l, "d", true), "Serving d | s-leader: d | LeaderChanged (switchover)"),
    ]);
    check("it has to be Ready for long enough (§1 min-ready-duration)", &[(MIN_READY_DURATION, "10s")], &[
        (|l| ready(l, "c", false), "Serving a | s-leader: a"),
        (|l| ready(l, "c", true), "Serving a | s-leader: a"),
        (|l| prefer(l, "c"), "Serving a | s-leader: a"),
        (|l| wait(l, 9), "Serving a | s-leader: a"),
        (|l| wait(l, 1), "Serving c | s-leader: c | LeaderChanged (switchover)"),
    ]);
    check("a request outlives a failover to another pod (§1 preferred-leader)", &[], &[
        (|l| ready(l, "c", false), "Serving a | s-leader: a"),
        (|l| prefer(l, "c"), "Serving a | s-leader: a"),
        (|l| l.world.delete_pod("a"), "Serving b | s-leader: b | LeaderChanged (deleted)"),
        (|l| { l.crash(); }, "Serving b | s-leader: b"),
        (|l| ready(l, "c", true), "Serving c | s-leader: c | LeaderChanged (switchover)"),
    ]);
    check("and a change of name (§1 leader-service-name)", &[], &[
        (|l| prefer(l, "c"), "Serving c | s-leader: c | LeaderChanged (switchover)"),
        (|l| l.world.annotate("s", LEADER_SERVICE_NAME, Some("main")), "Serving c | main: c"),
        (|l| ready(l, "c", false), "Serving a | main: a | LeaderChanged (notReady)"),
        (|l| { l.crash(); }, "Serving a | main: a"),
        (|l| ready(l, "c", true), "Serving a | main: a"),
    ]);
    check("what cannot be read leaves the last request as it is (§1)", &[], &[
        (|l| prefer(l, "c"), "Serving c | s-leader: c | LeaderChanged (switchover)"),
        (|l| prefer(l, "No Pod"), "Serving c | s-leader: c | InvalidAnnotation"),
        (|l| ready(l, "c", false), "Serving a | s-leader: a | LeaderChanged (notReady)"),
        (|l| ready(l, "c", true), "Serving a | s-leader: a"),
    ]);
    check("a leader that is patiently kept hands over all the same (§1 failover-min-delay)", &[(FAILOVER_MIN_DELAY, "30s")], &[
        (|l| ready(l, "a", false), "Serving a, suspect | s-leader: a"),
        (|l| prefer(l, "c"), "Serving c | s-leader: c | LeaderChanged (switchover)"),
    ]);
}

fn handled(lab: &Lab) -> Value {
    lab.world.services["s-leader"]["metadata"]["annotations"][HANDLED_SWITCHOVER].clone()
}

#[test]
fn a_switchover_is_two_writes_and_kept_on_the_leader_service() {
    let mut lab = lab(&[]);
    prefer(&mut lab, "c");
    lab.settle();
    let lanes: Vec<_> = lab
        .writes
        .iter()
        .map(|write| (write.target.kind, write.lane))
        .collect();
    let expected = [
        (Kind::Slice, Lane::Failover),
        (Kind::Service, Lane::Trailing),
    ];
    assert_eq!(lanes, expected, "the memory goes with the identity");
    let uid = &lab.world.pods["c"].uid;
    assert_eq!(handled(&lab), format!("c/{uid}"));
    lab.forget();
    clear_preference(&mut lab);
    lab.settle();
    assert_eq!(lab.writes, [], "it leads still");
    lab.world.delete_pod("c");
    lab.settle();
    assert_eq!(handled(&lab), Value::Null, "it leads no more");
}

#[test]
fn a_crash_before_the_memory_is_written_repeats_nothing() {
    let mut lab = lab(&[(STICKY, "false")]);
    prefer(&mut lab, "c");
    assert!(lab.round(), "the slice");
    lab.crash().forget();
    lab.settle();
    assert_eq!(lab.summary(), "Serving c | s-leader: c");
    assert!(handled(&lab).is_string());
}

#[test]
fn a_switchover_that_no_slice_has_shown_is_still_to_come() {
    let mut lab = lab(&[]);
    prefer(&mut lab, "c");
    assert_eq!(lab.look().len(), 1, "not sent");
    ready(&mut lab, "c", false);
    lab.settle();
    assert_eq!(lab.objects(), "s-leader: a");
    ready(&mut lab, "c", true);
    lab.settle();
    assert_eq!(lab.objects(), "s-leader: c");
}

#[test]
#[rustfmt::skip]
fn pauses_have_an_end() {
    check("the end of a pause decides at once (§1 paused)", &[(PAUSED, "true")], &[
        (|_| {}, "Electing | s-leader: -"),
        (|l| pause(l, "false"), "Serving a | s-leader: a | LeaderRoutingAvailable"),
        (|l| pause(l, "true"), "Serving a | s-leader: a"),
        (|l| ready(l, "a", false), "Serving a, paused | s-leader: a"),
        (|l| { l.crash(); }, "Serving a, paused | s-leader: a"),
        (|l| pause(l, "false"), "Serving b | s-leader: b | LeaderChanged (notReady)"),
    ]);
    check("a switchover waits for it (§1 paused)", &[], &[
        (|l| pause(l, "true"), "Serving a | s-leader: a"),
        (|l| prefer(l, "c"), "Serving a | s-leader: a"),
        (|l| pause(l, "false"), "Serving c | s-leader: c | LeaderChanged (switchover)"),
    ]);
    check("an address of its own is all a leader needs to stay (§1 paused)", &[], &[
        (|l| pause(l, "true"), "Serving a | s-leader: a"),
        (|l| l.world.edit_pod("a", |p| p.terminating = true), "Serving a, paused | s-leader: a (terminating)"),
        (|l| l.world.edit_pod("a", |p| p.ips = vec!["10.1.7.7".into()]), "Serving a, paused | s-leader: a (terminating)"),
        (|l| l.world.edit_pod("a", |p| p.ips.clear()), "Electing | s-leader: - | Paused (terminating)"),
        (|l| l.world.edit_pod("a", |p| p.ips = vec!["10.1.7.7".into()]), "Electing | s-leader: -"),
        (|l| pause(l, "false"), "Serving b | s-leader: b | LeaderRoutingAvailable"),
    ]);
    check("a leader that loses its labels goes, and does not come back by itself (§1 paused)", &[], &[
        (|l| pause(l, "true"), "Serving a | s-leader: a"),
        (|l| l.world.edit_pod("a", |p| *p = p.clone().labelled("app", "x")), "Electing | s-leader: - | Paused (unlabelled)"),
        (|l| l.world.edit_pod("a", |p| *p = p.clone().labelled("app", "s")), "Electing | s-leader: -"),
        (|l| { l.crash(); }, "Electing | s-leader: - | Paused"),
        (|l| pause(l, "false"), "Serving a | s-leader: a | LeaderRoutingAvailable"),
    ]);
    check("what the leader Service is made of follows the source as ever (§1 paused)", &[], &[
        (|l| pause(l, "true"), "Serving a | s-leader: a"),
        (|l| l.world.annotate("s", LEADER_SERVICE_TYPE, Some("NodePort")), "Serving a | s-leader: a"),
        (|l| l.world.delete(Kind::Service, "s-leader"), "Serving a | s-leader: a"),
    ]);
}

#[test]
fn a_paused_leader_that_serves_no_more_is_called_so() {
    let mut lab = lab(&[(PAUSED, "false")]);
    pause(&mut lab, "true");
    lab.world.edit_pod("a", |pod| pod.terminating = true);
    lab.settle();
    let conditions = |lab: &Lab| lab.world.slices["s-leader"]["endpoints"][0]["conditions"].clone();
    let serving = serde_json::json!({"ready": false, "serving": true, "terminating": true});
    assert_eq!(conditions(&lab), serving);
    ready(&mut lab, "a", false);
    lab.settle();
    assert_eq!(conditions(&lab)["serving"], false);
}

#[test]
#[rustfmt::skip]
fn new_leaders_go_where_few_are() {
    let busy = |lab: &mut Lab, node: &str| lab.spread.moved(None, Some(&node.into()));
    let mut lab = lab(&[(STRATEGY, "node-spread")]);
    assert_eq!(lab.objects(), "s-leader: a", "the oldest, where all are alike");
    busy(&mut lab, "node-b");
    busy(&mut lab, "node-a");
    busy(&mut lab, "node-a");
    lab.settle();
    assert_eq!(lab.objects(), "s-leader: a", "the leader remains leader");
    lab.world.delete_pod("a");
    lab.settle();
    assert_eq!(lab.objects(), "s-leader: c", "its node has no leader");
    lab.wait(Duration::from_mins(1));
    lab.world.put_pod(pod("a").created(1));
    lab.settle();
    assert_eq!(lab.objects(), "s-leader: c");
}

#[test]
#[rustfmt::skip]
fn ranks_move_leaders_only_without_sticky() {
    check("with sticky a higher rank waits for its turn (§3 priority)", &[(STRATEGY, "priority")], &[
        (|l| l.world.edit_pod("c", |p| p.priority = Some("9")), "Serving a | s-leader: a"),
        (|l| ready(l, "a", false), "Serving c | s-leader: c | LeaderChanged (notReady)"),
    ]);
    check("without sticky it leads at once (§3 priority)", &[(STRATEGY, "priority"), (STICKY, "false")], &[
        (|l| l.world.edit_pod("c", |p| p.priority = Some("9")), "Serving c | s-leader: c | LeaderChanged (strategy)"),
        (|l| l.world.edit_pod("b", |p| p.priority = Some("10")), "Serving b | s-leader: b | LeaderChanged (strategy)"),
        (|l| l.world.edit_pod("b", |p| p.priority = Some("ten")), "Serving c | s-leader: c | InvalidAnnotation, LeaderChanged (strategy)"),
        (|l| l.world.edit_pod("c", |p| p.priority = None), "Serving a | s-leader: a | LeaderChanged (strategy)"),
    ]);
}

#[test]
#[rustfmt::skip]
fn a_budget_that_is_used_up_keeps_leaders_while_they_have_an_address() {
    check("a flapping probe moves nothing, and it is told once", &[], &[
        (|l| spend(l, Some(60)), "Serving a | s-leader: a"),
        (|l| ready(l, "a", false), "Serving a, guarded | s-leader: a | FailoverBudgetExceeded"),
        (|l| ready(l, "b", false), "Serving a, guarded | s-leader: a"),
        (|l| ready(l, "a", true), "Serving a | s-leader: a"),
        (|l| ready(l, "a", false), "Serving a, guarded | s-leader: a | FailoverBudgetExceeded"),
        (|l| spend(l, None), "Serving c | s-leader: c | LeaderChanged (notReady)"),
    ]);
    check("a leader that is gone is not kept", &[], &[
        (|l| { spend(l, Some(60)); ready(l, "a", false); }, "Serving a, guarded | s-leader: a | FailoverBudgetExceeded"),
        (|l| l.world.delete_pod("a"), "Serving b | s-leader: b | LeaderChanged (deleted)"),
        (|l| l.world.edit_pod("b", |p| p.ips.clear()), "Serving c | s-leader: c | LeaderChanged (noIP)"),
        (|l| l.world.edit_pod("c", |p| p.phase = "Failed"), "Electing | s-leader: - | NoReadyPods (noneReady)"),
    ]);
    check("without a Ready pod the slice is not emptied either", &[], &[
        (|l| { spend(l, Some(60)); for p in ["a", "b", "c"] { ready(l, p, false); } }, "Serving a, guarded | s-leader: a | FailoverBudgetExceeded"),
        (|l| { l.crash(); spend(l, None); }, "Electing | s-leader: - | NoReadyPods (noneReady)"),
    ]);
    check("a switchover is no failover", &[], &[
        (|l| { spend(l, Some(60)); ready(l, "a", false); }, "Serving a, guarded | s-leader: a | FailoverBudgetExceeded"),
        (|l| prefer(l, "c"), "Serving c | s-leader: c | LeaderChanged (switchover)"),
    ]);
}

#[test]
fn who_was_never_shown_is_not_kept() {
    let decided = |settings: &[(&str, &str)], others: &[&str]| {
        let mut lab = lab(settings);
        for pod in others {
            lab.world.delete_pod(pod);
        }
        assert_eq!(lab.look().len(), 1, "not sent");
        assert_eq!(lab.state(), "Serving a", "the slice says so");
        lab
    };
    let mut guarded = decided(&[], &["a"]);
    spend(&mut guarded, Some(60));
    ready(&mut guarded, "b", false);
    guarded.settle();
    assert_eq!(guarded.objects(), "s-leader: c", "that failover goes on");

    let mut suspect = decided(&[(FAILOVER_MIN_DELAY, "30s")], &["a"]);
    ready(&mut suspect, "b", false);
    suspect.settle();
    assert_eq!(suspect.objects(), "s-leader: c");

    let mut leaving = decided(&[], &["a", "c"]);
    leaving.world.edit_pod("b", |pod| pod.terminating = true);
    leaving.settle();
    assert_eq!(leaving.objects(), "s-leader: -", "nor without a successor");

    let mut silent = decided(&[], &["a", "c"]);
    let node = silent.snapshot().pods[0].node.clone().expect("scheduled");
    let now = silent.world.now().moment;
    silent.nodes.down.insert(node, now);
    silent.settle();
    assert_eq!(silent.objects(), "s-leader: -", "its node is silent (§3)");
}

#[test]
fn a_budget_has_a_deadline() {
    let mut lab = lab(&[]);
    spend(&mut lab, Some(60));
    ready(&mut lab, "a", false);
    lab.settle();
    let until = lab.spent.map(|spent| spent.until);
    assert_eq!(lab.peek().deadline, until);
}
