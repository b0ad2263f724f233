//! The writer alone against simkube: what it sends, when, how often, and what it says came of it.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use simkube::{Kind, RequestInfo, Rule, Verb, Verdict as Fault};
use support::{NS, World, ms, secs, word};
use tokio::time::{Instant, sleep};
use zen_lead::config::FastRetry;
use zen_lead::logic::fsm::Cause;
use zen_lead::logic::model::{Key, Pod, Uid, Version};
use zen_lead::logic::plan::{self, Action, Lane, Op, Target, Write};
use zen_lead::logic::rate_limit::RateLimit;
use zen_lead::logic::reflect::Change;
use zen_lead::logic::time::Moment;
use zen_lead::metrics::Metrics;
use zen_lead::shell::api::Scope;
use zen_lead::shell::clock::Clock;
use zen_lead::shell::watch::{self, Selectors, WatchOptions};
use zen_lead::shell::write::{Observed, Settled, Verdict, Writer, WriterOptions};

/// The pick of every random delay: the middle.
const JITTER: f64 = 0.5;

/// A writer, and a machine in its place that wants one thing of each object until it is so.
struct Desk {
    world: World,
    writer: Writer,
    log: Arc<Mutex<Vec<(Duration, String)>>>,
    /// Of each outcome, how many errors of the server's own there were in a row.
    errors: Arc<Mutex<Vec<u32>>>,
    began: Instant,
    gave_up: Arc<AtomicBool>,
}

impl Desk {
    fn new() -> Self {
        Self::with(32, None)
    }

    fn with(in_flight_max: usize, rate_limit: Option<RateLimit>) -> Self {
        let world = World::new();
        let clock = Clock::system();
        let options = WriterOptions {
            keep_managed_fields: false,
            in_flight_max,
            rate_limit,
            fast_retry: FastRetry {
                delay_first: ms(20),
                delay_max: ms(500),
                attempts: 2,
            },
            jitter: Arc::new(|| JITTER),
            spawn: Arc::new(|task| tokio::spawn(task).abort_handle()),
            may_write: Arc::new(|| true),
        };
        let client = world.kube.client_named("write");
        let writer = Writer::new(client, options, Arc::new(Metrics::new(500)), clock);
        let log = Arc::new(Mutex::new(Vec::new()));
        let (began, heard, again) = (Instant::now(), Arc::clone(&log), writer.clone());
        let errors = Arc::new(Mutex::new(Vec::new()));
        let counted = Arc::clone(&errors);
        let gave_up = Arc::new(AtomicBool::new(false));
        let wants_nothing = Arc::clone(&gave_up);
        writer.settle_with(Arc::new(move |settled| {
            let line = (began.elapsed(), describe(&settled));
            heard.lock().expect("no panic").push(line);
            counted
                .lock()
                .expect("no panic")
                .push(settled.server_errors);
            let wanted = replan(&settled).filter(|_| !wants_nothing.load(Ordering::Relaxed));
            again.submit(&settled.source, Vec::from_iter(wanted), cause());
        }));
        Self {
            world,
            writer,
            log,
            errors,
            began,
            gave_up,
        }
    }

    /// From the next outcome on the machine wants nothing.
    fn give_up(&self) {
        self.gave_up.store(true, Ordering::Relaxed);
    }

    fn submit(&self, source: &str, writes: Vec<Write>) {
        self.writer.submit(&Key::new(NS, source), writes, cause());
    }

    /// When which verdict came.
    fn heard(&self) -> Vec<(u128, String)> {
        let log = self.log.lock().expect("no panic");
        let line = |(at, what): &(Duration, String)| (at.as_millis(), what.clone());
        log.iter().map(line).collect()
    }

    /// When which request came, in milliseconds.
    fn sent(&self) -> Vec<(u128, String)> {
        let asked = self.world.asked();
        let line = |record| (self.at(record).as_millis(), word(record));
        asked.iter().map(line).collect()
    }

    fn at(&self, record: &simkube::Record) -> Duration {
        record.at.duration_since(self.began)
    }

    fn waiting(&self, source: &str) -> serde_json::Value {
        self.writer.waiting(&Key::new(NS, source))
    }

    /// These faults for the first requests, one each, and none after.
    fn faults(&self, faults: &[Fault]) {
        let mut faults = Vec::from(faults).into_iter();
        self.world
            .on_request(move |_| faults.next().unwrap_or(Fault::Pass));
    }

    fn version(&self, name: &str) -> Version {
        let service = self.world.kube.get(Kind::Service, NS, name).expect("there");
        service["metadata"]["resourceVersion"]
            .as_str()
            .expect("set")
            .into()
    }

    fn uid(&self, name: &str) -> Uid {
        let service = self.world.kube.get(Kind::Service, NS, name).expect("there");
        service["metadata"]["uid"].as_str().expect("set").into()
    }

    fn service(&self, name: &str) {
        let service = self.world.kube.service(NS, name).port("http", 80, 80);
        service.annotation("team", "x").create();
    }

    fn patch(&self, name: &str, value: &str) -> Write {
        write(name, patch(self.version(name), value))
    }

    fn delete(&self, name: &str) -> Write {
        let action = Action::Delete {
            uid: self.uid(name),
            version: self.version(name),
        };
        write(name, action)
    }

    fn color(&self, name: &str) -> String {
        let service = self.world.kube.get(Kind::Service, NS, name).expect("there");
        let color = &service["metadata"]["annotations"]["color"];
        color.as_str().unwrap_or_default().to_owned()
    }
}

fn cause() -> Cause {
    Cause {
        at: Moment(0),
        pod_changed: None,
    }
}

fn write(name: &str, action: Action) -> Write {
    write_in(NS, name, action)
}

