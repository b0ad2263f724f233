//! One claim, step by step: time in milliseconds.

use std::time::Duration;

use serde_json::{Value, json};

use crate::logic::claim::{Claim, ClaimEvent, LeaseAnswer, LeaseParams, LeaseRequest, Purpose};
use crate::logic::model::{Key, Lease};
use crate::logic::time::{Moment, Now};

const ME: &str = "me_1";

fn terms() -> LeaseParams {
    LeaseParams {
        lease: Key::new("n", "l"),
        identity: ME.into(),
        pod: None,
        duration: Duration::from_secs(4),
        renew_deadline: Duration::from_secs(3),
        retry_period: Duration::from_secs(1),
    }
}

fn lease(version: u64, holder: &str, seconds: i64) -> Lease {
    let value = json!({
        "metadata": { "name": "l", "namespace": "n", "uid": "u", "resourceVersion": version.to_string() },
        "spec": { "holderIdentity": holder, "leaseDurationSeconds": seconds, "leaseTransitions": 6 },
    });
    serde_json::from_value(value).expect("it is a Lease")
}

fn seen(version: u64, holder: &str) -> ClaimEvent {
    ClaimEvent::Seen(Box::new(lease(version, holder, 4)))
}

fn answered(version: u64, holder: &str) -> ClaimEvent {
    ClaimEvent::Answered(LeaseAnswer::Lease(Box::new(lease(version, holder, 4))))
}

const ABSENT: ClaimEvent = ClaimEvent::Answered(LeaseAnswer::Absent);
const OVERTAKEN: ClaimEvent = ClaimEvent::Answered(LeaseAnswer::Overtaken);
const FAILED: ClaimEvent = ClaimEvent::Answered(LeaseAnswer::Failed {
    at_least: Duration::ZERO,
});

/// A claim on its way.
struct Story {
    claim: Option<Claim>,
    asked: Option<LeaseRequest>,
    deadline: Option<i64>,
}

impl Story {
    fn new() -> Self {
        Self {
            claim: Some(Claim::new(terms())),
            asked: None,
            deadline: None,
        }
    }

    /// One that knows its pod, and is synced once it has read the Lease.
    fn in_pod() -> Self {
        let mut story = Self::new();
        story.claim = Some(Claim::new(LeaseParams {
            identity: "zl-0_u_2".into(),
            pod: Some("zl-0_u".into()),
            ..terms()
        }));
        story.at(0, ClaimEvent::Tick, Some(Purpose::Read));
        story
    }

    /// One that was synced and found no Lease.
    fn first() -> Self {
        let mut story = Self::new();
        story.at(0, ClaimEvent::Tick, Some(Purpose::Read));
        story.at(5, ABSENT, None);
        story.at(20, ClaimEvent::Synced, Some(Purpose::Create));
        story.at(30, answered(1, ME), None);
        story
    }

    /// One that stands by, synced, and saw another's renewal at 0.
    fn second() -> Self {
        let mut story = Self::new();
        story.at(-10, ClaimEvent::Tick, Some(Purpose::Read));
        story.at(0, answered(1, "you"), None);
        story.at(0, ClaimEvent::Synced, None);
        story
    }

    /// At that time this happens, and then it asks for that.
    #[track_caller]
    fn at(&mut self, ms: i64, event: ClaimEvent, asks: Option<Purpose>) {
        let what = format!("{event:?} at {ms}");
        let now = Now {
            moment: Moment(ms * 1_000),
            wall: "2026-01-01T00:00:00.25Z".parse().expect("a time"),
        };
        let claim = self.claim.take().expect("it was put back");
        let step = claim.step(event, now, 0.5);
        let asked = step.request.as_ref().map(|request| match request {
            LeaseRequest::Read => Purpose::Read,
            LeaseRequest::Create(_) => Purpose::Create,
            LeaseRequest::Patch(purpose, _) => *purpose,
        });
        assert_eq!(asked, asks, "{what}");
        self.claim = Some(step.claim);
        self.asked = step.request;
        self.deadline = step.deadline.map(|at| (at.0 + 999).div_euclid(1_000));
    }

    fn claim(&self) -> &Claim {
        self.claim.as_ref().expect("it was put back")
    }

