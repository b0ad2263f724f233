//! Whether our own tasks still run, and whether the first sync is complete. Reads no clock.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use crate::logic::time::Moment;

/// A task that has not run for this long makes the process unhealthy.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// The watchdog ticks every second. A gap this long between two looks means that the whole process
/// stood still (SIGSTOP, a frozen machine, no CPU), not one task.
const GAP: Duration = Duration::from_secs(5);

/// Heartbeats of our own tasks.
#[derive(Debug)]
pub struct Health {
    /// As many as there are tasks. Locked to add or remove one and to look at all.
    tasks: Mutex<Vec<TaskHealth>>,
    looked: AtomicI64,
    /// Until then no task is blamed: the process has just stood still.
    grace: AtomicI64,
}

#[derive(Debug)]
struct TaskHealth {
    name: Box<str>,
    beat: Arc<AtomicI64>,
}

/// One task's pulse. Dropping it changes nothing: a task that died is not healthy.
#[derive(Debug)]
pub struct Heartbeat(Arc<AtomicI64>);

impl Heartbeat {
    /// The task runs.
    pub fn beat(&self, at: Moment) {
        self.0.fetch_max(at.0, Relaxed);
    }
}

impl Health {
    /// No task yet.
    #[must_use]
    pub fn new(now: Moment) -> Self {
        Self {
            tasks: Mutex::default(),
            looked: AtomicI64::new(now.0),
            grace: AtomicI64::new(i64::MIN),
        }
    }

    /// A task starts, and from now on has to beat at least every 30 s, whatever it waits for.
    #[must_use = "a task that never beats is taken for dead"]
    pub fn task(&self, name: impl Into<Box<str>>, now: Moment) -> Heartbeat {
        let beat = Arc::new(AtomicI64::new(now.0));
        self.tasks.lock().push(TaskHealth {
            name: name.into(),
            beat: Arc::clone(&beat),
        });
        Heartbeat(beat)
    }

    /// A task came to its intended end.
    pub fn retire(&self, heart: &Heartbeat) {
        self.tasks
            .lock()
            .retain(|task| !Arc::ptr_eq(&task.beat, &heart.0));
    }

    /// A look at the clock: notices when the process stood still.
    pub fn tick(&self, now: Moment) {
        let looked = Moment(self.looked.fetch_max(now.0, Relaxed));
        if now.since(looked) > GAP {
            self.grace.fetch_max((now + SILENCE_MAX).0, Relaxed);
        }
    }

    /// The tasks that do not run, in words.
    pub fn check(&self, now: Moment) -> Result<(), String> {
        self.tick(now);
        if now.0 < self.grace.load(Relaxed) {
            return Ok(());
        }
        let mut silent = String::new();
        for task in &*self.tasks.lock() {
            let silence = now.since(Moment(task.beat.load(Relaxed)));
            if silence > SILENCE_MAX {
                let comma = if silent.is_empty() { "" } else { ", " };
                // Writing to a String cannot fail.
                let _ = write!(silent, "{comma}{} for {} s", task.name, silence.as_secs());
            }
        }
        if silent.is_empty() {
            Ok(())
        } else {
            Err(format!("not running: {silent}"))
        }
    }
}

/// What has to come true before the process is ready.
#[derive(Debug, Default)]
pub struct Readiness {
    /// A handful. Locked to add one and to look at all.
    gates: Mutex<Vec<(Box<str>, Arc<AtomicBool>)>>,
}

/// One condition of readiness.
#[derive(Debug)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    /// It holds.
    pub fn open(&self) {
        self.0.store(true, Relaxed);
    }

    /// It does not hold any more.
    pub fn shut(&self) {
        self.0.store(false, Relaxed);
    }
}

impl Readiness {
    /// One more condition, not fulfilled yet. The name completes "waiting for …".
    #[must_use = "a gate that is never opened keeps the process unready"]
    pub fn gate(&self, name: impl Into<Box<str>>) -> Gate {
        let open = Arc::new(AtomicBool::new(false));
        self.gates.lock().push((name.into(), Arc::clone(&open)));
        Gate(open)
    }

    /// What is still missing, in words. A process without any gate has not begun yet.
    pub fn check(&self) -> Result<(), String> {
        let gates = self.gates.lock();
        if gates.is_empty() {
            return Err("starting".into());
        }
        let missing: Vec<&str> = gates
            .iter()
            .filter(|(_, open)| !open.load(Relaxed))
            .map(|(name, _)| &**name)
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("waiting for {}", missing.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Moment {
        Moment(seconds * 1_000_000)
    }

    /// Ticks every second, as the server does.
    fn run(health: &Health, seconds: std::ops::RangeInclusive<i64>, hearts: &[&Heartbeat]) {
        for second in seconds {
            health.tick(at(second));
            for heart in hearts {
                heart.beat(at(second));
            }
        }
    }

    #[test]
    fn a_silent_task_is_named_after_thirty_seconds() {
        let health = Health::new(at(0));
        let pods = health.task("watch:pods", at(0));
        let lease = health.task("lease", at(0));
        run(&health, 1..=30, &[&pods]);
        assert_eq!(health.check(at(30)), Ok(()));
        run(&health, 31..=40, &[&pods]);
        assert_eq!(
            health.check(at(40)),
            Err("not running: lease for 40 s".into())
        );
        lease.beat(at(40));
        assert_eq!(health.check(at(41)), Ok(()), "it recovers");
        run(&health, 42..=80, &[]);
        assert_eq!(
            health.check(at(80)),
            Err("not running: watch:pods for 40 s, lease for 40 s".into())
        );
        health.retire(&pods);
        health.retire(&lease);
        assert_eq!(health.check(at(81)), Ok(()));
    }

    #[test]
    fn a_process_that_stood_still_gets_its_time() {
        let health = Health::new(at(0));
        let lease = health.task("lease", at(0));
        run(&health, 1..=10, &[&lease]);
        // SIGSTOP for an hour; the probe may come before the first beat.
        assert_eq!(health.check(at(3610)), Ok(()));
        run(&health, 3611..=3639, &[]);
        assert_eq!(health.check(at(3639)), Ok(()));
        run(&health, 3640..=3641, &[]);
        assert!(health.check(at(3641)).is_err(), "it really is dead");
    }

    #[test]
    fn a_clock_that_goes_back_blames_no_task() {
        let health = Health::new(at(100));
        let lease = health.task("lease", at(100));
        lease.beat(at(50));
        assert_eq!(health.check(at(60)), Ok(()));
        assert_eq!(health.check(at(130)), Ok(()));
    }

    #[test]
    fn ready_when_every_gate_is_open() {
        let readiness = Readiness::default();
        assert_eq!(readiness.check(), Err("starting".into()));
        let pods = readiness.gate("pods");
        let services = readiness.gate("services");
        assert_eq!(readiness.check(), Err("waiting for pods, services".into()));
        pods.open();
        assert_eq!(readiness.check(), Err("waiting for services".into()));
        services.open();
        assert_eq!(readiness.check(), Ok(()));
        pods.shut();
        assert!(readiness.check().is_err());
    }
}
