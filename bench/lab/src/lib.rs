//! What the programs of the lab share. The programs themselves: `examples/demo.rs`,
//! `src/bin/soak.rs` and `src/bin/bench-real/`.

pub mod demo;
