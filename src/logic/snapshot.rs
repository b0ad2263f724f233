//! What one source sees of the cluster, and which of the objects in sight are ours.

mod owned;

use std::sync::Arc;

use super::follow::Lease;
use super::mirror::Mirrored;
use super::model::{Family, Key, Meta, OwnerReference, Pod, Service, Slice, Uid};
use super::well_known::{
    FOLLOWERS_SERVICE_NAME, LEADER_SUFFIX, MANAGED_BY, MANAGER, NATIVE_SLICE_MANAGER, SERVICE_NAME,
    SLICE_MANAGED_BY, SOURCE_SERVICE,
};
use crate::mutations::{self, Mutation};
pub use owned::{Owned, Role, is_marked_for_followers};

/// A snapshot of all facts that concern one source.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Namespace and name of the source.
    pub key: Key,
    /// The source, if a Service of that name exists.
    pub source: Option<Arc<Service>>,
    /// Every pod that the source's selector matches.
    pub pods: Vec<Arc<Pod>>,
    /// Pods that a slice in sight or the machine names as leader, whatever their labels.
    pub pinned_pods: Vec<Arc<Pod>>,
    /// Services that could be ours: those that bear our label for this source or are controlled by
    /// one of its name, and those that hold a name in question.
    pub services: Vec<Arc<Service>>,
    /// Slices that could be ours, likewise.
    pub slices: Vec<Arc<Slice>>,
    /// Slices that others attached to a leader Service of this source.
    pub foreign_slices: Vec<ForeignSlice>,
    /// The Lease that the source follows, if it follows one.
    pub lease: Lease,
    leader: Owned,
    followers: Owned,
}

/// A slice that is not ours and bears the name of a leader Service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ForeignSlice {
    /// The leader Service it is attached to.
    pub service: Arc<str>,
    /// Name of the slice.
    pub name: Arc<str>,
    /// The manager that its label names.
    pub manager: Arc<str>,
    /// The Service that controls it, if one does.
    pub owner: Option<Uid>,
}

impl ForeignSlice {
    /// Reads a slice that came with a targeted list.
    #[must_use]
    pub fn of(service: Arc<str>, slice: &Slice) -> Self {
        let manager = slice.metadata.labels.shared(SLICE_MANAGED_BY).cloned();
        let owner = slice
            .metadata
            .controller()
            .filter(|owner| &*owner.kind == "Service");
        Self {
            service,
            name: Arc::clone(&slice.metadata.name),
            manager: manager.unwrap_or_else(|| "an unknown manager".into()),
            owner: owner.map(|owner| owner.uid.clone()),
        }
    }

    /// Whether the native controller made it because that very Service had a selector for a while.
    #[must_use]
    pub fn was_born_of(&self, service: &Service) -> bool {
        &*self.manager == NATIVE_SLICE_MANAGER && self.owner.as_ref() == Some(&service.metadata.uid)
    }
}

/// Whether controllers may have attached slices of their own to a Service by now: it is a leader
/// Service that is new, or had a selector until now.
#[must_use]
pub fn may_have_attracted_slices(before: Option<&Service>, after: &Service) -> bool {
    let is_marked = |service: &Service| service.metadata.labels.get(SOURCE_SERVICE).is_some();
    after.spec.selector.is_empty()
        && match before {
            None => is_marked(after),
            Some(before) => {
                !before.spec.selector.is_empty() && (is_marked(before) || is_marked(after))
            }
        }
}

impl Snapshot {
    /// The view of a source that sees pods and nothing else yet.
    #[must_use]
    pub fn new(key: Key, source: Option<Arc<Service>>, pods: Vec<Arc<Pod>>) -> Self {
        Self {
            key,
            source,
            pods,
            pinned_pods: Vec::new(),
            services: Vec::new(),
            slices: Vec::new(),
            foreign_slices: Vec::new(),
            lease: Lease::default(),
            leader: Owned::default(),
            followers: Owned::default(),
        }
    }

    /// Finds out which objects are ours, and for which role, once all of them are in sight. Every step
    /// asks for them many times.
    #[must_use]
    pub fn classify(mut self) -> Self {
        let mut services = self.services.clone();
        services.retain(|service| self.is_own_service(service));
        services.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        services.dedup_by(|a, b| a.metadata.name == b.metadata.name);
        let for_followers = |service: &mut Arc<Service>| self.is_for_followers(service);
        self.followers.services = services.extract_if(.., for_followers).collect();
        self.leader.services = services;
        let mut slices = self.slices.clone();
        slices.retain(|slice| self.is_own_slice(slice));
        slices.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        slices.dedup_by(|a, b| a.metadata.name == b.metadata.name);
        let for_followers = |slice: &mut Arc<Slice>| self.is_of_followers(slice);
        self.followers.slices = slices.extract_if(.., for_followers).collect();
        self.leader.slices = slices;
        self
    }

