use serde_json::json;

use super::*;
use crate::logic::model::Key;
use crate::logic::plan::Lane;

const T0: Moment = Moment(0);

fn target() -> Target {
    Target {
        kind: Kind::Service,
        key: Key::new("n", "s-leader"),
    }
}

fn patch(parts: &[Part]) -> Write {
    let path = |part: &Part| match part {
        Part::Selector => "/spec/selector",
        Part::Ports => "/spec/ports",
        Part::Identity => "/metadata/annotations/zen-lead.io~1leader-pod-name",
        Part::Labels => "/metadata/labels/app",
        Part::Type => "/spec/type",
        Part::Families => "/spec/ipFamilies",
        Part::NotReady => "/spec/publishNotReadyAddresses",
        Part::Annotations => "/metadata/annotations/note",
        Part::Owner => "/metadata/ownerReferences",
    };
    Write {
        target: target(),
        action: Action::Patch {
            version: "1".into(),
            ops: parts.iter().map(|part| Op::add(path(part), "x")).collect(),
        },
        lane: Lane::Ordinary,
    }
}

fn ops(write: &Write) -> &[Op] {
    let Action::Patch { ops, .. } = &write.action else {
        panic!("a patch");
    };
    ops
}

fn set(parts: &[Part]) -> Parts {
    Parts::of(ops(&patch(parts)))
}

/// What is chosen of these parts, and when the next one is due.
fn choose(refusals: &Refusals, pending: &[Part], now: Moment) -> (Vec<Part>, Option<Moment>) {
    let content = |parts: Parts| {
        let of: Vec<Part> = ALL.into_iter().filter(|part| parts.has(*part)).collect();
        content_of(ops(&patch(&of)))
    };
    let choice = refusals.choose(&target(), set(pending), now, content);
    let chosen = ALL.into_iter().filter(|part| choice.parts.has(*part));
    (chosen.collect(), choice.until)
}

/// A refused content is recognized whatever the memory says that goes with it, and whether a map is
/// there already or not.
#[test]
fn the_memory_of_keys_is_no_content() {
    let one = |memory: &str| {
        let leader = Op::add("/metadata/annotations/zen-lead.io~1current-leader", "a");
        let memory = Op::add("/metadata/annotations/zen-lead.io~1mirrored", memory);
        content_of(&[leader, memory])
    };
    let whole = |memory: &str| {
        let all = json!({"zen-lead.io/current-leader": "a", "zen-lead.io/mirrored": memory});
        content_of(&[Op::add("/metadata/annotations", all)])
    };
    let expected = one("{}");
    assert_eq!([one("{1}"), whole("{}"), whole("{2}")], [expected; 3]);
    let other = Op::add("/metadata/annotations/zen-lead.io~1current-leader", "b");
    assert_ne!(content_of(&[other]), expected);
}

#[test]
fn every_field_of_a_leader_service_is_of_one_part() {
    for part in ALL {
        assert_eq!(set(&[part]), Parts::from(part), "{part:?}");
    }
    let memory = Op::add("/metadata/annotations/zen-lead.io~1mirrored", "{}");
    assert_eq!(
        Parts::of(std::slice::from_ref(&memory)),
        Part::Annotations.into()
    );
    let label = Op::remove("/metadata/labels/app");
    assert_eq!(Parts::of(&[label, memory]), Part::Labels.into());
    let whole = json!({"zen-lead.io/current-leader": "a", "zen-lead.io/mirrored": "{}"});
    let whole = Op::add("/metadata/annotations", whole);
    assert_eq!(Parts::of(&[whole]), Part::Identity.into());
    assert_eq!(Parts::of(&[]), Parts::default());
    for (path, part) in [
        ("/spec/loadBalancerSourceRanges", Part::Type),
        ("/spec/loadBalancerClass", Part::Type),
        ("/spec/clusterIPs", Part::Families),
        ("/metadata/labels", Part::Labels),
    ] {
        assert_eq!(Parts::of(&[Op::remove(path)]), part.into(), "{path}");
    }
}

