//! Events through both of their APIs: one store, two shapes.

use serde_json::{Value, json};

use super::{Step, delete, get, patch, post, printed, put};

fn new_event(name: &str) -> Value {
    json!({
        "metadata": {"name": name}, "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "c",
        "reportingInstance": "i", "action": "A", "reason": "R", "type": "Normal", "note": "text",
        "regarding": {"kind": "Service", "namespace": "{ns}", "name": "ev-about", "uid": "u"},
    })
}

fn with(name: &str, field: &str, value: Value) -> Step {
    let mut event = new_event(name);
    event[field] = value;
    post("new events", event)
}

pub(super) fn steps() -> Vec<Step> {
    let old = json!({
        "metadata": {"name": "ev-old"}, "involvedObject": {"kind": "Service", "namespace": "{ns}", "name": "ev-about"},
        "reason": "R", "message": "m", "type": "Warning", "count": 3, "source": {"component": "c", "host": "h"},
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:05Z",
    });
    let series = json!({"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"});
    let mut steps = vec![
        post("new events", new_event("ev")),
        post("new events", new_event("ev")),
        get("new events", "/ev"),
        get("events", "/ev"),
        post("events", old),
        get("new events", "/ev-old"),
        get("new events", "/missing"),
        patch("new events", "ev", json!({"series": series})),
        get("events", "/ev"),
        patch("new events", "ev", json!({"note": "another"})),
        patch(
            "new events",
            "ev",
            json!({"metadata": {"labels": {"a": "b"}}}),
        ),
        put("new events", "ev-put", new_event("ev-put")),
        get(
            "new events",
            "?fieldSelector=reason%3DR,regarding.name%3Dev-about",
        ),
        get(
            "new events",
            "?fieldSelector=involvedObject.name%3Dev-about",
        ),
        get(
            "events",
            "?fieldSelector=involvedObject.name%3Dev-about,type%3DWarning",
        ),
        get("new events", "?labelSelector=a%3Db"),
        printed(get("events", "?fieldSelector=metadata.name%3Dev-old")),
        delete("new events", "ev", Value::Null),
        delete("events", "ev-put", Value::Null),
        delete("new events", "ev-old", Value::Null),
    ];
    steps.extend(refusals());
    steps
}

fn refusals() -> Vec<Step> {
    vec![
        with("bad", "reportingController", "".into()),
        with("bad", "reportingController", "no spaces".into()),
        with("bad", "reportingInstance", "".into()),
        with("bad", "action", "".into()),
        with("bad", "action", "a".repeat(129).into()),
        with("bad", "reason", "".into()),
        with("bad", "note", "n".repeat(1_025).into()),
        with("bad", "type", "Odd".into()),
        with("bad", "eventTime", Value::Null),
        with(
            "bad",
            "series",
            json!({"count": 1, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}),
        ),
        with("bad", "deprecatedCount", 1.into()),
        with("bad", "deprecatedSource", json!({"component": "c"})),
        with(
            "bad",
            "regarding",
            json!({"kind": "Service", "namespace": "elsewhere", "name": "a"}),
        ),
    ]
}
