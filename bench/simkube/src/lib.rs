//! A small in-process Kubernetes API server for tests and simulation.

mod api;
mod discovery;
mod fault;
mod fixture;
mod options;
mod read;
mod record;
mod rules;
mod server;
mod state;
mod store;
mod watch;
mod write;

pub use api::kind::Kind;
pub use api::path::Verb;
pub use api::status::{ApiError, Cause, Details};
pub use fault::{ConnectionReset, Faults, FrameInfo, FrameVerdict, NoFaults, RequestInfo, Verdict};
pub use fixture::{PodBuilder, ServiceBuilder};
pub use options::{Admission, Expiry, Options, Refusal, Rule, WallClock};
pub use record::Record;
pub use server::{SimBody, SimKube, SimService};
