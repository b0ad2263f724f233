//! The facts of one namespace and the indices over them, changed together.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::freshness::{Origin, bury, is_news, may_go};
use super::intern::Interner;
use super::name_index::{NameIndex, relate};
use super::name_set::NameSet;
use super::pod_map::{ByName, PodMap};
use super::selectors::SelectorIndex;
use crate::logic::model::{Labels, Meta, Pod, Service, Slice, Version};
use crate::logic::settings::{self, OptIn};
use crate::logic::snapshot::{ForeignSlice, sources_of};
use crate::logic::time::{Moment, Now};
use crate::logic::well_known::{SERVICE_NAME, SOURCE_SERVICE};
use crate::mutations::{self, Mutation};

pub(super) type Map<V> = HashMap<Arc<str>, V, FixedState>;
pub(super) type Names = BTreeSet<Arc<str>>;

/// The sources that a change concerns.
pub(super) type Touched = Names;

#[derive(Debug, Default)]
pub(super) struct Namespace {
    pub(super) pods: PodMap,
    pub(super) services: Map<Arc<Service>>,
    pub(super) slices: Map<Arc<Slice>>,
    /// Selectors of the opted-in Services.
    pub(super) selectors: SelectorIndex,
    /// Pods that each of them selects.
    pub(super) members: Map<BTreeSet<ByName>>,
    /// Selectors that came after pods which they may select: see [`Namespace::gather`].
    late: Names,
    /// Objects that could belong to a source, by its name; it need not exist.
    pub(super) related_services: Map<NameSet>,
    pub(super) related_slices: Map<NameSet>,
    /// Slices under a Service that do not bear its name, by the Service: another source that
    /// requests its name has to see them.
    pub(super) evasive: Map<NameSet>,
    /// The name that an opted-in Service asks for.
    pub(super) requested: NameIndex,
    /// The name that a source is served under though it asks for another, or for none that can be
    /// had.
    pub(super) served: NameIndex,
    /// The same two for its followers.
    pub(super) requested_followers: NameIndex,
    pub(super) served_followers: NameIndex,
    /// Leaders, whatever their labels.
    pub(super) pins: NameIndex,
    /// Slices that others attached to a Service.
    pub(super) foreign_slices: Map<Vec<ForeignSlice>>,
    /// Deleted Services and slices: an answer that was overtaken must not bring them back.
    dead_services: Map<Version>,
    dead_slices: Map<Version>,
    /// What is known of these comes from before the server was restored: any reading is newer.
    outdated_pods: Names,
    outdated_services: Names,
    outdated_slices: Names,
    interner: Interner,
}

impl Namespace {
    /// Takes a pod in. Nothing is touched when nothing that matters has changed.
    ///
    /// `is_first_sight`: this process has just started, and the pod may have been there for long.
    pub(super) fn put_pod(&mut self, pod: Pod, now: Now, is_first_sight: bool) -> Touched {
        let name = Arc::clone(&pod.name);
        let before = self.pods.get(&name).cloned();
        let is_outdated = self.outdated_pods.remove(&name);
        if before
            .as_ref()
            .is_some_and(|before| pod.version.is_older_than(&before.version))
            && !is_outdated
            && !mutations::is(Mutation::StaleBelieved)
        {
            return Touched::new();
        }
        if pod.gone {
            return self.remove_pod(&name, None);
        }
        if pod.ended() {
            return self.lose_pod(&name, &pod.version);
        }
        let mut pod = pod.seen(before.as_deref(), now);
        if is_first_sight {
            pod.appeared = Moment::MIN;
        }
        // The stored version must belong to the present history of the server.
        if before
            .as_ref()
            .is_some_and(|before| before.is_same_fact(&pod) && !is_outdated)
        {
            return Touched::new();
        }
        pod.namespace = self.interner.string(pod.namespace);
        pod.node = pod.node.map(|node| self.interner.string(node));
        pod.labels = match &before {
            Some(before) if before.labels == pod.labels => before.labels.clone(),
            _ => self.interner.labels(&pod.labels),
        };
        pod.ports = self.interner.ports(pod.ports);
        let pod = Arc::new(pod);
        let mut touched = self.leave_members(before.as_deref(), &pod.labels);
        for source in self.selectors.matching(&pod.labels) {
            touched.insert(Arc::clone(source));
            self.members
                .entry(Arc::clone(source))
                .or_default()
                .replace(ByName(Arc::clone(&pod)));
        }
        touched.extend(self.pins.sources(&name).cloned());
        self.pods.put(pod);
        touched
    }

    /// Takes a pod out, unless it is known to be newer than `version`.
    pub(super) fn remove_pod(&mut self, name: &str, version: Option<&Version>) -> Touched {
        let version = version.filter(|_| !self.outdated_pods.remove(name));
        match self.pods.get(name) {
            Some(pod) if !version.is_some_and(|version| version.is_older_than(&pod.version)) => {}
            _ => return Touched::new(),
        }
        let before = self.pods.remove(name);
        let mut touched = self.leave_members(before.as_deref(), &Labels::default());
        touched.extend(self.pins.sources(name).cloned());
        touched
    }

