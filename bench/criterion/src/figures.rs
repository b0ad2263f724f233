//! Durations, their percentiles, and the table that a run ends with.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

/// Measured durations.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Adds one.
    pub fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The duration that `percent` of them do not exceed; zero of none.
    #[must_use]
    pub fn at(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        let last = sorted.len().saturating_sub(1);
        sorted
            .get(last * percent / 100)
            .copied()
            .unwrap_or_default()
    }
}

impl FromIterator<Duration> for Times {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        Self(times.into_iter().collect())
    }
}

/// CPU time of the calling thread.
///
/// What runs on one thread and waits for nobody takes that long on an idle machine; neighbours that
/// take the CPU away do not count.
#[must_use]
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// How long something takes, in CPU time.
pub fn timed<T>(act: impl FnOnce() -> T) -> (Duration, T) {
    let from = cpu_time();
    let result = act();
    (cpu_time().saturating_sub(from), result)
}

/// How two medians compare.
#[must_use]
pub fn ratio(ours: &Times, floor: &Times) -> f64 {
    ours.at(50).as_secs_f64() / floor.at(50).as_secs_f64()
}

/// Takes both in turns, so that both have the same machine.
pub fn in_turns(
    rounds: usize,
    mut floor: impl FnMut() -> Duration,
    mut ours: impl FnMut() -> Duration,
) -> (Times, Times) {
    let both: Vec<_> = (0..rounds).map(|_| (floor(), ours())).collect();
    let (floors, all_ours): (Vec<_>, Vec<_>) = both.into_iter().unzip();
    (floors.into_iter().collect(), all_ours.into_iter().collect())
}

/// The rows of a run.
#[derive(Debug)]
pub struct Table {
    name: &'static str,
    rows: Vec<Value>,
}

impl Table {
    /// An empty one, to be written to `target/<name>.json`.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        println!(
            "{:<44} {:>12} {:>12} {:>9}",
            "figure", "measured", "target", ""
        );
        Self {
            name,
            rows: Vec::new(),
        }
    }

    /// A figure that should not exceed its target, both as `unit` says.
    pub fn figure(&mut self, what: &str, measured: f64, target: f64, unit: &str) {
        let verdict = if measured <= target { "met" } else { "MISSED" };
        println!("{what:<44} {measured:>9.2} {unit:<2} {target:>9.2} {unit:<2} {verdict:>7}");
        self.rows.push(json!({
            "figure": what, "measured": measured, "target": target, "unit": unit,
            "met": measured <= target,
        }));
    }

    /// A figure without a target.
    pub fn note(&mut self, what: &str, measured: f64, unit: &str) {
        println!("{what:<44} {measured:>9.2} {unit}");
        self.rows
            .push(json!({ "figure": what, "measured": measured, "unit": unit }));
    }

    /// What both took, and their ratio against its target.
    pub fn compared(&mut self, what: &str, floor: &Times, ours: &Times, target: f64) {
        self.times(what, floor, ours);
        self.figure(&format!("{what}, ratio"), ratio(ours, floor), target, "×");
    }

    /// What both took, and their ratio, for which there is no target.
    pub fn beside(&mut self, what: &str, floor: &Times, ours: &Times) {
        self.times(what, floor, ours);
        self.note(&format!("{what}, ratio"), ratio(ours, floor), "×");
    }

    fn times(&mut self, what: &str, floor: &Times, ours: &Times) {
        for (whose, times) in [("floor", floor), ("ours", ours)] {
            println!(
                "{:<44} p50 {:.1?}, p95 {:.1?}, max {:.1?} of {}",
                format!("{what}, {whose}"),
                times.at(50),
                times.at(95),
                times.at(100),
                times.len(),
            );
            let ms = |percent| times.at(percent).as_secs_f64() * 1e3;
            self.rows.push(json!({
                "figure": format!("{what}, {whose}"), "rounds": times.len(), "unit": "ms",
                "p50": ms(50), "p95": ms(95), "max": ms(100),
            }));
        }
    }

    /// Writes the rows beside cargo's other results.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self) -> std::io::Result<()> {
        let path = target_dir().join(format!("{}.json", self.name));
        std::fs::write(&path, format!("{:#}\n", json!({ "rows": self.rows })))?;
        println!("written to {}", path.display());
        Ok(())
    }
}

/// Cargo's target directory, from where this program is.
#[must_use]
pub fn target_dir() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let mark = |dir: &&std::path::Path| dir.join("CACHEDIR.TAG").exists();
    program
        .ancestors()
        .find(mark)
        .map_or_else(|| "target".into(), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values() {
        let times: Times = (1..=100).rev().map(Duration::from_millis).collect();
        let at = |percent| times.at(percent).as_millis();
        assert_eq!((at(0), at(50), at(95), at(100)), (1, 50, 95, 100));
        assert_eq!(Times::default().at(50), Duration::ZERO);
    }
}
