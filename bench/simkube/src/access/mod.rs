//! Who asks, and whether it may.

mod owners;
mod protobuf;
pub(crate) mod rbac;
pub(crate) mod review;

use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::api::kind::Kind;
use crate::api::status::ApiError;
use crate::state::State;
use rbac::Wish;

/// The group that may do everything, as in the real server.
const MASTERS: &str = "system:masters";

/// A user that sends requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Name, such as `system:serviceaccount:<namespace>:<name>`.
    pub name: String,
    /// Groups; `system:masters` may do everything.
    pub groups: Vec<String>,
}

impl User {
    /// A user of this name who is in these groups.
    #[must_use]
    pub fn new(name: &str, groups: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        }
    }
}

/// Bearer tokens that were given out, and to whom.
pub(crate) type Tokens = BTreeMap<String, User>;

/// The token of a request; empty without one.
pub(crate) fn bearer(headers: &HeaderMap) -> &str {
    let value = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
    value
        .and_then(|text| text.strip_prefix("Bearer "))
        .unwrap_or_default()
}

impl State {
    /// The user that sent a request. Without RBAC tokens are ignored, and every request comes from the
    /// options' user.
    pub(crate) fn authenticate(&self, token: &str) -> Result<User, ApiError> {
        if !self.options.rbac {
            return Ok(User::new(&self.options.user, &[]));
        }
        let known = self.tokens.get(token).cloned();
        known.ok_or_else(ApiError::unauthorized)
    }

    /// Asks RBAC, then the rules that refuse.
    pub(crate) fn authorize(&self, user: &User, wish: &Wish<'_>) -> Result<(), ApiError> {
        if self.may(user, wish) {
            return Ok(());
        }
        let scope = if wish.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {:?}", wish.namespace)
        };
        let why = format!(
            "User {:?} cannot {} resource {:?} in API group {:?} {scope}",
            user.name, wish.verb, wish.resource, wish.group
        );
        let plural = wish.resource.split('/').next().unwrap_or_default();
        Err(ApiError::forbidden_resource(
            wish.group, plural, wish.name, &why,
        ))
    }

    /// Whether a user may do something.
    pub(crate) fn may(&self, user: &User, wish: &Wish<'_>) -> bool {
        let refused =
            |rule: &crate::options::Rule| rule.matches(wish.verb, wish.resource, wish.namespace);
        !self.deny.iter().any(refused) && (!self.options.rbac || self.is_granted(user, wish))
    }

    fn is_granted(&self, user: &User, wish: &Wish<'_>) -> bool {
        if user.groups.iter().any(|group| group == MASTERS) {
            return true;
        }
        let everywhere = self.store.list(Kind::ClusterRoleBinding, "");
        let here = (!wish.namespace.is_empty())
            .then(|| self.store.list(Kind::RoleBinding, wish.namespace))
            .into_iter()
            .flatten();
        everywhere
            .chain(here)
            .filter(|binding| rbac::binds(&binding.value, &binding.key().0, user))
            .any(|binding| {
                let role = &binding.value["roleRef"];
                let name = role["name"].as_str().unwrap_or_default().to_owned();
                let (kind, home) = if role["kind"] == "Role" {
                    (Kind::Role, binding.key().0)
                } else {
                    (Kind::ClusterRole, String::new())
                };
                let found = self.store.get(kind, &(home, name));
                let rules = found.and_then(|role| role.value["rules"].as_array());
                rules
                    .into_iter()
                    .flatten()
                    .any(|rule| rbac::allows(rule, wish))
            })
    }
}
