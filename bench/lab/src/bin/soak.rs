//! The long simulation: many seeds, until one fails or the time is up.
//!
//! Prints how often every event, fault, edge and reason occurred, and fails if enough seeds never
//! met one of them. A seed that fails is printed with the smallest schedule that still fails.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Duration;

use argh::FromArgs;
use tokio::time::Instant;
use zen_sim::{Batch, Failure, Plan, batch, run};

/// So many seeds meet everything there is.
const SEEDS_COVERING: u64 = 2_000;
/// Between two lines of progress.
const PROGRESS_EVERY: u64 = 500;

/// Simulates the controller in a cluster where everything goes wrong, decided by seeds.
#[derive(FromArgs)]
struct Flags {
    /// seeds to run; without it and without --minutes 5000
    #[argh(option)]
    seeds: Option<u64>,
    /// the first seed [default: 1]
    #[argh(option, default = "1")]
    first: u64,
    /// no seed begins after so many minutes
    #[argh(option)]
    minutes: Option<u64>,
    /// threads [default: as many as there are cores]
    #[argh(option)]
    threads: Option<NonZeroUsize>,
    /// replay this seed alone, and print its trace
    #[argh(option)]
    replay: Option<u64>,
    /// look for the bugs that `just planted` builds in, instead
    #[argh(switch)]
    planted: bool,
    /// with --planted: only the bug of this name
    #[argh(option)]
    bug: Option<String>,
}

fn main() -> ExitCode {
    let flags: Flags = argh::from_env();
    let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let threads = flags.threads.unwrap_or_else(cores);
    if flags.planted {
        return planted::find_all(threads, flags.bug.as_deref());
    }
    if let Some(seed) = flags.replay {
        return replay(seed);
    }
    let seeds = match (flags.seeds, flags.minutes) {
        (Some(seeds), _) => seeds,
        (None, Some(_)) => u64::MAX - flags.first,
        (None, None) => 5_000,
    };
    let began = Instant::now();
    let limit = flags
        .minutes
        .map(|minutes| Duration::from_secs(60 * minutes));
    let goes_on = |batch: &Batch| {
        let passed = began.elapsed();
        if batch.seeds.is_multiple_of(PROGRESS_EVERY) {
            println!("{:>7} s {:>9} seeds", passed.as_secs(), batch.seeds);
        }
        limit.is_none_or(|limit| passed < limit)
    };
    let batch = batch(flags.first..flags.first + seeds, threads, &goes_on);
    println!("{batch}\n{:>9} seconds", began.elapsed().as_secs());
    if let Some(failure) = &batch.failure {
        println!("{failure}");
        return ExitCode::FAILURE;
    }
    let missing = batch.missing();
    if !missing.is_empty() {
        println!("never met: {}", missing.join(", "));
        if batch.seeds >= SEEDS_COVERING {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// The same run again, bit for bit.
fn replay(seed: u64) -> ExitCode {
    let outcome = run(&Plan::of(seed));
    println!("{}\nhash {:016x}", outcome.trace.join("\n"), outcome.hash);
    match outcome.violation {
        Some(violation) => {
            println!("{}", Failure::of(seed, violation));
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

#[cfg(planted)]
mod planted {
    //! Each bug on purpose has to be found.

    use std::num::NonZeroUsize;
    use std::process::ExitCode;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use zen_lead::mutations::{BUGS, Mutation, plant};
    use zen_sim::{Plan, run};

    /// Each is found within so many.
    const SEEDS: u64 = 500;

    pub(super) fn find_all(threads: NonZeroUsize, only: Option<&str>) -> ExitCode {
        let is_meant = |bug: &Mutation| only.is_none_or(|only| format!("{bug:?}") == only);
        let bugs: Vec<Mutation> = BUGS.iter().copied().filter(is_meant).collect();
        if bugs.is_empty() {
            eprintln!(
                "soak: --bug: expected a name of src/planted.rs, such as {:?}",
                BUGS[0]
            );
            return ExitCode::FAILURE;
        }
        let (next, missed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..threads.get() {
                scope.spawn(|| {
                    while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        match find(*bug) {
                            Some((seed, violation)) => {
                                println!("{bug:?}: seed {seed}: {violation}");
                            }
                            None => {
                                println!("{bug:?}: NOT FOUND in {SEEDS} seeds");
                                missed.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                });
            }
        });
        let missed = missed.into_inner();
        println!("{} of {} bugs found", bugs.len() - missed, bugs.len());
        if missed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn find(bug: Mutation) -> Option<(u64, String)> {
        plant(Some(bug));
        (1..=SEEDS).find_map(|seed| Some((seed, run(&Plan::of(seed)).violation?)))
    }
}

#[cfg(not(planted))]
mod planted {
    use std::num::NonZeroUsize;
    use std::process::ExitCode;

    /// There are none in this build.
    pub(super) fn find_all(_: NonZeroUsize, _: Option<&str>) -> ExitCode {
        eprintln!("soak: --planted needs a build with --cfg planted: run `just planted`");
        ExitCode::FAILURE
    }
}
