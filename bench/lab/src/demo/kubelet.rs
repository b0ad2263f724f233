//! The application and its nodes, simulated: a kubelet that starts and ends pods, and a controller
//! that makes a pod again when one is gone, under its old name and a new UID, as a `StatefulSet`
//! does. Both look at what the API server holds, so they answer `kubectl delete pod` like any
//! other deletion.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use simkube::{Kind, SimKube};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{APP, NAMESPACE};

/// How many pods the application has.
pub(super) const REPLICAS: usize = 3;

/// Between two looks at the pods.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A container takes so long to start.
const START: Duration = Duration::from_millis(200);
/// And so long from there until its probe succeeds.
const WARM_UP: Duration = Duration::from_millis(500);
/// A process that crashed is back after so long.
const RESTART: Duration = Duration::from_millis(1_500);
/// A process that was asked to end serves on for so long.
const WIND_DOWN: Duration = Duration::from_millis(1_200);
/// A pod that is gone is made again after so long.
const REPLACE: Duration = Duration::from_millis(300);

/// What happens to the processes in the pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The process of this pod crashes, and is started again by and by.
    Crash(String),
    /// All of them crash, this one last, and stay down.
    CrashAll {
        /// The pod's name.
        last: Option<String>,
    },
    /// All that are down start again.
    Restore,
}

/// The process in a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    /// The pod was made.
    Scheduled { at: Duration },
    /// It has started and is not Ready yet.
    WarmingUp { at: Duration },
    /// It is Ready.
    Up,
    /// It is not there, and comes back then, or when it is told to.
    Down { until: Option<Duration> },
    /// It was asked to end.
    WindingDown { at: Duration },
}

/// What the kubelet writes into a pod's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    /// It runs, and has an address.
    Start,
    /// Its probe says so.
    Ready(bool),
    /// It has ended: the API server may forget it.
    Finish,
}

impl Process {
    /// What a process has become by `now`, and what the kubelet has to say about it.
    fn next(self, is_terminating: bool, now: Duration) -> (Self, Option<Deed>) {
        let has_passed = |at: Duration, span: Duration| now >= at + span;
        match self {
            Self::WindingDown { at } if has_passed(at, WIND_DOWN) => (self, Some(Deed::Finish)),
            Self::WindingDown { .. } => (self, None),
            // A process that is down has nothing to wind down.
            Self::Down { .. } if is_terminating => (self, Some(Deed::Finish)),
            _ if is_terminating => (Self::WindingDown { at: now }, None),
            Self::Scheduled { at } if has_passed(at, START) => {
                (Self::WarmingUp { at: now }, Some(Deed::Start))
            }
            Self::WarmingUp { at } if has_passed(at, WARM_UP) => {
                (Self::Up, Some(Deed::Ready(true)))
            }
            Self::Down { until: Some(until) } if now >= until => {
                (Self::Up, Some(Deed::Ready(true)))
            }
            Self::Scheduled { .. } | Self::WarmingUp { .. } | Self::Up | Self::Down { .. } => {
                (self, None)
            }
        }
    }

    fn is_ending(self) -> bool {
        matches!(self, Self::WindingDown { .. })
    }
}

/// Makes the application's Service, unless it is there.
pub(super) fn make_service(sim: &SimKube) {
    if sim.get(Kind::Service, NAMESPACE, APP).is_none() {
        let service = sim.service(NAMESPACE, APP).selector(&[("app", APP)]);
        service.port("http", 80, "http").create();
    }
}

/// All nodes and the application's controller.
pub(super) struct Workload {
    sim: SimKube,
    began: Instant,
    /// By UID: a successor of the same name is another pod.
    processes: BTreeMap<String, Process>,
    /// When each missing name was missed.
    missing: BTreeMap<String, Duration>,
    /// How many pods were made.
    made: usize,
    /// How many addresses were given out.
    addresses: u16,
}

struct Pod {
    name: String,
    uid: String,
    is_terminating: bool,
}

impl Workload {
    /// Makes the Service and the node. The pods come with [`Workload::run`].
    #[must_use]
    pub(super) fn new(sim: SimKube) -> Self {
        sim.node("node-1");
        make_service(&sim);
        Self {
            sim,
            began: Instant::now(),
            processes: BTreeMap::new(),
            missing: BTreeMap::new(),
            made: 0,
            addresses: 0,
        }
    }

