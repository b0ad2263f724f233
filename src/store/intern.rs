//! Shares equal label sets, port lists and strings between objects.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::logic::model::{Labels, Meta, NamedPort, Service, Slice};

/// How many entries may come before the unused ones are looked for.
const PURGE_EVERY: usize = 65_536;

/// A value that is longer is a uid, a list or a document, and is not shared.
const SHARED_BYTES_MAX: usize = 36;

/// The shared values of one namespace.
#[derive(Debug, Default)]
pub(super) struct Interner {
    strings: HashSet<Arc<str>, FixedState>,
    labels: HashSet<Labels, FixedState>,
    ports: HashSet<Arc<[NamedPort]>, FixedState>,
    added: usize,
}

impl Interner {
    pub(super) fn string(&mut self, text: Arc<str>) -> Arc<str> {
        self.count();
        share(&mut self.strings, text)
    }

    pub(super) fn labels(&mut self, labels: &Labels) -> Labels {
        if let Some(known) = self.labels.get(labels) {
            return known.clone();
        }
        self.count();
        // Pods of a StatefulSet have label sets of their own, whose strings are common all the same.
        let mut shared = Vec::with_capacity(labels.entries().len());
        for (key, value) in labels.entries() {
            let key = share(&mut self.strings, Arc::clone(key));
            shared.push((key, share(&mut self.strings, Arc::clone(value))));
        }
        let shared: Labels = shared.into_iter().collect();
        self.labels.insert(shared.clone());
        shared
    }

    pub(super) fn ports(&mut self, ports: Arc<[NamedPort]>) -> Arc<[NamedPort]> {
        self.count();
        share(&mut self.ports, ports)
    }

    /// Shares what the metadata of many objects has in common: keys, names and short values. What
    /// identifies one object or dates it stays its own.
    fn meta(&mut self, meta: &mut Meta) {
        let mut share = |text: &mut Arc<str>| *text = self.string(Arc::clone(text));
        share(&mut meta.namespace);
        share(&mut meta.name);
        for owner in &mut meta.owner_references {
            share(&mut owner.api_version);
            share(&mut owner.kind);
            share(&mut owner.name);
        }
        meta.labels = self.entries(&meta.labels);
        meta.annotations = self.entries(&meta.annotations);
    }

    /// Shares what the endpoints and ports of many slices have in common.
    pub(super) fn slice(&mut self, slice: &mut Slice) {
        self.meta(&mut slice.metadata);
        let mut share = |text: &mut Arc<str>| *text = self.string(Arc::clone(text));
        for endpoint in &mut slice.endpoints {
            endpoint.node_name.iter_mut().for_each(&mut share);
            if let Some(pod) = &mut endpoint.target_ref {
                share(&mut pod.kind);
                share(&mut pod.namespace);
            }
        }
        let names = slice.ports.iter_mut().filter_map(|port| port.name.as_mut());
        names.for_each(share);
    }

    /// The same for a Service.
    pub(super) fn service(&mut self, service: &mut Service) {
        self.meta(&mut service.metadata);
        service.spec.selector = self.entries(&service.spec.selector);
        for port in &mut service.spec.ports {
            for text in [&mut port.name, &mut port.app_protocol]
                .into_iter()
                .flatten()
            {
                *text = self.string(Arc::clone(text));
            }
        }
    }

    /// The same for a map.
    fn entries(&mut self, map: &Labels) -> Labels {
        let share = |(key, value): &(Arc<str>, Arc<str>)| {
            let key = self.string(Arc::clone(key));
            let value = Arc::clone(value);
            if value.len() < SHARED_BYTES_MAX {
                (key, self.string(value))
            } else {
                (key, value)
            }
        };
        map.entries().iter().map(share).collect()
    }

    fn count(&mut self) {
        self.added += 1;
        if self.added >= PURGE_EVERY {
            self.added = 0;
            self.labels.retain(Labels::is_shared);
            self.ports.retain(|ports| Arc::strong_count(ports) > 1);
            self.strings.retain(|text| Arc::strong_count(text) > 1);
        }
    }
}

fn share<T: ?Sized>(known: &mut HashSet<Arc<T>, FixedState>, value: Arc<T>) -> Arc<T>
where
    Arc<T>: Hash + Eq,
{
    if let Some(shared) = known.get(&value) {
        return Arc::clone(shared);
    }
    known.insert(Arc::clone(&value));
    value
}
