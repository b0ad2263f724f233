//! §6: flags, probes, metrics, signals.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::harness::api::Kind::{Service, Slice};
use crate::harness::controller::binary;
use crate::harness::objects::Svc;
use crate::harness::test::Test;
use crate::harness::{SHORT, SOON, scrape};
use crate::scenarios;

scenarios! {
    Own Both probes_metrics_and_debug_state "§6 /healthz /readyz" "§5 metrics" "/debug/state";
    Own Both metrics_count_what_happens "§5 metrics, a series goes when its Service goes";
    Own Both term_ends_within_two_seconds "§6 SIGTERM" "§6 routing does not change when it stops";
    Own Both flags_that_are_wrong "§6 a bad flag or variable: one line, exit 2";
    Own Both ports_that_are_taken "§6 a debug port that is taken is a warning" "§6 the others are an end";
    Own Both flags_and_environment "§6 --flag value, --flag=value, -flag, ZEN_LEAD_<FLAG>";
    Own Both no_api_server_is_waited_for "§6 no API server: retry, /readyz 503, /healthz 200";
    Own Both namespaces_by_flag "§6 --namespaces";
    Own Both over_the_limit_of_a_namespace "§6 --max-cache-size-per-namespace";
}

/// The names that dashboards of the Go program rely on, and the new ones.
const METRICS: [&str; 34] = [
    "zen_lead_leader_duration_seconds",
    "zen_lead_failover_count_total",
    "zen_lead_reconciliation_duration_seconds",
    "zen_lead_pods_available",
    "zen_lead_port_resolution_failures_total",
    "zen_lead_reconciliation_errors_total",
    "zen_lead_leader_services_total",
    "zen_lead_endpointslices_total",
    "zen_lead_sticky_leader_hits_total",
    "zen_lead_sticky_leader_misses_total",
    "zen_lead_leader_selection_attempts_total",
    "zen_lead_leader_pod_age_seconds",
    "zen_lead_leader_service_without_endpoints",
    "zen_lead_reconciliations_total",
    "zen_lead_leader_stable",
    "zen_lead_endpoint_write_errors_total",
    "zen_lead_retry_attempts_total",
    "zen_lead_retry_success_after_retry_total",
    "zen_lead_cache_size",
    "zen_lead_cache_update_duration_seconds",
    "zen_lead_cache_hits_total",
    "zen_lead_cache_misses_total",
    "zen_lead_timeout_occurrences_total",
    "zen_lead_failover_latency_seconds",
    "zen_lead_api_call_duration_seconds",
    "zen_lead_build_info",
    "zen_lead_state",
    "zen_lead_decision_latency_seconds",
    "zen_lead_watch_restarts_total",
    "zen_lead_watch_lag_seconds",
    "zen_lead_is_active",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
];

async fn probes_metrics_and_debug_state(t: Arc<Test>) -> Result<()> {
    let controller = t.controller(&[]).await?;
    let pods = t.served("web", 2).await?;
    t.ready(&pods[0], false).await?;
    t.leads("web-leader", &pods[1]).await?;
    for path in ["/healthz", "/readyz"] {
        let (code, body) = scrape::get(controller.probes_port, path).await?;
        ensure!(code == 200, "{path}: {code} {body}");
    }
    let (code, page) = scrape::get(controller.metrics_port, "/metrics").await?;
    ensure!(code == 200);
    ensure!(page.trim_end().ends_with("# EOF"), "not OpenMetrics");
    // A family without a sample yet shows its name in the header; counters without `_total`.
    let missing: Vec<_> = METRICS
        .iter()
        .filter(|name| {
            let family = name.strip_suffix("_total").or(name.strip_suffix("_info"));
            let family = family.unwrap_or(name);
            !page.contains(&format!("# TYPE {name} "))
                && !page.contains(&format!("# TYPE {family} "))
        })
        .collect();
    ensure!(missing.is_empty(), "/metrics lacks {missing:?}");
    let path = format!("/debug/state?service={}/web", t.ns);
    let (code, state) = scrape::get(controller.debug_port, &path).await?;
    ensure!(code == 200, "{path}: {code} {state}");
    let state: Value = serde_json::from_str(&state).context("/debug/state is no JSON")?;
    let shown = state.to_string();
    ensure!(
        shown.contains("web-1") && shown.contains("Serving"),
        "it shows {shown}"
    );
    let unknown = scrape::get(controller.debug_port, "/debug/state?service=no/such").await?;
    ensure!(unknown.0 == 404, "{unknown:?}");
    Ok(())
}

