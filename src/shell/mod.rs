//! Everything with effects: each file one loop. Siblings never import each other, except for the
//! leaves `api`, `clock` and `transport`. `reconciler` owns the effects of decisions and may import those
//! that it acts through.

pub mod api;
pub mod clock;
pub mod departure;
pub mod events;
pub mod foreign_slices;
pub mod lease;
pub mod reconciler;
pub mod serve;
pub mod transport;
pub mod watch;
pub mod write;
