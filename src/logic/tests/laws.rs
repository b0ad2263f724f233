//! Laws of the election, the clock, the writes and the parsers.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::config;
use super::event::{Event, events};
use crate::logic::budget::{BudgetScope, Spent};
use crate::logic::elect::{self, Ballot, Incumbent, Rules, Verdict};
use crate::logic::model::{Family, Labels, Pod, Port, Service, Slice, Uid, Version};
use crate::logic::nodes::Nodes;
use crate::logic::plan::{self, Op};
use crate::logic::settings::{self, Settings, Strategy as Order};
use crate::logic::spread::{LeadersPerNode, Others};
use crate::logic::testkit::{Lab, PodSpec, World, pod, source};
use crate::logic::time::Moment;
use crate::logic::well_known::{
    FAILOVER_MIN_DELAY, LEADER_SERVICE_ANNOTATIONS, LEADER_SERVICE_NAME,
    LEADER_SERVICE_SOURCE_RANGES, MIN_READY_DURATION, PAUSED, PREFERRED_LEADER, STICKY, STRATEGY,
};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

prop_compose! {
    fn any_pod()(
        at in 0_i64..4, ready_at in 900_i64..1_000, is_ready in prop::bool::weighted(0.8),
        flags in any::<[bool; 4]>(), node in 0_u8..3,
        priority in prop::option::of(prop::sample::select(&["0", "7", "-7", "seven"][..])),
    ) -> PodSpec {
        let mut spec = pod("x").created(at).ready_at(ready_at);
        spec.ready = is_ready;
        spec.terminating = flags[0] && flags[1];
        spec.disrupted = flags[1] && flags[2];
        if flags[2] && flags[3] {
            spec.ips.clear();
        }
        if flags[0] && flags[3] {
            spec.ports.clear();
        }
        spec.priority = priority;
        spec.node = Some(format!("node-{node}"));
        spec
    }
}

fn any_pods() -> impl Strategy<Value = Vec<PodSpec>> {
    prop::collection::vec(any_pod(), 0..NAMES.len()).prop_map(|specs| {
        let named = specs.into_iter().zip(NAMES);
        named
            .map(|(spec, name)| PodSpec {
                name: name.into(),
                ..spec
            })
            .collect()
    })
}

fn any_order() -> impl Strategy<Value = Order> {
    prop::sample::select(
        &[
            Order::Oldest,
            Order::Newest,
            Order::Random,
            Order::NodeSpread,
            Order::Priority,
        ][..],
    )
}

fn facts(specs: &[PodSpec]) -> Vec<Arc<Pod>> {
    let mut world = World::new();
    world.create_service(source("s")).expect("a source");
    for spec in specs {
        world.put_pod(spec.clone());
    }
    world.snapshot(&Lab::key(), None).pods
}

struct Case {
    ports: Vec<Port>,
    uid: Uid,
    order: Order,
    sticky: bool,
    min_ready: Duration,
    delay: Duration,
    preferred: Option<&'static str>,
    handed: Option<Uid>,
    paused: bool,
    spent: Option<Spent>,
    nodes: Nodes,
    spread: LeadersPerNode,
}

impl Case {
    fn rules(&self) -> Rules<'_> {
        Rules {
            family: Family::IPv4,
            ports: &self.ports,
            sticky: self.sticky,
            strategy: self.order,
            min_ready: self.min_ready,
            failover_delay: self.delay,
            service: &self.uid,
            others: Others {
                spread: &self.spread,
                own: None,
            },
            preferred: self.preferred,
            handed: self.handed.as_ref(),
            paused: self.paused,
            spent: self.spent,
            nodes: &self.nodes,
            claim: None,
        }
    }
}

