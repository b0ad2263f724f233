//! What an event does to the cluster.

use serde_json::{Value, json};
use simkube::{Kind, SimKube};

use crate::claims::ROLE;

use super::hand::{attach, hand_service, hand_slice, ours, squat};
use super::{ENABLED, Event, NODE_LEASES, NS, PodAct, TAINT, is_foreign, name_of};

impl Event {
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
                of_job,
            } => create_pod(kube, name, (app, false), node, (ip, of_job), ready),
            Self::Ready { name, ready } => {
                kube.set_ready(NS, name, ready);
            }
            Self::Terminate { name } => {
                kube.delete_pod(NS, name, 30);
            }
            Self::Evict { name } => evict(kube, name),
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
            Self::Rank { name, value } => {
                kube.annotate(Kind::Pod, NS, name, "zen-lead.io/priority", value);
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
            Self::Cordon { name, on } => cordon(kube, name, on),
            Self::Taint { name, on } => taint(kube, name, on),
            Self::NodeGone { name } => {
                kube.delete(Kind::Lease, NODE_LEASES, name);
                kube.delete(Kind::Node, "", name);
                for pod in kube.list(Kind::Pod, NS) {
                    if pod["spec"]["nodeName"] == name {
                        kube.delete_pod(NS, name_of(&pod), 0);
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
            // The stage has it carried out by the elector itself.
            Self::Elector { .. } => {}
        }
    }
}

/// The leader, according to the first slice.
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
            Self::Evict => evict(kube, name),
            Self::Starve => {
                kube.set_condition(NS, name, "DisruptionTarget", "True");
                kube.set_phase(NS, name, "Failed");
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
            Self::Cordon => {
                let pod = kube.get(Kind::Pod, NS, name).unwrap_or_default();
                let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
                cordon(kube, node, true);
            }
        }
    }
}

fn cordon(kube: &SimKube, name: &str, on: bool) {
    // A node that is gone cannot be cordoned.
    let _ = kube.edit(Kind::Node, "", name, |node| {
        node["spec"]["unschedulable"] = on.into();
    });
}

/// As cluster-autoscaler does it.
fn taint(kube: &SimKube, name: &str, on: bool) {
    let taint = json!({"key": TAINT, "value": "1", "effect": "NoSchedule"});
    let _ = kube.edit(Kind::Node, "", name, |node| {
        node["spec"]["taints"] = on.then_some(taint).into_iter().collect();
    });
}

/// As the eviction API does it.
fn evict(kube: &SimKube, name: &str) {
    kube.set_condition(NS, name, "DisruptionTarget", "True");
    kube.delete_pod(NS, name, 30);
}

pub(super) fn edit(kube: &SimKube, kind: Kind, name: &str, change: impl FnOnce(&mut Value)) {
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

pub(crate) fn create_pod(
    kube: &SimKube,
    name: &str,
    (app, has_role): (&str, bool),
    node: &str,
    (ip, of_job): (u8, bool),
    ready: bool,
) {
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
    if has_role {
        pod = pod.labels(&[("app", app), ROLE]);
    }
    if !ip.is_multiple_of(3) {
        pod = pod.port("sql", 5432);
    }
    if of_job {
        pod = pod.with(|pod| {
            pod["metadata"]["ownerReferences"] = json!([
                {"apiVersion": "batch/v1", "kind": "Job", "name": "job", "uid": "job", "controller": true}
            ]);
        });
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
    create_pod(kube, name, (&app, false), &node, (ip, false), true);
}
