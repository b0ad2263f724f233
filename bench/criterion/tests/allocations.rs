//! What a pod update costs in which nothing that matters has changed: a count, not a time.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use zen_bench::fleet::Fleet;
use zen_bench::pods::to_protobuf;
use zen_lead::logic::reflect::Encoding;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Namespace, name, node, four labels with their keys and values, two named ports, and
/// the lists that they stand in while they are read.
const ALLOCATIONS_MAX: usize = 22;

#[test]
fn an_irrelevant_update_allocates_no_more_than_the_pod_that_is_thrown_away() {
    const UPDATES: usize = 100;
    let mut counts = Vec::new();
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let mut fleet = Fleet::new(10, 3);
        let lines = (0..UPDATES).map(|update| fleet.frame(update % 10, update % 3, true));
        let events: Vec<_> = match encoding {
            Encoding::Json => lines.collect(),
            Encoding::Protobuf => lines.map(|line| to_protobuf(&line)).collect(),
        };
        let region = Region::new(ALLOCATOR);
        for event in &events {
            fleet.take_as(encoding, event);
        }
        let change = region.change();
        assert_eq!(fleet.decided(), 0, "nothing was to be decided");
        println!("{encoding:?}: {} allocations", change.allocations);
        assert!(
            change.allocations <= UPDATES * ALLOCATIONS_MAX,
            "{encoding:?}: {} allocations in {UPDATES} updates",
            change.allocations
        );
        assert_eq!(
            change.bytes_allocated, change.bytes_deallocated,
            "nothing is kept"
        );
        counts.push(change.allocations);
    }
    assert!(counts[1] <= counts[0], "JSON and protobuf: {counts:?}");
}
