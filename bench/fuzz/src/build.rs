//! Builds the objects that an API server could send, from choices; valid ones, with whatever a
//! newer server may add and with the nulls that Go's encoder leaves behind.

use serde_json::{Map, Value, json};

use super::choices::Choices;

const TIMES: [&str; 4] = [
    "2026-01-01T00:00:00Z",
    "2026-06-30T23:59:59Z",
    "1970-01-01T00:00:00Z",
    "2026-01-01T00:00:00.123456Z",
];
const ADDRESSES: [&str; 14] = [
    "10.0.0.1",
    "fd00::1",
    "10.1.2.3",
    "2001:db8::7",
    "127.0.0.1",
    "::1",
    "169.254.169.254",
    "fe80::1",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
    "::ffff:10.0.0.1",
    "127.255.255.255",
];
const PORT_NAMES: [&str; 5] = ["http", "web", "dns", "a", "metrics"];
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
const KEYS: [&str; 6] = [
    "app",
    "zen-lead.io/priority",
    "app.kubernetes.io/name",
    "kubectl.kubernetes.io/last-applied-configuration",
    "example.com/a",
    "z",
];

pub(super) fn pod(c: &mut Choices) -> Value {
    let mut spec = Map::new();
    maybe(c, &mut spec, "nodeName", |c| {
        c.pick(&["n1", "n2", ""]).into()
    });
    spec.insert("containers".into(), list(c, container));
    optional_list(c, &mut spec, "initContainers", container);
    maybe(c, &mut spec, "hostname", |c| {
        c.pick(&["db-0", "h", ""]).into()
    });
    maybe(c, &mut spec, "hostNetwork", |c| c.once_in(2).into());
    let mut status = Map::new();
    maybe(c, &mut status, "phase", |c| {
        c.pick(&[
            "Running",
            "Pending",
            "Succeeded",
            "Failed",
            "Unknown",
            "New",
        ])
        .into()
    });
    let addresses: Vec<_> = (0..c.below(4)).map(|_| c.pick(&ADDRESSES)).collect();
    if let Some(first) = addresses.first() {
        status.insert("podIP".into(), (*first).into());
        let entries = addresses.iter().map(|ip| json!({ "ip": ip }));
        status.insert("podIPs".into(), entries.collect());
    }
    let mut kinds = vec![
        "Ready",
        "DisruptionTarget",
        "PodScheduled",
        "example.com/gate",
    ];
    optional_list(c, &mut status, "conditions", |c| {
        // Each type once: the list is a map by type.
        let kind = if kinds.is_empty() {
            "other"
        } else {
            kinds.remove(c.below(kinds.len()))
        };
        let mut condition = Map::new();
        condition.insert("type".into(), kind.into());
        condition.insert(
            "status".into(),
            c.pick(&["True", "False", "Unknown"]).into(),
        );
        maybe(c, &mut condition, "lastTransitionTime", time);
        condition.into()
    });
    let mut pod = json!({ "metadata": metadata(c), "spec": spec, "status": status });
    noise(c, &mut pod);
    pod
}

fn container(c: &mut Choices) -> Value {
    let mut container = Map::new();
    container.insert("name".into(), "main".into());
    optional_list(c, &mut container, "ports", |c| {
        let mut port = Map::new();
        maybe(c, &mut port, "name", |c| c.pick(&PORT_NAMES).into());
        port.insert("containerPort".into(), c.port().into());
        port.insert("protocol".into(), c.pick(&PROTOCOLS).into());
        port.into()
    });
    maybe(c, &mut container, "restartPolicy", |c| {
        c.pick(&["Always", "Never"]).into()
    });
    container.into()
}