/// A refused whole is taken apart; what is refused is left out, and is due again later and later.
#[test]
fn what_is_refused_holds_up_nothing_else() {
    use Part::{Families, Identity, Labels, Ports, Type};
    let mut refusals = Refusals::default();
    let all = [Ports, Identity, Labels, Type];
    assert_eq!(choose(&refusals, &all, T0), (all.to_vec(), None), "whole");
    assert!(
        !refusals.note(&patch(&all), WriteFailure::Refused("no"), T0),
        "which one is not known"
    );
    for (at, part) in [Ports, Identity, Labels].into_iter().enumerate() {
        assert_eq!(choose(&refusals, &all[at..], T0), (vec![part], None));
        refusals.accept(&patch(&[part]));
    }
    assert_eq!(choose(&refusals, &[Type], T0), (vec![Type], None));
    assert!(
        refusals.note(&patch(&[Type]), WriteFailure::Refused("no"), T0),
        "now it is"
    );
    let mut now = T0;
    for seconds in [1, 2, 4, 8, 16, 30, 30] {
        let due = now + Duration::from_secs(seconds);
        assert_eq!(choose(&refusals, &[Type], now), (vec![], Some(due)));
        let others = [Ports, Identity, Type];
        let both = (vec![Ports, Identity], None);
        assert_eq!(choose(&refusals, &others, now), both, "together");
        assert_eq!(choose(&refusals, &[Type], due), (vec![Type], None));
        assert!(
            !refusals.note(&patch(&[Type]), WriteFailure::Refused("no"), due),
            "told once"
        );
        now = due;
    }
    assert!(
        refusals.note(&patch(&[Type]), WriteFailure::Refused("never"), now),
        "other words"
    );
    // A second one does not starve beside it.
    refusals.note(&patch(&[Families]), WriteFailure::Refused("never"), now);
    let (first, until) = choose(&refusals, &[Type, Families], now);
    assert_eq!((first, until), (vec![], Some(now + DELAY_MIN)));
    let later = now + DELAY_MIN;
    let (next, _) = choose(&refusals, &[Type, Families], later);
    assert_eq!(next, [Families]);
    refusals.note(
        &patch(&[Families]),
        WriteFailure::Refused("never"),
        later + DELAY_MAX,
    );
    let (next, _) = choose(&refusals, &[Type, Families], later + DELAY_MAX);
    assert_eq!(next, [Type]);
    refusals.accept(&patch(&[Type]));
    refusals.accept(&patch(&[Families]));
    assert_eq!(refusals, Refusals::default());
}

#[test]
fn other_content_is_tried_at_once() {
    let mut refusals = Refusals::default();
    let mut write = patch(&[Part::Labels]);
    refusals.note(&write, WriteFailure::Refused("no"), T0);
    assert_eq!(choose(&refusals, &[Part::Labels], T0).0, []);
    if let Action::Patch { ops, .. } = &mut write.action {
        ops[0] = Op::add("/metadata/labels/app", "y");
    }
    refusals.note(&write, WriteFailure::Refused("no"), T0);
    assert_eq!(choose(&refusals, &[Part::Labels], T0).0, [Part::Labels]);
}

#[test]
fn a_refusal_is_forgotten_with_the_wish() {
    let mut refusals = Refusals::default();
    let write = patch(&[Part::Type]);
    let slice = Write {
        target: Target {
            kind: Kind::Slice,
            ..target()
        },
        ..write.clone()
    };
    refusals.note(&write, WriteFailure::Refused("no"), T0);
    refusals.note(&slice, WriteFailure::Refused("no"), T0);
    assert!(refusals.has(&slice.target));
    refusals.keep(&[target()]);
    assert!(refusals.has(&write.target) && !refusals.has(&slice.target));
    refusals.keep(&[slice.target]);
    assert_eq!(refusals, Refusals::default());
}

/// What had no effect without being refused is reported once for the same words, and nothing is planned
/// differently.
#[test]
fn errors_and_silence_are_no_refusals() {
    use Part::{Families, Type};
    let mut refusals = Refusals::default();
    let write = patch(&[Type, Families]);
    for (failure, is_news) in [
        (WriteFailure::ServerError("500"), true),
        (WriteFailure::ServerError("500"), false),
        (WriteFailure::ServerError("503"), true),
        (WriteFailure::Unanswered(DELAY_MIN), true),
        (WriteFailure::Unanswered(DELAY_MAX), false),
        (WriteFailure::ServerError("503"), false),
    ] {
        assert_eq!(refusals.note(&write, failure, T0), is_news, "{failure:?}");
    }
    assert!(!refusals.has(&target()) && !refusals.are_refused());
    let both = Parts::from(Type).and(Families.into());
    let choice = refusals.choose(&target(), both, T0, |_| 0);
    assert_eq!((choice.parts, choice.until), (both, None));
    refusals.accept(&write);
    assert!(refusals.is_empty());
}
