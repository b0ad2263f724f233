//! The leader so far, as the slices record it. This is the only memory of the leader: a decision that no
//! slice shows does not exist, on the replica that writes and on a standby alike.

use std::sync::Arc;
use std::time::Duration;

use super::{Machine, Phase, Serving};
use crate::logic::elect::{self, Rules};
use crate::logic::handover::CompletedSwitchover;
use crate::logic::model::{AddressType, Labels, Service, Slice, TargetRef, Uid};
use crate::logic::record;
use crate::logic::snapshot::Snapshot;
use crate::logic::time::{Moment, Now};
use crate::logic::well_known::{
    COOLING_DOWN, HANDLED_SWITCHOVER, LAST_LEADER_POD_UID, LAST_SWITCH_TIME, LEADER_NAMED_BY,
    LEADER_POD_NAME, LEADER_POD_UID, SERVICE_NAME,
};
use crate::mutations::{self, Mutation};

/// The time within which the third hand edit of a slice is drift.
const EDITS_WINDOW: Duration = Duration::from_mins(1);

/// Hand edits within that time that count as switchovers.
const EDITS_MAX: usize = 2;

/// The leader so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Incumbent {
    /// Identity of the pod.
    pub(super) uid: Uid,
    /// Name of the pod, where an object or this process knows it.
    pub(super) pod: Arc<str>,
    /// Whether a user moved the leadership to it by an edit of the slice.
    pub(super) is_by_hand: bool,
}

/// What the objects of a source say of its leader.
pub(super) struct Records<'a> {
    /// Our slices: those of the leader Service's present name first, the first family before the
    /// second, then the newer version.
    slices: Vec<&'a Slice>,
    /// Our leader Services, the one of the present name first. Their annotations are copies for people,
    /// and decide nothing while a slice has a record.
    services: Vec<&'a Service>,
}

impl<'a> Records<'a> {
    pub(super) fn of(snapshot: &'a Snapshot, name: &str, primary: AddressType) -> Self {
        let own = snapshot.own_slices().iter();
        let mut slices: Vec<&Slice> = own.map(|slice| &**slice).collect();
        let rank = |slice: &Slice| {
            (
                slice.metadata.labels.get(SERVICE_NAME) != Some(name),
                slice.address_type != primary,
            )
        };
        slices.sort_by(|a, b| {
            let (x, y) = (&a.metadata.resource_version, &b.metadata.resource_version);
            let by_age = || y.is_older_than(x).cmp(&x.is_older_than(y)).reverse();
            rank(a).cmp(&rank(b)).then_with(by_age)
        });
        let own = snapshot.own_services().iter();
        let mut services: Vec<&Service> = own.map(|service| &**service).collect();
        services.sort_by_key(|service| &*service.metadata.name != name);
        Self { slices, services }
    }

    /// Whether there is any slice of ours.
    pub(super) fn has_slices(&self) -> bool {
        !self.slices.is_empty()
    }

    /// The pod of the first slice that has an endpoint, and the identity that this slice records instead
    /// of it, if it does.
    fn published(&self) -> Option<(&'a TargetRef, Option<Uid>)> {
        let mut slices = self.slices.iter();
        slices.find_map(|slice| {
            let target = slice.leader()?;
            Some((target, leader_of(slice).filter(|uid| *uid != target.uid)))
        })
    }

    /// The pod to which someone else has changed the endpoint of the first slice.
    fn edited(&self) -> Option<&'a TargetRef> {
        let first = self.slices.first()?;
        let target = first.leader()?;
        leader_of(first)
            .is_some_and(|uid| uid != target.uid)
            .then_some(target)
    }

    /// The leader by the record of a slice that someone else emptied: we remove the record with the
    /// endpoint.
    fn emptied(&self) -> Option<Uid> {
        self.slices.first().and_then(|slice| leader_of(slice))
    }

    fn copy(&self, key: &str) -> Option<&'a str> {
        let mut services = self.services.iter();
        services.find_map(|service| service.metadata.annotations.get(key))
    }

    /// The last leader.
    fn last(&self) -> Option<Uid> {
        let mut slices = self.slices.iter();
        slices.find_map(|slice| uid_of(&slice.metadata.annotations, LAST_LEADER_POD_UID))
    }

    /// The value of `follow` by which the leader was published, if it was.
    pub(super) fn named_by(&self) -> Option<&'a Arc<str>> {
        self.record()?.shared(LEADER_NAMED_BY)
    }

    /// The annotations of the first slice that has a record.
    fn record(&self) -> Option<&'a Labels> {
        let mut slices = self.slices.iter();
        let annotations = slices.find(|slice| has_record(slice))?;
        Some(&annotations.metadata.annotations)
    }

    /// Since when the leader Service says that this pod leads.
    fn since(&self, leader: &Uid) -> Option<jiff::Timestamp> {
        let of = |service: &&&Service| {
            uid_of(&service.metadata.annotations, LEADER_POD_UID).as_ref() == Some(leader)
        };
        let service = self.services.iter().find(of)?;
        service
            .metadata
            .annotations
            .get(LAST_SWITCH_TIME)?
            .parse()
            .ok()
    }
}

