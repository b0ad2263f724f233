//! What should exist against what does: the smallest writes that are admissible now.
//!
//! A plan names at most one write per object, and only writes whose precondition has been
//! *observed*: a slice needs its leader Service's uid, the leader's identity needs slices that
//! show it, a Service is deleted once its slices are gone, a leftover goes once its successor
//! stands. So the order comes from the facts and never from a queue, and a crash between any two
//! writes leaves a state from which the same rules lead on. Planning what is already so gives
//! nothing.

mod leave;
mod order;
mod patch;
mod refusal;
mod service;
mod slice;
mod spec;

use std::fmt;
use std::sync::Arc;

pub use patch::{MANAGED_FIELDS, Op, fingerprint};
pub use refusal::{Refusals, Waiting, WriteFailure};

use super::desired::{Desired, Goal};
use super::model::{AddressType, Key, Meta, Service, Slice, Uid, Version};
use super::names::Verb;
use super::snapshot::{Role, Snapshot, fallback_name, slice_name};
use super::time::Moment;
use leave::{follow, leave, withdraw, withdraw_slice};

/// An object that is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name.
    pub key: Key,
}

/// The two kinds of objects that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A leader Service.
    Service,
    /// An `EndpointSlice` of one.
    Slice,
}

/// One request to the API server.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// The object.
    pub target: Target,
    /// What is done to it.
    pub action: Action,
    /// Whether traffic waits for it.
    pub lane: Lane,
}

/// What is done to an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make it.
    Create(Body),
    /// Change it, if it is still of the version that was looked at.
    Patch {
        /// The version that was looked at.
        version: Version,
        /// The changes.
        ops: Vec<Op>,
    },
    /// Remove it, if it is still the one, and of the version, that was looked at.
    Delete {
        /// The identity that was looked at.
        uid: Uid,
        /// The version that was looked at.
        version: Version,
    },
}

/// An object to be made, as the text that is sent. At a cold start thousands wait at a time, and as
/// a tree each would take some six times the room.
#[derive(Clone, PartialEq, Eq)]
pub struct Body(Arc<str>);

impl Body {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The object as a value, to look into it.
    #[must_use]
    pub fn to_value(&self) -> serde_json::Value {
        // It was written from one.
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl From<serde_json::Value> for Body {
    fn from(object: serde_json::Value) -> Self {
        Self(object.to_string().into())
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Write {
    /// Leaves out the operation that clears the managedFields.
    pub fn keep_managed_fields(&mut self) {
        if let Action::Patch { ops, .. } = &mut self.action {
            ops.retain(|op| op.path() != MANAGED_FIELDS);
        }
    }
}

impl Action {
    /// The verb of the request.
    #[must_use]
    pub fn verb(&self) -> Verb {
        match self {
            Self::Create(_) => Verb::Create,
            Self::Patch { .. } => Verb::Patch,
            Self::Delete { .. } => Verb::Delete,
        }
    }
}

/// Which queue a write stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Moves traffic: has slots of its own and knows no rate limit.
    Failover,
    /// Makes, mends or withdraws something.
    Ordinary,
    /// Only says who leads: comes after everything that has to be there first.
    Trailing,
}

/// Plans the writes that lead from what is in view to the goals for the leader and for the followers.
#[must_use]
pub fn plan(leader: &Goal, followers: &Goal, snapshot: &Snapshot) -> Vec<Write> {
    let aside = PlanExclusions {
        left: &[],
        refusals: &Refusals::default(),
        now: Moment::default(),
    };
    plan_beside(leader, followers, snapshot, aside).writes
}

/// What the rest need not wait for.
#[derive(Clone, Copy, Debug)]
pub struct PlanExclusions<'a> {
    /// Slices that are left as they are for a while.
    pub left: &'a [Target],
    /// Writes that the server refuses. They are retried with back-off.
    pub refusals: &'a Refusals,
    /// The present.
    pub now: Moment,
}

/// What is to be written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What may be written now.
    pub writes: Vec<Write>,
    /// Services of ours that are to be written, and not now.
    pub waiting: Vec<Waiting>,
}

impl From<Vec<Write>> for Plan {
    fn from(writes: Vec<Write>) -> Self {
        Self {
            writes,
            waiting: Vec::new(),
        }
    }
}

/// The same where not everything waits for everything.
#[must_use]
pub fn plan_beside(
    leader: &Goal,
    followers: &Goal,
    snapshot: &Snapshot,
    aside: PlanExclusions<'_>,
) -> Plan {
    let mut plan = plan_role(leader, Role::Leader, snapshot, aside);
    let rest = plan_role(followers, Role::Followers, snapshot, aside);
    // If two slices are about to take the same name, the leader's slice takes it.
    let is_taken = |write: &Write| plan.writes.iter().any(|one| one.target == write.target);
    let writes: Vec<_> = rest
        .writes
        .into_iter()
        .filter(|write| !is_taken(write))
        .collect();
    plan.writes.extend(writes);
    plan.waiting.extend(rest.waiting);
    plan
}

fn plan_role(goal: &Goal, role: Role, snapshot: &Snapshot, aside: PlanExclusions<'_>) -> Plan {
    match goal {
        Goal::Untouched => Plan::default(),
        Goal::Withdraw => {
            let own = snapshot.own(role);
            let services: Vec<_> = own.services().iter().collect();
            let slices: Vec<_> = own.slices().iter().collect();
            withdraw(&services, &slices).into()
        }
        Goal::Serve(desired) => serve(desired, snapshot, aside),
    }
}

fn serve(desired: &Desired, snapshot: &Snapshot, aside: PlanExclusions<'_>) -> Plan {
    let own = snapshot.own(desired.role());
    let (own_services, own_slices) = (own.services(), own.slices());
    let Some(service) = own_services
        .iter()
        .find(|service| service.metadata.name == desired.name)
    else {
        // The state machine reports a foreign Service of that name.
        let is_free = snapshot.service(&desired.name).is_none();
        let create = is_free.then(|| service::create(desired));
        let follow = own_slices
            .iter()
            .filter_map(|slice| follow(desired, slice, true));
        let writes: Vec<_> = create.into_iter().chain(follow).collect();
        return writes.into();
    };

    // 1. The slices of each family.
    let Slices {
        mut writes,
        kept,
        all_stand,
        is_shown,
        waits,
    } = slices(desired, snapshot, service, own_slices, aside);

    // 2. The leader Service, once no slice waits to be written: on a failover the slice goes alone.
    let is_deleting = service.metadata.deletion_timestamp.is_some();
    let is_hazard = !service.spec.selector.is_empty();
    let may_be_written = !waits || is_hazard;
    let mut waiting = Vec::new();
    if !is_deleting && (may_be_written || aside.refusals.are_refused()) {
        let (write, until) = service::diff(desired, service, is_shown, aside);
        if until.is_some() || (write.is_some() && !may_be_written) {
            let target = service::target(service);
            waiting.push(Waiting { target, until });
        }
        writes.extend(write.filter(|_| may_be_written));
    }

    // 3. Leftovers.
    let is_kept = |slice: &Slice| kept.iter().any(|meta| meta.name == slice.metadata.name);
    let is_other = |service: &&Arc<Service>| service.metadata.name != desired.name;
    let services: Vec<_> = own_services.iter().filter(is_other).collect();
    let slices: Vec<_> = own_slices.iter().filter(|slice| !is_kept(slice)).collect();
    let has_successor = all_stand && !is_deleting;
    writes.extend(leave(desired, has_successor, &services, &slices));
    Plan { writes, waiting }
}

/// The slices of the leader Service, one per family.
struct Slices<'a> {
    writes: Vec<Write>,
    kept: Vec<&'a Meta>,
    /// Whether all of them are as they should be.
    all_stand: bool,
    /// Whether they show the leader, so that the Service may name it.
    is_shown: bool,
    /// Whether the Service has to wait for one of them.
    waits: bool,
}

