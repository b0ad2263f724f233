//! One life of the controller, which can be held still as by SIGSTOP, stopped and killed.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use simkube::{Options, SimKube};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;
use zen_lead::jitter;
use zen_lead::metrics::Metrics;
use zen_lead::run::{Clients, Controller, Env};
use zen_lead::shell::clock::Clock;
use zen_lead::shell::lease::WritePermit;
use zen_lead::shell::reconciler::Reconciler;
use zen_lead::shell::serve::{Health, Readiness};
use zen_lead::shell::write::Task;

use super::config;

/// What a SIGSTOP closes.
#[derive(Default)]
struct Gate {
    is_shut: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

/// A task behind the gate.
struct Gated {
    gate: Arc<Gate>,
    task: Task,
}

impl Future for Gated {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.gate.is_shut.load(Ordering::Relaxed) {
            let mut waiting = self.gate.waiting.lock().expect("no panic");
            waiting.push(context.waker().clone());
            return Poll::Pending;
        }
        self.task.as_mut().poll(context)
    }
}

/// A controller at work.
pub struct Replica {
    stop: oneshot::Sender<()>,
    ended: Mutex<oneshot::Receiver<Result<(), &'static str>>>,
    tasks: Arc<Mutex<JoinSet<()>>>,
    gate: Arc<Gate>,
    pub clock: Clock,
    pub health: Arc<Health>,
    pub readiness: Arc<Readiness>,
    pub drive: Arc<Reconciler>,
    pub tenure: WritePermit,
    pub metrics: Arc<Metrics>,
}

impl Replica {
    /// Starts one whose connections are called `watch<name>`, `write<name>`, `lease<name>` and
    /// `follow<name>`.
    pub fn launch(kube: &SimKube, name: &str, seed: u64, began: Instant, flags: &str) -> Self {
        let epoch = Options::default().epoch;
        let clock = Clock::new(Arc::new(move || epoch + began.elapsed()));
        let config = Arc::new(config(flags));
        let metrics = Arc::new(Metrics::new(config.per_service_histograms_max));
        let (tasks, gate): (Arc<Mutex<JoinSet<()>>>, Arc<Gate>) = Default::default();
        let (spawner, behind) = (Arc::clone(&tasks), Arc::clone(&gate));
        let spawn = move |task| {
            let gate = Arc::clone(&behind);
            let mut tasks = spawner.lock().expect("no panic");
            tasks.spawn(Gated { gate, task })
        };
        let around = Env {
            clock: clock.clone(),
            jitter: jitter::from_seed(seed),
            spawn: Arc::new(spawn.clone()),
        };
        let clients = Clients {
            watch: kube.client_named(&format!("watch{name}")),
            write: kube.client_named(&format!("write{name}")),
            lease: kube.client_named(&format!("lease{name}")),
            follow: kube.client_named(&format!("follow{name}")),
        };
        let controller = Controller::new(config, clients, around, Arc::clone(&metrics));
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let replica = Self {
            stop,
            ended: Mutex::new(ended),
            tasks,
            gate,
            clock,
            health: controller.health(),
            readiness: controller.readiness(),
            drive: controller.reconciler(),
            tenure: controller.tenure(),
            metrics,
        };
        spawn(Box::pin(async move {
            let outcome = controller.run(async move { drop(stopped.await) }).await;
            let _the_receiver_may_be_gone = end.send(outcome);
        }));
        replica
    }

    /// That neither it nor a task of it has died.
    pub fn check(&self) {
        let ended = self.ended.lock().expect("no panic").try_recv();
        assert!(ended.is_err(), "the controller ended: {ended:?}");
        let mut tasks = self.tasks.lock().expect("no panic");
        while let Some(ended) = tasks.try_join_next() {
            if let Err(why) = ended {
                assert!(!why.is_panic(), "a task panicked: {why}");
            }
        }
    }

    /// Stops it in good order; says how long that took.
    pub async fn stop(self) -> Duration {
        let began = Instant::now();
        self.stop.send(()).expect("it listens");
        let ended = self.ended.into_inner().expect("no panic");
        assert_eq!(ended.await.expect("no panic"), Ok(()));
        let took = began.elapsed();
        self.tasks.lock().expect("no panic").abort_all();
        took
    }

    /// Kills it between two requests.
    pub fn crash(self) {
        self.tasks.lock().expect("no panic").abort_all();
    }

    /// SIGSTOP.
    pub fn pause(&self) {
        self.gate.is_shut.store(true, Ordering::Relaxed);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.gate.is_shut.store(false, Ordering::Relaxed);
        let waiting = std::mem::take(&mut *self.gate.waiting.lock().expect("no panic"));
        waiting.into_iter().for_each(Waker::wake);
    }
}
