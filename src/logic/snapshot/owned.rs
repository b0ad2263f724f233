//! The objects of ours, by what they are for.

use std::sync::Arc;

use crate::logic::model::{Meta, Service, Slice};
use crate::logic::well_known::{FOLLOWERS, ROLE};

/// What the objects of ours are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// They publish the leader.
    Leader,
    /// They publish every eligible pod but the leader.
    Followers,
}

/// What is ours of the objects in sight, for one role and by name.
#[derive(Clone, Debug, Default)]
pub struct Owned {
    pub(super) services: Vec<Arc<Service>>,
    pub(super) slices: Vec<Arc<Slice>>,
}

impl Owned {
    /// The Services.
    #[must_use]
    pub fn services(&self) -> &[Arc<Service>] {
        &self.services
    }

    /// The slices.
    #[must_use]
    pub fn slices(&self) -> &[Arc<Slice>] {
        &self.slices
    }

    /// The Service of that name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Arc<Service>> {
        let mut services = self.services.iter();
        services.find(|service| &*service.metadata.name == name)
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.slices.is_empty()
    }
}

/// Whether a label says that an object of ours is for the followers.
#[must_use]
pub fn is_marked_for_followers(meta: &Meta) -> bool {
    meta.labels.get(ROLE) == Some(FOLLOWERS)
}
