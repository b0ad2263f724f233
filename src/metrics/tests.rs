//! The text of a scrape: names, types and labels as the contract has them, and sound `OpenMetrics`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::logic::follow;
use crate::logic::names::{Reason, State, Verb};

fn now(seconds: i64) -> Now {
    Now {
        moment: Moment(seconds * 1_000_000),
        wall: jiff::Timestamp::from_second(1_800_000_000 + seconds).expect("in range"),
    }
}

fn serving(since: i64) -> Figures {
    Figures {
        state: State::Serving,
        pods_available: 3,
        leader: Some(LeaderFigures {
            since: now(since).moment,
            created: now(since - 100).wall,
            ready: true,
        }),
        leader_service: true,
        slices: 2,
        guarded: false,
        followers: Some(2),
        follow: None,
    }
}

const ELECTING: Figures = Figures {
    state: State::Electing,
    pods_available: 0,
    leader: None,
    leader_service: true,
    slices: 1,
    guarded: false,
    followers: None,
    follow: None,
};

/// Metrics in which everything that can happen has happened to `shop/web`.
fn eventful(histograms_max: usize) -> Metrics {
    let metrics = Metrics::new(histograms_max);
    metrics.active(true);
    let web = metrics.service(&Key::new("shop", "web"));
    web.decided(&Figures {
        follow: Some(follow::State::Named),
        ..serving(10)
    });
    web.foreign_slices(1);
    let ms = Duration::from_millis;
    web.failed_over(Reason::NotReady, ms(3));
    web.reconciled(Outcome::Success, ms(1));
    web.api_call(Verb::Patch, Outcome::Success, ms(4));
    web.retried(Verb::Patch, 1);
    web.retried(Verb::Patch, 9);
    web.succeeded_after_retry(Verb::Patch);
    web.slice_write_failed();
    web.selected();
    web.sticky_hit();
    web.sticky_missed();
    web.cache_hit();
    web.cache_missed();
    web.failed("writeRefused");
    web.port_unresolved("http");
    metrics.listed("", ms(30));
    metrics.timed_out("shop", "cache_update");
    metrics.timed_out("elsewhere", "metrics_collection");
    metrics.decided_within(Duration::from_micros(42));
    let pods = metrics.watch("pods");
    pods.seen(now(15).moment);
    pods.restarted("gone");
    metrics
}

/// What a line says about its series: family, labels without their values.
#[derive(Debug, Default, PartialEq)]
struct Shape {
    kind: String,
    labels: BTreeSet<String>,
}

/// Reads `OpenMetrics` text strictly and returns all samples: name with labels, and value.
fn samples(text: &str) -> (BTreeMap<String, Shape>, BTreeMap<String, f64>) {
    let mut shapes: BTreeMap<String, Shape> = BTreeMap::new();
    let mut samples = BTreeMap::new();
    let mut family = String::new();
    let body = text.strip_suffix("# EOF\n").expect("an end mark");
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a text");
            assert!(help.ends_with('.') && !help.contains('\\'), "{line}");
            family = name.into();
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert_eq!(name, family, "HELP comes first, then TYPE");
            let shape = Shape {
                kind: kind.into(),
                ..Shape::default()
            };
            assert!(shapes.insert(name.into(), shape).is_none(), "{name} twice");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = match series.split_once('{') {
            Some((name, rest)) => (name, rest.strip_suffix('}').expect("a closing brace")),
            None => (series, ""),
        };
        let shape = shapes.get_mut(&family).expect("a TYPE before");
        let suffix = name.strip_prefix(&family).expect("samples of the family");
        let allowed: &[&str] = match shape.kind.as_str() {
            "gauge" => &[""],
            "counter" => &["_total"],
            "histogram" => &["_sum", "_count", "_bucket"],
            "info" => &["_info"],
            other => panic!("type {other}"),
        };
        assert!(allowed.contains(&suffix), "{line}");
        let names: Vec<_> = labels
            .split("\",")
            .filter_map(|label| Some(label.split_once("=\"")?.0))
            .collect();
        let unique: BTreeSet<_> = names.iter().map(ToString::to_string).collect();
        assert_eq!(unique.len(), names.len(), "{line}");
        shape.labels.extend(unique);
        let value: f64 = value.parse().expect("a number");
        assert!(
            samples.insert(series.into(), value).is_none(),
            "{series} twice"
        );
    }
    (shapes, samples)
}

