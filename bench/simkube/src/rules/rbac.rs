//! Roles and bindings: what is left out, and what they must name.

use serde_json::Value;

use super::{meta, names};
use crate::api::kind::Kind;
use crate::api::violation::Violations;

const GROUP: &str = "rbac.authorization.k8s.io";

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// Fills in groups; writes a list of rules even when there is none.
pub(crate) fn default(kind: Kind, value: &mut Value) {
    if matches!(kind, Kind::Role | Kind::ClusterRole) {
        if value.get("rules").is_none() {
            value["rules"] = Value::Null;
        }
        return;
    }
    let role = meta::map_at(value, "roleRef");
    if role.get("apiGroup").is_none_or(|group| group == "") {
        role.insert("apiGroup".into(), GROUP.into());
    }
    let subjects = value.get_mut("subjects").and_then(Value::as_array_mut);
    for subject in subjects.into_iter().flatten() {
        let is_person = matches!(subject["kind"].as_str(), Some("User" | "Group"));
        if is_person && text(subject, "apiGroup").is_empty() {
            subject["apiGroup"] = GROUP.into();
        }
    }
}

/// Rules for a role or a binding; `old` is the version before.
pub(crate) fn validate(kind: Kind, value: &Value, old: Option<&Value>) -> Violations {
    let mut bad = Violations::default();
    match kind {
        Kind::Role | Kind::ClusterRole => {
            for (at, rule) in items(&value["rules"]).enumerate() {
                policy_rule(rule, at, kind == Kind::ClusterRole, &mut bad);
            }
        }
        _ => binding(kind, value, old, &mut bad),
    }
    bad
}

fn policy_rule(rule: &Value, at: usize, is_cluster: bool, bad: &mut Violations) {
    let path = format!("rules[{at}]");
    let has = |field: &str| items(&rule[field]).next().is_some();
    if !has("verbs") {
        bad.required(format!("{path}.verbs"), "");
    }
    if has("nonResourceURLs") {
        if !is_cluster {
            bad.invalid(
                format!("{path}.nonResourceURLs"),
                rule["nonResourceURLs"].clone(),
                "namespaced rules cannot apply to non-resource URLs",
            );
        }
        return;
    }
    if !has("apiGroups") {
        let why = "resource rules must supply at least one api group";
        bad.required(format!("{path}.apiGroups"), why);
    }
    if !has("resources") {
        let why = "resource rules must supply at least one resource";
        bad.required(format!("{path}.resources"), why);
    }
}

fn binding(kind: Kind, value: &Value, old: Option<&Value>, bad: &mut Violations) {
    let role = &value["roleRef"];
    if text(role, "apiGroup") != GROUP {
        bad.not_supported("roleRef.apiGroup", text(role, "apiGroup"), &[GROUP]);
    }
    let kinds: &[&str] = if kind == Kind::RoleBinding {
        &["Role", "ClusterRole"]
    } else {
        &["ClusterRole"]
    };
    if !kinds.contains(&text(role, "kind")) {
        bad.not_supported("roleRef.kind", text(role, "kind"), kinds);
    }
    if text(role, "name").is_empty() {
        bad.required("roleRef.name", "");
    }
    for (at, subject) in items(&value["subjects"]).enumerate() {
        subject_of(subject, at, kind == Kind::RoleBinding, bad);
    }
    if old.is_some_and(|old| old["roleRef"] != *role) {
        let order = ["apiGroup", "kind", "name"].map(|field| role[field].clone());
        let [group, kind, name] = order;
        // In Go's words and in the order of its fields.
        let shown = format!("{{\"APIGroup\":{group},\"Kind\":{kind},\"Name\":{name}}}");
        bad.invalid_struct("roleRef", &shown, "field is immutable");
    }
}

fn subject_of(subject: &Value, at: usize, is_namespaced: bool, bad: &mut Violations) {
    let path = format!("subjects[{at}]");
    let (kind, name) = (text(subject, "kind"), text(subject, "name"));
    if name.is_empty() {
        bad.required(format!("{path}.name"), "");
    }
    match kind {
        "ServiceAccount" => {
            if !name.is_empty() {
                for error in names::dns1123_subdomain(name) {
                    bad.invalid(format!("{path}.name"), name, error);
                }
            }
            if !is_namespaced && text(subject, "namespace").is_empty() {
                bad.required(format!("{path}.namespace"), "");
            }
        }
        "User" | "Group" => {
            let group = text(subject, "apiGroup");
            if group != GROUP {
                bad.not_supported(format!("{path}.apiGroup"), group, &[GROUP]);
            }
        }
        other => bad.not_supported(
            format!("{path}.kind"),
            other,
            &["ServiceAccount", "User", "Group"],
        ),
    }
}
