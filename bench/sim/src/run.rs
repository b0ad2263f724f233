//! One run: the schedule happens, the judge watches, peace comes, the oracle looks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use simkube::{Expiry, Kind, Options, Rule, SimKube};
use tokio::time::{Instant, sleep, sleep_until};
use zen_lead::config::{Config, Flags};
use zen_lead::logic::model::Key;

use crate::event::{NS, SOURCES};
use crate::judge::Judge;
use crate::oracle;
use crate::plan::{Fault, Plan, SPAN_MS, What};
use crate::replica::{Gate, Replica, Wall};
use crate::trace::{Ear, Trace};
use crate::trouble::Troubles;

/// Faults have been off for so long when the oracle looks.
const PEACE: Duration = Duration::from_mins(1);
/// So long after that nothing may be written any more.
const QUIET: Duration = Duration::from_secs(30);

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
    let judge = Arc::new(Judge::new(trace.clone()));
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
    Start,
    Resume,
    Allow,
    Collect,
    Forget(Kind),
}

struct Stage {
    kube: SimKube,
    judge: Arc<Judge>,
    troubles: Arc<Troubles>,
    trace: Trace,
    config: Arc<Config>,
    wall: Wall,
    gate: Arc<Gate>,
    replica: Option<Replica>,
    lives: u64,
    seed: u64,
    began: Instant,
    due: BTreeSet<(u64, u64)>,
    what: BTreeMap<u64, Due>,
    denied: Vec<(Instant, Rule)>,
    counts: BTreeMap<String, u64>,
}

fn options(plan: &Plan) -> Options {
    let world = &plan.world;
    Options {
        seed: plan.seed,
        dual_stack: world.dual_stack,
        watch_list: world.streaming,
        expiry: if world.refuses_by_status {
            Expiry::Status
        } else {
            Expiry::Frame
        },
        history: world.history,
        chunk: world.chunk,
        log_limit: 20_000,
        ..Options::default()
    }
}

fn config() -> Config {
    let flags = ["--leader-election-namespace=zl".to_owned()];
    let flags = Flags::parse(flags).expect("good flags");
    Config::resolve(&flags, |_| None).expect("good flags")
}

