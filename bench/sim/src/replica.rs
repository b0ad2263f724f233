//! One life of the controller: all its tasks can be held still, and dropped at once.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use simkube::SimKube;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;
use zen_lead::config::Config;
use zen_lead::jitter;
use zen_lead::logic::model::Key;
use zen_lead::metrics::Metrics;
use zen_lead::run::{Clients, Controller, Env};
use zen_lead::shell::clock::Clock;
use zen_lead::shell::lease::WritePermit;
use zen_lead::shell::reconciler::Reconciler;
use zen_lead::shell::write::Task;

use crate::trace;

/// Turns of one replica's tasks at one moment; a run takes fewer in all.
const TURNS_MAX: u32 = 100_000;

/// What a SIGSTOP closes.
pub(crate) struct Gate {
    number: u8,
    is_shut: AtomicBool,
    /// How often tasks have run at this moment. Locked for one look.
    turns: Mutex<(Option<Instant>, u32)>,
    /// Tasks that would have run. Locked for one insertion.
    waiting: Mutex<Vec<Waker>>,
}

impl Gate {
    /// The gate of a host.
    pub(crate) fn new(number: u8) -> Self {
        Self {
            number,
            is_shut: AtomicBool::new(false),
            turns: Mutex::default(),
            waiting: Mutex::default(),
        }
    }

    pub(crate) fn shut(&self) {
        self.is_shut.store(true, Ordering::Relaxed);
    }

    /// Whether tasks run again and again and time does not go on: they would for ever.
    pub(crate) fn spins(&self) -> bool {
        self.turns.lock().1 > TURNS_MAX
    }

    /// Whether a task may run: not once they spin.
    fn takes_turn(&self) -> bool {
        let now = Instant::now();
        let mut turns = self.turns.lock();
        if turns.1 <= TURNS_MAX {
            let before = turns.0.filter(|at| *at == now).map_or(0, |_| turns.1);
            *turns = (Some(now), before + 1);
        }
        turns.1 <= TURNS_MAX
    }

    pub(crate) fn open(&self) {
        self.is_shut.store(false, Ordering::Relaxed);
        let waiting = std::mem::take(&mut *self.waiting.lock());
        waiting.into_iter().for_each(Waker::wake);
    }
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
            self.gate.waiting.lock().push(context.waker().clone());
            return Poll::Pending;
        }
        if !self.gate.takes_turn() {
            return Poll::Pending;
        }
        let _speaks = trace::speak(self.gate.number);
        self.task.as_mut().poll(context)
    }
}

/// The wall clock of the controller's machine.
#[derive(Clone)]
pub(crate) struct Wall {
    epoch: jiff::Timestamp,
    began: Instant,
    ahead_s: Arc<AtomicI64>,
}

impl Wall {
    pub(crate) fn new(epoch: jiff::Timestamp) -> Self {
        Self {
            epoch,
            began: Instant::now(),
            ahead_s: Arc::default(),
        }
    }

    pub(crate) fn jump(&self, by_s: i64) {
        self.ahead_s.fetch_add(by_s, Ordering::Relaxed);
    }

    fn now(&self) -> jiff::Timestamp {
        let ahead = jiff::SignedDuration::from_secs(self.ahead_s.load(Ordering::Relaxed));
        self.epoch + self.began.elapsed() + ahead
    }
}

/// A controller at work.
pub(crate) struct Replica {
    tasks: Arc<Mutex<JoinSet<()>>>,
    stop: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<Result<(), &'static str>>,
    pub(crate) drive: Arc<Reconciler>,
    pub(crate) tenure: WritePermit,
    pub(crate) metrics: Arc<Metrics>,
    clock: Clock,
}

impl Replica {
    pub(crate) fn start(
        kube: &SimKube,
        name: &str,
        config: &Arc<Config>,
        wall: &Wall,
        gate: &Arc<Gate>,
        seed: u64,
    ) -> Self {
        let tasks: Arc<Mutex<JoinSet<()>>> = Arc::default();
        let (to, behind) = (Arc::clone(&tasks), Arc::clone(gate));
        let wall = wall.clone();
        let clock = Clock::new(Arc::new(move || wall.now()));
        let around = Env {
            clock: clock.clone(),
            jitter: jitter::from_seed(seed),
            spawn: Arc::new(move |task| {
                let gate = Arc::clone(&behind);
                to.lock().spawn(Gated { gate, task })
            }),
        };
        let clients = Clients {
            watch: kube.client_named(name),
            write: kube.client_named(name),
            lease: kube.client_named(name),
            follow: kube.client_named(name),
        };
        let metrics = Arc::new(Metrics::new(config.per_service_histograms_max));
        let controller = Controller::new(Arc::clone(config), clients, around, Arc::clone(&metrics));
        let (drive, tenure) = (controller.reconciler(), controller.tenure());
        let (stop, stopped) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel();
        let main = async move {
            let outcome = controller.run(async move { drop(stopped.await) }).await;
            let _the_receiver_may_be_gone = end.send(outcome);
        };
        tasks.lock().spawn(Gated {
            gate: Arc::clone(gate),
            task: Box::pin(main),
        });
        Self {
            tasks,
            stop: Some(stop),
            ended,
            drive,
            tenure,
            metrics,
            clock,
        }
    }

    /// Whether the watch of this resource has noticed that etcd was restored.
    pub(crate) fn has_noticed(&self, resource: &str) -> bool {
        let page = self.metrics.encode(self.clock.now());
        let labels = format!("{{resource=\"{resource}\",reason=\"restored\"}} ");
        page.contains(&format!("zen_lead_watch_restarts_total{labels}"))
    }

    /// Has it look at these sources, though there is no news.
    pub(crate) fn look_at(&self, sources: impl IntoIterator<Item = Key>) {
        let now = self.clock.moment();
        for source in sources {
            self.drive.schedule(source, now);
        }
    }

    /// Why it is not alive and well, if it is not.
    pub(crate) fn trouble(&mut self) -> Option<String> {
        let mut tasks = self.tasks.lock();
        while let Some(ended) = tasks.try_join_next() {
            if let Err(why) = ended
                && why.is_panic()
            {
                return Some(format!(
                    "a task of the controller panicked: {}",
                    panic_text(why.into_panic().as_ref())
                ));
            }
        }
        match self.ended.try_recv() {
            Ok(Ok(())) => Some("the controller ended".into()),
            Ok(Err(part)) => Some(format!("{part} of the controller ended")),
            Err(_) => None,
        }
    }

    /// Dies between two requests.
    pub(crate) async fn crash(self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.shutdown().await;
    }

    /// Is told to stop, and has two seconds to do so.
    pub(crate) async fn stop(mut self) -> Result<(), String> {
        if let Some(stop) = self.stop.take() {
            let _it_has_ended = stop.send(());
        }
        let limit = std::time::Duration::from_secs(2);
        let ended = tokio::time::timeout(limit, &mut self.ended).await;
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.shutdown().await;
        match ended {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(part))) => Err(format!("{part} ended while the controller stopped")),
            Ok(Err(_)) => Err("the controller died while it stopped".into()),
            Err(_) => Err("the controller did not stop within 2 s".into()),
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "something".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wakes itself whenever it runs.
    struct Restless;

    impl Future for Restless {
        type Output = ();

        fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_goes_on_when_a_task_spins() {
        let gate = Arc::new(Gate::new(0));
        let task = Gated {
            gate: Arc::clone(&gate),
            task: Box::pin(Restless),
        };
        let running = tokio::spawn(task);
        assert!(!gate.spins());
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert!(gate.spins());
        running.abort();
    }
}
