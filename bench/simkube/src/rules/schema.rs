//! Objects pass through the typed model once: types are checked, unknown fields fall out.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Event, Namespace, Node, Pod, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::events::v1::Event as NewEvent;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{events, meta, times};
use crate::api::kind::Kind;

/// An object as the model understands it.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// Without `kind` and `apiVersion`.
    pub(crate) value: Value,
    /// Paths of the fields that the model does not know.
    pub(crate) unknown: Vec<String>,
}

/// Checks types, drops unknown fields and what Go would not write.
pub(crate) fn decode(kind: Kind, value: &Value) -> Result<Decoded, String> {
    times::check_micro(kind, value)?;
    let mut typed = match kind {
        Kind::Namespace => through::<Namespace>(value),
        Kind::Node => through::<Node>(value),
        Kind::Pod => through::<Pod>(value),
        Kind::Service => through::<Service>(value),
        Kind::Endpoints => through::<Endpoints>(value),
        Kind::Event => through::<Event>(value),
        Kind::NewEvent => through::<NewEvent>(value),
        Kind::EndpointSlice => through::<EndpointSlice>(value),
        Kind::Lease => through::<Lease>(value),
        Kind::ServiceAccount => through::<ServiceAccount>(value),
        Kind::ConfigMap => through::<ConfigMap>(value),
        Kind::Role => through::<Role>(value),
        Kind::RoleBinding => through::<RoleBinding>(value),
        Kind::ClusterRole => through::<ClusterRole>(value),
        Kind::ClusterRoleBinding => through::<ClusterRoleBinding>(value),
    }?;
    let mut unknown = Vec::new();
    find_unknown(value, &typed, "", &mut unknown);
    strip_types(&mut typed);
    meta::keep_reset(&mut typed);
    drop_empty(&mut typed);
    meta::normalize(&mut typed);
    if kind == Kind::NewEvent {
        events::to_stored(&mut typed);
    }
    Ok(Decoded {
        value: typed,
        unknown,
    })
}

/// Reads a stored value as its type; it went through `decode` before.
pub(crate) fn typed<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    T::deserialize(value).map_err(|e| e.to_string())
}

/// Writes a typed object back in the stored form.
pub(crate) fn untyped<T: Serialize>(object: &T) -> Result<Value, String> {
    let mut value = serde_json::to_value(object).map_err(|e| e.to_string())?;
    strip_types(&mut value);
    drop_empty(&mut value);
    meta::normalize(&mut value);
    Ok(value)
}

/// Through the type and back: what survives is what the type knows.
fn through<T: DeserializeOwned + Serialize>(value: &Value) -> Result<Value, String> {
    let object = T::deserialize(value).map_err(|e| e.to_string())?;
    serde_json::to_value(&object).map_err(|e| e.to_string())
}

/// The same for every object of a table, so it is not stored.
fn strip_types(value: &mut Value) {
    if let Some(map) = value.as_object_mut() {
        map.remove("kind");
        map.remove("apiVersion");
    }
}

/// `omitempty`: lists and label-like maps that are empty are not written.
fn drop_empty(value: &mut Value) {
    const MAPS: [&str; 2] = ["selector", "nodeSelector"];
    match value {
        Value::Object(map) => {
            map.retain(|key, v| {
                let empty_map = MAPS.contains(&key.as_str())
                    && v.as_object().is_some_and(serde_json::Map::is_empty);
                !v.is_null() && !empty_map && v.as_array().is_none_or(|a| !a.is_empty())
            });
            map.values_mut().for_each(drop_empty);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_empty),
        _ => {}
    }
}

/// Walks both in parallel; lists have the same length, since types never drop an element.
fn find_unknown(given: &Value, known: &Value, path: &str, unknown: &mut Vec<String>) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (key, value) in given {
                let at = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                match known.get(key) {
                    Some(known) => find_unknown(value, known, &at, unknown),
                    None if value.is_null() || matches!(at.as_str(), "kind" | "apiVersion") => {}
                    None => unknown.push(at),
                }
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (at, (value, known)) in given.iter().zip(known).enumerate() {
                find_unknown(value, known, &format!("{path}[{at}]"), unknown);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_model_decides_what_is_known() {
        let given = json!({
            "kind": "Service", "apiVersion": "v1",
            "metadata": {"name": "a", "labels": {}, "creationTimestamp": null, "wrong": 1},
            "spec": {"selector": {}, "ports": [{"port": 1, "typo": 2}], "externalIPs": []},
        });
        let decoded = decode(Kind::Service, &given).expect("types fit");
        assert_eq!(
            decoded.value,
            json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 1}]}})
        );
        assert_eq!(decoded.unknown, ["metadata.wrong", "spec.ports[0].typo"]);
        assert!(decode(Kind::Service, &json!({"metadata": {"name": 5}})).is_err());
    }

    #[test]
    fn times_are_cut_to_what_the_type_keeps() {
        let lease = json!({
            "metadata": {"name": "l", "creationTimestamp": "2026-01-01T00:00:00.5Z"},
            "spec": {"renewTime": "2026-01-01T01:00:00.123456+01:00"},
        });
        let value = decode(Kind::Lease, &lease).expect("types fit").value;
        assert_eq!(
            value["metadata"]["creationTimestamp"],
            "2026-01-01T00:00:00Z"
        );
        assert_eq!(value["spec"]["renewTime"], "2026-01-01T00:00:00.123456Z");
    }
}
