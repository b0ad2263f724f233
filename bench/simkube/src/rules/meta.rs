//! Rules for metadata that hold for every kind.

use serde_json::{Map, Value, json};

use super::names;
use crate::api::kind::Kind;
use crate::api::violation::Violations;

/// All annotations of an object together, keys included.
pub(crate) const ANNOTATIONS_LIMIT: usize = 256 * 1_024;

/// Metadata of a value; an empty map when there is none.
pub(crate) fn of(value: &Value) -> &Map<String, Value> {
    static NONE: std::sync::OnceLock<Map<String, Value>> = std::sync::OnceLock::new();
    value
        .get("metadata")
        .and_then(Value::as_object)
        .unwrap_or_else(|| NONE.get_or_init(Map::new))
}

/// Metadata to write to; made when there is none.
pub(crate) fn of_mut(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    map_at(value, "metadata")
}

/// The object in a field, made when it is missing or something else.
pub(crate) fn map_at<'a>(value: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    let slot = &mut value[field];
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    match slot {
        Value::Object(map) => map,
        _ => unreachable!("made an object just above"),
    }
}

/// Strings of a list in the metadata.
pub(crate) fn strings(value: &Value, field: &str) -> Vec<String> {
    let list = of(value).get(field).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// Whether its deletion was requested.
pub(crate) fn is_deleting(value: &Value) -> bool {
    of(value).contains_key("deletionTimestamp")
}

/// Drops what a typed server does not write: empty maps and lists in the metadata.
pub(crate) fn normalize(value: &mut Value) {
    let meta = of_mut(value);
    for field in ["labels", "annotations"] {
        if meta
            .get(field)
            .is_some_and(|v| v.as_object().is_none_or(Map::is_empty))
        {
            meta.remove(field);
        }
    }
    for field in ["finalizers", "ownerReferences", "managedFields"] {
        if meta
            .get(field)
            .is_some_and(|v| v.as_array().is_none_or(Vec::is_empty))
        {
            meta.remove(field);
        }
    }
    meta.retain(|_, v| !v.is_null());
    for field in ["resourceVersion", "uid", "generateName", "selfLink"] {
        if meta.get(field).and_then(Value::as_str) == Some("") {
            meta.remove(field);
        }
    }
}

/// Writes an empty list of `managedFields`, which [`normalize`] would drop, as the list of one empty entry. Both
/// ask for no tracking.
pub(crate) fn keep_reset(value: &mut Value) {
    let given = value.pointer_mut("/metadata/managedFields");
    if let Some(list) = given.filter(|list| **list == json!([])) {
        *list = json!([{}]);
    }
}

/// Services and namespaces become DNS labels, the rest only path segments.
fn name_errors(kind: Kind, name: &str, relaxed: bool) -> Vec<String> {
    match kind {
        Kind::Service if relaxed => names::dns1123_label(name),
        Kind::Service => names::dns1035_label(name),
        Kind::Namespace => names::dns1123_label(name),
        Kind::Role | Kind::RoleBinding | Kind::ClusterRole | Kind::ClusterRoleBinding => {
            names::path_segment(name)
        }
        _ => names::dns1123_subdomain(name),
    }
}

/// Rules for a new object.
pub(crate) fn validate_create(kind: Kind, value: &Value, relaxed: bool) -> Violations {
    let mut bad = Violations::default();
    let name = crate::store::text(value, "name");
    if name.is_empty() {
        bad.required("metadata.name", "name or generateName is required");
    } else {
        for error in name_errors(kind, name, relaxed) {
            bad.invalid("metadata.name", name, error);
        }
    }
    common(value, &mut bad);
    bad
}

/// Rules for a new version of an object.
pub(crate) fn validate_update(value: &Value, old: &Value) -> Violations {
    let mut bad = Violations::default();
    let before = strings(old, "finalizers");
    if is_deleting(old) {
        let extra: Vec<String> = strings(value, "finalizers")
            .into_iter()
            .filter(|f| !before.contains(f))
            .collect();
        if !extra.is_empty() {
            bad.forbidden(
                "metadata.finalizers",
                &format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    extra.iter().map(|f| format!("{f:?}")).collect::<Vec<_>>().join(", ")
                ),
            );
        }
    }
    for field in [
        "name",
        "namespace",
        "uid",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        let (new, was) = (of(value).get(field), of(old).get(field));
        if new != was {
            let new = new.cloned().unwrap_or(Value::Null);
            bad.invalid(format!("metadata.{field}"), new, "field is immutable");
        }
    }
    common(value, &mut bad);
    bad
}

/// What holds for new objects and new versions alike.
fn common(value: &Value, bad: &mut Violations) {
    let meta = of(value);
    if let Some(labels) = meta.get("labels").and_then(Value::as_object) {
        labels_of("metadata.labels", labels, bad);
    }
    if let Some(annotations) = meta.get("annotations").and_then(Value::as_object) {
        let mut size = 0;
        for (key, text) in annotations {
            for error in names::qualified_name(&key.to_lowercase()) {
                bad.invalid("metadata.annotations", key.as_str(), error);
            }
            size += key.len() + text.as_str().map_or(0, str::len);
        }
        if size > ANNOTATIONS_LIMIT {
            bad.too_long("metadata.annotations", ANNOTATIONS_LIMIT);
        }
    }
    owners(meta, bad);
    for finalizer in strings(value, "finalizers") {
        for error in names::qualified_name(&finalizer) {
            bad.invalid("metadata.finalizers", finalizer.as_str(), error);
        }
    }
}

/// Rules for labels and selectors.
pub(crate) fn labels_of(path: &str, labels: &Map<String, Value>, bad: &mut Violations) {
    for (key, text) in labels {
        for error in names::qualified_name(key) {
            bad.invalid(path, key.as_str(), error);
        }
        let text = text.as_str().unwrap_or_default();
        for error in names::label_value(text) {
            bad.invalid(path, text, error);
        }
    }
}

/// Owners must be complete, and at most one of them is in control.
fn owners(meta: &Map<String, Value>, bad: &mut Violations) {
    let mut controller: Option<String> = None;
    let owners = meta.get("ownerReferences").and_then(Value::as_array);
    for (at, owner) in owners.into_iter().flatten().enumerate() {
        let field = |name: &str| owner.get(name).and_then(Value::as_str).unwrap_or_default();
        for name in ["apiVersion", "kind", "name", "uid"] {
            if field(name).is_empty() {
                bad.required(
                    format!("metadata.ownerReferences[{at}].{name}"),
                    "must not be empty",
                );
            }
        }
        if owner.get("controller") == Some(&Value::Bool(true)) {
            let this = format!("{}/{}", field("kind"), field("name"));
            if let Some(first) = &controller {
                let text = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                );
                let all = meta.get("ownerReferences").cloned().unwrap_or(Value::Null);
                bad.invalid("metadata.ownerReferences", all, text);
            } else {
                controller = Some(this);
            }
        }
    }
}
