//! The checks of `bench/fuzz` with bytes drawn by proptest, and with its corpus as it stands and
//! as it looks after a few bytes have changed. `just fuzz TARGET` goes further, guided by coverage.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

#[expect(unreachable_pub, reason = "a crate of its own, included by path")]
#[path = "../bench/fuzz/src/lib.rs"]
mod checks;

use checks::{CHECKS, Check};

/// Cases for each check; `PROPTEST_CASES` asks for more.
const CASES: u32 = 512;
/// Cases for each file of the corpus.
const MUTATIONS: u32 = 32;

fn runner(cases: u32) -> TestRunner {
    let asked = Config::default().cases; // reads PROPTEST_CASES
    let factor = asked.div_ceil(256);
    TestRunner::new(Config {
        cases: cases * factor,
        failure_persistence: None,
        ..Config::default()
    })
}

fn check(name: &str) -> Check {
    let found = CHECKS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no check {name}")).1
}

/// The seeds of one check: a name for messages, and bytes.
fn seeds(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("bench/fuzz/corpus")
        .join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let paths = entries.map(|entry| entry.expect("a readable entry").path());
    let mut seeds: Vec<_> = paths
        .map(|path| {
            let bytes = fs::read(&path).expect("a readable seed");
            (path, bytes)
        })
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{} is empty", folder.display());
    seeds
}

/// Bytes of any kind, and texts of what such formats are made of.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let text = "[-+.0-9a-zµ:=/,{}\"\\[\\] \n]{0,40}|\\PC{0,24}";
    prop_oneof![
        3 => vec(any::<u8>(), 0..256),
        1 => text.prop_map(String::into_bytes),
    ]
}

/// A few changes: where, what is written there, and whether it replaces or moves what is there.
fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, Vec<u8>, bool)>> {
    let word = prop_oneof![
        vec(any::<u8>(), 0..4),
        prop::sample::select(vec![
            "null", "[]", "{}", "-1", "65536", "\"", "\n", "true", "1e999"
        ])
        .prop_map(|word| word.as_bytes().to_vec()),
    ];
    vec((any::<prop::sample::Index>(), word, any::<bool>()), 1..4)
}

fn changed(seed: &[u8], changes: &[(prop::sample::Index, Vec<u8>, bool)]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for (at, word, replaces) in changes {
        let at = at.index(bytes.len() + 1);
        let end = if *replaces {
            (at + word.len().max(1)).min(bytes.len())
        } else {
            at
        };
        bytes.splice(at..end, word.iter().copied());
    }
    bytes
}

fn holds(name: &str) {
    let check = check(name);
    for (path, seed) in seeds(name) {
        eprintln!("{}", path.display()); // shown when it fails
        check(&seed);
        let mutated = runner(MUTATIONS).run(&changes(), |changes| {
            check(&changed(&seed, &changes));
            Ok(())
        });
        mutated.unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    }
    let drawn = runner(CASES).run(&bytes(), |bytes| {
        check(&bytes);
        Ok(())
    });
    drawn.unwrap_or_else(|why| panic!("{why}"));
}

/// One test for each check, so that they run side by side; a check without one does not compile.
macro_rules! twins {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            holds(stringify!($name));
        })*

        #[test]
        fn every_check_has_a_twin_a_target_and_seeds() {
            let twins = [$(stringify!($name)),*];
            let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/fuzz/Cargo.toml");
            let manifest = fs::read_to_string(manifest).expect("a readable manifest");
            for (name, _) in CHECKS {
                assert!(twins.contains(&name), "{name} has no twin");
                assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
                seeds(name);
            }
            assert_eq!(twins.len(), CHECKS.len());
        }
    };
}

twins! { annotations config duration frames lease names page pod ports protobuf protobuf_frames service slice status }
