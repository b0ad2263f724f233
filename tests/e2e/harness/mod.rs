//! What scenarios stand on: a control plane, the program under test as a child process, observers
//! that keep the whole history, and a runner that prints as cargo does.
//!
//! Needs of the server no more than a kubeconfig and the sub-commands of `scripts/control-plane`
//! (see [`control`]), so that another server can take its place.

pub mod api;
pub mod audit;
pub mod control;
pub mod controller;
pub mod electors;
pub mod encodings;
pub mod invariants;
pub mod manifests;
pub mod objects;
pub mod observe;
pub mod runner;
pub mod scrape;
pub mod suite;
pub mod test;
pub mod waits;
pub mod webhook;

use std::time::Duration;

/// Between two looks at something that cannot be watched.
pub const SHORT: Duration = Duration::from_millis(20);
/// Deadline for what should happen at once; generous, since machines are shared.
pub const SOON: Duration = Duration::from_secs(15);
