//! The default namespaces of a command, from the environment of the controller. Pure.

use anyhow::{Result, bail};

use crate::config::variable_of;
use crate::shell::api::Scope;

/// What the environment says. In the pod of a controller it is that controller's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Environment {
    /// The namespaces that the controller serves, none for all of them; `None` where the environment
    /// tells of no controller.
    serves: Option<Vec<String>>,
    /// The namespace of its Lease.
    pub(super) lease_namespace: Option<String>,
    /// The name of its Lease, where it is not the usual one.
    pub(super) lease_name: Option<String>,
}

impl Environment {
    /// Reads it; an empty variable counts as not set.
    pub(super) fn read(env: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &str| env(name).filter(|text| !text.is_empty());
        let of_flag = |flag| variable(&variable_of(flag));
        let listed = of_flag("namespaces").map(|text| {
            let names = text
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty());
            names.map(str::to_owned).collect()
        });
        // A controller needs all three, and hardly anything else has them.
        let of_pod = ["KUBERNETES_SERVICE_HOST", "POD_NAME", "POD_NAMESPACE"];
        let is_controllers = of_pod.iter().all(|name| variable(name).is_some());
        Self {
            serves: listed.or_else(|| is_controllers.then(Vec::new)),
            lease_namespace: of_flag("leader-election-namespace")
                .or_else(|| variable("POD_NAMESPACE")),
            lease_name: of_flag("leader-election-id"),
        }
    }

    /// Namespaces for a command about all Services, if no namespace is requested.
    pub(super) fn scopes(&self, usual: &str) -> Vec<Scope> {
        let of = |name: &str| Scope::Namespace(name.into());
        match self.serves.as_deref() {
            None => vec![of(usual)],
            Some([]) => vec![Scope::All],
            Some(names) => names.iter().map(|name| of(name)).collect(),
        }
    }

    /// Namespace for a command about one Service, if no namespace is requested.
    pub(super) fn namespace<'a>(&'a self, usual: &'a str) -> Result<&'a str> {
        match self.serves.as_deref() {
            None => Ok(usual),
            Some([only]) => Ok(only),
            Some([]) => bail!("in which namespace? The controller serves all of them: expected -n"),
            Some(names) => bail!(
                "in which namespace? The controller serves {}: expected -n",
                names.join(", ")
            ),
        }
    }
}

/// The namespaces as text for messages.
pub(super) fn told(scopes: &[Scope]) -> String {
    let names: Option<Vec<&str>> = scopes.iter().map(Scope::namespace).collect();
    match names.as_deref() {
        None => "all namespaces".into(),
        Some([only]) => format!("namespace {only}"),
        Some(names) => format!("namespaces {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(words: &str) -> Environment {
        let variables: Vec<(&str, &str)> = words
            .split_whitespace()
            .map(|word| word.split_once('=').expect("NAME=value"))
            .collect();
        Environment::read(|name| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const POD: &str = "KUBERNETES_SERVICE_HOST=10.0.0.1 POD_NAME=zl-0 POD_NAMESPACE=zen-lead";

    #[test]
    fn where_to_look() {
        for (words, everything, one) in [
            ("", "namespace mine", Ok("mine")),
            ("ZEN_LEAD_NAMESPACES=", "namespace mine", Ok("mine")),
            ("ZEN_LEAD_NAMESPACES=a", "namespace a", Ok("a")),
            (
                "ZEN_LEAD_NAMESPACES=a,b,",
                "namespaces a, b",
                Err("in which namespace? The controller serves a, b: expected -n"),
            ),
            // A pod, and nothing of a controller.
            (
                "KUBERNETES_SERVICE_HOST=10.0.0.1",
                "namespace mine",
                Ok("mine"),
            ),
            (
                POD,
                "all namespaces",
                Err("in which namespace? The controller serves all of them: expected -n"),
            ),
            (
                &format!("{POD} ZEN_LEAD_NAMESPACES=a"),
                "namespace a",
                Ok("a"),
            ),
        ] {
            let environment = environment(words);
            assert_eq!(told(&environment.scopes("mine")), everything, "{words}");
            let found = environment.namespace("mine").map_err(|why| why.to_string());
            assert_eq!(found, one.map_err(str::to_owned), "{words}");
        }
    }

    #[test]
    fn where_the_lease_is() {
        let lease = |words: &str| {
            let found = environment(words);
            (found.lease_namespace, found.lease_name)
        };
        assert_eq!(lease(""), (None, None));
        assert_eq!(lease(POD), (Some("zen-lead".into()), None));
        let flags = "ZEN_LEAD_LEADER_ELECTION_NAMESPACE=b ZEN_LEAD_LEADER_ELECTION_ID=c";
        let expected = (Some("b".into()), Some("c".into()));
        assert_eq!(lease(&format!("{POD} {flags}")), expected);
    }
}
