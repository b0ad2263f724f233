//! What happens to an application that elects its own leader. `run::electors` carries it out, since an
//! elector remembers what it did.

use crate::chance::Chance;

/// Applications that elect: a pod is of the one that its label `app` names.
pub(crate) const APPS: [&str; 3] = ["a", "b", "c"];

/// How an application says who leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// By a Lease, as client-go does it. `releases`: a leader that terminates gives it up.
    Renews {
        /// It empties the holder when its pod terminates.
        releases: bool,
    },
    /// By a Lease whose times are those of a clock that is wrong.
    Skewed,
    /// By a Lease that is written when it changes hands, and never renewed.
    Once,
    /// By a label that is set before it is removed from the former leader.
    SetsFirst,
    /// By a label that is removed before it is set.
    RemovesFirst,
    /// By a label that is never removed.
    Forgets,
}

/// All there are.
pub(crate) const HABITS: [Habit; 7] = [
    Habit::Renews { releases: false },
    Habit::Renews { releases: true },
    Habit::Skewed,
    Habit::Once,
    Habit::SetsFirst,
    Habit::RemovesFirst,
    Habit::Forgets,
];

impl Habit {
    /// Whether it is a Lease.
    pub(crate) fn has_lease(self) -> bool {
        matches!(self, Self::Renews { .. } | Self::Skewed | Self::Once)
    }

    /// The value of the annotation by which a source follows that application.
    pub(crate) fn followed_by(self, app: &str) -> &'static str {
        match app {
            _ if !self.has_lease() => "label/role=primary",
            "a" => "lease/lock-a",
            "b" => "lease/shop/lock-b",
            _ => "lease/lock-c",
        }
    }
}

/// What a holder writes into its Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The pod's name.
    Name,
    /// The pod's uid.
    Uid,
    /// The pod's name, and something random.
    Host,
    /// The pod's address.
    Ip,
    /// The pod's name and address.
    NameIp,
    /// The pod's name in DNS.
    Domain,
}

/// All there are; most electors write a name.
pub(crate) const IDENTITIES: [Identity; 8] = [
    Identity::Name,
    Identity::Name,
    Identity::Host,
    Identity::Host,
    Identity::Uid,
    Identity::Ip,
    Identity::NameIp,
    Identity::Domain,
];

/// An application that elects its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elector {
    /// The value of its pods' label.
    pub app: &'static str,
    /// How it says who leads.
    pub habit: Habit,
    /// What a holder writes.
    pub identity: Identity,
    /// How long a Lease lasts, in seconds; `None`: it has no duration.
    pub held_s: Option<u8>,
}

impl Elector {
    /// One of them.
    pub(crate) fn any(chance: &mut Chance, app: &'static str) -> Self {
        Self {
            app,
            habit: chance.pick(&HABITS),
            identity: chance.pick(&IDENTITIES),
            held_s: chance.pick(&[Some(5), Some(10), Some(15), Some(15), None]),
        }
    }
}

/// What happens to such an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectorAct {
    /// Another pod leads from now on.
    Move,
    /// The leader gives up.
    Release,
    /// It names what is no pod of the Service.
    Stranger,
    /// The Lease is deleted.
    Drop,
    /// The leader's pod is gone, and back under its name at once.
    Return,
    /// A pod comes that has the label from its beginning.
    Arrive,
}

impl ElectorAct {
    /// One of them.
    pub(crate) fn any(chance: &mut Chance) -> Self {
        match chance.below(20) {
            0..=8 => Self::Move,
            9..=10 => Self::Release,
            11..=12 => Self::Stranger,
            13..=14 => Self::Drop,
            15..=17 => Self::Return,
            _ => Self::Arrive,
        }
    }
}