pub(super) fn service(c: &mut Choices) -> Value {
    let mut spec = Map::new();
    maybe(c, &mut spec, "type", |c| {
        c.pick(&[
            "ClusterIP",
            "NodePort",
            "LoadBalancer",
            "ExternalName",
            "Wormhole",
        ])
        .into()
    });
    maybe(c, &mut spec, "selector", strings);
    optional_list(c, &mut spec, "ports", |c| {
        let mut port = Map::new();
        maybe(c, &mut port, "name", |c| c.pick(&PORT_NAMES).into());
        port.insert("protocol".into(), c.pick(&PROTOCOLS).into());
        port.insert("port".into(), c.port().into());
        maybe(c, &mut port, "targetPort", |c| {
            if c.once_in(2) {
                c.pick(&PORT_NAMES).into()
            } else {
                c.port().into()
            }
        });
        maybe(c, &mut port, "nodePort", |c| c.port().into());
        maybe(c, &mut port, "appProtocol", |c| {
            c.pick(&["http", "kubernetes.io/h2c"]).into()
        });
        port.into()
    });
    optional_list(c, &mut spec, "clusterIPs", |c| {
        c.pick(&["10.0.0.1", "None", "fd00::1"]).into()
    });
    optional_list(c, &mut spec, "ipFamilies", |c| {
        c.pick(&["IPv4", "IPv6"]).into()
    });
    maybe(c, &mut spec, "ipFamilyPolicy", |c| {
        c.pick(&["SingleStack", "PreferDualStack", "RequireDualStack"])
            .into()
    });
    optional_list(c, &mut spec, "loadBalancerSourceRanges", |c| {
        c.pick(&["10.0.0.0/8", "fd00::/8"]).into()
    });
    maybe(c, &mut spec, "loadBalancerClass", |_| {
        "example.com/lb".into()
    });
    let mut service = json!({ "metadata": metadata(c), "spec": spec });
    noise(c, &mut service);
    service
}

pub(super) fn slice(c: &mut Choices) -> Value {
    let mut slice = Map::new();
    slice.insert("metadata".into(), metadata(c));
    slice.insert(
        "addressType".into(),
        c.pick(&["IPv4", "IPv6", "FQDN"]).into(),
    );
    slice.insert("endpoints".into(), list(c, endpoint));
    slice.insert(
        "ports".into(),
        list(c, |c| {
            let mut port = Map::new();
            maybe(c, &mut port, "name", |c| {
                c.pick(&["", "http", "dns"]).into()
            });
            maybe(c, &mut port, "protocol", |c| c.pick(&PROTOCOLS).into());
            maybe(c, &mut port, "port", |c| c.port().into());
            maybe(c, &mut port, "appProtocol", |_| "http".into());
            port.into()
        }),
    );
    let mut slice = slice.into();
    noise(c, &mut slice);
    slice
}

fn endpoint(c: &mut Choices) -> Value {
    let mut endpoint = Map::new();
    endpoint.insert("addresses".into(), list(c, |c| c.pick(&ADDRESSES).into()));
    let mut conditions = Map::new();
    for name in ["ready", "serving", "terminating"] {
        maybe(c, &mut conditions, name, |c| c.once_in(2).into());
    }
    endpoint.insert("conditions".into(), conditions.into());
    for name in ["nodeName", "zone", "hostname"] {
        maybe(c, &mut endpoint, name, |c| c.pick(&["a", "b"]).into());
    }
    maybe(
        c,
        &mut endpoint,
        "hints",
        |_| json!({ "forZones": [{ "name": "a" }] }),
    );
    maybe(c, &mut endpoint, "targetRef", |c| {
        let mut target = Map::new();
        for name in ["kind", "namespace", "name", "uid"] {
            maybe(c, &mut target, name, |c| c.text().into());
        }
        target.into()
    });
    endpoint.into()
}

pub(super) fn lease(c: &mut Choices) -> Value {
    let mut spec = Map::new();
    maybe(c, &mut spec, "holderIdentity", |c| c.text().into());
    maybe(c, &mut spec, "leaseDurationSeconds", |c| {
        c.pick(&[4, 1, 3600, i32::MAX]).into()
    });
    maybe(c, &mut spec, "leaseTransitions", |c| c.byte().into());
    maybe(c, &mut spec, "renewTime", |c| {
        c.pick(&["2026-01-01T00:00:00.000001Z", "1970-01-01T00:00:00.000000Z"])
            .into()
    });
    let mut lease = json!({ "metadata": metadata(c), "spec": spec });
    noise(c, &mut lease);
    lease
}

