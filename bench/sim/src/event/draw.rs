//! Which events a seed draws, and how often.

use simkube::Kind;

use super::{ENABLED, Event, NAME, NAMES, NODES, PODS, PodAct, SOURCES, ServiceEdit, SliceEdit};
use crate::chance::Chance;

/// A pause is long, so most of the time there is none.
const PAUSES: [Option<&str>; 7] = [
    None,
    None,
    None,
    Some("false"),
    Some("false"),
    Some("true"),
    Some("on"),
];
const PREFERRED: &str = "zen-lead.io/preferred-leader";
const PREFERENCES: [Option<&str>; 8] = [
    None,
    Some("p0"),
    Some("p1"),
    Some("p2"),
    Some("p3"),
    Some("p4"),
    Some("p5"),
    Some("No Pod"),
];
/// What pods are of; few, so that a Service has several.
const APPS: [&str; 6] = ["a", "a", "a", "b", "b", "c"];

impl Event {
    /// A pod that comes.
    pub(crate) fn pod(chance: &mut Chance, name: &'static str) -> Self {
        Self::Pod {
            name,
            app: chance.pick(&APPS),
            node: chance.pick(&NODES),
            ip: 10 + u8::try_from(chance.below(200)).unwrap_or_default(),
            ready: chance.percent(80),
            of_job: chance.percent(8),
        }
    }

    /// A source that comes.
    pub(crate) fn source(chance: &mut Chance, name: &'static str, dual_stack: bool) -> Self {
        Self::Source {
            name,
            app: chance.pick(&[name, "a", "b"]),
            ports: chance.pick(&[0, 0, 1, 2, 5]),
            enabled: chance.percent(85),
            dual: dual_stack && chance.percent(50),
        }
    }

    /// A source leaves, or wants another name.
    pub(crate) fn leave(chance: &mut Chance) -> Self {
        let name = chance.pick(&SOURCES);
        match chance.below(4) {
            0 => Self::DropSource {
                name,
                orphan: false,
            },
            1 | 2 => Self::Annotate {
                name,
                key: ENABLED,
                value: chance.pick(&[None, Some("false")]),
            },
            _ => Self::Annotate {
                name,
                key: NAME,
                value: requested(chance, name),
            },
        }
    }

    /// Anything. `late`: near the end, where nothing may happen whose effects last for minutes.
    pub(crate) fn any(chance: &mut Chance, dual_stack: bool, late: bool) -> Self {
        let source = chance.pick(&SOURCES);
        let pod = chance.pick(&PODS);
        match chance.below(100) {
            0..=4 => Self::source(chance, source, dual_stack),
            5..=6 => Self::DropSource {
                name: source,
                orphan: chance.percent(25),
            },
            7..=13 => Self::Annotate {
                name: source,
                key: ENABLED,
                value: chance.pick(&[
                    Some("true"),
                    Some("true"),
                    None,
                    Some("false"),
                    Some("maybe"),
                ]),
            },
            14..=17 => Self::Annotate {
                name: source,
                key: NAME,
                value: requested(chance, source),
            },
            18..=25 => setting(chance, source),
            26..=27 => Self::Mirror {
                name: source,
                value: chance.pick(&[None, Some("red"), Some("blue")]),
            },
            28..=29 => Self::Select {
                name: source,
                app: chance.pick(&[None, Some(source), Some("a"), Some("b")]),
            },
            30..=32 => Self::Ports {
                name: source,
                ports: u8::try_from(chance.below(6)).unwrap_or_default(),
            },
            33 => Self::Families {
                name: source,
                dual: chance.percent(50),
            },
            40..=46 | 62..=66 => Self::pod(chance, pod),
            47..=57 => Self::Ready {
                name: pod,
                ready: chance.percent(60),
            },
            58 => Self::Terminate { name: pod },
            59 => Self::Evict { name: pod },
            60..=61 => Self::Finish { name: pod },
            99 | 34..=39 => Self::OfLeader {
                of: source,
                act: act(chance, late),
            },
            67..=69 if !late => Self::Disrupt {
                name: pod,
                on: chance.percent(70),
            },
            67..=71 => Self::Recreate {
                name: pod,
                ip: 10 + u8::try_from(chance.below(200)).unwrap_or_default(),
            },
            72..=74 => Self::Address {
                name: pod,
                ip: chance.pick(&[0, 1, 11, 12, 13]),
            },
            75..=76 => Self::Phase {
                name: pod,
                phase: chance.pick(&["Running", "Failed", "Succeeded", "Pending"]),
            },
            77 => Self::Rank {
                name: pod,
                value: chance.pick(&[None, Some("1"), Some("-1"), Some("20"), Some("high")]),
            },
            78..=79 => Self::Relabel {
                name: pod,
                app: chance.pick(&APPS),
            },
            80..=81 => Self::Node {
                name: chance.pick(&NODES),
                up: chance.percent(60),
            },
            82 => Self::NodeGone {
                name: chance.pick(&NODES),
            },
            83..=84 => Self::Squat {
                kind: chance.pick(&[Kind::Service, Kind::EndpointSlice]),
                name: chance.pick(&NAMES),
            },
            85..=87 => Self::Unsquat {
                kind: chance.pick(&[Kind::Service, Kind::EndpointSlice]),
                name: chance.pick(&NAMES),
            },
            88 => Self::Attach {
                name: chance.pick(&NAMES),
            },
            89..=93 => Self::HandService {
                of: source,
                edit: chance.pick(&[
                    ServiceEdit::Unlabel,
                    ServiceEdit::Disown,
                    ServiceEdit::Ports,
                    ServiceEdit::Identity,
                    ServiceEdit::Own,
                    ServiceEdit::Select,
                    ServiceEdit::Delete,
                ]),
            },
            94..=97 => Self::HandSlice {
                of: source,
                edit: chance.pick(&[
                    SliceEdit::Unlabel,
                    SliceEdit::Disown,
                    SliceEdit::Empty,
                    SliceEdit::Misroute,
                    SliceEdit::Ports,
                    SliceEdit::Delete,
                ]),
            },
            _ => Self::Collect,
        }
    }
}

