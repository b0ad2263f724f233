//! A schedule: what happens when, drawn from a seed, and small enough to be taken apart.

mod follow;
mod followers;
mod nodes;
mod rare;

use std::collections::BTreeSet;

use simkube::{Expiry, Kind, Options};

use crate::chance::Chance;
use crate::event::{Elector, Event, PODS, PodAct, SOURCES};
use crate::fault::Fault;

/// Virtual time in which things happen, in milliseconds.
pub(crate) const SPAN_MS: u64 = 600_000;
/// Nothing whose effects last for minutes happens in so much of it before the end.
const LATE_MS: u64 = 120_000;

const ANY_NUMBER: Budget = Budget {
    per_service: 0,
    global: 0,
    window_s: 600,
};
const FEW: Budget = Budget {
    per_service: 2,
    ..ANY_NUMBER
};
const SOON_FULL: Budget = Budget {
    per_service: 3,
    global: 0,
    window_s: 20,
};

/// Everything that decides a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Decides what is left open: answers of the server, jitter, which requests a fault hits.
    pub seed: u64,
    /// What the cluster is like.
    pub world: World,
    /// What happens, in order of time.
    pub steps: Vec<Step>,
}

/// What the cluster is like.
#[expect(
    clippy::struct_excessive_bools,
    reason = "settings that do not depend on each other"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    /// Services can have two families.
    pub dual_stack: bool,
    /// The server knows streaming lists.
    pub streaming: bool,
    /// A watch that starts too late is refused by a status, not by a frame.
    pub refuses_by_status: bool,
    /// Changes that the server remembers.
    pub history: usize,
    /// Pieces in which bodies arrive.
    pub chunk: Option<usize>,
    /// Replicas of the controller.
    pub replicas: u8,
    /// Failovers that there may be.
    pub budget: Budget,
    /// Leaders leave nodes that are cordoned or about to be deleted.
    pub leave_cordoned: bool,
    /// When the Lease of a node counts as stalled; `None` never.
    pub node_leases: Option<NodeLeases>,
    /// Between two renewals of the Lease; it lasts four times as long. One is the default, and takes
    /// as much of a run's time as all the rest.
    pub renewal_s: u8,
    /// The server keeps managedFields.
    pub managed_fields: bool,
    /// The garbage collector comes by so often, or never.
    pub collector_ms: Option<u64>,
    /// Applications that elect their own leader; sources may follow them.
    pub electors: Vec<Elector>,
}

/// How many failovers there may be because a leader was not Ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Of one Service; 0 any number.
    pub per_service: u32,
    /// Of all together; 0 any number.
    pub global: u32,
    /// The seconds in which an empty one is filled again.
    pub window_s: u32,
}

/// When a node counts as down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLeases {
    /// Its Lease was not renewed for so many seconds.
    pub timeout_s: u32,
    /// No more than this share of the nodes fell silent together, in percent.
    pub share_max: u8,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When, in milliseconds of virtual time.
    pub at_ms: u64,
    /// What.
    pub what: What,
}

/// Workload or fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The cluster changes.
    Event(Event),
    /// Something breaks.
    Fault(Fault),
}

impl Plan {
    /// The schedule of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let mut world = World {
            dual_stack: chance.percent(40),
            streaming: chance.percent(55),
            refuses_by_status: chance.percent(50),
            history: usize::try_from(chance.pick(&[20, 200, 1_000])).unwrap_or(200),
            chunk: chance.percent(20).then_some(113),
            replicas: chance.pick(&[1, 1, 2, 2, 3]),
            renewal_s: chance.pick(&[1, 3, 3]),
            collector_ms: chance.pick(&[None, Some(5_000), Some(30_000)]),
            budget: chance.pick(&[ANY_NUMBER, ANY_NUMBER, ANY_NUMBER, FEW, SOON_FULL]),
            leave_cordoned: false,
            node_leases: None,
            managed_fields: false,
            electors: Vec::new(),
        };
        let mut own = nodes::chance(seed);
        nodes::ask(&mut own, &mut world);
        let mut rarely = rare::chance(seed);
        world.managed_fields = rarely.percent(30);
        let mut followed = follow::chance(seed);
        follow::ask(&mut followed, &mut world);
        let mut steps = beginning(&mut chance, &world);
        steps.extend(workload(&mut chance, &world));
        steps.extend(faults(&mut chance, &world));
        nodes::befall(&mut own, &world, &mut steps);
        // Silent nodes are judged where nothing else goes wrong.
        if world.node_leases.is_none() {
            rare::befall(&mut rarely, &mut steps);
        }
        follow::befall(&mut followed, &world, &mut steps);
        followers::befall(seed, &mut steps);
        // Stable: what is drawn first happens first.
        steps.sort_by_key(|step| step.at_ms);
        Self { seed, world, steps }
    }

    /// The server of this run.
    pub(crate) fn options(&self) -> Options {
        let world = &self.world;
        Options {
            seed: self.seed,
            dual_stack: world.dual_stack,
            watch_list: world.streaming,
            expiry: if world.refuses_by_status {
                Expiry::Status
            } else {
                Expiry::Frame
            },
            history: world.history,
            chunk: world.chunk,
            managed_fields: world.managed_fields,
            log_limit: 20_000,
            ..Options::default()
        }
    }
}

