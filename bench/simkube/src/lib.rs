//! A small in-process Kubernetes API server for tests and simulation.

mod api;
mod body;
mod builders;
mod call;
mod discovery;
mod fault;
mod fixture;
mod frames;
mod loopback;
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
pub use body::SimBody;
pub use builders::{PodBuilder, ServiceBuilder};
pub use fault::{ConnectionReset, Faults, FrameInfo, FrameVerdict, NoFaults, RequestInfo, Verdict};
pub use loopback::Authority;
pub use options::{Admission, Expiry, Options, Refusal, Rule, WallClock};
pub use record::Record;
pub use server::{SimKube, SimService};
