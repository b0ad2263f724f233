//! The first sync of 10,000 Services and 100,000 pods in protobuf, next to streaming lists of the same
//! objects with the same loop and parse, of which nothing is kept.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use kube_client::Client;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use zen_bench::canned::Canned;
use zen_bench::figures::{Table, Times, cpu_time};
use zen_lead::logic::model::{Object, Pod, Service, Slice};
use zen_lead::logic::reflect::Change;
use zen_lead::run::Clients;
use zen_lead::shell::api::Scope;
use zen_lead::shell::clock::Clock;
use zen_lead::shell::watch::{self, Selectors, Source, WatchOptions};

use crate::CpuTime;

const SERVICES: usize = 10_000;
const PODS_EACH: usize = 10;
const ROUNDS: usize = 3;

pub(crate) fn bench(criterion: &mut Criterion<CpuTime>, table: &mut Table) {
    let small = Arc::new(Canned::new(SERVICES / 100, PODS_EACH, None));
    let mut group = criterion.benchmark_group("sync");
    group.bench_function("100 Services, 1000 pods", |b| {
        b.iter_custom(|rounds| (0..rounds).map(|_| first_sync(&small)).sum());
    });
    group.finish();
    drop(small);

    // The last one in any order: a controller that handles them one by one comes to it last.
    let server = Arc::new(Canned::new(SERVICES, PODS_EACH, Some(SERVICES - 1)));
    let (mut floors, mut times, mut lost) = (Times::default(), Times::default(), Times::default());
    for _ in 0..ROUNDS {
        floors.push(bare(&server));
        server.clear();
        times.push(first_sync(&server));
        lost.push(server.first_patch_after_sync());
    }
    let what = format!("first sync of {} objects", server.objects());
    table.compared(&what, &floors, &times, 1.3);
    let millis = lost.at(50).as_secs_f64() * 1e3;
    table.figure(
        "failover missed meanwhile, after the sync",
        millis,
        50.0,
        "ms",
    );
}

/// The three lists, thrown away object by object.
fn bare(server: &Arc<Canned>) -> Duration {
    let runtime = zen_bench::runtime();
    runtime.block_on(async {
        let from = cpu_time();
        let client = server.client();
        let tasks = tokio::task::LocalSet::new();
        let left = Rc::new(Cell::new(3));
        tasks.spawn_local(list::<Service>(client.clone(), Rc::clone(&left)));
        tasks.spawn_local(list::<Slice>(client.clone(), Rc::clone(&left)));
        tasks.spawn_local(list::<Pod>(client, Rc::clone(&left)));
        tasks
            .run_until(async {
                while left.get() > 0 {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        cpu_time().saturating_sub(from)
    })
}

async fn list<T: Object>(client: Client, left: Rc<Cell<usize>>) {
    let source = Source {
        client,
        scope: Scope::All,
        selectors: Selectors::default(),
        options: WatchOptions::default(),
    };
    let clock = Clock::system();
    let apply = move |change: Change<T>, _| {
        if matches!(change, Change::Retain { .. }) {
            left.set(left.get() - 1);
        }
    };
    watch::run(source, apply, |_| {}, move || clock.now(), || 0.5).await;
}

/// The controller's, until it says that it is ready; then until it has looked at everything.
fn first_sync(server: &Arc<Canned>) -> Duration {
    let runtime = zen_bench::runtime();
    runtime.block_on(async {
        let from = cpu_time();
        let clients = Clients {
            watch: server.client(),
            write: server.client(),
            lease: server.client(),
            follow: server.client(),
        };
        let controller = zen_bench::controller(clients);
        let readiness = controller.readiness();
        let (stop, stopped) = oneshot::channel::<()>();
        let mut main = JoinSet::new();
        main.spawn(controller.run(async move { drop(stopped.await) }));
        while readiness.check().is_err() {
            tokio::task::yield_now().await;
        }
        server.note_sync();
        let took = cpu_time().saturating_sub(from);
        while server.is_lost_unanswered() {
            tokio::task::yield_now().await;
        }
        drop(stop);
        main.join_all().await;
        took
    })
}