    /// Until when it is active, in milliseconds.
    fn active_until(&self) -> Option<i64> {
        Some(self.claim().active_until()?.0 / 1_000)
    }

    fn body(&self) -> &Value {
        match &self.asked {
            Some(LeaseRequest::Create(body) | LeaseRequest::Patch(_, body)) => body,
            other => panic!("no body in {other:?}"),
        }
    }
}

#[test]
fn a_free_lease_is_taken_within_one_round_trip_once_synced() {
    let mut story = Story::new();
    story.at(0, ClaimEvent::Tick, Some(Purpose::Read));
    story.at(5, ABSENT, None);
    assert_eq!(
        story.deadline, None,
        "a cold replica waits for its sync alone"
    );
    story.at(20, ClaimEvent::Synced, Some(Purpose::Create));
    assert_eq!(
        *story.body(),
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": "l", "namespace": "n" },
            "spec": {
                "holderIdentity": ME, "leaseDurationSeconds": 4, "leaseTransitions": 0,
                "acquireTime": "2026-01-01T00:00:00.250000Z",
                "renewTime": "2026-01-01T00:00:00.250000Z",
            },
        })
    );
    assert_eq!(story.active_until(), None);
    story.at(30, answered(1, ME), None);
    assert_eq!(story.active_until(), Some(3_020), "from when it was sent");
    assert_eq!(story.deadline, Some(1_020), "the first renewal");
}

#[test]
fn a_holder_renews_every_period_and_lapses_without_an_answer() {
    let mut story = Story::first();
    story.at(1_020, ClaimEvent::Tick, Some(Purpose::Renew));
    let version = json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": "1" });
    assert_eq!(
        *story.body(),
        json!([
            version,
            { "op": "add", "path": "/spec/renewTime", "value": "2026-01-01T00:00:00.250000Z" },
            { "op": "add", "path": "/spec/leaseDurationSeconds", "value": 4 },
        ])
    );
    story.at(1_030, answered(2, ME), None);
    assert_eq!(story.active_until(), Some(4_020));
    // A time-out, then silence: T comes although a request is under way.
    story.at(2_020, ClaimEvent::Tick, Some(Purpose::Renew));
    story.at(3_000, FAILED, None);
    assert_eq!(
        story.deadline,
        Some(3_188),
        "soon, while there is something to lose"
    );
    story.at(3_188, ClaimEvent::Tick, Some(Purpose::Renew));
    assert_eq!(story.deadline, Some(4_020));
    story.at(4_020, ClaimEvent::Tick, None);
    assert_eq!(story.active_until(), None);
    // No replica took it meanwhile: it is ours again, from the time of the request.
    story.at(4_500, answered(3, ME), Some(Purpose::Renew));
    assert_eq!(story.active_until(), Some(6_188));
}

#[test]
fn what_came_back_after_a_stall_counts_from_when_it_was_sent() {
    let mut story = Story::first();
    story.at(1_020, ClaimEvent::Tick, Some(Purpose::Renew));
    // SIGSTOP for a minute; the answer is the first thing seen.
    story.at(61_000, answered(2, ME), Some(Purpose::Renew));
    assert_eq!(story.active_until(), None);
    story.at(61_010, OVERTAKEN, Some(Purpose::Read));
    story.at(61_020, answered(9, "you"), None);
    assert_eq!(story.active_until(), None);
    assert_eq!(story.deadline, Some(65_020), "it stands by");
}

#[test]
fn a_standby_counts_from_its_own_receipt_of_the_last_change() {
    let mut story = Story::second();
    assert_eq!(story.deadline, Some(4_000));
    story.at(900, seen(2, "you"), None);
    // The same again, or something older, is no sign of life.
    story.at(2_000, seen(2, "you"), None);
    story.at(2_100, seen(1, "you"), None);
    assert_eq!(story.deadline, Some(4_900));
    story.at(4_899, ClaimEvent::Tick, None);
    story.at(4_900, ClaimEvent::Tick, Some(Purpose::Take));
    assert_eq!(
        story.body()[0],
        json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": "2" })
    );
    assert_eq!(story.body()[1]["value"]["leaseTransitions"], 7);
    story.at(4_910, answered(3, ME), None);
    assert_eq!(story.active_until(), Some(7_900));
}

