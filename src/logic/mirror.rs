//! Which labels and annotations of a source its leader Service bears too.
//!
//! An allow-list: keys without a prefix, annotations that say which protocol a port speaks, and
//! prefixes that the operator names. Some keys never pass, named or not, because they would hand our
//! objects to a tool that prunes, merges or scrapes them, switch kube-proxy off, or order a second
//! load balancer. Nor do the labels by which an application's own Service is selected.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::model::{Labels, Service};
use super::well_known::MIRRORED;

/// Labels without a prefix by which an application's own Service is selected. If the leader Service had
/// them too, a `ServiceMonitor` would scrape the leader twice.
const SELECTED_BY: [&str; 5] = ["app", "k8s-app", "name", "component", "release"];

/// Annotations of a Service by which a data plane learns which protocol a port speaks; a `*` stands
/// for any text. The leader Service has the same ports before the same pods, so what holds for the
/// source holds for it. Not among them: what asks for retries, time-outs, stickiness or a way of
/// balancing, which is a choice per Service and of no use with one endpoint; what belongs on pods or
/// Ingresses; and what a cloud's load balancer reads.
const PORT_PROTOCOLS: [&str; 10] = [
    "*.service.kuma.io/protocol",
    "config.linkerd.io/opaque-ports",
    "haproxy.org/server-proto",
    "haproxy.org/server-ssl",
    "konghq.com/protocol",
    "projectcontour.io/upstream-protocol.h2",
    "projectcontour.io/upstream-protocol.h2c",
    "projectcontour.io/upstream-protocol.tls",
    "traefik.ingress.kubernetes.io/service.serversscheme",
    "traefik.ingress.kubernetes.io/service.serverstransport",
];

/// Domains whose keys, and those of their subdomains, are never mirrored, and why.
const RESERVED: [(&str, &str); 16] = [
    ("argoproj.io", "Argo CD tracks and prunes objects by it"),
    ("cattle.io", "Rancher tracks and prunes objects by it"),
    (
        "cilium.io",
        "Cilium merges Services of several clusters by it",
    ),
    (
        "cloud.google.com",
        "a cloud's load balancer is ordered by it",
    ),
    (
        "external-dns.alpha.kubernetes.io",
        "external-dns makes records by it",
    ),
    ("fluxcd.io", "Flux tracks and prunes objects by it"),
    ("googleapis.com", "a cloud's load balancer is ordered by it"),
    ("helm.sh", "Helm tracks objects by it"),
    ("istio.io", "Istio exports and merges Services by it"),
    ("k14s.io", "kapp tracks and prunes objects by it"),
    ("k8s.io", "it is reserved for Kubernetes"),
    ("kubernetes.io", "it is reserved for Kubernetes"),
    (
        "networking.gke.io",
        "a cloud's load balancer is ordered by it",
    ),
    ("prometheus.io", "Prometheus would scrape the leader twice"),
    ("rancher.io", "Rancher tracks and prunes objects by it"),
    ("zen-lead.io", "it is zen-lead's own"),
];

/// The reason why keys with this domain as prefix are never mirrored, even if a flag requests it.
#[must_use]
pub fn reserved(prefix: &str) -> Option<&'static str> {
    let mut domains = RESERVED.iter();
    let found = domains.find(|(domain, _)| is_within(prefix, domain));
    found.map(|(_, why)| *why)
}

/// Decides which keys are mirrored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirror {
    prefixes: Vec<Box<str>>,
}

impl Mirror {
    /// A mirror that lets the keys of these domains through as well.
    #[must_use]
    pub fn new(prefixes: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        Self {
            prefixes: prefixes
                .into_iter()
                .map(|prefix| prefix.as_ref().trim_end_matches('/').into())
                .collect(),
        }
    }

    /// The labels of a source that its leader Service and slices bear.
    #[must_use]
    pub fn labels(&self, source: &Labels) -> Labels {
        pick(source, |key| {
            self.lets_through(key) && !SELECTED_BY.contains(&key)
        })
    }

    /// The annotations of a source that its leader Service bears.
    #[must_use]
    pub fn annotations(&self, source: &Labels) -> Labels {
        pick(source, |key| {
            self.lets_through(key) || says_the_protocol(key)
        })
    }

    fn lets_through(&self, key: &str) -> bool {
        match key.split_once('/') {
            None => true,
            Some((prefix, _)) => {
                reserved(prefix).is_none() && self.prefixes.iter().any(|p| **p == *prefix)
            }
        }
    }
}

fn pick(source: &Labels, passes: impl Fn(&str) -> bool) -> Labels {
    let entries = source.entries().iter();
    let chosen = entries.filter(|(key, _)| passes(key));
    chosen.cloned().collect()
}

/// Whether a data plane learns from this annotation which protocol a port speaks.
fn says_the_protocol(key: &str) -> bool {
    PORT_PROTOCOLS
        .iter()
        .any(|known| match known.strip_prefix('*') {
            Some(ending) => key.ends_with(ending),
            None => key == *known,
        })
}

