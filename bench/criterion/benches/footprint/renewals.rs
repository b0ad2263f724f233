//! What following Leases costs: each Service follows one of its own, and each is renewed every two seconds.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use zen_bench::figures::Table;

use crate::server::Server;
use crate::{IDLE, SERVED, Subject, pause};

/// How many Leases there are.
pub const LEASES: usize = 1_000;
/// How often each is renewed: client-go's default.
const EVERY: Duration = Duration::from_secs(2);
/// Leases that are renewed at once; the rest wait for their turn, as those of many clients do.
const BATCH: usize = 10;
/// Renewals before the measurement, so that every buffer has the size that it needs.
const SETTLE: Duration = Duration::from_secs(5);

/// Measures it next to as many Services that follow nothing, of which so many bytes are resident.
pub fn measure(
    table: &mut Table,
    binary: &Path,
    pods_each: usize,
    without: u64,
) -> std::io::Result<()> {
    let what = format!(
        "{LEASES} followed Leases, renewed every {} s",
        EVERY.as_secs()
    );
    let server = Arc::new(Server::following(LEASES, pods_each)?);
    let mut subject = Subject::start(binary, &server.kubeconfig)?;
    subject.ready();
    server.wait_until_served(SERVED);
    subject.process.stop()?;

    let mut subject = Subject::start(binary, &server.kubeconfig)?;
    subject.ready();
    let is_over = Arc::new(AtomicBool::new(false));
    let renewing = {
        let (server, is_over) = (Arc::clone(&server), Arc::clone(&is_over));
        std::thread::spawn(move || renew(&server, &is_over))
    };
    pause(SETTLE);
    server.forget_requests();
    let (before, from) = (subject.process.footprint(), Instant::now());
    pause(IDLE);
    let (after, took) = (subject.process.footprint(), from.elapsed());
    is_over.store(true, Ordering::Relaxed);
    let renewals = renewing.join().expect("the renewing thread goes on");
    let requests = server.requests();

    let share = after.cpu.saturating_sub(before.cpu).as_secs_f64() / took.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "kibibytes, and some thousands")]
    let (kib_each, requests, renewals, intended) = (
        after.resident.saturating_sub(without) as f64 / (1_024 * LEASES) as f64,
        requests as f64,
        renewals as f64,
        LEASES as f64 / EVERY.as_secs_f64(),
    );
    let pace = renewals / (SETTLE + took).as_secs_f64();
    table.note(
        &format!("{what}: renewals a second, of {intended}"),
        pace,
        "",
    );
    table.figure(&format!("{what}: CPU"), 100.0 * share, 2.0, "%");
    table.figure(&format!("{what}: requests"), requests, 0.0, "");
    table.figure(
        &format!("{what}: resident, more than without following, by Lease"),
        kib_each,
        1.0,
        "KiB",
    );
    subject.process.stop()
}

/// Renews one batch after another at an even pace; how many renewals there were.
fn renew(server: &Server, is_over: &AtomicBool) -> usize {
    let between = EVERY * u32::try_from(BATCH).unwrap_or(1) / u32::try_from(LEASES).unwrap_or(1);
    let (mut renewals, mut next) = (0, Instant::now());
    while !is_over.load(Ordering::Relaxed) {
        for _ in 0..BATCH {
            server.renew(renewals % LEASES, renewals);
            renewals += 1;
        }
        next += between;
        pause(next.saturating_duration_since(Instant::now()));
    }
    renewals
}
