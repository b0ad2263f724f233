//! What clients ask before they ask for anything: health, version, and which resources there are.

use http::Method;
use serde_json::{Value, json};

use crate::api::kind::Kind;
use crate::api::status::ApiError;

const GROUPS: [&str; 2] = ["coordination.k8s.io", "discovery.k8s.io"];

/// Answers a path that names no resource.
pub(crate) fn answer(method: &Method, path: &str) -> Result<Vec<u8>, ApiError> {
    let value = match path.trim_end_matches('/') {
        "/healthz" | "/livez" | "/readyz" => {
            return if *method == Method::GET {
                Ok(b"ok".to_vec())
            } else {
                Err(ApiError::method_not_allowed())
            };
        }
        "/version" => version(),
        "/api" => json!({"kind": "APIVersions", "versions": ["v1"]}),
        "/apis" => json!({
            "kind": "APIGroupList", "apiVersion": "v1",
            "groups": GROUPS.iter().map(|g| group(g)).collect::<Vec<_>>(),
        }),
        "/api/v1" => resources("", "v1"),
        path => {
            let name = path
                .strip_prefix("/apis/")
                .ok_or_else(ApiError::no_such_path)?;
            let (name, versioned) = name
                .strip_suffix("/v1")
                .map_or((name, false), |n| (n, true));
            if !GROUPS.contains(&name) {
                return Err(ApiError::no_such_path());
            }
            if versioned {
                resources(name, &format!("{name}/v1"))
            } else {
                group(name)
            }
        }
    };
    if *method != Method::GET {
        return Err(ApiError::method_not_allowed());
    }
    serde_json::to_vec(&value).map_err(|e| ApiError::internal(&e.to_string()))
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "gitVersion": "v1.36.0-simkube", "gitCommit": "",
        "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z", "goVersion": "",
        "compiler": "rustc", "platform": "linux/amd64",
    })
}

fn group(name: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
    json!({
        "kind": "APIGroup", "apiVersion": "v1", "name": name,
        "versions": [version.clone()], "preferredVersion": version,
    })
}

fn resources(group: &str, version: &str) -> Value {
    let mut all = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|k| k.group() == group) {
        all.push(json!({
            "name": kind.plural(), "singularName": kind.name().to_lowercase(),
            "namespaced": kind.is_namespaced(), "kind": kind.name(),
            "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
            "shortNames": kind.short_names(),
        }));
        if kind.has_status() {
            all.push(json!({
                "name": format!("{}/status", kind.plural()), "singularName": "",
                "namespaced": kind.is_namespaced(), "kind": kind.name(),
                "verbs": ["get", "patch", "update"],
            }));
        }
    }
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": all,
    })
}
