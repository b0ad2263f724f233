//! What an object must look like, kind by kind. Pure: no store, no clock.
//!
//! Texts follow `pkg/apis/*/validation` of Kubernetes v1.36.

pub(crate) mod addresses;
pub(crate) mod events;
pub(crate) mod families;
pub(crate) mod meta;
pub(crate) mod names;
pub(crate) mod nodes;
pub(crate) mod others;
pub(crate) mod rbac;
pub(crate) mod schema;
pub(crate) mod service;
pub(crate) mod service_rules;
pub(crate) mod slice;
pub(crate) mod times;
