//! What can happen in a cluster.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::logic::plan::Kind;
use crate::logic::testkit::{World, pod, set_key, source};
use crate::logic::well_known::{
    ENABLED, FAILOVER_MIN_DELAY, FOLLOWERS_SERVICE_NAME, LEADER_SERVICE_ANNOTATIONS,
    LEADER_SERVICE_NAME, LEADER_SERVICE_SOURCE_RANGES, LEADER_SERVICE_TYPE, MIN_READY_DURATION,
    MIRRORED, PAUSED, PREFERRED_LEADER, SERVICE_NAME, SOURCE_SERVICE, STICKY, STRATEGY,
};

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Pod(&'static str, PodEvent),
    Source(SourceEvent),
    Annotate(&'static str, Option<&'static str>),
    Ours(&'static str, OurEvent),
    Foreign(ForeignEvent),
    CollectGarbage,
    Wait(u16),
    /// The controller dies and starts again.
    Crash,
    /// It looks; of what it wants, these writes are done, in the order of these keys.
    Work(Vec<Fate>),
    /// It looks at how the cluster was at the last `Snapshot`, and all of its writes are sent.
    WorkOnOldNews(Vec<Fate>),
    Snapshot,
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    pub(crate) is_lost: bool,
    pub(crate) order: u8,
}

#[derive(Clone, Debug)]
pub(crate) enum PodEvent {
    Create(i64),
    Delete,
    Ready(bool),
    Terminate,
    Disrupted(bool),
    OfJob(bool),
    Phase(&'static str),
    Labelled(bool),
    Ips(&'static [&'static str]),
    Ports(&'static [(&'static str, u16)]),
    Priority(Option<&'static str>),
}

