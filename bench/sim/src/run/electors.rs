//! Applications that elect their own leader: each pod of one is a candidate, and what they have agreed on
//! is said by a Lease or by a label.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use simkube::SimKube;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::app::{App, Move};
use crate::chance::Chance;
use crate::event::{Elector, ElectorAct};
use crate::plan::Plan;

/// Each elector looks so often.
const TURN: Duration = Duration::from_secs(2);

/// All electors of a run. Locked for one turn.
pub(super) struct Electors {
    inner: Arc<Mutex<Inner>>,
    kube: SimKube,
    at_work: Option<JoinHandle<()>>,
}

struct Inner {
    seed: u64,
    epoch: jiff::Timestamp,
    began: Instant,
    apps: Vec<App>,
    /// When one of them last named another pod.
    moved: Option<Instant>,
}

impl Electors {
    pub(super) fn start(kube: &SimKube, plan: &Plan, epoch: jiff::Timestamp) -> Self {
        let app = |of: &Elector| App {
            of: *of,
            leader: None,
            wrote: None,
            muted: None,
        };
        let inner = Arc::new(Mutex::new(Inner {
            seed: plan.seed,
            epoch,
            began: Instant::now(),
            apps: plan.world.electors.iter().map(app).collect(),
            moved: None,
        }));
        let (all, server) = (Arc::clone(&inner), kube.clone());
        let work = async move {
            loop {
                all.lock().turn(&server);
                sleep(TURN).await;
            }
        };
        Self {
            at_work: (!plan.world.electors.is_empty()).then(|| tokio::spawn(work)),
            inner,
            kube: kube.clone(),
        }
    }

    /// When one of them last named another pod.
    pub(super) fn moved(&self) -> Option<Instant> {
        self.inner.lock().moved
    }

    /// From now on this one says nothing for a while.
    pub(super) fn mute(&self, app: &str, for_ms: u64) {
        let until = Instant::now() + Duration::from_millis(for_ms);
        let mut inner = self.inner.lock();
        for known in inner.apps.iter_mut().filter(|known| known.of.app == app) {
            known.muted = known.muted.max(Some(until));
        }
    }

    /// All of them work again.
    pub(super) fn recover(&self) {
        for app in &mut self.inner.lock().apps {
            app.muted = None;
        }
    }

    pub(super) fn leave(&mut self) {
        if let Some(task) = self.at_work.take() {
            task.abort();
        }
    }

    /// Something happens to an application. A move is returned that is to be followed at once.
    pub(super) fn act(&self, app: &str, act: ElectorAct) -> Option<Move> {
        let mut inner = self.inner.lock();
        let mut chance = inner.chance(app);
        let clock = inner.clock();
        let now = Instant::now();
        let known = inner.apps.iter_mut().find(|known| known.of.app == app)?;
        if known.muted.is_some_and(|until| now < until) {
            return None;
        }
        let moved = known.act(&self.kube, act, &mut chance, clock);
        inner.moved = Some(now);
        moved
    }
}

impl Inner {
    /// The numbers of this moment: the same whatever else the schedule holds.
    fn chance(&self, app: &str) -> Chance {
        let at = u64::try_from(self.began.elapsed().as_millis()).unwrap_or_default();
        let app = u64::from(app.bytes().next().unwrap_or_default());
        Chance::new(self.seed ^ at.rotate_left(20) ^ app.rotate_left(56))
    }

    /// The time by a clock that is right.
    fn clock(&self) -> jiff::Timestamp {
        self.epoch + self.began.elapsed()
    }

    fn turn(&mut self, kube: &SimKube) {
        let now = Instant::now();
        let clock = self.clock();
        for at in 0..self.apps.len() {
            let mut chance = self.chance(self.apps[at].of.app);
            let app = &mut self.apps[at];
            if app.muted.is_some_and(|until| now < until) {
                continue;
            }
            let before = app.leader.clone();
            if app.of.habit.has_lease() {
                app.hold_lease(kube, &mut chance, clock);
            } else {
                app.hold_label(kube, &mut chance);
            }
            if app.leader != before {
                self.moved = Some(now);
            }
        }
    }
}
