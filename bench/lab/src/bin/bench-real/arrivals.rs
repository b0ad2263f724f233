//! When the writes of a race reach the server, and how long the server takes for each, by its audit log.

use anyhow::{Result, ensure};
use jiff::Timestamp;
use zen_bench::figures::Table;

use crate::audit::Request;
use crate::cluster::{HEAVY, app, leader_service};

/// The slice writes that follow one change of a pod.
struct Round {
    /// When the request about the pod was received.
    from: Timestamp,
    /// The write of the leader Service's slice.
    ours: Request,
    /// That of the native controller.
    native: Request,
}

/// Prints the medians of a race, in milliseconds since the server received the change of the pod.
pub fn report(table: &mut Table, what: &str, namespace: &str, requests: &[Request]) -> Result<()> {
    let rounds = rounds(namespace, requests);
    ensure!(
        !rounds.is_empty(),
        "{what}: no slice write in the audit log"
    );
    let median = |of: &dyn Fn(&Round) -> f64| {
        let mut all: Vec<_> = rounds.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let mut note = |name: &str, of: &dyn Fn(&Round) -> f64| {
        table.note(&format!("{what}: {name}"), median(of), "ms");
    };
    note("PATCH received", &|round| {
        ms(round.from, round.ours.received)
    });
    note("PATCH in the server", &|round| {
        ms(round.ours.received, round.ours.answered)
    });
    note("native PUT received", &|round| {
        ms(round.from, round.native.received)
    });
    note("native PUT in the server", &|round| {
        ms(round.native.received, round.native.answered)
    });
    let first = rounds
        .iter()
        .filter(|round| round.ours.received < round.native.received);
    #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
    let share = 100.0 * first.count() as f64 / rounds.len() as f64;
    table.note(
        &format!("{what}: PATCH received first"),
        share,
        "% of failovers",
    );
    Ok(())
}

/// Each change of a pod that both slices follow.
fn rounds(namespace: &str, requests: &[Request]) -> Vec<Round> {
    let app = app(HEAVY);
    let leader_slice = leader_service(&app);
    let mut by_arrival: Vec<_> = requests
        .iter()
        .filter(|request| request.namespace == namespace)
        .collect();
    by_arrival.sort_by_key(|request| request.received);
    let mut rounds = Vec::new();
    let (mut from, mut ours, mut native) = (None, None, None);
    for request in by_arrival {
        match (&*request.resource, &*request.verb) {
            ("pods", "patch" | "update" | "delete" | "create") => {
                (from, ours, native) = (Some(request.received), None, None);
            }
            ("endpointslices", "patch") if request.name == leader_slice && ours.is_none() => {
                ours = Some(request.clone());
            }
            ("endpointslices", "update") if native.is_none() => native = Some(request.clone()),
            _ => continue,
        }
        if let (Some(from), Some(ours), Some(native)) = (from, &ours, &native) {
            rounds.push(Round {
                from,
                ours: ours.clone(),
                native: native.clone(),
            });
        }
    }
    rounds
}

fn ms(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() * 1e3
}
