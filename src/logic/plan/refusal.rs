//! What the API server refuses of the objects of one source. A leader Service whose patch is refused
//! as a whole is written part by part, so that what is refused holds up nothing else.

use std::time::Duration;

use super::patch::{fingerprint, unescape};
use super::{Action, Kind, Op, Target, Write};
use crate::logic::time::Moment;
use crate::logic::well_known::{
    AVOIDED_NODES, COOLING_DOWN, CURRENT_LEADER, HANDLED_SWITCHOVER, LAST_LEADER_POD_UID,
    LAST_SWITCH_TIME, LEADER_POD_NAME, LEADER_POD_UID, MIRRORED, PREFIX,
};
use crate::mutations::{self, Mutation};

/// First delay of a part that was refused; it doubles.
const DELAY_MIN: Duration = Duration::from_secs(1);
/// Longest delay.
const DELAY_MAX: Duration = Duration::from_secs(30);

/// A part of a leader Service that is written by itself where the whole is refused; in the order in
/// which parts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Selector,
    Ports,
    Identity,
    Labels,
    Type,
    Families,
    NotReady,
    Annotations,
    Owner,
}

const ALL: [Part; 9] = [
    Part::Selector,
    Part::Ports,
    Part::Identity,
    Part::Labels,
    Part::Type,
    Part::Families,
    Part::NotReady,
    Part::Annotations,
    Part::Owner,
];

/// The annotations that say who leads.
pub(super) const IDENTITY: [&str; 6] = [
    CURRENT_LEADER,
    LEADER_POD_NAME,
    LEADER_POD_UID,
    LAST_SWITCH_TIME,
    LAST_LEADER_POD_UID,
    HANDLED_SWITCHOVER,
];

/// What a leader Service remembers of pods and nodes, along with the leader.
const RECORD: [&str; 2] = [COOLING_DOWN, AVOIDED_NODES];

/// A set of parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts(u16);

impl Parts {
    pub(super) const ALL: Self = Self(u16::MAX);

    pub(super) fn has(self, part: Part) -> bool {
        self.0 & Self::from(part).0 != 0
    }

    /// The parts that these operations change. What a leader Service remembers goes with whatever else
    /// there is.
    pub(super) fn of(ops: &[Op]) -> Self {
        let parts = ops.iter().map(of_op).fold(Self::default(), Self::and);
        if parts != Self::default() || ops.is_empty() {
            return parts;
        }
        let is_record = |op: &Op| {
            RECORD
                .iter()
                .any(|key| op.path().ends_with(&key[PREFIX.len()..]))
        };
        if ops.iter().any(is_record) {
            Part::Identity.into()
        } else {
            Part::Annotations.into()
        }
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn is_one(self) -> bool {
        self.0.is_power_of_two()
    }

    fn first(self) -> Self {
        let first = ALL.into_iter().find(|part| self.has(*part));
        first.map_or(self, Self::from)
    }

    fn each(self) -> impl Iterator<Item = Self> {
        let parts = ALL.into_iter().map(Self::from);
        parts.filter(move |part| self.overlaps(*part))
    }
}

impl From<Part> for Parts {
    fn from(part: Part) -> Self {
        Self(1 << part as u8)
    }
}

fn of_op(op: &Op) -> Parts {
    let members = op.members().into_iter();
    members
        .map(|(path, _)| of_path(&path))
        .fold(Parts::default(), Parts::and)
}

fn of_path(path: &str) -> Parts {
    if let Some(token) = path.strip_prefix("/metadata/annotations/") {
        return of_key(&unescape(token));
    }
    let part = match path {
        "/spec/selector" => Part::Selector,
        "/spec/ports" => Part::Ports,
        "/spec/ipFamilyPolicy" | "/spec/ipFamilies" | "/spec/clusterIPs" => Part::Families,
        "/spec/publishNotReadyAddresses" => Part::NotReady,
        "/metadata/ownerReferences" => Part::Owner,
        "/metadata/annotations" => Part::Annotations,
        _ if path.starts_with("/metadata/labels") => Part::Labels,
        _ => Part::Type,
    };
    part.into()
}

fn of_key(key: &str) -> Parts {
    match key {
        MIRRORED => Parts::default(),
        _ if RECORD.contains(&key) => Parts::default(),
        _ if IDENTITY.contains(&key) => Part::Identity.into(),
        _ => Part::Annotations.into(),
    }
}

/// The writes of one source that had no effect. Empty for nearly every source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    known: Vec<Refusal>,
}

/// Why a write had no effect.
#[derive(Clone, Copy, Debug)]
pub enum WriteFailure<'a> {
    /// The server refuses it, in these words. Planning goes by that.
    Refused(&'a str),
    /// The server has had an error of its own several times, in these words.
    ServerError(&'a str),
    /// There was no answer within this time.
    Unanswered(Duration),
}

/// The kind of a [`WriteFailure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RefusalKind {
    Refused,
    ServerError,
    Unanswered,
}

