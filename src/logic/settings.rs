//! Reads the annotations of a source. A typo must not cut traffic: what cannot be read keeps its
//! last valid value, and says so.

mod asked;
mod follow;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::duration;
use super::follow::{self as following, Follow};
use super::model::{Labels, Service};
use super::well_known::{
    ENABLED, FAILOVER_MIN_DELAY, FOLLOW, FOLLOWERS_SERVICE_NAME, LEADER_SERVICE_ANNOTATIONS,
    LEADER_SERVICE_LABELS, LEADER_SERVICE_NAME, LEADER_SERVICE_SOURCE_RANGES, LEADER_SERVICE_TYPE,
    LEADER_SUFFIX, MIN_READY_DURATION, PAUSED, PREFERRED_LEADER, PREFIX, STICKY, STRATEGY,
};

/// Longest piece of an annotation's value that is quoted, in characters.
pub(super) const QUOTED_MAX: usize = 64;
/// Longest DNS label.
const NAME_MAX: usize = 63;
/// Longest DNS subdomain, such as the name of a pod.
const SUBDOMAIN_MAX: usize = 253;

/// What the annotations of a source ask for; the default is what no annotation means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Type of the leader Service.
    pub exposure: LeaderServiceType,
    /// Annotations asked for on the leader Service.
    pub leader_annotations: Labels,
    /// Requested labels of the leader Service.
    pub leader_labels: Labels,
    /// Requested source ranges of a load balancer; empty for no restriction.
    pub source_ranges: Vec<Arc<str>>,
    /// Keep a leader that is still eligible.
    pub sticky: bool,
    /// Order of the candidates.
    pub strategy: Strategy,
    /// Ready for at least this long before becoming leader.
    pub min_ready: Duration,
    /// Requested time for which a leader that turned not Ready is kept; see
    /// [`Settings::failover_delay`].
    pub failover_delay: Option<Duration>,
    /// Name of the pod to hand over to, once.
    pub preferred: Option<Arc<str>>,
    /// Never another pod than the one published.
    pub paused: bool,
    /// Where the application says which pod leads, if it decides.
    pub follow: Option<Follow>,
}

impl Settings {
    /// How long a leader that turned not Ready is kept. By default not at all; while following, long
    /// enough for a label to move.
    #[must_use]
    pub fn failover_delay(&self) -> Duration {
        let default = match self.follow {
            Some(_) => following::FAILOVER_DELAY,
            None => Duration::ZERO,
        };
        self.failover_delay.unwrap_or(default)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            exposure: LeaderServiceType::ClusterIP,
            leader_annotations: Labels::default(),
            leader_labels: Labels::default(),
            source_ranges: Vec::new(),
            sticky: true,
            strategy: Strategy::Oldest,
            min_ready: Duration::ZERO,
            failover_delay: None,
            preferred: None,
            paused: false,
            follow: None,
        }
    }
}

/// How the leader Service is exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaderServiceType {
    /// A cluster address, the default.
    ClusterIP,
    /// `clusterIP: None`.
    Headless,
    /// A port on every node.
    NodePort,
    /// A load balancer of its own.
    LoadBalancer,
}

/// Order in which candidates are preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// By creation, then name.
    Oldest,
    /// By creation backwards, then name.
    Newest,
    /// By a hash that spreads Services over pods and stays as it is.
    Random,
    /// By how many Services the pod's node leads, fewest first, then by creation. Counts at
    /// elections only.
    NodeSpread,
    /// By the pods' own `zen-lead.io/priority`, highest first, then by creation.
    Priority,
}

impl Strategy {
    /// As the annotation spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Oldest => "oldest",
            Self::Newest => "newest",
            Self::Random => "random",
            Self::NodeSpread => "node-spread",
            Self::Priority => "priority",
        }
    }
}

/// Whether a Service wants to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptIn {
    /// `enabled` is absent or `"false"`.
    No,
    /// `enabled` is `"true"`.
    Yes,
    /// Neither: what is served stays served, what is not is not opted in.
    Unclear,
}

/// Reads `zen-lead.io/enabled`.
#[must_use]
pub fn opt_in(service: &Service) -> OptIn {
    match service.metadata.annotations.get(ENABLED) {
        None | Some("false") => OptIn::No,
        Some("true") => OptIn::Yes,
        Some(_) => OptIn::Unclear,
    }
}

/// An annotation that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    key: String,
    value: String,
    expected: String,
}

