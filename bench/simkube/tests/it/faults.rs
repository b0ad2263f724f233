//! Every fault that a plan can ask for.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};
use simkube::{Faults, FrameInfo, FrameVerdict, Kind, RequestInfo, Verb, Verdict};
use tokio::time::{Instant, timeout};

use crate::http::{Lab, PODS, SERVICES, service};

/// Gives each write or list the next verdict, and each frame the next of its own.
#[derive(Default)]
struct Script {
    requests: Mutex<Vec<Verdict>>,
    frames: Mutex<Vec<FrameVerdict>>,
    seen: Mutex<Vec<(String, Verb, String)>>,
}

impl Faults for Script {
    fn on_request(&self, request: &RequestInfo) -> Verdict {
        self.seen
            .lock()
            .push((request.client.clone(), request.verb, request.name.clone()));
        let mut left = self.requests.lock();
        if left.is_empty() {
            Verdict::Pass
        } else {
            left.remove(0)
        }
    }

    fn on_frame(&self, _: &FrameInfo) -> FrameVerdict {
        let mut left = self.frames.lock();
        if left.is_empty() {
            FrameVerdict::Deliver
        } else {
            left.remove(0)
        }
    }
}

fn lab(requests: Vec<Verdict>, frames: Vec<FrameVerdict>) -> Lab {
    let lab = Lab::plain();
    let script = Script {
        requests: requests.into(),
        frames: frames.into(),
        seen: Mutex::default(),
    };
    lab.sim.set_faults(Arc::new(script));
    lab
}

fn exists(lab: &Lab) -> bool {
    lab.sim.get(Kind::Service, "default", "a").is_some()
}

async fn create(lab: &Lab) -> Result<u16, String> {
    let body = serde_json::to_vec(&service("a")).unwrap();
    lab.try_send(Method::POST, SERVICES, "application/json", body)
        .await
        .map(|a| a.code)
}

