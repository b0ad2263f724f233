//! Facts and machines of many Services, without a watch and without a writer: what is decided is
//! taken out by hand, so that a decision can be measured alone.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use kube_client::Client;
use parking_lot::Mutex;
use serde_json::{Value, json};
use simkube::{Kind, Options, SimKube};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;
use zen_lead::logic::budget::Guard;
use zen_lead::logic::fsm::Cause;
use zen_lead::logic::mirror::Mirror;
use zen_lead::logic::model::{Key, Pod, Service, Slice};
use zen_lead::logic::plan::{self, Action, Write};
use zen_lead::logic::reflect::{Encoding, Frame};
use zen_lead::metrics::Metrics;
use zen_lead::shell::clock::Clock;
use zen_lead::shell::events;
use zen_lead::shell::foreign_slices::ScanRequests;
use zen_lead::shell::reconciler::{Outlets, Reconciler, ReconcilerOptions};
use zen_lead::shell::write::Outbox;
use zen_lead::store::{Origin, Store};

use crate::pods::{Facts, Template};

/// Services in a namespace of a fleet.
pub const PER_NAMESPACE: usize = 100;

/// The desired writes of each source, until they are taken.
#[derive(Default)]
struct Sink(Mutex<BTreeMap<Key, Vec<Write>>>);

impl Outbox for Sink {
    fn submit(&self, source: &Key, writes: Vec<Write>, _: Cause) {
        let mut all = self.0.lock();
        if writes.is_empty() {
            all.remove(source);
        } else {
            all.insert(source.clone(), writes);
        }
    }

    fn may_write(&self) -> bool {
        true
    }

    fn stand_down(&self) {}

    fn waiting(&self, _: &Key) -> Value {
        Value::Null
    }
}

/// So many opted-in Services, each with its pods, all of them served.
pub struct Fleet {
    /// Holds Services and slices, and applies what was decided; knows no pods.
    pub kube: SimKube,
    store: Arc<Store>,
    reconciler: Arc<Reconciler>,
    sink: Arc<Sink>,
    clock: Clock,
    template: Template,
    pods_each: usize,
    version: u64,
}

/// The namespace of the Service of that number.
#[must_use]
pub fn namespace(service: usize) -> String {
    format!("shop-{:03}", service / PER_NAMESPACE)
}

/// The name of the Service of that number.
#[must_use]
pub fn service_name(service: usize) -> String {
    format!("web-{service:05}")
}

/// A Service that asks to be served.
#[must_use]
pub fn opted_in(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "annotations": {"zen-lead.io/enabled": "true"}},
        "spec": {
            "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        },
    })
}

/// A client for questions that no fleet asks. It needs a runtime, which a bench of one call has not.
fn unused_client(kube: &SimKube) -> Client {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(crate::runtime);
    let _entered = Handle::try_current().is_err().then(|| RUNTIME.enter());
    kube.client()
}

impl Fleet {
    /// Makes them, and has everything decided and applied.
    ///
    /// # Panics
    /// When what the controller decides is refused.
    #[must_use]
    pub fn new(services: usize, pods_each: usize) -> Self {
        let kube = SimKube::new(Options {
            auto_namespaces: true,
            history: 1,
            ..Options::default()
        });
        let mut fleet = Self::over(kube, Store::default(), pods_each);
        for service in 0..services {
            fleet.populate(service);
        }
        fleet.open();
        fleet
    }

