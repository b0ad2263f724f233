//! Tables of what a claim does next, and a model of several replicas with everything that can go
//! wrong between them.

mod model;
mod tables;
