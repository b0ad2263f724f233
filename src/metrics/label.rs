//! The values of labels that only metrics have; the others are in [`crate::logic::names`].

use crate::logic::names::Reason;

/// The values of the label `reason`.
pub(super) const REASONS: [&str; Reason::ALL.len()] = {
    let mut names = [""; Reason::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = Reason::ALL[at].as_str();
        at += 1;
    }
    names
};

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
        for (i, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, i);
        }
    }
}
