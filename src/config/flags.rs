//! What was typed: the command line as argh reads it, in the forms that Go programs accept.

use argh::{ArgsInfo, FromArgs};

use super::{BUILD, ConfigError, Exit};

const PREFIX: &str = "ZEN_LEAD_";

/// The value name by which argh's table tells a boolean, so that `--x` alone means true.
const BOOLEAN: &str = "true|false";

/// Flags to look for under a heading of `--help`: the first flag of each group.
const HEADINGS: [(&str, &str); 7] = [
    ("namespaces", "What is served"),
    ("failover-budget-per-service", "Storm guard"),
    ("leave-cordoned-nodes", "Nodes"),
    ("metrics-bind-address", "Addresses"),
    ("leader-election-id", "Two replicas, one writer"),
    ("max-concurrent-reconciles", "Requests to the API server"),
    ("log-level", "Observing and connecting"),
];

/// Heading of the flags that only the Go program knows what to do with.
const LEGACY: (&str, &str) = (
    "enable-leader-pod-cache",
    "Accepted from the Go program, without effect",
);

#[expect(
    clippy::doc_markdown,
    reason = "argh prints these comments as they are"
)]
/// What was typed, each flag as the text after it. Nothing is checked yet.
#[derive(ArgsInfo, FromArgs, Clone, Debug, Default, PartialEq, Eq)]
#[argh(description = "Network-level single-active routing for Kubernetes.")]
pub struct Flags {
    /// namespaces to watch, separated by commas [default: all]
    #[argh(option, arg_name = "names")]
    pub namespaces: Option<String>,
    /// prefixes of labels and annotations that leader Services take over from their source,
    /// separated by commas: example.com,example.org; reserved ones like kubernetes.io are refused
    /// [default: none]
    #[argh(option, arg_name = "prefixes")]
    pub mirror_prefixes: Option<String>,
    /// opted-in Services served per namespace, 0 to 1000000, 0 = unlimited; one over it gets a
    /// Warning event [default: 1000]
    #[argh(option, arg_name = "count")]
    pub max_cache_size_per_namespace: Option<String>,

    /// notReady failovers of one Service within --failover-budget-window, 0 to 100000, 0 = any
    /// number; over it a leader is kept while it has an address [default: 10]
    #[argh(option, arg_name = "count")]
    pub failover_budget_per_service: Option<String>,
    /// the same for all Services together, 0 = any number [default: 0]
    #[argh(option, arg_name = "count")]
    pub failover_budget_global: Option<String>,
    /// time in which an empty budget is filled again, from 1s to 24h [default: 10m]
    #[argh(option, arg_name = "duration")]
    pub failover_budget_window: Option<String>,

    /// leaders on nodes that are cordoned or tainted for their deletion hand over while they serve;
    /// needs the right to read nodes [default: false]
    #[argh(option, arg_name = "true|false")]
    pub leave_cordoned_nodes: Option<String>,
    /// a node whose Lease was not renewed for so long counts as down, 12s to 1h, 0s = off; needs the
    /// right to read Leases in kube-node-lease [default: 0s]
    #[argh(option, arg_name = "duration")]
    pub node_lease_timeout: Option<String>,
    /// if more than this share of the nodes falls silent together, none moves, 0 to 100 [default: 30]
    #[argh(option, arg_name = "percent")]
    pub node_lease_max_stalled_percent: Option<String>,

    /// where /metrics is served: :port on all interfaces, IP:port on one, 0 = off
    /// [default: :8080]
    #[argh(option, arg_name = "address")]
    pub metrics_bind_address: Option<String>,
    /// where /healthz and /readyz are served, 0 = off [default: :8081]
    #[argh(option, arg_name = "address")]
    pub health_probe_bind_address: Option<String>,
    /// where /debug/state is served, loopback only, 0 = off [default: 127.0.0.1:8082]
    #[argh(option, arg_name = "address")]
    pub debug_bind_address: Option<String>,