async fn metrics_count_what_happens(t: Arc<Test>) -> Result<()> {
    let controller = t.controller(&[]).await?;
    let pods = t.served("web", 2).await?;
    t.ready(&pods[0], false).await?;
    t.identified("web-leader", &pods[1]).await?;
    t.delete_pod(&pods[1], 0).await?;
    t.empties("web-leader").await?;
    t.event("web", "NoReadyPods", &["web-1 to none"]).await?;
    let of = [("namespace", t.ns.as_str()), ("service", "web")];
    let metrics = controller.metrics().await?;
    let count = |reason: &'static str| {
        let labels = [of[0], of[1], ("reason", reason)];
        metrics.sum("zen_lead_failover_count_total", &labels)
    };
    ensure!(
        count("notReady") == Some(1.0),
        "notReady: {:?}",
        count("notReady")
    );
    ensure!(
        count("deleted") == Some(1.0),
        "deleted: {:?}",
        count("deleted")
    );
    let gauge = |name: &str| metrics.sum(name, &of);
    ensure!(gauge("zen_lead_leader_service_without_endpoints") == Some(1.0));
    ensure!(gauge("zen_lead_pods_available") == Some(0.0));
    ensure!(gauge("zen_lead_leader_stable") == Some(0.0));
    let in_namespace = metrics.sum("zen_lead_leader_services_total", &of[..1]);
    ensure!(
        in_namespace == Some(1.0),
        "leader Services: {in_namespace:?}"
    );
    let latencies = metrics.sum("zen_lead_failover_latency_seconds_count", &of);
    ensure!(latencies == Some(2.0), "latencies: {latencies:?}");
    let state =
        |name: &'static str| metrics.sum("zen_lead_state", &[of[0], of[1], ("state", name)]);
    ensure!(
        state("Electing") == Some(1.0),
        "Electing: {:?}",
        state("Electing")
    );
    t.delete(Service, "web").await?;
    t.withdrawn("web-leader").await?;
    let deadline = Instant::now() + SOON;
    loop {
        let metrics = controller.metrics().await?;
        let left: Vec<_> = metrics
            .0
            .iter()
            .filter(|sample| {
                sample
                    .labels
                    .get("service")
                    .is_some_and(|name| name == "web")
            })
            .map(|sample| sample.name.as_str())
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "series of a deleted Service stay: {left:?}"
        );
        tokio::time::sleep(SHORT).await;
    }
}

