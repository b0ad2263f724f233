//! Network-level single-active routing for Kubernetes: a Service annotated with
//! `zen-lead.io/enabled=true` gets a selector-less `<service>-leader` beside it, whose
//! EndpointSlice points at exactly one Ready pod.
//!
//! # The one-way street
//!
//! ```text
//!        Services, EndpointSlices, Pods, Leases                 PATCH, POST, DELETE
//!  API ────────► shell::watch ───► store ───► shell::reconciler ───► shell::write ────► API
//!   ▲                 │              │               │                    │              │
//!   │           logic::reflect    which sources   snapshot → step         │ the answer   │
//!   │           (list + watch     does this       → plan, and the         │ is a fact    │
//!   │            protocol)        concern?        deadlines               │ like any     │
//!   │                                                │                    ▼ other        │
//!   │                      logic::{fsm, elect, follow, plan}    back into the store      │
//!   └────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A frame of a watch is parsed into a trimmed fact ([`logic::model`]) and put into the [`store`],
//! which answers which sources it concerns. For each of those sources [`shell::reconciler`] calls, on the
//! spot and synchronously: *snapshot* (what does this source see?), *step* (what should exist?) and *plan*
//! (which writes are admissible now?). The writes are in the writer's slots before the next frame
//! is read, without a queue, a timer or a change of task in between; one task per object then sends
//! what is in its slot. The answer to a write enters the store like a watch event, so nothing ever
//! waits for the watch to catch up.
//!
//! # Where to go from here
//!
//! 1. [`logic::model`]: what is known of an object. [`logic::well_known`]: every name that users see.
//! 2. [`logic::settings`], [`logic::snapshot`]: what a source asks for, and what it sees; what is ours.
//! 3. [`logic::elect`]: which pod leads; [`logic::follow`]: which pod the application says leads.
//!    [`logic::fsm`]: the state machine, with its diagram.
//! 4. [`logic::plan`]: desired against observed, as minimal JSON patches. [`logic::heal`]: fights.
//! 5. [`store`]: facts and indices. [`shell`]: the loops with effects. [`run`]: joins them.
//! 6. [`logic::claim`] and [`shell::lease`]: which replica writes.
//! 7. [`cli`]: the commands of the same binary. [`status_page`]: what the status page shows.
//!
//! # Invariants
//!
//! - Nothing in [`logic`] awaits, logs, counts, draws a random number or reads a clock; time is an
//!   argument, effects are values.
//! - Shell files never import each other, except for [`shell::reconciler`], which owns the effects of
//!   decisions and knows those through which they leave; [`run`] joins them. The only way back is the API
//!   server.
//! - Decisions are made under one lock, that of [`shell::reconciler`]; what is called under it never calls
//!   back. No lock on facts, machines or slots is held across an await. One lock is: that of `--qps`, an
//!   async one, in which ordinary writes line up for their turn. Every write is guarded by the version
//!   it was planned against.
//! - The leader is the pod that the slices record. Every step on every replica elects from it, and no
//!   decision is remembered: what no slice shows does not exist.
//! - Order between writes comes from observed facts, never from a queue: a crash between any two
//!   requests leaves a state from which the same rules lead on.

pub mod cli;
pub mod config;
pub mod jitter;
pub mod logic;
pub mod logs;
pub mod metrics;
pub mod mutations;
pub mod run;
pub mod shell;
pub mod status_page;
pub mod store;
