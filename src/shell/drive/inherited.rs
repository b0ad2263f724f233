//! What the one who wrote before us left behind. Whoever takes over may hear late of what that one
//! published last, and that is nothing to be healed.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Cell, Drive};
use crate::logic::elect::Hold;
use crate::logic::model::{AddressType, Pod, Slice, Uid, Version};
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

    /// The server was restored from a backup: versions of slices compare from zero. What the slices
    /// show from now on is nothing that another replica has left behind.
    pub fn begin_history(&self) {
        let mut inherited = self.inherited.lock();
        if matches!(*inherited, Inherited::Until(_)) {
            *inherited = Inherited::Until(Version::default());
        }
        drop(inherited);
        let cells: Vec<_> = self.cells.iter().map(|cell| Arc::clone(&cell)).collect();
        for cell in cells {
            cell.lock().shown = None;
        }
    }

    /// Whether the slices say of the leader what we do not, as the one left them who wrote before us:
    /// we only hear of it now. If theirs is lost by now, or they have none, ours is as good while he
    /// could be elected, and not if he could merely stay.
    pub(super) fn is_legacy(&self, cell: &mut Cell, view: &View) -> bool {
        let Some((version, named)) = last_word(view) else {
            return false;
        };
        let is_news = cell
            .shown
            .as_ref()
            .is_some_and(|shown| shown.is_older_than(version));
        if is_news || cell.shown.is_none() {
            cell.shown = Some(version.clone());
        }
        let leader = cell.machine.leader();
        let ours = leader.map(|leader| &leader.uid);
        let firm = leader.filter(|leader| leader.hold == Hold::Firm);
        let is_fit = |uid: &Uid| {
            let is_fit = |pod: &Arc<Pod>| pod.uid == *uid && pod.ready && !pod.terminating;
            view.pods.iter().any(is_fit)
        };
        is_news
            && named != ours
            && (named.is_some_and(is_fit) || !firm.is_some_and(|leader| is_fit(&leader.uid)))
            && self.inherited.lock().covers(version)
    }
}

/// Whom our slices name, and since which version. Of two that name one the newer word counts: the older
/// one may have been ours to overrule. Of two that name none it is that of the first family, in which
/// a leader must have an address: the other may have been empty all along, and written by us.
fn last_word(view: &View) -> Option<(&Version, Option<&Uid>)> {
    let source = view.source.as_ref();
    let primary = source.map(|source| AddressType::from(source.families()[0]));
    let mut last: Option<(&Slice, Option<&Uid>)> = None;
    // On the way of every piece of news: no list is made and sorted for it.
    for slice in view.slices.iter().filter(|slice| view.owns_slice(slice)) {
        let named = slice.leader().map(|leader| &leader.uid);
        let is_better = last.is_none_or(|(known, before)| {
            let counts = |slice: &Slice, named: Option<&Uid>| {
                (
                    named.is_some(),
                    named.is_some() || Some(slice.address_type) == primary,
                )
            };
            let is_newer = || version(known).is_older_than(version(slice));
            match counts(slice, named).cmp(&counts(known, before)) {
                Ordering::Greater => true,
                Ordering::Equal => is_newer(),
                Ordering::Less => false,
            }
        });
        if is_better {
            last = Some((slice, named));
        }
    }
    last.map(|(slice, named)| (version(slice), named))
}

fn version(slice: &Slice) -> &Version {
    &slice.metadata.resource_version
}