    /// Runs the application for ever.
    pub(super) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                biased;
                Some(order) = orders.recv() => self.obey(&order),
                _ = ticks.tick() => self.look(),
            }
        }
    }

    fn look(&mut self) {
        let now = self.began.elapsed();
        let pods = self.pods();
        self.processes
            .retain(|uid, _| pods.iter().any(|pod| pod.uid == *uid));
        for pod in &pods {
            let process = self
                .processes
                .entry(pod.uid.clone())
                .or_insert(Process::Scheduled { at: now });
            let (next, deed) = process.next(pod.is_terminating, now);
            *process = next;
            if let Some(deed) = deed {
                self.write(&pod.name, deed);
            }
        }
        self.replace(&pods, now);
    }

    /// Makes the pods again that are gone.
    fn replace(&mut self, pods: &[Pod], now: Duration) {
        for name in (0..REPLICAS).map(|number| format!("{APP}-{number}")) {
            if pods.iter().any(|pod| pod.name == name) {
                self.missing.remove(&name);
                continue;
            }
            // The first ones come at once.
            let since = *self.missing.entry(name.clone()).or_insert(now);
            if self.made < REPLICAS || now >= since + REPLACE {
                let pod = self.sim.pod(NAMESPACE, &name).labels(&[("app", APP)]);
                let pod = pod.port("http", 8080).phase("Pending").ready(false);
                pod.create();
                self.made += 1;
            }
        }
    }

    fn obey(&mut self, order: &Order) {
        let now = self.began.elapsed();
        match order {
            Order::Crash(name) => self.crash(name, Some(now + RESTART)),
            Order::CrashAll { last } => {
                let mut names: Vec<String> = self.pods().into_iter().map(|pod| pod.name).collect();
                names.sort_by_key(|name| Some(name) == last.as_ref());
                for name in names {
                    self.crash(&name, None);
                }
            }
            Order::Restore => {
                for process in self.processes.values_mut() {
                    if let Process::Down { until } = process {
                        *until = Some(now);
                    }
                }
            }
        }
    }

    /// Ends the process of a pod; one that is ending anyway goes on doing so.
    fn crash(&mut self, name: &str, until: Option<Duration>) {
        let pods = self.pods();
        let uid = pods.into_iter().find(|pod| pod.name == name);
        let process = uid.and_then(|pod| self.processes.get_mut(&pod.uid));
        if let Some(process) = process.filter(|process| !process.is_ending()) {
            *process = Process::Down { until };
            self.write(name, Deed::Ready(false));
        }
    }

    fn pods(&self) -> Vec<Pod> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pods = self.sim.list(Kind::Pod, NAMESPACE).into_iter();
        let read = |pod: Value| Pod {
            name: text(&pod["metadata"]["name"]),
            uid: text(&pod["metadata"]["uid"]),
            is_terminating: pod["metadata"]["deletionTimestamp"].is_string(),
        };
        pods.map(read).collect()
    }

    /// Says it in the pod's status. A pod that is gone meanwhile needs no word.
    fn write(&mut self, name: &str, deed: Deed) {
        match deed {
            Deed::Start => {
                let [third, fourth] = self.addresses.to_be_bytes();
                // No two pods that live at the same time share one, and .0 is never given out.
                self.addresses = self
                    .addresses
                    .wrapping_add(if fourth == 253 { 3 } else { 1 });
                let ip = format!("10.244.{third}.{}", fourth + 1);
                self.sim.set_phase(NAMESPACE, name, "Running");
                self.sim.set_ips(NAMESPACE, name, &[&ip]);
            }
            Deed::Ready(is_ready) => {
                self.sim.set_ready(NAMESPACE, name, is_ready);
            }
            Deed::Finish => {
                self.sim.set_ready(NAMESPACE, name, false);
                self.sim.finish_termination(NAMESPACE, name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// What a kubelet says of a process, at which millisecond, if it looks at each.
    fn said(process: Process, terminating_from: u64, until: u64) -> Vec<(u64, Deed)> {
        let mut process = process;
        let mut said = Vec::new();
        for now in 0..until {
            let (next, deed) = process.next(now >= terminating_from, ms(now));
            process = next;
            if let Some(deed) = deed {
                said.push((now, deed));
                if deed == Deed::Finish {
                    break;
                }
            }
        }
        said
    }

    #[test]
    fn a_process_starts_crashes_and_ends() {
        const NEVER: u64 = u64::MAX;
        let at = Duration::ZERO;
        for (what, process, terminating_from, expected) in [
            (
                "a start",
                Process::Scheduled { at },
                NEVER,
                vec![(200, Deed::Start), (700, Deed::Ready(true))],
            ),
            ("nothing new", Process::Up, NEVER, vec![]),
            (
                "a crash",
                Process::Down {
                    until: Some(ms(1_500)),
                },
                NEVER,
                vec![(1_500, Deed::Ready(true))],
            ),
            (
                "down for good",
                Process::Down { until: None },
                NEVER,
                vec![],
            ),
            (
                "a graceful end, ready to the last",
                Process::Up,
                100,
                vec![(1_300, Deed::Finish)],
            ),
            (
                "the end of one that is down",
                Process::Down { until: None },
                100,
                vec![(100, Deed::Finish)],
            ),
            (
                "the end of one that has hardly begun",
                Process::Scheduled { at },
                100,
                vec![(1_300, Deed::Finish)],
            ),
        ] {
            assert_eq!(said(process, terminating_from, 5_000), expected, "{what}");
        }
    }

    struct World {
        sim: SimKube,
        orders: mpsc::UnboundedSender<Order>,
        _task: tokio::task::JoinHandle<()>,
    }

    impl World {
        fn new() -> Self {
            let sim = SimKube::new(simkube::Options::default());
            let (orders, given) = mpsc::unbounded_channel();
            let task = tokio::spawn(Workload::new(sim.clone()).run(given));
            Self {
                sim,
                orders,
                _task: task,
            }
        }

        /// `name ready` of each pod, with `!` when it terminates.
        fn words(&self) -> Vec<String> {
            let pods = self.sim.list(Kind::Pod, NAMESPACE);
            let word = |pod: &Value| {
                let ready = &pod["status"]["conditions"][0]["status"];
                let ends = pod["metadata"]["deletionTimestamp"].is_string();
                let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                let short = name.trim_start_matches(APP).trim_start_matches('-');
                format!(
                    "{short} {}{}",
                    ready.as_str().unwrap_or("?"),
                    if ends { "!" } else { "" }
                )
            };
            pods.iter().map(word).collect()
        }

        fn uid(&self, name: &str) -> Value {
            let pod = self.sim.get(Kind::Pod, NAMESPACE, name);
            pod.expect("it is there")["metadata"]["uid"].clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pods_come_back_under_new_uids() {
        let world = World::new();
        tokio::time::sleep(ms(1_000)).await;
        assert_eq!(world.words(), ["0 True", "1 True", "2 True"]);

        let before = world.uid("my-app-1");
        assert!(world.sim.delete(Kind::Pod, NAMESPACE, "my-app-1"));
        tokio::time::sleep(ms(500)).await;
        assert_eq!(
            world.words(),
            ["0 True", "1 True!", "2 True"],
            "it still serves"
        );
        tokio::time::sleep(ms(1_000)).await;
        assert_eq!(world.words(), ["0 True", "2 True"], "it is gone");
        tokio::time::sleep(ms(2_000)).await;
        assert_eq!(world.words(), ["0 True", "1 True", "2 True"], "made again");
        assert_ne!(world.uid("my-app-1"), before);

        world.sim.delete_pod(NAMESPACE, "my-app-2", 0);
        tokio::time::sleep(ms(2_000)).await;
        assert_eq!(world.words(), ["0 True", "1 True", "2 True"], "after force");
    }

    #[tokio::test(start_paused = true)]
    async fn processes_crash_and_are_restored() {
        let world = World::new();
        tokio::time::sleep(ms(1_000)).await;
        let order = |order| world.orders.send(order).expect("it listens");
        order(Order::Crash("my-app-0".into()));
        tokio::time::sleep(ms(100)).await;
        assert_eq!(world.words(), ["0 False", "1 True", "2 True"]);
        tokio::time::sleep(ms(2_000)).await;
        assert_eq!(world.words(), ["0 True", "1 True", "2 True"], "restarted");

        order(Order::CrashAll {
            last: Some("my-app-0".into()),
        });
        tokio::time::sleep(ms(60_000)).await;
        assert_eq!(
            world.words(),
            ["0 False", "1 False", "2 False"],
            "stay down"
        );
        order(Order::Restore);
        tokio::time::sleep(ms(100)).await;
        assert_eq!(world.words(), ["0 True", "1 True", "2 True"], "restored");
    }
}
