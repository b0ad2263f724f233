//! A schedule: what happens when, drawn from a seed, and small enough to be taken apart.

use std::collections::BTreeSet;

use simkube::Kind;

use crate::chance::Chance;
use crate::event::{Event, PODS, PodAct, SOURCES};

/// Virtual time in which things happen, in milliseconds.
pub(crate) const SPAN_MS: u64 = 600_000;
/// Nothing whose effects last for minutes happens in so much of it before the end.
const LATE_MS: u64 = 120_000;

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
    /// Failovers of one Service that its budget allows, and the seconds in which it is filled
    /// again; `None` any number.
    pub guard: Option<(u32, u32)>,
    /// Between two renewals of the Lease; it lasts four times as long. One is the default, and takes
    /// as much of a run's time as all the rest.
    pub renewal_s: u8,
    /// The garbage collector comes by so often, or never.
    pub collector_ms: Option<u64>,
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

/// Something breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the fields say what they are")]
pub enum Fault {
    /// For a while, requests have trouble.
    Requests {
        trouble: Trouble,
        percent: u8,
        for_ms: u64,
    },
    /// For a while, frames of watches have trouble.
    Frames {
        trouble: FrameTrouble,
        percent: u8,
        for_ms: u64,
    },
    /// For a while, a watch shows everything so much later.
    Lag { kind: Kind, by_ms: u64, for_ms: u64 },
    /// RBAC refuses a verb on a resource for a while.
    Forbid {
        verb: &'static str,
        resource: &'static str,
        for_ms: u64,
    },
    /// A watch shows nothing for a while, and then what it missed is forgotten: a new list.
    Blackout { kind: Kind, for_ms: u64 },
    /// The server forgets its history.
    Compact,
    /// All watches of a kind end, cleanly or not.
    Unwatch { kind: Kind, broken: bool },
    /// Nothing reaches a replica for a while, and nothing of its reaches the server.
    Partition {
        whom: Whom,
        /// Connections break; else nothing is heard on them.
        broken: bool,
        for_ms: u64,
    },
    /// A replica is not scheduled for a while (SIGSTOP, a frozen machine).
    Pause { whom: Whom, for_ms: u64 },
    /// A replica's wall clock jumps by so many seconds.
    Jump { whom: Whom, by_s: i64 },
    /// A replica dies and comes back.
    Crash { whom: Whom, down_ms: u64 },
    /// A replica dies in the middle of one of its next requests, whose effect is there or not, and
    /// comes back: so it dies between any two.
    CrashInRequest {
        whom: Whom,
        /// Only writes to Services and slices count.
        of_writes: bool,
        skip: u8,
        applied: bool,
        down_ms: u64,
    },
    /// A replica is stopped in good order and started again.
    Restart { whom: Whom, down_ms: u64 },
}

/// The replica that something happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Whoever holds the Lease.
    Holder,
    /// This one, counted round.
    Number(u8),
}

/// What happens to requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// They take their time.
    Slow,
    /// The connection breaks before the effect.
    LostBefore,
    /// The connection breaks after the effect.
    LostAfter,
    /// No answer, no effect.
    HangBefore,
    /// No answer, but the effect.
    HangAfter,
    /// They arrive twice.
    Twice,
    /// 429, with and without Retry-After.
    Throttled,
    /// 500, 503 or 504, without effect.
    Broken,
    /// 500, 503 or 504, after the effect.
    BrokenAfter,
    /// The answer is cut off.
    Truncated,
    /// Lists show the past.
    Stale,
}

/// What happens to frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameTrouble {
    /// They come twice.
    Twice,
    /// The connection breaks in the middle of one.
    Cut,
    /// The stream ends.
    End,
    /// 410.
    Expire,
}

/// All there are.
pub(crate) const TROUBLES: [Trouble; 12] = [
    // Twice as often: it hits lists only.
    Trouble::Stale,
    Trouble::Slow,
    Trouble::LostBefore,
    Trouble::LostAfter,
    Trouble::HangBefore,
    Trouble::HangAfter,
    Trouble::Twice,
    Trouble::Throttled,
    Trouble::Broken,
    Trouble::BrokenAfter,
    Trouble::Truncated,
    Trouble::Stale,
];
/// All there are.
pub(crate) const FRAME_TROUBLES: [FrameTrouble; 4] = [
    FrameTrouble::Twice,
    FrameTrouble::Cut,
    FrameTrouble::End,
    FrameTrouble::Expire,
];
const WATCHED: [Kind; 4] = [Kind::Service, Kind::EndpointSlice, Kind::Pod, Kind::Lease];

