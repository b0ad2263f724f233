//! What strangers and careless hands do.

use serde_json::{Value, json};
use simkube::{Kind, SimKube};

use super::effect::edit;
use super::{FOREIGN, NS, SOURCE, ServiceEdit, SliceEdit, is_foreign, name_of};
use crate::claims::is_for_followers;

pub(super) fn squat(kube: &SimKube, kind: Kind, name: &str) {
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

pub(super) fn attach(kube: &SimKube, service: &str) {
    let body = json!({
        "metadata": {
            "name": format!("{service}-theirs"), "annotations": {FOREIGN: "yes"},
            "labels": {"kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": "stranger"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.9.9.8"]}],
        "ports": [],
    });
    let _ = kube.try_create(Kind::EndpointSlice, NS, &body);
}

/// The first object of ours that is for the leader of a source, by name.
pub(super) fn ours(kube: &SimKube, kind: Kind, of: &str) -> Option<Value> {
    let mut all = kube.list(kind, NS).into_iter();
    all.find(|object| {
        let meta = &object["metadata"];
        !is_foreign(object)
            && !is_for_followers(object)
            && meta["labels"][SOURCE] == of
            && meta["deletionTimestamp"].is_null()
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

pub(super) fn hand_service(kube: &SimKube, of: &str, what: ServiceEdit) {
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
                service["metadata"]["annotations"]["zen-lead.io/leader-pod-name"] = "no-pod".into();
            }
            ServiceEdit::Own | ServiceEdit::Select | ServiceEdit::Delete => {
                service["metadata"]["labels"]["mine"] = "yes".into();
            }
        }),
    }
}

pub(super) fn hand_slice(kube: &SimKube, of: &str, what: SliceEdit) {
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