    /// Whether a Service of ours is for the followers. It remembers so itself; the label, which users can
    /// edit, decides only where that memory is lost.
    fn is_for_followers(&self, service: &Service) -> bool {
        let is_marked = is_marked_for_followers(&service.metadata);
        let is_asked = || {
            let source = self.source.as_ref();
            source.is_some_and(|source| {
                let annotations = &source.metadata.annotations;
                annotations.get(FOLLOWERS_SERVICE_NAME).is_some()
            })
        };
        // Nearly no source has followers Services.
        (is_marked || is_asked())
            && Mirrored::read(service).map_or(is_marked, |mirrored| mirrored.followers)
    }

    /// Whether a slice of ours is the followers': by its Service, and by its label where none is left.
    fn is_of_followers(&self, slice: &Slice) -> bool {
        let of = |role: &Owned| {
            let mut services = role.services.iter();
            services.any(|service| slice.is_controlled_by(&service.metadata))
        };
        of(&self.followers) || (is_marked_for_followers(&slice.metadata) && !of(&self.leader))
    }

    /// The Service of that name, ours or not.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Arc<Service>> {
        self.services
            .iter()
            .find(|service| &*service.metadata.name == name)
    }

    /// What is ours for that role.
    #[must_use]
    pub fn own(&self, role: Role) -> &Owned {
        match role {
            Role::Leader => &self.leader,
            Role::Followers => &self.followers,
        }
    }

    /// Our leader Service of that name.
    #[must_use]
    pub fn own_service(&self, name: &str) -> Option<&Arc<Service>> {
        self.leader.service(name)
    }

    /// The pod of that identity, whatever its labels.
    #[must_use]
    pub fn pod(&self, uid: &Uid) -> Option<&Arc<Pod>> {
        self.pods
            .iter()
            .chain(&self.pinned_pods)
            .find(|pod| pod.uid == *uid)
    }

    /// The leader Services that are ours, by name.
    #[must_use]
    pub fn own_services(&self) -> &[Arc<Service>] {
        &self.leader.services
    }

    /// The slices of our leader Services, by name.
    #[must_use]
    pub fn own_slices(&self) -> &[Arc<Slice>] {
        &self.leader.slices
    }

    fn own_services_of_any_role(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.leader.services.iter().chain(&self.followers.services)
    }

    /// Whether a Service is a leader Service of this very source.
    ///
    /// That is one that the source controls; or one that bears both our labels and no selector,
    /// and was orphaned or belongs to an earlier source of this name. An orphan of a source that
    /// does not exist was left behind on purpose (`--cascade=orphan`) and belongs to no source.
    fn is_own_service(&self, service: &Service) -> bool {
        let meta = &service.metadata;
        if meta.name == self.key.name {
            return false;
        }
        if mutations::is(Mutation::StrangerAdopted)
            && meta.name.strip_suffix(LEADER_SUFFIX) == Some(&*self.key.name)
        {
            return true;
        }
        let source_uid = self.source.as_ref().map(|source| &source.metadata.uid);
        let controller = meta.controller().filter(|owner| &*owner.kind == "Service");
        if controller.is_some_and(|owner| Some(&owner.uid) == source_uid) {
            return true;
        }
        // An owner reference to this source that lost its `controller` flag is repaired as well.
        let is_of_this_name =
            |owner: &OwnerReference| &*owner.kind == "Service" && owner.name == self.key.name;
        let is_ours = meta.owner_references.iter().all(is_of_this_name);
        let is_orphan = meta.owner_references.is_empty();
        self.bears_our_labels(meta)
            && service.spec.selector.is_empty()
            && is_ours
            && !(is_orphan && source_uid.is_none())
    }

    /// Whether a slice is ours: controlled by a leader Service that is ours; or one under a contract
    /// name with our labels whose leader Service is gone, or that was orphaned of one that is ours.
    fn is_own_slice(&self, slice: &Slice) -> bool {
        let meta = &slice.metadata;
        let owner_is = |service: &Service, uid: &Uid| service.metadata.uid == *uid;
        if let Some(owner) = meta.controller() {
            let mut own = self.own_services_of_any_role();
            let leader_service = own.find(|service| owner_is(service, &owner.uid));
            if let Some(service) = leader_service {
                // The native controller's, from a selector that the Service had for a while, look
                // the same but for their names.
                let is_native = meta.labels.get(SLICE_MANAGED_BY) == Some(NATIVE_SLICE_MANAGER);
                let names = || self.slice_names(&service.metadata.name);
                return !is_native || names().contains(&meta.name);
            }
        }
        // Orphaned under our Service's name: if it belonged to no source, it would remain a stale
        // endpoint indefinitely.
        let is_orphan = meta.owner_references.is_empty()
            && meta.labels.get(SLICE_MANAGED_BY) == Some(MANAGER)
            && self.own_services_of_any_role().any(|service| {
                self.slice_names(&service.metadata.name)
                    .contains(&meta.name)
            });
        let is_left_behind = || {
            meta.owner_references.iter().any(|owner| {
                let is_gone = !self
                    .services
                    .iter()
                    .any(|service| owner_is(service, &owner.uid));
                &*owner.kind == "Service"
                    && is_gone
                    && self.slice_names(&owner.name).contains(&meta.name)
            })
        };
        self.bears_our_labels(meta) && (is_orphan || is_left_behind())
    }

    /// The other source whose slice is attached to the leader Service `service`, whether or not that
    /// Service exists: the other source serves under this name, or is about to withdraw. A second slice
    /// next to it would be a second endpoint.
    #[must_use]
    pub fn name_holder(&self, service: &str) -> Option<&Arc<str>> {
        let held = self.slices.iter().find(|slice| {
            let meta = &slice.metadata;
            meta.labels.get(SERVICE_NAME) == Some(service)
                && meta.labels.get(SLICE_MANAGED_BY) == Some(MANAGER)
                && meta.labels.get(SOURCE_SERVICE) != Some(&*self.key.name)
                // No source withdraws an orphan.
                && !meta.owner_references.is_empty()
                && !self
                    .leader
                    .slices
                    .iter()
                    .chain(&self.followers.slices)
                    .any(|own| own.metadata.name == meta.name)
        })?;
        held.metadata.labels.shared(SOURCE_SERVICE)
    }

    fn bears_our_labels(&self, meta: &Meta) -> bool {
        meta.labels.get(MANAGED_BY) == Some(MANAGER)
            && meta.labels.get(SOURCE_SERVICE) == Some(&*self.key.name)
    }

    /// Every name that a slice of the leader Service `service` can have by the contract.
    #[must_use]
    pub fn slice_names(&self, service: &str) -> Vec<Arc<str>> {
        let both = [Family::IPv4, Family::IPv6];
        let first = slice_name(service, None);
        let second = both.map(|family| slice_name(service, Some(family)));
        let plain = [first].into_iter().chain(second);
        plain
            .flat_map(|name| [fallback_name(&self.key, &name), name])
            .collect()
    }
}

