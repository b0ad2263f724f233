//! Decisions only: no async, no client, no clock, no logging, no metrics.

pub mod duration;
pub mod event;
pub mod model;
pub mod time;
