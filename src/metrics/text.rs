//! From atomics to `OpenMetrics` text: the table of all families, and how each finds its series.
//!
//! A family is encoded by prometheus-client through a collector that is made for the scrape: the
//! library knows the format, we know the figures. It writes a counter's `_total` itself; gauges of
//! the Go program that are named `…_total` carry that in their name.

mod families;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::histogram::{Histogram, Reading};
use super::label::{ATTEMPTS, Outcome, REASONS};
use super::process::Process;
use super::service::{Histograms, NamespaceStats, ServiceStats};
use super::{Metrics, WatchStats};
use crate::config::BUILD;
use crate::logic::follow;
use crate::logic::model::Key;
use crate::logic::names::State;
use crate::logic::time::Now;
use families::FAMILIES;

/// One scrape: an iterator over the text of one family after the other, the end mark last.
#[derive(Debug)]
pub struct Scrape {
    facts: Arc<Facts>,
    next: usize,
}

/// What a scrape reads: the figures themselves, and the lists of them at its beginning.
#[derive(Debug)]
struct Facts {
    now: Now,
    active: bool,
    collapsed: bool,
    services: Vec<(Key, Arc<ServiceStats>)>,
    namespaces: Vec<(Arc<str>, Arc<NamespaceStats>)>,
    lists: Vec<(Box<str>, Arc<Histogram>)>,
    watches: Vec<Arc<WatchStats>>,
    decisions: Reading,
    process: Process,
}

impl Scrape {
    pub(super) fn new(metrics: &Metrics, now: Now) -> Self {
        let (services, mut namespaces) = {
            let registered = metrics.registered.read();
            (copied(&registered.services), copied(&registered.namespaces))
        };
        namespaces.insert(0, ("".into(), Arc::clone(&metrics.elsewhere)));
        let facts = Facts {
            now,
            active: metrics.active.load(Relaxed),
            collapsed: metrics.collapsed.load(Relaxed),
            services,
            namespaces,
            lists: copied(&metrics.lists.lock()),
            watches: metrics.watches.lock().clone(),
            decisions: metrics.decisions.read(),
            process: Process::read(metrics.started),
        };
        Self {
            facts: Arc::new(facts),
            next: 0,
        }
    }
}

fn copied<K: Clone, V: Clone>(map: &BTreeMap<K, V>) -> Vec<(K, V)> {
    map.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

impl Iterator for Scrape {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut text = String::new();
        if let Some(family) = FAMILIES.get(self.next) {
            let mut registry = Registry::default();
            registry.register_collector(Box::new(FamilyCollector {
                family,
                facts: Arc::clone(&self.facts),
            }));
            encode_registry(&mut text, &registry).ok()?;
        } else if self.next == FAMILIES.len() {
            encode_eof(&mut text).ok()?;
        } else {
            return None;
        }
        self.next += 1;
        Some(text)
    }
}

/// One family of one scrape.
#[derive(Debug)]
struct FamilyCollector {
    family: &'static MetricFamily,
    facts: Arc<Facts>,
}

impl Collector for FamilyCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let family = self.family;
        let encoder = encoder.encode_descriptor(family.name, family.help, None, family.kind)?;
        (family.lines)(&self.facts, &mut Lines(encoder))
    }
}

/// One metric of the contract.
#[derive(Debug)]
struct MetricFamily {
    /// As in the text, but for the `_total` of a counter and the `_info` of an info.
    name: &'static str,
    kind: MetricType,
    help: &'static str,
    lines: fn(&Facts, &mut Lines) -> fmt::Result,
}

type Label<'a> = (&'static str, &'a str);

/// Takes the labels beyond namespace and service, and the histogram that they belong to.
type WriteLine<'a> = dyn FnMut(&[Label], &Histogram) -> fmt::Result + 'a;

/// Writes series. An empty set of labels prints no braces.
struct Lines<'a>(MetricEncoder<'a>);

impl Lines<'_> {
    fn counter(&mut self, labels: &[Label], count: u64) -> fmt::Result {
        self.0
            .encode_family(&labels)?
            .encode_counter::<NoLabelSet, _, f64>(&count, None)
    }

    fn gauge(&mut self, labels: &[Label], value: f64) -> fmt::Result {
        if labels.is_empty() {
            return self.0.encode_gauge(&value);
        }
        self.0.encode_family(&labels)?.encode_gauge(&value)
    }

    fn whole(&mut self, labels: &[Label], value: u64) -> fmt::Result {
        if labels.is_empty() {
            return self.0.encode_gauge(&value);
        }
        self.0.encode_family(&labels)?.encode_gauge(&value)
    }

    /// A gauge without labels that the system may not tell.
    fn optional(&mut self, value: Option<u64>) -> fmt::Result {
        value.map_or(Ok(()), |value| self.whole(&[], value))
    }

    fn histogram(&mut self, labels: &[Label], of: &Reading) -> fmt::Result {
        let encode = |encoder: &mut MetricEncoder| {
            encoder.encode_histogram::<NoLabelSet>(of.sum, of.count, &of.buckets, None)
        };
        if labels.is_empty() {
            return encode(&mut self.0);
        }
        encode(&mut self.0.encode_family(&labels)?)
    }
}

fn of(key: &Key) -> [Label<'_>; 2] {
    [("namespace", &key.namespace), ("service", &key.name)]
}