    /// Takes a pod out of the sources that selected it and do so no more.
    fn leave_members(&mut self, before: Option<&Pod>, labels: &Labels) -> Touched {
        let Some(before) = before else {
            return Touched::new();
        };
        let touched: Touched = self.selectors.matching(&before.labels).cloned().collect();
        for source in &touched {
            let stays = self
                .selectors
                .get(source)
                .is_some_and(|selector| labels.satisfy(selector));
            if let Some(members) = self.members.get_mut(source).filter(|_| !stays) {
                members.remove(&*before.name);
            }
        }
        touched
    }

    /// Takes a Service in: as a source, as one of ours, and as one that holds a name.
    pub(super) fn put_service(&mut self, mut service: Service, origin: Origin) -> Touched {
        let meta = &service.metadata;
        let name = Arc::clone(&meta.name);
        let is_outdated = self.outdated_services.remove(&name);
        let known = self.services.get(&name).filter(|_| !is_outdated);
        if !is_news(
            known.map(|known| &known.metadata),
            self.dead_services.get(&name),
            meta,
            origin,
        ) {
            return Touched::new();
        }
        self.dead_services.remove(&name);
        self.interner.service(&mut service);
        let name = Arc::clone(&service.metadata.name);
        let service = Arc::new(service);
        let before = self
            .services
            .insert(Arc::clone(&name), Arc::clone(&service));
        let before = before.as_ref().map(|before| &before.metadata);
        let mut touched = relate(
            &mut self.related_services,
            before,
            Some(&service.metadata),
            sources_of,
        );
        self.index_source(&name, Some(&service));
        touched.extend(self.sources_under(&name).cloned());
        touched.insert(name);
        touched
    }

    /// Takes a Service out, unless it is known to be newer than `version`.
    pub(super) fn remove_service(&mut self, name: &Arc<str>, version: Option<&Version>) -> Touched {
        bury(&mut self.dead_services, name, version);
        let version = version.filter(|_| !self.outdated_services.remove(name));
        if !may_go(
            self.services.get(name).map(|known| &known.metadata),
            version,
        ) {
            return Touched::new();
        }
        let before = self.services.remove(name);
        let mut touched = relate(
            &mut self.related_services,
            before.as_ref().map(|before| &before.metadata),
            None,
            sources_of,
        );
        self.index_source(name, None);
        self.foreign_slices.remove(name);
        touched.extend(self.sources_under(name).cloned());
        touched.insert(Arc::clone(name));
        touched
    }

    /// Takes a slice in.
    pub(super) fn put_slice(&mut self, mut slice: Slice, origin: Origin) -> Touched {
        let meta = &slice.metadata;
        let name = Arc::clone(&meta.name);
        // What lost our label is out of the watch's sight, which then knows nothing of its end.
        let is_watched = meta.labels.get(SOURCE_SERVICE).is_some();
        let grave = self.dead_slices.get(&name).filter(|_| is_watched);
        let is_outdated = self.outdated_slices.remove(&name);
        let known = self.slices.get(&name).filter(|_| !is_outdated);
        if !is_news(known.map(|known| &known.metadata), grave, meta, origin) {
            return Touched::new();
        }
        self.dead_slices.remove(&name);
        self.interner.slice(&mut slice);
        let name = Arc::clone(&slice.metadata.name);
        let slice = Arc::new(slice);
        let before = self.slices.insert(Arc::clone(&name), Arc::clone(&slice));
        let mut touched = relate(
            &mut self.related_slices,
            before.as_ref().map(|before| &before.metadata),
            Some(&slice.metadata),
            labelled,
        );
        self.relate_evasive(before.as_deref(), Some(&slice));
        for slice in before.iter().chain([&slice]) {
            touched.extend(self.sources_by_service(&slice.metadata));
        }
        touched
    }

    /// Takes a slice out, unless it is known to be newer than `version`.
    pub(super) fn remove_slice(&mut self, name: &Arc<str>, version: Option<&Version>) -> Touched {
        bury(&mut self.dead_slices, name, version);
        let version = version.filter(|_| !self.outdated_slices.remove(name));
        if !may_go(self.slices.get(name).map(|known| &known.metadata), version) {
            return Touched::new();
        }
        let Some(before) = self.slices.remove(name) else {
            return Touched::new();
        };
        let mut touched = relate(
            &mut self.related_slices,
            Some(&before.metadata),
            None,
            labelled,
        );
        self.relate_evasive(Some(&before), None);
        touched.extend(self.sources_by_service(&before.metadata));
        touched
    }

    /// The server was restored: what is known of pods stays until it is read again, or missing in a
    /// complete list.
    pub(super) fn outdate_pods(&mut self) {
        self.outdated_pods = self.pods.iter().map(|pod| Arc::clone(&pod.name)).collect();
    }

