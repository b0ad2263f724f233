//! Watches every change and every request, and says what must never happen. Knows what the
//! controller can have seen, never what it thinks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use simkube::{Committed, FrameInfo, Kind, Observer, Record, RequestInfo, Verb};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::event::{SOURCES, is_foreign, name_of};
use crate::facts::{PodFact, SourceFact, text};
use crate::trace::Trace;

const SOURCE: &str = "zen-lead.io/source-service";
/// A slice under way to its deletion may have been the memory of who led.
const IN_FLIGHT: Duration = Duration::from_secs(15);
/// How long an object's requests are counted.
const WINDOW: Duration = Duration::from_secs(10);
/// What a change can still cause: it may be seen late, and two durations may run from it.
const ECHO: Duration = Duration::from_secs(45);
/// Requests that one object may take in a window in which nothing happens: a decision of a timer
/// (three), and the retries of a back-off that starts anew (20 ms, 500 ms, then seconds).
const REQUESTS_IDLE: usize = 12;
/// A change can cause two decisions, one at once and one by a timer, of three requests each.
const REQUESTS_PER_CHANGE: usize = 6;
/// A request that went wrong is made again, and a conflict is looked into.
const REQUESTS_PER_FAULT: usize = 3;
/// A restart can read slices that are so much out of date.
const STALE_MAX: Duration = Duration::from_mins(1);

/// The judge of one run. Locked for one look.
pub(crate) struct Judge {
    inner: Mutex<Inner>,
    trace: Trace,
    /// Something is wrong.
    pub(crate) alarm: Notify,
}

/// Versions of one object, each with the request that made it, if one did.
type Writers = Vec<(u64, Option<u64>)>;

#[derive(Default)]
struct Inner {
    violation: Option<String>,
    /// When each resourceVersion was the last one.
    clock: Vec<(Instant, u64)>,
    pods: History<PodFact>,
    sources: History<SourceFact>,
    seen_pods: Floor,
    seen_services: Floor,
    /// What had been seen when a write was asked for.
    asked: BTreeMap<u64, Asked>,
    /// Identities of what the controller made.
    made: BTreeSet<String>,
    slices: BTreeMap<String, SliceFact>,
    /// By source: who leads, as far as anybody can know.
    leaders: BTreeMap<String, BTreeSet<String>>,
    /// Who does so no more, since when, and whether the slice went with him.
    former: Vec<(Instant, String, bool)>,
    life: Option<Instant>,
    wall_jumped: bool,
    foreign: BTreeMap<(Kind, String), Value>,
    /// When others changed something, when a fault hit, and when each object was written to.
    changes: Vec<Instant>,
    faults: Vec<Instant>,
    requests: BTreeMap<(Option<Kind>, String), Vec<Instant>>,
    /// When a hand was last laid on an object of ours.
    touched: Option<Instant>,
    /// Requests that a fault hit.
    hurt: BTreeSet<u64>,
    /// By name of an object: when a request for it last came to nothing.
    delayed: BTreeMap<String, Instant>,
    forbidden: Option<Instant>,
    /// Whether a life has begun and asked for nothing yet.
    is_new: bool,
    /// The latest request.
    asked_last: u64,
    /// The first request of each life.
    lives: Vec<u64>,
    /// Who changed an object, after which request: a request, or somebody else.
    writers: BTreeMap<(Kind, String), Writers>,
}

type History<T> = BTreeMap<String, Vec<Version<T>>>;

struct Version<T> {
    rv: u64,
    at: Instant,
    fact: Option<T>,
}

/// What the controller has seen of one kind, for certain.
#[derive(Clone, Copy, Default)]
struct Floor {
    /// The latest resourceVersion, and what it was before this instant.
    rv: u64,
    before: u64,
    since: Option<Instant>,
    /// A list may have shown this past since then: what is known does not go back, but what is
    /// gone may have come back.
    past: u64,
    /// Whether anything has been shown in this life.
    is_synced: bool,
}

/// What it had seen at some moment.
#[derive(Clone, Copy)]
struct Sight {
    rv: u64,
    past: u64,
}

impl Floor {
    fn raise(&mut self, rv: u64, now: Instant) {
        self.is_synced = true;
        self.past = self.past.max(rv);
        if rv <= self.rv {
            return;
        }
        if self.since.is_none_or(|since| since < now) {
            self.before = self.rv;
            self.since = Some(now);
        }
        self.rv = rv;
    }

