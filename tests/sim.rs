//! The whole controller in a simulated cluster where everything goes wrong, decided by a seed.
//! `just sim N` replays seed N, `just soak` runs many.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use zen_sim::{Plan, batch, run};

/// Seeds of a plain `cargo test`, which is slow without optimization. CI runs 5,000 by `just sim-ci`, and
/// asks there that they meet everything there is.
const SEEDS: u64 = 30;

#[test]
fn whatever_goes_wrong_comes_right() {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let batch = batch(1..1 + SEEDS, threads, &|_| true);
    println!("{batch}");
    if let Some(failure) = batch.failure {
        panic!("{failure}");
    }
}

/// The promise on which everything else rests.
#[test]
fn a_seed_replays_bit_for_bit() {
    for seed in 1..=4 {
        let (one, two) = (run(&Plan::of(seed)), run(&Plan::of(seed)));
        assert_eq!(one.hash, two.hash, "seed {seed}");
        assert_eq!(one.counts, two.counts, "seed {seed}");
    }
    assert_ne!(run(&Plan::of(1)).hash, run(&Plan::of(2)).hash);
}

/// Bounds of a schedule, whatever the seed.
#[test]
fn a_seed_is_rich() {
    use zen_sim::{Event, What};
    for seed in 0..1_000 {
        let plan = Plan::of(seed);
        let count = |is: fn(&What) -> bool| plan.steps.iter().filter(|step| is(&step.what)).count();
        let events = count(|what| matches!(what, What::Event(_)));
        let faults = count(|what| matches!(what, What::Fault(_)));
        let at_start = |step: &&zen_sim::Step| step.at_ms < 1_000;
        let early = plan.steps.iter().filter(at_start);
        let sources = early
            .clone()
            .filter(|step| matches!(step.what, What::Event(Event::Source { .. })))
            .count();
        let pods = early
            .filter(|step| matches!(step.what, What::Event(Event::Pod { .. })))
            .count();
        let kinds: BTreeSet<String> = plan
            .steps
            .iter()
            .filter_map(|step| match &step.what {
                What::Fault(fault) => Some(fault.kind()),
                What::Event(_) => None,
            })
            .collect();
        assert!(kinds.len() >= 3, "seed {seed}: {kinds:?}");
        assert!(
            events >= 60 && faults >= 10 && sources >= 3 && pods >= 8,
            "seed {seed}"
        );
    }
}
