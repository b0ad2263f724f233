//! What a scenario holds in its hands: its namespace, the observer, and acts upon the cluster.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::api::{Api, Kind, Patch, Refused};
use super::audit::Entry;
use super::controller::Controller;
use super::objects::{Made, PREFIX, Pod, Svc, status, uid_of};
use super::observe::Observer;
use super::suite::{Suite, USER};

/// One scenario under way.
pub struct Test {
    /// What all share.
    pub suite: Arc<Suite>,
    /// The administrator's connection.
    pub api: Api,
    /// The namespace that is the scenario's own.
    pub ns: String,
    /// Its history.
    pub obs: Observer,
    /// Set when the scenario itself breaks what [`super::invariants`] states.
    pub disturbs: AtomicBool,
    /// Logs to show when it fails.
    pub logs: Mutex<Vec<PathBuf>>,
    notes: Mutex<Vec<String>>,
    lacks: Mutex<Option<String>>,
    mark: u64,
}

impl Test {
    /// Makes the namespace and begins to observe it.
    pub async fn start(suite: &Arc<Suite>, scenario: &str) -> Result<Self> {
        let name: String = scenario.replace('_', "-").chars().take(48).collect();
        let ns = format!("{name}-{}", suite.run);
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ns}});
        suite.api.create("/api/v1/namespaces", &namespace).await?;
        Ok(Self {
            suite: Arc::clone(suite),
            api: suite.api.clone(),
            obs: Observer::start(&suite.api, &ns).await?,
            ns,
            disturbs: AtomicBool::new(false),
            logs: Mutex::default(),
            notes: Mutex::default(),
            lacks: Mutex::default(),
            mark: suite.audit.mark().unwrap_or_default(),
        })
    }

    /// Prints a line below the scenario's result.
    pub fn say(&self, line: impl Into<String>) {
        self.notes.lock().push(line.into());
    }

    /// What was said.
    pub fn said(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.lock())
    }

    /// The scenario cannot run on this machine, because of this.
    pub fn skip(&self, why: String) {
        *self.lacks.lock() = Some(why);
    }

    /// Why it could not run.
    pub fn skipped(&self) -> Option<String> {
        self.lacks.lock().take()
    }

    /// The scenario will write what the program never would.
    pub fn disturbs(&self) {
        self.disturbs.store(true, Ordering::Relaxed);
    }

    /// The path of one object.
    pub fn path(&self, kind: Kind, name: &str) -> String {
        format!("{}/{name}", kind.path(&self.ns))
    }

    /// Creates a Service.
    pub async fn service(&self, service: Svc) -> Result<Value> {
        self.create(Kind::Service, &service.0).await
    }

    /// Creates an object.
    pub async fn create(&self, kind: Kind, object: &Value) -> Result<Value> {
        let made = self.api.create(&kind.path(&self.ns), object).await;
        made.with_context(|| format!("create {kind:?} {}", object["metadata"]["name"]))
    }

    /// Reads an object.
    pub async fn get(&self, kind: Kind, name: &str) -> Result<Value, Refused> {
        self.api.get(&self.path(kind, name)).await
    }

    /// Merges a patch into an object.
    pub async fn merge(&self, kind: Kind, name: &str, change: Value) -> Result<Value> {
        let path = self.path(kind, name);
        let patched = self.api.patch(&path, Patch::Merge, &change).await;
        patched.with_context(|| format!("patch {kind:?} {name}"))
    }

    /// Applies a JSON patch to an object.
    pub async fn patch(&self, kind: Kind, name: &str, operations: Value) -> Result<Value> {
        let path = self.path(kind, name);
        let patched = self.api.patch(&path, Patch::Json, &operations).await;
        patched.with_context(|| format!("patch {kind:?} {name}"))
    }

    /// Deletes an object at once.
    pub async fn delete(&self, kind: Kind, name: &str) -> Result<Value> {
        let options = json!({"gracePeriodSeconds": 0});
        let deleted = self.api.delete(&self.path(kind, name), &options).await;
        deleted.with_context(|| format!("delete {kind:?} {name}"))
    }

    /// Sets (or with `None` removes) an annotation under `zen-lead.io/` of a Service.
    pub async fn ask(&self, service: &str, key: &str, value: Option<&str>) -> Result<Value> {
        let patch = json!({"metadata": {"annotations": {format!("{PREFIX}{key}"): value}}});
        self.merge(Kind::Service, service, patch).await
    }

    /// Creates a pod and gives it its status, as a kubelet would.
    pub async fn pod(&self, mut pod: Pod, has_address: bool) -> Result<Made> {
        if pod.ips.is_empty() && has_address {
            pod.ips = vec![self.suite.address()];
        }
        let made = self.create(Kind::Pod, &pod.object).await?;
        let made = Made {
            name: super::objects::name_of(&made).into(),
            uid: uid_of(&made).into(),
            ips: pod.ips.clone(),
        };
        self.status(&made, pod.status()).await?;
        Ok(made)
    }

    /// Creates Ready pods `<app>-0`, `<app>-1` … of an application.
    pub async fn pods(&self, app: &str, count: usize) -> Result<Vec<Made>> {
        let mut made = Vec::new();
        for number in 0..count {
            made.push(
                self.pod(Pod::new(&format!("{app}-{number}"), app), true)
                    .await?,
            );
        }
        Ok(made)
    }

    /// Pods and an opted-in Service of them, served by the first pod.
    pub async fn served(&self, app: &str, count: usize) -> Result<Vec<Made>> {
        self.served_as(Svc::opted_in(app), app, count).await
    }

    /// The same for a Service of your own making.
    pub async fn served_as(&self, service: Svc, app: &str, count: usize) -> Result<Vec<Made>> {
        let pods = self.pods(app, count).await?;
        self.service(service).await?;
        self.leads(&format!("{app}-leader"), &pods[0]).await?;
        self.identified(&format!("{app}-leader"), &pods[0]).await?;
        Ok(pods)
    }

    /// Writes a pod's status; the moment before the request was sent.
    pub async fn status(&self, pod: &Made, status: Value) -> Result<Instant> {
        let path = format!("{}/status", self.path(Kind::Pod, &pod.name));
        let at = Instant::now();
        let patched = self.api.patch(&path, Patch::Merge, &status).await;
        patched.with_context(|| format!("status of pod {}", pod.name))?;
        Ok(at)
    }

    /// A Running pod turns Ready or NotReady now.
    pub async fn ready(&self, pod: &Made, ready: bool) -> Result<Instant> {
        let status = status("Running", &pod.ips, ready, None, false);
        self.status(pod, status).await
    }

    /// Deletes a pod; with a grace it stays, terminating, until [`Self::reap`].
    pub async fn delete_pod(&self, pod: &Made, grace: u32) -> Result<Instant> {
        let options = json!({"gracePeriodSeconds": grace, "preconditions": {"uid": pod.uid}});
        let at = Instant::now();
        let deleted = self
            .api
            .delete(&self.path(Kind::Pod, &pod.name), &options)
            .await;
        deleted.with_context(|| format!("delete pod {}", pod.name))?;
        Ok(at)
    }

    /// What the kubelet does when a terminating pod's processes have ended.
    pub async fn reap(&self, pod: &Made) -> Result<Instant> {
        self.delete_pod(pod, 0).await
    }

    /// An own instance of the program for this namespace alone.
    pub async fn controller(&self, arguments: &[&str]) -> Result<Controller> {
        let mut controller = self.launch(arguments)?;
        controller.ready().await?;
        Ok(controller)
    }

    /// The same, without waiting for it.
    pub fn launch(&self, arguments: &[&str]) -> Result<Controller> {
        self.launch_as(&self.suite.kubeconfig, arguments)
    }

    /// The same, as another user.
    pub fn launch_as(
        &self,
        kubeconfig: &std::path::Path,
        arguments: &[&str],
    ) -> Result<Controller> {
        self.launch_in(kubeconfig, arguments, &[])
    }

    /// The same with variables.
    pub fn launch_in(
        &self,
        kubeconfig: &std::path::Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Controller> {
        let mut all = vec![
            "--namespaces",
            &self.ns,
            "--leader-election-namespace",
            &self.ns,
        ];
        all.extend(arguments);
        let log = self.suite.logs.join(format!("{}.log", self.ns));
        self.logs.lock().push(log.clone());
        Controller::start_in(kubeconfig, log, &all, variables)
    }

    /// Every answered request of the program in this namespace since the scenario began, save those
    /// for the Lease.
    pub async fn requests(&self) -> Result<Vec<Entry>> {
        let audit = &self.suite.audit;
        let mut all = audit.settled(self.mark, USER, &self.ns).await?;
        all.retain(|entry| entry.resource != "leases");
        Ok(all)
    }

    /// Those that could change something, Events left out.
    pub async fn writes(&self) -> Result<Vec<Entry>> {
        let mut writes = self.requests().await?;
        writes.retain(|entry| entry.is_write() && entry.resource != "events");
        Ok(writes)
    }
}