    /// A life begins with a list.
    fn begin(&mut self, rv: u64) {
        *self = Self {
            rv,
            before: rv,
            since: None,
            past: rv,
            is_synced: false,
        };
    }

    fn look_back(&mut self, rv: u64) {
        if !self.is_synced && rv < self.rv {
            (self.rv, self.before) = (rv, rv);
        }
        self.past = self.past.min(rv);
    }

    /// Before this very moment: within a moment the order is unknown.
    fn before(&self, now: Instant) -> Sight {
        let rv = if self.since.is_some_and(|since| since < now) {
            self.rv
        } else {
            self.before
        };
        Sight {
            rv,
            past: self.past.min(rv),
        }
    }
}

#[derive(Clone, Copy)]
struct Asked {
    at: Instant,
    pods: Sight,
    services: Sight,
}

struct SliceFact {
    source: String,
    service: String,
    family: String,
    leaders: Vec<String>,
    by_us: bool,
    /// Its labels and its owner say whose it is.
    is_marked: bool,
}

/// The versions that the controller can have taken for the current one.
fn visible<T>(versions: &[Version<T>], sight: Sight) -> impl Iterator<Item = (usize, &Version<T>)> {
    let current = |rv: u64| versions.iter().rposition(|version| version.rv <= rv);
    let (known, past) = (current(sight.rv), current(sight.past).unwrap_or(0));
    let is_known = known.is_some_and(|known| versions[known].fact.is_some());
    let first = if is_known { known.unwrap_or(0) } else { past };
    versions.iter().enumerate().skip(first)
}

impl Judge {
    pub(crate) fn new(trace: Trace) -> Self {
        Self {
            inner: Mutex::default(),
            trace,
            alarm: Notify::new(),
        }
    }

    pub(crate) fn violation(&self) -> Option<String> {
        self.inner.lock().violation.clone()
    }

    /// Notes what is wrong; the first one counts.
    pub(crate) fn accuse(&self, what: String) {
        self.trace.say(&format!("VIOLATION {what}"));
        self.inner.lock().violation.get_or_insert(what);
        self.alarm.notify_one();
    }

    /// A new life begins: it will list, and see at least what is there now.
    pub(crate) fn born(&self) {
        let mut inner = self.inner.lock();
        let rv = inner.clock.last().map(|(_, rv)| *rv).unwrap_or_default();
        inner.seen_pods.begin(rv);
        inner.seen_services.begin(rv);
        inner.life = Some(Instant::now());
        inner.is_new = true;
        // It looks at everything anew.
        inner.changes.push(Instant::now());
    }

    /// A fault hit a request or a frame.
    pub(crate) fn hurt(&self, request: Option<&RequestInfo>) {
        let mut inner = self.inner.lock();
        let now = Instant::now();
        inner.faults.push(now);
        if let Some(request) = request {
            inner.hurt.insert(request.number);
            inner.delayed.insert(request.name.clone(), now);
        }
    }

    /// RBAC refuses something from now on, or has done so until now.
    pub(crate) fn forbidden(&self) {
        let mut inner = self.inner.lock();
        inner.faults.push(Instant::now());
        inner.forbidden = Some(Instant::now());
    }

    /// Looks through all requests in the end.
    pub(crate) fn check_requests(&self, all: &[Record]) -> Result<(), String> {
        let inner = self.inner.lock();
        let mut answered: BTreeMap<(Kind, &str), u64> = BTreeMap::new();
        for record in all {
            let Some(kind @ (Kind::Service | Kind::EndpointSlice)) =
                record.kind.filter(|_| record.is_write())
            else {
                continue;
            };
            check_guard(record)?;
            if inner.lives.contains(&record.number) {
                answered.clear();
            }
            let object = (kind, record.name.as_str());
            // Two sources may ask for the same name at the same moment.
            let is_create = record.verb == Verb::Create;
            if record.status == 409 && !is_create && !inner.hurt.contains(&record.number) {
                inner.check_race(record, answered.get(&object).copied())?;
            }
            let is_answered =
                (200..300).contains(&record.status) && !inner.hurt.contains(&record.number);
            if is_answered {
                answered.insert(object, record.number);
            } else {
                answered.remove(&object);
            }
        }
        Ok(())
    }

    /// The controller says why it left a leader.
    pub(crate) fn left(&self, source: &str, from: &str, reason: &str) {
        let verdict = self.inner.lock().check_reason(source, from, reason);
        if let Err(what) = verdict {
            self.accuse(what);
        }
    }

