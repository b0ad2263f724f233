//! What clients ask before they ask for anything: health, version, and which resources there are.

use http::Method;
use serde_json::{Value, json};

use crate::api::kind::Kind;
use crate::api::status::ApiError;

const GROUPS: [&str; 5] = [
    "authorization.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "rbac.authorization.k8s.io",
];

/// Paths that any user may read.
pub(crate) fn is_health(path: &str) -> bool {
    matches!(
        path.trim_end_matches('/'),
        "/healthz" | "/livez" | "/readyz" | "/version"
    )
}

/// Answers a path that names no resource.
pub(crate) fn answer(method: &Method, path: &str, minor: u32) -> Result<Vec<u8>, ApiError> {
    let value = match path.trim_end_matches('/') {
        "/healthz" | "/livez" | "/readyz" => {
            return if *method == Method::GET {
                Ok(b"ok".to_vec())
            } else {
                Err(ApiError::method_not_allowed())
            };
        }
        "/version" => version(minor),
        "/api" => json!({"kind": "APIVersions", "versions": ["v1"]}),
        "/apis" => json!({
            "kind": "APIGroupList", "apiVersion": "v1",
            "groups": GROUPS.iter().map(|g| group(g)).collect::<Vec<_>>(),
        }),
        "/api/v1" => resources("", "v1"),
        "/openapi/v3" => openapi_index(),
        path if path.starts_with("/openapi/v3/") => openapi(&path["/openapi/v3/".len()..])?,
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

/// Clients decide by the minor version what they may use.
fn version(minor: u32) -> Value {
    json!({
        "major": "1", "minor": minor.to_string(), "gitVersion": format!("v1.{minor}.0-simkube"), "gitCommit": "",
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

/// What kubectl turns names and short names into kinds with.
fn resources(group: &str, version: &str) -> Value {
    let mut all = Vec::new();
    for kind in Kind::served().filter(|k| k.group() == group) {
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
    if group == "authorization.k8s.io" {
        all.push(json!({
            "name": "selfsubjectaccessreviews", "singularName": "selfsubjectaccessreview",
            "namespaced": false, "kind": "SelfSubjectAccessReview", "verbs": ["create"],
        }));
    }
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": all,
    })
}

fn group_versions() -> impl Iterator<Item = (&'static str, String)> {
    let named = GROUPS.into_iter().map(|g| (g, format!("apis/{g}/v1")));
    std::iter::once(("", "api/v1".to_owned())).chain(named)
}

fn openapi_index() -> Value {
    let paths: serde_json::Map<String, Value> = group_versions()
        .map(|(_, path)| {
            let url = format!("/openapi/v3/{path}?hash=0");
            (path, json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

/// Just enough for kubectl to see that the server validates fields itself: it then sends objects
/// as they are instead of asking for a schema of everything.
fn openapi(path: &str) -> Result<Value, ApiError> {
    let found = group_versions().find(|(_, known)| known == path);
    let (group, _) = found.ok_or_else(ApiError::no_such_path)?;
    let paths: serde_json::Map<String, Value> = Kind::served()
        .filter(|k| k.group() == group)
        .map(|kind| {
            let parameter = json!({
                "name": "fieldValidation", "in": "query", "schema": {"type": "string", "uniqueItems": true},
            });
            let operation = json!({
                "parameters": [parameter],
                "responses": {"200": {"description": "OK"}},
                "x-kubernetes-group-version-kind": {"group": group, "kind": kind.name(), "version": "v1"},
            });
            (kind.path("{namespace}", "{name}"), json!({"patch": operation}))
        })
        .collect();
    Ok(json!({
        "openapi": "3.0.0", "info": {"title": "simkube", "version": "v1.36.0"}, "paths": paths,
    }))
}