prop_compose! {
    fn any_case()(
        order in any_order(), sticky in any::<bool>(), min_ready in 0_u64..120, delay in 0_u64..120,
        preferred in prop::option::of(prop::sample::select(&NAMES[..])), handed in prop::option::of(1_u32..7),
        paused in prop::bool::weighted(0.1), spent in prop::option::weighted(0.3, 1_u64..200),
        leaving in prop::collection::vec(0_u8..6, 0..2), down in prop::collection::vec((0_u8..6, 0_i64..60_000_000), 0..2), led in prop::collection::vec(0_usize..3, 3),
    ) -> Case {
        let mut spread = LeadersPerNode::default();
        for (node, count) in led.into_iter().enumerate() {
            (0..count).for_each(|_| spread.moved(None, Some(&format!("node-{node}").into())));
        }
        let parsed: Service = serde_json::from_value(source("s")).expect("a source");
        Case {
            ports: parsed.spec.ports,
            uid: "service".into(),
            order,
            sticky,
            min_ready: Duration::from_secs(min_ready),
            delay: Duration::from_secs(delay),
            preferred,
            handed: handed.map(|number| format!("uid-{number}").as_str().into()),
            paused,
            spent: spent.map(|seconds| Spent {
                until: NOW + Duration::from_secs(seconds),
                scope: BudgetScope::Global,
            }),
            nodes: Nodes {
                leaving: leaving.into_iter().map(|node| format!("node-{node}").into()).collect(),
                down: down.into_iter().map(|(node, since)| (format!("node-{node}").into(), Moment(NOW.0 - since))).collect(),
            },
            spread,
        }
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.rules().fmt(f)
    }
}

fn verdict(
    case: &Case,
    pods: &[Arc<Pod>],
    leader: Option<usize>,
    shunned: &[(Uid, Moment)],
    now: Moment,
) -> Verdict {
    let incumbent = leader.and_then(|at| pods.get(at));
    let ballot = Ballot {
        pods,
        incumbent: incumbent.map(|pod| Incumbent {
            uid: &pod.uid,
            pod: Some(pod),
        }),
        last: None,
        shunned,
    };
    elect::elect(&case.rules(), &ballot, now)
}

const NOW: Moment = Moment(1_000_000_000);

proptest! {
    #![proptest_config(config(512))]

    #[test]
    fn the_order_of_the_pods_does_not_matter(case in any_case(), specs in any_pods(), leader in 0_usize..8, turn in 0_usize..8) {
        let pods = facts(&specs);
        let one = verdict(&case, &pods, Some(leader), &[], NOW);
        let mut turned = pods.clone();
        turned.reverse();
        if !turned.is_empty() {
            let turn = turn % turned.len();
            turned.rotate_left(turn);
        }
        let moved = pods.get(leader).and_then(|pod| turned.iter().position(|other| other.uid == pod.uid));
        prop_assert_eq!(one, verdict(&case, &turned, moved, &[], NOW));
    }

    #[test]
    fn nothing_changes_before_the_deadline_and_no_deadline_is_past(
        case in any_case(), specs in any_pods(), leader in 0_usize..8, shun in prop::option::of((0_usize..5, 1_i64..150)),
        early in 0_i64..1_000_000,
    ) {
        let pods = facts(&specs);
        let shunned: Vec<(Uid, Moment)> = shun
            .and_then(|(at, seconds)| Some((pods.get(at)?.uid.clone(), Moment(NOW.0 + seconds * 1_000_000))))
            .into_iter()
            .collect();
        let first = verdict(&case, &pods, Some(leader), &shunned, NOW);
        // The verdict that stands once it has been taken: its leader is the incumbent.
        let at = first.leader.as_ref().and_then(|pod| pods.iter().position(|other| other.uid == pod.uid));
        let settled = verdict(&case, &pods, at, &shunned, NOW);
        prop_assert_eq!(&settled.leader, &first.leader, "one election is enough");
        prop_assert_eq!(settled.deadline, first.deadline, "and its deadline is the right one at once");
        let next = settled.deadline.map_or(Moment(i64::MAX), |deadline| {
            assert!(deadline > NOW);
            Moment((deadline.0 - 1 - early).max(NOW.0))
        });
        let later = verdict(&case, &pods, at, &shunned, next);
        prop_assert_eq!((&later.leader, later.hold, later.left), (&settled.leader, settled.hold, settled.left));
    }

}

