//! Paths and queries: which object a request is about, and what it wants with it.

use std::collections::BTreeMap;

use http::Method;

use super::kind::Kind;

/// What a request does, in the words of RBAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// One object.
    Get,
    /// A collection.
    List,
    /// Changes of a collection.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH of any type.
    Patch,
    /// One object.
    Delete,
    /// A whole collection; refused.
    DeleteCollection,
    /// Anything that is no resource request.
    Other,
}

impl Verb {
    /// As RBAC spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Other => "other",
        }
    }

    /// Whether it can change anything.
    #[must_use]
    pub fn is_write(self) -> bool {
        matches!(
            self,
            Self::Create | Self::Update | Self::Patch | Self::Delete | Self::DeleteCollection
        )
    }
}

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    /// Empty for the whole cluster.
    pub(crate) namespace: String,
    /// Empty for a collection.
    pub(crate) name: String,
    /// Empty for the object itself.
    pub(crate) subresource: String,
}

impl Target {
    /// Reads a path; `None` if it is not one of a resource that is served.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let mut parts: Vec<String> = path
            .split('/')
            .filter(|p| !p.is_empty())
            .map(percent_decode)
            .collect();
        let group = match parts.first()?.as_str() {
            "api" if parts.get(1)? == "v1" => {
                parts.drain(..2);
                String::new()
            }
            "apis" if parts.get(2)? == "v1" => parts.drain(..3).nth(1)?,
            _ => return None,
        };
        let mut namespace = String::new();
        // `namespaces/x/status` is the Namespace's own; `namespaces/x/pods` is a scope.
        let is_scope = parts.len() > 2
            && parts.first()? == "namespaces"
            && !matches!(parts.get(2)?.as_str(), "status" | "finalize");
        if is_scope {
            namespace = parts.drain(..2).nth(1)?;
        }
        let mut parts = parts.into_iter();
        let kind = Kind::find(&group, &parts.next()?)?;
        let target = Self {
            kind,
            namespace,
            name: parts.next().unwrap_or_default(),
            subresource: parts.next().unwrap_or_default(),
        };
        let served = match target.subresource.as_str() {
            "" => true,
            "status" => kind.has_status(),
            _ => false,
        };
        // A namespaced object needs its namespace, a cluster-scoped one must not have any.
        let scoped = if kind.is_namespaced() {
            target.name.is_empty() || !target.namespace.is_empty()
        } else {
            target.namespace.is_empty()
        };
        (served && scoped && parts.next().is_none()).then_some(target)
    }

    /// The verb of a request to this target; `None` for a method that is not served here.
    pub(crate) fn verb(&self, method: &Method, query: &Query) -> Option<Verb> {
        let single = !self.name.is_empty();
        let verb = match *method {
            Method::GET if single => Verb::Get,
            Method::GET if query.flag("watch") => Verb::Watch,
            Method::GET => Verb::List,
            Method::POST if !single => Verb::Create,
            Method::PUT if single => Verb::Update,
            Method::PATCH if single => Verb::Patch,
            Method::DELETE if single => Verb::Delete,
            Method::DELETE => Verb::DeleteCollection,
            _ => return None,
        };
        Some(verb)
    }
}

/// Subresources of the real server that are not served here.
const SUBRESOURCES: [&str; 12] = [
    "attach",
    "binding",
    "ephemeralcontainers",
    "eviction",
    "exec",
    "finalize",
    "log",
    "portforward",
    "proxy",
    "resize",
    "scale",
    "token",
];

/// What only the real server has at this path, if it is a subresource of a kind that is served.
pub(crate) fn real_only(path: &str) -> Option<&str> {
    let (object, subresource) = path.trim_end_matches('/').rsplit_once('/')?;
    let is_known = SUBRESOURCES.contains(&subresource);
    let is_object = Target::parse(object).is_some_and(|target| !target.name.is_empty());
    (is_known && is_object).then_some(subresource)
}

/// The parameters of a query. Of a repeated one the first counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let mut all = BTreeMap::new();
        for pair in text.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            all.entry(form_decode(key))
                .or_insert_with(|| form_decode(value));
        }
        Self(all)
    }

    /// The value; empty when absent, which is how the real server treats it too.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    /// Go's reading of booleans in queries: present without a value is true.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.0
            .get(key)
            .is_some_and(|v| !matches!(v.as_str(), "false" | "0" | "False" | "FALSE"))
    }

    /// Whether the parameter is there at all.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.get(key).parse().ok()
    }
}

/// In queries a plus is a space.
fn form_decode(text: &str) -> String {
    percent_decode(&text.replace('+', " "))
}

/// Decodes `%xx`; anything malformed stays as it is.
fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = (byte == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(value) = hex {
            out.push(value);
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_real_server_has_is_known() {
        let log = "/api/v1/namespaces/a/pods/b/log";
        assert_eq!(real_only(log), Some("log"));
        assert_eq!(real_only("/api/v1/namespaces/a/pods/b/nonsense"), None);
        assert_eq!(real_only("/api/v1/namespaces/a/pods/log"), None);
        assert_eq!(real_only("/apis/apps/v1/deployments/a/scale"), None);
    }

    #[test]
    fn paths_name_objects() {
        let check = |path: &str, want: Option<(Kind, &str, &str, &str)>| {
            let got = Target::parse(path);
            let got = got.as_ref().map(|t| {
                (
                    t.kind,
                    t.namespace.as_str(),
                    t.name.as_str(),
                    t.subresource.as_str(),
                )
            });
            assert_eq!(got, want, "{path}");
        };
        check("/api/v1/pods", Some((Kind::Pod, "", "", "")));
        check("/api/v1/namespaces/a/pods", Some((Kind::Pod, "a", "", "")));
        check(
            "/api/v1/namespaces/a/pods/b",
            Some((Kind::Pod, "a", "b", "")),
        );
        check(
            "/api/v1/namespaces/a/pods/b/status",
            Some((Kind::Pod, "a", "b", "status")),
        );
        check("/api/v1/namespaces/a", Some((Kind::Namespace, "", "a", "")));
        check(
            "/api/v1/namespaces/a/status",
            Some((Kind::Namespace, "", "a", "status")),
        );
        check("/api/v1/nodes/n", Some((Kind::Node, "", "n", "")));
        check(
            "/apis/discovery.k8s.io/v1/namespaces/a/endpointslices/b",
            Some((Kind::EndpointSlice, "a", "b", "")),
        );
        check(
            "/apis/coordination.k8s.io/v1/leases",
            Some((Kind::Lease, "", "", "")),
        );
        check("/api/v1/pods/b", None);
        check("/api/v1/namespaces/a/nodes/n", None);
        check("/api/v1/namespaces/a/pods/b/log", None);
        check("/api/v1/namespaces/a/pods/b/status/x", None);
        check("/apis/apps/v1/deployments", None);
        check("/api/v2/pods", None);
        check("/apis", None);
        check("/healthz", None);
    }

    #[test]
    fn queries_decode() {
        let query =
            Query::parse("labelSelector=a%2Fb%3Dc%2C%21d&watch=true&limit=5&x+y=1&watch=0&flag");
        assert_eq!(query.get("labelSelector"), "a/b=c,!d");
        assert!(query.flag("watch") && query.flag("flag") && !query.flag("none"));
        assert_eq!(query.number("limit"), Some(5));
        assert_eq!(query.get("x y"), "1");
        assert_eq!(percent_decode("100%"), "100%");
        assert_eq!(percent_decode("%zz%4"), "%zz%4");
    }
}