    pub(crate) fn wall_jumped(&self) {
        self.inner.lock().wall_jumped = true;
    }

    /// A list shows the past.
    pub(crate) fn told_of_the_past(&self, kind: Option<Kind>, ago: Duration) {
        let mut inner = self.inner.lock();
        let rv = inner.rv_at(Instant::now().checked_sub(ago));
        match kind {
            Some(Kind::Pod) => inner.seen_pods.look_back(rv),
            Some(Kind::Service) => inner.seen_services.look_back(rv),
            _ => {}
        }
    }

    /// A frame is sent.
    pub(crate) fn shown(&self, frame: &FrameInfo) {
        if frame.initial {
            return;
        }
        let mut inner = self.inner.lock();
        let floor = match frame.kind {
            Kind::Pod => &mut inner.seen_pods,
            Kind::Service => &mut inner.seen_services,
            _ => return,
        };
        floor.raise(frame.rv, Instant::now());
    }

    /// A request arrives.
    pub(crate) fn asked(&self, request: &RequestInfo) {
        {
            let mut inner = self.inner.lock();
            if std::mem::take(&mut inner.is_new) {
                inner.lives.push(request.number);
            }
            inner.asked_last = request.number;
        }
        if !request.verb.is_write() {
            return;
        }
        let is_allowed = matches!(
            request.kind,
            Some(Kind::Service | Kind::EndpointSlice | Kind::Event | Kind::Lease)
        );
        if !is_allowed
            || (request.kind == Some(Kind::Service) && SOURCES.contains(&request.name.as_str()))
        {
            self.accuse(format!(
                "{} of {:?} {}",
                request.verb.name(),
                request.kind,
                request.name
            ));
        }
        let now = Instant::now();
        let mut inner = self.inner.lock();
        let asked = Asked {
            at: now,
            pods: inner.seen_pods.before(now),
            services: inner.seen_services.before(now),
        };
        inner.asked.insert(request.number, asked);
        let verdict = if request.kind == Some(Kind::Event) {
            Ok(())
        } else {
            inner.check_budget(request, now)
        };
        drop(inner);
        if let Err(what) = verdict {
            self.accuse(what);
        }
    }

    /// Whether the foreign objects are as they were made.
    pub(crate) fn foreign(&self) -> BTreeMap<(Kind, String), Value> {
        self.inner.lock().foreign.clone()
    }

    /// Whether the controller made an object.
    pub(crate) fn made(&self, object: &Value) -> bool {
        let inner = self.inner.lock();
        object["metadata"]["uid"]
            .as_str()
            .is_some_and(|uid| inner.made.contains(uid))
    }
}

impl Observer for Judge {
    fn committed(&self, change: &Committed<'_>) {
        let object = change.new.or(change.old).unwrap_or(&Value::Null);
        let what = match (change.old, change.new) {
            (None, _) => "created",
            (_, None) => "deleted",
            _ => "changed",
        };
        if change.kind != Kind::Event {
            let by = change.request.map_or(String::new(), |request| {
                format!(" by request {}", request.number)
            });
            self.trace.say(&format!(
                "{} {} {what}{by}: {}",
                change.kind.name(),
                name_of(object),
                brief(change.kind, change.new)
            ));
        }
        let verdict = self.inner.lock().judge(change, object);
        if let Err(what) = verdict {
            self.accuse(what);
        }
    }
}

/// What matters of an object, on one line.
fn brief(kind: Kind, object: Option<&Value>) -> String {
    let Some(object) = object else {
        return String::new();
    };
    let endpoints = |slice: &Value| {
        let all = slice["endpoints"].as_array().cloned().unwrap_or_default();
        let name = |endpoint: &Value| {
            format!(
                "{}/{}",
                text(&endpoint["targetRef"]["name"]),
                text(&endpoint["addresses"][0])
            )
        };
        format!(
            "[{}] for {}",
            all.iter().map(name).collect::<Vec<_>>().join(" "),
            text(&slice["metadata"]["labels"]["kubernetes.io/service-name"])
        )
    };
    match kind {
        Kind::EndpointSlice => endpoints(object),
        Kind::Pod => {
            let fact = PodFact::of(object);
            let flag = |is: bool, name: &'static str| if is { name } else { "" };
            format!(
                "app={}{}{}{}{} {}",
                fact.labels.get("app").cloned().unwrap_or_default(),
                flag(fact.ready, " ready"),
                flag(!fact.running, " not-running"),
                flag(fact.terminating, " terminating"),
                flag(fact.disrupted, " disrupted"),
                fact.ips.join(" "),
            )
        }
        Kind::Service => {
            let fact = SourceFact::of(object);
            let settings: Vec<String> = fact
                .annotations
                .iter()
                .map(|(key, value)| format!("{}={value}", key.trim_start_matches("zen-lead.io/")))
                .collect();
            format!(
                "{} app={:?} ports={}",
                settings.join(" "),
                fact.selector.get("app"),
                fact.ports.len()
            )
        }
        _ => String::new(),
    }
}

