//! Many seeds on a few threads, and what they have met.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use parking_lot::Mutex;

use crate::event;
use crate::fault::{FRAME_TROUBLES, TROUBLES};
use crate::plan::Plan;
use crate::run::{Outcome, run};
use crate::shrink::shrink;

/// What came of many runs.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// How often everything occurred.
    pub counts: BTreeMap<String, u64>,
    /// Seeds that were run.
    pub seeds: u64,
    /// The failing run of the lowest seed.
    pub failure: Option<Failure>,
}

/// A run that failed, as small as it could be made.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// What was wrong with the whole schedule.
    pub violation: String,
    /// The small schedule.
    pub plan: Plan,
    /// What comes of it.
    pub outcome: Outcome,
}

impl Failure {
    /// Runs a schedule that fails, and makes it small.
    #[must_use]
    pub fn of(seed: u64, violation: String) -> Self {
        let (plan, outcome) = shrink(&Plan::of(seed));
        Self {
            seed,
            violation,
            plan,
            outcome,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.violation)?;
        writeln!(
            f,
            "the smallest schedule that fails, in {:?}:",
            self.plan.world
        )?;
        for step in &self.plan.steps {
            writeln!(f, "{:>8} ms {:?}", step.at_ms, step.what)?;
        }
        writeln!(f, "its last lines:")?;
        for line in &self.outcome.trace {
            writeln!(f, "  {line}")?;
        }
        for machine in &self.outcome.machines {
            writeln!(f, "{machine}")?;
        }
        let violation = self.outcome.violation.as_deref().unwrap_or_default();
        writeln!(f, "so small, it fails by: {violation}")?;
        writeln!(f, "replay: just sim {}", self.seed)
    }
}

/// Runs these seeds on `threads` threads, until one fails or `goes_on`, which is asked after each
/// seed, says no.
#[must_use]
pub fn batch(
    seeds: Range<u64>,
    threads: NonZeroUsize,
    goes_on: &(dyn Fn(&Batch) -> bool + Sync),
) -> Batch {
    let next = AtomicU64::new(seeds.start);
    let is_over = AtomicBool::new(false);
    let all = Mutex::new((Batch::default(), BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..threads.get() {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = run(&Plan::of(seed));
                    let mut all = all.lock();
                    all.0.add(&outcome);
                    if let Some(violation) = outcome.violation {
                        is_over.store(true, Ordering::Relaxed);
                        all.1.insert(seed, violation);
                    } else if !goes_on(&all.0) {
                        is_over.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let (mut batch, mut failures) = all.into_inner();
    batch.failure = failures
        .pop_first()
        .map(|(seed, violation)| Failure::of(seed, violation));
    batch
}

impl Batch {
    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        for (what, count) in &outcome.counts {
            *self.counts.entry(what.clone()).or_default() += count;
        }
    }

    /// What should have occurred and has not.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        kinds()
            .into_iter()
            .filter(|kind| !self.counts.contains_key(kind))
            .collect()
    }
}

/// Edges of the state machine.
const EDGES: [&str; 8] = [
    "Unmanaged→Electing",
    "Electing→Serving",
    "Serving→Serving",
    "Serving→Electing",
    "Electing→Draining",
    "Serving→Draining",
    "Draining→Unmanaged",
    "Draining→Electing",
];
/// Reasons of failovers.
const REASONS: [&str; 11] = [
    "notReady",
    "terminating",
    "deleted",
    "disrupted",
    "noIP",
    "unlabelled",
    "strategy",
    "switchover",
    "noneReady",
    "followed",
    "unnamed",
];

/// Every event, fault, edge and reason that there is.
#[must_use]
pub fn kinds() -> BTreeSet<String> {
    let troubles = TROUBLES.map(|trouble| format!("fault {trouble:?}"));
    let frames = FRAME_TROUBLES.map(|trouble| format!("fault frame {trouble:?}"));
    let others = [
        "Lag",
        "Blackout",
        "Forbid",
        "Compact",
        "watches closed",
        "watches broken",
        "Partition",
        "ServerRestart",
        "Restore",
        "Freeze Ports",
        "Freeze Type",
        "Freeze Labels",
        "Freeze Annotations",
        "NodeSilent",
        "NodesSilent",
        "Mute",
        "NoLeases",
        "NoLeasesTogether",
        "Pause",
        "Jump",
        "Crash",
        "CrashInRequest",
        "CrashInWrite",
        "Restart",
    ];
    let others_too = [
        "looks in between",
        "managedFields cleared",
        "look, Ports refused",
        "look, Type refused",
        "look, Labels refused",
        "look, Annotations refused",
        "restore noticed",
        "looks after a restore",
        "hand-over from a node that leaves",
        "node taken for down",
        "node heard of again",
        "kept by --failover-budget-per-service",
        "kept by --failover-budget-global",
        "Lease taken",
        "Lease lost",
        "Lease released",
        "take-over after a crash",
        "take-over after a stop",
        "move followed at once",
    ];
    let events = event::KINDS.iter().map(|event| format!("event {event}"));
    troubles
        .into_iter()
        .chain(events)
        .chain(frames)
        .chain(others_too.map(str::to_owned))
        .chain(others.map(|fault| format!("fault {fault}")))
        .chain(EDGES.map(|edge| format!("edge {edge}")))
        .chain(REASONS.map(|reason| format!("reason {reason}")))
        .collect()
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.counts {
            writeln!(f, "{count:>9} {what}")?;
        }
        write!(f, "{:>9} seeds", self.seeds)
    }
}
