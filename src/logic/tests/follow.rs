//! Laws of following: whatever happens to pods and their labels, only a pod that is named becomes leader.

use std::time::Duration;

use proptest::prelude::*;

use super::config;
use crate::logic::testkit::{Lab, pod, source};
use crate::logic::well_known::FOLLOW;

const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Event {
    /// The label is set on a pod, or removed.
    Label(&'static str, bool),
    Ready(&'static str, bool),
    Delete(&'static str),
    /// A pod appears, with the label or without it.
    Create(&'static str, bool),
    Wait(u64),
    Restart,
}

fn any_event() -> impl Strategy<Value = Event> {
    let name = || prop::sample::select(&NAMES[..]);
    prop_oneof![
        4 => (name(), any::<bool>()).prop_map(|(name, is)| Event::Label(name, is)),
        2 => (name(), any::<bool>()).prop_map(|(name, is)| Event::Ready(name, is)),
        1 => name().prop_map(Event::Delete),
        2 => (name(), any::<bool>()).prop_map(|(name, is)| Event::Create(name, is)),
        2 => prop::sample::select(&[1_u64, 100, 250, 5_000][..]).prop_map(Event::Wait),
        1 => Just(Event::Restart),
    ]
}

fn happen(lab: &mut Lab, event: &Event) {
    match *event {
        Event::Label(name, is) => lab.world.edit_pod(name, |pod| {
            pod.labels.retain(|(key, _)| key != "role");
            if is {
                pod.labels.push(("role".into(), "primary".into()));
            }
        }),
        Event::Ready(name, is) => lab.world.edit_pod(name, |pod| pod.ready = is),
        Event::Delete(name) => lab.world.delete_pod(name),
        Event::Create(name, is) => {
            if !lab.world.pods.contains_key(name) {
                let pod = pod(name);
                let named = is.then(|| pod.clone().and_label("role", "primary"));
                lab.world.put_pod(named.unwrap_or(pod));
            }
        }
        Event::Wait(span) => {
            lab.wait(Duration::from_millis(span));
        }
        Event::Restart => {
            lab.crash();
        }
    }
}

/// The published pod.
fn published(lab: &Lab) -> Option<String> {
    lab.endpoints("s-leader").into_values().flatten().next()
}

/// The pods that have the label.
fn named(lab: &Lab) -> Vec<String> {
    let is_named = |labels: &[(String, String)]| labels.iter().any(|(key, _)| key == "role");
    let pods = lab.world.pods.values();
    let named = pods.filter(|pod| is_named(&pod.labels));
    named.map(|pod| pod.name.clone()).collect()
}

proptest! {
    #![proptest_config(config(128))]

    #[test]
    fn only_a_named_pod_becomes_leader(events in prop::collection::vec(any_event(), 1..40)) {
        let mut body = source("s");
        body["metadata"]["annotations"][FOLLOW] = "label/role=primary".into();
        let mut lab = Lab::new(body, NAMES.map(pod));
        lab.settle();
        for event in &events {
            let before = published(&lab);
            happen(&mut lab, event);
            lab.settle();
            let after = published(&lab);
            if let Some(leader) = after.as_ref().filter(|_| after != before) {
                prop_assert!(named(&lab).contains(leader), "{leader} after {event:?}");
                prop_assert!(lab.world.pods[leader].ready, "{leader} after {event:?}");
            }
        }
        // At rest, the label and readiness alone decide.
        lab.wait(Duration::from_secs(10));
        let (named, leader) = (named(&lab), published(&lab));
        match &named[..] {
            [] => prop_assert_eq!(&leader, &None),
            [one] if lab.world.pods[one].ready => prop_assert_eq!(leader.as_ref(), Some(one)),
            [_] => prop_assert_eq!(&leader, &None),
            several => prop_assert!(leader.is_none_or(|leader| several.contains(&leader))),
        }
        let before = published(&lab);
        lab.forget();
        lab.crash().settle();
        prop_assert_eq!(published(&lab), before, "a restart moves nothing");
        prop_assert_eq!(lab.writes.len(), 0, "and writes nothing");
    }
}