    /// name of the Lease [default: zen-lead-controller-leader-election]
    #[argh(option, arg_name = "name")]
    pub leader_election_id: Option<String>,
    /// namespace of the Lease; needed outside a cluster [default: that of the pod, POD_NAMESPACE]
    #[argh(option, arg_name = "name")]
    pub leader_election_namespace: Option<String>,
    /// how long a holder of the Lease that went silent is waited for, whole seconds from 1s to 1h,
    /// more than --renew-deadline [default: 4s]
    #[argh(option, arg_name = "duration")]
    pub lease_duration: Option<String>,
    /// a holder that could not renew for this long stops writing, more than 1.2 times
    /// --retry-period [default: 3s]
    #[argh(option, arg_name = "duration")]
    pub renew_deadline: Option<String>,
    /// time between two renewals, from 100ms [default: 1s]
    #[argh(option, arg_name = "duration")]
    pub retry_period: Option<String>,

    /// writes in flight, 1 to 1024, beside 64 for failovers; beyond 32 both may queue [default: 32]
    #[argh(option, arg_name = "count")]
    pub max_concurrent_reconciles: Option<String>,
    /// requests a second for everything but failover writes, 0 to 100000, 0 = no limit of our own
    /// [default: 0]
    #[argh(option, arg_name = "rate")]
    pub qps: Option<String>,
    /// requests at once under --qps, 0 to 1000000, 0 = what one second allows [default: 0]
    #[argh(option, arg_name = "count")]
    pub burst: Option<String>,
    /// how long a list may take, 1 to 600 seconds [default: 10]
    #[argh(option, arg_name = "seconds")]
    pub cache_update_timeout_seconds: Option<String>,
    /// delay before the first retry of a write, 1 to 60000 milliseconds [default: 20]
    #[argh(option, arg_name = "milliseconds")]
    pub fast_retry_initial_delay_ms: Option<String>,
    /// bound of that delay, up to 60000 milliseconds, at least the first one [default: 500]
    #[argh(option, arg_name = "milliseconds")]
    pub fast_retry_max_delay_ms: Option<String>,
    /// quick attempts of a write, 1 to 20; then the ordinary back-off takes over, which never gives
    /// up [default: 2]
    #[argh(option, arg_name = "count")]
    pub fast_retry_max_attempts: Option<String>,

    /// error, warn, info, debug, trace or off, also per module: info,zen_lead::shell=debug
    /// [default: info]
    #[argh(option, arg_name = "level")]
    pub log_level: Option<String>,
    /// json or text [default: json in a cluster, text elsewhere]
    #[argh(option, arg_name = "format")]
    pub log_format: Option<String>,
    /// how long a scrape of /metrics may take, 1 to 600 seconds [default: 5]
    #[argh(option, arg_name = "seconds")]
    pub metrics_collection_timeout_seconds: Option<String>,
    /// serve a read-only page that shows who leads, live, at / of the metrics port [default: true]
    #[argh(option, arg_name = "true|false")]
    pub status_page: Option<String>,
    /// above this many Services, histograms are no longer kept per Service, 0 to 100000
    /// [default: 500]
    #[argh(option, arg_name = "count")]
    pub per_service_histograms_max: Option<String>,
    /// kubeconfig to use [default: KUBECONFIG, then ~/.kube/config, then the pod's own account]
    #[argh(option, arg_name = "path")]
    pub kubeconfig: Option<String>,

    /// the store is always on
    #[argh(option, arg_name = "true|false")]
    pub enable_leader_pod_cache: Option<String>,
    /// the store is never stale by time
    #[argh(option, arg_name = "seconds")]
    pub leader_pod_cache_ttl_seconds: Option<String>,
    /// writes are always concurrent
    #[argh(option, arg_name = "true|false")]
    pub enable_parallel_api_calls: Option<String>,
    /// there is no LeaderGroup resource
    #[argh(option, arg_name = "true|false")]
    pub enable_leader_groups: Option<String>,
}

/// One flag as argh's own table tells it.
#[derive(Clone, Copy)]
struct Flag {
    name: &'static str,
    value: &'static str,
    about: &'static str,
}

