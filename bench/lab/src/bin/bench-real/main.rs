//! `just bench-real [--quick] [wire] [encoding] [race] [follow] [single] [cold] [many]`: failovers, mass
//! failovers, cold starts and restarts on a real control plane, in turns with the floor and, where there is
//! one, the native controller. Naming parts runs only those.
//!
//! The controller is the released binary: `ZEN_LEAD_BINARY`, or what `cargo build --release
//! -p zen-lead` leaves in the target directory. The table goes to `target/bench-real.json` too. No
//! figure makes the program fail: a busy machine is no fault.

#![allow(unreachable_pub, reason = "a program: nothing is reached from outside")]

mod api;
mod arrivals;
mod audit;
mod cluster;
mod contest;
mod encoding;
mod floor;
mod follow;
mod mass;
mod observe;
mod plane;
mod race;
mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use zen_bench::figures::{Table, Times, target_dir};
use zen_bench::process::{Process, free_port, get};

use api::Api;
use cluster::{Cluster, FLOOR, NATIVE, OURS, app};
use contest::{How, Outcome};
use observe::Observer;
use plane::Plane;

/// In the first 10 s of its tenure a replica asks the server for a published pod that is not Ready before it
/// is left: one round trip more, which is no part of an ordinary failover.
const SETTLED: Duration = Duration::from_secs(11);

/// The argument with which this program plays the floor.
const FLOOR_ROLE: &str = "floor";

/// What a run can be narrowed to: the form of a write; the encoding of pods; the order of our write and the native
/// controller's; moves that the application asks for; failovers of one Service; cold starts and restarts;
/// failovers among many Services, and many at once.
const PARTS: [&str; 7] = [
    "wire", "encoding", "race", "follow", "single", "cold", "many",
];

/// How much is done.
struct Plan {
    /// Which of [`PARTS`]; none means all.
    parts: Vec<String>,
    /// Failovers of each kind and size.
    rounds: usize,
    /// Services of the larger size.
    services: usize,
    /// Leaders lost at once.
    masses: Vec<usize>,
    /// Repetitions of what takes long.
    repetitions: usize,
    /// How long the idle controller is watched.
    idle: Duration,
}

impl Plan {
    fn full() -> Self {
        Self {
            parts: Vec::new(),
            rounds: 50,
            services: 1_000,
            masses: vec![300, 1_000],
            repetitions: 3,
            idle: Duration::from_secs(10),
        }
    }

    /// Enough to see that everything still works.
    fn quick() -> Self {
        Self {
            parts: Vec::new(),
            rounds: 5,
            services: 30,
            masses: vec![30],
            repetitions: 1,
            idle: Duration::from_secs(2),
        }
    }

    fn read(arguments: &[String]) -> Result<Self> {
        let is_quick = |argument: &&String| *argument == "--quick";
        let mut plan = if arguments.iter().any(|argument| is_quick(&argument)) {
            Self::quick()
        } else {
            Self::full()
        };
        for argument in arguments.iter().filter(|argument| !is_quick(argument)) {
            ensure!(
                PARTS.contains(&&**argument),
                "{argument}: expected --quick, or any of {}",
                PARTS.join(", ")
            );
            plan.parts.push(argument.clone());
        }
        Ok(plan)
    }

    fn has(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|asked| asked == part)
    }
}

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [role, kubeconfig] = &*arguments
        && role == FLOOR_ROLE
    {
        return floor::run(Path::new(kubeconfig));
    }
    let plan = Plan::read(&arguments)?;
    let built = || target_dir().join("release/zen-lead");
    let binary = std::env::var_os("ZEN_LEAD_BINARY").map_or_else(built, PathBuf::from);
    ensure!(
        binary.exists(),
        "{} does not exist; expected what `cargo build --release -p zen-lead` makes",
        binary.display()
    );
    let plane = Plane::up()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(run(&plane, &binary, &plan))
}

