//! `managedFields`: who wrote which field last.
//!
//! A simplification of server-side apply's bookkeeping: lists count as one field, and there is one
//! entry for each manager and subresource. Enough to name the other writer of a field.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::api::kind::Kind;
use crate::rules::meta;

/// Metadata that no field manager owns.
const UNMANAGED: [&str; 8] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "deletionTimestamp",
];

/// The entries that an update is tracked in: those that the request brings, or else those that are
/// stored. One empty entry asks for no tracking.
pub(crate) fn base(given: Option<&Value>, old: &Value) -> Vec<Value> {
    let entries = given.or_else(|| meta::of(old).get("managedFields"));
    let mut entries = entries
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if entries == [json!({})] {
        entries.clear();
    }
    entries
}

/// Records that `manager` wrote whatever differs between the two versions. `entries` are what was
/// recorded so far. An update of an object without any is not recorded.
pub(crate) fn track(
    kind: Kind,
    new: &mut Value,
    old: Option<(&Value, Vec<Value>)>,
    manager: &str,
    subresource: &str,
    now: Timestamp,
) {
    let empty = json!({});
    let is_tracked = old.as_ref().is_none_or(|(_, entries)| !entries.is_empty());
    let (before, mut entries) = old.unwrap_or((&empty, Vec::new()));
    let changed = changes(&managed_part(new), &managed_part(before));
    if is_tracked && !changed.is_empty() {
        for entry in &mut entries {
            if let Some(fields) = entry.get_mut("fieldsV1").and_then(Value::as_object_mut) {
                subtract(fields, &changed);
            }
        }
        let is_mine = |e: &Value| {
            e["manager"] == manager && e["subresource"].as_str().unwrap_or_default() == subresource
        };
        let at = entries.iter().position(is_mine).unwrap_or_else(|| {
            let mut entry = json!({
                "manager": manager, "operation": "Update", "apiVersion": kind.api_version(),
                "fieldsType": "FieldsV1", "fieldsV1": {},
            });
            if !subresource.is_empty() {
                entry["subresource"] = subresource.into();
            }
            entries.push(entry);
            entries.len() - 1
        });
        let entry = &mut entries[at];
        entry["time"] = format!("{now:.0}").into();
        merge(meta::map_at(entry, "fieldsV1"), &changed);
        entries.retain(|e| e["fieldsV1"].as_object().is_some_and(|f| !f.is_empty()));
    }
    let target = meta::of_mut(new);
    if entries.is_empty() {
        target.remove("managedFields");
    } else {
        target.insert("managedFields".into(), entries.into());
    }
}

/// The object without what the server writes itself.
fn managed_part(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.retain(|key, _| !UNMANAGED.contains(&key.as_str()));
    }
    value
}

/// The fields of `new` that differ from `old`, and those of `old` that are gone, as a field set.
fn changes(new: &Value, old: &Value) -> Map<String, Value> {
    let mut set = Map::new();
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else {
        return set;
    };
    for (key, value) in new {
        let was = old.get(key);
        if was == Some(value) {
            continue;
        }
        let inner = match (value, was) {
            (Value::Object(map), None) if !map.is_empty() => changes(value, &json!({})),
            (Value::Object(_), Some(was @ Value::Object(_))) => changes(value, was),
            _ => Map::new(),
        };
        set.insert(format!("f:{key}"), inner.into());
    }
    set
}

/// Adds a field set to another.
fn merge(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (key, value) in from {
        let slot = into.entry(key).or_insert_with(|| json!({}));
        if let (Some(slot), Some(value)) = (slot.as_object_mut(), value.as_object()) {
            merge(slot, value);
        }
    }
}

/// Takes a field set out of another; what becomes empty goes with it.
fn subtract(from: &mut Map<String, Value>, what: &Map<String, Value>) {
    for (key, value) in what {
        let Some(slot) = from.get_mut(key).and_then(Value::as_object_mut) else {
            continue;
        };
        if let Some(inner) = value.as_object().filter(|v| !v.is_empty()) {
            subtract(slot, inner);
            if slot.is_empty() {
                from.remove(key);
            }
        } else {
            from.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_writer_owns_a_field() {
        let now = Timestamp::UNIX_EPOCH;
        let mut one =
            json!({"metadata": {"name": "a", "labels": {"x": "1"}}, "spec": {"a": 1, "b": [1]}});
        track(Kind::Service, &mut one, None, "alice", "", now);
        let mut two = one.clone();
        two["spec"]["a"] = 2.into();
        update(&mut two, &one, "bob");
        let entries = two["metadata"]["managedFields"].as_array().expect("kept");
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0]["manager"], "alice");
        assert_eq!(
            entries[0]["fieldsV1"],
            json!({"f:metadata": {"f:labels": {"f:x": {}}}, "f:spec": {"f:b": {}}})
        );
        assert_eq!(entries[1]["fieldsV1"], json!({"f:spec": {"f:a": {}}}));
        assert_eq!(entries[1]["time"], "1970-01-01T00:00:00Z");
        // A write that changes nothing leaves no trace.
        let mut three = two.clone();
        update(&mut three, &two, "carol");
        assert_eq!(three, two);
    }

    fn update(new: &mut Value, old: &Value, manager: &str) {
        let entries = base(new["metadata"].get("managedFields"), old);
        let now = Timestamp::UNIX_EPOCH;
        track(Kind::Service, new, Some((old, entries)), manager, "", now);
    }

    #[test]
    fn an_empty_list_ends_the_tracking_and_so_does_an_empty_entry() {
        let now = Timestamp::UNIX_EPOCH;
        for reset in [json!([]), json!([{}])] {
            let mut one = json!({"metadata": {"name": "a"}, "spec": {"a": 1}});
            track(Kind::Service, &mut one, None, "alice", "", now);
            let mut two = one.clone();
            two["metadata"]["managedFields"] = reset;
            meta::keep_reset(&mut two);
            two["spec"]["a"] = 2.into();
            update(&mut two, &one, "bob");
            assert!(two["metadata"].get("managedFields").is_none(), "{two}");
            let mut three = two.clone();
            three["spec"]["a"] = 3.into();
            update(&mut three, &two, "carol");
            assert!(three["metadata"].get("managedFields").is_none(), "{three}");
        }
    }
}
