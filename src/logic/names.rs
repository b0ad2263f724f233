//! Names that more than one part spells: states, reasons and verbs, each once. An enumeration lists its
//! values in the order of their declaration, so that tables can be indexed by it.

/// Why a leader was left. The first that applies is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The pod is gone, re-created under its name, or has ended while it was being deleted.
    Deleted,
    /// It does not match the selector any more, or is a Job's, which never counts.
    Unlabelled,
    /// It is about to be evicted or preempted.
    Disrupted,
    /// It is being deleted.
    Terminating,
    /// It has no address that may be published.
    NoIp,
    /// It is not Ready, has ended, or resolves no port of the Service any more.
    NotReady,
    /// It is not Ready, and no pod follows.
    NoneReady,
    /// It was handed over on request.
    Switchover,
    /// The strategy prefers another pod, and `sticky` is off.
    Strategy,
    /// The application has named another pod, which can lead.
    Followed,
    /// The application does not name it any more, and names no pod that can lead.
    Unnamed,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 11] = [
        Self::Deleted,
        Self::Unlabelled,
        Self::Disrupted,
        Self::Terminating,
        Self::NoIp,
        Self::NotReady,
        Self::NoneReady,
        Self::Switchover,
        Self::Strategy,
        Self::Followed,
        Self::Unnamed,
    ];

    /// As metrics, events and logs spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Unlabelled => "unlabelled",
            Self::Disrupted => "disrupted",
            Self::Terminating => "terminating",
            Self::NoIp => "noIP",
            Self::NotReady => "notReady",
            Self::NoneReady => "noneReady",
            Self::Switchover => "switchover",
            Self::Strategy => "strategy",
            Self::Followed => "followed",
            Self::Unnamed => "unnamed",
        }
    }
}

/// A state of the machine of one source, without what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing of ours exists.
    Unmanaged,
    /// Opted in, without a leader.
    Electing,
    /// One leader is published.
    Serving,
    /// On the way out.
    Draining,
}

impl State {
    /// All states.
    pub const ALL: [Self; 4] = [
        Self::Unmanaged,
        Self::Electing,
        Self::Serving,
        Self::Draining,
    ];

    /// As metrics, logs and the API spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unmanaged => "Unmanaged",
            Self::Electing => "Electing",
            Self::Serving => "Serving",
            Self::Draining => "Draining",
        }
    }
}

/// What is requested of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Reading one object.
    Get,
    /// Reading a list.
    List,
    /// Making an object.
    Create,
    /// Changing an object.
    Patch,
    /// Deleting an object.
    Delete,
}

impl Verb {
    /// All verbs.
    pub const ALL: [Self; 5] = [
        Self::Get,
        Self::List,
        Self::Create,
        Self::Patch,
        Self::Delete,
    ];

    /// As metrics, logs and the API spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Create => "create",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enumerations_index_their_tables() {
        for (i, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, i);
        }
        for (i, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i);
        }
        for (i, verb) in Verb::ALL.into_iter().enumerate() {
            assert_eq!(verb as usize, i);
        }
    }
}