/// The keys that a leader Service has from its source, as it remembers them itself in the
/// annotation `zen-lead.io/mirrored`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mirrored {
    /// Keys of labels.
    pub labels: BTreeSet<String>,
    /// Keys of annotations, mirrored and asked for.
    pub annotations: BTreeSet<String>,
    /// Those of them that `leader-service-annotations` asks for. Were it to become invalid, a process
    /// that starts then could not tell them from what the source has ceased to lend.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub asked: BTreeSet<String>,
    /// Keys of labels that `leader-service-labels` asks for, likewise. They are on the leader Service
    /// only. A key that is mirrored too is also in `labels`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub asked_labels: BTreeSet<String>,
    /// Whether the source ranges of its load balancer are those of the source, and go with them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ranges: bool,
    /// Whether it is the followers Service, whatever a user does to its label.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub followers: bool,
}

impl Mirrored {
    /// Reads the memory of a leader Service. One of the Go program has none.
    #[must_use]
    pub fn read(leader: &Service) -> Option<Self> {
        let text = leader.metadata.annotations.get(MIRRORED)?;
        serde_json::from_str(text).ok()
    }

    /// The keys that are the same on both, for want of a memory.
    #[must_use]
    pub fn guess(leader: &Service, source_labels: &Labels, source_annotations: &Labels) -> Self {
        let meta = &leader.metadata;
        Self {
            labels: common(source_labels, &meta.labels),
            annotations: common(source_annotations, &meta.annotations),
            asked: BTreeSet::new(),
            asked_labels: BTreeSet::new(),
            ranges: false,
            followers: false,
        }
    }
}

fn common(source: &Labels, leader: &Labels) -> BTreeSet<String> {
    source
        .iter()
        .filter(|(key, value)| leader.get(key) == Some(value))
        .map(|(key, _)| key.to_owned())
        .collect()
}

fn is_within(prefix: &str, domain: &str) -> bool {
    prefix
        .strip_suffix(domain)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_allow_list_passes() {
        let plain = Mirror::default();
        let asked = Mirror::new(["example.com/", "argocd.argoproj.io", "kubernetes.io"]);
        // As a label, and as an annotation: by default, and when the prefix is asked for.
        for (key, label, annotation) in [
            ("team", (true, true), (true, true)),
            ("example.com/team", (false, true), (false, true)),
            ("sub.example.com/team", (false, false), (false, false)),
            ("app", (false, false), (true, true)),
            ("k8s-app", (false, false), (true, true)),
            ("name", (false, false), (true, true)),
            ("component", (false, false), (true, true)),
            ("release", (false, false), (true, true)),
        ] {
            let one: Labels = [(key, "v")].into_iter().collect();
            let passes = |mirror: &Mirror| {
                (
                    !mirror.labels(&one).is_empty(),
                    !mirror.annotations(&one).is_empty(),
                )
            };
            assert_eq!(passes(&plain), (label.0, annotation.0), "{key} by default");
            assert_eq!(passes(&asked), (label.1, annotation.1), "{key} when asked");
        }
    }

    #[test]
    fn what_is_reserved_never_passes_and_says_why() {
        for key in [
            "argocd.argoproj.io/instance",
            "kubernetes.io/anything",
            "service.kubernetes.io/headless",
            "service.beta.kubernetes.io/aws-load-balancer-type",
            "kustomize.toolkit.fluxcd.io/name",
            "meta.helm.sh/release-name",
            "kapp.k14s.io/app",
            "objectset.rio.cattle.io/hash",
            "service.cilium.io/global",
            "networking.istio.io/exportTo",
            "prometheus.io/scrape",
            "external-dns.alpha.kubernetes.io/hostname",
            "zen-lead.io/enabled",
            "app.kubernetes.io/instance",
            "app.kubernetes.io/name",
            "app.kubernetes.io/component",
        ] {
            let one: Labels = [(key, "v")].into_iter().collect();
            let (prefix, _) = key.split_once('/').expect("a prefix");
            assert!(reserved(prefix).is_some(), "{key}");
            let asked = Mirror::new([prefix]);
            assert!(asked.labels(&one).is_empty(), "label {key}");
            assert!(asked.annotations(&one).is_empty(), "annotation {key}");
        }
        assert_eq!(reserved("example.com"), None);
        assert_eq!(reserved("myargoproj.io"), None, "another domain");
    }

    #[test]
    fn the_protocol_of_a_port_passes_as_an_annotation() {
        let mirror = Mirror::default();
        for key in PORT_PROTOCOLS {
            let key = key.replace('*', "80");
            let one: Labels = [(&*key, "v")].into_iter().collect();
            assert_eq!(mirror.annotations(&one), one, "{key}");
            assert!(mirror.labels(&one).is_empty(), "{key}");
        }
        for other in [
            "config.linkerd.io/skip-inbound-ports",
            "konghq.com/plugins",
            "traefik.ingress.kubernetes.io/service.sticky.cookie",
            "balancer.linkerd.io/failure-accrual",
            "cloud.google.com/app-protocols",
            "service.kubernetes.io/topology-mode",
        ] {
            let one: Labels = [(other, "v")].into_iter().collect();
            assert!(mirror.annotations(&one).is_empty(), "{other}");
        }
    }
}
