//! From what was typed to what is true: each flag's rule, and the rules between two.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use super::value::{Given, ValueSource};
use super::{Bind, Config, FastRetry, Flags, LeaseConfig, Mistakes, WRITES_IN_FLIGHT};
use crate::logic::budget::Guard;
use crate::logic::nodes::NodeLeasePolicy;
use crate::logic::rate_limit::RateLimit;

/// client-go spreads its retries over 1 to 1.2 periods; the deadline must outlast one of them.
const RETRY_JITTER: f64 = 1.2;

impl Config {
    /// What is true, given what was typed and the environment, where there is no kubeconfig. A flag
    /// wins over its variable; an empty value counts as not given.
    ///
    /// # Errors
    ///
    /// Everything that cannot be used.
    pub fn resolve(flags: &Flags, env: impl Fn(&str) -> Option<String>) -> Result<Self, Mistakes> {
        Self::resolve_beside(flags, env, |_| None)
    }

    /// The same, with the namespace of a kubeconfig's context.
    pub(super) fn resolve_beside(
        flags: &Flags,
        env: impl Fn(&str) -> Option<String>,
        context: impl Fn(Option<&Path>) -> Option<String>,
    ) -> Result<Self, Mistakes> {
        let from = ValueSource::new(&env, &context);
        let config = Self::read(flags, &from);
        let wrong = from.into_wrong();
        if wrong.is_empty() {
            Ok(config)
        } else {
            Err(Mistakes(wrong))
        }
    }

    fn read(flags: &Flags, from: &ValueSource) -> Self {
        let in_cluster = from.variable("KUBERNETES_SERVICE_HOST").is_some();
        let (metrics, probes, debug) = addresses(flags, from);
        let seconds = |flag: Option<&str>, name, default| {
            Duration::from_secs(from.number(flag, name, default, 1..=600, "seconds"))
        };
        let names = |flag: Option<&str>, name| from.namespaces(flag, name);
        let others = flags.follow_lease_namespaces.as_deref();
        let mut notices = no_effect(flags, from);
        Self {
            metrics,
            status_page: from.switch(flags.status_page.as_deref(), "status-page", true),
            probes,
            debug,
            lease: lease(flags, from, in_cluster),
            namespaces: names(flags.namespaces.as_deref(), "namespaces"),
            follow_lease_namespaces: names(others, "follow-lease-namespaces"),
            mirror_prefixes: from.mirror_prefixes(flags.mirror_prefixes.as_deref()),
            services_per_namespace_max: services_max(flags, from),
            writes_in_flight_max: from.number(
                flags.max_concurrent_reconciles.as_deref(),
                "max-concurrent-reconciles",
                WRITES_IN_FLIGHT,
                1..=1024,
                "writes",
            ),
            keep_managed_fields: from.switch(
                flags.keep_managed_fields.as_deref(),
                "keep-managed-fields",
                false,
            ),
            watch_encoding: from.watch_encoding(flags.watch_encoding.as_deref()),
            list_timeout: seconds(
                flags.cache_update_timeout_seconds.as_deref(),
                "cache-update-timeout-seconds",
                10,
            ),
            collection_timeout: seconds(
                flags.metrics_collection_timeout_seconds.as_deref(),
                "metrics-collection-timeout-seconds",
                5,
            ),
            rate_limit: rate_limit(flags, from, &mut notices),
            fast_retry: fast_retry(flags, from),
            failovers: failovers(flags, from),
            leave_cordoned_nodes: from.switch(
                flags.leave_cordoned_nodes.as_deref(),
                "leave-cordoned-nodes",
                false,
            ),
            node_leases: node_leases(flags, from),
            per_service_histograms_max: from.number(
                flags.per_service_histograms_max.as_deref(),
                "per-service-histograms-max",
                500,
                0..=100_000,
                "Services",
            ),
            log_format: from.log_format(flags.log_format.as_deref(), in_cluster),
            log_level: from.log_level(flags.log_level.as_deref()),
            kubeconfig: from
                .text(flags.kubeconfig.as_deref(), "kubeconfig")
                .map(|given| given.text.into()),
            in_cluster,
            notices,
        }
    }
}

type BindAddresses = (Option<Bind>, Option<Bind>, Option<Bind>);

fn services_max(flags: &Flags, from: &ValueSource) -> Option<NonZeroU32> {
    NonZeroU32::new(from.number(
        flags.max_cache_size_per_namespace.as_deref(),
        "max-cache-size-per-namespace",
        1000,
        0..=1_000_000,
        "Services",
    ))
}