impl Stage {
    fn new(plan: &Plan, trace: Trace, judge: Arc<Judge>) -> Self {
        let options = options(plan);
        let wall = Wall::new(options.epoch);
        let kube = SimKube::new(options);
        kube.namespace(NS);
        let troubles = Arc::new(Troubles::new(plan.seed, Arc::clone(&judge)));
        kube.set_faults(Arc::clone(&troubles) as _);
        kube.set_observer(Arc::clone(&judge) as _);
        let mut stage = Self {
            kube,
            judge,
            troubles,
            trace,
            config: Arc::new(config()),
            wall,
            gate: Arc::default(),
            replica: None,
            lives: 0,
            seed: plan.seed,
            began: Instant::now(),
            due: BTreeSet::new(),
            what: BTreeMap::new(),
            denied: Vec::new(),
            counts: BTreeMap::new(),
        };
        stage.plan(20, Due::Start);
        for (at, step) in plan.steps.iter().enumerate() {
            stage.plan(step.at_ms, Due::Step(at));
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
        let number = self.what.len() as u64;
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
            if at_ms > SPAN_MS {
                break;
            }
            self.wait_until(self.began + Duration::from_millis(at_ms))
                .await?;
            self.due.remove(&(at_ms, number));
            let Some(due) = self.what.get(&number).cloned() else {
                continue;
            };
            self.happen(plan, &due).await?;
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
        self.judge.check_requests(&self.kube.requests())?;
        let before = self.writes();
        self.wait_until(Instant::now() + QUIET).await?;
        let after = self.writes();
        if after.len() > before.len() {
            return Err(format!("it still writes: {:?}", &after[before.len()..]));
        }
        Ok(())
    }

    /// Waits, unless the controller dies of a fault, or something is wrong.
    async fn wait_until(&mut self, until: Instant) -> Result<(), String> {
        loop {
            let dies = tokio::select! {
                biased;
                () = self.judge.alarm.notified() => false,
                () = self.troubles.death.notified() => true,
                () = sleep_until(until) => return self.check(),
            };
            self.check()?;
            if dies {
                self.crash("CrashInWrite", 1_000).await;
            }
        }
    }

    fn check(&mut self) -> Result<(), String> {
        if let Some(what) = self.judge.violation() {
            return Err(what);
        }
        match self.replica.as_mut().and_then(Replica::trouble) {
            Some(what) => Err(what),
            None => Ok(()),
        }
    }

    /// Every request that was to change a Service or a slice.
    fn writes(&self) -> Vec<String> {
        let writes = self.kube.writes().into_iter();
        writes
            .filter(|record| record.kind != Some(Kind::Event))
            .map(|record| {
                format!(
                    "{} {} {} -> {}",
                    record.verb.name(),
                    record.kind.map_or("", Kind::name),
                    record.name,
                    record.status
                )
            })
            .collect()
    }

    async fn happen(&mut self, plan: &Plan, due: &Due) -> Result<(), String> {
        match due {
            Due::Step(at) => match &plan.steps[*at].what {
                What::Event(event) => {
                    self.trace.say(&format!("{event:?}"));
                    self.count(format!("event {}", event.kind()));
                    event.happen(&self.kube);
                }
                What::Fault(fault) => {
                    self.trace.say(&format!("fault {fault:?}"));
                    self.fault(fault).await?;
                }
            },
            Due::Start => self.start(),
            Due::Resume => {
                self.trace.say("the controller goes on");
                self.gate.open();
            }
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
            Due::Collect => {
                self.kube.gc();
                if let Some(every) = plan.world.collector_ms {
                    self.after(every, Due::Collect);
                }
            }
        }
        self.check()
    }

    fn deny(&self) {
        self.kube
            .set_deny(self.denied.iter().map(|(_, rule)| rule.clone()).collect());
    }

    async fn fault(&mut self, fault: &Fault) -> Result<(), String> {
        let what = fault.kind();
        match *fault {
            Fault::Requests { .. } | Fault::Frames { .. } | Fault::Lag { .. } => {
                self.troubles.begin(fault);
            }
            Fault::Blackout { kind, for_ms } => {
                self.count(format!("fault {what}"));
                self.troubles.begin(fault);
                self.after(for_ms, Due::Forget(kind));
            }
            Fault::CrashInWrite { .. } => {
                if self.replica.is_some() {
                    self.troubles.begin(fault);
                }
            }
            Fault::Forbid {
                verb,
                resource,
                for_ms,
            } => {
                self.count(format!("fault {what}"));
                self.judge.forbidden();
                self.denied.push((
                    Instant::now() + Duration::from_millis(for_ms),
                    Rule::new(verb, resource, ""),
                ));
                self.deny();
                self.after(for_ms, Due::Allow);
            }
            Fault::Compact => {
                self.count(format!("fault {what}"));
                self.kube.compact_to_now();
            }
            Fault::Unwatch { kind, broken } => {
                self.count(format!("fault {what}"));
                if broken {
                    self.kube.break_watches(kind);
                } else {
                    self.kube.close_watches(kind);
                }
            }
            Fault::Pause { for_ms } => {
                if self.replica.is_some() {
                    self.count(format!("fault {what}"));
                    self.gate.shut();
                    self.after(for_ms, Due::Resume);
                }
            }
            Fault::Jump { by_s } => {
                self.count(format!("fault {what}"));
                self.judge.wall_jumped();
                self.wall.jump(by_s);
            }
            Fault::Crash { down_ms } => self.crash(&what, down_ms).await,
            Fault::Restart { down_ms } => {
                self.gate.open();
                if let Some(replica) = self.replica.take() {
                    self.count(format!("fault {what}"));
                    replica.stop().await?;
                    self.after(down_ms, Due::Start);
                }
            }
        }
        Ok(())
    }

    fn start(&mut self) {
        if self.replica.is_some() {
            return;
        }
        self.lives += 1;
        self.trace
            .say(&format!("the controller starts, life {}", self.lives));
        self.judge.born();
        let seed = self.seed.wrapping_add(self.lives);
        self.replica = Some(Replica::start(
            &self.kube,
            &self.config,
            &self.wall,
            &self.gate,
            seed,
        ));
    }

    async fn crash(&mut self, what: &str, down_ms: u64) {
        if let Some(replica) = self.replica.take() {
            if what != "CrashInWrite" {
                self.count(format!("fault {what}"));
            }
            self.trace.say("the controller crashes");
            replica.crash().await;
            self.gate.open();
            self.after(down_ms, Due::Start);
        }
    }

    /// What the controller thinks of the source that a violation names.
    fn machines(&self, violation: &str) -> Vec<String> {
        let Some(replica) = &self.replica else {
            return Vec::new();
        };
        let key = |name: &str| Key::new(NS, name);
        let named = |name: &&&str| violation.contains(&format!("source {name}"));
        let all = SOURCES.iter().filter(named);
        all.filter_map(|name| replica.drive.debug(&key(name)))
            .map(|machine| format!("{machine:#}"))
            .collect()
    }

    fn make_peace(&mut self) {
        self.trace.say("peace");
        self.troubles.end();
        self.denied.clear();
        self.deny();
        self.gate.open();
        self.start();
    }

    /// Drops what still runs.
    async fn leave(&mut self) {
        if let Some(replica) = self.replica.take() {
            replica.crash().await;
        }
        sleep(Duration::from_millis(1)).await;
    }
}