/// What is to be done about the slices. One of the second family that the server refuses holds up
/// nothing of the first, which is the one that the leader and its ports are announced by.
fn slices<'a>(
    desired: &Desired,
    snapshot: &'a Snapshot,
    service: &Service,
    own: &'a [Arc<Slice>],
    aside: PlanExclusions<'_>,
) -> Slices<'a> {
    let mut all = Slices {
        writes: Vec::new(),
        kept: Vec::new(),
        all_stand: true,
        is_shown: true,
        waits: false,
    };
    for (index, family) in desired.families.iter().enumerate() {
        let name = slice_name(&desired.name, (index > 0).then_some(*family));
        let (write, stands) = match find(snapshot, own, &desired.name, &name, (*family).into()) {
            Found::Ours(slice) => {
                all.kept.push(&slice.metadata);
                let is_deleting = slice.metadata.deletion_timestamp.is_some();
                let write = (!is_deleting)
                    .then(|| slice::diff(desired, *family, service, slice))
                    .flatten()
                    .filter(|write| !aside.left.contains(&write.target));
                let stands = write.is_none() && !is_deleting;
                (write, stands)
            }
            Found::OfAnotherFamily(slice) => {
                all.kept.push(&slice.metadata);
                (withdraw_slice(slice), false)
            }
            Found::Free(name) => {
                let write = slice::create(desired, *family, service, &name);
                (Some(write), false)
            }
            Found::Nowhere => (None, false),
        };
        let is_refused = |write: &Write| index > 0 && aside.refusals.has(&write.target);
        let is_passed_over = write.as_ref().is_some_and(is_refused);
        all.all_stand &= stands;
        all.is_shown &= stands || is_passed_over;
        all.waits |= write.is_some() && !is_passed_over;
        all.writes.extend(write);
    }
    all
}

/// Where the slice of one family is, or could be.
enum Found<'a> {
    Ours(&'a Slice),
    OfAnotherFamily(&'a Slice),
    Free(Arc<str>),
    Nowhere,
}

/// Looks under the contract name, then under the evasive one. Free is neither as long as another
/// source publishes under our Service's name.
fn find<'a>(
    snapshot: &Snapshot,
    own: &'a [Arc<Slice>],
    service: &str,
    name: &Arc<str>,
    family: AddressType,
) -> Found<'a> {
    let evasive = fallback_name(&snapshot.key, name);
    let under = |name: &str| own.iter().find(|slice| &*slice.metadata.name == name);
    let is_taken = |name: &str| {
        snapshot
            .slices
            .iter()
            .any(|slice| &*slice.metadata.name == name)
    };
    let is_held = snapshot.name_holder(service).is_some();
    for name in [name, &evasive] {
        match under(name) {
            Some(slice) if slice.address_type == family => return Found::Ours(slice),
            Some(slice) => return Found::OfAnotherFamily(slice),
            None => {}
        }
    }
    [name, &evasive]
        .into_iter()
        .find(|name| !is_held && !is_taken(name))
        .map_or(Found::Nowhere, |name| Found::Free(Arc::clone(name)))
}

#[cfg(test)]
mod tests;
