//! `cargo bench -p zen-bench --bench footprint`: the released binary as a child process against an
//! API server on a loopback port: time of the first sync, memory with a scrape, idle CPU, and what
//! following Leases adds.
//!
//! The binary is `ZEN_LEAD_BINARY`, or the one that `cargo build --release -p zen-lead` leaves in
//! the target directory. With `quick` among the arguments only the small sizes are looked at, with
//! `following` only the size of that, and following.

#![allow(unreachable_pub, reason = "a program: nothing is reached from outside")]

mod renewals;
mod server;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zen_bench::figures::{Table, Times, target_dir};
use zen_bench::fleet::{namespace, service_name};
use zen_bench::process::{Footprint, Process, free_port, get, read_until};

use server::Server;

/// How long the idle controller is watched.
const IDLE: Duration = Duration::from_secs(10);
/// How long a size may take until all is served.
const SERVED: Duration = Duration::from_mins(5);
/// First syncs for the comparison.
const ROUNDS: usize = 3;
/// The argument with which this program plays the floor.
const FLOOR: &str = "floor-of-the-first-sync";

/// Services, pods of each, and how much memory may be resident in MiB.
const SIZES: [(usize, usize, f64); 3] = [(1, 3, 15.0), (1_000, 3, 25.0), (10_000, 10, 128.0)];

fn main() -> std::io::Result<()> {
    if std::env::args().nth(1).as_deref() == Some(FLOOR) {
        server::list_everything();
        return Ok(());
    }
    let asks = |word: &str| std::env::args().any(|argument| argument == word);
    let (is_quick, is_about_following) = (asks("quick"), asks("following"));
    let binary = binary();
    assert!(
        binary.exists(),
        "{} does not exist; expected what `cargo build --release -p zen-lead` makes",
        binary.display()
    );
    let mut table = Table::new("bench-footprint");
    for (services, pods_each, limit) in SIZES {
        let is_followed = services == renewals::LEASES;
        if (is_quick && services == 10_000) || (is_about_following && !is_followed) {
            continue;
        }
        let resident = measure(&mut table, &binary, services, pods_each, limit)?;
        if is_followed {
            renewals::measure(&mut table, &binary, pods_each, resident)?;
        }
    }
    table.write()
}

fn binary() -> PathBuf {
    let built = || target_dir().join("release/zen-lead");
    std::env::var_os("ZEN_LEAD_BINARY").map_or_else(built, PathBuf::from)
}

/// A controller under observation.
struct Subject {
    process: Process,
    metrics: u16,
    probes: u16,
    debug: u16,
}

impl Subject {
    fn start(binary: &Path, kubeconfig: &str) -> std::io::Result<Self> {
        let (metrics, probes, debug) = (free_port()?, free_port()?, free_port()?);
        let process = Process::start(
            binary,
            &[("KUBECONFIG", kubeconfig)],
            &[
                &format!("--metrics-bind-address=127.0.0.1:{metrics}"),
                &format!("--health-probe-bind-address=127.0.0.1:{probes}"),
                &format!("--debug-bind-address=127.0.0.1:{debug}"),
                "--leader-election-namespace=default",
                "--log-level=warn",
            ],
        )?;
        Ok(Self {
            process,
            metrics,
            probes,
            debug,
        })
    }

    /// Waits until `/readyz` says so; how long after the start that was.
    fn ready(&mut self) -> Duration {
        while !matches!(get(self.probes, "/readyz"), Ok((200, _))) {
            assert!(self.process.is_running(), "the controller ended");
            pause(Duration::from_millis(2));
        }
        self.process.since.elapsed()
    }

    /// What the kernel says after a scrape; also how long that took and how long it was.
    fn scraped(&self) -> std::io::Result<(Footprint, Duration, usize)> {
        let from = Instant::now();
        let (code, bytes) = get(self.metrics, "/metrics")?;
        assert_eq!(code, 200, "a scrape");
        Ok((self.process.footprint(), from.elapsed(), bytes))
    }

