//! The queue of Events against a scripted API server, on a paused clock.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use zen_lead::logic::event::{Note, Subject};
use zen_lead::logic::model::{Key, Uid, Version};
use zen_lead::logic::time::{Moment, Now};
use zen_lead::shell::events::{Events, queue};

/// What the server says to one request.
#[derive(Clone, Copy)]
enum Answer {
    Status(u16),
    /// A 403 because the namespace goes.
    Terminating,
    /// A 429 with Retry-After, in seconds.
    Busy(u32),
    /// The connection breaks.
    Broken,
    /// Nothing, ever.
    Silence,
    /// A 201 after this many milliseconds.
    Slow(u64),
}

/// One request as it came.
#[derive(Clone, Debug)]
struct Heard {
    at: Duration,
    method: Method,
    path: String,
    content_type: String,
    body: Value,
}

#[derive(Default)]
struct Script {
    answers: VecDeque<Answer>,
    heard: Vec<Heard>,
    in_flight: usize,
    in_flight_max: usize,
}

/// A poster at work, and the server that it talks to.
struct World {
    events: Events,
    script: Arc<Mutex<Script>>,
    began: Instant,
    _task: JoinHandle<()>,
}

fn world(answers: &[Answer]) -> World {
    let (events, poster) = queue("zl-0");
    let script = Arc::new(Mutex::new(Script {
        answers: answers.iter().copied().collect(),
        ..Script::default()
    }));
    let began = Instant::now();
    let server = Arc::clone(&script);
    let send = move |request: Request<Bytes>| answer(Arc::clone(&server), began, request);
    World {
        events,
        script,
        began,
        _task: tokio::spawn(poster.run(send)),
    }
}

async fn answer(
    script: Arc<Mutex<Script>>,
    began: Instant,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, &'static str> {
    let answer = {
        let mut script = script.lock().expect("no panic");
        script.heard.push(Heard {
            at: began.elapsed(),
            method: request.method().clone(),
            path: request.uri().to_string(),
            content_type: request.headers()["content-type"]
                .to_str()
                .expect("text")
                .into(),
            body: serde_json::from_slice(request.body()).expect("JSON"),
        });
        script.in_flight += 1;
        script.in_flight_max = script.in_flight_max.max(script.in_flight);
        script.answers.pop_front().unwrap_or(Answer::Status(201))
    };
    let respond = |status: u16, body: &'static str| {
        let mut response = Response::new(Bytes::from_static(body.as_bytes()));
        *response.status_mut() = status.try_into().expect("a status");
        response
    };
    let result = match answer {
        Answer::Status(status) => Ok(respond(status, "{}")),
        Answer::Terminating => Ok(respond(
            403,
            r#"{"details":{"causes":[{"reason":"NamespaceTerminating"}]}}"#,
        )),
        Answer::Busy(seconds) => {
            let mut response = respond(429, "{}");
            response
                .headers_mut()
                .insert("retry-after", seconds.to_string().parse().expect("a value"));
            Ok(response)
        }
        Answer::Broken => Err("connection reset"),
        Answer::Silence => std::future::pending().await,
        Answer::Slow(millis) => {
            sleep(Duration::from_millis(millis)).await;
            Ok(respond(201, "{}"))
        }
    };
    script.lock().expect("no panic").in_flight -= 1;
    result
}

impl World {
    fn note(&self, service: &str, note: Note) {
        let subject = Subject {
            key: Key::new("shop", service),
            uid: Uid::from(service),
            version: Version::from("7"),
        };
        let at = i64::try_from(self.began.elapsed().as_micros()).expect("small");
        let now = Now {
            moment: Moment(at),
            wall: jiff::Timestamp::from_microsecond(1_800_000_000_000_000 + at).expect("in range"),
        };
        self.events.note(subject, note, now);
    }

    fn changed(&self, service: &str, text: &str) {
        self.note(service, Note::normal("LeaderChanged", text));
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no panic")
    }

    /// Lets virtual time pass.
    async fn pass(&self, seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
    }

    /// Method, first message or count, and when: in milliseconds.
    fn heard(&self) -> Vec<(String, u128)> {
        let script = self.script();
        let heard = script.heard.iter().map(|heard| {
            let text = format!(
                "{} {} {}",
                heard.method,
                heard.body["count"],
                heard.body["message"].as_str().expect("a message")
            );
            (text, heard.at.as_millis())
        });
        heard.collect()
    }
}

