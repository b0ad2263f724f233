//! What the wire says: kinds, paths, queries, selectors, error bodies. No state.

pub(crate) mod accept;
mod injected;
pub(crate) mod kind;
pub(crate) mod path;
pub(crate) mod selector;
pub(crate) mod status;
pub(crate) mod violation;
