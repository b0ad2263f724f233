//! What a user can rely on, row by row of the contract.

mod opt_in;

use crate::harness::runner::Scenario;

/// Every scenario.
pub fn all() -> Vec<Scenario> {
    [opt_in::ALL].concat()
}