fn act(chance: &mut Chance, late: bool) -> PodAct {
    match chance.below(20) {
        0..=3 => PodAct::Unready,
        4..=5 => PodAct::Flap,
        6..=7 => PodAct::Terminate,
        8..=10 => PodAct::Kill,
        11..=12 if !late => PodAct::Disrupt,
        11..=13 => PodAct::Move,
        14 => PodAct::Isolate,
        15 => PodAct::Fail,
        16 => PodAct::Evict,
        17 if !late => PodAct::Starve,
        _ => PodAct::Unlabel,
    }
}

fn requested(chance: &mut Chance, source: &'static str) -> Option<&'static str> {
    match chance.below(8) {
        0..=2 => None,
        3..=4 => Some(if source == "a" { "main-a" } else { "main-b" }),
        5 => Some("shared"),
        6 => Some("Bad_Name"),
        _ => Some(source),
    }
}

fn setting(chance: &mut Chance, name: &'static str) -> Event {
    let settings: [(&str, &[Option<&str>]); 12] = [
        (
            "zen-lead.io/sticky",
            &[None, Some("true"), Some("false"), Some("yes")],
        ),
        (
            "zen-lead.io/strategy",
            &[
                None,
                Some("oldest"),
                Some("newest"),
                Some("random"),
                Some("node-spread"),
                Some("priority"),
                Some("best"),
            ],
        ),
        // More often: a switchover is short, and a pause is long.
        (PREFERRED, &PREFERENCES),
        (PREFERRED, &PREFERENCES),
        (PREFERRED, &PREFERENCES),
        ("zen-lead.io/paused", &PAUSES),
        (
            "zen-lead.io/min-ready-duration",
            &[
                None,
                Some("0s"),
                Some("700ms"),
                Some("4s"),
                Some("-1s"),
                Some("soon"),
            ],
        ),
        (
            "zen-lead.io/failover-min-delay",
            &[None, Some("0s"), Some("300ms"), Some("5s"), Some("late")],
        ),
        (
            "zen-lead.io/leader-service-type",
            &[
                None,
                Some("ClusterIP"),
                Some("Headless"),
                Some("NodePort"),
                Some("LoadBalancer"),
                Some("Fast"),
            ],
        ),
        (
            "zen-lead.io/leader-service-annotations",
            &[
                None,
                Some(r#"{"dns":"x"}"#),
                Some(r#"{"dns":"y","cost":"z"}"#),
                Some("{"),
            ],
        ),
        (
            "zen-lead.io/leader-service-labels",
            &[
                None,
                Some(r#"{"pool":"x"}"#),
                Some(r#"{"pool":"y","app":"z"}"#),
                Some(r#"{"kubernetes.io/pool":"x"}"#),
            ],
        ),
        ("zen-lead.io/leaderservice", &[None, Some("x")]),
    ];
    let (key, values) = chance.pick(&settings);
    Event::Annotate {
        name,
        key,
        value: chance.pick(values),
    }
}