impl Plan {
    /// The schedule of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let world = World {
            dual_stack: chance.percent(40),
            streaming: chance.percent(55),
            refuses_by_status: chance.percent(50),
            history: usize::try_from(chance.pick(&[20, 200, 1_000])).unwrap_or(200),
            chunk: chance.percent(20).then_some(113),
            replicas: chance.pick(&[1, 1, 2, 2, 3]),
            renewal_s: chance.pick(&[1, 3, 3]),
            collector_ms: chance.pick(&[None, Some(5_000), Some(30_000)]),
            guard: chance.pick(&[None, None, None, Some((2, 600)), Some((3, 20))]),
        };
        let mut steps = beginning(&mut chance, &world);
        steps.extend(workload(&mut chance, &world));
        steps.extend(faults(&mut chance, &world));
        // Stable: what is drawn first happens first.
        steps.sort_by_key(|step| step.at_ms);
        Self { seed, world, steps }
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
        let fault = fault(chance, for_ms);
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

fn fault(chance: &mut Chance, for_ms: u64) -> Fault {
    let down_ms = chance.pick(&[0, 5, 300, 5_000, 40_000]);
    let percent = chance.pick(&[10, 30, 70, 100]);
    let whom = chance.pick(&[
        Whom::Holder,
        Whom::Holder,
        Whom::Number(0),
        Whom::Number(1),
        Whom::Number(2),
    ]);
    match chance.below(102) {
        0..=36 => Fault::Requests {
            trouble: chance.pick(&TROUBLES),
            percent,
            for_ms,
        },
        37..=47 => Fault::Frames {
            trouble: chance.pick(&FRAME_TROUBLES),
            percent: percent.min(70),
            for_ms,
        },
        48..=57 => Fault::Lag {
            kind: chance.pick(&WATCHED),
            by_ms: chance.pick(&[20, 500, 5_000]),
            for_ms,
        },
        58..=62 => Fault::Forbid {
            verb: chance.pick(&["create", "patch", "delete", "list", "watch"]),
            resource: chance.pick(&["services", "endpointslices", "pods", "events", "leases"]),
            for_ms,
        },
        63..=64 => Fault::Compact,
        65..=70 => Fault::Blackout {
            kind: chance.pick(&[Kind::Pod, Kind::Pod, Kind::Service, Kind::EndpointSlice]),
            for_ms,
        },
        71..=75 => Fault::Unwatch {
            kind: chance.pick(&WATCHED),
            broken: chance.percent(50),
        },
        76..=80 => Fault::Pause {
            whom,
            for_ms: chance.pick(&[50, 3_000, 20_000]),
        },
        81..=84 => Fault::Jump {
            whom,
            by_s: chance.pick(&[-86_400, -30, 30, 86_400]),
        },
        85..=90 => Fault::Crash { whom, down_ms },
        91..=96 => Fault::CrashInRequest {
            whom,
            of_writes: chance.percent(75),
            skip: chance.pick(&[0, 0, 1, 2, 5]),
            applied: chance.percent(50),
            down_ms,
        },
        97..=99 => Fault::Restart { whom, down_ms },
        _ => Fault::Partition {
            whom,
            broken: chance.percent(50),
            for_ms: chance.pick(&[500, 3_000, 12_000, 30_000]),
        },
    }
}

impl Fault {
    /// How long it is in force, in milliseconds.
    pub(crate) fn lasts_ms(&self) -> u64 {
        match *self {
            Self::Requests { for_ms, .. }
            | Self::Frames { for_ms, .. }
            | Self::Lag { for_ms, .. }
            | Self::Forbid { for_ms, .. }
            | Self::Blackout { for_ms, .. }
            | Self::Partition { for_ms, .. }
            | Self::Pause { for_ms, .. } => for_ms,
            Self::Crash { down_ms, .. }
            | Self::CrashInRequest { down_ms, .. }
            | Self::Restart { down_ms, .. } => down_ms,
            Self::Compact | Self::Unwatch { .. } | Self::Jump { .. } => 0,
        }
    }

    /// The name under which its occurrences are counted.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::Requests { trouble, .. } => format!("{trouble:?}"),
            Self::Frames { trouble, .. } => format!("frame {trouble:?}"),
            Self::Unwatch { broken: false, .. } => "watches closed".into(),
            Self::Unwatch { broken: true, .. } => "watches broken".into(),
            Self::CrashInRequest {
                of_writes: true, ..
            } => "CrashInWrite".into(),
            other => {
                let text = format!("{other:?}");
                let end = text.find([' ', '{']).unwrap_or(text.len());
                text[..end].to_owned()
            }
        }
    }
}