    /// The same for Services. A deletion of before says nothing about an answer of now.
    pub(super) fn outdate_services(&mut self) {
        self.outdated_services = self.services.keys().cloned().collect();
        self.dead_services.clear();
    }

    /// The same for slices.
    pub(super) fn outdate_slices(&mut self) {
        self.outdated_slices = self.slices.keys().cloned().collect();
        self.dead_slices.clear();
    }

    fn relate_evasive(&mut self, before: Option<&Slice>, after: Option<&Slice>) {
        let (before, after) = (
            before.map(|slice| &slice.metadata),
            after.map(|slice| &slice.metadata),
        );
        let _ = relate(&mut self.evasive, before, after, evaded);
    }

    /// The sources of the leader Services that own a slice, that it is of, or whose name it holds.
    fn sources_by_service(&self, slice: &Meta) -> Touched {
        let owners = slice
            .owner_references
            .iter()
            .map(|owner| &owner.name)
            .chain(evaded(slice))
            .chain([&slice.name]);
        owners
            .flat_map(|owner| self.sources_behind(owner))
            .collect()
    }

    /// The sources to which a leader Service of that name belongs or would belong.
    pub(super) fn sources_behind(&self, service: &str) -> Touched {
        let related = self
            .services
            .get(service)
            .into_iter()
            .flat_map(|service| sources_of(&service.metadata));
        related
            .chain(self.sources_under(service))
            .cloned()
            .collect()
    }

    /// The sources that ask for the name of a leader or followers Service, or are served under it.
    fn sources_under(&self, service: &str) -> impl Iterator<Item = &Arc<str>> {
        let all = self.names().into_iter();
        all.flat_map(move |names| names.sources(service))
    }

    /// The names that a source asks for or is served under.
    pub(super) fn names_of(&self, source: &str) -> impl Iterator<Item = &Arc<str>> {
        let all = self.names().into_iter();
        all.filter_map(move |names| names.of(source))
    }

    fn names(&self) -> [&NameIndex; 4] {
        let followers = [&self.requested_followers, &self.served_followers];
        [&self.requested, &self.served, followers[0], followers[1]]
    }

    /// Keeps selector, members and requested name of a source up to date.
    fn index_source(&mut self, name: &Arc<str>, service: Option<&Arc<Service>>) {
        let source = service.filter(|service| {
            let meta = &service.metadata;
            settings::opt_in(service) != OptIn::No && meta.labels.get(SOURCE_SERVICE).is_none()
        });
        let selector = source
            .map(|source| source.spec.selector.clone())
            .unwrap_or_default();
        if self.selectors.get(name) != Some(&selector).filter(|selector| !selector.is_empty()) {
            self.selectors.set(name, &selector);
            if selector.is_empty() {
                self.members.remove(name);
                self.late.remove(name);
            } else {
                self.members.insert(Arc::clone(name), BTreeSet::new());
                if self.pods.len() > 0 {
                    self.late.insert(Arc::clone(name));
                }
            }
        }
        let requested = source.and_then(|source| settings::requested_name(source).ok());
        self.requested.point(name, requested.as_ref());
        let followers = source.and_then(|source| settings::followers_name(source).ok()?);
        self.requested_followers.point(name, followers.as_ref());
    }

    /// Whether some members are still to be gathered.
    pub(super) fn is_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// Gathers the members of selectors that came after their pods. Deferred until the next look, so
    /// that one pass does for all of them: at a first sync thousands come while pods come, and a pass
    /// for each would take minutes.
    pub(super) fn gather(&mut self) {
        let late = std::mem::take(&mut self.late);
        if late.is_empty() {
            return;
        }
        for pod in self.pods.iter().filter(|pod| !pod.ended()) {
            for source in self.selectors.matching(&pod.labels) {
                if late.contains(source)
                    && let Some(members) = self.members.get_mut(source)
                {
                    members.replace(ByName(Arc::clone(pod)));
                }
            }
        }
    }

    /// Remembers the names that a source is served under, so that news arrive of their holders.
    pub(super) fn hold(&mut self, source: &Arc<str>, [leader, followers]: [Option<&Arc<str>>; 2]) {
        let leader = leader.filter(|name| self.requested.of(source) != Some(name));
        self.served.point(source, leader);
        let followers = followers.filter(|name| self.requested_followers.of(source) != Some(name));
        self.served_followers.point(source, followers);
    }
}

/// The source that a slice names; its owner is a leader Service, not a source.
fn labelled(slice: &Meta) -> impl Iterator<Item = &Arc<str>> {
    slice.labels.shared(SOURCE_SERVICE).into_iter()
}

/// The Service that a slice is of, unless it bears the same name.
fn evaded(slice: &Meta) -> impl Iterator<Item = &Arc<str>> {
    let service = slice.labels.shared(SERVICE_NAME);
    service
        .filter(|service| **service != slice.name)
        .into_iter()
}
