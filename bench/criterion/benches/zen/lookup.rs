//! Which Services does a pod concern? The answer must not cost more because of Services that cannot match.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use serde_json::json;
use zen_bench::figures::{Table, Times, timed};
use zen_bench::pods::{Facts, Template};
use zen_lead::logic::model::Pod;
use zen_lead::logic::time::{Moment, Now};
use zen_lead::store::{Origin, Store};

use crate::CpuTime;

const ROUNDS: usize = 50;
const LOOKUPS: u32 = 200;

pub(crate) fn bench(criterion: &mut Criterion<CpuTime>, table: &mut Table) {
    let mut group = criterion.benchmark_group("lookup");
    let mut stores: Vec<_> = [1, 100, 10_000].map(Shop::new).into();
    for shop in &mut stores {
        let id = BenchmarkId::from_parameter(shop.services);
        group.bench_function(id, |b| b.iter(|| shop.turn()));
    }
    group.finish();

    let mut times: Vec<Times> = vec![Times::default(); stores.len()];
    for _ in 0..ROUNDS {
        for (shop, times) in stores.iter_mut().zip(&mut times) {
            times.push(timed(|| (0..LOOKUPS).for_each(|_| shop.turn())).0 / LOOKUPS);
        }
    }
    for (shop, of_it) in stores.iter().zip(&times).skip(1) {
        let what = format!("pod put among {} Services, 1 as floor", shop.services);
        table.compared(&what, &times[0], of_it, 2.0);
    }
}

/// One namespace full of opted-in Services, which have a pair of their selectors in common, and one
/// pod that a single one of them selects.
struct Shop {
    services: usize,
    store: Store,
    pod: Pod,
    version: u64,
}

impl Shop {
    fn new(services: usize) -> Self {
        let store = Store::default();
        for number in 0..services {
            let service = json!({
                "metadata": {
                    "name": format!("web-{number}"), "namespace": "shop", "uid": format!("u{number}"),
                    "resourceVersion": "1", "annotations": {"zen-lead.io/enabled": "true"},
                },
                "spec": {
                    "selector": {"app": format!("web-{number}"), "app.kubernetes.io/part-of": "shop"},
                    "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
                },
            });
            let service = serde_json::from_value(service).expect("a Service");
            assert_eq!(store.put_service(service, Origin::Watch).len(), 1);
        }
        let mut json = Vec::new();
        let facts = Facts {
            namespace: "shop",
            name: "web-0-0",
            app: "web-0",
            number: 7,
            ready: true,
            version: 1,
            noise: 0,
        };
        Template::new().write(&facts, &mut json);
        Self {
            services,
            store,
            pod: serde_json::from_slice(&json).expect("a pod"),
            version: 1,
        }
    }

    /// The pod turns.
    fn turn(&mut self) {
        self.version += 1;
        let mut pod = self.pod.clone();
        pod.version = self.version.to_string().as_str().into();
        pod.ready = self.version.is_multiple_of(2);
        let now = Now {
            moment: Moment(i64::try_from(self.version).unwrap_or(i64::MAX)),
            wall: jiff::Timestamp::UNIX_EPOCH,
        };
        let touched = black_box(self.store.put_pod(pod, now));
        debug_assert_eq!(touched.len(), 1);
    }
}
