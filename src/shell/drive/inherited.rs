//! What the one who wrote before us left behind. Whoever takes over may hear late of what that one
//! published last, and that is nothing to be healed.

use std::sync::Arc;

use super::{Cell, Drive};
use crate::logic::model::{Pod, Uid, Version};
use crate::logic::view::View;

/// The slices as the one before left them.
#[derive(Default)]
pub(super) enum Inherited {
    /// Everything that is heard of, until it is known how far that goes.
    #[default]
    Everything,
    /// What the slices showed at this version.
    Until(Version),
}

impl Inherited {
    fn covers(&self, version: &Version) -> bool {
        match self {
            Self::Everything => true,
            Self::Until(last) => version == last || version.is_older_than(last),
        }
    }
}

impl Drive {
    /// Whether it is still to be said how much of what the slices show was there before this replica
    /// began to write.
    #[must_use]
    pub fn awaits_inheritance(&self) -> bool {
        matches!(*self.inherited.lock(), Inherited::Everything)
    }

    /// What the slices showed at this version was there before.
    pub fn inherit(&self, version: Version) {
        let mut inherited = self.inherited.lock();
        if matches!(*inherited, Inherited::Everything) {
            *inherited = Inherited::Until(version);
        }
    }

    /// Whether a slice names another leader than we do, as the one left it who wrote before us: we only
    /// hear of it now. If that leader is lost by now, ours is as good.
    pub(super) fn is_legacy(&self, cell: &mut Cell, view: &View) -> bool {
        // Of two families the newer word counts; the older one may have been ours to overrule.
        let mut newest: Option<(&Version, &Uid)> = None;
        for slice in view.own_slices() {
            let version = &slice.metadata.resource_version;
            if let Some(named) = slice.leader()
                && newest.is_none_or(|(known, _)| known.is_older_than(version))
            {
                newest = Some((version, &named.uid));
            }
        }
        let Some((version, named)) = newest else {
            return false;
        };
        let is_news = cell
            .shown
            .as_ref()
            .is_some_and(|shown| shown.is_older_than(version));
        if is_news || cell.shown.is_none() {
            cell.shown = Some(version.clone());
        }
        let ours = cell.machine.leader().map(|leader| &leader.uid);
        let is_fit = |pod: &Arc<Pod>| pod.uid == *named && pod.ready && !pod.terminating;
        is_news
            && ours != Some(named)
            && view.pods.iter().any(is_fit)
            && self.inherited.lock().covers(version)
    }
}