proptest! {
    #![proptest_config(config(128))]

    #[test]
    fn without_sticky_the_same_facts_lead_to_the_same_leader(
        // A spread over nodes is always sticky.
        order in any_order().prop_filter("sticky", |order| *order != Order::NodeSpread),
        specs in any_pods(), paths in prop::collection::vec((0_usize..5, any::<bool>()), 0..12),
    ) {
        // Leaders that may stay by the contract are history: none is disrupted or terminating.
        let specs: Vec<PodSpec> = specs.into_iter().map(|spec| PodSpec { disrupted: false, terminating: false, ..spec }).collect();
        let mut body = source("s");
        body["metadata"]["annotations"][STICKY] = "false".into();
        body["metadata"]["annotations"][STRATEGY] = match order {
            Order::Oldest => "oldest",
            Order::Newest => "newest",
            Order::Random => "random",
            Order::NodeSpread => "node-spread",
            Order::Priority => "priority",
        }.into();
        // The uid counts for `random`: the same pods, by name.
        let with_uid = |spec: &PodSpec| PodSpec { uid: format!("uid-of-{}", spec.name), ..spec.clone() };
        let mut straight = Lab::new(body.clone(), specs.iter().map(with_uid));
        straight.settle();
        let mut winding = Lab::new(body, []);
        winding.settle();
        for (at, is_ready) in paths {
            if let Some(spec) = specs.get(at) {
                winding.world.put_pod(PodSpec { ready: is_ready, ..with_uid(spec) });
                winding.settle();
            }
        }
        for spec in specs.iter().rev() {
            winding.world.put_pod(with_uid(spec));
            winding.settle();
        }
        prop_assert_eq!(straight.objects(), winding.objects());
    }
}

proptest! {
    #![proptest_config(config(128))]

    #[test]
    fn planning_is_a_function_of_facts_and_never_targets_what_is_not_ours(events in events(16)) {
        let mut lab = Lab::new(source("s"), [pod("a").created(1), pod("b").created(2)]);
        lab.settle();
        for event in &events {
            event.happen(&mut lab.world);
            if matches!(event, Event::Work(_)) {
                let snapshot = lab.snapshot();
                let step = lab.peek_at(&snapshot);
                prop_assert_eq!(&step, &lab.peek_at(&snapshot), "the same facts, the same step");
                let mut turned = snapshot.clone();
                turned.pods.reverse();
                turned.services.reverse();
                turned.slices.reverse();
                turned.pinned_pods.reverse();
                let again = lab.peek_at(&turned);
                prop_assert_eq!(&step.machine.phase, &again.machine.phase);
                let (one, other) = (plan::plan(&step.goal, &step.followers, &snapshot), plan::plan(&again.goal, &again.followers, &turned));
                prop_assert_eq!(one, other, "in any order");
                lab.round();
            }
        }
    }

    #[test]
    fn time_alone_changes_nothing_before_the_deadline(events in events(16), early in 1_i64..2_000_000) {
        let mut lab = Lab::new(source("s"), [pod("a").created(1), pod("b").created(2)]);
        for event in &events {
            event.happen(&mut lab.world);
            if matches!(event, Event::Work(_)) {
                lab.round();
            }
        }
        for name in ["s", "s-leader", "main"] {
            super::event::release(&mut lab.world, name);
        }
        lab.settle();
        let deadline = lab.peek().deadline;
        let now = lab.world.now().moment;
        let at = deadline.map_or(now + Duration::from_hours(24), |at| Moment((at.0 - early).max(now.0)));
        lab.world.advance(at.since(now));
        let before = lab.machine.phase.clone();
        lab.forget();
        prop_assert!(!lab.round(), "{:#?}", lab.writes);
        prop_assert_eq!(before, lab.machine.phase);
    }
}

