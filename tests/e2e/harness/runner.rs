//! Runs scenarios in phases and prints as `cargo test` does.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::control::{Control, Server};
use super::controller::Controller;
use super::suite::Suite;
use super::test::Test;
use super::{SOON, encodings, invariants};

/// How many scenarios of a hundred must run on both servers.
const BOTH_PERCENT_MIN: usize = 80;

/// When a scenario runs, and with which instance of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Beside others, in a namespace of its own, with one instance that watches all of them.
    Shared,
    /// Beside others, with instances of its own for its namespace.
    Own,
    /// With nothing else running: it measures, or commands the API server.
    Alone,
}

/// On which servers a scenario makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// Any server with a kubeconfig and the control hooks.
    Both,
    /// Only a real control plane, because of this.
    RealOnly(&'static str),
}

/// What the API server must have for a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The first minor version of Kubernetes 1 that has it switched on.
    pub since: u32,
    /// What it is.
    pub what: &'static str,
}

/// A running scenario.
pub type Run = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// One scenario.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it verifies: rows of the contract.
    pub rows: &'static [&'static str],
    /// Where it makes sense.
    pub on: On,
    /// When it runs.
    pub phase: Phase,
    /// What not every supported version of Kubernetes has.
    pub needs: &'static [Needs],
    /// What it does.
    pub run: fn(Arc<Test>) -> Run,
}

/// Declares the scenarios of a file: `Phase On name "row" "row";`, and before the semicolon, where
/// older versions of Kubernetes lack it, `needs 30 "what it is"`: since 1.30.
#[macro_export]
macro_rules! scenarios {
    ($($phase:ident $on:ident $(($why:literal))? $name:ident $($row:literal)+
        $(needs $since:literal $what:literal)?;)*) => {
        /// The scenarios of this file.
        pub const ALL: &[$crate::harness::runner::Scenario] = &[$(
            $crate::harness::runner::Scenario {
                name: stringify!($name),
                rows: &[$($row),+],
                on: $crate::harness::runner::On::$on $(($why))?,
                phase: $crate::harness::runner::Phase::$phase,
                needs: &[$($crate::harness::runner::Needs { since: $since, what: $what })?],
                run: |test| Box::pin($name(test)),
            }
        ),*];
    };
}

/// What the command line asks for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Only scenarios whose name contains one of these.
    pub filters: Vec<String>,
    /// And none of these.
    pub skip: Vec<String>,
    /// The filters are whole names.
    pub exact: bool,
    /// Print the names, run nothing.
    pub list: bool,
    /// Feature gates of the API server.
    pub gates: Option<String>,
    /// How many scenarios run side by side.
    pub jobs: usize,
    /// The minor version of Kubernetes, as "1.25"; none is the newest that is pinned.
    pub kubernetes: Option<String>,
    /// The minor versions that an upgrade leads through.
    pub upgrade: Vec<String>,
}

