//! zen-lead without a cluster: the real controller against a simulated API server on a loopback
//! port, with an application of three simulated pods, and a view of what happens.
//!
//! ```text
//!  cluster ── TLS, HTTP/2 ── controller           each on a thread of its own
//!    │  └──── TLS, HTTP/2 ── client
//!    │ what was stored         │ what was seen
//!    └────────► News ◄─────────┘
//!                │
//!              model ──► story (what is done next) ──► cluster
//!                └─────► view, text
//! ```
//!
//! Latency is the time from the moment at which the API server had stored the change of a pod to
//! the arrival of the changed slice at the client, both by one clock.

mod client;
mod cluster;
mod controller;
mod kubelet;
mod model;
mod news;
mod stage;
mod story;
mod terminal;
mod text;
mod view;

use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;
use zen_lead::logic::time::Moment;
use zen_lead::shell::clock::Clock;

use news::{News, What};

pub use stage::{Course, Ending, Mode, run};

/// Namespace of the application.
const NAMESPACE: &str = "default";
/// Its Service, and the beginning of its pods' names.
const APP: &str = "my-app";
/// What zen-lead makes beside it.
const LEADER: &str = "my-app-leader";

/// Where the parts tell what happens. Unbounded: three pods do not flood the receiver.
type Outlet = mpsc::UnboundedSender<News>;

fn tell(outlet: &Outlet, at: Moment, what: What) {
    let at = Duration::from_micros(at.0.unsigned_abs());
    // The receiver is gone once the demo ends.
    let _ = outlet.send(News { at, what });
}

/// Runs a part on a thread of its own, and tells should it ever end.
fn on_thread(
    part: &'static str,
    outlet: &Outlet,
    clock: &Clock,
    task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) -> anyhow::Result<()> {
    let (outlet, clock) = (outlet.clone(), clock.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let run = move || {
        let why = match runtime.block_on(task) {
            Ok(()) => "it ended".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        tell(
            &outlet,
            clock.moment(),
            What::Broken(format!("the {part} stopped: {why}")),
        );
    };
    std::thread::Builder::new().name(part.into()).spawn(run)?;
    Ok(())
}