#[tokio::test(start_paused = true)]
async fn errors_come_with_and_without_effect() {
    for applied in [false, true] {
        for code in [429, 500, 503, 504] {
            let lab = lab(
                vec![Verdict::Answer {
                    code,
                    retry_after: Some(2),
                    applied,
                }],
                vec![],
            );
            let answer = lab.post(SERVICES, &service("a")).await.expect(code);
            assert_eq!(answer.retry_after.as_deref(), Some("2"));
            assert_eq!(answer.body["kind"], "Status");
            assert_eq!(exists(&lab), applied);
            let record = &lab.sim.requests()[0];
            assert_eq!((record.status, record.applied), (code, applied));
        }
    }
    for code in [400, 401, 403, 404, 405, 409, 410, 413, 415, 422] {
        let lab = lab(
            vec![Verdict::Answer {
                code,
                retry_after: None,
                applied: false,
            }],
            vec![],
        );
        let answer = lab.get(PODS).await.expect(code);
        assert_eq!(answer.body["code"], code);
        assert!(!answer.message().is_empty() && answer.retry_after.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn connections_break_before_and_after() {
    for applied in [false, true] {
        let lab = lab(vec![Verdict::Drop { applied }], vec![]);
        assert!(create(&lab).await.is_err());
        assert_eq!(exists(&lab), applied);
        assert_eq!(lab.sim.requests()[0].status, 0);
        let expected = if applied { 409 } else { 201 };
        assert_eq!(
            create(&lab).await,
            Ok(expected),
            "the next attempt finds out"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn answers_can_stay_away() {
    for applied in [false, true] {
        let lab = lab(vec![Verdict::Hang { applied }], vec![]);
        assert!(
            timeout(Duration::from_hours(1), create(&lab))
                .await
                .is_err()
        );
        assert_eq!(exists(&lab), applied);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_take_their_time() {
    let (before, after) = (Duration::from_secs(2), Duration::from_secs(3));
    let lab = lab(vec![Verdict::Delay { before, after }], vec![]);
    let start = Instant::now();
    let sim = lab.sim.clone();
    let probe = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1_900)).await;
        let early = sim.get(Kind::Service, "default", "a").is_some();
        tokio::time::sleep(Duration::from_millis(200)).await;
        (early, sim.get(Kind::Service, "default", "a").is_some())
    });
    assert_eq!(create(&lab).await, Ok(201));
    assert_eq!(start.elapsed(), before + after);
    assert_eq!(probe.await.unwrap(), (false, true));
}

/// What is refused without a webhook is refused at once; what it let through is looked at again.
#[tokio::test(start_paused = true)]
async fn admission_takes_its_time_over_what_is_acceptable() {
    let takes = Duration::from_secs(6);
    let lab = lab(vec![Verdict::Admit { takes }; 4], vec![]);
    let start = Instant::now();
    let (first, second) = tokio::join!(create(&lab), create(&lab));
    assert_eq!((first, second), (Ok(201), Ok(409)));
    assert_eq!(start.elapsed(), takes);
    assert_eq!(create(&lab).await, Ok(409));
    assert_eq!(start.elapsed(), takes, "it exists");
    lab.sim.delete(Kind::Service, "default", "a");
    let cut = timeout(Duration::from_secs(5), create(&lab)).await;
    assert!(cut.is_err());
    tokio::time::sleep(takes).await;
    assert!(!exists(&lab), "it went with its client");
}

#[tokio::test(start_paused = true)]
async fn faults_can_come_late() {
    let by = Duration::from_secs(4);
    let error = Verdict::Answer {
        code: 503,
        retry_after: None,
        applied: true,
    };
    let lab = lab(
        vec![Verdict::Late {
            by,
            then: Box::new(error),
        }],
        vec![],
    );
    let start = Instant::now();
    assert_eq!(create(&lab).await, Ok(503));
    assert_eq!((start.elapsed(), exists(&lab)), (by, true));
}

#[tokio::test(start_paused = true)]
async fn requests_can_arrive_twice() {
    let lab = lab(vec![Verdict::Twice], vec![]);
    assert_eq!(
        create(&lab).await,
        Ok(409),
        "the second one meets the first"
    );
    assert!(exists(&lab));
}

#[tokio::test(start_paused = true)]
async fn answers_break_off() {
    let lab = lab(
        vec![
            Verdict::Pass,
            Verdict::Truncate { bytes: 10 },
            Verdict::Truncate { bytes: 0 },
        ],
        vec![],
    );
    create(&lab).await.unwrap();
    for _ in 0..2 {
        assert!(
            lab.try_send(Method::GET, SERVICES, "", Vec::new())
                .await
                .is_err()
        );
    }
    lab.get(SERVICES).await.expect(200);
    // A watch as well.
    let lab = self::lab(vec![Verdict::Truncate { bytes: 10 }], vec![]);
    lab.sim.pod("default", "a").create();
    let mut watch = lab.watch(&format!("{PODS}?watch=1")).await;
    assert!(watch.line().await.is_err());
    assert_eq!(watch.rest(), 10);
}

#[tokio::test(start_paused = true)]
async fn reads_can_be_stale() {
    let ago = Duration::from_secs(5);
    let lab = lab(
        vec![
            Verdict::Stale { ago },
            Verdict::Stale { ago },
            Verdict::Pass,
        ],
        vec![],
    );
    lab.sim.pod("default", "a").create();
    let old = lab.sim.resource_version();
    tokio::time::advance(Duration::from_secs(10)).await;
    lab.sim.pod("default", "b").create();
    let list = lab.get(PODS).await.expect(200);
    assert_eq!(
        (list.body["items"].as_array().unwrap().len(), list.rv()),
        (1, old)
    );
    lab.get(&format!("{PODS}/b")).await.expect(404);
    assert_eq!(
        lab.get(PODS).await.body["items"].as_array().unwrap().len(),
        2
    );
}

#[tokio::test(start_paused = true)]
async fn frames_lag_repeat_and_break() {
    let until = Instant::now() + Duration::from_secs(7);
    let lab = lab(
        vec![],
        vec![
            FrameVerdict::HoldUntil(until),
            FrameVerdict::Deliver,
            FrameVerdict::Twice,
            FrameVerdict::Cut { bytes: 20 },
        ],
    );
    let mut watch = lab
        .watch(&format!(
            "{PODS}?watch=1&resourceVersion={}",
            lab.sim.resource_version()
        ))
        .await;
    for name in ["a", "b", "c"] {
        lab.sim.pod("default", name).create();
    }
    assert_eq!(watch.event().await.1, "a");
    assert!(Instant::now() >= until, "it was held back");
    assert_eq!(
        (watch.event().await.1, watch.event().await.1),
        ("b".into(), "b".into())
    );
    assert!(watch.line().await.is_err());
    assert_eq!(watch.rest(), 20);
}

#[tokio::test(start_paused = true)]
async fn watches_end_or_expire_in_place_of_a_frame() {
    let lab = lab(vec![], vec![FrameVerdict::End, FrameVerdict::Expire]);
    let path = format!(
        "{PODS}?watch=1&resourceVersion={}",
        lab.sim.resource_version()
    );
    lab.sim.pod("default", "a").create();
    assert_eq!(lab.watch(&path).await.line().await, Ok(None));
    let mut watch = lab.watch(&path).await;
    let error = watch.next().await;
    assert_eq!(
        (error["type"].as_str(), error["object"]["code"].as_u64()),
        (Some("ERROR"), Some(410))
    );
    assert_eq!(watch.line().await, Ok(None));
    assert_eq!(
        lab.watch(&path).await.event().await.1,
        "a",
        "a new watch finds everything"
    );
}

#[tokio::test(start_paused = true)]
async fn a_held_watch_loses_its_place_to_a_compaction() {
    let lab = lab(
        vec![],
        vec![FrameVerdict::HoldUntil(
            Instant::now() + Duration::from_secs(9),
        )],
    );
    let mut watch = lab
        .watch(&format!(
            "{PODS}?watch=1&resourceVersion={}",
            lab.sim.resource_version()
        ))
        .await;
    lab.sim.pod("default", "a").create();
    assert!(watch.is_quiet(5).await);
    lab.sim.compact_to_now();
    assert_eq!(watch.next().await["object"]["code"], 410);
}

#[tokio::test(start_paused = true)]
async fn a_held_watch_can_be_closed_and_times_out() {
    let hold = || FrameVerdict::HoldUntil(Instant::now() + Duration::from_secs(100_000));
    let lab = lab(vec![], vec![hold(), hold()]);
    let path = format!(
        "{PODS}?watch=1&resourceVersion={}&timeoutSeconds=50",
        lab.sim.resource_version()
    );
    lab.sim.pod("default", "a").create();
    let mut watch = lab.watch(&path).await;
    assert!(watch.is_quiet(5).await);
    lab.sim.close_watches(Kind::Pod);
    assert_eq!(watch.line().await, Ok(None));
    let start = Instant::now();
    assert_eq!(lab.watch(&path).await.line().await, Ok(None));
    assert_eq!(start.elapsed().as_secs(), 50);
}

#[tokio::test(start_paused = true)]
async fn plans_know_who_asks() {
    let lab = Lab::plain();
    let script = Arc::new(Script::default());
    lab.sim.set_faults(Arc::clone(&script) as Arc<dyn Faults>);
    let lab = Lab {
        client: lab.sim.client_named("replica-a"),
        sim: lab.sim,
    };
    lab.post(SERVICES, &service("a")).await.expect(201);
    lab.patch(&format!("{SERVICES}/a"), &json!({}))
        .await
        .expect(200);
    lab.delete(&format!("{SERVICES}/a"), &Value::Null)
        .await
        .expect(200);
    let want = [Verb::Create, Verb::Patch, Verb::Delete]
        .map(|v| ("replica-a".to_owned(), v, "a".to_owned()));
    assert_eq!(*script.seen.lock(), want);
    assert_eq!(lab.sim.requests()[0].client, "replica-a");
}
