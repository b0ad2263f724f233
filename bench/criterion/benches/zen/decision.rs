//! From the bytes of a pod's event to the write in the writer's slot.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use zen_bench::figures::{Table, Times, timed};
use zen_bench::fleet::Fleet;
use zen_bench::pods::to_protobuf;
use zen_lead::logic::reflect::Encoding::{self, Json, Protobuf};

use crate::CpuTime;

const PODS_EACH: usize = 3;
/// Decisions for the percentiles of each size.
const DECISIONS: usize = 2_000;
/// So many runs tell how long one takes usually.
const WARM_UP: usize = 500;

pub(crate) fn bench(criterion: &mut Criterion<CpuTime>, table: &mut Table) {
    let mut all: Vec<_> = [10, 1_000, 10_000]
        .map(|services| (services, Fleet::new(services, PODS_EACH)))
        .into();
    let mut group = criterion.benchmark_group("decision");
    // Making the next decision possible takes ten times as long as the decision.
    group.measurement_time(Duration::from_millis(50));
    for (services, fleet) in &mut all {
        let id = BenchmarkId::from_parameter(*services);
        let mut next = 0;
        group.bench_function(id, |b| {
            b.iter_custom(|rounds| {
                (0..rounds)
                    .map(|_| {
                        next += 1;
                        decide(fleet, Protobuf, spread(next, *services))
                    })
                    .sum()
            });
        });
    }
    group.finish();

    let mut arithmetic = Arithmetic::SAMPLE;
    let warm = in_turns(WARM_UP, &mut all, &arithmetic);
    arithmetic.last_as_long_as(warm.decisions[all.len() - 1].at(50), warm.machine.at(50));
    let InTurns {
        decisions: times,
        json,
        machine,
    } = in_turns(DECISIONS, &mut all, &arithmetic);
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    for ((services, _), times) in all.iter().zip(&times) {
        let what = format!("decision at {services} Services");
        table.note(&format!("{what}, p50"), micros(times.at(50)), "µs");
        table.figure(&format!("{what}, p99"), micros(times.at(99)), 80.0, "µs");
        table.note(&format!("{what}, max"), micros(times.at(100)), "µs");
    }
    let what = "the same with the event in JSON";
    table.note(&format!("{what}, p50"), micros(json.at(50)), "µs");
    table.note(&format!("{what}, p99"), micros(json.at(99)), "µs");
    let what = "arithmetic that takes as long";
    table.note(&format!("{what}, p50"), micros(machine.at(50)), "µs");
    table.note(&format!("{what}, p99"), micros(machine.at(99)), "µs");
    table.compared(
        "decision at 10000 Services, 10 as floor",
        &times[0],
        &times[2],
        1.5,
    );
}

/// Works in registers alone. What it takes now and then beyond its usual time is the machine's doing,
/// the scheduler's clock tick above all, and happens to a decision of that length as often.
struct Arithmetic {
    steps: u64,
}

impl Arithmetic {
    const SAMPLE: Self = Self { steps: 10_000 };

    /// Sizes it to take `time`, where now it takes `so_far`.
    fn last_as_long_as(&mut self, time: Duration, so_far: Duration) {
        let steps = u128::from(self.steps) * time.as_nanos() / so_far.as_nanos().max(1);
        self.steps = u64::try_from(steps).unwrap_or(self.steps);
    }

    fn run(&self) -> Duration {
        let step = |number: u64, _| black_box(number.wrapping_mul(6_364_136_223_846_793_005) ^ 1);
        timed(|| black_box((0..self.steps).fold(1, step))).0
    }
}

/// Times of the same rounds.
struct InTurns {
    /// Of each fleet.
    decisions: Vec<Times>,
    /// Of the last fleet, with events in JSON.
    json: Times,
    /// Of the arithmetic.
    machine: Times,
}

/// A decision of each fleet and the arithmetic in turns, so that all have the same machine.
fn in_turns(rounds: usize, all: &mut [(usize, Fleet)], arithmetic: &Arithmetic) -> InTurns {
    let mut times = InTurns {
        decisions: vec![Times::default(); all.len()],
        json: Times::default(),
        machine: Times::default(),
    };
    for round in 0..rounds {
        for ((services, fleet), times) in all.iter_mut().zip(&mut times.decisions) {
            times.push(decide(fleet, Protobuf, spread(round, *services)));
        }
        if let Some((services, fleet)) = all.last_mut() {
            // Another Service than the one that is in the caches now.
            let service = spread(round + rounds, *services);
            times.json.push(decide(fleet, Json, service));
        }
        times.machine.push(arithmetic.run());
    }
    times
}

/// Neighbours in time are no neighbours in memory.
fn spread(round: usize, services: usize) -> usize {
    round * 7_919 % services
}

/// The leader of a Service turns NotReady; how long until its slice's patch waits to be sent. Then
/// all is settled, and the old leader is well again.
fn decide(fleet: &mut Fleet, encoding: Encoding, service: usize) -> Duration {
    let leader = fleet.leader(service);
    let mut event = fleet.frame(service, leader, false);
    if encoding == Protobuf {
        event = to_protobuf(&event);
    }
    let (took, ()) = timed(|| fleet.take_as(encoding, &event));
    assert_eq!(fleet.decided(), 1, "a failover is one write");
    fleet.settle();
    let line = fleet.frame(service, leader, true);
    fleet.take(&line);
    assert_eq!(fleet.decided(), 0, "the new leader stays");
    took
}
