//! What is held of each pod and of each Service: bytes that were asked for and not given back.

use criterion::Criterion;
use simkube::Kind;
use stats_alloc::Region;
use zen_bench::figures::Table;
use zen_bench::fleet::{self, Fleet};
use zen_bench::pods::{Facts, Template};
use zen_lead::logic::model::{Pod, Service, Slice};
use zen_lead::logic::reflect::Frame;
use zen_lead::logic::time::{Moment, Now};
use zen_lead::store::{Origin, Store};

use crate::{ALLOCATOR, CpuTime};

const SERVICES: usize = 1_000;
const PODS_EACH: usize = 10;
/// What a pod may cost: `docs/PERFORMANCE.md`, targets.
const POD_BYTES_MAX: f64 = 800.0;

pub fn bench(_: &mut Criterion<CpuTime>, table: &mut Table) {
    let fleet = Fleet::new(SERVICES, 3);
    let store = Store::default();
    let of_services = held(|| {
        for object in fleet.kube.list(Kind::Service, "") {
            let service: Service = read(&object);
            drop(store.put_service(service, Origin::Watch));
        }
        for object in fleet.kube.list(Kind::EndpointSlice, "") {
            let slice: Slice = read(&object);
            drop(store.put_slice(slice, Origin::Watch));
        }
    });
    table.note(
        "held of a Service, its leader Service and slice",
        each(of_services, SERVICES),
        "B",
    );

    let template = Template::new();
    let of_pods = held(|| {
        let mut line = Vec::new();
        for number in 0..SERVICES * PODS_EACH {
            let (service, pod) = (number / PODS_EACH, number % PODS_EACH);
            let app = fleet::service_name(service);
            let facts = Facts {
                namespace: &fleet::namespace(service),
                name: &format!("{app}-6d4cf56db6-{pod:05}"),
                app: &app,
                number,
                ready: true,
                version: 1,
                noise: 0,
            };
            line.clear();
            template.frame("ADDED", &facts, &mut line);
            let Ok(Frame::Applied(pod)) = Frame::<Pod>::parse(&line) else {
                panic!("not a pod");
            };
            let now = Now {
                moment: Moment(0),
                wall: jiff::Timestamp::UNIX_EPOCH,
            };
            drop(store.put_pod(pod, now));
        }
    });
    let of_pod = each(of_pods, SERVICES * PODS_EACH);
    table.figure(
        "held of a pod that a Service selects",
        of_pod,
        POD_BYTES_MAX,
        "B",
    );

    let mut machines = None;
    let of_machines = held(|| machines = Some(Fleet::adopting(&fleet.kube, store)));
    table.note(
        "held of a Service's machine and figures",
        each(of_machines, SERVICES),
        "B",
    );
}

/// Reads an object from its text, as a watch does: from a tree it would come without the spare room
/// that lists grow with.
fn read<T: serde::de::DeserializeOwned>(object: &serde_json::Value) -> T {
    serde_json::from_str(&object.to_string()).expect("an object of its kind")
}

/// Bytes that `act` leaves behind.
fn held(act: impl FnOnce()) -> usize {
    let region = Region::new(ALLOCATOR);
    act();
    let change = region.change();
    change
        .bytes_allocated
        .saturating_sub(change.bytes_deallocated)
}

#[expect(clippy::cast_precision_loss, reason = "some megabytes")]
fn each(bytes: usize, count: usize) -> f64 {
    bytes as f64 / count as f64
}
