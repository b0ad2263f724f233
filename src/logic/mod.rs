//! Decisions only: no async, no client, no clock, no logging, no metrics.

pub mod backoff;
pub mod model;
pub mod reflect;
pub mod time;
