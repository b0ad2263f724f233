//! Pods and Services of a run, and what happens to them.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use zen_lead::logic::model::{Key, Slice};

use crate::api::{Api, PODS, SERVICES, SLICES, each, path};
use crate::observe::Observer;
use crate::plane::USER;

/// Namespace of the floor.
pub const FLOOR: &str = "floor";
/// Namespace in which Services are opted in.
pub const OURS: &str = "ours";
/// Namespace of plain Services.
pub const NATIVE: &str = "native";
/// Namespace of objects that are made for comparison.
pub const BARE: &str = "bare";

/// Applications from this number on have pods of 10 kB, which is what pods of real clusters take.
pub const HEAVY: usize = 9_000;

/// Requests side by side when the stage is set.
const WRITERS: usize = 32;

/// The connections of a run, and who watches.
pub struct Cluster {
    /// The administrator's connection.
    pub api: Api,
    /// The watching client.
    pub observer: Arc<Observer>,
}

/// The name of an application's leader Service, and of its slice.
pub fn leader_service(app: &str) -> String {
    format!("{app}-leader")
}

/// The name of an application.
pub fn app(number: usize) -> String {
    format!("app-{number:04}")
}

/// The key of a slice of ours, or of the floor's.
pub fn leader_slice(namespace: &str, app: &str) -> Key {
    Key::new(namespace, leader_service(app))
}

impl Cluster {
    /// Makes namespaces, rights and a Node.
    pub async fn prepare(&self) -> Result<()> {
        for namespace in [FLOOR, OURS, NATIVE, BARE] {
            let namespace = json!({"metadata": {"name": namespace}});
            self.api.ensure("/api/v1/namespaces", &namespace).await?;
        }
        let node = json!({"metadata": {"name": "node-a"}});
        self.api.ensure("/api/v1/nodes", &node).await?;
        let all = [
            "get", "list", "watch", "create", "patch", "update", "delete",
        ];
        let role = json!({
            "metadata": {"name": USER},
            "rules": [
                {"apiGroups": [""], "resources": ["services", "events"], "verbs": all},
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": all},
                {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": all},
            ],
        });
        let base = "/apis/rbac.authorization.k8s.io/v1";
        self.api
            .ensure(&format!("{base}/clusterroles"), &role)
            .await?;
        let group = "rbac.authorization.k8s.io";
        let binding = json!({
            "metadata": {"name": USER},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": USER},
            "subjects": [{"apiGroup": group, "kind": "User", "name": USER}],
        });
        self.api
            .ensure(&format!("{base}/clusterrolebindings"), &binding)
            .await
    }

    /// Makes applications of a namespace, each with a Service and two Ready pods.
    pub async fn populate(
        &self,
        namespace: &'static str,
        apps: std::ops::Range<usize>,
    ) -> Result<()> {
        let (first, count) = (apps.start, apps.len());
        each(count, WRITERS, |number| {
            let (api, app) = (self.api.clone(), app(first + number));
            async move {
                for pod in 0..2 {
                    make_pod(&api, namespace, &app, pod).await?;
                }
                let annotations = match namespace {
                    OURS => json!({"zen-lead.io/enabled": "true"}),
                    _ => json!({}),
                };
                let service = json!({
                    "metadata": {"name": app, "annotations": annotations},
                    "spec": {"selector": {"app": app}, "ports": [{"port": 80, "targetPort": 8080}]},
                });
                api.ensure(&path(SERVICES, namespace, ""), &service).await?;
                if namespace == FLOOR {
                    let slice = bare_slice(&leader_service(&app));
                    api.ensure(&path(SLICES, namespace, ""), &slice).await?;
                }
                Ok(())
            }
        })
        .await
        .map(drop)
    }

    /// A pod turns Ready or NotReady; the moment before the request was sent.
    pub async fn turn(
        &self,
        namespace: &str,
        app: &str,
        pod: usize,
        ready: bool,
    ) -> Result<Instant> {
        turn(&self.api, namespace, app, pod, ready).await
    }

    /// A pod is deleted without grace; the moment before the request was sent.
    pub async fn delete_pod(&self, namespace: &str, app: &str, pod: usize) -> Result<Instant> {
        let from = Instant::now();
        let path = path(PODS, namespace, &pod_name(app, pod));
        self.api.delete(&path).await.map(|()| from)
    }

    /// It comes back, Ready.
    pub async fn make_pod(&self, namespace: &str, app: &str, pod: usize) -> Result<()> {
        make_pod(&self.api, namespace, app, pod).await
    }

    /// Deletes the slices and leader Services of a namespace.
    pub async fn withdraw(&self, namespace: &'static str, apps: usize) -> Result<()> {
        each(apps, WRITERS, |number| {
            let (api, name) = (self.api.clone(), leader_service(&app(number)));
            async move {
                api.delete(&path(SLICES, namespace, &name)).await?;
                api.delete(&path(SERVICES, namespace, &name)).await
            }
        })
        .await
        .map(drop)
    }

    /// The number, within its application, of the pod that leads.
    pub fn leader(&self, app: &str) -> Result<usize> {
        let slice = leader_slice(OURS, app);
        let found = self.observer.look(|seen| {
            let (_, slice) = seen.slices.get(&slice)?;
            slice.leader()?.name.rsplit_once('-')?.1.parse().ok()
        });
        found.with_context(|| format!("{app} has no leader"))
    }
}

/// Whether a slice of ours has a leader.
pub fn is_served(slice: &Slice) -> bool {
    &*slice.metadata.namespace == OURS
        && slice.metadata.name.ends_with("-leader")
        && slice.leader().is_some()
}

/// A slice as a script would make it.
pub fn bare_slice(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4", "ports": [{"name": "", "port": 8080}],
        "endpoints": [{"addresses": ["192.0.2.1"]}],
    })
}

