//! The round trip in one process, and many of them at once, each beside bare patches.

use std::time::Duration;

use criterion::Criterion;
use tokio::runtime::Runtime;
use zen_bench::cluster::Cluster;
use zen_bench::figures::{Table, in_turns};

use crate::CpuTime;

const ROUNDS: usize = 200;
const MASS: usize = 1_000;
const MASS_ROUNDS: usize = 10;

pub(crate) fn bench(criterion: &mut Criterion<CpuTime>, table: &mut Table) {
    let runtime = zen_bench::runtime();
    one(criterion, table, &runtime);
    mass(criterion, table, &runtime);
}

fn one(criterion: &mut Criterion<CpuTime>, table: &mut Table, runtime: &Runtime) {
    let mut floor = runtime.block_on(Cluster::floor(1));
    let mut ours = runtime.block_on(Cluster::controlled(1));
    let round = |cluster: &mut Cluster| runtime.block_on(cluster.fail_over(0..1));

    let mut group = criterion.benchmark_group("failover");
    // What follows a failover takes several times as long as it, and is not counted.
    group.measurement_time(Duration::from_millis(100));
    for (name, cluster) in [("bare", &mut floor), ("controlled", &mut ours)] {
        group.bench_function(name, |b| {
            b.iter_custom(|rounds| (0..rounds).map(|_| round(cluster)).sum());
        });
    }
    group.finish();

    ours.kube.clear_requests();
    runtime.block_on(ours.fail_over(0..1));
    #[expect(clippy::cast_precision_loss, reason = "three")]
    let requests = ours.kube.requests().len() as f64;
    table.figure("requests per failover", requests, 3.0, "");
    let mut ours_at_scale = runtime.block_on(Cluster::controlled(MASS));
    let (floors, times) = in_turns(
        ROUNDS,
        || runtime.block_on(floor.fail_over(0..1)),
        || runtime.block_on(ours.fail_over(0..1)),
    );
    table.beside("failover in process", &floors, &times);
    let (few, many) = in_turns(
        ROUNDS,
        || runtime.block_on(ours.fail_over(0..1)),
        || runtime.block_on(ours_at_scale.fail_over(500..501)),
    );
    table.compared(
        "failover among 1000 Services, 1 as floor",
        &few,
        &many,
        1.25,
    );
}

fn mass(criterion: &mut Criterion<CpuTime>, table: &mut Table, runtime: &Runtime) {
    let mut floor = runtime.block_on(Cluster::floor(MASS));
    let mut ours = runtime.block_on(Cluster::controlled(MASS));
    let mut group = criterion.benchmark_group("mass");
    group.bench_function("bare", |b| {
        b.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| runtime.block_on(floor.fail_over(0..MASS)))
                .sum()
        });
    });
    group.bench_function("controlled", |b| {
        b.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| runtime.block_on(ours.fail_over(0..MASS)))
                .sum()
        });
    });
    group.finish();
    let (floors, times) = in_turns(
        MASS_ROUNDS,
        || runtime.block_on(floor.fail_over(0..MASS)),
        || runtime.block_on(ours.fail_over(0..MASS)),
    );
    // All CPU time of client, watch and server, with a server that costs next to nothing: the
    // target is about time on a real one, see `bench-real`.
    table.beside("1000 leaders lost at once, in process", &floors, &times);
}
