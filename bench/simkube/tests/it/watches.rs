//! Watches: what arrives, in which order, and how they end.

use std::time::Duration;

use serde_json::{Value, json};
use simkube::{Expiry, Kind, Options};

use crate::http::{Lab, PODS, SERVICES, SLICES, service, slice};

const STREAM: &str =
    "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";

#[tokio::test(start_paused = true)]
async fn a_streaming_list_ends_with_a_bookmark_and_goes_on() {
    let lab = Lab::plain();
    lab.sim.pod("default", "a").create();
    lab.sim.pod("default", "b").create();
    let mut watch = lab.watch(&format!("{PODS}?{STREAM}")).await;
    let line = watch.line().await.unwrap().unwrap();
    assert!(
        line.starts_with(r#"{"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1","#),
        "{line}"
    );
    assert_eq!(watch.event().await.1, "b");
    let end = watch.next().await;
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(end["object"]["kind"], "Pod");
    assert_eq!(
        end["object"]["metadata"]["annotations"],
        json!({"k8s.io/initial-events-end": "true"})
    );
    assert_eq!(
        end["object"]["metadata"]["resourceVersion"],
        lab.sim.resource_version().to_string()
    );
    lab.sim.set_ready("default", "a", false);
    assert_eq!(
        watch.event().await,
        ("MODIFIED".into(), "a".into(), lab.sim.resource_version())
    );
    lab.sim.delete_pod("default", "b", 0);
    assert_eq!(watch.event().await.0, "MODIFIED");
    let (kind, name, rv) = watch.event().await;
    assert_eq!(
        (kind.as_str(), name.as_str(), rv),
        ("DELETED", "b", lab.sim.resource_version())
    );
    assert_eq!(lab.sim.open_watches(Kind::Pod), 1);
    drop(watch);
    assert_eq!(lab.sim.open_watches(Kind::Pod), 0);
}

#[tokio::test(start_paused = true)]
async fn streaming_lists_can_be_missing() {
    let lab = Lab::new(Options {
        watch_list: false,
        ..Options::default()
    });
    let answer = lab.get(&format!("{PODS}?{STREAM}")).await.expect(422);
    assert_eq!(
        answer.message(),
        "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
    );
    let lab = Lab::plain();
    for (query, text) in [
        (
            "watch=1&sendInitialEvents=true",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        (
            "watch=1&resourceVersionMatch=NotOlderThan",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
    ] {
        assert!(
            lab.get(&format!("{PODS}?{query}"))
                .await
                .expect(422)
                .message()
                .contains(text)
        );
    }
    let future = format!("{PODS}?{STREAM}&resourceVersion=999");
    lab.get(&future).await.expect(504);
}

#[tokio::test(start_paused = true)]
async fn watches_start_where_they_are_told() {
    let lab = Lab::plain();
    lab.sim.pod("default", "a").create();
    let rv = lab.sim.resource_version();
    lab.sim.pod("default", "b").create();
    let mut resumed = lab
        .watch(&format!("{PODS}?watch=1&resourceVersion={rv}"))
        .await;
    assert_eq!(resumed.event().await, ("ADDED".into(), "b".into(), rv + 1));
    // Without a version, or with 0, the state comes first, but no bookmark ends it.
    for query in [
        "watch=1",
        "watch=true&resourceVersion=0&allowWatchBookmarks=true",
    ] {
        let mut all = lab.watch(&format!("{PODS}?{query}")).await;
        assert_eq!(
            (all.event().await.1, all.event().await.1),
            ("a".into(), "b".into())
        );
        assert!(all.is_quiet(30).await);
    }
}

#[tokio::test(start_paused = true)]
async fn selectors_turn_changes_into_arrivals_and_departures() {
    let lab = Lab::plain();
    let query = "labelSelector=app&fieldSelector=status.phase!%3DFailed,status.phase!%3DSucceeded";
    let mut watch = lab.watch(&format!("/api/v1/pods?{STREAM}&{query}")).await;
    assert_eq!(watch.event().await.0, "BOOKMARK");
    lab.sim.pod("default", "a").create();
    lab.sim.label(Kind::Pod, "default", "a", "app", Some("db"));
    assert_eq!(watch.event().await.0, "ADDED");
    lab.sim.set_ready("default", "a", false);
    assert_eq!(watch.event().await.0, "MODIFIED");
    // Leaving the selector looks like a deletion, with the old content and the new version.
    lab.sim.label(Kind::Pod, "default", "a", "app", None);
    let left = watch.next().await;
    assert_eq!(
        (
            left["type"].as_str(),
            left["object"]["metadata"]["labels"]["app"].as_str()
        ),
        (Some("DELETED"), Some("db"))
    );
    assert_eq!(
        left["object"]["metadata"]["resourceVersion"],
        lab.sim.resource_version().to_string()
    );
    lab.sim.label(Kind::Pod, "default", "a", "app", Some("db"));
    assert_eq!(watch.event().await.0, "ADDED");
    lab.sim.set_phase("default", "a", "Failed");
    let left = watch.next().await;
    assert_eq!(
        (
            left["type"].as_str(),
            left["object"]["status"]["phase"].as_str()
        ),
        (Some("DELETED"), Some("Running"))
    );
    // Its real end is no news any more.
    lab.sim.delete_pod("default", "a", 0);
    assert!(watch.is_quiet(30).await);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_is_a_border() {
    let lab = Lab::plain();
    lab.sim.namespace("other");
    let mut watch = lab
        .watch(&format!(
            "{PODS}?watch=1&resourceVersion={}",
            lab.sim.resource_version()
        ))
        .await;
    lab.sim.pod("other", "a").create();
    lab.post(SERVICES, &service("s")).await.expect(201);
    lab.sim.pod("default", "b").create();
    assert_eq!(watch.event().await.1, "b");
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_in_quiet_times_and_before_the_end() {
    let lab = Lab::plain();
    let mut watch = lab
        .watch(&format!("{PODS}?{STREAM}&timeoutSeconds=100"))
        .await;
    let opened = tokio::time::Instant::now();
    assert_eq!(watch.event().await.0, "BOOKMARK");
    lab.post(SLICES, &slice("elsewhere")).await.expect(201);
    let (kind, _, rv) = watch.event().await;
    // The version of all kinds, not of this one only: that is what keeps a quiet watch fresh.
    assert_eq!(
        (kind.as_str(), rv),
        ("BOOKMARK", lab.sim.resource_version())
    );
    assert_eq!(opened.elapsed().as_secs(), 60);
    assert_eq!(watch.event().await.0, "BOOKMARK");
    assert_eq!(opened.elapsed().as_secs(), 98);
    assert_eq!(watch.line().await, Ok(None));
    assert_eq!(opened.elapsed().as_secs(), 100);
    let mut plain = lab
        .watch(&format!("{PODS}?watch=1&timeoutSeconds=300"))
        .await;
    assert_eq!(plain.line().await, Ok(None), "no bookmarks unless allowed");
}

#[tokio::test(start_paused = true)]
async fn who_comes_too_late_is_told() {
    for (expiry, code) in [(Expiry::Frame, 200), (Expiry::Status, 410)] {
        let lab = Lab::new(Options {
            expiry,
            ..Options::default()
        });
        let old = lab.sim.resource_version();
        lab.sim.pod("default", "a").create();
        lab.sim.compact_to_now();
        let now = lab.sim.resource_version();
        let answer = lab
            .get(&format!("{PODS}?watch=1&resourceVersion={old}"))
            .await
            .expect(code);
        let status = if code == 200 {
            &answer.body["object"]
        } else {
            &answer.body
        };
        assert_eq!(
            status["message"],
            format!("too old resource version: {old} ({now})")
        );
        assert_eq!(
            (status["code"].as_u64(), status["reason"].as_str()),
            (Some(410), Some("Expired"))
        );
        if code == 200 {
            assert!(
                answer
                    .text
                    .starts_with(r#"{"type":"ERROR","object":{"kind":"Status","#)
            );
        }
        let mut fresh = lab
            .watch(&format!("{PODS}?watch=1&resourceVersion={now}"))
            .await;
        lab.sim.pod("default", "b").create();
        assert_eq!(fresh.event().await.1, "b");
        // A watch that has seen everything survives a compaction.
        lab.sim.compact_to_now();
        lab.sim.pod("default", "c").create();
        assert_eq!(fresh.event().await.1, "c");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_lags_behind_the_history_is_lost() {
    let lab = Lab::new(Options {
        history: 3,
        ..Options::default()
    });
    let mut watch = lab
        .watch(&format!(
            "{PODS}?watch=1&resourceVersion={}",
            lab.sim.resource_version()
        ))
        .await;
    for n in 0..5 {
        lab.sim.pod("default", &format!("p{n}")).create();
    }
    let error = watch.next().await;
    assert_eq!(
        (error["type"].as_str(), error["object"]["code"].as_u64()),
        (Some("ERROR"), Some(410))
    );
    assert_eq!(watch.line().await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn frames_may_come_in_pieces() {
    for chunk in [1, 7, 100] {
        let lab = Lab::new(Options {
            chunk: Some(chunk),
            ..Options::default()
        });
        let mut watch = lab.watch(&format!("{PODS}?{STREAM}")).await;
        assert_eq!(watch.event().await.0, "BOOKMARK");
        for name in ["a", "b"] {
            lab.sim.pod("default", name).create();
            assert_eq!(watch.event().await.1, name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn watches_can_be_ended_from_outside() {
    let lab = Lab::plain();
    let path = format!("{PODS}?watch=1");
    let mut one = lab.watch(&path).await;
    let mut other = lab.watch(&format!("{SERVICES}?watch=1")).await;
    lab.sim.close_watches(Kind::Pod);
    assert_eq!(one.line().await, Ok(None));
    let mut two = lab.watch(&path).await;
    lab.sim.break_watches(Kind::Pod);
    assert!(two.line().await.is_err());
    lab.post(SERVICES, &service("s")).await.expect(201);
    assert_eq!(other.event().await.1, "s");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_watch_wakes_at_once() {
    let lab = Lab::plain();
    let mut watch = lab.watch(&format!("{PODS}?watch=1")).await;
    let sim = lab.sim.clone();
    let waiting = tokio::spawn(async move { watch.event().await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = tokio::time::Instant::now();
    sim.pod("default", "a").create();
    assert_eq!(waiting.await.unwrap().1, "a");
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_finalized_object_goes_when_the_last_finalizer_does() {
    let lab = Lab::plain();
    let mut object = slice("a");
    object["metadata"]["finalizers"] = json!(["a/b"]);
    lab.post(SLICES, &object).await.expect(201);
    let mut watch = lab
        .watch(&format!(
            "{SLICES}?watch=1&resourceVersion={}",
            lab.sim.resource_version()
        ))
        .await;
    lab.delete(&format!("{SLICES}/a"), &Value::Null)
        .await
        .expect(200);
    assert_eq!(watch.event().await.0, "MODIFIED");
    lab.patch(
        &format!("{SLICES}/a"),
        &json!({"metadata": {"finalizers": null}}),
    )
    .await
    .expect(200);
    assert_eq!(watch.event().await.0, "DELETED");
}
