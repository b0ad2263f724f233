//! The kinds that are served, and what sets each apart.

use std::fmt;

/// A resource that this server stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// core/v1 Namespace.
    Namespace,
    /// core/v1 Node.
    Node,
    /// core/v1 Pod, with `/status`.
    Pod,
    /// core/v1 Service, with `/status`.
    Service,
    /// core/v1 Endpoints.
    Endpoints,
    /// core/v1 Event.
    Event,
    /// events.k8s.io/v1 Event: the objects of [`Kind::Event`] in another shape, not stored apart.
    NewEvent,
    /// core/v1 `ServiceAccount`; tokens are given out by [`crate::SimKube::token`].
    ServiceAccount,
    /// core/v1 `ConfigMap`.
    ConfigMap,
    /// discovery.k8s.io/v1 `EndpointSlice`.
    EndpointSlice,
    /// coordination.k8s.io/v1 Lease.
    Lease,
    /// rbac.authorization.k8s.io/v1 Role.
    Role,
    /// rbac.authorization.k8s.io/v1 `RoleBinding`.
    RoleBinding,
    /// rbac.authorization.k8s.io/v1 `ClusterRole`.
    ClusterRole,
    /// rbac.authorization.k8s.io/v1 `ClusterRoleBinding`.
    ClusterRoleBinding,
}

/// How a kind is spelt, and where it lives.
struct Facts {
    group: &'static str,
    api_version: &'static str,
    name: &'static str,
    plural: &'static str,
    /// The plural with its group.
    resource: &'static str,
    /// The kind with its group.
    qualified: &'static str,
    short_names: &'static [&'static str],
    is_namespaced: bool,
    has_status: bool,
}

/// Facts of a kind, from its group, kind, plural and short names.
macro_rules! facts {
    ("", $name:literal, $plural:literal, $short:expr, $namespaced:literal, $status:literal) => {
        &Facts {
            group: "",
            api_version: "v1",
            name: $name,
            plural: $plural,
            resource: $plural,
            qualified: $name,
            short_names: $short,
            is_namespaced: $namespaced,
            has_status: $status,
        }
    };
    ($group:literal, $name:literal, $plural:literal, $namespaced:literal) => {
        &Facts {
            group: $group,
            api_version: concat!($group, "/v1"),
            name: $name,
            plural: $plural,
            resource: concat!($plural, ".", $group),
            qualified: concat!($name, ".", $group),
            short_names: &[],
            is_namespaced: $namespaced,
            has_status: false,
        }
    };
}

impl Kind {
    /// All that are stored, in the order in which anything that goes over all kinds goes.
    pub const ALL: [Self; 14] = [
        Self::Namespace,
        Self::Node,
        Self::Pod,
        Self::Service,
        Self::Endpoints,
        Self::Event,
        Self::ServiceAccount,
        Self::ConfigMap,
        Self::EndpointSlice,
        Self::Lease,
        Self::Role,
        Self::RoleBinding,
        Self::ClusterRole,
        Self::ClusterRoleBinding,
    ];

