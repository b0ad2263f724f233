//! `OwnerReferencesPermissionEnforcement`: who may make a deletion wait.

use serde_json::Value;

use super::User;
use super::rbac::Wish;
use crate::api::kind::Kind;
use crate::api::status::ApiError;
use crate::rules::meta;
use crate::state::State;
use crate::store::text;

fn blocking(value: &Value) -> impl Iterator<Item = &Value> {
    let owners = meta::of(value)
        .get("ownerReferences")
        .and_then(Value::as_array);
    let blocks = |owner: &&Value| owner["blockOwnerDeletion"] == true;
    owners.into_iter().flatten().filter(blocks)
}

impl State {
    /// Refuses references that block their owner's deletion, unless they were there before or the
    /// user may set the owner's finalizers. Without RBAC no user may.
    pub(crate) fn check_owners(
        &self,
        kind: Kind,
        value: &Value,
        old: Option<&Value>,
        user: &User,
    ) -> Result<(), ApiError> {
        if !self.options.owner_reference_enforcement {
            return Ok(());
        }
        let known = |owner: &Value| {
            let mut before = old.into_iter().flat_map(blocking);
            before.any(|before| before["uid"] == owner["uid"])
        };
        let namespace = text(value, "namespace");
        let mut added = blocking(value).filter(|owner| !known(owner));
        if added.all(|owner| self.may_finalize(user, namespace, owner)) {
            return Ok(());
        }
        Err(ApiError::forbidden(
            kind,
            text(value, "name"),
            "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>",
        ))
    }

    fn may_finalize(&self, user: &User, namespace: &str, owner: &Value) -> bool {
        let owned_by =
            |kind: &Kind| owner["kind"] == kind.name() && owner["apiVersion"] == kind.api_version();
        let Some(kind) = Kind::served().find(owned_by) else {
            return false;
        };
        let resource = format!("{}/finalizers", kind.plural());
        let wish = Wish {
            verb: "update",
            group: kind.group(),
            resource: &resource,
            namespace: if kind.is_namespaced() { namespace } else { "" },
            name: owner["name"].as_str().unwrap_or_default(),
        };
        self.options.rbac && self.may(user, &wish)
    }
}
