//! Watches every change and every request, and says what must never happen. Knows what the
//! controller can have seen, never what it thinks.

mod brief;
mod follow;
mod followers;
mod heard;
mod ledger;
mod left;
mod nodes;
mod ops;
mod published;
mod requests;
mod sight;
mod tenure;

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use simkube::{Committed, FrameInfo, Kind, Observer, Record, RequestInfo, Verb};
use tokio::sync::Notify;
use tokio::time::Instant;

use self::brief::brief;
use self::heard::Heard;
use self::ledger::{Asked, Ledger, Seen, is_tracked};
use self::nodes::Nodes;
pub(crate) use self::nodes::leaves;
use crate::event::{LEASE_NS, SOURCES, name_of};
use crate::facts::text;
use crate::plan::World;
use crate::trace::Trace;
use zen_lead::shell::lease::WritePermit;

/// What a change can still cause: it may be seen late, and two durations may run from it.
const ECHO: Duration = Duration::from_secs(45);
/// A restart can read slices that are so much out of date.
const STALE_MAX: Duration = Duration::from_mins(1);

/// A leader that was left because of an eviction is not returned to for two and a half minutes, from
/// when that was seen.
const SHUNNED: Duration = Duration::from_secs(150 + 60);

/// The judge of one run. Locked for one look.
pub(crate) struct Judge {
    inner: Mutex<Ledger>,
    trace: Trace,
    /// Something is wrong.
    pub(crate) alarm: Notify,
}