fn known() -> impl Iterator<Item = Flag> {
    Flags::get_args_info().flags.iter().filter_map(|flag| {
        let argh::FlagInfoKind::Option { arg_name: value } = flag.kind else {
            return None; // argh's own --help
        };
        Some(Flag {
            name: flag.long.trim_start_matches('-'),
            value,
            about: flag.description,
        })
    })
}

/// The environment variable of a flag: `qps` has `ZEN_LEAD_QPS`.
#[must_use]
pub fn variable_of(flag: &str) -> String {
    let name = flag.replace('-', "_").to_ascii_uppercase();
    format!("{PREFIX}{name}")
}

impl Flags {
    /// Reads the arguments after the program's name: `--flag value`, `--flag=value`, one dash or
    /// two, booleans as `--x` or `--x=false`; of a flag that comes twice the last one counts.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, Exit> {
        let mut typed: Vec<(&'static str, String)> = Vec::new();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let Some(name) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
                return Err(stray(&arg, typed.last().map(|(name, _)| *name)).into());
            };
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            match name {
                "h" | "help" => return Err(Exit::Print(help())),
                "version" => return Err(Exit::Print(version())),
                _ => {}
            }
            let Some(flag) = known().find(|flag| flag.name == name) else {
                return Err(unknown(&arg, name).into());
            };
            let value = match value {
                Some(value) => value,
                None if flag.value == BOOLEAN => "true".into(),
                None => args.next().ok_or_else(|| ConfigError {
                    which: format!("--{}", flag.name),
                    given: None,
                    expected: format!("expected --{}=<{}>", flag.name, flag.value),
                })?,
            };
            typed.retain(|(other, _)| *other != flag.name);
            typed.push((flag.name, value));
        }
        let words: Vec<String> = typed
            .into_iter()
            .flat_map(|(name, value)| [format!("--{name}"), value])
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Self::from_args(&["zen-lead"], &words).map_err(|early| {
            // Every word was looked up in argh's own table, so this says something about argh.
            Exit::Wrong(ConfigError {
                which: "command line".into(),
                given: Some(words.join(" ")),
                expected: early.output.lines().next().unwrap_or_default().into(),
            })
        })
    }
}

/// A word that belongs to no flag. A command stands first, and is told apart before flags are read.
fn stray(word: &str, after: Option<&'static str>) -> ConfigError {
    let flag = after.and_then(|name| known().find(|flag| flag.name == name));
    let expected = match flag {
        Some(flag) if flag.value == BOOLEAN => {
            format!("expected --{}=true or --{0}=false in one word", flag.name)
        }
        Some(_) => "expected a flag, see --help".into(),
        None => {
            "expected a flag, see --help; or a command as the first word, see zen-lead help".into()
        }
    };
    ConfigError {
        which: "argument".into(),
        given: Some(word.into()),
        expected,
    }
}

fn unknown(arg: &str, name: &str) -> ConfigError {
    let expected = match nearest(name, known().map(|flag| flag.name)) {
        Some(near) => format!("expected a flag of --help, perhaps --{near}"),
        None => "expected a flag of --help".into(),
    };
    ConfigError {
        which: "flag".into(),
        given: Some(arg.into()),
        expected,
    }
}

/// What to say about variables that look like ours and are not, each with the nearest known name.
///
/// A Service called `zen-lead` or `zen-lead-…` in the same namespace makes the kubelet set
/// `ZEN_LEAD_SERVICE_HOST`, `ZEN_LEAD_PORT_8080_TCP_ADDR` and the like: those are left out.
#[must_use]
pub fn unknown_variables(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let ours: Vec<String> = known().map(|flag| variable_of(flag.name)).collect();
    let mut unknown: Vec<String> = names
        .into_iter()
        .filter(|name| name.starts_with(PREFIX))
        .filter(|name| !ours.contains(name) && !is_service_link(name))
        .filter(|name| !matches!(&name[PREFIX.len()..], "COMMIT" | "BUILD_DATE"))
        .collect();
    unknown.sort();
    unknown
        .into_iter()
        .map(
            |name| match nearest(&name, ours.iter().map(String::as_str)) {
                Some(near) => {
                    format!("{name} is not a variable of zen-lead, perhaps {near} is meant")
                }
                None => format!("{name} is not a variable of zen-lead, see --help"),
            },
        )
        .collect()
}

