//! The storm guard: how many failovers for `notReady` there may be in a while. A flapping readiness
//! probe, or an API server that takes every node for dead, must not bounce a database around.
//! A restart begins with full buckets.

use super::rate_limit::RateLimit;
use super::time::Moment;

/// How many failovers for `notReady` there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Of one Service; `None` any number.
    pub per_service: Option<RateLimit>,
    /// Of all together; `None` any number.
    pub global: Option<RateLimit>,
}

/// Whose budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetScope {
    /// This Service's own.
    Service,
    /// That of all Services together.
    Global,
}

impl BudgetScope {
    /// The flag that sets it.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::Service => "--failover-budget-per-service",
            Self::Global => "--failover-budget-global",
        }
    }
}

/// A budget that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Until then.
    pub until: Moment,
    /// Whose it is.
    pub scope: BudgetScope,
}