/// JSON in which names that the parsers know turn up everywhere, with values of any type.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~]{0,8}".prop_map(Value::from),
        prop::sample::select(
            &[
                "True",
                "Ready",
                "10.0.0.1",
                "::1",
                "Running",
                "IPv4",
                "5",
                "2026-01-01T00:00:00Z",
                "-9999999-01-01T00:00:00Z",
                "true"
            ][..]
        )
        .prop_map(Value::from),
    ];
    let key = prop::sample::select(
        &[
            "metadata",
            "spec",
            "status",
            "labels",
            "annotations",
            "ownerReferences",
            "finalizers",
            "name",
            "namespace",
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "deletionTimestamp",
            "conditions",
            "type",
            "lastTransitionTime",
            "podIPs",
            "podIP",
            "ip",
            "phase",
            "containers",
            "initContainers",
            "ports",
            "containerPort",
            "protocol",
            "targetPort",
            "port",
            "nodePort",
            "selector",
            "clusterIPs",
            "ipFamilies",
            "ipFamilyPolicy",
            "endpoints",
            "addresses",
            "addressType",
            "targetRef",
            "hints",
            "controller",
            "x",
        ][..],
    );
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..8).prop_map(|pairs| {
                pairs
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect()
            }),
        ]
    })
}

proptest! {
    #![proptest_config(config(1_000))]

    #[test]
    fn parsers_never_panic_on_any_json(json in any_json()) {
        let text = json.to_string();
        let _ = serde_json::from_str::<Pod>(&text);
        let _ = serde_json::from_str::<Service>(&text).map(|service| service.families());
        let _ = serde_json::from_str::<Slice>(&text).map(|slice| slice.leader().cloned());
        let _ = serde_json::from_str::<Labels>(&text);
        let _ = serde_json::from_str::<Version>(&text);
    }

    #[test]
    fn parsers_never_panic_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = serde_json::from_slice::<Pod>(&bytes);
        let _ = serde_json::from_slice::<Service>(&bytes);
        let _ = serde_json::from_slice::<Slice>(&bytes);
    }

    #[test]
    fn no_annotation_value_does_any_harm(value in "\\PC{0,80}", key in prop::sample::select(&[
        LEADER_SERVICE_NAME, LEADER_SERVICE_ANNOTATIONS, STICKY, STRATEGY, MIN_READY_DURATION, FAILOVER_MIN_DELAY,
        PREFERRED_LEADER, PAUSED, LEADER_SERVICE_SOURCE_RANGES,
    ][..])) {
        let mut service: Service = serde_json::from_value(source("s")).expect("a source");
        service.metadata.annotations = [(key, value.as_str())].into_iter().collect();
        let (_, problems) = settings::read(&service.metadata.annotations, &Settings::default());
        for problem in problems {
            let text = problem.to_string();
            prop_assert!(text.contains(key) && text.len() <= 1_024, "{}", text);
        }
        let _ = settings::requested_name(&service);
    }

    #[test]
    fn versions_and_labels_keep_what_they_read(text in "\\PC{0,24}", pairs in prop::collection::vec(("[a-c]", "[x-z]"), 0..6)) {
        prop_assert_eq!(Version::from(text.as_str()).to_string(), text);
        let labels: Labels = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let last: std::collections::BTreeMap<&str, &str> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        prop_assert_eq!(labels.iter().collect::<Vec<_>>(), last.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn operations_survive_the_wire(path in "(/[a-z~]{0,4}){1,3}", value in "\\PC{0,8}") {
        let value = Value::from(value);
        for op in [
            Op::Add { path: path.clone(), value: value.clone() },
            Op::Replace { path: path.clone(), value: value.clone() },
            Op::Remove { path: path.clone() },
        ] {
            let wire = serde_json::to_value(&op).expect("plain data");
            prop_assert_eq!(wire["path"].as_str(), Some(op.path()));
            let text = wire["op"].as_str().expect("a name").to_owned();
            let name = match &op {
                Op::Add { .. } => "add",
                Op::Replace { .. } => "replace",
                Op::Remove { .. } => "remove",
            };
            prop_assert_eq!(text, name);
            if !path.contains('~') {
                serde_json::from_value::<json_patch::PatchOperation>(wire).expect("RFC 6902");
            }
        }
    }
}