impl<'a> WriteFailure<'a> {
    const fn split(self) -> (RefusalKind, &'a str) {
        match self {
            Self::Refused(why) => (RefusalKind::Refused, why),
            Self::ServerError(why) => (RefusalKind::ServerError, why),
            Self::Unanswered(_) => (RefusalKind::Unanswered, ""),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    kind: RefusalKind,
    target: Target,
    /// Of the patch of a leader Service its parts; none of any other write.
    parts: Parts,
    /// What was to be written, should it be something else the next time.
    content: u64,
    /// The server's words; none while there is no answer.
    why: Box<str>,
    delay: Duration,
    not_before: Moment,
}

/// What is written of a leader Service now.
pub(super) struct Choice {
    pub(super) parts: Parts,
    /// When a part that waits is due.
    pub(super) until: Option<Moment>,
}

impl Refusals {
    /// Notes that a write had no effect. Returns whether to report it: once for the same words about the
    /// same object. Of several parts together it is not known yet which one is refused.
    pub fn note(&mut self, write: &Write, failure: WriteFailure<'_>, now: Moment) -> bool {
        let (kind, why) = failure.split();
        let parts = match kind {
            RefusalKind::Refused => parts_of(write),
            RefusalKind::ServerError | RefusalKind::Unanswered => Parts::default(),
        };
        let is_whole = parts != Parts::default() && !parts.is_one();
        let same = |known: &&mut Refusal| {
            known.kind == kind && known.target == write.target && known.parts == parts
        };
        let of_target = self.known.iter().filter(|it| it.target == write.target);
        let mut of_kind = of_target.filter(|known| known.kind == kind && !known.is_whole());
        let is_told = of_kind.any(|known| *known.why == *why);
        if parts.is_one() {
            // Now it is known.
            self.known.retain(|known| {
                !(known.target == write.target && known.is_whole() && known.parts.overlaps(parts))
            });
        }
        let content = match &write.action {
            Action::Patch { ops, .. } => content_of(ops),
            Action::Create(_) | Action::Delete { .. } => 0,
        };
        if let Some(known) = self.known.iter_mut().find(same) {
            known.delay = if known.content == content {
                (known.delay * 2).min(DELAY_MAX)
            } else {
                DELAY_MIN
            };
            known.content = content;
            known.why = why.into();
            known.not_before = now + known.delay;
        } else {
            self.known.push(Refusal {
                kind,
                target: write.target.clone(),
                parts,
                content,
                why: why.into(),
                delay: DELAY_MIN,
                not_before: now + DELAY_MIN,
            });
        }
        !is_whole && !is_told
    }

    /// Notes that a write was accepted.
    pub fn accept(&mut self, write: &Write) {
        if self.known.is_empty() {
            return;
        }
        let parts = parts_of(write);
        self.known.retain_mut(|known| {
            if known.target != write.target {
                return true;
            }
            let is_whole = known.is_whole();
            known.parts = known.parts.without(parts);
            // Of several parts, one that is left may be the refused one, or it may not.
            known.parts != Parts::default() && !(is_whole && known.parts.is_one())
        });
    }

    /// Forgets the refusals of what is wanted no more.
    pub fn keep(&mut self, wanted: &[Target]) {
        self.known.retain(|known| wanted.contains(&known.target));
    }

    /// Whether every write had an effect: the usual case.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether the server refuses anything.
    pub(super) fn are_refused(&self) -> bool {
        self.known.iter().any(Refusal::is_refused)
    }

    /// Forgets everything: another replica writes.
    pub fn clear(&mut self) {
        self.known.clear();
    }

    /// Whether the server refuses what is to be written to that object.
    pub(super) fn has(&self, target: &Target) -> bool {
        let mut of_target = self.known.iter().filter(|known| known.target == *target);
        of_target.any(Refusal::is_refused)
    }

    /// Which of the pending parts of a leader Service are written now: those that are not known to be
    /// refused, together, or one by one if they were refused together; else the one that is due.
    pub(super) fn choose(
        &self,
        target: &Target,
        pending: Parts,
        now: Moment,
        content: impl Fn(Parts) -> u64,
    ) -> Choice {
        let of_target = || self.known.iter().filter(|known| known.target == *target);
        let refused: Vec<&Refusal> = of_target()
            .filter(|known| known.parts.is_one() && pending.overlaps(known.parts))
            .filter(|known| known.content == content(known.parts))
            .collect();
        let is_refused = |part: &Parts| refused.iter().any(|known| known.parts == *part);
        let fresh = pending
            .each()
            .filter(|part| !is_refused(part))
            .fold(Parts::default(), Parts::and);
        if fresh != Parts::default() {
            let is_apart = of_target().any(|known| known.is_whole() && known.parts.overlaps(fresh))
                && !mutations::is(Mutation::RefusedTogether);
            let parts = if is_apart { fresh.first() } else { fresh };
            return Choice { parts, until: None };
        }
        let next = refused.iter().min_by_key(|known| known.not_before);
        let due = next.filter(|known| known.not_before <= now);
        Choice {
            parts: due.map_or(Parts::default(), |known| known.parts),
            until: next.filter(|_| due.is_none()).map(|known| known.not_before),
        }
    }
}

impl Refusal {
    fn is_refused(&self) -> bool {
        self.kind == RefusalKind::Refused
    }

    /// Whether several parts were refused together.
    fn is_whole(&self) -> bool {
        self.parts != Parts::default() && !self.parts.is_one()
    }
}

/// A leader Service that is to be written later: all of it was refused a moment ago, or its slices come
/// first.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// The leader Service.
    pub target: Target,
    /// When to plan again, if nothing happens before.
    pub until: Option<Moment>,
}

fn parts_of(write: &Write) -> Parts {
    match &write.action {
        Action::Patch { ops, .. } if write.target.kind == Kind::Service => Parts::of(ops),
        Action::Create(_) | Action::Patch { .. } | Action::Delete { .. } => Parts::default(),
    }
}

/// What operations change, apart from the memory that goes with them.
pub(super) fn content_of(ops: &[Op]) -> u64 {
    ops.iter()
        .flat_map(Op::members)
        .filter(|(path, _)| of_path(path) != Parts::default())
        .map(|member| fingerprint(&member))
        .fold(0, |all: u64, one| all.rotate_left(5) ^ one)
}

#[cfg(test)]
mod tests;