#[test]
fn every_name_type_and_label_of_the_contract() {
    let (shapes, _) = samples(&eventful(500).encode(now(20)));
    let service = "namespace service";
    let expected = [
        ("zen_lead_leader_duration_seconds", "gauge", service),
        (
            "zen_lead_failover_count",
            "counter",
            "namespace reason service",
        ),
        (
            "zen_lead_reconciliation_duration_seconds",
            "histogram",
            "le namespace result service",
        ),
        ("zen_lead_pods_available", "gauge", service),
        (
            "zen_lead_port_resolution_failures",
            "counter",
            "namespace port_name service",
        ),
        (
            "zen_lead_reconciliation_errors",
            "counter",
            "error_type namespace service",
        ),
        ("zen_lead_leader_services_total", "gauge", "namespace"),
        ("zen_lead_endpointslices_total", "gauge", "namespace"),
        ("zen_lead_sticky_leader_hits", "counter", service),
        ("zen_lead_sticky_leader_misses", "counter", service),
        ("zen_lead_leader_selection_attempts", "counter", service),
        ("zen_lead_leader_pod_age_seconds", "gauge", service),
        (
            "zen_lead_leader_service_without_endpoints",
            "gauge",
            service,
        ),
        (
            "zen_lead_reconciliations",
            "counter",
            "namespace result service",
        ),
        ("zen_lead_leader_stable", "gauge", service),
        ("zen_lead_endpoint_write_errors", "counter", service),
        (
            "zen_lead_retry_attempts",
            "counter",
            "attempt namespace operation service",
        ),
        (
            "zen_lead_retry_success_after_retry",
            "counter",
            "namespace operation service",
        ),
        ("zen_lead_cache_size", "gauge", "namespace"),
        (
            "zen_lead_cache_update_duration_seconds",
            "histogram",
            "le namespace",
        ),
        ("zen_lead_cache_hits", "counter", "namespace"),
        ("zen_lead_cache_misses", "counter", "namespace"),
        (
            "zen_lead_timeout_occurrences",
            "counter",
            "namespace operation",
        ),
        (
            "zen_lead_failover_latency_seconds",
            "histogram",
            "le namespace reason service",
        ),
        (
            "zen_lead_api_call_duration_seconds",
            "histogram",
            "le namespace operation result service",
        ),
        ("zen_lead_build", "info", "build_date commit version"),
        ("zen_lead_state", "gauge", "namespace service state"),
        ("zen_lead_decision_latency_seconds", "histogram", "le"),
        ("zen_lead_watch_restarts", "counter", "reason resource"),
        ("zen_lead_watch_lag_seconds", "gauge", "resource"),
        ("zen_lead_is_active", "gauge", ""),
        ("zen_lead_foreign_endpointslices", "gauge", service),
        ("zen_lead_leader_guarded", "gauge", service),
        ("zen_lead_followers", "gauge", service),
        ("zen_lead_failovers_held", "counter", service),
        ("zen_lead_follow_state", "gauge", "namespace service state"),
        ("process_cpu_seconds", "counter", ""),
        ("process_resident_memory_bytes", "gauge", ""),
        ("process_virtual_memory_bytes", "gauge", ""),
        ("process_open_fds", "gauge", ""),
        ("process_max_fds", "gauge", ""),
        ("process_start_time_seconds", "gauge", ""),
    ];
    for (name, kind, labels) in expected {
        let expected = Shape {
            kind: kind.into(),
            labels: labels.split_whitespace().map(String::from).collect(),
        };
        assert_eq!(shapes.get(name), Some(&expected), "{name}");
    }
    assert_eq!(shapes.len(), expected.len(), "{:?}", shapes.keys());
}