pub(super) fn node(c: &mut Choices) -> Value {
    let mut spec = Map::new();
    maybe(c, &mut spec, "unschedulable", |c| c.once_in(2).into());
    optional_list(c, &mut spec, "taints", |c| {
        let key = c.pick(&[
            "node.kubernetes.io/unschedulable",
            "karpenter.sh/disrupted",
            "gpu",
        ]);
        json!({ "key": key, "effect": "NoSchedule" })
    });
    let mut node = json!({ "metadata": metadata(c), "spec": spec });
    noise(c, &mut node);
    node
}

pub(super) fn metadata(c: &mut Choices) -> Value {
    let mut meta = Map::new();
    meta.insert("name".into(), c.pick(&["a", "web-0", "x.y"]).into());
    meta.insert("namespace".into(), c.pick(&["shop", "default"]).into());
    meta.insert(
        "uid".into(),
        c.pick(&["u1", "4fd5a30e-7c2f-4a0c-9d5c-0c7c3d0f1b22"])
            .into(),
    );
    let version = if c.once_in(8) {
        c.text()
    } else {
        c.number().to_string()
    };
    meta.insert("resourceVersion".into(), version.into());
    maybe(c, &mut meta, "creationTimestamp", time);
    if c.once_in(3) {
        meta.insert("deletionTimestamp".into(), time(c));
        maybe(c, &mut meta, "deletionGracePeriodSeconds", |c| {
            c.pick(&[0, 30, i64::MAX]).into()
        });
    }
    maybe(c, &mut meta, "labels", strings);
    maybe(c, &mut meta, "annotations", strings);
    optional_list(c, &mut meta, "finalizers", |c| {
        c.pick(&["orphan", "example.com/f"]).into()
    });
    optional_list(c, &mut meta, "ownerReferences", |c| {
        let mut owner = json!({
            "apiVersion": "v1", "kind": c.pick(&["Service", "ReplicaSet"]), "name": c.text(), "uid": c.text(),
        });
        let fields = owner.as_object_mut().expect("it is one");
        maybe(c, fields, "controller", |c| c.once_in(2).into());
        maybe(c, fields, "blockOwnerDeletion", |c| c.once_in(2).into());
        owner
    });
    meta.into()
}

fn time(c: &mut Choices) -> Value {
    c.pick(&TIMES).into()
}

fn strings(c: &mut Choices) -> Value {
    let count = c.below(5);
    let entry = |_| (c.pick(&KEYS).to_owned(), Value::from(c.text()));
    Value::Object((0..count).map(entry).collect())
}

fn maybe(
    c: &mut Choices,
    object: &mut Map<String, Value>,
    name: &str,
    make: impl FnOnce(&mut Choices) -> Value,
) {
    if c.once_in(2) {
        object.insert(name.into(), make(c));
    }
}

/// A list; an empty one reads back from a server as null.
fn list(c: &mut Choices, mut make: impl FnMut(&mut Choices) -> Value) -> Value {
    match c.below(5) {
        0 => Value::Null,
        more => (1..more).map(|_| make(c)).collect(),
    }
}

/// The same for a field that may be absent.
fn optional_list(
    c: &mut Choices,
    object: &mut Map<String, Value>,
    name: &str,
    make: impl FnMut(&mut Choices) -> Value,
) {
    if c.once_in(2) {
        let value = list(c, make);
        object.insert(name.into(), value);
    }
}

/// Fields that no version of Kubernetes has yet.
fn noise(c: &mut Choices, value: &mut Value) {
    const STRING_MAPS: [&str; 3] = ["labels", "annotations", "selector"];
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                if !STRING_MAPS.contains(&name.as_str()) {
                    noise(c, field);
                }
            }
            if c.once_in(6) {
                let odd = [
                    json!(null),
                    json!({ "deep": [[[{ "type": "Ready" }]], 1e308, -0.0, "\u{0}\"\\"] }),
                    json!(u64::MAX),
                ];
                fields.insert("fromTheFuture".into(), odd[c.below(odd.len())].clone());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| noise(c, item)),
        _ => {}
    }
}
