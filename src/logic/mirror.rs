//! Which labels and annotations of a source its leader Service bears too.
//!
//! An allow-list: keys without a prefix, two well-known labels, and prefixes that the operator
//! names. Some keys never pass, named or not, because they would hand our objects to a tool that
//! prunes, merges or scrapes them, switch kube-proxy off, or order a second load balancer.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::contract::MIRRORED;
use super::model::{Labels, Service};

/// Labels with a prefix that are mirrored without being asked for.
const LABELS: [&str; 2] = ["app.kubernetes.io/name", "app.kubernetes.io/component"];

/// Domains whose keys, and those of their subdomains, are never mirrored.
const NEVER: [&str; 16] = [
    "argoproj.io",
    "cattle.io",
    "cilium.io",
    "external-dns.alpha.kubernetes.io",
    "fluxcd.io",
    "googleapis.com",
    "helm.sh",
    "istio.io",
    "k14s.io",
    "k8s.io",
    "kubernetes.io",
    "networking.gke.io",
    "prometheus.io",
    "rancher.io",
    "zen-lead.io",
    "cloud.google.com",
];

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
        self.pick(source, |key| LABELS.contains(&key))
    }

    /// The annotations of a source that its leader Service bears.
    #[must_use]
    pub fn annotations(&self, source: &Labels) -> Labels {
        self.pick(source, |_| false)
    }

    fn pick(&self, source: &Labels, always: impl Fn(&str) -> bool) -> Labels {
        let chosen = source
            .entries()
            .iter()
            .filter(|(key, _)| always(key) || self.lets_through(key));
        chosen.cloned().collect()
    }

    fn lets_through(&self, key: &str) -> bool {
        match key.split_once('/') {
            None => true,
            Some((prefix, _)) => {
                !NEVER.iter().any(|domain| is_within(prefix, domain))
                    && self.prefixes.iter().any(|p| **p == *prefix)
            }
        }
    }
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
        for (key, by_default, when_asked) in [
            ("app", true, true),
            ("example.com/team", false, true),
            ("sub.example.com/team", false, false),
            ("argocd.argoproj.io/instance", false, false),
            ("kubernetes.io/anything", false, false),
            ("service.kubernetes.io/headless", false, false),
            (
                "service.beta.kubernetes.io/aws-load-balancer-type",
                false,
                false,
            ),
            ("kustomize.toolkit.fluxcd.io/name", false, false),
            ("meta.helm.sh/release-name", false, false),
            ("kapp.k14s.io/app", false, false),
            ("objectset.rio.cattle.io/hash", false, false),
            ("service.cilium.io/global", false, false),
            ("networking.istio.io/exportTo", false, false),
            ("prometheus.io/scrape", false, false),
            ("external-dns.alpha.kubernetes.io/hostname", false, false),
            ("zen-lead.io/enabled", false, false),
            ("app.kubernetes.io/instance", false, false),
        ] {
            let one: Labels = [(key, "v")].into_iter().collect();
            assert_eq!(
                !plain.labels(&one).is_empty(),
                by_default,
                "{key} by default"
            );
            assert_eq!(
                !asked.annotations(&one).is_empty(),
                when_asked,
                "{key} when asked"
            );
        }
    }

    #[test]
    fn two_well_known_labels_pass_as_labels_only() {
        let one: Labels = [("app.kubernetes.io/name", "v")].into_iter().collect();
        assert_eq!(Mirror::default().labels(&one), one);
        assert!(Mirror::default().annotations(&one).is_empty());
    }
}
