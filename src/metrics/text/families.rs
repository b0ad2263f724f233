//! The table: every name once, in the order of the contract.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::encoding::NoLabelSet;
use prometheus_client::metrics::MetricType::{Counter, Gauge, Histogram, Info};

use super::{ATTEMPTS, BUILD, MetricFamily, Outcome, REASONS, ServiceStats, of};
use crate::logic::names::Verb;

pub(super) static FAMILIES: [MetricFamily; 42] = [
    MetricFamily {
        name: "zen_lead_leader_duration_seconds",
        kind: Gauge,
        help: "Time since the current leader became leader, 0 without one.",
        lines: |facts, lines| facts.gauge(lines, ServiceStats::leader_duration),
    },
    MetricFamily {
        name: "zen_lead_failover_count",
        kind: Counter,
        help: "Leader changes, by the reason for which the old leader was left.",
        lines: |facts, lines| facts.counter_by(lines, "reason", REASONS, |s| &s.failovers),
    },
    MetricFamily {
        name: "zen_lead_reconciliation_duration_seconds",
        kind: Histogram,
        help: "Duration of reconciliations.",
        lines: |facts, lines| {
            facts.histograms(lines, |line, histograms| {
                for outcome in Outcome::ALL {
                    let result = [("result", outcome.name())];
                    line(&result, &histograms.reconciliations[outcome as usize])?;
                }
                Ok(())
            })
        },
    },
    MetricFamily {
        name: "zen_lead_pods_available",
        kind: Gauge,
        help: "Ready pods that could lead.",
        lines: |facts, lines| facts.whole(lines, |s| s.pods_available.load(Relaxed).into()),
    },
    MetricFamily {
        name: "zen_lead_port_resolution_failures",
        kind: Counter,
        help: "Service ports that a leader pod did not resolve.",
        lines: |facts, lines| {
            for (key, stats) in &facts.services {
                let [namespace, service] = of(key);
                for (port, count) in &*stats.ports.lock() {
                    lines.counter(&[namespace, service, ("port_name", port)], *count)?;
                }
            }
            Ok(())
        },
    },
    MetricFamily {
        name: "zen_lead_reconciliation_errors",
        kind: Counter,
        help: "What went wrong with a Service.",
        lines: |facts, lines| {
            for (key, stats) in &facts.services {
                let [namespace, service] = of(key);
                for (kind, count) in &*stats.errors.lock() {
                    lines.counter(&[namespace, service, ("error_type", kind)], *count)?;
                }
            }
            Ok(())
        },
    },
    MetricFamily {
        name: "zen_lead_leader_services_total",
        kind: Gauge,
        help: "Leader Services that exist.",
        lines: |facts, lines| facts.sum(lines, |s| s.leader_service.load(Relaxed).into()),
    },
    MetricFamily {
        name: "zen_lead_endpointslices_total",
        kind: Gauge,
        help: "EndpointSlices of leader Services that exist.",
        lines: |facts, lines| facts.sum(lines, |s| s.slices.load(Relaxed).into()),
    },
    MetricFamily {
        name: "zen_lead_sticky_leader_hits",
        kind: Counter,
        help: "Times the sticky leader stayed.",
        lines: |facts, lines| facts.counter(lines, |s| &s.sticky_hits),
    },
    MetricFamily {
        name: "zen_lead_sticky_leader_misses",
        kind: Counter,
        help: "Times the sticky leader could not stay.",
        lines: |facts, lines| facts.counter(lines, |s| &s.sticky_misses),
    },
    MetricFamily {
        name: "zen_lead_leader_selection_attempts",
        kind: Counter,
        help: "Times a leader had to be chosen.",
        lines: |facts, lines| facts.counter(lines, |s| &s.selections),
    },
    MetricFamily {
        name: "zen_lead_leader_pod_age_seconds",
        kind: Gauge,
        help: "Time since the current leader's pod was created, 0 without a leader.",
        lines: |facts, lines| facts.gauge(lines, ServiceStats::leader_pod_age),
    },
    MetricFamily {
        name: "zen_lead_leader_service_without_endpoints",
        kind: Gauge,
        help: "1 when the leader Service exists and no leader is published, else 0.",
        lines: |facts, lines| facts.whole(lines, |s| s.has_no_endpoints().into()),
    },
    MetricFamily {
        name: "zen_lead_reconciliations",
        kind: Counter,
        help: "Reconciliations.",
        lines: |facts, lines| {
            let results = Outcome::ALL.map(Outcome::name);
            facts.counter_by(lines, "result", results, |s| &s.reconciliations)
        },
    },
    MetricFamily {
        name: "zen_lead_leader_stable",
        kind: Gauge,
        help: "1 when a leader is published and Ready, else 0.",
        lines: |facts, lines| facts.whole(lines, |s| s.is_stable().into()),
    },
    MetricFamily {
        name: "zen_lead_endpoint_write_errors",
        kind: Counter,
        help: "EndpointSlice writes that failed.",
        lines: |facts, lines| facts.counter(lines, |s| &s.write_errors),
    },
    MetricFamily {
        name: "zen_lead_retry_attempts",
        kind: Counter,
        help: "Requests that failed and were repeated, by the number of the failed attempt.",
        lines: |facts, lines| {
            for (key, stats) in &facts.services {
                let [namespace, service] = of(key);
                let Some(retries) = stats.retries.get() else {
                    continue;
                };
                for operation in Verb::ALL {
                    let counts = &retries.attempts[operation as usize];
                    let operation = ("operation", operation.as_str());
                    for (attempt, count) in ATTEMPTS.iter().zip(counts) {
                        let labels = [namespace, service, operation, ("attempt", attempt)];
                        match count.load(Relaxed) {
                            0 => {}
                            count => lines.counter(&labels, count)?,
                        }
                    }
                }
            }
            Ok(())
        },
    },
    MetricFamily {
        name: "zen_lead_retry_success_after_retry",
        kind: Counter,
        help: "Requests that succeeded after at least one retry.",
        lines: |facts, lines| {
            for (key, stats) in &facts.services {
                let [namespace, service] = of(key);
                let Some(retries) = stats.retries.get() else {
                    continue;
                };
                for operation in Verb::ALL {
                    let labels = [namespace, service, ("operation", operation.as_str())];
                    match retries.successes[operation as usize].load(Relaxed) {
                        0 => {}
                        count => lines.counter(&labels, count)?,
                    }
                }
            }
            Ok(())
        },
    },
    MetricFamily {
        name: "zen_lead_cache_size",
        kind: Gauge,
        help: "Opted-in Services.",
        lines: |facts, lines| facts.sum(lines, |_| 1),
    },
    MetricFamily {
        name: "zen_lead_cache_update_duration_seconds",
        kind: Histogram,
        help: "Duration of lists, by namespace; empty for the whole cluster.",
        lines: |facts, lines| {
            facts.lists.iter().try_for_each(|(namespace, histogram)| {
                lines.histogram(&[("namespace", namespace)], &histogram.read())
            })
        },
    },
    MetricFamily {
        name: "zen_lead_cache_hits",
        kind: Counter,
        help: "Steps that needed no request to know what is the case.",
        lines: |facts, lines| facts.namespace_counter(lines, |space| &space.cache_hits),
    },
    MetricFamily {
        name: "zen_lead_cache_misses",
        kind: Counter,
        help: "Steps that needed a GET.",
        lines: |facts, lines| facts.namespace_counter(lines, |space| &space.cache_misses),
    },
    MetricFamily {
        name: "zen_lead_timeout_occurrences",
        kind: Counter,
        help: "What took too long.",
        lines: |facts, lines| {
            for (namespace, space) in &facts.namespaces {
                for (operation, count) in &*space.timeouts.lock() {
                    let labels = [("namespace", &**namespace), ("operation", operation)];
                    lines.counter(&labels, *count)?;
                }
            }
            Ok(())
        },
    },
    MetricFamily {
        name: "zen_lead_failover_latency_seconds",
        kind: Histogram,
        help: "From the receipt of the watch frame to the API server's acknowledgement.",
        lines: |facts, lines| {
            facts.histograms(lines, |line, histograms| {
                for (reason, histogram) in REASONS.iter().zip(&histograms.failovers) {
                    line(&[("reason", reason)], histogram)?;
                }
                Ok(())
            })
        },
    },
    MetricFamily {
        name: "zen_lead_api_call_duration_seconds",
        kind: Histogram,
        help: "Duration of requests to the API server.",
        lines: |facts, lines| {
            facts.histograms(lines, |line, histograms| {
                for operation in Verb::ALL {
                    for outcome in Outcome::ALL {
                        let labels = [
                            ("operation", operation.as_str()),
                            ("result", outcome.name()),
                        ];
                        let by_outcome = &histograms.api_calls[operation as usize];
                        line(&labels, &by_outcome[outcome as usize])?;
                    }
                }
                Ok(())
            })
        },
    },
    MetricFamily {
        name: "zen_lead_build",
        kind: Info,
        help: "The build that runs.",
        lines: |_, lines| {
            lines.0.encode_info(&[
                ("version", BUILD.version),
                ("commit", BUILD.commit),
                ("build_date", BUILD.date),
            ])
        },
    },
    MetricFamily {
        name: "zen_lead_state",
        kind: Gauge,
        help: "1 for the state that the Service's machine is in, 0 for the others.",
        lines: |facts, lines| facts.states(lines),
    },
    MetricFamily {
        name: "zen_lead_decision_latency_seconds",
        kind: Histogram,
        help: "From the receipt of a watch frame to the write that it caused being sent.",
        lines: |facts, lines| lines.histogram(&[], &facts.decisions),
    },
    MetricFamily {
        name: "zen_lead_watch_restarts",
        kind: Counter,
        help: "Watches that ended and were restarted.",
        lines: |facts, lines| {
            let mut sums = BTreeMap::new();
            for watch in &facts.watches {
                for (reason, count) in &*watch.restarts.lock() {
                    *sums.entry((watch.resource, *reason)).or_insert(0) += count;
                }
            }
            sums.into_iter().try_for_each(|((resource, reason), sum)| {
                lines.counter(&[("resource", resource), ("reason", reason)], sum)
            })
        },
    },
    MetricFamily {
        name: "zen_lead_watch_lag_seconds",
        kind: Gauge,
        help: "Time since the last frame or bookmark, of the watch that waits longest.",
        lines: |facts, lines| {
            let mut worst = BTreeMap::new();
            for watch in &facts.watches {
                if let Some(lag) = watch.lag(facts.now) {
                    let known = worst.entry(watch.resource).or_insert(lag);
                    *known = lag.max(*known);
                }
            }
            worst.into_iter().try_for_each(|(resource, lag)| {
                lines.gauge(&[("resource", resource)], lag.as_secs_f64())
            })
        },
    },
    MetricFamily {
        name: "zen_lead_is_active",
        kind: Gauge,
        help: "1 when this replica holds the Lease, else 0.",
        lines: |facts, lines| lines.whole(&[], facts.active.into()),
    },
    MetricFamily {
        name: "zen_lead_foreign_endpointslices",
        kind: Gauge,
        help: "EndpointSlices that others attached to the leader Service.",
        lines: |facts, lines| facts.whole(lines, |s| s.foreign_slices.load(Relaxed).into()),
    },
    MetricFamily {
        name: "zen_lead_followers",
        kind: Gauge,
        help: "Pods that the followers Service shows.",
        lines: |facts, lines| facts.some(lines, ServiceStats::followers),
    },
    MetricFamily {
        name: "zen_lead_leader_guarded",
        kind: Gauge,
        help: "1 while a leader is kept only because the failover budget is used up, else 0.",
        lines: |facts, lines| facts.whole(lines, |s| s.guarded.load(Relaxed).into()),
    },
    MetricFamily {
        name: "zen_lead_failovers_held",
        kind: Counter,
        help: "Failovers that were held back because the budget was used up.",
        lines: |facts, lines| facts.counter(lines, |s| &s.failovers_held),
    },
    MetricFamily {
        name: "zen_lead_follow_state",
        kind: Gauge,
        help: "1 for what the application says of its leader, 0 for the others; while following.",
        lines: |facts, lines| facts.follow_states(lines),
    },
    MetricFamily {
        name: "process_cpu_seconds",
        kind: Counter,
        help: "User and system CPU time spent.",
        lines: |facts, lines| match facts.process.cpu_seconds {
            Some(spent) => lines.0.encode_counter::<NoLabelSet, _, f64>(&spent, None),
            None => Ok(()),
        },
    },
    MetricFamily {
        name: "process_resident_memory_bytes",
        kind: Gauge,
        help: "Resident memory.",
        lines: |facts, lines| lines.optional(facts.process.resident_bytes),
    },
    MetricFamily {
        name: "process_virtual_memory_bytes",
        kind: Gauge,
        help: "Virtual memory.",
        lines: |facts, lines| lines.optional(facts.process.virtual_bytes),
    },
    MetricFamily {
        name: "process_open_fds",
        kind: Gauge,
        help: "Open file descriptors.",
        lines: |facts, lines| lines.optional(facts.process.open_fds),
    },
    MetricFamily {
        name: "process_max_fds",
        kind: Gauge,
        help: "Most file descriptors that may be open.",
        lines: |facts, lines| lines.optional(facts.process.max_fds),
    },
    MetricFamily {
        name: "process_start_time_seconds",
        kind: Gauge,
        help: "Start of the process, in seconds since the epoch.",
        lines: |facts, lines| match facts.process.start_seconds {
            Some(seconds) => lines.gauge(&[], seconds),
            None => Ok(()),
        },
    },
];