#[test]
fn the_holder_says_how_long_it_is_waited_for() {
    let mut story = Story::second();
    let long = ClaimEvent::Seen(Box::new(lease(2, "you", 15)));
    story.at(100, long, None);
    assert_eq!(story.deadline, Some(15_100));
    for (version, nonsense) in [(3, 0), (4, -5)] {
        story.at(
            100,
            ClaimEvent::Seen(Box::new(lease(version, "you", nonsense))),
            None,
        );
        assert_eq!(story.deadline, Some(4_100), "{nonsense}");
    }
}

#[test]
fn a_released_lease_is_taken_at_once() {
    let mut story = Story::second();
    story.at(500, seen(2, ""), Some(Purpose::Take));
    // Another standby was faster.
    story.at(510, OVERTAKEN, Some(Purpose::Read));
    story.at(520, answered(3, "other"), None);
    assert_eq!(story.deadline, Some(4_520));
}

#[test]
fn a_cold_replica_takes_nothing() {
    let mut story = Story::new();
    story.at(0, ClaimEvent::Tick, Some(Purpose::Read));
    story.at(10, answered(1, "you"), None);
    story.at(5_000, ClaimEvent::Tick, None);
    story.at(5_000, seen(2, ""), None);
    assert_eq!(story.deadline, None);
    story.at(6_000, ClaimEvent::Synced, Some(Purpose::Take));
}

#[test]
fn a_former_self_is_another_holder() {
    let mut story = Story::new();
    story.at(0, ClaimEvent::Tick, Some(Purpose::Read));
    story.at(0, answered(1, "me_0"), None);
    story.at(0, ClaimEvent::Synced, None);
    assert_eq!(story.deadline, Some(4_000));
}

#[test]
fn a_former_process_of_the_pod_is_not_waited_for() {
    let mut story = Story::in_pod();
    story.at(5, answered(7, "zl-0_u_1"), None);
    assert_eq!(story.deadline, None, "a cold replica takes nothing");
    story.at(900, ClaimEvent::Synced, Some(Purpose::Take));
    let guard = json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": "7" });
    assert_eq!(story.body()[0], guard);
    story.at(910, answered(8, "zl-0_u_2"), None);
    assert_eq!(story.active_until(), Some(3_900));

    // Another pod, also one of the same name, and a stranger whose name begins alike.
    for holder in ["zl-0_v_1", "zl-1_u_1", "zl-0_u2_1", "zl-0_u", "zl-0"] {
        let mut story = Story::in_pod();
        story.at(5, answered(7, holder), None);
        story.at(900, ClaimEvent::Synced, None);
        assert_eq!(story.deadline, Some(4_005), "{holder}");
    }
}

#[test]
fn a_process_of_the_pod_that_writes_is_alive_and_waited_for() {
    // It renews before we are synced.
    let mut story = Story::in_pod();
    story.at(5, answered(7, "zl-0_u_1"), None);
    story.at(800, seen(8, "zl-0_u_1"), None);
    story.at(900, ClaimEvent::Synced, None);
    assert_eq!(story.deadline, Some(4_800));

    // It was faster than our take.
    let mut story = Story::in_pod();
    story.at(5, answered(7, "zl-0_u_1"), None);
    story.at(900, ClaimEvent::Synced, Some(Purpose::Take));
    story.at(910, OVERTAKEN, Some(Purpose::Read));
    story.at(920, answered(8, "zl-0_u_1"), None);
    assert_eq!(story.deadline, Some(4_920));

    // It takes over from us: there are two, and we do not take it back.
    let mut story = Story::in_pod();
    story.at(5, ABSENT, None);
    story.at(20, ClaimEvent::Synced, Some(Purpose::Create));
    story.at(30, answered(1, "zl-0_u_2"), None);
    story.at(500, seen(2, "zl-0_u_3"), None);
    assert_eq!(story.active_until(), None);
    assert_eq!(story.deadline, Some(4_500));
}