fn write_in(namespace: &str, name: &str, action: Action) -> Write {
    let key = Key::new(namespace, name);
    Write {
        target: Target {
            kind: plan::Kind::Service,
            key,
        },
        action,
        lane: Lane::Ordinary,
    }
}

fn patch(version: Version, value: &str) -> Action {
    let op = Op::Add {
        path: "/metadata/annotations/color".into(),
        value: value.into(),
    };
    Action::Patch {
        version,
        ops: vec![op],
    }
}

fn create(namespace: &str, name: &str) -> Write {
    let body = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "namespace": namespace, "name": name },
        "spec": { "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }] },
    });
    write_in(namespace, name, Action::Create(body.into()))
}

fn moves_traffic(write: Write) -> Write {
    Write {
        lane: Lane::Failover,
        ..write
    }
}

fn describe(settled: &Settled) -> String {
    match &settled.verdict {
        Verdict::Accepted(Observed::Gone(_)) => "gone".into(),
        Verdict::Accepted(_) => "accepted".into(),
        Verdict::Conflict(Observed::Gone(_)) => "overtaken: gone".into(),
        Verdict::Conflict(_) => "overtaken".into(),
        Verdict::Probed(Observed::Gone(_)) => "found: gone".into(),
        Verdict::Probed(_) => "found".into(),
        Verdict::AddressHeld(_) => "address held".into(),
        Verdict::AddressTaken(_) => "address taken".into(),
        Verdict::Refused(status) => format!("refused {}", status.code),
        Verdict::NamespaceTerminating => "quiet".into(),
        Verdict::Unanswered => "unanswered".into(),
        Verdict::Failed { retry_after, .. } => match retry_after {
            Some(after) => format!("failed, after {after:?}"),
            None => "failed".into(),
        },
    }
}

/// What a machine would want after that outcome.
fn replan(settled: &Settled) -> Option<Write> {
    let write = &*settled.write;
    let Verdict::Conflict(observed) = &settled.verdict else {
        let is_over = matches!(settled.verdict, Verdict::Accepted(_));
        return (!is_over).then(|| write.clone());
    };
    let action = match (observed, &write.action) {
        // It is so already, whichever client made it so.
        (Observed::Service(_), Action::Create(_)) | (Observed::Gone(_), Action::Delete { .. }) => {
            return None;
        }
        (Observed::Service(service), Action::Patch { ops, .. }) => {
            let Op::Add { value, .. } = &ops[0] else {
                return None;
            };
            if service.metadata.annotations.get("color") == value.as_str() {
                return None;
            }
            Action::Patch {
                version: service.metadata.resource_version.clone(),
                ops: ops.clone(),
            }
        }
        (Observed::Service(service), Action::Delete { .. }) => Action::Delete {
            uid: service.metadata.uid.clone(),
            version: service.metadata.resource_version.clone(),
        },
        (Observed::Gone(_), _) => {
            return Some(create(&write.target.key.namespace, &write.target.key.name));
        }
        (Observed::Slice(_), _) => return None,
    };
    Some(Write {
        action,
        ..write.clone()
    })
}

fn answer(code: u16) -> Fault {
    Fault::Answer {
        code,
        retry_after: None,
        applied: false,
    }
}

fn is_write(request: &RequestInfo) -> bool {
    request.verb.is_write()
}

/// The request goes out, and what came of it is told once.
#[tokio::test(start_paused = true)]
async fn each_class_of_answer_has_its_verdict_and_its_delay() {
    // After a failure: 15 ms, then a back-off between 500 ms and 30 s. After a refusal: 1 s and
    // more. Both by the flags and a jitter of one half.
    check("accepted", &[], &[(0, "accepted")]).await;
    let again = |first| [(0, first), (15, "accepted")];
    check("500", &[answer(500)], &again("failed")).await;
    check("503", &[answer(503)], &again("failed")).await;
    check("504", &[answer(504)], &again("failed")).await;
    check("401", &[answer(401)], &again("failed")).await;
    check("408", &[answer(408)], &again("failed")).await;
    check("reset", &[Fault::Drop { applied: false }], &again("failed")).await;
    check(
        "cut off",
        &[Fault::Truncate { bytes: 20 }],
        // It was applied: the next one meets a newer version, and nothing is left to do.
        &[(0, "failed"), (15, "overtaken")],
    )
    .await;
    check(
        "twice 500",
        &[answer(500), answer(500)],
        &[(0, "failed"), (15, "failed"), (1_015, "accepted")],
    )
    .await;
    check(
        "no answer",
        &[Fault::Hang { applied: false }],
        &[(10_000, "unanswered"), (10_000, "accepted")],
    )
    .await;
    let busy = Fault::Answer {
        code: 429,
        retry_after: Some(7),
        applied: false,
    };
    check(
        "429 with Retry-After",
        &[busy],
        &[(0, "failed, after 7s"), (7_000, "accepted")],
    )
    .await;
    check("429", &[answer(429)], &again("failed")).await;
    for code in [400, 403, 405, 410, 413, 422] {
        let refused = format!("refused {code}");
        check(
            &refused,
            &[answer(code), answer(code)],
            &[(0, &refused), (2_000, &refused), (5_500, "accepted")],
        )
        .await;
    }
}

