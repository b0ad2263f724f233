//! A server as a process of its own, driven like a real control plane: the sub-commands are those of
//! the project's `scripts/control-plane`, so that whatever drives the one can drive the other.
//!
//! `up` starts a process that holds the objects; the other commands speak with it through a socket
//! in its directory. Killing the API server closes its port and every connection and keeps the
//! objects, as etcd would; pausing it stops the whole process.

mod arguments;
mod audit_log;
mod daemon;
mod instance;

use std::fmt;
use std::process::ExitCode;

use arguments::Arguments;
use instance::Instance;

/// What a command could not do, for people.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

const USAGE: &str = "usage: simkube COMMAND [--dir DIR] [OPTIONS]

  up                        start a server; print its kubeconfig
  status                    exit 0 if the API server listens, else 3
  env                       print shell exports
  down                      end it and remove its directory
  kill-apiserver            close the port and every connection; the objects stay
  start-apiserver           open the same port again
  restart-apiserver         both
  pause, resume             stop the process, and let it go on
  backup                    keep a copy of the objects, in the place of an earlier one
  restore                   go back to it with a new start of the API server
  compact                   forget the history; print the revision
  start-controller-manager  [--controllers garbage-collector-controller,namespace-controller]
  stop-controller-manager
  kubeconfig-for            --user NAME [--group NAME]… or --serviceaccount NAMESPACE/NAME: print the
                            kubeconfig of a user that has the rights that are bound to it

  up takes --port N, --feature-gates WatchList=false, --controller-manager, --controllers LIST,
  --admission-plugins OwnerReferencesPermissionEnforcement and --audit-log. Options of a real
  control plane that mean nothing here (--fast, --apiserver-arg, …) are accepted.
";

/// Performs a command; `own` are arguments with which this very program is to be started again so
/// that it ends up here.
#[must_use]
pub fn run(own: &[&str], arguments: impl Iterator<Item = String>) -> ExitCode {
    let arguments: Vec<String> = arguments.collect();
    match arguments.first().map(String::as_str) {
        None | Some("--help" | "-h" | "help") => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Some(_) => {}
    }
    match Arguments::read(arguments).and_then(|arguments| command(own, &arguments)) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("simkube: {why}");
            ExitCode::FAILURE
        }
    }
}

fn command(own: &[&str], arguments: &Arguments) -> Result<ExitCode, Failure> {
    match arguments.command.as_str() {
        "serve" => daemon::serve(arguments)?,
        "up" => println!("{}", Instance::up(own, arguments)?),
        name => return Instance::find(arguments)?.perform(name, arguments),
    }
    Ok(ExitCode::SUCCESS)
}