async fn run(plane: &Plane, binary: &Path, plan: &Plan) -> Result<()> {
    let kubeconfig = plane.kubeconfig();
    let connect = || Api::connect(&kubeconfig);
    let cluster = Cluster {
        api: connect().await?,
        observer: Observer::start(&connect().await?, &connect().await?),
    };
    let user = plane.kubeconfig_of_user()?.display().to_string();
    cluster.prepare().await?;
    let this = std::env::current_exe()?;
    let admin = kubeconfig.display().to_string();
    let stage = Stage {
        plane,
        cluster,
        binary,
        user,
        plan,
    };
    for namespace in [FLOOR, OURS, NATIVE] {
        stage.cluster.populate(namespace, 0..1).await?;
    }
    let floor = Process::start(&this, &[], &[FLOOR_ROLE, &admin])?;
    let mut table = Table::new("bench-real");
    if plan.has("wire") {
        stage.wire(&mut table).await?;
    }
    if plan.has("encoding") {
        stage.encoding(&mut table).await?;
    }
    if plan.has("race") {
        stage.race(&mut table).await?;
    }
    if plan.has("follow") {
        stage.follow(&mut table).await?;
    }
    if plan.has("single") || plan.has("cold") || plan.has("many") {
        stage.single(&mut table).await?;
    }
    if plan.has("cold") || plan.has("many") {
        stage.fill().await?;
    }
    if plan.has("cold") {
        stage.cold(&mut table).await?;
    }
    if plan.has("many") {
        stage.many(&mut table).await?;
    }
    floor.stop()?;
    table.write()?;
    Ok(())
}

/// Everything that a run consists of.
struct Stage<'a> {
    plane: &'a Plane,
    cluster: Cluster,
    binary: &'a Path,
    user: String,
    plan: &'a Plan,
}

/// A running controller.
struct Subject {
    process: Process,
    metrics: u16,
    probes: u16,
}

