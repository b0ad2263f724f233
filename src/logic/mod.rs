//! Decisions only: no async, no client, no clock, no logging, no metrics.

pub mod addresses;
pub mod backoff;
pub mod budget;
pub mod claim;
pub mod desired;
pub mod duration;
pub mod elect;
pub mod event;
pub mod follow;
pub mod followers;
pub mod fsm;
pub mod handover;
pub mod heal;
pub mod lease_feeds;
pub mod mirror;
pub mod model;
pub mod names;
pub mod nodes;
pub mod plan;
pub mod protobuf;
pub mod rate_limit;
pub mod record;
pub mod reflect;
pub mod settings;
pub mod snapshot;
pub mod spread;
#[cfg(test)]
pub(crate) mod testkit;
#[cfg(test)]
mod tests;
pub mod time;
pub mod well_known;
