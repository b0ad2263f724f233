//! A model cluster: objects as JSON, changed by the API server's rules, read back through the
//! trimmed types, and seen as the store shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::build::PodSpec;
use super::see::Read;
use super::serve;
use crate::logic::follow::{Lease, LeaseFact};
use crate::logic::model::{Pod, Relabelled, Service, Slice};
use crate::logic::plan::{Action, Kind, Write};
use crate::logic::time::{Moment, Now};

/// Why a write was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The object is of another version, or another object.
    Conflict,
    /// The name is taken.
    Exists,
    /// There is no such object.
    Missing,
    /// Validation says no.
    Invalid(String),
}

/// One namespace of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) services: BTreeMap<String, Value>,
    pub(crate) slices: BTreeMap<String, Value>,
    pub(crate) pods: BTreeMap<String, PodSpec>,
    pub(super) facts: BTreeMap<String, Arc<Pod>>,
    /// Families that the cluster has.
    pub(crate) families: Vec<&'static str>,
    pub(crate) seconds: i64,
    pub(crate) micros: i64,
    /// The Lease that the source follows.
    pub(crate) lease: Lease,
    /// Whether a user removed from a leader Service the list of what it mirrors: a key that the
    /// source loses at the same time cannot be told from one of the user's own.
    pub(crate) lost_memory: bool,
    version: u64,
    pub(super) counter: u32,
    pub(super) read_services: Read<Service>,
    pub(super) read_slices: Read<Slice>,
}

impl World {
    /// An empty dual-stack cluster, 1000 seconds after its origin.
    pub(crate) fn new() -> Self {
        Self {
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            pods: BTreeMap::new(),
            facts: BTreeMap::new(),
            families: vec!["IPv4", "IPv6"],
            seconds: 1_000,
            micros: 0,
            lease: Lease::default(),
            lost_memory: false,
            version: 100,
            counter: 0,
            read_services: Read::default(),
            read_slices: Read::default(),
        }
    }

    pub(crate) fn origin() -> jiff::Timestamp {
        "2026-01-01T00:00:00Z".parse().expect("a timestamp")
    }

    pub(crate) fn now(&self) -> Now {
        let wall = Self::origin()
            + jiff::SignedDuration::from_secs(self.seconds)
            + jiff::SignedDuration::from_micros(self.micros);
        Now {
            moment: Moment(self.seconds * 1_000_000 + self.micros),
            wall,
        }
    }

    pub(crate) fn advance(&mut self, span: Duration) {
        let micros = self.seconds * 1_000_000
            + self.micros
            + i64::try_from(span.as_micros()).expect("a short time");
        self.seconds = micros.div_euclid(1_000_000);
        self.micros = micros.rem_euclid(1_000_000);
    }