/// Contract name of a slice: the leader Service's own for the first family, with an ending for a
/// second one.
#[must_use]
pub fn slice_name(service: &str, second: Option<Family>) -> Arc<str> {
    match second {
        None => service.into(),
        Some(family) => format!("{service}{}", family.suffix()).into(),
    }
}

/// The name a slice takes when an object that is not ours holds its contract name. Always the
/// same for the same source, so that a restart finds it again.
#[must_use]
pub fn fallback_name(source: &Key, name: &str) -> Arc<str> {
    let bytes = source
        .namespace
        .bytes()
        .chain([b'/'])
        .chain(source.name.bytes())
        .chain([b'/'])
        .chain(name.bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    format!("{name}-{hash:08x}").into()
}

/// Whether one name is what [`fallback_name`] makes of the other, for some source.
#[must_use]
pub fn is_fallback_of(name: &str, other: &str) -> bool {
    let ending = name
        .strip_prefix(other)
        .and_then(|rest| rest.strip_prefix('-'));
    ending.is_some_and(|hash| hash.len() == 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The name of the source that an object of ours would belong to, by its label and by its owners.
pub fn sources_of(meta: &Meta) -> impl Iterator<Item = &Arc<str>> {
    let by_label = meta.labels.shared(SOURCE_SERVICE);
    let by_owner = meta
        .owner_references
        .iter()
        .filter(|owner| &*owner.kind == "Service")
        .map(|owner| &owner.name);
    by_label.into_iter().chain(by_owner)
}

#[cfg(test)]
mod tests;
