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
/// Work that runs on one thread without waiting takes that long on an idle machine; neighbours that
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

/// What is known of one figure.
#[derive(Debug)]
struct Row {
    figure: String,
    measured: f64,
    target: Option<f64>,
    unit: &'static str,
    /// The floor's times and ours, where the figure is their ratio.
    times: Option<(Times, Times)>,
}

impl Row {
    fn is_missed(&self) -> bool {
        // What is no number (nothing beside nothing) has met nothing.
        self.target
            .is_some_and(|target| self.measured.is_nan() || self.measured > target)
    }

    /// How it stands to its target, in words.
    fn verdict(&self) -> String {
        match self.target {
            None => String::new(),
            Some(_) if !self.is_missed() => "met".to_owned(),
            Some(target) if target > 0.0 => {
                format!("MISSED by {:.0} %", 100.0 * (self.measured / target - 1.0))
            }
            Some(_) => "MISSED".to_owned(),
        }
    }

    /// As a row of a table in Markdown, to be read as it is or to be put into a document.
    fn markdown(&self) -> String {
        let p50 = |times: &Times| format!("{:.2?}", times.at(50));
        let (floor, ours) = self
            .times
            .as_ref()
            .map_or_else(Default::default, |times| (p50(&times.0), p50(&times.1)));
        let measured = with_unit(self.measured, self.unit);
        let target = self.target.map(|target| with_unit(target, self.unit));
        format!(
            "| {} | {floor} | {ours} | {measured} | {} | {} |",
            self.figure,
            target.unwrap_or_default(),
            self.verdict()
        )
    }

    fn json(&self) -> Value {
        let mut row = json!({
            "figure": self.figure, "measured": self.measured, "unit": self.unit,
        });
        if let Some(target) = self.target {
            row["target"] = target.into();
            row["met"] = (!self.is_missed()).into();
        }
        if let Some((floor, ours)) = &self.times {
            let ms = |times: &Times, percent| times.at(percent).as_secs_f64() * 1e3;
            for (whose, times) in [("floor", floor), ("ours", ours)] {
                row[whose] = json!({
                    "rounds": times.len(), "unit": "ms",
                    "p50": ms(times, 50), "p95": ms(times, 95), "max": ms(times, 100),
                });
            }
        }
        row
    }
}

fn with_unit(value: f64, unit: &str) -> String {
    // Counts of thousands have no use for decimals, small ones do.
    let decimals = if value.fract() == 0.0 || value >= 1_000.0 {
        0
    } else {
        2
    };
    format!("{value:.decimals$} {unit}").trim_end().to_owned()
}

/// The rows of a run: said as they are measured, kept in a file, and shown together at the end.
#[derive(Debug)]
pub struct Table {
    name: &'static str,
    rows: Vec<Row>,
}

impl Table {
    /// An empty one, to be kept in `target/<name>.json`.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            rows: Vec::new(),
        }
    }

    /// A figure that should not exceed its target, both as `unit` says.
    pub fn figure(&mut self, what: &str, measured: f64, target: f64, unit: &'static str) {
        self.add(what, measured, Some(target), unit, None);
    }

    /// A figure without a target.
    pub fn note(&mut self, what: &str, measured: f64, unit: &'static str) {
        self.add(what, measured, None, unit, None);
    }

    /// What both took, and their ratio against its target.
    pub fn compared(&mut self, what: &str, floor: &Times, ours: &Times, target: f64) {
        self.ratio(what, floor, ours, Some(target));
    }

    /// What both took, and their ratio, for which there is no target.
    pub fn beside(&mut self, what: &str, floor: &Times, ours: &Times) {
        self.ratio(what, floor, ours, None);
    }

    fn ratio(&mut self, what: &str, floor: &Times, ours: &Times, target: Option<f64>) {
        let times = Some((floor.clone(), ours.clone()));
        self.add(what, ratio(ours, floor), target, "×", times);
    }

    fn add(
        &mut self,
        what: &str,
        measured: f64,
        target: Option<f64>,
        unit: &'static str,
        times: Option<(Times, Times)>,
    ) {
        let row = Row {
            figure: what.to_owned(),
            measured,
            target,
            unit,
            times,
        };
        println!("{}", row.markdown());
        self.rows.push(row);
        // A run takes minutes: what it has found so far should survive whatever ends it.
        if let Err(why) = self.save() {
            eprintln!("{}: {why}", self.path().display());
        }
    }

    fn path(&self) -> PathBuf {
        target_dir().join(format!("{}.json", self.name))
    }

    fn save(&self) -> std::io::Result<()> {
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        let all = json!({ "version": env!("CARGO_PKG_VERSION"), "load": load(), "rows": rows });
        std::fs::write(self.path(), format!("{all:#}\n"))
    }

    /// Shows all rows together, and says where they are kept.
    ///
    /// # Errors
    /// When they cannot be kept there.
    pub fn write(&self) -> std::io::Result<()> {
        self.save()?;
        println!("\n| figure | floor, p50 | zen-lead, p50 | measured | target | |");
        println!("|---|---|---|---|---|---|");
        for row in &self.rows {
            println!("{}", row.markdown());
        }
        let with_target = self.rows.iter().filter(|row| row.target.is_some());
        let missed = self.rows.iter().filter(|row| row.is_missed());
        println!(
            "\n{} of {} targets missed, at a load of {}; kept in {}",
            missed.count(),
            with_target.count(),
            load(),
            self.path().display()
        );
        Ok(())
    }
}

/// The machine's load averages, which say what times on it are worth.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Cargo's target directory, from where this program is.
#[must_use]
pub fn target_dir() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    // Cargo puts its CACHEDIR.TAG only into a directory that it made itself.
    let mark = |dir: &&std::path::Path| dir.join(".rustc_info.json").exists();
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

    #[test]
    fn a_row_says_by_how_much_its_target_was_missed() {
        let row = |measured, target| Row {
            figure: "cold start".to_owned(),
            measured,
            target,
            unit: "×",
            times: None,
        };
        let verdicts = [
            (1.5, Some(1.5), "met"),
            (1.65, Some(1.5), "MISSED by 10 %"),
            (1.0, Some(0.0), "MISSED"),
            (f64::NAN, Some(1.5), "MISSED by NaN %"),
            (7.0, None, ""),
        ];
        for (measured, target, verdict) in verdicts {
            assert_eq!(row(measured, target).verdict(), verdict, "{measured}");
        }
        assert_eq!(
            row(1.65, Some(1.5)).markdown(),
            "| cold start |  |  | 1.65 × | 1.50 × | MISSED by 10 % |"
        );
    }
}