impl Subject {
    async fn ready(&mut self) -> Result<()> {
        while !matches!(get(self.probes, "/readyz"), Ok((200, _))) {
            ensure!(self.process.is_running(), "the controller ended");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

impl Stage<'_> {
    fn start(&self) -> Result<Subject> {
        self.start_with("--log-level=warn")
    }

    /// Starts the controller with one more flag.
    fn start_with(&self, flag: &str) -> Result<Subject> {
        let (metrics, probes) = (free_port()?, free_port()?);
        let process = Process::start(
            self.binary,
            &[("KUBECONFIG", &self.user)],
            &[
                &format!("--metrics-bind-address=127.0.0.1:{metrics}"),
                &format!("--health-probe-bind-address=127.0.0.1:{probes}"),
                &format!("--namespaces={OURS}"),
                &format!("--leader-election-namespace={OURS}"),
                "--log-level=warn",
                flag,
            ],
        )?;
        Ok(Subject {
            process,
            metrics,
            probes,
        })
    }

    /// Failovers with one Service of ours.
    async fn single(&self, table: &mut Table) -> Result<()> {
        let mut subject = self.start()?;
        subject.ready().await?;
        self.cluster.all_served(1).await?;
        self.cluster.all_named(1).await?;
        if !self.plan.has("single") {
            return subject.process.stop().map_err(Into::into);
        }
        self.cluster.native_shows(&app(0), 0, true).await?;
        self.cluster.native_shows(&app(0), 1, true).await?;
        tokio::time::sleep(SETTLED).await;
        let mark = self.plane.mark();
        self.contests(table, 1).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let requests = self.plane.requests_since(mark, false)?;
        #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
        let per_failover = requests as f64 / (2 * self.plan.rounds) as f64;
        table.figure("requests per failover", per_failover, 3.0, "");
        self.footprint(table, &subject, 1, 15.0).await?;
        subject.process.stop()?;
        Ok(())
    }

    async fn contests(&self, table: &mut Table, services: usize) -> Result<()> {
        for (how, name) in [(How::Readiness, "readiness"), (How::Deletion, "deletion")] {
            let outcome = self.cluster.contest(how, self.plan.rounds, services);
            let Outcome {
                floor,
                ours,
                native,
            } = outcome.await?;
            let what = format!("failover by {name} at {services}");
            table.compared(&format!("{what}, bare PATCH"), &floor, &ours, 1.15);
            table.compared(&format!("{what}, native"), &native, &ours, 1.0);
        }
        Ok(())
    }

    async fn footprint(
        &self,
        table: &mut Table,
        subject: &Subject,
        services: usize,
        limit: f64,
    ) -> Result<()> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = subject.process.footprint().cpu;
        tokio::time::sleep(self.plan.idle).await;
        let idle = subject.process.footprint().cpu.saturating_sub(before);
        let (code, _) = get(subject.metrics, "/metrics")?;
        ensure!(code == 200, "a scrape: {code}");
        #[expect(clippy::cast_precision_loss, reason = "mebibytes of a small process")]
        let mib = subject.process.footprint().resident as f64 / f64::from(1 << 20);
        let share = 100.0 * idle.as_secs_f64() / self.plan.idle.as_secs_f64();
        table.figure(&format!("resident at {services}"), mib, limit, "MiB");
        table.figure(&format!("idle CPU at {services}"), share, 0.5, "%");
        Ok(())
    }

    /// Makes the Services of the larger size, and waits until the native controller has met them.
    async fn fill(&self) -> Result<()> {
        let count = self.plan.services;
        for namespace in [OURS, FLOOR] {
            self.cluster.populate(namespace, 1..count).await?;
        }
        let met = self
            .cluster
            .observer
            .wait("the native slices", Duration::from_mins(5), |seen| {
                let native = seen
                    .slices
                    .keys()
                    .filter(|key| !key.name.ends_with("-leader"));
                (native.count() > 2 * count).then_some(())
            });
        met.await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.plane.stop_native()
    }

    /// Cold starts in turns with bare creates; then restarts with nothing to do.
    async fn cold(&self, table: &mut Table) -> Result<()> {
        let count = self.plan.services;
        self.cluster.withdraw(OURS, 1).await?;
        let (mut floor, mut ours, mut cpu) = (Times::default(), Times::default(), Times::default());
        for round in 0..self.plan.repetitions {
            floor.push(self.cluster.bare_creates(count).await?);
            let subject = self.start()?;
            let served = self.cluster.all_served(count).await?;
            ours.push(served.saturating_duration_since(subject.process.since));
            cpu.push(subject.process.footprint().cpu);
            self.cluster.all_named(count).await?;
            tokio::time::sleep(Duration::from_secs(3)).await;
            subject.process.stop()?;
            if round + 1 < self.plan.repetitions {
                self.cluster.withdraw(OURS, count).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        let what = format!("cold start of {count}, {} bare creates", 2 * count);
        table.compared(&what, &floor, &ours, 1.5);
        let seconds = cpu.at(50).as_secs_f64();
        table.note(&format!("{what}, our CPU time"), seconds, "s");
        let mark = self.plane.mark();
        let mut subject = self.start()?;
        subject.ready().await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        #[expect(clippy::cast_precision_loss, reason = "a count that should be zero")]
        let writes = self.plane.requests_since(mark, true)? as f64;
        table.figure("writes of a restart with nothing changed", writes, 0.0, "");
        subject.process.stop()?;
        Ok(())
    }

    /// Failovers among many Services, and many failovers at once.
    async fn many(&self, table: &mut Table) -> Result<()> {
        let count = self.plan.services;
        self.plane.start_native()?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let mut subject = self.start()?;
        subject.ready().await?;
        self.cluster.all_served(count).await?;
        self.cluster.all_named(count).await?;
        self.contests(table, count).await?;
        for &lost in &self.plan.masses {
            let (mut bare, mut floor, mut ours) =
                (Times::default(), Times::default(), Times::default());
            for round in 0..self.plan.repetitions {
                bare.push(self.cluster.bare_patches(lost, round).await?);
                floor.push(self.cluster.lose_many(FLOOR, lost, round).await?);
                ours.push(self.cluster.lose_many(OURS, lost, round).await?);
            }
            let seconds = bare.at(50).as_secs_f64();
            table.note(&format!("{lost} bare PATCHes alone"), seconds, "s");
            table.compared(
                &format!("{lost} lost at once, bare PATCHes"),
                &floor,
                &ours,
                1.3,
            );
        }
        self.footprint(table, &subject, count, 25.0).await?;
        subject.process.stop()?;
        Ok(())
    }
}