impl Inner {
    fn judge(&mut self, change: &Committed<'_>, object: &Value) -> Result<(), String> {
        let now = Instant::now();
        self.clock.push((now, change.rv));
        let name = name_of(object).to_owned();
        let by_us = change.request.is_some();
        self.writers
            .entry((change.kind, name.clone()))
            .or_default()
            .push((
                self.asked_last,
                change.request.map(|request| request.number),
            ));
        if by_us {
            self.check_ours(change, &name)?;
        } else {
            self.changes.push(now);
            if self.made.contains(&text(&object["metadata"]["uid"])) {
                self.touched = Some(now);
            }
        }
        if by_us {
            // Said above.
        } else if change.new.is_some_and(is_foreign) {
            self.foreign
                .insert((change.kind, name.clone()), object.clone());
        } else if change.new.is_none() {
            self.foreign.remove(&(change.kind, name.clone()));
        }
        match change.kind {
            Kind::Pod => {
                let fact = change.new.map(PodFact::of);
                self.pods.entry(name).or_default().push(Version {
                    rv: change.rv,
                    at: now,
                    fact,
                });
            }
            Kind::Service if SOURCES.contains(&name.as_str()) => {
                let fact = change.new.map(SourceFact::of);
                self.sources.entry(name).or_default().push(Version {
                    rv: change.rv,
                    at: now,
                    fact,
                });
            }
            Kind::Service if by_us && change.new.is_none() => self.check_withdrawn(&name)?,
            Kind::EndpointSlice => self.judge_slice(change, object, &name, now)?,
            _ => {}
        }
        Ok(())
    }

    /// The controller writes what it made, and nothing else.
    fn check_ours(&mut self, change: &Committed<'_>, name: &str) -> Result<(), String> {
        if change.kind == Kind::Event {
            return Ok(());
        }
        let uid = |object: &Value| text(&object["metadata"]["uid"]);
        match change.old {
            None => {
                self.made.extend(change.new.map(uid));
                Ok(())
            }
            Some(old) if self.made.contains(&uid(old)) => Ok(()),
            Some(_) => Err(format!(
                "{} {name} is not the controller's, and it wrote it",
                change.kind.name()
            )),
        }
    }

    fn judge_slice(
        &mut self,
        change: &Committed<'_>,
        object: &Value,
        name: &str,
        now: Instant,
    ) -> Result<(), String> {
        let uid = text(&object["metadata"]["uid"]);
        if !self.made.contains(&uid) {
            return Ok(());
        }
        let by_us = change.request.is_some();
        let leaders: Vec<String> = change.new.map(published).unwrap_or_default();
        let labels = &object["metadata"]["labels"];
        let known = self.slices.get(name);
        let source = known.map_or_else(|| text(&labels[SOURCE]), |slice| slice.source.clone());
        let changed = known.is_none_or(|slice| slice.leaders != leaders);
        let fact = SliceFact {
            source: source.clone(),
            service: text(&labels["kubernetes.io/service-name"]),
            family: text(&object["addressType"]),
            by_us: if changed {
                by_us
            } else {
                known.is_some_and(|slice| slice.by_us)
            },
            leaders: leaders.clone(),
            is_marked: labels[SOURCE].is_string()
                && object["metadata"]["ownerReferences"].is_array(),
        };
        if by_us && change.new.is_some() {
            self.check_published(change, object, name, &fact, now)?;
            self.check_left(change, name, &fact, now)?;
        }
        if change.new.is_some() {
            self.slices.insert(name.to_owned(), fact);
        } else {
            self.slices.remove(name);
        }
        let mut published: BTreeSet<String> = self
            .slices
            .values()
            .filter(|slice| slice.source == source)
            .flat_map(|slice| slice.leaders.iter().cloned())
            .collect();
        let leaders = self.leaders.entry(source).or_default();
        if !by_us {
            // What hands did, a restart takes for the truth; without one the leader stays.
            published.extend(leaders.iter().cloned());
        }
        let gone = leaders
            .difference(&published)
            .map(|uid| (now, uid.clone(), change.new.is_none()));
        self.former.extend(gone);
        *leaders = published;
        Ok(())
    }