    pub(super) fn next_version(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    pub(super) fn next_uid(&mut self) -> String {
        self.counter += 1;
        format!("uid-{}", self.counter)
    }

    /// Creates or updates a pod as the kubelet would.
    pub(crate) fn put_pod(&mut self, mut spec: PodSpec) {
        if spec.uid.is_empty() {
            spec.uid = match self.pods.get(&spec.name) {
                Some(before) => before.uid.clone(),
                None => self.next_uid(),
            };
        }
        self.version += 1;
        let json = spec.to_json(self.version, Self::origin()).to_string();
        let read: Pod = serde_json::from_str(&json).expect("a pod that parses");
        let before = self.facts.get(&spec.name).cloned();
        let fact = read.seen(before.as_deref(), self.now());
        self.facts.insert(spec.name.clone(), Arc::new(fact));
        self.pods.insert(spec.name.clone(), spec);
    }

    /// Edits a pod that exists; otherwise nothing happens. A change of readiness is dated now.
    pub(crate) fn edit_pod(&mut self, name: &str, edit: impl FnOnce(&mut PodSpec)) {
        if let Some(mut spec) = self.pods.get(name).cloned() {
            let ready = spec.ready;
            edit(&mut spec);
            if spec.ready != ready {
                spec.ready_at = self.seconds;
            }
            self.put_pod(spec);
        }
    }

    pub(crate) fn delete_pod(&mut self, name: &str) {
        self.pods.remove(name);
        self.facts.remove(name);
    }

    /// The application's elector writes its Lease, which is read at once.
    pub(crate) fn write_lease(&mut self, holder: &str, seconds: Option<u64>) {
        self.lease = Lease::Present(LeaseFact {
            holder: Some(holder.into()),
            duration: seconds.map(Duration::from_secs),
            changed: self.now().moment,
        });
    }

    /// What a process that starts now knows of pods and of the Lease: not when they changed.
    pub(crate) fn see_afresh(&mut self) {
        let now = self.now().moment;
        for fact in self.facts.values_mut() {
            let fact = Arc::make_mut(fact);
            fact.appeared = Moment::MIN;
            fact.relabelled = Relabelled::default();
        }
        if let Lease::Present(fact) = &mut self.lease {
            fact.changed = now;
        }
    }

    /// Creates a Service as a user would.
    pub(crate) fn create_service(&mut self, body: Value) -> Result<(), Refusal> {
        let name = serve::name(&body);
        if self.services.contains_key(&name) {
            return Err(Refusal::Exists);
        }
        let object = serve::new_service(self, body)?;
        self.services.insert(name, object);
        Ok(())
    }

    /// Creates a slice as a user would.
    pub(crate) fn create_slice(&mut self, body: Value) -> Result<(), Refusal> {
        let name = serve::name(&body);
        if self.slices.contains_key(&name) {
            return Err(Refusal::Exists);
        }
        let object = serve::new_slice(self, body)?;
        self.slices.insert(name, object);
        Ok(())
    }

    /// Edits a Service as a user would; an edit that the server refuses changes nothing.
    pub(crate) fn edit_service(&mut self, name: &str, edit: impl FnOnce(&mut Value)) {
        let Some(before) = self.services.get(name).cloned() else {
            return;
        };
        let mut after = before.clone();
        edit(&mut after);
        if let Ok(object) = serve::updated_service(self, &before, after) {
            self.store(Kind::Service, name, &before, object);
        }
    }

    /// The same for a slice.
    pub(crate) fn edit_slice(&mut self, name: &str, edit: impl FnOnce(&mut Value)) {
        let Some(before) = self.slices.get(name).cloned() else {
            return;
        };
        let mut after = before.clone();
        edit(&mut after);
        if let Ok(object) = serve::updated_slice(&before, after) {
            self.store(Kind::Slice, name, &before, object);
        }
    }

    /// Sets or removes an annotation of a Service.
    pub(crate) fn annotate(&mut self, service: &str, key: &str, value: Option<&str>) {
        self.edit_service(service, |object| {
            serve::set_key(&mut object["metadata"], "annotations", key, value);
        });
    }

    /// Deletes as a user would: at once, or marked as long as finalizers hold it.
    pub(crate) fn delete(&mut self, kind: Kind, name: &str) {
        let wall = self.now().wall;
        let version = self.next_version();
        let objects = self.objects(kind);
        let Some(object) = objects.get_mut(name) else {
            return;
        };
        let is_held = object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|finalizers| !finalizers.is_empty());
        if !is_held {
            objects.remove(name);
        } else if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = format!("{wall:.0}").into();
            object["metadata"]["resourceVersion"] = version.into();
        }
    }

    fn objects(&mut self, kind: Kind) -> &mut BTreeMap<String, Value> {
        match kind {
            Kind::Service => &mut self.services,
            Kind::Slice => &mut self.slices,
        }
    }

    /// Stores an update: a new version if it differs at all, nothing left if it may go now.
    fn store(&mut self, kind: Kind, name: &str, before: &Value, mut after: Value) {
        if *before == after {
            return;
        }
        let is_held = after["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|finalizers| !finalizers.is_empty());
        if !after["metadata"]["deletionTimestamp"].is_null() && !is_held {
            self.objects(kind).remove(name);
            return;
        }
        after["metadata"]["resourceVersion"] = self.next_version().into();
        self.objects(kind).insert(name.into(), after);
    }

    /// Takes a write as the API server does.
    pub(crate) fn apply(&mut self, write: &Write) -> Result<(), Refusal> {
        assert_eq!(&*write.target.key.namespace, "n", "the source's namespace");
        let kind = write.target.kind;
        let name = &*write.target.key.name;
        match &write.action {
            Action::Create(body) => {
                let body = body.to_value();
                assert_eq!(serve::name(&body), name, "the body is for the target");
                match kind {
                    Kind::Service => self.create_service(body),
                    Kind::Slice => self.create_slice(body),
                }
            }
            Action::Patch { version, ops } => {
                let before = self.objects(kind).get(name).cloned();
                let before = before.ok_or(Refusal::Missing)?;
                if before["metadata"]["resourceVersion"] != version.to_string() {
                    return Err(Refusal::Conflict);
                }
                let patch = json!(ops).to_string();
                let patch: json_patch::Patch =
                    serde_json::from_str(&patch).expect("operations of RFC 6902");
                let mut after = before.clone();
                json_patch::patch(&mut after, &patch)
                    .map_err(|why| Refusal::Invalid(format!("{why}: {ops:?}")))?;
                let after = match kind {
                    Kind::Service => serve::updated_service(self, &before, after)?,
                    Kind::Slice => serve::updated_slice(&before, after)?,
                };
                self.store(kind, name, &before, after);
                Ok(())
            }
            Action::Delete { uid, version } => {
                let meta = &self.objects(kind).get(name).ok_or(Refusal::Missing)?["metadata"];
                if meta["uid"] != uid.to_string() || meta["resourceVersion"] != version.to_string()
                {
                    return Err(Refusal::Conflict);
                }
                self.delete(kind, name);
                Ok(())
            }
        }
    }

    /// What the garbage collector does: objects all of whose owners are gone go.
    pub(crate) fn collect_garbage(&mut self) {
        for kind in [Kind::Service, Kind::Slice] {
            let alive: BTreeSet<String> = self
                .services
                .values()
                .map(|object| object["metadata"]["uid"].to_string())
                .collect();
            let is_garbage = |object: &Value| {
                object["metadata"]["ownerReferences"]
                    .as_array()
                    .is_some_and(|owners| {
                        !owners.is_empty()
                            && owners
                                .iter()
                                .all(|owner| !alive.contains(&owner["uid"].to_string()))
                    })
            };
            let garbage: Vec<String> = self
                .objects(kind)
                .iter()
                .filter(|(_, object)| is_garbage(object))
                .map(|(name, _)| name.clone())
                .collect();
            for name in &garbage {
                self.delete(kind, name);
            }
        }
    }
}
