//! Every metric that is written out counts something: a story in which each family moves.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use simkube::{FrameVerdict, Kind, Verb, Verdict};
use tokio::time::{Instant, sleep};

use crate::support::{NS, World, ms, secs};

/// What says the same for as long as a process lives, or is the operating system's business.
fn is_constant(family: &str) -> bool {
    family == "zen_lead_build" || family.starts_with("process_")
}

/// The values of every series that were ever written out. Before it appears, it is 0.
#[derive(Default)]
struct Seen {
    families: BTreeSet<String>,
    values: BTreeMap<String, BTreeSet<String>>,
}

impl Seen {
    fn look(&mut self, world: &World) {
        let replica = world.replica();
        let text = replica.metrics.encode(replica.clock.now());
        for line in text.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                let name = family.split(' ').next().unwrap_or_default();
                self.families.insert(name.to_owned());
            } else if let Some((series, value)) = line.rsplit_once(' ')
                && !line.starts_with('#')
            {
                let number: f64 = value.parse().expect("a number");
                let zero = || BTreeSet::from(["0".to_owned()]);
                let values = self.values.entry(series.to_owned()).or_insert_with(zero);
                values.insert(number.to_string());
            }
        }
    }

    /// The families of which no series ever changed.
    fn still(&self) -> Vec<&str> {
        let moves = |family: &str| {
            let mut all = self.values.iter();
            all.any(|(series, values)| {
                let rest = series.strip_prefix(family);
                let is_of = rest.is_some_and(|rest| {
                    let suffix = rest.split('{').next().unwrap_or_default();
                    ["", "_total", "_bucket", "_count", "_sum", "_info"].contains(&suffix)
                });
                is_of && values.len() > 1
            })
        };
        let families = self.families.iter().map(String::as_str);
        families
            .filter(|family| !is_constant(family) && !moves(family))
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn every_metric_moves() {
    let mut world = World::new();
    let mut seen = Seen::default();
    world
        .source("web")
        .port("admin", 81, "admin".to_owned())
        .annotation("zen-lead.io/followers-service-name", "web-ro")
        .create();
    world.pods("web", &["a", "b", "c"]);
    // Its application names a pod, and later none.
    world
        .source("db")
        .annotation("zen-lead.io/follow", "label/role=primary")
        .create();
    world.pod("db", "db-0");
    world
        .kube
        .label(Kind::Pod, NS, "db-0", "role", Some("primary"));
    // A list takes too long.
    let mut hangs = true;
    world.on_request(move |request| {
        if request.kind == Some(Kind::Pod) && std::mem::take(&mut hangs) {
            return Verdict::Hang { applied: false };
        }
        Verdict::Pass
    });
    world.launch("--failover-budget-per-service=2");
    seen.look(&world);
    world.until_leader("web", "a").await;
    world.settle().await;
    seen.look(&world);

    // A failover whose first write fails.
    let mut fails = true;
    world.on_request(move |request| {
        let is_it = request.kind == Some(Kind::EndpointSlice) && request.verb == Verb::Patch;
        if is_it && std::mem::take(&mut fails) {
            return Verdict::Answer {
                code: 503,
                retry_after: None,
                applied: false,
            };
        }
        Verdict::Pass
    });
    world.kube.set_ready(NS, "a", false);
    world.until_leader("web", "b").await;
    world.settle().await;
    seen.look(&world);

    // One that another writer gets in the way of.
    let late = Instant::now() + secs(2);
    world.on_frame(move |frame| match frame.kind {
        Kind::EndpointSlice => FrameVerdict::HoldUntil(late),
        _ => FrameVerdict::Deliver,
    });
    let slice = "web-leader";
    world
        .kube
        .label(Kind::EndpointSlice, NS, slice, "note", Some("x"));
    world.kube.set_ready(NS, "b", false);
    world.until_leader("web", "c").await;
    world.heal();
    world.settle().await;
    seen.look(&world);

    // The budget is used up: the next one is held.
    world.kube.set_ready(NS, "a", true);
    world.kube.set_ready(NS, "c", false);
    world.settle().await;
    seen.look(&world);

    world.kube.label(Kind::Pod, NS, "db-0", "role", None);
    world.settle().await;
    seen.look(&world);

    // A slice of another writer, a watch that breaks, and in the end no pod at all.
    let foreign = json!({
        "metadata": {
            "namespace": NS,
            "name": "foreign",
            "labels": {"kubernetes.io/service-name": "web-leader"},
        },
        "addressType": "IPv4",
        "endpoints": [],
    });
    world.kube.create(Kind::EndpointSlice, NS, &foreign);
    world.kube.break_watches(Kind::Pod);
    for pod in ["a", "b", "c"] {
        world.kube.delete_pod(NS, pod, 0);
    }
    world.until_none("web").await;
    sleep(secs(700)).await;
    sleep(ms(1)).await;
    seen.look(&world);
    assert_eq!(seen.still(), Vec::<&str>::new());
    assert!(seen.families.len() >= 41, "{:?}", seen.families);
}
