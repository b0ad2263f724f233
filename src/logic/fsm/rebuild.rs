//! Whether a Service of ours has to be deleted before it can be made as it should be.

use super::{Machine, Phase};
use crate::logic::model::Service;
use crate::logic::settings::LeaderServiceType;
use crate::logic::snapshot::Snapshot;

impl Machine {
    /// Whether the leader Service stands under the right name and yet has to be deleted first: the
    /// cluster address is immutable, so is the primary family, and the slices that a selector made
    /// go only with the Service that had it.
    pub(super) fn must_rebuild(&self, snapshot: &Snapshot, source: &Service, name: &str) -> bool {
        let Some(service) = snapshot.own_service(name) else {
            return false;
        };
        if service.metadata.deletion_timestamp.is_some() && self.phase != Phase::Draining {
            return false;
        }
        is_of_another_kind(snapshot, source, service, self.settings.exposure)
    }
}

/// Whether a Service of ours cannot become what it should be by a patch.
pub(super) fn is_of_another_kind(
    snapshot: &Snapshot,
    source: &Service,
    service: &Service,
    exposure: LeaderServiceType,
) -> bool {
    let has_selector = !service.spec.selector.is_empty();
    let was_born = snapshot
        .foreign_slices
        .iter()
        .any(|stranger| stranger.was_born_of(service));
    // A source without a policy is of a server that knows no families: nothing to compare.
    let follows_families = source.spec.ip_family_policy.is_some();
    service.is_headless() != (exposure == LeaderServiceType::Headless)
        || (follows_families && service.families().first() != source.families().first())
        || (was_born && !has_selector)
}