async fn check(what: &str, faults: &[Fault], expected: &[(u128, &str)]) {
    let desk = Desk::new();
    desk.service("s");
    desk.faults(faults);
    desk.submit("web", vec![desk.patch("s", "red")]);
    sleep(secs(60)).await;
    let heard = desk.heard();
    let heard: Vec<_> = heard.iter().map(|(at, what)| (*at, &**what)).collect();
    assert_eq!(heard, expected, "{what}");
    assert_eq!(desk.color("s"), "red", "{what}");
    assert_eq!(desk.waiting("web"), json!([]), "{what}: nothing is left");
    let reads = desk.world.words();
    let reads = reads.iter().filter(|word| word.starts_with("get")).count();
    let races = expected
        .iter()
        .filter(|(_, what)| what.starts_with("overtaken"));
    assert_eq!(reads, races.count(), "{what}: one GET per lost race");
}

/// What the table above cannot inject: races and namespaces that go.
#[tokio::test(start_paused = true)]
async fn races_are_settled_by_one_read() {
    check_race(
        "409 on patch",
        |desk| desk.patch("s", "red"),
        |desk| assert!(annotate(desk, "blue")),
        &["patch 409", "get 200", "patch 200"],
        &["overtaken", "accepted"],
    )
    .await;
    check_race(
        "409 on patch, and it is so already",
        |desk| desk.patch("s", "red"),
        |desk| assert!(annotate(desk, "red")),
        &["patch 409", "get 200"],
        &["overtaken"],
    )
    .await;
    check_race(
        "404 on patch",
        |desk| desk.patch("s", "red"),
        |desk| assert!(desk.world.kube.delete(Kind::Service, NS, "s")),
        &["patch 404", "create 201"],
        &["overtaken: gone", "accepted"],
    )
    .await;
    check_race(
        "made again under its name, patch",
        |desk| desk.patch("s", "red"),
        |desk| {
            desk.world.kube.delete(Kind::Service, NS, "s");
            desk.service("s");
        },
        &["patch 409", "get 200", "patch 200"],
        &["overtaken", "accepted"],
    )
    .await;
    check_race(
        "409 on create",
        |_| create(NS, "new"),
        |desk| desk.service("new"),
        &["create 409", "get 200"],
        &["overtaken"],
    )
    .await;
    check_race(
        "409 on delete",
        |desk| desk.delete("s"),
        |desk| assert!(annotate(desk, "blue")),
        &["delete 409", "get 200", "delete 200"],
        &["overtaken", "gone"],
    )
    .await;
    check_race(
        "404 on delete",
        |desk| desk.delete("s"),
        |desk| assert!(desk.world.kube.delete(Kind::Service, NS, "s")),
        &["delete 404"],
        &["overtaken: gone"],
    )
    .await;
    check_race(
        "delete waits for a finalizer",
        |desk| {
            let edit = |service: &mut serde_json::Value| {
                service["metadata"]["finalizers"] = json!(["example.com/keep"]);
            };
            let edited = desk.world.kube.edit(Kind::Service, NS, "s", edit);
            edited.expect("accepted");
            desk.delete("s")
        },
        |_| {},
        &["delete 200"],
        // The object is still there: the machine must not believe that its name is free.
        &["accepted"],
    )
    .await;
}

async fn check_race(
    what: &str,
    wish: impl FnOnce(&Desk) -> Write,
    rival: impl FnOnce(&Desk),
    requests: &[&str],
    verdicts: &[&str],
) {
    let desk = Desk::new();
    desk.service("s");
    let wish = wish(&desk);
    rival(&desk);
    desk.submit("web", vec![wish]);
    sleep(secs(60)).await;
    let heard = desk.heard();
    let told: Vec<_> = heard.iter().map(|(_, what)| &**what).collect();
    assert_eq!(told, verdicts, "{what}");
    assert!(heard.iter().all(|(at, _)| *at == 0), "{what}: at once");
    let asked = desk.world.asked();
    let asked: Vec<String> = asked
        .iter()
        .map(|record| format!("{} {}", record.verb.name(), record.status))
        .collect();
    assert_eq!(asked, requests, "{what}");
    assert_eq!(desk.waiting("web"), json!([]), "{what}: nothing is left");
}

fn annotate(desk: &Desk, color: &str) -> bool {
    let kube = &desk.world.kube;
    kube.annotate(Kind::Service, NS, "s", "color", Some(color))
}

/// §4: a namespace that goes, or is gone, is nothing to tell.
#[tokio::test(start_paused = true)]
async fn a_namespace_that_goes_is_met_with_patience() {
    for is_gone in [false, true] {
        let desk = Desk::new();
        desk.service("s");
        let kube = &desk.world.kube;
        kube.delete(Kind::Namespace, "", NS);
        if is_gone {
            kube.gc();
        }
        desk.submit("web", vec![create(NS, "new")]);
        sleep(secs(3_600)).await;
        let heard = desk.heard();
        assert!(heard.iter().all(|(_, what)| what == "quiet"), "{heard:?}");
        // Every 30 s, and never more often.
        assert!((100..=121).contains(&heard.len()), "{}", heard.len());
        desk.submit("web", vec![]);
        sleep(secs(60)).await;
        assert_eq!(desk.waiting("web"), json!([]));
        assert_eq!(desk.heard().len(), heard.len(), "an end is an end");
    }
}

/// §6: quick at first, then a back-off that never gives up
/// and never asks more than the ceiling allows.
#[tokio::test(start_paused = true)]
async fn retries_never_end_and_never_flood() {
    // With the middle of each pick, a back-off settles at some 15 s.
    for (fault, at_least, at_most) in [
        (answer(500), 200, 250),
        (answer(403), 200, 250),
        (answer(429), 200, 250),
        (Fault::Drop { applied: false }, 200, 250),
        // Another attempt each 34 s, which is what an API server allows a write.
        (Fault::Hang { applied: false }, 105, 110),
    ] {
        let desk = Desk::new();
        desk.service("s");
        let always = fault.clone();
        desk.world.on_request(move |_| always.clone());
        desk.submit("web", vec![desk.patch("s", "red")]);
        sleep(secs(3_600)).await;
        let sent = desk.sent();
        let count = sent.len();
        assert!((at_least..=at_most).contains(&count), "{fault:?}: {count}");
        let gaps = sent.windows(2).map(|pair| pair[1].0 - pair[0].0);
        let longest = gaps.max().expect("many");
        assert!(longest <= 40_000, "{fault:?}: {longest} ms");
        desk.world.heal();
        sleep(secs(35)).await;
        assert_eq!(desk.color("s"), "red", "{fault:?}");
        assert_eq!(desk.waiting("web"), json!([]));
    }
}

