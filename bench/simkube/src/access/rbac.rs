//! RBAC: whether any role that is bound to a user allows what it asks for. Pure.

use serde_json::Value;

use super::User;

/// What a user wants to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    /// The plural, with `/status` for a subresource.
    pub(crate) resource: &'a str,
    /// Empty for the whole cluster.
    pub(crate) namespace: &'a str,
    /// Empty for a collection.
    pub(crate) name: &'a str,
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Whether a list holds the word, or the star.
fn holds(list: &Value, word: &str) -> bool {
    items(list).any(|entry| entry == word || entry == "*")
}

/// Whether a rule of a role allows it.
pub(crate) fn allows(rule: &Value, wish: &Wish<'_>) -> bool {
    let subresource = wish
        .resource
        .split_once('/')
        .map(|(_, sub)| format!("*/{sub}"));
    let resource = holds(&rule["resources"], wish.resource)
        || subresource.is_some_and(|any| items(&rule["resources"]).any(|entry| *entry == any));
    let mut only = items(&rule["resourceNames"]).peekable();
    let is_meant = only.peek().is_none() || only.any(|name| name == wish.name);
    holds(&rule["verbs"], wish.verb)
        && holds(&rule["apiGroups"], wish.group)
        && resource
        && is_meant
}

/// Whether a binding is about this user. `namespace` is the binding's own, for `ServiceAccounts` that
/// name none.
pub(crate) fn binds(binding: &Value, namespace: &str, user: &User) -> bool {
    items(&binding["subjects"]).any(|subject| {
        let text = |field: &str| subject[field].as_str().unwrap_or_default();
        match text("kind") {
            "User" => text("name") == user.name,
            "Group" => user.groups.iter().any(|group| group == text("name")),
            "ServiceAccount" => {
                let home = match text("namespace") {
                    "" => namespace,
                    named => named,
                };
                user.name == format!("system:serviceaccount:{home}:{}", text("name"))
            }
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_allow_what_they_name() {
        let rule = json!({
            "apiGroups": ["", "discovery.k8s.io"], "resources": ["pods", "*/status", "services"],
            "verbs": ["get", "patch"], "resourceNames": ["a"],
        });
        for (verb, group, resource, name, want) in [
            ("get", "", "pods", "a", true),
            ("patch", "discovery.k8s.io", "services", "a", true),
            ("patch", "", "nodes/status", "a", true),
            ("patch", "", "nodes/other", "a", false),
            ("get", "", "pods", "b", false),
            ("list", "", "pods", "a", false),
            ("get", "apps", "pods", "a", false),
            ("get", "", "nodes", "a", false),
        ] {
            let wish = Wish {
                verb,
                group,
                resource,
                namespace: "n",
                name,
            };
            assert_eq!(allows(&rule, &wish), want, "{wish:?}");
        }
        let all = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
        let wish = Wish {
            verb: "delete",
            group: "apps",
            resource: "deployments/scale",
            namespace: "",
            name: "",
        };
        assert!(allows(&all, &wish));
    }

    #[test]
    fn bindings_name_people_groups_and_accounts() {
        let user = User::new("system:serviceaccount:ns:robot", &["crowd"]);
        for (subject, want) in [
            (
                json!({"kind": "User", "name": "system:serviceaccount:ns:robot"}),
                true,
            ),
            (json!({"kind": "User", "name": "robot"}), false),
            (json!({"kind": "Group", "name": "crowd"}), true),
            (json!({"kind": "Group", "name": "others"}), false),
            (json!({"kind": "ServiceAccount", "name": "robot"}), true),
            (
                json!({"kind": "ServiceAccount", "name": "robot", "namespace": "elsewhere"}),
                false,
            ),
        ] {
            let binding = json!({"subjects": [subject]});
            assert_eq!(binds(&binding, "ns", &user), want, "{binding}");
        }
    }
}
