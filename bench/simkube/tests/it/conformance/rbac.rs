//! Roles, bindings and `ConfigMaps`: as far as the rights of a controller need them.

use http::Method;
use serde_json::{Value, json};

use super::{Step, delete, get, patch, post, step};

fn role(name: &str, rules: &Value) -> Value {
    json!({"metadata": {"name": name}, "rules": rules})
}

fn binding(role: &Value, subjects: &Value) -> Value {
    json!({"metadata": {"name": "b"}, "roleRef": role, "subjects": subjects})
}

pub(super) fn steps() -> Vec<Step> {
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]);
    let to_role = json!({"kind": "Role", "name": "a"});
    let mut steps = vec![
        post(
            "configmaps",
            json!({"metadata": {"name": "m"}, "data": {"k": "v"}}),
        ),
        post("configmaps", json!({"metadata": {"name": "m"}})),
        patch("configmaps", "m", json!({"data": {"k": null, "l": "w"}})),
        get("configmaps", "/m"),
        delete("configmaps", "m", Value::Null),
        post(
            "serviceaccounts",
            json!({"metadata": {"name": "s"}, "automountServiceAccountToken": false}),
        ),
        get("serviceaccounts", "/s"),
        delete("serviceaccounts", "s", Value::Null),
        post("roles", role("a", &rules)),
        post("roles", role("a:b", &rules)),
        post("roles", role("a/b", &rules)),
        post("roles", json!({"metadata": {"name": "empty"}})),
        patch("roles", "a", json!({"rules": []})),
        patch("roles", "a", json!({"rules": rules})),
        post("clusterroles", role("{ns}", &rules)),
        post(
            "rolebindings",
            binding(
                &to_role,
                &json!([{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s"}]),
            ),
        ),
        patch("rolebindings", "b", json!({"roleRef": {"name": "other"}})),
        patch("rolebindings", "b", json!({"subjects": null})),
        post(
            "clusterrolebindings",
            json!({
                "metadata": {"name": "{ns}"}, "roleRef": {"kind": "ClusterRole", "name": "{ns}"},
                "subjects": [{"kind": "Group", "name": "g"}],
            }),
        ),
        delete("rolebindings", "b", Value::Null),
        delete("roles", "a", Value::Null),
        delete("clusterrolebindings", "{ns}", Value::Null),
        delete("clusterroles", "{ns}", Value::Null),
    ];
    for rules in [
        json!([{"apiGroups": [""], "resources": ["pods"]}]),
        json!([{"verbs": ["get"]}]),
        json!([{"apiGroups": [""], "resources": ["pods"], "verbs": []}]),
        json!([{"nonResourceURLs": ["/x"], "verbs": ["get"]}]),
    ] {
        steps.push(post("roles", role("bad", &rules)));
    }
    for (to, subjects) in [
        (json!({"kind": "Odd", "name": "a"}), json!([])),
        (json!({"kind": "Role"}), json!([])),
        (
            json!({"kind": "Role", "name": "a", "apiGroup": "odd"}),
            json!([]),
        ),
        (to_role.clone(), json!([{"kind": "Odd", "name": "x"}])),
        (to_role.clone(), json!([{"kind": "User"}])),
        (to_role, json!([{"kind": "ServiceAccount", "name": "A_"}])),
    ] {
        steps.push(post("rolebindings", binding(&to, &subjects)));
    }
    steps.extend(reviews());
    steps
}

/// Whether one may do something, asked by one who may do everything.
fn reviews() -> Vec<Step> {
    let review = |spec: Value| {
        step(
            Method::POST,
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            "application/json",
            json!({"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": spec}),
        )
    };
    vec![
        review(
            json!({"resourceAttributes": {"verb": "list", "resource": "pods", "namespace": "{ns}"}}),
        ),
        review(json!({})),
        step(
            Method::GET,
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            "application/json",
            Value::Null,
        ),
    ]
}