impl Facts {
    /// The Services that show gauges: those with a machine at work, on the active replica.
    fn managed(&self) -> impl Iterator<Item = (&Key, &ServiceStats)> {
        let services = self.services.iter().filter(|_| self.active);
        services
            .map(|(key, stats)| (key, &**stats))
            .filter(|(_, stats)| stats.is_managed())
    }

    fn gauge(&self, lines: &mut Lines, value: fn(&ServiceStats, Now) -> f64) -> fmt::Result {
        self.managed()
            .try_for_each(|(key, stats)| lines.gauge(&of(key), value(stats, self.now)))
    }

    fn whole(&self, lines: &mut Lines, value: fn(&ServiceStats) -> u64) -> fmt::Result {
        self.managed()
            .try_for_each(|(key, stats)| lines.whole(&of(key), value(stats)))
    }

    /// What not every Service has.
    fn some(&self, lines: &mut Lines, value: fn(&ServiceStats) -> Option<u32>) -> fmt::Result {
        let values = self.managed().map(|(key, stats)| (key, value(stats)));
        values
            .filter_map(|(key, value)| Some((key, value?)))
            .try_for_each(|(key, value)| lines.whole(&of(key), value.into()))
    }

    /// The states of all machines.
    fn states(&self, lines: &mut Lines) -> fmt::Result {
        for (key, stats) in self.services.iter().filter(|_| self.active) {
            let [namespace, service] = of(key);
            let is = stats.state();
            for state in State::ALL {
                let labels = [namespace, service, ("state", state.as_str())];
                lines.whole(&labels, (state == is).into())?;
            }
        }
        Ok(())
    }

    /// What the application says of its leader, of the Services that follow.
    fn follow_states(&self, lines: &mut Lines) -> fmt::Result {
        for (key, stats) in self.managed() {
            let Some(is) = stats.follow() else {
                continue;
            };
            let [namespace, service] = of(key);
            for state in follow::State::ALL {
                let labels = [namespace, service, ("state", state.as_str())];
                lines.whole(&labels, (state == is).into())?;
            }
        }
        Ok(())
    }

    /// The sum over a namespace.
    fn sum(&self, lines: &mut Lines, value: fn(&ServiceStats) -> u64) -> fmt::Result {
        let managed: Vec<_> = self.managed().collect();
        managed
            .chunk_by(|(a, _), (b, _)| a.namespace == b.namespace)
            .try_for_each(|group| {
                let sum = group.iter().map(|(_, stats)| value(stats)).sum();
                lines.whole(&of(group[0].0)[..1], sum)
            })
    }

    /// Whether a counter of a Service is worth a line.
    fn shows(&self, count: u64) -> bool {
        count > 0 || (self.active && !self.collapsed)
    }

    fn counter(&self, lines: &mut Lines, value: fn(&ServiceStats) -> &AtomicU64) -> fmt::Result {
        for (key, stats) in &self.services {
            let count = value(stats).load(Relaxed);
            if self.shows(count) {
                lines.counter(&of(key), count)?;
            }
        }
        Ok(())
    }

    /// A counter with a further label, whose values are known beforehand.
    fn counter_by<const N: usize>(
        &self,
        lines: &mut Lines,
        label: &'static str,
        values: [&'static str; N],
        counters: fn(&ServiceStats) -> &[AtomicU64; N],
    ) -> fmt::Result {
        for (key, stats) in &self.services {
            let [namespace, service] = of(key);
            for (value, count) in values.iter().zip(counters(stats)) {
                let count = count.load(Relaxed);
                if self.shows(count) {
                    lines.counter(&[namespace, service, (label, value)], count)?;
                }
            }
        }
        Ok(())
    }

    fn namespace_counter(
        &self,
        lines: &mut Lines,
        value: fn(&NamespaceStats) -> &AtomicU64,
    ) -> fmt::Result {
        self.namespaces
            .iter()
            .filter(|(name, _)| !name.is_empty())
            .try_for_each(|(name, space)| {
                lines.counter(&[("namespace", name)], value(space).load(Relaxed))
            })
    }

    /// Histograms per Service, or per namespace with an empty `service` once there are too many.
    /// Both kinds may have been filled; each stays monotonic.
    fn histograms(
        &self,
        lines: &mut Lines,
        each: fn(&mut WriteLine<'_>, &Histograms) -> fmt::Result,
    ) -> fmt::Result {
        let mut show = |base: [Label; 2], histograms: Option<&Histograms>| {
            let Some(histograms) = histograms else {
                return Ok(());
            };
            let mut line = |more: &[Label], histogram: &Histogram| -> fmt::Result {
                let reading = histogram.read();
                if reading.count == 0 {
                    return Ok(());
                }
                // One or two labels more.
                let mut labels = [base[0], base[1], ("", ""), ("", "")];
                let all = 2 + more.len();
                labels[2..all].copy_from_slice(more);
                lines.histogram(&labels[..all], &reading)
            };
            each(&mut line, histograms)
        };
        for (name, space) in &self.namespaces {
            let base = [("namespace", &**name), ("service", "")];
            show(base, space.histograms.get().map(|boxed| &**boxed))?;
        }
        for (key, stats) in self.services.iter().filter(|_| !self.collapsed) {
            show(of(key), stats.histograms.get().map(|boxed| &**boxed))?;
        }
        Ok(())
    }
}
