use super::*;
use crate::logic::time::Moment;

fn now() -> Now {
    Now {
        moment: Moment(1_000_000),
        wall: jiff::Timestamp::default(),
    }
}

fn pod(name: &str, version: u64, labels: &str, ready: bool) -> Pod {
    let text = format!(
        r#"{{"metadata":{{"namespace":"n","name":"{name}","uid":"uid-{name}","resourceVersion":"{version}","labels":{labels}}},
        "status":{{"phase":"Running","podIPs":[{{"ip":"10.0.0.1"}}],"conditions":[{{"type":"Ready","status":"{}"}}]}}}}"#,
        if ready { "True" } else { "False" }
    );
    serde_json::from_str(&text).expect("a pod")
}

fn service(name: &str, version: u64, annotations: &str, selector: &str, more: &str) -> Service {
    let text = format!(
        r#"{{"metadata":{{"namespace":"n","name":"{name}","uid":"uid-{name}","resourceVersion":"{version}","annotations":{annotations}{more}}},
        "spec":{{"selector":{selector},"ports":[{{"port":80}}]}}}}"#
    );
    serde_json::from_str(&text).expect("a Service")
}

fn slice(name: &str, version: u64, labels: &str, owner: &str) -> Slice {
    let text = format!(
        r#"{{"metadata":{{"namespace":"n","name":"{name}","uid":"uid-{name}","resourceVersion":"{version}","labels":{labels},
        "ownerReferences":[{{"kind":"Service","name":"{owner}","uid":"uid-{owner}","controller":true}}]}},"addressType":"IPv4"}}"#
    );
    serde_json::from_str(&text).expect("a slice")
}

const ON: &str = r#"{"zen-lead.io/enabled":"true"}"#;
const OURS: &str =
    r#"{"zen-lead.io/source-service":"a","app.kubernetes.io/managed-by":"zen-lead"}"#;

/// For set-up, where it does not matter which source is concerned.
fn ignore(_: Vec<Key>) {}

fn names(keys: &[Key]) -> Vec<&str> {
    keys.iter().map(|key| &*key.name).collect()
}

fn key(name: &str) -> Key {
    Key::new("n", name)
}

