//! What a user can rely on, row by row of the contract.

mod drift;
mod dual;
mod failover;
mod hygiene;
mod kinds;
mod last_resort;
mod manifests;
mod mirror;
mod names;
mod opt_in;
mod outage;
mod ports;
mod process;
mod refused;
mod restart;
mod scale;
mod settings;

use crate::harness::runner::Scenario;

/// Every scenario.
pub fn all() -> Vec<Scenario> {
    [
        opt_in::ALL,
        names::ALL,
        kinds::ALL,
        settings::ALL,
        failover::ALL,
        last_resort::ALL,
        ports::ALL,
        dual::ALL,
        mirror::ALL,
        drift::ALL,
        refused::ALL,
        process::ALL,
        restart::ALL,
        outage::ALL,
        scale::ALL,
        hygiene::ALL,
        manifests::ALL,
    ]
    .concat()
}
