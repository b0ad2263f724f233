//! Watches, and what they show of what happens meanwhile.

use serde_json::{Value, json};

use super::{Scene, base, delete, patch, post};

pub(super) fn scenes() -> Vec<Scene> {
    let stream =
        "watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let label = |name: &str, text: Value| {
        patch(
            "slices",
            name,
            json!({"metadata": {"labels": {"on": text}}}),
        )
    };
    let made = |name: &str| {
        post(
            "slices",
            json!({"metadata": {"name": name, "labels": {"on": "x"}}, "addressType": "IPv4", "endpoints": []}),
        )
    };
    let pod = |name: &str| {
        post(
            "pods",
            json!({"metadata": {"name": name}, "spec": {"nodeName": "n", "containers": [{"name": "a", "image": "i"}]}}),
        )
    };
    let phase = |name: &str, phase: &str| {
        patch(
            "pods",
            &format!("{name}/status"),
            json!({"status": {"phase": phase}}),
        )
    };
    vec![
        Scene {
            watch: format!("{}?{stream}&labelSelector=on", base("slices")),
            steps: vec![
                made("w"),
                label("w", "y".into()),
                label("w", "y".into()),
                label("w", Value::Null),
                patch(
                    "slices",
                    "w",
                    json!({"metadata": {"annotations": {"unseen": "1"}}}),
                ),
                label("w", "z".into()),
                patch(
                    "slices",
                    "w",
                    json!({"metadata": {"finalizers": ["example.com/x"]}}),
                ),
                delete("slices", "w", Value::Null),
                patch("slices", "w", json!({"metadata": {"finalizers": null}})),
                made("v"),
                delete("slices", "v", Value::Null),
                made("last"),
            ],
            last: ("ADDED", "last"),
        },
        Scene {
            watch: format!(
                "{}?{stream}&fieldSelector=metadata.name%3Dwatched",
                base("leases")
            ),
            steps: super::leases::watched(),
            last: ("DELETED", "watched"),
        },
        // Of the whole cluster but the namespace of nodes' Leases.
        Scene {
            watch: format!(
                "{}?{stream}&labelSelector=run%3D{{ns}}&fieldSelector=metadata.namespace!%3Dkube-node-lease",
                base("all leases")
            ),
            steps: super::leases::watched_everywhere(),
            last: ("DELETED", "far"),
        },
        Scene {
            watch: format!(
                "{}?{stream}&labelSelector=zone%3Dwatched-{{ns}}",
                base("nodes")
            ),
            steps: super::nodes::watched(),
            last: ("DELETED", "{ns}-last"),
        },
        Scene {
            watch: format!(
                "{}?{stream}&fieldSelector=status.phase!%3DSucceeded,status.phase!%3DFailed",
                base("pods")
            ),
            steps: vec![
                pod("run"),
                phase("run", "Running"),
                delete("pods", "run", Value::Null),
                delete("pods", "run", json!({"gracePeriodSeconds": 0})),
                pod("fail"),
                phase("fail", "Running"),
                phase("fail", "Failed"),
                delete("pods", "fail", Value::Null),
                pod("forced"),
                phase("forced", "Running"),
                delete("pods", "forced", json!({"gracePeriodSeconds": 0})),
                pod("last"),
            ],
            last: ("ADDED", "last"),
        },
    ]
}