/// One request per object at a time, and behind it one place.
#[tokio::test(start_paused = true)]
async fn a_newer_decision_takes_the_place_of_one_that_waits() {
    let desk = Desk::new();
    desk.service("s");
    desk.world.on_request(|request| {
        if is_write(request) {
            Fault::Delay {
                before: ms(100),
                after: ms(100),
            }
        } else {
            Fault::Pass
        }
    });
    desk.submit("web", vec![desk.patch("s", "red")]);
    sleep(ms(50)).await;
    for color in ["orange", "yellow", "green", "blue"] {
        // What is decided while a write is under way is decided again once its answer is known.
        desk.submit("web", vec![desk.patch("s", color)]);
        assert_eq!(desk.sent().len(), 1, "one at a time");
        sleep(ms(10)).await;
    }
    sleep(secs(10)).await;
    assert_eq!(desk.heard(), [(200, "accepted".into())]);

    // Waiting for its next attempt: only the last decision is sent.
    desk.world.heal();
    desk.faults(&[answer(500), answer(500)]);
    let began = desk.began.elapsed().as_millis();
    desk.submit("web", vec![desk.patch("s", "orange")]);
    sleep(ms(100)).await;
    for color in ["yellow", "green", "blue"] {
        desk.submit("web", vec![desk.patch("s", color)]);
    }
    sleep(secs(60)).await;
    let sent = desk.sent();
    let times: Vec<_> = sent[1..].iter().map(|(at, _)| at - began).collect();
    assert_eq!(times, [0, 15, 1_015], "no sooner for being new");
    assert_eq!(desk.color("s"), "blue");
}

/// A refusal is about the content: another one is tried at once. A server that is away is not.
#[tokio::test(start_paused = true)]
async fn a_new_content_is_tried_at_once_after_a_refusal_only() {
    for (code, is_about_content) in [(422, true), (403, true), (500, false), (503, false)] {
        let desk = Desk::new();
        desk.service("s");
        desk.world.on_request(move |_| answer(code));
        desk.submit("web", vec![desk.patch("s", "red")]);
        // In the middle of a back-off: the first millisecond after an attempt.
        let attempts = desk.sent().len();
        while desk.sent().len() == attempts {
            sleep(ms(1)).await;
        }
        desk.world.heal();
        let before = desk.sent().len();
        desk.submit("web", vec![desk.patch("s", "blue")]);
        sleep(ms(1)).await;
        let is_tried = desk.sent().len() > before;
        assert_eq!(is_tried, is_about_content, "{code}");
        sleep(secs(31)).await;
        assert_eq!(desk.color("s"), "blue", "{code}");
    }
}

/// What is not wanted any more is not sent.
#[tokio::test(start_paused = true)]
async fn a_write_that_is_not_wanted_any_more_is_dropped() {
    let desk = Desk::new();
    desk.service("s");
    desk.world.on_request(|_| answer(500));
    desk.submit("web", vec![desk.patch("s", "red"), create(NS, "new")]);
    sleep(ms(100)).await;
    desk.submit("web", vec![create(NS, "new")]);
    desk.world.heal();
    sleep(secs(60)).await;
    assert_eq!(desk.color("s"), "");
    assert!(desk.world.kube.get(Kind::Service, NS, "new").is_some());
    assert_eq!(desk.waiting("web"), json!([]));
}

/// `docs/ARCHITECTURE.md`, From frame to PATCH: stuck ordinary writes and rate limits never stand before one that
/// moves traffic.
#[tokio::test(start_paused = true)]
async fn failover_writes_have_a_lane_of_their_own() {
    let desk = Desk::new();
    for number in 0..101 {
        desk.service(&format!("s{number}"));
    }
    desk.world.on_request(|request| {
        let is_ordinary = request.name.trim_start_matches('s').parse::<u32>();
        if is_ordinary.is_ok_and(|number| number < 40) {
            Fault::Hang { applied: false }
        } else {
            Fault::Pass
        }
    });
    for number in 0..40 {
        let name = format!("s{number}");
        desk.submit(&name, vec![desk.patch(&name, "red")]);
    }
    sleep(ms(1)).await;
    assert_eq!(desk.sent().len(), 32, "--max-concurrent-reconciles");
    let lane = |number| {
        let name = format!("s{number}");
        desk.submit(&name, vec![moves_traffic(desk.patch(&name, "red"))]);
    };
    (40..100).for_each(lane);
    sleep(ms(1)).await;
    assert_eq!(desk.heard().len(), 60, "all at once");
    // One that waits for an ordinary place, and turns out to move traffic.
    desk.submit("s39", vec![moves_traffic(desk.patch("s39", "blue"))]);
    sleep(ms(1)).await;
    assert_eq!(desk.sent().last().expect("one").1, "patch Service s39");
}

