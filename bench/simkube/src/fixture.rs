//! What tests do to a cluster, as plain calls: no HTTP, no faults, no log entry.
#![expect(
    clippy::must_use_candidate,
    reason = "fixtures are called for what they do"
)]

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::access::User;
use crate::api::kind::Kind;
use crate::api::path::{Target, Verb};
use crate::api::status::ApiError;
use crate::builders::{PodBuilder, ServiceBuilder, set_condition, set_ips};
use crate::options::{Admission, Rule};
use crate::record::Record;
use crate::rules::meta;
use crate::server::SimKube;
use crate::state::Cut;
use crate::store::Saved;
use crate::write::Caller;
use crate::write::delete::DeleteOptions;
use crate::write::gc::Controllers;
use crate::write::pools::Pools;

fn target(kind: Kind, namespace: &str, name: &str, subresource: &str) -> Target {
    Target {
        kind,
        namespace: namespace.into(),
        name: name.into(),
        subresource: subresource.into(),
    }
}

pub(crate) fn caller() -> Caller {
    Caller {
        manager: "simkube".into(),
        strict: false,
        dry_run: false,
        user: User::new("simkube", &["system:masters"]),
    }
}

/// What [`SimKube::restore`] goes back to.
#[derive(Clone, Debug)]
pub struct Backup {
    saved: Saved,
    pools: Pools,
}

/// Looking and counting.
impl SimKube {
    /// An object as clients see it.
    #[must_use]
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Value> {
        let key = (namespace.to_owned(), name.to_owned());
        self.core
            .state
            .lock()
            .store
            .get(kind, &key)
            .map(|o| o.full_value())
    }

    /// Objects of a kind in order of namespace and name; all namespaces for `""`.
    #[must_use]
    pub fn list(&self, kind: Kind, namespace: &str) -> Vec<Value> {
        self.core
            .state
            .lock()
            .store
            .list(kind, namespace)
            .map(|o| o.full_value())
            .collect()
    }

    /// The resourceVersion of the last change of any kind.
    #[must_use]
    pub fn resource_version(&self) -> u64 {
        self.core.state.lock().store.rv()
    }

    /// All requests since the start or the last `clear_requests`, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Record> {
        self.core.state.lock().log.iter().cloned().collect()
    }

    /// The requests that can change something.
    #[must_use]
    pub fn writes(&self) -> Vec<Record> {
        self.core
            .state
            .lock()
            .log
            .iter()
            .filter(|r| r.is_write())
            .cloned()
            .collect()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.core.state.lock().log.clear();
    }

    /// Number of watches of a kind that are open.
    #[must_use]
    pub fn open_watches(&self, kind: Kind) -> usize {
        self.core
            .state
            .lock()
            .open
            .values()
            .filter(|k| **k == kind)
            .count()
    }
}

/// Upsetting.
impl SimKube {
    /// Forgets all history: what resumes from before now gets a 410.
    pub fn compact_to_now(&self) {
        self.core.transact(|state| state.store.compact());
    }

    /// Ends all watches of a kind, as a server does that restarts in good order.
    pub fn close_watches(&self, kind: Kind) {
        self.cut(kind, false);
    }

    /// Breaks the connections of all watches of a kind.
    pub fn break_watches(&self, kind: Kind) {
        self.cut(kind, true);
    }

    /// All that is stored, as a backup of etcd holds it.
    #[must_use]
    pub fn backup(&self) -> Backup {
        let state = self.core.state.lock();
        Backup {
            saved: state.store.save(),
            pools: state.pools.clone(),
        }
    }

    /// Goes back to a backup and starts again, as after a restore of etcd: versions are counted on from
    /// there, history begins there, and all watches break. One that resumes at a version of before is
    /// silent until that version is reached again.
    pub fn restore(&self, backup: &Backup) {
        self.core.transact(|state| {
            state.store.restore(&backup.saved, Instant::now());
            state.pools = backup.pools.clone();
        });
        for kind in Kind::ALL {
            self.break_watches(kind);
        }
    }

    /// Marks all watches of a kind opened so far and wakes them, so that they see the mark.
    fn cut(&self, kind: Kind, broken: bool) {
        let wakers = {
            let mut state = self.core.state.lock();
            let before = state.watches;
            state.cuts.insert(kind, Cut { before, broken });
            state.wakers_of(&[kind])
        };
        wakers.into_iter().for_each(std::task::Waker::wake);
    }

    /// Replaces the requests that RBAC refuses.
    pub fn set_deny(&self, rules: Vec<Rule>) {
        self.core.state.lock().deny = rules;
    }

    /// Replaces the admission policy.
    pub fn set_admission(&self, policy: Option<Admission>) {
        self.core.state.lock().admission = policy;
    }

    /// Takes the garbage collector's and the namespace controller's steps until they have nothing
    /// to do; says how many.
    pub fn gc(&self) -> usize {
        self.control(Controllers {
            garbage: true,
            namespaces: true,
        })
    }

    /// The same for some of the controllers.
    pub fn control(&self, which: Controllers) -> usize {
        self.core.transact(|state| state.collect(which))
    }
}

/// Changing.
impl SimKube {
    /// Creates an object under the same rules as a POST.
    pub fn try_create(
        &self,
        kind: Kind,
        namespace: &str,
        object: &Value,
    ) -> Result<Value, ApiError> {
        self.core
            .transact(|s| s.create(kind, namespace, object, &caller()))
            .map(|o| o.full_value())
    }