#[test]
fn a_pod_touches_only_those_who_select_it_and_only_when_it_changes() {
    let store = Store::default();
    ignore(store.put_service(service("a", 1, ON, r#"{"app":"a"}"#, ""), Origin::Watch));
    ignore(store.put_service(service("b", 2, ON, r#"{"app":"b"}"#, ""), Origin::Watch));
    ignore(store.put_service(service("off", 3, "{}", r#"{"app":"a"}"#, ""), Origin::Watch));
    assert_eq!(
        names(&store.put_pod(pod("p", 4, r#"{"app":"a"}"#, true), now())),
        ["a"]
    );
    assert_eq!(
        store.put_pod(pod("p", 5, r#"{"app":"a"}"#, true), now()),
        [],
        "nothing changed"
    );
    assert_eq!(
        names(&store.put_pod(pod("p", 6, r#"{"app":"a"}"#, false), now())),
        ["a"]
    );
    assert_eq!(
        store.put_pod(pod("p", 5, r#"{"app":"a"}"#, true), now()),
        [],
        "older news are no news"
    );
    assert_eq!(
        names(&store.put_pod(pod("p", 7, r#"{"app":"b"}"#, true), now())),
        ["a", "b"],
        "both, on a change of labels"
    );
    assert!(store.snapshot(&key("a")).pods.is_empty());
    assert_eq!(store.snapshot(&key("b")).pods.len(), 1);
    assert_eq!(names(&store.remove_pod(&key("p"), None)), ["b"]);
    assert!(store.snapshot(&key("b")).pods.is_empty());
}

#[test]
fn an_opt_in_or_a_new_selector_finds_pods_that_were_there_before() {
    let store = Store::default();
    ignore(store.put_pod(pod("p", 1, r#"{"app":"a"}"#, true), now()));
    ignore(store.put_pod(pod("q", 2, r#"{"app":"b"}"#, true), now()));
    ignore(store.put_service(service("a", 3, "{}", r#"{"app":"a"}"#, ""), Origin::Watch));
    assert!(!store.concerns(&key("a")));
    ignore(store.put_service(service("a", 4, ON, r#"{"app":"a"}"#, ""), Origin::Watch));
    assert!(store.concerns(&key("a")));
    assert_eq!(&*store.snapshot(&key("a")).pods[0].name, "p");
    ignore(store.put_service(service("a", 5, ON, r#"{"app":"b"}"#, ""), Origin::Watch));
    assert_eq!(&*store.snapshot(&key("a")).pods[0].name, "q");
}

#[test]
fn selectors_that_came_after_their_pods_miss_none_and_keep_none() {
    let store = Store::default();
    let labels = |app: &str| format!(r#"{{"app":"{app}","of":"shop"}}"#);
    for (at, app) in ["a", "b", "a", "c"].into_iter().enumerate() {
        let name = format!("p{at}");
        ignore(store.put_pod(pod(&name, 1, &labels(app), true), now()));
    }
    for (name, version, selector) in [
        ("a", 2, labels("a")),
        ("b", 3, labels("b")),
        ("all", 4, r#"{"of":"shop"}"#.to_owned()),
        ("left", 5, labels("a")),
        ("moved", 6, labels("a")),
    ] {
        ignore(store.put_service(service(name, version, ON, &selector, ""), Origin::Watch));
    }
    // All of it before the first look.
    ignore(store.remove_pod(&key("p2"), None));
    ignore(store.put_pod(pod("p3", 7, &labels("b"), true), now()));
    ignore(store.put_service(service("left", 8, "{}", &labels("a"), ""), Origin::Watch));
    ignore(store.put_service(service("moved", 9, ON, &labels("b"), ""), Origin::Watch));
    let seen = |name: &str| {
        let pods = store.snapshot(&key(name)).pods;
        let names = pods.iter().map(|pod| pod.name.to_string());
        names.collect::<Vec<_>>()
    };
    assert_eq!(seen("a"), ["p0"]);
    assert_eq!(seen("b"), ["p1", "p3"]);
    assert_eq!(seen("all"), ["p0", "p1", "p3"]);
    assert_eq!(seen("left"), [""; 0]);
    assert_eq!(seen("moved"), ["p1", "p3"]);
}

/// The watch leaves out pods in a terminal phase, and tells of one that reaches it as of a deletion.
/// A real deletion comes after a reading with a deletionTimestamp.
#[test]
fn a_leader_that_ends_is_told_from_one_that_is_deleted() {
    let store = Store::default();
    let led = |app: &str| {
        let labels = format!(r#"{{"app":"{app}"}}"#);
        ignore(store.put_service(service(app, 1, ON, &labels, ""), Origin::Watch));
        ignore(store.put_pod(pod(app, 2, &labels, true), now()));
        store.pin(&key(app), Some(&app.into()), [None, None]);
        labels
    };
    let seen = |app: &str| {
        let snapshot = store.snapshot(&key(app));
        assert_eq!(snapshot.pods, [], "it is no candidate");
        let pod = snapshot.pod(&format!("uid-{app}").as_str().into()).cloned();
        pod.map(|pod| (pod.ended(), pod.ready))
    };
    let labels = led("ended");
    assert_eq!(
        names(&store.lose_pod(&key("ended"), &Version::Number(3))),
        ["ended"]
    );
    assert_eq!(seen("ended"), Some((true, false)));
    assert_eq!(store.put_pod(pod("ended", 2, &labels, true), now()), []);
    assert_eq!(seen("ended"), Some((true, false)), "older news are no news");
    store.pin(&key("ended"), None, [None, None]);
    assert_eq!(seen("ended"), None, "nothing is left once it leads no more");

    let labels = led("deleted");
    let mut last = pod("deleted", 3, &labels, true);
    last.terminating = true;
    ignore(store.put_pod(last, now()));
    assert_eq!(
        names(&store.lose_pod(&key("deleted"), &Version::Number(4))),
        ["deleted"]
    );
    assert_eq!(seen("deleted"), None);

    led("listed");
    let kept: HashSet<Key> = HashSet::new();
    ignore(store.retain_pods(None, &kept, &Version::Number(9)));
    assert_eq!(
        seen("listed"),
        None,
        "a list does not tell why it lacks a pod"
    );

    led("follower");
    store.pin(&key("follower"), None, [None, None]);
    assert_eq!(
        names(&store.lose_pod(&key("follower"), &Version::Number(3))),
        ["follower"]
    );
    assert_eq!(store.census()[0].pods, 0, "only leaders are remembered");
}

#[test]
fn a_leader_is_seen_and_reported_whatever_its_labels() {
    let store = Store::default();
    ignore(store.put_service(service("a", 1, ON, r#"{"app":"a"}"#, ""), Origin::Watch));
    ignore(store.put_pod(pod("p", 2, r#"{"app":"x"}"#, true), now()));
    store.pin(&key("a"), Some(&"p".into()), [None, None]);
    let snapshot = store.snapshot(&key("a"));
    assert!(snapshot.pods.is_empty() && snapshot.pod(&"uid-p".into()).is_some());
    assert_eq!(names(&store.remove_pod(&key("p"), None)), ["a"]);
    store.pin(&key("a"), None, [None, None]);
    assert_eq!(
        store.put_pod(pod("p", 3, r#"{"app":"x"}"#, false), now()),
        []
    );
}

#[test]
fn a_source_that_requests_a_name_hears_of_the_service_that_holds_it() {
    let store = Store::default();
    ignore(store.put_service(service("a", 1, ON, r#"{"app":"a"}"#, ""), Origin::Watch));
    let touched = store.put_service(service("a-leader", 2, "{}", "null", ""), Origin::Watch);
    assert_eq!(names(&touched), ["a", "a-leader"]);
    assert!(store.snapshot(&key("a")).service("a-leader").is_some());
    assert_eq!(
        names(&store.remove_service(&key("a-leader"), None)),
        ["a", "a-leader"]
    );
}

#[test]
fn a_source_that_is_served_under_a_name_hears_of_the_service_that_takes_it() {
    let store = Store::default();
    let misspelt = r#"{"zen-lead.io/enabled":"true","zen-lead.io/leader-service-name":"a"}"#;
    ignore(store.put_service(
        service("a", 1, misspelt, r#"{"app":"a"}"#, ""),
        Origin::Watch,
    ));
    let is_taken = || {
        let touched = store.put_service(service("old", 2, "{}", "null", ""), Origin::Watch);
        let is_seen = store.snapshot(&key("a")).service("old").is_some();
        let touched_too = store.remove_service(&key("old"), None);
        assert_eq!(touched, touched_too);
        assert_eq!(is_seen, names(&touched) == ["a", "old"], "{touched:?}");
        is_seen
    };
    assert!(!is_taken(), "no source requests it");
    store.pin(&key("a"), None, [Some(&"old".into()), None]);
    assert!(is_taken(), "it is served under it");
    store.pin(&key("a"), None, [None, None]);
    assert!(!is_taken(), "and is so no more");
}

#[test]
fn an_answer_that_was_overtaken_by_a_deletion_brings_nothing_back() {
    let store = Store::default();
    ignore(store.put_slice(slice("a-leader", 5, OURS, "a-leader"), Origin::Watch));
    assert_eq!(
        names(&store.remove_slice(&key("a-leader"), Some(&Version::Number(9)))),
        ["a"]
    );
    assert_eq!(
        store.put_slice(slice("a-leader", 8, OURS, "a-leader"), Origin::Answer),
        [],
        "overtaken"
    );
    assert!(store.slice(&key("a-leader")).is_none());
    ignore(store.put_slice(slice("a-leader", 12, OURS, "a-leader"), Origin::Answer));
    assert!(
        store.slice(&key("a-leader")).is_some(),
        "created again since"
    );
    ignore(store.remove_slice(&key("a-leader"), Some(&Version::Number(11))));
    assert!(
        store.slice(&key("a-leader")).is_some(),
        "the deletion was of an earlier namesake"
    );
}

#[test]
fn a_slice_that_lost_our_label_can_be_taken_in_after_the_watch_saw_it_go() {
    let store = Store::default();
    ignore(store.put_service(service("a", 1, ON, r#"{"app":"a"}"#, ""), Origin::Watch));
    let mut leader = service("a-leader", 2, "{}", "null", "");
    leader.metadata.labels = serde_json::from_str(OURS).expect("labels");
    ignore(store.put_service(leader, Origin::Watch));
    ignore(store.put_slice(slice("a-leader", 5, OURS, "a-leader"), Origin::Watch));
    ignore(store.remove_slice(&key("a-leader"), Some(&Version::Number(6))));
    let touched = store.put_slice(slice("a-leader", 6, "{}", "a-leader"), Origin::Answer);
    assert_eq!(names(&touched), ["a"], "by its owner");
    assert_eq!(store.snapshot(&key("a")).own_slices().len(), 1);
}

#[test]
fn a_list_takes_out_what_it_lacks_and_nothing_newer() {
    let store = Store::default();
    for (name, version) in [("p", 1), ("q", 2), ("r", 9)] {
        ignore(store.put_pod(pod(name, version, "{}", true), now()));
    }
    let kept: HashSet<Key, FixedState> = [key("p")].into_iter().collect();
    ignore(store.retain_pods(Some("other"), &kept, &Version::Number(5)));
    assert_eq!(store.census()[0].pods, 3, "another namespace's list");
    ignore(store.retain_pods(None, &kept, &Version::Number(5)));
    assert_eq!(
        store.census()[0].pods,
        2,
        "q is gone, r is newer than the list"
    );
}

#[test]
fn strangers_touch_the_sources_behind_the_service_once() {
    let store = Store::default();
    ignore(store.put_service(service("a", 1, ON, r#"{"app":"a"}"#, ""), Origin::Watch));
    let stranger = ForeignSlice::of("a-leader".into(), &slice("x", 3, "{}", "a-leader"));
    assert_eq!(
        names(&store.put_strangers(&key("a-leader"), vec![stranger.clone()])),
        ["a"]
    );
    assert_eq!(store.put_strangers(&key("a-leader"), vec![stranger]), []);
    assert_eq!(store.snapshot(&key("a")).foreign_slices.len(), 1);
    assert_eq!(store.services_with_strangers(), [key("a-leader")]);
    assert_eq!(names(&store.put_strangers(&key("a-leader"), vec![])), ["a"]);
}

#[test]
fn sources_with_a_lost_leader_come_first_and_then_those_with_objects() {
    let store = Store::default();
    ignore(store.put_service(service("a", 1, ON, r#"{"app":"a"}"#, ""), Origin::Watch));
    ignore(store.put_service(service("z", 2, ON, r#"{"app":"z"}"#, ""), Origin::Watch));
    ignore(store.put_slice(
        slice(
            "gone-leader",
            3,
            r#"{"zen-lead.io/source-service":"gone"}"#,
            "gone-leader",
        ),
        Origin::Watch,
    ));
    ignore(store.put_slice(
        slice(
            "z-leader",
            3,
            r#"{"zen-lead.io/source-service":"z"}"#,
            "z-leader",
        ),
        Origin::Watch,
    ));
    assert_eq!(names(&store.sources()), ["gone", "z", "a"]);

    let mut slice = slice(
        "z-leader",
        4,
        r#"{"zen-lead.io/source-service":"z"}"#,
        "z-leader",
    );
    let leader = r#"[{"addresses":["10.0.0.1"],"targetRef":{"name":"p","uid":"uid-p"}}]"#;
    slice.endpoints = serde_json::from_str(leader).expect("endpoints");
    ignore(store.put_slice(slice, Origin::Watch));
    let order = |ready: Option<bool>, version| {
        match ready {
            Some(ready) => ignore(store.put_pod(pod("p", version, "{}", ready), now())),
            None => ignore(store.remove_pod(&key("p"), None)),
        }
        names(&store.sources()).join(" ")
    };
    assert_eq!(order(Some(true), 5), "gone z a");
    assert_eq!(order(Some(false), 6), "z gone a");
    assert_eq!(order(Some(true), 7), "gone z a");
    assert_eq!(order(None, 8), "z gone a");
}
