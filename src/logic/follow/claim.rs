//! Which pod the application names now.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use super::identity::{self, Line};
use super::{Absence, Follow, Lease, State};
use crate::logic::model::{LabelSet, Pod, Uid};
use crate::logic::snapshot::Snapshot;
use crate::logic::time::Moment;
use crate::mutations::{self, Mutation};

/// What the application says of its leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// Where it says so.
    pub follow: &'a Follow,
    /// Which pod it names.
    pub named: Named<'a>,
    /// Every pod that has the label, or that the holder's identity matches.
    pub pods: Vec<&'a Arc<Pod>>,
    /// The holder's identity, as the Lease has it.
    pub holder: Option<&'a str>,
}

/// Which pod the application names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// This one; for a Lease, by this line of the rules.
    Pod(&'a Arc<Pod>, Option<Line>),
    /// Several, and it is unknown which of them is meant.
    Several,
    /// A pod that appeared after the Lease was last seen to change: an earlier pod of its name is meant,
    /// until the next write.
    Gone,
    /// No pod.
    None,
    /// The holder's identity matches no pod.
    Unknown,
    /// Its last word does not count any more.
    Silent(Silence),
    /// The annotation cannot be read.
    Unclear,
}

/// Why a Lease is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It has not been read yet.
    Unread,
    /// It cannot be read.
    Absent(Absence),
    /// It was not seen to change for as long as its holder holds it.
    Expired(Duration),
}

/// Reads the application's choice.
#[must_use]
pub fn claim<'a>(follow: &'a Follow, snapshot: &'a Snapshot, now: Moment) -> Claim<'a> {
    let mut claim = Claim {
        follow,
        named: Named::Unclear,
        pods: Vec::new(),
        holder: None,
    };
    match follow {
        Follow::Label { key, value } => claim.read_label(snapshot, key, value),
        Follow::Lease { .. } => claim.read_lease(snapshot, now),
        Follow::Unclear => {}
    }
    claim
}

impl<'a> Claim<'a> {
    /// The pod that is named.
    #[must_use]
    pub fn pod(&self) -> Option<&'a Arc<Pod>> {
        match self.named {
            Named::Pod(pod, _) => Some(pod),
            _ => None,
        }
    }

    /// Whether it speaks against the published pod: it names others, or none.
    #[must_use]
    pub fn contradicts(&self, published: &Uid) -> bool {
        match self.named {
            Named::Pod(pod, _) => pod.uid != *published,
            Named::Several | Named::Gone => !self.pods.iter().any(|pod| pod.uid == *published),
            Named::None | Named::Unknown => true,
            Named::Silent(Silence::Expired(_)) => mutations::is(Mutation::WithdrawnOnSilence),
            Named::Silent(Silence::Absent(_)) => mutations::is(Mutation::WithdrawnOnRefusal),
            Named::Silent(Silence::Unread) | Named::Unclear => false,
        }
    }

    /// For the metrics.
    #[must_use]
    pub fn state(&self) -> State {
        match self.named {
            Named::Pod(..) => State::Named,
            Named::Several => State::Ambiguous,
            Named::Gone | Named::None => State::None,
            Named::Unknown | Named::Unclear => State::Unknown,
            Named::Silent(_) => State::Silent,
        }
    }

    /// The pods that have the label. Of several, the one on which it was seen to be set last is named:
    /// whatever sets it there has not taken it from the former leader yet. A pod that appeared with the
    /// label says nothing about the order.
    fn read_label(&mut self, snapshot: &'a Snapshot, key: &str, value: &str) {
        let has_label = |pod: &&Arc<Pod>| pod.labels.get(key) == Some(value) && !pod.ended();
        self.pods = snapshot.pods.iter().filter(has_label).collect();
        let arrived = |pod: &Pod| LabelSet {
            at: pod.appeared,
            version: pod.version.clone(),
        };
        let set_at = |pod: &Pod| {
            let set = pod.relabelled.at(key).cloned();
            let counts = mutations::is(Mutation::ArrivalIsNewest);
            set.or_else(|| counts.then(|| arrived(pod)))
        };
        let newest = |pods: &[&'a Arc<Pod>]| {
            let set = pods.iter().filter_map(|pod| Some((set_at(pod)?, *pod)));
            let mut newest = None;
            let mut is_tied = false;
            for (at, pod) in set {
                let order = |best: &LabelSet| {
                    if mutations::is(Mutation::OldestLabel) {
                        best.order(&at)
                    } else {
                        at.order(best)
                    }
                };
                match newest.as_ref().map(|(best, _)| order(best)) {
                    None | Some(Ordering::Greater) => (newest, is_tied) = (Some((at, pod)), false),
                    Some(Ordering::Equal) => is_tied = true,
                    Some(Ordering::Less) => {}
                }
            }
            newest.filter(|_| !is_tied).map(|(_, pod)| pod)
        };
        self.named = match self.pods[..] {
            [] => Named::None,
            [pod] => Named::Pod(pod, None),
            ref several => newest(several).map_or(Named::Several, |pod| Named::Pod(pod, None)),
        };
    }

    fn read_lease(&mut self, snapshot: &'a Snapshot, now: Moment) {
        let fact = match &snapshot.lease {
            Lease::Present(fact) => fact,
            Lease::Unread => return self.named = Named::Silent(Silence::Unread),
            Lease::Absent(why) => return self.named = Named::Silent(Silence::Absent(*why)),
        };
        self.holder = fact.holder.as_deref().filter(|holder| !holder.is_empty());
        let Some(holder) = self.holder else {
            // It says that there is no leader, which does not grow old.
            return self.named = Named::None;
        };
        let Some((line, pods)) = identity::matching(holder, &snapshot.pods) else {
            self.named = match Self::expired(fact.duration, fact.changed, now) {
                Some(silence) => Named::Silent(silence),
                None => Named::Unknown,
            };
            return;
        };
        self.pods = pods;
        if let Some(silence) = Self::expired(fact.duration, fact.changed, now) {
            return self.named = Named::Silent(silence);
        }
        let is_there =
            |pod: &&&Arc<Pod>| pod.appeared <= fact.changed || mutations::is(Mutation::ClaimByName);
        let mut there = self.pods.iter().filter(is_there);
        self.named = match (there.next(), there.next()) {
            (None, _) => Named::Gone,
            (Some(pod), None) => Named::Pod(pod, Some(line)),
            (Some(_), Some(_)) => Named::Several,
        };
    }

    /// Whether the Lease was not seen to change for as long as it is held, by our own clock alone: the
    /// holder's clock is read nowhere.
    fn expired(held: Option<Duration>, changed: Moment, now: Moment) -> Option<Silence> {
        let held = held?;
        (changed + held <= now).then_some(Silence::Expired(held))
    }
}
