//! Properties that hold in any world, after any events, whatever becomes of the writes.

mod chaos;
mod event;
mod follow;
mod laws;

use proptest::test_runner::Config;

/// `cases` unless `PROPTEST_CASES` says otherwise. Seeds are printed, not written into the tree.
pub(crate) fn config(cases: u32) -> Config {
    let default = Config::default();
    let is_asked = std::env::var_os("PROPTEST_CASES").is_some();
    Config {
        cases: if is_asked { default.cases } else { cases },
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..default
    }
}
