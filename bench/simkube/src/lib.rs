//! A small in-process Kubernetes API server for tests and simulation of controllers.
//!
//! It is faithful for what a controller of Services uses and refuses everything else: namespaces,
//! nodes, pods, Services, Endpoints, `ConfigMaps` and `ServiceAccounts` of core/v1, Events of both APIs,
//! `EndpointSlices`, Leases, and Roles with their bindings; with get, list (pages, selectors, old
//! versions, tables), watch (bookmarks, streaming lists, 410), create, update, patch and delete. The
//! same requests are sent to it and to a real kube-apiserver by `tests/it/conformance.rs`, and the
//! answers must be the same, down to the words of a refusal.
//!
//! # As a library
//!
//! ```toml
//! [dev-dependencies]
//! simkube = { path = "…/bench/simkube" } # or by git
//! tokio = { version = "1", features = ["macros", "rt", "test-util"] }
//! ```
//!
//! The program under test gets a `kube_client::Client`; nothing in it has to know. With tokio's
//! paused clock an hour passes at once, and every run is the same:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use simkube::{Faults, Kind, Options, RequestInfo, SimKube, Verb, Verdict};
//!
//! // 1. A cluster: fixtures are plain calls under the rules of the server.
//! let sim = SimKube::new(Options { seed: 7, ..Options::default() });
//! sim.service("default", "db").selector(&[("app", "db")]).port("sql", 5432, "sql").create();
//! sim.pod("default", "db-0").labels(&[("app", "db")]).ip("10.0.0.1").port("sql", 5432).create();
//!
//! // 2. What the program under test gets: a client without sockets.
//! let client = sim.client();
//! let request = http::Request::get("/api/v1/pods?labelSelector=app%3Ddb").body(Vec::new())?;
//! let text = client.request_text(request).await?;
//! assert!(text.contains("\"10.0.0.1\""));
//!
//! // 3. Trouble: the second request from here on is answered with 503, a minute late.
//! struct Late;
//! impl Faults for Late {
//!     fn on_request(&self, info: &RequestInfo) -> Verdict {
//!         let answer = Verdict::Answer { code: 503, retry_after: Some(1), applied: false };
//!         match info.number {
//!             2 => Verdict::Late { by: Duration::from_secs(60), then: Box::new(answer) },
//!             _ => Verdict::Pass,
//!         }
//!     }
//! }
//! sim.set_faults(Arc::new(Late));
//! for succeeds in [true, false, true] {
//!     let request = http::Request::get("/api/v1/services").body(Vec::new())?;
//!     assert_eq!(client.request_text(request).await.is_ok(), succeeds);
//! }
//!
//! // 4. What happened, without requests of the test's own.
//! sim.set_ready("default", "db-0", false);
//! assert!(sim.requests().iter().all(|request| request.verb == Verb::List));
//! assert!(sim.get(Kind::Pod, "default", "db-0").is_some());
//! # Ok(())
//! # }
//! ```
//!
//! # As a program
//!
//! `cargo run -p simkube -- up` starts a server on a loopback port and prints a kubeconfig; see
//! [`program`] and `simkube --help`. It takes the commands of `scripts/control-plane`, so that an
//! end-to-end suite can run against either; this project's does, with `E2E_SERVER=simkube`. kubectl
//! works on it with `get` (`-o wide|json|yaml`, `-w`), `create -f`, `annotate`, `label`, `delete` and
//! `auth can-i`; what is not served is a 405 that says so.
//!
//! # Ways in
//!
//! - [`SimKube::client`] and [`SimKube::client_named`]: a `kube_client::Client` over a tower Service.
//! - [`SimKube::tower`]: that Service, for layers of one's own; [`SimKube::handle`] is what it calls.
//! - [`SimKube::serve`] with an [`Authority`]: TLS on a loopback port, HTTP/2 and HTTP/1.1.
//! - The fixtures: [`SimKube::pod`], [`SimKube::create`], [`SimKube::edit`] and the rest: plain calls
//!   under the same rules, which appear in no log and pass no fault plan.
//!
//! # Faults
//!
//! A [`Faults`] plan is asked once for each request and once for each frame of a watch; [`Verdict`]
//! and [`FrameVerdict`] say what it can answer. An [`Observer`] sees every change, an [`Auditor`]
//! every answer. Beside them, [`SimKube::compact_to_now`], [`SimKube::close_watches`],
//! [`SimKube::set_deny`] and [`SimKube::set_admission`] upset a client.
//!
//! # Who may do what
//!
//! Every user may do everything that no [`Rule`] denies, unless [`Options::rbac`] is set: then requests
//! need a token ([`SimKube::token`]), and the Roles and bindings that are stored decide.
//!
//! # Determinism
//!
//! One seed decides UIDs and generated names. Time is `tokio::time::Instant`, so that a paused clock
//! owns it; wall time is derived from it or injected. Nothing is spawned: a watch is a body that
//! looks at the log of changes when it is polled, and every change wakes the waiting
//! watches in the order in which they were opened. All state is behind one lock that is never
//! held across an await. Only [`SimKube::serve`] and [`program`] spawn, and use real time.
//!
//! # Where things are
//!
//! ```text
//!  server ─► call ─► access (who, RBAC) ─► write/{create,update,patch,delete} ─► rules/* (pure)
//!    │         │                              │ write/{prepare,pools,managed,gc}
//!    │         ├─► read, table                ▼
//!  fault       └─► watch ◄──────────────── store (objects, log, resourceVersion)
//!  audit
//! ```
//!
//! # What is simpler than the real one
//!
//! `managedFields` know maps but not list elements, and there is no apply; a strategic merge patch is
//! a merge patch; cluster addresses and node ports are given out in order instead of at random; there
//! are no controllers but the garbage collector and the namespace controller ([`SimKube::gc`]), which
//! run when they are called; admission is a function ([`Admission`]) and no policy; unknown fields are
//! dropped without a warning header; what the JSON decoder complains of is said in other words. Pods, Services,
//! slices, nodes and Leases are read as protobuf too, as far as [`protobuf`] names their fields, and written
//! as JSON only. Deleting a collection and subresources other than `status` are refused.

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
pub mod protobuf;
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
pub use fixture::Backup;
pub use loopback::Authority;
pub use options::{Admission, Expiry, Options, Protobuf, Refusal, Rule, WallClock};
pub use record::Record;
pub use server::{SimKube, SimService};
pub use write::gc::Controllers;