impl Asked {
    fn wants(&self, name: &str) -> bool {
        let fits = |filter: &String| {
            if self.exact {
                filter == name
            } else {
                name.contains(filter.as_str())
            }
        };
        (self.filters.is_empty() || self.filters.iter().any(fits))
            && !self.skip.iter().any(|skip| name.contains(skip.as_str()))
    }
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<(&'static str, String)>,
    ignored: usize,
    skipped: usize,
}

/// Runs what was asked for; whether all of it passed.
pub async fn run(all: &[Scenario], asked: &Asked) -> Result<bool> {
    let start = Instant::now();
    let chosen: Vec<_> = all
        .iter()
        .filter(|s| asked.wants(s.name))
        .copied()
        .collect();
    if asked.list {
        list(&chosen);
        return Ok(is_enough(all, asked));
    }
    let server = Server::chosen()?;
    println!("\nrunning {} tests on {server:?}", chosen.len());
    let mut tally = Tally::default();
    let mut runnable = Vec::new();
    for scenario in chosen.iter().copied() {
        match scenario.on {
            On::RealOnly(why) if server == Server::SimKube => {
                println!("test {} ... ignored, real-only: {why}", scenario.name);
                tally.ignored += 1;
            }
            On::Both | On::RealOnly(_) => runnable.push(scenario),
        }
    }
    if !runnable.is_empty() {
        let control = Control::up(server, asked).await?;
        let suite = Suite::start(control, runnable.len() == all.len()).await?;
        println!("the server is Kubernetes {}", suite.version);
        skip(&suite, &mut runnable, &mut tally);
        let outcome = tokio::select! {
            biased;
            outcome = phases(&suite, &runnable, asked, &mut tally) => outcome,
            () = interrupted() => Err(anyhow::anyhow!("interrupted")),
        };
        suite.control.down().await?;
        outcome?;
        if tally.failed.is_empty() {
            std::fs::remove_dir_all(&suite.logs)?;
        } else {
            println!("\nlogs: {}", suite.logs.display());
        }
    }
    report(&tally, all.len() - chosen.len(), start.elapsed());
    Ok(is_enough(all, asked) && tally.failed.is_empty())
}

/// Leaves out what this version of Kubernetes cannot do.
fn skip(suite: &Suite, runnable: &mut Vec<Scenario>, tally: &mut Tally) {
    runnable.retain(|scenario| {
        let unmet = scenario
            .needs
            .iter()
            .find(|needs| suite.minor < needs.since);
        if let Some(Needs { since, what }) = unmet {
            let name = scenario.name;
            println!("test {name} ... skipped, needs Kubernetes 1.{since}: {what}");
            tally.skipped += 1;
        }
        unmet.is_none()
    });
}

async fn interrupted() {
    let mut terminate = signal(SignalKind::terminate()).ok();
    let terminated = async {
        match &mut terminate {
            Some(signal) => signal.recv().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated => {}
    }
}

fn list(chosen: &[Scenario]) {
    for scenario in chosen {
        let on = match scenario.on {
            On::Both => "both".to_owned(),
            On::RealOnly(why) => format!("real-only: {why}"),
        };
        let needs = scenario.needs.iter();
        let needs = needs.map(|needs| format!("; needs 1.{} {}", needs.since, needs.what));
        let needs: String = needs.collect();
        println!(
            "{}: test ({on}{needs}; {})",
            scenario.name,
            scenario.rows.join("; ")
        );
    }
}

/// Whether enough of the scenarios run on both servers; no other server can be upgraded.
fn is_enough(all: &[Scenario], asked: &Asked) -> bool {
    !asked.upgrade.is_empty() || shares(all)
}

/// Says how many scenarios run on both servers, and whether they are enough: what is proved on
/// simkube only counts as long as nearly everything runs there.
fn shares(all: &[Scenario]) -> bool {
    let both = all.iter().filter(|s| s.on == On::Both).count();
    let percent = both * 100 / all.len().max(1);
    println!(
        "both: {both}, real-only: {} ({percent} % both)",
        all.len() - both
    );
    let is_enough = percent >= BOTH_PERCENT_MIN;
    if !is_enough {
        println!("FAILED: at least {BOTH_PERCENT_MIN} % have to run on both servers");
    }
    is_enough
}

fn report(tally: &Tally, filtered: usize, took: Duration) {
    if !tally.failed.is_empty() {
        println!("\nfailures:\n");
        for (name, why) in &tally.failed {
            println!("---- {name} ----\n{why}\n");
        }
        println!("failures:");
        for (name, _) in &tally.failed {
            println!("    {name}");
        }
    }
    println!(
        "\ntest result: {}. {} passed; {} failed; {} ignored; {} skipped; 0 measured; {filtered} filtered \
         out; finished in {:.2}s\n",
        if tally.failed.is_empty() {
            "ok"
        } else {
            "FAILED"
        },
        tally.passed,
        tally.failed.len(),
        tally.ignored,
        tally.skipped,
        took.as_secs_f64(),
    );
}

async fn phases(
    suite: &Arc<Suite>,
    chosen: &[Scenario],
    asked: &Asked,
    tally: &mut Tally,
) -> Result<()> {
    for phase in [Phase::Shared, Phase::Own, Phase::Alone] {
        let of_it: Vec<_> = chosen
            .iter()
            .filter(|s| s.phase == phase)
            .copied()
            .collect();
        if of_it.is_empty() {
            continue;
        }
        let jobs = match phase {
            Phase::Alone => 1,
            Phase::Shared | Phase::Own => asked.jobs,
        };
        if phase != Phase::Shared {
            side_by_side(suite, &of_it, jobs, tally).await;
            continue;
        }
        let mut controller =
            suite.controller("shared", &["--leader-election-namespace", "default"])?;
        controller.ready().await?;
        side_by_side(suite, &of_it, jobs, tally).await;
        if !controller.is_running() {
            bail!(
                "the shared zen-lead ended by itself:\n{}",
                tail(&controller, "")
            );
        }
        controller.stop().await?;
    }
    Ok(())
}

fn tail(controller: &Controller, about: &str) -> String {
    tail_of(&controller.printed(), about)
}

fn tail_of(printed: &str, about: &str) -> String {
    let lines: Vec<_> = printed
        .lines()
        .filter(|line| line.contains(about))
        .collect();
    let cut = lines.len().saturating_sub(30);
    let short = |line: &&str| line.chars().take(600).collect::<String>();
    lines[cut..]
        .iter()
        .map(short)
        .collect::<Vec<_>>()
        .join("\n")
}

async fn side_by_side(suite: &Arc<Suite>, of_it: &[Scenario], jobs: usize, tally: &mut Tally) {
    let slots = Arc::new(Semaphore::new(jobs));
    let mut running = JoinSet::new();
    for scenario in of_it.iter().copied() {
        let (slots, suite) = (Arc::clone(&slots), Arc::clone(suite));
        running.spawn(async move {
            let _slot = slots.acquire_owned().await;
            // A task of its own, so that a panic is one scenario's failure.
            let start = Instant::now();
            let ended = tokio::spawn(one(suite, scenario)).await;
            let ended = ended.unwrap_or_else(|panic| Ended::Failed(vec![], panic.to_string()));
            (scenario.name, ended, start.elapsed())
        });
    }
    while let Some(Ok((name, ended, took))) = running.join_next().await {
        let took = took.as_secs_f64();
        let notes = match ended {
            Ended::Passed(notes) => {
                println!("test {name} ... ok <{took:.2}s>");
                tally.passed += 1;
                notes
            }
            Ended::Skipped(why) => {
                println!("test {name} ... skipped, {why}");
                tally.skipped += 1;
                vec![]
            }
            Ended::Failed(notes, why) => {
                println!("test {name} ... FAILED <{took:.2}s>");
                tally.failed.push((name, why));
                notes
            }
        };
        for note in notes {
            println!("     {note}");
        }
    }
}

/// Checks the invariants; the watches of different kinds may not have caught up with each other.
async fn lasting(test: &Test) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        match test.obs.look(invariants::check) {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(super::SHORT).await,
            result => return result,
        }
    }
}

