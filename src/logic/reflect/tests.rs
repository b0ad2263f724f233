//! The protocol as tables: for every state, what follows from every response.

use std::time::Duration;

use serde::Deserialize;

use super::*;
use crate::logic::backoff::Backoff;
use crate::logic::model::{Meta, Object, Uid};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Thing {
    pub(super) metadata: Meta,
    #[serde(default)]
    pub(super) value: u64,
}

impl Object for Thing {
    const RESOURCE: &'static str = "things";
    const API: &'static str = "/api/v1";

    fn key(&self) -> Key {
        self.metadata.key()
    }

    fn uid(&self) -> &Uid {
        &self.metadata.uid
    }

    fn version(&self) -> &Version {
        &self.metadata.resource_version
    }
}

pub(super) fn thing(name: &str, uid: &str, version: u64, value: u64) -> Thing {
    let metadata = Meta {
        namespace: "n".into(),
        name: name.into(),
        uid: uid.into(),
        resource_version: Version::Number(version),
        ..Meta::default()
    };
    Thing { metadata, value }
}

pub(super) fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(10))
}

fn applied(name: &str, version: u64) -> Response<Thing> {
    Response::Frame(Frame::Applied(thing(name, "u", version, 0)))
}

fn deleted(name: &str, version: u64) -> Response<Thing> {
    Response::Frame(Frame::Deleted(Tombstone {
        key: Key::new("n", name),
        uid: "u".into(),
        version: Version::Number(version),
    }))
}

fn bookmark(version: u64, initial_events_end: bool) -> Response<Thing> {
    Response::Frame(Frame::Bookmark(Bookmark {
        version: Version::Number(version),
        initial_events_end,
    }))
}

fn unreadable(name: &str, version: u64) -> Unreadable {
    Unreadable {
        key: Some(Key::new("n", name)),
        version: Some(Version::Number(version)),
        reason: "odd".into(),
    }
}

fn page(names: &[(&str, u64)], version: u64, token: Option<&str>) -> Response<Thing> {
    let objects = names.iter().map(|(name, at)| thing(name, "u", *at, 0));
    Response::Page(Page {
        objects: objects.collect(),
        unreadable: Vec::new(),
        version: Version::Number(version),
        continue_token: token.map(Into::into),
    })
}

fn closed(seconds: u64) -> Response<Thing> {
    Response::Closed {
        after: Duration::from_secs(seconds),
    }
}

fn status(code: u16, message: &str) -> Response<Thing> {
    Response::Failed(Failure::Status(ApiStatus {
        code,
        message: message.into(),
        ..ApiStatus::default()
    }))
}

fn throttled() -> Response<Thing> {
    Response::Failed(Failure::Status(ApiStatus {
        code: 429,
        retry_after: Some(Duration::from_secs(7)),
        ..ApiStatus::default()
    }))
}

fn broken(seconds: u64) -> Response<Thing> {
    Response::Broken {
        after: Duration::from_secs(seconds),
        failure: Failure::Transport("reset".into()),
    }
}

fn lost() -> Response<Thing> {
    Response::Failed(Failure::Transport("reset".into()))
}

/// Everything that can come back. The tables name them all.
fn responses() -> Vec<(&'static str, Response<Thing>)> {
    let odd = Page {
        objects: vec![thing("p", "u", 6, 0)],
        unreadable: vec![unreadable("q", 7)],
        version: Version::Number(20),
        continue_token: None,
    };
    vec![
        ("page", page(&[("p", 6)], 20, Some("more"))),
        ("last-page", page(&[("p", 6)], 20, None)),
        ("odd-page", Response::Page(odd)),
        ("opened", Response::Opened),
        ("applied", applied("b", 12)),
        ("old", applied("b", 9)),
        ("unversioned", applied("b", 0)),
        ("deleted", deleted("a", 12)),
        ("bookmark", bookmark(12, false)),
        ("old-bookmark", bookmark(9, false)),
        ("end-bookmark", bookmark(12, true)),
        (
            "unreadable",
            Response::Frame(Frame::Unreadable(unreadable("b", 12))),
        ),
        ("closed", closed(0)),
        ("closed-late", closed(300)),
        ("400", status(400, "")),
        ("401", status(401, "")),
        (
            "403",
            status(403, "pods is forbidden: User \"x\" cannot watch"),
        ),
        (
            "403-option",
            status(403, "sendInitialEvents is forbidden for watch"),
        ),
        ("404", status(404, "")),
        ("410", status(410, "too old resource version")),
        ("422", status(422, "")),
        ("429", throttled()),
        ("500", status(500, "")),
        ("504", status(504, "")),
        ("ahead", status(504, "Too large resource version: 99")),
        ("timeout", Response::Failed(Failure::Timeout)),
        ("transport", lost()),
        ("broken", broken(0)),
        ("broken-late", broken(42)),
        (
            "malformed",
            Response::Failed(Failure::Malformed("html".into())),
        ),
        ("waited", Response::Waited),
    ]
}