/// The pod that our slices publish, those of the leader Service `name` and of the source's first family
/// before others.
#[must_use]
pub fn published<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a TargetRef> {
    let source = snapshot.source.as_ref();
    let primary = source.map_or(AddressType::Other, |source| source.families()[0].into());
    let (target, _) = Records::of(snapshot, name, primary).published()?;
    Some(target)
}

/// Whether a slice records its leader, or had one. A slice of version 0.2.0 or of the Go program does
/// not, and its endpoint is the record.
pub(in crate::logic) fn has_record(slice: &Slice) -> bool {
    let annotations = &slice.metadata.annotations;
    [LEADER_POD_UID, LAST_LEADER_POD_UID]
        .iter()
        .any(|key| annotations.get(key).is_some())
}

fn leader_of(slice: &Slice) -> Option<Uid> {
    uid_of(&slice.metadata.annotations, LEADER_POD_UID)
}

fn uid_of(annotations: &Labels, key: &str) -> Option<Uid> {
    annotations.get(key).map(Uid::from)
}

impl Machine {
    /// Reads what the objects record apart from the leader itself.
    pub(super) fn recall(&mut self, records: &Records<'_>, is_first: bool, writes: bool, now: Now) {
        let copied = || records.copy(LAST_LEADER_POD_UID).map(Uid::from);
        let last = records.last().or(self.last.take()).or_else(copied);
        self.last = last;
        let parse = |text: &str| text.parse::<CompletedSwitchover>().ok();
        self.handled = if let Some(annotations) = records.record() {
            annotations.get(HANDLED_SWITCHOVER).and_then(parse)
        } else {
            let copied = records.copy(HANDLED_SWITCHOVER).and_then(parse);
            let known = self.handled.take();
            // A replica of version 0.2.0 that writes tells of its switchovers here only.
            if writes {
                known.or(copied)
            } else {
                copied.or(known)
            }
        };
        if self.switched.is_none() {
            self.switched = records
                .copy(LAST_SWITCH_TIME)
                .and_then(|text| text.parse().ok());
        }
        if is_first
            && self.shunned.is_empty()
            && let Some(recorded) = records.copy(COOLING_DOWN)
        {
            self.shunned = record::read_cooling_down(recorded, now);
        }
    }

    /// The leader so far, where a hand edit of the slice may have changed it.
    pub(super) fn incumbent(
        &mut self,
        snapshot: &Snapshot,
        records: &Records<'_>,
        rules: &Rules<'_>,
        now: Moment,
    ) -> Option<Incumbent> {
        if let Some(target) = records.edited()
            && self.accepts_edit(snapshot, rules, target, now)
        {
            return Some(Incumbent {
                uid: target.uid.clone(),
                pod: Arc::clone(&target.name),
                is_by_hand: true,
            });
        }
        self.recorded(snapshot, records)
    }

    /// The leader so far.
    ///
    /// While a slice of ours exists, it is the pod of the first one that has an endpoint; of a slice that
    /// someone else edited or emptied, the recorded pod. A slice that we emptied says that there is none.
    fn recorded(&self, snapshot: &Snapshot, records: &Records<'_>) -> Option<Incumbent> {
        let is_copied =
            mutations::is(Mutation::CopyBelieved) && records.copy(LEADER_POD_UID).is_some();
        if !records.has_slices() || is_copied {
            return self.without_slices(snapshot, records, is_copied);
        }
        let (uid, pod) = match records.published() {
            Some((target, None)) => (target.uid.clone(), Some(Arc::clone(&target.name))),
            Some((_, Some(uid))) => (uid, None),
            None => (records.emptied()?, None),
        };
        let known = self.leader().filter(|leader| leader.uid == uid);
        let pod = pod
            .or_else(|| snapshot.pod(&uid).map(|pod| Arc::clone(&pod.name)))
            .or_else(|| known.map(|leader| Arc::clone(&leader.pod)));
        Some(Incumbent {
            uid,
            pod: pod.unwrap_or_default(),
            is_by_hand: false,
        })
    }

