//! What the process was told: [`Flags`] is what was typed, [`Config`] what is true.
//!
//! Reads the environment and kubeconfigs through functions it is given, opens no file but the
//! kernel's host name, and starts nothing. Every rule of one flag or between two is checked here; what
//! reads a `Config` checks nothing again.

mod bind;
mod flags;
mod help;
mod resolve;
mod value;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use thiserror::Error;

use crate::logic::budget::Guard;
use crate::logic::nodes::NodeLeasePolicy;
use crate::logic::rate_limit::RateLimit;
use crate::logic::reflect::Encoding;
pub use bind::Bind;
pub(crate) use flags::nearest;
pub use flags::{Flags, unknown_variables, variable_of};
#[cfg(test)]
pub(crate) use help::WIDTH;
pub(crate) use help::wrap;

/// Version, commit and date of this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// Version of the package.
    pub version: &'static str,
    /// Commit it was built from; `unknown` outside a release build.
    pub commit: &'static str,
    /// When it was built (RFC 3339); `unknown` outside a release build.
    pub date: &'static str,
}

/// This very build, from `ZEN_LEAD_COMMIT` and `ZEN_LEAD_BUILD_DATE` at compile time.
pub const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    commit: match option_env!("ZEN_LEAD_COMMIT") {
        Some(commit) => commit,
        None => "unknown",
    },
    date: match option_env!("ZEN_LEAD_BUILD_DATE") {
        Some(date) => date,
        None => "unknown",
    },
};

/// A flag or variable that cannot be used: one line that says which, what was given and what is
/// expected.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{}", self.line())]
pub struct ConfigError {
    /// The flag or variable, for instance `--qps` or `ZEN_LEAD_QPS`.
    pub which: String,
    /// What was given; `None` when it is missing.
    pub given: Option<String>,
    /// What is expected, beginning with that word.
    pub expected: String,
}

impl ConfigError {
    fn line(&self) -> String {
        match &self.given {
            Some(given) => format!("{}: got {given:?}, {}", self.which, self.expected),
            None => format!("{}: missing, {}", self.which, self.expected),
        }
    }
}

/// Every flag and variable that cannot be used, one line each.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{}", self.lines())]
pub struct Mistakes(pub Vec<ConfigError>);

impl Mistakes {
    fn lines(&self) -> String {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }
}

/// Why the process ends before it has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// `--help` or `--version`: the text for standard output.
    Print(String),
    /// Something that cannot be used, all of it.
    Wrong(Mistakes),
}

impl Exit {
    /// Says it on the right stream, and with which status to end: 0, or 2 for bad usage.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Print(text) => {
                // A pipe that was closed, as in `zen-lead --help | head -1`, is no reason to panic.
                let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
                ExitCode::SUCCESS
            }
            Self::Wrong(mistakes) => {
                for error in &mistakes.0 {
                    eprintln!("zen-lead: {error}");
                }
                ExitCode::from(2)
            }
        }
    }
}

impl From<Mistakes> for Exit {
    fn from(mistakes: Mistakes) -> Self {
        Self::Wrong(mistakes)
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One flat JSON object a line.
    Json,
    /// For people.
    Text,
}

/// The Lease that makes one replica the writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseConfig {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Who we are: the pod's name, outside a cluster the host's.
    pub identity: String,
    /// Which pod this is, of all that ever have its name; `None` outside a pod.
    pub pod_uid: Option<String>,
    /// How long a holder that went silent is waited for; whole seconds.
    pub duration: Duration,
    /// A holder that could not renew for this long stops writing; shorter than `duration`.
    pub renew_deadline: Duration,
    /// Time between two renewals or looks; `renew_deadline` exceeds it by more than its jitter.
    pub retry_period: Duration,
}

/// Ordinary writes in flight, unless a flag says otherwise.
pub const WRITES_IN_FLIGHT: usize = 32;

