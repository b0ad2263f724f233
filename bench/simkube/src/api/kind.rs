//! The kinds that are served, and what sets each apart.

use std::fmt;

/// A resource that this server stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// core/v1 Namespace, the only one beside Node that is not namespaced.
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
    /// discovery.k8s.io/v1 `EndpointSlice`.
    EndpointSlice,
    /// coordination.k8s.io/v1 Lease.
    Lease,
}

impl Kind {
    /// All of them, in the order in which anything that goes over all kinds goes.
    pub const ALL: [Self; 8] = [
        Self::Namespace,
        Self::Node,
        Self::Pod,
        Self::Service,
        Self::Endpoints,
        Self::Event,
        Self::EndpointSlice,
        Self::Lease,
    ];

    /// The API group; empty for core.
    #[must_use]
    pub fn group(self) -> &'static str {
        match self {
            Self::EndpointSlice => "discovery.k8s.io",
            Self::Lease => "coordination.k8s.io",
            _ => "",
        }
    }

    /// `v1` or `group/v1`.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Self::EndpointSlice => "discovery.k8s.io/v1",
            Self::Lease => "coordination.k8s.io/v1",
            _ => "v1",
        }
    }

    /// The kind as objects spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::Endpoints => "Endpoints",
            Self::Event => "Event",
            Self::EndpointSlice => "EndpointSlice",
            Self::Lease => "Lease",
        }
    }

    /// The resource as paths spell it.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Namespace => "namespaces",
            Self::Node => "nodes",
            Self::Pod => "pods",
            Self::Service => "services",
            Self::Endpoints => "endpoints",
            Self::Event => "events",
            Self::EndpointSlice => "endpointslices",
            Self::Lease => "leases",
        }
    }

    /// What kubectl accepts beside the plural.
    #[must_use]
    pub fn short_names(self) -> &'static [&'static str] {
        match self {
            Self::Namespace => &["ns"],
            Self::Node => &["no"],
            Self::Pod => &["po"],
            Self::Service => &["svc"],
            Self::Endpoints => &["ep"],
            Self::Event => &["ev"],
            Self::EndpointSlice | Self::Lease => &[],
        }
    }

    /// The plural with its group, as messages spell it.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Self::EndpointSlice => "endpointslices.discovery.k8s.io",
            Self::Lease => "leases.coordination.k8s.io",
            other => other.plural(),
        }
    }

    /// The kind with its group.
    pub(crate) fn qualified(self) -> &'static str {
        match self {
            Self::EndpointSlice => "EndpointSlice.discovery.k8s.io",
            Self::Lease => "Lease.coordination.k8s.io",
            other => other.name(),
        }
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
        !matches!(self, Self::Namespace | Self::Node)
    }

    /// Whether `/status` is served.
    #[must_use]
    pub fn has_status(self) -> bool {
        matches!(
            self,
            Self::Namespace | Self::Node | Self::Pod | Self::Service
        )
    }

    /// Whether a PUT without a resourceVersion overwrites whatever is there.
    pub(crate) fn allows_blind_update(self) -> bool {
        self != Self::Lease
    }

    /// Whether a PUT creates what is missing.
    pub(crate) fn allows_create_on_update(self) -> bool {
        matches!(
            self,
            Self::Lease | Self::Event | Self::Endpoints | Self::Service
        )
    }

    /// Whether a deletion answers with the object instead of a `Status`.
    pub(crate) fn returns_deleted(self) -> bool {
        matches!(self, Self::Service | Self::Pod | Self::Namespace)
    }

    /// Whether `metadata.generation` is kept. A Service has none; pods have since v1.33.
    pub(crate) fn has_generation(self) -> bool {
        matches!(self, Self::EndpointSlice | Self::Pod)
    }

    /// The kind with this group and plural.
    #[must_use]
    pub fn find(group: &str, plural: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|k| k.group() == group && k.plural() == plural)
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
