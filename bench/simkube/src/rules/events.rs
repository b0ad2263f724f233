//! Events: two shapes of the same objects, and rules that differ between them. Stored in the older
//! shape, that of core/v1.

use k8s_openapi::api::core::v1::Event;
use serde_json::{Map, Value, json};

use super::names;
use crate::api::kind::Kind;
use crate::api::violation::Violations;

/// Names in core/v1 and in events.k8s.io/v1.
const FIELDS: [(&str, &str); 7] = [
    ("message", "note"),
    ("involvedObject", "regarding"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// Turns an Event of events.k8s.io/v1 into the stored shape.
pub(crate) fn to_stored(value: &mut Value) {
    let Some(map) = value.as_object_mut() else {
        return;
    };
    for (stored, new) in FIELDS {
        if let Some(content) = map.remove(new) {
            map.insert(stored.into(), content);
        }
    }
}

/// A stored Event as events.k8s.io/v1 shows it.
pub(crate) fn to_new(value: &Value) -> Value {
    let Some(map) = value.as_object() else {
        return value.clone();
    };
    let renamed = map.iter().filter_map(|(key, content)| {
        let new = FIELDS.iter().find(|(stored, _)| stored == key);
        let is_empty =
            content == "" && ["reportingComponent", "reportingInstance"].contains(&key.as_str());
        let key = new.map_or(key.as_str(), |(_, new)| new);
        (!is_empty).then(|| (key.to_owned(), content.clone()))
    });
    Value::Object(renamed.collect::<Map<_, _>>())
}

/// Structs and times of Go that are written even when they are empty.
pub(crate) fn shape(value: &mut Value) {
    let empty = [
        ("involvedObject", json!({})),
        ("source", json!({})),
        ("firstTimestamp", Value::Null),
        ("lastTimestamp", Value::Null),
        ("eventTime", Value::Null),
        ("reportingComponent", "".into()),
        ("reportingInstance", "".into()),
    ];
    for (field, empty) in empty {
        if value[field].is_null() {
            value[field] = empty;
        }
    }
}

/// Rules for an Event that came through the API of `kind`; `value` is in the stored shape, `old`
/// the version before.
pub(crate) fn validate(
    kind: Kind,
    event: &Event,
    value: &Value,
    old: Option<&Value>,
) -> Violations {
    let namespace = crate::store::text(value, "namespace");
    let mut bad = common(kind, event, namespace);
    if kind == Kind::NewEvent {
        match old {
            None => new_api(value, &mut bad),
            Some(old) => fixed(value, old, &mut bad),
        }
    }
    bad
}

/// What both APIs ask for. Only an Event with an `eventTime` is judged by the newer rules.
fn common(kind: Kind, event: &Event, namespace: &str) -> Violations {
    let mut bad = Violations::default();
    let about = event
        .involved_object
        .namespace
        .as_deref()
        .unwrap_or_default();
    let mismatch = "does not match event.namespace";
    if event.event_time.is_none() {
        let fits = if about.is_empty() {
            namespace == "default"
        } else {
            about == namespace
        };
        if !fits {
            bad.invalid("involvedObject.namespace", about, mismatch);
        }
        return bad;
    }
    if about.is_empty() && namespace != "default" && namespace != "kube-system" {
        bad.invalid("involvedObject.namespace", about, mismatch);
    }
    let field = if kind == Kind::NewEvent {
        "reportingController"
    } else {
        "reportingComponent"
    };
    let controller = event.reporting_component.as_deref().unwrap_or_default();
    if controller.is_empty() {
        bad.required(field, "");
    }
    for error in names::qualified_name(controller) {
        bad.invalid(field, controller, error);
    }
    let texts = [
        (
            "reportingInstance",
            event.reporting_instance.as_deref(),
            128,
            true,
        ),
        ("action", event.action.as_deref(), 128, true),
        ("reason", event.reason.as_deref(), 128, true),
        ("message", event.message.as_deref(), 1_024, false),
    ];
    for (field, text, limit, required) in texts {
        let text = text.unwrap_or_default();
        if required && text.is_empty() {
            bad.required(field, "");
        }
        if text.len() > limit {
            bad.invalid(field, "", format!("can have at most {limit} characters"));
        }
    }
    bad
}

/// What only events.k8s.io/v1 asks of a new Event.
fn new_api(value: &Value, bad: &mut Violations) {
    let series = value.get("series");
    if series.is_some_and(|series| series["count"].as_i64().unwrap_or_default() < 2) {
        bad.invalid("series.count", "", "should be at least 2");
    }
    if value["eventTime"].is_null() {
        bad.required("eventTime", "");
    }
    let kind = value["type"].as_str().unwrap_or_default();
    if !["Normal", "Warning"].contains(&kind) {
        bad.invalid("type", "", format!("has invalid value: {kind}"));
    }
    for field in ["firstTimestamp", "lastTimestamp", "count", "source"] {
        let given = &value[field];
        let is_set = !given.is_null() && *given != 0 && *given != json!({});
        if is_set {
            bad.invalid(field, "", "needs to be unset");
        }
    }
}

/// Of an Event only the series and the metadata change.
fn fixed(value: &Value, old: &Value, bad: &mut Violations) {
    let fields = [
        ("involvedObject", "involvedObject"),
        ("reason", "reason"),
        ("message", "message"),
        ("source", "source"),
        ("firstTimestamp", "firstTimestamp"),
        ("lastTimestamp", "lastTimestamp"),
        ("count", "count"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingComponent", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ];
    for (field, shown) in fields {
        if value[field] != old[field] {
            bad.invalid(shown, value[field].clone(), "field is immutable");
        }
    }
}
