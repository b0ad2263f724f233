//! The whole controller in a simulated cluster where everything goes wrong, decided by a seed.
//! `SIM_SEED=n` replays one run, `SIM_SEEDS=n` makes so many, `SIM_FIRST=n` begins there.

use std::num::NonZeroUsize;

use zen_sim::{Failure, Plan, batch, run};

/// Seeds of a plain `cargo test`: seconds without optimization. CI runs 5,000 by `just soak`.
const SEEDS: u64 = 60;
/// So many seeds meet everything there is.
const SEEDS_COVERING: u64 = 500;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

#[test]
fn whatever_goes_wrong_comes_right() {
    if let Some(seed) = number("SIM_SEED") {
        let outcome = run(&Plan::of(seed));
        println!("{}\nhash {:016x}", outcome.trace.join("\n"), outcome.hash);
        if let Some(violation) = outcome.violation {
            panic!("{}", Failure::of(seed, violation));
        }
        return;
    }
    let first = number("SIM_FIRST").unwrap_or(1);
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let batch = batch(first..first + seeds, threads);
    for (what, count) in &batch.counts {
        println!("{count:>9} {what}");
    }
    if let Some(failure) = batch.failure {
        panic!("{failure}");
    }
    println!("{} seeds", batch.seeds);
    let missing = batch.missing();
    assert!(
        seeds < SEEDS_COVERING || missing.is_empty(),
        "never met: {missing:?}"
    );
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
    for seed in 0..200 {
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
        assert!(
            events >= 60 && faults >= 10 && sources >= 3 && pods >= 8,
            "seed {seed}"
        );
    }
}
