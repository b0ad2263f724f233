//! A change on one line of the trace.

use serde_json::Value;
use simkube::Kind;

use super::leaves;
use crate::facts::{PodFact, SourceFact, text};

/// What matters of an object, on one line.
pub(super) fn brief(kind: Kind, object: Option<&Value>) -> String {
    let Some(object) = object else {
        return String::new();
    };
    let endpoints = |slice: &Value| {
        let all = slice["endpoints"].as_array().cloned().unwrap_or_default();
        let name = |endpoint: &Value| {
            format!(
                "{}/{}",
                text(&endpoint["targetRef"]["name"]),
                text(&endpoint["addresses"][0])
            )
        };
        format!(
            "[{}] for {}",
            all.iter().map(name).collect::<Vec<_>>().join(" "),
            text(&slice["metadata"]["labels"]["kubernetes.io/service-name"])
        )
    };
    match kind {
        Kind::EndpointSlice => endpoints(object),
        Kind::Pod => {
            let fact = PodFact::of(object);
            let flag = |is: bool, name: &'static str| if is { name } else { "" };
            format!(
                "app={}{}{}{}{}{} {}",
                fact.labels.get("app").cloned().unwrap_or_default(),
                flag(fact.has_role(), " primary"),
                flag(fact.ready, " ready"),
                flag(!fact.running, " not-running"),
                flag(fact.terminating, " terminating"),
                flag(fact.disrupted, " disrupted"),
                fact.ips.join(" "),
            )
        }
        Kind::Service => {
            let fact = SourceFact::of(object);
            let settings: Vec<String> = fact
                .annotations
                .iter()
                .map(|(key, value)| format!("{}={value}", key.trim_start_matches("zen-lead.io/")))
                .collect();
            format!(
                "{} app={:?} ports={}",
                settings.join(" "),
                fact.selector.get("app"),
                fact.ports.len()
            )
        }
        Kind::Node => if leaves(object) { "leaves" } else { "stays" }.into(),
        Kind::Lease => format!("held by {}", text(&object["spec"]["holderIdentity"])),
        _ => String::new(),
    }
}
