//! What was answered to whom, as the real server writes it into its audit log, and counted as in
//! its `/metrics`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::access::User;
use crate::api::kind::Kind;

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The head of a watch was sent; its events follow.
    ResponseStarted,
    /// All is said.
    ResponseComplete,
}

/// One entry of the audit log.
#[derive(Clone, Debug)]
pub struct Audited {
    /// How far it has come.
    pub stage: Stage,
    /// Number of the request over the life of the server.
    pub number: u64,
    /// The user that asked; empty if the token was not known.
    pub user: User,
    /// As RBAC calls it; the method in small letters where no resource is asked for.
    pub verb: String,
    /// What it is about, if it is about a resource.
    pub kind: Option<Kind>,
    /// Namespace of the path.
    pub namespace: String,
    /// Name of the path; for a creation the name in the body.
    pub name: String,
    /// `status` or nothing.
    pub subresource: String,
    /// Path and query.
    pub uri: String,
    /// `User-Agent`.
    pub agent: String,
    /// HTTP status of the answer.
    pub code: u16,
    /// When it arrived.
    pub received: Timestamp,
    /// When this stage was reached.
    pub at: Timestamp,
}

impl Audited {
    /// The entry as `audit.k8s.io/v1` spells it, at level Metadata.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let stage = match self.stage {
            Stage::ResponseStarted => "ResponseStarted",
            Stage::ResponseComplete => "ResponseComplete",
        };
        let mut entry = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata",
            "auditID": format!("{:032x}", self.number), "stage": stage, "requestURI": self.uri,
            "verb": self.verb, "user": {"username": self.user.name, "groups": self.user.groups},
            "sourceIPs": ["127.0.0.1"], "userAgent": self.agent,
            "responseStatus": {"metadata": {}, "code": self.code},
            "requestReceivedTimestamp": format!("{:.6}", self.received),
            "stageTimestamp": format!("{:.6}", self.at),
        });
        if let Some(kind) = self.kind {
            let mut about = json!({"resource": kind.plural(), "apiVersion": "v1"});
            let parts = [
                ("namespace", self.namespace.as_str()),
                ("name", &self.name),
                ("apiGroup", kind.group()),
                ("subresource", &self.subresource),
            ];
            for (field, text) in parts.into_iter().filter(|(_, text)| !text.is_empty()) {
                about[field] = text.into();
            }
            entry["objectRef"] = about;
        }
        entry
    }
}

/// Told of every answer, in the order in which answers are given. Must not call back into the
/// server.
pub trait Auditor: Send + Sync {
    /// A request has come that far.
    fn audited(&self, entry: &Audited);
}

/// Requests by verb, kind, subresource, scope and code.
#[derive(Debug, Default)]
pub(crate) struct Counts(BTreeMap<Counted, u64>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Counted {
    verb: String,
    kind: Option<Kind>,
    subresource: String,
    scope: &'static str,
    code: u16,
}

impl Counts {
    pub(crate) fn add(&mut self, entry: &Audited, method: &http::Method) {
        let verb = match entry.verb.as_str() {
            "list" | "watch" => entry.verb.to_uppercase(),
            _ => method.to_string(),
        };
        let scope = match entry.kind {
            None => "",
            Some(_) if !entry.name.is_empty() => "resource",
            Some(_) if entry.namespace.is_empty() => "cluster",
            Some(_) => "namespace",
        };
        let key = Counted {
            verb,
            kind: entry.kind,
            subresource: entry.subresource.clone(),
            scope,
            code: entry.code,
        };
        *self.0.entry(key).or_default() += 1;
    }

    /// The page that is scraped.
    pub(crate) fn page(&self) -> String {
        let mut page = String::from(
            "# HELP apiserver_request_total [STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.\n# TYPE apiserver_request_total counter\n",
        );
        for (key, count) in &self.0 {
            let (group, resource) = key.kind.map_or(("", ""), |k| (k.group(), k.plural()));
            let version = if key.kind.is_some() { "v1" } else { "" };
            // Writing to a String cannot fail.
            let _ = writeln!(
                page,
                "apiserver_request_total{{code=\"{}\",component=\"apiserver\",dry_run=\"\",group=\"{group}\",resource=\"{resource}\",scope=\"{}\",subresource=\"{}\",verb=\"{}\",version=\"{version}\"}} {count}",
                key.code, key.scope, key.subresource, key.verb
            );
        }
        page
    }
}