fn addresses(flags: &Flags, from: &ValueSource) -> BindAddresses {
    let metrics = from.bind(
        flags.metrics_bind_address.as_deref(),
        "metrics-bind-address",
        ":8080",
    );
    let probes = from.bind(
        flags.health_probe_bind_address.as_deref(),
        "health-probe-bind-address",
        ":8081",
    );
    let debug = from.bind(
        flags.debug_bind_address.as_deref(),
        "debug-bind-address",
        "127.0.0.1:8082",
    );
    if let (Some(address), given) = &debug
        && !address.is_loopback()
    {
        let expected = "expected a loopback address such as 127.0.0.1:8082, or 0 for off";
        from.note(given.refuse(expected));
        return (metrics.0, probes.0, None);
    }
    for (one, other) in [(&metrics, &probes), (&metrics, &debug), (&probes, &debug)] {
        if let (Some(a), Some(b)) = (one.0, other.0)
            && a.collides_with(b)
        {
            let apart = "an address other than that of";
            from.note(other.1.conflict(apart, &one.1, apart));
        }
    }
    (metrics.0, probes.0, debug.0)
}

fn lease(flags: &Flags, from: &ValueSource, in_cluster: bool) -> LeaseConfig {
    let kubeconfig = from.text(flags.kubeconfig.as_deref(), "kubeconfig");
    let kubeconfig = kubeconfig.map(|given| given.text);
    let namespace = from.lease_namespace(
        flags.leader_election_namespace.as_deref(),
        kubeconfig.as_deref().map(Path::new),
        in_cluster,
    );
    let wrong = from.count_wrong();
    let duration = from.duration(flags.lease_duration.as_deref(), "lease-duration", "4s");
    let renew_deadline = from.duration(flags.renew_deadline.as_deref(), "renew-deadline", "3s");
    let retry_period = from.duration(flags.retry_period.as_deref(), "retry-period", "1s");
    if from.count_wrong() == wrong {
        check_lease(from, &duration, &renew_deadline, &retry_period);
    }
    LeaseConfig {
        namespace,
        name: from.lease_name(flags.leader_election_id.as_deref()),
        identity: from.identity(in_cluster),
        pod_uid: from.pod_uid(),
        duration: duration.0,
        renew_deadline: renew_deadline.0,
        retry_period: retry_period.0,
    }
}

type Span = (Duration, Given);

/// Each by itself, and then between two that are right.
fn check_lease(from: &ValueSource, duration: &Span, renew_deadline: &Span, retry_period: &Span) {
    let wrong = from.count_wrong();
    let (duration, given) = duration;
    let (renew_deadline, given_renew) = renew_deadline;
    let (retry_period, given_retry) = retry_period;
    if *duration < Duration::from_secs(1) || *duration > Duration::from_hours(1) {
        from.note(given.refuse("expected a duration from 1s to 1h"));
    } else if duration.subsec_nanos() != 0 {
        from.note(given.refuse("expected whole seconds, since a Lease counts in seconds"));
    }
    if *retry_period < Duration::from_millis(100) {
        from.note(given_retry.refuse("expected a duration of at least 100ms"));
    }
    if from.count_wrong() > wrong {
        return;
    }
    if duration <= renew_deadline {
        from.note(given.conflict("more than", given_renew, "less than"));
    }
    if *renew_deadline <= retry_period.mul_f64(RETRY_JITTER) {
        let above = format!("more than {RETRY_JITTER} times");
        let below = format!("less than 1/{RETRY_JITTER} of");
        from.note(given_renew.conflict(&above, given_retry, &below));
    }
}

fn rate_limit(flags: &Flags, from: &ValueSource, notices: &mut Vec<String>) -> Option<RateLimit> {
    let qps: f64 = from.number(
        flags.qps.as_deref(),
        "qps",
        0.0,
        0.0..=100_000.0,
        "requests a second",
    );
    let burst: u32 = from.number(
        flags.burst.as_deref(),
        "burst",
        0,
        0..=1_000_000,
        "requests",
    );
    if qps == 0.0 {
        if burst > 0 {
            notices.push("--burst has no effect without --qps: requests are not limited".into());
        }
        return None;
    }
    // Without a burst: what one second allows.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "in range"
    )]
    let in_one_second = qps.ceil() as u32;
    let burst = if burst > 0 { burst } else { in_one_second };
    Some(RateLimit::per_second(qps, burst))
}

