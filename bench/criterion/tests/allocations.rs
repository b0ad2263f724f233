//! What a pod update costs in which nothing that matters has changed: a count, not a time.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use zen_bench::fleet::Fleet;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Namespace, name, node, four labels with their keys and values, two named ports, and
/// the lists that they stand in while they are read.
const ALLOCATIONS_MAX: usize = 22;

#[test]
fn an_irrelevant_update_allocates_no_more_than_the_pod_that_is_thrown_away() {
    const UPDATES: usize = 100;
    let mut fleet = Fleet::new(10, 3);
    let lines: Vec<_> = (0..UPDATES)
        .map(|update| fleet.frame(update % 10, update % 3, true))
        .collect();
    let region = Region::new(ALLOCATOR);
    for line in &lines {
        fleet.take(line);
    }
    let change = region.change();
    assert_eq!(fleet.decided(), 0, "nothing was to be decided");
    assert!(
        change.allocations <= UPDATES * ALLOCATIONS_MAX,
        "{} allocations in {UPDATES} updates",
        change.allocations
    );
    assert_eq!(
        change.bytes_allocated, change.bytes_deallocated,
        "nothing is kept"
    );
}