/// At least three Services and eight pods.
fn beginning(chance: &mut Chance, world: &World) -> Vec<Step> {
    let mut steps = Vec::new();
    let sources = usize::try_from(chance.between(3, 4)).unwrap_or(3);
    let pods = usize::try_from(chance.between(8, 10)).unwrap_or(8);
    for name in &SOURCES[..sources] {
        steps.push(Event::source(chance, name, world.dual_stack));
    }
    for name in &PODS[..pods] {
        steps.push(Event::pod(chance, name));
    }
    // Some of it is there before the controller, some comes while it starts.
    let early = chance.between(0, 2);
    steps
        .into_iter()
        .enumerate()
        .map(|(at, event)| Step {
            at_ms: early * at as u64 * 40,
            what: What::Event(event),
        })
        .collect()
}

/// At least sixty events; most of them follow close on another, so that there is calm as well.
fn workload(chance: &mut Chance, world: &World) -> Vec<Step> {
    let count = chance.between(64, 120);
    let mut last = 1_000;
    let mut steps = Vec::new();
    for _ in 0..count {
        let is_close = chance.percent(60);
        let at_ms = if is_close {
            last + chance.below(250)
        } else {
            chance.between(500, SPAN_MS - 1_000)
        };
        last = at_ms;
        let is_late = at_ms > SPAN_MS - LATE_MS;
        steps.push(Step {
            at_ms,
            what: What::Event(Event::any(chance, world.dual_stack, is_late)),
        });
    }
    steps
}

/// At least ten, of at least three kinds; in the middle of most that last, something happens.
fn faults(chance: &mut Chance, world: &World) -> Vec<Step> {
    let count = usize::try_from(chance.between(10, 18)).unwrap_or(10);
    let (mut kinds, mut faults) = (BTreeSet::new(), 0);
    let mut steps = Vec::new();
    while faults < count || kinds.len() < 3 {
        let at_ms = chance.below(SPAN_MS - 10_000);
        let for_ms = chance.pick(&[200, 2_000, 10_000, 30_000]);
        let fault = Fault::any(chance, for_ms);
        let middle_ms = at_ms + fault.lasts_ms() / 2;
        if middle_ms > at_ms && middle_ms < SPAN_MS - 1_000 && chance.percent(60) {
            let is_late = middle_ms > SPAN_MS - LATE_MS;
            steps.push(Step {
                at_ms: middle_ms,
                what: What::Event(companion(chance, world, &fault, is_late)),
            });
        }
        kinds.insert(fault.kind());
        faults += 1;
        steps.push(Step {
            at_ms,
            what: What::Fault(fault),
        });
    }
    steps
}

/// What had better be noticed afterwards.
fn companion(chance: &mut Chance, world: &World, fault: &Fault, is_late: bool) -> Event {
    match fault {
        Fault::Blackout {
            kind: Kind::Pod, ..
        } => Event::OfLeader {
            of: chance.pick(&SOURCES),
            act: PodAct::Kill,
        },
        Fault::Crash { .. } | Fault::CrashInRequest { .. } | Fault::Restart { .. }
            if chance.percent(50) =>
        {
            Event::leave(chance)
        }
        _ => Event::any(chance, world.dual_stack, is_late),
    }
}
