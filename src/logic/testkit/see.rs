//! What a source sees of the model cluster, as the store shows it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::world::World;
use crate::logic::model::{Key, Pod, Slice};
use crate::logic::settings;
use crate::logic::snapshot::{ForeignSlice, Snapshot, is_marked_for_followers, sources_of};
use crate::logic::well_known::{
    ENABLED, LEADER_SERVICE_NAME, MANAGER, SERVICE_NAME, SLICE_MANAGED_BY, SOURCE_SERVICE,
};

/// What has been parsed, by name: the version and the fact.
pub(super) type Read<T> = RefCell<BTreeMap<String, (String, Arc<T>)>>;

impl World {
    fn parsed<T: serde::de::DeserializeOwned>(
        objects: &BTreeMap<String, Value>,
        read: &Read<T>,
    ) -> BTreeMap<String, Arc<T>> {
        let mut read = read.borrow_mut();
        let parsed = objects.iter().map(|(name, object)| {
            let meta = &object["metadata"];
            let version = format!("{} {}", meta["uid"], meta["resourceVersion"]);
            let known = read.get(name).filter(|(known, _)| *known == version);
            let parsed = known.map_or_else(
                || {
                    let text = object.to_string();
                    Arc::new(serde_json::from_str(&text).expect("an object that parses"))
                },
                |(_, parsed)| Arc::clone(parsed),
            );
            read.insert(name.clone(), (version, Arc::clone(&parsed)));
            (name.clone(), parsed)
        });
        parsed.collect()
    }

    /// What the source sees, as the store shows it. `pinned` is the machine's leader.
    pub(crate) fn snapshot(&self, key: &Key, pinned: Option<&str>) -> Snapshot {
        let services = Self::parsed(&self.services, &self.read_services);
        let slices = Self::parsed(&self.slices, &self.read_slices);
        let source = services.get(&*key.name).cloned();
        let selector = source.as_ref().map(|source| source.spec.selector.clone());
        let matches = |pod: &&Arc<Pod>| {
            selector
                .as_ref()
                .is_some_and(|selector| pod.labels.satisfy(selector))
        };
        let pods = self.facts.values().filter(matches).cloned().collect();
        let mut snapshot = Snapshot::new(key.clone(), source, pods);
        // 1. Services by label or owner, and the one under the requested name.
        let mut names: BTreeSet<Arc<str>> = services
            .values()
            .filter(|service| sources_of(&service.metadata).any(|name| *name == key.name))
            .map(|service| Arc::clone(&service.metadata.name))
            .collect();
        if let Some(source) = &snapshot.source {
            let asks = source.metadata.annotations.get(ENABLED).is_some()
                || source
                    .metadata
                    .annotations
                    .get(LEADER_SERVICE_NAME)
                    .is_some();
            names.extend(settings::requested_name(source).ok().filter(|_| asks));
            names.extend(settings::followers_name(source).ok().flatten());
        }
        // 2. Slices by labels, and under every name that a slice of those can have.
        let possible: BTreeSet<Arc<str>> = names
            .iter()
            .flat_map(|name| snapshot.slice_names(name))
            .collect();
        snapshot.slices = slices
            .values()
            .filter(|slice| {
                let meta = &slice.metadata;
                meta.labels.get(SOURCE_SERVICE) == Some(&*key.name)
                    || meta
                        .labels
                        .shared(SERVICE_NAME)
                        .is_some_and(|service| names.contains(service))
                    || possible.contains(&meta.name)
            })
            .cloned()
            .collect();
        snapshot.foreign_slices = foreign_slices(&names, &slices);
        // 3. The owners of those slices.
        names.extend(
            snapshot
                .slices
                .iter()
                .flat_map(|slice| &slice.metadata.owner_references)
                .map(|owner| Arc::clone(&owner.name)),
        );
        snapshot.services = names
            .iter()
            .filter_map(|name| services.get(&**name).cloned())
            .collect();
        // 4. The pods that slices name, and the machine's leader.
        let slices = snapshot.slices.iter();
        let leaders = slices.filter(|slice| !is_marked_for_followers(&slice.metadata));
        let leaders = leaders.filter_map(|slice| slice.leader());
        let leading: BTreeSet<&str> = leaders.map(|leader| &*leader.name).chain(pinned).collect();
        snapshot.pinned_pods = leading
            .iter()
            .filter_map(|name| self.facts.get(*name).cloned())
            .collect();
        snapshot.lease = self.lease.clone();
        snapshot.classify()
    }
}

/// As the sweep finds them: slices under a leader Service's name that do not bear our labels.
fn foreign_slices(
    names: &BTreeSet<Arc<str>>,
    slices: &BTreeMap<String, Arc<Slice>>,
) -> Vec<ForeignSlice> {
    let bears_our_labels = |slice: &Slice| {
        let labels = &slice.metadata.labels;
        labels.get(SLICE_MANAGED_BY) == Some(MANAGER) && labels.get(SOURCE_SERVICE).is_some()
    };
    let of = |slice: &Arc<Slice>| {
        let service = slice.metadata.labels.shared(SERVICE_NAME)?;
        let counts = names.contains(service) && !bears_our_labels(slice);
        counts.then(|| ForeignSlice::of(Arc::clone(service), slice))
    };
    slices.values().filter_map(of).collect()
}
