//! The commands beside the controller: `zen-lead status` and its siblings, for people and scripts.
//! Also a kubectl plugin, under the name `kubectl-zen_lead`.
//!
//! ```text
//!  words ─► grammar ─► Call ─► sight (what the cluster holds) ─► store
//!                        │                                         │ view, step: the
//!                        ▼                                         ▼ controller's own
//!                 steer (annotations)            status, explain, doctor ◄── report
//! ```
//!
//! Nothing is judged here: a source is put into the controller's own [`crate::store::Store`], and a
//! fresh [`crate::logic::fsm::Machine`] takes one step on it, as the controller does after a
//! restart. Nothing is written but annotations of a source that a user names.

mod actions;
mod client;
mod cluster_view;
mod commands;
mod doctor;
mod environment;
mod events;
mod explain;
mod grammar;
mod help;
mod kubectl;
mod leases;
mod report;
mod run;
mod status;
mod table;

pub use client::Cluster;
pub use commands::{Argument, Command, OptionSpec};
pub use grammar::{Call, Typed, read};
pub use run::{answer, run};