fn after(script: &[Response<Thing>]) -> Reflector {
    let start = Reflector::new(backoff());
    script.iter().fold(start, |reflector, response| {
        reflector.step(response.clone(), || 0.5).0
    })
}

fn show(step: &ReflectStep<Thing>) -> String {
    let mut words: Vec<String> = step.changes.iter().map(show_change).collect();
    words.push(step.request.as_ref().map_or("read".into(), show_request));
    if let Some(reason) = step.restart {
        words.push(reason.as_str().into());
    }
    words.join(", ")
}

fn show_change(change: &Change<Thing>) -> String {
    match change {
        Change::Upsert(thing) => format!("+{}@{}", thing.metadata.name, thing.version()),
        Change::Delete(tombstone) => format!("-{}@{}", tombstone.key.name, tombstone.version),
        Change::Retain { keys, version } => {
            let mut names: Vec<_> = keys.iter().map(|key| &*key.name).collect();
            names.sort_unstable();
            format!("={}@{version}", names.join(""))
        }
        Change::Restored => "restored".into(),
        Change::Progress(version) => format!("@{version}"),
        Change::Skipped(unreadable) => {
            let key = unreadable.key.as_ref().expect("all test objects have one");
            format!("?{}", key.name)
        }
    }
}

fn show_request(request: &Request) -> String {
    match request {
        Request::StreamingList => "stream".into(),
        Request::List {
            continue_token: None,
        } => "list".into(),
        Request::List {
            continue_token: Some(token),
        } => format!("list {token}"),
        Request::Check => "check".into(),
        Request::Watch { version } => format!("watch {version}"),
        Request::Wait(delay) => format!("wait {delay:?}"),
    }
}

