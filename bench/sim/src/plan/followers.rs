//! Services for the followers: drawn apart from all else, which stays as it would be without.

use super::{SPAN_MS, Step, What};
use crate::chance::Chance;
use crate::event::{Event, SOURCES};

/// Sets these draws apart.
const OWN: u64 = 0x0072_6561_6465_7273;
const NAME: &str = "zen-lead.io/followers-service-name";

/// In some of the seeds, some sources ask for one.
pub(super) fn befall(seed: u64, steps: &mut Vec<Step>) {
    let mut chance = Chance::new(seed ^ OWN);
    if !chance.percent(25) {
        return;
    }
    for name in SOURCES {
        let at_ms = chance.pick(&[5, 5, 2_000, 30_000]);
        steps.push(ask(&mut chance, at_ms, name, true));
    }
    for _ in 0..chance.between(2, 6) {
        let at_ms = chance.between(3_000, SPAN_MS - 30_000);
        let (name, is_sure) = (chance.pick(&SOURCES), chance.percent(50));
        steps.push(ask(&mut chance, at_ms, name, is_sure));
    }
}

/// A source asks for a Service under a name of its own, or under another name, or for none any more.
fn ask(chance: &mut Chance, at_ms: u64, name: &'static str, is_sure: bool) -> Step {
    let (one, two) = match name {
        "a" => ("a-readers", "a-others"),
        "b" => ("b-readers", "b-others"),
        "c" => ("c-readers", "c-others"),
        _ => ("d-readers", "d-others"),
    };
    let value = if is_sure {
        Some(one)
    } else {
        chance.pick(&[None, Some(two), Some("Bad_Name")])
    };
    Step {
        at_ms,
        what: What::Event(Event::Annotate {
            name,
            key: NAME,
            value,
        }),
    }
}
