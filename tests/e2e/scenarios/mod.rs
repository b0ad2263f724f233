//! What a user can rely on, row by row of the contract.

mod kinds;
mod names;
mod opt_in;
mod settings;

use crate::harness::runner::Scenario;

/// Every scenario.
pub fn all() -> Vec<Scenario> {
    [opt_in::ALL, names::ALL, kinds::ALL, settings::ALL].concat()
}
