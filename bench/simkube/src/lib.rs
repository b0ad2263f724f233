//! A small in-process Kubernetes API server for tests and simulation.
//!
//! It is faithful for what zen-lead uses and refuses everything else: namespaces, nodes, pods,
//! Services, Endpoints and Events of core/v1, `EndpointSlices` of discovery.k8s.io/v1 and Leases of
//! coordination.k8s.io/v1, with get, list (pages, selectors, old versions), watch (bookmarks,
//! streaming lists, 410), create, update, patch and delete. The same requests are sent to it and to
//! a real kube-apiserver by `tests/it/conformance.rs`, and the answers must be the same.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use simkube::{Kind, Options, SimKube};
//!
//! let sim = SimKube::new(Options { seed: 7, ..Options::default() });
//! sim.service("default", "db").selector(&[("app", "db")]).port("sql", 5432, "sql").create();
//! sim.pod("default", "db-0").labels(&[("app", "db")]).ip("10.0.0.1").port("sql", 5432).create();
//!
//! // What the program under test gets: a client without sockets.
//! let client = sim.client();
//! let request = http::Request::get("/api/v1/pods?labelSelector=app%3Ddb").body(Vec::new())?;
//! let text = client.request_text(request).await?;
//! assert!(text.contains("\"10.0.0.1\""));
//!
//! // What a test does and looks at, without requests of its own.
//! sim.set_ready("default", "db-0", false);
//! assert_eq!(sim.requests().len(), 1);
//! assert!(sim.get(Kind::Pod, "default", "db-0").is_some());
//! # Ok(())
//! # }
//! ```
//!
//! # Ways in
//!
//! - [`SimKube::client`] and [`SimKube::client_named`]: a `kube_client::Client` over a tower Service.
//! - [`SimKube::tower`]: that Service, for layers of one's own; [`SimKube::handle`] is what it calls.
//! - [`SimKube::serve`] with an [`Authority`]: TLS on a loopback port, HTTP/2 and HTTP/1.1, good
//!   enough for a released binary and for `kubectl get|create|annotate|label|delete`.
//! - The fixtures: [`SimKube::pod`], [`SimKube::create`], [`SimKube::edit`] and the rest: plain calls
//!   under the same rules, which appear in no log and pass no fault plan.
//!
//! # Faults
//!
//! A [`Faults`] plan is asked once for each request and once for each frame of a watch; [`Verdict`]
//! and [`FrameVerdict`] say what it can answer. An [`Observer`] sees every change. Beside them, [`SimKube::compact_to_now`],
//! [`SimKube::close_watches`], [`SimKube::set_deny`] and [`SimKube::set_admission`] upset a client.
//!
//! # Determinism
//!
//! One seed decides UIDs and generated names. Time is `tokio::time::Instant`, so that a paused clock
//! owns it; wall time is derived from it or injected. Nothing is spawned: a watch is a body that
//! looks at the log of changes when it is polled, and whoever changes something wakes the watches
//! that wait, in the order in which they were opened. All state is behind one lock that is never
//! held across an await. Only [`SimKube::serve`] spawns, and uses real time.
//!
//! # Where things are
//!
//! ```text
//!  server ─► call ─► write/{create,update,patch,delete} ─► rules/* (pure)
//!    │         │          │ write/{prepare,pools,managed,gc}
//!    │         ├─► read   ▼
//!  fault       └─► watch ◄── store (objects, log, resourceVersion)
//! ```
//!
//! # What is simpler than the real one
//!
//! `managedFields` know maps but not list elements, and there is no apply; a strategic merge patch is
//! a merge patch; cluster addresses and node ports are given out in order instead of at random; there
//! are no controllers but [`SimKube::gc`], which runs when it is called; unknown fields are dropped
//! without a warning header; tokens are not looked at; tables show fewer columns. Deleting a
//! collection, protobuf and subresources other than `status` are refused.

mod access;
mod api;
mod audit;
mod body;
mod builders;
mod call;
mod discovery;
mod fault;
mod fixture;
mod frames;
mod loopback;
mod options;
pub mod program;
mod read;
mod record;
mod rules;
mod server;
mod state;
mod store;
mod table;
mod watch;
mod write;

pub use access::User;
pub use api::kind::Kind;
pub use api::path::Verb;
pub use api::status::{ApiError, Cause, Details};
pub use audit::{Audited, Auditor, Stage};
pub use body::SimBody;
pub use builders::{PodBuilder, ServiceBuilder};
pub use fault::{
    Committed, ConnectionReset, Faults, FrameInfo, FrameVerdict, NoFaults, Observer, RequestInfo,
    Verdict,
};
pub use loopback::Authority;
pub use options::{Admission, Expiry, Options, Refusal, Rule, WallClock};
pub use record::Record;
pub use server::{SimKube, SimService};
pub use write::gc::Controllers;