#[derive(Clone, Debug)]
pub(crate) enum SourceEvent {
    Delete,
    Create,
    Finalize(&'static str),
    Release,
    Selector(bool),
    Ports(u8),
    DualStack(bool),
    Label(Option<&'static str>),
}

#[derive(Clone, Debug)]
pub(crate) enum OurEvent {
    DeleteService,
    DeleteSlice,
    Hold,
    Release,
    Selector,
    StripLabels,
    StripLabel,
    StripMemory,
    EditPorts,
    EditEndpoint,
    AddEndpoint,
    StripSliceLabels,
    RenameSliceService,
}

#[derive(Clone, Debug)]
pub(crate) enum ForeignEvent {
    Service(&'static str),
    Slice(&'static str),
    DeleteService(&'static str),
    DeleteSlice(&'static str),
}

pub(crate) const PODS: [&str; 4] = ["a", "b", "c", "d"];
const NAMES: [&str; 3] = ["s-leader", "main", "ro"];

fn pods() -> impl Strategy<Value = Event> {
    let name = prop::sample::select(&PODS[..]);
    let event = prop_oneof![
        3 => (1_i64..1_000).prop_map(PodEvent::Create),
        2 => Just(PodEvent::Delete),
        6 => any::<bool>().prop_map(PodEvent::Ready),
        2 => Just(PodEvent::Terminate),
        2 => any::<bool>().prop_map(PodEvent::Disrupted),
        1 => any::<bool>().prop_map(PodEvent::OfJob),
        1 => prop::sample::select(&["Running", "Failed", "Pending"][..]).prop_map(PodEvent::Phase),
        2 => any::<bool>().prop_map(PodEvent::Labelled),
        1 => Just(PodEvent::Ips(&[])),
        1 => Just(PodEvent::Ips(&["10.7.7.7"])),
        1 => Just(PodEvent::Ips(&["10.7.7.8", "fd00:7::8"])),
        1 => Just(PodEvent::Ips(&["127.0.0.1", "fd00:7::9"])),
        1 => prop::sample::select(&[None, Some("5"), Some("-5"), Some("five")][..]).prop_map(PodEvent::Priority),
        1 => Just(PodEvent::Ports(&[])),
        1 => Just(PodEvent::Ports(&[("web", 8080)])),
        1 => Just(PodEvent::Ports(&[("web", 8081), ("extra", 9)])),
    ];
    (name, event).prop_map(|(name, event)| Event::Pod(name, event))
}

fn annotations() -> impl Strategy<Value = Event> {
    let choices: &[(&str, &[Option<&str>])] = &[
        (
            ENABLED,
            &[
                Some("true"),
                Some("true"),
                Some("true"),
                Some("false"),
                Some("?"),
                None,
            ],
        ),
        (
            LEADER_SERVICE_NAME,
            &[None, None, Some("main"), Some("No"), Some("s")],
        ),
        (
            FOLLOWERS_SERVICE_NAME,
            &[
                None,
                Some("ro"),
                Some("ro"),
                Some("ro"),
                Some("main"),
                Some("s-leader"),
                Some("No"),
            ],
        ),
        (
            LEADER_SERVICE_TYPE,
            &[
                None,
                None,
                Some("Headless"),
                Some("NodePort"),
                Some("LoadBalancer"),
                Some("?"),
            ],
        ),
        (
            LEADER_SERVICE_ANNOTATIONS,
            &[None, Some(r#"{"example.com/a":"1"}"#), Some("{")],
        ),
        (
            LEADER_SERVICE_SOURCE_RANGES,
            &[None, Some("10.0.0.0/8"), Some("::/0"), Some("all")],
        ),
        (STICKY, &[None, Some("true"), Some("false"), Some("?")]),
        (
            STRATEGY,
            &[
                None,
                Some("oldest"),
                Some("newest"),
                Some("random"),
                Some("node-spread"),
                Some("priority"),
                Some("?"),
            ],
        ),
        (
            PREFERRED_LEADER,
            &[None, Some("a"), Some("b"), Some("c"), Some("?")],
        ),
        (
            PAUSED,
            &[None, None, Some("false"), Some("true"), Some("?")],
        ),
        (MIN_READY_DURATION, &[None, Some("10s"), Some("?")]),
        (FAILOVER_MIN_DELAY, &[None, Some("20s"), Some("?")]),
        ("team", &[None, Some("x"), Some("y")]),
    ];
    let all: Vec<(&str, Option<&str>)> = choices
        .iter()
        .flat_map(|(key, values)| values.iter().map(|value| (*key, *value)))
        .collect();
    prop::sample::select(all).prop_map(|(key, value)| Event::Annotate(key, value))
}

fn others() -> impl Strategy<Value = Event> {
    use ForeignEvent as F;
    use OurEvent as O;
    use SourceEvent as S;
    let source = prop::sample::select(vec![
        S::Delete,
        S::Create,
        S::Create,
        S::Finalize("orphan"),
        S::Finalize("example.com/x"),
        S::Release,
        S::Selector(true),
        S::Selector(false),
        S::Selector(true),
        S::Ports(0),
        S::Ports(1),
        S::Ports(2),
        S::Ports(3),
        S::DualStack(true),
        S::DualStack(false),
        S::Label(Some("x")),
        S::Label(None),
    ]);
    let ours = prop::sample::select(vec![
        O::DeleteService,
        O::DeleteSlice,
        O::Hold,
        O::Release,
        O::Release,
        O::Selector,
        O::StripLabels,
        O::StripLabel,
        O::StripMemory,
        O::EditPorts,
        O::EditEndpoint,
        O::AddEndpoint,
        O::StripSliceLabels,
        O::RenameSliceService,
    ]);
    let foreign = prop::sample::select(vec![
        F::Service("main"),
        F::Service("s-leader"),
        F::Slice("s-leader"),
        F::Slice("s-leader-ipv6"),
        F::Slice("main"),
        F::Service("ro"),
        F::Slice("ro"),
        F::DeleteService("ro"),
        F::DeleteSlice("ro"),
        F::DeleteService("main"),
        F::DeleteService("s-leader"),
        F::DeleteSlice("s-leader"),
        F::DeleteSlice("s-leader-ipv6"),
    ]);
    let name = prop::sample::select(&NAMES[..]);
    prop_oneof![
        3 => source.prop_map(Event::Source),
        3 => (name, ours).prop_map(|(name, event)| Event::Ours(name, event)),
        1 => foreign.prop_map(Event::Foreign),
        1 => Just(Event::CollectGarbage),
        2 => (1_u16..40).prop_map(Event::Wait),
    ]
}

pub(crate) fn any_fate() -> impl Strategy<Value = Fate> {
    (prop::bool::weighted(0.2), any::<u8>()).prop_map(|(is_lost, order)| Fate { is_lost, order })
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    prop::collection::vec(any_fate(), 8)
}

/// A sequence of events in which the controller gets its turns.
pub(crate) fn events(max: usize) -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => pods(),
        4 => annotations(),
        4 => others(),
        10 => fates().prop_map(Event::Work),
        1 => fates().prop_map(Event::WorkOnOldNews),
        1 => Just(Event::Snapshot),
        1 => Just(Event::Crash),
    ];
    prop::collection::vec(event, 1..max)
}

impl Event {
    /// What it does to the cluster.
    pub(crate) fn happen(&self, world: &mut World) {
        match self {
            Self::Pod(name, event) => event.happen(world, name),
            Self::Source(event) => event.happen(world),
            Self::Annotate(key, value) => world.annotate("s", key, *value),
            Self::Ours(name, event) => event.happen(world, name),
            Self::Foreign(event) => event.happen(world),
            Self::CollectGarbage => world.collect_garbage(),
            Self::Wait(_)
            | Self::Crash
            | Self::Work(_)
            | Self::WorkOnOldNews(_)
            | Self::Snapshot => {}
        }
    }
}

impl PodEvent {
    fn happen(&self, world: &mut World, name: &str) {
        match self {
            Self::Create(at) if !world.pods.contains_key(name) => {
                let at_ready = world.seconds;
                world.put_pod(pod(name).created(*at).ready_at(at_ready));
            }
            Self::Create(_) => {}
            Self::Delete => world.delete_pod(name),
            Self::Ready(is) => world.edit_pod(name, |pod| pod.ready = *is),
            Self::Terminate => world.edit_pod(name, |pod| pod.terminating = true),
            Self::Disrupted(is) => world.edit_pod(name, |pod| pod.disrupted = *is),
            Self::OfJob(is) => world.edit_pod(name, |pod| pod.of_job = *is),
            Self::Phase(phase) => world.edit_pod(name, |pod| pod.phase = phase),
            Self::Labelled(true) => world.edit_pod(name, |p| p.labels = pod("x").labels),
            Self::Labelled(false) => world.edit_pod(name, |p| p.labels.clear()),
            Self::Ips(ips) => world.edit_pod(name, |pod| *pod = pod.clone().ips(ips)),
            Self::Priority(text) => world.edit_pod(name, |pod| pod.priority = *text),
            Self::Ports(ports) => world.edit_pod(name, |pod| *pod = pod.clone().ports(ports)),
        }
    }
}

impl SourceEvent {
    fn happen(&self, world: &mut World) {
        let edit = |world: &mut World, edit: &dyn Fn(&mut Value)| world.edit_service("s", edit);
        match self {
            Self::Delete => world.delete(Kind::Service, "s"),
            Self::Create => drop(world.create_service(source("s"))),
            Self::Finalize(finalizer) => {
                edit(world, &|object| {
                    object["metadata"]["finalizers"] = json!([finalizer]);
                });
                world.delete(Kind::Service, "s");
            }
            Self::Release => edit(world, &|object| {
                object["metadata"]["finalizers"] = json!([]);
            }),
            Self::Selector(true) => edit(world, &|object| {
                object["spec"]["selector"] = json!({"app": "s"});
            }),
            Self::Selector(false) => {
                edit(world, &|object| object["spec"]["selector"] = Value::Null);
            }
            Self::Ports(which) => {
                let ports = match which {
                    0 => json!([{"name": "http", "port": 80, "targetPort": "web"}]),
                    1 => json!([{"name": "http", "port": 81, "targetPort": "web"}]),
                    2 => {
                        json!([{"name": "http", "port": 80, "targetPort": "web"}, {"name": "x", "port": 9, "targetPort": "extra"}])
                    }
                    _ => json!([{"port": 80, "targetPort": 8080}]),
                };
                edit(world, &|object| object["spec"]["ports"] = ports.clone());
            }
            Self::DualStack(true) => edit(world, &|object| {
                object["spec"]["ipFamilyPolicy"] = "PreferDualStack".into();
            }),
            Self::DualStack(false) => edit(world, &|object| {
                let spec = &mut object["spec"];
                spec["ipFamilyPolicy"] = "SingleStack".into();
                spec["ipFamilies"] = json!([spec["ipFamilies"][0]]);
                spec["clusterIPs"] = json!([spec["clusterIPs"][0]]);
            }),
            Self::Label(value) => edit(world, &|object| {
                set_key(&mut object["metadata"], "labels", "color", *value);
            }),
        }
    }
}

impl OurEvent {
    fn happen(&self, world: &mut World, name: &str) {
        // Only what is ours is tampered with here.
        let is_foreign = |object: &Value| object["metadata"]["annotations"]["foreign"] == "yes";
        let objects = [world.services.get(name), world.slices.get(name)];
        if objects.into_iter().flatten().any(is_foreign) {
            return;
        }
        let meta = |world: &mut World, map: &str, key: &str| {
            world.edit_service(name, |object| {
                set_key(&mut object["metadata"], map, key, None);
            });
        };
        match self {
            Self::DeleteService => world.delete(Kind::Service, name),
            Self::DeleteSlice => world.delete(Kind::Slice, name),
            Self::Hold => {
                let hold = |object: &mut Value| {
                    if object["metadata"]["deletionTimestamp"].is_null() {
                        object["metadata"]["finalizers"] = json!(["example.com/hold"]);
                    }
                };
                world.edit_service(name, hold);
                world.edit_slice(name, hold);
            }
            Self::Release => release(world, name),
            Self::Selector => world.edit_service(name, |object| object["spec"]["selector"] = json!({"app": "s"})),
            Self::StripLabels => world.edit_service(name, |object| object["metadata"]["labels"] = json!({})),
            Self::StripLabel => meta(world, "labels", SOURCE_SERVICE),
            Self::StripMemory => {
                world.lost_memory = true;
                meta(world, "annotations", MIRRORED);
            }
            Self::EditPorts => world.edit_service(name, |object| object["spec"]["ports"] = json!([{"port": 7}])),
            Self::EditEndpoint => world.edit_slice(name, |slice| {
                if slice["endpoints"].is_array() {
                    slice["endpoints"][0]["addresses"] = json!([if slice["addressType"] == "IPv6" { "fd66::6" } else { "10.66.6.6" }]);
                }
            }),
            Self::AddEndpoint => world.edit_slice(name, |slice| {
                let one = json!({"addresses": [if slice["addressType"] == "IPv6" { "fd66::7" } else { "10.66.6.7" }]});
                match slice["endpoints"].as_array_mut() {
                    Some(all) => all.push(one),
                    None => slice["endpoints"] = json!([one]),
                }
            }),
            Self::StripSliceLabels => world.edit_slice(name, |slice| slice["metadata"]["labels"] = json!({})),
            Self::RenameSliceService => world.edit_slice(name, |slice| slice["metadata"]["labels"][SERVICE_NAME] = "other".into()),
        }
    }
}

/// Finalizers have done their work.
pub(crate) fn release(world: &mut World, name: &str) {
    let free = |object: &mut Value| object["metadata"]["finalizers"] = json!([]);
    world.edit_service(name, free);
    world.edit_slice(name, free);
}

impl ForeignEvent {
    fn happen(&self, world: &mut World) {
        let is_foreign = |object: &Value| object["metadata"]["annotations"]["foreign"] == "yes";
        let metadata =
            |name: &str| json!({"name": name, "namespace": "n", "annotations": {"foreign": "yes"}});
        match self {
            Self::Service(name) => drop(world.create_service(json!({
                "metadata": metadata(name), "spec": {"selector": {"app": "other"}, "ports": [{"port": 1}]},
            }))),
            Self::Slice(name) => drop(world.create_slice(json!({
                "metadata": metadata(name), "addressType": "IPv4", "endpoints": [{"addresses": ["10.3.3.3"]}], "ports": [],
            }))),
            Self::DeleteService(name) => {
                if world.services.get(*name).is_some_and(is_foreign) {
                    world.delete(Kind::Service, name);
                }
            }
            Self::DeleteSlice(name) => {
                if world.slices.get(*name).is_some_and(is_foreign) {
                    world.delete(Kind::Slice, name);
                }
            }
        }
    }
}
