//! What is told about a Service, and how often: from notes to core/v1 Events.
//!
//! The rules are client-go's: the same note again raises the count of the Event that exists, many
//! different notes of one reason are combined into one, and a bucket per Service bounds the rest.
//! Better than there: news are never held back by repeats, changes of the leader have a bucket of
//! their own, and what was held back is counted. Reads no clock, sends nothing.

mod record;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::model::{Key, Meta, Uid, Version};
use super::rate_limit::{RateLimit, TokenBucket};
use super::time::{Moment, Now};
pub use record::{COMPONENT, EventRecord};

/// The API server refuses longer notes.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Services whose history is kept, as in client-go. Of the others the next note is news.
const SUBJECTS_MAX: usize = 4096;

/// So many different notes of one reason within [`SIMILAR_WITHIN`] become one, as in client-go.
const SIMILAR_MAX: usize = 10;

/// A reason that was silent for this long is news again, as in client-go.
const SIMILAR_WITHIN: Duration = Duration::from_mins(10);

/// The API server forgets an Event an hour after its last change (`--event-ttl`); an older one is
/// created again instead of being patched in vain.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(1);

/// Reasons kept per Service and severity. The contract has fewer.
const TOPICS_MAX: usize = 16;

/// Repeats at once, per Service and severity, as in client-go.
const BURST: u32 = 25;

/// One more repeat of a Warning in this time, as in client-go.
const WARNING_REFILL: Duration = Duration::from_mins(5);

/// One more repeat of a Normal note in this time: a leader that flaps should be seen doing so.
const NORMAL_REFILL: Duration = Duration::from_mins(1);

/// The `type` of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// All is well.
    Normal,
    /// A user should look.
    Warning,
}

impl Severity {
    /// As the API has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }

    fn limit(self) -> RateLimit {
        RateLimit {
            burst: BURST,
            interval: match self {
                Self::Normal => NORMAL_REFILL,
                Self::Warning => WARNING_REFILL,
            },
        }
    }
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its type.
    pub severity: Severity,
    /// One of the contract's reasons, such as `LeaderChanged`.
    pub reason: &'static str,
    /// For people. Cut at 1,024 bytes.
    pub message: String,
    /// What was done, if that is of interest.
    pub action: Option<&'static str>,
}

impl Note {
    /// A Normal note.
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Normal, reason, message)
    }

    /// A Warning.
    pub fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, reason, message)
    }

    fn new(severity: Severity, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity,
            reason,
            message: message.into(),
            action: None,
        }
    }
}

/// The source Service that a note is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Namespace and name.
    pub key: Key,
    /// Identity.
    pub uid: Uid,
    /// The version that was seen.
    pub version: Version,
}

impl From<&Meta> for Subject {
    fn from(meta: &Meta) -> Self {
        Self {
            key: meta.key(),
            uid: meta.uid.clone(),
            version: meta.resource_version.clone(),
        }
    }
}

/// What becomes of a note.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum EventAction {
    /// Make this Event.
    Create(EventRecord),
    /// The Event exists: raise its count.
    Patch(EventRecord),
    /// Too much has been said already.
    Drop,
}

/// Decides what becomes of each note. Bounded: the 4,096 Services last heard of.
#[derive(Debug, Default)]
pub struct Aggregator {
    subjects: BTreeMap<Uid, History>,
    /// By when they were last heard of, the longest silent first.
    order: BTreeMap<u64, Uid>,
    heard: u64,
    /// Sets the names of two replicas apart that speak in the same microsecond.
    salt: u16,
    /// The last stamp of a name: two notes of one microsecond get different ones.
    stamp: i64,
}

/// What was said about one Service.
#[derive(Debug, Default)]
struct History {
    heard: u64,
    buckets: [TokenBucket; 2],
    topics: Vec<EventTopic>,
}

/// What was said for one reason.
#[derive(Debug)]
struct EventTopic {
    severity: Severity,
    reason: &'static str,
    last: Moment,
    /// Digests of the different messages since the reason was news.
    different: Vec<u64>,
    events: Vec<SentEvent>,
}

/// One Event that was made.
#[derive(Debug)]
struct SentEvent {
    /// Of the message; `None` for the one that combines many.
    digest: Option<u64>,
    name: String,
    count: u32,
    first: jiff::Timestamp,
    last: Moment,
}

impl Aggregator {
    /// Nothing was said yet. `instance` is the pod that reports.
    #[must_use]
    pub fn new(instance: &str) -> Self {
        let digest = digest(instance).to_le_bytes();
        Self {
            salt: u16::from_le_bytes([digest[0], digest[1]]),
            ..Self::default()
        }
    }