    fn check_published(
        &self,
        change: &Committed<'_>,
        slice: &Value,
        name: &str,
        fact: &SliceFact,
        now: Instant,
    ) -> Result<(), String> {
        if fact.leaders.len() > 1 {
            return Err(format!("slice {name} has more than one endpoint"));
        }
        let Some(uid) = fact.leaders.first() else {
            return Ok(());
        };
        let is_second = |(other, slice): (&String, &SliceFact)| {
            *other != name
                && slice.by_us
                && slice.is_marked
                && slice.service == fact.service
                && slice.family == fact.family
                && !slice.leaders.is_empty()
        };
        if self.slices.iter().any(is_second) {
            return Err(format!(
                "a second endpoint of {} and {} in slice {name}",
                fact.service, fact.family
            ));
        }
        if self.may_stay(&fact.source, uid, now) {
            return Ok(());
        }
        let asked = change
            .request
            .and_then(|request| self.asked.get(&request.number));
        let Some(asked) = asked else {
            return Err("a write that nobody asked for".into());
        };
        let mut asked = *asked;
        if self.is_delayed(name, fact, now) {
            let rv = self.rv_at(asked.at.checked_sub(STALE_MAX));
            let long_ago = Sight { rv, past: rv };
            (asked.pods, asked.services) = (long_ago, long_ago);
        }
        let pod = text(&slice["endpoints"][0]["targetRef"]["name"]);
        if self.was_eligible(&fact.source, &pod, uid, &asked) {
            Ok(())
        } else {
            Err(format!(
                "slice {name} publishes {pod} ({uid}), which was not eligible in any view that the controller can have had"
            ))
        }
    }

    fn may_stay(&self, source: &str, uid: &String, now: Instant) -> bool {
        let leads = self
            .leaders
            .get(source)
            .is_some_and(|leaders| leaders.contains(uid));
        let is_young = self.life.is_some_and(|life| now < life + STALE_MAX);
        let was = self.former.iter().any(|(at, former, with_slice)| {
            former == uid
                && ((*with_slice && now < *at + IN_FLIGHT)
                    || (is_young && self.life.is_some_and(|life| life < *at + STALE_MAX)))
        });
        leads || was
    }

    fn was_eligible(&self, source: &str, pod: &str, uid: &str, asked: &Asked) -> bool {
        let pods = self.pods.get(pod).map_or(&[][..], Vec::as_slice);
        let sources = self.sources.get(source).map_or(&[][..], Vec::as_slice);
        visible(pods, asked.pods).any(|(at, version)| {
            let Some(fact) = version.fact.as_ref().filter(|fact| fact.uid == uid) else {
                return false;
            };
            visible(sources, asked.services).any(|(_, source)| {
                source.fact.as_ref().is_some_and(|source| {
                    let since = ready_since(&pods[..=at], uid);
                    // Transition times are whole seconds, and a jump of the clock falsifies them.
                    let ripe = since + Duration::from_millis(source.min_ready_ms());
                    let is_ripe = self.wall_jumped || asked.at + Duration::from_secs(1) >= ripe;
                    fact.is_eligible(source) && is_ripe
                })
            })
        })
    }
}

/// Writes are fenced by the version that they were planned against.
fn check_guard(record: &Record) -> Result<(), String> {
    let body: Value = serde_json::from_slice(&record.body).unwrap_or_default();
    let is_guarded = match record.verb {
        Verb::Patch => body[0]["op"] == "replace" && body[0]["path"] == "/metadata/resourceVersion",
        Verb::Delete => {
            body["preconditions"]["resourceVersion"].is_string()
                && body["preconditions"]["uid"].is_string()
        }
        _ => true,
    };
    if is_guarded {
        Ok(())
    } else {
        Err(format!(
            "{} {} is not guarded: {body}",
            record.verb.name(),
            record.name
        ))
    }
}

