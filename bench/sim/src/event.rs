//! What users, kubelets and strangers do to a cluster. Each event stands for itself: it does nothing
//! where its object is missing, so that any subset of a schedule is a schedule.

use serde_json::{Value, json};
use simkube::{Kind, SimKube};

use crate::chance::Chance;

/// The only namespace.
pub(crate) const NS: &str = "shop";
/// Sources.
pub(crate) const SOURCES: [&str; 4] = ["a", "b", "c", "d"];
/// Pods.
pub(crate) const PODS: [&str; 10] = ["p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9"];
/// What pods are of; few, so that a Service has several.
const APPS: [&str; 6] = ["a", "a", "a", "b", "b", "c"];
const NODES: [&str; 3] = ["n0", "n1", "n2"];
const ENABLED: &str = "zen-lead.io/enabled";
const NAME: &str = "zen-lead.io/leader-service-name";
const SOURCE: &str = "zen-lead.io/source-service";
/// Bears every object that the workload made beside our objects.
pub(crate) const FOREIGN: &str = "foreign";
/// Names that sources ask for, or hold by default.
const NAMES: [&str; 7] = [
    "a-leader", "b-leader", "c-leader", "d-leader", "shared", "main-a", "main-b",
];

/// Something happens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the fields say what they are")]
pub enum Event {
    /// A Service comes, opted in or not.
    Source {
        name: &'static str,
        app: &'static str,
        ports: u8,
        enabled: bool,
        dual: bool,
    },
    /// A Service goes; its dependents are orphaned, or not.
    DropSource { name: &'static str, orphan: bool },
    /// An annotation of a source is set or removed.
    Annotate {
        name: &'static str,
        key: &'static str,
        value: Option<&'static str>,
    },
    /// A label and an annotation that are mirrored.
    Mirror {
        name: &'static str,
        value: Option<&'static str>,
    },
    /// Another selector, or none.
    Select {
        name: &'static str,
        app: Option<&'static str>,
    },
    /// Other ports.
    Ports { name: &'static str, ports: u8 },
    /// One family or two.
    Families { name: &'static str, dual: bool },
    /// A pod comes.
    Pod {
        name: &'static str,
        app: &'static str,
        node: &'static str,
        ip: u8,
        ready: bool,
    },
    /// A pod becomes Ready or not.
    Ready { name: &'static str, ready: bool },
    /// A pod is deleted, with grace.
    Terminate { name: &'static str },
    /// A pod is gone.
    Finish { name: &'static str },
    /// A pod is about to be evicted, or that is called off.
    Disrupt { name: &'static str, on: bool },
    /// A pod is gone and back under its name at once.
    Recreate { name: &'static str, ip: u8 },
    /// Another address, or none, or one that must not be published.
    Address { name: &'static str, ip: u8 },
    /// A pod ends, or not yet runs.
    Phase {
        name: &'static str,
        phase: &'static str,
    },
    /// A pod changes its label.
    Relabel {
        name: &'static str,
        app: &'static str,
    },
    /// A node is lost with all its pods, or comes back.
    Node { name: &'static str, up: bool },
    /// A stranger takes a name that might be ours.
    Squat { kind: Kind, name: &'static str },
    /// He goes.
    Unsquat { kind: Kind, name: &'static str },
    /// A stranger attaches a slice to a leader Service.
    Attach { name: &'static str },
    /// Somebody edits a leader Service of ours.
    HandService { of: &'static str, edit: ServiceEdit },
    /// Somebody edits a slice of ours.
    HandSlice { of: &'static str, edit: SliceEdit },
    /// Something happens to whoever leads.
    OfLeader { of: &'static str, act: PodAct },
    /// The garbage collector comes by.
    Collect,
}

/// What happens to the pod that leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodAct {
    /// It is not Ready any more.
    Unready,
    /// It flaps.
    Flap,
    /// It is deleted, with grace.
    Terminate,
    /// It is killed.
    Kill,
    /// It is about to be evicted.
    Disrupt,
    /// It moves to another address.
    Move,
    /// It loses its address.
    Isolate,
    /// It ends.
    Fail,
    /// It loses its label.
    Unlabel,
}

/// What hands do to a leader Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceEdit {
    /// Takes our labels off.
    Unlabel,
    /// Makes it an orphan.
    Disown,
    /// Changes its ports.
    Ports,
    /// Sets an annotation of ours.
    Identity,
    /// Sets a label of its own.
    Own,
    /// Sets a selector, and the native controller makes a slice.
    Select,
    /// Deletes it.
    Delete,
}

/// What hands do to a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SliceEdit {
    /// Takes our labels off.
    Unlabel,
    /// Makes it an orphan.
    Disown,
    /// Empties it.
    Empty,
    /// Publishes another pod.
    Misroute,
    /// Changes its ports.
    Ports,
    /// Deletes it.
    Delete,
}

impl Event {
    /// The name under which its occurrences are counted.
    #[must_use]
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::HandService { edit, .. } => format!("HandService {edit:?}"),
            Self::OfLeader { act, .. } => format!("OfLeader {act:?}"),
            Self::HandSlice { edit, .. } => format!("HandSlice {edit:?}"),
            other => {
                let text = format!("{other:?}");
                let end = text.find([' ', '{']).unwrap_or(text.len());
                text[..end].to_owned()
            }
        }
    }

    /// A pod that comes.
    pub(crate) fn pod(chance: &mut Chance, name: &'static str) -> Self {
        Self::Pod {
            name,
            app: chance.pick(&APPS),
            node: chance.pick(&NODES),
            ip: 10 + u8::try_from(chance.below(200)).unwrap_or_default(),
            ready: chance.percent(80),
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
            58..=59 => Self::Terminate { name: pod },
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
            77..=79 => Self::Relabel {
                name: pod,
                app: chance.pick(&APPS),
            },
            80..=82 => Self::Node {
                name: chance.pick(&NODES),
                up: chance.percent(60),
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

    /// Happens.
    pub(crate) fn happen(&self, kube: &SimKube) {
        match *self {
            Self::OfLeader { of, act } => {
                if let Some(name) = leader(kube, of) {
                    act.happen(kube, &name);
                }
            }
            Self::Source {
                name,
                app,
                ports,
                enabled,
                dual,
            } => {
                create_source(kube, name, app, ports, enabled, dual);
            }
            Self::DropSource { name, orphan } => drop_source(kube, name, orphan),
            Self::Annotate { name, key, value } => {
                kube.annotate(Kind::Service, NS, name, key, value);
            }
            Self::Mirror { name, value } => {
                kube.label(Kind::Service, NS, name, "color", value);
                kube.annotate(Kind::Service, NS, name, "team", value);
            }
            Self::Select { name, app } => edit(kube, Kind::Service, name, |service| {
                service["spec"]["selector"] = app.map_or(Value::Null, |app| json!({"app": app}));
            }),
            Self::Ports { name, ports } => edit(kube, Kind::Service, name, |service| {
                service["spec"]["ports"] = service_ports(ports);
            }),
            Self::Families { name, dual } => edit(kube, Kind::Service, name, |service| {
                set_families(service, dual);
            }),
            Self::Pod {
                name,
                app,
                node,
                ip,
                ready,
            } => create_pod(kube, name, app, node, ip, ready),
            Self::Ready { name, ready } => {
                kube.set_ready(NS, name, ready);
            }
            Self::Terminate { name } => {
                kube.delete_pod(NS, name, 30);
            }
            Self::Finish { name } => {
                kube.finish_termination(NS, name);
            }
            Self::Disrupt { name, on } => {
                let status = if on { "True" } else { "False" };
                kube.set_condition(NS, name, "DisruptionTarget", status);
            }
            Self::Recreate { name, ip } => recreate(kube, name, ip),
            Self::Address { name, ip } => {
                let all = addresses(ip);
                let all: Vec<&str> = all.iter().map(String::as_str).collect();
                kube.set_ips(NS, name, &all);
            }
            Self::Phase { name, phase } => {
                kube.set_phase(NS, name, phase);
            }
            Self::Relabel { name, app } => {
                kube.label(Kind::Pod, NS, name, "app", Some(app));
            }
            Self::Node { name, up } => {
                for pod in kube.list(Kind::Pod, NS) {
                    if pod["spec"]["nodeName"] == name {
                        kube.set_ready(NS, name_of(&pod), up);
                    }
                }
            }
            Self::Squat { kind, name } => squat(kube, kind, name),
            Self::Unsquat { kind, name } => {
                if kube
                    .get(kind, NS, name)
                    .is_some_and(|object| is_foreign(&object))
                {
                    kube.delete(kind, NS, name);
                }
            }
            Self::Attach { name } => attach(kube, name),
            Self::HandService { of, edit } => hand_service(kube, of, edit),
            Self::HandSlice { of, edit } => hand_slice(kube, of, edit),
            Self::Collect => {
                kube.gc();
            }
        }
    }
}

fn act(chance: &mut Chance, late: bool) -> PodAct {
    match chance.below(18) {
        0..=3 => PodAct::Unready,
        4..=5 => PodAct::Flap,
        6..=7 => PodAct::Terminate,
        8..=10 => PodAct::Kill,
        11..=12 if !late => PodAct::Disrupt,
        11..=13 => PodAct::Move,
        14 => PodAct::Isolate,
        15 => PodAct::Fail,
        _ => PodAct::Unlabel,
    }
}

/// Who leads, according to the first slice.
fn leader(kube: &SimKube, of: &str) -> Option<String> {
    let slice = ours(kube, Kind::EndpointSlice, of)?;
    Some(
        slice["endpoints"][0]["targetRef"]["name"]
            .as_str()?
            .to_owned(),
    )
}

impl PodAct {
    fn happen(self, kube: &SimKube, name: &str) {
        match self {
            Self::Unready => {
                kube.set_ready(NS, name, false);
            }
            Self::Flap => {
                kube.set_ready(NS, name, false);
                kube.set_ready(NS, name, true);
            }
            Self::Terminate => {
                kube.delete_pod(NS, name, 30);
            }
            Self::Kill => {
                kube.delete_pod(NS, name, 0);
            }
            Self::Disrupt => {
                kube.set_condition(NS, name, "DisruptionTarget", "True");
            }
            Self::Move => {
                kube.set_ips(NS, name, &["10.1.1.77"]);
            }
            Self::Isolate => {
                kube.set_ips(NS, name, &[]);
            }
            Self::Fail => {
                kube.set_phase(NS, name, "Failed");
            }
            Self::Unlabel => {
                kube.label(Kind::Pod, NS, name, "app", None);
            }
        }
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
    let settings: [(&str, &[Option<&str>]); 7] = [
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
                Some("best"),
            ],
        ),
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
        ("zen-lead.io/leaderservice", &[None, Some("x")]),
    ];
    let (key, values) = chance.pick(&settings);
    Event::Annotate {
        name,
        key,
        value: chance.pick(values),
    }
}

/// The name of an object.
#[must_use]
pub(crate) fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Whether the workload made an object to stand beside ours.
#[must_use]
pub(crate) fn is_foreign(object: &Value) -> bool {
    object["metadata"]["annotations"][FOREIGN] == "yes"
}

fn edit(kube: &SimKube, kind: Kind, name: &str, change: impl FnOnce(&mut Value)) {
    // What the server refuses has not happened.
    let _ = kube.edit(kind, NS, name, change);
}

fn service_ports(which: u8) -> Value {
    match which {
        0 => json!([{"name": "http", "port": 80, "targetPort": 8080}]),
        1 => json!([{"name": "http", "port": 80, "targetPort": "http"}]),
        2 => {
            json!([{"name": "http", "port": 80, "targetPort": "http"}, {"name": "sql", "port": 5432, "targetPort": "sql"}])
        }
        3 => json!([{"name": "http", "port": 80, "targetPort": "missing"}]),
        4 => json!([]),
        _ => json!([{"name": "web", "port": 8081, "targetPort": 8080, "appProtocol": "h2c"}]),
    }
}

fn set_families(service: &mut Value, dual: bool) {
    let spec = &mut service["spec"];
    spec["ipFamilyPolicy"] = if dual {
        "PreferDualStack"
    } else {
        "SingleStack"
    }
    .into();
    if !dual {
        for list in ["ipFamilies", "clusterIPs"] {
            if let Some(list) = spec[list].as_array_mut() {
                list.truncate(1);
            }
        }
    }
}

fn create_source(kube: &SimKube, name: &str, app: &str, ports: u8, enabled: bool, dual: bool) {
    if kube.get(Kind::Service, NS, name).is_some() {
        return;
    }
    let mut builder = kube
        .service(NS, name)
        .selector(&[("app", app)])
        .with(|service| {
            service["spec"]["ports"] = service_ports(ports);
            if dual {
                set_families(service, true);
            }
        });
    if enabled {
        builder = builder.annotation(ENABLED, "true");
    }
    let _ = builder.try_create();
}

fn drop_source(kube: &SimKube, name: &str, orphan: bool) {
    if orphan {
        edit(kube, Kind::Service, name, |service| {
            service["metadata"]["finalizers"] = json!(["orphan"]);
        });
    }
    kube.delete(Kind::Service, NS, name);
    if orphan {
        kube.gc();
    }
}

fn addresses(ip: u8) -> Vec<String> {
    match ip {
        0 => Vec::new(),
        1 => vec!["127.0.0.1".into()],
        ip if ip % 4 == 0 => vec![format!("10.1.0.{ip}"), format!("fd00::{ip:x}")],
        ip => vec![format!("10.1.0.{ip}")],
    }
}

fn create_pod(kube: &SimKube, name: &str, app: &str, node: &str, ip: u8, ready: bool) {
    if kube.get(Kind::Pod, NS, name).is_some() {
        return;
    }
    let ips = addresses(ip);
    let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
    let mut pod = kube
        .pod(NS, name)
        .labels(&[("app", app)])
        .node(node)
        .ready(ready);
    pod = pod.ips(&ips).port("http", 8080);
    if !ip.is_multiple_of(3) {
        pod = pod.port("sql", 5432);
    }
    pod.create();
}

fn recreate(kube: &SimKube, name: &'static str, ip: u8) {
    let Some(old) = kube.get(Kind::Pod, NS, name) else {
        return;
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (app, node) = (
        text(&old["metadata"]["labels"]["app"]),
        text(&old["spec"]["nodeName"]),
    );
    kube.delete_pod(NS, name, 0);
    create_pod(kube, name, &app, &node, ip, true);
}

fn squat(kube: &SimKube, kind: Kind, name: &str) {
    let body = match kind {
        Kind::Service => json!({
            "metadata": {"name": name, "annotations": {FOREIGN: "yes"}, "labels": {"theirs": "yes"}},
            "spec": {"ports": [{"name": "http", "port": 81}]},
        }),
        _ => json!({
            "metadata": {"name": name, "annotations": {FOREIGN: "yes"}, "labels": {"kubernetes.io/service-name": "other"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.9.9.9"]}],
            "ports": [],
        }),
    };
    let _ = kube.try_create(kind, NS, &body);
}

fn attach(kube: &SimKube, service: &str) {
    let body = json!({
        "metadata": {
            "name": format!("{service}-theirs"), "annotations": {FOREIGN: "yes"},
            "labels": {"kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": "somebody"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.9.9.8"]}],
        "ports": [],
    });
    let _ = kube.try_create(Kind::EndpointSlice, NS, &body);
}

/// The first object of ours for a source, by name.
fn ours(kube: &SimKube, kind: Kind, of: &str) -> Option<Value> {
    let mut all = kube.list(kind, NS).into_iter();
    all.find(|object| {
        let meta = &object["metadata"];
        !is_foreign(object) && meta["labels"][SOURCE] == of && meta["deletionTimestamp"].is_null()
    })
}

const LABELS: [&str; 3] = [
    SOURCE,
    "app.kubernetes.io/managed-by",
    "endpointslice.kubernetes.io/managed-by",
];

fn unlabel(object: &mut Value) {
    if let Some(labels) = object["metadata"]["labels"].as_object_mut() {
        labels.retain(|key, _| !LABELS.contains(&key.as_str()));
    }
}

fn hand_service(kube: &SimKube, of: &str, what: ServiceEdit) {
    let Some(service) = ours(kube, Kind::Service, of) else {
        return;
    };
    let name = name_of(&service);
    match what {
        ServiceEdit::Delete => {
            kube.delete(Kind::Service, NS, name);
        }
        ServiceEdit::Select => {
            edit(kube, Kind::Service, name, |service| {
                service["spec"]["selector"] = json!({"app": of});
            });
            let body = json!({
                "metadata": {
                    "name": format!("{name}-x7k2p"), "annotations": {FOREIGN: "yes"},
                    "labels": {"kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"},
                    "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "controller": true, "name": name, "uid": service["metadata"]["uid"]}],
                },
                "addressType": "IPv4",
                "endpoints": [{"addresses": ["10.9.9.7"]}],
                "ports": [],
            });
            let _ = kube.try_create(Kind::EndpointSlice, NS, &body);
        }
        _ => edit(kube, Kind::Service, name, |service| match what {
            ServiceEdit::Unlabel => unlabel(service),
            ServiceEdit::Disown => service["metadata"]["ownerReferences"] = json!([]),
            ServiceEdit::Ports => service["spec"]["ports"][0]["port"] = 4242.into(),
            ServiceEdit::Identity => {
                service["metadata"]["annotations"]["zen-lead.io/leader-pod-name"] = "nobody".into();
            }
            ServiceEdit::Own | ServiceEdit::Select | ServiceEdit::Delete => {
                service["metadata"]["labels"]["mine"] = "yes".into();
            }
        }),
    }
}

fn hand_slice(kube: &SimKube, of: &str, what: SliceEdit) {
    let Some(slice) = ours(kube, Kind::EndpointSlice, of) else {
        return;
    };
    let name = name_of(&slice);
    if what == SliceEdit::Delete {
        kube.delete(Kind::EndpointSlice, NS, name);
        return;
    }
    let other = kube.list(Kind::Pod, NS).into_iter().next();
    edit(kube, Kind::EndpointSlice, name, |slice| match what {
        SliceEdit::Unlabel | SliceEdit::Delete => unlabel(slice),
        SliceEdit::Disown => slice["metadata"]["ownerReferences"] = json!([]),
        SliceEdit::Empty => slice["endpoints"] = json!([]),
        SliceEdit::Misroute => {
            let pod = other.unwrap_or_default();
            slice["endpoints"] = json!([{
                "addresses": [if slice["addressType"] == "IPv4" { "10.9.9.6" } else { "fd00::9" }],
                "targetRef": {"kind": "Pod", "namespace": NS, "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]},
            }]);
        }
        SliceEdit::Ports => slice["ports"] = json!([{"name": "odd", "port": 1, "protocol": "TCP"}]),
    });
}
