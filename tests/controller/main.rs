//! The whole controller in process against simkube: what is made, moved and taken down. Each test
//! names the row of `docs/CONTRACT.md` that it is about.

#[path = "../support/mod.rs"]
mod support;

mod drift;
mod failover;
mod followers;
mod idle;
mod lifecycle;
mod metrics;
mod names;
mod outages;
mod refusals;
mod restores;

const NAME: &str = "zen-lead.io/leader-service-name";