/// While many Services are made or fail over, the annotations that name the leader would only take
/// the server's time from those that wait.
#[tokio::test(start_paused = true)]
async fn what_only_says_who_leads_stands_behind_all_who_came_before() {
    for (lane, places) in [(Lane::Ordinary, 32), (Lane::Failover, 64)] {
        let desk = Desk::new();
        desk.world.on_request(|_| Fault::Delay {
            before: ms(10),
            after: ms(0),
        });
        let submit = |number: usize, lane| {
            let name = format!("s{number}");
            desk.service(&name);
            let write = desk.patch(&name, "red");
            desk.submit(&name, vec![Write { lane, ..write }]);
        };
        for number in 0..places + 8 {
            submit(number, lane);
        }
        submit(1_000, Lane::Trailing);
        sleep(ms(5)).await;
        assert_eq!(desk.sent().len(), places, "{lane:?}: the lane is full");
        sleep(secs(1)).await;
        let sent = desk.sent();
        assert_eq!(sent.len(), places + 9);
        assert_eq!(
            sent.last().expect("one").1,
            "patch Service s1000",
            "{lane:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn failover_writes_know_no_rate_limit() {
    let limit = RateLimit::per_second(0.1, 2);
    let desk = Desk::with(32, Some(limit));
    for name in ["a", "b", "c", "d", "e"] {
        desk.service(name);
    }
    for name in ["a", "b", "c", "d"] {
        desk.submit(name, vec![desk.patch(name, "red")]);
    }
    sleep(ms(1)).await;
    let all = |names: &[&str]| -> Vec<String> {
        let word = |name: &&str| format!("patch Service {name}");
        names.iter().map(word).collect()
    };
    let sent = || {
        desk.sent()
            .into_iter()
            .map(|(_, what)| what)
            .collect::<Vec<_>>()
    };
    assert_eq!(sent(), all(&["a", "b"]), "--burst");
    desk.submit("e", vec![moves_traffic(desk.patch("e", "red"))]);
    sleep(ms(1)).await;
    assert_eq!(sent(), all(&["a", "b", "e"]));
    // Queued by the limit already, and now it moves traffic.
    desk.submit("d", vec![moves_traffic(desk.patch("d", "blue"))]);
    sleep(ms(1)).await;
    assert_eq!(sent(), all(&["a", "b", "e", "d"]));
    sleep(secs(60)).await;
    let times: Vec<_> = desk.sent().into_iter().map(|(at, _)| at / 1_000).collect();
    assert_eq!(
        times,
        [0, 0, 0, 0, 10],
        "--qps; what left the queue gave its turn back"
    );
}

/// Applied, and the answer lost: nothing is made or changed twice.
#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_found_out() {
    let lost = Fault::Drop { applied: true };
    for (what, requests) in [
        ("create", &["create 0", "create 409", "get 200"][..]),
        ("patch", &["patch 0", "patch 409", "get 200"]),
        ("delete", &["delete 0", "delete 404"]),
    ] {
        let desk = Desk::new();
        desk.service("s");
        let wish = match what {
            "create" => create(NS, "new"),
            "patch" => desk.patch("s", "red"),
            _ => desk.delete("s"),
        };
        desk.faults(std::slice::from_ref(&lost));
        desk.submit("web", vec![wish]);
        sleep(secs(60)).await;
        let asked = desk.world.asked();
        let asked: Vec<String> = asked
            .iter()
            .map(|record| format!("{} {}", record.verb.name(), record.status))
            .collect();
        assert_eq!(asked, requests);
        assert_eq!(desk.waiting("web"), json!([]));
    }
}

/// The same when it is not wanted any more: a create may have had its effect all the same, which
/// nothing else would tell for as long as the watch lags. It is asked for, and never made again.
#[tokio::test(start_paused = true)]
async fn the_outcome_of_a_create_is_found_out_though_it_is_not_wanted() {
    for (applied, heard) in [(true, "found"), (false, "found: gone")] {
        let desk = Desk::new();
        let lost = Fault::Hang { applied };
        desk.faults(&[lost, answer(500)]);
        desk.submit("web", vec![create(NS, "new")]);
        sleep(secs(5)).await;
        desk.give_up();
        sleep(secs(60)).await;
        let verdicts: Vec<_> = desk.heard().into_iter().map(|(_, what)| what).collect();
        assert_eq!(verdicts, ["unanswered", "failed", "failed", heard]);
        let sent: Vec<_> = desk.sent().into_iter().map(|(_, what)| what).collect();
        assert_eq!(
            sent,
            ["create Service new", "get Service new", "get Service new"]
        );
        assert_eq!(desk.waiting("web"), json!([]));
    }
}

/// What hangs on it waits for that, and a new wish for the same object ends the question.
#[tokio::test(start_paused = true)]
async fn what_hangs_on_a_create_waits_until_its_outcome_is_known() {
    let desk = Desk::new();
    desk.service("web-leader");
    desk.faults(&[Fault::Drop { applied: true }, answer(500)]);
    let slice = |action| Write {
        target: Target {
            kind: plan::Kind::Slice,
            key: Key::new(NS, "web-leader"),
        },
        action,
        lane: Lane::Ordinary,
    };
    let body = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "namespace": NS, "name": "web-leader" }, "endpoints": [],
    });
    desk.submit("web", vec![slice(Action::Create(body.into()))]);
    sleep(ms(1)).await;
    desk.give_up();
    desk.submit("web", vec![desk.delete("web-leader")]);
    sleep(ms(300)).await;
    let sent = || -> Vec<String> { desk.sent().into_iter().map(|(_, what)| what).collect() };
    let so_far = [
        "create EndpointSlice web-leader",
        "get EndpointSlice web-leader",
    ];
    assert_eq!(sent(), so_far, "the deletion waits");
    let slices = desk.world.kube.list(Kind::EndpointSlice, NS);
    let text = |key: &str| slices[0]["metadata"][key].as_str().expect("set").to_owned();
    let seen = Action::Delete {
        uid: text("uid").as_str().into(),
        version: text("resourceVersion").as_str().into(),
    };
    desk.submit("web", vec![slice(seen)]);
    sleep(secs(60)).await;
    desk.submit("web", vec![desk.delete("web-leader")]);
    sleep(secs(60)).await;
    assert_eq!(
        sent()[2..],
        [
            "delete EndpointSlice web-leader",
            "delete Service web-leader"
        ]
    );
}

