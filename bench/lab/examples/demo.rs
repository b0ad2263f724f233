//! zen-lead without a cluster: `cargo run --release --example demo`. What it does stands in
//! [`zen_lab::demo`].

use std::io::IsTerminal as _;
use std::process::ExitCode;

use argh::FromArgs;
use zen_lab::demo::{self, Course, Ending, Mode};

/// Shows zen-lead at work, without a cluster: the real controller against a simulated API server
/// with three simulated pods, and a kubeconfig for looking at it with kubectl. On a terminal the
/// keys are yours after the tour; elsewhere it prints lines and ends with the tour.
#[derive(FromArgs)]
struct Flags {
    /// end after the tour
    #[argh(switch)]
    once: bool,

    /// no tour: kill, delete, restore and opt out by keys
    #[argh(switch)]
    interactive: bool,
}

fn main() -> ExitCode {
    let flags: Flags = argh::from_env();
    let terminal = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    let mode = Mode {
        course: match (flags.once, flags.interactive) {
            (true, true) => return refuse("--once and --interactive exclude each other"),
            (true, false) => Course::Once,
            (false, true) => Course::Driven,
            (false, false) => Course::Guided,
        },
        has_terminal: std::io::stdout().is_terminal() && terminal,
        has_unicode: speaks_unicode(|name| std::env::var(name).ok()),
    };
    if mode.course == Course::Driven && !mode.has_terminal {
        return refuse("--interactive needs a terminal");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(demo::run(mode)))
    {
        Ok(Ending::Well) => ExitCode::SUCCESS,
        Ok(Ending::Missed) => ExitCode::FAILURE,
        // As a shell has it for a program that SIGINT ended.
        Ok(Ending::Interrupted) => ExitCode::from(130),
        Err(why) => {
            eprintln!("demo: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("demo: {why}");
    ExitCode::from(2)
}

/// Whether the locale is one of UTF-8: the first of these variables that says anything decides.
fn speaks_unicode(variable: impl Fn(&str) -> Option<String>) -> bool {
    let names = ["LC_ALL", "LC_CTYPE", "LANG"];
    let mut said = names
        .into_iter()
        .filter_map(variable)
        .filter(|value| !value.is_empty());
    said.next().is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}
