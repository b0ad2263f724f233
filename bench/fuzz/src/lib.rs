//! What must hold for every byte that comes from outside. Each check takes any bytes at all and
//! panics when zen-lead does, or when it disagrees with a judge that was written independently:
//! Kubernetes' own types, the API server's patterns, Go's algorithm, a model from the contract.
//!
//! Two things run the same checks: the fuzz targets beside this file, and `tests/fuzz.rs`, which
//! includes it by path and draws its bytes by proptest.

mod annotations;
mod build;
mod choices;
mod config;
mod duration;
mod frames;
mod judge;
mod lists;
mod names;
mod objects;
mod ports;
mod protobuf;

pub use annotations::annotations;
pub use config::config;
pub use duration::duration;
pub use frames::frames;
pub use lists::{page, status};
pub use names::names;
pub use objects::{lease, pod, service, slice};
pub use ports::ports;
pub use protobuf::{protobuf, protobuf_frames};

/// A check: panics when something does not hold.
pub type Check = fn(&[u8]);

/// All checks, by the names of their fuzz targets and of their folders in the corpus.
pub const CHECKS: [(&str, Check); 14] = [
    ("annotations", annotations),
    ("config", config),
    ("duration", duration),
    ("frames", frames),
    ("lease", lease),
    ("names", names),
    ("page", page),
    ("pod", pod),
    ("ports", ports),
    ("protobuf", protobuf),
    ("protobuf_frames", protobuf_frames),
    ("service", service),
    ("slice", slice),
    ("status", status),
];
