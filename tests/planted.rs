//! The simulation bites: every bug on purpose is found. Built by `just planted` only.
#![cfg(planted)]

use std::sync::atomic::{AtomicUsize, Ordering};

use zen_lead::planted::{BUGS, plant};
use zen_sim::{Plan, run};

/// Each is found within so many.
const SEEDS: u64 = 500;

#[test]
fn every_bug_is_found() {
    let next = AtomicUsize::new(0);
    let missed = std::sync::Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(bug) = BUGS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    plant(Some(*bug));
                    let found = (1..=SEEDS).find_map(|seed| {
                        let violation = run(&Plan::of(seed)).violation?;
                        Some((seed, violation))
                    });
                    match found {
                        Some((seed, violation)) => println!("{bug:?}: seed {seed}: {violation}"),
                        None => {
                            println!("{bug:?}: not found");
                            missed.lock().expect("no panic").push(*bug);
                        }
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().expect("no panic");
    assert!(missed.is_empty(), "not found: {missed:?}");
}
