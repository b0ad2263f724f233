//! Updates of pods in which nothing that matters has changed.

use criterion::{Criterion, Throughput};
use stats_alloc::Region;
use zen_bench::figures::{Table, Times, timed};
use zen_bench::fleet::Fleet;
use zen_bench::pods::to_protobuf;
use zen_lead::logic::reflect::Encoding;

use crate::{ALLOCATOR, CpuTime};

const SERVICES: usize = 1_000;
const EVENTS: usize = 1_000;
const ROUNDS: usize = 20;

pub(crate) fn bench(criterion: &mut Criterion<CpuTime>, table: &mut Table) {
    let mut fleet = Fleet::new(SERVICES, 3);
    // Newer versions of pods that are otherwise as they were; a repetition is no older.
    let events: Vec<_> = (0..EVENTS)
        .map(|event| to_protobuf(&fleet.frame(event * 7 % SERVICES, event % 3, true)))
        .collect();
    let take = |event: &Vec<u8>| fleet.take_as(Encoding::Protobuf, event);
    let storm = || events.iter().for_each(take);
    storm();

    let mut group = criterion.benchmark_group("storm");
    group.throughput(Throughput::Elements(EVENTS as u64));
    group.bench_function("irrelevant", |b| b.iter(storm));
    group.finish();

    let region = Region::new(ALLOCATOR);
    storm();
    let allocations = region.change().allocations;
    assert_eq!(fleet.decided(), 0, "nothing was to be decided");
    let times: Times = (0..ROUNDS).map(|_| timed(storm).0).collect();
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let (events, allocations) = (EVENTS as f64, allocations as f64);
    table.note(
        "irrelevant pod updates a second and core",
        events / times.at(50).as_secs_f64(),
        "",
    );
    table.note(
        "allocations per irrelevant update",
        allocations / events,
        "",
    );
}