    /// What the kernel reports after every page has been read: the status page with all its
    /// rows, the list of Services, and one Service as a whole.
    fn shown(&self, services: usize) -> std::io::Result<Footprint> {
        read_until(
            self.metrics,
            "/status/stream",
            "\"leaderService\"",
            services,
        )?;
        let one = format!("{}/{}", namespace(0), service_name(0));
        for path in ["/debug/state", &format!("/debug/state?service={one}")] {
            let (code, _) = get(self.debug, path)?;
            assert_eq!(code, 200, "{path}");
        }
        Ok(self.process.footprint())
    }
}

fn pause(time: Duration) {
    std::thread::park_timeout(time);
}

#[expect(clippy::cast_precision_loss, reason = "mebibytes of a small process")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Measures a size; how many bytes are resident at rest, before a scrape.
fn measure(
    table: &mut Table,
    binary: &Path,
    services: usize,
    pods_each: usize,
    limit: f64,
) -> std::io::Result<u64> {
    let size = format!("{services} Services × {pods_each} pods");
    let server = Server::start(services, pods_each)?;
    let kubeconfig = server.kubeconfig.clone();

    // 1. Everything is made: the most memory that there ever is.
    let mut subject = Subject::start(binary, &kubeconfig)?;
    subject.ready();
    server.wait_until_served(SERVED);
    let from = subject.process.since.elapsed();
    let (after, ..) = subject.scraped()?;
    table.note(&format!("{size}: all made after"), from.as_secs_f64(), "s");
    table.figure(
        &format!("{size}: resident, all made"),
        mib(after.resident),
        limit,
        "MiB",
    );
    subject.process.stop()?;

    // 2. A restart with nothing to do, next to the same lists read by a client that does not keep them.
    let this = std::env::current_exe()?;
    let (mut floors, mut times) = (Times::default(), Times::default());
    for _ in 0..ROUNDS {
        let mut floor = Process::start(&this, &[("KUBECONFIG", &kubeconfig)], &[FLOOR])?;
        while floor.is_running() {
            pause(Duration::from_millis(2));
        }
        floors.push(floor.since.elapsed());
        let mut subject = Subject::start(binary, &kubeconfig)?;
        times.push(subject.ready());
        subject.process.stop()?;
    }
    table.compared(&format!("{size}: start to synced"), &floors, &times, 1.3);

    // 3. At rest.
    server.forget_requests();
    let mut subject = Subject::start(binary, &kubeconfig)?;
    subject.ready();
    pause(Duration::from_secs(3));
    let before = subject.process.footprint();
    pause(IDLE);
    let idle = subject.process.footprint().cpu.saturating_sub(before.cpu);
    let (after, scrape, bytes) = subject.scraped()?;
    let share = 100.0 * idle.as_secs_f64() / IDLE.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a count that should be zero")]
    let writes = server.writes() as f64;
    table.figure(&format!("{size}: writes of a restart"), writes, 0.0, "");
    table.note(
        &format!("{size}: resident before a scrape"),
        mib(before.resident),
        "MiB",
    );
    table.figure(
        &format!("{size}: resident after it"),
        mib(after.resident),
        limit,
        "MiB",
    );
    let shown = subject.shown(services)?;
    table.figure(
        &format!("{size}: resident after the status page"),
        mib(shown.resident),
        limit,
        "MiB",
    );
    table.note(
        &format!("{size}: the most it ever was"),
        mib(shown.resident_max),
        "MiB",
    );
    table.note(
        &format!("{size}: a scrape takes"),
        scrape.as_secs_f64() * 1e3,
        "ms",
    );
    table.note(&format!("{size}: and is long"), mib(bytes as u64), "MiB");
    table.figure(&format!("{size}: idle CPU"), share, 0.5, "%");
    subject.process.stop()?;
    Ok(before.resident)
}