/// A read that fails after a lost race is a failure like any other.
#[tokio::test(start_paused = true)]
async fn a_race_whose_read_fails_is_tried_again() {
    let desk = Desk::new();
    desk.service("s");
    let wish = desk.patch("s", "red");
    annotate(&desk, "blue");
    desk.faults(&[Fault::Pass, answer(500)]);
    desk.submit("web", vec![wish]);
    sleep(secs(60)).await;
    let heard: Vec<_> = desk.heard().into_iter().map(|(_, what)| what).collect();
    assert_eq!(heard, ["failed", "overtaken", "accepted"]);
    assert_eq!(desk.color("s"), "red");
}

/// A rival that always wins costs a bounded number of requests.
#[tokio::test(start_paused = true)]
async fn races_that_never_end_are_slowed_down() {
    let desk = Desk::new();
    desk.service("s");
    rival(&desk, usize::MAX);
    desk.submit("web", vec![desk.patch("s", "red")]);
    sleep(secs(3_600)).await;
    let patches = desk.sent().len() / 2;
    assert!((100..600).contains(&patches), "{patches}");
    desk.world.heal();
    sleep(secs(31)).await;
    assert_eq!(desk.color("s"), "red");
}

/// A rival holds up a move of traffic for moments only, however often it wins: after twenty races,
/// for 5 + 15 × half a second at most, where anything else waits for longer and longer.
#[tokio::test(start_paused = true)]
async fn a_rival_holds_up_no_failover_for_long() {
    for (lane, bounds) in [
        (Lane::Failover, ms(4_000)..ms(7_500)),
        (Lane::Ordinary, secs(15)..secs(30)),
    ] {
        let desk = Desk::new();
        desk.service("s");
        rival(&desk, 20);
        let write = desk.patch("s", "red");
        desk.submit("web", vec![Write { lane, ..write }]);
        sleep(secs(60)).await;
        assert_eq!(desk.color("s"), "red");
        let heard = desk.heard();
        let words: Vec<&str> = heard.iter().map(|(_, what)| &**what).collect();
        assert_eq!(words[..20], ["overtaken"; 20]);
        assert_eq!(words[20..], ["accepted"]);
        let at = Duration::from_millis(u64::try_from(heard[20].0).expect("small"));
        assert!(bounds.contains(&at), "{lane:?}: {at:?}");
    }
}

/// Nor does what it did to another write of the object.
#[tokio::test(start_paused = true)]
async fn a_failover_does_not_wait_out_a_race_that_something_else_lost() {
    let desk = Desk::new();
    desk.service("s");
    rival(&desk, usize::MAX);
    desk.submit("web", vec![desk.patch("s", "red")]);
    sleep(secs(3_600)).await;
    desk.world.heal();
    let waits = desk.waiting("web")[0]["retryInSeconds"].clone();
    assert!(waits.as_f64().is_some_and(|waits| waits > 1.0), "{waits}");
    desk.submit("web", vec![moves_traffic(desk.patch("s", "blue"))]);
    sleep(ms(500)).await;
    assert_eq!(desk.color("s"), "blue");
}

/// A client that is faster, `races` times, than the one that is about to patch `s`.
fn rival(desk: &Desk, races: usize) {
    let (kube, mut count) = (desk.world.kube.clone(), 0);
    desk.world.on_request(move |request| {
        if request.verb == Verb::Patch && count < races {
            count += 1;
            let color = format!("c{count}");
            kube.annotate(Kind::Service, NS, "s", "rival", Some(&color));
        }
        Fault::Pass
    });
}

/// The end of the process: what is under way lands, and nothing else starts.
#[tokio::test(start_paused = true)]
async fn closing_waits_for_what_is_under_way() {
    let desk = Desk::with(1, None);
    for name in ["a", "b"] {
        desk.service(name);
    }
    desk.world.on_request(|_| Fault::Delay {
        before: ms(300),
        after: ms(300),
    });
    for name in ["a", "b"] {
        desk.submit(name, vec![desk.patch(name, "red")]);
    }
    sleep(ms(100)).await;
    let began = Instant::now();
    desk.writer.close().await;
    assert_eq!(began.elapsed(), ms(500));
    desk.submit("c", vec![create(NS, "c")]);
    sleep(secs(60)).await;
    assert_eq!(desk.sent(), [(0, "patch Service a".into())]);
    assert_eq!(desk.color("a"), "red");
    desk.writer.close().await;
}

/// A webhook that takes its time, or that hangs and is ignored after its own time-out.
fn admission(takes: u64) -> Fault {
    let takes = secs(takes);
    Fault::Admit { takes }
}

/// Every write waits for an admission webhook, which takes this long.
fn admit(desk: &Desk, takes: u64) {
    desk.world.on_request(move |_| admission(takes));
}

