//! `cargo bench -p zen-bench --bench zen [-- FILTER]`: what runs in one process.
//!
//! Criterion keeps the history of single figures; the table at the end compares each with its
//! floor, measured in turns. All time is CPU time of the one thread that everything runs on.

#![allow(unreachable_pub, reason = "a program: nothing is reached from outside")]

mod decision;
mod failover;
mod lookup;
mod memory;
mod parse;
mod storm;
mod sync;

use std::alloc::System;
use std::time::Duration;

use criterion::Criterion;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use zen_bench::figures::{Table, cpu_time};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// CPU time of this thread.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        cpu_time()
    }

    fn end(&self, from: Duration) -> Duration {
        cpu_time().saturating_sub(from)
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_secs_f64() * 1e9
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

type Bench = fn(&mut Criterion<CpuTime>, &mut Table);

const BENCHES: [(&str, Bench); 7] = [
    ("parse", parse::bench),
    ("lookup", lookup::bench),
    ("decision", decision::bench),
    ("storm", storm::bench),
    ("memory", memory::bench),
    ("failover", failover::bench),
    ("sync", sync::bench),
];

fn main() -> std::io::Result<()> {
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let mut criterion = Criterion::default()
        .with_measurement(CpuTime)
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500))
        .configure_from_args();
    let mut table = Table::new("bench");
    for (name, bench) in BENCHES {
        // `failover/mass` asks for the bench `failover`.
        let is_asked = |asked: &String| asked.starts_with(name) || name.contains(asked.as_str());
        if asked.is_empty() || asked.iter().any(is_asked) {
            bench(&mut criterion, &mut table);
        }
    }
    criterion.final_summary();
    table.write()
}
