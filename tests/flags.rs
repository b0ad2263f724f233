//! The command line and the environment: what is accepted, what is refused, and in which words.

use std::time::Duration;

use zen_lead::config::{Bind, Config, ConfigError, Exit, Flags, LogFormat, unknown_variables};
use zen_lead::logic::rate_limit::RateLimit;
use zen_lead::logic::reflect::Encoding;

/// Parses a command line that is written as one string, in an environment of `NAME=value` words.
fn config(args: &str, env: &[(&str, &str)]) -> Result<Config, Exit> {
    beside(None, args, env)
}

/// The same beside a kubeconfig whose context has that namespace.
fn beside(context: Option<&str>, args: &str, env: &[(&str, &str)]) -> Result<Config, Exit> {
    let args = args.split_whitespace().map(String::from);
    let variable = |name: &str| {
        let found = env.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Config::of(args, variable, |_| context.map(str::to_owned))
}

/// Outside a cluster, with the one flag that is needed there.
fn outside(args: &str, env: &[(&str, &str)]) -> Result<Config, Exit> {
    config(&format!("--leader-election-namespace=zl {args}"), env)
}

fn accepted(args: &str) -> Config {
    outside(args, &[]).unwrap_or_else(|exit| panic!("{args}: {exit:?}"))
}

fn line(result: Result<Config, Exit>) -> String {
    match result {
        Err(Exit::Wrong(error)) => error.to_string(),
        other => panic!("expected an error, got {other:?}"),
    }
}

fn printed(arg: &str) -> String {
    match Flags::parse([arg.to_owned()]) {
        Err(Exit::Print(text)) => text,
        other => panic!("expected a text, got {other:?}"),
    }
}

#[test]
fn defaults() {
    let config = accepted("");
    assert_eq!(config.metrics, Some(Bind::All(8080)));
    assert_eq!(config.probes, Some(Bind::All(8081)));
    assert_eq!(config.debug, Some(Bind::At(([127, 0, 0, 1], 8082).into())));
    assert_eq!(config.lease.name, "zen-lead-controller-leader-election");
    assert_eq!(config.lease.namespace, "zl");
    assert!(!config.lease.identity.is_empty());
    assert_eq!(config.lease.duration, Duration::from_secs(4));
    assert_eq!(config.lease.renew_deadline, Duration::from_secs(3));
    assert_eq!(config.lease.retry_period, Duration::from_secs(1));
    assert!(config.namespaces.is_empty() && config.mirror_prefixes.is_empty());
    assert!(
        config.follow_lease_namespaces.is_empty(),
        "§6: default none"
    );
    assert_eq!(config.services_per_namespace_max.map(u32::from), Some(1000));
    assert_eq!(config.writes_in_flight_max, 32);
    assert!(!config.keep_managed_fields, "§2: managedFields are cleared");
    assert_eq!(config.list_timeout, Duration::from_secs(10));
    assert_eq!(config.watch_encoding, Encoding::Protobuf);
    assert_eq!(config.collection_timeout, Duration::from_secs(5));
    assert_eq!(config.rate_limit, None);
    assert_eq!(config.fast_retry.delay_first, Duration::from_millis(20));
    assert_eq!(config.fast_retry.delay_max, Duration::from_millis(500));
    assert_eq!(config.fast_retry.attempts, 2);
    assert_eq!(config.per_service_histograms_max, 500);
    let guard = (config.failovers.per_service, config.failovers.global);
    assert_eq!(guard, (None, None), "§6: the storm guard is off by default");
    assert!(!config.leave_cordoned_nodes && config.node_leases.is_none());
    assert_eq!(config.log_format, LogFormat::Text);
    assert_eq!(config.log_level, "info");
    assert_eq!(config.kubeconfig, None);
    assert!(!config.in_cluster);
    assert!(config.notices.is_empty());
}

#[test]
fn every_form_of_a_flag() {
    for args in [
        "--qps 5 --burst 7",
        "--qps=5 --burst=7",
        "-qps 5 -burst=7",
        "--qps 9 --qps 5 --burst 7",
    ] {
        let limit = accepted(args).rate_limit.expect("a limit");
        assert_eq!(limit, RateLimit::per_second(5.0, 7), "{args}");
    }
    for args in [
        "--enable-parallel-api-calls",
        "-enable-parallel-api-calls",
        "--enable-parallel-api-calls=true",
        "--enable-parallel-api-calls=false --qps=0",
    ] {
        let expected = "--enable-parallel-api-calls has no effect: writes are always concurrent";
        assert_eq!(accepted(args).notices, [expected], "{args}");
    }
}

#[test]
fn a_flag_wins_over_its_variable() {
    let env = [
        ("ZEN_LEAD_QPS", "50"),
        ("ZEN_LEAD_BURST", "100"),
        ("ZEN_LEAD_NAMESPACES", "a, b,a"),
        ("ZEN_LEAD_LOG_FORMAT", ""),
    ];
    let config = outside("--qps=2.5", &env).expect("it is fine");
    let limit = config.rate_limit.expect("a limit");
    assert_eq!(limit, RateLimit::per_second(2.5, 100));
    assert_eq!(config.namespaces, ["a", "b"]);
    assert_eq!(config.log_format, LogFormat::Text, "empty: not given");
    let config = outside("--namespaces=", &env).expect("it is fine");
    assert!(config.namespaces.is_empty(), "an empty flag is the default");
    let config = outside("--qps=2.5", &[]).expect("it is fine");
    assert_eq!(config.rate_limit.map(|limit| limit.burst), Some(3));
}

#[test]
fn values() {
    let config = accepted(
        "--metrics-bind-address=0 --health-probe-bind-address=[::1]:9 --debug-bind-address 0 \
         --max-cache-size-per-namespace 0 --mirror-prefixes example.com,a.example.org/ \
         --lease-duration 15s --renew-deadline 10s --retry-period 2s --kubeconfig /tmp/k \
         --log-format json --log-level warn,zen_lead::shell=trace --leader-election-id x.y \
         --failover-budget-per-service 3 --failover-budget-global 7 --failover-budget-window 1m \
         --watch-encoding json --keep-managed-fields --leave-cordoned-nodes --node-lease-timeout=20s --node-lease-max-stalled-percent=50 \
         --follow-lease-namespaces=platform,team-a",
    );
    assert_eq!((config.metrics, config.debug), (None, None));
    assert_eq!(
        config.probes,
        Some(Bind::At("[::1]:9".parse().expect("an address")))
    );
    assert_eq!(config.services_per_namespace_max, None);
    assert_eq!(config.mirror_prefixes, ["example.com/", "a.example.org/"]);
    assert_eq!(config.follow_lease_namespaces, ["platform", "team-a"]);
    assert_eq!(config.lease.duration, Duration::from_secs(15));
    assert_eq!(config.kubeconfig, Some("/tmp/k".into()));
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(config.watch_encoding, Encoding::Json);
    assert_eq!(config.lease.name, "x.y");
    assert_eq!(
        config.failovers.per_service.map(|limit| limit.burst),
        Some(3)
    );
    let patience = config.node_leases.expect("a timeout");
    let expected = (Duration::from_secs(20), 50);
    assert_eq!((patience.timeout, patience.share_max), expected);
    assert!(config.leave_cordoned_nodes && config.keep_managed_fields);
    let limit = config.failovers.global.expect("a limit");
    assert_eq!(limit, RateLimit::per_window(7, Duration::from_mins(1)));
}

#[test]
fn in_a_pod() {
    let pod = [
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
        ("POD_NAMESPACE", "zl"),
        ("POD_NAME", "zl-1"),
    ];
    let config_of = |env: &[(&str, &str)]| config("", env);
    let found = config_of(&pod).expect("it is fine");
    assert!(found.in_cluster);
    assert_eq!(found.log_format, LogFormat::Json);
    assert_eq!(found.lease.namespace, "zl");
    assert_eq!(found.lease.identity, "zl-1");
    assert_eq!(
        line(config_of(&[pod[0], pod[2]])),
        "POD_NAMESPACE: missing, expected the pod's namespace (downward API, metadata.namespace)"
    );
    assert_eq!(
        line(config_of(&[pod[0], pod[1], ("POD_NAME", "")])),
        "POD_NAME: missing, expected the pod's name (downward API, metadata.name)"
    );
    assert_eq!(found.lease.pod_uid, None);
    let found = config_of(&[pod[0], pod[1], pod[2], ("POD_UID", "1f-2e")]);
    let uid = found.expect("it is fine").lease.pod_uid;
    assert_eq!(uid.as_deref(), Some("1f-2e"));
    assert_eq!(
        line(config_of(&[pod[0], pod[1], pod[2], ("POD_UID", "a_b")])),
        r#"POD_UID: got "a_b", expected the pod's uid (downward API, metadata.uid)"#
    );
}

/// Where the Lease is: by the flag, by the pod, and outside a cluster by the kubeconfig's context.
#[test]
fn the_namespace_of_the_lease() {
    let namespace = |found: Result<Config, Exit>| found.expect("it is fine").lease.namespace;
    let flag = "--leader-election-namespace=flag";
    let pod = [("POD_NAMESPACE", "pod")];
    let cluster = [("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("POD_NAME", "zl")];
    assert_eq!(namespace(beside(Some("context"), flag, &pod)), "flag");
    assert_eq!(namespace(beside(Some("context"), "", &pod)), "pod");
    assert_eq!(namespace(beside(Some("context"), "", &[])), "context");
    assert_eq!(
        line(beside(Some("context"), "", &cluster)),
        "POD_NAMESPACE: missing, expected the pod's namespace (downward API, metadata.namespace)"
    );
    assert_eq!(
        line(config("", &[])),
        "--leader-election-namespace: missing, expected a namespace for the Lease, since this is \
         no pod and there is no kubeconfig whose context has one"
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let lines = |args: &str, env: &[(&str, &str)]| {
        let text = line(config(args, env));
        let which = text
            .lines()
            .map(|line| line.split(": ").next().unwrap_or_default());
        which.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        lines("--qps=abc", &[]),
        ["--leader-election-namespace", "--qps"]
    );
    let args = "--qsp 5 --metrics-bind-address=x --debug-bind-address=:1 --burst=-1 word more \
                --status-page=maybe --namespaces=A --mirror-prefixes=a/b --leader-election-id=A \
                --follow-lease-namespaces=a/b \
                --lease-duration=soon --renew-deadline=9s --log-level=loud \
                --fast-retry-max-delay-ms=0 --node-lease-timeout=1s --failover-budget-window";
    let env = [
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
        ("ZEN_LEAD_LOG_FORMAT", "xml"),
        ("ZEN_LEAD_FAILOVER_BUDGET_GLOBAL", "many"),
    ];
    let mut found = lines(args, &env);
    found.sort();
    let mut expected = [
        "flag",
        "argument",
        "--metrics-bind-address",
        "--debug-bind-address",
        "--burst",
        "--status-page",
        "--namespaces",
        "--mirror-prefixes",
        "--follow-lease-namespaces",
        "--leader-election-id",
        // What depends on a wrong value is not judged: --renew-deadline may be right.
        "--lease-duration",
        "--log-level",
        "--fast-retry-max-delay-ms",
        "--node-lease-timeout",
        "--failover-budget-window",
        "POD_NAMESPACE",
        "POD_NAME",
        "ZEN_LEAD_LOG_FORMAT",
        "ZEN_LEAD_FAILOVER_BUDGET_GLOBAL",
    ];
    expected.sort_unstable();
    assert_eq!(found, expected);
    // Two that are too short, each by itself.
    let two = lines(
        "--lease-duration=0s --retry-period=1ms --leader-election-namespace=a",
        &[],
    );
    assert_eq!(two, ["--lease-duration", "--retry-period"]);
}

#[test]
fn what_is_wrong_fits_in_one_line() {
    for (args, expected) in [
        (
            "--qsp=5",
            r#"flag: got "--qsp=5", expected a flag of --help, perhaps --qps"#,
        ),
        (
            "--namespace=a",
            r#"flag: got "--namespace=a", expected a flag of --help, perhaps --namespaces"#,
        ),
        ("--zzz", r#"flag: got "--zzz", expected a flag of --help"#),
        ("--qps", "--qps: missing, expected --qps=<rate>"),
        (
            "--qps=fast",
            r#"--qps: got "fast", expected a number of requests a second from 0 to 100000"#,
        ),
        (
            "--qps -1",
            r#"--qps: got "-1", expected a number of requests a second from 0 to 100000"#,
        ),
        (
            "--qps NaN",
            r#"--qps: got "NaN", expected a number of requests a second from 0 to 100000"#,
        ),
        (
            "--burst=1.5",
            r#"--burst: got "1.5", expected a number of requests from 0 to 1000000"#,
        ),
        (
            "--max-concurrent-reconciles=0",
            r#"--max-concurrent-reconciles: got "0", expected a number of writes from 1 to 1024"#,
        ),
        (
            "--cache-update-timeout-seconds=10s",
            r#"--cache-update-timeout-seconds: got "10s", expected a number of seconds from 1 to 600"#,
        ),
        (
            "--lease-duration=5",
            r#"--lease-duration: got "5", expected a unit after the number, as in 300ms, 5s, 1m30s or 1.5h"#,
        ),
        (
            "--lease-duration=3s",
            r#"--lease-duration: got "3s", expected more than --renew-deadline (3s)"#,
        ),
        (
            "--lease-duration=4.5s",
            r#"--lease-duration: got "4.5s", expected whole seconds, since a Lease counts in seconds"#,
        ),
        (
            "--lease-duration=0s",
            r#"--lease-duration: got "0s", expected a duration from 1s to 1h"#,
        ),
        (
            "--retry-period=2.5s",
            r#"--retry-period: got "2.5s", expected less than 1/1.2 of --renew-deadline (3s)"#,
        ),
        (
            "--renew-deadline=5s",
            r#"--renew-deadline: got "5s", expected less than --lease-duration (4s)"#,
        ),
        (
            "--renew-deadline=2s --retry-period=2s",
            r#"--renew-deadline: got "2s", expected more than 1.2 times --retry-period (2s)"#,
        ),
        (
            "--retry-period=10ms",
            r#"--retry-period: got "10ms", expected a duration of at least 100ms"#,
        ),
        (
            "--failover-budget-window=0s",
            r#"--failover-budget-window: got "0s", expected a duration from 1s to 24h"#,
        ),
        (
            "--node-lease-timeout=5s",
            r#"--node-lease-timeout: got "5s", expected 0s for off, or a duration from 12s to 1h"#,
        ),
        (
            "--failover-budget-per-service=many",
            r#"--failover-budget-per-service: got "many", expected a number of failovers from 0 to 100000"#,
        ),
        (
            "--metrics-bind-address=8080",
            r#"--metrics-bind-address: got "8080", expected :port, IP:port, or 0 for off"#,
        ),
        (
            "--metrics-bind-address=:8081",
            r#"--metrics-bind-address: got ":8081", expected an address other than that of --health-probe-bind-address (:8081)"#,
        ),
        (
            "--debug-bind-address=:8082",
            r#"--debug-bind-address: got ":8082", expected a loopback address such as 127.0.0.1:8082, or 0 for off"#,
        ),
        (
            "--debug-bind-address=10.0.0.1:1",
            r#"--debug-bind-address: got "10.0.0.1:1", expected a loopback address such as 127.0.0.1:8082, or 0 for off"#,
        ),
        (
            "--namespaces=a,B",
            r#"--namespaces: got "a,B", expected names of namespaces (a-z, 0-9 and -, at most 63 characters), separated by commas"#,
        ),
        (
            "--follow-lease-namespaces=a,B",
            r#"--follow-lease-namespaces: got "a,B", expected names of namespaces (a-z, 0-9 and -, at most 63 characters), separated by commas"#,
        ),
        (
            "--mirror-prefixes=a/b",
            r#"--mirror-prefixes: got "a/b", expected prefixes of labels and annotations such as example.com, separated by commas"#,
        ),
        (
            "--mirror-prefixes=app.kubernetes.io",
            r#"--mirror-prefixes: got "app.kubernetes.io", expected no reserved prefix: app.kubernetes.io/ is never mirrored, since it is reserved for Kubernetes"#,
        ),
        (
            "--mirror-prefixes=example.com,argoproj.io",
            r#"--mirror-prefixes: got "example.com,argoproj.io", expected no reserved prefix: argoproj.io/ is never mirrored, since Argo CD tracks and prunes objects by it"#,
        ),
        (
            "--mirror-prefixes=networking.istio.io/",
            r#"--mirror-prefixes: got "networking.istio.io/", expected no reserved prefix: networking.istio.io/ is never mirrored, since Istio exports and merges Services by it"#,
        ),
        (
            "--log-level=verbose",
            r#"--log-level: got "verbose", expected error, warn, info, debug, trace or off, or per module as in info,zen_lead::shell=debug"#,
        ),
        (
            "--log-level=a=b",
            r#"--log-level: got "a=b", expected error, warn, info, debug, trace or off, or per module as in info,zen_lead::shell=debug"#,
        ),
        (
            "--log-format=xml",
            r#"--log-format: got "xml", expected json or text"#,
        ),
        (
            "--fast-retry-initial-delay-ms=600",
            r#"--fast-retry-initial-delay-ms: got "600", expected at most --fast-retry-max-delay-ms (500)"#,
        ),
        (
            "--enable-leader-pod-cache=maybe",
            r#"--enable-leader-pod-cache: got "maybe", expected true or false"#,
        ),
        (
            "--enable-leader-pod-cache false",
            r#"argument: got "false", expected --enable-leader-pod-cache=true or --enable-leader-pod-cache=false in one word"#,
        ),
        (
            "--qps=1 extra",
            r#"argument: got "extra", expected a flag, see --help"#,
        ),
        (
            "--leader-election-id=A",
            r#"--leader-election-id: got "A", expected the name of a Lease (a-z, 0-9, - and .)"#,
        ),
    ] {
        let text = line(outside(args, &[]));
        assert_eq!(text, expected, "{args}");
        assert!(!text.contains('\n'));
    }
    assert_eq!(
        line(config("explain my-app", &[("POD_NAMESPACE", "zl")])),
        r#"argument: got "explain", expected a flag, see --help; or a command as the first word, see zen-lead help"#
    );
    assert_eq!(
        line(outside("", &[("ZEN_LEAD_RETRY_PERIOD", "soon")])),
        r#"ZEN_LEAD_RETRY_PERIOD: got "soon", expected a duration such as 300ms, 5s, 1m30s or 1.5h"#,
        "a variable is named as such"
    );
}

#[test]
fn what_changes_nothing_is_said() {
    let notices = accepted(
        "--enable-leader-pod-cache=false --leader-pod-cache-ttl-seconds 30 --burst 100 \
         --enable-leader-groups",
    )
    .notices;
    assert_eq!(
        notices,
        [
            "--enable-leader-pod-cache has no effect: the store is always on and never stale by time",
            "--leader-pod-cache-ttl-seconds has no effect: the store is always on and never stale \
             by time",
            "--enable-leader-groups has no effect: there is no LeaderGroup resource, zen-lead \
             needs no CRD",
            "--burst has no effect without --qps: requests are not limited",
        ]
    );
}

#[test]
fn variables_that_are_not_ours() {
    let names = [
        "ZEN_LEAD_QPS",
        "ZEN_LEAD_QSP",
        "ZEN_LEAD_COLOUR",
        "ZEN_LEAD_SERVICE_HOST",
        "ZEN_LEAD_PORT_8080_TCP",
        "ZEN_LEAD_COMMIT",
        "PATH",
    ];
    assert_eq!(
        unknown_variables(names.map(String::from)),
        [
            "ZEN_LEAD_COLOUR is not a variable of zen-lead, see --help",
            "ZEN_LEAD_QSP is not a variable of zen-lead, perhaps ZEN_LEAD_QPS is meant",
        ]
    );
}

#[test]
fn help_and_version() {
    let help = printed("--help");
    for form in ["-h", "-help"] {
        assert_eq!(printed(form), help);
    }
    for line in help.lines() {
        let long = line.starts_with("  --"); // a flag and its variable stay on one line
        assert!(long || line.chars().count() <= 80, "{line}");
        assert_eq!(line.trim_end(), line);
    }
    let version = printed("--version");
    assert!(version.starts_with(concat!("zen-lead ", env!("CARGO_PKG_VERSION"), " (commit ")));
    assert_eq!(version.lines().count(), 1);
}

/// The defaults that `--help` states are the ones that are used, and every flag has a variable.
#[test]
fn help_tells_the_truth() {
    let help = printed("--help");
    let default = accepted("");
    let mut flags = 0;
    for section in help.split("\n  --").skip(1) {
        let (head, about) = section.split_once('\n').unwrap_or((section, ""));
        let name = head.split_whitespace().next().expect("a name");
        if ["version", "help,"].contains(&name) {
            continue;
        }
        flags += 1;
        let variable = format!("ZEN_LEAD_{}", name.replace('-', "_").to_uppercase());
        assert!(head.ends_with(&format!("({variable})")), "{head}");
        let about = about.split_whitespace().collect::<Vec<_>>().join(" ");
        let Some((_, stated)) = about.split_once("[default: ") else {
            assert!(name.contains("leader-pod-cache") || name.starts_with("enable-"));
            continue;
        };
        let stated = stated.split_once(']').expect("a closing bracket").0;
        if ["all", "none", "that", "json", "KUBECONFIG,"]
            .contains(&stated.split(' ').next().expect("a word"))
        {
            continue;
        }
        assert_eq!(accepted(&format!("--{name}={stated}")), default, "{name}");
        let env = [(variable.as_str(), stated)];
        assert_eq!(outside("", &env), Ok(default.clone()), "{name}");
    }
    assert!(flags > 25, "only {flags} found: is this test reading?");
}

#[test]
fn errors_are_one_line() {
    let error = ConfigError {
        which: "--qps".into(),
        given: Some("1\n2".into()),
        expected: "expected a number".into(),
    };
    assert_eq!(error.to_string(), r#"--qps: got "1\n2", expected a number"#);
}
