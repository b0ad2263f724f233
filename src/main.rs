//! The controller binary.
fn main() {}
