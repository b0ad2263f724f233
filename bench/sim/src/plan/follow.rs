//! Applications that elect their own leader, and sources that follow them: drawn apart from all else,
//! which stays as it would be without.

use super::nodes::make_quiet;
use super::{LATE_MS, SPAN_MS, Step, What, World};
use crate::chance::Chance;
use crate::event::{APPS, Elector, ElectorAct, Event, SOURCES};
use crate::fault::Fault;

/// Sets these draws apart.
const OWN: u64 = 0x0066_6f6c_6c6f_7700;
/// A time without faults.
const QUIET_MS: std::ops::Range<u64> = 280_000..400_000;
/// In it, applications move their leaders, once it has been calm for a minute.
const MOVES_MS: std::ops::Range<u64> = 343_000..398_000;
/// Before that, two sources are settled.
const SETTLED_MS: u64 = 320_000;
const ENABLED: &str = "zen-lead.io/enabled";
/// Settings of a source that is settled: the first two have a value.
const PLAIN: [&str; 8] = [
    ENABLED,
    FOLLOW,
    MIN_DELAY,
    "zen-lead.io/paused",
    "zen-lead.io/min-ready-duration",
    "zen-lead.io/leader-service-name",
    "zen-lead.io/leader-service-type",
    "zen-lead.io/preferred-leader",
];
const FOLLOW: &str = "zen-lead.io/follow";
const MIN_DELAY: &str = "zen-lead.io/failover-min-delay";
/// What cannot be read, or is not allowed, or is not there.
const ODD: [&str; 5] = [
    "lease",
    "lable/role=primary",
    "lease/elsewhere/lock-a",
    "lease/none",
    "label/",
];

pub(super) fn chance(seed: u64) -> Chance {
    Chance::new(seed ^ OWN)
}

/// Whether there are such applications.
pub(super) fn ask(chance: &mut Chance, world: &mut World) {
    if chance.percent(30) {
        world.electors = APPS.map(|app| Elector::any(chance, app)).into();
    }
}

/// What they do, and which sources follow them.
pub(super) fn befall(chance: &mut Chance, world: &World, steps: &mut Vec<Step>) {
    if world.electors.is_empty() {
        return;
    }
    // Silent nodes have a quiet time of their own.
    if world.node_leases.is_none() {
        make_quiet(steps, &QUIET_MS);
        settle(world, steps);
        moves(chance, steps);
    }
    let step = |at_ms, what| Step { at_ms, what };
    for _ in 0..chance.between(1, 3) {
        let fault = Fault::Mute {
            app: chance.pick(&APPS),
            for_ms: chance.pick(&[5_000, 20_000, 60_000]),
        };
        steps.push(step(apart(chance), What::Fault(fault)));
    }
    for _ in 0..chance.between(0, 2) {
        let fault = Fault::NoLeases {
            of_all: chance.percent(50),
            for_ms: chance.pick(&[5_000, 30_000, 60_000]),
        };
        steps.push(step(apart(chance), What::Fault(fault)));
    }
    for name in SOURCES {
        if chance.percent(70) {
            let at_ms = chance.pick(&[5, 5, 60, 2_000, 30_000]);
            let app = app_of(steps, name);
            steps.push(step(at_ms, follow(chance, world, name, app)));
        }
    }
    for _ in 0..chance.between(8, 20) {
        let at_ms = chance.between(3_000, SPAN_MS - 30_000);
        let what = if chance.percent(80) {
            What::Event(Event::Elector {
                app: chance.pick(&APPS),
                act: ElectorAct::any(chance),
            })
        } else {
            let (name, app) = (chance.pick(&SOURCES), chance.pick(&APPS));
            follow(chance, world, name, app)
        };
        steps.push(step(at_ms, what));
    }
}

/// A time for what lasts, outside the quiet one.
fn apart(chance: &mut Chance) -> u64 {
    if chance.percent(50) {
        chance.between(10_000, QUIET_MS.start - 62_000)
    } else {
        chance.between(QUIET_MS.end, SPAN_MS - LATE_MS)
    }
}

/// Two sources follow as plainly as can be, and their applications have pods.
fn settle(world: &World, steps: &mut Vec<Step>) {
    let mut settled = |event| {
        steps.push(Step {
            at_ms: SETTLED_MS,
            what: What::Event(event),
        });
    };
    for (app, pods) in [("a", ["p0", "p1", "p2"]), ("b", ["p3", "p4", "p5"])] {
        for (name, ip) in pods.into_iter().zip([230, 231, 234]) {
            let ip = if app == "a" { ip } else { ip + 10 };
            for event in [
                Event::Finish { name },
                Event::Pod {
                    name,
                    app,
                    node: "n0",
                    ip,
                    ready: true,
                    of_job: false,
                },
                Event::Relabel { name, app },
                Event::Recreate { name, ip },
            ] {
                settled(event);
            }
        }
        settled(Event::Source {
            name: app,
            app,
            ports: 0,
            enabled: true,
            dual: false,
        });
        settled(Event::Ports {
            name: app,
            ports: 0,
        });
        settled(Event::Select {
            name: app,
            app: Some(app),
        });
        for key in PLAIN {
            let elector = world.electors.iter().find(|elector| elector.app == app);
            let value = match key {
                FOLLOW => elector.map(|elector| elector.habit.followed_by(app)),
                ENABLED => Some("true"),
                _ => None,
            };
            settled(Event::Annotate {
                name: app,
                key,
                value,
            });
        }
    }
}

/// Another pod leads, again and again, while nothing is wrong.
fn moves(chance: &mut Chance, steps: &mut Vec<Step>) {
    let mut at_ms = MOVES_MS.start;
    while at_ms < MOVES_MS.end {
        let (app, act) = (chance.pick(&APPS[..2]), ElectorAct::Move);
        steps.push(Step {
            at_ms,
            what: What::Event(Event::Elector { app, act }),
        });
        at_ms += chance.between(2_000, 6_000);
    }
}

/// The application that a source selects at first.
fn app_of(steps: &[Step], source: &str) -> &'static str {
    let first = steps.iter().find_map(|step| match &step.what {
        What::Event(Event::Source { name, app, .. }) if *name == source => Some(*app),
        _ => None,
    });
    let known = first.and_then(|first| APPS.iter().find(|app| **app == first));
    known.copied().unwrap_or(APPS[0])
}

fn follow(chance: &mut Chance, world: &World, name: &'static str, app: &str) -> What {
    let elector = world.electors.iter().find(|elector| elector.app == app);
    let value = elector.map(|elector| elector.habit.followed_by(app));
    let (key, value) = match chance.below(20) {
        0..=12 => (FOLLOW, value),
        13..=14 => (FOLLOW, Some(chance.pick(&ODD))),
        15 => (FOLLOW, None),
        _ => (MIN_DELAY, chance.pick(&[None, Some("0s"), Some("5s")])),
    };
    What::Event(Event::Annotate { name, key, value })
}
