//! Pods and Services on their way into the cluster.
#![expect(
    clippy::must_use_candidate,
    reason = "`create` is called for what it does"
)]

use serde_json::{Value, json};

use crate::api::kind::Kind;
use crate::api::status::ApiError;
use crate::fixture::caller;
use crate::rules::meta;
use crate::server::SimKube;

pub(crate) fn set_condition(status: &mut Value, kind: &str, value: &str, now: &str) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(all) = status["conditions"].as_array_mut() else {
        return;
    };
    match all.iter_mut().find(|c| c["type"] == kind) {
        Some(same) if same["status"] == value => {}
        Some(other) => {
            other["status"] = value.into();
            other["lastTransitionTime"] = now.into();
        }
        None => all.push(json!({"type": kind, "status": value, "lastTransitionTime": now})),
    }
}

pub(crate) fn set_ips(status: &mut Value, ips: &[&str]) {
    let Some(map) = status.as_object_mut() else {
        return;
    };
    match ips.first() {
        None => {
            map.remove("podIP");
            map.remove("podIPs");
        }
        Some(first) => {
            map.insert("podIP".into(), (*first).into());
            let all: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip})).collect();
            map.insert("podIPs".into(), all.into());
        }
    }
}

/// A pod on its way into the cluster.
#[must_use = "a builder does nothing until `create`"]
#[derive(Debug)]
pub struct PodBuilder {
    sim: SimKube,
    namespace: String,
    value: Value,
    ready: bool,
}

impl PodBuilder {
    pub(crate) fn new(sim: SimKube, namespace: &str, name: &str) -> Self {
        let value = json!({
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "nodeName": "node-1",
                "containers": [{"name": "app", "image": "app:1"}],
            },
            "status": {"phase": "Running", "qosClass": "BestEffort"},
        });
        Self {
            sim,
            namespace: namespace.into(),
            value,
            ready: true,
        }
    }

    /// Labels, on top of those already set.
    pub fn labels(mut self, labels: &[(&str, &str)]) -> Self {
        let map = meta::map_at(&mut self.value["metadata"], "labels");
        map.extend(
            labels
                .iter()
                .map(|(k, v)| ((*k).to_owned(), Value::from(*v))),
        );
        self
    }

    /// An annotation.
    pub fn annotation(mut self, key: &str, text: &str) -> Self {
        meta::map_at(&mut self.value["metadata"], "annotations").insert(key.into(), text.into());
        self
    }

    /// Whether it is Ready from the start; true by default.
    pub fn ready(mut self, ready: bool) -> Self {
        self.ready = ready;
        self
    }

    /// Its address.
    pub fn ip(self, ip: &str) -> Self {
        self.ips(&[ip])
    }

    /// Its addresses, the primary first.
    pub fn ips(mut self, ips: &[&str]) -> Self {
        set_ips(&mut self.value["status"], ips);
        self
    }

    /// The node; `""` leaves it unscheduled.
    pub fn node(mut self, node: &str) -> Self {
        if let Some(spec) = self.value["spec"].as_object_mut() {
            if node.is_empty() {
                spec.remove("nodeName");
            } else {
                spec.insert("nodeName".into(), node.into());
            }
        }
        self
    }

    /// Its phase; `Running` by default.
    pub fn phase(mut self, phase: &str) -> Self {
        self.value["status"]["phase"] = phase.into();
        self
    }

    /// A named container port over TCP.
    pub fn port(mut self, name: &str, number: u16) -> Self {
        let container = &mut self.value["spec"]["containers"][0];
        if !container["ports"].is_array() {
            container["ports"] = json!([]);
        }
        if let Some(ports) = container["ports"].as_array_mut() {
            ports.push(json!({"name": name, "containerPort": number, "protocol": "TCP"}));
        }
        self
    }

    /// Anything else.
    pub fn with(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        edit(&mut self.value);
        self
    }

    /// Creates it, in one change.
    ///
    /// # Panics
    /// If the server refuses it.
    #[track_caller]
    pub fn create(mut self) -> Value {
        let now = format!("{:.0}", self.sim.core.state.lock().wall());
        let ready = if self.ready { "True" } else { "False" };
        set_condition(&mut self.value["status"], "Ready", ready, &now);
        let created = self.sim.core.transact(|state| {
            state.keeps_status = true;
            let created = state.create(Kind::Pod, &self.namespace, &self.value, &caller());
            state.keeps_status = false;
            created
        });
        match created {
            Ok(pod) => pod.full_value(),
            Err(error) => panic!("the fixture pod was refused: {}", error.message),
        }
    }
}

/// A Service on its way into the cluster.
#[must_use = "a builder does nothing until `create`"]
#[derive(Debug)]
pub struct ServiceBuilder {
    sim: SimKube,
    namespace: String,
    value: Value,
}

impl ServiceBuilder {
    pub(crate) fn new(sim: SimKube, namespace: &str, name: &str) -> Self {
        let value = json!({"metadata": {"name": name, "namespace": namespace}, "spec": {}});
        Self {
            sim,
            namespace: namespace.into(),
            value,
        }
    }

    /// The selector.
    pub fn selector(mut self, labels: &[(&str, &str)]) -> Self {
        let map = meta::map_at(&mut self.value["spec"], "selector");
        map.extend(
            labels
                .iter()
                .map(|(k, v)| ((*k).to_owned(), Value::from(*v))),
        );
        self
    }

    /// A port; the target is a number or the name of a container port.
    pub fn port(mut self, name: &str, number: u16, target: impl Into<Value>) -> Self {
        let spec = meta::map_at(&mut self.value, "spec");
        let ports = spec.entry("ports").or_insert_with(|| json!([]));
        if let Some(ports) = ports.as_array_mut() {
            ports.push(json!({"name": name, "port": number, "targetPort": target.into()}));
        }
        self
    }

    /// An annotation.
    pub fn annotation(mut self, key: &str, text: &str) -> Self {
        meta::map_at(&mut self.value["metadata"], "annotations").insert(key.into(), text.into());
        self
    }

    /// A label.
    pub fn label(mut self, key: &str, text: &str) -> Self {
        meta::map_at(&mut self.value["metadata"], "labels").insert(key.into(), text.into());
        self
    }

    /// Anything else.
    pub fn with(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        edit(&mut self.value);
        self
    }

    /// Creates it under the rules of a POST.
    pub fn try_create(&self) -> Result<Value, ApiError> {
        self.sim
            .try_create(Kind::Service, &self.namespace, &self.value)
    }

    /// Creates it.
    ///
    /// # Panics
    /// If the server refuses it.
    #[track_caller]
    pub fn create(&self) -> Value {
        self.sim.create(Kind::Service, &self.namespace, &self.value)
    }
}
