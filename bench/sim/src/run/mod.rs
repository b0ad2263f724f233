//! One run: the schedule happens, the judge watches, peace comes, the oracle looks.

mod app;
mod electors;
mod fault;
mod followed;
mod host;
mod kubelet;
mod lease;
mod rare;
mod rest;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use simkube::{Kind, Rule, SimKube};
use tokio::time::{Instant, sleep, sleep_until};

use self::electors::Electors;
use self::followed::Expected;
use self::host::Host;
use self::kubelet::Kubelets;
use self::rare::{Frozen, Mark, Saved};
use crate::event::{LEASE_NS, NS, SOURCES};
use crate::fault::Fault;
use crate::judge::Judge;
use crate::oracle;
use crate::plan::{Plan, SPAN_MS, What};
use crate::trace::{Ear, Trace};
use crate::trouble::Troubles;

/// Faults have been off for so long when the oracle looks.
const PEACE: Duration = Duration::from_mins(1);
/// A look in between: so long without an event, after a minute without a fault.
const CALM_MS: u64 = 30_000;
/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was wrong, if anything.
    pub violation: Option<String>,
    /// The last lines of the trace.
    pub trace: Vec<String>,
    /// What the controller thought in the end, if something was wrong.
    pub machines: Vec<String>,
    /// Of the whole trace.
    pub hash: u64,
    /// How often each event, fault, edge and reason occurred.
    pub counts: BTreeMap<String, u64>,
}

/// Runs a schedule from beginning to end.
///
/// # Panics
/// If the runtime cannot be made.
#[must_use]
pub fn run(plan: &Plan) -> Outcome {
    let trace = Trace::new();
    let judge = Arc::new(Judge::new(trace.clone(), &plan.world));
    let ear = Ear {
        trace: trace.clone(),
        judge: Arc::clone(&judge),
    };
    let heard = tracing::subscriber::set_default(ear);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let (violation, machines, counts) = runtime.block_on(async {
        trace.begin();
        let mut stage = Stage::new(plan, trace.clone(), judge);
        let violation = stage.play(plan).await.err();
        let machines = violation.as_deref().map(|what| stage.machines(what));
        stage.leave().await;
        (violation, machines.unwrap_or_default(), stage.counts())
    });
    drop(heard);
    Outcome {
        violation,
        trace: trace.lines(),
        machines,
        hash: trace.hash(),
        counts,
    }
}

/// Something that is due.
#[derive(Clone, Debug)]
enum Due {
    Step(usize),
    /// A host starts its controller.
    Start(usize),
    /// A controller that was held still goes on.
    Resume(usize),
    Allow,
    Collect,
    Forget(Kind),
    /// By now a replica has to have taken over, unless another fault came in between.
    TakenOver {
        after: &'static str,
        faults: u64,
    },
    /// If nothing has happened for a while, everything has to be as it should.
    Look,
    /// A backup is made.
    BackUp,
    /// The server is back with it.
    Restore(Mark),
    /// By now every replica has noticed, unless another fault came in between.
    Noticed(Mark),
    /// A replica that has not noticed is restarted.
    Remedy,
    /// What was refused is let through.
    Thaw(Mark),
    /// By now an application's move has been followed.
    Followed(Expected),
}

struct Stage {
    kube: SimKube,
    judge: Arc<Judge>,
    troubles: Arc<Troubles>,
    trace: Trace,
    hosts: Vec<Host>,
    kubelets: Kubelets,
    electors: Electors,
    began: Instant,
    due: BTreeSet<(u64, u64)>,
    what: BTreeMap<u64, Due>,
    planned: u64,
    denied: Vec<(Instant, Rule)>,
    /// The last event, and until when faults are in force.
    stirred: Instant,
    troubled: Instant,
    faults: u64,
    /// So long the Lease lasts.
    lease_ms: u64,
    saved: Option<Saved>,
    frozen: Option<Frozen>,
    counts: BTreeMap<String, u64>,
}

