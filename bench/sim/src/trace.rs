//! What happened, in words: the last lines for people, a hash of all lines for comparison. Hears
//! the controller's own log as well.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::judge::Judge;

/// Lines that are kept.
const LINES: usize = 60;

std::thread_local! {
    /// Which replica is being polled on this thread.
    static SPEAKER: Cell<u8> = const { Cell::new(0) };
}

/// From here on a replica speaks, until the answer is dropped.
#[must_use]
pub(crate) fn speak(number: u8) -> Speaking {
    Speaking(SPEAKER.replace(number))
}

/// Remembers who spoke before.
pub(crate) struct Speaking(u8);

impl Drop for Speaking {
    fn drop(&mut self) {
        SPEAKER.set(self.0);
    }
}

/// The lines of one run. Locked for one line.
#[derive(Clone)]
pub(crate) struct Trace(Arc<Mutex<Inner>>);

struct Inner {
    began: Option<Instant>,
    lines: VecDeque<String>,
    hash: u64,
    /// Edges of the state machines, and reasons of failovers.
    counts: BTreeMap<String, u64>,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Inner {
            began: None,
            lines: VecDeque::new(),
            hash: 0xcbf2_9ce4_8422_2325,
            counts: BTreeMap::new(),
        })))
    }

    pub(crate) fn begin(&self) {
        self.0.lock().began = Some(Instant::now());
    }

    pub(crate) fn say(&self, text: &str) {
        let mut inner = self.0.lock();
        let at = inner
            .began
            .map(|began| began.elapsed().as_millis())
            .unwrap_or_default();
        let line = format!("{:>4}.{:03} {text}", at / 1_000, at % 1_000);
        for byte in line.bytes() {
            inner.hash = (inner.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if inner.lines.len() == LINES {
            inner.lines.pop_front();
        }
        inner.lines.push_back(line);
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().lines.iter().cloned().collect()
    }

    pub(crate) fn hash(&self) -> u64 {
        self.0.lock().hash
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.0.lock().counts.clone()
    }

    pub(crate) fn count(&self, what: String) {
        *self.0.lock().counts.entry(what).or_default() += 1;
    }

    /// Reads what the controller says of itself.
    fn heard(&self, said: &Said) {
        match said.message.as_str() {
            "state" => {
                for pair in edges(&said.field("from"), &said.field("to")).windows(2) {
                    self.count(format!("edge {}→{}", pair[0], pair[1]));
                }
            }
            "this replica holds the Lease: it writes" => self.count("Lease taken".into()),
            "this replica no longer holds the Lease: it stops writing and stands by" => {
                self.count("Lease lost".into());
            }
            "gives up the Lease" => self.count("Lease released".into()),
            "the Lease of the node is not renewed; its leaders hand over" => {
                self.count("node taken for down".into());
            }
            "the node is heard of again, or none is" => self.count("node heard of again".into()),
            "leader changed" => {
                if said.field("from") != "none" && said.field("to") != "none" {
                    self.count("edge Serving→Serving".into());
                }
                let reason = said.field("reason");
                if reason != "elected" {
                    self.count(format!("reason {reason}"));
                }
            }
            guarded if guarded.ends_with(" is used up") => {
                let budget = guarded.split(' ').find(|word| word.starts_with("--"));
                self.count(format!("kept by {}", budget.unwrap_or_default()));
            }
            _ => {}
        }
        let mut text = format!("  {}· {}", SPEAKER.get(), said.message);
        for (name, value) in &said.fields {
            // Real time, the only thing here that no seed decides.
            if *name != "took" {
                let _ = write!(text, " {name}={value}");
            }
        }
        self.say(&text);
    }
}

/// The states that a step went through: it may take several edges at once.
fn edges(from: &str, to: &str) -> Vec<String> {
    let via: &[&str] = match (from, to) {
        ("Unmanaged" | "Draining", "Serving") | ("Unmanaged", "Draining") => &["Electing"],
        ("Serving" | "Electing", "Unmanaged") => &["Draining"],
        _ => &[],
    };
    let all = [from].into_iter().chain(via.iter().copied()).chain([to]);
    all.map(str::to_owned).collect()
}

#[derive(Default)]
struct Said {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Said {
    fn field(&self, name: &str) -> String {
        let found = self.fields.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

impl Said {
    fn put(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
        } else {
            self.fields.push((field.name(), value));
        }
    }
}

/// Listens to the controller's log on this thread.
pub(crate) struct Ear {
    pub(crate) trace: Trace,
    pub(crate) judge: Arc<Judge>,
}

impl Subscriber for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && metadata.target().starts_with("zen_lead")
            && *metadata.level() <= tracing::Level::DEBUG
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut said = Said::default();
        event.record(&mut said);
        self.trace.heard(&said);
        if said.message == "leader changed" {
            let [source, from, reason] = ["service", "from", "reason"].map(|name| said.field(name));
            self.judge.left(&source, &from, &reason);
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