#[test]
#[expect(
    clippy::float_cmp,
    reason = "small whole numbers, and the very literals that went in"
)]
fn values() {
    let text = eventful(500).encode(now(20));
    let (_, samples) = samples(&text);
    let web = |name: &str, more: &str| {
        let series = format!("zen_lead_{name}{{namespace=\"shop\",service=\"web\"{more}}}");
        *samples
            .get(&series)
            .unwrap_or_else(|| panic!("{series} in\n{text}"))
    };
    assert_eq!(web("leader_duration_seconds", ""), 10.0);
    assert_eq!(web("leader_pod_age_seconds", ""), 110.0);
    assert_eq!(web("pods_available", ""), 3.0);
    assert_eq!(web("leader_stable", ""), 1.0);
    assert_eq!(web("leader_service_without_endpoints", ""), 0.0);
    assert_eq!(web("foreign_endpointslices", ""), 1.0);
    assert_eq!(web("state", ",state=\"Serving\""), 1.0);
    assert_eq!(web("state", ",state=\"Electing\""), 0.0);
    assert_eq!(web("failover_count_total", ",reason=\"notReady\""), 1.0);
    assert_eq!(web("failover_count_total", ",reason=\"strategy\""), 0.0);
    assert_eq!(web("reconciliations_total", ",result=\"error\""), 0.0);
    for attempt in ["1", "max"] {
        let labels = format!(",operation=\"patch\",attempt=\"{attempt}\"");
        assert_eq!(web("retry_attempts_total", &labels), 1.0);
    }
    assert_eq!(
        web("failover_latency_seconds_sum", ",reason=\"notReady\""),
        0.003
    );
    for (series, expected) in [
        ("zen_lead_leader_services_total{namespace=\"shop\"}", 1.0),
        ("zen_lead_endpointslices_total{namespace=\"shop\"}", 2.0),
        ("zen_lead_cache_size{namespace=\"shop\"}", 1.0),
        ("zen_lead_cache_hits_total{namespace=\"shop\"}", 1.0),
        (
            "zen_lead_timeout_occurrences_total{namespace=\"shop\",operation=\"cache_update\"}",
            1.0,
        ),
        (
            "zen_lead_timeout_occurrences_total{namespace=\"\",operation=\"metrics_collection\"}",
            1.0,
        ),
        ("zen_lead_watch_lag_seconds{resource=\"pods\"}", 5.0),
        (
            "zen_lead_watch_restarts_total{resource=\"pods\",reason=\"gone\"}",
            1.0,
        ),
        (
            "zen_lead_decision_latency_seconds_bucket{le=\"0.00005\"}",
            1.0,
        ),
        (
            "zen_lead_decision_latency_seconds_bucket{le=\"0.000025\"}",
            0.0,
        ),
        ("zen_lead_decision_latency_seconds_bucket{le=\"+Inf\"}", 1.0),
        ("zen_lead_is_active", 1.0),
    ] {
        assert_eq!(samples.get(series), Some(&expected), "{series} in\n{text}");
    }
}

#[test]
fn a_leader_that_is_gone_shows_as_such() {
    let metrics = Metrics::new(500);
    metrics.active(true);
    metrics.service(&Key::new("n", "s")).decided(&ELECTING);
    let text = metrics.encode(now(20));
    for line in [
        "zen_lead_leader_duration_seconds{namespace=\"n\",service=\"s\"} 0.0",
        "zen_lead_leader_pod_age_seconds{namespace=\"n\",service=\"s\"} 0.0",
        "zen_lead_leader_stable{namespace=\"n\",service=\"s\"} 0",
        "zen_lead_leader_service_without_endpoints{namespace=\"n\",service=\"s\"} 1",
        "zen_lead_pods_available{namespace=\"n\",service=\"s\"} 0",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
    }
}

#[test]
fn forgetting_removes_every_series() {
    let metrics = eventful(500);
    let key = Key::new("shop", "web");
    let kept = metrics.service(&key);
    metrics.forget(&key);
    metrics.forget(&key);
    kept.failed_over(Reason::Deleted, Duration::from_millis(1));
    assert!(metrics.find(&key).is_none());
    let text = metrics.encode(now(20));
    assert!(!text.contains("shop"), "{text}");
    samples(&text);
    let again = metrics.service(&key);
    again.decided(&ELECTING);
    let text = metrics.encode(now(20));
    assert!(text.contains(
        "zen_lead_failover_count_total{namespace=\"shop\",service=\"web\",reason=\"deleted\"} 0"
    ));
}