impl Stage {
    fn new(plan: &Plan, trace: Trace, judge: Arc<Judge>) -> Self {
        let options = plan.options();
        let epoch = options.epoch;
        let kube = SimKube::new(options);
        kube.namespace(NS);
        kube.namespace(LEASE_NS);
        let troubles = Arc::new(Troubles::new(plan.seed, Arc::clone(&judge)));
        kube.set_faults(Arc::clone(&troubles) as _);
        kube.set_observer(Arc::clone(&judge) as _);
        let replicas = 0..plan.world.replicas;
        let mut stage = Self {
            kubelets: Kubelets::start(&kube, &plan.world),
            electors: Electors::start(&kube, plan, epoch),
            kube,
            judge,
            troubles,
            trace,
            hosts: replicas.map(|of| Host::new(of, plan, epoch)).collect(),
            began: Instant::now(),
            due: BTreeSet::new(),
            what: BTreeMap::new(),
            planned: 0,
            denied: Vec::new(),
            stirred: Instant::now(),
            troubled: Instant::now(),
            faults: 0,
            lease_ms: 4_000 * u64::from(plan.world.renewal_s),
            saved: None,
            frozen: None,
            counts: BTreeMap::new(),
        };
        for host in 0..stage.hosts.len() {
            stage.plan(20 + 7 * host as u64, Due::Start(host));
        }
        for (at, step) in plan.steps.iter().enumerate() {
            stage.plan(step.at_ms, Due::Step(at));
            if let What::Fault(Fault::Restore { lost_ms, .. }) = step.what {
                stage.plan(step.at_ms.saturating_sub(lost_ms), Due::BackUp);
            }
        }
        if let Some(every) = plan.world.collector_ms {
            stage.plan(every, Due::Collect);
        }
        stage
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn plan(&mut self, at_ms: u64, due: Due) {
        let number = self.planned;
        self.planned += 1;
        self.due.insert((at_ms, number));
        self.what.insert(number, due);
    }

    fn after(&mut self, ms: u64, due: Due) {
        self.plan(self.now_ms() + ms, due);
    }

    fn count(&mut self, what: String) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn counts(&self) -> BTreeMap<String, u64> {
        let mut all = self.counts.clone();
        for (what, count) in self.troubles.counts() {
            *all.entry(format!("fault {what}")).or_default() += count;
        }
        all.extend(self.trace.counts());
        all
    }

    /// All that the schedule says, then peace.
    async fn play(&mut self, plan: &Plan) -> Result<(), String> {
        while let Some((at_ms, number)) = self.due.first().copied() {
            let until = self.began + Duration::from_millis(at_ms.min(SPAN_MS));
            if !self.is_reached(until).await? {
                continue;
            }
            if at_ms > SPAN_MS {
                break;
            }
            self.due.remove(&(at_ms, number));
            if let Some(due) = self.what.remove(&number) {
                self.happen(plan, &due).await?;
            }
        }
        self.wait_until(self.began + Duration::from_millis(SPAN_MS))
            .await?;
        self.make_peace();
        self.wait_until(Instant::now() + PEACE / 2).await?;
        if plan.world.collector_ms.is_some() {
            self.kube.gc();
        }
        self.wait_until(Instant::now() + PEACE / 2).await?;
        oracle::check(&self.kube, &self.judge)?;
        self.check_holder()?;
        self.judge.check_requests(&self.kube.requests())?;
        self.check_rest().await
    }

    /// Waits, unless something is wrong.
    async fn wait_until(&mut self, until: Instant) -> Result<(), String> {
        while !self.is_reached(until).await? {}
        Ok(())
    }

    /// Waits; not to the end if a controller dies of a fault, since what is due is another then.
    async fn is_reached(&mut self, until: Instant) -> Result<bool, String> {
        let is_reached = tokio::select! {
            biased;
            () = self.judge.alarm.notified() => false,
            () = self.troubles.death.notified() => {
                self.bury().await;
                false
            }
            () = sleep_until(until) => true,
        };
        self.check()?;
        Ok(is_reached)
    }

    fn check(&mut self) -> Result<(), String> {
        if let Some(what) = self.judge.violation() {
            return Err(what);
        }
        match self.hosts.iter_mut().find_map(Host::trouble) {
            Some(what) => Err(what),
            None => Ok(()),
        }
    }

    async fn happen(&mut self, plan: &Plan, due: &Due) -> Result<(), String> {
        match due {
            Due::Step(at) => match &plan.steps[*at].what {
                What::Event(event) => {
                    self.trace.say(&format!("{event:?}"));
                    let before = self.kube.resource_version();
                    event.happen(&self.kube);
                    self.elect(event);
                    // An event that changed nothing has not happened.
                    if self.kube.resource_version() > before {
                        self.count(format!("event {}", event.kind()));
                    }
                    self.stirred = Instant::now();
                    self.after(CALM_MS, Due::Look);
                }
                What::Fault(fault) => {
                    self.trace.say(&format!("fault {fault:?}"));
                    let is_calm = self.is_calm();
                    self.faults += 1;
                    let mark = self.mark(self.troubled);
                    self.trouble_for(fault.lasts_ms());
                    self.fault(fault, is_calm, mark).await?;
                }
            },
            Due::Start(host) => self.start(*host),
            Due::Resume(host) => self.resume(*host),
            Due::Allow => {
                let now = Instant::now();
                self.judge.forbidden();
                self.denied.retain(|(until, _)| now < *until);
                self.deny();
            }
            Due::Forget(kind) => {
                self.trace.say("the server forgets");
                self.kube.compact_to_now();
                self.kube.break_watches(*kind);
            }
            Due::Look => self.look()?,
            Due::BackUp => self.back_up(),
            Due::Restore(mark) => self.restore(*mark),
            Due::Noticed(mark) => self.check_noticed(*mark)?,
            Due::Remedy => self.remedy().await,
            Due::Thaw(mark) => self.thaw(*mark)?,
            Due::Followed(expected) => self.check_followed(expected)?,
            Due::TakenOver { after, faults } => self.check_taken_over(after, *faults)?,
            Due::Collect => {
                self.kube.gc();
                if let Some(every) = plan.world.collector_ms {
                    self.after(every, Due::Collect);
                }
            }
        }
        self.check()
    }

    fn trouble_for(&mut self, ms: u64) {
        let until = Instant::now() + Duration::from_millis(ms);
        self.troubled = self.troubled.max(until);
    }

    /// No fault is in force, nor was for a while.
    fn is_calm(&self) -> bool {
        Instant::now() >= self.troubled + PEACE && self.hosts.iter().all(Host::is_up)
    }

    /// In the middle of it all, if it has been calm for long enough.
    fn look(&mut self) -> Result<(), String> {
        let stirred = self.electors.moved().max(Some(self.stirred));
        let calm = Duration::from_millis(CALM_MS);
        let is_still = stirred.is_none_or(|at| Instant::now() >= at + calm);
        if !is_still || !self.is_calm() {
            return Ok(());
        }
        self.count("looks in between".into());
        oracle::check(&self.kube, &self.judge).map_err(|what| format!("in between: {what}"))
    }

    fn deny(&self) {
        self.kube
            .set_deny(self.denied.iter().map(|(_, rule)| rule.clone()).collect());
    }

    /// What the controllers think of the source that a violation names.
    fn machines(&self, violation: &str) -> Vec<String> {
        let named = |name: &&&str| violation.contains(&format!("source {name}"));
        let all: Vec<&str> = SOURCES.iter().filter(named).copied().collect();
        self.hosts
            .iter()
            .flat_map(|host| host.machines(&all))
            .collect()
    }

    fn make_peace(&mut self) {
        self.trace.say("peace");
        self.troubles.end();
        self.kube.set_admission(None);
        self.denied.clear();
        self.deny();
        self.kubelets.recover();
        self.electors.recover();
        for host in 0..self.hosts.len() {
            self.resume(host);
            self.start(host);
        }
    }

    /// Drops what still runs.
    async fn leave(&mut self) {
        self.kubelets.leave();
        self.electors.leave();
        for host in &mut self.hosts {
            host.crash().await;
        }
        sleep(Duration::from_millis(1)).await;
    }
}
