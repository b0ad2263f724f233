//! Network-level single-active routing for Kubernetes.
