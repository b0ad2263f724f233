//! Network-level single-active routing for Kubernetes.

pub mod config;
pub mod jitter;
pub mod logic;
pub mod logs;
pub mod metrics;
pub mod run;
pub mod shell;
pub mod store;