/// It lands as late as the webhook: no attempt is cut off while its answer may come, and what is
/// sent beside it is at most one more.
#[tokio::test(start_paused = true)]
async fn a_write_lands_as_late_as_its_admission_webhook() {
    for (lane, takes, sent, unanswered) in [
        (Lane::Failover, 4, &[0][..], &[][..]),
        (Lane::Failover, 6, &[0, 5], &[5]),
        (Lane::Failover, 10, &[0, 5], &[5]),
        // Longer than both together: the one that is sent while the second waits lands.
        (Lane::Failover, 14, &[0, 5], &[5]),
        (Lane::Ordinary, 10, &[0], &[]),
        (Lane::Ordinary, 29, &[0, 10], &[10]),
    ] {
        let desk = Desk::new();
        desk.service("s");
        admit(&desk, takes);
        let write = desk.patch("s", "red");
        desk.submit("web", vec![Write { lane, ..write }]);
        sleep(secs(120)).await;
        let what = format!("{lane:?}, {takes} s");
        let patches: Vec<u128> = times(&desk.sent(), "patch Service s");
        assert_eq!(patches, ms_of(sent), "{what}");
        assert_eq!(
            times(&desk.heard(), "unanswered"),
            ms_of(unanswered),
            "{what}"
        );
        assert_eq!(times(&desk.heard(), "accepted"), ms_of(&[takes]), "{what}");
        assert_eq!(desk.waiting("web"), json!([]), "{what}");
    }
}

/// Nothing that was given up leaves anything believed: the slowest webhook that the API allows lets
/// an attempt land, and a create is found to have been made once.
#[tokio::test(start_paused = true)]
async fn patience_grows_until_the_slowest_webhook_has_answered() {
    for (wish, at) in [("patch", 35), ("create", 35)] {
        let desk = Desk::new();
        desk.service("s");
        admit(&desk, 30);
        let write = match wish {
            "create" => create(NS, "new"),
            _ => desk.patch("s", "red"),
        };
        desk.submit("web", vec![moves_traffic(write)]);
        sleep(secs(300)).await;
        let sent = desk.sent().into_iter();
        let sent = sent.filter(|(_, what)| !what.starts_with("get"));
        let sent: Vec<u128> = sent.map(|(at, _)| at).collect();
        // The first is given up when the second has taken ten seconds; that one lands.
        assert_eq!(sent, ms_of(&[0, 5, 15]), "{wish}");
        let heard = desk.heard();
        assert_eq!(times(&heard, "accepted"), ms_of(&[at]), "{wish}");
        assert_eq!(desk.waiting("web"), json!([]), "{wish}");
    }
}

/// At most two attempts at one object are under way, however long none is answered.
#[tokio::test(start_paused = true)]
async fn two_attempts_at_most_are_under_way() {
    let desk = Desk::new();
    desk.service("s");
    desk.world.on_request(|_| Fault::Hang { applied: false });
    desk.submit("web", vec![moves_traffic(desk.patch("s", "red"))]);
    for second in 0..300 {
        let waiting = desk.waiting("web");
        let open = waiting[0]["unansweredForSeconds"].as_array().map(Vec::len);
        assert!(
            open.is_some_and(|open| open <= 2),
            "at {second} s: {waiting}"
        );
        sleep(secs(1)).await;
    }
    let sent = times(&desk.sent(), "patch Service s");
    assert_eq!(sent[..4], ms_of(&[0, 5, 15, 35])[..]);
    assert!((8..14).contains(&sent.len()), "{sent:?}");
    desk.world.heal();
    sleep(secs(40)).await;
    assert_eq!(desk.color("s"), "red");
}

/// An attempt that is never answered is no reason to repeat a write that fails at once without a
/// delay: a server that restarts resets every connection.
#[tokio::test(start_paused = true)]
async fn failures_beside_an_attempt_without_an_answer_are_repeated_with_a_delay() {
    let desk = Desk::new();
    desk.service("s");
    let mut is_first = true;
    desk.world.on_request(move |_| {
        if std::mem::take(&mut is_first) {
            Fault::Hang { applied: false }
        } else {
            Fault::Drop { applied: false }
        }
    });
    desk.submit("web", vec![moves_traffic(desk.patch("s", "red"))]);
    sleep(secs(14)).await;
    let sent = times(&desk.sent(), "patch Service s");
    assert!((3..=15).contains(&sent.len()), "{sent:?}");
    assert!(sent.windows(2).all(|pair| pair[0] < pair[1]), "{sent:?}");
    desk.world.heal();
    sleep(secs(40)).await;
    assert_eq!(desk.color("s"), "red");
}

/// Another decision does not wait for an attempt that has been without an answer for a second. Both
/// are guarded by the same version, so one of them lands and the other one is told to have lost.
#[tokio::test(start_paused = true)]
async fn a_newer_decision_is_sent_beside_an_attempt_without_an_answer() {
    for (first, second, colors) in [
        // The first one lands, the second one loses and is decided again.
        (4, 4, ["red", "blue"]),
        // The first one is stuck: the second one lands before it.
        (14, 1, ["blue", "blue"]),
    ] {
        let desk = Desk::new();
        desk.service("s");
        desk.faults(&[admission(first), admission(second)]);
        let (red, blue) = (desk.patch("s", "red"), desk.patch("s", "blue"));
        desk.submit("web", vec![moves_traffic(red)]);
        sleep(ms(300)).await;
        desk.submit("web", vec![moves_traffic(blue.clone())]);
        sleep(ms(600)).await;
        assert_eq!(desk.sent().len(), 1, "it waits for a moment");
        sleep(ms(200)).await;
        let sent = times(&desk.sent(), "patch Service s");
        assert_eq!(sent, [0, 1_000]);
        // Nor is a third one sent beside the two.
        let green = desk.patch("s", "green");
        desk.submit("web", vec![moves_traffic(green)]);
        sleep(ms(500)).await;
        assert_eq!(desk.sent().len(), 2);
        sleep(secs(3)).await;
        assert_eq!(desk.color("s"), colors[0]);
        if colors[0] == colors[1] {
            desk.give_up();
        }
        sleep(secs(60)).await;
        assert_eq!(desk.color("s"), colors[1]);
        let heard: Vec<String> = desk.heard().into_iter().map(|(_, what)| what).collect();
        let accepted = heard.iter().filter(|what| *what == "accepted").count();
        let landed = if colors[0] == colors[1] { 1 } else { 2 };
        assert_eq!(accepted, landed, "{heard:?}");
        assert_eq!(desk.waiting("web"), json!([]), "{heard:?}");
    }
}