    /// What becomes of this note.
    pub fn judge(&mut self, subject: &Subject, mut note: Note, now: Now) -> EventAction {
        let stamp = (now.wall.as_microsecond()).max(self.stamp.saturating_add(1));
        let name = format!("{}.{stamp:x}{:04x}", subject.key.name, self.salt);
        let history = self.hear(&subject.uid);

        // 1. Is it news, or one of many that are alike?
        let (bucket, topic) = history.topic(&note, now.moment);
        let news = topic.different.is_empty();
        let digest = topic.combine(&mut note);
        cut(&mut note.message);

        // 2. Is there an Event to raise the count of?
        topic
            .events
            .retain(|told| now.moment.since(told.last) < FORGOTTEN_AFTER);
        let told = topic.events.iter_mut().find(|told| told.digest == digest);
        if let Some(told) = told {
            told.count = told.count.saturating_add(1);
            if !news && !bucket.try_take(note.severity.limit(), now.moment) {
                return EventAction::Drop;
            }
            told.last = now.moment;
            return EventAction::Patch(EventRecord {
                name: told.name.clone(),
                subject: subject.clone(),
                note,
                count: told.count,
                first: told.first,
                last: now.wall,
            });
        }

        // 3. A new one, unless too much has been said.
        if !news && !bucket.try_take(note.severity.limit(), now.moment) {
            return EventAction::Drop;
        }
        if topic.events.len() > SIMILAR_MAX {
            topic.events.remove(0);
        }
        topic.events.push(SentEvent {
            digest,
            name: name.clone(),
            count: 1,
            first: now.wall,
            last: now.moment,
        });
        self.stamp = stamp;
        EventAction::Create(EventRecord {
            name,
            subject: subject.clone(),
            note,
            count: 1,
            first: now.wall,
            last: now.wall,
        })
    }

    /// The history of a Service, which becomes the one last heard of.
    fn hear(&mut self, uid: &Uid) -> &mut History {
        self.heard += 1;
        let is_new = !self.subjects.contains_key(uid);
        if is_new
            && self.subjects.len() >= SUBJECTS_MAX
            && let Some((_, silent)) = self.order.pop_first()
        {
            self.subjects.remove(&silent);
        }
        let history = self.subjects.entry(uid.clone()).or_default();
        self.order.remove(&history.heard);
        history.heard = self.heard;
        self.order.insert(self.heard, uid.clone());
        history
    }
}

impl History {
    fn topic(&mut self, note: &Note, now: Moment) -> (&mut TokenBucket, &mut EventTopic) {
        let same =
            |known: &EventTopic| known.reason == note.reason && known.severity == note.severity;
        let at = if let Some(at) = self.topics.iter().position(same) {
            at
        } else {
            if self.topics.len() >= TOPICS_MAX {
                self.topics.remove(0);
            }
            self.topics.push(EventTopic {
                severity: note.severity,
                reason: note.reason,
                last: now,
                different: Vec::new(),
                events: Vec::new(),
            });
            self.topics.len() - 1
        };
        let topic = &mut self.topics[at];
        if now.since(topic.last) > SIMILAR_WITHIN {
            topic.different.clear();
        }
        topic.last = now;
        (&mut self.buckets[note.severity as usize], topic)
    }
}

impl EventTopic {
    /// Counts the different messages. From the tenth on they go into one Event that combines them,
    /// which has no digest.
    fn combine(&mut self, note: &mut Note) -> Option<u64> {
        let digest = digest(&note.message);
        if !self.different.contains(&digest) {
            if self.different.len() + 1 >= SIMILAR_MAX {
                note.message
                    .insert_str(0, "(combined from similar events): ");
                return None;
            }
            self.different.push(digest);
        }
        Some(digest)
    }
}