fn pod_name(app: &str, pod: usize) -> String {
    format!("{app}-{pod}")
}

/// A number of its own for each pod of a namespace.
fn number(app: &str, pod: usize) -> usize {
    2 * application_number(app) + pod + 256
}

fn application_number(app: &str) -> usize {
    let (_, number) = app.rsplit_once('-').unwrap_or_default();
    number.parse().unwrap_or_default()
}

/// Turns a pod of which the bench made itself the kubelet.
pub async fn turn(
    api: &Api,
    namespace: &str,
    app: &str,
    pod: usize,
    ready: bool,
) -> Result<Instant> {
    let [.., c, d] = number(app, pod).to_be_bytes();
    let address = format!("10.1.{c}.{d}");
    let now = jiff::Timestamp::now();
    let status = json!({"status": {
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
        "conditions": [{
            "type": "Ready", "status": if ready { "True" } else { "False" },
            "lastTransitionTime": format!("{now:.0}"),
        }],
    }});
    let path = format!("{}/status", path(PODS, namespace, &pod_name(app, pod)));
    let from = Instant::now();
    api.call("PATCH", &path, &status).await.map(|_| from)
}

/// The environment of a container: most of what makes a real pod large.
fn filler(app: &str) -> Value {
    let is_heavy = application_number(app) >= HEAVY;
    let variables = if is_heavy { 0..40 } else { 0..0 };
    let variable = |index| json!({"name": format!("VARIABLE_{index}"), "value": "x".repeat(160)});
    variables.map(variable).collect()
}

async fn make_pod(api: &Api, namespace: &str, app: &str, pod: usize) -> Result<()> {
    let object = json!({
        "metadata": {"name": pod_name(app, pod), "labels": {"app": app}},
        "spec": {
            "nodeName": "node-a",
            "containers": [{"name": "main", "image": "example.com/app:1", "env": filler(app)}],
        },
    });
    api.ensure(&path(PODS, namespace, ""), &object).await?;
    turn(api, namespace, app, pod, true).await.map(drop)
}
