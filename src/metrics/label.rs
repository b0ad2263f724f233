//! The values of labels that are known beforehand.

/// The failover reasons of the contract, in its order.
pub const REASONS: [&str; 9] = [
    "notReady",
    "terminating",
    "deleted",
    "disrupted",
    "noIP",
    "unlabelled",
    "switchover",
    "strategy",
    "noneReady",
];

/// A state of the machine, as the label `state` names it.
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

    /// The value of the label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unmanaged => "Unmanaged",
            Self::Electing => "Electing",
            Self::Serving => "Serving",
            Self::Draining => "Draining",
        }
    }
}

/// What was asked of the API server, as the label `operation` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
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

impl Operation {
    /// All operations.
    pub const ALL: [Self; 5] = [
        Self::Get,
        Self::List,
        Self::Create,
        Self::Patch,
        Self::Delete,
    ];

    /// The value of the label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Create => "create",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

/// How something ended, as the label `result` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As intended.
    Success,
    /// Otherwise.
    Error,
}

impl Outcome {
    /// Both outcomes.
    pub const ALL: [Self; 2] = [Self::Success, Self::Error];

    /// The value of the label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
        }
    }
}

/// The value of the label `attempt`, from the number of a failed attempt.
pub(super) const ATTEMPTS: [&str; 4] = ["1", "2", "3", "max"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enumerations_index_their_tables() {
        for (i, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, i);
        }
        for (i, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, i);
        }
        for (i, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, i);
        }
    }
}
