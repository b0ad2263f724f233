//! Deterministic simulation: the whole controller against [`simkube`], one thread, a paused clock,
//! and one seed that decides everything.
//!
//! [`Plan::of`] draws a schedule of events and faults from a seed, [`run()`] plays it and judges what
//! it sees, [`shrink()`] makes a failing schedule small. The same plan gives the same trace, bit for
//! bit: see [`Outcome::hash`].
//!
//! ```text
//!  chance ─► plan ─► run ──► event (users, kubelets, strangers) ─► simkube
//!                     │  └─► trouble (what breaks)  ◄───────────────┤
//!                     │                                             │ every change
//!                     ├─► replica (one life of the controller) ◄───►│
//!                     └─► oracle (after a minute of peace)    judge ◄┘
//! ```

mod batch;
mod chance;
mod claims;
mod event;
mod facts;
mod fault;
mod judge;
mod oracle;
mod plan;
mod replica;
mod run;
mod shrink;
mod trace;
mod trouble;

pub use batch::{Batch, Failure, batch, kinds};
pub use event::{Elector, ElectorAct, Event, Habit, Identity, PodAct, ServiceEdit, SliceEdit};
pub use fault::{Fault, FrameTrouble, Trouble, Whom};
pub use plan::{Plan, Step, What, World};
pub use run::{Outcome, run};
pub use shrink::shrink;
