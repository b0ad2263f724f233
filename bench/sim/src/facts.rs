//! What the judge knows of pods and sources: read from the server's own objects, by other code than
//! that of the controller.

use std::collections::BTreeMap;

use serde_json::Value;

/// A pod as far as leading goes.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that do not depend on each other"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodFact {
    pub(crate) uid: String,
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) running: bool,
    /// It has come to its end, whatever else is said of it.
    pub(crate) ended: bool,
    /// Its rank for the strategy `priority`.
    pub(crate) rank: i64,
    pub(crate) ready: bool,
    pub(crate) terminating: bool,
    pub(crate) disrupted: bool,
    /// A Job controls it.
    pub(crate) of_job: bool,
    pub(crate) ips: Vec<String>,
    pub(crate) ports: BTreeMap<String, u64>,
    pub(crate) node: String,
    /// RFC 3339 in whole seconds, so that text sorts like time.
    pub(crate) created: String,
}

/// A source as far as leading goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceFact {
    pub(crate) uid: String,
    pub(crate) enabled: Option<String>,
    pub(crate) selector: BTreeMap<String, String>,
    /// Name, port, protocol, target, application protocol.
    pub(crate) ports: Vec<Value>,
    pub(crate) families: Vec<String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) deleting: bool,
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> BTreeMap<String, String> {
    let map = value.as_object().into_iter().flatten();
    map.map(|(key, value)| (key.clone(), text(value))).collect()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

impl PodFact {
    pub(crate) fn of(pod: &Value) -> Self {
        let condition = |kind: &str| {
            items(&pod["status"]["conditions"]).any(|c| c["type"] == kind && c["status"] == "True")
        };
        let containers = items(&pod["spec"]["containers"]);
        Self {
            uid: text(&pod["metadata"]["uid"]),
            name: text(&pod["metadata"]["name"]),
            labels: texts(&pod["metadata"]["labels"]),
            running: pod["status"]["phase"] == "Running",
            ended: matches!(
                pod["status"]["phase"].as_str(),
                Some("Failed" | "Succeeded")
            ),
            rank: pod["metadata"]["annotations"]["zen-lead.io/priority"]
                .as_str()
                .and_then(|text| text.parse().ok())
                .unwrap_or_default(),
            ready: condition("Ready"),
            terminating: !pod["metadata"]["deletionTimestamp"].is_null(),
            disrupted: condition("DisruptionTarget"),
            of_job: items(&pod["metadata"]["ownerReferences"])
                .any(|owner| owner["kind"] == "Job" && owner["controller"] == true),
            ips: items(&pod["status"]["podIPs"])
                .map(|ip| text(&ip["ip"]))
                .filter(|ip| is_usable(ip))
                .collect(),
            ports: containers
                .flat_map(|container| items(&container["ports"]))
                .map(|port| {
                    (
                        text(&port["name"]),
                        port["containerPort"].as_u64().unwrap_or_default(),
                    )
                })
                .collect(),
            node: text(&pod["spec"]["nodeName"]),
            created: text(&pod["metadata"]["creationTimestamp"]),
        }
    }

    pub(crate) fn ip(&self, family: &str) -> Option<&String> {
        self.ips
            .iter()
            .find(|ip| ip.contains(':') == (family == "IPv6"))
    }

    fn number(&self, port: &Value) -> Option<u64> {
        match &port["targetPort"] {
            Value::Null => port["port"].as_u64(),
            Value::Number(number) => number.as_u64(),
            name => self.ports.get(name.as_str().unwrap_or_default()).copied(),
        }
    }

    /// Name and number of the ports that it has of the source's.
    pub(crate) fn resolved(&self, source: &SourceFact) -> Vec<(String, u64)> {
        let ports = source.ports.iter();
        ports
            .filter_map(|port| Some((text(&port["name"]), self.number(port)?)))
            .collect()
    }

    pub(crate) fn matches(&self, source: &SourceFact) -> bool {
        let mut wanted = source.selector.iter();
        !source.selector.is_empty()
            && wanted.all(|(key, value)| self.labels.get(key) == Some(value))
    }

    /// Could be reached as leader, were it Ready.
    pub(crate) fn is_reachable(&self, source: &SourceFact) -> bool {
        let family = source.families.first().map_or("IPv4", String::as_str);
        self.ip(family).is_some() && (source.ports.is_empty() || !self.resolved(source).is_empty())
    }

    /// Contract §3, without the time it has been Ready.
    pub(crate) fn is_eligible(&self, source: &SourceFact) -> bool {
        self.matches(source)
            && !self.of_job
            && self.running
            && self.ready
            && !self.terminating
            && self.is_reachable(source)
    }
}

impl SourceFact {
    pub(crate) fn of(service: &Value) -> Self {
        let meta = &service["metadata"];
        let annotations = texts(&meta["annotations"]);
        Self {
            uid: text(&meta["uid"]),
            enabled: annotations.get("zen-lead.io/enabled").cloned(),
            selector: texts(&service["spec"]["selector"]),
            ports: items(&service["spec"]["ports"]).cloned().collect(),
            families: items(&service["spec"]["ipFamilies"]).map(text).collect(),
            annotations,
            labels: texts(&meta["labels"]),
            deleting: !meta["deletionTimestamp"].is_null(),
        }
    }

    pub(crate) fn setting(&self, key: &str) -> Option<&str> {
        self.annotations
            .get(&format!("zen-lead.io/{key}"))
            .map(String::as_str)
    }

    /// Whether nothing may move; what cannot be read counts as a pause.
    pub(crate) fn is_paused(&self) -> bool {
        !matches!(self.setting("paused"), None | Some("false"))
    }

    /// Whether it certainly wants this family under this name, and headless or not as ever.
    pub(crate) fn serves(&self, name: &str, service: &str, family: &str) -> bool {
        let wanted = self
            .setting("leader-service-name")
            .map_or_else(|| format!("{name}-leader"), str::to_owned);
        !self.deleting
            && self.enabled.as_deref() == Some("true")
            && !self.selector.is_empty()
            && !self.ports.is_empty()
            && wanted == service
            && matches!(
                self.setting("leader-service-type"),
                None | Some("ClusterIP")
            )
            && self.families.first().is_some_and(|first| first == family)
    }

    /// `min-ready-duration` in milliseconds; 0 for what cannot be read.
    pub(crate) fn min_ready_ms(&self) -> u64 {
        match self.setting("min-ready-duration") {
            Some("700ms") => 700,
            Some("4s") => 4_000,
            _ => 0,
        }
    }

    /// The same; the longest there is for what cannot be read, where the last valid value stays.
    pub(crate) fn min_ready_max_ms(&self) -> u64 {
        match self.setting("min-ready-duration") {
            Some("-1s" | "soon") => 4_000,
            _ => self.min_ready_ms(),
        }
    }
}

fn is_usable(ip: &str) -> bool {
    ip.parse::<std::net::IpAddr>()
        .is_ok_and(|ip| !ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast())
}