async fn term_ends_within_two_seconds(t: Arc<Test>) -> Result<()> {
    let mut controller = t.controller(&[]).await?;
    t.served("web", 2).await?;
    let service = t.exists(Service, "web-leader").await?;
    let slice = t.exists(Slice, "web-leader").await?;
    let from = Instant::now();
    controller.stop().await?;
    let took = from.elapsed();
    t.say(format!("ended after {took:.1?}"));
    ensure!(took < Duration::from_secs(2), "it took {took:?}");
    t.untouched(Service, &service)?;
    t.untouched(Slice, &slice)
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Ran> {
    let running = Command::new(binary())
        .env_clear()
        .args(arguments)
        .envs(variables.iter().copied())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(SOON, running)
        .await
        .context("it does not end")??;
    Ok(Ran {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

async fn flags_that_are_wrong(_: Arc<Test>) -> Result<()> {
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a [&'a str]);
    let cases: [Case<'_>; 9] = [
        (&["--qps=fast"], &[], &["qps", "fast"]),
        (&["--lease-duration", "4"], &[], &["lease-duration", "4"]),
        (
            &["--max-concurrent-reconciles", "0"],
            &[],
            &["max-concurrent-reconciles", "0"],
        ),
        (
            &["--metrics-bind-address=nowhere"],
            &[],
            &["metrics-bind-address", "nowhere"],
        ),
        (&["--log-format", "xml"], &[], &["log-format", "xml"]),
        (&["--no-such-flag"], &[], &["no-such-flag"]),
        (
            &["--namespaces", "Not_A_Name"],
            &[],
            &["namespaces", "Not_A_Name"],
        ),
        (
            &["--mirror-prefixes", "kubernetes.io"],
            &[],
            &["mirror-prefixes", "kubernetes.io"],
        ),
        (
            &[],
            &[("ZEN_LEAD_BURST", "many")],
            &["ZEN_LEAD_BURST", "many"],
        ),
    ];
    for (arguments, variables, words) in cases {
        let arguments = [&["--leader-election-namespace=default"], arguments].concat();
        let ran = run(&arguments, variables).await?;
        let told = format!("{}{}", ran.out, ran.err);
        ensure!(
            ran.code == Some(2),
            "{arguments:?} {variables:?}: exit {:?}",
            ran.code
        );
        ensure!(
            told.trim_end().lines().count() == 1,
            "{arguments:?}: not one line: {told}"
        );
        ensure!(
            words.iter().all(|word| told.contains(word)),
            "{arguments:?}: {told}"
        );
    }
    // All of them at once: one by the command line, one by the environment, one that is missing.
    let ran = run(&["--qps=abc"], &[("ZEN_LEAD_BURST", "many")]).await?;
    ensure!(ran.code == Some(2), "exit {:?}", ran.code);
    let told: Vec<&str> = ran.err.lines().collect();
    ensure!(told.len() == 3, "{told:?}");
    for which in [
        "--leader-election-namespace: ",
        "--qps: ",
        "ZEN_LEAD_BURST: ",
    ] {
        let line = format!("zen-lead: {which}");
        ensure!(told.iter().any(|told| told.starts_with(&line)), "{told:?}");
    }
    Ok(())
}

async fn ports_that_are_taken(t: Arc<Test>) -> Result<()> {
    let first = t.controller(&[]).await?;
    let at = |flag: &str, port: u16| format!("--{flag}-bind-address=127.0.0.1:{port}");
    let debug = at("debug", first.debug_port);
    let second = t.controller(&[&debug]).await?;
    let said = second.printed();
    ensure!(
        said.contains("/debug/state is not served"),
        "it says nothing: {said}"
    );
    for (flag, port) in [
        ("health-probe", first.probes_port),
        ("metrics", first.metrics_port),
    ] {
        let mut third = t.launch(&[&at(flag, port)])?;
        let status = third.ended(SOON).await?;
        ensure!(status.code() == Some(1), "{flag}: {status}");
    }
    Ok(())
}

async fn flags_and_environment(t: Arc<Test>) -> Result<()> {
    let help = run(&["--help"], &[]).await?;
    ensure!(help.code == Some(0));
    for flag in [
        "metrics-bind-address",
        "health-probe-bind-address",
        "leader-election-id",
        "namespaces",
        "max-cache-size-per-namespace",
        "max-concurrent-reconciles",
        "qps",
        "burst",
        "cache-update-timeout-seconds",
        "metrics-collection-timeout-seconds",
        "mirror-prefixes",
        "follow-lease-namespaces",
        "fast-retry-initial-delay-ms",
        "fast-retry-max-delay-ms",
        "fast-retry-max-attempts",
        "per-service-histograms-max",
        "lease-duration",
        "renew-deadline",
        "retry-period",
        "log-format",
        "log-level",
        "enable-leader-pod-cache",
        "leader-pod-cache-ttl-seconds",
        "enable-parallel-api-calls",
    ] {
        ensure!(
            help.out.contains(&format!("--{flag}")),
            "--help lacks --{flag}"
        );
    }
    ensure!(
        help.out.contains("ZEN_LEAD_"),
        "--help does not speak of the environment"
    );
    let version = run(&["--version"], &[]).await?;
    ensure!(version.code == Some(0) && version.out.contains(env!("CARGO_PKG_VERSION")));
    // Every spelling, and the flags of the Go program that have no effect here.
    let spelled = [
        "-qps=0",
        "--burst",
        "0",
        "--enable-leader-pod-cache=true",
        "--enable-parallel-api-calls",
        "--leader-pod-cache-ttl-seconds=30",
    ];
    t.controller(&spelled).await?.stop().await
}

async fn no_api_server_is_waited_for(t: Arc<Test>) -> Result<()> {
    // A kubeconfig of a server that is not there: the port is bound here, and never answers.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let port = silent.local_addr()?.port();
    let text = std::fs::read_to_string(&t.suite.kubeconfig)?;
    let server = text
        .split(['"', ' ', '\n'])
        .find(|word| word.starts_with("https://"))
        .context("no server in the kubeconfig")?;
    let elsewhere = text.replace(server, &format!("https://127.0.0.1:{port}"));
    let path = t.suite.logs.join(format!("{}.kubeconfig", t.ns));
    std::fs::write(&path, elsewhere)?;
    let mut controller = t.launch_as(&path, &[])?;
    let deadline = Instant::now() + Duration::from_secs(6);
    let mut answers = 0;
    while Instant::now() < deadline {
        if let Ok((code, _)) = scrape::get(controller.probes_port, "/readyz").await {
            ensure!(code == 503, "/readyz says {code} without an API server");
            let healthy = scrape::get(controller.probes_port, "/healthz").await?;
            ensure!(healthy.0 == 200, "/healthz says {healthy:?}");
            answers += 1;
        }
        ensure!(controller.is_running(), "it ended");
        tokio::time::sleep(SHORT).await;
    }
    ensure!(answers > 10, "the probes answered {answers} times");
    let printed = controller.printed();
    ensure!(
        printed.contains(&port.to_string()),
        "it does not say whom it cannot reach"
    );
    let lines = printed.lines().count();
    ensure!(lines < 60, "{lines} lines within six seconds");
    controller.stop().await
}

async fn namespaces_by_flag(t: Arc<Test>) -> Result<()> {
    let _controller = t.controller(&[]).await?;
    let other = Test::start(&t.suite, "another_namespace_by_flag").await?;
    other.pods("web", 1).await?;
    other.service(Svc::opted_in("web")).await?;
    t.served("web", 1).await?;
    ensure!(
        other.history(Service, "web-leader").is_empty(),
        "served outside of --namespaces"
    );
    Ok(())
}

async fn over_the_limit_of_a_namespace(t: Arc<Test>) -> Result<()> {
    let _controller = t
        .controller(&["--max-cache-size-per-namespace", "2"])
        .await?;
    for app in ["one", "two"] {
        t.served(app, 2).await?;
    }
    let pods = t.pods("three", 1).await?;
    t.service(Svc::opted_in("three")).await?;
    t.event("three", "InvalidService", &["max-cache-size-per-namespace"])
        .await?;
    ensure!(t.history(Service, "three-leader").is_empty());
    t.exists(Service, "one-leader").await?;
    t.exists(Service, "two-leader").await?;
    // Room is made, and it is served without being touched.
    t.ask("one", "enabled", None).await?;
    t.withdrawn("one-leader").await?;
    t.leads("three-leader", &pods[0]).await.map(drop)
}