fn is_service_link(name: &str) -> bool {
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let link = |text: &str| {
        let mut parts = text.split('_');
        let port = parts.next().is_some_and(is_port);
        let protocol = matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"));
        port && protocol && matches!(parts.next(), None | Some("PROTO" | "PORT" | "ADDR"))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.ends_with("_PORT")
        || name
            .split_once("_PORT_")
            .is_some_and(|(_, rest)| link(rest))
}

/// The candidate that is few typing errors away, if any is.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let bound = 2 + word.len() / 10;
    candidates
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(far, candidate)| *far <= bound || candidate.ends_with(&format!("-{word}")))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substitute = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The text of `--version`.
fn version() -> String {
    let build = BUILD;
    format!(
        "zen-lead {} (commit {}, built {})\n",
        build.version, build.commit, build.date
    )
}

/// The text of `--help`: argh's table, with headings and the environment beside each flag.
fn help() -> String {
    let mut text = format!(
        "zen-lead {}: network-level single-active routing for Kubernetes

Usage: zen-lead [--flag value]...      runs the controller
       zen-lead <command> [options]    looks and steers, see zen-lead help

A Service annotated zen-lead.io/enabled=\"true\" gets a <name>-leader Service that
routes to exactly one ready pod. Each flag can be given as --flag value or
--flag=value, or as the environment variable beside it; a flag wins over its
variable, and an empty value counts as not given. Durations as in Go: 300ms, 5s,
1m30s. In a pod, POD_NAMESPACE and POD_NAME must be set (downward API).
",
        BUILD.version
    );
    for flag in known() {
        if let Some((_, heading)) = HEADINGS
            .iter()
            .chain([&LEGACY])
            .find(|(first, _)| *first == flag.name)
        {
            text.extend(["\n", heading, "\n"]);
        }
        let form = match flag.value {
            BOOLEAN => format!("--{}", flag.name),
            value => format!("--{} <{value}>", flag.name),
        };
        text.extend(["  ", &form, "  (", &variable_of(flag.name), ")\n"]);
        wrap(flag.about, "        ", &mut text);
    }
    text + "\n  --version\n        version, commit and build date\n  --help, -h\n        this text\n"
}

/// Appends `words` in lines of at most 80 characters.
fn wrap(words: &str, indent: &str, out: &mut String) {
    let mut line = String::new();
    for word in words.split_whitespace() {
        if !line.is_empty() && indent.len() + line.len() + 1 + word.len() > 80 {
            out.extend([indent, &line, "\n"]);
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    out.extend([indent, &line, "\n"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, far) in [
            ("", "", 0),
            ("qps", "qps", 0),
            ("qbs", "qps", 1),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), far, "{a} {b}");
            assert_eq!(distance(b, a), far, "{b} {a}");
        }
    }

    #[test]
    fn service_links_are_not_mistaken_for_variables() {
        for name in [
            "ZEN_LEAD_SERVICE_HOST",
            "ZEN_LEAD_SERVICE_PORT",
            "ZEN_LEAD_SERVICE_PORT_HTTP_METRICS",
            "ZEN_LEAD_PORT",
            "ZEN_LEAD_PORT_8080_TCP",
            "ZEN_LEAD_PORT_8080_TCP_ADDR",
            "ZEN_LEAD_METRICS_PORT_8080_TCP_PROTO",
        ] {
            assert!(is_service_link(name), "{name}");
        }
        for flag in known() {
            assert!(!is_service_link(&variable_of(flag.name)), "{}", flag.name);
        }
        assert!(!is_service_link("ZEN_LEAD_PORT_RANGE"));
    }

    #[test]
    fn headings_name_flags() {
        for (first, _) in HEADINGS.iter().chain([&LEGACY]) {
            assert!(known().any(|flag| flag.name == *first), "{first}");
        }
    }
}
