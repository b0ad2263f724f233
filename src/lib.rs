//! Network-level single-active routing for Kubernetes.

pub mod logic;
pub mod shell;
pub mod store;
