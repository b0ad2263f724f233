//! What befalls nodes, and the settings by which the controller minds it: drawn apart from all else,
//! which stays as it would be without.

use super::{LATE_MS, NodeLeases, SPAN_MS, Step, What, World};
use crate::chance::Chance;
use crate::event::{Event, NODES, PodAct, SOURCES};
use crate::fault::{Fault, NodeSet};

/// Sets these draws apart.
const OWN: u64 = 0x006e_6f64_6573;
/// A time without other faults: a node falls silent in it, and then many at once, as when the
/// control plane fails. Other faults move to after it.
const QUIET_MS: std::ops::Range<u64> = 230_000..400_000;
/// So long after its beginning the first one falls silent, and then the many.
const FIRST_MS: u64 = 25_000;
const MANY_MS: u64 = 95_000;
/// Long enough to be taken for dead, and not as long as all of it.
const SILENCES_MS: [u64; 4] = [15_000, 30_000, 40_000, 60_000];

pub(super) fn chance(seed: u64) -> Chance {
    Chance::new(seed ^ OWN)
}

/// Whether the controller minds nodes, and counts the failovers of all Services.
pub(super) fn ask(chance: &mut Chance, world: &mut World) {
    world.leave_cordoned = chance.percent(25);
    world.node_leases = chance.percent(20).then(|| NodeLeases {
        timeout_s: 20,
        share_max: chance.pick(&[30, 30, 70]),
    });
    world.budget.global = chance.pick(&[0, 0, 0, 0, 0, 0, 1, 4]);
}

/// What befalls nodes, if the controller minds.
pub(super) fn befall(chance: &mut Chance, world: &World, steps: &mut Vec<Step>) {
    if world.leave_cordoned {
        let count = chance.between(5, 9);
        steps.extend((0..count).map(|_| Step {
            at_ms: chance.between(5_000, SPAN_MS - LATE_MS),
            what: What::Event(departure(chance)),
        }));
    }
    if world.node_leases.is_some() {
        make_quiet(steps, &QUIET_MS);
        steps.extend(silences(chance));
    }
}

/// A user cordons or uncordons a node.
fn departure(chance: &mut Chance) -> Event {
    let name = chance.pick(&NODES);
    match chance.below(100) {
        0..=39 => Event::OfLeader {
            of: chance.pick(&SOURCES),
            act: PodAct::Cordon,
        },
        40..=49 => Event::Cordon { name, on: true },
        50..=84 => Event::Cordon { name, on: false },
        _ => Event::Taint {
            name,
            on: chance.percent(60),
        },
    }
}

/// Moves faults from a time to after it.
pub(super) fn make_quiet(steps: &mut [Step], quiet_ms: &std::ops::Range<u64>) {
    for step in steps {
        let What::Fault(fault) = &step.what else {
            continue;
        };
        let end_ms = step.at_ms + fault.lasts_ms();
        if step.at_ms < quiet_ms.end && end_ms > quiet_ms.start {
            step.at_ms = quiet_ms.end + step.at_ms.saturating_sub(quiet_ms.start);
        }
    }
}

/// One node at a time, whatever else goes wrong; then in quiet one, and after it many.
fn silences(chance: &mut Chance) -> Vec<Step> {
    let silence = |at_ms, nodes, for_ms| Step {
        at_ms,
        what: What::Fault(Fault::Silence { nodes, for_ms }),
    };
    let one = |chance: &mut Chance| NodeSet::one(chance.below(NODES.len() as u64));
    let mut steps = Vec::new();
    for _ in 0..chance.between(1, 3) {
        let at_ms = if chance.percent(50) {
            chance.below(QUIET_MS.start - 60_000)
        } else {
            QUIET_MS.end + chance.below(SPAN_MS - QUIET_MS.end - 70_000)
        };
        let nodes = one(chance);
        steps.push(silence(at_ms, nodes, chance.pick(&SILENCES_MS)));
    }
    let quiet = QUIET_MS.start;
    let nodes = one(chance);
    steps.push(silence(
        quiet + FIRST_MS + chance.below(10_000),
        nodes,
        30_000,
    ));
    let others = one(chance).others();
    let many = chance.pick(&[NodeSet::all(), others]);
    steps.push(silence(
        quiet + MANY_MS + chance.below(10_000),
        many,
        45_000,
    ));
    steps
}