/// The same decision, or one that is taken back within the moment, costs no request.
#[tokio::test(start_paused = true)]
async fn the_same_decision_is_not_sent_beside_itself() {
    let desk = Desk::new();
    desk.service("s");
    admit(&desk, 3);
    let (red, blue) = (desk.patch("s", "red"), desk.patch("s", "blue"));
    desk.submit("web", vec![moves_traffic(red.clone())]);
    for _ in 0..25 {
        desk.submit("web", vec![moves_traffic(red.clone())]);
        sleep(ms(100)).await;
    }
    desk.submit("web", vec![moves_traffic(blue)]);
    desk.submit("web", vec![]);
    sleep(secs(60)).await;
    assert_eq!(times(&desk.sent(), "patch Service s"), [0]);
    assert_eq!(desk.color("s"), "red");
}

/// When such lines came.
fn times(lines: &[(u128, String)], what: &str) -> Vec<u128> {
    let such = lines.iter().filter(|(_, line)| line == what);
    such.map(|(at, _)| *at).collect()
}

fn ms_of(seconds: &[u64]) -> Vec<u128> {
    let in_ms = |second: &u64| u128::from(*second) * 1_000;
    seconds.iter().map(in_ms).collect()
}

/// The server's own errors are counted in a row, and what else it says ends the row.
#[tokio::test(start_paused = true)]
async fn errors_of_the_servers_own_are_counted_in_a_row() {
    let desk = Desk::new();
    desk.service("s");
    let reset = Fault::Drop { applied: false };
    let (error, busy) = (answer(500), answer(429));
    desk.faults(&[
        error.clone(),
        answer(503),
        reset,
        error.clone(),
        busy,
        error,
    ]);
    desk.submit("web", vec![desk.patch("s", "red")]);
    sleep(secs(300)).await;
    let counts = desk.errors.lock().expect("no panic").clone();
    assert_eq!(
        counts,
        [1, 2, 0, 3, 0, 1, 0],
        "a connection that breaks says nothing"
    );
}

/// A write that moves traffic is handed to its connection before the next change is read: the
/// server has it before the watch has applied the rest of what had arrived together.
#[tokio::test(start_paused = true)]
async fn a_failover_write_leaves_before_the_next_change_is_read() {
    const PODS: usize = 100;
    for (lane, expected) in [(Lane::Failover, 1), (Lane::Ordinary, PODS)] {
        let desk = Desk::new();
        for pod in 0..PODS {
            desk.service(&format!("s{pod}"));
            desk.world.kube.pod(NS, &format!("p{pod}")).create();
        }
        let applied = Arc::new(AtomicUsize::new(0));
        let when_asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, asked) = (Arc::clone(&applied), Arc::clone(&when_asked));
        desk.world.on_request(move |request| {
            if request.verb == Verb::Patch {
                let seen = seen.load(Ordering::Relaxed);
                asked.lock().expect("no panic").push(seen);
            }
            Fault::Pass
        });
        let source = watch::Source {
            client: desk.world.kube.client_named("watch"),
            scope: Scope::All,
            selectors: Selectors::default(),
            options: WatchOptions {
                departures: desk.writer.departures().clone(),
                ..WatchOptions::default()
            },
        };
        let writes: Vec<Write> = (0..PODS)
            .map(|pod| desk.patch(&format!("s{pod}"), "red"))
            .collect();
        let (submitter, count) = (desk.writer.clone(), Arc::clone(&applied));
        let apply = move |change: Change<Pod>, _| {
            if let Change::Upsert(pod) = change {
                let at: usize = pod.name[1..].parse().expect("a number");
                let write = Write {
                    lane,
                    ..writes[at].clone()
                };
                submitter.submit(&Key::new(NS, &*pod.name), vec![write], cause());
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        let clock = Clock::system();
        let run = watch::run(source, apply, |_| {}, move || clock.now(), || JITTER);
        let run = tokio::spawn(run);
        sleep(secs(1)).await;
        run.abort();
        let when_asked = when_asked.lock().expect("no panic");
        assert_eq!(applied.load(Ordering::Relaxed), PODS);
        assert_eq!(when_asked.len(), PODS);
        assert_eq!(when_asked[0], expected, "{lane:?}: {when_asked:?}");
        if lane == Lane::Failover {
            let each: Vec<usize> = (1..=PODS).collect();
            assert_eq!(*when_asked, each, "each before the next change");
        }
    }
}

/// RBAC in the server's own words.
#[tokio::test(start_paused = true)]
async fn a_forbidden_verb_is_a_refusal_until_it_is_allowed() {
    let desk = Desk::new();
    desk.service("s");
    desk.world
        .kube
        .set_deny(vec![Rule::new("patch", "services", "")]);
    desk.submit("web", vec![desk.patch("s", "red")]);
    sleep(secs(300)).await;
    let heard = desk.heard();
    assert!(heard.iter().all(|(_, what)| what == "refused 403"));
    assert!((10..40).contains(&heard.len()), "{}", heard.len());
    desk.world.kube.set_deny(vec![]);
    sleep(secs(31)).await;
    assert_eq!(desk.color("s"), "red");
}
