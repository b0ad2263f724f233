//! Everything a server remembers, behind one lock, and the few steps that all writes share.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::access::Tokens;
use crate::api::kind::Kind;
use crate::api::path::Verb;
use crate::api::status::ApiError;
use crate::audit::Counts;
use crate::options::{Admission, Chance, Options, Rule, WallClock};
use crate::record::Record;
use crate::rules::{meta, schema};
use crate::store::{Key, Object, Store, text};
use crate::write::pools::Pools;

/// How a running watch is ended from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Watches opened before this number are concerned.
    pub(crate) before: u64,
    /// With an error instead of a clean end.
    pub(crate) broken: bool,
}

pub(crate) struct State {
    pub(crate) options: Arc<Options>,
    pub(crate) store: Store,
    pub(crate) pools: Pools,
    pub(crate) chance: Chance,
    pub(crate) log: VecDeque<Record>,
    /// Requests ever seen; the number of the next one.
    pub(crate) seen: u64,
    pub(crate) deny: Vec<Rule>,
    pub(crate) tokens: Tokens,
    pub(crate) counts: Counts,
    pub(crate) admission: Option<Admission>,
    /// Who waits for changes of what, by watch: woken in this order.
    pub(crate) waiting: BTreeMap<u64, (Kind, Waker)>,
    pub(crate) watches: u64,
    pub(crate) open: BTreeMap<u64, Kind>,
    pub(crate) cuts: BTreeMap<Kind, Cut>,
    /// New objects keep the status they come with: for fixtures, never for clients.
    pub(crate) keeps_status: bool,
    clock: WallClock,
}

impl State {
    pub(crate) fn new(options: Arc<Options>) -> Self {
        let mut state = Self {
            store: Store::new(options.history),
            pools: Pools::new(options.node_ports.clone()),
            chance: Chance::new(options.seed),
            log: VecDeque::new(),
            seen: 0,
            deny: options.deny.clone(),
            tokens: Tokens::new(),
            counts: Counts::default(),
            admission: None,
            waiting: BTreeMap::new(),
            watches: 0,
            open: BTreeMap::new(),
            cuts: BTreeMap::new(),
            keeps_status: false,
            clock: options.wall_clock(),
            options,
        };
        for name in ["default", "kube-system"] {
            let uid = state.chance.uid();
            let created = format!("{:.0}", state.wall());
            let mut value =
                json!({"metadata": {"name": name, "uid": uid, "creationTimestamp": created}});
            crate::rules::others::default_namespace(&mut value);
            state.commit(Kind::Namespace, value);
        }
        state
    }

    /// Wall time, for timestamps.
    pub(crate) fn wall(&self) -> Timestamp {
        (self.clock)()
    }

    /// Stores a version that has passed every check.
    pub(crate) fn commit(&mut self, kind: Kind, mut value: Value) -> Arc<Object> {
        meta::normalize(&mut value);
        if kind == Kind::Service {
            let key = (
                text(&value, "namespace").to_owned(),
                text(&value, "name").to_owned(),
            );
            let old = self.store.get(kind, &key).map(|o| o.value.clone());
            self.account(old.as_ref(), Some(&value));
        }
        self.store.put(kind, value, Instant::now())
    }

    /// Takes an object away; what it was is the answer.
    pub(crate) fn erase(&mut self, kind: Kind, key: &Key) -> Option<Arc<Object>> {
        let gone = self.store.remove(kind, key, Instant::now())?;
        if kind == Kind::Service {
            self.account(Some(&gone.value), None);
            // The registry does the same, so that a new Service never starts with old endpoints.
            self.store.remove(Kind::Endpoints, key, Instant::now());
        }
        Some(gone)
    }

    /// What `commit` would answer, without doing it: for dry runs.
    pub(crate) fn as_if(&self, kind: Kind, value: Value) -> Arc<Object> {
        let mut scratch = Store::new(1);
        let object = scratch.put(kind, value, Instant::now());
        Arc::new(object.at_version(self.store.rv()))
    }

    /// Keeps the pools in step with what is stored.
    fn account(&mut self, old: Option<&Value>, new: Option<&Value>) {
        let spec = |value: &Value| schema::typed::<Service>(value).ok().and_then(|s| s.spec);
        if let Some(spec) = old.and_then(spec) {
            self.pools.release(&spec);
        }
        if let Some(spec) = new.and_then(spec) {
            self.pools.hold(&spec);
        }
    }

    /// Asks the admission policy.
    pub(crate) fn admit(&self, verb: Verb, kind: Kind, value: &Value) -> Result<(), ApiError> {
        let Some(policy) = &self.admission else {
            return Ok(());
        };
        match policy(verb, kind, value) {
            None => Ok(()),
            Some(refusal) => {
                let name = text(value, "name");
                Err(ApiError::denied(
                    kind,
                    name,
                    &refusal.message,
                    refusal.forbidden,
                ))
            }
        }
    }

    /// Who has to be told about what has changed since the last call, in a fixed order.
    pub(crate) fn take_wakers(&mut self) -> Vec<Waker> {
        let changed = self.store.take_changed();
        self.wakers_of(&changed)
    }

    pub(crate) fn wakers_of(&mut self, kinds: &[Kind]) -> Vec<Waker> {
        let concerned: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(_, (kind, _))| kinds.contains(kind))
            .map(|(id, _)| *id)
            .collect();
        concerned
            .into_iter()
            .filter_map(|id| self.waiting.remove(&id))
            .map(|(_, w)| w)
            .collect()
    }
}
