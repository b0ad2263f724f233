//! simkube held against the rules of a real API server, through its HTTP side.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access;
mod conformance;
mod faults;
mod http;
mod kubectl;
mod lists;
mod loopback;
mod objects;
mod pods;
mod policy;
mod services;
mod slices;
mod watches;