/// What the controller must not do without need.
impl Inner {
    /// Whether a decision about a slice may have waited: its write, or that of its Service, was
    /// tried before. Who was decided upon leads from then on, since the outcome is unknown.
    fn is_delayed(&self, slice: &str, fact: &SliceFact, now: Instant) -> bool {
        let recent = |at: &Instant| now < *at + STALE_MAX;
        let names = [slice, fact.service.as_str()];
        self.forbidden.as_ref().is_some_and(recent)
            || names
                .iter()
                .any(|name| self.delayed.get(*name).is_some_and(recent))
    }

    fn rv_at(&self, then: Option<Instant>) -> u64 {
        let at = self
            .clock
            .partition_point(|(at, _)| then.is_none_or(|then| *at <= then));
        at.checked_sub(1).map_or(0, |at| self.clock[at].1)
    }

    /// Nobody loses a race against himself: the answer to a write is a fact.
    fn check_race(&self, record: &Record, answered: Option<u64>) -> Result<(), String> {
        let Some(kind) = record.kind else {
            return Ok(());
        };
        let writers = self
            .writers
            .get(&(kind, record.name.clone()))
            .map_or(&[][..], Vec::as_slice);
        let before = writers
            .iter()
            .rfind(|(at, _)| *at < record.number)
            .map(|(_, by)| *by);
        match (before, answered) {
            (Some(Some(by)), Some(answered)) if by == answered => Err(format!(
                "{} {} (request {}) conflicts with request {by}, whose answer had come",
                record.verb.name(),
                record.name,
                record.number
            )),
            _ => Ok(()),
        }
    }

    /// Requests for one object are bounded by what can have caused them.
    fn check_budget(&mut self, request: &RequestInfo, now: Instant) -> Result<(), String> {
        let since = |times: &[Instant], window: Duration| {
            times
                .iter()
                .rev()
                .take_while(|at| now < **at + window)
                .count()
        };
        let changes = since(&self.changes, ECHO);
        let faults = since(&self.faults, WINDOW);
        let all = self
            .requests
            .entry((request.kind, request.name.clone()))
            .or_default();
        all.push(now);
        let count = since(all, WINDOW);
        let allowed = REQUESTS_IDLE + REQUESTS_PER_CHANGE * changes + REQUESTS_PER_FAULT * faults;
        if count <= allowed {
            return Ok(());
        }
        Err(format!(
            "{count} writes of {:?} {} within {WINDOW:?}, of which {allowed} can have a cause ({changes} changes, {faults} faults)",
            request.kind, request.name
        ))
    }

    /// Traffic is withdrawn before a leader Service goes.
    fn check_withdrawn(&self, service: &str) -> Result<(), String> {
        let is_live = |(_, slice): &(&String, &SliceFact)| {
            slice.service == service && slice.by_us && slice.is_marked && !slice.leaders.is_empty()
        };
        match self.slices.iter().find(is_live) {
            Some((name, _)) => Err(format!(
                "Service {service} is deleted, and slice {name} still publishes a leader"
            )),
            None => Ok(()),
        }
    }

    /// Who led until now had to be left, in some view that the controller can have had.
    fn check_left(
        &self,
        change: &Committed<'_>,
        name: &str,
        fact: &SliceFact,
        now: Instant,
    ) -> Result<(), String> {
        let Some(asked) = change
            .request
            .and_then(|request| self.asked.get(&request.number))
        else {
            return Ok(());
        };
        let Some(before) = self
            .slices
            .get(name)
            .filter(|slice| slice.by_us && slice.leaders != fact.leaders)
        else {
            return Ok(());
        };
        let is_touched = self.touched.is_some_and(|at| now < at + STALE_MAX);
        // What was decided stays decided while its write is tried again.
        let is_late = self.is_delayed(name, fact, now);
        let is_young = self
            .life
            .is_some_and(|life| now < life + Duration::from_secs(15));
        let (Some(old), false) = (before.leaders.first(), is_touched || is_young || is_late) else {
            return Ok(());
        };
        let sources = self
            .sources
            .get(&fact.source)
            .map_or(&[][..], Vec::as_slice);
        let wants = |(_, version): (usize, &Version<SourceFact>)| {
            version
                .fact
                .as_ref()
                .is_some_and(|source| source.serves(&fact.source, &fact.service, &fact.family))
        };
        // A younger version than the one that is known may change everything.
        if !visible(sources, asked.services).all(wants) {
            return Ok(());
        }
        let all: Vec<&SourceFact> = visible(sources, asked.services)
            .filter_map(|(_, version)| version.fact.as_ref())
            .collect();
        let is_sure = |uid: &str| {
            self.pods
                .values()
                .find_map(|versions| self.surely_eligible(versions, uid, &all, asked))
        };
        if fact.leaders.is_empty() {
            let could = self.pods.values().find_map(|versions| {
                let uid = &versions.last()?.fact.as_ref()?.uid;
                self.surely_eligible(versions, uid, &all, asked)
            });
            return could.map_or(Ok(()), |pod| {
                Err(format!("slice {name} is emptied, and {pod} could lead"))
            });
        }
        let is_sticky = all
            .iter()
            .all(|source| matches!(source.setting("sticky"), None | Some("true")));
        match is_sure(old).filter(|_| is_sticky) {
            Some(pod) => Err(format!(
                "slice {name} leaves {pod}, which could go on leading"
            )),
            None => Ok(()),
        }
    }

