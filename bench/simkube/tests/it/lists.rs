//! Lists: scope, selectors, pages, versions, the past.

use serde_json::Value;
use simkube::Kind;

use crate::http::{Lab, PODS};

fn names(list: &Value) -> Vec<&str> {
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o["metadata"]["name"].as_str().unwrap())
        .collect()
}

fn lab() -> Lab {
    let lab = Lab::plain();
    lab.sim.namespace("other");
    for (namespace, name, app, phase) in [
        ("default", "a", "db", "Running"),
        ("default", "b", "web", "Running"),
        ("default", "c", "db", "Failed"),
        ("other", "a", "db", "Running"),
    ] {
        lab.sim
            .pod(namespace, name)
            .labels(&[("app", app)])
            .phase(phase)
            .create();
    }
    lab
}

#[tokio::test(start_paused = true)]
async fn lists_select() {
    let lab = lab();
    for (path, want) in [
        ("/api/v1/pods".to_owned(), vec!["a", "b", "c", "a"]),
        (PODS.to_owned(), vec!["a", "b", "c"]),
        (format!("{PODS}?labelSelector=app%3Ddb"), vec!["a", "c"]),
        (
            format!("{PODS}?labelSelector=app%20in%20(db,web),!x"),
            vec!["a", "b", "c"],
        ),
        (
            "/api/v1/pods?labelSelector=app%3Ddb&fieldSelector=status.phase!%3DFailed".into(),
            vec!["a", "a"],
        ),
        (
            "/api/v1/pods?fieldSelector=metadata.namespace%3Dother".into(),
            vec!["a"],
        ),
        (format!("{PODS}?fieldSelector=metadata.name%3Db"), vec!["b"]),
        ("/api/v1/namespaces/nowhere/pods".into(), vec![]),
    ] {
        let answer = lab.get(&path).await.expect(200);
        assert_eq!(names(&answer.body), want, "{path}");
        assert_eq!(answer.body["kind"], "PodList");
        assert_eq!(answer.rv(), lab.sim.resource_version());
        assert!(
            answer.body["items"]
                .as_array()
                .unwrap()
                .iter()
                .all(|o| o.get("kind").is_none())
        );
    }
    lab.get(&format!("{PODS}?labelSelector=a%20b"))
        .await
        .expect(400);
    lab.get(&format!("{PODS}?fieldSelector=spec.foo%3Dx"))
        .await
        .expect(400);
    lab.get(&format!("{PODS}?resourceVersion=x"))
        .await
        .expect(400);
}

#[tokio::test(start_paused = true)]
async fn pages_show_one_state_until_it_expires() {
    let lab = lab();
    let first = lab.get("/api/v1/pods?limit=2").await.expect(200);
    assert_eq!(names(&first.body), ["a", "b"]);
    assert_eq!(first.body["metadata"]["remainingItemCount"], 2);
    let token = first.body["metadata"]["continue"]
        .as_str()
        .unwrap()
        .to_owned();
    // What changes between pages is not seen.
    lab.sim.delete_pod("default", "c", 0);
    let page = lab
        .get(&format!("/api/v1/pods?limit=2&continue={token}"))
        .await
        .expect(200);
    assert_eq!(names(&page.body), ["c", "a"]);
    assert_eq!(page.rv(), first.rv());
    assert!(page.body["metadata"].get("continue").is_none());

    lab.sim.compact_to_now();
    let late = lab
        .get(&format!("/api/v1/pods?limit=2&continue={token}"))
        .await
        .expect(410);
    assert_eq!(late.body["reason"], "Expired");
    assert!(late.message().starts_with(
        "The provided continue parameter is too old to display a consistent list result."
    ));
    let token = late.body["metadata"]["continue"].as_str().unwrap();
    let rest = lab
        .get(&format!("/api/v1/pods?limit=2&continue={token}"))
        .await
        .expect(200);
    assert_eq!(names(&rest.body), ["a"]);
    lab.get("/api/v1/pods?continue=nonsense").await.expect(400);
    let exact = lab
        .get("/api/v1/pods?labelSelector=app&limit=1")
        .await
        .expect(200);
    assert!(
        exact.body["metadata"].get("remainingItemCount").is_none(),
        "a selector hides the count"
    );
}

#[tokio::test(start_paused = true)]
async fn versions_are_honoured() {
    let lab = lab();
    let before = lab.sim.resource_version();
    lab.sim.delete_pod("default", "a", 0);
    let now = lab.sim.resource_version();
    let list = async |query: String| lab.get(&format!("{PODS}?{query}")).await;
    let exact = list(format!(
        "resourceVersion={before}&resourceVersionMatch=Exact"
    ))
    .await
    .expect(200);
    assert_eq!(
        (names(&exact.body), exact.rv()),
        (vec!["a", "b", "c"], before)
    );
    let newer = list(format!("resourceVersion={before}")).await.expect(200);
    assert_eq!((names(&newer.body), newer.rv()), (vec!["b", "c"], now));
    assert_eq!(
        names(&list("resourceVersion=0".into()).await.body),
        ["b", "c"]
    );
    let future = list(format!("resourceVersion={}", now + 9))
        .await
        .expect(504);
    assert_eq!(
        future.message(),
        format!(
            "Timeout: Too large resource version: {}, current: {now}",
            now + 9
        )
    );
    assert_eq!(
        future.body["details"]["causes"][0]["reason"],
        "ResourceVersionTooLarge"
    );
    lab.sim.compact_to_now();
    list(format!(
        "resourceVersion={before}&resourceVersionMatch=Exact"
    ))
    .await
    .expect(410);
    for (query, text) in [
        (
            "resourceVersionMatch=Exact",
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        (
            "resourceVersion=1&resourceVersionMatch=Odd",
            "Unsupported value: \"Odd\"",
        ),
        (
            "sendInitialEvents=true",
            "sendInitialEvents is forbidden for list",
        ),
    ] {
        let answer = list(query.into()).await.expect(422);
        assert!(
            answer
                .message()
                .starts_with("ListOptions.meta.k8s.io \"\" is invalid: "),
            "{}",
            answer.text
        );
        assert!(answer.message().contains(text), "{}", answer.text);
    }
    assert_eq!(lab.sim.list(Kind::Pod, "default").len(), 2);
}