    /// All that are served.
    pub(crate) fn served() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().chain([Self::NewEvent])
    }

    /// The kind in whose shape the objects are stored.
    pub(crate) fn stored(self) -> Self {
        match self {
            Self::NewEvent => Self::Event,
            other => other,
        }
    }

    fn facts(self) -> &'static Facts {
        match self {
            Self::Namespace => facts!("", "Namespace", "namespaces", &["ns"], false, true),
            Self::Node => facts!("", "Node", "nodes", &["no"], false, true),
            Self::Pod => facts!("", "Pod", "pods", &["po"], true, true),
            Self::Service => facts!("", "Service", "services", &["svc"], true, true),
            Self::Endpoints => facts!("", "Endpoints", "endpoints", &["ep"], true, false),
            Self::Event => facts!("", "Event", "events", &["ev"], true, false),
            Self::NewEvent => facts!("events.k8s.io", "Event", "events", true),
            Self::ServiceAccount => {
                facts!(
                    "",
                    "ServiceAccount",
                    "serviceaccounts",
                    &["sa"],
                    true,
                    false
                )
            }
            Self::ConfigMap => facts!("", "ConfigMap", "configmaps", &["cm"], true, false),
            Self::EndpointSlice => {
                facts!("discovery.k8s.io", "EndpointSlice", "endpointslices", true)
            }
            Self::Lease => facts!("coordination.k8s.io", "Lease", "leases", true),
            Self::Role => facts!("rbac.authorization.k8s.io", "Role", "roles", true),
            Self::RoleBinding => {
                facts!(
                    "rbac.authorization.k8s.io",
                    "RoleBinding",
                    "rolebindings",
                    true
                )
            }
            Self::ClusterRole => {
                facts!(
                    "rbac.authorization.k8s.io",
                    "ClusterRole",
                    "clusterroles",
                    false
                )
            }
            Self::ClusterRoleBinding => facts!(
                "rbac.authorization.k8s.io",
                "ClusterRoleBinding",
                "clusterrolebindings",
                false
            ),
        }
    }

    /// The API group; empty for core.
    #[must_use]
    pub fn group(self) -> &'static str {
        self.facts().group
    }

    /// `v1` or `group/v1`.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        self.facts().api_version
    }

    /// The kind as objects spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// The resource as paths spell it.
    #[must_use]
    pub fn plural(self) -> &'static str {
        self.facts().plural
    }

    /// What kubectl accepts beside the plural.
    #[must_use]
    pub fn short_names(self) -> &'static [&'static str] {
        self.facts().short_names
    }

    /// The plural with its group, as messages spell it.
    #[must_use]
    pub fn resource(self) -> &'static str {
        self.facts().resource
    }

    /// The kind with its group.
    pub(crate) fn qualified(self) -> &'static str {
        self.facts().qualified
    }

    /// Where the real server keeps an object in etcd; some of its errors say so.
    pub(crate) fn registry_key(self, namespace: &str, name: &str) -> String {
        let prefix = match self {
            Self::Service => "services/specs",
            Self::Endpoints => "services/endpoints",
            Self::Node => "minions",
            other => other.plural(),
        };
        if self.is_namespaced() {
            format!("/registry/{prefix}/{namespace}/{name}")
        } else {
            format!("/registry/{prefix}/{name}")
        }
    }

    /// Whether objects live in a namespace.
    #[must_use]
    pub fn is_namespaced(self) -> bool {
        self.facts().is_namespaced
    }

    /// Whether `/status` is served.
    #[must_use]
    pub fn has_status(self) -> bool {
        self.facts().has_status
    }

    /// Whether a PUT without a resourceVersion overwrites whatever is there.
    pub(crate) fn allows_blind_update(self) -> bool {
        self != Self::Lease
    }

    /// Whether a PUT creates what is missing.
    pub(crate) fn allows_create_on_update(self) -> bool {
        matches!(
            self,
            Self::Lease | Self::Event | Self::NewEvent | Self::Endpoints | Self::Service
        )
    }

    /// Whether a deletion answers with the object instead of a `Status`.
    pub(crate) fn returns_deleted(self) -> bool {
        matches!(
            self,
            Self::Service | Self::Pod | Self::Namespace | Self::ServiceAccount
        )
    }

    /// Whether `metadata.generation` is kept. A Service has none; pods have since v1.33.
    pub(crate) fn has_generation(self) -> bool {
        matches!(self, Self::EndpointSlice | Self::Pod)
    }

    /// The kind with this group and plural.
    #[must_use]
    pub fn find(group: &str, plural: &str) -> Option<Self> {
        Self::served().find(|k| k.group() == group && k.plural() == plural)
    }

    /// The path of an object, or of the collection when `name` is empty.
    #[must_use]
    pub fn path(self, namespace: &str, name: &str) -> String {
        let mut path = if self.group().is_empty() {
            "/api/v1".to_owned()
        } else {
            format!("/apis/{}", self.api_version())
        };
        if self.is_namespaced() && !namespace.is_empty() {
            path.push_str("/namespaces/");
            path.push_str(namespace);
        }
        path.push('/');
        path.push_str(self.plural());
        if !name.is_empty() {
            path.push('/');
            path.push_str(name);
        }
        path
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
