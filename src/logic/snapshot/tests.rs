//! Tables over ownership: whose is a Service, whose is a slice (contract §1, Ours).

use serde_json::{Value, json};

use super::*;
use crate::logic::testkit::{Lab, pod, set_key, source};

/// A served source; then something is done to the leader Service, and it is judged again.
fn check_service(sentence: &str, is_ours: bool, act: impl FnOnce(&mut Lab)) {
    let mut lab = Lab::new(source("s"), [pod("a")]);
    lab.settle();
    act(&mut lab);
    let snapshot = lab.snapshot();
    assert_eq!(
        snapshot.own_service("s-leader").is_some(),
        is_ours,
        "{sentence}"
    );
}

/// Likewise for the slice.
fn check_slice(sentence: &str, is_ours: bool, act: impl FnOnce(&mut Lab)) {
    let mut lab = Lab::new(source("s"), [pod("a")]);
    lab.settle();
    act(&mut lab);
    let snapshot = lab.snapshot();
    let mut own = snapshot.own_slices().iter();
    let is_own = own.any(|slice| &*slice.metadata.name == "s-leader");
    assert_eq!(is_own, is_ours, "{sentence}");
}

fn strip_label(object: &mut Value, key: &str) {
    set_key(&mut object["metadata"], "labels", key, None);
}

fn orphan(object: &mut Value) {
    object["metadata"]["ownerReferences"] = json!([]);
}

fn by_earlier(object: &mut Value) {
    object["metadata"]["ownerReferences"][0]["uid"] = "earlier".into();
}

fn edit(lab: &mut Lab, change: impl FnOnce(&mut Value)) {
    lab.world.edit_service("s-leader", change);
}

fn remake_source(lab: &mut Lab) {
    lab.world.delete(crate::logic::plan::Kind::Service, "s");
    lab.world.create_service(source("s")).expect("it is free");
}

#[test]
#[rustfmt::skip]
fn leader_services() {
    check_service("as it was made", true, |_| {});
    check_service("without our labels, the owner says it", true, |l| edit(l, |o| o["metadata"]["labels"] = json!({})));
    check_service("with a selector that a user set", true, |l| edit(l, |o| o["spec"]["selector"] = json!({"a": "b"})));
    check_service("orphaned, the labels say it", true, |l| edit(l, orphan));
    check_service("orphaned with a selector", false, |l| edit(l, |o| { orphan(o); o["spec"]["selector"] = json!({"a": "b"}); }));
    check_service("orphaned with one label only", false, |l| edit(l, |o| { orphan(o); strip_label(o, MANAGED_BY); }));
    check_service("orphaned with the other label only", false, |l| edit(l, |o| { orphan(o); strip_label(o, SOURCE_SERVICE); }));
    check_service("of an earlier source of this name", true, remake_source);
    check_service("of an earlier source, without labels", false, |l| { remake_source(l); edit(l, |o| o["metadata"]["labels"] = json!({})); });
    check_service("of another source", false, |l| edit(l, |o| { by_earlier(o); o["metadata"]["ownerReferences"][0]["name"] = "t".into(); }));
    check_service("of another kind", false, |l| edit(l, |o| { by_earlier(o); o["metadata"]["ownerReferences"][0]["kind"] = "Deployment".into(); }));
    check_service("whose owner reference lost its controller flag", true, |l| edit(l, |o| o["metadata"]["ownerReferences"][0]["controller"] = false.into()));
    check_service("whose source is gone", true, |l| l.world.delete(crate::logic::plan::Kind::Service, "s"));
    check_service("orphaned on purpose, by a source that is gone", false, |l| { edit(l, orphan); l.world.delete(crate::logic::plan::Kind::Service, "s"); });
}

#[test]
#[rustfmt::skip]
fn slices() {
    let edit = |change: fn(&mut Value)| move |lab: &mut Lab| lab.world.edit_slice("s-leader", change);
    check_slice("as it was made", true, |_| {});
    check_slice("without labels, the owner says it", true, edit(|o| o["metadata"]["labels"] = json!({})));
    check_slice("relabelled as the native controller's, under our name", true, edit(|o| o["metadata"]["labels"][SLICE_MANAGED_BY] = NATIVE_SLICE_MANAGER.into()));
    check_slice("whose leader Service is gone", true, |l| l.world.delete(crate::logic::plan::Kind::Service, "s-leader"));
    check_slice("whose leader Service is gone, with one label only", false, |l| {
        l.world.delete(crate::logic::plan::Kind::Service, "s-leader");
        l.world.edit_slice("s-leader", |o| strip_label(o, MANAGED_BY));
    });
    check_slice("orphaned under our Service's name", true, edit(orphan));
    check_slice("orphaned, and not labelled as ours", false, edit(|o| { orphan(o); strip_label(o, SLICE_MANAGED_BY); }));
    check_slice("of a Service that is not ours", false, |l| {
        l.world.create_service(json!({"metadata": {"name": "t", "namespace": "n"}, "spec": {"ports": [{"port": 1}]}})).expect("free");
        let uid = l.world.services["t"]["metadata"]["uid"].clone();
        l.world.edit_slice("s-leader", |o| { o["metadata"]["ownerReferences"][0]["name"] = "t".into(); o["metadata"]["ownerReferences"][0]["uid"] = uid; });
    });
}

#[test]
fn native_slices_of_our_service_are_strangers_born_of_it() {
    let mut lab = Lab::new(source("s"), [pod("a")]);
    lab.settle();
    crate::logic::fsm::tests::matrix::native(&mut lab.world);
    let snapshot = lab.snapshot();
    let [stranger] = &snapshot.foreign_slices[..] else {
        panic!("one stranger: {:?}", snapshot.foreign_slices);
    };
    let service = snapshot.service("s-leader").expect("a leader Service");
    assert!(stranger.was_born_of(service));
    assert_eq!(snapshot.own_slices().len(), 1, "and is not taken for ours");
}

#[test]
fn names_differ_and_stay() {
    let key = Key::new("n", "s");
    assert_eq!(&*slice_name("x", None), "x");
    assert_eq!(&*slice_name("x", Some(Family::IPv6)), "x-ipv6");
    let evasive = fallback_name(&key, "x");
    assert_eq!(evasive, fallback_name(&key, "x"));
    assert_ne!(evasive, fallback_name(&Key::new("n", "t"), "x"));
    assert_ne!(evasive, fallback_name(&key, "x-ipv6"));
}