/// The same in every process: its keys are fixed.
fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Shortens a text to what an Event may hold, between two characters, and marks that.
fn cut(text: &mut String) {
    const MARK: &str = "…";
    if text.len() > MESSAGE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(MESSAGE_BYTES_MAX - MARK.len()));
        text.push_str(MARK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn at(seconds: i64) -> Now {
        Now {
            moment: Moment(seconds * 1_000_000),
            wall: jiff::Timestamp::from_second(1_800_000_000 + seconds).expect("in range"),
        }
    }

    fn subject(name: &str) -> Subject {
        Subject {
            key: Key::new("shop", name),
            uid: Uid::from(name),
            version: Version::from("7"),
        }
    }

    fn changed(text: &str) -> Note {
        Note::normal("LeaderChanged", text)
    }

    fn no_pods(text: &str) -> Note {
        Note::warning("NoReadyPods", text)
    }

    /// A verdict in a few words.
    fn words(verdict: EventAction) -> String {
        match verdict {
            EventAction::Create(record) => {
                format!("create {} {}", record.count, record.note.message)
            }
            EventAction::Patch(record) => format!("patch {} {}", record.count, record.note.message),
            EventAction::Drop => "drop".into(),
        }
    }

    #[test]
    fn repeats_raise_a_count() {
        let mut aggregator = Aggregator::default();
        let web = subject("web");
        for (second, note, expected) in [
            (0, no_pods("a"), "create 1 a"),
            (1, no_pods("a"), "patch 2 a"),
            (2, no_pods("b"), "create 1 b"),
            (3, no_pods("a"), "patch 3 a"),
            (4, changed("a"), "create 1 a"),
            (5, Note::warning("NoPodsFound", "a"), "create 1 a"),
            (6, Note::normal("NoReadyPods", "a"), "create 1 a"),
            (3602, no_pods("b"), "create 1 b"),
            (3602, no_pods("a"), "patch 4 a"),
            (9000, no_pods("a"), "create 1 a"),
        ] {
            let verdict = aggregator.judge(&web, note, at(second));
            assert_eq!(words(verdict), expected, "at {second} s");
        }
        let again = Subject {
            uid: Uid::from("another web"),
            ..web
        };
        let verdict = aggregator.judge(&again, no_pods("a"), at(9001));
        assert_eq!(words(verdict), "create 1 a", "a new Service of that name");
    }

    #[test]
    fn a_patch_goes_to_the_event_that_was_made() {
        let mut aggregator = Aggregator::new("zl-0");
        let web = subject("web");
        let EventAction::Create(made) = aggregator.judge(&web, changed("a"), at(0)) else {
            panic!("it is new");
        };
        let EventAction::Patch(patched) = aggregator.judge(&web, changed("a"), at(5)) else {
            panic!("it is known");
        };
        assert_eq!(made.name, patched.name);
        assert_eq!((patched.first, patched.last), (at(0).wall, at(5).wall));
        assert_eq!(
            patched.patch(),
            json!({ "message": "a", "count": 2, "lastTimestamp": "2027-01-15T08:00:05Z" })
        );
    }

    #[test]
    fn names_are_unique() {
        let mut names = std::collections::BTreeSet::new();
        for instance in ["zl-0", "zl-1"] {
            let mut aggregator = Aggregator::new(instance);
            for i in 0..5 {
                let verdict = aggregator.judge(&subject("web"), changed(&i.to_string()), at(0));
                let EventAction::Create(record) = verdict else {
                    panic!("it is new");
                };
                let (service, hex) = record.name.split_once('.').expect("a dot");
                assert_eq!(service, "web");
                assert!(hex.bytes().all(|b| b.is_ascii_hexdigit()) && hex.len() < 25);
                names.insert(record.name);
            }
        }
        assert_eq!(names.len(), 10);
    }

    #[test]
    fn many_that_are_alike_are_combined() {
        let mut aggregator = Aggregator::default();
        let web = subject("web");
        let mut judge =
            |text: &str, second| words(aggregator.judge(&web, no_pods(text), at(second)));
        for i in 0..9 {
            assert_eq!(judge(&format!("m{i}"), i), format!("create 1 m{i}"));
        }
        let combined = "(combined from similar events): ";
        assert_eq!(judge("m9", 10), format!("create 1 {combined}m9"));
        assert_eq!(judge("m10", 11), format!("patch 2 {combined}m10"));
        assert_eq!(judge("m3", 12), "patch 2 m3", "that one has its own");
        assert_eq!(judge("m11", 700), "create 1 m11", "ten minutes of silence");
    }

    #[test]
    fn repeats_run_dry_and_news_do_not() {
        let mut aggregator = Aggregator::default();
        let web = subject("web");
        let mut judge = |note, second| words(aggregator.judge(&web, note, at(second)));
        assert_eq!(judge(no_pods("a"), 0), "create 1 a");
        for i in 2..27 {
            assert_eq!(judge(no_pods("a"), 0), format!("patch {i} a"));
        }
        assert_eq!(judge(no_pods("a"), 0), "drop");
        assert_eq!(judge(no_pods("b"), 0), "drop");
        // Another reason is news; a change of the leader has a bucket of its own.
        assert_eq!(judge(Note::warning("InvalidService", "a"), 1), "create 1 a");
        assert_eq!(judge(Note::warning("InvalidService", "a"), 1), "drop");
        assert_eq!(judge(changed("a"), 1), "create 1 a");
        assert_eq!(judge(changed("a"), 1), "patch 2 a");
        // One more in five minutes, and what was held back is in the count.
        assert_eq!(judge(no_pods("a"), 299), "drop");
        assert_eq!(judge(no_pods("a"), 300), "patch 29 a");
        assert_eq!(judge(no_pods("a"), 301), "drop");
        assert_eq!(
            judge(no_pods("a"), 902),
            "patch 31 a",
            "silent for ten minutes: news"
        );
    }

    #[test]
    fn a_flapping_leader_shows_once_a_minute() {
        let mut aggregator = Aggregator::default();
        let web = subject("web");
        let told = (0..3600).filter(|second| {
            let note = changed(&format!("to {}", second % 2));
            aggregator.judge(&web, note, at(*second)) != EventAction::Drop
        });
        let told = told.count();
        assert!((80..=90).contains(&told), "{told}");
    }

    #[test]
    fn memory_is_bounded() {
        let mut aggregator = Aggregator::default();
        let count = i64::try_from(SUBJECTS_MAX).expect("small");
        for i in 0..count + 10 {
            let verdict = aggregator.judge(&subject(&format!("s{i}")), no_pods("a"), at(i));
            assert!(matches!(verdict, EventAction::Create(_)));
            let verdict = aggregator.judge(&subject("busy"), no_pods("a"), at(i));
            assert!(i == 0 || !matches!(verdict, EventAction::Create(_)), "{i}");
        }
        assert_eq!(aggregator.subjects.len(), SUBJECTS_MAX);
        assert_eq!(aggregator.order.len(), SUBJECTS_MAX);
        for i in 0..1000 {
            let _ = aggregator.judge(&subject("busy"), no_pods(&i.to_string()), at(i));
        }
        let busy = &aggregator.subjects[&Uid::from("busy")].topics[0];
        assert!(busy.events.len() <= SIMILAR_MAX + 1 && busy.different.len() <= SIMILAR_MAX);
    }

    #[test]
    fn the_object() {
        let mut aggregator = Aggregator::default();
        let note = Note {
            action: Some("Elect"),
            ..changed("Leader changed from a to b (notReady, 3.1 ms).")
        };
        let EventAction::Create(record) = aggregator.judge(&subject("web"), note, at(0)) else {
            panic!("it is new");
        };
        let object = record.object("zl-0");
        assert_eq!(
            object,
            json!({
                "apiVersion": "v1", "kind": "Event",
                "metadata": { "namespace": "shop", "name": record.name },
                "involvedObject": {
                    "apiVersion": "v1", "kind": "Service", "namespace": "shop", "name": "web",
                    "uid": "web", "resourceVersion": "7",
                },
                "type": "Normal", "reason": "LeaderChanged", "action": "Elect",
                "message": "Leader changed from a to b (notReady, 3.1 ms).",
                "count": 1,
                "firstTimestamp": "2027-01-15T08:00:00Z",
                "lastTimestamp": "2027-01-15T08:00:00Z",
                "source": { "component": "zen-lead-controller" },
                "reportingComponent": "zen-lead-controller",
                "reportingInstance": "zl-0",
            })
        );
        let event: k8s_openapi::api::core::v1::Event =
            serde_json::from_value(object).expect("the API's own type");
        assert_eq!(event.count, Some(1));
        assert_eq!(event.involved_object.uid.as_deref(), Some("web"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn cuts_between_characters(text in "\\PC{0,600}") {
            let mut short = text.clone();
            cut(&mut short);
            prop_assert!(short.len() <= MESSAGE_BYTES_MAX);
            if text.len() <= MESSAGE_BYTES_MAX {
                prop_assert_eq!(short, text);
            } else {
                let kept = short.strip_suffix('…').expect("a mark");
                prop_assert!(text.starts_with(kept));
                prop_assert!(short.len() >= MESSAGE_BYTES_MAX - 3);
            }
        }

        /// In any order of notes at any times: never more Events than news and tokens allow.
        #[test]
        fn never_too_many(notes in proptest::collection::vec((0..4i64, 0..3usize, 0..30u8), 0..400)) {
            let mut aggregator = Aggregator::default();
            let (mut second, mut told) = (0, 0);
            for (step, reason, text) in notes {
                second += step;
                let note = Note::warning(["a", "b", "c"][reason], text.to_string());
                if aggregator.judge(&subject("web"), note, at(second)) != EventAction::Drop {
                    told += 1;
                }
            }
            // 3 reasons are news at most once per ten minutes; 25 repeats and one more in five.
            let bound = 3 * (1 + second / 600) + i64::from(BURST) + second / 300 + 1;
            prop_assert!(told <= bound, "{} of {}", told, bound);
        }
    }
}