#[test]
fn what_was_taken_from_a_former_process_is_not_released_before_its_time() {
    let mut story = Story::in_pod();
    story.at(5, answered(7, "zl-0_u_1"), None);
    story.at(10, ClaimEvent::Synced, Some(Purpose::Take));
    story.at(20, answered(8, "zl-0_u_2"), None);
    story.at(500, ClaimEvent::Stop, None);
    assert_eq!(story.active_until(), None);
    assert!(!story.claim().is_over());
    assert_eq!(story.deadline, Some(4_005));
    story.at(4_005, ClaimEvent::Tick, Some(Purpose::Release));
    story.at(4_010, answered(9, ""), None);
    assert!(story.claim().is_over());
}

#[test]
fn the_replica_that_is_named_has_it() {
    for (event, then) in [
        (seen(2, "you"), None),
        // A user emptied it by hand: any replica may take it now.
        (seen(2, ""), Some(Purpose::Take)),
    ] {
        let mut story = Story::first();
        story.at(500, event, then);
        assert_eq!(story.active_until(), None);
    }
    // An edit that names no other holder is renewed over.
    let mut story = Story::first();
    story.at(500, seen(2, ME), None);
    assert_eq!(story.active_until(), Some(3_020));
    story.at(1_020, ClaimEvent::Tick, Some(Purpose::Renew));
    assert_eq!(story.body()[0]["value"], "2");
}

#[test]
fn a_taken_lease_outweighs_the_answer_that_it_overtook() {
    let mut story = Story::first();
    story.at(1_020, ClaimEvent::Tick, Some(Purpose::Renew));
    story.at(1_100, seen(3, "you"), None);
    story.at(1_200, answered(2, ME), None);
    assert_eq!(story.active_until(), None);
    assert_eq!(story.deadline, Some(5_100));
}

#[test]
fn a_deleted_lease_is_made_again_by_its_holder_alone() {
    let mut story = Story::first();
    story.at(
        500,
        ClaimEvent::Gone(2_u64.to_string().as_str().into()),
        Some(Purpose::Create),
    );
    assert_eq!(story.active_until(), Some(3_020), "it goes on meanwhile");
    story.at(510, answered(3, ME), None);
    assert_eq!(story.active_until(), Some(3_500));

    let mut story = Story::first();
    story.at(1_020, ClaimEvent::Tick, Some(Purpose::Renew));
    story.at(1_030, ABSENT, Some(Purpose::Create));

    // A standby waits as if it were still there.
    let mut story = Story::second();
    story.at(900, seen(2, "you"), None);
    story.at(1_000, ClaimEvent::Gone("3".into()), None);
    assert_eq!(story.deadline, Some(5_000));
    story.at(5_000, ClaimEvent::Tick, Some(Purpose::Create));
    story.at(5_010, OVERTAKEN, Some(Purpose::Read));
    story.at(5_020, answered(4, "you"), None);
    assert_eq!(story.deadline, Some(9_020));

    // One whose watch is broken learns of it late, and cannot know how late.
    let mut story = Story::second();
    story.at(4_000, ClaimEvent::Tick, Some(Purpose::Take));
    story.at(4_010, ABSENT, None);
    assert_eq!(story.deadline, Some(8_010));
}

#[test]
fn a_renewal_without_an_answer_may_have_been_done() {
    let mut story = Story::first();
    story.at(1_020, ClaimEvent::Tick, Some(Purpose::Renew));
    story.at(1_500, FAILED, None);
    story.at(1_688, ClaimEvent::Tick, Some(Purpose::Renew));
    story.at(1_700, OVERTAKEN, Some(Purpose::Read));
    // Whenever that was done: only an answer to a renewal counts.
    story.at(1_710, answered(2, ME), Some(Purpose::Renew));
    assert_eq!(story.active_until(), Some(3_020));
    story.at(1_720, answered(3, ME), None);
    assert_eq!(story.active_until(), Some(4_710));
}

#[test]
fn a_take_without_an_answer_may_have_been_done() {
    let mut story = Story::second();
    story.at(4_000, ClaimEvent::Tick, Some(Purpose::Take));
    story.at(6_000, FAILED, None);
    story.at(6_010, seen(2, ME), None);
    assert_eq!(story.active_until(), None);
    assert_eq!(story.deadline, Some(6_500), "after the back-off");
    story.at(6_500, ClaimEvent::Tick, Some(Purpose::Renew));
    story.at(6_510, answered(3, ME), None);
    assert_eq!(story.active_until(), Some(9_500));
}

