//! What a source sees of its namespace.

use std::sync::Arc;

use super::namespace::{Names, Namespace};
use crate::logic::model::Key;
use crate::logic::settings::{self, OptIn};
use crate::logic::view::View;
use crate::planted::{self, Bug};

impl Namespace {
    /// Whether a source is opted in, or anything in sight could be its.
    pub(super) fn concerns(&self, source: &str) -> bool {
        self.requested.contains_key(source)
            || self.selectors.get(source).is_some()
            || self
                .services
                .get(source)
                .is_some_and(|service| settings::opt_in(service) != OptIn::No)
            || self.related_services.contains_key(source)
            || self.related_slices.contains_key(source)
    }

    /// Every source for which [`Namespace::concerns`] holds; those with objects first.
    pub(super) fn sources(&self) -> (Names, Names) {
        let related = self
            .related_services
            .keys()
            .chain(self.related_slices.keys())
            .cloned()
            .collect();
        let related = if planted::is(Bug::DrainForgotten) {
            Names::new()
        } else {
            related
        };
        let opted_in = self
            .services
            .values()
            .filter(|service| settings::opt_in(service) != OptIn::No);
        (
            related,
            opted_in
                .map(|service| Arc::clone(&service.metadata.name))
                .collect(),
        )
    }

    /// What a source sees.
    pub(super) fn view(&self, key: &Key) -> View {
        let name = &*key.name;
        let mut names: Names = self.related_services.get(name).cloned().unwrap_or_default();
        names.extend(self.requested.get(name).cloned());
        let mut view = View {
            key: key.clone(),
            source: self.services.get(name).cloned(),
            pods: self
                .members
                .get(name)
                .map(|members| members.values().cloned().collect())
                .unwrap_or_default(),
            referenced: Vec::new(),
            services: Vec::new(),
            slices: Vec::new(),
            strangers: Vec::new(),
        };
        // Slices by label, and by every name that a slice of a Service in question can have.
        let mut slices: Names = self.related_slices.get(name).cloned().unwrap_or_default();
        for service in &names {
            slices.extend(view.slice_names(service));
            view.strangers
                .extend(self.strangers.get(service).into_iter().flatten().cloned());
        }
        view.slices = slices
            .iter()
            .filter_map(|slice| self.slices.get(slice))
            .cloned()
            .collect();
        // The owners of those slices, to tell a gone owner from a stranger.
        for slice in &view.slices {
            names.extend(
                slice
                    .metadata
                    .owner_references
                    .iter()
                    .map(|owner| Arc::clone(&owner.name)),
            );
        }
        view.services = names
            .iter()
            .filter_map(|service| self.services.get(service))
            .cloned()
            .collect();
        let leaders = view
            .slices
            .iter()
            .filter_map(|slice| slice.leader())
            .map(|leader| &leader.name);
        let pods: Names = leaders.chain(self.pins.get(name)).cloned().collect();
        let pods = if planted::is(Bug::IncumbentNotPinned) {
            Names::new()
        } else {
            pods
        };
        view.referenced = pods
            .iter()
            .filter_map(|pod| self.pods.get(pod))
            .cloned()
            .collect();
        view
    }
}