fn fast_retry(flags: &Flags, from: &ValueSource) -> FastRetry {
    let millis = |flag: Option<&str>, name, default| {
        let millis = from.number(flag, name, default, 1..=60_000, "milliseconds");
        Duration::from_millis(millis)
    };
    let first = ("fast-retry-initial-delay-ms", 20);
    let max = ("fast-retry-max-delay-ms", 500);
    let flag_first = flags.fast_retry_initial_delay_ms.as_deref();
    let flag_max = flags.fast_retry_max_delay_ms.as_deref();
    let wrong = from.count_wrong();
    let delay_first = millis(flag_first, first.0, first.1);
    let delay_max = millis(flag_max, max.0, max.1);
    if delay_max < delay_first && from.count_wrong() == wrong {
        let given_first = from.given(flag_first, first.0, &first.1.to_string());
        let given_max = from.given(flag_max, max.0, &max.1.to_string());
        from.note(given_max.conflict("at least", &given_first, "at most"));
    }
    FastRetry {
        delay_first,
        delay_max,
        attempts: from.number(
            flags.fast_retry_max_attempts.as_deref(),
            "fast-retry-max-attempts",
            2,
            1..=20,
            "attempts",
        ),
    }
}

fn failovers(flags: &Flags, from: &ValueSource) -> Guard {
    let count = |flag: Option<&str>, name, default| {
        from.number(flag, name, default, 0..=100_000, "failovers")
    };
    let per_service = count(
        flags.failover_budget_per_service.as_deref(),
        "failover-budget-per-service",
        0,
    );
    let global = count(
        flags.failover_budget_global.as_deref(),
        "failover-budget-global",
        0,
    );
    let wrong = from.count_wrong();
    let (window, given) = from.duration(
        flags.failover_budget_window.as_deref(),
        "failover-budget-window",
        "10m",
    );
    let is_usual = window >= Duration::from_secs(1) && window <= Duration::from_hours(24);
    if !is_usual && from.count_wrong() == wrong {
        from.note(given.refuse("expected a duration from 1s to 24h"));
    }
    let limit = |count: u32| (count > 0).then(|| RateLimit::per_window(count, window));
    Guard {
        per_service: limit(per_service),
        global: limit(global),
    }
}

fn node_leases(flags: &Flags, from: &ValueSource) -> Option<NodeLeasePolicy> {
    let share_max = from.number(
        flags.node_lease_max_stalled_percent.as_deref(),
        "node-lease-max-stalled-percent",
        30,
        0..=100,
        "percent",
    );
    let (timeout, given) = from.duration(
        flags.node_lease_timeout.as_deref(),
        "node-lease-timeout",
        "0s",
    );
    if timeout.is_zero() {
        return None;
    }
    // A kubelet renews every ten seconds, and may be a little late.
    if timeout < Duration::from_secs(12) || timeout > Duration::from_hours(1) {
        from.note(given.refuse("expected 0s for off, or a duration from 12s to 1h"));
    }
    Some(NodeLeasePolicy { timeout, share_max })
}

/// Flags of the Go program that are checked and then change nothing.
fn no_effect(flags: &Flags, from: &ValueSource) -> Vec<String> {
    let always_on = "the store is always on and never stale by time";
    let mut notices = Vec::new();
    let mut note = |given: Option<Given>, why: &str| {
        if let Some(given) = given {
            notices.push(format!("{} has no effect: {why}", given.origin));
        }
    };
    let cache = (
        flags.enable_leader_pod_cache.as_deref(),
        "enable-leader-pod-cache",
    );
    note(from.boolean(cache.0, cache.1), always_on);
    let ttl = (
        flags.leader_pod_cache_ttl_seconds.as_deref(),
        "leader-pod-cache-ttl-seconds",
    );
    from.number(ttl.0, ttl.1, 30, 0..=u64::MAX, "seconds");
    note(from.text(ttl.0, ttl.1), always_on);
    let parallel = (
        flags.enable_parallel_api_calls.as_deref(),
        "enable-parallel-api-calls",
    );
    note(
        from.boolean(parallel.0, parallel.1),
        "writes are always concurrent",
    );
    let groups = (
        flags.enable_leader_groups.as_deref(),
        "enable-leader-groups",
    );
    note(
        from.boolean(groups.0, groups.1),
        "there is no LeaderGroup resource, zen-lead needs no CRD",
    );
    notices
}
