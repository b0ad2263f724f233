//! What a user can rely on, row by row of the contract.

mod admission;
mod cli;
mod documented;
mod drain;
mod drift;
mod dual;
mod electors;
mod encodings;
mod failover;
mod follow;
mod follow_lease;
mod followers;
mod guard;
mod hygiene;
mod kinds;
mod last_resort;
mod lease;
mod manifests;
mod migration;
mod mirror;
mod names;
mod opt_in;
mod outage;
mod parts;
mod pause;
mod ports;
mod process;
mod refused;
mod restart;
mod restore;
mod scale;
mod settings;
mod strategies;
mod switchover;
mod tracked;
pub mod upgrade;

use crate::harness::runner::Scenario;

/// Every scenario.
pub fn all() -> Vec<Scenario> {
    [
        opt_in::ALL,
        cli::ALL,
        names::ALL,
        kinds::ALL,
        settings::ALL,
        strategies::ALL,
        switchover::ALL,
        pause::ALL,
        guard::ALL,
        drain::ALL,
        failover::ALL,
        encodings::ALL,
        followers::ALL,
        documented::ALL,
        tracked::ALL,
        follow::ALL,
        follow_lease::ALL,
        electors::ALL,
        last_resort::ALL,
        parts::ALL,
        ports::ALL,
        dual::ALL,
        mirror::ALL,
        migration::ALL,
        drift::ALL,
        refused::ALL,
        admission::ALL,
        process::ALL,
        lease::ALL,
        restart::ALL,
        restore::ALL,
        outage::ALL,
        scale::ALL,
        hygiene::ALL,
        manifests::ALL,
    ]
    .concat()
}