/// Each line: the names of responses, then what follows from any of them after `script`.
fn check(script: &[Response<Thing>], table: &str) {
    let mut rows: Vec<(&str, &str)> = Vec::new();
    for line in table.lines().filter(|line| !line.trim().is_empty()) {
        let (names, expected) = line.split_once(':').expect("a line is `names: result`");
        rows.extend(names.split_whitespace().map(|name| (name, expected.trim())));
    }
    let mut failures = Vec::new();
    for (name, response) in responses() {
        let (next, step) = after(script).step(response, || 0.5);
        let mut row = rows.iter().filter(|row| row.0 == name);
        let (Some((_, expected)), None) = (row.next(), row.next()) else {
            panic!("{name} needs exactly one row");
        };
        let mut actual = show(&step);
        if let Some(Request::Wait(_)) = step.request {
            let (next, resumed) = next.step(Response::<Thing>::Waited, || 0.5);
            actual = format!("{actual}, then {}", show(&resumed));
            assert_eq!(resumed.request, Some(next.request()), "{name}");
        } else if let Some(request) = step.request {
            assert_eq!(request, next.request(), "{name}");
        }
        if actual != *expected {
            failures.push(format!("{name}: {actual}"));
        }
    }
    assert_eq!(rows.len(), responses().len(), "no row names a stranger");
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// A paged list is under way: the server refused to stream.
fn paging() -> Vec<Response<Thing>> {
    vec![status(422, "")]
}

/// `a` is known, everything up to 10.
fn watching() -> Vec<Response<Thing>> {
    vec![
        Response::Opened,
        applied("a", 5),
        bookmark(10, true),
        bookmark(10, false),
    ]
}

#[test]
fn a_streaming_list_that_is_asked_for() {
    check(
        &[],
        "
        page last-page odd-page waited: stream
        opened: read
        applied: +b@12, read
        old: +b@9, read
        unversioned: +b@0, read
        deleted: -a@12, read
        bookmark: @12, read
        old-bookmark: @9, read
        end-bookmark: =@12, read
        unreadable: ?b, read
        closed closed-late: stream, closed
        400 422 403-option: list
        401 403 404 500: wait 200ms, error, then stream
        410: stream, gone
        429: wait 7s, error, then stream
        504 ahead: wait 200ms, timeout, then stream
        timeout: stream, timeout
        transport broken broken-late: stream, transport
        malformed: wait 200ms, error, then stream
        ",
    );
}

#[test]
fn a_streaming_list_under_way() {
    check(
        &[Response::Opened, applied("a", 5)],
        "
        page last-page odd-page waited: stream
        opened: read
        applied: +b@12, read
        old: +b@9, read
        unversioned: +b@0, read
        deleted: -a@12, read
        bookmark: @12, read
        old-bookmark: @9, read
        end-bookmark: =a@12, read
        unreadable: ?b, read
        closed closed-late: stream, closed
        400 422 403-option: list
        401 403 404 500: wait 200ms, error, then stream
        410: stream, gone
        429: wait 7s, error, then stream
        504 ahead: wait 200ms, timeout, then stream
        timeout: list, timeout
        transport broken broken-late: stream, transport
        malformed: wait 200ms, error, then stream
        ",
    );
}

#[test]
fn the_first_page() {
    check(
        &paging(),
        "
        page: +p@6, list more
        last-page: +p@6, =p@20, watch 20
        odd-page: +p@6, ?q, =pq@20, watch 20
        opened applied old unversioned deleted: list
        bookmark old-bookmark end-bookmark unreadable closed closed-late waited: list
        400 401 403 403-option 404 422 500: wait 200ms, error, then list
        410: list, gone
        429: wait 7s, error, then list
        504 ahead: wait 200ms, timeout, then list
        timeout: list, timeout
        transport broken broken-late: list, transport
        malformed: wait 200ms, error, then list
        ",
    );
}

#[test]
fn a_later_page() {
    let mut script = paging();
    script.push(page(&[("a", 5)], 10, Some("two")));
    check(
        &script,
        "
        page: +p@6, list more
        last-page: +p@6, =ap@10, watch 10
        odd-page: +p@6, ?q, =apq@10, watch 10
        opened applied old unversioned deleted: list two
        bookmark old-bookmark end-bookmark unreadable closed closed-late waited: list two
        400: wait 200ms, error, then list
        401 403 403-option 404 422 500: wait 200ms, error, then list two
        410: list, gone
        429: wait 7s, error, then list two
        504 ahead: wait 200ms, timeout, then list two
        timeout: list two, timeout
        transport broken broken-late: list two, transport
        malformed: wait 200ms, error, then list two
        ",
    );
}

#[test]
fn a_watch() {
    check(
        &watching(),
        "
        page last-page odd-page waited: watch 10
        opened: read
        applied: +b@12, read
        old: +b@9, read
        unversioned: +b@0, read
        deleted: -a@12, read
        bookmark: @12, read
        old-bookmark: @10, read
        end-bookmark: @12, read
        unreadable: ?b, read
        closed: check, closed
        closed-late: watch 10, closed
        400 422: wait 200ms, error, then stream
        401 403 403-option 404 500: wait 200ms, error, then check
        410: stream, gone
        429: wait 7s, error, then check
        504 ahead: wait 200ms, timeout, then check
        timeout: check, timeout
        transport broken broken-late: check, transport
        malformed: wait 200ms, error, then check
        ",
    );
}

#[test]
fn a_watch_that_broke_before() {
    let mut script = watching();
    script.extend([lost(), page(&[], 10, None), Response::Opened]);
    check(
        &script,
        "
        page last-page odd-page waited: watch 10
        opened: read
        applied: +b@12, read
        old: +b@9, read
        unversioned: +b@0, read
        deleted: -a@12, read
        bookmark: @12, read
        old-bookmark: @10, read
        end-bookmark: @12, read
        unreadable: ?b, read
        closed: wait 200ms, closed, then check
        closed-late: watch 10, closed
        400 422: wait 200ms, error, then stream
        401 403 403-option 404 500: wait 200ms, error, then check
        410: stream, gone
        429: wait 7s, error, then check
        504: wait 200ms, timeout, then check
        ahead: wait 200ms, timeout, then stream
        timeout: wait 200ms, timeout, then check
        transport broken: wait 200ms, transport, then check
        broken-late: check, transport
        malformed: wait 200ms, error, then check
        ",
    );
}

#[test]
fn a_wait() {
    let all = "
        page last-page odd-page opened applied old unversioned deleted bookmark old-bookmark
        end-bookmark unreadable closed closed-late 400 401 403 403-option 404 410 422 429 500 504
        ahead timeout transport broken broken-late malformed"
        .replace('\n', " ");
    for (mut script, then) in [
        (vec![], "stream"),
        (paging(), "list"),
        (watching(), "check"),
    ] {
        script.push(status(500, ""));
        let table = format!("{all}: wait 200ms, then {then}\nwaited: {then}");
        check(&script, &table);
    }
}

/// The requests that follow one another when every response is drawn from `server`.
fn trace(
    mut reflector: Reflector,
    count: usize,
    mut server: impl FnMut(&Request) -> Vec<Response<Thing>>,
) -> Vec<String> {
    let mut request = reflector.request();
    let mut requests = vec![show_request(&request)];
    while requests.len() < count {
        for response in server(&request) {
            let step;
            (reflector, step) = reflector.step(response, || 0.5);
            if step.request.is_some() {
                break;
            }
        }
        request = reflector.request();
        requests.push(show_request(&request));
    }
    requests
}

#[test]
fn no_server_makes_a_loop_without_delays() {
    type Server = fn(&Request) -> Vec<Response<Thing>>;
    fn list() -> Vec<Response<Thing>> {
        vec![Response::Opened, bookmark(10, true), closed(0)]
    }
    let servers: [(&str, &str, Server); 7] = [
        (
            "closes every watch at once",
            "wait 5.05s",
            |request| match request {
                Request::Watch { .. } => vec![Response::Opened, closed(0)],
                _ => list(),
            },
        ),
        (
            "has always just compacted",
            "wait 5.05s",
            |request| match request {
                Request::Watch { .. } => vec![Response::Opened, status(410, "")],
                _ => list(),
            },
        ),
        (
            "repeats an old frame",
            "wait 5.05s",
            |request| match request {
                Request::Watch { .. } => vec![Response::Opened, applied("b", 10), closed(0)],
                _ => list(),
            },
        ),
        (
            "forgets every token",
            "wait 5.05s",
            |request| match request {
                Request::StreamingList => vec![status(422, "")],
                Request::List {
                    continue_token: None,
                } => vec![page(&[("p", 6)], 20, Some("t"))],
                _ => vec![status(410, "")],
            },
        ),
        ("is not there", "wait 550ms", |_| vec![lost()]),
        (
            "cuts every watch at once",
            "wait 550ms",
            |request| match request {
                Request::Watch { .. } => vec![Response::Opened, broken(0)],
                _ => list(),
            },
        ),
        ("stalls", "wait 5.05s", |request| match request {
            Request::List { .. } => vec![Response::Failed(Failure::Timeout)],
            _ => vec![
                Response::Opened,
                Response::Broken {
                    after: Duration::from_secs(10),
                    failure: Failure::Timeout,
                },
            ],
        }),
    ];
    for (what, longest, server) in servers {
        let server = move |request: &Request| match request {
            Request::Wait(_) => vec![Response::Waited],
            Request::Check => vec![page(&[], 10, None)],
            request => server(request),
        };
        let requests = trace(Reflector::new(backoff()), 60, server);
        let waits = requests.iter().filter(|text| text.starts_with("wait"));
        assert!(waits.count() >= 15, "a server that {what}: {requests:?}");
        assert!(
            requests.contains(&longest.to_owned()),
            "a server that {what} is left alone for longer and longer: {requests:?}"
        );
    }
}

#[test]
fn a_server_that_goes_back_again_and_again_is_given_time() {
    let requests = trace(Reflector::new(backoff()), 50, |request| match request {
        Request::Watch { .. } => vec![Response::Opened, bookmark(20, false), broken(300)],
        Request::Wait(_) => vec![Response::Waited],
        Request::Check => vec![page(&[], 10, None)],
        _ => vec![Response::Opened, bookmark(10, true)],
    });
    let waits = requests.iter().filter(|text| *text == "wait 1s");
    assert_eq!(waits.count(), 10, "{requests:?}");
}

#[test]
fn a_refused_streaming_list_is_tried_again_once_in_a_while() {
    let mut seen = 10;
    let requests = trace(Reflector::new(backoff()), 40, |request| match request {
        Request::StreamingList => vec![status(422, "")],
        Request::List { .. } => vec![page(&[], seen, None)],
        // One bookmark, and then the history is gone.
        Request::Watch { .. } => {
            seen += 1;
            vec![Response::Opened, bookmark(seen, false), status(410, "")]
        }
        Request::Check | Request::Wait(_) => panic!("every watch gets on"),
    });
    let streams: Vec<_> = (0..requests.len())
        .filter(|at| requests[*at] == "stream")
        .collect();
    assert_eq!(streams, [0, 19, 38], "{requests:?}");
}

#[test]
fn a_streaming_list_that_is_always_cut_gives_way_to_pages() {
    let requests = trace(Reflector::new(backoff()), 12, |request| match request {
        Request::StreamingList => vec![Response::Opened, applied("a", 5), lost()],
        Request::List { .. } => vec![page(&[("a", 5)], 9, None)],
        Request::Watch { .. } => vec![Response::Opened],
        Request::Check => panic!("no watch breaks"),
        Request::Wait(_) => vec![Response::Waited],
    });
    assert!(requests.contains(&"watch 9".to_owned()), "{requests:?}");
}

#[test]
fn a_delete_in_a_streaming_list_takes_the_name_out() {
    let script = [
        Response::Opened,
        applied("a", 5),
        applied("b", 6),
        deleted("a", 7),
    ];
    let (_, step) = after(&script).step(bookmark(8, true), || 0.5);
    assert_eq!(show(&step), "=b@8, read");
}

#[test]
fn a_streaming_list_that_broke_starts_over() {
    let script = [
        Response::Opened,
        applied("a", 5),
        lost(),
        Response::Opened,
        applied("b", 6),
    ];
    let (_, step) = after(&script).step(bookmark(8, true), || 0.5);
    assert_eq!(show(&step), "=b@8, read");
}

#[test]
fn an_unreadable_object_exists() {
    let odd = Response::Frame(Frame::Unreadable(unreadable("b", 6)));
    let (_, step) = after(&[Response::Opened, odd]).step(bookmark(8, true), || 0.5);
    assert_eq!(show(&step), "=b@8, read");
}

#[test]
fn a_list_that_lost_its_token_starts_over() {
    let mut script = paging();
    script.extend([page(&[("a", 5)], 10, Some("two")), status(410, "")]);
    let (_, step) = after(&script).step(page(&[("b", 6)], 20, None), || 0.5);
    assert_eq!(show(&step), "+b@6, =b@20, watch 20");
}

/// What has been deleted since would come back, and nothing would tell of its end a second time.
#[test]
fn a_list_that_is_older_than_what_was_shown_is_asked_for_again() {
    let mut script = paging();
    script.extend([
        page(&[("a", 5)], 10, None),
        Response::Opened,
        applied("a", 25),
        status(410, ""),
    ]);
    let reflector = after(&script);
    let (reflector, step) = reflector.step(page(&[("a", 5), ("b", 6)], 24, None), || 0.5);
    let steps = follow(
        reflector,
        [
            Response::Waited,
            page(&[("b", 6)], 25, None),
            page(&[("a", 25)], 25, None),
        ],
    );
    assert_eq!(show(&step), "wait 1s");
    assert_eq!(steps, ["check", "list", "+a@25, =a@25, watch 25"]);
}

/// What follows from each response.
fn follow<const COUNT: usize>(
    mut reflector: Reflector,
    script: [Response<Thing>; COUNT],
) -> [String; COUNT] {
    script.map(|response| {
        let (next, step) = reflector.clone().step(response, || 0.5);
        reflector = next;
        show(&step)
    })
}

/// Its versions are lower, and it says nothing to a watch that resumes at a higher one.
#[test]
fn a_server_that_was_restored_is_listed_from_zero() {
    let back = page(&[("z", 1)], 7, None);
    let steps = follow(
        after(&watching()),
        [
            broken(300),
            back.clone(),
            Response::Waited,
            back.clone(),
            Response::Opened,
            applied("a", 3),
            bookmark(7, true),
            applied("b", 8),
        ],
    );
    let expected = [
        "check, transport",
        "wait 1s",
        "check",
        "restored, stream, restored",
        "read",
        "+a@3, read",
        "=a@7, read",
        "+b@8, read",
    ];
    assert_eq!(steps, expected);
    // A list that was to be made anyway shows it as well: by its pages, or by its end.
    let mut paged = paging();
    paged.extend([page(&[("a", 5)], 10, None), Response::Opened]);
    let steps = follow(
        after(&paged),
        [
            status(410, ""),
            page(&[("a", 3)], 7, None),
            Response::Waited,
            back.clone(),
            page(&[("a", 3)], 7, None),
        ],
    );
    let expected = [
        "list, gone",
        "wait 1s",
        "check",
        "restored, list, restored",
        "+a@3, =a@7, watch 7",
    ];
    assert_eq!(steps, expected);
    let steps = follow(
        after(&watching()),
        [
            status(410, ""),
            Response::Opened,
            applied("a", 3),
            bookmark(7, true),
            Response::Waited,
            back,
        ],
    );
    let expected = [
        "stream, gone",
        "read",
        "+a@3, read",
        "wait 1s",
        "check",
        "restored, stream, restored",
    ];
    assert_eq!(steps, expected);
}

/// It may be another server, behind the same address.
#[test]
fn a_server_that_lags_behind_is_waited_for() {
    let steps = follow(
        after(&watching()),
        [
            broken(300),
            page(&[("z", 1)], 7, None),
            Response::Waited,
            page(&[("z", 1)], 11, None),
        ],
    );
    let expected = ["check, transport", "wait 1s", "check", "watch 10"];
    assert_eq!(steps, expected);
}

/// A restarted server has no history; that it was away for long is no reason to let it wait.
#[test]
fn history_that_is_gone_is_listed_at_once_and_then_later_and_later() {
    let mut script = watching();
    script.extend([broken(300), lost(), Response::Waited, lost()]);
    script.extend([Response::Waited, page(&[], 20, None)]);
    let steps = follow(
        after(&script),
        [
            status(410, ""),
            Response::Opened,
            bookmark(20, true),
            status(410, ""),
            Response::Waited,
            Response::Opened,
            bookmark(20, true),
            status(410, ""),
            Response::Waited,
            Response::Opened,
            bookmark(20, true),
            bookmark(21, false),
            status(410, ""),
        ],
    );
    let expected = [
        "stream, gone",
        "read",
        "=@20, read",
        "wait 200ms, gone",
        "stream",
        "read",
        "=@20, read",
        "wait 350ms, gone",
        "stream",
        "read",
        "=@20, read",
        "@21, read",
        "stream, gone",
    ];
    assert_eq!(steps, expected);
}

#[test]
fn unreadable_objects_advance_the_version() {
    let mut script = watching();
    let odd = Response::Frame(Frame::Unreadable(unreadable("b", 15)));
    script.extend([Response::Opened, odd]);
    let (_, step) = after(&script).step(closed(300), || 0.5);
    assert_eq!(show(&step), "watch 15, closed");
}

#[test]
fn opaque_versions_are_followed_as_they_come() {
    let version = |text: &str| Version::from(text);
    let frame = |text: &str| {
        let mut object = thing("a", "u", 0, 0);
        object.metadata.resource_version = version(text);
        Response::Frame(Frame::Applied(object))
    };
    let mut script = watching();
    script.extend([frame("v9"), frame("v10"), lost(), page(&[], 10, None)]);
    let reflector = after(&script);
    let request = reflector.request();
    assert_eq!(
        request,
        Request::Watch {
            version: version("v10")
        }
    );
}

#[test]
fn a_long_retry_after_is_cut() {
    let failure = Failure::Status(ApiStatus {
        code: 503,
        retry_after: Some(Duration::from_hours(1)),
        ..ApiStatus::default()
    });
    let (_, step) = after(&[]).step(Response::<Thing>::Failed(failure), || 0.5);
    assert_eq!(step.request, Some(Request::Wait(Duration::from_mins(1))));
}

#[test]
fn failures_have_a_class_and_words() {
    for (code, class) in [
        (400, FailureClass::Rejected),
        (401, FailureClass::Unauthorized),
        (403, FailureClass::Forbidden),
        (404, FailureClass::NotFound),
        (408, FailureClass::Timeout),
        (410, FailureClass::Gone),
        (429, FailureClass::Throttled),
        (500, FailureClass::Server),
        (504, FailureClass::Timeout),
        (0, FailureClass::Server),
    ] {
        let Response::Failed(failure) = status(code, "why") else {
            unreachable!("status makes failures");
        };
        assert_eq!(failure.class(), class, "{code}");
        assert_eq!(failure.to_string(), format!("{code}: why"));
    }
    assert_eq!(Failure::Timeout.to_string(), "no answer in time");
}