#[test]
fn a_standby_shows_no_gauges_of_services() {
    let metrics = eventful(500);
    metrics.active(false);
    let (_, samples) = samples(&metrics.encode(now(20)));
    assert!(
        !samples
            .keys()
            .any(|name| name.starts_with("zen_lead_state{"))
    );
    assert!(
        !samples
            .keys()
            .any(|name| name.starts_with("zen_lead_leader_services_total{"))
    );
    let counted: Vec<_> = samples
        .iter()
        .filter(|(name, _)| name.starts_with("zen_lead_failover_count_total{"))
        .collect();
    assert_eq!(counted.len(), 1, "what has happened stays: {counted:?}");
}

#[test]
fn an_unmanaged_service_shows_its_state_only() {
    let metrics = Metrics::new(500);
    metrics.active(true);
    let refused = metrics.service(&Key::new("n", "s"));
    refused.failed("invalidService");
    let (_, samples) = samples(&metrics.encode(now(1)));
    assert!(
        !samples
            .keys()
            .any(|name| name.starts_with("zen_lead_pods_available"))
    );
    assert!(
        samples.contains_key("zen_lead_state{namespace=\"n\",service=\"s\",state=\"Unmanaged\"}")
    );
}

#[test]
fn above_the_bound_histograms_are_shared() {
    let metrics = Metrics::new(500);
    metrics.active(true);
    let observe = |i: usize| {
        let stats = metrics.service(&Key::new("n", format!("s{i}")));
        stats.decided(&serving(0));
        stats.failed_over(Reason::Deleted, Duration::from_millis(2));
    };
    for i in 0..500 {
        observe(i);
    }
    let latency = "zen_lead_failover_latency_seconds_count{namespace=\"n\",service=\"";
    let series = |text: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(latency));
        lines.map(String::from).collect()
    };
    assert_eq!(series(&metrics.encode(now(1))).len(), 500);
    observe(500);
    observe(7);
    let text = metrics.encode(now(1));
    assert_eq!(series(&text), ["\",reason=\"deleted\"} 2"]);
    let count = "zen_lead_failover_count_total{namespace=\"n\",service=\"s7\",reason=\"";
    let counts: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix(count))
        .collect();
    assert_eq!(
        counts,
        ["deleted\"} 2"],
        "counters stay per Service, zeros go"
    );
    samples(&text);
    metrics.forget(&Key::new("n", "s500"));
    let text = metrics.encode(now(1));
    assert_eq!(
        series(&text).len(),
        501,
        "each again, and the shared one stays monotonic"
    );
    samples(&text);
}

#[test]
fn odd_label_values_are_escaped() {
    let metrics = Metrics::new(500);
    metrics
        .service(&Key::new("n", "s"))
        .port_unresolved("a\"b\\c\nd");
    let text = metrics.encode(now(1));
    assert!(text.contains(r#"port_name="a\"b\\c\nd"} 1"#), "{text}");
}

#[test]
fn a_leader_that_is_guarded_counts_once() {
    let metrics = Metrics::new(500);
    metrics.active(true);
    let web = metrics.service(&Key::new("shop", "web"));
    let guarded = Figures {
        guarded: true,
        ..serving(10)
    };
    let read = |name: &str| {
        let (_, samples) = samples(&metrics.encode(now(20)));
        let name = format!("{name}{{namespace=\"shop\",service=\"web\"}}");
        samples[&name]
    };
    for (figures, gauge, counter) in [
        (serving(10), 0.0, 0.0),
        (guarded, 1.0, 1.0),
        (guarded, 1.0, 1.0),
        (serving(10), 0.0, 1.0),
        (guarded, 1.0, 2.0),
    ] {
        web.decided(&figures);
        let got = (
            read("zen_lead_leader_guarded"),
            read("zen_lead_failovers_held_total"),
        );
        assert_eq!(got, (gauge, counter));
    }
}

#[test]
fn a_service_without_a_followers_service_has_no_such_series() {
    let metrics = Metrics::new(500);
    metrics.active(true);
    let web = metrics.service(&Key::new("shop", "web"));
    for (followers, expected) in [(Some(0), Some(0.0)), (Some(2), Some(2.0)), (None, None)] {
        web.decided(&Figures {
            followers,
            ..serving(10)
        });
        let (_, samples) = samples(&metrics.encode(now(20)));
        let name = "zen_lead_followers{namespace=\"shop\",service=\"web\"}";
        assert_eq!(samples.get(name).copied(), expected);
    }
}
