//! Bugs on purpose, to show that the simulation finds such bugs. Without `--cfg planted`, which
//! only `just planted` sets, none of them can be switched on and nothing of this is in the program.

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One of the bugs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutation {
            $($(#[$doc])* $name,)*
        }

        /// All there are.
        #[cfg(planted)]
        pub const BUGS: &[Mutation] = &[$(Mutation::$name,)*];
    };
}

bugs! {
    /// Patches and deletions are sent without the version that they were planned against.
    NoVersionGuard,
    /// The object in a write's answer is thrown away.
    AnswerIgnored,
    /// A leader Service is deleted while its slices still publish a leader.
    ServiceBeforeSlices,
    /// What a complete list lacks stays in the store.
    RelistWithoutDiff,
    /// A source is not looked at again when its deadline comes.
    TimerLost,
    /// The leader is not looked up by its identity once the selector does not match it.
    IncumbentNotPinned,
    /// An older version of an object replaces a newer one.
    StaleBelieved,
    /// A write that was refused is never tried again.
    RefusedForEver,
    /// A conflict is taken for a success.
    ConflictIgnored,
    /// A terminating pod can become leader.
    TerminatingElected,
    /// A pod can become leader the moment it is Ready.
    MinReadyIgnored,
    /// The new leader's endpoint is added to the old one's.
    EndpointAdded,
    /// Whatever has the leader Service's name is ours.
    StrangerAdopted,
    /// A write without an answer is taken for done.
    SilenceIsConsent,
    /// What an earlier name or family left behind stays.
    LeftoversForgotten,
    /// At start, only sources that are opted in are looked at.
    DrainForgotten,
    /// A leader that lost its address stays published.
    DeadAddress,
    /// A leader that is Ready and eligible is left for an older pod.
    NotSticky,
    /// The back-off after a failure is none.
    NoBackoff,
    /// A change of the leader passes through an empty slice.
    EmptyBetween,
    /// A pause does not keep the leader from moving.
    PauseIgnored,
    /// Failovers know no budget.
    GuardIgnored,
    /// The guard keeps a leader whose address is gone.
    GuardKeepsTheDead,
    /// A switchover that has been carried out is carried out again.
    SwitchoverRepeated,
    /// A replica that stands by writes as well.
    StandbyWrites,
    /// A holder whose renewals fail goes on until it hears of another one.
    HolderGoesOn,
    /// A renewal counts from its answer, not from when it was asked for.
    RenewedByAnswer,
    /// A standby waits from when it first saw the holder, whatever that one renews since.
    RenewalsIgnored,
    /// The copy on the leader Service names the leader, before the slices.
    CopyBelieved,
    /// Whichever node falls silent is down, however many there are.
    SilenceBelieved,
    /// Sources are not looked at again when the state of a node changes.
    NodeNewsLost,
    /// A node that was cordoned stays so.
    CordonForEver,
    /// What is known stays, although the server was restored to an older version.
    LostHistoryKept,
    /// Parts of a leader Service that were refused together are not sent apart.
    RefusedTogether,
    /// A patch of a slice leaves the managedFields.
    ManagedFieldsKept,
    /// The age of a followed Lease is read from the times in it, which are another machine's.
    RemoteClock,
    /// An identity names each pod whose name it begins with.
    PrefixWithoutSeparator,
    /// A Lease names each pod of the holder's name, also one that came after its last writing.
    ClaimByName,
    /// A leader is withdrawn when its Lease falls silent.
    WithdrawnOnSilence,
    /// A leader is withdrawn when its Lease cannot be read any more.
    WithdrawnOnRefusal,
    /// Of several pods with the label, the one that got it first leads.
    OldestLabel,
    /// A pod that comes with the label is the one that got it last.
    ArrivalIsNewest,
    /// The leader so far is kept for the delay, though another pod is named that could lead.
    MoveDelayed,
    /// A source that follows elects a leader.
    ElectionWhileFollowing,
    /// The leader stays among the followers.
    LeaderAmongFollowers,
    /// The followers Service is written before the leader's.
    FollowersFirst,
}

#[cfg(planted)]
mod choice {
    use std::cell::Cell;

    use super::Mutation;

    std::thread_local! {
        static PLANTED: Cell<Option<Mutation>> = const { Cell::new(None) };
    }

    /// From now on this thread's controllers have this bug.
    pub fn plant(bug: Option<Mutation>) {
        PLANTED.set(bug);
    }

    pub(crate) fn is(bug: Mutation) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(planted)]
pub(crate) use choice::is;
#[cfg(planted)]
pub use choice::plant;

/// Whether the controller has this bug: never.
#[cfg(not(planted))]
pub(crate) const fn is(_: Mutation) -> bool {
    false
}