#[test]
fn refusals_are_tried_again_with_growing_delays() {
    let mut story = Story::second();
    story.at(4_000, ClaimEvent::Tick, Some(Purpose::Take));
    let mut at = 4_000;
    let mut delays = Vec::new();
    for _ in 0..6 {
        story.at(at, FAILED, None);
        let next = story.deadline.expect("it tries again");
        delays.push(next - at);
        at = next;
        story.at(at, ClaimEvent::Tick, Some(Purpose::Take));
    }
    assert_eq!(delays, [500, 875, 1_438, 2_125, 2_125, 2_125]);
    // The server asks for more, within reason.
    for (asked, given) in [(3, 3_000), (600, 5_000)] {
        let at_least = Duration::from_secs(asked);
        story.at(
            at,
            ClaimEvent::Answered(LeaseAnswer::Failed { at_least }),
            None,
        );
        assert_eq!(story.deadline, Some(at + given));
        at += given;
        story.at(at, ClaimEvent::Tick, Some(Purpose::Take));
    }
}

/// A server that is away is found as soon as it is back.
#[test]
fn lost_answers_are_asked_for_again_as_often_as_a_holder_writes() {
    let lost = || ClaimEvent::Answered(LeaseAnswer::Lost);
    let mut story = Story::second();
    story.at(4_000, ClaimEvent::Tick, Some(Purpose::Take));
    for at in [4_000, 4_750, 5_500, 6_250] {
        story.at(at, lost(), None);
        assert_eq!(story.deadline, Some(at + 750));
        story.at(at + 750, ClaimEvent::Tick, Some(Purpose::Take));
    }
}

/// A watch that resumes at the version of before would stay silent, and what it shows count as old.
#[test]
fn after_a_restore_an_older_lease_is_news() {
    let mut story = Story::second();
    story.at(1_000, seen(9, "you"), None);
    story.at(1_100, seen(3, "you"), None);
    assert_eq!(story.deadline, Some(5_000), "an old frame is no renewal");
    story.at(1_200, ClaimEvent::Restored, Some(Purpose::Read));
    story.at(1_250, seen(3, "you"), None);
    story.at(1_300, answered(3, "you"), None);
    assert_eq!(story.deadline, Some(5_250), "counted from its first sight");
    story.at(5_250, ClaimEvent::Tick, Some(Purpose::Take));
}

#[test]
fn a_stop_releases_what_is_held_and_nothing_else() {
    let mut story = Story::first();
    story.at(500, ClaimEvent::Stop, Some(Purpose::Release));
    assert_eq!(story.active_until(), None, "before another replica can be");
    assert_eq!(
        story.body()[1],
        json!({ "op": "add", "path": "/spec/holderIdentity", "value": "" })
    );
    assert!(!story.claim().is_over());
    story.at(510, OVERTAKEN, Some(Purpose::Read));
    story.at(520, answered(2, ME), Some(Purpose::Release));
    story.at(530, FAILED, None);
    story.at(720, ClaimEvent::Tick, Some(Purpose::Release));
    story.at(730, answered(3, ""), None);
    assert!(story.claim().is_over());
    assert_eq!(story.deadline, None);

    let mut story = Story::second();
    story.at(500, ClaimEvent::Stop, None);
    assert!(story.claim().is_over());

    // A take under way is waited for, and given back.
    let mut story = Story::second();
    story.at(4_000, ClaimEvent::Tick, Some(Purpose::Take));
    story.at(4_001, ClaimEvent::Stop, None);
    assert!(!story.claim().is_over());
    story.at(4_010, answered(2, ME), Some(Purpose::Release));
    assert_eq!(story.active_until(), None);
    story.at(4_020, answered(3, ""), None);
    assert!(story.claim().is_over());
}

#[test]
fn a_restored_cluster_counts_from_an_older_version() {
    let mut story = Story::second();
    story.at(100, seen(1_000, "you"), None);
    story.at(4_100, ClaimEvent::Tick, Some(Purpose::Take));
    story.at(4_110, OVERTAKEN, Some(Purpose::Read));
    story.at(4_120, answered(500, "you"), None);
    assert_eq!(story.deadline, Some(8_120));
    story.at(5_000, seen(501, "you"), None);
    assert_eq!(
        story.deadline,
        Some(9_000),
        "what the watch shows counts again"
    );
}