    /// Creates an object that must be valid.
    ///
    /// # Panics
    /// If the server refuses it.
    #[track_caller]
    pub fn create(&self, kind: Kind, namespace: &str, object: &Value) -> Value {
        match self.try_create(kind, namespace, object) {
            Ok(created) => created,
            Err(error) => panic!("the fixture {kind} was refused: {}", error.message),
        }
    }

    /// A namespace.
    pub fn namespace(&self, name: &str) {
        self.create(Kind::Namespace, "", &json!({"metadata": {"name": name}}));
    }

    /// A node with an address.
    pub fn node(&self, name: &str) {
        self.create(
            Kind::Node,
            "",
            &json!({
                "metadata": {"name": name},
                "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
            }),
        );
    }

    /// A pod to be built: running and ready, unless said otherwise.
    pub fn pod(&self, namespace: &str, name: &str) -> PodBuilder {
        PodBuilder::new(self.clone(), namespace, name)
    }

    /// A Service to be built.
    pub fn service(&self, namespace: &str, name: &str) -> ServiceBuilder {
        ServiceBuilder::new(self.clone(), namespace, name)
    }

    /// Edits an object, `status` excepted, under the same rules as a PATCH.
    pub fn edit(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        edit: impl FnOnce(&mut Value),
    ) -> Result<Value, ApiError> {
        self.edit_part(kind, namespace, name, "", edit)
    }

    /// Edits the status of an object.
    pub fn edit_status(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        edit: impl FnOnce(&mut Value),
    ) -> Result<Value, ApiError> {
        self.edit_part(kind, namespace, name, "status", |value| {
            edit(&mut value["status"]);
        })
    }

    fn edit_part(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        subresource: &str,
        edit: impl FnOnce(&mut Value),
    ) -> Result<Value, ApiError> {
        let key = (namespace.to_owned(), name.to_owned());
        let edited = self.core.transact(|state| {
            let Some(old) = state.store.get(kind, &key).cloned() else {
                return Err(ApiError::not_found(kind, name));
            };
            let mut value = old.value.clone();
            edit(&mut value);
            meta::normalize(&mut value);
            let target = target(kind, namespace, name, subresource);
            state.replace(Verb::Update, &target, &old, value, &caller())
        });
        edited.map(|o| o.full_value())
    }

    /// Sets an annotation, or removes it. Says whether the object is there and the server agreed.
    pub fn annotate(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        key: &str,
        text: Option<&str>,
    ) -> bool {
        self.set_key(kind, namespace, name, "annotations", key, text)
    }

    /// Sets a label, or removes it. Says whether the object is there and the server agreed.
    pub fn label(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        key: &str,
        text: Option<&str>,
    ) -> bool {
        self.set_key(kind, namespace, name, "labels", key, text)
    }

    fn set_key(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        map: &str,
        key: &str,
        text: Option<&str>,
    ) -> bool {
        let edit = |value: &mut Value| {
            let map = meta::map_at(&mut value["metadata"], map);
            match text {
                Some(text) => map.insert(key.into(), text.into()),
                None => map.remove(key),
            };
        };
        self.edit(kind, namespace, name, edit).is_ok()
    }

    /// Deletes an object; pods with their own grace. Says whether the server agreed.
    pub fn delete(&self, kind: Kind, namespace: &str, name: &str) -> bool {
        self.delete_with(kind, namespace, name, None)
    }

    /// Deletes a pod with so many seconds of grace.
    pub fn delete_pod(&self, namespace: &str, name: &str, grace: i64) -> bool {
        self.delete_with(Kind::Pod, namespace, name, Some(grace))
    }

    /// What the kubelet does when a terminating pod has stopped: it is gone.
    pub fn finish_termination(&self, namespace: &str, name: &str) -> bool {
        self.delete_with(Kind::Pod, namespace, name, Some(0))
    }

    fn delete_with(&self, kind: Kind, namespace: &str, name: &str, grace: Option<i64>) -> bool {
        let options = DeleteOptions {
            grace,
            ..DeleteOptions::default()
        };
        self.core
            .transact(|s| s.delete(&target(kind, namespace, name, ""), &options))
            .is_ok()
    }

    /// Sets the Ready condition of a pod, with the transition time of now if it changes.
    pub fn set_ready(&self, namespace: &str, name: &str, ready: bool) -> bool {
        self.set_condition(
            namespace,
            name,
            "Ready",
            if ready { "True" } else { "False" },
        )
    }

    /// Sets any condition of a pod.
    pub fn set_condition(&self, namespace: &str, name: &str, kind: &str, status: &str) -> bool {
        let now = format!("{:.0}", self.core.state.lock().wall());
        let edit = |value: &mut Value| set_condition(value, kind, status, &now);
        self.edit_status(Kind::Pod, namespace, name, edit).is_ok()
    }

    /// Sets the phase of a pod.
    pub fn set_phase(&self, namespace: &str, name: &str, phase: &str) -> bool {
        self.edit_status(Kind::Pod, namespace, name, |s| s["phase"] = phase.into())
            .is_ok()
    }

    /// Sets the addresses of a pod; none takes them away.
    pub fn set_ips(&self, namespace: &str, name: &str, ips: &[&str]) -> bool {
        self.edit_status(Kind::Pod, namespace, name, |s| set_ips(s, ips))
            .is_ok()
    }
}