fn words(heard: &[(String, u128)]) -> Vec<&str> {
    heard.iter().map(|(text, _)| text.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn creates_then_patches() {
    let world = world(&[]);
    world.changed("web", "a");
    world.pass(1).await;
    world.changed("web", "a");
    world.pass(1).await;
    assert_eq!(words(&world.heard()), ["POST 1 a", "PATCH 2 a"]);
    let script = world.script();
    let [create, patch] = &script.heard[..] else {
        panic!("two requests");
    };
    assert_eq!(
        create.path,
        "/api/v1/namespaces/shop/events?fieldManager=zen-lead"
    );
    assert_eq!(create.content_type, "application/json");
    assert_eq!(create.body["reportingInstance"], "zl-0");
    let name = create.body["metadata"]["name"].as_str().expect("a name");
    assert_eq!(
        patch.path,
        format!("/api/v1/namespaces/shop/events/{name}?fieldManager=zen-lead")
    );
    assert_eq!(patch.content_type, "application/merge-patch+json");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_gone_is_made_again_with_its_count() {
    let world = world(&[Answer::Status(201), Answer::Status(404)]);
    world.changed("web", "a");
    world.pass(1).await;
    world.changed("web", "a");
    world.pass(1).await;
    assert_eq!(words(&world.heard()), ["POST 1 a", "PATCH 2 a", "POST 2 a"]);
    let script = world.script();
    assert_eq!(
        script.heard[0].body["metadata"]["name"],
        script.heard[2].body["metadata"]["name"]
    );
    assert_eq!(
        script.heard[0].body["firstTimestamp"],
        script.heard[2].body["firstTimestamp"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_final_is_not_repeated() {
    for answer in [
        Answer::Terminating,
        Answer::Status(404),
        Answer::Status(409),
        Answer::Status(403),
        Answer::Status(422),
    ] {
        let world = world(&[answer]);
        world.changed("web", "a");
        world.pass(60).await;
        assert_eq!(world.script().heard.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_repeated_and_then_given_up() {
    let busy = world(&[Answer::Busy(3), Answer::Broken, Answer::Silence]);
    busy.changed("web", "a");
    busy.pass(60).await;
    let times: Vec<_> = busy.heard().iter().map(|(_, at)| *at).collect();
    // Retry-After 3 s; 2 s after the break; 10 s of silence and 8 s more.
    assert_eq!(times, [0, 3_000, 5_000, 23_000]);

    let down = world(&[Answer::Status(503); 9]);
    down.changed("web", "a");
    down.pass(60).await;
    assert_eq!(down.script().heard.len(), 4);
    down.script().answers.clear();
    down.changed("web", "a");
    down.pass(1).await;
    let expected = ["POST 1 a", "POST 1 a", "POST 1 a", "POST 1 a", "PATCH 2 a"];
    assert_eq!(words(&down.heard()), expected);

    let long = world(&[Answer::Busy(86_400)]);
    long.changed("web", "a");
    long.pass(11).await;
    assert_eq!(
        long.script().heard.len(),
        2,
        "no server silences us for a day"
    );
}

#[tokio::test(start_paused = true)]
async fn a_patch_never_overtakes_its_creation_and_others_do_not_wait() {
    let world = world(&[Answer::Slow(5_000)]);
    world.changed("web", "a");
    world.changed("web", "a");
    world.changed("api", "b");
    world.pass(1).await;
    assert_eq!(words(&world.heard()), ["POST 1 a", "POST 1 b"]);
    world.pass(5).await;
    assert_eq!(words(&world.heard()), ["POST 1 a", "POST 1 b", "PATCH 2 a"]);
}

#[tokio::test(start_paused = true)]
async fn few_are_in_flight() {
    let world = world(&[Answer::Slow(1_000); 12]);
    for i in 0..12 {
        world.changed(&format!("s{i}"), "a");
    }
    world.pass(10).await;
    let script = world.script();
    assert_eq!(script.heard.len(), 12);
    assert_eq!(script.in_flight_max, 3);
    let last = script.heard.last().expect("some").at;
    assert_eq!(last, Duration::from_secs(3), "four rounds of three");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_its_oldest() {
    let world = world(&[Answer::Silence; 3]);
    for i in 0..3 {
        world.changed(&format!("stuck{i}"), "a");
    }
    world.pass(1).await;
    for i in 0..1_030 {
        world.changed(&format!("s{i}"), &format!("m{i}"));
    }
    assert_eq!(world.events.dropped(), 6);
    world.pass(600).await;
    let heard = world.heard();
    let said = |text: &str| heard.iter().any(|(other, _)| other == text);
    assert!(!said("POST 1 m5") && said("POST 1 m6") && said("POST 1 m1029"));
}
