//! Network-level single-active routing for Kubernetes.

pub mod config;
pub mod logic;
pub mod logs;
pub mod metrics;
pub mod shell;