/// How a scenario ended, with what it said.
enum Ended {
    Passed(Vec<String>),
    /// It could not run, because of this.
    Skipped(String),
    Failed(Vec<String>, String),
}

/// Runs one scenario.
async fn one(suite: Arc<Suite>, scenario: Scenario) -> Ended {
    let test = match Test::start(&suite, scenario.name).await {
        Ok(test) => Arc::new(test),
        Err(why) => return Ended::Failed(vec![], format!("{why:#}")),
    };
    let limit = SOON
        * if scenario.phase == Phase::Alone {
            16
        } else {
            6
        };
    let timed = tokio::time::timeout(limit, (scenario.run)(Arc::clone(&test))).await;
    let result = timed.unwrap_or_else(|_| Err(anyhow::anyhow!("not done within {limit:?}")));
    let disturbs = test.disturbs.load(std::sync::atomic::Ordering::Relaxed);
    let result = match (result, disturbs) {
        (Ok(()), false) => match lasting(&test).await {
            Ok(()) => encodings::agree(test.api.client(), &test.ns)
                .await
                .map(drop),
            broken => broken,
        },
        (result, _) => result,
    };
    let Err(why) = result else {
        return match test.skipped() {
            Some(why) => Ended::Skipped(why),
            None => Ended::Passed(test.said()),
        };
    };
    // Its own instances print about nothing else; of the shared one a part is enough.
    let mut logs = test.logs.lock().clone();
    logs.dedup();
    let own = logs.iter().map(|log| (log.clone(), ""));
    let shared = (suite.logs.join("shared.log"), test.ns.as_str());
    let tails = own.chain([shared]).filter_map(|(log, about)| {
        let printed = std::fs::read_to_string(log).ok()?;
        Some(tail_of(&printed, about))
    });
    let tails: Vec<_> = tails.collect();
    let rows = scenario.rows.join("; ");
    let why = format!(
        "verifies {rows}\n{why:#}\n--- log\n{}",
        tails.join("\n---\n")
    );
    Ended::Failed(test.said(), why)
}
