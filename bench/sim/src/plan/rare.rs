//! A restore of etcd, and parts of leader Services that the server refuses: drawn apart from all else,
//! which stays as it would be without.

use super::{LATE_MS, SPAN_MS, Step, What};
use crate::chance::Chance;
use crate::event::{Event, PodAct, SOURCES};
use crate::fault::{FIELDS, Fault, Field};

/// Sets these draws apart, and that of the managedFields.
const OWN: u64 = 0x0072_6172_6500;
/// Ages of the backup.
const LOST_MS: [u64; 4] = [60_000, 120_000, 180_000, 240_000];
/// No restore before this, so that the backup holds a cluster that is served.
const RESTORED_MIN_MS: u64 = 260_000;

pub(super) fn chance(seed: u64) -> Chance {
    Chance::new(seed ^ OWN)
}

/// What is rare, in some of the seeds.
pub(super) fn befall(chance: &mut Chance, steps: &mut Vec<Step>) {
    if chance.percent(30) {
        for _ in 0..chance.between(1, 3) {
            refuse(chance, steps);
        }
    }
    if chance.percent(20) {
        let fault = Fault::Restore {
            lost_ms: chance.pick(&LOST_MS),
            for_ms: chance.pick(&[1_000, 5_000, 20_000]),
        };
        steps.push(Step {
            at_ms: chance.between(RESTORED_MIN_MS, SPAN_MS - LATE_MS),
            what: What::Fault(fault),
        });
    }
}

/// A part is refused for a while. Meanwhile a user changes it, and a leader goes.
fn refuse(chance: &mut Chance, steps: &mut Vec<Step>) {
    let at_ms = chance.between(5_000, SPAN_MS - LATE_MS);
    let for_ms = chance.pick(&[20_000, 30_000, 60_000]);
    let (field, name) = (chance.pick(&FIELDS), chance.pick(&SOURCES));
    let act = chance.pick(&[PodAct::Kill, PodAct::Unready]);
    let middle_ms = at_ms + chance.below(for_ms / 3);
    let all = [
        (at_ms, What::Fault(Fault::Freeze { field, for_ms })),
        (middle_ms, What::Event(change(chance, field, name))),
        (
            middle_ms + chance.below(1_000),
            What::Event(Event::OfLeader { of: name, act }),
        ),
    ];
    steps.extend(all.map(|(at_ms, what)| Step { at_ms, what }));
}

/// A user changes a source, so that this part of its leader Service is to change.
fn change(chance: &mut Chance, field: Field, name: &'static str) -> Event {
    match field {
        Field::Ports => Event::Ports {
            name,
            ports: u8::try_from(chance.below(6)).unwrap_or_default(),
        },
        Field::Type => Event::Annotate {
            name,
            key: "zen-lead.io/leader-service-type",
            value: chance.pick(&[Some("NodePort"), None]),
        },
        Field::Labels | Field::Annotations => Event::Mirror {
            name,
            value: chance.pick(&[Some("red"), Some("blue"), None]),
        },
    }
}
