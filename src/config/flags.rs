//! What was typed: the command line as argh reads it, in the forms that Go programs accept.

use argh::{ArgsInfo, FromArgs};

use super::help::{help, version};
use super::{ConfigError, Exit, Mistakes};

const PREFIX: &str = "ZEN_LEAD_";

/// The value name by which argh's table tells a boolean, so that `--x` alone means true.
pub(super) const BOOLEAN: &str = "true|false";

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
    /// separated by commas: example.com,example.org; reserved ones like kubernetes.io or argoproj.io
    /// are refused [default: none]
    #[argh(option, arg_name = "prefixes")]
    pub mirror_prefixes: Option<String>,
    /// opted-in Services served per namespace, 0 to 1000000, 0 = unlimited; one over it gets a
    /// Warning event [default: 1000]
    #[argh(option, arg_name = "count")]
    pub max_cache_size_per_namespace: Option<String>,
    /// namespaces with Leases that a Service of another namespace may follow, separated by commas;
    /// needs the right to list and watch Leases there [default: none]
    #[argh(option, arg_name = "names")]
    pub follow_lease_namespaces: Option<String>,

    /// notReady failovers of one Service within --failover-budget-window, 0 to 100000, 0 = any
    /// number; over it a leader is kept while it has an address, Ready or not [default: 0]
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
    /// namespace of the Lease [default: that of the pod, POD_NAMESPACE; outside a cluster that of the
    /// kubeconfig's context]
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
    /// keep the managedFields of EndpointSlices, which are cleared otherwise: patches then take the
    /// API server longer [default: false]
    #[argh(option, arg_name = "true|false")]
    pub keep_managed_fields: Option<String>,
    /// what watches ask the API server for: protobuf or json; the server may answer in JSON anyway
    /// [default: protobuf]
    #[argh(option, arg_name = "encoding")]
    pub watch_encoding: Option<String>,
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
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) value: &'static str,
    pub(super) about: &'static str,
}

pub(super) fn known() -> impl Iterator<Item = Flag> {
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
    ///
    /// # Errors
    ///
    /// A requested text such as the help, or one error for each invalid argument.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, Exit> {
        match Self::read(args)? {
            (flags, wrong) if wrong.is_empty() => Ok(flags),
            (_, wrong) => Err(Mistakes(wrong).into()),
        }
    }

    /// Reads the flags. Returns those that can be used, and an error for each one that cannot.
    pub(super) fn read(
        args: impl IntoIterator<Item = String>,
    ) -> Result<(Self, Vec<ConfigError>), Exit> {
        let (mut typed, mut wrong) = (Vec::<(&'static str, String)>::new(), Vec::new());
        // Only the first of several unexpected words in a row is reported.
        let mut is_astray = false;
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let Some(name) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
                if !is_astray {
                    wrong.push(stray(&arg, typed.last().map(|(name, _)| *name)));
                }
                is_astray = true;
                continue;
            };
            is_astray = false;
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
                is_astray = value.is_none();
                wrong.push(unknown(&arg, name));
                continue;
            };
            let value = match value {
                None if flag.value == BOOLEAN => Some("true".into()),
                None => args.next(),
                value => value,
            };
            let Some(value) = value else {
                wrong.push(ConfigError {
                    which: format!("--{}", flag.name),
                    given: None,
                    expected: format!("expected --{}=<{}>", flag.name, flag.value),
                });
                continue;
            };
            typed.retain(|(other, _)| *other != flag.name);
            typed.push((flag.name, value));
        }
        let flags = Self::of(typed).unwrap_or_else(|error| {
            wrong.push(error);
            Self::default()
        });
        Ok((flags, wrong))
    }

    fn of(typed: Vec<(&'static str, String)>) -> Result<Self, ConfigError> {
        let words: Vec<String> = typed
            .into_iter()
            .flat_map(|(name, value)| [format!("--{name}"), value])
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        // Every word was looked up in argh's own table, so an error says something about argh.
        Self::from_args(&["zen-lead"], &words).map_err(|early| ConfigError {
            which: "command line".into(),
            given: Some(words.join(" ")),
            expected: early.output.lines().next().unwrap_or_default().into(),
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
}
