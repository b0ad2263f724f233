//! Names against the patterns that the API server itself publishes in its error messages.

use std::sync::LazyLock;

use regex::Regex;
use zen_lead::config::{Config, Flags, Mistakes};
use zen_lead::logic::model::{Labels, Service};
use zen_lead::logic::settings::{self, Settings};
use zen_lead::logic::well_known::{LEADER_SERVICE_ANNOTATIONS, LEADER_SERVICE_NAME};

static LABEL: LazyLock<Regex> = LazyLock::new(|| pattern("[a-z0-9]([-a-z0-9]*[a-z0-9])?"));
static SUBDOMAIN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"));
static QUALIFIED: LazyLock<Regex> =
    LazyLock::new(|| pattern("([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"));

fn pattern(text: &str) -> Regex {
    Regex::new(&format!("^(?:{text})$")).expect("the API server compiles it too")
}

/// RFC 1123 label.
pub(super) fn is_label(text: &str) -> bool {
    text.len() <= 63 && LABEL.is_match(text)
}

/// RFC 1123 subdomain.
pub(super) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && SUBDOMAIN.is_match(text)
}

/// Key of a label.
pub(super) fn is_label_key(text: &str) -> bool {
    let is_name = |name: &str| name.len() <= 63 && QUALIFIED.is_match(name);
    match text.split('/').collect::<Vec<_>>()[..] {
        [name] => is_name(name),
        [prefix, name] => is_subdomain(prefix) && is_name(name),
        _ => false,
    }
}

/// Key of an annotation: the server checks it in lower case. Unicode has a few more letters that
/// turn into ASCII then, such as the Kelvin sign; those are refused.
pub(super) fn is_annotation_key(text: &str) -> bool {
    is_label_key(&text.to_ascii_lowercase())
}

/// Value of a label.
pub(super) fn is_label_value(text: &str) -> bool {
    text.is_empty() || (text.len() <= 63 && QUALIFIED.is_match(text))
}

/// Every place where a name is asked for takes exactly what the server would take.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    leader_service(text);
    annotation_key(text);
    let given = |flag: &str| flags(&[format!("--{flag}={text}")]);
    let one = !text.contains(',') && text.trim() == text && !text.is_empty();
    if one {
        let namespaces = given("namespaces").map(|config| config.namespaces);
        assert_eq!(namespaces.is_ok(), is_label(text), "namespace {text:?}");
        assert!(namespaces.is_ok_and(|all| all == [text]) == is_label(text));
        let prefixes = given("mirror-prefixes").map(|config| config.mirror_prefixes);
        let domain = text.strip_suffix('/').unwrap_or(text);
        let fine = is_subdomain(domain) && !is_reserved(domain);
        assert_eq!(prefixes.is_ok(), fine, "prefix {text:?}");
        assert!(prefixes.is_ok_and(|all| all == [format!("{domain}/")]) == fine);
    }
    if !text.is_empty() {
        let lease = given("leader-election-id").map(|config| config.lease.name);
        assert_eq!(lease.is_ok(), is_subdomain(text), "Lease {text:?}");
        let namespace = flags(&[format!("--leader-election-namespace={text}")]);
        assert_eq!(namespace.is_ok(), is_label(text), "namespace {text:?}");
        let pod = resolved(&Flags::default(), |name| match name {
            "POD_NAME" => Some(text.to_owned()),
            "POD_NAMESPACE" => Some("zen-lead".to_owned()),
            _ => None,
        });
        assert_eq!(pod.is_ok(), is_subdomain(text), "pod {text:?}");
    }
}

fn is_reserved(domain: &str) -> bool {
    let roots = [
        "argoproj.io",
        "cattle.io",
        "cilium.io",
        "cloud.google.com",
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
    ];
    roots.contains(&domain)
        || roots
            .iter()
            .any(|root| domain.ends_with(&format!(".{root}")))
}

fn leader_service(text: &str) {
    let mut source = Service::default();
    source.metadata.name = "source".into();
    source.metadata.annotations = [(LEADER_SERVICE_NAME, text)].into_iter().collect();
    match settings::requested_name(&source) {
        Ok(name) => assert!(
            &*name == text && is_label(text) && text != "source",
            "{text:?}"
        ),
        Err(why) => assert!(!is_label(text) || text == "source", "{text:?}: {why}"),
    }
    // The default, of a source that bears this name.
    if is_label(text) {
        source.metadata.name = text.into();
        source.metadata.annotations = Labels::default();
        let name = settings::requested_name(&source).ok();
        let fits = Some(format!("{text}-leader")).filter(|name| is_label(name));
        assert_eq!(name.as_deref(), fits.as_deref());
    }
}

fn annotation_key(text: &str) {
    let asked = serde_json::json!({ text: "value" }).to_string();
    let annotations = [(LEADER_SERVICE_ANNOTATIONS, &*asked)]
        .into_iter()
        .collect();
    let (settings, problems) = settings::read(&annotations, &Settings::default());
    let fine = is_annotation_key(text) && !text.starts_with("zen-lead.io/");
    assert_eq!(problems.is_empty(), fine, "{text:?}: {problems:?}");
    assert_eq!(
        settings.leader_annotations.get(text),
        fine.then_some("value")
    );
}

/// The configuration outside a cluster that these arguments mean.
fn flags(args: &[String]) -> Result<Config, Mistakes> {
    let flags = Flags::parse(args.iter().cloned()).expect("the flag exists");
    resolved(&flags, |name| {
        (name == "POD_NAMESPACE").then(|| "zen-lead".to_owned())
    })
}

fn resolved(flags: &Flags, env: impl Fn(&str) -> Option<String>) -> Result<Config, Mistakes> {
    Config::resolve(flags, env)
}
