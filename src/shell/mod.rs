//! Effects only: each file one loop. Siblings never import each other; `run.rs` joins them.

pub mod events;
pub mod serve;