    /// Machines over facts that are all there already.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub fn adopting(kube: &SimKube, store: Store) -> Self {
        let fleet = Self::over(kube.clone(), store, 0);
        fleet.open();
        fleet
    }

    fn over(kube: SimKube, store: Store, pods_each: usize) -> Self {
        let store = Arc::new(store);
        let sink = Arc::new(Sink::default());
        let clock = Clock::system();
        let config = crate::config();
        // What is asked of the look for foreign slices is dropped, and so are Events.
        let (scans, _) = mpsc::channel(1);
        let (events, _) = events::queue("bench");
        let outlets = Outlets {
            writer: Arc::clone(&sink) as _,
            events,
            scans: ScanRequests::new(Arc::clone(&store), scans),
            board: None,
            client: unused_client(&kube),
            spawn: Arc::new(|task| tokio::spawn(task).abort_handle()),
        };
        let reconciler = Arc::new(Reconciler::new(
            Arc::clone(&store),
            Arc::new(Metrics::new(config.per_service_histograms_max)),
            outlets,
            ReconcilerOptions {
                mirror: Mirror::new(&config.mirror_prefixes),
                services_per_namespace_max: None,
                // The same Service fails over again and again.
                guard: Guard::default(),
                follow_lease_namespaces: Vec::new(),
            },
            clock.clone(),
        ));
        Self {
            kube,
            store,
            reconciler,
            sink,
            clock,
            template: Template::new(),
            pods_each,
            version: 0,
        }
    }

    fn open(&self) {
        self.reconciler.open();
        for source in self.store.sources() {
            self.reconcile(vec![source]);
        }
        self.settle();
    }

    fn populate(&mut self, service: usize) {
        let (namespace, name) = (namespace(service), service_name(service));
        let object = self
            .kube
            .create(Kind::Service, &namespace, &opted_in(&name));
        let fact = serde_json::from_value(object).expect("a Service");
        drop(self.store.put_service(fact, Origin::Watch));
        for pod in 0..self.pods_each {
            let line = self.frame(service, pod, true);
            self.take(&line);
        }
    }

    /// The line of a watch with such a pod, newer than all before.
    pub fn frame(&mut self, service: usize, pod: usize, ready: bool) -> Vec<u8> {
        self.version += 1;
        let app = service_name(service);
        let mut line = Vec::new();
        let facts = Facts {
            namespace: &namespace(service),
            name: &format!("{app}-{pod}"),
            app: &app,
            number: service * self.pods_each + pod,
            ready,
            version: self.version,
            noise: self.version,
        };
        self.template.frame("MODIFIED", &facts, &mut line);
        line
    }

    /// Parses a pod's line and looks at the sources that it concerns, as the watch of pods does.
    ///
    /// # Panics
    /// When the line is none.
    pub fn take(&self, line: &[u8]) {
        self.take_as(Encoding::Json, line);
    }

    /// The same in an encoding.
    ///
    /// # Panics
    /// When the event is none.
    pub fn take_as(&self, encoding: Encoding, event: &[u8]) {
        match Frame::<Pod>::read(encoding, event) {
            Ok(Frame::Applied(pod)) => self.take_pod(pod),
            other => panic!("not a pod: {other:?}"),
        }
    }

    /// The same from the parsed pod on.
    pub fn take_pod(&self, pod: Pod) {
        let now = self.clock.now();
        let touched = self.store.put_pod(pod, now);
        self.reconciler.reconcile_all(
            touched,
            Cause {
                at: now.moment,
                pod_changed: Some(now.wall),
            },
        );
    }

    /// How many writes wait.
    #[must_use]
    pub fn decided(&self) -> usize {
        self.sink.0.lock().values().map(Vec::len).sum()
    }

    /// The number, within its Service, of the pod that leads.
    ///
    /// # Panics
    /// When there is no leader.
    #[must_use]
    pub fn leader(&self, service: usize) -> usize {
        let slice = format!("{}-leader", service_name(service));
        let slice = self.store.slice(&Key::new(namespace(service), slice));
        let slice = slice.expect("a slice");
        let pod = &slice.leader().expect("a leader").name;
        let number = pod.rsplit('-').next().expect("a number in the name");
        number.parse().expect("a number in the name")
    }

    /// Applies what was decided, and what is decided because of that, until there is nothing more.
    ///
    /// # Panics
    /// When something is refused.
    pub fn settle(&self) {
        while let Some((source, writes)) = self.take_decision() {
            for write in writes {
                let touched = self.apply(&write);
                self.reconciler.acknowledge(&source, &write, None);
                self.reconcile(touched);
            }
            self.reconcile(vec![source]);
        }
    }

    fn take_decision(&self) -> Option<(Key, Vec<Write>)> {
        self.sink.0.lock().pop_first()
    }

    fn reconcile(&self, sources: Vec<Key>) {
        self.reconciler
            .reconcile_all(sources, self.clock.moment().into());
    }

    fn apply(&self, write: &Write) -> Vec<Key> {
        let key = &write.target.key;
        let kind = match write.target.kind {
            plan::Kind::Service => Kind::Service,
            plan::Kind::Slice => Kind::EndpointSlice,
        };
        let object = match &write.action {
            Action::Create(object) => self.kube.create(kind, &key.namespace, &object.to_value()),
            Action::Patch { ops, .. } => {
                let patch = serde_json::to_value(ops).and_then(serde_json::from_value);
                let patch: json_patch::Patch = patch.expect("a JSON patch");
                let edit = |object: &mut Value| {
                    json_patch::patch(object, &patch).expect("a patch that applies");
                };
                self.kube
                    .edit(kind, &key.namespace, &key.name, edit)
                    .expect("an acceptable patch")
            }
            Action::Delete { .. } => panic!("nothing is deleted here: {write:?}"),
        };
        match write.target.kind {
            plan::Kind::Service => {
                let fact: Service = serde_json::from_value(object).expect("a Service");
                self.store.put_service(fact, Origin::Answer)
            }
            plan::Kind::Slice => {
                let fact: Slice = serde_json::from_value(object).expect("a slice");
                self.store.put_slice(fact, Origin::Answer)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_turns_not_ready_costs_one_write() {
        let mut fleet = Fleet::new(2, 3);
        assert_eq!(fleet.leader(1), 0);
        let line = fleet.frame(1, 0, false);
        fleet.take(&line);
        assert_eq!(fleet.decided(), 1);
        fleet.settle();
        assert_eq!((fleet.leader(0), fleet.leader(1)), (0, 1));
        let line = fleet.frame(1, 0, true);
        fleet.take(&line);
        assert_eq!(fleet.decided(), 0, "the new leader stays");
    }
}
