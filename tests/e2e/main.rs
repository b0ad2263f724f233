//! End to end: the binary against a real API server, by the contract alone.
//!
//! `cargo test --test e2e -- [FILTER…] [--exact] [--skip TEXT] [--list] [--jobs N]
//! [--feature-gates=WatchList=false] [--kubernetes 1.25] [--upgrade "1.25 1.28"]`
//!
//! With `--upgrade` runs [`scenarios::upgrade`] alone, from the first of these versions to the last.
//!
//! | variable | meaning |
//! |---|---|
//! | `E2E_BINARY` | run this instead of the binary that cargo built |
//! | `E2E_CONTROL` | program with the sub-commands of `scripts/control-plane` |
//! | `E2E_CONTROL_DIR` | use this running control plane, and leave it running |
//! | `E2E_ELECTORS` | set: a program of `scripts/electors` that is not built is a failure, not skipped |
//! | `E2E_FEATURE_GATES` | as `--feature-gates` |
//! | `E2E_KUBERNETES` | as `--kubernetes`: the minor version of the real control plane |
//! | `E2E_KEEP` | leave the control plane running, print how to reach it |
//! | `E2E_LOG` | `--log-level` of the program (info) |
//! | `E2E_WATCH_ENCODING` | `--watch-encoding` of the program (protobuf) |
//! | `E2E_SERVER` | `real` (default), or `simkube`, which this program starts by itself; it leaves out what only a real control plane can do |

#![allow(unreachable_pub, reason = "a program: nothing is reached from outside")]

mod harness;
mod scenarios;

use std::process::ExitCode;

use harness::control::AS_SIMKUBE;
use harness::runner::{self, Asked};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if_eq(AS_SIMKUBE).is_some() {
        return simkube::program::run(&[AS_SIMKUBE], arguments);
    }
    let asked = match read(arguments) {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("e2e: {why}");
            return ExitCode::from(2);
        }
    };
    // A provider that is installed already does no harm.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let scenarios = if asked.upgrade.is_empty() {
        scenarios::all()
    } else {
        scenarios::upgrade::ALL.to_vec()
    };
    let outcome = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(runner::run(&scenarios, &asked)));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("e2e: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn read(arguments: impl Iterator<Item = String>) -> Result<Asked, String> {
    let mut asked = Asked {
        gates: std::env::var("E2E_FEATURE_GATES").ok(),
        kubernetes: std::env::var("E2E_KUBERNETES").ok(),
        jobs: 6,
        ..Asked::default()
    };
    let mut arguments = arguments.flat_map(|argument| match argument.split_once('=') {
        Some((flag, value)) if flag.starts_with("--") => {
            vec![flag.to_owned(), value.to_owned()]
        }
        _ => vec![argument],
    });
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--list" => asked.list = true,
            "--exact" => asked.exact = true,
            "--skip" => asked.skip.push(value()?),
            "--feature-gates" => asked.gates = Some(value()?),
            "--kubernetes" => asked.kubernetes = Some(value()?),
            "--upgrade" => {
                asked.upgrade = value()?.split_whitespace().map(str::to_owned).collect();
                asked.kubernetes = asked.upgrade.first().cloned();
            }
            "--jobs" | "--test-threads" => {
                let given = value()?;
                let number = given.parse().ok().filter(|jobs| *jobs > 0);
                asked.jobs = number.ok_or(format!("--jobs {given}: expected a number from 1"))?;
            }
            // Flags of the usual test runner that tools pass by habit.
            "--nocapture" | "--no-capture" | "--include-ignored" | "--quiet" | "-q" => {}
            flag if flag.starts_with('-') => return Err(format!("unknown option {flag}")),
            filter => asked.filters.push(filter.to_owned()),
        }
    }
    Ok(asked)
}