    /// The leader so far, where no slice is left to say so: the one that this process saw last, during a
    /// rebuild too; else the one that the leader Service names. A pod that is out of sight cannot be judged
    /// and does not count.
    fn without_slices(
        &self,
        snapshot: &Snapshot,
        records: &Records<'_>,
        is_copied: bool,
    ) -> Option<Incumbent> {
        let incumbent = |uid, pod| Incumbent {
            uid,
            pod,
            is_by_hand: false,
        };
        let seen = |leader: &Serving| incumbent(leader.uid.clone(), Arc::clone(&leader.pod));
        if let Some(leader) = self.leader().filter(|_| !is_copied) {
            return Some(seen(leader));
        }
        let copied = || {
            let uid = records.copy(LEADER_POD_UID).map(Uid::from)?;
            Some(incumbent(uid, records.copy(LEADER_POD_NAME)?.into()))
        };
        let kept = self.kept.as_ref().map(seen);
        let in_sight = |incumbent: &Incumbent| snapshot.pod(&incumbent.uid).is_some();
        kept.or_else(copied).filter(in_sight)
    }

    /// Everything is taken down to be made again: remembers the leader until then.
    pub(super) fn keep(&mut self, snapshot: &Snapshot, records: &Records<'_>, now: Moment) {
        let kept = self.recorded(snapshot, records).map(|incumbent| Serving {
            uid: incumbent.uid,
            pod: incumbent.pod,
            since: now,
            hold: elect::Hold::Firm,
        });
        self.kept = kept;
    }

    /// Whether a hand edit of the endpoint counts as a switchover: it names a pod that could be elected,
    /// and it is not the third edit within a minute. Otherwise it is drift.
    fn accepts_edit(
        &mut self,
        snapshot: &Snapshot,
        rules: &Rules<'_>,
        target: &TargetRef,
        now: Moment,
    ) -> bool {
        let is_known = self.leader().is_some_and(|leader| leader.uid == target.uid);
        if is_known {
            return true;
        }
        self.edits.retain(|at| now.since(*at) < EDITS_WINDOW);
        let could_lead = elect::could_lead(rules, &snapshot.pods, &target.uid, now);
        // Where the application decides, no user does.
        let is_free = rules.sticky && rules.claim.is_none();
        let accepts = is_free && could_lead && self.edits.len() < EDITS_MAX;
        if accepts {
            self.edits.push(now);
        }
        accepts
    }

    /// Takes into the state which pod is published, and since when.
    pub(super) fn observe(
        &mut self,
        records: &Records<'_>,
        incumbent: Option<&Incumbent>,
        writes: bool,
        now: Now,
    ) {
        let shown = incumbent.filter(|_| records.has_slices());
        let Some(shown) = shown else {
            self.kept.take_if(|_| records.has_slices());
            // Without slices this process knows of nothing newer.
            if (records.has_slices() || self.leader().is_none()) && self.phase != Phase::Electing {
                self.enter(Phase::Electing);
            }
            return;
        };
        self.kept = None;
        self.last = Some(shown.uid.clone());
        let known = records.since(&shown.uid);
        if let Some(leader) = self.leader()
            && leader.uid == shown.uid
        {
            // The replica that writes knows best when that was.
            if !writes {
                self.switched = known.or(self.switched);
            }
            return;
        }
        if !writes {
            // The replica that writes has returned to it, by what it knows.
            self.shunned.retain(|(uid, _)| *uid != shown.uid);
        }
        self.switched = known.or(Some(now.wall));
        self.enter(Phase::Serving(Serving {
            uid: shown.uid.clone(),
            pod: Arc::clone(&shown.pod),
            since: known.map_or(now.moment, |at| now.moment_of(at)),
            hold: elect::Hold::Firm,
        }));
    }
}