    /// The name of a pod that is eligible and not about to go, in every view that the controller
    /// can have had.
    fn surely_eligible<'a>(
        &self,
        versions: &'a [Version<PodFact>],
        uid: &str,
        sources: &[&SourceFact],
        asked: &Asked,
    ) -> Option<&'a str> {
        let mut name = None;
        for (at, version) in visible(versions, asked.pods) {
            let pod = version
                .fact
                .as_ref()
                .filter(|pod| pod.uid == uid && !pod.disrupted)?;
            let ripe = |source: &&SourceFact| {
                // With a margin for when the controller saw it.
                let wait = source.min_ready_max_ms();
                wait == 0
                    || (!self.wall_jumped
                        && ready_since(&versions[..=at], uid) + Duration::from_millis(wait) + ECHO
                            < asked.at)
            };
            if version.rv > asked.pods.rv
                || !sources
                    .iter()
                    .all(|source| pod.is_eligible(source) && ripe(source))
            {
                return None;
            }
            name = Some(pod.name.as_str());
        }
        name
    }

    /// A leader was left for the reason that is told.
    fn check_reason(&self, source: &str, from: &str, reason: &str) -> Result<(), String> {
        let now = Instant::now();
        let name = source.rsplit('/').next().unwrap_or_default();
        let recent = |at: Instant| now < at + STALE_MAX;
        let versions = self.pods.get(from).map_or(&[][..], Vec::as_slice);
        let first = versions
            .iter()
            .rposition(|version| !recent(version.at))
            .unwrap_or(0);
        let versions = &versions[first..];
        let uid = versions
            .first()
            .and_then(|version| version.fact.as_ref())
            .map(|pod| &pod.uid);
        // The name may be that of a later pod.
        let led = |uid: &String| {
            let of = self.former.iter().rev();
            of.take_while(|(at, ..)| recent(*at))
                .any(|(_, former, _)| former == uid)
        };
        if !uid.is_some_and(led) {
            return Ok(());
        }
        let any = |holds: &dyn Fn(&PodFact) -> bool| {
            versions.iter().any(|version| {
                version
                    .fact
                    .as_ref()
                    .is_none_or(|pod| Some(&pod.uid) != uid || holds(pod))
            })
        };
        let holds = match reason {
            "deleted" => any(&|pod| !pod.running),
            "noIP" => any(&|pod| pod.ips.is_empty() || pod.ips.len() == 1),
            "terminating" => any(&|pod| pod.terminating),
            "disrupted" => any(&|pod| pod.disrupted),
            _ => true,
        };
        if holds {
            Ok(())
        } else {
            Err(format!(
                "source {name} left {from} because it was {reason}, and it was not"
            ))
        }
    }
}

/// Since when the last of these versions has been Ready.
fn ready_since(versions: &[Version<PodFact>], uid: &str) -> Instant {
    let is_ready = |version: &&Version<PodFact>| {
        version
            .fact
            .as_ref()
            .is_some_and(|fact| fact.ready && fact.uid == uid)
    };
    let ready = versions.iter().rev().take_while(is_ready).last();
    ready
        .or(versions.last())
        .map_or_else(Instant::now, |version| version.at)
}

/// Identities of the pods that a slice publishes; an endpoint without one counts as itself.
fn published(slice: &Value) -> Vec<String> {
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    endpoints
        .map(|endpoint| {
            endpoint["targetRef"]["uid"]
                .as_str()
                .map_or_else(|| endpoint.to_string(), str::to_owned)
        })
        .collect()
}
