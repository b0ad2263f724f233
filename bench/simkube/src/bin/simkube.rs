//! The server as a program: `simkube up`, and `simkube --help` for the rest.

use std::process::ExitCode;

fn main() -> ExitCode {
    simkube::program::run(&[], std::env::args().skip(1))
}