impl Judge {
    pub(crate) fn new(trace: Trace, world: &World) -> Self {
        let ledger = Ledger {
            budget: Some(world.budget),
            renewal: Duration::from_secs(3 * u64::from(world.renewal_s)),
            nodes: Nodes::new(world),
            ..Ledger::default()
        };
        Self {
            inner: Mutex::new(ledger),
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

    /// A new life of a client begins: it will list, and see at least what is there now.
    pub(crate) fn born(&self, client: &str) {
        let mut inner = self.inner.lock();
        let rv = inner.clock.last().map(|(_, rv)| *rv).unwrap_or_default();
        let now = Instant::now();
        let mut seen = Seen {
            life: Some(now),
            is_new: true,
            ..Seen::default()
        };
        seen.pods.begin(rv);
        seen.services.begin(rv);
        seen.leases.begin(rv);
        inner.seen.insert(client.to_owned(), seen);
        inner.born += 1;
        inner.nodes.trouble(now);
        // It looks at everything again.
        inner.changes.push((now, None));
    }

    /// A life of a client has begun, or is over.
    pub(crate) fn serves(&self, client: &str, tenure: Option<WritePermit>) {
        let mut inner = self.inner.lock();
        match tenure {
            Some(tenure) => inner.tenures.insert(client.to_owned(), tenure),
            None => inner.tenures.remove(client),
        };
        inner.late.retain(|(late, ..)| late != client);
    }

    /// A client that was held still goes on.
    pub(crate) fn goes_on(&self, client: &str) {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        inner.nodes.trouble(now);
        inner.resumed.insert(client.to_owned(), now);
    }

    /// Something is wrong until then.
    pub(crate) fn trouble(&self, until: Instant) {
        self.inner.lock().nodes.trouble(until);
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

    /// Etcd is restored: what a replica has seen is of a history that is lost, and it may still believe
    /// any of it for a while.
    pub(crate) fn restored(&self) {
        let mut inner = self.inner.lock();
        let now = Instant::now();
        inner.restored = Some(now);
        inner.forbidden = Some(now);
        // Each replica looks at each object again.
        inner.faults.extend([now; 6]);
        for seen in inner.seen.values_mut() {
            seen.lost = std::mem::take(&mut seen.shown);
            seen.pods.begin(0);
            seen.services.begin(0);
            seen.leases.begin(0);
            seen.heard = Heard::default();
        }
    }

    /// The version of the lost history that a watch of a client had reached for certain.
    pub(crate) fn shown_before_restore(&self, client: &str, kind: Kind) -> u64 {
        let inner = self.inner.lock();
        let seen = inner.seen.get(client);
        let rv = seen.and_then(|seen| seen.lost.get(&kind));
        rv.copied().unwrap_or_default()
    }

    /// Looks through all requests in the end.
    pub(crate) fn check_requests(&self, all: &[Record]) -> Result<(), String> {
        self.inner.lock().check_requests(all)
    }

    /// The controller says why it left a leader.
    pub(crate) fn left(&self, source: &str, from: &str, reason: &str) {
        let mut inner = self.inner.lock();
        let verdict = inner.check_reason(source, from, reason);
        let verdict = verdict.and_then(|()| inner.check_guard(source, from, reason));
        if reason == "disrupted" && inner.leaves_node(from) {
            self.trace.count("hand-over from a node that leaves".into());
        }
        drop(inner);
        if let Err(what) = verdict {
            self.accuse(what);
        }
    }

    pub(crate) fn wall_jumped(&self) {
        self.inner.lock().wall_jumped = true;
    }

    /// A list shows the past.
    pub(crate) fn told_of_the_past(&self, request: &RequestInfo, ago: Duration) {
        let mut inner = self.inner.lock();
        let rv = inner.rv_at(Instant::now().checked_sub(ago));
        let seen = inner.seen.entry(request.client.clone()).or_default();
        match request.kind {
            Some(Kind::Pod) => seen.pods.look_back(rv),
            Some(Kind::Service) => seen.services.look_back(rv),
            Some(Kind::Lease) => seen.leases.forget(rv),
            _ => {}
        }
    }

    /// A frame is sent.
    pub(crate) fn shown(&self, frame: &FrameInfo) {
        if frame.initial {
            return;
        }
        let mut inner = self.inner.lock();
        if frame.kind == Kind::Lease && frame.scope != LEASE_NS {
            if frame.scope.is_empty() {
                inner.hears_of_leases(&frame.client, frame.rv, Instant::now());
            }
            return;
        }
        let seen = inner.seen.entry(frame.client.clone()).or_default();
        let shown = seen.shown.entry(frame.kind).or_default();
        *shown = frame.rv.max(*shown);
        let floor = match frame.kind {
            Kind::Pod => &mut seen.pods,
            Kind::Service => &mut seen.services,
            _ => return,
        };
        floor.raise(frame.rv, Instant::now());
    }

    /// A request arrives.
    pub(crate) fn asked(&self, request: &RequestInfo) {
        let pace = {
            let mut inner = self.inner.lock();
            let seen = inner.seen.entry(request.client.clone()).or_default();
            let is_read = matches!(request.verb, Verb::List | Verb::Watch);
            if is_read && request.kind == Some(Kind::Lease) && request.namespace != LEASE_NS {
                seen.heard.reads_again();
            }
            if std::mem::take(&mut seen.is_new) {
                inner.lives.push(request.number);
            }
            inner.asked_last = request.number;
            let pace = inner.check_pace(Instant::now());
            pace.and_then(|()| inner.check_tenures())
        };
        if let Err(what) = pace {
            self.accuse(what);
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
        let rv = inner.clock.last().map_or(0, |(_, rv)| *rv);
        let seen = inner.seen.entry(request.client.clone()).or_default();
        let asked = Asked {
            rv,
            at: now,
            life: seen.life,
            pods: seen.pods.before(now),
            services: seen.services.before(now),
            leases: seen.leases.before(now),
        };
        if matches!(request.kind, Some(Kind::Service | Kind::EndpointSlice)) {
            seen.heard.is_synced = true;
        }
        inner.asked.insert(request.number, asked);
        let verdict = inner.check_holds(request, now);
        let verdict = if matches!(request.kind, Some(Kind::Event | Kind::Lease)) {
            verdict
        } else {
            verdict.and_then(|()| inner.check_budget(request, now))
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

    /// Whether a pod that is eligible may still be shunned, because its eviction was called off.
    pub(crate) fn shuns(&self) -> bool {
        let called_off = self.inner.lock().called_off;
        called_off.is_some_and(|at| Instant::now() < at + SHUNNED)
    }

    /// Whether failovers have a budget, so that a leader that is not Ready may be kept.
    pub(crate) fn guards(&self) -> bool {
        let budget = self.inner.lock().budget;
        budget.is_some_and(|budget| budget.per_service + budget.global > 0)
    }

    /// Whether leaders leave nodes that are cordoned.
    pub(crate) fn minds_cordons(&self) -> bool {
        self.inner.lock().nodes.minds_cordons()
    }

    /// Whether the controller made an object.
    pub(crate) fn made(&self, object: &Value) -> bool {
        let inner = self.inner.lock();
        object["metadata"]["uid"]
            .as_str()
            .is_some_and(|uid| inner.made.contains(uid))
    }
}

/// Events and renewals would drown the rest.
fn is_worth_a_line(change: &Committed<'_>) -> bool {
    let holder = |lease: Option<&Value>| lease.map(|lease| text(&lease["spec"]["holderIdentity"]));
    match change.kind {
        Kind::Event => false,
        Kind::Lease => holder(change.old) != holder(change.new),
        _ => true,
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
        if is_worth_a_line(change) {
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
        let is_cleared = change.old.is_some_and(is_tracked) && !change.new.is_none_or(is_tracked);
        if change.request.is_some() && is_cleared {
            self.trace.count("managedFields cleared".into());
        }
        let verdict = self.inner.lock().judge(change, object);
        if let Err(what) = verdict {
            self.accuse(what);
        }
    }
}