impl Problem {
    fn new(key: &str, value: &str, expected: impl Into<String>) -> Self {
        let mut quoted: String = value.chars().take(QUOTED_MAX).collect();
        if quoted.len() < value.len() {
            quoted.push('…');
        }
        Self {
            key: key.into(),
            value: quoted,
            expected: expected.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Annotation {} has the value {:?}; expected {}",
            self.key, self.value, self.expected
        )
    }
}

/// Reads all annotations but the name. Where one is invalid, `last` says what stays.
#[must_use]
pub fn read(annotations: &Labels, last: &Settings) -> (Settings, Vec<Problem>) {
    let mut settings = Settings::default();
    let mut problems = Vec::new();
    for (key, value) in annotations
        .iter()
        .filter(|(key, _)| key.starts_with(PREFIX))
    {
        let read = match key {
            ENABLED if matches!(value, "true" | "false") => Ok(()),
            ENABLED => Err(r#""true" or "false""#.into()),
            // Their own event, see `requested_name` and `followers_name`.
            LEADER_SERVICE_NAME | FOLLOWERS_SERVICE_NAME => Ok(()),
            LEADER_SERVICE_TYPE => set(&mut settings.exposure, last.exposure, exposure(value)),
            LEADER_SERVICE_ANNOTATIONS => {
                let kept = last.leader_annotations.clone();
                let read = asked::annotations(value);
                set(&mut settings.leader_annotations, kept, read)
            }
            LEADER_SERVICE_LABELS => {
                let kept = last.leader_labels.clone();
                set(&mut settings.leader_labels, kept, asked::labels(value))
            }
            LEADER_SERVICE_SOURCE_RANGES => {
                let kept = last.source_ranges.clone();
                set(&mut settings.source_ranges, kept, source_ranges(value))
            }
            STICKY => set(&mut settings.sticky, last.sticky, boolean(value)),
            STRATEGY => set(&mut settings.strategy, last.strategy, strategy(value)),
            MIN_READY_DURATION => set(&mut settings.min_ready, last.min_ready, span(value)),
            FAILOVER_MIN_DELAY => set(
                &mut settings.failover_delay,
                last.failover_delay,
                span(value).map(Some),
            ),
            PREFERRED_LEADER => set(
                &mut settings.preferred,
                last.preferred.clone(),
                pod_name(value),
            ),
            // Any value here means that nothing may move, whatever was valid before.
            PAUSED => set(&mut settings.paused, true, boolean(value)),
            // Without a valid value no election may be held: the application decides.
            FOLLOW => {
                let kept = last.follow.clone().or(Some(Follow::Unclear));
                set(&mut settings.follow, kept, follow::read(value).map(Some))
            }
            _ => Err("no annotation of this name: it is not known to zen-lead".into()),
        };
        if let Err(expected) = read {
            problems.push(Problem::new(key, value, expected));
        }
    }
    let is_elected = settings.follow.is_none();
    if is_elected && settings.strategy == Strategy::NodeSpread && !settings.sticky {
        settings.sticky = true;
        let value = annotations.get(STICKY).unwrap_or_default();
        let expected = "\"true\" beside the strategy node-spread, which counts at elections only";
        problems.push(Problem::new(STICKY, value, expected));
    }
    if settings.follow.is_some() && settings.preferred.take().is_some() {
        let value = annotations.get(PREFERRED_LEADER).unwrap_or_default();
        let expected = "none while zen-lead.io/follow is set: the application decides";
        problems.push(Problem::new(PREFERRED_LEADER, value, expected));
    }
    (settings, problems)
}

fn set<T>(slot: &mut T, last: T, value: Result<T, String>) -> Result<(), String> {
    match value {
        Ok(value) => {
            *slot = value;
            Ok(())
        }
        Err(expected) => {
            *slot = last;
            Err(expected)
        }
    }
}

fn exposure(value: &str) -> Result<LeaderServiceType, String> {
    match value {
        "ClusterIP" => Ok(LeaderServiceType::ClusterIP),
        "Headless" => Ok(LeaderServiceType::Headless),
        "NodePort" => Ok(LeaderServiceType::NodePort),
        "LoadBalancer" => Ok(LeaderServiceType::LoadBalancer),
        _ => Err("ClusterIP, Headless, NodePort or LoadBalancer".into()),
    }
}

fn strategy(value: &str) -> Result<Strategy, String> {
    match value {
        "oldest" => Ok(Strategy::Oldest),
        "newest" => Ok(Strategy::Newest),
        "random" => Ok(Strategy::Random),
        "node-spread" => Ok(Strategy::NodeSpread),
        "priority" => Ok(Strategy::Priority),
        _ => Err("oldest, newest, random, node-spread or priority".into()),
    }
}

fn boolean(value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| r#""true" or "false""#.into())
}

fn pod_name(value: &str) -> Result<Option<Arc<str>>, String> {
    if is_dns_subdomain(value) {
        Ok(Some(value.into()))
    } else {
        Err("the name of a pod: at most 253 of a-z, 0-9, '-' and '.'".into())
    }
}

fn span(value: &str) -> Result<Duration, String> {
    duration::parse(value).map_err(|why| format!("a duration such as 300ms, 5s or 1m30s ({why})"))
}

fn source_ranges(value: &str) -> Result<Vec<Arc<str>>, String> {
    let ranges: Vec<Arc<str>> = value.split(',').map(|range| range.trim().into()).collect();
    match ranges.iter().find(|range| !is_cidr(range)) {
        Some(range) => Err(format!(
            "CIDRs with commas such as 10.0.0.0/8,2001:db8::/32 ({range:?} is no CIDR)"
        )),
        None => Ok(ranges),
    }
}

/// An address and a number of bits. Stricter than the API server in what it refuses (no leading
/// zeros), so that no value is accepted here and refused there.
fn is_cidr(text: &str) -> bool {
    let Some((ip, bits)) = text.split_once('/') else {
        return false;
    };
    let bits_max = match ip.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    let is_number =
        bits.bytes().all(|b| b.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
    is_number && bits.parse().is_ok_and(|bits: u8| bits <= bits_max)
}

/// The name that a source asks for, or why it cannot be one.
pub fn requested_name(source: &Service) -> Result<Arc<str>, String> {
    let own = &source.metadata.name;
    let Some(name) = source.metadata.annotations.shared(LEADER_SERVICE_NAME) else {
        let name = format!("{own}{LEADER_SUFFIX}");
        return if name.len() <= NAME_MAX {
            Ok(name.into())
        } else {
            Err(format!(
                "The default leader Service name {name:?} is longer than {NAME_MAX} characters; set {LEADER_SERVICE_NAME}"
            ))
        };
    };
    check_name(LEADER_SERVICE_NAME, name, own)
}

/// The requested name of the followers Service, if one is requested, or why it cannot be used.
///
/// # Errors
///
/// A sentence for an event.
pub fn followers_name(source: &Service) -> Result<Option<Arc<str>>, String> {
    let meta = &source.metadata;
    let asked = meta.annotations.shared(FOLLOWERS_SERVICE_NAME);
    asked
        .map(|name| check_name(FOLLOWERS_SERVICE_NAME, name, &meta.name))
        .transpose()
}

/// Whether the source `own` may have a leader or followers Service of that name.
fn check_name(key: &str, name: &Arc<str>, own: &Arc<str>) -> Result<Arc<str>, String> {
    if name == own {
        return Err(format!(
            "{key} is the Service's own name {name:?}; expected another one"
        ));
    }
    if !is_dns_label(name) {
        let problem = Problem::new(
            key,
            name,
            "a DNS label: at most 63 of a-z, 0-9 and '-', with a letter or digit at both ends",
        );
        return Err(problem.to_string());
    }
    Ok(Arc::clone(name))
}

fn is_dns_label(name: &str) -> bool {
    name.len() <= NAME_MAX && is_dns_text(name)
}

fn is_dns_subdomain(name: &str) -> bool {
    name.len() <= SUBDOMAIN_MAX && name.split('.').all(is_dns_text)
}

/// What stands between the dots of a DNS name. Kubernetes bounds the length of labels and of whole
/// names, not of a part.
fn is_dns_text(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().copied().collect()
    }

    #[test]
    fn no_annotation_means_the_defaults() {
        let served = Settings {
            sticky: false,
            min_ready: Duration::from_secs(1),
            ..Settings::default()
        };
        assert_eq!(
            read(&labels(&[("team", "a")]), &served),
            (Settings::default(), vec![])
        );
    }

    #[test]
    fn each_annotation_is_read() {
        let (settings, problems) = read(
            &labels(&[
                (ENABLED, "true"),
                (LEADER_SERVICE_TYPE, "Headless"),
                (
                    LEADER_SERVICE_ANNOTATIONS,
                    r#"{"a":"1","example.com/b":"2"}"#,
                ),
                (LEADER_SERVICE_LABELS, r#"{"pool":"p"}"#),
                (
                    LEADER_SERVICE_SOURCE_RANGES,
                    "10.0.0.0/8, 2001:db8::/32,192.0.2.7/0",
                ),
                (STICKY, "false"),
                (STRATEGY, "random"),
                (MIN_READY_DURATION, "1m30s"),
                (FAILOVER_MIN_DELAY, "300ms"),
                (PREFERRED_LEADER, "db-1"),
                (PAUSED, "true"),
            ]),
            &Settings::default(),
        );
        assert_eq!(problems, []);
        let expected = Settings {
            exposure: LeaderServiceType::Headless,
            leader_annotations: labels(&[("a", "1"), ("example.com/b", "2")]),
            leader_labels: labels(&[("pool", "p")]),
            source_ranges: ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7/0"]
                .map(Arc::from)
                .into(),
            sticky: false,
            strategy: Strategy::Random,
            min_ready: Duration::from_secs(90),
            failover_delay: Some(Duration::from_millis(300)),
            preferred: Some("db-1".into()),
            paused: true,
            follow: None,
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn every_strategy_has_a_name() {
        for (name, expected) in [
            ("oldest", Strategy::Oldest),
            ("newest", Strategy::Newest),
            ("random", Strategy::Random),
            ("node-spread", Strategy::NodeSpread),
            ("priority", Strategy::Priority),
        ] {
            let (settings, problems) = read(&labels(&[(STRATEGY, name)]), &Settings::default());
            assert_eq!((settings.strategy, problems), (expected, vec![]), "{name}");
            assert_eq!(expected.as_str(), name);
        }
    }

    #[test]
    fn a_spread_over_nodes_is_sticky() {
        let asked = labels(&[(STRATEGY, "node-spread"), (STICKY, "false")]);
        let (settings, problems) = read(&asked, &Settings::default());
        assert!(settings.sticky, "or every election elsewhere would move it");
        let text = problems[0].to_string();
        assert!(
            problems.len() == 1 && text.contains(STICKY) && text.contains("node-spread"),
            "{text}"
        );
        let (settings, problems) = read(&labels(&[(STICKY, "false")]), &settings);
        assert_eq!(
            (settings.sticky, problems),
            (false, vec![]),
            "by itself it is fine"
        );
    }

    #[test]
    fn an_unclear_pause_is_a_pause() {
        for (value, paused, is_told) in [
            ("true", true, false),
            ("false", false, false),
            ("yes", true, true),
            ("", true, true),
        ] {
            let (settings, problems) = read(&labels(&[(PAUSED, value)]), &Settings::default());
            let told = problems
                .iter()
                .any(|what| what.to_string().contains(PAUSED));
            assert_eq!((settings.paused, told), (paused, is_told), "{value:?}");
        }
    }

    #[test]
    fn a_typo_keeps_the_last_valid_value_and_says_what_is_expected() {
        let last = Settings {
            exposure: LeaderServiceType::NodePort,
            leader_annotations: labels(&[("a", "1")]),
            leader_labels: labels(&[("pool", "p")]),
            source_ranges: vec!["10.0.0.0/8".into()],
            sticky: false,
            strategy: Strategy::Newest,
            min_ready: Duration::from_secs(1),
            failover_delay: Some(Duration::from_secs(2)),
            preferred: Some("db-1".into()),
            paused: false,
            follow: None,
        };
        for (key, value, says) in [
            (LEADER_SERVICE_TYPE, "clusterip", "Headless"),
            (LEADER_SERVICE_ANNOTATIONS, "[]", "JSON object of strings"),
            (
                LEADER_SERVICE_ANNOTATIONS,
                r#"{"zen-lead.io/sticky":"x"}"#,
                "reserved",
            ),
            (
                LEADER_SERVICE_ANNOTATIONS,
                r#"{"a b":"x"}"#,
                "no annotation name",
            ),
            (
                LEADER_SERVICE_LABELS,
                r#"{"kubernetes.io/x":"y"}"#,
                "reserved",
            ),
            (LEADER_SERVICE_SOURCE_RANGES, "", "\"\" is no CIDR"),
            (
                LEADER_SERVICE_SOURCE_RANGES,
                "10.0.0.0",
                "CIDRs with commas",
            ),
            (LEADER_SERVICE_SOURCE_RANGES, "10.0.0.0/8,", "no CIDR"),
            (LEADER_SERVICE_SOURCE_RANGES, "10.0.0.0/33", "10.0.0.0/33"),
            (LEADER_SERVICE_SOURCE_RANGES, "10.0.0.0/08", "no CIDR"),
            (LEADER_SERVICE_SOURCE_RANGES, "10.0.0.0/+8", "no CIDR"),
            (LEADER_SERVICE_SOURCE_RANGES, "10.0.0.08/8", "no CIDR"),
            (LEADER_SERVICE_SOURCE_RANGES, "fe80::1%eth0/64", "no CIDR"),
            (LEADER_SERVICE_SOURCE_RANGES, "db.example.com/8", "no CIDR"),
            (STICKY, "yes", "\"true\" or \"false\""),
            (STRATEGY, "best", "oldest, newest, random"),
            (MIN_READY_DURATION, "-1s", "a duration"),
            (FAILOVER_MIN_DELAY, "5", "a duration"),
            (PREFERRED_LEADER, "db_1", "name of a pod"),
            (PREFERRED_LEADER, "", "name of a pod"),
            (PREFERRED_LEADER, "db..1", "name of a pod"),
        ] {
            let full = labels(&[
                (LEADER_SERVICE_TYPE, "NodePort"),
                (LEADER_SERVICE_ANNOTATIONS, r#"{"a":"1"}"#),
                (LEADER_SERVICE_LABELS, r#"{"pool":"p"}"#),
                (LEADER_SERVICE_SOURCE_RANGES, "10.0.0.0/8"),
                (STICKY, "false"),
                (STRATEGY, "newest"),
                (MIN_READY_DURATION, "1s"),
                (FAILOVER_MIN_DELAY, "2s"),
                (PREFERRED_LEADER, "db-1"),
            ]);
            let edited = full
                .iter()
                .filter(|(k, _)| *k != key)
                .chain([(key, value)])
                .collect();
            let (settings, problems) = read(&edited, &last);
            assert_eq!(settings, last, "{key}={value}");
            assert_eq!(problems.len(), 1);
            let text = problems[0].to_string();
            assert!(text.contains(key) && text.contains(says), "{text}");
        }
    }

    #[test]
    fn unknown_keys_and_long_values_are_named_and_cut() {
        let long = "x".repeat(200);
        let (_, problems) = read(
            &labels(&[("zen-lead.io/stiky", &long)]),
            &Settings::default(),
        );
        let text = problems[0].to_string();
        assert!(
            text.contains("zen-lead.io/stiky") && text.contains(&format!("{}…", "x".repeat(64))),
            "{text}"
        );
        assert!(text.len() < 250, "{text}");
    }

    #[test]
    fn names_are_dns_labels_other_than_the_source() {
        let long_name = "x".repeat(64);
        let fits = "x".repeat(63);
        for (own, asked, good) in [
            ("a", None, Ok("a-leader")),
            ("a", Some("b"), Ok("b")),
            ("a", Some("1b"), Ok("1b")),
            ("a", Some(fits.as_str()), Ok(fits.as_str())),
            ("a", Some(long_name.as_str()), Err("DNS label")),
            ("a", Some(""), Err("DNS label")),
            ("a", Some("B"), Err("DNS label")),
            ("a", Some("-b"), Err("DNS label")),
            ("a", Some("b-"), Err("DNS label")),
            ("a", Some("b.c"), Err("DNS label")),
            ("a", Some("a"), Err("own name")),
            (&fits, None, Err("set zen-lead.io/leader-service-name")),
        ] {
            let mut source = Service::default();
            source.metadata.name = own.into();
            source.metadata.annotations = asked
                .iter()
                .map(|name| (LEADER_SERVICE_NAME, *name))
                .collect();
            match (requested_name(&source), good) {
                (Ok(name), Ok(good)) => assert_eq!(&*name, good),
                (Err(why), Err(says)) => assert!(why.contains(says), "{why}"),
                (got, _) => panic!("{own} {asked:?}: {got:?}"),
            }
        }
    }

    #[test]
    fn followers_have_a_name_only_on_request() {
        for (asked, good) in [
            (None, Ok(None)),
            (Some("b"), Ok(Some("b"))),
            (Some("B"), Err("followers-service-name has the value \"B\"")),
            (Some(""), Err("DNS label")),
            (
                Some("a"),
                Err("followers-service-name is the Service's own name"),
            ),
        ] {
            let mut source = Service::default();
            source.metadata.name = "a".into();
            let annotations: Labels = asked
                .iter()
                .map(|name| (FOLLOWERS_SERVICE_NAME, *name))
                .collect();
            assert_eq!(read(&annotations, &Settings::default()).1, [], "{asked:?}");
            source.metadata.annotations = annotations;
            match (followers_name(&source), good) {
                (Ok(name), Ok(good)) => assert_eq!(name.as_deref(), good),
                (Err(why), Err(says)) => assert!(why.contains(says), "{why}"),
                (got, _) => panic!("{asked:?}: {got:?}"),
            }
        }
    }
}