/// The quick retries of a write, before the ordinary back-off takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FastRetry {
    /// Delay before the first retry.
    pub delay_first: Duration,
    /// Bound of the delay; at least `delay_first`.
    pub delay_max: Duration,
    /// Attempts in all, the first one included.
    pub attempts: u32,
}

/// Everything the process was told, checked and complete.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches of the command line, each with a meaning of its own"
)]
pub struct Config {
    /// Where `/metrics` is served; `None` nowhere.
    pub metrics: Option<Bind>,
    /// Whether the status page is served beside `/metrics`.
    pub status_page: bool,
    /// Where `/healthz` and `/readyz` are served; `None` nowhere.
    pub probes: Option<Bind>,
    /// Where `/debug/state` is served, always a loopback address; `None` nowhere.
    pub debug: Option<Bind>,
    /// Who writes.
    pub lease: LeaseConfig,
    /// The namespaces to watch; empty means all.
    pub namespaces: Vec<String>,
    /// The namespaces with Leases that a Service of another namespace may follow.
    pub follow_lease_namespaces: Vec<String>,
    /// Prefixes of labels and annotations that are mirrored, each with its slash: `example.com/`.
    pub mirror_prefixes: Vec<String>,
    /// Opted-in Services served per namespace; `None` unlimited.
    pub services_per_namespace_max: Option<NonZeroU32>,
    /// Ordinary writes in flight; failover writes have slots of their own. [`WRITES_IN_FLIGHT`]
    /// unless told otherwise.
    pub writes_in_flight_max: usize,
    /// Whether slices keep their managedFields.
    pub keep_managed_fields: bool,
    /// What watches ask the API server for.
    pub watch_encoding: Encoding,
    /// How long a list may take.
    pub list_timeout: Duration,
    /// How long a scrape may take.
    pub collection_timeout: Duration,
    /// The limit for everything but failover writes; `None` leaves it to the API server.
    pub rate_limit: Option<RateLimit>,
    /// Quick retries of a write.
    pub fast_retry: FastRetry,
    /// How many failovers for `notReady` there may be before leaders are kept instead.
    pub failovers: Guard,
    /// Whether leaders hand over before a cordoned node goes.
    pub leave_cordoned_nodes: bool,
    /// When a node counts as down by its Lease; `None` never.
    pub node_leases: Option<NodeLeasePolicy>,
    /// Above this many Services, histograms carry no Service.
    pub per_service_histograms_max: usize,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged, as directives of tracing: `info`, `zen_lead=debug,info`.
    pub log_level: String,
    /// The kubeconfig that was asked for; `None` looks in the usual places.
    pub kubeconfig: Option<PathBuf>,
    /// Whether this process runs in a pod.
    pub in_cluster: bool,
    /// Things to log once there is a log: flags without effect and the like.
    pub notices: Vec<String>,
}

impl Config {
    /// Resolves arguments, environment variables, and the namespace of the kubeconfig's context.
    ///
    /// # Errors
    ///
    /// A requested text such as the help, or one error for each invalid value.
    pub fn of(
        args: impl IntoIterator<Item = String>,
        env: impl Fn(&str) -> Option<String>,
        context: impl Fn(Option<&Path>) -> Option<String>,
    ) -> Result<Self, Exit> {
        let (flags, mut wrong) = Flags::read(args)?;
        match Self::resolve_beside(&flags, env, context) {
            Ok(config) if wrong.is_empty() => return Ok(config),
            Ok(_) => {}
            Err(more) => wrong.extend(more.0),
        }
        Err(Mistakes(wrong).into())
    }

    /// The configuration of this process.
    ///
    /// # Errors
    ///
    /// As for [`Self::of`].
    pub fn of_process(context: impl Fn(Option<&Path>) -> Option<String>) -> Result<Self, Exit> {
        let args = std::env::args_os().skip(1);
        let args = args.map(|arg| arg.to_string_lossy().into_owned());
        let mut config = Self::of(args, |name| std::env::var(name).ok(), context)?;
        let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
        config.notices.extend(unknown_variables(names));
        Ok(config)
    }
}
